"""Pictures of clusters: hosts as circles, switches as squares, cables between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parasim.cluster.topology import Place
from parasim.report.style import COMPUTE, SMALL, TEXT, figure, house, save
from parasim.report.text import shortened
from parasim.report.topologies import Cable, counted
from parasim.report.topology_picture import Symbol, picture_of
from parasim.scenario.model import ClusterSpec
from parasim.units import format_quantity

__all__ = ["draw_cluster", "draw_clusters", "drawn_cluster"]

_GAP = 0.46  # inches between neighbours, where there is room
_MARGIN = 0.4
_MAX_WIDTH, _MAX_HEIGHT = 13.0, 8.0
_BELOW, _ABOVE = 0.75, 0.55  # inches of text
_POINTS = 72.0
_CROWDED = 400  # cables
_RADIUS = 0.2  # of a symbol, in units of the distance of the two nearest
_MAX_LOOKED_AT = 300_000  # pairs of a cable and a symbol that it might cross
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), "-", (0, (1, 1)), "-", (0, (6, 2, 1, 2)))  # from the fastest down
_THIN, _THICK = 0.9, 2.6
_Line = list[Place]

_INK, _FAINT, _HOST, _CHANGED = "#14283c", "#8a97a3", "#ffffff", "#f6b04e"


def draw_clusters(clusters: Sequence[tuple[str, ClusterSpec]], folder: str) -> list[Path]:
    """Draw clusters with their names into a folder: topology.png and .svg, topology-2 ... if there are several."""
    paths = []
    for number, (name, cluster) in enumerate(clusters, 1):
        paths += draw_cluster(name, cluster, Path(folder, "topology" if number == 1 else f"topology-{number}"))
    return paths


def draw_cluster(name: str, cluster: ClusterSpec, path: str | Path) -> list[Path]:
    """Draw a cluster.

    Parameters
    ----------
    name
        For the title.
    cluster
        What is drawn.
    path
        Where to, without an ending.

    Returns
    -------
    list of Path
        A PNG and an SVG file.
    """
    return save(drawn_cluster(name, cluster), path)


def drawn_cluster(name: str, cluster: ClusterSpec) -> Any:
    """The figure that :func:`draw_cluster` saves."""
    picture = picture_of(cluster)
    lines = _lines(picture.cables, picture.symbols)
    cut = _lines(picture.cut, picture.symbols)
    xs, ys = zip(
        *(symbol.place for symbol in picture.symbols), *(point for line in lines for point in line), strict=True
    )
    wide, high = max(xs) - min(xs), max(ys) - min(ys)
    room = _MAX_WIDTH - 2 * _MARGIN, _MAX_HEIGHT - 2 * _MARGIN
    unit = min(_GAP, room[0] / max(wide, 1e-9), room[1] / max(high, 1e-9))
    width, height = max(4.6, wide * unit + 2 * _MARGIN), high * unit + 2 * _MARGIN
    total = height + _BELOW + _ABOVE
    with house():
        drawn = figure(width, total)
        axes = drawn.add_axes((0.0, _BELOW / total, 1.0, height / total))
        axes.set_axis_off()
        middle = (max(xs) + min(xs)) / 2
        axes.set_xlim(middle - width / unit / 2, middle + width / unit / 2)
        axes.set_ylim(min(ys) - _MARGIN / unit, max(ys) + _MARGIN / unit)
        handles = [
            *_draw_cables(axes, picture.cables, lines),
            *_draw_cut(axes, cut),
            *_draw_symbols(axes, picture.symbols, unit),
        ]
        topology = cluster.topology
        switches = sum(not symbol.is_host for symbol in picture.symbols)
        drawn.text(
            0.5,
            1 - 0.12 / total,
            shortened(name, int(width * 11)),
            ha="center",
            va="top",
            fontsize=TEXT + 1,
            fontweight="bold",
        )
        facts = f"{topology.kind}: {counted(topology.hosts, 'host', 's')}, {counted(switches, 'switch', 'es')}"
        if picture.note:
            facts += f"; {picture.note}"
        drawn.text(0.5, 1 - 0.32 / total, facts, ha="center", va="top", fontsize=SMALL)
        drawn.legend(handles=handles, loc="lower center", ncols=max(1, int(width / 2.1)), fontsize=SMALL)
    return drawn


def _draw_cables(axes: Any, cables: Sequence[Cable], lines: Sequence[_Line]) -> list[Any]:
    """Cables, thicker and dashed by bandwidth and latency."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    classes = sorted({(cable.bandwidth, cable.latency) for cable in cables})
    few = len(classes) <= len(_DASHES)
    shown = classes if few else [classes[0], classes[-1]]
    handles = []
    for rank, kind in enumerate(classes, 1 - len(classes)):  # the fastest is 0
        thick = _THICK + (_THICK - _THIN) * rank / (len(classes) - 1) if classes[1:] else 1.1
        dashes: Any = _DASHES[-rank] if few else "-"
        mine = [line for line, cable in zip(lines, cables, strict=True) if (cable.bandwidth, cable.latency) == kind]
        width = thick * (0.5 if len(cables) > _CROWDED else 1.0)
        axes.add_collection(LineCollection(mine, colors=_FAINT, linewidths=width, linestyles=[dashes], zorder=1))
        if kind in shown:
            label = f"{format_quantity(kind[0], 'bytes/s', 4)}, {format_quantity(kind[1], 'seconds', 4)}"
            if not few:
                label = f"{'slowest' if kind == classes[0] else 'fastest'}: {label}"
            handles.append(Line2D([], [], color=_FAINT, linestyle=dashes, linewidth=thick, label=label))
    return handles


def _draw_cut(axes: Any, lines: Sequence[_Line]) -> list[Any]:
    """Cables that are not there."""
    from matplotlib.lines import Line2D

    for line in lines:
        axes.plot(*zip(*line, strict=True), color=_INK, linestyle=":", linewidth=1.0, zorder=1)
        (x, y), (to_x, to_y) = line[(len(line) - 1) // 2], line[len(line) // 2]
        axes.plot((x + to_x) / 2, (y + to_y) / 2, color=_INK, marker="x", zorder=4)
    return [Line2D([], [], color=_INK, linestyle=":", marker="x", label="cut")] if lines else []


def _lines(cables: Sequence[Cable], symbols: Sequence[Symbol]) -> list[_Line]:
    """Points of cables: straight; where hosts forward, bowed past a host that stands in the way."""
    direct = all(symbol.is_host for symbol in symbols)
    look_out = direct and len(cables) * len(symbols) <= _MAX_LOOKED_AT
    return [_line(cable, symbols, look_out) for cable in cables]


def _line(cable: Cable, symbols: Sequence[Symbol], look_out: bool) -> _Line:
    start, end = (symbols[node].place for node in cable.ends)
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy)
    if not look_out or not any(
        _hits(symbol.place, start, dx, dy, length) for node, symbol in enumerate(symbols) if node not in cable.ends
    ):
        return [start, end]
    bow = (0.35 + 0.05 * length) / length
    steps = [number / 16 for number in range(17)]
    return [
        (start[0] + t * dx - 4 * bow * t * (1 - t) * dy, start[1] + t * dy + 4 * bow * t * (1 - t) * dx) for t in steps
    ]


def _hits(place: Place, start: Place, dx: float, dy: float, length: float) -> bool:
    """Does a straight line run through the symbol at a place?"""
    x, y = place[0] - start[0], place[1] - start[1]
    along = (x * dx + y * dy) / length
    return 0 < along < length and abs(x * dy - y * dx) / length < _RADIUS


def _draw_symbols(axes: Any, symbols: Sequence[Symbol], unit: float) -> list[Any]:
    """Hosts and switches, with labels where they fit."""
    from matplotlib.lines import Line2D

    space = unit * _POINTS
    handles = []
    for is_host, changed, marker, face, word in (
        (True, False, "o", _HOST, "host"),
        (True, True, "o", _CHANGED, "host with other cores or device"),
        (False, False, "s", COMPUTE.face, "switch"),
    ):
        chosen = [symbol for symbol in symbols if symbol.is_host == is_host and (symbol.changed == changed)]
        if not chosen:
            continue
        longest = max(len(symbol.label) for symbol in chosen)
        inside = is_host and longest <= 3 and space >= 4.6 * longest + 4
        size = max(2.0, min(0.62 * space, 19.0 if inside else 8.0))
        xs, ys = zip(*(symbol.place for symbol in chosen), strict=True)
        look: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": _INK, "linestyle": "none"}
        look["markeredgewidth"] = min(0.9, size / 8) * (1.8 if changed else 1)
        axes.plot(xs, ys, marker=marker, markersize=size, zorder=3, **look)
        handles.append(Line2D([], [], marker=marker, markersize=min(size, 8), label=word, **look))
        if inside:
            for symbol in chosen:
                axes.annotate(
                    symbol.label, symbol.place, ha="center", va="center", fontsize=SMALL, color=_INK, zorder=5
                )
        else:
            _label(axes, chosen, symbols, unit, size)
    return handles


def _label(axes: Any, chosen: Sequence[Symbol], symbols: Sequence[Symbol], unit: float, size: float) -> None:
    """Names beside symbols: above switches and below hosts, if no neighbour on the same height stands in their way."""
    size_of = SMALL - 0.5
    for symbol in chosen:
        width = 0.58 * size_of * len(symbol.label) + 3
        for other in symbols:
            across = abs(other.place[0] - symbol.place[0]) * unit * _POINTS
            up = abs(other.place[1] - symbol.place[1]) * unit * _POINTS
            if other is not symbol and across < width and up < size_of:
                return
    for symbol in chosen:
        offset = (size / 2 + 2) * (-1 if symbol.is_host else 1)
        axes.annotate(
            symbol.label,
            symbol.place,
            (0, offset),
            textcoords="offset points",
            ha="center",
            va="top" if symbol.is_host else "bottom",
            fontsize=size_of,
            color=_INK,
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        )
