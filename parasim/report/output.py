"""Where results go: a table or JSON on the screen, files in a folder; and a line of progress on a terminal."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parasim.errors import ScenarioError
from parasim.report.provenance import PROVENANCE
from parasim.report.replicas import replicas_table
from parasim.report.table import results_table
from parasim.report.targets import has_targets, targets_table
from parasim.report.theory import theory_table
from parasim.trace.files import write_atomic

if TYPE_CHECKING:
    from parasim.metrics.result import Result
    from parasim.scenario.model import Scenario

__all__ = [
    "Runs",
    "claim_folder",
    "claim_results",
    "json_text",
    "progress",
    "results_json",
    "results_text",
    "show",
    "suffixes",
    "title_of",
    "write_results",
]

Runs = Sequence[tuple["Scenario", "Result"]]


def results_text(runs: Runs) -> str:
    """The table, a row per run; and what theory says, where it was asked."""
    labels = [scenario.variant or scenario.name for scenario, _ in runs]
    summaries = [result.summary for _, result in runs]
    parts = [results_table(summaries, labels)]
    if has_targets(summaries):
        parts.append(targets_table(summaries, labels))
    for key, write in (("intervals", replicas_table), ("theory", theory_table)):
        if all(key in summary for summary in summaries):
            parts.append(write([summary[key] for summary in summaries], labels))
    return "\n\n".join(parts)


def results_json(runs: Runs) -> Any:
    """One object for one run, else a list; each names its variant."""
    objects = [{**result.summary, "variant": scenario.variant or None} for scenario, result in runs]
    return objects[0] if len(objects) == 1 else objects


def json_text(value: Any) -> str:
    """JSON that every reader takes (RFC 8259): a number that is not finite, as the loss of a diverged run, is null."""
    return json.dumps(_finite(value), indent=1, allow_nan=False, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def claim_folder(folder: str | Path, option: str) -> None:
    """Make the folder for results before anything long runs; `ScenarioError` if that can't be."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScenarioError(f"{option}: folder {folder} can't be made: {error.strerror or error}") from None
    if not os.access(folder, os.W_OK):
        raise ScenarioError(f"{option}: folder {folder} can't be written to: choose another")


def show(arguments: argparse.Namespace, name: str, text: str, value: Any) -> None:
    """Print a text, or with --json the value; with --out write both, as NAME.txt and NAME.json."""
    if arguments.out:
        claim_folder(arguments.out, "--out")
    found = json_text(value)
    print(found if arguments.json else text)
    if arguments.out:
        for kind, content in (("txt", text), ("json", found)):
            write_atomic(Path(arguments.out, f"{name}.{kind}"), f"{content}\n".encode("utf-8", "surrogatepass"))


def claim_results(folder: str | Path) -> None:
    """The same for a folder of results of --out; until new ones are there it holds no finished ones."""
    claim_folder(folder, "--out")
    try:
        Path(folder, PROVENANCE).unlink(missing_ok=True)
    except OSError as error:
        raise ScenarioError(f"--out: {Path(folder, PROVENANCE)} can't be replaced: {error.strerror or error}") from None


def write_results(runs: Runs, folder: str, title: str) -> list[str | None]:
    """Write summary.json, trace.csv (trace-NAME.csv, if there are several runs) and curves of learning.

    Each is there whole or not at all. Replies with the names of the traces, None where no rows were kept.
    """
    from parasim.report.curves_plot import write_curves
    from parasim.trace.table import Trace

    write_atomic(Path(folder, "summary.json"), (json_text(results_json(runs)) + "\n").encode())
    traces: list[str | None] = []
    for (_, result), suffix in zip(runs, suffixes(runs), strict=True):
        traces.append(None)
        if isinstance(result.trace, Trace):  # run: {trace: aggregate} keeps no rows
            traces[-1] = result.trace.to_csv(Path(folder, f"trace{suffix}.csv")).name
    labels = [scenario.variant or scenario.name for scenario, _ in runs]
    write_curves([result.summary for _, result in runs], labels, folder, title)
    return traces


def title_of(runs: Runs) -> str:
    """The name of the scenario whose variants were run."""
    return runs[0][0].name.removesuffix(f" [{runs[0][0].variant}]")


def suffixes(runs: Runs) -> list[str]:
    """What tells the files of several runs apart: "-VARIANT-CLOCK", made fit for file names; "" for a single run."""
    if len(runs) == 1:
        return [""]
    taken: list[str] = []
    for number, (scenario, result) in enumerate(runs):
        words = f"{scenario.variant or scenario.name}-{result.summary['clock']}"
        stem = "-" + re.sub(r"[^A-Za-z0-9_.=-]+", "_", words)[:80]
        taken.append(stem if stem not in taken else f"{stem}-{number}")
    return taken


def progress(doing: str, scenarios: Sequence[Scenario]) -> Iterator[Scenario]:
    """Go through scenarios with a line of progress on a terminal; silent in a pipe."""
    shown = sys.stderr.isatty()
    for number, scenario in enumerate(scenarios, 1):
        if shown:
            print(
                f"\r\x1b[K{doing} {number}/{len(scenarios)}: {scenario.name[:80]}", end="", file=sys.stderr, flush=True
            )
        try:
            yield scenario
        finally:
            if shown:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
