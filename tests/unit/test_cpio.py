"""The archive writer, against the cpio program's own reading."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from devmodel.build.cpio import Archive


def example() -> Archive:
    archive = Archive()
    archive.file("usr/bin/tool", b"#!/bin/sh\n", 0o755)
    archive.symlink("bin/sh", "/usr/bin/tool")
    archive.folder("tmp", 0o1777)
    archive.file("/etc/empty", b"")
    return archive


def records(data: bytes) -> dict[str, tuple[int, bytes]]:
    """A reader of its own: name → (mode, data)."""
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        at += -(-(110 + fields[11]) // 4) * 4
        content = data[at : at + fields[6]]
        at += -(-fields[6] // 4) * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], content)


def test_everything_is_in_it_parents_first() -> None:
    found = records(example().pack())
    assert list(found) == ["bin", "bin/sh", "etc", "etc/empty", "tmp", "usr", "usr/bin",
                           "usr/bin/tool"]  # fmt: skip
    assert found["usr/bin/tool"] == (stat.S_IFREG | 0o755, b"#!/bin/sh\n")
    assert found["bin/sh"] == (stat.S_IFLNK | 0o777, b"/usr/bin/tool")
    assert found["tmp"][0] == stat.S_IFDIR | 0o1777


def test_the_same_entries_give_the_same_bytes() -> None:
    other = Archive()
    other.file("/etc/empty", b"")
    other.folder("tmp", 0o1777)
    other.symlink("bin/sh", "/usr/bin/tool")
    other.file("usr/bin/tool", b"#!/bin/sh\n", 0o755)
    assert other.pack() == example().pack()


def test_another_archive_can_follow() -> None:
    assert len(example().pack()) % 512 == 0


@pytest.mark.parametrize("path", ["", "/", "../etc/passwd", "a/../../b"])
def test_a_path_outside_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is no path in an archive"):
        Archive().file(path, b"")


@pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio program here")
def test_cpio_unpacks_it(tmp_path: Path) -> None:
    command = ["cpio", "-id", "--quiet", "--no-absolute-filenames"]
    subprocess.run(command, input=example().pack(), cwd=tmp_path, check=True)
    assert (tmp_path / "usr/bin/tool").read_text() == "#!/bin/sh\n"
    assert (tmp_path / "usr/bin/tool").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "bin/sh").readlink() == Path("/usr/bin/tool")
