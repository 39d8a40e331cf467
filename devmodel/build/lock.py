"""Which packages a name stands for: resolved once, written down, and kept until it is asked anew.

``locks/<name>-<hash>.json`` in the cache says what was asked for, when, and of each package the
version and the hash. What is built from a lock depends on nothing else, so that it is the same
tomorrow, and without a network.
"""

import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from devmodel import paths
from devmodel.build import archive, cache, mirror
from devmodel.build.archive import Archive, Package

LAYOUT = 1


@dataclass(frozen=True)
class Lock:
    """A set of packages at fixed versions."""

    name: str
    wanted: tuple[str, ...]
    """what they were resolved from"""
    packages: tuple[Package, ...]
    resolved: str
    """the day, as 2026-11-24"""

    @property
    def path(self) -> Path:
        """The file it is kept in."""
        return _path(self.name, self.wanted)

    @property
    def digest(self) -> str:
        """Changes when a package does."""
        return archive.digest(self.packages)[:16]

    @property
    def download(self) -> int:
        """Bytes to fetch."""
        return sum(package.size for package in self.packages)

    @property
    def installed(self) -> int:
        """Bytes that they take, about."""
        return sum(package.installed for package in self.packages)

    def version(self, name: str) -> str:
        """Of one of the packages. KeyError if it is none of them."""
        return {package.name: package.version for package in self.packages}[name]


@dataclass(frozen=True)
class Request:
    """What to look for in the archive."""

    name: str
    """of the lock"""
    wanted: tuple[str, ...]
    """in the words of `resolve`; a lock for other words is resolved anew"""
    suites: tuple[str, ...]
    resolve: Callable[[Archive], Sequence[Package]]


def find(request: Request) -> Lock | None:
    """The lock of a request, if it was resolved before. Nothing is asked."""
    try:
        data = json.loads(_path(request.name, request.wanted).read_text())
        packages = tuple(Package(**package) for package in data["packages"])
        found = Lock(request.name, tuple(data["wanted"]), packages, data["resolved"])
        current = data["layout"] == LAYOUT
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if current and found.wanted == request.wanted else None


def obtain(request: Request, *, anew: bool = False) -> Lock:
    """The lock of a request, resolved if there is none for it yet, or `anew`.

    HostNotReady, which changes nothing, if that cannot be done.
    """
    if not anew and (found := find(request)) is not None:
        return found
    with cache.locked(_path(request.name, request.wanted)):
        if not anew and (found := find(request)) is not None:
            return found
        lock = resolve(request)
        keep(lock)
        return lock


def resolve(request: Request) -> Lock:
    """What the archive has for a request today. HostNotReady if it cannot be asked."""
    packages = request.resolve(archive.of(mirror.uri(), request.suites))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Lock(request.name, request.wanted, tuple(packages), today)


def keep(lock: Lock) -> None:
    """Write it down: from now on it is what its request stands for."""
    data = {
        "layout": LAYOUT,
        "wanted": lock.wanted,
        "resolved": lock.resolved,
        "packages": [asdict(package) for package in lock.packages],
    }
    lock.path.parent.mkdir(parents=True, exist_ok=True)
    cache.write(lock.path, json.dumps(data, indent=1))


def difference(before: Lock | None, now: Lock) -> str:
    """In words: how many packages are newer, and for a few which."""
    known = {} if before is None else {package.name: package for package in before.packages}
    changed = [package for package in now.packages if known.get(package.name) != package]
    named = [f"{package.name} {package.version}" for package in changed[:3]]
    shown = ", ".join([*named, *(["..."] if len(changed) > 3 else [])])
    return f"{len(changed)} of {len(now.packages)} packages are new: {shown}"


def _path(name: str, wanted: tuple[str, ...]) -> Path:
    # Two versions of devmodel may want different things by one name.
    return paths.cache() / "locks" / f"{name}-{cache.key(wanted=wanted)[:8]}.json"
