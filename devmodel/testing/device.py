"""A device of a test's VM, and what it and its driver count (docs/counters.md)."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from devmodel.device.config import DeviceConfig
from devmodel.machine import Machine


class Counters(Mapping[str, int]):
    """All counters at one time, or what lies between two; each an item and an attribute.

    ::

        before = device.counters()
        vm.run(["dm-run", "sum", "@1048576", "131072"])
        risen = device.counters() - before
        assert risen.device_faults == 1
    """

    def __init__(self, values: Mapping[str, int]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def __getattr__(self, name: str) -> int:
        if not name.startswith("_") and name in self._values:
            return self._values[name]
        close = difflib.get_close_matches(name, vars(self).get("_values", {}), 1, 0.5)
        hint = f"did you mean {close[0]}?" if close else "docs/counters.md names them"
        raise AttributeError(f"no counter {name}; {hint}", name=name, obj=self)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __sub__(self, before: Counters) -> Counters:
        """By how much each is more than `before`: less than 0 for what also falls."""
        return Counters({name: value - before[name] for name, value in self.items()})

    def __repr__(self) -> str:
        """Those that are not 0, for a person who asks why a test failed."""
        shown = ", ".join(f"{name}={value}" for name, value in self.items() if value)
        return f"Counters({shown})"


class Device:
    """A device of a VM that runs, by number."""

    def __init__(self, vm: Machine, number: int = 0) -> None:
        self._vm = vm
        self.number = number

    @property
    def config(self) -> DeviceConfig:
        """As it is described."""
        return self._vm.config.devices[self.number]

    @property
    def path(self) -> str:
        """In the guest."""
        return f"/dev/devmodel{self.number}"

    def counters(self) -> Counters:
        """As they stand. RuntimeError if the device is not there."""
        done = self._vm.run(["dm-stats", "--json", self.path]).check()
        return Counters(json.loads(done.stdout))

    @contextmanager
    def counting(self) -> Iterator[Counters]:
        """What is counted within the block; to be read after it.

        ::

            with device.counting() as risen:
                vm.run(["dm-run", "sum", "@1048576", "131072"])
            assert risen.device_faults == 1
        """
        before = self.counters()
        risen = Counters(dict.fromkeys(before, 0))
        yield risen
        risen._values.update(self.counters() - before)
