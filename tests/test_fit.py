"""From journals to profiles: known truth is found within the intervals, bad data are flagged or refused."""

import json
import math
import statistics

import numpy as np
import pytest

from calibration.calibrate import Options, calibrate, refit
from calibration.fit import fit
from calibration.fitting.checks import Agreement, agreement, busy_flags, drift_flags, numbers_of, wide_flags
from calibration.fitting.jackknife import jackknife
from calibration.fitting.session import Turn, read_journal, suffixed
from calibration.probes.record import Observation, Task
from parasim.cli import main
from parasim.cluster.profile import NORMAL_90, Number, plain
from parasim.cluster.profile_file import load_profile
from parasim.errors import CalibrationError
from parasim.report.profile import agreement_text
from tests.calibrations import BANDWIDTH, FLOPS, LAUNCH, QUICK, layers, peaks
from tests.profiles import number, profile

ABOUT = {"machine": {"cores": 2, "memory": 8e9}, "seed": 0}


def turns(seed=0, rounds=6, probes=(("peaks", peaks), ("layers", layers)), slower=lambda number: 1.0):
    """What probes find in some rounds; `slower` says how many times as long all of a round takes."""
    found = []
    for round_ in range(rounds):
        for place, (name, probe) in enumerate(probes):
            task = Task(round_, 1.0, seed=1000 * seed + 10 * round_ + place)
            seen = [
                Observation(one.probe, one.kind, one.parameters, one.seconds * slower(round_), round_, one.at)
                for one in probe(task)
            ]
            found.append(Turn(name, round_, tuple(seen), seconds=0.5, busy=0.0, stolen=0.0, load=0.1))
    return found


def jitter(law):
    """A probe of single times with a law of noise."""

    def probe(task):
        generator = np.random.default_rng([task.seed, 3])
        for samples in (1.0, 8.0):
            about = {"signature": "b/forward", "size": samples, "flops": 1e6, "nbytes": 0.0, "cores": 1}
            for factor in law(generator, 60):
                yield Observation("contention", "block/single", about, 1e-3 * samples * factor, task.round, 1e9)
            yield Observation("contention", "block", about, 1e-3 * samples, task.round, 1e9)

    return probe


def test_what_was_put_in_is_found_within_the_intervals():
    found = fit(ABOUT, turns(), "known")
    assert found.flops.low < FLOPS < found.flops.high
    assert found.memory_bandwidth.low < BANDWIDTH < found.memory_bandwidth.high
    curve = found.kernels["linear/forward"]
    for size, seconds in zip(curve.sizes, curve.seconds, strict=True):
        truth = LAUNCH + 2 * size * found.flops.value / FLOPS
        assert seconds.low < truth < seconds.high
    assert found.drift["compute"].value > 0
    assert found.provenance["warnings"] == []


def test_nine_of_ten_intervals_hold_the_truth():
    """Rounds have a factor in common, so single timings are not independent: whole rounds are what is drawn."""
    inside = {"flops": 0, "memory_bandwidth": 0}
    sets = 400
    truth = {"flops": FLOPS, "memory_bandwidth": BANDWIDTH}
    for seed in range(sets):
        generator = np.random.default_rng([seed, 11])
        common = generator.normal(0, 0.03, 6)
        found = fit(ABOUT, turns(seed, probes=(("peaks", _peaks(common, generator)),)), "known")
        for name in inside:
            inside[name] += getattr(found, name).low <= truth[name] <= getattr(found, name).high
    error = math.sqrt(0.9 * 0.1 / sets)
    for name, times in inside.items():
        assert abs(times / sets - 0.9) < 4 * error, name


def _peaks(common, generator):
    def probe(task):
        for kind, about, seconds in (
            ("flops", {"flops": 1e9, "nbytes": 0.0}, 1e9 / FLOPS),
            ("stream", {"flops": 0.0, "nbytes": 1e8}, 1e8 / BANDWIDTH),
        ):
            factor = math.exp(common[task.round] + generator.normal(0, 0.01))
            yield Observation("peaks", kind, about, seconds * factor, task.round, 1e9)

    return probe


@pytest.mark.parametrize(
    ("law", "kind", "name", "truth"),
    [
        (lambda g, n: g.lognormal(-0.5 * 0.2**2, 0.2, n), "lognormal", "sigma", 0.2),
        (lambda g, n: g.gamma(4.0, 0.25, n), "gamma", "shape", 4.0),
    ],
)
def test_laws_of_noise_are_found_with_intervals(law, kind, name, truth):
    found = fit(ABOUT, turns(probes=(("peaks", peaks), ("contention", jitter(law)))), "known")
    parameter = found.noise["compute"][name]
    assert found.noise["compute"]["kind"] == kind
    assert parameter.low < truth < parameter.high
    assert plain(found.noise["compute"]) == {"kind": kind, name: parameter.value}


def test_odd_and_even_rounds_agree_within_their_intervals(tmp_path):
    options = Options(rounds=24, keep_journal=True)
    calibrate(tmp_path / "m.json", options=options, plan=QUICK)
    journal = suffixed(tmp_path / "m.json")
    odd, even = (refit([journal], tmp_path / f"{half}.json", Options(half=half)) for half in ("odd", "even"))
    found = agreement(odd, even)
    assert found.count >= 8
    assert len(found.apart) <= 0.25 * found.count


def test_the_verb_fits_both_halves_and_says_whether_they_agree(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    calibrate("m.json", options=Options(rounds=8, keep_journal=True), plan=QUICK)
    words = ["calibrate", "--fit-only", "m.json.part", "--half", "both", "--out", "n.json"]
    assert main([*words, "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "written: n-odd.json, n-even.json\n"
    found = json.loads(shown.out)
    halves = [load_profile(f"n-{half}.json") for half in ("odd", "even")]
    assert [profile.provenance["rounds"] for profile in halves] == [[1, 3, 5, 7], [2, 4, 6, 8]]
    told = agreement(*halves)
    assert found["numbers"] == told.count > 4
    assert found["agree"] == pytest.approx(1 - len(told.apart) / told.count)
    assert found["apart"].keys() == told.apart.keys()
    assert main(words) == 0
    agree = told.count - len(told.apart)
    assert f"odd and even rounds agree in {agree} of {told.count} numbers" in capsys.readouterr().out


def test_numbers_that_are_apart_are_shown_side_by_side():
    pair = Number(1e-4, 0.9e-4, 1.1e-4, 3, "seconds"), Number(2e-4, 1.9e-4, 2.1e-4, 3, "seconds")
    rows = agreement_text(Agreement(10, {"handling.post": pair})).splitlines()
    (row,) = [row for row in rows if row.startswith("handling.post")]
    assert " ".join(row.split()) == "handling.post 100 us 90 us to 110 us 200 us 190 us to 210 us"
    assert rows[-1].startswith("odd and even rounds agree in 9 of 10 numbers (90%;")


def test_a_machine_that_differs_does_not_agree():
    one = fit(ABOUT, turns(1, rounds=12), "one")
    same = fit(ABOUT, turns(2, rounds=12), "same")
    faster = fit(ABOUT, turns(3, rounds=12, slower=lambda _: 0.7), "faster")
    assert len(agreement(one, faster).apart) > 0.75 * agreement(one, faster).count
    assert len(agreement(one, same).apart) <= 0.25 * agreement(one, same).count


def test_numbers_face_each_other_with_half_of_both_intervals():
    low, near, far = Number(1.0, 0.9, 1.1, 3), Number(1.13, 1.03, 1.2, 3), Number(1.2, 1.1, 1.3, 3)
    assert not agreement(profile(contention=(low,)), profile(contention=(near,))).apart
    assert list(agreement(profile(contention=(low,)), profile(contention=(far,))).apart) == ["contention.0"]


def test_every_number_of_a_profile_has_a_path():
    paths = [path for path, _ in numbers_of(profile())]
    assert len(set(paths)) == len(paths)
    assert {"flops", "kernels.kernel.1", "handling.post", "transports.loopback.bandwidth", "noise.compute.sigma"} <= {
        *paths
    }


# what is flagged ---------------------------------------------------------------------------------------------------
def test_a_machine_that_slows_down_is_flagged():
    slowing = turns(slower=lambda number: 1.0 + 0.04 * number)
    (flag,) = drift_flags([one for turn in slowing for one in turn.observations])
    assert flag.startswith("the last round took 1.")
    assert flag in fit(ABOUT, slowing, "m").provenance["warnings"]
    assert drift_flags([one for turn in turns() for one in turn.observations if one.kind == "flops"][:1]) == []


def test_a_busy_machine_is_flagged():
    quiet = [Turn("peaks", 0, busy=0.01, stolen=0.0), Turn("peaks", 1, busy=None, stolen=None)]
    assert busy_flags(quiet) == []
    first, second = busy_flags([*quiet, Turn("peaks", 2, busy=0.3, stolen=0.2)])
    assert first.startswith("others took up to 30% of the processors' time, over 5% in 1 of 2 turns")
    assert second.startswith("the hypervisor took up to 20%")


def test_numbers_that_the_data_do_not_tell_are_flagged():
    vague = profile(handling={"post": Number(1e-5, 1e-9, 1e-2, 3, "seconds"), "hear": number(1e-5, "seconds")})
    (flag,) = wide_flags(vague)
    assert flag.startswith("handling.post: not known to within a factor of 10")
    assert wide_flags(profile()) == []


# what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rounds", "half", "words"),
    [(0, None, "0 rounds"), (1, None, "1 rounds"), (3, "even", "1 even rounds")],
)
def test_too_few_rounds_are_refused(rounds, half, words):
    with pytest.raises(CalibrationError, match=f"{words} were measured, 2 are needed for intervals: calibrate in more"):
        fit(ABOUT, turns(rounds=rounds), "m", half)


def test_no_profile_without_peaks():
    with pytest.raises(CalibrationError, match="no timing of kind 'flops'"):
        fit(ABOUT, turns(probes=(("layers", layers),)), "m")


def test_too_few_cases_of_messages_are_refused():
    def links(task):
        about = {"nbytes": 8, "ranks": 2, "repeats": 5}
        yield Observation("links", "ping_pong", about, 1e-4, task.round, 1e9)

    with pytest.raises(CalibrationError, match="cases were timed"):
        fit(ABOUT, turns(probes=(("peaks", peaks), ("links", links))), "m")


# the jackknife -----------------------------------------------------------------------------------------------------
def test_nine_of_ten_jackknifed_intervals_hold_the_truth():
    inside, sets = 0, 1000
    for seed in range(sets):
        rounds = np.exp(np.random.default_rng(seed).normal(0, 0.1, 6))
        found = jackknife(list(rounds), lambda some: {"mean": statistics.geometric_mean(some)}, 6)["mean"]
        inside += found.low <= 1.0 <= found.high
    assert abs(inside / sets - 0.9) < 4 * math.sqrt(0.9 * 0.1 / sets)


def test_the_jackknife_of_a_mean_is_its_standard_error_times_student():
    logs = [0.0, 0.1, 0.3]
    found = jackknife(logs, lambda some: {"mean": math.exp(statistics.fmean(some))}, 3, "seconds")["mean"]
    reach = 2.9199855803537 * statistics.stdev(logs) / math.sqrt(3)
    assert found.value == pytest.approx(math.exp(statistics.fmean(logs)))
    assert math.log(found.high / found.value) == pytest.approx(reach)
    assert math.log(found.value / found.low) == pytest.approx(reach)
    assert (found.count, found.unit) == (3, "seconds")
    assert reach > NORMAL_90 * statistics.stdev(logs) / math.sqrt(3)


def test_the_jackknife_leaves_out_what_is_not_always_there_and_refuses_what_is_no_scale():
    assert jackknife([1.0, 2.0], lambda some: {"both": 1.0} if len(some) == 2 else {}, 2) == {}
    with pytest.raises(CalibrationError, match="1 rounds give no interval"):
        jackknife([1.0], lambda some: {"a": 1.0}, 1)
    with pytest.raises(CalibrationError, match="above 0, got -1"):
        jackknife([1.0, 2.0], lambda some: {"a": -1.0}, 2)


def test_a_journal_is_fitted_again_to_the_same_numbers(tmp_path):
    whole = calibrate(tmp_path / "m.json", options=Options(rounds=4, keep_journal=True), plan=QUICK)
    about, found = read_journal(suffixed(tmp_path / "m.json"))
    again = fit(about, found, "m")
    assert list(numbers_of(again)) == list(numbers_of(whole))
