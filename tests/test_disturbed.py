"""Turns and runs that the hypervisor disturbs: left out, or made again, by what it took alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from calibration.checking import measuring
from calibration.executor.gauge import Gauge, Reference
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


def test_what_was_timed_on_a_slow_core_goes_where_other_rounds_stand_in_for_it():
    def seen(number: int, slow: bool) -> Turn:
        return Turn("verbs", number, (Observation("verbs", "copy", {"nbytes": 8}, 1.0, number, 1.0, slow),))

    kept, flags = undisturbed([seen(0, False), seen(1, True), seen(2, False)])
    assert [len(one.observations) for one in kept] == [1, 0, 1]
    assert not flags
    kept, flags = undisturbed([seen(0, False), seen(1, True), seen(2, True)])
    assert [len(one.observations) for one in kept] == [1, 1, 1]
    assert "during 2 of 3 timings" in flags[0]


def test_one_round_does_not_stand_in_for_all_others_however_often_it_timed_the_same():
    """Intervals come from rounds."""
    times = [Observation("verbs", "copy", {"nbytes": 8}, 1.0, k // 2, 1.0, k > 1) for k in range(6)]
    turns = [Turn("verbs", k, tuple(times[2 * k : 2 * k + 2])) for k in range(3)]
    assert undisturbed(turns)[0] == turns


def runs(monkeypatch: pytest.MonkeyPatch, stolen: list[int], ticks: int = 1000, looks: list[list[float]] | None = None):
    """Execute runs during which so many of the ticks are stolen, and the looks at the cores take so long.

    Replies with the one that counts, and its facts.
    """
    reads, made = [], []
    total = taken = 0
    for share in stolen:
        reads.append(Ticks(total, 0, taken))
        total, taken = total + ticks, taken + share
        reads.append(Ticks(total, 0, taken))
    monkeypatch.setattr(measuring, "read_ticks", lambda: reads.pop(0))

    def execute(scenario):
        cores = [[[0.01 * k, seconds] for k, seconds in enumerate(looks[len(made)])]] if looks else []
        made.append(SimpleNamespace(number=len(made), record=SimpleNamespace(meta={"cores": cores})))
        return made[-1]

    result, about = measuring._undisturbed(None, execute, measuring.AGAIN, Reference())
    return result.number, about


def test_a_disturbed_run_is_made_again(monkeypatch):
    assert runs(monkeypatch, [300, 10]) == (1, {"stolen": 0.01, "slow": None, "made": 2})


def test_the_least_disturbed_counts(monkeypatch):
    stolen = [300, 100, 200, 150, 400]
    assert runs(monkeypatch, stolen) == (1, {"stolen": 0.1, "slow": None, "made": 1 + measuring.AGAIN})


def test_a_quiet_run_is_made_once(monkeypatch):
    assert runs(monkeypatch, [5]) == (0, {"stolen": 0.005, "slow": None, "made": 1})


def test_short_runs_say_nothing_of_stolen_time(monkeypatch):
    assert runs(monkeypatch, [30], ticks=50) == (0, {"stolen": None, "slow": None, "made": 1})


def test_a_run_on_slowed_cores_is_made_again(monkeypatch):
    fast, slow = [1e-5] * 10, [1e-5] * 5 + [2e-5] * 5
    number, about = runs(monkeypatch, [0, 0], looks=[slow, fast])
    assert (number, about["slow"], about["made"]) == (1, 0.0, 2)


def test_windows_of_slow_cores_reach_from_look_to_look():
    reference = Reference()
    samples = [[[0.0, 1e-5], [0.1, 1e-5], [0.2, 2e-5], [0.3, 1e-5], [0.4, 1e-5]], [[0.35, 1.9e-5], [0.5, 1.1e-5]]]
    reference.learn(samples)
    assert reference.best == 1e-5
    assert reference.slow_share(samples) == pytest.approx(2 / 7)
    windows = reference.slow_windows(samples)
    assert (windows.starts, windows.ends) == ([0.0], [0.5])
    only = reference.slow_windows(samples[:1])
    assert (only.starts, only.ends) == ([0.1], [0.3])
    assert only.touch(0.25, 0.26)
    assert only.touch(0.0, 0.15)
    assert not only.touch(0.31, 0.4)
    assert not only.touch(0.0, 0.09)


def test_few_looks_say_nothing():
    reference = Reference()
    reference.learn([[[0.0, 1e-5]]])
    assert reference.best == float("inf")
    assert reference.slow_share([[[0.0, 1e-5]]]) is None


def test_a_gauge_looks_now_and_then_only():
    now = iter([0.0, 0.001, 0.005, 0.02, 0.021])
    gauge = Gauge(lambda: next(now))
    for _ in range(3):
        gauge.look()
    assert [moment for moment, _ in gauge.samples] == [0.0, 0.02]
    assert all(0.0 < seconds < 1.0 for _, seconds in gauge.samples)
