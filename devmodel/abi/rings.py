"""Rings: single producer, single consumer, fixed-size entries, indices that only rise.

An index counts messages since the reset; its slot is ``index % entries``. The producer writes
the entry, then `produced`; the consumer reads the entry, then writes `consumed`. Each index has
a cache line of its own. Event suppression is virtio's: the consumer writes to `event` the index
of the message it wants a doorbell for, and the producer that moves `produced` from `old` to
`new` rings if ``old <= event < new``. `EVENT_NEVER` is for a consumer that is looking anyway.

The control ring is synchronous: a control command is done, and its status written into its own
entry, when `consumed` has passed it. So an acknowledged invalidate is an index, not a message.
"""

from enum import IntEnum

from devmodel.abi.record import Record, doc, text32, u32, u64, u64x2, u64x3, u64x6, u64x7, u64x8

EVENT_NEVER = (1 << 64) - 1


class RingHeader(Record):
    """The 128 bytes before a ring's entries."""

    C_NAME = "devmodel_ring_header"
    SIZE = 128

    produced: u64 = doc("messages written so far; producer's")
    producer_pad: u64x7 = doc("fills the producer's cache line")
    consumed: u64 = doc("messages taken so far; consumer's")
    event: u64 = doc("index of the message the consumer wants a doorbell for; consumer's")
    consumer_pad: u64x6 = doc("fills the consumer's cache line")


class ControlOp(IntEnum):
    """Commands of the control ring; served before everything else, done when consumed."""

    NOP = 0
    CONTEXT_CREATE = 1
    CONTEXT_DESTROY = 2
    INVALIDATE = 3
    REPLAY = 4
    CANCEL = 5
    STOP = 6
    AGE = 7


class CopyOp(IntEnum):
    """Commands of the copy ring."""

    COPY = 1
    FILL = 2


class Engine(IntEnum):
    """Who a completion comes from."""

    COPY = 1
    COMPUTE = 2


class Access(IntEnum):
    """What a device access wanted; POISON: whatever it wanted, the memory it came to failed."""

    READ = 0
    WRITE = 1
    ATOMIC = 2
    POISON = 3


class Status(IntEnum):
    """How a command ended."""

    OK = 0
    BAD_COMMAND = 1
    BAD_ADDRESS = 2
    BAD_ARGUMENT = 3
    NO_CONTEXT = 4
    NO_PROGRAM = 5
    FAULT = 6
    KILLED = 7
    PROGRAM_ERROR = 8
    POISONED = 9
    PENDING = 0xFFFF


class ControlCommand(Record):
    """CONTEXT_CREATE: ctx, root. CONTEXT_DESTROY: ctx. INVALIDATE: ctx, va, length.

    REPLAY: every suspended access of `ctx` whose fault record has seq <= `seq` is tried again.
    CANCEL: the program of `ctx` suspended on fault record `seq` ends with Status.FAULT.
    STOP: the program `cookie` ends with Status.KILLED.
    AGE: ctx, va, length: ACCESSED is cleared in the entries of the range, which is AGE_PAGES
    pages at most, and set again by the next access.
    """

    C_NAME = "devmodel_control_command"
    SIZE = 64

    opcode: u32 = doc("ControlOp")
    status: u32 = doc("Status; written by the device before it moves `consumed`")
    ctx: u32 = doc("context (PASID)")
    reserved: u32 = doc("0")
    root: u64 = doc("guest-physical address of the top page-table page")
    va: u64 = doc("first byte of the range, page aligned")
    length: u64 = doc("bytes of the range, a multiple of the page size")
    seq: u64 = doc("fault record number")
    cookie: u64 = doc("of a launch")
    reserved2: u64 = doc("0")


class CopyCommand(Record):
    """One list of frames to copy or fill. Completed on the completion ring by `cookie`."""

    C_NAME = "devmodel_copy_command"
    SIZE = 64

    opcode: u32 = doc("CopyOp")
    count: u32 = doc("entries in the list")
    cookie: u64 = doc("returned in the completion")
    list: u64 = doc("guest-physical address of `count` CopyEntry, contiguous")
    pattern: u64 = doc("FILL: the 64-bit value to repeat")
    reserved: u64x3 = doc("0")
    reserved2: u64 = doc("0")


class CopyEntry(Record):
    """One piece of a copy list, in guest RAM. Addresses are bus addresses (pagetable.py)."""

    C_NAME = "devmodel_copy_entry"
    SIZE = 24

    src: u64 = doc("bus address to read from; unused by FILL")
    dst: u64 = doc("bus address to write to")
    length: u32 = doc("bytes; a multiple of 8")
    status: u32 = doc(
        "Status; written by the device before the completion. POISONED: its HBM failed there"
    )


class ComputeCommand(Record):
    """Launch of a device program."""

    C_NAME = "devmodel_compute_command"
    SIZE = 128

    cookie: u64 = doc("returned in the completion and in fault records; unique while it runs")
    ctx: u32 = doc("context (PASID) whose addresses the program uses")
    nargs: u32 = doc("how many of `args` are given")
    program: text32 = doc("name, ASCII, filled up with NUL")
    args: u64x8 = doc("arguments: addresses and numbers")
    reserved: u64x2 = doc("0")


class Completion(Record):
    """The end of a copy list or of a program."""

    C_NAME = "devmodel_completion"
    SIZE = 64

    cookie: u64 = doc("of the command")
    engine: u32 = doc("Engine")
    status: u32 = doc("Status")
    result: u64x2 = doc("COMPUTE: what the program returned. COPY: entries that failed, then 0")
    fault_va: u64 = doc("FAULT: the address that could not be resolved")
    fault_access: u32 = doc("FAULT: Access")
    reserved: u32 = doc("0")
    reserved2: u64x2 = doc("0")


class FaultRecord(Record):
    """A replayable fault: an access is suspended until REPLAY or CANCEL.

    POISON: the page has a translation, and what lies there cannot be had.
    """

    C_NAME = "devmodel_fault_record"
    SIZE = 64

    seq: u64 = doc("number of this record; rises by one")
    cookie: u64 = doc("the program that waits")
    va: u64 = doc("first page that has no translation, page aligned")
    ctx: u32 = doc("context (PASID)")
    access: u32 = doc("Access")
    npages: u32 = doc("pages from `va` that the access needs, at least 1")
    reserved: u32 = doc("0")
    bus: u64 = doc("POISON: bus address of the page that failed, else 0")
    reserved2: u64x2 = doc("0")
