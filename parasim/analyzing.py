"""What `parasim analyze` does: which tables were asked for, and where they go."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

from parasim.errors import ScenarioError

__all__ = ["analyze"]

Entries = list[dict[str, Any]]


def analyze(arguments: argparse.Namespace) -> None:
    """Print what schemes cost, or work and depth, or the scoreboard; with --out write the tables, and the picture."""
    from parasim.report import analyze as report
    from parasim.report.output import claim_folder, json_text
    from parasim.report.sheets import sheets_text

    _check(arguments)
    if arguments.out:
        claim_folder(arguments.out, "--out")
    make = _published if arguments.published else _concurrency if arguments.concurrency else _schemes
    entries, sheets = make(arguments)
    print(json_text(entries) if arguments.json else sheets_text(sheets, arguments.format))
    if arguments.out:
        written = report.write_tables(entries, sheets, arguments.out)
        if make is _schemes:
            written += report.draw_scaling(entries, arguments.out)
        for path in written:
            print(f"written: {path}", file=sys.stderr)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what would have no effect."""
    asked = [name for name in ("concurrency", "published", "scaling") if getattr(arguments, name)]
    if len(asked) > 1:
        raise ScenarioError(f"parasim analyze: --{asked[0]} and --{asked[1]} are different tables: give one of them")
    if arguments.published and (arguments.overrides or arguments.variant or arguments.schemes):
        raise ScenarioError("parasim analyze: --published takes the folder's scenarios as they are: leave the rest out")
    if not 0 < arguments.compression < math.inf:
        raise ScenarioError(f"--compression: {arguments.compression:g} is no factor: write a positive number, as in 32")
    if arguments.concurrency and arguments.schemes:
        raise ScenarioError("parasim analyze: --concurrency is of the network alone: leave --schemes out")


def _schemes(arguments: argparse.Namespace) -> tuple[Entries, list[Any]]:
    """What schemes cost, for each setting of the file."""
    from parasim.report.analyze import analysis_sheets
    from parasim.report.progress import Progress
    from parasim.study.analyze import analyze

    with Progress("analyzing") as progress:
        entries = analyze(
            arguments.file,
            arguments.schemes or "",
            arguments.overrides,
            arguments.variant,
            compression=arguments.compression,
            allow_code=arguments.allow_code,
            simulated=not arguments.scaling,
            watch=progress.show,
        )
    return entries, analysis_sheets(entries)


def _concurrency(arguments: argparse.Namespace) -> tuple[Entries, list[Any]]:
    """Work and depth of each network of the file, once."""
    from parasim.report.concurrency import concurrency_sheets
    from parasim.scenario import load, load_all
    from parasim.study.concurrency import concurrency

    chosen, code = (arguments.file, arguments.overrides), arguments.allow_code
    one = arguments.variant is not None
    scenarios = [load(*chosen, arguments.variant, allow_code=code)] if one else load_all(*chosen, allow_code=code)
    found = {(e["model"], e["batch"], e["workers"], repr(e["layers"])): e for e in map(concurrency, scenarios)}
    return [*found.values()], [sheet for entry in found.values() for sheet in concurrency_sheets(entry)]


def _published(arguments: argparse.Namespace) -> tuple[Entries, list[Any]]:
    """The scoreboard of published results."""
    from parasim.report.progress import Progress
    from parasim.report.published import scoreboard_sheet
    from parasim.study.published import scoreboard

    with Progress("simulating") as progress:
        rows = scoreboard(arguments.file, progress.show)
    return rows, [scoreboard_sheet(rows)]
