"""Folders of this machine's in a guest: what each is, by which way it comes, and who serves it.

::

    virtiofs    a virtiofsd for each, from the tools tree
    9p          by QEMU itself, where the kernel has no virtiofs
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devmodel.build.root import RootConfig
from devmodel.machine.config import ShareConfig

ROOT_TAG = "root"


@dataclass(frozen=True)
class Share:
    """A folder on its way into a guest."""

    tag: str
    """by which the guest mounts it"""
    host: Path
    where: str
    """its mount point in the guest; that of the root is the guest's affair"""
    readonly: bool = True
    one: bool = False
    """folders on other disks below it are part of it: a layer over it does not cross mounts"""
    ours: bool = False
    """files of this user's are root's in the guest"""

    @property
    def line(self) -> str:
        """What /init reads of it. The mount point last: it may have spaces."""
        return f"{self.tag} {'ro' if self.readonly else 'rw'} {self.where}"


def of_machine(
    root: RootConfig, folder: Path | None, shares: Sequence[ShareConfig]
) -> tuple[Share, ...]:
    """The root, if it is a `folder` of this machine's, and the shares."""
    found = [
        Share(f"share{number}", share.host, str(share.guest), share.readonly)
        for number, share in enumerate(shares)
    ]
    if folder is not None:
        found.insert(0, Share(ROOT_TAG, folder, "/", one=True, ours=not root.host))
    return tuple(found)


def nine_p(shares: Sequence[Share]) -> list[str]:
    """QEMU's options for shares that it serves itself."""
    line = []
    for share in shares:
        # A comma ends a value, two are one.
        path = str(share.host).replace(",", ",,")
        readonly = ",readonly=on" if share.readonly else ""
        backend = f"local,id={share.tag},path={path},security_model=none,multidevs=remap{readonly}"
        line += ["-fsdev", backend]
        line += ["-device", f"virtio-9p-pci,fsdev={share.tag},mount_tag={share.tag}"]
    return line


def virtiofs(shares: Sequence[Share], sockets: Sequence[int]) -> list[str]:
    """QEMU's options for shares that others serve, each at the other end of its socket."""
    line = []
    for share, fd in zip(shares, sockets, strict=True):
        line += ["-chardev", f"socket,id={share.tag},fd={fd}"]
        line += ["-device", f"vhost-user-fs-pci,chardev={share.tag},tag={share.tag}"]
    return line


def server_options(share: Share) -> list[str]:
    """What virtiofsd is told of a share."""
    line = ["--shared-dir", str(share.host), "--sandbox", "none", "--log-level", "warn"]
    line += ["--readonly"] if share.readonly else []
    line += ["--no-announce-submounts"] if share.one else []
    if os.geteuid() == 0:
        # Instead of a descriptor for each file that the guest knows of; nobody else may.
        line += ["--inode-file-handles=prefer", "--modcaps=+dac_read_search"]
    if share.ours:
        line += ["--translate-uid", f"host:{os.getuid()}:0:1"]
        line += ["--translate-gid", f"host:{os.getgid()}:0:1"]
    return line
