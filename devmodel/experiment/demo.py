"""The main job, a word index, under each memory model: one VM for each, and one table."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from devmodel.experiment import corpus, fleet, job, summary
from devmodel.experiment.config import Experiment, Text
from devmodel.experiment.job import Texts
from devmodel.experiment.results import Result
from devmodel.machine.config import MachineConfig
from devmodel.machine.machine import Machine
from devmodel.progress import Reporter

WORD_INDEX = Experiment.load().chosen(["wordindex"])
# Copy the text, the four phases that wordindex tells of, the verdict.
STAGES = 6
FIELDS = (
    "model",
    "workload",
    "checked",
    "device_faults",
    "pages_to_device",
    "pages_to_system",
    "bytes_to_device",
    "bytes_to_system",
    "tlb_hits",
    "tlb_misses",
    "hbm_bytes_in_use",
    "wall_seconds",
)


def word_index(vm: Machine, texts: Texts, tell: Callable[[str], None]) -> Result:
    """Run the word index in a VM that is up. JobFailed if it ends without a result."""
    (workload,) = WORD_INDEX.workloads
    tell("indexing")

    def phase(line: str) -> None:
        parts = line.split(": ")
        if len(parts) == 3 and parts[0] == "wordindex" and parts[2].endswith(" s"):
            tell(f"{parts[1]} done")

    seconds = WORD_INDEX.seconds(workload)
    return job.run(vm, workload, seconds=seconds, texts=texts, tell=phase).result


def compare(models: Sequence[str], console: Console) -> fleet.Outcome[Result]:
    """Run the word index under each of `models`, as many side by side as this machine likes."""
    machines = {model: MachineConfig.load(model) for model in models}
    texts = corpus.texts([Text.KERNEL_HEADERS], machines, Reporter(console))

    def work(vm: Machine, part: fleet.Part[Result]) -> Result:
        result = word_index(vm, texts, part.tell)
        part.tell("checked" if result.checked else "NOT checked")
        return result

    # A guest, its device and this program: two of each keep two processors busy.
    width = max(1, len(os.sched_getaffinity(0)))
    return fleet.run(machines, work, console, stages=STAGES, width=width)


def run(models: Sequence[str], *, json: bool, console: Console) -> int:
    """`devmodel demo`: progress goes to `console`, the outcome to stdout.

    0 if all is checked; if a guest failed, its exit code.
    """
    outcome = compare(models, console)
    results = list(outcome.results.values())
    if json:
        jsonlib.dump(summary.as_object(results, FIELDS), sys.stdout, indent=1)
        print()
    else:
        Console(highlight=False).print(summary.table(results))
    outcome.tell(console)
    return outcome.exit_code or (0 if all(result.checked for result in results) else 1)
