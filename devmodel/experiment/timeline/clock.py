"""The device's clock and the guest's: what the trace itself says of how they relate.

Each pair of records of which one surely came before the other bounds the difference d = device's
time - guest's time, at that moment, on one side:

- The device writes a record after it has taken what was on the trace ring. So a driver's record,
  stamped g, is older than the next device's record, stamped h: d <= h - g.
- The driver knows that control command n is acknowledged only after the device has written so,
  stamped h. So a driver's record that counts it, stamped g, is younger: d >= h - g.

Both clocks run evenly, so d is a straight line between all upper and all lower bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devmodel.abi.trace import TRACE_NONE, TraceKind
from devmodel.experiment.oracle.trace import DeviceTrace

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]

# A guest's clock is calibrated; no quartz and no calibration is worse.
MOST_DRIFT = 2e-3
ROUNDS = 60
SLOPES = 101
# The tightest bound of each stretch of this length is all that matters.
STRETCH_NS = 1_000_000


@dataclass(frozen=True)
class Bounds:
    """`ns` of the guest, and what the difference was then at least or at most."""

    ns: Numbers
    difference: Numbers


@dataclass(frozen=True)
class Clock:
    """The device's time from the guest's, about `origin` (ns of the guest)."""

    origin: int
    offset: float
    """device's time - guest's time at the origin, ns"""
    drift: float
    """by how much that rises for each ns"""
    error_ns: int
    """how far wrong it is at most, anywhere between the ends that were asked for"""
    bounds: int
    """how many bounds that rests on"""

    def guest(self, device: Numbers) -> Numbers:
        """The guest's time of moments of the device's clock."""
        base = device - np.int64(self.origin + round(self.offset))
        return np.round(base / (1 + self.drift)).astype(np.int64) + self.origin


def bounds(traces: Sequence[DeviceTrace]) -> tuple[Bounds, Bounds]:
    """Lower and upper ones, of all devices: agents share the host's clock."""
    lower, upper = [], []
    for trace in traces:
        records, life = trace.records, trace.life
        time = records["seq"].astype(np.int64)
        is_driver = records["kind"] < TraceKind.START
        driver = np.flatnonzero(is_driver)
        # The first record of the device's after each of the driver's.
        others = np.flatnonzero(~is_driver & (records["kind"] != TraceKind.START))
        after = np.searchsorted(others, driver)
        there = driver[after < others.size]
        upper.append((time[there], time[others[after[after < others.size]]] - time[there]))
        commands = trace.of(TraceKind.CONTROL)
        # By life and number of the command: where the device wrote that it was done.
        place = life[commands] << 40 | records["control"][commands].astype(np.int64)
        counted = driver[records["control"][driver] != TRACE_NONE]
        seen = life[counted] << 40 | records["control"][counted].astype(np.int64) - 1
        found = np.searchsorted(place, seen)
        good = found < place.size
        good[good] = place[found[good]] == seen[good]
        young = counted[good]
        lower.append((time[young], time[commands[found[good]]] - time[young]))
    return _joined(lower), _joined(upper)


def _joined(parts: Sequence[tuple[Numbers, Numbers]]) -> Bounds:
    empty = np.zeros(0, dtype=np.int64)
    return Bounds(*(np.concatenate([empty, *column]) for column in zip(*parts, strict=True)))


def fit(lower: Bounds, upper: Bounds, first: int, last: int) -> Clock | None:
    """The straight line in the middle; None without bounds on both sides.

    `first` and `last` are the guest's times that matter. Where no line fits, error_ns is also what
    it would have to be moved by.
    """
    if not lower.ns.size or not upper.ns.size:
        return None
    origin = (first + last) // 2
    shift = int(upper.difference.min())
    low = _tight(lower, origin, shift, np.maximum)
    high = _tight(upper, origin, shift, np.minimum)

    def gap(drift: float) -> tuple[float, float]:
        """The highest of the lower bounds at the origin, and the lowest of the upper ones."""
        return (
            float((low[1] - drift * low[0]).max()),
            float((high[1] - drift * high[0]).min()),
        )

    def width(drift: float) -> float:
        return _width(gap(drift))

    # The width is concave over the drift.
    left, right = -MOST_DRIFT, MOST_DRIFT
    for _ in range(ROUNDS):
        one, other = left + (right - left) / 3, right - (right - left) / 3
        left, right = (left, other) if width(one) > width(other) else (one, right)
    drift = (left + right) / 2
    floor, ceiling = gap(drift)
    offset = (floor + ceiling) / 2
    ends = np.array([first - origin, last - origin], dtype=np.float64)
    error = abs(ceiling - floor) / 2
    if ceiling > floor:
        for way in (-1, 1):
            error = max(error, _reach(drift, offset, ends, gap, way))
    count = int(lower.ns.size + upper.ns.size)
    return Clock(origin, offset + shift, drift, int(np.ceil(error)), count)


def _width(gap: tuple[float, float]) -> float:
    floor, ceiling = gap
    return ceiling - floor


def _reach(
    drift: float,
    offset: float,
    ends: Floats,
    gap: Callable[[float], tuple[float, float]],
    way: int,
) -> float:
    """How far another line that fits, of more or less drift, is from the chosen one at the ends."""
    near, far = drift, drift + way * 2 * MOST_DRIFT
    for _ in range(ROUNDS):
        middle = (near + far) / 2
        near, far = (middle, far) if _width(gap(middle)) >= 0 else (near, middle)
    most = 0.0
    for slope in np.linspace(drift, near, SLOPES):
        for bound in gap(float(slope)):
            most = max(most, float(np.abs(bound + slope * ends - offset - drift * ends).max()))
    return most


def _tight(found: Bounds, origin: int, shift: int, tightest: np.ufunc) -> tuple[Floats, Floats]:
    """About the origin, as floats: of each stretch, only the tightest bound."""
    ns, difference = found.ns - origin, found.difference - shift
    stretch = ns // STRETCH_NS
    order = np.lexsort((difference, stretch))
    ns, difference, stretch = ns[order], difference[order], stretch[order]
    new = np.flatnonzero(np.diff(stretch)) + 1
    picked = np.append(new - 1, ns.size - 1) if tightest is np.maximum else np.append(0, new)
    return ns[picked].astype(np.float64), difference[picked].astype(np.float64)
