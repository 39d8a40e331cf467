"""A guest that writes anything anywhere: nothing raises, nothing outside is touched, steps end."""

from __future__ import annotations

import random
import sys
from itertools import pairwise

import numpy as np
import pytest
from fake_driver import FakeDriver
from hypothesis import given, settings
from hypothesis import strategies as st

from devmodel.abi.counters import DeviceCounters
from devmodel.abi.registers import (
    CONTROL_REGION,
    DRIVER_PAGE,
    Vector,
)
from devmodel.abi.rings import (
    ComputeCommand,
    ControlCommand,
    CopyCommand,
    CopyEntry,
    RingHeader,
    Status,
)
from devmodel.device import Device, DeviceConfig, Hardware
from devmodel.device.programs import BUILTIN

GUARD = 8192
RAM = 256 << 10
HBM = 2 << 20
HIGH = 1 << 32
BURST = 64 << 10
# What a step may do at most: in work, not in seconds, which depend on who else uses the machine.
# It has a burst of the copy engine and one of a program, and each may end in a piece as large.
MOST_BYTES = 4 * BURST
# Calls of functions. Seen in 500,000 steps: 4,000, and 16,000 to log a program's failure.
MOST_CALLS = 40_000


def guarded(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Memory of random content between two guards of it, and the whole."""
    whole = np.frombuffer(bytearray(random.Random(seed).randbytes(size + 2 * GUARD)), np.uint8)
    return whole[GUARD : GUARD + size], whole


class Calls:
    """Counts the calls of functions, of Python's and of C's, and stops what makes too many."""

    def __init__(self) -> None:
        self.made = 0

    def _see(self, _: object, event: str, __: object) -> None:
        if event in ("call", "c_call"):
            self.made += 1
            # A program may be what this is raised in: it would be the program's end, and no more.
            assert self.made <= MOST_CALLS

    def __enter__(self) -> Calls:
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        assert self.made <= MOST_CALLS, "a step does not end"


class Guest:
    """Random but plausible: half of what it writes is near to something that works."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.region = np.zeros(CONTROL_REGION, dtype=np.uint8)
        self.parts = [guarded(RAM, seed), guarded(RAM, seed + 1), guarded(HBM, seed + 2)]
        self.guards = [(whole[:GUARD].copy(), whole[-GUARD:].copy()) for _, whole in self.parts]
        self.config = DeviceConfig(hbm=HBM)
        self.hardware = Hardware(
            tlb_entries=self.rng.choice([1, 16, 256]),
            burst_bytes=BURST,
            max_programs=8,
            control_entries=16,
            copy_entries=8,
            compute_entries=8,
            completion_entries=4,
            fault_entries=8,
        )
        low, high, hbm = (part for part, _ in self.parts)
        self.rung: list[Vector] = []
        ram = [(0, low), (HIGH, high)]
        self.device = Device(
            self.config,
            self.region.data,
            ram,
            hbm,
            self.rung.append,
            hardware=self.hardware,
        )
        self.rings = self.hardware.rings(trace=False)
        self.words = self.region.view("<u8")
        self.produced = {"control": 0, "copy": 0, "compute": 0}
        self.epoch = 0

    def number(self) -> int:
        rng = self.rng
        return rng.choice(
            [
                rng.randrange(4),
                rng.randrange(64),
                rng.randrange(RAM),
                rng.randrange(RAM // 4096) * 4096,
                HIGH + rng.randrange(RAM // 4096) * 4096,
                (1 << 52) + rng.randrange(HBM // 4096) * 4096,
                rng.randrange(1 << 64),
                (1 << 64) - 1 - rng.randrange(4096),
                1 << rng.randrange(64),
            ]
        )

    def small(self) -> int:
        return self.rng.choice([self.rng.randrange(8), self.rng.randrange(1 << 32)])

    def header(self, name: str, field: str) -> int:
        return (self.rings[name].offset + RingHeader.offset(field)) // 8

    def post(self, name: str, message: bytes) -> None:
        ring = self.rings[name]
        start = ring.offset + RingHeader.SIZE
        start += self.produced[name] % ring.entries * ring.entry_size
        self.region[start : start + len(message)] = np.frombuffer(message, np.uint8)
        self.produced[name] += 1
        self.words[self.header(name, "produced")] = self.produced[name] % (1 << 64)

    def control(self) -> None:
        self.post(
            "control",
            ControlCommand(
                opcode=self.small() % 9,
                ctx=self.rng.randrange(3),
                root=self.rng.randrange(RAM // 4096) * 4096,
                va=self.number(),
                length=self.number(),
                seq=self.rng.choice([self.rng.randrange(32), self.number()]),
                cookie=self.rng.randrange(8),
            ).pack(),
        )

    def copy(self) -> None:
        where = self.rng.choice([self.rng.randrange(RAM // 2) & ~7, self.number()])
        count = self.rng.choice([self.rng.randrange(40), self.small()])
        if where < RAM // 2:
            for index in range(min(count, 40)):
                entry = CopyEntry(
                    src=self.number(),
                    dst=self.number(),
                    length=self.rng.choice([4096, 4096, 8, self.small()]),
                )
                start = where + index * CopyEntry.SIZE
                self.parts[0][0][start : start + CopyEntry.SIZE] = np.frombuffer(
                    entry.pack(), np.uint8
                )
        self.post(
            "copy",
            CopyCommand(
                opcode=self.rng.choice([1, 1, 2, 2, self.small()]),
                count=count,
                cookie=self.number(),
                list=where,
                pattern=self.number(),
            ).pack(),
        )

    def compute(self) -> None:
        name = self.rng.choice([*BUILTIN, "?", "\x7f"]).encode()
        if not self.rng.randrange(8):
            name = self.rng.randbytes(32)
        known = BUILTIN.get(name.decode("latin1"))
        nargs = known.least_args if known and self.rng.randrange(8) else self.small()
        kinds = [self.va, self.va, self.va, lambda: self.rng.randrange(500), self.number]
        numbers = tuple(self.rng.choice(kinds)() for _ in range(8))
        self.post(
            "compute",
            ComputeCommand(
                cookie=self.rng.randrange(8),
                ctx=self.rng.randrange(3),
                nargs=nargs,
                program=name,
                args=numbers,
            ).pack(),
        )

    def va(self) -> int:
        """Often mapped, if tables were made."""
        return self.rng.randrange(60) * 4096 + self.rng.choice([0, 8, 4090])

    def tables(self) -> None:
        """Some levels of a page table that make sense, with leaves that may not."""
        low = self.parts[0][0].view("<u8")
        pages = [self.rng.randrange(RAM // 4096) for _ in range(4)]
        for above, below in pairwise(pages):
            low[above * 512] = below * 4096 | 1
        for index in range(64):
            frame = self.rng.choice([0, HIGH, 1 << 52]) + self.rng.randrange(HBM // 4096) * 4096
            if not self.rng.randrange(8):
                frame = self.number() & ~0xFFF
            low[pages[-1] * 512 + index] = frame | self.rng.choice([3, 3, 3, 7, 1, 0])
        for ctx in range(3):
            self.post(
                "control",
                ControlCommand(opcode=1, ctx=ctx, root=pages[0] * 4096).pack(),
            )

    def scribble(self) -> None:
        """Garbage in a header, a register, the counters or anywhere in RAM."""
        rng = self.rng
        match rng.randrange(4):
            case 0:
                name = rng.choice(["control", "copy", "compute", "completion", "fault"])
                field = rng.choice(["produced", "consumed", "event"])
                self.words[self.header(name, field)] = self.number()
            case 1:
                at = rng.randrange(0, self.rings["fault"].end // 8)
                self.words[at] = self.number()
            case 2:
                part = rng.choice(self.parts)[0].view("<u8")
                part[rng.randrange(part.size)] = self.number()
            case 3:
                self.parts[0][0][: RAM // 2] = np.frombuffer(rng.randbytes(RAM // 2), np.uint8)

    def consume(self) -> None:
        for name in ("completion", "fault"):
            produced = self.words[self.header(name, "produced")]
            self.words[self.header(name, "consumed")] = produced

    def reset(self) -> None:
        self.epoch += 1
        self.words[DRIVER_PAGE // 8] = self.epoch
        self.produced = dict.fromkeys(self.produced, 0)

    def moved(self) -> int:
        """Bytes that copies and programs have moved so far."""
        counters = self.device.counters
        return sum(getattr(counters, f.name) for f in DeviceCounters.FIELDS if "bytes" in f.name)

    def step(self) -> None:
        before = self.moved()
        with Calls():
            self.device.step()
            if not self.rng.randrange(4):
                self.device.arm()
        now = self.moved()
        # A reset sets the counters to 0.
        assert now - (before if now >= before else 0) <= MOST_BYTES

    def check_guards(self) -> None:
        for (_, whole), (before, after) in zip(self.parts, self.guards, strict=True):
            assert (whole[:GUARD] == before).all(), "written before the memory"
            assert (whole[-GUARD:] == after).all(), "written beyond the memory"


@pytest.mark.filterwarnings("error")
@settings(max_examples=80)
@given(st.integers(0, 1 << 32))
def test_any_guest(seed: int) -> None:
    guest = Guest(seed)
    actions = [
        *[guest.control] * 4,
        *[guest.copy] * 3,
        *[guest.compute] * 6,
        *[guest.tables] * 2,
        *[guest.consume] * 3,
        *[guest.step] * 12,
        guest.scribble,
    ]
    guest.reset()
    guest.step()
    for _ in range(300):
        guest.rng.choice(actions)()
        if not guest.rng.randrange(100):
            guest.reset()
    for _ in range(50):
        guest.step()
    guest.check_guards()
    # After all that, a driver that asks for a reset has a device like new.
    guest.epoch = 1 << 63
    guest.reset()
    guest.step()
    guest.post("control", ControlCommand(opcode=0, status=Status.PENDING).pack())
    guest.step()
    assert guest.words[guest.header("control", "consumed")] == 1


@pytest.mark.parametrize("claim", [65, 1 << 20, (1 << 64) - 1])
def test_too_many_claimed_commands_are_one_error(claim: int) -> None:
    driver = FakeDriver()
    for ring in (driver.control, driver.copy, driver.compute):
        before = driver.counters.errors
        ring.set_header("produced", claim * 8 % (1 << 64))
        driver.device.step()
        assert driver.counters.errors == before + 1
        assert ring.header("consumed") == claim * 8 % (1 << 64)
        ring.index = claim * 8 % (1 << 64)
    # Both sides agree again on where they are.
    if claim < 1 << 60:
        assert driver.command(0) == Status.OK


def test_indices_that_jump_cannot_fill_the_device() -> None:
    """Killing launches that are never taken makes completions that nobody takes."""
    driver = FakeDriver(completion_entries=1, compute_entries=4, max_programs=4)
    driver.process()
    driver.completion.set_header("consumed", 5)
    for number in range(100):
        for _ in range(4):
            driver.launch(1, "sum", 0, 0)
        # The launches are killed, then skipped: the index jumps over them.
        driver.post_control(6, cookie=driver.cookie)
        driver.post_control(2, ctx=1)
        driver.post_control(1, ctx=1, root=driver.frame("low", zero=True))
        driver.device.step()
        driver.compute.index = (number + 1) * 1000
        driver.compute.set_header("produced", driver.compute.index)
        driver.device.step()
    assert len(driver.device._completions) <= 2 * (4 + 4)
