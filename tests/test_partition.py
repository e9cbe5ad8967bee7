"""How models are cut into stages: balanced by modelled time, within the memory of devices, or by hand."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim.cluster.profile import Measured
from parasim.cluster.profile_file import save_profile
from parasim.errors import ScenarioError
from parasim.program import Holding, Layer, Model, cut_by_hand, cut_evenly
from parasim.program.passes import pass_signature
from parasim.scenario import from_document
from tests.profiles import number, profile
from tests.schemes_setup import make

CNN = {"kind": "cnn", "channels": 4, "convolutions": 4}
WAYS = ("forward", "backward")
ROOFLINE = Measured((1e-9, 1.0), (number(1e-9, "seconds"), number(1.0, "seconds")))


def model(*parameters, stored=0, entering=1):
    return Model(
        "m", tuple(Layer(f"l{i}", n, float(n), 0, 0, entering, 1, stored) for i, n in enumerate(parameters)), 1
    )


def sizes(parts):
    return [len(part.layers) for part in parts]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.data())
def test_the_slowest_stage_is_as_fast_as_in_any_contiguous_cut(costs, data):
    count = data.draw(st.integers(1, len(costs)))
    speeds = data.draw(st.lists(st.sampled_from([1, 2, 4]), min_size=count, max_size=count))
    room = data.draw(st.lists(st.integers(1, 30), min_size=count, max_size=count))
    whole = model(*costs)

    def worst(ends):
        stages = list(itertools.pairwise((0, *ends, len(costs))))
        if any(sum(costs[a:b]) > most for (a, b), most in zip(stages, room, strict=True)):
            return None
        return max(sum(costs[a:b]) / speed for (a, b), speed in zip(stages, speeds, strict=True))

    best = min(filter(None, map(worst, itertools.combinations(range(1, len(costs)), count - 1))), default=None)
    weights = Holding(weights=1, gradients=0, activations=0)
    found = cut_evenly(whole, count, lambda layer, k: costs[layer] / speeds[k], [weights] * count, room)
    assert sum(sizes(found)) == len(costs)
    if best is not None:
        assert worst([part.stop for part in found[:-1]]) == best


def test_ties_give_the_earlier_stages_less_however_sums_are_rounded():
    assert sizes(cut_evenly(model(*[1] * 7), 3, lambda layer, stage: 0.1)) == [2, 2, 3]


def test_memory_moves_the_cut():
    whole = model(1, 1, 1, 1, stored=10)
    free = cut_evenly(whole, 2, lambda layer, stage: 1.0)
    held = [Holding(activations=3), Holding(activations=1)]
    assert sizes(free) == [2, 2]
    assert sizes(cut_evenly(whole, 2, lambda layer, stage: 1.0, held, [35, 40])) == [1, 3]
    assert sizes(cut_evenly(whole, 2, lambda layer, stage: 1.0, held, [3, 4])) == [2, 2]  # nothing fits: no limits


def test_what_a_stage_holds_by_part():
    first, last = cut_by_hand(model(5, 7, 2, stored=3, entering=4), [1, 2], 2)
    holding = Holding(versions=2, activations=3, inputs=2, samples=10).with_state(1)
    assert holding.bytes_of(last) == {
        "weights": 9,
        "stashed versions": 18,
        "gradients": 9,
        "optimizer state": 9,
        "activations": 10 * (3 * 6 + 2 * 4),
    }
    assert holding.bytes_of(first)["activations"] == 10 * 3 * 3  # it reads its batch again


@pytest.mark.parametrize("given", [[2, 2], [4], [0, 4], [1, 2, 1]])
def test_by_hand_every_stage_has_a_number_and_all_layers_are_taken(given):
    if given == [2, 2]:
        assert sizes(cut_by_hand(model(1, 1, 1, 1), given, 2)) == [2, 2]
    else:
        with pytest.raises(ValueError, match="stages"):
            cut_by_hand(model(1, 1, 1, 1), given, 2)


def test_balanced_is_by_the_time_on_the_devices_where_the_stages_sit():
    model = {"kind": "mlp", "width": 32, "depth": 6}
    for speeds, expected in (({}, [2, 2, 2]), ({1: 0.3}, [2, 1, 3])):
        scenario = make("gpipe", 3, model=model, speeds=speeds)
        assert sizes(scenario.scheme.parts(scenario.workload.model)) == expected
    scenario = make("gpipe", 3, model=model, stages=[3, 2, 1])
    assert sizes(scenario.scheme.parts(scenario.workload.model)) == [3, 2, 1]


def test_balanced_is_by_what_was_measured_of_a_layer(tmp_path):
    """The first one's passes were timed on the machine, as very short or very long ones."""
    document = make("gpipe", 3, model=CNN, data={"kind": "digits"}, micro_batches=4).document
    first = from_document(document).workload.model.each()[0]
    cluster = {key: document["cluster"][key] for key in ("topology", "link")}
    found = {}
    for seconds in (1e-9, 1.0):
        timed = {pass_signature(first, way): Measured((4.0,), (number(seconds, "seconds"),)) for way in WAYS}
        save_profile(profile(kernels={"kernel": ROOFLINE}, blocks=timed), tmp_path / "mine.json")
        scenario = from_document({**document, "cluster": {**cluster, "profile": str(tmp_path / "mine.json")}})
        found[seconds] = sizes(scenario.scheme.parts(scenario.workload.model))
    assert found == {1e-9: [3, 1, 1], 1.0: [1, 1, 3]}


def test_balanced_is_by_both_passes():
    """Layers that are alike forward, of which the last two take longer backward."""
    layers = [{"parameters": 1, "forward_flops": 1e6, "output_elements": 1, "repeat": 4}]
    layers += [{**layers[0], "weight_flops": 9e6, "input_flops": 9e6, "repeat": 2}]
    scenario = make("gpipe", 2, model={"kind": "layers", "layers": layers}, memory_bandwidth=1e12)
    assert sizes(scenario.scheme.parts(scenario.workload.model)) == [5, 1]


def test_a_wrong_cut_by_hand_is_refused_in_a_line():
    with pytest.raises(ScenarioError, match=r"stages \[2, 1\] sums to 3; .* has 4 layers: give each stage 1 or more"):
        make("gpipe", 2, stages=[2, 1])


def test_a_plan_that_does_not_fit_is_refused_with_the_arithmetic():
    """A stage of 2 layers of 1024 x 1024: 8.4 MB of weights, of gradients and of momentum; activations of 4 x 2."""
    wide = {
        "kind": "layers",
        "layers": [{"parameters": 10**8, "forward_flops": 1e6, "output_elements": 10, "repeat": 4}],
    }
    with pytest.raises(ScenarioError) as error:
        make("gpipe", 2, model=wide, optimizer={"kind": "sgd", "lr": 0.1, "momentum": 0.9})
    message = str(error.value)
    assert "weights 800 MB + gradients 800 MB + optimizer state 800 MB + activations" in message
    assert "its device has memory for 1 GB: use more stages" in message
    assert "\n" not in message


@pytest.mark.parametrize(("stages", "worker"), [([1, 4], 1), ([4, 1], 0), ([3, 2], None)])
def test_the_worker_that_has_most_of_its_memory_to_fill_is_named(stages, worker):
    """Four layers take 1.6 GB with their gradients, three 1.2 GB of 1.5 GB."""
    layer = {"parameters": 5 * 10**7, "forward_flops": 1e6, "output_elements": 10, "repeat": 5}
    document = make(
        "gpipe", 2, model={"kind": "layers", "layers": [{**layer, "parameters": 10}]}, stages=stages
    ).document
    device = {**document["cluster"]["device"], "memory": "1.5 GB"}
    document = {**document, "cluster": {**document["cluster"], "device": device}}
    document["workload"] = {**document["workload"], "model": {"kind": "layers", "layers": [layer]}}
    if worker is None:
        assert sizes(from_document(document).scheme.parts(from_document(document).workload.model)) == stages
        return
    with pytest.raises(
        ScenarioError, match=rf"worker {worker} holds weights 800 MB \+ gradients 800 MB .* for 1\.5 GB"
    ):
        from_document(document)
