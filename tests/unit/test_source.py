"""The source of a kernel: fetched, unpacked, patched, and what is said where it cannot be had."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_archive import FakeArchive, Handler, serve

from devmodel import paths
from devmodel.build import archive, own, source, tree
from devmodel.build.archive import NoSuchPackage
from devmodel.build.tree import Tree
from devmodel.errors import BuildFailed
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)
SUITE = "trixie-backports"


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """The tools are the real ones; all else goes into a cache of its own."""
    tools = tree.obtain(QUIET)
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tree, "obtain", lambda _: tools)
    return tools


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeArchive]:
    made_up = FakeArchive(tmp_path / "archive")
    monkeypatch.setattr(archive, "KEYS", made_up.keys)
    with serve(made_up.folder) as uri:
        monkeypatch.setenv("DEVMODEL_MIRROR", uri)
        archive.of.cache_clear()
        yield made_up


def add(made_up: FakeArchive, version: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        info = tarfile.TarInfo("linux-source-7.2/Makefile")
        info.size = len(version)
        tar.addfile(info, io.BytesIO(version.encode()))
    files = {"usr/src/linux-source-7.2.tar.xz": packed.getvalue()}
    made_up.add("linux-source-7.2", version, suite=SUITE, files=files)


def test_it_is_unpacked_once(made_up: FakeArchive) -> None:
    add(made_up, "7.2.12-1")
    made_up.publish()
    found = source.obtain("7.2", SUITE, QUIET)
    assert (found.path / "Makefile").read_text() == found.version == "7.2.12-1"
    assert source.known("7.2", SUITE) == "7.2.12-1"
    Handler.asked.clear()
    assert source.obtain("7.2", SUITE, QUIET) == found
    assert Handler.asked == []


def test_that_of_one_version_or_the_newest(made_up: FakeArchive) -> None:
    for version in ("7.2.9-1", "7.2.12-1"):
        add(made_up, version)
    made_up.publish()
    assert source.obtain("7.2", SUITE, QUIET, exact="7.2.9-1").version == "7.2.9-1"
    assert source.obtain("7.2", SUITE, QUIET, exact="7.2.6-1").version == "7.2.12-1"


def test_none_in_the_archive(made_up: FakeArchive) -> None:
    made_up.publish(SUITE)
    with pytest.raises(NoSuchPackage, match=r"has no linux-source-7\.2 in trixie-backports"):
        source.obtain("7.2", SUITE, QUIET)
    assert source.known("7.2", SUITE) is None


PATCH = """\
--- a/mm/mm.c
+++ b/mm/mm.c
@@ -1 +1 @@
-old
+{}
"""


def some_tree(folder: Path) -> Path:
    (folder / "mm").mkdir(parents=True)
    (folder / "mm/mm.c").write_text("old\n")
    (folder / "mm/other.c").write_text("old\n")
    (folder / "Makefile").write_text("all:\n")
    return folder


def some_patch(path: Path, text: str = "new", file: str = "mm/mm.c") -> Path:
    path.write_text(PATCH.format(text).replace("mm/mm.c", file))
    return path


def test_a_patched_tree_is_a_copy(tmp_path: Path) -> None:
    linux, patch = some_tree(paths.cache() / "linux"), some_patch(tmp_path / "0001.patch")
    copy = source.patched(linux, [patch], QUIET)
    assert (copy / "mm/mm.c").read_text() == "new\n"
    assert (linux / "mm/mm.c").read_text() == "old\n"
    assert (copy / "Makefile").samefile(linux / "Makefile")
    assert source.patched(linux, [patch], QUIET) == copy


def test_a_patch_that_does_not_fit_is_named(tmp_path: Path) -> None:
    linux, patch = some_tree(paths.cache() / "linux"), some_patch(tmp_path / "0001-that.patch")
    (linux / "mm/mm.c").write_text("another\n")
    with pytest.raises(BuildFailed, match=r"0001-that\.patch"):
        source.patched(linux, [patch], QUIET)


def test_a_changed_patch_touches_what_it_changes_and_no_more(tmp_path: Path, tools: Tree) -> None:
    """Or make would build everything again."""
    linux, work = some_tree(paths.cache() / "linux"), paths.cache() / "work"

    def bring(*patches: Path) -> dict[str, tuple[str, int]]:
        wanted = source.patched(linux, patches, QUIET)
        own._bring(work, linux, wanted, patches, tools)
        files = [path for path in (work / "linux").rglob("*") if path.is_file()]
        return {path.name: (path.read_text(), path.stat().st_mtime_ns) for path in files}

    one = some_patch(tmp_path / "0001.patch")
    other = some_patch(tmp_path / "0002.patch", file="mm/other.c")
    first = bring(one, other)
    assert first["mm.c"][0] == first["other.c"][0] == "new\n"
    second = bring(one, some_patch(other, "newer", "mm/other.c"))
    assert second["other.c"][0] == "newer\n"
    assert {name for name in first if first[name] != second[name]} == {"other.c"}
    third = bring(one)
    assert third["other.c"][0] == "old\n"
    assert third["mm.c"] == first["mm.c"]
    assert (linux / "mm/mm.c").read_text() == "old\n"
