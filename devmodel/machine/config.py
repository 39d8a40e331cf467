"""A machine's description: YAML in, checked objects out.

Every mistake is one line: file, key, what is wrong, what would be right.

========================  =======  ============================================================
key                       default  meaning
========================  =======  ============================================================
name                      file     the VM's name, for `devmodel ps` and the logs
memory                    1G       guest RAM, 128M or more
cpus                      2        virtual CPUs, 1 to 16
nodes                     1        NUMA nodes that RAM and CPUs are spread over; QEMU 8.1
accel                     auto     auto, kvm or tcg
qemu                      auto     auto, host, tree (unpacked into the cache), or a program's path
append                    ""       more kernel command line
boot_timeout              120      seconds until the guest must be ready
trace                     false    keep every device's trace, for `devmodel check`
policy                    in_place what a device's touch does where no program advised: in_place
                                   maps pages where they are, on_touch moves them to HBM first
restarts                  3        times a minute that a device which dies gets a new agent
kernel.series             best     "7.2", "7.2-own" and others, see `devmodel kernels`
kernel.tree               none     your own kernel tree, built or not, instead of a series
kernel.make               false    make a tree that was built in its own folder there again, first
kernel.image, .modules    none     your own bzImage, and where its modules are, if not beside it
kernel.debug              false    KASAN, lockdep and friends
kernel.cdm                false    with the patches that model cdm needs (guest/kernel/patches)
devices[].model           private  mirror, private, coherent, numa or cdm
devices[].hbm             256M     the device's memory; 0 for mirror
devices[].hbm_survives    true     private, coherent: if not, a new agent finds nothing of it
devices[].node            1        numa, cdm: the NUMA node that the memory becomes
devices[].programs        []       Python files with device programs
devices[].faults          none     mistakes to make, and memory that fails (docs/device.md)
root                      initramfs  the guest's /: initramfs (the guest image's own), host (this
                                   machine's, beneath a layer that goes away with the VM), or
                                   debian, a small one, with more packages as {debian: [python3]}
shares[].host, .guest     none     a folder of the host's, and where the guest sees it
shares[].readonly         true     if not, the guest can write there
========================  =======  ============================================================

Relative paths are relative to the file they stand in.
"""

import difflib
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import StrictBool, StrictInt, StrictStr, field_validator, model_validator

from devmodel import description, paths, sizes
from devmodel.build.config import KernelConfig
from devmodel.build.root import Root, RootConfig
from devmodel.build.series import known
from devmodel.description import Size, Strict
from devmodel.device.config import DeviceConfig
from devmodel.errors import ConfigError

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
MIN_MEMORY = 128 << 20
# Blocks of memory that the kernel takes for one: a node has whole ones.
NODE_ALIGN = 128 << 20
MAX_MEMORY = 64 << 30
# The guest's own, whatever its root.
OWN_FOLDERS = ("/dev", "/proc", "/sys", "/tmp", "/run")


class Accel(StrEnum):
    """How QEMU runs the guest's instructions."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class Policy(StrEnum):
    """What a device's touch does where no program advised, as the driver calls it."""

    IN_PLACE = "in_place"
    ON_TOUCH = "on_touch"


class ShareConfig(Strict):
    """A folder of the host's that the guest mounts."""

    host: Path
    guest: PurePosixPath
    readonly: StrictBool = True

    @field_validator("guest")
    @classmethod
    def _absolute(cls, value: PurePosixPath) -> PurePosixPath:
        # A line of the guest's list ends with it.
        name = str(value)
        if not value.is_absolute() or "\n" in name or name != name.strip():
            raise ValueError(f"{name!r} is no mount point; write an absolute path like /mnt/host")
        return value


class MachineConfig(Strict):
    """A VM, whole. `MachineConfig.load` reads one from a file."""

    name: str = "vm"
    memory: Size = 1 << 30
    cpus: StrictInt = 2
    nodes: StrictInt = 1
    accel: Accel = Accel.AUTO
    qemu: StrictStr = "auto"
    append: str = ""
    boot_timeout: StrictInt = 120
    trace: StrictBool = False
    policy: Policy = Policy.IN_PLACE
    restarts: StrictInt = 3
    kernel: KernelConfig = KernelConfig()
    devices: tuple[DeviceConfig, ...] = ()
    root: Root = RootConfig()
    shares: tuple[ShareConfig, ...] = ()

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"{value!r} is no name; use lower-case letters, digits and '-'")
        return value

    @field_validator("memory")
    @classmethod
    def _memory(cls, value: int) -> int:
        if not MIN_MEMORY <= value <= MAX_MEMORY or value % (2 << 20):
            raise ValueError(
                f"{sizes.show(value)} of RAM is not possible; use a multiple of 2M from "
                f"{sizes.show(MIN_MEMORY)} to {sizes.show(MAX_MEMORY)}"
            )
        return value

    @field_validator("cpus")
    @classmethod
    def _cpus(cls, value: int) -> int:
        if not 1 <= value <= 16:
            raise ValueError(f"{value} CPUs are not possible; use 1 to 16")
        return value

    @model_validator(mode="after")
    def _nodes(self) -> "MachineConfig":
        if not 1 <= self.nodes <= self.cpus:
            raise ValueError(f"nodes: {self.nodes} is not possible; use 1 to {self.cpus} (cpus)")
        if self.cpus % self.nodes:
            raise ValueError(f"nodes: {self.cpus} CPUs do not spread over {self.nodes} nodes")
        if self.memory % (self.nodes * NODE_ALIGN):
            raise ValueError(
                f"nodes: {sizes.show(self.memory)} do not fit {self.nodes} nodes; "
                f"use a multiple of {sizes.show(self.nodes * NODE_ALIGN)}"
            )
        for device in self.devices:
            if device.numa_node and device.numa_node < self.nodes:
                raise ValueError(f"devices: node {device.numa_node} is one of RAM's; use another")
        return self

    @field_validator("restarts")
    @classmethod
    def _restarts(cls, value: int) -> int:
        if not 0 <= value <= 1000:
            raise ValueError(f"{value} restarts a minute are not possible; use 0 to 1000")
        return value

    @field_validator("boot_timeout")
    @classmethod
    def _boot_timeout(cls, value: int) -> int:
        if not 1 <= value <= 3600:
            raise ValueError(f"{value} is no useful limit; use 1 to 3600 seconds")
        return value

    @field_validator("append")
    @classmethod
    def _append(cls, value: str) -> str:
        if "\n" in value:
            raise ValueError("the kernel command line is one line; remove the line break")
        return value

    @field_validator("devices")
    @classmethod
    def _devices(cls, value: tuple[DeviceConfig, ...]) -> tuple[DeviceConfig, ...]:
        if len(value) > 8:
            raise ValueError(f"{len(value)} devices are too many; use 8 at most")
        # QEMU describes one hot-pluggable range, and so one node that may come to be.
        if sum(device.model.is_node for device in value) > 1:
            raise ValueError("one device at most can be a NUMA node; make the others coherent")
        return value

    @classmethod
    def load(cls, config: str | Path) -> "MachineConfig":
        """Read a YAML file, or a shipped description by its bare name. ConfigError if it is bad."""
        path = find(config)
        data = description.read(path, example="memory: 1G")
        return cls.parse({"name": path.stem.lower().replace("_", "-"), **data}, path)

    @classmethod
    def parse(cls, data: dict[str, Any], path: Path) -> "MachineConfig":
        """Check `data` as if it stood in the file `path`. ConfigError names the first mistake."""
        return description.check(cls, data, path).resolved(path.parent)

    def resolved(self, base: Path) -> "MachineConfig":
        """A copy whose relative paths are taken from the folder `base`."""

        def full(path: Path) -> Path:
            return (base / path.expanduser()).absolute()

        named = {name: getattr(self.kernel, name) for name in ("tree", "image", "modules")}
        kernel = self.kernel.model_copy(
            update={name: full(path) for name, path in named.items() if path is not None}
        )
        devices = tuple(
            d.model_copy(update={"programs": tuple(full(p) for p in d.programs)})
            for d in self.devices
        )
        shares = tuple(s.model_copy(update={"host": full(s.host)}) for s in self.shares)
        return self.model_copy(update={"kernel": kernel, "devices": devices, "shares": shares})

    def renamed(self, name: str) -> "MachineConfig":
        """A copy called `name`. ConfigError if that is no name."""
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"--name: {name!r} is no name", hint="use lower-case letters, digits and '-'"
            )
        return self.model_copy(update={"name": name})

    def with_programs(self, programs: Sequence[Path]) -> "MachineConfig":
        """A copy whose devices all know these device programs, too.

        ConfigError if there are some, and no device.
        """
        if programs and not self.devices:
            raise ConfigError("--programs: this machine has no device", hint="add one to CONFIG")
        devices = tuple(
            device.model_copy(update={"programs": device.programs + tuple(programs)})
            for device in self.devices
        )
        return self.model_copy(update={"devices": devices})

    def sees(self, folder: Path) -> bool:
        """Whether a folder of this machine's is in the guest at its own path."""
        for share in self.shares:
            if share.host == Path(share.guest) and folder.is_relative_to(share.host):
                return True
        return self.root.host and not any(folder.is_relative_to(own) for own in OWN_FOLDERS)

    def check_files(self) -> None:
        """ConfigError if a file or folder that this names is not there."""
        for device in self.devices:
            for program in device.programs:
                if not program.is_file():
                    raise ConfigError(f"programs: no file {program}", hint="name a Python file")
        for share in self.shares:
            if not share.host.is_dir() or "\n" in str(share.host):
                raise ConfigError(f"shares: no folder {share.host}", hint="name a folder to share")
        if self.kernel.tree is not None and not self.kernel.tree.is_dir():
            raise ConfigError(
                f"kernel.tree: no folder {self.kernel.tree}",
                hint=f"name a kernel source tree, or one of the series {known()}",
            )
        if self.kernel.image is not None and not self.kernel.image.is_file():
            raise ConfigError(f"kernel.image: no file {self.kernel.image}", hint="name a bzImage")
        if self.kernel.modules is not None and not self.kernel.modules.is_dir():
            raise ConfigError(
                f"kernel.modules: no folder {self.kernel.modules}", hint="name one with lib/modules"
            )


def shipped() -> list[str]:
    """The names of the descriptions that come with devmodel."""
    return sorted(path.stem for path in paths.CONFIGS.glob("*.yaml"))


def find(config: str | Path) -> Path:
    """The file that `config` means: a path, or the bare name of a shipped description."""
    path = Path(config).expanduser()
    if path.is_file():
        return path
    name = str(config)
    if "/" not in name:
        for candidate in (name, f"hmm-{name}"):
            file = paths.CONFIGS / f"{candidate}.yaml"
            if file.is_file():
                return file
    close = difflib.get_close_matches(name.removesuffix(".yaml"), shipped(), 1, 0.5)
    choice = f"did you mean {close[0]}?" if close else f"shipped are {', '.join(shipped())}"
    raise ConfigError(f"{config}: no such file or shipped description", hint=choice)
