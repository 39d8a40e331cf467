"""What a kernel must have switched on to be a guest here."""

from pathlib import Path

from devmodel.errors import KernelUnfit

# Built in: the guest has no modules before its image is up.
BUILT_IN = {
    "DEVICE_PRIVATE": "device memory as struct pages",
    "ZONE_DEVICE": "device memory as struct pages",
    "MEMORY_HOTPLUG": "device memory as struct pages",
    "MEMORY_HOTREMOVE": "device memory as struct pages",
    "HMM_MIRROR": "address-space mirroring (TEST_HMM=m selects it)",
    "MMU_NOTIFIER": "address-space mirroring (TEST_HMM=m selects it)",
    "MIGRATION": "page migration",
    "MODULES": "the driver is a module",
    "PCI_MSI": "the device's interrupts",
    "ACPI": "the machine is found by ACPI",
    "BLK_DEV_INITRD": "the guest image is an initramfs",
    "DEVTMPFS": "device nodes",
    "TMPFS": "the guest image",
    "SERIAL_8250_CONSOLE": "the console",
    "INET": "the network",
    "UNIX98_PTYS": "the guest shell",
}
# Or modules, which /init loads.
EITHER = {
    "VIRTIO_PCI": "the network",
    "VIRTIO_NET": "the network",
}
# How folders of the host's come into a guest, the better way first: what each needs.
SHARING = {"virtiofs": ("VIRTIO_FS",), "9p": ("NET_9P_VIRTIO", "9P_FS")}
# A root that is a folder of the host's lies beneath a layer of the guest's own.
LAYER = {"OVERLAY_FS": "the guest's own layer over its root"}


def read(path: Path) -> dict[str, str]:
    """A .config as option (without CONFIG_) → value. Options that are off are not in it."""
    return parse(path.read_text())


def parse(text: str) -> dict[str, str]:
    """A .config's text as `read` gives it."""
    options = {}
    for line in text.splitlines():
        if line.startswith("CONFIG_") and "=" in line:
            name, value = line.removeprefix("CONFIG_").split("=", 1)
            options[name] = value
    return options


def missing(options: dict[str, str]) -> dict[str, str]:
    """What `options` lack, and what each is for."""
    return {
        **{name: why for name, why in BUILT_IN.items() if options.get(name) != "y"},
        **{name: why for name, why in EITHER.items() if options.get(name) not in ("y", "m")},
    }


def sharing(options: dict[str, str], *, layered: bool) -> str:
    """By what folders of the host's come: a key of SHARING. KernelUnfit if by nothing.

    `layered`: one of them is to be the root.
    """
    for kind, needs in SHARING.items():
        if all(options.get(name) in ("y", "m") for name in needs):
            lacks = {n: w for n, w in LAYER.items() if options.get(n) not in ("y", "m")}
            if layered and lacks:
                raise _unfit("this kernel", lacks)
            return kind
    raise _unfit("this kernel", {"VIRTIO_FS": "folders of the host's"})


def pvh(options: dict[str, str]) -> bool:
    """Whether QEMU can start the kernel's ELF file, by the note that this puts there."""
    return options.get("PVH") == "y"


def check(path: Path) -> None:
    """KernelUnfit naming every option that the .config at `path` lacks."""
    if lacks := missing(read(path)):
        raise _unfit(f"{path}: this kernel", lacks)


def _unfit(what: str, lacks: dict[str, str]) -> KernelUnfit:
    shown = ", ".join(f"CONFIG_{name}=y ({why})" for name, why in lacks.items())
    return KernelUnfit(
        f"{what} lacks {shown}",
        hint="add to its .config what stands before each bracket, and build it again",
    )
