"""The command line's words: which verb, with which files, overrides and options. Their errors are one line."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from parasim.errors import ScenarioError

__all__ = ["Verb", "parse"]

Verb = Callable[[argparse.Namespace], int | None]
"""A verb may reply with an exit code."""

_WITHOUT_FILE = ("topologies", "schemes", "compressors", "models", "schema", "calibrate", "report")


class _Parser(argparse.ArgumentParser):
    """Its errors are one line."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("file, key=value", "file")  # overrides are never required
        raise ScenarioError(f"{self.prog}: {message} (see {self.prog} --help)")


def parse(words: Sequence[str], verbs: Mapping[str, Verb]) -> tuple[Verb, argparse.Namespace]:
    """The verb, and its arguments, in any order.

    Among these are `command`, all words as they were given, and `said`, a list for warnings.

    Raises
    ------
    ScenarioError
        If a word is not understood.
    SystemExit
        After ``--help`` and ``--version``.
    """
    if not words or words[0].startswith("-"):
        usage = "parasim VERB [FILE] [key=value ...] [options]"
        parser = _Parser(
            "parasim", usage, description=_description(verbs), formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--version", action="version", version=_version())
        parser.parse_args(words or ["--help"])
        raise ScenarioError("parasim: name a verb first (see parasim --help)")
    name = words[0]
    if name not in verbs:
        close = difflib.get_close_matches(name, verbs, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"verbs: {', '.join(verbs)}"
        raise ScenarioError(f"parasim: unknown verb '{name}' ({hint})")
    rest = ["--timeline=" if word == "--timeline" else word for word in words[1:]]  # its value only comes after "="
    arguments = _parser_of(name, verbs[name]).parse_intermixed_args(rest)
    if getattr(arguments, "out", None) == "":
        raise ScenarioError(f"parasim {name}: --out: '' is no name: write --out DIR, or leave it out")
    arguments.command, arguments.said = list(words), []
    return verbs[name], arguments


def _parser_of(name: str, verb: Verb) -> _Parser:
    parser = _Parser(f"parasim {name}", description=verb.__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON; null stands for a number that is not finite")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if name not in _WITHOUT_FILE:
        _scenario_file(parser)
    if add := _OPTIONS.get(name):
        add(parser)
    return parser


def _scenario_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="scenario file (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as in scheme.workers=16")
    parser.add_argument("--variant", metavar="NAME", help="only this one of the file's variants")
    parser.add_argument("--allow-code", action="store_true", help="run the factory of a model of kind 'module'")
    parser.add_argument("--out", metavar="DIR", help="write results there")


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--replay", metavar="FILE", help="follow the schedule that 'execute --record' wrote")
    parser.add_argument("--theory", action="store_true", help="show closed forms beside the simulated figures")
    what = "simulate it N times more with other draws of noise and profile, for intervals"
    parser.add_argument("--replicas", type=int, metavar="N", help=what)
    what = "fit run.steps_model to the runs that reach run.target, of several batches; write it there"
    parser.add_argument("--fit-steps", metavar="FILE", help=what)
    _timeline(parser)


def _topologies(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", help="scenario file (YAML), or a kind of topology; none: list the kinds")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as in dimensions=[4,4], of a kind")
    parser.add_argument("--variant", metavar="NAME", help="only this one of the file's variants")
    parser.add_argument("--all", action="store_true", help="list every cable, however many there are")
    parser.add_argument("--out", metavar="DIR", help="write what is printed there, and draw the cluster as PNG and SVG")


def _execute(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--beside-simulated", action="store_true", help="show the simulated run in the next row")
    parser.add_argument("--record", metavar="FILE", help="write the schedule of the run, for 'run --replay'")
    _timeline(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    what = "compare these instead of variants, as in 'allreduce,downpour(servers=2)'; with variants: each with each"
    parser.add_argument("--schemes", metavar="A,B,...", help=what)


def _analyze(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--schemes", metavar="A,B,...", help="only these, as in 'allreduce,local_sgd(period=8)'")
    parser.add_argument("--concurrency", action="store_true", help="work and depth of the network's operators, instead")
    what = "published results beside predictions, instead: FILE is the folder scenarios/published"
    parser.add_argument("--published", action="store_true", help=what)
    parser.add_argument("--scaling", action="store_true", help="time per sample against the number of workers")
    parser.add_argument(
        "--compression", type=float, default=32.0, metavar="Z", help="of gradients, for N^ (default: 32)"
    )
    parser.add_argument("--format", default="text", help="text (default), markdown, latex or csv")


def _schemes(parser: argparse.ArgumentParser) -> None:
    _lists(parser)
    parser.add_argument("--tree", action="store_true", help="draw them as a tree: concurrency, consistency, parameters")
    parser.add_argument("--like", metavar="SCHEME", help="its neighbours, nearest first, and what differs")


def _sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, metavar="N", help="number of processes (default: one per core)")


def _crosscheck(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", metavar="P", help="of this machine: what 'calibrate' wrote, or a recorded name")
    between = (
        "measure this machine too, before, between and after the rounds of runs; write its profile, and judge by it"
    )
    parser.add_argument("--calibrate", metavar="P", help=between)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="real runs of each case (default: 5)")
    parser.add_argument("--replicas", type=int, default=32, metavar="N", help="simulated runs of each (default: 32)")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes that simulate (default: one per core)")
    parser.add_argument("--measure-only", action="store_true", help="make the real runs, for later")
    parser.add_argument("--simulate-only", metavar="FILE", help="judge by the measured.json that --out has written")
    parser.add_argument("--explain", metavar="CASE", help="open the difference of one case, operation by operation")
    parser.add_argument("--other-machine", action="store_true", help="the profile may be of another machine")


def _report(parser: argparse.ArgumentParser) -> None:
    what = "what run, execute, compare, sweep or crosscheck wrote with --out"
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help=what)
    parser.add_argument("--out", metavar="DIR", help="write report.html there (default: the first FOLDER)")


def _calibrate(parser: argparse.ArgumentParser) -> None:
    what = "scenario files whose own networks are measured too, and key=value for them"
    parser.add_argument("words", nargs="*", metavar="FILE", help=what)
    parser.add_argument("--out", required=True, metavar="FILE", help="the profile, as in my-machine.json")
    parser.add_argument("--only", metavar="A,B", help="groups of probes; a profile that is there keeps its other parts")
    parser.add_argument("--budget", metavar="TIME", help="time for all probes, as in '5 min' (default: 100 s)")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often the plan is run (default: 4)")
    parser.add_argument("--device", metavar="D", help="what is described: cpu (default), or cuda: the first GPU")
    halves = "fit these rounds only, counted from 1; 'both' of a --fit-only: each half, and whether the two agree"
    parser.add_argument("--half", choices=("odd", "even", "both"), help=halves)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all draws (default: 0)")
    parser.add_argument("--name", metavar="NAME", help="of the machine (default: the name of the file)")
    parser.add_argument("--keep-journal", action="store_true", help="leave what was measured in FILE.part")
    journals = "fit what --keep-journal left, measure nothing; given several times, calibrations of a machine together"
    parser.add_argument("--fit-only", metavar="JOURNAL", action="append", help=journals)
    parser.add_argument("--allow-code", action="store_true", help="run the factory of a model of kind 'module'")


def _schema(parser: argparse.ArgumentParser) -> None:
    _lists(parser)
    parser.add_argument("--profile", action="store_true", help="of profiles, as calibrate writes them")


def _lists(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", help="write what is printed there, as text and as JSON")


def _timeline(parser: argparse.ArgumentParser) -> None:
    what = "draw who did what when: FILE.png, FILE.svg, and FILE.trace.json for ui.perfetto.dev (default: timeline)"
    parser.add_argument("--timeline", metavar="[=FILE]", help=what)
    parser.add_argument("--from-step", type=int, metavar="N", help="first step of the picture (default: after warm-up)")
    parser.add_argument("--to-step", type=int, metavar="N", help="last step of it (default: while it stays legible)")
    parser.add_argument("--actors", type=int, metavar="N", help="draw at most N actors (default: 16)")


def _models(parser: argparse.ArgumentParser) -> None:
    _lists(parser)
    parser.add_argument("file", nargs="?", help="a kind of model, or a scenario file (default: list the kinds)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as in batch_size=32 dtype=float16 size=64")
    parser.add_argument("--variant", metavar="NAME", help="only this one of the file's variants")
    parser.add_argument("--allow-code", action="store_true", help="run the factory of a model of kind 'module'")


_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "run": _run,
    "execute": _execute,
    "crosscheck": _crosscheck,
    "calibrate": _calibrate,
    "schema": _schema,
    "schemes": _schemes,
    "compressors": _lists,
    "compare": _compare,
    "analyze": _analyze,
    "sweep": _sweep,
    "report": _report,
    "topologies": _topologies,
    "models": _models,
}
"""What a verb takes beyond that."""


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("parasim")
    except PackageNotFoundError:
        return "parasim, not installed"


def _description(verbs: Mapping[str, Verb]) -> str:
    return "\n".join(
        [
            "How fast would this parallel SGD scheme train this network on that cluster, and where does the time go?",
            "",
            "parasim VERB --help explains a verb:",
            *(f"  {name:<11} {verb.__doc__}" for name, verb in verbs.items()),
        ]
    )
