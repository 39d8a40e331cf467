"""What a kernel must have switched on to be a guest here."""

from pathlib import Path

from devmodel.errors import ConfigError

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
NINE_P = ("NET_9P_VIRTIO", "9P_FS")


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


def nine_p(options: dict[str, str]) -> bool:
    """Whether the guest can mount shared folders by 9p; else they come by virtiofs."""
    return all(options.get(name) in ("y", "m") for name in NINE_P)


def pvh(options: dict[str, str]) -> bool:
    """Whether QEMU can start the kernel's ELF file, by the note that this puts there."""
    return options.get("PVH") == "y"


def check(path: Path) -> None:
    """ConfigError naming every option that the .config at `path` lacks."""
    lacks = missing(read(path))
    if lacks:
        shown = ", ".join(f"CONFIG_{name}=y ({why})" for name, why in lacks.items())
        raise ConfigError(
            f"{path}: this kernel lacks {shown}",
            hint="merge guest/kernel/base.config into it and build it again",
        )
