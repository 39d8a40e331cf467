"""The device, knowing nothing of QEMU, sockets or processes.

`device.Device` puts together `memory` (apertures), `mmu` and `tlb`, `copy_engine` (DMA),
`compute` (programs as coroutines) with `access` (the memory that programs see), `ring` and
`counters`; `programs` holds what can be launched. docs/device.md is the datasheet.
"""

from devmodel.device.config import DeviceConfig, Identity
from devmodel.device.device import Device
from devmodel.device.hardware import Hardware

__all__ = ["Device", "DeviceConfig", "Hardware", "Identity"]
