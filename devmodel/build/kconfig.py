"""What a kernel must have switched on to be a guest here."""

from pathlib import Path

from devmodel.errors import ConfigError

REQUIRED = {
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
    "VIRTIO_PCI": "the network",
    "VIRTIO_NET": "the network",
    "INET": "the network",
    "UNIX98_PTYS": "the guest shell",
    "NET_9P_VIRTIO": "shared folders",
    "9P_FS": "shared folders",
}


def read(path: Path) -> dict[str, str]:
    """A .config as option (without CONFIG_) → value. Options that are off are not in it."""
    options = {}
    for line in path.read_text().splitlines():
        if line.startswith("CONFIG_") and "=" in line:
            name, value = line.removeprefix("CONFIG_").split("=", 1)
            options[name] = value
    return options


def check(path: Path) -> None:
    """ConfigError naming every option that the .config at `path` lacks.

    "=m" is as good as "=y" only for HMM_MIRROR's like, which are never modules: the guest has
    no module loading before its network and shares are up.
    """
    options = read(path)
    missing = [name for name in REQUIRED if options.get(name) != "y"]
    if missing:
        shown = ", ".join(f"CONFIG_{name}=y ({REQUIRED[name]})" for name in missing)
        raise ConfigError(
            f"{path}: this kernel lacks {shown}",
            hint="merge guest/kernel/base.config into it and build it again",
        )
