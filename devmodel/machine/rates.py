"""From two samples of a device to what it does a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devmodel.abi.counters import ContextCounters, DeviceCounters
from devmodel.abi.registers import DeviceState
from devmodel.machine.view import Sample, View, rise


@dataclass(frozen=True)
class Rates:
    """What is done a second, by a device or in one of its contexts."""

    faults: float
    bytes_to_device: float
    """over the link: copies and remote loads; of a context, its loads alone"""
    bytes_to_system: float
    tlb_hits: float
    tlb_hit_rate: float | None
    """of all translations; None without any"""
    invalidates: float

    @classmethod
    def between(
        cls,
        old: DeviceCounters | ContextCounters | None,
        new: DeviceCounters | ContextCounters,
        seconds: float,
    ) -> Rates:
        """Of counters that stood so, `seconds` apart. None: they began at 0 meanwhile."""

        def rose(*names: str) -> int:
            return sum(
                rise(0 if old is None else getattr(old, name, 0), getattr(new, name, 0))
                for name in names
            )

        hits, misses = rose("tlb_hits"), rose("tlb_misses")
        return cls(
            rose("fault_records") / seconds,
            rose("remote_bytes_read", "copy_bytes_to_device") / seconds,
            rose("remote_bytes_written", "copy_bytes_to_system") / seconds,
            hits / seconds,
            hits / (hits + misses) if hits + misses else None,
            rose("invalidates_acknowledged") / seconds,
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "faults_per_second": self.faults,
            "bytes_to_device_per_second": self.bytes_to_device,
            "bytes_to_system_per_second": self.bytes_to_system,
            "tlb_hits_per_second": self.tlb_hits,
            "tlb_hit_rate": self.tlb_hit_rate,
            "invalidates_per_second": self.invalidates,
        }


@dataclass(frozen=True)
class Tick:
    """A device over one interval."""

    view: View
    sample: Sample
    """at its end"""
    seconds: float
    rates: Rates
    contexts: dict[int, Rates]

    @classmethod
    def between(cls, view: View, old: Sample, new: Sample) -> Tick:
        """What happened from one sample to the next."""
        seconds = max(new.seconds - old.seconds, 1e-6)
        # A device that was reset counts from 0, contexts included.
        same = (old.generation, old.epoch) == (new.generation, new.epoch)
        return cls(
            view,
            new,
            seconds,
            Rates.between(old.counters if same else None, new.counters, seconds),
            {
                ctx: Rates.between(old.contexts.get(ctx) if same else None, context, seconds)
                for ctx, context in sorted(new.contexts.items())
            },
        )

    @property
    def state(self) -> str:
        """In a word."""
        state = self.sample.state
        return "unknown" if state is None else state.name.lower()

    @property
    def well(self) -> bool:
        """Whether the device is there, or about to be."""
        return self.sample.state in (DeviceState.READY, DeviceState.RESTARTING)

    @property
    def hbm_in_use(self) -> int | None:
        """Bytes; None of a NUMA node, of which the kernel alone knows."""
        return None if self.view.config.model.is_node else self.sample.hbm_in_use

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "vm": self.view.vm,
            "device": self.view.number,
            "model": self.view.config.model.value,
            "state": self.state,
            "generation": self.sample.generation,
            "seconds": self.seconds,
            "hbm_bytes": self.view.config.hbm_size,
            "hbm_bytes_in_use": self.hbm_in_use,
            **self.rates.as_dict(),
            "rings": self.sample.rings,
            "contexts": [{"ctx": ctx, **rates.as_dict()} for ctx, rates in self.contexts.items()],
        }
