"""The look of every picture of the house, on matplotlib: one set of colours, sizes and ways to save.

Colours differ in luminance, and what must be told apart differs in hatch, marker or dashes too, so that a picture
survives grey print. The same input gives the same bytes: no date, no random identifiers, no setting of the user's
machine. Texts are taken literally: a "$" in a name is no formula.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from parasim.trace.files import write_atomic

__all__ = [
    "COMPUTE",
    "SERIES",
    "SMALL",
    "TEXT",
    "TRANSFER",
    "WAIT",
    "Look",
    "Series",
    "figure",
    "house",
    "rendered",
    "save",
]

TEXT, SMALL = 8.0, 7.0
"""Font sizes in points: of titles and labels, of ticks and legends."""

_DOTS_PER_INCH = 160


class Look(NamedTuple):
    """How a kind of area is filled; `ink` is for text on it."""

    face: str
    line: str
    hatch: str
    ink: str

    def patch(self, **more: Any) -> dict[str, Any]:
        """Arguments of matplotlib's bars and patches."""
        return {"facecolor": self.face, "edgecolor": self.line, "hatch": self.hatch or None, "linewidth": 0.5, **more}


COMPUTE = Look("#2f6ea5", "#173a59", "", "white")
TRANSFER = Look("#f6b04e", "#9a5b00", "//////", "black")
WAIT = Look("#f1f1f1", "#9a9a9a", "....", "black")
"""What a worker's time goes to."""


class Series(NamedTuple):
    """How one of several lines is drawn."""

    color: str
    marker: str
    dashes: str

    def line(self, **more: Any) -> dict[str, Any]:
        """Arguments of matplotlib's lines."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.dashes, "markersize": 4.5, **more}


_COLORS = ("#14283c", "#8c2d1a", "#2f6ea5", "#6aa84f", "#f6b04e")  # from dark to light
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.")

SERIES = tuple(
    Series(_COLORS[i % len(_COLORS)], _MARKERS[i % len(_MARKERS)], _DASHES[i % len(_DASHES)])
    for i in range(len(_COLORS) * len(_MARKERS))
)
"""Looks of lines, all different."""

_HOUSE: Mapping[str, Any] = MappingProxyType(
    {
        "font.size": TEXT,
        "axes.titlesize": TEXT,
        "axes.titleweight": "bold",
        "axes.labelsize": TEXT,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "legend.fontsize": SMALL,
        "legend.frameon": False,
        "legend.handlelength": 2.4,
        "figure.titlesize": TEXT + 2,
        "figure.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "axes.axisbelow": True,
        "grid.color": "#d5d5d5",
        "grid.linewidth": 0.5,
        "hatch.linewidth": 0.5,
        "lines.linewidth": 1.4,
        "axes.formatter.useoffset": False,
        "text.parse_math": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "parasim",
    }
)


@contextmanager
def house() -> Iterator[None]:
    """Draw inside of it: matplotlib's own defaults and those of the house, whatever the user's machine says."""
    from matplotlib import style

    with style.context(dict(_HOUSE), after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box stands for it
        yield


def figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Any:
    """An empty `matplotlib.figure.Figure` of so many inches; it belongs to no window and to no global state."""
    from matplotlib.figure import Figure

    with house():
        return Figure(figsize=(width, height), facecolor="white", layout=layout)


def save(drawn: Any, path: str | Path) -> list[Path]:
    """Write a figure as PNG and as SVG.

    Parameters
    ----------
    drawn
        The `matplotlib.figure.Figure`.
    path
        Without the endings .png and .svg, which are added.

    Returns
    -------
    list of Path
        The files, each written whole or not at all.
    """
    kinds: tuple[Literal["png"], Literal["svg"]] = ("png", "svg")
    return [write_atomic(f"{path}.{kind}", rendered(drawn, kind)) for kind in kinds]


def rendered(drawn: Any, kind: Literal["png", "svg"]) -> bytes:
    """A figure as the content of a file of that kind."""
    metadata: dict[str, str | None] = {"Software": None} if kind == "png" else {"Date": None, "Creator": "parasim"}
    buffer = io.BytesIO()
    with house():
        drawn.savefig(buffer, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata)
    return buffer.getvalue()
