"""A panel of bars: one workload, a bar for each model and each part of what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from devmodel.experiment.report.drawing import DIVISIBLE, LOGARITHMIC, Panel, Paper, powers, ticks

BAR = 13
# Room for the number behind the longest bar, as a part of the panel.
ROOM = 1.35


@dataclass(frozen=True)
class Bar:
    """`part` is which of several things; `low` and `high` are of the repeats, if there are some."""

    label: str
    model: str
    part: str
    value: float
    shown: str
    low: float | None = None
    high: float | None = None


def panel(title: str, unit: str, bars: Sequence[Bar], parts: Sequence[str]) -> Panel:
    """Bars from zero. Only where they differ by orders of magnitude the scale is logarithmic."""
    return lambda paper: _draw(title, unit, bars, parts, paper)


def _draw(title: str, unit: str, bars: Sequence[Bar], parts: Sequence[str], paper: Paper) -> Any:
    import altair as alt

    labels = list(dict.fromkeys(bar.label for bar in bars))
    whole = unit not in DIVISIBLE
    values = [value for bar in bars for value in (bar.value, bar.high or 0)]
    some = [value for value in values if value]
    top = max(values) or 1.0
    scale: dict[str, Any] = {"domain": [0, top * ROOM], "nice": False}
    axis = ticks(top, whole=whole, count=3)
    if some and top / min(some) > LOGARITHMIC:
        # Still from zero; what is below the smallest is drawn to scale.
        least = min(some)
        end = least * ((1 + top / least) ** ROOM - 1)
        scale = {"domain": [0, end], "nice": False, "type": "symlog", "constant": least}
        unit += ", logarithmic"
        axis["values"] = powers(least, end)
    rows = [
        {
            "label": bar.label,
            "part": bar.part,
            "value": bar.value,
            "shown": bar.shown,
            "low": bar.value if bar.low is None else bar.low,
            "high": bar.value if bar.high is None else bar.high,
        }
        for bar in bars
    ]
    several = len(parts) > 1
    look = paper.look
    y: dict[str, Any] = {
        "y": alt.Y("label:N", sort=labels, title=None, axis=alt.Axis(labelLimit=150, ticks=False))
    }
    if several:
        y["yOffset"] = alt.YOffset("part:N", sort=list(parts))
        colour = alt.Color(
            "part:N", scale=alt.Scale(domain=list(parts), range=look.parts[: len(parts)])
        )
    else:
        of_labels = {bar.label: look.of_model(bar.model) for bar in bars}
        colours = alt.Scale(domain=labels, range=[of_labels[label] for label in labels])
        colour = alt.Color("label:N", scale=colours, legend=None)
    x = alt.X(
        "value:Q",
        title=unit,
        scale=alt.Scale(**scale),
        axis=alt.Axis(**axis, grid=True),
    )
    base = alt.Chart(alt.InlineData(values=rows)).encode(**y)
    layers = [base.mark_bar().encode(x=x, color=colour)]
    if any(bar.low is not None and bar.low != bar.high for bar in bars):
        layers.append(
            base.mark_rule(color=look.ink, strokeWidth=1.5).encode(x=alt.X("low:Q"), x2="high:Q")
        )
    text = base.mark_text(align="left", dx=4, fontSize=10, color=look.ink)
    layers.append(text.encode(x=alt.X("high:Q"), text="shown:N"))
    height = max(len(labels) * (BAR * len(parts) + 5), 24)
    return alt.layer(*layers).properties(title=title, width=paper.layout.width, height=height)
