"""Prediction intervals: what is drawn anew in each replica, and what is not."""

import json
from dataclasses import replace

import pytest

from parasim.cli import main
from parasim.cluster.profile_file import save_profile
from parasim.program.draws import Draws
from parasim.program.ops import Kernel
from parasim.scenario import load
from parasim.simulation.noise import LogNormal, NoNoise
from parasim.study.replicas import drawn, interval_of, intervals, replica_law, replica_of
from parasim.study.simulate import simulate
from tests.crosscheck_setup import profile, scenario

KERNEL = Kernel("forward", "forward", flops=1e6, step=3)
NOISY = {"noise": {"kind": "lognormal", "sigma": 0.3}}
FILE = """
name: predicted
workload: {model: {kind: mlp, width: 32, depth: 3}, batch_size: 16, data: {kind: digits}}
cluster: {CLUSTER}
scheme: {kind: allreduce, workers: 2}
run: {steps: 5, seed: 1}
variants:
  ring: {}
  gossip: {scheme: {kind: adpsgd, workers: 2}}
"""
PLAIN = """
  topology: {kind: star, hosts: 2}
  device: {flops: 1 GFLOP/s, memory: 1 GiB, memory_bandwidth: 5 GB/s}
  link: {bandwidth: 1 Gbit/s, latency: 50 us}
"""


def times(made):
    """Seconds of the workers' computes by index, step and label."""
    rows = simulate(replace(made, run=replace(made.run, trace="rows"))).trace.rows
    found = {}
    for row in rows:
        if row.op == "compute" and row.step >= 0:
            key = row.index, row.step, row.label
            found[key] = found.get(key, 0.0) + row.t_end - row.t_start
    return found


def test_each_replica_has_draws_of_its_own_and_no_noise_stays_none():
    law, draws = LogNormal(0.5), Draws(7, "worker", 0)
    factors = {replica_law(law, number).factor(draws, KERNEL, 0) for number in range(50)}
    assert len(factors) == 50
    assert law.factor(draws, KERNEL, 0) not in factors
    assert replica_law(law, 3).factor(draws, KERNEL, 0) == replica_law(law, 3).factor(Draws(7, "worker", 0), KERNEL, 0)
    none = NoNoise()
    assert replica_law(none, 3) is none


def test_schemes_meet_the_same_noise_in_the_same_replica():
    ring, gossip = (
        replica_of(scenario({"kind": kind, "workers": 3}, steps=4, **NOISY), 5) for kind in ("allreduce", "adpsgd")
    )
    first, second = times(ring), times(gossip)
    shared = {key for key in first.keys() & second.keys() if key[2] in {"forward", "backward"}}
    assert len(shared) >= 3 * 4 * 2
    for key in shared:
        assert first[key] == pytest.approx(second[key], rel=1e-9)
    other = times(replica_of(scenario({"kind": "allreduce", "workers": 3}, steps=4, **NOISY), 6))
    assert all(first[key] != pytest.approx(other[key], rel=1e-9) for key in shared)


def test_noise_of_stragglers_is_drawn_anew_constants_are_not():
    rules = [{"workers": [0], "noise": {"kind": "lognormal", "sigma": 0.5}}, {"workers": [1], "slowdown": 3}]
    made = scenario({"kind": "allreduce", "workers": 2}, steps=3, stragglers=rules)
    plain, one, two = times(made), times(replica_of(made, 1)), times(replica_of(made, 2))
    assert len({plain[0, 1, "forward"], one[0, 1, "forward"], two[0, 1, "forward"]}) == 3
    assert plain[1, 1, "forward"] == pytest.approx(one[1, 1, "forward"])


def test_profiles_are_drawn_by_seed_number_and_name():
    bench = profile()
    assert drawn(bench, 1, 2).flops == drawn(bench, 1, 2).flops
    values = {drawn(made, seed, number).flops.value
              for made in (bench, replace(bench, name="other")) for seed in (1, 2) for number in (1, 2)}  # fmt: skip
    assert len(values) == 8


def test_the_first_replica_has_the_numbers_of_the_profile_as_they_are():
    bench, first = profile(), drawn(profile(), 1, 0)
    assert (first.flops, first.handling, first.transports) == (bench.flops, bench.handling, bench.transports)
    assert bench.drift
    assert not first.drift


@pytest.mark.usefixtures("in_this_process")
def test_intervals_follow_the_noise():
    made = [scenario({"kind": "allreduce", "workers": 2}, steps=10, noise={"kind": "lognormal", "sigma": sigma})
            for sigma in (0.05, 0.4)]  # fmt: skip
    found = [intervals(one, [simulate(replica_of(one, i)).summary for i in range(20)]) for one in made]
    little, much = (entry["seconds_per_step"] for entry in found)
    assert much["high"] / much["low"] > little["high"] / little["low"] > 1
    assert found[0]["contains"] == ["noise of computes"]
    assert found[0]["replicas"] == 20
    assert found[0]["staleness"]["mean"] == {"median": 0.0, "low": 0.0, "high": 0.0}
    shares = found[0]["shares"]
    assert sum(shares[name]["median"] for name in shares) == pytest.approx(1.0, abs=0.01)


@pytest.mark.usefixtures("in_this_process")
def test_the_verb_prints_them_and_their_json(tmp_path, capsys):
    path = tmp_path / "predicted.yaml"
    save_profile(profile(), tmp_path / "bench.json")
    path.write_text(FILE.replace("{CLUSTER}", "{profile: bench.json}"))
    assert main(["run", str(path), "--replicas", "20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["variant"] for one in found] == ["ring", "gossip"]
    for one in found:
        entry = one["intervals"]
        assert entry["contains"] == ["the profile's numbers", "noise of computes", "noise of message handling"]
        assert entry["level"] == 0.9
        assert entry["seconds_per_step"]["low"] < entry["seconds_per_step"]["high"]
        assert one["seconds_per_step"] == pytest.approx(entry["seconds_per_step"]["median"], rel=0.1)
    assert main(["run", str(path), "--replicas", "20", "--variant", "ring"]) == 0
    text = capsys.readouterr().out
    assert "Intervals: 20 replicas" in text
    assert "drawn anew in each replica: the profile's numbers and noise of computes and" in text


def test_without_a_profile_and_noise_there_is_nothing_to_draw(tmp_path, capsys):
    path = tmp_path / "predicted.yaml"
    path.write_text(FILE.replace("{CLUSTER}", PLAIN))
    assert main(["run", str(path), "--replicas", "3", "--variant", "ring"]) == 0
    assert "nothing: no noise, no profile" in capsys.readouterr().out
    assert "intervals" not in load(path, variant="ring").document


@pytest.mark.parametrize(
    ("words", "what"), [(["1"], "1 is no number of replicas"), (["5", "--replay", "x"], "--replay")]
)
def test_wrong_words(tmp_path, capsys, words, what):
    path = tmp_path / "predicted.yaml"
    path.write_text(FILE.replace("{CLUSTER}", PLAIN))
    assert main(["run", str(path), "--variant", "ring", "--replicas", *words]) == 2
    message = capsys.readouterr().err
    assert what in message
    assert message.count("\n") == 1


@pytest.mark.usefixtures("in_this_process")
def test_drawn_intervals_hold_what_they_say():
    """The numbers of a profile, drawn often, lie in their intervals as often as these say."""
    bench = profile(doubt=0.1, drift=0.0)
    values = [drawn(bench, 0, number).handling["post"].value for number in range(2000)]
    held = bench.handling["post"]
    inside = sum(held.low <= value <= held.high for value in values) / len(values)
    assert inside == pytest.approx(0.9, abs=4 * (0.9 * 0.1 / 2000) ** 0.5)
    assert interval_of(values)["low"] == pytest.approx(held.low, rel=0.02)
