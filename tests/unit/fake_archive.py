"""A made-up Debian archive behind a real web server, signed with a key of its own."""

import datetime
import email.utils
import hashlib
import io
import lzma
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pysequoia

KEY = pysequoia.Tsk.generate("made up <none@example.org>")


class Handler(SimpleHTTPRequestHandler):
    """Files, and of them parts: SimpleHTTPRequestHandler knows no ranges."""

    asked: ClassVar[list[str]] = []
    """"PATH FIRST-BYTE" of each request"""
    broken: ClassVar[Callable[[str], int | None]] = staticmethod(lambda _: None)
    """after how many bytes a path's answer breaks off"""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.asked.append(f"{path.name} {first}")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        limit = self.broken(path.name)
        self.wfile.write(data if limit is None else data[:limit])
        if limit is not None:
            self.wfile.flush()
            self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The URI of a web server of `folder`."""
    folder.mkdir(exist_ok=True)
    handler = type("Fresh", (Handler,), {"asked": Handler.asked})
    Handler.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def deb(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A package with these files: deb(5), as far as anybody here reads it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
        for name, goal in (links or {}).items():
            info = tarfile.TarInfo(f"./{name}")
            info.type, info.linkname = tarfile.SYMTYPE, goal
            tar.addfile(info)
    out = b"!<arch>\n"
    for name, data in (("debian-binary", b"2.0\n"), ("data.tar.xz", packed.getvalue())):
        out += f"{name:16}{0:<12}{0:<6}{0:<6}{'100644':8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    return out


class FakeArchive:
    """Suites of packages below a folder; `publish` writes and signs their indexes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        self.keys.mkdir(parents=True)
        (self.keys / "key.asc").write_text(str(KEY.extract_certificate()))
        self._stanzas: dict[str, list[str]] = {}

    def add(
        self,
        name: str,
        version: str = "1",
        *,
        suite: str = "trixie",
        files: dict[str, bytes] | None = None,
        links: dict[str, str] | None = None,
        **fields: str,
    ) -> None:
        """A package; `fields` as in Depends="libc6 (>= 2)"."""
        data = deb(files if files is not None else {f"usr/share/{name}": b"x"}, links)
        filename = f"pool/{name}_{version.replace(':', '%3a')}.deb"
        path = self.folder / filename
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        lines = [f"Package: {name}", f"Version: {version}", "Installed-Size: 1"]
        lines += [f"{field.replace('_', '-')}: {value}" for field, value in fields.items()]
        lines += [f"Filename: {filename}", f"Size: {len(data)}"]
        lines += [f"SHA256: {hashlib.sha256(data).hexdigest()}"]
        self._stanzas.setdefault(suite, []).append("\n".join(lines))

    def remove(self, pattern: str) -> None:
        """Packages leave the archive."""
        for suite, stanzas in self._stanzas.items():
            self._stanzas[suite] = [s for s in stanzas if pattern not in s.split("\n")[0]]
        for path in (self.folder / "pool").glob(f"*{pattern}*"):
            path.unlink()

    def publish(self, *suites: str, days: int = 7, key: pysequoia.Tsk = KEY, **fields: str) -> None:
        """The indexes of all suites, signed by `key`, valid for so many days."""
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        for suite in {*suites, *self._stanzas}:
            text = "\n\n".join(self._stanzas.get(suite, [])) + "\n"
            index = lzma.compress(text.encode())
            where = self.folder / "dists" / suite
            (where / "main/binary-amd64").mkdir(parents=True, exist_ok=True)
            (where / "main/binary-amd64/Packages.xz").write_bytes(index)
            release = (
                f"Origin: Debian\nSuite: {fields.get('suite', suite)}\n"
                f"Valid-Until: {email.utils.format_datetime(until)}\nSHA256:\n"
                f" {hashlib.sha256(index).hexdigest()} {len(index)} main/binary-amd64/Packages.xz\n"
            )
            signed = pysequoia.sign(
                key.signer(), release.encode(), mode=pysequoia.SignatureMode.CLEAR
            )
            (where / "InRelease").write_bytes(signed)
