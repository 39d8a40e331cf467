"""The first pages of the shared region (BAR 2): who the device is, and how it is doing.

::

    0x0000  DeviceRegs   written by the device, read by the driver
    0x1000  DriverRegs   written by the driver, read by the device
    0x2000  counters     (devmodel.abi.counters) written by the device, read by the driver
    0x3000  contexts     the same, of CONTEXT_ENTRIES contexts at most; for who looks from outside
    0x4000  rings        (devmodel.abi.rings), at the offsets that DeviceRegs names
    hbm_offset           HBM window, on a 128 MiB boundary; only in models that let the CPU see HBM
"""

from enum import IntEnum, IntFlag

from devmodel.abi.record import Record, doc, u32, u64

PCI_VENDOR = 0x1AF4
PCI_DEVICE = 0x1110
MAGIC = int.from_bytes(b"DEVMODEL", "little")
ABI_MAJOR = 1
ABI_MINOR = 0

DEVICE_PAGE = 0x0000
DRIVER_PAGE = 0x1000
COUNTER_PAGE = 0x2000
CONTEXT_PAGE = 0x3000
CONTEXT_ENTRIES = 64
RING_BASE = 0x4000
CONTROL_REGION = 1 << 20
HBM_ALIGN = 128 << 20

# ivshmem's own register (BAR 0): writing peer << 16 | vector rings that peer's doorbell.
IVSHMEM_DOORBELL = 0x0C


class Vector(IntEnum):
    """MSI-X vectors, device to driver."""

    COMPLETION = 0
    FAULT = 1


VECTORS = 2


class Model(IntEnum):
    """Memory models: how the device's HBM takes part in the kernel's memory management."""

    MIRROR = 0
    PRIVATE = 1
    COHERENT = 2
    NUMA = 3
    CDM = 4


class DeviceState(IntEnum):
    """What DeviceRegs.state says."""

    ABSENT = 0
    READY = 1
    LOST = 2
    RESTARTING = 3


class Feature(IntFlag):
    """What this device can do beyond the least."""

    HBM = 1
    HBM_IN_BAR = 2
    HUGE_LEAVES = 4
    EVENT_SUPPRESSION = 8
    TRACE = 16
    HBM_VOLATILE = 32


class DeviceRegs(Record):
    """Identification and health, written by the device alone."""

    C_NAME = "devmodel_device_regs"

    magic: u64 = doc("`DEVMODEL` in ASCII; anything else is not this device")
    abi_major: u32 = doc("differs: refuse")
    abi_minor: u32 = doc("rises when something was added")
    layout_hash: u64 = doc("of every layout on both sides; differs: refuse")
    generation: u64 = doc("rises at every start of the agent")
    heartbeat: u64 = doc("rises while the agent lives")
    reset_ack: u64 = doc("the DriverRegs.epoch that the device has reset itself for")
    state: u32 = doc("DeviceState")
    peer: u32 = doc("ivshmem peer number to ring")
    model: u32 = doc("Model that the machine was configured for")
    page_shift: u32 = doc("log2 of the device's page size in bytes")
    features: u64 = doc("Feature bits")
    hbm_size: u64 = doc("bytes of HBM, 0 for none")
    hbm_offset: u64 = doc("of the HBM window in BAR 2, 0 where the CPU cannot reach HBM")
    region_size: u64 = doc("bytes of BAR 2")
    control_offset: u32 = doc("of the control ring in BAR 2")
    control_entries: u32 = doc("a power of two")
    copy_offset: u32 = doc("of the copy ring")
    copy_entries: u32 = doc("a power of two")
    compute_offset: u32 = doc("of the compute ring")
    compute_entries: u32 = doc("a power of two")
    completion_offset: u32 = doc("of the completion ring")
    completion_entries: u32 = doc("a power of two")
    fault_offset: u32 = doc("of the fault ring, the fault buffer")
    fault_entries: u32 = doc("a power of two")
    number: u32 = doc("of this device in its machine: its HBM is aperture PEER0 + number of others")
    trace_offset: u32 = doc("of the trace ring, 0 without Feature.TRACE")
    trace_entries: u32 = doc("a power of two, 0 without Feature.TRACE")
    node: u32 = doc("NUMA node that the HBM becomes in the models numa and cdm, else 0")


class DriverRegs(Record):
    """Written by the driver alone."""

    C_NAME = "devmodel_driver_regs"

    epoch: u64 = doc("changed by a driver that wants the device reset; see DeviceRegs.reset_ack")
    generation: u64 = doc("the life of the device that the driver means with its resets")
    hbm_in_use: u64 = doc("bytes of HBM that hold pages now; not for the device, and not of a node")
