"""Turns and runs that the hypervisor disturbs: left out, or made again, by what it took alone."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from calibration.checking import measuring
from calibration.fitting.checks import undisturbed
from calibration.fitting.session import Turn
from calibration.probes.state import Watched, core_seconds


def turn(probe: str, number: int, stolen: float | None) -> Turn:
    return Turn(probe, number, stolen=stolen)


def test_disturbed_turns_are_left_out_and_named():
    turns = [turn("links", k, share) for k, share in enumerate([0.0, 0.2, 0.0, 0.01])] + [turn("pairs", 0, 0.3)]
    kept, flags = undisturbed(turns)
    assert [(one.probe, one.round) for one in kept] == [("links", 0), ("pairs", 0), ("links", 2), ("links", 3)]
    assert len(flags) == 1
    assert "links of round 2" in flags[0]


def test_three_rounds_stay_in_any_case():
    kept, flags = undisturbed([turn("links", k, 0.1 + k / 100) for k in range(5)])
    assert [one.round for one in kept] == [0, 1, 2]
    assert "round 4, links of round 5" in flags[0]


def test_without_word_from_the_system_all_stay():
    turns = [turn("links", k, None) for k in range(4)]
    assert undisturbed(turns) == (turns, [])


def runs(monkeypatch: pytest.MonkeyPatch, *disturbed: tuple[float | None, float | None]):
    """Make runs during which that share was stolen and arithmetic took so long: the one that counts, and its facts."""
    made, left = [], list(disturbed)
    monkeypatch.setattr(measuring, "Watched", lambda: SimpleNamespace(end=lambda: left.pop(0)))

    def execute(scenario):
        made.append(SimpleNamespace(number=len(made)))
        return made[-1]

    result, about = measuring._Undisturbed(execute).run(None, measuring.AGAIN)
    assert len(made) == about["made"]
    return result.number, about["stolen"], about["made"]


def test_a_disturbed_run_is_made_again(monkeypatch):
    assert runs(monkeypatch, (0.3, 1.0), (0.01, 1.0)) == (1, 0.01, 2)


def test_the_least_disturbed_of_three_counts(monkeypatch):
    assert runs(monkeypatch, (0.3, 1.0), (0.1, 1.0), (0.2, 1.0)) == (1, 0.1, 3)


def test_a_quiet_run_is_made_once(monkeypatch):
    assert runs(monkeypatch, (0.005, 1.0)) == (0, 0.005, 1)


def test_what_the_system_does_not_tell_disturbs_nothing(monkeypatch):
    assert runs(monkeypatch, (None, None)) == (0, None, 1)


def test_slow_cores_disturb_as_stolen_time_does(monkeypatch):
    """A run on cores 30 % slower than a run before was on is made again."""
    left = [(0.0, 1.0), (0.0, 1.3), (0.0, 1.1)]
    monkeypatch.setattr(measuring, "Watched", lambda: SimpleNamespace(end=lambda: left.pop(0)))
    undisturbed_runs = measuring._Undisturbed(lambda scenario: SimpleNamespace())
    assert undisturbed_runs.run(None, 2)[1]["made"] == 1
    assert undisturbed_runs.run(None, 2)[1] == {"stolen": 0.0, "core": 1.1, "made": 2}


def test_turns_on_slow_cores_are_left_out():
    turns = [Turn("links", k, core=core) for k, core in enumerate([1.0, 1.5, 1.1, 1.02])]
    assert [one.round for one in undisturbed(turns)[0]] == [0, 2, 3]


def test_a_watch_tells_of_time_and_cores():
    watched = Watched()
    stolen, core = watched.end()
    assert stolen is None  # it was too short
    assert core is None or 1e-5 < core < 1.0
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    core_seconds()
    assert allowed is None or os.sched_getaffinity(0) == allowed
