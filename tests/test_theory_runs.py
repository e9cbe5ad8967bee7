"""Theory beside simulated runs: what is exact, what a scenario breaks, expected stragglers, and how it is shown."""

import copy
import json
import math

import numpy as np
import pytest

from parasim import closed_form, simulate
from parasim.cli import main
from parasim.report.theory import theory_table
from parasim.scenario import from_document
from parasim.study.theory import beside_theory, with_theory
from tests.schemes_setup import make

MODEL = {  # passes of many operations, few parameters: reductions and updates hardly count
    "kind": "layers",
    "layers": [{"parameters": 2520, "forward_flops": 5e6, "output_elements": 32, "repeat": 4}],
}
EVEN = {"kind": "layers", "layers": [{"parameters": 2520, "forward_flops": 5040.0, "output_elements": 32, "repeat": 4}]}


def changed(scenario, **sections):
    """The same with other keys in sections of its document (keys of the cluster, unless named otherwise)."""
    document = copy.deepcopy(dict(scenario.document))
    for key, value in sections.items():
        document[{"topology": "cluster"}.get(key, key)] = (
            {**document["cluster"], "topology": value} if key == "topology" else {**document.get(key, {}), **value}
        )
    return from_document(document)


def compared(scenario):
    return beside_theory(scenario, simulate(scenario).summary)


def seconds(scenario):
    found = compared(scenario)
    return found["meaning"], found["quantities"]["seconds_per_step"]["ratio"], " ".join(found["broken"])


# exact where it says so ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "hosts", "options"),
    [
        ("sequential", 1, {}),
        ("allreduce", 6, {"model": EVEN}),
        ("allreduce", 6, {"model": EVEN, "bucket_bytes": 4 * 2520, "cores": 2}),
        ("gpipe", 4, {"micro_batches": 8}),
        ("gpipe", 4, {"micro_batches": 8, "speeds": {1: 2.0, 2: 1.25}}),
        ("downpour", 2, {"workers": 1}),
    ],
)
def test_exact_forms_are_met(kind, hosts, options):
    """All but the time of downpour in a short run, whose last step has no fetch."""
    found = compared(make(kind, hosts, **options))
    assert (found["meaning"], found["broken"], found["note"]) == ("exact", [], "")
    for name, values in found["quantities"].items():
        if (kind, name) != ("downpour", "seconds_per_step"):
            assert values["ratio"] == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("algorithm", ["torus", "hierarchical"])
def test_nodes_of_fast_links_are_exact_though_rings_share_uplinks(algorithm):
    """Four rings cross between two nodes at once, over one cable each way."""
    nodes = {"kind": "hierarchical", "nodes": 2, "per_node": 4, "inside_bandwidth": "1e9 B/s", "inside_latency": "1 us"}
    scenario = changed(make("allreduce", 8, model=EVEN, algorithm=algorithm, rows=2), topology=nodes)
    meaning, ratio, broken = seconds(scenario)
    assert ratio == pytest.approx(1, rel=1e-9)
    assert meaning == "estimate"
    assert "up to 4 messages of a round share a link" in broken
    star = closed_form(make("allreduce", 8, model=EVEN, algorithm=algorithm, rows=2)).seconds_per_step
    assert closed_form(scenario).seconds_per_step != pytest.approx(star, rel=0.01)


def test_a_ring_on_a_ring_of_hosts_is_exact():
    scenario = make("allreduce", 8, model=EVEN)
    on_ring = changed(scenario, topology={"kind": "ring", "hosts": 8})
    assert seconds(on_ring) == ("exact", pytest.approx(1, rel=1e-9), "")
    assert closed_form(on_ring).seconds_per_step < closed_form(scenario).seconds_per_step  # one link, not two


# what a scenario breaks ----------------------------------------------------------------------------------------------
def test_contention_is_in_the_form_of_a_collective():
    """Recursive doubling along a line: in the last round half of the messages each way cross the middle."""
    line = {"kind": "line", "hosts": 8}
    scenario = changed(make("allreduce", 8, model=EVEN, algorithm="recursive_doubling"), topology=line)
    meaning, _, broken = seconds(scenario)
    assert meaning == "estimate"
    assert "contention: up to 4 messages of a round share a link, fairly in the form" in broken
    assert "unlike routes" in broken


def test_unlike_workers_and_a_straggler_for_good_count_as_slow():
    """Four times slower either way; the slowest worker is the step."""
    slow = make("allreduce", 4, model=MODEL, speeds={2: 0.25})
    rule = changed(make("allreduce", 4, model=MODEL), cluster={"stragglers": [{"workers": [2], "slowdown": 4}]})
    assert closed_form(slow) == closed_form(rule)
    for scenario in (slow, rule):
        meaning, ratio, broken = seconds(scenario)
        assert meaning == "estimate"
        assert ratio == pytest.approx(1, rel=1e-6)
        assert "unlike workers: the form takes the slowest for all" in broken


def test_stragglers_for_a_while_are_left_out_and_named():
    rules = [{"workers": [2], "slowdown": 4, "from_step": 1}]
    scenario = changed(make("allreduce", 4, model=MODEL), cluster={"stragglers": rules})
    meaning, ratio, broken = seconds(scenario)
    assert (meaning, broken) == (
        "estimate",
        "stragglers: rules that are random, or hold for a while, are not in the form",
    )
    for_good = changed(scenario, cluster={"stragglers": [{"workers": [2], "slowdown": 4}]})
    quiet, slow = (closed_form(each).seconds_per_step for each in (scenario, for_good))
    assert ratio == pytest.approx((quiet + 3 * slow) / 4 / quiet, rel=1e-6)


def test_actors_that_share_a_host():
    meaning, ratio, broken = seconds(changed(make("allreduce", 2, model=MODEL), scheme={"workers": 4}))
    assert meaning == "estimate"
    assert "placement: actors share cores (0.5 cores per actor on the fullest host)" in broken
    assert ratio == pytest.approx(2, rel=1e-3)  # two on one core


def test_overheads_are_in_the_form():
    scenario = changed(make("allreduce", 4, model=EVEN), cluster={"overhead": {"per_message": "1 ms"}})
    meaning, ratio, broken = seconds(scenario)
    assert (meaning, ratio) == ("estimate", pytest.approx(1, rel=1e-9))
    assert broken.startswith("overheads: in the form")


def test_routes_with_a_link_in_common():
    """A pipeline along the hosts of a star has its own links; two boundaries of one between two racks do not."""
    tree = {"kind": "tree", "branching": 2, "levels": 2}
    straight = make("gpipe", 4, micro_batches=4)
    crossing = changed(straight, topology=tree, scheme={"placement": {"worker": [0, 2, 1, 3]}})
    assert compared(straight)["broken"] == []
    assert (
        "contention: messages of different actors share links, which the form does not know"
        in compared(crossing)["broken"]
    )


def test_no_closed_form_is_said():
    found = compared(make("allreduce", 4, algorithm="native"))
    assert found["meaning"] is None
    assert found["quantities"] == {}
    assert found["note"] == "no closed form: the backend's own all-reduce does not tell its algorithm"
    assert "native: no closed form: the backend's own all-reduce" in theory_table([found], ["native"])


# expected stragglers -------------------------------------------------------------------------------------------------
STEPS = 1500
LAWS = (
    {"kind": "lognormal", "sigma": 0.5},
    {"kind": "gamma", "shape": 1.0},
    {"kind": "mixture", "probability": 0.1, "slowdown": 6.0},
    {"kind": "pareto", "probability": 0.2, "exponent": 3.0},
)


def in_standard_errors(scenario):
    """How far the mean of the steps of worker 0 is from theory."""
    ends = np.array([row.t_end for row in simulate(scenario).trace if row.rank == 0 and row.label == "step"])
    times = np.diff(ends, prepend=0.0)
    assert len(times) == scenario.run.steps
    error = times.std(ddof=1) / math.sqrt(len(times))
    return (times.mean() - closed_form(scenario).seconds_per_step) / error


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law["kind"])
def test_a_synchronous_step_takes_the_expected_slowest_worker(law):
    """Forward and backward pass have factors of their own; four workers, many steps, four standard errors."""
    scenario = make("allreduce", 4, model=MODEL, steps=STEPS, noise=law, overlap=False, algorithm="recursive_doubling")
    assert abs(in_standard_errors(scenario)) < 4
    quiet = closed_form(make("allreduce", 4, model=MODEL, overlap=False, algorithm="recursive_doubling"))
    assert closed_form(scenario).seconds_per_step > 1.1 * quiet.seconds_per_step


def test_unlike_workers_with_noise():
    speeds = {0: 0.5, 1: 0.9}
    scenario = make("allreduce", 3, model=MODEL, steps=STEPS, noise=LAWS[0], speeds=speeds, overlap=False)
    assert abs(in_standard_errors(scenario)) < 4


def test_sequential_steps_keep_their_mean():
    assert abs(in_standard_errors(make("sequential", 1, model=MODEL, steps=STEPS, noise=LAWS[1]))) < 4


def test_noise_makes_lower_bounds_of_exact_pipelines_and_estimates_of_steps():
    pipeline = make("gpipe", 4, micro_batches=4, steps=60, noise=LAWS[0])
    meaning, ratio, broken = seconds(pipeline)
    assert meaning == "lower bound"
    assert ratio > 1
    assert broken == "noise (lognormal): the form has every compute at its mean"
    found = compared(make("allreduce", 4, model=MODEL, noise=LAWS[0]))
    assert found["meaning"] == "estimate"
    assert found["broken"] == ["noise (lognormal): the form has the expected slowest worker, and means of all else"]


# how it is shown -----------------------------------------------------------------------------------------------------
def test_bounds_are_shown():
    scenario = make("downpour", 9, workers=8, bandwidth=1e6)
    found = compared(scenario)
    time = found["quantities"]["seconds_per_step"]
    assert time["theory"] <= time["simulated"] <= time["at_most"]
    assert time["theory"] <= time["about"] <= time["at_most"]
    text = theory_table([found], ["server"])
    assert "lower bound, about " in text
    assert ", at most " in text
    assert max(map(len, text.splitlines())) <= 120
    noisy = compared(make("downpour", 9, workers=8, bandwidth=1e6, noise=LAWS[0]))
    assert noisy["quantities"]["seconds_per_step"]["at_most"] is None
    assert ", at most " not in theory_table([noisy], ["server"])


def test_without_a_value_there_is_no_ratio():
    found = compared(make("adpsgd", 4))
    assert found["quantities"]["staleness_mean"]["theory"] is None
    assert found["quantities"]["staleness_mean"]["ratio"] is None
    assert "staleness, mean" in theory_table([found], ["gossip"])


def test_the_summary_has_it_and_the_rest_is_as_it_was():
    scenario = make("allreduce", 4)
    result = simulate(scenario)
    beside = with_theory(scenario, result)
    assert {key: value for key, value in beside.summary.items() if key != "theory"} == result.summary
    assert "theory" not in result.summary


def test_the_command_line(tmp_path, capsys):
    file = tmp_path / "s.yaml"
    file.write_text(
        "name: s\nworkload: {model: {kind: mlp, width: 16, depth: 2}, batch_size: 4}\n"
        "cluster:\n  topology: {kind: star, hosts: 2}\n"
        "  device: {flops: 1 GFLOP/s, memory: 1 GB, memory_bandwidth: 1 GB/s}\n"
        "  link: {bandwidth: 1 Gbit/s, latency: 10 us}\n"
        "scheme: {kind: allreduce}\nrun: {steps: 3}\n"
        "variants:\n  ring: {}\n  native: {scheme.algorithm: native}\n"
    )
    assert main(["run", str(file), "--theory"]) == 0
    text = capsys.readouterr().out
    assert "Theory beside simulation" in text
    assert "native: no closed form" in text
    assert " 1.0000  exact" in text
    assert main(["run", str(file), "--theory", "--json"]) == 0
    ring, native = json.loads(capsys.readouterr().out)
    assert ring["theory"]["meaning"] == "exact"
    assert ring["theory"]["quantities"]["seconds_per_step"]["ratio"] == pytest.approx(1, rel=1e-9)
    assert native["theory"]["meaning"] is None
    assert main(["run", str(file), "--json"]) == 0
    assert "theory" not in json.loads(capsys.readouterr().out)[0]
