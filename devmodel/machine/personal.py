"""What belongs to one VM alone: a tiny archive that the kernel unpacks over the shared image."""

from collections.abc import Sequence

from devmodel.build.cpio import Archive
from devmodel.machine.keys import KeyPair


def pack(
    login: KeyPair, host: KeyPair, shares: Sequence[tuple[str, str, bool]], hostname: str
) -> bytes:
    """The archive of one VM: its keys, its name and its shares (tag, mount point, read-only)."""
    archive = Archive()
    archive.folder("root/.ssh", 0o700)
    archive.file("root/.ssh/authorized_keys", login.public + b"\n", 0o600)
    archive.folder("etc/dropbear", 0o700)
    archive.file("etc/dropbear/host_key", host.dropbear, 0o600)
    archive.file("etc/hostname", f"{hostname}\n".encode())
    lines = [f"{tag} {where} {'ro' if readonly else 'rw'}" for tag, where, readonly in shares]
    archive.file("etc/shares", "".join(f"{line}\n" for line in lines).encode())
    return archive.pack()
