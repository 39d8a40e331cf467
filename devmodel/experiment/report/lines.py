"""A panel of lines over time: one workload, a line for each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from devmodel.experiment.report.drawing import DASHES, DIVISIBLE, Panel, Paper, ticks

HEIGHT = 110


@dataclass(frozen=True)
class Line:
    """`values` at `seconds`; each holds until the next. A `thin` one is of the second order."""

    label: str
    model: str
    seconds: Sequence[float]
    values: Sequence[float]
    thin: bool = False


def panel(title: str, unit: str, lines: Sequence[Line], labels: Sequence[str]) -> Panel:
    """Lines from zero. `labels` are those of the whole picture, so that all are drawn alike."""
    return lambda paper: _draw(title, unit, lines, labels, paper)


def _draw(title: str, unit: str, lines: Sequence[Line], labels: Sequence[str], paper: Paper) -> Any:
    import altair as alt

    look = paper.look
    models = {line.label: line.model for line in lines}
    # A label is a model's, and begins with its name.
    colours = [look.of_model(models.get(label, label.split(",")[0])) for label in labels]
    dashes = [DASHES[number % len(DASHES)] for number in range(len(labels))]
    rows: list[dict[str, Any]] = [
        {"label": line.label, "line": number, "thin": line.thin, "s": second, "value": value}
        for number, line in enumerate(lines)
        for second, value in _corners(line)
    ]
    top = max((row["value"] for row in rows), default=0) or 1
    last = max((row["s"] for row in rows), default=0) or 1
    many = len(labels) > 1
    chart = alt.Chart(alt.InlineData(values=rows)).mark_line(interpolate="step-after")
    return chart.encode(
        x=alt.X(
            "s:Q",
            title="seconds",
            scale=alt.Scale(domain=[0, last], nice=False),
            axis=alt.Axis(**ticks(last, whole=False, count=4)),
        ),
        y=alt.Y(
            "value:Q",
            title=unit,
            scale=alt.Scale(domain=[0, top * 1.05], nice=False),
            axis=alt.Axis(**ticks(top, whole=unit not in DIVISIBLE, count=4)),
        ),
        color=alt.Color(
            "label:N",
            scale=alt.Scale(domain=list(labels), range=colours),
            legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=2.5) if many else None,
        ),
        strokeDash=alt.StrokeDash(
            "label:N",
            scale=alt.Scale(domain=list(labels), range=dashes),
            legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=2.5) if many else None,
        ),
        strokeWidth=alt.StrokeWidth(
            "thin:N", scale=alt.Scale(domain=[False, True], range=[2, 1]), legend=None
        ),
        opacity=alt.Opacity(
            "thin:N", scale=alt.Scale(domain=[False, True], range=[1, 0.55]), legend=None
        ),
        detail="line:N",
    ).properties(title=title, width=paper.layout.width, height=HEIGHT)


def _corners(line: Line) -> list[tuple[float, float]]:
    """Where it goes up or down, and where it ends: the same picture from fewer points."""
    points = list(zip(line.seconds, line.values, strict=True))
    return [
        point
        for number, point in enumerate(points)
        if number in (0, len(points) - 1) or point[1] != points[number - 1][1]
    ]
