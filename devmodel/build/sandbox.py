"""Running a command in the tools tree: its /usr, and of this machine only the cache.

A build there sees the same paths as outside, because the cache lies where it always lies. It can
write there and in a /tmp of its own; the tree is read-only. The kernel's build needs /proc
(objtool reads its own limits), and so namespaces: bubblewrap makes them, or util-linux's unshare
with a short shell script. Both work as an ordinary user where the kernel lets users have
namespaces of their own. Where it does not (a container, a chroot) proot from the tree itself gives
a command the same view by tracing it, which is slower and needs nobody's leave.

Nothing goes on in there when whoever started it is gone, SIGKILL included: stdin must be a pipe
whose other end that process holds (`command.run`'s `leash`), and its end is the command's.
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from devmodel.errors import HostNotReady

SECONDS = 10.0
# Folders of a merged /usr.
LINKS = ("bin", "sbin", "lib", "lib64")
NODES = ("null", "zero", "full", "random", "urandom")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PROOT = "bin/proot"
# In words of sh: a session of its own, which ends with the leash. Its watcher must be nobody's
# child: proot waits for all of its own.
_TRACED = """\
exec 3<&0 </dev/null
( (cat <&3; kill -KILL 0) >/dev/null 2>&1 & )
exec 3<&-
exec "$@"
"""
# In words of sh: $1 the new root's mount point, $2 the tree, $3 where to start, then folders to
# be seen at their own paths up to "--", then the command.
_SCRIPT = """\
set -e
# Where users do not look for chroot.
PATH=$PATH:/usr/sbin:/sbin
root=$1 tree=$2 where=$3
shift 3
exec 3<&0 </dev/null
(cat <&3 >/dev/null; kill -KILL -1) &
exec 3<&-
# Not in a chroot, whose / is no mount point.
mount --make-rslave / 2>/dev/null || :
mount -t tmpfs -o mode=755 devmodel "$root"
mkdir "$root/usr" "$root/etc" "$root/proc" "$root/dev"
mkdir -m 1777 "$root/tmp"
mount --bind "$tree/usr" "$root/usr"
mount -o remount,bind,ro "$root/usr"
for name in LINKS; do ln -s "usr/$name" "$root/$name"; done
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
for name in NODES; do
	: >"$root/dev/$name"
	mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
while [ "$1" != -- ]; do
	mkdir -p "$root/$1"
	mount --rbind "$1" "$root/$1"
	shift
done
shift
code=0
chroot "$root" /usr/bin/env -C "$where" "$@" || code=$?
# Where propagation could not be ended, the machine's own list of mounts has this one, too.
umount --lazy --recursive "$root"
exit $code
""".replace("LINKS", " ".join(LINKS)).replace("NODES", " ".join(NODES))


Make = Callable[[Path, Sequence[str], Path, Sequence[Path]], list[str]]


def wrap(tree: Path, argv: Sequence[str], *, cwd: Path, folders: Sequence[Path]) -> list[str]:
    """`argv` as a command that runs in `tree` with `folders` at their own paths.

    HostNotReady, with the remedy, where no method works.
    """
    return METHODS[choose(tree)](tree, argv, cwd, folders)


@functools.cache
def choose(tree: Path) -> str:
    """One of METHODS: the first that works here. HostNotReady if none does."""
    tried = []
    for name in METHODS:
        obstacle = _try(name, tree)
        if obstacle is None:
            return name
        tried.append(obstacle)
    raise HostNotReady(f"builds cannot be isolated here ({'; '.join(tried)})", hint=_remedy())


def _try(name: str, tree: Path) -> str | None:
    """Why a method does not work here; None if it does."""
    there = (tree / "usr" / PROOT).exists() if name == "proot" else shutil.which(name)
    if not there:
        return f"no {name}"
    with subprocess.Popen(
        METHODS[name](tree, ["true"], Path("/"), []),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            # Not communicate(): that would close the leash.
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"{name}: no end after {SECONDS:.0f} s"
        assert process.stderr is not None
        said = process.stderr.read().strip().splitlines()
    if process.returncode == 0:
        return None
    return f"{name}: {(said or [f'ended with {process.returncode}'])[0].removeprefix(f'{name}: ')}"


def _remedy() -> str:
    if os.geteuid() == 0:
        return "in a container, let it mount: --cap-add SYS_ADMIN, or privileged"
    for path, value, words in (
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "0",
            "sysctl kernel.unprivileged_userns_clone=1",
        ),
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    ):
        if Path(path).is_file() and Path(path).read_text().strip() == value:
            return f"as root: {words}; or run devmodel as root"
    return "install bubblewrap, or run devmodel as root (a chroot has no namespaces for users)"


def _bwrap(tree: Path, argv: Sequence[str], cwd: Path, folders: Sequence[Path]) -> list[str]:
    line = ["bwrap", "--unshare-pid", "--die-with-parent", "--ro-bind", f"{tree}/usr", "/usr"]
    for name in LINKS:
        line += ["--symlink", f"usr/{name}", f"/{name}"]
    line += ["--dir", "/etc", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for folder in folders:
        line += ["--bind", str(folder), str(folder)]
    line += ["--setenv", "PATH", PATH, "--chdir", str(cwd)]
    return [*line, "--", "sh", "-c", 'exec "$@" </dev/null', "sh", *argv]


def _unshare(tree: Path, argv: Sequence[str], cwd: Path, folders: Sequence[Path]) -> list[str]:
    line = ["unshare", "--mount", "--propagation", "unchanged", "--pid", "--fork", "--kill-child"]
    if os.geteuid() != 0:
        line.append("--map-root-user")
    line += ["sh", "-c", _SCRIPT, "sh", f"{tree}/mnt", str(tree), str(cwd)]
    return [*line, *map(str, folders), "--", "env", f"PATH={PATH}", *argv]


def _proot(tree: Path, argv: Sequence[str], cwd: Path, folders: Sequence[Path]) -> list[str]:
    line = ["setsid", "sh", "-c", _TRACED, "sh", "env", f"PATH={PATH}", *native(tree, PROOT)]
    line += ["-r", str(tree), "-w", str(cwd)]
    for folder in ("/proc", "/dev", "/tmp", *folders):
        line += ["-b", str(folder)]
    return [*line, *argv]


def native(tree: Path, program: str) -> list[str]:
    """A command that runs /usr/PROGRAM of `tree` outside of it, with its own libraries."""
    libraries = tree / "usr/lib/x86_64-linux-gnu"
    loader = tree / "usr/lib64/ld-linux-x86-64.so.2"
    line = [str(loader), "--argv0", Path(program).name, "--library-path", str(libraries)]
    return [*line, str(tree / "usr" / program)]


METHODS: dict[str, Make] = {"bwrap": _bwrap, "unshare": _unshare, "proot": _proot}
