"""What belongs to one VM alone: a tiny archive that the kernel unpacks over the shared image."""

from collections.abc import Sequence

from devmodel.build.cpio import Archive
from devmodel.machine.keys import KeyPair
from devmodel.machine.shares import Share


def pack(
    login: KeyPair, host: KeyPair, shares: Sequence[Share], hostname: str, *, kind: str = ""
) -> bytes:
    """The archive of one VM: its keys, its name and its shares, which come by `kind`."""
    archive = Archive()
    archive.folder("root/.ssh", 0o700)
    archive.file("root/.ssh/authorized_keys", login.public + b"\n", 0o600)
    archive.folder("etc/dropbear", 0o700)
    archive.file("etc/dropbear/host_key", host.dropbear, 0o600)
    archive.file("etc/hostname", f"{hostname}\n".encode())
    archive.file("etc/shares", "".join(f"{kind} {share.line}\n" for share in shares).encode())
    return archive.pack()
