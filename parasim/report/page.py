"""One HTML page of folders of results: no script, nothing from the network, pictures inside of it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parasim.metrics.losses import loss_curve
from parasim.metrics.outcome import Outcome
from parasim.metrics.rates import rate_name, rates
from parasim.metrics.result import Result
from parasim.report.compare_plot import compare_figure
from parasim.report.compare_table import compare_columns, outcome_columns, reasons
from parasim.report.crosscheck_plot import crosscheck_figure
from parasim.report.crosscheck_table import crosscheck_table, percent
from parasim.report.curves_plot import curves_figure
from parasim.report.folders import Folder, Provenance
from parasim.report.losses_plot import losses_figure
from parasim.report.memory_plot import memory_figure
from parasim.report.report_text import all_runs, more_tables, ran_of
from parasim.report.role_tables import memory_columns, staleness_columns, time_columns, traffic_columns
from parasim.report.style import rendered
from parasim.report.sweep_plot import sweep_figure
from parasim.report.table import count, explanations, marks, quantity
from parasim.report.table import percent as share
from parasim.report.targets import has_targets, targets_table
from parasim.report.text import Column
from parasim.report.timeline import timeline
from parasim.trace.table import Trace

__all__ = ["Block", "Section", "page_html"]

_TEMPLATE = Path(__file__).with_name("page.html.jinja")
_MOST_ROWS = 200  # of a table
_MOST_BARS = 24  # rows of a picture
_MOST_TIMELINES = 12
_MOST_TRACE = 100e6  # bytes; a larger one takes minutes to draw
_MOST_SVG = 300_000  # bytes; a larger picture is sent as pixels

Watch = Callable[[int, int, str], None]


@dataclass(slots=True)
class Block:
    """A part of a section: a table, a picture or a text under a title, and small lines beneath."""

    title: str
    columns: Sequence[Column] = ()
    image: str = ""
    alt: str = ""
    text: str = ""
    notes: Sequence[str] = ()

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Of the table."""
        return list(zip(*(column.cells for column in self.columns), strict=True))


@dataclass(slots=True)
class Section:
    """What the page shows of a folder, or of all."""

    title: str
    folder: str = ""
    made: Provenance | None = None
    warnings: Sequence[str] = ()
    tiles_of: str = ""
    tiles: Sequence[tuple[str, str]] = ()
    blocks: list[Block] = field(default_factory=list)

    @property
    def provenance(self) -> list[tuple[str, str]]:
        """What the results rest on, by name."""
        made = self.made
        if made is None:
            return []
        return [
            ("command", made.command),
            ("written", made.written),
            ("simulator", f"parasim {made.simulator}"),
            ("Python", made.python),
            ("machine", made.machine),
        ]


def page_html(folders: Sequence[Folder], watch: Watch | None = None) -> str:
    """The page.

    Parameters
    ----------
    folders
        What it is of, in this order; behind them all runs together, if several folders have some.
    watch
        Called before each section with the number of those done, of all, and its title.

    Raises
    ------
    ScenarioError
        If a trace can't be read.
    """
    from jinja2 import Environment, StrictUndefined

    sections = []
    for number, folder in enumerate(folders):
        if watch is not None:
            watch(number, len(folders), folder.made.title)
        sections.append(_crosscheck(folder) if folder.score is not None else _runs(folder))
    if every := all_runs(folders):
        section = Section("All runs")
        alike = len({folder.made.title for folder in folders if folder.outcomes}) == 1
        section.blocks.append(_table("Headline figures", every, alike=alike))
        if alike:
            section.blocks += _compared("Side by side", every)
        sections.insert(0, section)
    titles = list(dict.fromkeys(folder.made.title for folder in folders))
    title = " and ".join(titles[:3]) + (" and more" if len(titles) > 3 else "")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_TEMPLATE.read_text()).render(title=title, sections=sections)


def _crosscheck(folder: Folder) -> Section:
    """Predicted beside measured."""
    score = folder.score
    assert score is not None
    section = Section(folder.made.title, str(folder.path), folder.made, folder.made.warnings)
    total = score.get("total")
    section.tiles = [("verdict", "ACCEPTED" if score["accepted"] else "REJECTED"), ("cases", str(len(score["cases"])))]
    if total:
        section.tiles = [
            *section.tiles,
            ("mean size of errors", percent(total["mean_absolute_error"])),
            ("mean error", percent(total["mean_signed_error"], signed=True)),
            ("runs in their intervals", percent(total["coverage"])),
        ]
    section.tiles_of = f"Profile {score['profile']} against real runs."
    section.blocks.append(_picture("Predicted beside measured", crosscheck_figure(score, folder.made.title)))
    section.blocks.append(Block("Every case, the groups and the verdict", text=crosscheck_table(score)))
    return section


def _runs(folder: Folder) -> Section:
    """Figures of runs, in tables and pictures."""
    outcomes, title = folder.outcomes, folder.made.title
    ran, labels = ran_of(outcomes)
    said = [*folder.made.warnings, *marks(ran), *reasons(outcomes)]
    section = Section(title, str(folder.path), folder.made, list(dict.fromkeys(said)))
    if not ran:
        return section
    section.tiles_of, section.tiles = _tiles(outcomes)
    blocks = section.blocks
    blocks.append(_table("Headline figures", outcomes))
    if folder.axes:
        blocks.append(_picture("How it scales", sweep_figure(folder.axes, outcomes, title)))
    blocks += _compared("Throughput, where the time goes, staleness", outcomes)
    ran, labels = ran[:_MOST_ROWS], labels[:_MOST_ROWS]
    blocks.append(Block("Where the time goes", time_columns(ran, labels), notes=_TIME))
    blocks.append(Block("What is sent and received", traffic_columns(ran, labels)))
    blocks.append(Block("Staleness", staleness_columns(ran, labels), notes=_STALENESS))
    blocks.append(Block("Memory", memory_columns(ran, labels)))
    drawn = memory_figure(ran[:_MOST_BARS], labels[:_MOST_BARS], f"{title}: memory of a worker")
    blocks.append(_picture("What workers hold", drawn, _first(_MOST_BARS, len(ran))))
    if any("evaluation" in summary for summary in ran):
        blocks.append(_picture("Learning curves, on held-out data", curves_figure(ran, labels, title)))
    if has_targets(ran):
        blocks.append(Block("Time to the target", text=targets_table(ran, labels)))
    blocks += [Block(name, text=text) for name, text in more_tables(folder).items()]
    blocks += _traced(folder)
    return section


_TIME = (
    "Shares of the main line of work: compute, transfer (blocked while its data move), wait (blocked otherwise). "
    "Means over the actors of a role, with the largest in brackets.",
    "Overlapped: what other lanes did beside it, per actor and step.",
)
_STALENESS = (
    "Changes of the parameters between their reading and the use of the gradient computed from them, over all "
    "gradients that were applied.",
)


def _table(title: str, outcomes: Sequence[Outcome], *, alike: bool = True) -> Block:
    """The main figures; with speed-ups where runs are alike."""
    shown = outcomes[:_MOST_ROWS]
    columns = compare_columns(shown) if alike else outcome_columns(shown)
    notes = _first(len(shown), len(outcomes))
    if alike:
        notes.append(f"speed-up: {rate_name(ran_of(shown)[0])}, relative to the first row that ran.")
    return Block(title, columns, notes=[*notes, *explanations(ran_of(shown)[0])])


def _tiles(outcomes: Sequence[Outcome]) -> tuple[str, list[tuple[str, str]]]:
    """The figures of the run with most samples per second."""
    ran = [(outcome.summary, outcome.label) for outcome in outcomes if outcome.summary is not None]
    summaries = [summary for summary, _ in ran]
    name, found = rate_name(summaries), rates(summaries)
    rate, (best, label) = max(zip((rate or 0.0 for rate in found), ran, strict=True), key=lambda run: run[0])
    words = f"Most {name} of {len(ran)} runs: {label}." if len(ran) > 1 else f"{label}."
    return words, [
        (name, count(rate)),
        ("time per step", quantity(best["seconds_per_step"], "seconds")),
        ("whole run", quantity(best["seconds"], "seconds")),
        ("compute", share(best["shares"], "compute")),
        ("staleness, mean", count((best["staleness"] or {}).get("mean"))),
        ("memory of a worker", quantity(best["memory_bytes_per_worker"], "bytes")),
        ("clock", best["clock"]),
    ]


def _compared(title: str, outcomes: Sequence[Outcome]) -> list[Block]:
    drawn = compare_figure(outcomes[:_MOST_BARS], title)
    return [_picture(title, drawn, _first(_MOST_BARS, len(outcomes)))]


def _traced(folder: Folder) -> list[Block]:
    """What the rows of traces show: the loss of every step, and timelines."""
    drawn: list[Block] = []
    losses, left_out = {}, []
    for outcome, path in zip(folder.outcomes, folder.traces, strict=True):
        if path is None or outcome.summary is None:
            continue
        if path.stat().st_size > _MOST_TRACE:
            left_out.append(f"{path.name} is too large to draw here: the verb's --timeline draws a part of it.")
            continue
        trace = Trace.from_csv(path)
        if curve := loss_curve(trace):
            losses[outcome.label] = curve
        if len(drawn) == _MOST_TIMELINES:
            left_out.append(f"{path.name} is not drawn: only the first {_MOST_TIMELINES} timelines are.")
        elif len(trace):
            result = Result(dict(outcome.summary), trace)
            drawn.append(_picture(f"Timeline: {outcome.label}", timeline(result)))
    if losses:
        drawn.insert(0, _picture("Training loss", losses_figure(losses, f"{folder.made.title}: training")))
    if left_out:
        drawn.append(Block("Not drawn", notes=left_out))
    return drawn


def _picture(title: str, drawn: Any, notes: Sequence[str] = ()) -> Block:
    """A picture as part of the page: sharp, unless that would be very large."""
    kind, content = "svg+xml", rendered(drawn, "svg")
    if len(content) > _MOST_SVG:
        kind, content = "png", rendered(drawn, "png")
    data = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return Block(title, image=data, alt=f"Picture: {title}", notes=notes)


def _first(shown: int, whole: int) -> list[str]:
    return [f"The first {shown} of {whole} runs."] if whole > shown else []
