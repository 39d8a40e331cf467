"""How pictures look, and how they become SVG and PNG. Altair says what is drawn, vl-convert draws.

A picture is small panels of one kind, each with its own scale: workloads differ by orders of
magnitude. It is laid out twice, for wide pages and for narrow ones, and coloured twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
# Of one panel more than this makes a scale logarithmic: the largest over the smallest.
LOGARITHMIC = 1000.0
PNG_SCALE = 2.0
# Units of which there are parts.
DIVISIBLE = ("MiB", "seconds")

# Okabe and Ito's colours, which people see differently and still tell apart.
BLUE, SKY, RED, GREEN, PINK, ORANGE, GREY = (
    *("#0072B2", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#8a8a8a"),
)
OF_MODELS = {"private": RED, "coherent": GREEN, "numa": PINK, "cdm": ORANGE}
DASHES = ([1, 0], [6, 2], [2, 2], [8, 2, 2, 2], [4, 4], [10, 3], [1, 3], [6, 2, 2, 2, 2, 2])


def ticks(top: float, *, whole: bool, count: int) -> dict[str, Any]:
    """How an axis from 0 to `top` is labelled; `whole` if there are no halves of what it shows."""
    step = {"tickMinStep": 1} if whole else {}
    return {"tickCount": count, "format": ",.6~g" if top < 1e6 else ".3~s", **step}


def powers(least: float, top: float) -> list[float]:
    """For a logarithmic axis from 0: zero, and two or three powers of ten."""
    first, last = math.ceil(math.log10(least)), math.floor(math.log10(top))
    step = max((last - first + 2) // 3, 1)
    return [0.0, *(10.0**power for power in range(last, first - 1, -step))]


@dataclass(frozen=True)
class Look:
    """Colours on light or dark paper."""

    paper: str
    ink: str
    faint: str
    blue: str

    def of_model(self, model: str) -> str:
        """Each model's own; what is none of them is grey."""
        return self.blue if model == "mirror" else OF_MODELS.get(model, GREY)

    @property
    def parts(self) -> list[str]:
        """Of what stands side by side for one model."""
        return [self.blue, ORANGE, GREEN, PINK, RED, GREY]


LIGHT = Look("#ffffff", "#1b1f24", "#d9dde2", BLUE)
DARK = Look("#15181c", "#e6e9ed", "#3a4047", SKY)


@dataclass(frozen=True)
class Layout:
    """How many panels stand side by side, and how wide each is, in pixels."""

    columns: int
    width: int


@dataclass(frozen=True)
class Paper:
    """What a panel is drawn on."""

    look: Look
    layout: Layout


Panel = Callable[[Paper], Any]
"""Makes an altair chart."""


@dataclass(frozen=True)
class Picture:
    """Panels, and how they are laid out on wide and on narrow pages."""

    panels: Sequence[Panel]
    wide: Layout
    narrow: Layout

    def svg(self, look: Look = LIGHT, *, narrow: bool = False) -> str:
        """Draw it."""
        import altair as alt
        import vl_convert

        layout = self.narrow if narrow else self.wide
        charts = [panel(Paper(look, layout)) for panel in self.panels]
        whole = alt.concat(*charts, columns=layout.columns, spacing=18).configure(**config(look))
        version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
        # Nothing is ever loaded for a picture.
        return vl_convert.vegalite_to_svg(
            whole.to_dict(), vl_version=version, allowed_base_urls=[], show_warnings=False
        )

    def png(self) -> bytes:
        """Draw it as pixels, two for each."""
        import vl_convert

        return vl_convert.svg_to_png(self.svg(), scale=PNG_SCALE)


def config(look: Look) -> dict[str, Any]:
    """Vega-Lite's configuration."""
    text = {"labelColor": look.ink, "titleColor": look.ink, "labelFontSize": 11}
    return {
        "background": look.paper,
        "font": FONT,
        "padding": 8,
        "view": {"stroke": None},
        "axis": {
            **text,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
            "gridColor": look.faint,
            "domainColor": look.faint,
            "tickColor": look.faint,
        },
        "legend": {**text, "orient": "top", "title": None, "labelLimit": 400, "symbolSize": 90},
        "title": {"color": look.ink, "fontSize": 12, "anchor": "start", "offset": 6},
        "concat": {"spacing": 18},
    }
