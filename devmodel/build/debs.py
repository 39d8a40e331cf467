"""Packages, fetched and unpacked. Nothing is installed and no script of theirs runs."""

import lzma
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from debian.arfile import ArFile

from devmodel import paths
from devmodel.build import cache, disk, fetch, mirror
from devmodel.build import lock as locks
from devmodel.build.archive import Package
from devmodel.build.fetch import NotThere
from devmodel.build.lock import Lock, Request
from devmodel.errors import BuildFailed
from devmodel.progress import Reporter, Step

# Packages that are decompressed at a time.
AHEAD = 3
# Downloads lie beside what was unpacked from them until `devmodel cache prune`.
SLACK = 128 << 20


def kept(package: Package) -> Path:
    """Where a package's file lies once it is fetched."""
    return paths.cache() / "debs" / f"{package.name}-{package.sha256[:16]}.deb"


Build = Callable[[Path, Path, Lock, Reporter], None]


def obtain(
    kind: str, request: Request, build: Build, reporter: Reporter, *, prefix: str
) -> tuple[Path, Lock]:
    """What `build(folder, its final name, lock, reporter)` makes of a request's packages.

    An entry of the cache, and the lock. The packages are fetched before it is called. What is in
    the cache needs no network; where the archive has moved on since the lock was resolved it is
    resolved again, and that is said.
    """
    if locks.find(request) is None:
        reporter.note(f"{request.name}: asking {mirror.uri()}")
    found = locks.obtain(request)

    def entry() -> Path:
        path = cache.folder(kind, f"{prefix}-{found.digest}")

        def make(target: Path) -> None:
            fetch_all(found, reporter)
            build(target, path, found, reporter)

        return cache.obtain(kind, path.name, make, on_wait=reporter.note)

    try:
        return entry(), found
    except NotThere as error:
        reporter.note(f"{error.message}; resolving {request.name} again")
        found = locks.obtain(request, anew=True)
        return entry(), found


def find(kind: str, request: Request, *, prefix: str) -> tuple[Path, Lock] | None:
    """What `obtain` would give if it is in the cache; nothing is asked."""
    found = locks.find(request)
    if found is None:
        return None
    entry = cache.folder(kind, f"{prefix}-{found.digest}")
    return (entry, found) if entry.is_dir() else None


def fetch_all(lock: Lock, reporter: Reporter) -> None:
    """Download what is not there yet of `lock` and leave it packed.

    HostNotReady in one line if something cannot be had, or there is no room for it.
    """
    wanted = [package for package in lock.packages if not kept(package).is_file()]
    if not wanted:
        return
    uri = mirror.uri()
    total = sum(package.size for package in wanted)
    what = f"downloading {lock.name} ({total / 1e6:.0f} MB)"
    disk.require(paths.cache(), total + lock.installed + SLACK, f"{lock.name}, unpacked,")
    with reporter.step(what, total) as step:
        locked = _Locked(step)

        def one(package: Package) -> None:
            fetch_one(package, uri, locked.advance)

        _all(one, wanted, fetch.CONNECTIONS)


def unpack(packages: Sequence[Package], root: Path, reporter: Reporter, what: str) -> None:
    """Unpack files that were fetched over each other into the folder `root`.

    BuildFailed if that does not work, of which a full disk is the likeliest cause.
    """
    # One tar for all: two that make the same folders get into each other's way. Links of the tree
    # that take a folder's place (/lib) stay what they are.
    tar = ["tar", "-x", "-C", str(root), "--ignore-zeros"]
    tar += ["--no-same-owner", "--no-overwrite-dir", "--keep-directory-symlink"]
    with (
        reporter.step(f"unpacking {what}", len(packages)) as step,
        ThreadPoolExecutor(AHEAD) as pool,
        subprocess.Popen(tar, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        assert process.stdin is not None and process.stderr is not None
        # Not all at once: each holds its content in memory.
        ahead = [pool.submit(content, kept(package)) for package in packages[:AHEAD]]
        try:
            for number in range(len(packages)):
                data = ahead.pop(0).result()
                if number + AHEAD < len(packages):
                    ahead.append(pool.submit(content, kept(packages[number + AHEAD])))
                process.stdin.write(data)
                step.advance()
            process.stdin.close()
        except BrokenPipeError:
            pass  # tar's own words are better
        except BaseException:
            process.kill()
            raise
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise BuildFailed(
            f"{what} could not be unpacked: {(said.splitlines() or ['tar failed'])[0]}",
            hint=disk.REMEDY,
            details=said,
        )


class _Locked:
    """A step that several threads advance."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._lock = threading.Lock()

    def advance(self, amount: int = 1) -> None:
        with self._lock:
            self._step.advance(amount)


def _all(work: Callable[[Package], None], items: Sequence[Package], width: int) -> None:
    """`work` on each, `width` at a time. The first error ends what has not begun."""
    with ThreadPoolExecutor(width) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def fetch_one(package: Package, uri: str, advance: Callable[[int], None] = lambda _: None) -> Path:
    """A package's file; `advance` gets the bytes as they come."""
    return fetch.file(
        f"{uri}/{package.filename}",
        kept(package),
        sha256=package.sha256,
        size=package.size,
        advance=advance,
    )


def content(deb: Path) -> bytes:
    """The tar archive of a package's files. deb(5): an ar archive whose member data.tar.* it is.

    BuildFailed if it is packed in a way that is not Debian's.
    """
    archive = ArFile(str(deb))
    name = next((n for n in archive.getnames() if n.startswith("data.tar")), "")
    if name not in ("data.tar.xz", "data.tar"):
        raise BuildFailed(f"{deb} holds {name or 'no data'}", hint="only xz is understood")
    data: bytes = archive.getmember(name).read()
    return lzma.decompress(data) if name.endswith(".xz") else data
