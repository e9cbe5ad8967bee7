"""What many buffers have alike is kept once and changed once; results are those of runs in which each has its own."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from parasim import Scenario, simulate
from parasim.errors import ScenarioError
from parasim.learning.build import make_learner
from parasim.learning.chains import BlockChain
from parasim.learning.learner import TorchLearner
from parasim.learning.ledger import blocks_of
from parasim.learning.optimizers import Sgd
from parasim.learning.tensors import TorchTensors
from parasim.program import Buffer
from parasim.program.contents import Content, Contents
from parasim.program.elementwise import add, scale
from parasim.program.gradients import do_backward, do_forward
from parasim.program.state import Activation, Batch
from parasim.scenario import from_document
from parasim.simulation.fast.collectives import Collectives
from tests.test_fast_paths import close

XP = TorchTensors()
LEARNER: Any = SimpleNamespace(tensors=XP, blocks=blocks_of)


def _alike(count: int, *numbers: float) -> list[Buffer]:
    content = Content(torch.tensor(numbers), XP)
    return [Buffer("x", len(numbers), 4, content) for _ in range(count)]


def test_who_changes_what_others_have_changes_a_copy() -> None:
    first, second = _alike(2, 1.0, 2.0)
    XP.add_(first.change(), torch.ones(2))
    assert first.look().tolist() == [2, 3]
    assert second.look().tolist() == [1, 2]


def test_who_is_alone_changes_it_where_it_is() -> None:
    (only,) = _alike(1, 1.0, 2.0)
    place = only.look().data_ptr()
    assert only.change().data_ptr() == place
    assert only.part(0, 1).change().data_ptr() == place


def test_what_is_frozen_stays_as_it_is() -> None:
    (only,) = _alike(1, 1.0, 2.0)
    frozen = only.freeze()
    assert frozen is not None
    only.change().fill_(5.0)
    assert frozen[0].tolist() == [1, 2]
    assert only.look().tolist() == [5, 5]


def test_asked_for_its_values_a_buffer_has_its_own_for_good() -> None:
    first, second = _alike(2, 1.0, 2.0)
    values = first.values
    first.take(second, XP)
    assert values is first.values
    assert values is not second.look()
    assert first.content is None


def test_a_part_takes_values_into_its_place() -> None:
    whole, other = _alike(1, 1.0, 2.0, 3.0)[0], _alike(1, 9.0)[0]
    whole.part(1, 2).take(other, XP)
    assert whole.look().tolist() == [1, 9, 3]
    assert whole.part(1, 2).content is None


def test_equal_changes_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Counter[str]()
    monkeypatch.setattr(XP, "add_", lambda into, x, scale: (into.add_(x), made.update(["add"])))
    contents = Contents(LEARNER)
    buffers, other = _alike(3, 1.0, 2.0), _alike(1, 10.0, 20.0)[0]
    for buffer in buffers:
        contents.apply(add, (buffer,), (other,), {}, {})
    assert made == {"add": 1}
    assert len({id(buffer.content) for buffer in buffers}) == 1
    assert buffers[0].look().tolist() == [11, 22]
    contents.apply(scale, (buffers[0],), (), {"factor": 2.0}, {})
    contents.apply(scale, (buffers[1],), (), {"factor": 3.0}, {})
    assert [buffer.look().tolist() for buffer in buffers] == [[22, 44], [33, 66], [11, 22]]


def test_what_a_function_replies_is_nobody_elses() -> None:
    first, second = _alike(2, 1.0, 2.0)
    for function in (lambda xp, x: x, lambda xp, x: (x[:1], x + 1)):
        result = Contents(LEARNER).apply(function, (), (first,), {}, {})
        for part in result if isinstance(result, tuple) else (result,):
            part.fill_(7.0)
    assert second.look().tolist() == [1, 2]


# whole runs -----------------------------------------------------------------------------------------------------------
def scenario(kind: str, workers: int, fast_paths: str = "all", noise: float = 0.0, **options: Any) -> Scenario:
    return from_document(
        {
            "name": kind,
            "workload": {
                "model": {"kind": "mlp", "width": 16, "depth": 4},
                "batch_size": 4,
                "data": {"kind": "digits"},
            },
            "cluster": {
                "topology": {"kind": "star", "hosts": workers + 3},
                "device": {"flops": "20 GFLOP/s", "memory": "8 GiB", "memory_bandwidth": "10 GB/s"},
                "link": {"bandwidth": "1 Gbit/s", "latency": "25 us"},
                "noise": {"kind": "lognormal", "sigma": noise} if noise else {"kind": "none"},
            },
            "scheme": {"kind": kind, "workers": workers, **options},
            "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
            "run": {"steps": 3, "learn": True, "trace": "aggregate", "fast_paths": fast_paths},
        }
    )


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("allreduce", {}),
        ("allreduce", {"bucket_bytes": 1000}),
        ("allreduce", {"algorithm": "rabenseifner"}),
        ("parameter_server", {"servers": 2}),
        ("downpour", {}),
        ("local_sgd", {}),
        ("dpsgd", {}),
        ("easgd", {}),
        ("hierarchical_sgd", {"groups": 2}),
        ("zero", {}),
        ("gpipe", {}),
        ("pipedream", {}),
        ("dni", {}),
    ],
)
def test_weights_and_figures_are_those_without_shared_contents(kind: str, options: dict[str, Any]) -> None:
    noise = 0.0 if kind == "allreduce" else 0.2  # noise has collectives go message by message
    fast, plain = (simulate(scenario(kind, 4, ways, noise, **options)) for ways in ("all", "none"))
    assert any(value is not None for value in fast.returns)
    assert equal(fast.returns, plain.returns)
    close(fast.summary, plain.summary)


def test_a_collective_with_values_that_meets_others_has_all_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = []

    def join(self: Collectives, gathering: Any, *member: Any) -> None:
        original(self, gathering, *member)
        joined.append(gathering)
        if len(joined) == 7:  # in the second step
            self._dissolve(gathering)

    original = Collectives._join
    monkeypatch.setattr(Collectives, "_join", join)
    fast, plain = (simulate(scenario("allreduce", 4, ways)) for ways in ("all", "none"))
    assert len(joined) == 7
    assert equal(fast.returns, plain.returns)
    close(fast.summary, plain.summary)


@pytest.mark.parametrize("kind", ["allreduce", "parameter_server"])
def test_equal_replicas_are_updated_and_kept_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    updates, initial = Counter[str](), Counter[str]()

    def update(self: Sgd, xp: Any, parameters: Any, *rest: Any) -> None:
        updates[type(xp).__name__] += 1
        original(self, xp, parameters, *rest)

    original, make = Sgd.update, TorchLearner.initial
    monkeypatch.setattr(Sgd, "update", update)
    monkeypatch.setattr(TorchLearner, "initial", lambda self, part: (initial.update(["made"]), make(self, part))[1])
    simulate(scenario(kind, 8))
    assert updates["TorchTensors"] == 3
    assert initial == {"made": 1}


# many gradients in one pass ------------------------------------------------------------------------------------------
def batched(kind: str, workers: int, **more: Any) -> tuple[Any, Any]:
    return tuple(
        simulate(changed(scenario(kind, workers, **more), {"run": {"batched_gradients": way}})) for way in (True, False)
    )


def changed(base: Scenario, changes: dict[str, dict[str, Any]]) -> Scenario:
    document = dict(base.document)
    return from_document(document | {key: {**document[key], **values} for key, values in changes.items()})


@pytest.mark.parametrize("kind", ["allreduce", "parameter_server", "accumulation"])
def test_batched_gradients_are_equal_to_rounding_and_take_one_pass(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    original = TorchLearner.forward_shares
    monkeypatch.setattr(TorchLearner, "forward_shares", lambda *given: passes.append(given) or original(*given))
    together, alone = batched(kind, 5)
    assert len(passes) == 3
    for found, expected in zip(together.returns, alone.returns, strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    close(without_losses(together.summary), without_losses(alone.summary))


@pytest.mark.parametrize(("algorithm", "workers"), [("ring", 5), ("recursive_doubling", 4), ("rabenseifner", 4)])
def test_an_all_reduce_of_batched_gradients_is_one_product_and_makes_none_of_them(
    algorithm: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = changed(scenario("allreduce", workers), {"scheme": {"algorithm": algorithm}})
    alone = simulate(base)
    monkeypatch.delattr(BlockChain, "backward_each")
    together = simulate(changed(base, {"run": {"batched_gradients": True}}))
    assert len({tuple(found) for found in together.returns}) == 1
    for found, expected in zip(together.returns, alone.returns, strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    close(without_losses(together.summary), without_losses(alone.summary))


def test_batched_gradients_of_a_growing_batch_are_of_the_same_samples() -> None:
    growing = changed(scenario("allreduce", 4), {"workload": {"batch_growth": {"by": "steps", "at": [1, 2]}}})
    together, alone = (simulate(changed(growing, {"run": {"batched_gradients": way}})) for way in (True, False))
    for found, expected in zip(together.returns, alone.returns, strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def promises(count: int) -> tuple[TorchLearner, list[Any], list[torch.Tensor]]:
    """Of the shares of a mini-batch, two or so to a pass; and what each is, computed by itself. Losses agree."""
    learner = make_learner("mlp", {"width": 40, "depth": 3}, "digits", {}, 0, "float32")
    whole = learner.model.whole
    parameters = learner.initial(whole)
    samples = learner.samples(0, 0, 128 * count, 128 * count)
    shares = learner.forward_shares(whole, parameters, samples, count)
    assert shares is not None
    expected = []
    for own, (found, _) in zip(samples.chunk(count), shares, strict=True):
        loss, saved = learner.forward(whole, parameters, learner.inputs(own), own)
        torch.testing.assert_close(found, loss, rtol=1e-5, atol=1e-6)
        expected.append(learner.backward(whole, saved, None)[1])
    return learner, [learner.promise(saved) for _, saved in shares], expected


def test_a_promise_is_the_gradient_and_a_sum_of_all_is_the_sum() -> None:
    _, found, expected = promises(5)
    total = found[0].total(found)
    torch.testing.assert_close(total, sum(expected), rtol=1e-4, atol=1e-6)
    for promise, gradient in zip(found, expected, strict=True):
        torch.testing.assert_close(promise.make(), gradient, rtol=1e-4, atol=1e-6)
    assert found[0].total(found) is not total  # of those that were made
    torch.testing.assert_close(found[0].total(found), sum(expected), rtol=1e-4, atol=1e-6)


def test_a_sum_of_some_promises_or_of_one_twice_is_made_one_by_one() -> None:
    learner, found, _ = promises(5)
    assert found[0].total(found[:3]) is None  # one of two of a pass
    assert found[0].total([*found, found[0]]) is None
    assert found[0].total([*found[:4], found[0]]) is None
    assert found[0].total([*found[:4], SimpleNamespace()]) is None
    samples = learner.samples(0, 0, 4, 4)
    _, saved = learner.forward(
        learner.model.whole, learner.initial(learner.model.whole), learner.inputs(samples), samples
    )
    assert learner.promise(saved) is None  # nothing is won


def sum_of(learner: TorchLearner, contents: list[Content]) -> tuple[list[Buffer], Buffer]:
    """Buffers with promised vectors, and the sum of those, added up one by one."""
    shared, elements = Contents(learner, batched=True), learner.model.whole.parameters
    theirs = [Buffer("gradient", elements, 4, content) for content in contents]
    into = Buffer("sum", elements, 4, contents[0])
    for buffer in theirs[1:]:
        shared.apply(add, (into,), (buffer,), {}, {})
    return theirs, into


def test_a_sum_of_promises_is_made_when_somebody_looks_and_is_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, found, expected = promises(5)
    monkeypatch.delattr(BlockChain, "backward_each")
    _, into = sum_of(learner, [Content(None, learner.tensors, promise) for promise in found])
    torch.testing.assert_close(into.look(), sum(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [5, 3])
def test_who_changes_a_summand_of_a_promised_sum_changes_a_copy(count: int) -> None:
    learner, found, expected = promises(5)
    contents = [Content(None, learner.tensors, promise) for promise in found[:count]]
    theirs, into = sum_of(learner, contents)
    del contents
    theirs[1].change().zero_()
    torch.testing.assert_close(into.look(), sum(expected[:count]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(theirs[0].look(), expected[0], rtol=1e-4, atol=1e-6)
    into.change().zero_()
    torch.testing.assert_close(theirs[0].look(), expected[0], rtol=1e-4, atol=1e-6)


def test_a_promise_keeps_the_parameters_that_it_is_made_of() -> None:
    learner, _, expected = promises(2)
    whole = learner.model.whole
    parameters = Buffer("parameters", whole.parameters, 4, Content(learner.initial(whole), learner.tensors))
    contents = Contents(learner, batched=True)
    into = Buffer("gradient", whole.parameters, 4, Content(learner.tensors.zeros(whole.parameters), learner.tensors))
    batch = Batch(0, 0, 0, 128, 256)
    loss, saved = do_forward(learner, contents, whole, parameters, batch, None, False, 1)
    do_backward(learner, Activation(whole, batch, None, loss, saved), None, into, False)
    del saved
    parameters.change().zero_()
    torch.testing.assert_close(into.look(), expected[0], rtol=1e-4, atol=1e-6)


def without_losses(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in summary.items() if "loss" not in key}


def test_workers_whose_parameters_differ_compute_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    original = TorchLearner.forward_shares
    monkeypatch.setattr(TorchLearner, "forward_shares", lambda *given: passes.append(given) or original(*given))
    together, alone = batched("dpsgd", 5)
    assert len(passes) == 1  # the first step: all begin alike
    assert together.summary["seconds"] == alone.summary["seconds"]


def test_a_network_of_units_has_no_common_pass_and_the_same_bits() -> None:
    lenet = changed(scenario("allreduce", 3), {"workload": {"model": {"kind": "lenet5"}}, "run": {"steps": 1}})
    ways = [simulate(changed(lenet, {"run": {"batched_gradients": way}})) for way in (True, False)]
    assert equal(ways[0].returns, ways[1].returns)


@pytest.mark.parametrize("other", [{"learn": False}, {"fast_paths": "none"}])
def test_batched_gradients_without_a_meaning_are_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match=r"batched_gradients.*learn: true and fast_paths: all"):
        changed(scenario("allreduce", 3), {"run": {"batched_gradients": True, **other}})
