"""Where the source of a kernel series comes from, and what is said where it cannot be had."""

import os
import subprocess
from pathlib import Path

import pytest

from devmodel.build import cache, source
from devmodel.build.series import DEFAULT, SERIES
from devmodel.errors import BuildFailed, HostNotReady
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)
NEW = SERIES["7.2"]
TARGETS = """\
https://example.org/tools tools-bookworm main example
https://example.org/docker bookworm stable Docker
http://mirror.example.org/debian-security bookworm-security main Debian
http://mirror.example.org/debian bookworm-updates main Debian
http://mirror.example.org/debian bookworm main Debian
"""


@pytest.fixture(autouse=True)
def nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(source, "INSTALLED", tmp_path)


def fake(folder: Path, name: str, script: str) -> None:
    """A program of that name, before all others."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_no_source_package_is_said() -> None:
    with pytest.raises(HostNotReady, match=r"apt-get install linux-source-6\.1"):
        source.tarball(SERIES[DEFAULT], QUIET)


def test_an_installed_package_is_preferred(tmp_path: Path) -> None:
    (tmp_path / "linux-source-7.2.tar.xz").write_text("x")
    assert source.tarball(NEW, QUIET).path == tmp_path / "linux-source-7.2.tar.xz"


def test_the_mirror_is_the_machines_own() -> None:
    assert source.mirror(TARGETS, "bookworm") == "http://mirror.example.org/debian"
    before_the_first_update = TARGETS.replace("Debian", "$(ORIGIN)")
    assert source.mirror(before_the_first_update, "bookworm") == "http://mirror.example.org/debian"
    assert source.mirror("http://a.example/debian stable main Debian", "trixie") == (
        "http://a.example/debian"
    )
    assert source.mirror("http://a.example/ubuntu noble main Ubuntu", "noble") is None
    assert source.mirror("", "bookworm") is None


def package(tmp_path: Path, version: str) -> Path:
    """A binary package with a kernel source tarball in it."""
    root = tmp_path / "package"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/src").mkdir(parents=True)
    (root / "usr/src/linux-source-7.2.tar.xz").write_text("the source")
    (root / "DEBIAN/control").write_text(
        f"Package: linux-source-7.2\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: x <x@example.org>\nDescription: x\n"
    )
    subprocess.run(["dpkg-deb", "-b", root, tmp_path / "new.deb"], check=True, capture_output=True)
    return tmp_path / "new.deb"


def test_a_download_is_kept_with_its_version(tmp_path: Path, programs: Path) -> None:
    """apt-get is a stand-in that keeps what it was asked, and has the package at hand."""
    deb = package(tmp_path, "7.2.99-1~x")
    log = tmp_path / "asked"
    fake(
        programs,
        "apt-get",
        f"""case "$*" in
        *indextargets*) echo "http://mirror.example.org/debian stable main Debian" ;;
        *" download "*) cp {deb} . ; echo dlstatus:1:50.0:half ;;
        *) for word; do case $word in
             *SourceList=*) cat "${{word#*SourceList=}}" >{log} ;;
           esac; done ;;
        esac""",
    )
    found = source.tarball(NEW, QUIET)
    assert found.version == "7.2.99-1~x"
    assert found.path.read_text() == "the source"
    assert "URIs: http://mirror.example.org/debian\nSuites: trixie-backports\n" in log.read_text()
    kept = cache.folder("packages", "linux-source-7.2")
    assert sorted(path.name for path in kept.iterdir()) == [
        "download.log",
        "linux-source-7.2.tar.xz",
        "version",
    ]
    # The second time nothing is asked.
    fake(programs, "apt-get", "exit 1")
    assert source.tarball(NEW, QUIET) == found


def test_offline_is_one_line_with_a_hint(programs: Path) -> None:
    fake(
        programs,
        "apt-get",
        """case "$*" in
        *indextargets*) echo "http://mirror.example.org/debian stable main Debian" ;;
        *) echo "Err:1 it"; echo "E: Failed to fetch it  Could not resolve it"; exit 100 ;;
        esac""",
    )
    with pytest.raises(HostNotReady) as caught:
        source.tarball(NEW, QUIET)
    assert str(caught.value) == (
        "linux-source-7.2 could not be downloaded from trixie-backports: Failed to fetch it  "
        "Could not resolve it; it takes a network and a Debian mirror, or name a source tree of "
        "yours with --kernel PATH"
    )
    assert source.present(NEW) is None


def test_without_apt_and_without_a_mirror(programs: Path) -> None:
    fake(programs, "apt-get", "exit 1")
    with pytest.raises(HostNotReady, match="apt-get, which does not run here; name"):
        source.tarball(NEW, QUIET)
    fake(programs, "apt-get", "exit 0")
    with pytest.raises(HostNotReady, match="no Debian mirror among this machine's apt sources"):
        source.tarball(NEW, QUIET)


PATCH = """\
--- a/mm/mm.c
+++ b/mm/mm.c
@@ -1 +1 @@
-old
+new
"""


def test_a_patched_tree_is_a_copy(tmp_path: Path) -> None:
    tree, patch = tmp_path / "linux", tmp_path / "0001.patch"
    (tree / "mm").mkdir(parents=True)
    (tree / "mm/mm.c").write_text("old\n")
    (tree / "Makefile").write_text("all:\n")
    patch.write_text(PATCH)
    copy = source.patched(tree, [patch], QUIET)
    assert (copy / "mm/mm.c").read_text() == "new\n"
    assert (tree / "mm/mm.c").read_text() == "old\n"
    assert (copy / "Makefile").samefile(tree / "Makefile")
    assert source.patched(tree, [patch], QUIET) == copy


def test_a_patch_that_does_not_fit_is_named(tmp_path: Path) -> None:
    tree, patch = tmp_path / "linux", tmp_path / "0001-that.patch"
    (tree / "mm").mkdir(parents=True)
    (tree / "mm/mm.c").write_text("another\n")
    patch.write_text(PATCH)
    with pytest.raises(BuildFailed, match=r"0001-that\.patch"):
        source.patched(tree, [patch], QUIET)
