"""A workload in a guest: put there, run once in a folder of its own, counted and judged."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from devmodel.errors import CommandTimeout, CopyFailed, GuestError
from devmodel.experiment import streams
from devmodel.experiment.config import Text, Workload
from devmodel.experiment.results import BadResult, Result
from devmodel.experiment.samples import Samples
from devmodel.experiment.streams import Lines, Output
from devmodel.machine.machine import Machine

FOLDER = PurePosixPath("/tmp")
SIGNALLED = 128
# What dm-stats ends with, like env and nice.
NOT_RUN = (126, 127)
NO_SAMPLES = Samples()

Texts = Mapping[Text, Path]
"""where this machine has them"""


class JobFailed(GuestError):
    """A workload ended without a result, or with one that it does not stand for."""


@dataclass(frozen=True)
class Ran:
    """What came of one run. `why` it is not right; empty if nothing speaks against it."""

    result: Result
    number: int = 1
    """of its repeats, from 1 on"""
    exit_code: int | None = None
    """None if it did not end by itself"""
    output: Output | None = None
    why: str = ""
    samples: Samples = NO_SAMPLES
    """of all of it, also of what a program that reports leaves out"""

    def wrong(self, why: str) -> Ran:
        """The same, not right."""
        return replace(self, result=replace(self.result, checked=False), why=why)


def run(
    vm: Machine,
    workload: Workload,
    *,
    seconds: float,
    texts: Texts,
    number: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> Ran:
    """Run a workload in a VM that is up; `tell` gets its lines on stderr.

    JobFailed if it cannot be put there, takes too long, or ends without a result.
    """
    lines, output = Lines(tell), Output()
    result, samples, code = _counted(vm, workload, seconds, texts, lines, output)
    ran = Ran(result, number, code, output, samples=samples)
    if workload.reports:
        ran = _reported(ran, lines, vm)
    if why := _objection(ran, workload, lines):
        if workload.reports and ran.result.checked:
            # Its own word is not to be had for the numbers, either.
            raise JobFailed(why, details=lines.text)
        return ran.wrong(why)
    return ran if ran.result.checked else ran.wrong("a result is wrong")


def _counted(
    vm: Machine, workload: Workload, seconds: float, texts: Texts, lines: Lines, output: Output
) -> tuple[Result, Samples, int]:
    """What dm-stats counted around the workload, how things stood meanwhile, and the exit code.

    JobFailed if it did not.
    """
    folder = FOLDER / workload.title
    counts = f"{folder}.stats"
    words = shlex.join(["dm-stats", "--json", "--output", counts, "--", *workload.words])
    line = f"cd {folder} && {words}"
    if not _put(vm, workload, folder, texts):
        line = f"rm -rf {folder}; mkdir -p {folder}; {line}"
    try:
        done = vm.run(line, timeout=seconds, stdout=output, stderr=lines)
    except CommandTimeout as error:
        raise JobFailed(
            f"did not end within {seconds:g} s",
            hint="it was killed; timeout gives it longer",
            details=f"{error.details}\n{lines.text}",
        ) from error
    counted = vm.run(f"cat {counts}; rm -rf {folder} {counts}")
    result = Result.blank(vm.config.devices[0].model.value, workload.title)
    try:
        result = replace(result.told(counted.stdout), checked=True)
        return result, Samples.told(counted.stdout), done.exit_code
    except BadResult as error:
        what = "could not be run" if done.exit_code in NOT_RUN else "was not counted"
        raise JobFailed(f"{what}: {lines.last}", details=f"{error}\n{lines.text}") from error


def _put(vm: Machine, workload: Workload, folder: PurePosixPath, texts: Texts) -> bool:
    """A fresh folder with all files; False if there are none, and no folder.

    JobFailed if the guest does not take them.
    """
    if not workload.put:
        return False
    targets = [folder / file.target for file in workload.put]
    parents = {shlex.quote(str(target.parent)) for target in targets}
    vm.run(f"rm -rf {folder}; mkdir -p {' '.join(sorted(parents))}")
    for file, target in zip(workload.put, targets, strict=True):
        source = file.host if file.text is None else texts[file.text]
        assert source is not None
        try:
            vm.put(source, str(target))
        except CopyFailed as error:
            raise JobFailed(f"{source} could not be copied into the guest: {error}") from error
    return True


def _reported(ran: Ran, lines: Lines, vm: Machine) -> Ran:
    """With what the program tells of itself. JobFailed if it tells nothing that is a result."""
    assert ran.output is not None
    try:
        return replace(ran, result=ran.result.told(ran.output.last))
    except BadResult as error:
        raise JobFailed(
            f"{ended(ran.exit_code)} and without a result: {lines.last}",
            hint=f"see {vm.folder}",
            details=f"{error}\n{lines.text}",
        ) from error


def _objection(ran: Ran, workload: Workload, lines: Lines) -> str:
    """What of one run alone is not as expected; empty if all is."""
    expect, output = workload.expect, ran.output
    assert output is not None and ran.exit_code is not None
    if expect.exit_code is not None and ran.exit_code != expect.exit_code:
        # What reports says by 1 that a check of its own failed, and has said which.
        if workload.reports and not ran.result.checked:
            return ""
        return f"{ended(ran.exit_code)}, not {expect.exit_code}: {lines.last}"
    wanted = expect.lines()
    if wanted is None:
        return ""
    if not output.whole:
        return f"printed {output.size} bytes, more than are compared"
    found = streams.difference(output.lines, wanted)
    return f"its output is wrong: {found}" if found else ""


def ended(code: int | None) -> str:
    """An exit code in words."""
    if code is not None and code > SIGNALLED:
        with contextlib.suppress(ValueError):
            return f"ended with {code} ({signal.Signals(code - SIGNALLED).name})"
    return f"ended with {code}"
