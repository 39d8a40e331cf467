"""The trace: what both sides say they did, for the coherence oracle (docs/oracle.md).

A device that is started with tracing has Feature.TRACE and one more ring, on which the driver
says what it does. The device puts those records and its own into one file, in the order in which
they happened: it takes what is on the ring before it writes a record of its own. So a record of
the driver's stands in the file before everything that the device did after it was written.

A file begins with a TraceStart; every further one means that the device was started again.
"""

from enum import IntEnum

from devmodel.abi.record import Record, doc, u32, u64, u64x2

TRACE_MAGIC = int.from_bytes(b"DMTRACE1", "little")
TRACE_NONE = (1 << 64) - 1


class TraceKind(IntEnum):
    """Kinds of trace records: the driver's, and from 32 on the device's."""

    REGISTER = 1
    RELEASE = 2
    MAP = 3
    DIRTY = 4
    UPDATE = 5
    FRAME_ALLOC = 6
    FRAME_FREE = 7
    MODEL = 8

    START = 32
    RESET = 33
    CONTROL = 34
    ACCESS = 35
    COPY = 36
    HOLE = 37
    END = 38


class TraceRecord(Record):
    """What happened. Fields that a kind does not name are 0.

    seq is the time: of the guest in the driver's records, where it rises with every record of the
    module, over all devices; of the host in the device's.

    REGISTER: ctx; other: the address space, the same number for its mirrors on other devices.
    RELEASE: ctx, which the device uses no longer.
    MAP: ctx, va, npages, bus, rights (of PTE_*): written before the entries are.
    DIRTY: ctx, va, npages: collected by the UPDATE that follows.
    UPDATE: ctx, va, npages, rights that stay; control, or TRACE_NONE if no invalidate was needed.
    Written when the invalidate is acknowledged and the dirty state collected.
    FRAME_ALLOC, FRAME_FREE: bus, npages, of the device's own HBM.
    MODEL: other: the Model that the driver chose. Of NUMA and CDM the kernel gives the frames out.
    RESET: other: the epoch.
    CONTROL: control, ctx, va, npages, rights: ControlOp, other: Status. Before it is acknowledged.
    ACCESS: ctx, va, npages, rights that it needs beyond VALID, bus: where it really went, control,
    other: how many of the pages were walked for; the TLB had the rest.
    COPY: bus: to, other: from, or TRACE_NONE for a fill; npages: of all pages that were touched.
    HOLE: records of the driver's are missing here. END: the device ended as it should.
    """

    C_NAME = "devmodel_trace_record"
    SIZE = 64

    kind: u32 = doc("TraceKind")
    ctx: u32 = doc("context (PASID)")
    seq: u64 = doc("ns of the writer's monotonic clock, see above")
    va: u64 = doc("first page, a device virtual address")
    bus: u64 = doc("bus address of the first page")
    npages: u64 = doc("pages, neighbours in every address space that is named")
    rights: u64 = doc("PTE_* bits, or what the kind says")
    control: u64 = doc("control commands acknowledged (CONTROL: before this one)")
    other: u64 = doc("what the kind says")


class TraceStart(Record):
    """Begins a trace: which device this is."""

    C_NAME = "devmodel_trace_start"
    SIZE = 64

    kind: u32 = doc("TraceKind.START")
    number: u32 = doc("of the device in its machine")
    magic: u64 = doc("`DMTRACE1` in ASCII")
    layout_hash: u64 = doc("of every layout")
    hbm_size: u64 = doc("bytes of HBM")
    generation: u64 = doc("which start of the device this is")
    page_shift: u32 = doc("log2 of the page size")
    model: u32 = doc("Model that the machine was configured for")
    reserved: u64x2 = doc("0")
