"""Finished cells, by their keys: one file each, which is there whole or counts as missing.

A file is written beside its place, brought to the disk, and renamed: so whoever is killed leaves no
half of one. What a disk made of it is seen by the digest in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

from devmodel import paths
from devmodel.experiment.sweep.record import Record
from devmodel.machine.rundir import explained

SUFFIX = ".json"


def folder() -> Path:
    """Where they are: with the VMs' logs, as nothing can build a measurement again."""
    return paths.state() / "cells"


class Store:
    """The cells in a folder. HostNotReady if the disk refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Have the folder there, for who looks whether it is."""
        with explained(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def finished(self) -> set[str]:
        """The keys that there are files of; whether they are whole, `get` tells."""
        with explained(self.path), contextlib.suppress(FileNotFoundError):
            return {path.stem for path in self.path.iterdir() if path.suffix == SUFFIX}
        return set()

    def get(self, key: str) -> Record | None:
        """What came of a cell; None if it is not finished."""
        try:
            data = json.loads((self.path / f"{key}{SUFFIX}").read_bytes())
            if data["digest"] != _digest(data["record"]) or data["key"] != key:
                return None
            return Record.from_dict(data["record"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, record: Record) -> None:
        """Keep it. It is on the disk when this returns."""
        told = record.as_dict()
        text = json.dumps({"key": key, "digest": _digest(told), "record": told}, indent=1)
        self.make()
        with explained(self.path):
            fd, name = tempfile.mkstemp(prefix=".", dir=self.path)
            temporary = Path(name)
            try:
                with os.fdopen(fd, "w") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self.path / f"{key}{SUFFIX}")
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync(self.path)

    def forget(self, key: str) -> None:
        """It is not finished any more."""
        with explained(self.path):
            (self.path / f"{key}{SUFFIX}").unlink(missing_ok=True)


def _digest(record: object) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _sync(folder: Path) -> None:
    """Bring a rename to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
