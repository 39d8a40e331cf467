"""What builds: the tools tree, or, for a kernel that somebody built here, this machine's own."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from devmodel.build import command
from devmodel.errors import HostNotReady


class Tools(Protocol):
    """Something that can run make and gcc."""

    @property
    def compiler(self) -> str:
        """Changes when the compiler does: part of the keys of what is built with it."""

    def run(
        self,
        argv: Sequence[object],
        *,
        what: str,
        log: Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        each_line: Callable[[str], None] | None = None,
        folders: Sequence[Path] = (),
    ) -> None:
        """As `command.run` does; `folders` are those outside of the cache that it works in."""


class HostTools:
    """This machine's own: modules must come from the compiler that their kernel came from."""

    @property
    def compiler(self) -> str:
        """The first line of ``gcc --version``. HostNotReady without gcc."""
        try:
            done = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise HostNotReady(
                "a kernel that was built here wants modules from the same compiler, "
                "and gcc does not run",
                hint="install gcc and make, or name a source tree that is not built",
            ) from error
        return done.stdout.splitlines()[0]

    def run(
        self,
        argv: Sequence[object],
        *,
        what: str,
        log: Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        each_line: Callable[[str], None] | None = None,
        folders: Sequence[Path] = (),  # noqa: ARG002
    ) -> None:
        """`command.run`."""
        command.run(argv, what=what, log=log, cwd=cwd, environment=environment, each_line=each_line)
