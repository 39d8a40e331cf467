"""What each context's programs did, on the page for who looks from outside."""

from __future__ import annotations

from fake_driver import PAGE, FakeDriver

from devmodel.abi.counters import ContextCounters
from devmodel.abi.registers import CONTEXT_ENTRIES, CONTEXT_PAGE
from devmodel.abi.rings import ControlOp, Status
from devmodel.device import Identity


def told(driver: FakeDriver) -> dict[int, ContextCounters]:
    """By context."""
    page = driver.region[CONTEXT_PAGE:].tobytes()
    found = [
        ContextCounters.unpack(page, number * ContextCounters.SIZE)
        for number in range(CONTEXT_ENTRIES)
    ]
    return {counters.ctx: counters for counters in found if counters.ctx}


def test_each_has_what_its_own_programs_did() -> None:
    driver = FakeDriver()
    one, two = driver.process(1), driver.process(2)
    a, b = one.malloc(4 * PAGE, "low"), two.malloc(8 * PAGE, "low")
    driver.run(1, "fill", a, 4 * PAGE // 8, 7)
    driver.run(2, "sum", b, 8 * PAGE // 8)
    driver.run(2, "sum", b, 8 * PAGE // 8)
    driver.invalidate(2, b, PAGE)
    driver.settle()
    first, second = told(driver)[1], told(driver)[2]
    assert (first.programs, second.programs) == (1, 2)
    assert (first.remote_bytes_written, first.remote_bytes_read) == (4 * PAGE, 0)
    assert (second.remote_bytes_written, second.remote_bytes_read) == (0, 16 * PAGE)
    assert (first.invalidates_acknowledged, second.invalidates_acknowledged) == (0, 1)
    assert first.fault_records > 0
    # Nothing is left over, and nothing counted twice.
    whole = driver.counters
    for name in ("fault_records", "tlb_hits", "tlb_misses", "programs"):
        assert getattr(first, name) + getattr(second, name) == getattr(whole, name)


def test_a_context_that_goes_takes_its_place_along() -> None:
    driver = FakeDriver()
    driver.process(5)
    driver.settle()
    assert list(told(driver)) == [5]
    assert driver.command(ControlOp.CONTEXT_DESTROY, ctx=5) == Status.OK
    assert told(driver) == {}
    driver.process(6)
    driver.settle()
    assert told(driver) == {6: ContextCounters(ctx=6)}
    driver.reset()
    assert told(driver) == {}


def test_more_contexts_than_the_page_has_room_for() -> None:
    driver = FakeDriver()
    for ctx in range(1, CONTEXT_ENTRIES + 3):
        driver.process(ctx)
    driver.settle()
    assert sorted(told(driver)) == list(range(1, CONTEXT_ENTRIES + 1))
    # The others work as well.
    process = driver.process(CONTEXT_ENTRIES + 3)
    va = process.malloc(PAGE, "low")
    assert driver.run(CONTEXT_ENTRIES + 3, "fill", va, 1, 1).status == Status.OK
    assert driver.command(ControlOp.CONTEXT_DESTROY, ctx=CONTEXT_ENTRIES + 3) == Status.OK
    assert driver.command(ControlOp.CONTEXT_DESTROY, ctx=3) == Status.OK
    driver.process(3)
    driver.settle()
    assert 3 in told(driver)


def test_another_life_of_the_device_begins_with_none() -> None:
    driver = FakeDriver()
    driver.process(1)
    driver.settle()
    assert told(driver)
    driver.device = driver.new_device(Identity(0, 2, 1))
    assert told(driver) == {}


def test_a_guest_that_scribbles_there_disturbs_nothing() -> None:
    driver = FakeDriver()
    process = driver.process(1)
    va = process.malloc(PAGE, "low")
    driver.settle()
    driver.region[CONTEXT_PAGE : CONTEXT_PAGE + 4096] = 0xFF
    assert driver.run(1, "fill", va, 8, 1).status == Status.OK
    assert told(driver)[1].programs == 1
