"""What a program says to the driver, on /dev/devmodelN."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from devmodel.abi.counters import Stats
from devmodel.abi.record import Record, doc, text32, u32, u64, u64x2, u64x8


class Target(IntEnum):
    """Where DEVMODEL_IOC_MIGRATE moves pages: to this device's HBM, or out of it."""

    SYSTEM = 0
    DEVICE = 1


class Policy(IntEnum):
    """What a device fault does, per address range (DEVMODEL_IOC_ADVISE)."""

    IN_PLACE = 0
    ON_TOUCH = 1


class PageOutcome(IntEnum):
    """Per page of DEVMODEL_IOC_MIGRATE: what became of it (docs/driver.md, Migration)."""

    MOVED = 0
    ALREADY_THERE = 1
    NOT_MIGRATABLE = 2
    NO_MEMORY = 3
    COPY_FAILED = 4
    BUSY = 5
    LOST = 6


class PageState(IntFlag):
    """Per page of DEVMODEL_IOC_SNAPSHOT. Bits 8-11 hold a Place."""

    VALID = 1
    WRITE = 2
    HUGE = 4
    ACCESSED = 8
    DIRTY = 16
    ATOMIC = 32


class Place(IntEnum):
    """Where a snapshot found a page (PageState bits 8-11)."""

    NONE = 0
    SYSTEM = 1
    HBM = 2
    OTHER_DEVICE = 3
    ZERO_PAGE = 4


PLACE_SHIFT = 8


class Info(Record):
    """DEVMODEL_IOC_INFO: what this device is."""

    C_NAME = "devmodel_info"

    abi_major: u32 = doc("of the driver")
    abi_minor: u32 = doc("of the driver")
    layout_hash: u64 = doc("of the driver")
    model: u32 = doc("Model in use")
    page_shift: u32 = doc("log2 of the device's page size")
    features: u64 = doc("Feature bits")
    hbm_bytes: u64 = doc("HBM in all")
    context: u32 = doc("this mirror's context (PASID)")
    reserved: u32 = doc("0")


class Launch(Record):
    """DEVMODEL_IOC_LAUNCH: start a device program; it runs until DEVMODEL_IOC_WAIT says."""

    C_NAME = "devmodel_launch"

    program: text32 = doc("name, filled up with NUL")
    args: u64x8 = doc("addresses of this process, and numbers")
    nargs: u32 = doc("how many of them are given")
    flags: u32 = doc("0")
    handle: u64 = doc("out: what to wait for")


class Wait(Record):
    """DEVMODEL_IOC_WAIT: wait for a launch. ETIME: still running; the handle stays good."""

    C_NAME = "devmodel_wait"

    handle: u64 = doc("from DEVMODEL_IOC_LAUNCH")
    timeout_ms: u32 = doc("how long to wait at most; after EINTR, what is left of it")
    status: u32 = doc("out: Status")
    result: u64x2 = doc("out: what the program returned")
    fault_address: u64 = doc("out: with Status.FAULT, the address")
    fault_access: u32 = doc("out: with Status.FAULT, Access")
    reserved: u32 = doc("0")


class Migrate(Record):
    """DEVMODEL_IOC_MIGRATE: move the pages of a range. Some may stay: see the counts."""

    C_NAME = "devmodel_migrate"

    address: u64 = doc("first byte, page aligned")
    length: u64 = doc("bytes, a multiple of the page size")
    target: u32 = doc("Target")
    flags: u32 = doc("0")
    moved: u64 = doc("out: pages moved by this call")
    already: u64 = doc("out: pages that were there before")
    failed: u64 = doc("out: pages that are not there now")
    outcomes: u64 = doc("0, or the address of one __u32 PageOutcome per page")


class Advise(Record):
    """DEVMODEL_IOC_ADVISE: placement policy of a range. The latest advice on a page holds."""

    C_NAME = "devmodel_advise"

    address: u64 = doc("first byte, page aligned")
    length: u64 = doc("bytes, a multiple of the page size")
    policy: u32 = doc("Policy")
    flags: u32 = doc("0")


class Snapshot(Record):
    """DEVMODEL_IOC_SNAPSHOT: a range as the kernel's and as the device's page table see it."""

    C_NAME = "devmodel_snapshot"

    address: u64 = doc("first byte, page aligned")
    length: u64 = doc("bytes, a multiple of the page size")
    cpu: u64 = doc("address of one __u32 PageState per page: the kernel's page table")
    device: u64 = doc("address of one __u32 PageState per page: the device's page table")
    page_shift: u32 = doc("out: log2 of the size of a page here")
    reserved: u32 = doc("0")


@dataclass(frozen=True)
class Ioctl:
    """One request: its name, number, argument and direction as C's _IOW/_IOR/_IOWR spell it."""

    name: str
    number: int
    record: type[Record]
    direction: str


IOCTL_MAGIC = 0xDE
IOCTLS = (
    Ioctl("INFO", 0, Info, "_IOR"),
    Ioctl("LAUNCH", 1, Launch, "_IOWR"),
    Ioctl("WAIT", 2, Wait, "_IOWR"),
    Ioctl("MIGRATE", 3, Migrate, "_IOWR"),
    Ioctl("ADVISE", 4, Advise, "_IOW"),
    Ioctl("SNAPSHOT", 5, Snapshot, "_IOWR"),
    Ioctl("STATS", 6, Stats, "_IOR"),
)
