"""The verb `calibrate`: what its words mean, and what is printed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.calibrate import BOTH, Options, calibrate, refit, refit_halves
from calibration.probes.plan import BUDGET, ROUNDS
from parasim.errors import ScenarioError
from parasim.report.output import json_text
from parasim.report.profile import agreement_json, agreement_text, profile_json, profile_text
from parasim.report.progress import Progress
from parasim.units import parse_quantity

if TYPE_CHECKING:
    from parasim.scenario.model import Scenario

__all__ = ["main", "options_of", "scenarios_of"]

_OF_MEASURING = ("only", "budget", "rounds", "device", "keep_journal", "allow_code", "words")


def main(arguments: argparse.Namespace) -> None:
    """Do what the words of `parasim calibrate` say.

    Raises
    ------
    ScenarioError, CalibrationError
        If the words or a file is wrong, or what was measured can't be fitted.
    """
    options, scenarios = options_of(arguments), scenarios_of(arguments)
    if options.half == BOTH:
        written, found = refit_halves(arguments.fit_only, arguments.out, options)
        print(json_text(agreement_json(found)) if arguments.json else agreement_text(found))
        print(f"written: {', '.join(map(str, written))}", file=sys.stderr)
        return
    if arguments.fit_only:
        profile = refit(arguments.fit_only, arguments.out, options)
    else:
        with Progress("calibrating") as progress:
            profile = calibrate(
                arguments.out, scenarios, options, watch=progress.show, say=lambda text: print(text, file=sys.stderr)
            )
    print(json_text(profile_json(profile)) if arguments.json else profile_text(profile))
    print(f"written: {arguments.out}", file=sys.stderr)


def options_of(arguments: argparse.Namespace) -> Options:
    """The options of a command line.

    Raises
    ------
    ScenarioError
        If one of them is wrong, or has no effect beside the others.
    """
    if arguments.fit_only:
        for name in _OF_MEASURING:
            if getattr(arguments, name) not in (None, False, []):
                shown = "scenarios" if name == "words" else f"--{name.replace('_', '-')}"
                raise ScenarioError(f"parasim calibrate: {shown}: --fit-only measures nothing: leave it out")
    elif arguments.half == BOTH:
        raise ScenarioError(f"--half {BOTH}: fits what was measured before: add --fit-only FILE.part")
    budget = BUDGET
    if arguments.budget is not None:
        try:
            budget = parse_quantity(arguments.budget, "seconds")
        except ValueError as error:
            raise ScenarioError(f"--budget: {error}") from None
    return Options(
        only=tuple(arguments.only.split(",")) if arguments.only is not None else (),
        budget=budget,
        rounds=ROUNDS if arguments.rounds is None else arguments.rounds,
        half=arguments.half,
        device=arguments.device or "cpu",
        seed=arguments.seed,
        name=arguments.name,
        keep_journal=arguments.keep_journal,
    )


def scenarios_of(arguments: argparse.Namespace) -> list[Scenario]:
    """Every variant of the scenario files named, with the overrides beside them.

    Raises
    ------
    ScenarioError
        If there are overrides and no file, or a file is wrong.
    """
    from parasim.scenario import load_all

    overrides = [word for word in arguments.words if "=" in word and not Path(word).is_file()]
    files = [word for word in arguments.words if word not in overrides]
    if overrides and not files:
        raise ScenarioError(f"parasim calibrate: {overrides[0]}: overrides are of scenario files: name one before them")
    return [scenario for file in files for scenario in load_all(file, overrides, allow_code=arguments.allow_code)]
