"""Writes initramfs archives: the "newc" format of Documentation/driver-api/early-userspace.

The same entries give the same bytes: no times, owners or inode numbers of the host's.
"""

import stat
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Entry:
    """One file: `mode` with its type bits, `data` a file's bytes or a symlink's target."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


class Archive:
    """Entries by path; parent folders come by themselves. Owner is root."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def folder(self, path: str, mode: int = 0o755) -> None:
        """A directory. One that exists gets this mode."""
        self._put(path, Entry(stat.S_IFDIR | mode))

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """A regular file."""
        self._put(path, Entry(stat.S_IFREG | mode, data))

    def symlink(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._put(path, Entry(stat.S_IFLNK | 0o777, target.encode()))

    def character_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """A device node."""
        self._put(path, Entry(stat.S_IFCHR | mode, b"", (major, minor)))

    def _put(self, path: str, entry: Entry) -> None:
        name = path.strip("/")
        if not name or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{path!r} is no path in an archive")
        for parent in PurePosixPath(name).parents:
            if str(parent) != ".":
                self._entries.setdefault(str(parent), Entry(stat.S_IFDIR | 0o755))
        self._entries[name] = entry

    def __contains__(self, path: str) -> bool:
        return path.strip("/") in self._entries

    def pack(self) -> bytes:
        """The archive, padded to 512 bytes so that another can follow it."""
        out = bytearray()
        # Sorted: a folder comes before what is in it, and the order of adding does not matter.
        for number, (name, entry) in enumerate(sorted(self._entries.items()), start=1):
            out += _record(name, entry, number)
        out += _record("TRAILER!!!", Entry(0), 0)
        out += bytes(-len(out) % 512)
        return bytes(out)


def _record(name: str, entry: Entry, inode: int) -> bytes:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, uid, gid, links, time, size, the archive's device, the node's device,
    # length of the name, checksum (unused in this variant)
    fields = (
        inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(encoded), 0,
    )  # fmt: skip
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    padded_name = encoded + bytes(-(len(header) + len(encoded)) % 4)
    return header + padded_name + entry.data + bytes(-len(entry.data) % 4)
