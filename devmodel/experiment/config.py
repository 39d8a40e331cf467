"""An experiment's description: YAML in, checked objects out. docs/experiments.md has the keys.

Every mistake is one line: file, key, what is wrong, what would be right. Relative paths are
relative to the file they stand in.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    StrictBool,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from devmodel import description, paths
from devmodel.build.config import called, located
from devmodel.description import Strict
from devmodel.device.config import DeviceModel
from devmodel.errors import ConfigError
from devmodel.experiment import columns, executable
from devmodel.experiment.sweep.axes import Axes
from devmodel.machine.config import MachineConfig, Policy

SHIPPED = paths.CONFIGS / "experiments"
DEFAULT = SHIPPED / "workloads.yaml"
SUFFIXES = (".yaml", ".yml")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
MOST_REPEATS = 1000
MOST_SECONDS = 7 * 24 * 3600
SECONDS = 240
SIGNALS = 255


class Text(StrEnum):
    """Text that devmodel has for those who need some."""

    KERNEL_HEADERS = "kernel-headers"


def _exit_code(value: object) -> int | None:
    if value == "same":
        return None
    if type(value) is not int or not 0 <= value <= SIGNALS:
        raise ValueError(f"{value!r} is no exit code; use 0 to {SIGNALS}, or same")
    return value


def _host_or_keys(value: object) -> object:
    """A file by its path alone."""
    return {"host": value} if isinstance(value, str | Path) else value


class File(Strict):
    """What is put into the guest beside a program."""

    host: Path | None = None
    text: Text | None = None
    guest: PurePosixPath | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> File:
        if (self.host is None) == (self.text is None):
            raise ValueError("name either host, a file of this machine, or text")
        if self.text is not None and self.guest is None:
            raise ValueError("guest: missing; say what the text is to be called")
        return self

    @property
    def target(self) -> PurePosixPath:
        """Where the guest finds it, from the run's folder."""
        if self.guest is not None:
            return self.guest
        assert self.host is not None
        return PurePosixPath(self.host.name)


class Expect(Strict):
    """When a run is right. `exit_code` None: whatever it is, but the same in every run."""

    exit_code: Annotated[int | None, BeforeValidator(_exit_code)] = 0
    stdout: StrictStr | None = None
    stdout_file: Path | None = None
    same_output: StrictBool = False

    @model_validator(mode="after")
    def _one_output(self) -> Expect:
        if self.stdout is not None and self.stdout_file is not None:
            raise ValueError("stdout and stdout_file exclude each other; remove one")
        return self

    def lines(self) -> list[bytes] | None:
        """What has to be printed; None for anything."""
        if self.stdout_file is not None:
            return self.stdout_file.read_bytes().splitlines()
        return None if self.stdout is None else self.stdout.encode().splitlines()


class Workload(Strict):
    """What is run: a program of this machine, or a command of the guest."""

    name: StrictStr = ""
    what: StrictStr = ""
    program: Path | None = None
    command: tuple[StrictStr, ...] = ()
    args: tuple[StrictStr, ...] = ()
    files: tuple[Annotated[File, BeforeValidator(_host_or_keys)], ...] = ()
    reports: StrictBool = False
    repeat: StrictInt | None = None
    timeout: StrictInt | None = None
    expect: Expect = Expect()

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"{value!r} is no name; use letters, digits, '.', '_' and '-'")
        return value

    @field_validator("repeat")
    @classmethod
    def _repeat(cls, value: int | None) -> int | None:
        return None if value is None else _repeats(value)

    @field_validator("timeout")
    @classmethod
    def _timeout(cls, value: int | None) -> int | None:
        return None if value is None else _seconds(value)

    @model_validator(mode="after")
    def _one_of_them(self) -> Workload:
        if self.program is not None and self.command:
            raise ValueError("program and command exclude each other; remove one")
        if self.program is None and not self.command:
            raise ValueError("nothing to run; name a program, or a command of the guest")
        if self.args and self.program is None:
            raise ValueError("args are a program's; write them into command")
        if not NAME.fullmatch(self.title):
            raise ValueError(f"name: missing, and {self.title!r} is none; add one")
        return self

    @property
    def title(self) -> str:
        """What it is called."""
        if self.name:
            return self.name
        return self.command[0] if self.program is None else self.program.name

    @property
    def words(self) -> tuple[str, ...]:
        """What is run in the guest, in the folder that holds the files."""
        return self.command if self.program is None else (f"./{self.program.name}", *self.args)

    @property
    def put(self) -> tuple[File, ...]:
        """All files that it needs there."""
        own = () if self.program is None else (File(host=self.program),)
        return own + self.files


class Experiment(Strict):
    """Workloads and the models that they are run under. `Experiment.load` reads one."""

    models: tuple[DeviceModel, ...] = tuple(DeviceModel)
    kernels: tuple[StrictStr, ...] = ()
    policy: Policy | None = None
    programs: tuple[Path, ...] = ()
    repeat: StrictInt = 1
    timeout: StrictInt = SECONDS
    show: tuple[StrictStr, ...] = columns.SHOWN
    sweep: Axes | None = None
    workloads: tuple[Workload, ...]

    @field_validator("models")
    @classmethod
    def _models(cls, value: tuple[DeviceModel, ...]) -> tuple[DeviceModel, ...]:
        if not value:
            raise ValueError("no model; name one at least")
        return tuple(dict.fromkeys(value))

    @field_validator("kernels")
    @classmethod
    def _kernels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("repeat")
    @classmethod
    def _repeat(cls, value: int) -> int:
        return _repeats(value)

    @field_validator("timeout")
    @classmethod
    def _timeout(cls, value: int) -> int:
        return _seconds(value)

    @field_validator("show")
    @classmethod
    def _show(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in columns.KNOWN:
                hint = _hint(name, columns.KNOWN, "docs/counters.md has all")
                raise ValueError(f"{name!r} is no counter; {hint}")
        return tuple(dict.fromkeys(value))

    @field_validator("workloads")
    @classmethod
    def _workloads(cls, value: tuple[Workload, ...]) -> tuple[Workload, ...]:
        if not value:
            raise ValueError("no workload; name one at least")
        seen = set()
        for workload in value:
            if workload.title in seen:
                raise ValueError(f"two are called {workload.title!r}; give one another name")
            seen.add(workload.title)
        return value

    @model_validator(mode="after")
    def _sweep(self) -> Experiment:
        if self.sweep is not None:
            if self.policy is not None and self.sweep.policies:
                raise ValueError("policy and sweep.policies exclude each other; remove one")
            for workload in self.workloads:
                self.sweep.check(workload.title, (*workload.command, *workload.args))
        return self

    @classmethod
    def load(cls, path: Path = DEFAULT) -> Experiment:
        """Read a YAML file. ConfigError if it is bad."""
        data = description.read(path, example="workloads:")
        return description.check(cls, data, path).resolved(path.parent)

    def resolved(self, base: Path) -> Experiment:
        """A copy whose relative paths are taken from the folder `base`."""

        def full(path: Path) -> Path:
            return (base / path.expanduser()).absolute()

        def optional(path: Path | None) -> Path | None:
            return None if path is None else full(path)

        def workload(item: Workload) -> Workload:
            expect = item.expect
            return item.model_copy(
                update={
                    "program": optional(item.program),
                    "files": tuple(
                        file.model_copy(update={"host": optional(file.host)}) for file in item.files
                    ),
                    "expect": expect.model_copy(
                        update={"stdout_file": optional(expect.stdout_file)}
                    ),
                }
            )

        return self.model_copy(
            update={
                "kernels": tuple(located(name, base) for name in self.kernels),
                "programs": tuple(map(full, self.programs)),
                "workloads": tuple(map(workload, self.workloads)),
                "sweep": None if self.sweep is None else self.sweep.resolved(base),
            }
        )

    def machine(
        self,
        model: DeviceModel,
        *,
        kernel: str | None = None,
        policy: Policy | None = None,
        where: str = "--kernel",
    ) -> MachineConfig:
        """The machine of one of its models; on another kernel or with another policy, if so said.

        ConfigError if a file is missing or, beginning with `where`, the kernel is not for it.
        """
        found = MachineConfig.load(model.value).with_programs(self.programs)
        if kernel is not None:
            found = found.model_copy(update={"kernel": called(kernel, found.kernel, where)})
        if policy := policy or self.policy:
            found = found.model_copy(update={"policy": policy})
        found.check_files()
        return found

    def chosen(self, names: Collection[str]) -> Experiment:
        """A copy with these workloads only, in its own order; with all of them for no names.

        ConfigError for a name that is none.
        """
        known = [workload.title for workload in self.workloads]
        for name in names:
            if name not in known:
                hint = _hint(name, known, f"there are {', '.join(known)}")
                raise ConfigError(f"no workload {name!r}", hint=hint)
        picked = tuple(item for item in self.workloads if not names or item.title in names)
        return self.model_copy(update={"workloads": picked})

    def check_files(self, where: str) -> None:
        """ConfigError, beginning with `where`, if a file that this names is not there.

        Or if a program is nothing that runs in a guest.
        """
        for what, path in self._files():
            if not path.is_file():
                raise ConfigError(f"{where}: {what}: no file {path}", hint="name one that is there")
        for workload in self.workloads:
            if workload.program is not None:
                try:
                    executable.check(workload.program)
                except ConfigError as error:
                    message = f"{where}: {workload.title}: program: {error.message}"
                    raise ConfigError(message, hint=error.hint) from None

    def _files(self) -> Iterator[tuple[str, Path]]:
        """The files of this machine, and what for."""
        for path in self.programs:
            yield "programs", path
        for workload in self.workloads:
            named = {
                "program": workload.program,
                "expect.stdout_file": workload.expect.stdout_file,
                **{f"files[{number}]": file.host for number, file in enumerate(workload.files)},
            }
            for what, there in named.items():
                if there is not None:
                    yield f"{workload.title}: {what}", there

    def repeats(self, workload: Workload) -> int:
        """How often it is run under each model."""
        return self.repeat if workload.repeat is None else workload.repeat

    def seconds(self, workload: Workload) -> float:
        """How long one run may take."""
        return float(self.timeout if workload.timeout is None else workload.timeout)

    def limited(self, repeat: int | None, timeout: int | None) -> Experiment:
        """A copy in which these hold for every workload, as far as they are given."""
        whole = {"repeat": repeat, "timeout": timeout}
        given = {name: value for name, value in whole.items() if value is not None}
        workloads = tuple(
            workload.model_copy(update=dict.fromkeys(given)) for workload in self.workloads
        )
        return self.model_copy(update={**given, "workloads": workloads})

    @property
    def runs(self) -> int:
        """Of all workloads, under each model."""
        return sum(map(self.repeats, self.workloads))


def of_programs(programs: Sequence[Path], args: Sequence[str], *, same_output: bool) -> Experiment:
    """These programs with the same arguments. ConfigError if that cannot be."""
    workload: dict[str, Any] = {"args": args, "expect": {"same_output": same_output}}
    data = {"workloads": [{"program": program, **workload} for program in programs]}
    return description.check(Experiment, data, Path("--program")).resolved(Path.cwd())


def _repeats(value: int) -> int:
    if not 1 <= value <= MOST_REPEATS:
        raise ValueError(f"{value} times is not possible; use 1 to {MOST_REPEATS}")
    return value


def _seconds(value: int) -> int:
    if not 1 <= value <= MOST_SECONDS:
        raise ValueError(f"{value} is no useful limit; use 1 to {MOST_SECONDS} seconds")
    return value


def _hint(name: str, known: Collection[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {close[0]}?" if close else otherwise
