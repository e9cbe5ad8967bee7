"""Stragglers: whom a rule slows, by how much, from when until when; in virtual time and in paced real runs."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest

import calibration
from calibration.executor.pool import Pool
from parasim import Result, load, simulate
from parasim.cluster.hosts import Device
from parasim.errors import ScenarioError
from parasim.program.draws import Draws
from parasim.program.ops import Kernel
from parasim.scenario import from_document
from parasim.scenario.schema import schema
from parasim.simulation.noise import LogNormal, NoNoise
from parasim.simulation.pace import modelled
from parasim.simulation.stragglers import Straggler
from tests.test_scenario_schema import accepts

HERE = Path(__file__).parent
SCENARIO = HERE / "real_scenario.yaml"
FILE = """
name: seconds
workload:
  model: {kind: layers, layers: [{parameters: 1, forward_flops: 1.0e9}], needs_input_gradient: true}
  batch_size: 1
cluster:
  topology: {kind: star, hosts: 3}
  device: {flops: 1 GFLOP/s, memory: 1 GB, memory_bandwidth: 1 EB/s}
  link: {bandwidth: 1 EB/s}
  stragglers: STRAGGLERS
scheme: SCHEME
run: {steps: 4}
"""
"""A step is a forward pass of 1 s and a backward pass of 2 s; the rest takes no time to speak of."""

SEQUENTIAL = "{kind: sequential, workers: 1}"
TOGETHER = "{kind: allreduce, workers: 3}"


def run(folder: Path, stragglers: str, scheme: str = SEQUENTIAL, *overrides: str) -> Result:
    path = folder / "seconds.yaml"
    path.write_text(FILE.replace("STRAGGLERS", stragglers).replace("SCHEME", scheme))
    return simulate(load(path, overrides))


def passes(result: Result, rank: int = 0) -> list[tuple[float, float]]:
    """Start and duration of the rank's forward and backward passes."""
    rows = [row for row in result.trace if row.rank == rank and row.label in ("forward", "backward")]
    return [(row.t_start, row.t_end - row.t_start) for row in rows]


def durations(result: Result, rank: int) -> list[float]:
    return [taken for _, taken in passes(result, rank)]


# by hand -------------------------------------------------------------------------------------------------------------
def test_without_rules_a_step_takes_three_seconds(tmp_path: Path) -> None:
    assert run(tmp_path, "[]").summary["seconds"] == pytest.approx(12.0)


def test_from_a_time_until_another(tmp_path: Path) -> None:
    """Kernels are slowed by what holds when they start: the backward pass of 8 s starts before 8.5 s, and is not."""
    slowed = run(tmp_path, "[{workers: [0], slowdown: 2, from: 3 s, until: 9.5 s}]")
    expected = [(0, 1), (1, 2), (3, 2), (5, 4), (9, 2), (11, 2), (13, 1), (14, 2)]
    assert passes(slowed) == [pytest.approx(pair, abs=1e-6) for pair in expected]
    assert slowed.summary["seconds"] == pytest.approx(16.0)


def test_from_a_step_until_another(tmp_path: Path) -> None:
    slowed = run(tmp_path, "[{workers: [0], slowdown: 3, from_step: 1, until_step: 3}]")
    assert durations(slowed, 0) == pytest.approx([1, 2, 3, 6, 3, 6, 1, 2])


def test_all_conditions_of_a_rule_must_hold(tmp_path: Path) -> None:
    slowed = run(tmp_path, "[{workers: all, slowdown: 3, from_step: 1, until: 7 s}]")
    assert durations(slowed, 0) == pytest.approx([1, 2, 3, 6, 1, 2, 1, 2])


def test_rules_multiply_and_so_do_speeds(tmp_path: Path) -> None:
    rules = "[{workers: all, slowdown: 3}, {workers: [0], slowdown: 2, from_step: 2}]"
    slowed = run(tmp_path, rules, SEQUENTIAL, "cluster.speeds={0: 2}")
    assert durations(slowed, 0) == pytest.approx([1.5, 3, 1.5, 3, 3, 6, 3, 6])


def test_a_synchronous_scheme_waits_for_its_straggler(tmp_path: Path) -> None:
    """Steps of 3 s, from step 1 on of 6 s, because worker 2 takes that long; the others wait half of the time."""
    slowed = run(tmp_path, "[{workers: [2], slowdown: 2, from_step: 1}]", TOGETHER)
    assert slowed.summary["seconds"] == pytest.approx(3 + 3 * 6)
    for rank, factor in enumerate((1, 1, 2)):
        assert durations(slowed, rank) == pytest.approx([1, 2, *[factor, 2 * factor] * 3])


def test_kernels_of_no_step_count_as_of_the_step_reached_last() -> None:
    rule = Straggler(slowdown=10.0, from_step=2, until_step=4)
    pace = modelled(Device("d", 1.0), NoNoise(), Draws(0), stragglers=(rule,))

    def seconds(label: str, step: int = -1) -> float:
        return pace(Kernel(label, flops=1.0, step=step), 0.0)

    assert [seconds("apply"), seconds("forward", 1), seconds("apply")] == [1, 1, 1]
    assert [seconds("forward", 2), seconds("apply"), seconds("forward", 3), seconds("apply")] == [10, 10, 10, 10]
    assert [seconds("late", 1), seconds("apply")] == [1, 10]
    assert [seconds("forward", 4), seconds("apply")] == [1, 1]


def test_other_roles_are_slowed_by_role_and_index(tmp_path: Path) -> None:
    """At 1 FLOP/s a worker takes 3 s, then the server 2 s for the 2 FLOP of its update: 10 s where it is slow."""
    slow_device = ["workload.model.layers=[{parameters: 1, forward_flops: 1}]", "cluster.device.flops=1 FLOP/s"]
    rule = "[{role: server, actors: [0], slowdown: 5, from: 10 s}]"
    result = run(tmp_path, rule, "{kind: downpour, workers: 1, servers: 1}", *slow_device)
    updates = [(row.t_start, row.t_end - row.t_start) for row in result.trace if row.label == "update"]
    assert updates == [pytest.approx(pair) for pair in [(3, 2), (8, 2), (13, 10), (26, 10)]]
    assert durations(result, 0) == pytest.approx([1, 2] * 4)


# laws ----------------------------------------------------------------------------------------------------------------
LAW = "{workers: [1], noise: {kind: mixture, probability: 0.2, slowdown: 6}}"


def test_a_law_leaves_the_mean(tmp_path: Path) -> None:
    """Mixture: 0.5 or 3 times as long, in one of five; half a variance of 1 (probability 0.2, mean 2)."""
    taken = durations(run(tmp_path, f"[{LAW.replace('[1]', 'all')}]", SEQUENTIAL, "run.steps=3000"), 0)
    for once, passed in ((1.0, taken[::2]), (2.0, taken[1::2])):
        factors = [value / once for value in passed]
        assert {round(factor, 6) for factor in factors} == {0.5, 3.0}
        error = math.sqrt(0.2 * 0.8 * 2.5**2 / len(factors))
        assert abs(statistics.fmean(factors) - 1.0) < 4 * error


def test_a_rule_changes_nobody_elses_draws(tmp_path: Path) -> None:
    """Common random numbers: kernels that the rule does not concern take the same time, whatever rules there are."""
    noise = "cluster.noise={kind: lognormal, sigma: 0.5}"
    without = run(tmp_path, "[]", TOGETHER, noise)
    within = run(tmp_path, f"[{LAW}]", TOGETHER, noise)
    for rank in (0, 2):
        assert durations(within, rank) == pytest.approx(durations(without, rank), rel=1e-12)
    ratios = [a / b for a, b in zip(durations(within, 1), durations(without, 1), strict=True)]
    assert all(ratio == pytest.approx(0.5) or ratio == pytest.approx(3.0) for ratio in ratios)
    for more in ("{workers: [0], slowdown: 2}", "{workers: all, noise: {kind: gamma, shape: 2}, from: 1 h}"):
        assert durations(run(tmp_path, f"[{more}, {LAW}]", TOGETHER, noise), 1) == pytest.approx(durations(within, 1))


def factors(*rules: str, index: int = 0) -> list[float]:
    """Bits of the factors that these rules of a file give the kernels of a worker."""
    text = FILE.replace("STRAGGLERS", f"[{', '.join(rules)}]").replace("SCHEME", TOGETHER)
    read = from_document(_plain(text)).cluster.stragglers
    own = [rule for rule in read if rule.concerns("worker", index)]
    pace = modelled(Device("d", 1.0), LogNormal(0.3), Draws(3, "worker", index), stragglers=own)
    return [pace(Kernel("forward", flops=1.0, step=step), float(step)) for step in range(50)]


def _plain(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(text)


def test_other_workers_kernels_are_the_same_to_the_bit() -> None:
    assert factors(LAW, index=0) == factors(index=0)
    assert factors(LAW, index=1) != factors(index=1)


def test_rules_of_random_laws_draw_independently_of_each_other_and_of_the_noise() -> None:
    law = "{workers: all, noise: {kind: lognormal, sigma: 0.3}}"
    noise, once, twice = factors(), factors(law), factors(law, law)
    first = [math.log(b / a) for a, b in zip(noise, once, strict=True)]
    second = [math.log(b / a) for a, b in zip(once, twice, strict=True)]
    of_noise = [math.log(value) for value in noise]
    for one, other in ((first, second), (first, of_noise), (second, of_noise)):
        assert abs(statistics.correlation(one, other)) < 4 / math.sqrt(50)
    assert statistics.stdev(first) == pytest.approx(0.3, rel=4 / math.sqrt(100))


def test_branches_of_draws_are_apart_and_repeatable() -> None:
    draws = Draws(1, "worker", 2)
    names = ["", "a", "b"]
    values = {draws.branch(name).uniform("noise", 3) for name in names} | {draws.uniform("noise", 3)}
    assert len(values) == 4
    assert draws.branch("a").uniform("noise", 3) == Draws(1, "worker", 2).branch("a").uniform("noise", 3)
    assert draws.branch("a").uniform("noise", 3) != Draws(1, "worker", 3).branch("a").uniform("noise", 3)


def test_coupled_collectives_are_not_chosen_where_reductions_may_straggle(tmp_path: Path) -> None:
    """`auto` couples what it knows the time of; a rule on the members' kernels counts as noise does."""
    from parasim.simulation.engine import Engine
    from parasim.study.build import build_cast, build_context, stragglers_of_ranks
    from parasim.trace.table import Trace

    path = tmp_path / "together.yaml"
    path.write_text(FILE.replace("STRAGGLERS", "[{workers: [1], slowdown: 2}]").replace("SCHEME", TOGETHER))
    scenario = load(path)
    cast = build_cast(scenario)
    rules = stragglers_of_ranks(scenario, cast)
    assert set(rules) == {1}
    contexts = [build_context(scenario, cast, rank, None) for rank in range(3)]
    seen = [
        Engine(
            scenario.cluster.build(), scenario.placement, cast, contexts, Trace(), stragglers=given, fidelity="auto"
        )._coupling
        for given in (rules, None)
    ]
    assert [coupling is not None and coupling._noisy for coupling in seen] == [True, False]


# the file ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            "[{workers: [3], slowdown: 2}]",
            "10:27: cluster.stragglers.0.workers.0: there is no worker 3 (workers: 0..2)",
        ),
        (
            "[{workers: [0, 1, 0], slowdown: 2}]",
            "10:33: cluster.stragglers.0.workers.2: 0 is listed twice: leave one out",
        ),
        ("[{workers: [-1], slowdown: 2}]", "cluster.stragglers.0.workers.0: -1 is no index: write a whole number "),
        ("[{workers: [true], slowdown: 2}]", "cluster.stragglers.0.workers.0: True is no index: "),
        ("[{workers: [], slowdown: 2}]", "cluster.stragglers.0: slows nobody: list one or more of role worker, or "),
        ("[{workers: 2, slowdown: 2}]", "cluster.stragglers.0.workers: 2 is no list of indices: write [3], or all"),
        ("[{slowdown: 2}]", "cluster.stragglers.0: says not whom it slows: write workers: [3], or workers: all"),
        ("[{workers: all}]", "cluster.stragglers.0: has neither slowdown nor noise: write slowdown: 2, or noise: {"),
        (
            "[{workers: all, slowdown: 2, noise: {kind: none}}]",
            "cluster.stragglers.0: has both slowdown and noise: write slowdown: 2, or noise: {kind: ",
        ),
        ("[{workers: all, slowdown: 0.9}]", "cluster.stragglers.0.slowdown: 0.9 must be at least 1"),
        ("[{workers: all, slowdown: 2, from: 2 s, until: 2 s}]", "holds never: from 2 s, until 2 s"),
        ("[{workers: all, slowdown: 2, from_step: 5, until_step: 5}]", "holds never: from_step 5, until_step 5"),
        ("[{workers: all, slowdown: 2, from_step: 4}]", "0.from_step: 4 is never reached (steps of the run: 0..3)"),
        ("[{workers: all, slowdown: 2, from: -1 s}]", "cluster.stragglers.0.from: '-1 s' is negative"),
        ("[{workers: all, slowdown: 2, from: 3}]", "cluster.stragglers.0.from: 3 has no unit"),
        ("[{workers: all, slowdown: 2, form: 3 s}]", "cluster.stragglers.0.form: unknown key (did you mean 'from'?)"),
        ("[{workers: all, noise: {kind: mixtur}}]", "0.noise.kind: unknown noise 'mixtur' (did you mean 'mixture'?)"),
        ("[{workers: all, noise: {kind: gamma, shape: 0}}]", "0.noise.shape: 0 must be at least 0.01"),
        ("[{workers: all, noise: {kind: gamma, sigma: 1}}]", "0.noise.sigma: unknown key of noise 'gamma'"),
        ("[{role: server, actors: [0], slowdown: 2}]", "0.role: no role 'server' in this scheme (there are: worker)"),
        ("[{role: worker, actors: [3], slowdown: 2}]", "0.actors.0: there is no worker 3 (workers: 0..2)"),
        ("[{role: server, slowdown: 2}]", "0.role: needs actors beside it: write {role: server, actors: [0]}"),
        ("[{actors: [0], slowdown: 2}]", "0.actors: needs role beside it: write {role: server, actors: [0]}"),
        ("[{workers: [0], role: server, slowdown: 2}]", "0.role: is given beside workers: keep one of the two"),
        ("[{role: 3, actors: all, slowdown: 2}]", "0.role: 3 is no role: write role: server"),
        (
            "[{role: server, actors: all, slowdown: 2, until_step: 3}]",
            "0.until_step: only workers have steps, not role 'server': write from: or until:",
        ),
        ("{workers: all}", "cluster.stragglers: is {'workers': 'all'}, no list: write stragglers: [{workers: [3], "),
        ("[5]", "cluster.stragglers.0: is 5, no rule: write {workers: [3], slowdown: 2}"),
    ],
)
def test_errors_name_the_place_and_the_remedy(tmp_path: Path, rules: str, message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        run(tmp_path, rules, TOGETHER)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_object_is_held_to_the_same() -> None:
    with pytest.raises(ScenarioError, match=r"straggler: slowdown must be at least 1, got 0\.5"):
        Straggler(slowdown=0.5)
    with pytest.raises(ScenarioError, match="has neither"):
        Straggler()
    with pytest.raises(ScenarioError, match="straggler: from_ must be at least 0, got -1"):
        Straggler(slowdown=2.0, from_=-1.0)


def test_rules_survive_the_way_to_the_ranks(tmp_path: Path) -> None:
    path = tmp_path / "seconds.yaml"
    path.write_text(FILE.replace("STRAGGLERS", f"[{LAW}, {{workers: all, slowdown: 2}}]").replace("SCHEME", TOGETHER))
    scenario = load(path)
    assert from_document(scenario.document).cluster.stragglers == scenario.cluster.stragglers
    assert [rule.draws for rule in scenario.cluster.stragglers] == ["straggler/mixture/0", "straggler"]


def test_the_schema_takes_what_the_loader_takes() -> None:
    rule = schema()["properties"]["cluster"]["properties"]["stragglers"]
    window = {"from": "10 s", "until": "20 s", "from_step": 1, "until_step": 3}
    assert accepts(rule, [{"workers": [3], "slowdown": 2, **window}])
    assert accepts(rule, [{"role": "server", "actors": "all", "noise": {"kind": "gamma", "shape": 2}}])
    assert not accepts(rule, [{"workers": "some", "slowdown": 2}])
    for bad in ({"workers": [-1]}, {"slowdown": 0.5}, {"noise": {"kind": "gama"}}, {"from_": "1 s"}, {"until_step": 0}):
        assert not accepts(rule, [bad]), bad


# for real ------------------------------------------------------------------------------------------------------------
@pytest.mark.real
def test_paced_ranks_straggle_as_simulated_ones_do(pool: Pool) -> None:
    """A slowed compute takes three times the modelled time of the others, which take that, on any machine."""
    slowed, never = "{workers: [1], slowdown: 3, from_step: 2}", "{workers: [0], slowdown: 3, from: 1000000 min}"
    rules = f"cluster.stragglers=[{slowed}, {never}]"
    scenario = load(
        SCENARIO,
        [
            *("run.learn=false", "execute.compute=paced", "run.steps=5", "cluster.noise={kind: none}", rules),
            *("workload.batch_size=512", "cluster.device.flops=100 MFLOP/s"),
        ],
    )
    computes = [row for row in calibration.execute(scenario, pool=pool).trace if row.label == "backward"]
    plain = min(row.t_end - row.t_start for row in simulate(scenario).trace if row.label == "backward")
    taken = {(row.rank, row.step): (row.t_end - row.t_start) / plain for row in computes}
    expected = {(rank, step): 3 if rank == 1 and step >= 2 else 1 for rank in (0, 1) for step in range(5)}
    assert taken == pytest.approx(expected, rel=1e-9)
