"""Running a command in the tools tree: its /usr, and of this machine only the cache.

A build there sees the same paths as outside, because the cache lies where it always lies. It can
write there and in a /tmp of its own; the tree is read-only. The kernel's build needs /proc
(objtool reads its own limits), and so namespaces: bubblewrap makes them, or util-linux's unshare
with a short shell script. Both work as an ordinary user where the kernel lets users have
namespaces of their own.

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
# In words of sh: $1 the new root's mount point, $2 the tree, $3 where to start, then folders to
# be seen at their own paths up to "--", then the command.
_SCRIPT = """\
set -e
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

    HostNotReady, with the remedy, where this machine lets nobody have namespaces.
    """
    method = choose(tree)
    if method == "bwrap":
        return _bwrap(tree, argv, cwd, folders)
    return _unshare(tree, argv, cwd, folders)


@functools.cache
def choose(tree: Path) -> str:
    """ "bwrap" or "unshare": what works here. HostNotReady if neither does."""
    tried = []
    for name, make in (("bwrap", _bwrap), ("unshare", _unshare)):
        obstacle = _try(name, make, tree)
        if obstacle is None:
            return name
        tried.append(obstacle)
    raise HostNotReady(f"builds cannot be isolated here ({'; '.join(tried)})", hint=_remedy())


def _try(name: str, make: Make, tree: Path) -> str | None:
    """Why a method does not work here; None if it does."""
    if shutil.which(name) is None:
        return f"no {name}"
    with subprocess.Popen(
        make(tree, ["true"], Path("/"), []),
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
    return f"{name}: {(said or [f'ended with {process.returncode}'])[-1].removeprefix(f'{name}: ')}"


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
