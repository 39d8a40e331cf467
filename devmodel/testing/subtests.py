"""A guest's KTAP as subtests of a test."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from devmodel.errors import ConfigError
from devmodel.experiment import executable, ktap
from devmodel.experiment.ktap import Leaf, Outcome, Run
from devmodel.machine import Machine
from devmodel.machine.machine import COMMAND_SECONDS

FOLDER = "/tmp"
MOST_STDERR = 2000


class Ktap:
    """Call it with a command; see `__call__`."""

    def __init__(self, vm: Machine, subtests: Any | None) -> None:
        """`subtests` is pytest's fixture, or pytest-subtests'; None where there is none."""
        self._vm = vm
        self._subtests = subtests

    def __call__(
        self, command: Path | Sequence[str | Path], *, timeout: float = COMMAND_SECONDS
    ) -> Run:
        """Run a program that prints KTAP. Each of its tests becomes a subtest, with its outcome.

        A `Path` among the words is a file of this machine, which is copied to the guest first.
        This test itself fails if tests that were planned have no result, or if none failed and
        the exit code is not 0 all the same. Without subtests (before pytest 9, and without
        pytest-subtests) it fails with all that failed.
        """
        words = [command] if isinstance(command, Path) else list(command)
        given = [self._put(word) if isinstance(word, Path) else word for word in words]
        done = self._vm.run(given, timeout=timeout)
        run = ktap.parse(done.stdout)
        self._report(run)
        said = done.stderr[-MOST_STDERR:]
        if run.trouble is not None:
            pytest.fail(f"{shlex.join(given)}: {run.trouble}\n{said}".rstrip(), pytrace=False)
        if done.exit_code and run.good:
            why = f"no test failed, but the exit code is {done.exit_code}"
            pytest.fail(f"{shlex.join(given)}: {why}\n{said}".rstrip(), pytrace=False)
        return run

    def _put(self, path: Path) -> str:
        try:
            executable.check(path)
        except (ConfigError, OSError) as error:
            pytest.fail(f"ktap: {error}", pytrace=False)
        target = f"{FOLDER}/{path.name}"
        self._vm.put(path, target)
        return target

    def _report(self, run: Run) -> None:
        if self._subtests is None:
            if run.failed:
                pytest.fail("\n".join(map(_words, run.failed)), pytrace=False)
            return
        for leaf in run.leaves:
            with self._subtests.test(msg=leaf.title):
                _raise(leaf)


def _words(leaf: Leaf) -> str:
    return "\n  ".join([f"not ok: {leaf.title}", *leaf.notes])


def _raise(leaf: Leaf) -> None:
    # No traceback is shown, but pytest wants one with something in it.
    match leaf.outcome:
        case Outcome.FAILED:
            pytest.fail(_words(leaf), pytrace=False)
        case Outcome.SKIPPED:
            pytest.skip("; ".join(leaf.notes))
        case Outcome.XFAILED:
            pytest.xfail("; ".join(leaf.notes))
