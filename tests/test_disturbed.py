"""Turns and runs that the hypervisor disturbs: left out, or made again, by what it took alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from calibration.checking import measuring
from calibration.fitting.checks import undisturbed
from calibration.fitting.session import Turn
from calibration.probes.record import Observation
from calibration.probes.state import Ticks


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


def test_what_few_rounds_time_stays():
    """The second half of the rounds times another kind, and was disturbed."""
    seen = {kind: Observation("verbs", kind, {"nbytes": 8, "cores": 1}, 1.0, 0, 1.0) for kind in ("copy", "add")}
    turns = [Turn("verbs", k, (seen["copy" if k < 4 else "add"],), stolen=0.5 if k > 3 else 0.0) for k in range(8)]
    kept, _ = undisturbed(turns)
    assert [one.round for one in kept] == [0, 1, 2, 3, 4, 5]


def test_without_word_from_the_system_all_stay():
    turns = [turn("links", k, None) for k in range(4)]
    assert undisturbed(turns) == (turns, [])


def runs(monkeypatch: pytest.MonkeyPatch, stolen: list[int], ticks: int = 1000):
    """Execute runs during which so many of the ticks are stolen; replies with the one that counts, and its facts."""
    reads, made = [], []
    total = taken = 0
    for share in stolen:
        reads.append(Ticks(total, 0, taken))
        total, taken = total + ticks, taken + share
        reads.append(Ticks(total, 0, taken))
    monkeypatch.setattr(measuring, "read_ticks", lambda: reads.pop(0))

    def execute(scenario):
        made.append(SimpleNamespace(number=len(made)))
        return made[-1]

    result, share, times = measuring._undisturbed(None, execute, measuring.AGAIN)
    return result.number, share, times


def test_a_disturbed_run_is_made_again(monkeypatch):
    assert runs(monkeypatch, [300, 10]) == (1, 0.01, 2)


def test_the_least_disturbed_of_three_counts(monkeypatch):
    assert runs(monkeypatch, [300, 100, 200]) == (1, 0.1, 3)


def test_a_quiet_run_is_made_once(monkeypatch):
    assert runs(monkeypatch, [5]) == (0, 0.005, 1)


def test_short_runs_say_nothing(monkeypatch):
    assert runs(monkeypatch, [30], ticks=50) == (0, 0.6, 1)
