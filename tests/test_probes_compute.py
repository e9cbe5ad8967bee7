"""Probes of computes: they time what simulation asks for, and what they yield can be fitted and predicted from."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from calibration.executor.warm import warm_up
from calibration.fitting.curves import fit_blocks, fit_contention, fit_kernels, fit_peaks
from calibration.probes import blocks, compute, contention, cuda, optimizers, verbs
from calibration.probes.compute_timing import CpuClock, CudaClock, Point, observed
from calibration.probes.record import Observation, Skipped, Task, from_json, to_json
from parasim.cluster.curves import Curves
from parasim.cluster.profile import Number
from parasim.program.kernels import backward_kernel, forward_kernel
from parasim.program.tensors import CountingTensors, Tensors
from parasim.scenario import Scenario, from_document
from parasim.study.build import build_learner
from parasim.workload.blocks import Dense
from parasim.workload.operators import Conv


def scenario(kind: str = "sequential", model: dict[str, Any] | None = None, batch: int = 16, **options: Any) -> Any:
    return from_document(
        {
            "name": "small",
            "workload": {
                "model": model or {"kind": "mlp", "width": 16, "depth": 4},
                "batch_size": batch,
                "data": {"kind": "digits"},
            },
            "cluster": {
                "topology": {"kind": "star", "hosts": 4},
                "device": {"flops": "1 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "1 GB/s"},
                "link": {"bandwidth": "1 Gbit/s"},
            },
            "scheme": {"kind": kind, **options},
            "run": {"steps": 3},
        }
    )


NETWORKS = [compute._pair([Dense("a", 8, 8), Dense("b", 8, 8)]), compute._units((2, 4, 4), (Conv(2, (3, 3)),))]


class Ticks:
    """A stopwatch that runs the work once and says how often it was asked."""

    device = "ticks"

    def __init__(self) -> None:
        self.asked = 0

    def mean(self, work: Any, least: float) -> float:
        work()
        self.asked += 1
        return 1e-6 * self.asked

    single = mean


# what is timed -------------------------------------------------------------------------------------------------------
def test_every_verb_of_the_namespace_is_timed() -> None:
    names = {name for name, _ in inspect.getmembers(Tensors, inspect.isfunction) if not name.startswith("_")}
    assert set(verbs.VERBS) == names
    assert names > verbs.COMMON


def test_calls_of_verbs_cost_what_that_verb_costs_and_run_at_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call makes one verb count, and the real one works on the same operands."""
    monkeypatch.setattr(verbs, "SIZES", (1, 100))
    monkeypatch.setattr(verbs, "LARGEST", 101)
    points = verbs.verb_points("cpu")
    assert len(points) == 2 * len(verbs.VERBS) + len(verbs.COMMON)
    for point in points:
        point.make()()
        assert point.kind in dir(CountingTensors)
        assert point.parameters["nbytes"] > 0


def test_layers_are_timed_in_both_directions_with_the_costs_of_simulation() -> None:
    points = compute.layer_points("cpu")
    kinds = {point.kind for point in points}
    for kind in ("linear", "conv", "attention", "lstm", "embedding"):
        assert {f"{kind}/forward", f"{kind}/backward"} <= kinds
    by_kind: dict[str, set[float]] = {}
    for point in points:
        by_kind.setdefault(point.kind, set()).add(float(point.parameters["nbytes"]))
    assert min(len(sizes) for sizes in by_kind.values()) >= 2
    smallest = [point for point in points if point.parameters["samples"] <= 2]
    watch = Ticks()
    assert len(list(observed("layers", Task(0, 0.0), smallest, watch))) == watch.asked == len(smallest)


def test_ends_of_a_network_are_timed() -> None:
    points = [*compute.end_points("cpu"), *optimizers.update_points("cpu")[:10]]
    assert {point.kind for point in points} == {"inputs/forward", "loss/forward", "block", "gather/backward"}
    seen = list(observed("layers", Task(3, 0.0), points, Ticks()))
    assert {entry.round for entry in seen} == {3}
    assert [from_json(to_json(entry)) for entry in seen] == seen


def test_updates_have_the_signature_that_a_run_asks_for() -> None:
    one = scenario()
    asked = one.workload.model.whole.parameters
    kernel = optimizers.update_kernel("sgd", {}, asked)
    plain, adam = (optimizers.update_kernel(kind, {}, 64).signature for kind in ("sgd", "adam"))
    assert kernel.signature == plain == "add_ 2 FLOP 12 B/update"
    assert adam != plain
    assert optimizers.update_kernel("sgd", {}, 64, itemsize=8).signature != plain


# clocks --------------------------------------------------------------------------------------------------------------
class Event:
    """An event of a GPU on which a work takes three milliseconds."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self.at = -1.0

    def record(self) -> None:
        self.at = self._cuda.queue

    def elapsed_time(self, other: Event) -> float:
        assert self._cuda.done >= other.at, "read before the stream had got there"
        return other.at - self.at


class FakeCuda:
    """What the clock needs of `torch.cuda`: work is queued, and done when it is waited for."""

    def __init__(self) -> None:
        self.queue = self.done = 0.0

    def Event(self, enable_timing: bool) -> Event:  # noqa: N802 # named as torch names it
        assert enable_timing
        return Event(self)

    def synchronize(self) -> None:
        self.done = self.queue

    def work(self) -> None:
        self.queue += 3.0


def test_a_gpu_is_timed_by_its_events() -> None:
    fake = FakeCuda()
    watch = CudaClock(fake)
    assert watch.single(fake.work) == pytest.approx(3e-3)
    before = fake.queue
    assert watch.mean(fake.work, 0.3) == pytest.approx(3e-3)
    assert (fake.queue - before) / 3.0 == pytest.approx(100, abs=5)


def test_gpu_probes_go_through_all_points_on_the_device_they_are_given() -> None:
    """Here on the CPU's memory, timed by events that stand for a GPU's."""
    watch = Ticks()
    watch.device = "cuda"
    points = cuda.cuda_points("cpu")
    seen = list(observed("cuda", Task(0, 0.0), [point for point in points if _small(point)], watch))
    assert {entry.parameters["device"] for entry in seen} == {"cuda"}
    assert {"linear/forward", "loss/forward", "add_", "block", "gather/backward"} <= {entry.kind for entry in seen}
    assert {"flops", "stream"} <= {point.kind for point in points}


def _small(point: Point) -> bool:
    return float(point.parameters["flops"]) < 1e6 and float(point.parameters["nbytes"]) < 1e5


def test_a_machine_without_a_gpu_skips_its_probe() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(Skipped, match="torch finds no GPU"):
        list(cuda.probe_cuda(Task(0, 1.0)))


def test_the_host_is_timed_many_times_and_alone() -> None:
    calls: list[int] = []
    watch = CpuClock()
    assert watch.mean(lambda: calls.append(1), 1e-3) > 0.0
    assert len(calls) > 10
    calls.clear()
    assert watch.single(lambda: calls.append(1)) > 0.0
    assert len(calls) == 1


# a scenario's own blocks ---------------------------------------------------------------------------------------------
def test_chains_are_the_passes_of_the_scheme() -> None:
    assert blocks.chains(scenario()) == (blocks.Chain(16, ((0, 4),)),)
    staged = blocks.chains(scenario("gpipe", workers=2, micro_batches=4))
    assert blocks.Chain(16, ((0, 4),)) in staged
    (micro,) = [chain for chain in staged if chain.samples == 4]
    assert [part[0] for part in micro.parts] == [0, micro.parts[0][1]]
    assert micro.parts[-1][1] == 4


def test_parts_that_cannot_follow_each_other_are_chains_of_their_own() -> None:
    assert blocks._chained([(8, (0, 4)), (8, (0, 2)), (8, (2, 4)), (4, (2, 4))]) == (
        blocks.Chain(4, ((2, 4),)),
        blocks.Chain(8, ((0, 4),)),
        blocks.Chain(8, ((0, 2), (2, 4))),
    )


def test_warming_up_changes_no_value() -> None:
    one = scenario()
    cold, warm = build_learner(one), build_learner(one)
    warm_up(warm, one.workload.model, 16)
    whole = one.workload.model.whole
    losses = [
        float(learner.forward(whole, learner.initial(whole), learner.inputs(numbers), numbers)[0])
        for learner in (cold, warm)
        for numbers in [learner.samples(0, 0, 16, 16)]
    ]
    assert losses[0] == losses[1]


def test_scenarios_without_data_have_nothing_to_probe() -> None:
    with pytest.raises(Skipped, match="no scenario with data"):
        list(blocks.probe_blocks(Task(0, 1.0)))


def block_observations(one: Scenario, monkeypatch: pytest.MonkeyPatch, slow: bool) -> list[Observation]:
    """Two rounds of the probe, on cores that others slow all the time or never."""
    monkeypatch.setattr(blocks, "slow_of", lambda outcome: lambda start, end: slow)
    return [entry for number in range(2) for entry in blocks.probe_blocks(Task(number, 0.1, scenarios=(one,)))]


@pytest.mark.real
def test_blocks_of_a_scenario_are_what_its_simulation_looks_up(monkeypatch: pytest.MonkeyPatch) -> None:
    one = scenario("gpipe", workers=2, micro_batches=4)
    seen = block_observations(one, monkeypatch, slow=False)
    tables = fit_blocks(seen).tables
    curves = Curves.of({}, tables)
    model = one.workload.model
    asked = [make(model.whole, 16) for make in (forward_kernel, backward_kernel)]
    asked += [make(part, 4) for part in model.stages(2) for make in (forward_kernel, backward_kernel)]
    for kernel in asked:
        assert kernel.size in tables[kernel.signature].sizes
        assert curves.seconds(kernel, 1e30, 1e30) > 0.0
    means = [entry for entry in seen if entry.kind == "block"]
    singles = [entry for entry in seen if entry.kind == "block/single"]
    assert len(singles) >= len(means)
    assert not any(entry.slow for entry in seen)


@pytest.mark.real
def test_blocks_that_others_slowed_all_the_time_keep_a_marked_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = block_observations(scenario(), monkeypatch, slow=True)
    assert {entry.kind for entry in seen} == {"block"}
    assert all(entry.slow for entry in seen)


@pytest.mark.real
@pytest.mark.slow
def test_contention_is_timed_on_one_core_and_on_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contention, "numbers_of_cores", lambda cores: [1, 2])
    monkeypatch.setattr(contention, "REFERENCES", {"tiny": ({"kind": "mlp", "width": 16, "depth": 2}, 8)})
    seen: list[Observation] = []
    for number in range(2):
        seen += contention.probe_contention(Task(number, 0.1))
    assert {entry.parameters["cores"] for entry in seen} == {1, 2}
    table = fit_contention(seen)
    assert len(table) == 2
    assert table[0] == Number(1.0, 1.0, 1.0, table[0].count)


def test_numbers_of_cores_double_up_to_all() -> None:
    assert [contention.numbers_of_cores(cores) for cores in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_references_are_scenarios_that_can_be_trained() -> None:
    for name in contention.REFERENCES:
        found = blocks.chains(contention.reference(name))
        assert len(found) == 1


def test_probed_layers_can_be_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """End to end on a stopwatch whose times grow: every kind gets a curve, and the wider ones too."""
    monkeypatch.setattr(verbs, "SIZES", (64, 640))
    monkeypatch.setattr(verbs, "LARGEST", 1280)
    monkeypatch.setattr(compute, "_networks", lambda: iter([(network, (1, 2)) for network in NETWORKS]))
    points = [*compute.layer_points("cpu"), *compute.end_points("cpu"), *verbs.verb_points("cpu")]
    seen = [entry for number in range(2) for entry in observed("p", Task(number, 0.0), points, Ticks())]
    fitted = fit_kernels(seen, 1e11, 1e10)
    assert {"linear/forward", "conv/backward", "forward", "backward", "kernel", "add_"} <= set(fitted.tables)
    peaks = [
        Observation("peaks", p.kind, p.parameters, 1e-3, number, 0.0)
        for p in compute.peak_points("cpu")
        for number in range(2)
    ]
    assert fit_peaks(peaks)[0].value == pytest.approx(2 * 1024**3 / 1e-3)
