"""ZeRO and FSDP: the same steps as sequential SGD and all-reduce, from pieces; who holds and sends what (S37)."""

import json

import pytest
import torch

from parasim import closed_form, simulate
from parasim.learning.build import make_optimizer, pin_threads
from parasim.metrics.memory import course_of, memory_of, tensors_of
from parasim.program.setting import Planning
from parasim.schemes.zero import Zero, ZeroOptions
from parasim.workload import build_model
from tests.golden import golden_path
from tests.schemes_real import executed, learning
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, steady, weights
from tests.shards_setup import TEXT, TRANSFORMER

STAGES = pytest.mark.parametrize("stage", [1, 2, 3])
EXACT = {"data": EXACT_DATA, "dtype": "float64", "learn": True}
ADAM = {"kind": "adam", "lr": 0.01}


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def gathered(result, members, group=0):
    """The weights from their pieces, unit by unit."""
    owners = result.returns[group * members : (group + 1) * members]
    return torch.cat([torch.as_tensor(piece) for unit in zip(*owners, strict=True) for piece in unit])


@STAGES
@pytest.mark.parametrize("name", EXACT_MODELS)
@pytest.mark.parametrize(
    ("workers", "replicas", "prefetch"), [(1, 1, 1), (2, 1, 0), (4, 1, 1), (4, 1, 2), (4, 2, 1), (4, 4, 1)]
)
def test_pieces_together_are_the_weights_of_sequential_sgd_in_every_bit(workers, replicas, prefetch, name, stage):
    model, steps = EXACT_MODELS[name]
    whole = weights(run("sequential", 1, model=model, steps=steps, batch=16, **EXACT), range(1))
    options = {"stage": stage, "replicas": replicas, "prefetch": prefetch}
    found = run("zero", workers, model=model, steps=steps, batch=16 // workers, **options, **EXACT)
    for group in range(replicas):
        assert torch.equal(gathered(found, workers // replicas, group), whole)


@STAGES
@pytest.mark.parametrize("unit_bytes", [1, 10_000])
@pytest.mark.parametrize("rule", [ADAM, {"kind": "sgd", "lr": 0.1, "momentum": 0.9}, {"kind": "adagrad", "lr": 0.05}])
def test_it_equals_all_reduce_for_optimisers_by_element(rule, unit_bytes, stage):
    """Of two workers sums have one order: bit for bit. Units are cut by bytes, as the buckets of the all-reduce."""
    settings = {"data": {"kind": "digits"}, "learn": True, "optimizer": rule, "batch": 8, "steps": 3}
    found = run("zero", 2, stage=stage, unit_bytes=unit_bytes, **settings)
    other = run("allreduce", 2, bucket_bytes=unit_bytes, **settings)
    assert torch.equal(gathered(found, 2), weights(other, range(1)))
    assert found.summary["loss"] == other.summary["loss"]


def test_a_transformer_in_units_of_blocks_equals_all_reduce():
    """Its graphs are recorded at weights that are freed after the forward pass and gathered again."""
    settings = {"model": TRANSFORMER, "data": TEXT, "learn": True, "dtype": "float64", "batch": 2, "steps": 3}
    found, other = run("zero", 2, stage=3, **settings), run("allreduce", 2, bucket_bytes=1, **settings)
    assert torch.equal(gathered(found, 2), weights(other, range(1)))


@pytest.mark.parametrize("workers", [2, 4])
def test_full_sharding_sends_half_as_much_again_as_all_reduce(workers):
    """2 Mb (N-1)/N for replication and stages 1 and 2, 3 Mb (N-1)/N for stage 3; collectives per unit: 2 and 3."""
    model_bytes, others = 4 * 4 * 32 * 32, (workers - 1) / workers
    _, plain, _ = steady("allreduce", workers)
    assert plain == 2 * model_bytes * others
    for stage, factor in ((1, 2), (2, 2), (3, 3)):
        _, nbytes, messages = steady("zero", workers, stage=stage)
        assert nbytes == factor * model_bytes * others
        assert messages == factor * 4 * (workers - 1)
        form = closed_form(make("zero", workers, stage=stage))
        assert (form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step) == (nbytes, messages)


@pytest.mark.parametrize("prefetch", [0, 1])
def test_weights_that_stay_after_the_forward_pass_save_an_all_gather(prefetch):
    """2 Mb (N-1)/N as all-reduce, the same bits, and all weights at the peak (Zhao et al. 2023)."""
    settings = {"learn": True, "data": {"kind": "digits"}, "prefetch": prefetch}
    stay, again = (run("zero", 4, reshard_after_forward=free, **settings) for free in (False, True))
    assert torch.equal(gathered(stay, 4), gathered(again, 4))
    whole = again.summary["bytes_sent_per_worker_per_step"]
    assert stay.summary["bytes_sent_per_worker_per_step"] == pytest.approx(whole * 2 / 3, rel=1e-12)
    form = closed_form(make("zero", 4, reshard_after_forward=False, prefetch=prefetch))
    seconds, nbytes, messages = steady("zero", 4, reshard_after_forward=False, prefetch=prefetch)
    assert (form.bytes_sent_per_worker_per_step, form.messages_sent_per_worker_per_step) == (nbytes, messages)
    assert form.seconds_per_step <= seconds * (1 + 1e-9)
    case = make("zero", 4, reshard_after_forward=False, **settings)
    (said, *_) = case.scheme.memory(Planning(case.workload.model, 16, make_optimizer(*case.optimizer), None))
    peaks = memory_of(stay.trace)[0].peak_bytes_of
    assert peaks["gathered"] == case.workload.model.whole.nbytes
    assert said["buffers"] == peaks["gathered"] + peaks["unit gradient"]
    assert course_of(stay.trace, 0) == tensors_of(stay.trace, 0)


@STAGES
@pytest.mark.parametrize("bandwidth", [1e6, 1e8, 1e10])
def test_time_lies_between_the_longer_and_the_sum_of_computing_and_sending(bandwidth, stage):
    settings = {"stage": stage, "bandwidth": bandwidth}
    form = closed_form(make("zero", 4, **settings))
    seconds, _, _ = steady("zero", 4, **settings)
    assert form.seconds_per_step * (1 - 1e-9) <= seconds <= 1.9 * form.seconds_per_step


def test_gathering_ahead_hides_what_it_can():
    """Where computing takes longer than sending, three transfers are not hidden, and the last one's additions.

    Those are the first unit's weights, the last unit's again (they are freed before its backward pass), and the first
    unit's gradient.
    """
    settings = {"stage": 3, "bandwidth": 1e9, "batch": 64, "latency": 0.0, "memory_bandwidth": 1e18, "cores": 2}
    form = closed_form(make("zero", 4, **settings))
    late, early = (steady("zero", 4, prefetch=prefetch, **settings)[0] for prefetch in (0, 1))
    bound = form.seconds_per_step
    assert bound < early < late
    transfer, additions = 3 / 4 * 32 * 32 * 4 / 1e9, 3 / 4 * 32 * 32 / 1e9
    assert early - bound == pytest.approx(3 * transfer + additions, rel=1e-6)
    assert late - bound > 8 * transfer


@STAGES
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_mixed_precision_takes_sixteen_bytes_a_parameter_and_the_stage_says_what_of_it_is_divided(workers, stage):
    """4 P + 12 P / N, 2 P + 14 P / N, 16 P / N; beside it units on their way: 1 + prefetch gathered, two gradients."""
    parameters, unit = 4 * 32 * 32, 32 * 32
    result = run("zero", workers, stage=stage, dtype="float16", master=True, optimizer=ADAM, bandwidth=1e6)
    held = memory_of(result.trace)[0].peak_bytes_of
    assert held["weights"] == 2 * parameters // (workers if stage == 3 else 1)
    assert held["gradient"] == 2 * parameters // (workers if stage > 1 else 1)
    assert held["optimizer state"] == 12 * parameters // workers
    states = sum(held[name] for name in ("weights", "gradient", "optimizer state"))
    share = {1: 4 + 12 / workers, 2: 2 + 14 / workers, 3: 16 / workers}[stage]
    assert states == share * parameters
    assert held.get("gathered", 0) == (2 * 2 * unit if stage == 3 else 0)
    assert held.get("unit gradient", 0) in ((0,) if stage == 1 else (2 * unit, 2 * 2 * unit))


def test_a_model_of_seven_and_a_half_billion_parameters_on_64_devices():
    """120 GB replicated; 31.4, 16.6 and 1.9 GB with stages 1, 2 and 3 (Rajbhandari et al. 2020, figure 1)."""
    layers = [{"parameters": 100_000_000, "forward_flops": 2e8, "output_elements": 1, "repeat": 75}]
    setting = Planning(build_model("layers", {"layers": layers}, None, 2), 1, make_optimizer("adam", {}), None)
    found = []
    for workers, stage in ((1, 1), (64, 1), (64, 2), (64, 3)):
        held = Zero(ZeroOptions(workers=workers, stage=stage, master=True)).memory(setting)[0]
        found.append(sum(held[name] for name in ("weights", "gradients", "optimizer state")) / 1e9)
    assert found == pytest.approx([120, 31.4, 16.6, 1.9], abs=0.05)


@STAGES
@pytest.mark.parametrize("prefetch", [0, 1])
def test_peaks_are_those_that_a_plan_is_refused_by(prefetch, stage):
    case = make("zero", 4, stage=stage, prefetch=prefetch, optimizer=ADAM, bandwidth=1e6)
    setting = Planning(case.workload.model, 16, make_optimizer("adam", {}), None)
    said = case.scheme.memory(setting)[0]
    trace = simulate(case).trace
    course = course_of(trace, 0)
    for part, nbytes in said.items():
        peak = max(held.bytes_of[part] for held in course)
        assert peak == nbytes if part != "buffers" else peak <= nbytes
    small = {"stage": stage, "optimizer": ADAM, "model": {"kind": "mlp", "width": 4096, "depth": 8}}
    with pytest.raises(ValueError, match=r"worker 0 holds weights .* \+ .*its device has memory for 1 GB"):
        make("zero", 2, **small)


@STAGES
def test_what_is_said_to_be_held_equals_the_tensors_note_by_note(stage):
    """Weights that are freed are freed: backward passes work with those that were gathered again."""
    settings = {"data": {"kind": "digits"}, "learn": True, "optimizer": ADAM, "steps": 2}
    trace = run("zero", 2, stage=stage, **settings).trace
    for rank in range(2):
        said = course_of(trace, rank)
        assert said == tensors_of(trace, rank)
        assert max(held.total for held in said) == memory_of(trace)[rank].peak_bytes


def test_hybrid_sharding_sends_pieces_alone_between_nodes():
    """Groups of G: in them 3 Mb (G-1)/G a worker; across, an all-reduce of Mb / G: 2 Mb/G (Q-1)/Q between Q nodes."""
    model_bytes = 4 * 4 * 32 * 32
    result = run("zero", 4, stage=3, replicas=2, steps=2)
    across = {True: 0, False: 0}
    for row in result.trace:
        if row.op == "send" and row.nbytes:
            across[row.rank // 2 == row.peer // 2] += row.nbytes
    assert across[True] == 2 * 4 * 3 * model_bytes / 2
    assert across[False] == 2 * 4 * 2 * (model_bytes / 2) / 2
    form = closed_form(make("zero", 4, stage=3, replicas=2))
    assert form.bytes_sent_per_worker_per_step * 8 == sum(across.values())


def test_groups_must_be_equal():
    with pytest.raises(ValueError, match="5 workers do not fill 2 replicas: use a multiple of 2"):
        make("zero", 5, replicas=2)


def test_the_scenario_shows_memory_for_traffic():
    found = json.loads(golden_path("scenarios/schemes/zero.yaml").read_text())
    held = [found[name]["memory_bytes_per_worker"] for name in ("all-reduce", "stage 1", "stage 2", "stage 3")]
    assert held == sorted(held, reverse=True)
    seconds = {name: summary["seconds_per_step"] for name, summary in found.items()}
    assert seconds["stage 1"] < seconds["stage 3"] < seconds["stage 3, nothing ahead"]
    assert seconds["sharded in nodes"] < 0.7 * seconds["stage 3"]
    assert len({round(summary["loss"]["last"], 3) for summary in found.values()}) == 1


@pytest.mark.real
@STAGES
def test_real_runs_give_the_same_bits_bytes_and_messages(stage, pool):
    case = learning("zero", workers=3, stage=stage)
    real, simulated = executed(case, pool), simulate(case)
    same_figures = ("bytes_sent_per_worker_per_step", "messages_sent_per_worker_per_step", "updates", "loss")
    assert [real.summary[name] for name in same_figures] == [simulated.summary[name] for name in same_figures]
    for mine, yours in zip(real.returns, simulated.returns, strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(mine, yours, strict=True))


@pytest.mark.real
def test_a_real_hybrid_run_holds_the_tensors_that_it_says(pool):
    real = executed(learning("zero", workers=4, stage=3, replicas=2, steps=2), pool)
    for rank in range(4):
        said, counted = course_of(real.trace, rank), tensors_of(real.trace, rank)
        assert [held.bytes_of for held in said] == [held.bytes_of for held in counted]
