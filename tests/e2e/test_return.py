"""An agent ends and another takes its place: the guest goes on with the same memory."""

import errno
import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from configurations import load
from depth import rounds

from devmodel.errors import DeviceLost
from devmodel.machine import Machine
from devmodel.progress import Reporter

KILLS = rounds(3, 10)
STATS = "/sys/kernel/debug/devmodel/0/stats"
MODELS = (
    "mirror",
    "private",
    "coherent",
    "numa",
    pytest.param("cdm", marks=pytest.mark.machine("cdm")),
)

pytestmark = [pytest.mark.usefixtures("no_vm"), pytest.mark.timeout(300)]


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A VM whose agents may be killed."""
    config = load(request.param).model_copy(update={"restarts": 1000})
    with Machine(config, reporter=Reporter()) as guest:
        yield guest


def kill(guest: Machine, number: int) -> None:
    """The agent of device 0 is gone, and another there; the driver has taken it on."""
    os.kill(guest.devices[0].pid, number)
    assert guest.wait_change(60)
    assert guest.lost_devices == ()
    generation = guest.restarts[0] + 1
    taken = f"until grep -q '^generation *{generation}$' {STATS} && grep -q '^lost *0' {STATS}"
    guest.run(f"{taken}; do usleep 1000; done", timeout=30).check()


@pytest.mark.parametrize("guest", ["private", "coherent", "numa"], indirect=True)
def test_what_lay_in_hbm_is_there_still(guest: Machine) -> None:
    """And the process that it is of goes on; its program ended with the device, and says so."""
    for _ in range(3):
        fifos = "rm -f /tmp/go /tmp/told; mkfifo /tmp/go /tmp/told; dm-lost /tmp/go /tmp/told"
        guest.run(fifos, timeout=60).check()
        kill(guest, signal.SIGKILL)
        told = json.loads(guest.run("cat /tmp/told & : >/tmp/go; wait", timeout=120).check().stdout)
        assert told["right"] == told["pages"] == 2048
        assert told["sigbus"] == told["more_lost"] == 0
        assert told["wait_errno"] == errno.EIO
        assert told["pushed"] == 300
    guest.check()


TEXT = 'for i in $(seq 1 30000); do echo "fox$i jumps over dog$i"; done >/tmp/text'
WORK = """
until wordindex --bytes 400000 /tmp/text >/tmp/out 2>/tmp/err; do
    grep -q 'does not answer' /tmp/err || exit 1
done
"""


def assert_right(guest: Machine) -> None:
    """The index ended, and agrees with the CPU's own."""
    said = guest.run(["cat", "/tmp/err"]).stdout
    assert guest.run(["cat", "/tmp/ended"]).stdout == "0\n", said


@pytest.mark.parametrize("guest", MODELS, indirect=True)
def test_a_word_index_ends_right(guest: Machine) -> None:
    """Killed in the middle of it, again and again: it is told, starts again, and is right."""
    guest.run(TEXT, timeout=60).check()
    start = f"rm -f /tmp/ended; (({WORK}); echo $? >/tmp/ended) >/dev/null 2>&1 &"
    guest.run(start).check()
    for _ in range(KILLS):
        if guest.run("test -e /tmp/ended").exit_code == 0:
            assert_right(guest)
            guest.run(start).check()
        kill(guest, signal.SIGKILL)
    guest.run("until [ -s /tmp/ended ]; do usleep 10000; done", timeout=200).check()
    assert_right(guest)
    print(guest.run("dmesg | grep -o 'generation .* ms'").stdout)
    guest.check()


def test_too_many_ends_are_the_last() -> None:
    config = load("mirror").model_copy(update={"restarts": 2})
    with pytest.raises(DeviceLost), Machine(config, reporter=Reporter()) as guest:
        kill(guest, signal.SIGKILL)
        kill(guest, signal.SIGKILL)
        os.kill(guest.devices[0].pid, signal.SIGKILL)
        assert guest.wait_change(30)
        assert guest.lost_devices == (0,)
        assert guest.restarts == (2,)
        assert guest.run(["dm-run", "sum", "@4096", "1"], timeout=60).exit_code != 0
        assert "device lost" in guest.dmesg()


def test_a_device_that_stops_comes_back() -> None:
    """It is given up after ten seconds of silence, and ended after three more."""
    config = load("private").model_copy(update={"restarts": 3})
    with Machine(config, reporter=Reporter()) as guest:
        os.kill(guest.devices[0].pid, signal.SIGSTOP)
        begin = time.monotonic()
        guest.run("dm-test-access", timeout=60)
        assert guest.wait_change(60) or guest.restarts == (1,)
        assert time.monotonic() - begin < 60
        guest.run("dm-test-access", timeout=60).check()
        guest.check()
