"""The tools, and the tree that has a C++ compiler beside them: from a made-up archive."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_archive import FakeArchive, Handler, serve

from devmodel.build import archive, tree
from devmodel.build.lock import Request
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeArchive]:
    """With gcc, g++ and make; the tools are gcc and make."""
    made_up = FakeArchive(tmp_path / "archive")
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(archive, "KEYS", made_up.keys)
    tools = (tree.COMPILER, "make")
    request = Request("tools", tools, tree.SUITES, lambda archive: archive.closure(tools))
    monkeypatch.setattr(tree, "REQUEST", request)
    with serve(made_up.folder) as uri:
        monkeypatch.setenv("DEVMODEL_MIRROR", uri)
        yield made_up


def publish(made_up: FakeArchive, version: str) -> None:
    """A compiler of a version, both halves of it, in place of any other."""
    for name in (tree.COMPILER, tree.CPLUSPLUS, "make"):
        made_up.remove(name)
    gcc, gpp = f"usr/bin/{tree.COMPILER}", f"usr/bin/{tree.CPLUSPLUS}"
    made_up.add(tree.COMPILER, version, files={gcc: f"gcc {version}".encode()})
    made_up.add(
        tree.CPLUSPLUS,
        version,
        files={gpp: f"g++ {version}".encode()},
        Depends=f"{tree.COMPILER} (= {version})",
    )
    made_up.add("make", "1", files={"usr/bin/make": b"make"})
    made_up.publish(*tree.SUITES)
    archive.of.cache_clear()


def fetched() -> list[str]:
    return sorted(line.split("_")[0] for line in Handler.asked if ".deb" in line)


def test_nobody_fetches_it_who_has_no_use_for_it(made_up: FakeArchive) -> None:
    publish(made_up, "14.2")
    tools = tree.obtain(QUIET)
    assert fetched() == [tree.COMPILER, "make"]
    assert tree.find_cplusplus(tools) is None


def test_only_what_is_missing_is_fetched(made_up: FakeArchive) -> None:
    publish(made_up, "14.2")
    tools = tree.obtain(QUIET)
    Handler.asked.clear()
    both = tree.cplusplus(QUIET)
    assert fetched() == [tree.CPLUSPLUS]
    assert both.path != tools.path
    assert tree.find_cplusplus(tools) == both.path
    assert both.file(f"bin/{tree.CPLUSPLUS}").read_text() == "g++ 14.2"
    assert both.lock.version("make") == "1"
    # The files are the same ones, and take no room twice.
    assert both.file("bin/make").samefile(tools.file("bin/make"))
    assert (both.path / "lib").readlink() == Path("usr/lib")
    assert not tools.file(f"bin/{tree.CPLUSPLUS}").exists()


def test_two_halves_of_one_version(made_up: FakeArchive) -> None:
    """The archive has moved on since the tools came: gcc comes again, for C++ only."""
    publish(made_up, "14.2")
    tools = tree.obtain(QUIET)
    publish(made_up, "14.3")
    both = tree.cplusplus(QUIET)
    for program, name in ((tree.COMPILER, "gcc"), (tree.CPLUSPLUS, "g++")):
        assert both.file(f"bin/{program}").read_text() == f"{name} 14.3"
    assert both.compiler == f"{tree.COMPILER} 14.3"
    assert tools.file(f"bin/{tree.COMPILER}").read_text() == "gcc 14.2"


def test_it_goes_with_the_tools_that_are_there(
    made_up: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tools, another tree: nothing of the old ones is left in it."""
    publish(made_up, "14.2")
    first = tree.cplusplus(QUIET)
    more = (tree.COMPILER, "make", "more")
    made_up.add("more")
    made_up.publish(*tree.SUITES)
    archive.of.cache_clear()
    request = Request("tools", more, tree.SUITES, lambda archive: archive.closure(more))
    monkeypatch.setattr(tree, "REQUEST", request)
    second = tree.cplusplus(QUIET)
    assert second.path != first.path
    assert second.file("share/more").exists()
