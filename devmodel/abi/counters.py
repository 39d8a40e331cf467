"""What is counted: each counter is declared once, with its unit, a sentence, and who counts.

Programs get all of it by DEVMODEL_IOC_STATS, people by `dm-stats` (`--json`: an object of numbers)
and /sys/kernel/debug/devmodel/N/stats, all but the last group. `dm-stats -- COMMAND` has what rose
while the command ran; `devmodel compare --json` and `--csv` have it of each workload, under the
same names.
"""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from devmodel.abi.record import Record, doc, u64


class Who(StrEnum):
    """Who counts."""

    DEVICE = "device"
    DRIVER = "driver"


class Unit(StrEnum):
    """What one of it is."""

    ACCESSES = "accesses"
    BYTES = "bytes"
    COMMANDS = "commands"
    DEVICES = "devices"
    ENTRIES = "entries"
    ERRORS = "errors"
    EVENTS = "events"
    FAULTS = "faults"
    LIVES = "lives"
    MIRRORS = "mirrors"
    PAGES = "pages"
    PROGRAMS = "programs"


def count(unit: Unit, meaning: str, label: str = "", parts: tuple[str, ...] = ()) -> Any:
    """A field that is a counter.

    `label` is what a table calls it, above its unit. `parts` are the counters that it is the sum
    of; without any it is counted itself.
    """
    return dataclasses.field(
        default=None, metadata={"doc": meaning, "unit": unit, "label": label, "parts": parts}
    )


class DriverCounters(Record):
    """What the driver counts, over all processes, since it took the device; each only rises."""

    device_faults: u64 = count(
        Unit.FAULTS, "fault records served, each of a run of pages", "device"
    )
    cpu_faults: u64 = count(
        Unit.FAULTS, "CPU touches that brought pages back (migrate_to_ram)", "CPU"
    )
    pages_to_device: u64 = count(Unit.PAGES, "pages migrated into HBM", "to dev")
    pages_to_system: u64 = count(Unit.PAGES, "pages migrated out of HBM to system memory", "to sys")
    pages_evicted: u64 = count(Unit.PAGES, "of pages_to_system: moved out to make room for others")
    pages_from_peer: u64 = count(
        Unit.PAGES, "of pages_to_device: from another device's HBM, not by way of RAM"
    )
    pages_to_peer: u64 = count(Unit.PAGES, "pages that another device took out of this one's HBM")
    pages_zeroed: u64 = count(Unit.PAGES, "of pages_to_device: empty pages, filled and not copied")
    pages_lost: u64 = count(
        Unit.PAGES, "pages whose bytes the HBM lost: who maps one gets SIGBUS for a touch"
    )
    pages_failed: u64 = count(Unit.PAGES, "pages that a migration left where they were")
    invalidates: u64 = count(
        Unit.COMMANDS, "invalidates sent to the device, each acknowledged", "invalidate"
    )
    pages_dirtied: u64 = count(Unit.PAGES, "device PTEs whose DIRTY reached the struct page")


class DeviceCounters(Record):
    """What the device counts since its last reset; each only rises."""

    C_NAME = "devmodel_counters"

    tlb_hits: u64 = count(Unit.PAGES, "page translations answered by the TLB")
    tlb_misses: u64 = count(Unit.PAGES, "page translations that walked the page table")
    walks_faulted: u64 = count(Unit.PAGES, "walks that ended in a fault")
    fault_records: u64 = count(Unit.FAULTS, "fault records written, each of a run of pages")
    replays: u64 = count(Unit.ACCESSES, "suspended accesses tried again")
    invalidates_acknowledged: u64 = count(Unit.COMMANDS, "invalidate commands acknowledged")
    tlb_dropped: u64 = count(Unit.ENTRIES, "TLB entries dropped by invalidates")
    copy_bytes_to_device: u64 = count(
        Unit.BYTES, "bytes the copy engine moved into HBM from elsewhere"
    )
    copy_bytes_to_system: u64 = count(
        Unit.BYTES, "bytes the copy engine moved out of HBM to elsewhere"
    )
    copy_bytes_local: u64 = count(
        Unit.BYTES, "bytes the copy engine moved within one aperture or filled"
    )
    remote_bytes_read: u64 = count(
        Unit.BYTES, "bytes that programs loaded from system memory or a peer"
    )
    remote_bytes_written: u64 = count(
        Unit.BYTES, "bytes that programs stored to system memory or a peer"
    )
    local_bytes_read: u64 = count(Unit.BYTES, "bytes that programs loaded from HBM")
    local_bytes_written: u64 = count(Unit.BYTES, "bytes that programs stored to HBM")
    programs: u64 = count(Unit.PROGRAMS, "device programs that ended, however they ended")
    errors: u64 = count(Unit.ERRORS, "commands refused, and ring indices that cannot be")


class ContextCounters(Record):
    """The device's counts of one context, since it was created; each but `ctx` only rises.

    What its programs did. The copy engine knows frames and no contexts: what it moved is in the
    counters of the whole device alone.
    """

    C_NAME = "devmodel_context_counters"
    SIZE = 64

    ctx: u64 = doc("context (PASID), 0 where there is none")
    fault_records: u64 = doc("fault records written")
    invalidates_acknowledged: u64 = doc("invalidate commands acknowledged")
    tlb_hits: u64 = doc("page translations answered by the TLB")
    tlb_misses: u64 = doc("page translations that walked the page table")
    remote_bytes_read: u64 = doc("bytes that programs loaded from system memory or a peer")
    remote_bytes_written: u64 = doc("bytes that programs stored to system memory or a peer")
    programs: u64 = doc("device programs that ended, however they ended")


# Fields of a base class come first, those of the last base before all others.
class Counted(DeviceCounters, DriverCounters):
    """Both, and what is the sum of several."""

    bytes_to_device: u64 = count(
        Unit.BYTES,
        "over the link into the device: copies and remote loads",
        "to dev",
        ("copy_bytes_to_device", "remote_bytes_read"),
    )
    bytes_to_system: u64 = count(
        Unit.BYTES,
        "over the link out of the device: copies and remote stores",
        "to sys",
        ("copy_bytes_to_system", "remote_bytes_written"),
    )
    remote_bytes: u64 = count(
        Unit.BYTES,
        "of both ways: what programs loaded and stored in place",
        "remote",
        ("remote_bytes_read", "remote_bytes_written"),
    )


class Held(Record):
    """What the driver holds now; it counts up and down."""

    mirrors: u64 = count(Unit.MIRRORS, "mirrors now")
    page_table_pages: u64 = count(Unit.PAGES, "pages that hold device page tables now")
    pages_aside: u64 = count(Unit.PAGES, "pages kept aside that a lost device may still write to")


class State(Record):
    """What else the driver knows of the device now."""

    hbm_bytes: u64 = count(Unit.BYTES, "HBM in all")
    hbm_bytes_in_use: u64 = count(Unit.BYTES, "HBM that holds pages now", "in HBM")
    hbm_bytes_failed: u64 = count(Unit.BYTES, "HBM that failed, and is given out no more")
    lost: u64 = count(Unit.DEVICES, "1 while the device is lost, else 0")
    generation: u64 = count(Unit.LIVES, "DeviceRegs.generation, as the driver knows it")
    restarts: u64 = count(Unit.LIVES, "lives of the device that the driver took on after the first")


class Mine(Record):
    """Of the mirror that asks."""

    my_device_faults: u64 = count(Unit.FAULTS, "device_faults of this mirror")
    my_notifications: u64 = count(Unit.EVENTS, "kernel notifier events delivered to this mirror")
    my_invalidates: u64 = count(Unit.COMMANDS, "invalidates of this mirror")
    my_page_table_pages: u64 = count(Unit.PAGES, "page_table_pages of this mirror")


class Stats(Mine, State, Held, Counted):
    """DEVMODEL_IOC_STATS: all that is counted, and how things stand."""

    C_NAME = "devmodel_stats"


@dataclass(frozen=True)
class Counter:
    """One counter, as tables and pages tell of it; `label` and `parts` are those of `count`."""

    name: str
    unit: Unit
    meaning: str
    who: Who
    label: str
    parts: tuple[str, ...]


def _own(record: type[Record], who: Who) -> tuple[Counter, ...]:
    """What a class declares itself, without its bases."""
    fields = {field.name: field for field in dataclasses.fields(record)}  # type: ignore[arg-type]
    metadata = {name: fields[name].metadata for name in record.__annotations__ if name in fields}
    return tuple(
        Counter(name, of["unit"], of["doc"], who, of["label"], of["parts"])
        for name, of in metadata.items()
    )


DRIVER = _own(DriverCounters, Who.DRIVER)
DEVICE = _own(DeviceCounters, Who.DEVICE)
SUMS = _own(Counted, Who.DEVICE)
HELD = _own(Held, Who.DRIVER)
STATE = _own(State, Who.DRIVER)
MINE = _own(Mine, Who.DRIVER)

# In the order of Stats. What rises comes first: its difference is what happened meanwhile.
RISING = DRIVER + DEVICE + SUMS
OF_DEVICE = RISING + HELD + STATE
ALL = OF_DEVICE + MINE
BY_NAME = {counter.name: counter for counter in ALL}
