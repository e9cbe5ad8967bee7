"""Golden summaries of the scenarios in scenarios/: ``python -m tests.golden`` writes them, a test compares them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import parasim

ROOT = Path(__file__).parents[1]
STORE = Path(__file__).parent / "golden"
_ALL = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "scenarios").rglob("*.yaml"))
_PUBLISHED = "scenarios/published/"
"""What is held there is the scoreboard (tests/test_published.py)."""
NEED_FILES = [path for path in _ALL if path.startswith("scenarios/cifar10/")]
"""They train on files that are not shipped."""
SCENARIOS = [path for path in _ALL if not path.startswith(_PUBLISHED) and path not in NEED_FILES]
_ALL_KEYS = "scenarios/all_keys.yaml"
"""Its variants are there for what they say; a few steps show it."""
_OF_THE_MACHINE = ("wall_seconds", "simulation_seconds", "events", "fast_paths", "evaluation", "target")
_TIMES = ("scenarios/crosscheck", "scenarios/studies/dogs_vs_cats", "scenarios/compression/onebit")
_FEW_STEPS = ("run.learn=false", "run.steps=16")
"""What is held there is times; hundreds of steps tell no more, and losses of training differ by processor."""


def golden_path(scenario: str) -> Path:
    """Where the summaries of a scenario are stored."""
    return STORE / (scenario.removeprefix("scenarios/").removesuffix(".yaml").replace("/", "_") + ".json")


def summaries(scenario: str) -> dict[str, Any]:
    """By variant: all figures that do not depend on the machine or on how the simulator works inside."""
    found = {}
    overrides = _FEW_STEPS if scenario.startswith(_TIMES) else ("run.steps=6",) if scenario == _ALL_KEYS else ()
    for case in parasim.load_all(ROOT / scenario, overrides, allow_code=True):
        summary = parasim.simulate(case).summary
        found[case.variant] = json.loads(
            json.dumps({key: value for key, value in summary.items() if key not in _OF_THE_MACHINE})
        )
    return found


if __name__ == "__main__":
    STORE.mkdir(exist_ok=True)
    for name in SCENARIOS:
        golden_path(name).write_text(json.dumps(summaries(name), indent=1, sort_keys=True) + "\n")
