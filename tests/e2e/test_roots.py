"""Userlands: this machine's as the guest's root, a Debian's, and folders beside them."""

import contextlib
import os
import select
import shlex
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_commands import SECONDS, devmodel, own_state  # noqa: F401

from devmodel import paths
from devmodel.machine import Machine
from devmodel.machine.config import MachineConfig

pytestmark = [pytest.mark.usefixtures("no_vm"), pytest.mark.timeout(240)]

# A root that was changed in every way that root has.
CHANGES = """
echo guest >{0}/file && echo guest >{0}/new && rm -r {0}/folder && chmod 0 {0}/mode &&
chown 7:7 {0}/owner && ln -s x {0}/link && mknod {0}/node c 1 3 && mv {0}/name {0}/renamed &&
setfattr -n user.x -v y {0}/file 2>/dev/null; rm -rf /usr/share/doc /etc/passwd
"""


def machine(root: object, **changes: object) -> MachineConfig:
    data = {"name": "roots", "devices": [{"model": "private"}], "restarts": 0, "root": root}
    return MachineConfig.parse({**data, **changes}, Path("/test.yaml"))


def listing(folder: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """All that can be told of a folder and what is in it."""
    found = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        name = str(path.relative_to(folder))
        found[name] = (status.st_mode, status.st_uid, status.st_mtime_ns, status.st_ctime_ns, data)
    return found


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that a guest with this machine's root sees: not in /tmp, which is its own."""
    folder = Path(tempfile.mkdtemp(prefix=".test-", dir=paths.cache()))
    (folder / "folder").mkdir()
    for name in ("file", "folder/x", "mode", "owner", "name"):
        (folder / name).write_text("host")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One to read and one to change, called as no folder should be."""
    base = tmp_path_factory.mktemp("shares")
    found = base / "to read, a b", base / "it's to write"
    for folder in found:
        folder.mkdir()
        (folder / "file").write_text("host")
    return found


@pytest.fixture(scope="module")
def host(folders: tuple[Path, Path]) -> Iterator[Machine]:
    """A guest with this machine's userland."""
    read, write = folders
    shares = [
        {"host": str(read), "guest": str(read)},
        {"host": str(write), "guest": str(write), "readonly": False},
    ]
    with Machine(machine("host", shares=shares)) as vm:
        yield vm


def test_nothing_that_the_guest_does_is_there_afterwards(host: Machine, place: Path) -> None:
    before = listing(place), Path("/etc/passwd").read_bytes(), sorted(Path("/etc").iterdir())
    assert host.run(["cat", f"{place}/file"]).stdout == "host"
    host.run(CHANGES.format(shlex.quote(str(place))))
    seen = host.run(["ls", str(place)]).stdout.split()
    assert seen == ["file", "link", "mode", "new", "node", "owner", "renamed"]
    assert host.run(["test", "-e", "/etc/passwd"]).exit_code == 1
    after = listing(place), Path("/etc/passwd").read_bytes(), sorted(Path("/etc").iterdir())
    assert after == before


def test_a_folder_to_read_cannot_be_changed(host: Machine, folders: tuple[Path, Path]) -> None:
    read = folders[0]
    before = listing(read)
    name = shlex.quote(str(read))
    assert host.run(f"cat {name}/file").stdout == "host"
    for again in ("", f"mount -o remount,rw {name} && "):
        for change in ("echo x >{}/file", "rm {}/file", "chmod 0 {}/file", "mkdir {}/new"):
            assert host.run(again + change.format(name)).exit_code != 0
    # Nor by mounting what is behind the root again, without the layer.
    host.run("mkdir /m && mount -t virtiofs root /m")
    assert host.run("touch /m/devmodel-was-here").exit_code != 0
    assert not Path("/devmodel-was-here").exists()
    assert listing(read) == before


def test_a_folder_to_change_is_changed_by_whoever_runs_it(
    host: Machine, folders: tuple[Path, Path]
) -> None:
    write = folders[1]
    name = shlex.quote(str(write))
    host.run(f"mkdir {name}/new && echo x >{name}/new/file && chmod 750 {name}/new").check()
    made = write / "new"
    assert (made / "file").read_text() == "x\n"
    assert (made / "file").stat().st_uid == made.stat().st_uid == os.getuid()
    assert stat.S_IMODE(made.stat().st_mode) == 0o750


def test_what_is_the_guests_own(host: Machine) -> None:
    kinds = {
        line.split()[1]: line.split()[2]
        for line in host.run(["cat", "/proc/self/mounts"]).stdout.splitlines()
    }
    assert [kinds[path] for path in ("/", "/dev", "/proc", "/sys", "/tmp", "/run")] == [
        *("overlay", "devtmpfs", "proc", "sysfs", "tmpfs", "tmpfs")
    ]
    assert host.run("echo x >/tmp/x && ls /tmp/x").exit_code == 0
    assert not Path("/tmp/x").exists()
    # A process that could not make a namespace would be one in a chroot.
    assert host.run(["/run/devmodel/usr/bin/unshare", "-Ur", "true"]).exit_code == 0


def test_tools_driver_and_device_are_there(host: Machine) -> None:
    assert host.run(["dm-info"]).check().stdout.startswith("model: ")
    host.run("rmmod devmodel && modprobe devmodel && dm-reset").check()
    assert host.run(["dm-test-access"]).exit_code == 0


def test_files_go_in_and_out_by_this_machines_tar(host: Machine, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    host.put(tmp_path / "x", "/opt/x")
    host.get("/opt/x", tmp_path / "y")
    assert (tmp_path / "y").read_text() == "x"
    assert not Path("/opt/x").exists()


def test_a_debian_has_its_packages() -> None:
    with Machine(machine({"debian": ["numactl"]})) as vm:
        assert "available: 1 nodes" in vm.run(["numactl", "-H"]).check().stdout
        assert vm.run("id -un; grep -c . /etc/passwd").check().stdout.startswith("root\n")
        assert vm.run(["stat", "-c", "%U", "/usr/bin/numactl"]).stdout == "root\n"
        assert vm.run("rm -r /usr/share; touch /etc/x; dm-info; dm-test-access").exit_code == 0
    # The next one is as new.
    with Machine(machine({"debian": ["numactl"]})) as vm:
        assert vm.run("ls /usr/share/base-files && test ! -e /etc/x").exit_code == 0


def children(pid: int) -> set[int]:
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= {int(child), *children(int(child))}
    return found


def test_a_command_line_with_folders_and_no_process_is_left_after_sigkill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "work here"
    here.mkdir()
    monkeypatch.chdir(here)
    name = devmodel("start", "mirror", "--root", "host", "--rwdir", ".").stdout.strip()
    # A command begins where the person is.
    devmodel("exec", "--", "touch", "made here")
    assert (here / "made here").exists()
    # Where nothing of this machine is, a program of it still runs.
    assert devmodel("exec", "--", "python3", "--version", code=None).returncode in (0, 127)
    keeper = next(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and b"devmodel.cli.keeper" in cmdline(entry)
        if str(tmp_path).encode() in environment(entry)
    )
    below = children(keeper)
    assert any(b"virtiofsd" in cmdline(Path(f"/proc/{pid}")) for pid in below)
    ends = [os.pidfd_open(pid) for pid in below]
    os.kill(keeper, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    for end in ends:
        assert select.select([end], [], [], max(deadline - time.monotonic(), 0))[0], name
        os.close(end)


def cmdline(process: Path) -> bytes:
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_bytes()
    return b""


def environment(process: Path) -> bytes:
    with contextlib.suppress(OSError):
        return (process / "environ").read_bytes()
    return b""


def test_a_folder_that_is_not_there_is_one_line() -> None:
    for words in (["--rodir", "/none/of, these"], ["--rwdir", "line\nbreak"]):
        done = devmodel("run", "mirror", *words, "--", "true", code=2)
        assert done.stderr.count("\n") == 1
        assert f"{words[0]}: no folder" in done.stderr
