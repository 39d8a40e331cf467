"""Devices that make mistakes, and the oracle that finds them; no guest needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_driver import PAGE, FakeDriver, Process

from devmodel.abi.pagetable import PTE_DIRTY
from devmodel.abi.registers import DRIVER_PAGE, DriverRegs
from devmodel.abi.rings import Access, Status
from devmodel.device import Identity
from devmodel.device.faults import EveryNth, Faults
from devmodel.device.memory import HBM_BASE
from devmodel.experiment.oracle.check import check
from devmodel.experiment.oracle.violation import Kind
from devmodel.progress import Reporter

# Below and above the number of pages from where on numpy does it.
PAGES = [3, 40]


def driver_with(**faults: int) -> tuple[FakeDriver, Process]:
    driver = FakeDriver(trace=True, faults=Faults(**faults))
    return driver, driver.process()


def kinds(driver: FakeDriver, folder: Path) -> set[Kind]:
    driver.end_trace()
    file = folder / "device0.trace"
    file.write_bytes(driver.traced)
    return {violation.kind for violation in check(file, Reporter(quiet=True)).violations}


def use_and_take(driver: FakeDriver, process: Process, pages: int, program: str) -> int:
    """The device reads or writes pages of HBM, and then has to give them up."""
    va = process.malloc(pages * PAGE, "hbm")
    args = (va, pages * PAGE // 8, 1)[: 3 if program == "fill" else 2]
    assert driver.run(process.ctx, program, *args).status == Status.OK
    process.unmap(va, pages)
    return va


@pytest.mark.parametrize("pages", PAGES)
@pytest.mark.parametrize("program", ["sum", "fill"])
def test_a_good_device(tmp_path: Path, pages: int, program: str) -> None:
    driver, process = driver_with()
    va = use_and_take(driver, process, pages, program)
    driver.run(1, "sum", va, pages * PAGE // 8)
    assert kinds(driver, tmp_path) == set()


@pytest.mark.parametrize("pages", PAGES)
def test_a_lost_invalidate_is_found(tmp_path: Path, pages: int) -> None:
    driver, process = driver_with(lost_invalidate=2)
    for number in range(2):
        va = use_and_take(driver, process, pages, "sum")
        faults = len(driver.faults_served)
        driver.run(1, "sum", va, pages * PAGE // 8)
        # The TLB still knows what it should have forgotten the second time.
        assert (len(driver.faults_served) == faults) == (number == 1)
    assert driver.counters.invalidates_acknowledged == 2
    assert kinds(driver, tmp_path) == {Kind.REVOKED}


def test_a_lost_invalidate_without_use_is_no_violation(tmp_path: Path) -> None:
    driver, process = driver_with(lost_invalidate=1)
    use_and_take(driver, process, 3, "sum")
    assert kinds(driver, tmp_path) == set()


@pytest.mark.parametrize("wait", [False, True])
def test_a_late_invalidate_is_found_if_the_page_is_used_meanwhile(
    tmp_path: Path, wait: bool
) -> None:
    driver, process = driver_with(late_invalidate=50)
    va = use_and_take(driver, process, 3, "sum")
    for _ in range(60 * wait):
        driver.device.step()
    faults = len(driver.faults_served)
    driver.run(1, "sum", va, 3 * PAGE // 8)
    assert (len(driver.faults_served) > faults) == wait
    assert kinds(driver, tmp_path) == (set() if wait else {Kind.REVOKED})


def test_a_late_invalidate_is_forgotten_by_a_reset() -> None:
    driver, process = driver_with(late_invalidate=50)
    use_and_take(driver, process, 3, "sum")
    driver.reset()
    process = driver.process()
    driver.run(1, "sum", process.malloc(3 * PAGE, "low"), 3 * PAGE // 8)
    for _ in range(60):
        driver.device.step()
    assert driver.counters.tlb_dropped == 0


@pytest.mark.parametrize("pages", PAGES)
def test_a_lost_dirty_bit_is_found(tmp_path: Path, pages: int) -> None:
    driver, process = driver_with(lost_dirty=3)
    va = process.malloc(pages * PAGE)
    # A read has no dirty bit to lose.
    driver.run(1, "sum", va, PAGE // 8)
    driver.run(1, "fill", va, pages * PAGE // 8, 1)
    clean = [n for n in range(pages) if not process.pte(va + n * PAGE) & PTE_DIRTY]
    assert clean == list(range(2, pages, 3))
    assert (process.words(va, pages * PAGE // 8) == 1).all()
    process.unmap(va, pages)
    assert kinds(driver, tmp_path) == {Kind.LOST_DIRTY}


def test_a_read_loses_no_dirty_bit(tmp_path: Path) -> None:
    driver, process = driver_with(lost_dirty=1)
    use_and_take(driver, process, 40, "sum")
    assert kinds(driver, tmp_path) == set()


@pytest.mark.parametrize("pages", PAGES)
def test_a_frame_given_out_twice_is_found_by_its_use(tmp_path: Path, pages: int) -> None:
    driver, process = driver_with(stuck_address_line=13)
    va = process.malloc(pages * PAGE, "hbm")
    driver.run(1, "fill", va, PAGE // 8, 1)
    driver.run(1, "fill", va + 2 * PAGE, PAGE // 8, 3)
    # Frames 0 and 2 are one.
    assert driver.run(1, "sum", va, PAGE // 8).result[0] == 3 * PAGE // 8
    assert driver.run(1, "sum", va, pages * PAGE // 8).status == Status.OK
    assert kinds(driver, tmp_path) == {Kind.WRONG_FRAME}


@pytest.mark.parametrize("pages", PAGES)
def test_a_frame_given_out_twice_is_found_by_a_copy(tmp_path: Path, pages: int) -> None:
    driver, _ = driver_with(stuck_address_line=12)
    low = [driver.frame("low") for _ in range(pages)]
    hbm = [driver.frame("hbm") for _ in range(pages)]
    _, statuses = driver.run_copy([(a, b, PAGE) for a, b in zip(low, hbm, strict=True)])
    assert set(statuses) == {Status.OK}
    assert kinds(driver, tmp_path) == {Kind.COPIED_TWICE}


def test_a_stuck_line_is_no_line_of_system_memory(tmp_path: Path) -> None:
    driver, process = driver_with(stuck_address_line=12)
    va = process.malloc(40 * PAGE, "low")
    driver.run(1, "fill", va, 40 * PAGE // 8, 1)
    driver.run(1, "atomic_add", va + PAGE, 1, 1)
    assert process.words(va, 40 * PAGE // 8).sum() == 40 * PAGE // 8 + 1
    assert kinds(driver, tmp_path) == set()


def test_an_atomic_add_goes_the_same_wrong_way(tmp_path: Path) -> None:
    driver, process = driver_with(stuck_address_line=12)
    va = process.malloc(2 * PAGE, "hbm")
    driver.run(1, "atomic_add", va + PAGE, 1, 7)
    assert process.words(va, 1)[0] == 7
    assert kinds(driver, tmp_path) == {Kind.WRONG_FRAME}


def test_every_nth() -> None:
    one = EveryNth(3)
    assert [one.one() for _ in range(7)] == [False, False, True, False, False, True, False]
    assert one.many(5).tolist() == [False, True, False, False, True]
    assert not any(EveryNth(0).one() for _ in range(5))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"lost_dirty": -1}, "lost_dirty is -1: must be 0 or more"),
        ({"stuck_address_line": 3}, "stuck_address_line is 3: must be 12 to 51, or 0"),
    ],
)
def test_what_no_fault_can_be(fault: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults(**fault)


def test_without_faults_nothing_is_in_the_way() -> None:
    driver = FakeDriver()
    assert type(driver.device._mmu._memory).__name__ == "Memory"
    assert driver.device._mmu.lost_dirty is None


# A page of HBM that fails

FAILING = 2


def driver_with_failed_page() -> tuple[FakeDriver, Process]:
    """Something has been copied there: it was the last time that it worked."""
    driver, process = driver_with(failing_page=FAILING)
    bus, ram = HBM_BASE + FAILING * PAGE, driver.frame("low")
    for entry in ((bus, ram, 8), (ram, bus - PAGE, PAGE), (ram, bus + PAGE, PAGE)):
        assert driver.run_copy([entry])[1] == [Status.OK]
    assert driver.run_copy([(bus, ram, 8), (ram, bus, 8)])[1] == [Status.OK] * 2
    return driver, process


@pytest.mark.parametrize("huge", [False, True])
@pytest.mark.parametrize("pages", PAGES)
@pytest.mark.parametrize("program", ["sum", "fill"])
def test_a_program_that_meets_it_is_told(program: str, pages: int, huge: bool) -> None:
    driver, process = driver_with_failed_page()
    va = 0x4000_0000
    if huge:
        process.map(va, HBM_BASE, True, leaf_level=1)
    else:
        va = process.malloc((pages + 1) * PAGE, "hbm")
    words = pages * PAGE // 8
    end = driver.run(process.ctx, program, va, words, *([1] if program == "fill" else []))
    assert (end.status, end.fault_access) == (Status.FAULT, Access.POISON)
    assert end.fault_va == va + FAILING * PAGE
    (record,) = [r for r in driver.faults_served if r.access == Access.POISON]
    assert (record.bus, record.npages) == (HBM_BASE + FAILING * PAGE, 1)
    # Its neighbours are whole.
    assert driver.run(process.ctx, "sum", va, FAILING * PAGE // 8).status == Status.OK
    assert driver.run(process.ctx, "sum", va + (FAILING + 1) * PAGE, 3).status == Status.OK


@pytest.mark.parametrize("inward", [False, True])
@pytest.mark.parametrize("pages", [4, 40])
def test_a_copy_that_meets_it_is_told(pages: int, inward: bool) -> None:
    driver, _ = driver_with_failed_page()
    ram = driver.frame("low", count=pages)
    entries = []
    for number in range(pages):
        hbm, system = HBM_BASE + number * PAGE, ram + number * PAGE
        entries.append((system, hbm, PAGE) if inward else (hbm, system, PAGE))
    _, statuses = driver.run_copy(entries)
    wanted = [Status.POISONED if n == FAILING else Status.OK for n in range(pages)]
    assert statuses == wanted
    # A word of it is enough.
    after = HBM_BASE + (FAILING + 1) * PAGE
    assert driver.run_copy([(after - 8, ram, 16)])[1] == [Status.POISONED]
    assert driver.run_copy([(after, ram, 16)])[1] == [Status.OK]
    assert driver.run_copy([(HBM_BASE + (1 << 40), ram, 16)])[1] == [Status.BAD_ADDRESS]


def test_an_atomic_that_meets_it_is_told() -> None:
    driver, process = driver_with_failed_page()
    va = process.malloc(4 * PAGE, "hbm")
    end = driver.run(process.ctx, "atomic_add", va + FAILING * PAGE, 1, 1)
    assert (end.status, end.fault_access) == (Status.FAULT, Access.POISON)


def test_hbm_is_emptied_with_the_first_reset_that_means_this_life() -> None:
    driver = FakeDriver(start=False)
    emptied: list[bool] = []
    driver.empty_hbm = lambda: emptied.append(True)
    driver.device = driver.new_device(Identity(generation=2))
    driver.device.step()
    # Asked for when the driver gave the last life up.
    driver.reset()
    assert not emptied
    life = DRIVER_PAGE + DriverRegs.offset("generation")
    driver.region[life : life + 8].view("<u8")[0] = 2
    driver.device.step()
    assert not emptied
    driver.reset()
    driver.reset()
    assert emptied == [True]
