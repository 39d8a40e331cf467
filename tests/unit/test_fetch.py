"""Downloads: whole or not at all, and never twice."""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_archive import Handler, serve

from devmodel.build import fetch
from devmodel.build.fetch import NotThere
from devmodel.errors import HostNotReady

DATA = os.urandom(1 << 20)
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def uri(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/file").write_bytes(DATA)
    with serve(tmp_path / "www") as uri:
        yield uri


def get(uri: str, target: Path, sha256: str = HASH) -> tuple[Path, int]:
    """The file, and the sum of what was said of its progress."""
    seen: list[int] = []
    path = fetch.file(f"{uri}/file", target, sha256=sha256, size=len(DATA), advance=seen.append)
    return path, sum(seen)


def test_it_comes_once(uri: str, tmp_path: Path) -> None:
    target = tmp_path / "kept/file"
    assert get(uri, target) == (target, len(DATA))
    assert get(uri, target) == (target, len(DATA))
    assert target.read_bytes() == DATA
    assert Handler.asked == ["file 0"]


def test_it_goes_on_where_it_stopped(uri: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(DATA[:1000])
    assert get(uri, tmp_path / "file") == (tmp_path / "file", len(DATA))
    assert (tmp_path / "file").read_bytes() == DATA
    assert Handler.asked == ["file 1000"]


def test_a_mirror_that_breaks_off_is_asked_for_the_rest(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([300_000, 300_000, None])
    monkeypatch.setattr(Handler, "broken", staticmethod(lambda _: next(answers)))
    get(uri, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert len(Handler.asked) == 3


def test_a_mirror_that_is_gone_half_way_leaves_what_came(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([300_000, *[0] * 10])
    monkeypatch.setattr(Handler, "broken", staticmethod(lambda _: next(answers)))
    with pytest.raises(HostNotReady, match="the next run goes on where this one stopped"):
        get(uri, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    kept = (tmp_path / "file.part").stat().st_size
    assert 0 < kept <= 300_000
    monkeypatch.setattr(Handler, "broken", staticmethod(lambda _: None))
    get(uri, tmp_path / "file")
    assert Handler.asked[-1] == f"file {kept}"


def test_what_is_not_what_the_index_says_is_thrown_away(uri: str, tmp_path: Path) -> None:
    with pytest.raises(HostNotReady, match="is not what the archive's index says"):
        get(uri, tmp_path / "file", "0" * 64)
    assert list(tmp_path.glob("file*")) == []


def test_more_than_there_should_be_begins_anew(uri: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(DATA + b"more")
    get(uri, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_file_that_left_the_archive_is_an_error_of_its_own(uri: str, tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="404"):
        fetch.file(f"{uri}/gone", tmp_path / "gone", sha256=HASH, size=1)


def test_a_full_disk_is_one_line(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 1000:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(fetch.os, "write", full)
    with pytest.raises(HostNotReady, match=r"file\.part: No space left on device; make room"):
        get(uri, tmp_path / "file")


def test_two_that_want_the_same_file_share_one_download(uri: str, tmp_path: Path) -> None:
    threads = [threading.Thread(target=get, args=(uri, tmp_path / "file")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_bytes() == DATA
    assert Handler.asked == ["file 0"]
