"""Running a build's commands: output to a log, its lines counted, its failure explained.

Or, where the command is the user's own, everything as it is.
"""

import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devmodel.build import disk
from devmodel.errors import BuildFailed, HostNotReady

TAIL = 15
# What fails whatever is built: in a build's output → the cause and the remedy.
HOST_FAILURES = {
    "No space left on device": ("no room is left on the disk", disk.REMEDY),
    "Killed signal terminated": ("the compiler was killed", "is there enough memory?"),
}


def build_environment() -> dict[str, str]:
    """Ours, without what would change a build: another's make flags, language, kbuild settings."""
    dropped = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARCH", "CROSS_COMPILE", "LD_PRELOAD")
    kept = {
        k: v
        for k, v in os.environ.items()
        if k not in dropped and not k.startswith(("KBUILD_", "KCONFIG_"))
    }
    return {**kept, "LC_ALL": "C"}


def run(
    argv: Sequence[object],
    *,
    what: str,
    log: Path,
    shown: Sequence[str] = (),
    leash: bool = False,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    each_line: Callable[[str], None] | None = None,
) -> None:
    """Run `argv` (its items as text), appending its output to `log`.

    BuildFailed with the end of it if it fails, HostNotReady if that is this machine's doing.

    `each_line` sees every line as it comes; `shown` is what the log calls the command, if that is
    not what it is. With `leash` its stdin is a pipe that ends when this process does.
    HostNotReady if the program is not installed.
    """
    words = [str(word) for word in argv]
    prompt = f"$ {shlex.join(shown or words)}"
    # Unbuffered: a log is read while it grows.
    with log.open("ab", buffering=0) as out:
        out.write(f"{prompt}\n".encode())
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env={**build_environment(), **(environment or {})},
                stdin=subprocess.PIPE if leash else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except FileNotFoundError as error:
            raise HostNotReady(
                f"{what}: {words[0]} is not installed", hint="devmodel doctor names the packages"
            ) from error
        with process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    out.write(line)
                    if each_line:
                        each_line(line.decode(errors="replace"))
            except BaseException:
                process.kill()
                raise
    if process.returncode:
        lines = log.read_text(errors="replace").splitlines()
        said = lines[len(lines) - lines[::-1].index(prompt) :]
        for symptom, (cause, remedy) in HOST_FAILURES.items():
            if any(symptom in line for line in said):
                raise HostNotReady(f"{what}: {cause}", hint=remedy, details="\n".join(said[-TAIL:]))
        telling = [line for line in said if "error" in line.lower()] or said
        raise BuildFailed(
            f"{what}: {(shown or words)[0]} ended with {process.returncode}",
            hint=f"its whole output is in {log}",
            details="\n".join(telling[-TAIL:]),
            log=log,
        )


def call(argv: Sequence[str]) -> int:
    """Run `argv` with this process's own output; its exit code, as a shell tells it.

    Its stdin is a pipe that ends when this process does.
    """
    with subprocess.Popen(argv, env=build_environment(), stdin=subprocess.PIPE) as process:
        try:
            code = process.wait()
        except BaseException:
            process.kill()
            raise
    return code if code >= 0 else 128 - code
