"""The cache: keys, and entries that appear whole or not at all."""

import threading
from pathlib import Path

import pytest

from devmodel.build import cache
from devmodel.errors import HostNotReady


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))


def test_a_key_depends_on_every_input_and_on_nothing_else() -> None:
    base = cache.key(source="6.1", fragments=["a", "b"])
    assert base == cache.key(fragments=["a", "b"], source="6.1")
    others = {
        cache.key(source="6.2", fragments=["a", "b"]),
        cache.key(source="6.1", fragments=["b", "a"]),
        cache.key(source="6.1", fragments=["a", "b"], compiler="gcc"),
    }
    assert len(others | {base}) == 4


def test_files_are_hashed_by_name_content_and_mode(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("x")
    hashes = [cache.hash_files([first], tmp_path)]
    first.write_text("y")
    hashes.append(cache.hash_files([first], tmp_path))
    first.chmod(0o755)
    hashes.append(cache.hash_files([first], tmp_path))
    first.rename(second)
    hashes.append(cache.hash_files([second], tmp_path))
    assert len(set(hashes)) == 4


def test_one_file_cannot_pass_for_two(tmp_path: Path) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    one.write_text("1")
    two.write_text("2")
    before = cache.hash_files([one, two], tmp_path)
    one.write_text("1b\0False\0002")
    assert cache.hash_files([one], tmp_path) != before


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, but not below a file."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "file/cache"))
    said = "Not a directory; set DEVMODEL_CACHE to a folder of yours"
    with pytest.raises(HostNotReady, match=said), cache.locked(cache.folder("things", "abc")):
        pass
    with pytest.raises(HostNotReady, match=said):
        cache.obtain("things", "abc", lambda _: None)


def test_an_entry_is_built_once() -> None:
    built = []

    def build(target: Path) -> None:
        built.append(target)
        (target / "file").write_text("content")

    for _ in range(2):
        entry = cache.obtain("things", "abc", build)
        assert (entry / "file").read_text() == "content"
    assert len(built) == 1


def test_a_failed_build_leaves_no_entry_and_can_be_tried_again() -> None:
    def fail(target: Path) -> None:
        (target / "half").write_text("")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        cache.obtain("things", "abc", fail)
    assert not cache.folder("things", "abc").exists()
    entry = cache.obtain("things", "abc", lambda target: (target / "whole").touch())
    assert [path.name for path in entry.iterdir()] == ["whole"]


def test_a_second_builder_waits_for_the_first() -> None:
    begun, go_on = threading.Event(), threading.Event()
    count = []

    def slow(target: Path) -> None:
        count.append(1)
        begun.set()
        assert go_on.wait(10)
        (target / "file").touch()

    def never(_: Path) -> None:
        count.append(2)

    first = threading.Thread(target=cache.obtain, args=("things", "abc", slow))
    first.start()
    assert begun.wait(10)
    waits: list[str] = []

    def told(text: str) -> None:
        waits.append(text)
        go_on.set()

    second = threading.Thread(
        target=cache.obtain, args=("things", "abc", never), kwargs={"on_wait": told}
    )
    second.start()
    first.join(10)
    second.join(10)
    assert count == [1]
    assert waits == [f"waiting for another process that builds {cache.folder('things', 'abc')}"]


def test_what_two_entries_share_is_counted_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/file").write_bytes(bytes(1 << 20))
    alone = cache.size(tmp_path)
    (tmp_path / "b/file").hardlink_to(tmp_path / "a/file")
    assert cache.size(tmp_path / "a") == cache.size(tmp_path / "b") == alone // 2
    assert cache.size(tmp_path) == alone
