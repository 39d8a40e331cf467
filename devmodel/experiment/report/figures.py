"""The questions that a report answers: each with a picture, a table, and what to know of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from devmodel.abi.counters import BY_NAME, RISING, Unit
from devmodel.experiment.columns import MIB, SHOWN
from devmodel.experiment.report import bars, lines
from devmodel.experiment.report.bars import Bar
from devmodel.experiment.report.drawing import Layout, Panel, Picture
from devmodel.experiment.report.groups import Group
from devmodel.experiment.report.lines import Line

QUESTIONS = {
    Unit.FAULTS: ("faults", "Who faulted, and how often?"),
    Unit.PAGES: ("pages", "How many pages moved?"),
    Unit.BYTES: ("bytes", "What crossed the link?"),
    Unit.COMMANDS: ("commands", "How often had the device to forget translations?"),
}
OVER_TIME = ("pages_to_device", "pages_to_system", "device_faults", "cpu_faults")
# Pictures have no more workloads than this; tables have all.
MOST_PANELS = 40
# With fewer samples than that there is nothing between beginning and end.
LEAST_SAMPLES = 3
NOTHING = "-"


@dataclass(frozen=True)
class Figure:
    """A question. `picture` is None where there is nothing to draw, and `note` says why."""

    key: str
    question: str
    note: str
    picture: Picture | None
    alt: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def all_of(groups: Sequence[Group], show: Sequence[str]) -> list[Figure]:
    """Every question that these runs have an answer to. `show` are the counters asked for."""
    rising = {counter.name for counter in RISING}
    names = [name for name in (*show, *(() if show else SHOWN)) if name in rising]
    units = list(dict.fromkeys(BY_NAME[name].unit for name in names))
    return [
        _time(groups),
        *(_counted(groups, unit, [n for n in names if BY_NAME[n].unit is unit]) for unit in units),
        _places(groups),
        _moves(groups),
        _spill(groups),
    ]


def words(name: str) -> str:
    """A counter's name as people write it."""
    return name.replace("_", " ").replace("cpu", "CPU").replace("hbm", "HBM").replace("tlb", "TLB")


def amount(value: float) -> str:
    """A number of pages, faults and so on."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def seconds(value: float) -> str:
    """A time, to three digits."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


# What is asked


def _time(groups: Sequence[Group]) -> Figure:
    def bar(group: Group) -> list[Bar]:
        taken = group.seconds
        middle = median(taken)
        ends = (min(taken), max(taken)) if len(taken) > 1 else (None, None)
        return [Bar(group.label, _model(group), "", middle, f"{seconds(middle)} s", *ends)]

    rows = []
    for group in groups:
        taken = group.seconds
        cells = [seconds(f(taken)) if taken else NOTHING for f in (median, min, max)]
        rows.append((*_named(group), f"{len(taken)} of {len(group.runs)}", *cells))
    note = (
        "Of the work alone where a program reports it, else of all of it; in a guest whose "
        "processors may be emulated. It says how often somebody had to wait for a round trip "
        "between two processes, not how fast any hardware is."
    )
    if any(len(group.runs) > 1 for group in groups):
        note += " Bars are medians, lines reach from the least to the most."
    head = ("workload", "model", "right", "median s", "least s", "most s")
    question = "How long did it take?"
    return _barred("time", question, note, groups, bar, "seconds", [""], head, rows)


def _counted(groups: Sequence[Group], unit: Unit, names: Sequence[str]) -> Figure:
    key, question = QUESTIONS.get(unit, (unit.value, f"How many {unit}?"))
    divisor, said = (MIB, "MiB") if unit is Unit.BYTES else (1, unit.value)

    def show(value: float) -> str:
        return f"{value / divisor:,.1f}" if unit is Unit.BYTES else amount(value)

    def bar(group: Group) -> list[Bar]:
        found = [(words(name), group.number(name)) for name in names]
        return [
            Bar(group.label, _model(group), part, value / divisor, show(value))
            for part, value in found
        ]

    rows = [
        (*_named(group), *(show(group.number(n)) if group.good else NOTHING for n in names))
        for group in groups
    ]
    note = " ".join(f"{_capital(words(name))}: {BY_NAME[name].meaning}." for name in names)
    head = ("workload", "model", *(f"{words(name)}, {said}" for name in names))
    parts = [words(name) for name in names]
    return _barred(key, question, note, groups, bar, said, parts, head, rows)


def _places(groups: Sequence[Group]) -> Figure:
    """Where pages lay, over time, and when the work began and ended."""

    def drawn(group: Group) -> Iterator[Line]:
        samples = group.typical.samples
        at = samples.column("seconds")
        for name, thin in (("hbm_bytes_in_use", False), ("resident_bytes", True)):
            values = [value / MIB for value in samples.column(name)]
            yield Line(group.label, _model(group), at, values, thin)

    rows = []
    for group in groups:
        if not group.good:
            rows.append((*_named(group), *[NOTHING] * 5))
            continue
        run = group.typical
        most = max((*run.samples.column("hbm_bytes_in_use"), run.result.hbm_bytes_in_use))
        resident = max(run.samples.column("resident_bytes"), default=0)
        pages = run.result.pages
        share = [
            f"{count / pages:.0%}" if pages else NOTHING
            for count in (run.result.hbm_at_start, run.result.hbm_at_end)
        ]
        told = f"{resident / MIB:,.1f}" if resident else NOTHING
        rows.append((*_named(group), f"{most / MIB:,.1f}", told, *share, str(len(run.samples))))
    note = (
        "Thick: HBM that holds pages, of whichever process. Thin: resident memory of the program "
        "itself, in HBM or not. What is between the two lies in system memory. Both are looked at "
        "in the guest while the program runs, its preparations included; of several runs, the one "
        "whose time is the median. Start and end: the part of its pages that lay in HBM when the "
        "work began and when it ended, where a program tells."
    )
    head = (
        *("workload", "model", "most in HBM, MiB", "most resident, MiB"),
        *("HBM at start", "HBM at end", "samples"),
    )
    return _lined("places", "Where did pages lie?", note, groups, drawn, "MiB", head, rows)


def _moves(groups: Sequence[Group]) -> Figure:
    """Migrations and faults over time; a row of panels for each workload."""
    watched = [group for group in groups if _watched(group)]
    names = [n for n in OVER_TIME if any(any(g.typical.samples.column(n)) for g in watched)]
    labels = list(dict.fromkeys(group.label for group in watched))
    panels = []
    for workload, same in _by_workload(watched):
        for name in names:
            drawn = [
                Line(
                    group.label,
                    _model(group),
                    group.typical.samples.column("seconds"),
                    group.typical.samples.column(name),
                )
                for group in same
            ]
            title = f"{workload}: {words(name)}"
            panels.append(lines.panel(title, BY_NAME[name].unit.value, drawn, labels))
    rows = [
        (*_named(group), *(_halfway(group, name) for name in names)) for group in groups if names
    ]
    note = "What had moved and faulted by then, since the program began."
    if not panels:
        note = _unwatched(groups)
    head = ("workload", "model", *(f"{words(name)} (half of it by)" for name in names))
    columns = max(len(names), 1)
    picture = Picture(panels, Layout(columns, 720 // columns - 55), Layout(2, 120))
    question = "When did pages move, and when did somebody fault?"
    alt = _alt("Lines over time", watched, names)
    return Figure("moves", question, note, picture if panels else None, alt, head, tuple(rows))


def _spill(groups: Sequence[Group]) -> Figure:
    """Pages of strangers in HBM."""
    told = [group for group in groups if group.good and group.typical.result.pages]
    note = "Pages in HBM of processes that do not use the device, where a program looked for them."
    rows = [(*_named(group), amount(group.number("spilled_pages"))) for group in told]
    head = ("workload", "model", "pages of others")

    def bar(group: Group) -> list[Bar]:
        value = group.number("spilled_pages")
        return [Bar(group.label, _model(group), "", value, amount(value))]

    spilled = [group for group in told if group.number("spilled_pages")]
    where = {group.workload for group in spilled}
    drawn = [group for group in told if group.workload in where]
    if not told:
        note = "No program looked for pages of others in HBM."
    elif not spilled:
        note += " There were none, under any model."
    return _barred(
        "spill", "Whose pages else came into HBM?", note, drawn, bar, "pages", [""], head, rows
    )


# What they have in common


def _barred(
    key: str,
    question: str,
    note: str,
    groups: Sequence[Group],
    bar: Callable[[Group], list[Bar]],
    unit: str,
    parts: Sequence[str],
    head: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
) -> Figure:
    good = [group for group in groups if group.good]
    panels: list[Panel] = [
        bars.panel(workload, unit, [each for group in same for each in bar(group)], parts)
        for workload, same in _by_workload(good)
    ]
    picture = Picture(panels, _wide(len(panels)), Layout(1, 180)) if panels else None
    alt = _alt("Bars", good, [part or unit for part in parts])
    return Figure(key, question, note, picture, alt, head, tuple(rows))


def _lined(
    key: str,
    question: str,
    note: str,
    groups: Sequence[Group],
    drawn: Callable[[Group], Iterator[Line]],
    unit: str,
    head: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
) -> Figure:
    watched = [group for group in groups if _watched(group)]
    labels = list(dict.fromkeys(group.label for group in watched))
    panels: list[Panel] = [
        lines.panel(workload, unit, [line for group in same for line in drawn(group)], labels)
        for workload, same in _by_workload(watched)
    ]
    picture = Picture(panels, _wide(len(panels)), Layout(1, 230)) if panels else None
    note = note if panels else f"{_unwatched(groups)} {note}"
    alt = _alt("Lines over time", watched, [unit])
    return Figure(key, question, note, picture, alt, head, tuple(rows))


def _wide(panels: int) -> Layout:
    """One panel alone may be wider than three beside each other."""
    return Layout(3, 170) if panels > 2 else Layout(2, 280) if panels == 2 else Layout(1, 480)


def _by_workload(groups: Sequence[Group]) -> list[tuple[str, list[Group]]]:
    found = [(name, list(same)) for name, same in groupby(groups, lambda group: group.workload)]
    return found[:MOST_PANELS]


def _watched(group: Group) -> bool:
    """Whether it was looked at often enough to draw a line."""
    return bool(group.good) and len(group.typical.samples) >= LEAST_SAMPLES


def _unwatched(groups: Sequence[Group]) -> str:
    if any(group.good and len(group.typical.samples) for group in groups):
        return "Every run was over before it was looked at."
    return "These results have no samples: an older devmodel wrote them, or no run was right."


def _halfway(group: Group, name: str) -> str:
    """How much it was, and when half of that was reached."""
    if not group.good:
        return NOTHING
    samples = group.typical.samples
    column = samples.column(name)
    total = column[-1] if column else 0
    if not total:
        return "0" if column else NOTHING
    at = next(s for s, v in zip(samples.column("seconds"), column, strict=True) if v >= total / 2)
    return f"{amount(total)} ({seconds(at)} s)"


def _model(group: Group) -> str:
    return group.runs[0].result.model


def _named(group: Group) -> tuple[str, str]:
    return group.workload, group.label


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _alt(kind: str, groups: Sequence[Group], parts: Sequence[str]) -> str:
    workloads = list(dict.fromkeys(group.workload for group in groups))
    labels = list(dict.fromkeys(group.label for group in groups))
    return (
        f"{kind}, a panel for each workload: {', '.join(parts)} under {', '.join(labels)}. "
        f"Workloads: {', '.join(workloads)}. The table below has the numbers."
    )
