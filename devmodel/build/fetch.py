"""Files from a mirror: resumed where they stopped, and whole only if their hash says so."""

import fcntl
import functools
import hashlib
import os
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import requests
import requests.adapters

from devmodel.build import disk
from devmodel.errors import HostNotReady

SECONDS = 20.0
TRIES = 3
CHUNK = 256 << 10
CONNECTIONS = 4
HINT = "it takes a network and a Debian mirror; the next run goes on where this one stopped"


class NotThere(HostNotReady):
    """The mirror has no such file: the archive has moved on."""


def text(url: str) -> bytes:
    """What lies at `url`. HostNotReady, with the cause in one line, if it cannot be had."""
    try:
        answer = _session().get(url, timeout=SECONDS)
        answer.raise_for_status()
        return answer.content
    except requests.RequestException as error:
        raise _failed(url, error) from error


@functools.cache
def _session() -> requests.Session:
    """One for all: connections are kept, and each costs a look-up of the mirror's name."""
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS, pool_block=True)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def file(
    url: str,
    target: Path,
    *,
    sha256: str,
    size: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Path:
    """`target`, downloaded if it is not there; `advance` gets the bytes as they come.

    What was downloaded lies in ``TARGET.part`` until it is whole, for the next try to go on. Two
    processes that want the same file share one download. HostNotReady if it cannot be had, and
    for a file that is not what the archive's index says.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    while not target.exists():
        with part.open("ab") as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            # Another process may have finished it while this one waited.
            if not _same(out.fileno(), part):
                continue
            _fill(url, part, out.fileno(), size, advance)
            if _hash(part) != sha256:
                part.unlink()
                raise HostNotReady(
                    f"{url} is not what the archive's index says", hint="use another mirror"
                )
            part.rename(target)
            return target
    advance(size)
    return target


def _fill(url: str, part: Path, out: int, size: int, advance: Callable[[int], None]) -> None:
    """Append to `part` until it has `size` bytes."""
    have = part.stat().st_size
    if have > size:
        os.ftruncate(out, 0)
        have = 0
    advance(have)
    tries = 0
    while have < size:
        before = have
        # Packages are packed already, and a range is one of the bytes as they are.
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={have}-"}
        try:
            with _session().get(url, headers=headers, timeout=SECONDS, stream=True) as answer:
                answer.raise_for_status()
                if have and answer.status_code != HTTPStatus.PARTIAL_CONTENT:
                    os.ftruncate(out, 0)
                    advance(-have)
                    have = before = 0
                for data in answer.iter_content(CHUNK):
                    _append(out, data, part)
                    have += len(data)
                    advance(len(data))
        except requests.RequestException as error:
            tries = 1 if have > before else tries + 1
            if error.response is not None or tries >= TRIES:
                raise _failed(url, error) from error
        else:
            if have < size and have == before:
                raise HostNotReady(f"{url} ends too early", hint=HINT)


def _append(out: int, data: bytes, part: Path) -> None:
    try:
        while data:
            data = data[os.write(out, data) :]
    except OSError as error:
        raise HostNotReady(f"{part}: {error.strerror}", hint=disk.REMEDY) from error


def _same(descriptor: int, path: Path) -> bool:
    """Whether `path` is still the file that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _hash(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _failed(url: str, error: requests.RequestException) -> HostNotReady:
    if error.response is not None:
        status = error.response.status_code
        kind = NotThere if status == HTTPStatus.NOT_FOUND else HostNotReady
        return kind(f"{url}: {status} {error.response.reason}", hint=HINT)
    return HostNotReady(f"{url} could not be downloaded: {_cause(error)}", hint=HINT)


def _cause(error: BaseException) -> str:
    """The innermost reason: the libraries wrap it several times."""
    if isinstance(error, requests.Timeout):
        return f"no answer within {SECONDS:.0f} s"
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error)
