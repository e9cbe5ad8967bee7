"""Sums of workers in code: the identity changes nothing, ways to sum agree, nothing is lost, bytes are the law's."""

import pytest
import torch

from parasim import simulate
from parasim.compression import COMPRESSORS
from parasim.compression.half import Fp16
from parasim.compression.identity import Identity
from parasim.compression.topk import TopK
from parasim.errors import ScenarioError
from parasim.learning.build import make_learner, pin_threads
from parasim.learning.tensors import TorchTensors
from parasim.program import Span
from parasim.program.coded_sums import summand_function, total_function
from parasim.program.coding import encoder
from parasim.program.draws import Draws
from parasim.schemes import SCHEMES
from tests.schemes_real import learning, same_in_both
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, weights

MODEL, STEPS = EXACT_MODELS["two layers"]
PARAMETERS = 16 * 8 + 8 * 4
WORKERS = 4
SUMMING = {
    "allreduce": {"bucket_bytes": 1},
    "accumulation": {"micro_batches": 2},
    "pipe_sgd": {},
    "local_sgd": {"period": 2, "momentum": "average"},
    "bmuf": {"period": 1, "block_momentum": 0.5},
}
"""Schemes whose workers sum gradients or models, with options that stay exact."""


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def exact(kind, compression=None, steps=STEPS, **settings):
    options = {"model": MODEL, "data": EXACT_DATA, "dtype": "float64", "learn": True, "batch": 4}
    return run(kind, WORKERS, steps=steps, compression=compression, **options | settings)


def final(result):
    """Weights of all workers, which must be equal."""
    first = weights(result, range(1))
    for rank in range(1, WORKERS):
        assert torch.equal(weights(result, range(rank, rank + 1)), first)
    return first


def learner_of(case):
    """Model and data of a scenario, beside any run."""
    work = case.workload
    return make_learner(
        work.model_kind, work.model_options, work.data_kind, work.data_options, case.run.seed, work.dtype
    )


def gradient_of(learner, model, step, worker):
    """The gradient that a worker with four samples a step finds."""
    whole, samples = learner.model.whole, learner.samples(step, 4 * worker, 4 * (worker + 1), 4 * WORKERS)
    _, saved = learner.forward(whole, model, learner.inputs(samples), samples)
    return learner.backward(whole, saved, None)[1]


# nothing changes -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("aggregation", ["auto", "gather", "server"])
@pytest.mark.parametrize("kind", SUMMING)
def test_the_identity_changes_no_bit_of_any_scheme(kind, aggregation):
    plain = final(exact(kind, **SUMMING[kind]))
    coded = exact(kind, {"kind": "identity", "aggregation": aggregation, "error_feedback": True}, **SUMMING[kind])
    assert torch.equal(final(coded), plain)


def test_schemes_that_sum_over_workers_are_all_tested():
    assert set(SUMMING) == {name for name, scheme in SCHEMES.items() if scheme.compresses in ("sums", "models")}


def test_top_k_of_all_elements_changes_no_bit():
    plain = final(exact("allreduce"))
    for aggregation in ("gather", "server"):
        assert torch.equal(
            final(exact("allreduce", {"kind": "topk", "density": 1.0, "aggregation": aggregation})), plain
        )


def test_the_identity_changes_no_bit_where_sums_are_rounded():
    """The same all-reduce of the same numbers."""
    plain, coded = (
        run("allreduce", 3, data={"kind": "regression"}, learn=True, compression=compression)
        for compression in (None, {"kind": "identity"})
    )
    assert torch.equal(weights(plain, range(1)), weights(coded, range(1)))


# nothing is lost -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["messages", "sums"])
@pytest.mark.parametrize("code", [TopK(density=0.25), Fp16(), Identity()])
def test_what_was_decoded_and_what_is_left_are_what_was_put_in(code, mode):
    """To the bit, of integers: sum of decoded + last error = sum of gradients (SCHEMES 10)."""
    if mode == "sums" and not code.rounds:
        pytest.skip("codes that can't be added up")
    xp, span = TorchTensors("float64"), Span(16, 8, (), 1)
    random = torch.Generator().manual_seed(1)
    error, put_in, came_out = xp.zeros(16), xp.zeros(16), xp.zeros(16)
    for step in range(20):
        gradient = torch.randint(-5000, 5000, (16,), generator=random).double()
        put_in += gradient
        draws = {"own": Draws(0), "common": Draws(0), "step": step}
        if mode == "messages":
            code.add_decoded(xp, came_out, encoder(code, span, True)(xp, error, gradient, **draws), span)
        else:
            made = summand_function(code, span, True, 0)(xp, error, gradient, **draws)
            total = xp.copy(gradient)
            total_function(code, span, True)(xp, total, error, made, **draws)
            came_out += total
    assert torch.equal(came_out + error, put_in)
    assert code == Identity() or float(error.norm()) > 0


@pytest.mark.parametrize("feedback", [True, False])
def test_runs_feed_errors_back_from_step_to_step(feedback):
    """Six steps restated: each worker sends the largest tenth of gradient and error and keeps the rest."""
    data = {"kind": "regression", "inputs": 16, "outputs": 4}  # of classes gradients of a layer are equal in size
    options = {"model": MODEL, "data": data, "dtype": "float64", "learn": True, "batch": 4}
    code = {"kind": "topk", "density": 0.1, "error_feedback": feedback}
    case = make("allreduce", WORKERS, steps=6, compression=code, optimizer={"kind": "sgd", "lr": 0.01}, **options)
    learner = learner_of(case)
    model, errors = learner.initial(learner.model.whole).clone(), torch.zeros(WORKERS, PARAMETERS).double()
    for step in range(6):
        for i, gradient in enumerate([gradient_of(learner, model, step, i) for i in range(WORKERS)]):
            wanted = gradient + errors[i]
            sent = largest_tenth(wanted)
            model -= 0.01 / WORKERS * sent
            errors[i] = wanted - sent if feedback else 0.0
    assert torch.allclose(final(simulate(case)), model, rtol=0, atol=1e-13)


def largest_tenth(vector):
    return torch.where(vector.abs() >= vector.abs().topk(len(vector) // 10).values[-1], vector, 0.0)


def test_two_quantisations_have_an_error_each():
    """Six steps restated: worker j sums the pieces j in code, adds what it kept of such sums and codes them again."""
    data = {"kind": "regression", "inputs": 16, "outputs": 4}
    options = {"model": MODEL, "data": data, "dtype": "float64", "learn": True, "batch": 4}
    code = {"kind": "topk", "density": 0.1, "error_feedback": True, "aggregation": "server"}
    case = make("allreduce", WORKERS, steps=6, compression=code, optimizer={"kind": "sgd", "lr": 0.01}, **options)
    learner = learner_of(case)
    model, errors = learner.initial(learner.model.whole).clone(), torch.zeros(WORKERS, PARAMETERS).double()
    kept = torch.zeros(PARAMETERS).double()
    for step in range(6):
        errors += torch.stack([gradient_of(learner, model, step, i) for i in range(WORKERS)])
        for piece in torch.arange(PARAMETERS).chunk(WORKERS):
            for worker in range(WORKERS):
                sent = largest_tenth(errors[worker, piece])
                errors[worker, piece] -= sent
                kept[piece] += sent
            again = largest_tenth(kept[piece])
            kept[piece] -= again
            model[piece] -= 0.01 / WORKERS * again
    assert torch.allclose(final(simulate(case)), model, rtol=0, atol=1e-13)


# votes ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("aggregation", ["gather", "server"])
def test_the_majority_of_signs_decides(aggregation):
    """Each weight moves by the learning rate, against the sign of most of four workers' gradients; a tie is -1."""
    options = {"model": MODEL, "data": {"kind": "classification"}, "dtype": "float64", "learn": True, "batch": 4}
    rule = {"kind": "sgd", "lr": 0.25}
    code = {"kind": "signsgd", "aggregation": aggregation}
    case = make("allreduce", WORKERS, steps=1, compression=code, optimizer=rule, **options)
    learner = learner_of(case)
    start = learner.initial(learner.model.whole)
    votes = sum(torch.where(gradient_of(learner, start, 0, i) > 0, 1, -1) for i in range(WORKERS))
    assert {-4, -2, 0, 2, 4} == set(votes.tolist())
    assert torch.equal(final(simulate(case)), start - torch.where(votes > 0, 0.25, -0.25))


def test_all_workers_round_to_the_largest_of_their_scalers():
    """TernGrad's scaler sharing: each array moves by whole numbers of the largest magnitude that any worker has."""
    options = {"model": MODEL, "data": {"kind": "classification"}, "dtype": "float64", "learn": True, "batch": 4}
    code = {"kind": "terngrad_shared", "clip": 0.0}
    case = make("allreduce", WORKERS, steps=1, compression=code, optimizer={"kind": "sgd", "lr": 1.0}, **options)
    learner = learner_of(case)
    start = learner.initial(learner.model.whole)
    gradients = torch.stack([gradient_of(learner, start, 0, i) for i in range(WORKERS)])
    moved = (start - final(simulate(case))) * WORKERS
    for array in (slice(0, 16 * 8), slice(16 * 8, PARAMETERS)):
        levels = moved[array] / gradients[:, array].abs().max()
        assert torch.allclose(levels, levels.round(), rtol=0, atol=1e-9)
        assert 1 <= float(levels.abs().max()) <= WORKERS


# every code ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["allreduce", "local_sgd"])
@pytest.mark.parametrize("code", COMPRESSORS)
def test_every_code_goes_together_with_every_way_to_sum_that_it_allows(code, kind):
    """All workers end with equal bits; a run without values sends as much, unless values decide how much."""
    options = {"model": {"kind": "mlp", "depth": 2, "width": 24}, "data": {"kind": "classification"}, "steps": 3}
    for aggregation in ("auto", "gather", *(() if COMPRESSORS[code].varying else ("server",))):
        compression = {"kind": code, "aggregation": aggregation}
        learned, counted = (run(kind, 4, compression=compression, learn=learn, **options) for learn in (True, False))
        final(learned)
        if not COMPRESSORS[code].varying:
            for figure in ("bytes_sent_per_worker_per_step", "messages_sent_per_worker_per_step", "seconds"):
                assert learned.summary[figure] == counted.summary[figure]


@pytest.mark.parametrize("code", ["onebit", "signsgd", "topk", "qsgd"])
def test_one_worker_alone_codes_too(code):
    """Majority vote of one is his sign; what the others lose, error feedback or nothing gives back."""
    result = run("allreduce", 1, data={"kind": "regression"}, learn=True, steps=1, compression={"kind": code})
    still = {"kind": "sgd", "lr": 1e-30}
    start = run("allreduce", 1, data={"kind": "regression"}, learn=True, steps=1, optimizer=still)
    moved = weights(result, range(1)) - weights(start, range(1))
    assert float(moved.abs().max()) > 0
    if code == "signsgd":
        assert torch.allclose(moved.abs(), torch.tensor(0.125), rtol=1e-5)


# bytes ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("compression", "nbytes", "messages"),
    [
        ({"kind": "identity"}, 2 * 3 / 4 * 4 * PARAMETERS, 6),
        ({"kind": "fp16"}, 2 * 3 / 4 * 2 * PARAMETERS, 6),
        ({"kind": "fp16", "aggregation": "gather"}, 3 * 2 * PARAMETERS, 3),
        ({"kind": "topk", "density": 0.1}, 3 * 8 * 16, 3),
        ({"kind": "topk", "density": 0.1, "aggregation": "server"}, 2 * 3 * 8 * 4, 6),
    ],
)
def test_bytes_of_a_sum_are_those_of_the_law(compression, nbytes, messages):
    """W = 160: all-reduce 2 (N-1)/N, gather N-1 messages of the whole, server 2 (N-1) of a fourth."""
    summary = exact("allreduce", compression, dtype="float32", learn=False).summary
    assert summary["bytes_sent_per_worker_per_step"] == nbytes
    assert summary["messages_sent_per_worker_per_step"] == messages


@pytest.mark.parametrize("compression", [{"kind": "fp16"}, {"kind": "topk"}, {"kind": "topk", "aggregation": "server"}])
def test_fast_paths_change_nothing(compression):
    one, other = (
        run("allreduce", 4, compression=compression, overlap=False, fast_paths=paths, steps=5).summary
        for paths in ("all", "none")
    )
    for figure in ("seconds", "bytes_sent_per_worker_per_step", "messages_sent_per_worker_per_step", "shares"):
        assert one[figure] == pytest.approx(other[figure], rel=1e-12)


@pytest.mark.real
@pytest.mark.parametrize("compression", [{"kind": "powersgd"}, {"kind": "onebit"}, {"kind": "threshold", "tau": 0.05}])
def test_real_runs_send_the_same_bytes_and_learn_the_same_bits(compression, pool):
    same_in_both(learning("allreduce", 3, compression=compression, steps=3), pool)


@pytest.mark.real
def test_a_real_run_of_local_sgd_sends_changes(pool):
    same_in_both(learning("local_sgd", 2, compression={"kind": "topk", "density": 0.1}, period=2), pool)


# what does not go together -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "compression", "message"),
    [
        ("allreduce", {"kind": "topk", "aggregation": "reduce"}, "can't be added up by an all-reduce: use gather or"),
        ("allreduce", {"kind": "fp16", "both_ways": True}, "has no servers that send parameters: write auto"),
        (
            "gpipe",
            {"kind": "fp16"},
            r"scheme gpipe sends nothing .* works on \(but activations and their gradients\): leave it out",
        ),
        ("allreduce", {"kind": "topq"}, r"unknown compression 'topq' \(did you mean 'topk'"),
        ("allreduce", {"kind": "topk", "density": 0}, "0 must be greater than 0"),
        ("allreduce", {"kind": "topk", "error_feedback": "yes"}, "error_feedback"),
        ("allreduce", {"kind": "topk", "levels": 4}, "unknown key of compression 'topk'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(kind, compression, message):
    with pytest.raises(ScenarioError, match=message) as caught:
        make(kind, 4, compression=compression)
    assert "\n" not in str(caught.value)
