"""HBM that fails, and HBM that does not outlive its device: SIGBUS to who uses it, never zeros.

What a machine check brings about is told by dm-test-failure (guest/tests).
"""

import errno
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from configurations import load
from depth import rounds

from devmodel.abi.rings import Access, Status
from devmodel.device.config import DeviceConfig
from devmodel.device.faults import Faults
from devmodel.machine import Machine, MachineConfig
from devmodel.progress import Reporter

PAGE = 4096
STATS = "/sys/kernel/debug/devmodel/0/stats"
DRIVER = "/sys/bus/pci/drivers/devmodel"

pytestmark = [pytest.mark.usefixtures("no_vm"), pytest.mark.timeout(300)]


def with_device(config: MachineConfig, **changes: Any) -> MachineConfig:
    """With device 0 changed so, and as many lives of it as one likes."""
    first, *rest = config.devices
    changed = DeviceConfig.model_validate(first.model_dump() | changes)
    return config.model_copy(update={"devices": (changed, *rest), "restarts": 1000})


def failing(model: str, page: int) -> MachineConfig:
    return with_device(load(model), faults=Faults(failing_page=page))


def tell(guest: Machine, pages: int) -> dict[str, Any]:
    """What a process saw that has put so many pages into HBM."""
    told: dict[str, Any] = json.loads(
        guest.run(["dm-failing", str(pages)], timeout=120).check().stdout
    )
    return told


@pytest.mark.parametrize("model", ["private", "coherent"])
def test_a_page_fails_under_its_user(model: str) -> None:
    """The program that meets it ends, the CPU gets SIGBUS, and all else is as it was."""
    with Machine(failing(model, 5), reporter=Reporter()) as guest:
        told = tell(guest, 64)
        assert (told["status"], told["access"]) == (Status.FAULT, Access.POISON)
        assert told["fault_page"] == 5
        assert (told["lost"], told["right"]) == (1, 63)
        assert (told["pages_lost"], told["hbm_bytes_failed"]) == (1, PAGE)
        # Nobody is given that frame again.
        told = tell(guest, 64)
        assert told["status"] == Status.OK
        assert (told["lost"], told["right"], told["moved"]) == (0, 64, 64)
        unbind = f"cd {DRIVER} && F=$(ls -d 0000:* | head -1) && echo $F >unbind && echo $F >bind"
        guest.run(unbind, timeout=60).check()
        # The next driver finds out for itself, with the first thing that is put there.
        told = tell(guest, 64)
        assert (told["status"], told["lost"], told["right"]) == (Status.OK, 0, 64)
        assert (told["moved"], told["hbm_bytes_failed"]) == (63, PAGE)
        guest.check()


def test_a_page_of_a_node_fails_under_its_user() -> None:
    """It is the kernel's, which does what it does with all memory that fails."""
    with Machine(failing("numa", 9000), reporter=Reporter()) as guest:
        if guest.run("test -e /sys/devices/system/memory/hard_offline_page").exit_code:
            pytest.skip("this kernel has no CONFIG_MEMORY_FAILURE")
        told = tell(guest, 60000)
        assert (told["status"], told["access"]) == (Status.FAULT, Access.POISON)
        assert (told["lost"], told["right"]) == (1, 59999)
        guest.check()


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A VM whose device forgets what its HBM held when its agent ends."""
    config = with_device(load(request.param), hbm_survives=False)
    with Machine(config, reporter=Reporter()) as guest:
        yield guest


def kill(guest: Machine) -> None:
    """The agent of device 0 is gone, and another there; the driver has taken it on."""
    os.kill(guest.devices[0].pid, signal.SIGKILL)
    assert guest.wait_change(60)
    generation = guest.restarts[0] + 1
    taken = f"until grep -q '^generation *{generation}$' {STATS} && grep -q '^lost *0' {STATS}"
    guest.run(f"{taken}; do usleep 1000; done", timeout=30).check()


PREPARE = "rm -f /tmp/go /tmp/told; mkfifo /tmp/go /tmp/told; dm-lost /tmp/go /tmp/told"


@pytest.mark.parametrize("guest", ["private", "coherent"], indirect=True)
def test_what_lay_in_hbm_is_lost(guest: Machine) -> None:
    """All of it and nothing else; the device works, and is unbound, before its owner has ended."""
    for _ in range(2):
        guest.run(PREPARE, timeout=60).check()
        kill(guest)
        told = json.loads(guest.run("cat /tmp/told & : >/tmp/go; wait", timeout=120).check().stdout)
        assert told["sigbus"] == told["pages"] == 2048
        assert told["right"] == told["more_lost"] == 0
        assert told["wait_errno"] == errno.EIO
        assert told["pushed"] == 300
    print(guest.run("dmesg | grep -o 'generation .* ms'").stdout)
    guest.run(f"{PREPARE} --closed", timeout=60).check()
    kill(guest)
    guest.run(f"grep -q '^hbm_bytes_in_use *0$' {STATS}").check()
    function = guest.run(f"cd {DRIVER} && ls -d 0000:* | head -1").check().stdout.strip()
    guest.run(f"echo {function} >{DRIVER}/unbind && echo {function} >{DRIVER}/bind").check()
    guest.run("dm-test-access", timeout=60).check()
    told = json.loads(guest.run("cat /tmp/told & : >/tmp/go; wait", timeout=120).check().stdout)
    assert told["sigbus"] == told["pages"]
    guest.run(
        "while pidof dm-lost; do usleep 10000; done; modprobe -r devmodel", timeout=30
    ).check()
    guest.check()


@pytest.mark.parametrize("guest", ["two-devices"], indirect=True)
def test_what_lay_in_the_other_device_is_not(guest: Machine) -> None:
    """Neither what was put there, nor by whom: a process that has pages in both loses one's."""
    guest.run(PREPARE, timeout=60).check()
    theirs = PREPARE.replace("/tmp/go", "/tmp/go1").replace("/tmp/told", "/tmp/told1")
    guest.run(f"export DEVMODEL_DEVICE=/dev/devmodel1; {theirs} --closed", timeout=60).check()
    kill(guest)
    ask = "cat /tmp/told{0} & : >/tmp/go{0}; wait"
    told = json.loads(guest.run(ask.format(""), timeout=120).check().stdout)
    assert (told["sigbus"], told["right"], told["pulled"]) == (told["pages"], 0, 0)
    told = json.loads(guest.run(ask.format("1"), timeout=120).check().stdout)
    assert (told["sigbus"], told["right"]) == (0, told["pages"])
    guest.check()


@pytest.mark.parametrize("guest", ["coherent"], indirect=True)
def test_no_cpu_sees_it_empty(guest: Machine) -> None:
    """One that reads the HBM all the time finds what was there, and then SIGBUS."""
    guest.run("(dm-watch /tmp/ready; echo $? >/tmp/ended) >/tmp/said 2>&1 &").check()
    guest.run("until [ -e /tmp/ready ]; do usleep 10000; done", timeout=30).check()
    kill(guest)
    guest.run("until [ -s /tmp/ended ]; do usleep 10000; done", timeout=30).check()
    assert guest.run("cat /tmp/said /tmp/ended").stdout == "0\n"
    guest.check()


def test_pages_that_are_held_on_to_keep_nobody_waiting() -> None:
    """The driver goes without them, and can come back once they are let go of."""
    with Machine(with_device(load("coherent"), hbm_survives=False), reporter=Reporter()) as guest:
        guest.run("dm-splice /tmp/held /tmp/let-go >/tmp/said 2>&1 &").check()
        guest.run("until [ -e /tmp/held ]; do usleep 10000; done", timeout=30).check()
        function = guest.run(f"cd {DRIVER} && ls -d 0000:* | head -1").check().stdout.strip()
        guest.run(f"echo {function} >{DRIVER}/unbind", timeout=60).check()
        assert "4 pages in HBM are held on to, and stay" in guest.dmesg()
        # The device's next life would empty what they lie in.
        os.kill(guest.devices[0].pid, signal.SIGKILL)
        assert guest.wait_change(60)
        assert guest.run(f"echo {function} >{DRIVER}/bind", timeout=60).exit_code != 0
        assert "pages in HBM are held on to still" in guest.dmesg()
        assert guest.run("modprobe -r devmodel").exit_code != 0
        guest.run("killall -USR1 dm-splice").check()
        guest.run("until grep -q right /tmp/let-go; do usleep 10000; done", timeout=30).check()
        # It still maps them.
        bound = f"until echo {function} >{DRIVER}/bind; do usleep 10000; done"
        guest.run(bound, timeout=30).check()
        guest.run("dm-test-access && pidof dm-splice", timeout=60).check()
        guest.check()


def test_a_page_fails_within_a_huge_one() -> None:
    """All of it is lost, the frame is found when it is used again, and then nobody gets it."""
    with Machine(failing("private", 5), reporter=Reporter()) as guest:
        told = json.loads(guest.run(["dm-failing", "1024", "--huge"], timeout=120).check().stdout)
        if (told["lost"], told["right"]) == (1, 1023):
            pytest.skip("private memory has no huge pages here")
        assert (told["moved"], told["lost"], told["right"]) == (1024, 512, 512)
        guest.run(f"grep -q '^hbm_bytes_failed *0$' {STATS}").check()
        told = json.loads(guest.run(["dm-failing", "1024", "--huge"], timeout=120).check().stdout)
        assert (told["lost"], told["right"]) == (0, 1024)
        assert (told["moved"], told["hbm_bytes_failed"]) == (1023, PAGE)
        guest.check()


@pytest.mark.parametrize("guest", ["private", "coherent"], indirect=True)
def test_a_word_index_ends_right_or_is_told(guest: Machine) -> None:
    """Its pages are lost under it; what it says is right, or it says nothing."""
    guest.run(
        'for i in $(seq 1 30000); do echo "fox$i jumps over dog$i"; done >/tmp/text', timeout=60
    ).check()
    for _ in range(rounds(2, 5)):
        guest.run(
            "rm -f /tmp/ended; (wordindex --bytes 100000 /tmp/text; echo $? >/tmp/ended) "
            ">/tmp/out 2>&1 &"
        ).check()
        busy = f"until grep -q '^hbm_bytes_in_use *[1-9]' {STATS} || [ -s /tmp/ended ]; do :; done"
        guest.run(busy, timeout=100).check()
        kill(guest)
        guest.run("until [ -s /tmp/ended ]; do usleep 10000; done", timeout=100).check()
        code = int(guest.run(["cat", "/tmp/ended"]).check().stdout)
        said = guest.run(["cat", "/tmp/out"]).stdout
        assert code in (0, 1, 128 + signal.SIGBUS), said
    guest.run("wordindex --bytes 100000 /tmp/text", timeout=100).check()
    guest.check()
