"""Where results come from: by which command, on which machine, from which versions."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import devmodel
from devmodel.experiment.config import Experiment
from devmodel.machine.config import MachineConfig
from devmodel.machine.rundir import VmInfo


def of(
    command: Sequence[str],
    experiment: Experiment,
    machines: Mapping[str, MachineConfig],
    vms: Mapping[str, VmInfo],
) -> dict[str, Any]:
    """All of it, ready for JSON. `vms` has what was booted, by model; models that were not lack."""
    return {
        "command": list(command),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "devmodel": devmodel.__version__,
        "python": platform.python_version(),
        "host": host(),
        "experiment": {
            "repeat": experiment.repeat,
            "show": list(experiment.show),
            "workloads": [
                {"name": item.title, "what": item.what, "words": shlex.join(item.words)}
                for item in experiment.workloads
            ],
        },
        "machines": {model: machine(machines[model], vm) for model, vm in vms.items()},
    }


def host() -> dict[str, Any]:
    """This machine, without its name."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(Path("/proc/cpuinfo").read_text()),
        "processors": len(os.sched_getaffinity(0)),
        "memory_bytes": pages * size,
    }


def processor(cpuinfo: str) -> str:
    """What /proc/cpuinfo's text calls the first one; empty if it does not say."""
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""


def machine(config: MachineConfig, vm: VmInfo) -> dict[str, Any]:
    """One VM: what it was made of, and the whole of its description."""
    return {
        "kernel": vm.kernel,
        "qemu": vm.qemu,
        "accelerator": vm.accelerator,
        "config": config.model_dump(mode="json"),
    }
