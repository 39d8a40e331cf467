"""What belongs to one VM alone: a tiny archive that the kernel unpacks over the shared image."""

from collections.abc import Sequence
from dataclasses import dataclass

from devmodel.build.cpio import Archive
from devmodel.machine.keys import KeyPair


@dataclass(frozen=True)
class Mount:
    """A shared folder, as the guest mounts it."""

    tag: str
    where: str
    readonly: bool
    kind: str
    """9p or virtiofs"""

    @property
    def line(self) -> str:
        """What /init reads of it."""
        return f"{self.tag} {self.where} {'ro' if self.readonly else 'rw'} {self.kind}"


def pack(login: KeyPair, host: KeyPair, shares: Sequence[Mount], hostname: str) -> bytes:
    """The archive of one VM: its keys, its name and its shares."""
    archive = Archive()
    archive.folder("root/.ssh", 0o700)
    archive.file("root/.ssh/authorized_keys", login.public + b"\n", 0o600)
    archive.folder("etc/dropbear", 0o700)
    archive.file("etc/dropbear/host_key", host.dropbear, 0o600)
    archive.file("etc/hostname", f"{hostname}\n".encode())
    archive.file("etc/shares", "".join(f"{share.line}\n" for share in shares).encode())
    return archive.pack()
