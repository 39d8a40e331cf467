"""Atomics: only through translations that say ATOMIC, however the TLB came by them."""

from __future__ import annotations

import pytest
from fake_driver import PAGE, FakeDriver, Process

from devmodel.abi.pagetable import PTE_ATOMIC, PTE_DIRTY
from devmodel.abi.rings import Access, Status

# Enough pages to be looked up all at once.
MANY_PAGES = 32


def accesses(driver: FakeDriver) -> list[int]:
    return [record.access for record in driver.faults_served]


def test_a_writable_page_is_not_enough(driver: FakeDriver, process: Process) -> None:
    """A TLB entry for writes does not serve an atomic; more rights need no invalidate."""
    va = process.malloc(PAGE)
    assert driver.run(1, "fill", va, 1, 5).status == Status.OK
    assert driver.run(1, "atomic_add", va, 10, 1).result[0] == 15
    assert accesses(driver) == [Access.WRITE, Access.ATOMIC]
    assert driver.counters.tlb_dropped == 0


@pytest.mark.parametrize("pages", [1, MANY_PAGES])
def test_a_page_of_its_own_serves_every_access(
    driver: FakeDriver, process: Process, pages: int
) -> None:
    """TLB entries that a load, or a store, of one page or of many walked for are good for all."""
    va = process.malloc(pages * PAGE)
    for number in range(pages):
        page = va + number * PAGE
        process.map(page, process.pages[page // PAGE], write=True, atomic=True)
    assert driver.run(1, "sum", va, pages * PAGE // 8).result[0] == 0
    assert driver.run(1, "fill", va, pages * PAGE // 8, 5).status == Status.OK
    misses = driver.counters.tlb_misses
    assert driver.run(1, "atomic_add", va, 2, 1).result[0] == 7
    assert driver.counters.tlb_misses == misses, "what the stores walked for was not enough"
    assert not driver.faults_served


def test_an_atomic_marks_the_page_dirty(driver: FakeDriver, process: Process) -> None:
    va = process.malloc(PAGE)
    process.map(va, process.pages[va // PAGE], write=True, atomic=True)
    assert driver.run(1, "sum", va, 1).result[0] == 0
    assert not process.pte(va) & PTE_DIRTY
    assert driver.run(1, "atomic_add", va, 1, 1).result[0] == 1
    assert process.pte(va) & PTE_DIRTY


def test_shared_memory_is_refused(driver: FakeDriver, process: Process) -> None:
    """And nothing was written; plain accesses go on."""
    va = process.malloc(PAGE)
    process.shared.add(va // PAGE)
    assert driver.run(1, "fill", va, 1, 5).status == Status.OK
    end = driver.run(1, "atomic_add", va, 10, 1)
    assert (end.status, end.fault_va, end.fault_access) == (Status.FAULT, va, Access.ATOMIC)
    assert driver.run(1, "sum", va, 1).result[0] == 5


@pytest.mark.parametrize("many", [False, True])
def test_atomic_without_write_is_a_fault(driver: FakeDriver, process: Process, many: bool) -> None:
    pages = MANY_PAGES if many else 1
    va = process.malloc(pages * PAGE, write=False)
    for number in range(pages):
        page = va + number * PAGE
        process.map(page, process.pages[page // PAGE], write=False, atomic=True)
    assert driver.run(1, "sum", va, pages * PAGE // 8).result[0] == 0
    end = driver.run(1, "atomic_add", va, 1, 1)
    assert (end.status, end.fault_access) == (Status.FAULT, Access.ATOMIC)


def test_the_right_taken_back(driver: FakeDriver, process: Process) -> None:
    """In the midst of a program: it faults, and goes on when it is given the page again."""
    va = process.malloc(PAGE)
    cookie = driver.launch(1, "atomic_add", va, 100_000, 1)
    taken = 0
    while taken < 5:
        driver.device.step()
        driver.serve_faults()
        if process.pte(va) & PTE_ATOMIC and process.pte(va) & PTE_DIRTY:
            process.unmap(va)
            seen = int(process.words(va, 1)[0])
            driver.device.step()
            assert process.words(va, 1)[0] == seen, "written after it was taken away"
            taken += 1
    assert driver.wait(cookie).result[0] == 100_000
    assert set(accesses(driver)) == {Access.ATOMIC}
    assert len(driver.faults_served) == taken + 1


def test_a_huge_page_of_its_own(driver: FakeDriver, process: Process) -> None:
    va, size = 0x4000_0000, 2 << 20
    bus = driver.next_frame["high"] = -(-driver.next_frame["high"] // size) * size
    process.map(va, bus, write=True, leaf_level=1, atomic=True)
    assert driver.run(1, "atomic_add", va + size - 8, 3, 2).result[0] == 6
    assert driver.word(bus + size - 8) == 6
