"""The command line: one short function per verb. Nothing heavy is imported before a verb needs it.

Exit codes: 0 done; 2 the user's input is wrong (one line, no traceback); 130 interrupted; 1 anything else.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parasim.arguments import Verb, parse
from parasim.errors import DeadlockError, ParasimError, ScenarioError, ScenarioWarning
from parasim.listing import compressors, schema, schemes, topologies
from parasim.reporting import report

if TYPE_CHECKING:
    from parasim.metrics.outcome import Outcome
    from parasim.metrics.result import Result
    from parasim.report.provenance import Origin
    from parasim.scenario.model import Scenario, Workload

__all__ = ["main"]

_DONE, _FAILED, _WRONG_INPUT, _INTERRUPTED = 0, 1, 2, 130
_NOT_WRITTEN = {
    errno.ENOSPC: "make room there, or write elsewhere",
    errno.EDQUOT: "make room there, or write elsewhere",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or keep sums only (run.trace=aggregate)",
    errno.EROFS: "write elsewhere",
}
"""What to do where a file can't be written, by the error's number."""


# verbs -------------------------------------------------------------------------------------------------------------
def run(arguments: argparse.Namespace) -> None:
    """Simulate a scenario (every variant of it) and show where the time goes."""
    import parasim

    options: dict[str, Any] = {}
    if arguments.replay and arguments.replicas is not None:
        raise ScenarioError("parasim run: --replay follows one recorded run, --replicas draws others: give one of them")
    if arguments.replay:
        from parasim.trace.record import Record

        options["replay"] = Record.load(arguments.replay)

    def runs(scenario: Scenario) -> list[Result]:
        result = parasim.simulate(scenario, **options)
        if arguments.theory:
            from parasim.study.theory import with_theory

            result = with_theory(scenario, result)
        if arguments.replicas is not None:
            from parasim.report.progress import Progress
            from parasim.study.replicas import with_intervals

            with Progress("replicas") as progress:
                result = with_intervals(scenario, result, arguments.replicas, progress.show)
        return [result]

    if arguments.fit_steps:
        from parasim.report import output

        output.claim_folder(os.path.dirname(arguments.fit_steps) or ".", "--fit-steps")
    results = _each(arguments, "simulating", runs)
    if arguments.fit_steps:
        from parasim.study.modelled import fitted_text
        from parasim.trace.files import write_atomic

        text = fitted_text([result.summary for _, result in results])
        write_atomic(arguments.fit_steps, text.encode())
        print(text, end="", file=sys.stderr if arguments.json else sys.stdout)


def execute(arguments: argparse.Namespace) -> None:
    """Really run a scenario on processes of this machine, with the same scheme program."""
    options: dict[str, Any] = {"record": arguments.record} if arguments.record else {}

    def runs(scenario: Scenario) -> list[Result]:
        import calibration
        import parasim

        measured = calibration.execute(scenario, **options)
        if measured is None:  # torchrun started this process, and rank 0 reports
            return []
        return [measured, parasim.simulate(scenario)] if arguments.beside_simulated else [measured]

    _each(arguments, "running", runs)


def crosscheck(arguments: argparse.Namespace) -> int:
    """Really run scenarios (a file, or a folder of them) and simulate them by a profile: how far off is it?"""
    from calibration.checking.command import main as check

    return check(arguments)


def calibrate(arguments: argparse.Namespace) -> None:
    """Measure this machine and write its profile, for scenarios and cross-checks; continued after a kill."""
    from calibration.calibrate_options import main as measure

    measure(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Simulate several schemes, or the variants of a file, and show them side by side."""
    from parasim.report.compare_files import compare_json, write_compare
    from parasim.report.compare_table import compare_table
    from parasim.report.output import json_text
    from parasim.report.progress import Progress
    from parasim.study.compare import compare, compare_cases, title_of

    asked = (arguments.file, arguments.schemes or (), arguments.overrides, arguments.variant)
    compare_cases(*asked)  # what is wrong is said before the folder is made
    origin = _origin(arguments)
    with Progress("comparing") as progress:
        outcomes = compare(*asked, allow_code=arguments.allow_code, watch=progress.show)
    _some_ran(arguments, outcomes)
    if origin is not None:
        title = title_of(arguments.file)
        write_compare(outcomes, arguments.out, title)
        origin.write(arguments.out, title)
    print(json_text(compare_json(outcomes)) if arguments.json else compare_table(outcomes))


def analyze(arguments: argparse.Namespace) -> None:
    """What every scheme costs on a workload and a cluster, in numbers and in symbols; how many workers are worth it."""
    from parasim.analyzing import analyze

    analyze(arguments)


def sweep(arguments: argparse.Namespace) -> None:
    """Simulate a grid, key=a,b,c for each key, on all cores; with --out, a sweep that was killed is continued."""
    from parasim.report.output import json_text
    from parasim.report.progress import Progress
    from parasim.report.sweep_files import sweep_json, write_sweep
    from parasim.report.sweep_table import sweep_table
    from parasim.study.grid import read_axes
    from parasim.study.sweep import sweep

    read_axes(arguments.overrides)  # what is wrong is said before the folder is made
    origin = _origin(arguments)
    with Progress("sweeping") as progress:
        done = sweep(
            arguments.file,
            arguments.overrides,
            arguments.out,
            arguments.jobs,
            arguments.variant,
            allow_code=arguments.allow_code,
            watch=progress.show,
        )
    for count, what in ((done.continued, "done before"), (done.left_out, "in the folder, not of this grid: left out")):
        if count:
            print(f"parasim: {count} point{'s' * (count > 1)} {what}", file=sys.stderr)
    _some_ran(arguments, done.outcomes)
    axes = [axis.keys for axis in done.axes]
    if origin is not None:
        write_sweep(axes, done.outcomes, arguments.out, done.title)
        origin.write(arguments.out, done.title)
    print(json_text(sweep_json(axes, done.outcomes)) if arguments.json else sweep_table(axes, done.outcomes))


def models(arguments: argparse.Namespace) -> None:
    """List the models with their papers, or show the layers of one (of a kind, or of a scenario)."""
    from parasim.report.models import layers_entry, layers_text, models_entries, models_text
    from parasim.report.output import show

    if arguments.file is None:
        show(arguments, "models", models_text(), models_entries())
        return
    entries: list[dict[str, Any]] = []
    for workload in _workloads(arguments):
        if (entry := layers_entry(workload)) not in entries:
            entries.append(entry)
    text = "\n\n".join(map(layers_text, entries))
    show(arguments, "models", text, entries[0] if len(entries) == 1 else entries)


def validate(arguments: argparse.Namespace) -> None:
    """Check a scenario file and run nothing."""
    from parasim.report.output import show

    scenarios = _load(arguments)
    entries = [{"scenario": s.name, "scheme": s.scheme.name, "actors": len(s.placement)} for s in scenarios]
    lines = []
    for scenario in scenarios:
        hosts = f"{len(scenario.placement)} actors on {scenario.cluster.hosts} hosts"
        lines.append(f"{arguments.file}: valid: {scenario.name} ({scenario.scheme.name}, {hosts})")
    show(arguments, "validate", "\n".join(lines), entries)


def _load(arguments: argparse.Namespace) -> list[Scenario]:
    """The variant that was asked for, else every one of the file."""
    from parasim.scenario import load, load_all

    if arguments.variant is not None:
        return [load(arguments.file, arguments.overrides, arguments.variant, allow_code=arguments.allow_code)]
    return load_all(arguments.file, arguments.overrides, allow_code=arguments.allow_code)


def _workloads(arguments: argparse.Namespace) -> list[Workload]:
    """Those of a scenario file, or of a kind of model alone; its code may come from where the command is given."""
    from parasim.scenario.workload import workload_of_kind

    of = Path(arguments.file)
    if of.suffix in (".yaml", ".yml") or of.is_file():
        return [scenario.workload for scenario in _load(arguments)]
    if arguments.variant is not None:
        raise ScenarioError(f"--variant: {of} is no scenario file and has no variants; leave it out")
    return [workload_of_kind(arguments.file, arguments.overrides, Path() if arguments.allow_code else None)]


def _some_ran(arguments: argparse.Namespace, outcomes: Sequence[Outcome]) -> None:
    """Raise the error of the first row if no row ran."""
    if any(outcome.summary is not None for outcome in outcomes):
        return
    first = outcomes[0]
    others = "" if len(outcomes) == 1 else f" (none of the {len(outcomes)} rows ran; this is the first one's reason)"
    kind = ScenarioError if first.error_kind == "ScenarioError" else ParasimError
    raise kind(f"{arguments.file}: {first.label}: {first.error}{others}")


def _origin(arguments: argparse.Namespace) -> Origin | None:
    """With --out, what results will rest on; the folder is there then, and holds no finished results."""
    from parasim.report.output import claim_results
    from parasim.report.provenance import origin_of
    from parasim.study.identity import simulator

    if not arguments.out:
        return None
    claim_results(arguments.out)
    return origin_of(arguments.command, arguments.file, simulator(), arguments.said)


def _each(
    arguments: argparse.Namespace, doing: str, runs: Callable[[Scenario], list[Result]]
) -> list[tuple[Scenario, Result]]:
    """Load, run and show the variants of a file; replies with the results."""
    from parasim.report import output

    scenarios = _load(arguments)
    if len(scenarios) > 1 and (getattr(arguments, "record", None) or getattr(arguments, "replay", None)):
        raise ScenarioError(
            f"{arguments.file}: has {len(scenarios)} variants; a record is of one run: choose one with --variant"
        )
    origin = _origin(arguments)
    if getattr(arguments, "record", None):
        output.claim_folder(os.path.dirname(arguments.record) or ".", "--record")
    timelines = _timelines(arguments, scenarios)
    results = [(scenario, result) for scenario in output.progress(doing, scenarios) for result in runs(scenario)]
    if not results:
        return []
    if origin is not None:
        title = output.title_of(results)
        origin.write(arguments.out, title, output.write_results(results, arguments.out, title))
    print(output.json_text(output.results_json(results)) if arguments.json else output.results_text(results))
    if timelines:
        print(timelines(results), file=sys.stderr if arguments.json else sys.stdout)
    return results


def _timelines(arguments: argparse.Namespace, scenarios: list[Scenario]) -> Callable[[Any], str] | None:
    """What writes the timelines of results and says where; None if none were asked for. Checked before runs."""
    from parasim.report.timeline import Selection, prepared

    if arguments.timeline is None:
        for option, value in (
            ("from-step", arguments.from_step),
            ("to-step", arguments.to_step),
            ("actors", arguments.actors),
        ):
            if value is not None:
                raise ScenarioError(f"--{option} is of a timeline: add --timeline")
        return None
    selection = Selection(arguments.from_step, arguments.to_step, arguments.actors)
    return prepared(scenarios, arguments.timeline or os.path.join(arguments.out or "", "timeline"), selection)


# the way in ---------------------------------------------------------------------------------------------------------
VERBS: dict[str, Verb] = {
    "run": run,
    "execute": execute,
    "crosscheck": crosscheck,
    "calibrate": calibrate,
    "compare": compare,
    "analyze": analyze,
    "sweep": sweep,
    "report": report,
    "schemes": schemes,
    "compressors": compressors,
    "topologies": topologies,
    "models": models,
    "schema": schema,
    "validate": validate,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        verb, arguments = parse(words, VERBS)
        with _warnings_in_lines(arguments.said):
            code = verb(arguments)
        if sys.stdout is not None:  # as it is where the shell has closed it
            sys.stdout.flush()
    except ScenarioError as error:
        return _failed(_one_line(error), _WRONG_INPUT, debug)
    except DeadlockError as error:
        return _failed(str(error), _FAILED, debug)
    except KeyboardInterrupt:
        print("parasim: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _DONE
    except SystemExit as stop:  # --help, --version
        return int(stop.code or 0)
    except OSError as error:
        return _failed(_of_file(error), _FAILED, debug)
    except Exception as error:
        return _failed(_of_another(error), _FAILED, debug)
    return code or _DONE


@contextmanager
def _warnings_in_lines(said: list[str]) -> Iterator[None]:
    """What has no effect is said in a line on standard error, once, and kept."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, ScenarioWarning):
            said.append(str(message))
            print(f"parasim: warning: {message}", file=sys.stderr)
        else:
            shown(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("default", ScenarioWarning)
        warnings.showwarning = show
        yield


def _of_file(error: OSError) -> str:
    """What can't be written (the standard output has no name), why, and what to do; else as any other error."""
    remedy = _NOT_WRITTEN.get(error.errno or 0)
    if remedy is None:
        return _of_another(error)
    where = "" if error.filename is None else f"{error.filename} can't be written: "
    return _one_line(OSError(f"parasim: {where}{error.strerror}: {remedy}"))


def _of_another(error: Exception) -> str:
    """An error that is not the user's."""
    what = _one_line(error) or "no message"
    kind = what if isinstance(error, ParasimError) else f"{type(error).__name__}: {what}"
    kind = ", ".join([kind, *(note for note in getattr(error, "__notes__", ()) if "\n" not in note)])
    return f"parasim: {kind} (--debug for the traceback)"


def _one_line(error: Exception) -> str:
    """The message, without what could break the line or command the terminal."""
    text = " ".join(str(error).split())
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _failed(message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    else:
        print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
