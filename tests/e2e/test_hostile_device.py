"""A device that writes nonsense wherever a device writes: the guest's kernel stands it.

The host plays it, through the shared region, while programs are at work in the guest and the real
device goes on. Only what the device writes is scribbled over: what the driver writes tells the
device which memory to touch, and a device that is told nonsense there may do harm, like any that
has DMA.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from devmodel.abi.registers import COUNTER_PAGE, DEVICE_PAGE, DRIVER_PAGE, DeviceRegs, DriverRegs
from devmodel.abi.rings import Completion, FaultRecord, RingHeader
from devmodel.link.memory import Bytes
from devmodel.machine import Machine

PAGE = 4096
SECONDS = 1.0
WORK = (
    "dm-run atomic_add @8 1000000000000 1",
    "dm-run fill @33554432 4194304 7",
    "dm-model --ops 1000000",
    "sh -c 'while dm-test-access; do :; done'",
)


class Scribbler:
    """Random bytes, at the places that a device writes."""

    def __init__(self, region: Bytes, seed: int) -> None:
        self.region = region
        self.random = random.Random(seed)
        registers = DeviceRegs.unpack(region[: DeviceRegs.SIZE].tobytes())
        # Offset of each ring, and whether the device produces there.
        self.rings = {
            registers.control_offset: False,
            registers.copy_offset: False,
            registers.compute_offset: False,
            registers.completion_offset: True,
            registers.fault_offset: True,
        }
        self.messages = {
            registers.completion_offset: (registers.completion_entries, Completion.SIZE),
            registers.fault_offset: (registers.fault_entries, FaultRecord.SIZE),
        }

    def put(self, offset: int, data: bytes) -> None:
        """Bytes as they are."""
        self.region[offset : offset + len(data)] = np.frombuffer(data, np.uint8)

    def put_word(self, offset: int, value: int) -> None:
        """One word, not torn."""
        self.region[offset : offset + 8].view("<u8")[0] = value & 0xFFFFFFFFFFFFFFFF

    def word(self, offset: int) -> int:
        """The word there."""
        return int(self.region[offset : offset + 8].view("<u8")[0])

    def index(self, ring: int) -> int:
        """Where the device's index of a ring is."""
        name = "produced" if self.rings[ring] else "consumed"
        return ring + RingHeader.offset(name)

    def registers(self) -> None:
        """What the device says of itself, and what it counts."""
        page = self.random.choice((DEVICE_PAGE, COUNTER_PAGE))
        at = page + self.random.randrange(PAGE - 8)
        self.put(at, self.random.randbytes(self.random.randint(1, 8)))

    def messages_of_its_own(self) -> None:
        """Completions and faults that never were. No cookie is one that was given out."""
        ring = self.random.choice(tuple(self.messages))
        entries, size = self.messages[ring]
        produced = self.word(self.index(ring))
        slot = ring + RingHeader.SIZE + produced % entries * size
        message = bytearray(self.random.randbytes(size))
        if size == FaultRecord.SIZE and self.random.random() < 0.8:
            # One that could be: of a context that there is, of few pages.
            va = self.random.choice((0, 1 << 46, 0x7FFF00000000)) + self.random.getrandbits(31)
            record = FaultRecord.unpack(message)
            record.ctx = self.random.randint(0, 6)
            record.va = va
            record.npages = self.random.choice((0, 1, 7, 512, 0xFFFFFFFF))
            record.access = self.random.randint(0, 3)
            message[:] = record.pack()
        self.put(slot, bytes(message))
        self.put_word(self.index(ring), produced + 1)

    def indices(self) -> None:
        """Indices that jump."""
        ring = self.random.choice(tuple(self.rings))
        value = self.random.choice((self.random.getrandbits(64), self.random.getrandbits(20), 0))
        self.put_word(self.index(ring), self.word(self.index(ring)) + value + 4096)

    def everything(self) -> None:
        """One of them."""
        self.random.choice((self.registers, self.messages_of_its_own, self.indices))()


KINDS: dict[str, Callable[[Scribbler], None]] = {
    "registers": Scribbler.registers,
    "messages": Scribbler.messages_of_its_own,
    "indices": Scribbler.indices,
    "everything": Scribbler.everything,
}


@pytest.fixture
def mended(vm: Machine) -> Iterator[Machine]:
    """The VM; afterwards the registers are as they were, and the driver starts anew."""
    registers = vm.devices[0].region[: DeviceRegs.SIZE]
    kept = registers.copy()
    yield vm
    vm.run("modprobe -r devmodel", timeout=60).check()
    registers[:] = kept
    vm.run("modprobe devmodel && dm-test-access", timeout=60).check()


def start(vm: Machine) -> None:
    """Programs at work; each leaves a line in /tmp/ends."""
    each = "".join(f"({work}; echo $? >>/tmp/ends) >/dev/null 2>&1 & " for work in WORK)
    vm.run(f"rm -f /tmp/ends; {each}").check()
    busy = (
        "until grep -q '^programs *[1-9]' /sys/kernel/debug/devmodel/0/stats; do usleep 1000; done"
    )
    vm.run(busy, timeout=30).check()


def expect_ended(vm: Machine) -> None:
    """All of them end, however."""
    vm.run(f"until [ $(cat /tmp/ends | wc -l) = {len(WORK)} ]; do usleep 10000; done", timeout=90)


STATS = "/sys/kernel/debug/devmodel/0/stats"
UNBIND = "cd /sys/bus/pci/drivers/devmodel && echo $(ls -d 0000:*) >unbind"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("config", "kind"),
    [("private", kind) for kind in KINDS] + [("coherent", "everything")],
    indirect=["config"],
)
def test_nonsense_from_the_device(mended: Machine, kind: str) -> None:
    vm = mended
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    scribbler = Scribbler(vm.devices[0].region, seed)
    start(vm)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        KINDS[kind](scribbler)
    # It goes on or is lost; either way the guest lives, and unbinding ends what still waits.
    vm.run("cat /sys/kernel/debug/devmodel/0/stats /sys/kernel/debug/devmodel/0/identity").check()
    vm.run(UNBIND, timeout=60).check()
    expect_ended(vm)
    vm.check()
    assert vm.lost_devices == ()


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_a_device_that_is_given_up_is_stopped(mended: Machine) -> None:
    """Its memory is somebody else's soon, so it is told to forget what it was doing."""
    vm = mended
    region = vm.devices[0].region
    epoch = DRIVER_PAGE + DriverRegs.offset("epoch")
    ack = DEVICE_PAGE + DeviceRegs.offset("reset_ack")
    scribbler = Scribbler(region, 1)
    before = scribbler.word(epoch)
    start(vm)
    control = next(iter(scribbler.rings))
    # The device puts it right with its next command, unless the driver looks first.
    end = time.monotonic() + 60
    while scribbler.word(epoch) == before:
        assert time.monotonic() < end
        scribbler.put_word(scribbler.index(control), 1 << 40)
    expect_ended(vm)
    assert "index where none can be" in vm.dmesg()
    while scribbler.word(ack) != scribbler.word(epoch):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_completions_that_nobody_asked_for(mended: Machine) -> None:
    """As fast as they come: the device is given up, and the guest has time for others."""
    vm = mended
    scribbler = Scribbler(vm.devices[0].region, 1)
    registers = DeviceRegs.unpack(vm.devices[0].region[: DeviceRegs.SIZE].tobytes())
    ring, entries = registers.completion_offset, registers.completion_entries
    consumed = ring + RingHeader.offset("consumed")
    # The device's own completions would disturb; this program has none, and its waiter looks.
    vm.run(f"rm -f /tmp/ends; ({WORK[0]}; echo $? >/tmp/ends) >/dev/null 2>&1 &").check()
    vm.run(f"until grep -q '^mirrors *1' {STATS}; do usleep 1000; done", timeout=30).check()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        # No more than the ring holds, or that alone were enough.
        produced = scribbler.word(scribbler.index(ring))
        if produced < scribbler.word(consumed) + entries:
            slot = ring + RingHeader.SIZE + produced % entries * Completion.SIZE
            scribbler.put(slot, scribbler.random.randbytes(Completion.SIZE))
            scribbler.put_word(scribbler.index(ring), produced + 1)
    vm.run(["true"], timeout=10).check()
    assert "device lost: it completed more than it was asked for" in vm.dmesg()
    vm.run("until [ -s /tmp/ends ]; do usleep 10000; done", timeout=30).check()
    assert vm.run(["cat", "/tmp/ends"]).stdout == "1\n"


@pytest.mark.parametrize("config", ["coherent"], indirect=True)
@pytest.mark.parametrize(
    ("offset", "error"),
    [
        (0, "model=coherent needs HBM in BAR 2"),
        (4096, "does not lie in BAR 2"),
        (1 << 40, "does not lie in BAR 2"),
        ((1 << 64) - (256 << 20), "does not lie in BAR 2"),
        ((1 << 64) - (128 << 20), "does not lie in BAR 2"),
    ],
)
def test_hbm_where_none_can_be_is_refused(mended: Machine, offset: int, error: str) -> None:
    """Also where offset and size together are small again."""
    refused(mended, {"hbm_offset": offset}, error)


@pytest.mark.parametrize(
    ("config", "name", "value", "error"),
    [
        ("private", "hbm_size", 1 << 50, "would take more than half of the memory"),
        ("private", "hbm_size", (1 << 64) - (2 << 20), "would take more than half of the memory"),
        ("coherent", "hbm_size", 1 << 40, "does not lie in BAR 2"),
        ("coherent", "hbm_size", (1 << 64) - (128 << 20), "does not lie in BAR 2"),
        ("numa", "hbm_size", 512 << 20, "does not lie in BAR 2"),
        ("private", "number", 64, "the device's number is 64: there are 64 at most"),
        ("coherent", "number", 0xFFFFFFFF, "the device's number is 4294967295"),
        ("numa", "node", 0xFFFFFFFF, "node 4294967295 is not possible on this machine"),
    ],
    indirect=["config"],
)
def test_what_a_device_cannot_be_is_refused(
    mended: Machine, name: str, value: int, error: str
) -> None:
    refused(mended, {name: value}, error)


def lie(vm: Machine, lies: dict[str, int]) -> None:
    """Have the device say of itself what is not so."""
    registers = DeviceRegs.unpack(vm.devices[0].region[: DeviceRegs.SIZE].tobytes())
    for name, value in lies.items():
        setattr(registers, name, value)
        at, size = DeviceRegs.offset(name), 8 if name.startswith("hbm") else 4
        data = registers.pack()[at : at + size]
        vm.devices[0].region[at : at + size] = np.frombuffer(data, np.uint8)


def refused(vm: Machine, lies: dict[str, int], error: str) -> None:
    """The driver says why it does not take such a device."""
    vm.run("modprobe -r devmodel", timeout=60).check()
    lie(vm, lies)
    before = len(vm.dmesg())
    vm.run("modprobe devmodel", timeout=60).check()
    assert error in vm.dmesg()[before:]
    assert vm.run(["dm-info"]).exit_code == 1


def memory(vm: Machine) -> str:
    """What the guest takes for memory, and how much of it is in which node."""
    show = "cat /proc/iomem; grep -h MemTotal /proc/meminfo /sys/devices/system/node/*/meminfo"
    return vm.run(show).check().stdout


RESOURCE = "sed -n 3p /sys/bus/pci/drivers/devmodel/0000:*/resource"
# Of the memory that the guest booted with.
ELSEWHERE = 512 << 20


@pytest.mark.parametrize("config", ["private", "coherent", "numa"], indirect=True)
def test_a_device_that_changes_its_mind(mended: Machine) -> None:
    """Where its HBM lies is what it said at first: that is taken away, and nothing else."""
    vm = mended
    with_device = memory(vm)
    vm.run("modprobe -r devmodel", timeout=60).check()
    without = memory(vm)
    vm.run("modprobe devmodel", timeout=60).check()
    bar = int(vm.run(RESOURCE).check().stdout.split()[0], 16)
    region = vm.devices[0].region[: DeviceRegs.SIZE]
    kept = region.copy()
    lies = {
        "hbm_offset": (ELSEWHERE - bar) & 0xFFFFFFFFFFFFFFFF,
        "hbm_size": 128 << 20,
        "node": 0,
        "number": 0xFFFFFFF0,
    }
    lie(vm, lies)
    vm.run(UNBIND, timeout=60).check()
    assert memory(vm) == without
    region[:] = kept
    vm.run("modprobe -r devmodel; modprobe devmodel", timeout=60).check()
    if vm.config.devices[0].model != "private":
        assert memory(vm) == with_device


@pytest.mark.parametrize("config", ["private", "coherent", "numa"], indirect=True)
def test_a_device_that_never_says_the_same(mended: Machine) -> None:
    """All the time while the driver is loaded and unloaded: it takes it as it is, or not at all."""
    vm = mended
    vm.run("modprobe -r devmodel", timeout=60).check()
    without = memory(vm)
    registers = DeviceRegs.unpack(vm.devices[0].region[: DeviceRegs.SIZE].tobytes())
    truth = {name: getattr(registers, name) for name in ("hbm_offset", "hbm_size", "number")}
    lies = {"hbm_offset": 1 << 40, "hbm_size": 1 << 50, "number": 77}
    done = threading.Event()

    def toggle() -> None:
        while not done.is_set():
            lie(vm, lies)
            lie(vm, truth)

    liar = threading.Thread(target=toggle)
    liar.start()
    try:
        for _ in range(10):
            vm.run("modprobe devmodel; dm-info", timeout=60)
            vm.run("modprobe -r devmodel", timeout=60).check()
            assert memory(vm) == without
    finally:
        done.set()
        liar.join()
