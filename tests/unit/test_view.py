"""A device's memory as another process sees it: numbers, whatever the guest writes there."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devmodel.abi.counters import ContextCounters, DeviceCounters
from devmodel.abi.record import Record
from devmodel.abi.registers import (
    CONTEXT_PAGE,
    CONTROL_REGION,
    COUNTER_PAGE,
    DEVICE_PAGE,
    DRIVER_PAGE,
    RING_BASE,
    DeviceRegs,
    DeviceState,
    DriverRegs,
)
from devmodel.abi.rings import RingHeader
from devmodel.cli import top
from devmodel.device.config import DeviceConfig, DeviceModel
from devmodel.errors import HostNotReady
from devmodel.link import memory
from devmodel.machine.rates import Rates, Tick
from devmodel.machine.rundir import VmInfo
from devmodel.machine.view import RINGS, View

HBM = 256 << 20
PRIVATE = DeviceConfig(model=DeviceModel.PRIVATE, hbm=HBM)
NODE = DeviceConfig(model=DeviceModel.NUMA, hbm=HBM, node=1)


class Region:
    """BAR 2, as the process that holds a VM has it."""

    def __init__(self) -> None:
        self.fd = memory.create("region", CONTROL_REGION)
        self.bytes = memory.attach(self.fd)
        self.put(DEVICE_PAGE, DeviceRegs(state=DeviceState.READY, generation=1, reset_ack=3))

    def put(self, at: int, record: Record) -> None:
        """Write a record."""
        data = record.pack()
        self.bytes[at : at + len(data)] = memoryview(data)

    def context(self, place: int, **values: int) -> None:
        """Write a context's counters."""
        self.put(CONTEXT_PAGE + place * ContextCounters.SIZE, ContextCounters(**values))

    def ring(self, name: str, produced: int, consumed: int) -> None:
        """Write a ring's indices."""
        self.put(RINGS[name].offset, RingHeader(produced=produced, consumed=consumed))

    def info(self, **changes: Any) -> VmInfo:
        """What vm.json says of it."""
        given = {"pid": os.getpid(), "state": "running", "regions": (self.fd,), **changes}
        return VmInfo(name="mine", **given)

    def view(self, config: DeviceConfig = PRIVATE) -> View:
        return View(self.info(), 0, config)


@pytest.fixture
def region() -> Iterator[Region]:
    found = Region()
    yield found
    os.close(found.fd)


def test_what_is_there(region: Region) -> None:
    region.put(COUNTER_PAGE, DeviceCounters(tlb_hits=5, copy_bytes_to_device=7))
    region.put(DRIVER_PAGE, DriverRegs(hbm_in_use=8192))
    region.context(3, ctx=9, programs=2)
    region.ring("fault", 1, (1 << 64) - 2)
    region.ring("copy", 5, 6)
    with region.view() as view:
        sample = view.sample()
    assert (sample.state, sample.generation, sample.epoch) == (DeviceState.READY, 1, 3)
    assert (sample.counters.tlb_hits, sample.counters.copy_bytes_to_device) == (5, 7)
    assert sample.hbm_in_use == 8192
    assert sample.contexts == {9: ContextCounters(ctx=9, programs=2)}
    assert sample.rings == {"control": 0, "copy": None, "compute": 0, "completion": 0, "fault": 3}


def test_it_is_read_only(region: Region) -> None:
    with region.view() as view, pytest.raises(TypeError, match=r"read-?only|can't modify"):
        view._map[0] = 1


def tick(region: Region, change: Any, config: DeviceConfig = PRIVATE) -> Tick:
    """From before `change()` to after it; it takes two seconds."""
    with region.view(config) as view:
        old = view.sample()
        change()
        new = view.sample()
        object.__setattr__(new, "seconds", old.seconds + 2.0)
        return Tick.between(view, old, new)


def test_rates(region: Region) -> None:
    region.put(COUNTER_PAGE, DeviceCounters(tlb_hits=100, remote_bytes_read=1000, fault_records=1))
    region.context(0, ctx=4, tlb_misses=1000)

    def change() -> None:
        region.put(
            COUNTER_PAGE,
            DeviceCounters(
                tlb_hits=130,
                tlb_misses=10,
                remote_bytes_read=1200,
                copy_bytes_to_device=200,
                copy_bytes_to_system=4,
                remote_bytes_written=6,
                fault_records=3,
                invalidates_acknowledged=8,
            ),
        )
        region.context(0, ctx=4, tlb_misses=1002)
        region.context(1, ctx=2, fault_records=6)

    found = tick(region, change)
    assert found.rates == Rates(1.0, 200.0, 5.0, 15.0, 0.75, 4.0)
    # In order; what came meanwhile began at 0.
    assert found.contexts == {
        2: Rates(3.0, 0.0, 0.0, 0.0, None, 0.0),
        4: Rates(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    }


@pytest.mark.parametrize("changed", [{"generation": 2}, {"reset_ack": 4}])
def test_a_device_that_began_anew_counts_from_0(region: Region, changed: dict[str, int]) -> None:
    region.put(COUNTER_PAGE, DeviceCounters(fault_records=10))
    region.context(0, ctx=1, fault_records=10)

    def change() -> None:
        regs = {"state": DeviceState.READY, "generation": 1, "reset_ack": 3, **changed}
        region.put(DEVICE_PAGE, DeviceRegs(**regs))
        region.put(COUNTER_PAGE, DeviceCounters(fault_records=12))
        region.context(0, ctx=1, fault_records=12)

    found = tick(region, change)
    assert (found.rates.faults, found.contexts[1].faults) == (6.0, 6.0)


def test_a_counter_that_goes_back_is_no_rate_below_0(region: Region) -> None:
    region.put(COUNTER_PAGE, DeviceCounters(fault_records=10))
    found = tick(region, lambda: region.put(COUNTER_PAGE, DeviceCounters(fault_records=4)))
    assert found.rates.faults == 2.0


def test_what_a_node_holds_the_kernel_alone_knows(region: Region) -> None:
    region.put(DRIVER_PAGE, DriverRegs(hbm_in_use=8192))
    assert tick(region, lambda: None).hbm_in_use == 8192
    assert tick(region, lambda: None, NODE).hbm_in_use is None


@pytest.mark.parametrize("seed", range(20))
def test_a_hostile_guest_writes_numbers_and_nothing_else(region: Region, seed: int) -> None:
    """Whatever it writes: no crash, no letter of it on the terminal, no line that bursts."""
    chance = random.Random(seed)

    def change() -> None:
        head = chance.randbytes(RING_BASE) if seed else b"\xff" * RING_BASE
        region.bytes[:RING_BASE] = memoryview(head)
        for name in RINGS:
            region.ring(name, chance.getrandbits(64), chance.getrandbits(64))
        # As if they were text that a terminal obeys.
        region.context(0, ctx=int.from_bytes(b"\x1b[2J\x1b[1m", "little"))

    found = tick(region, change)
    lines = list(top._lines([found]))
    assert 2 <= len(lines) <= 1 + 64
    for line in lines:
        assert all(cell.isascii() and cell.isprintable() for cell in line)
        assert all(len(cell) <= 12 for cell in line[:-1])
    assert found.state == "unknown"
    assert not found.well
    assert found.hbm_in_use is not None and found.hbm_in_use <= HBM
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["vm"] == "mine"


def test_what_is_no_device_is_not_looked_at(region: Region, tmp_path: Path) -> None:
    """A process that is another by now may have anything open under that number."""
    (tmp_path / "file").write_bytes(bytes(CONTROL_REGION))
    with (tmp_path / "file").open() as file:
        for changes in (
            {"regions": (file.fileno(),)},
            {"regions": (999_999,)},
            {"regions": ()},
            {"pid": 2**22 + 1},
        ):
            with pytest.raises(HostNotReady, match=r"^mine: device 0 cannot be looked at: "):
                View(region.info(**changes), 0, PRIVATE)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.4, "0"),
        (999.4, "999"),
        (999.6, "1.0K"),
        (1536, "1.5K"),
        (10 * 1024, "10K"),
        (256 << 20, "256M"),
        (float(1 << 64), "16E"),
        (2.0**64 * 1e6, "15Y"),
        (2.0**90, "1.0R"),
    ],
)
def test_short_numbers(value: float, shown: str) -> None:
    assert top.short(value) == shown
