"""The Python module for guests: its layouts are those declared, and what it does with a driver.

The driver is a function here. On a real one it runs in tests/e2e/test_own_programs.py.
"""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from array import array
from collections.abc import Callable
from enum import IntEnum, IntFlag
from pathlib import Path

import libdevmodel
import pytest
from libdevmodel import Device, Memory, Place, ProgramFailed, Status, Target, Wait, abi
from libdevmodel.memory import PAGE, word
from libdevmodel.record import Record as Ours

from devmodel.abi import counters, ioctl, layout
from devmodel.abi.generate import ROOT
from devmodel.abi.record import Record

PACKAGE = ROOT / "guest/python/libdevmodel"


def of(record: type[Record]) -> type[Ours]:
    """The module's class of that name."""
    found = getattr(abi, record.__name__)
    assert issubclass(found, Ours)
    return found


@pytest.mark.parametrize("record", layout.UAPI_RECORDS)
def test_the_same_bytes_as_the_declaration(record: type[Record]) -> None:
    values: dict[str, object] = {}
    for number, field in enumerate(record.FIELDS, start=1):
        if field.ctype == "char":
            values[field.name] = b"name".ljust(field.size, b"\0")
        elif field.count > 1:
            values[field.name] = tuple(range(number, number + field.count))
        else:
            values[field.name] = 0x01020300 + number
    ours = of(record)(**values)
    data = ours.pack()
    assert data == record(**values).pack()
    read = of(record)()
    assert read != ours
    read.read(data)
    assert read == ours


@pytest.mark.parametrize("record", layout.UAPI_RECORDS)
def test_unset_is_zero(record: type[Record]) -> None:
    assert of(record)().pack() == record().pack() == bytes(record.SIZE)


def test_c_agrees_about_the_numbers_of_requests(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: apt-get install gcc libc6-dev")
    names = [request.name for request in ioctl.IOCTLS]
    prints = "\n".join(f'printf("%lu\\n", (unsigned long)DEVMODEL_IOC_{name});' for name in names)
    source, program = tmp_path / "test.c", tmp_path / "test"
    source.write_text(
        '#include <stdio.h>\n#include "guest/uapi/devmodel.h"\nint main(void){' + prints + "}"
    )
    subprocess.run(["gcc", f"-I{ROOT}", "-o", program, source], check=True)
    told = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    assert [int(line) for line in told] == [of(r.record).REQUEST for r in ioctl.IOCTLS]


@pytest.mark.parametrize("enum", [enum for _, enum in layout.SHARED_ENUMS])
def test_the_same_names(enum: type[IntEnum] | type[IntFlag]) -> None:
    ours = getattr(abi, enum.__name__)
    assert {m.name: m.value for m in ours} == {m.name: m.value for m in enum}
    assert getattr(libdevmodel, enum.__name__) is ours


def test_constants() -> None:
    assert abi.LAYOUT_HASH == layout.LAYOUT_HASH
    assert abi.PLACE_SHIFT == ioctl.PLACE_SHIFT
    assert [counter.name for counter in counters.RISING] == list(abi.RISING)


def test_the_folder_is_all_that_it_needs(tmp_path: Path) -> None:
    """By a Python that sees nothing else."""
    copy = shutil.copytree(PACKAGE, tmp_path / "libdevmodel")
    assert {path.suffix for path in copy.iterdir() if path.is_file()} == {".py"}
    command = [
        sys.executable,
        "-S",
        "-c",
        "import libdevmodel; print(libdevmodel.Memory(1).length)",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == PAGE


# --- memory and arguments


def test_memory_is_whole_pages_of_zeros() -> None:
    memory = Memory(3 * PAGE + 1)
    assert memory.length == 4 * PAGE == len(memory.view)
    assert memory.address % PAGE == 0
    assert not any(memory.view)
    memory.view.cast("Q")[1] = 0x0102030405060708
    assert memory.view[8] == 8
    # It is where it says.
    with Path("/proc/self/mem").open("rb") as all_memory:
        all_memory.seek(memory.address + 8)
        assert all_memory.read(8) == bytes(range(8, 0, -1))


def test_what_a_program_gets_for_an_argument() -> None:
    numpy = pytest.importorskip("numpy")
    memory, words, others = Memory(1), array("Q", [1]), numpy.zeros(3)
    assert word(7) == 7
    assert word(-1) == 2**64 - 1
    assert word(Target.DEVICE) == 1
    assert word(memory) == memory.address
    assert word(words) == words.buffer_info()[0]
    assert word(others) == others.ctypes.data


@pytest.mark.parametrize(
    ("wrong", "why"),
    [(2.5, r"float_bits\(2.5\) is one"), ("text", "not str"), (b"1", "not bytes"), (None, "None")],
)
def test_what_is_no_argument(wrong: object, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        word(wrong)


def test_the_bits_of_a_float() -> None:
    assert libdevmodel.float_bits(2.5) == 0x40200000


# --- requests

Driver = Callable[[Ours], int]


class Fake:
    """A driver: `answers` get each request, change it, and return an errno or 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[Driver] = []
        self._known = {of(r.record).REQUEST: of(r.record) for r in ioctl.IOCTLS}
        monkeypatch.setattr(fcntl, "ioctl", self._ioctl)
        self.device = Device(os.devnull)

    def _ioctl(self, _: int, number: int, data: bytearray) -> int:
        record = self._known[number]()
        record.read(data)
        error = self.answers.pop(0)(record)
        data[:] = record.pack()
        if error:
            raise OSError(error, os.strerror(error))
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(monkeypatch)


def launched(handle: int, program: bytes, *args: int) -> Driver:
    def answer(record: Ours) -> int:
        assert isinstance(record, abi.Launch)
        assert record.program == program.ljust(32, b"\0")
        assert record.args == args + (0,) * (8 - len(args))
        assert record.nargs == len(args)
        record.handle = handle
        return 0

    return answer


def ended(error: int = 0, **values: object) -> Driver:
    def answer(record: Ours) -> int:
        assert isinstance(record, Wait)
        for name, value in values.items():
            setattr(record, name, value)
        return error

    return answer


def test_a_run_gives_what_the_program_returned(driver: Fake) -> None:
    driver.answers = [launched(9, b"sum", 4096, 3), ended(status=0, result=(5, 6))]
    assert driver.device.run("sum", 4096, 3) == (5, 6)
    assert driver.answers == []


def test_a_wait_that_is_interrupted_goes_on_with_what_is_left(driver: Fake) -> None:
    left = []

    def second(record: Ours) -> int:
        assert isinstance(record, Wait)
        left.append((record.handle, record.timeout_ms))
        record.status = Status.OK
        return 0

    driver.answers = [ended(errno.EINTR, timeout_ms=70), second]
    assert driver.device.wait(9, 100).status == Status.OK
    assert left == [(9, 70)]


def test_a_program_that_goes_on_is_a_timeout(driver: Fake) -> None:
    driver.answers = [ended(errno.ETIME)]
    with pytest.raises(TimeoutError, match="still running after 5 ms"):
        driver.device.wait(9, 5)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ended(errno.ENOENT), "none: ended with NO_PROGRAM"),
        (ended(errno.EINVAL), "none: ended with BAD_ARGUMENT"),
        (
            ended(status=Status.FAULT, fault_address=0x1000, fault_access=1),
            r"none: ended with FAULT at 0x1000 \(write\)",
        ),
        (ended(status=Status.PROGRAM_ERROR), "none: ended with PROGRAM_ERROR"),
    ],
)
def test_a_program_that_fails(driver: Fake, answer: Driver, said: str) -> None:
    driver.answers = [launched(1, b"none"), answer]
    with pytest.raises(ProgramFailed, match=f"^{said}$") as failure:
        driver.device.run("none")
    assert failure.value.end.status != Status.OK


def test_other_refusals_are_the_drivers(driver: Fake) -> None:
    driver.answers = [ended(errno.EIO)]
    with pytest.raises(OSError, match="Input/output error"):
        driver.device.wait(1)
    driver.answers = [lambda _: errno.EAGAIN]
    with pytest.raises(BlockingIOError):
        driver.device.launch("sum")


@pytest.mark.parametrize(
    ("program", "args", "why"),
    [("x" * 32, [], "as long as 'xxx"), ("x", range(9), "9 arguments are too many, 8 is the")],
)
def test_what_the_driver_need_not_see(
    driver: Fake, program: str, args: list[int], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        driver.device.launch(program, *args)


def test_pages_are_moved_and_looked_at(driver: Fake) -> None:
    memory, outcomes = Memory(2 * PAGE), array("I", [7, 7])

    def moved(record: Ours) -> int:
        assert isinstance(record, abi.Migrate)
        where = (memory.address, 2 * PAGE, Target.DEVICE, word(outcomes))
        assert (record.address, record.length, record.target, record.outcomes) == where
        record.moved = 2
        return 0

    def seen(record: Ours) -> int:
        assert isinstance(record, abi.Snapshot)
        assert (record.address, record.length) == (memory.address, 2 * PAGE)
        assert 0 not in (record.cpu, record.device)
        return 0

    driver.answers = [moved, seen]
    assert driver.device.migrate(memory, memory.length, Target.DEVICE, outcomes).moved == 2
    cpu, device = driver.device.snapshot(memory, memory.length)
    assert list(cpu) == list(device) == [0, 0]
    with pytest.raises(ValueError, match="array\\('I'\\) of 2 or more"):
        driver.device.migrate(memory, memory.length, Target.DEVICE, array("I", [0]))


def test_the_place_of_a_page() -> None:
    assert libdevmodel.place(Place.HBM << ioctl.PLACE_SHIFT | 3) is Place.HBM


def test_no_device_is_one_line_with_a_hint() -> None:
    with pytest.raises(FileNotFoundError, match=r"is the driver loaded.*'/dev/no-such-device'"):
        Device("/dev/no-such-device")
