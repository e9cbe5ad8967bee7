"""Every compressor: length of its messages, what they decode to, bias, what is left over, costs (SCHEMES 10)."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
import torch

from parasim.compression import COMPRESSORS
from parasim.compression.dgc import Dgc
from parasim.compression.ef_signsgd import EfSignSgd
from parasim.compression.identity import Identity
from parasim.compression.onebit import OneBit
from parasim.compression.powersgd import PowerSgd
from parasim.compression.qsgd import Qsgd
from parasim.compression.randomk import RandomK, RescaledRandomK
from parasim.compression.signsgd import SignSgd
from parasim.compression.terngrad import SharedTernGrad, TernGrad
from parasim.compression.threshold import Threshold
from parasim.compression.topk import TopK
from parasim.learning.build import pin_threads
from parasim.learning.tensors import TorchTensors
from parasim.program import Chance, Compressor, Span
from parasim.program.coded_sums import summand_function, total_function
from parasim.program.coding import decoder, encoder
from parasim.program.draws import Draws
from parasim.program.layout import layout
from parasim.program.model import Layer, Model
from parasim.program.tensors import CountingTensors, Shape

SHAPES = ((12, 7), (12,), (5, 12), (5,), (3, 2, 3, 3))
W = 12 * 7 + 12 + 5 * 12 + 5 + 54
MODEL = Model("m", (Layer("l", W, 1.0, 1.0, 1.0, 1, 1, 1, shapes=SHAPES),))
SPAN = Span(W, 8, layout(MODEL, 0, W))
SINGLE = Span(W, 4, layout(MODEL, 0, W))
RAGGED = Span(103, 8, layout(MODEL, 5, 108))  # cuts two matrices
XP = TorchTensors("float64")
CODES = [
    *(kind() for kind in COMPRESSORS.values()),
    OneBit(uncompressed_steps=3),
    Qsgd(levels=1, bucket=10),
    Qsgd(levels=100, bucket=W, norm="max"),
    TernGrad(clip=0.0),
    Threshold(tau=0.5, density=0.5),
    TopK(density=0.2),
    RescaledRandomK(density=0.2),
    Dgc(density=0.2, clip=0.1, warmup_steps=8),
    Dgc(density=0.2, masking=False),
    PowerSgd(rank=1),
]
IDS = [f"{number}-{code.name}" for number, code in enumerate(CODES)]
code_name = attrgetter("name")
every_code = pytest.mark.parametrize("code", CODES, ids=IDS)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    pin_threads()


def chance(step: int = 0, worker: int = 0) -> Chance:
    return Chance(Draws(3, "worker", worker), Draws(3), step)


def gradient(seed: int = 0, elements: int = W) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(elements))


def state(code: Compressor, span: Span = SPAN) -> tuple[torch.Tensor, ...]:
    return tuple(XP.zeros(elements) for _, elements in code.slots(span))


def through(code: Compressor, vector: torch.Tensor, span: Span = SPAN, step: int = 0) -> np.ndarray[Any, Any]:
    """What a vector is after its journey."""
    result = code.decode(XP, code.encode(XP, vector, state(code, span), span, chance(step)), span)
    assert result.numel() == span.elements
    return result.numpy()


def panels(span: Span, vector: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    return [vector[panel.start : panel.stop].reshape(panel.rows, panel.columns) for panel in span.panels]


# length of messages --------------------------------------------------------------------------------------------------
@every_code
@pytest.mark.parametrize("span", [SPAN, SINGLE, RAGGED], ids=["whole", "float32", "ragged"])
def test_messages_are_as_long_as_the_law_says_on_shapes_and_on_values(code: Compressor, span: Span) -> None:
    counting, real = CountingTensors(span.itemsize), TorchTensors(span.dtype)
    shapes = tuple(Shape(elements, span.itemsize) for _, elements in code.slots(span))
    shape = code.encode(counting, Shape(span.elements, span.itemsize), shapes, span, Chance(1, 1, 1))  # type: ignore[arg-type]
    assert shape == Shape(code.wire_bytes(span), 1)
    slots = tuple(real.zeros(elements) for _, elements in code.slots(span))
    wire = code.encode(real, gradient(1, span.elements).to(real.dtype), slots, span, chance())
    assert wire.dtype == torch.uint8
    if not code.varying:
        assert wire.numel() == code.wire_bytes(span)
    decoded = code.decode(real, wire, span)
    assert (decoded.numel(), decoded.dtype) == (span.elements, real.dtype)
    assert code.decode(counting, shape, span) == Shape(span.elements, span.itemsize)
    assert counting.nbytes > 0


BIG = Model("b", (Layer("l", 4096 * 1000 + 1000, 1.0, 1.0, 1.0, 1, 1, 1, shapes=((1000, 4096), (1000,))),))
N = 4096 * 1000 + 1000
LARGE = Span(N, 4, layout(BIG, 0, N), members=8)


@pytest.mark.parametrize(
    ("code", "nbytes"),
    [
        (COMPRESSORS["identity"](), 4 * N),
        (COMPRESSORS["fp16"](), 2 * N),
        (COMPRESSORS["bf16"](), 2 * N),
        (OneBit(), N // 8 + 8 * (4096 + 1)),  # a vector is one column
        (Qsgd(levels=7, bucket=512), N // 2 + 4 * math.ceil(N / 512)),  # 15 levels: 4 bits
        (Qsgd(levels=1, bucket=128), N // 4 + 4 * math.ceil(N / 128)),  # 3 levels: 2 bits
        (Qsgd(levels=127, bucket=N), N + 4),
        (TernGrad(), N // 4 + 4 * 2),  # a scaler for each array
        (SignSgd(), N // 8),
        (EfSignSgd(), N // 8 + 4 * 2),
        (Threshold(density=0.001), 4 * 4097),
        (TopK(density=0.001), 8 * 4097),
        (RandomK(density=0.001), 8 * 4097),
        (Dgc(), 8 * 4097),
        (PowerSgd(rank=2), 4 * 2 * (1000 + 4096) + 4 * 1000),
    ],
    ids=lambda value: value.name if isinstance(value, Compressor) else None,
)
def test_bytes_of_the_table(code: Compressor, nbytes: int) -> None:
    """SCHEMES 10, of a layer of 1000 x 4096 weights and 1000 biases."""
    assert code.wire_bytes(LARGE) == nbytes


def test_summed_codes_send_what_the_table_says() -> None:
    xp, vector = CountingTensors(4), Shape(N, 4)
    nothing: Any = Chance(1, 1, 1)  # type: ignore[arg-type]
    assert RandomK(density=0.001).summand(xp, 0, vector, [], (), LARGE, nothing).elements == 4097
    code = PowerSgd(rank=4)
    slots = tuple(Shape(elements, 4) for _, elements in code.slots(LARGE))
    first = code.summand(xp, 0, vector, [], slots, LARGE, nothing)
    second = code.summand(xp, 1, vector, [first], slots, LARGE, nothing)
    assert (first.elements, second.elements) == (4 * 1000 + 1000, 4 * 4096)
    assert code.total(xp, [first, second], slots, LARGE, nothing) == vector
    assert 4 * (first.elements + second.elements) == code.wire_bytes(LARGE)


# what they have in common --------------------------------------------------------------------------------------------
@every_code
def test_equal_draws_give_equal_messages_and_leave_the_vector_alone(code: Compressor) -> None:
    vector = gradient(2)
    before = vector.clone()
    messages = [code.encode(XP, vector, state(code), SPAN, chance(4)) for _ in range(2)]
    assert torch.equal(*messages)
    assert torch.equal(vector, before)


@pytest.mark.parametrize("code", [Qsgd(), TernGrad(), RandomK()], ids=code_name)
def test_other_steps_and_workers_round_differently(code: Compressor) -> None:
    vector = gradient(2)
    first = code.encode(XP, vector, (), SPAN, chance(4))
    assert not torch.equal(first, code.encode(XP, vector, (), SPAN, chance(5)))
    alike = torch.equal(first, code.encode(XP, vector, (), SPAN, chance(4, worker=1)))
    assert alike == isinstance(code, RandomK)


def fed_back(code: Compressor, vectors: list[torch.Tensor]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Sum of what arrives when a worker sends these one after the other, with error feedback, and what is left."""
    arrived, error, slots = XP.zeros(W), XP.zeros(W), state(code)
    for step, vector in enumerate(vectors):
        at, draws = code.at(step), chance(step)
        wire = encoder(at, SPAN, True)(XP, error, *slots, vector, own=draws.own, common=draws.common, step=step)
        XP.add_(arrived, decoder(at, SPAN)(XP, wire))
    return arrived.numpy(), error.numpy()


@pytest.mark.parametrize("code", [code for code in CODES if not code.keeps_error], ids=code_name)
def test_nothing_is_lost_with_error_feedback(code: Compressor) -> None:
    """Sum of what was decoded, plus what is left over = sum of the gradients (SCHEMES 10)."""
    vectors = [gradient(step) for step in range(12)]
    arrived, left = fed_back(code, vectors)
    np.testing.assert_allclose(arrived + left, sum(vectors).numpy(), rtol=0, atol=1e-11)
    assert isinstance(code, Identity) != bool(np.abs(left).max() > 1e-4)


@pytest.mark.parametrize("code", [TopK(density=0.1), RandomK(density=0.1), Threshold(tau=0.25)])
def test_nothing_is_lost_to_the_bit_where_arithmetic_is_exact(code: Compressor) -> None:
    vectors = [torch.round(gradient(step) * 8) / 8 for step in range(20)]
    arrived, left = fed_back(code, vectors)
    assert np.array_equal(arrived + left, sum(vectors).numpy())
    assert np.abs(left).max() > 0


@pytest.mark.parametrize("code", [code for code in CODES if code.rounds and "16" not in code.name], ids=code_name)
def test_nothing_is_lost_of_sums_with_error_feedback(code: Compressor) -> None:
    """Sums that come out of all-reduces, plus what all three workers have left = sum of all gradients.

    Halves are left out: their sums are halves again, and what adding them up rounds is nobody's error.
    """
    span, workers = Span(W, 8, SPAN.panels, members=3), range(3)
    states = [(XP.zeros(W), *state(code, span)) for _ in workers]
    put_in, came_out = XP.zeros(W), XP.zeros(W)
    for step in range(8):
        vectors = [gradient(10 * step + worker) for worker in workers]
        draws = [chance(step, worker)._asdict() for worker in workers]
        sums: list[torch.Tensor] = []
        for number in range(code.rounds):
            function = summand_function(code, span, True, number)
            made = torch.stack([function(XP, *states[i], vectors[i], *sums, **draws[i]) for i in workers])
            sums.append(made.amax(0) if number < code.maxima else made.sum(0, dtype=made.dtype))
        for i in workers:
            XP.add_(put_in, vectors[i])
            total_function(code, span, True)(XP, vectors[i], *states[i], *sums, **draws[i])
        assert torch.equal(vectors[0], vectors[1])
        XP.add_(came_out, vectors[0])
    left = sum(error for error, *_ in states)
    np.testing.assert_allclose((came_out + left).numpy(), put_in.numpy(), rtol=0, atol=1e-11)
    assert isinstance(code, Identity) != bool(left.abs().max() > 1e-4)


@every_code
def test_zeros_stay_zeros_where_the_code_can_say_so(code: Compressor) -> None:
    decoded = through(code, XP.zeros(W))
    assert np.array_equal(np.abs(decoded), np.ones(W) if isinstance(code, SignSgd) else np.zeros(W))


@every_code
def test_adding_what_is_decoded_is_adding_the_decoded(code: Compressor) -> None:
    wire = code.encode(XP, gradient(7), state(code), SPAN, chance())
    into, other = gradient(8), gradient(8)
    code.add_decoded(XP, into, wire, SPAN, 0.5)
    XP.add_(other, code.decode(XP, wire, SPAN), 0.5)
    assert torch.equal(into, other)


def norms(size: int, kind: float) -> Any:
    """Norm of each element's bucket."""
    buckets = [gradient(3).numpy()[start : start + size] for start in range(0, W, size)]
    return np.concatenate([np.full(bucket.size, np.linalg.norm(bucket, kind)) for bucket in buckets])


@pytest.mark.parametrize(
    ("code", "width"),
    [
        (Qsgd(levels=2, bucket=50), norms(50, 2) / 2),
        (Qsgd(levels=3, bucket=64, norm="max"), norms(64, np.inf) / 3),
        (
            TernGrad(clip=0.0),
            np.concatenate([np.full(p.size, abs(p).max()) for p in panels(SPAN, gradient(3).numpy())]),
        ),
        (RescaledRandomK(0.3), np.abs(gradient(3).numpy()) / 0.3),
    ],
    ids=["qsgd", "qsgd max", "terngrad", "randomk_rescaled"],
)
def test_unbiased_codes_are_right_on_average(code: Compressor, width: Any) -> None:
    """Every element takes one of two values `width` apart: Hoeffding's bound of their mean, one test in a million."""
    journeys = np.stack([through(code, gradient(3), step=step) for step in range(500)])
    bound = np.sqrt(np.log(2 * W / 1e-6) / (2 * len(journeys)))
    assert np.abs((journeys.mean(0) - gradient(3).numpy()) / width).max() < bound < 0.16
    assert (journeys.std(0) / width).mean() > 0.2  # they do differ


def test_a_biased_code_is_not_right_on_average() -> None:
    vector = gradient(3)
    journeys = np.stack([through(RandomK(0.3), vector, step=step) for step in range(300)])
    np.testing.assert_allclose(journeys.mean(0), 0.3 * vector.numpy(), atol=0.3)
    assert np.abs(journeys.mean(0) - vector.numpy()).max() > 1.0


# one by one ----------------------------------------------------------------------------------------------------------
def test_one_bit_sends_the_least_squares_values_of_every_column() -> None:
    """Normal equations: the errors of what is above zero, and of what is not, sum to zero in every column."""
    for span in (SPAN, RAGGED):
        vector = gradient(5, span.elements)
        pairs = zip(panels(span, vector.numpy()), panels(span, through(OneBit(), vector, span)), strict=True)
        for panel, pair in zip(span.panels, pairs, strict=True):
            before, after = pair if panel.is_matrix else [array.reshape(-1, 1) for array in pair]
            for mask in (before > 0, before <= 0):
                np.testing.assert_allclose(np.where(mask, before - after, 0.0).sum(0), 0.0, atol=1e-12)
            for column, values in zip(before.T, after.T, strict=True):
                assert len(set(values)) <= 2
                assert len(set(values[column > 0])) <= 1


def test_one_bit_sends_the_first_steps_uncompressed() -> None:
    code = OneBit(uncompressed_steps=3)
    assert [code.at(step).name for step in range(5)] == ["identity"] * 3 + ["onebit"] * 2


def test_qsgd_rounds_to_the_levels_around_and_errs_within_its_bound() -> None:
    bucket, levels = 50, 4
    code, vector = Qsgd(levels=levels, bucket=bucket), gradient(6)
    journeys = np.stack([through(code, vector, step=step) for step in range(200)])
    for start in range(0, W, bucket):
        part = vector.numpy()[start : start + bucket]
        norm = np.linalg.norm(part)
        level = journeys[:, start : start + bucket] / norm * levels
        np.testing.assert_allclose(level, np.rint(level), atol=1e-9)
        assert np.abs(level - part / norm * levels).max() < 1.0
        squared = ((journeys[:, start : start + bucket] - part) ** 2).sum(1).mean()
        assert squared <= min(bucket / levels**2, math.sqrt(bucket) / levels) * norm**2


def test_terngrad_is_restated_in_numpy() -> None:
    vector, draws = gradient(9), Draws(3, "worker", 0).generator("rounding", 2).random(W)
    wanted = []
    for panel, array in zip(SPAN.panels, panels(SPAN, vector.numpy()), strict=True):
        limit = 1.5 * array.std()
        values = np.clip(array.ravel(), -limit, limit)
        scaler = np.abs(values).max()
        kept = np.abs(values) > draws[panel.start : panel.stop] * scaler
        wanted.append(np.where(kept, np.sign(values) * scaler, 0.0))
    np.testing.assert_allclose(through(TernGrad(clip=1.5), vector, step=2), np.concatenate(wanted), rtol=1e-12)


@pytest.mark.parametrize("workers", [3, 200])
def test_terngrad_on_one_grid_sums_integers(workers: int) -> None:
    """All levels are between -N and N of the largest scaler, and right on average."""
    code, span = SharedTernGrad(clip=0.0), Span(W, 8, SPAN.panels, workers)
    vectors = [gradient(seed) for seed in range(workers)]
    scalers = torch.stack([code.summand(XP, 0, v, [], (), span, chance(2, i)) for i, v in enumerate(vectors)]).amax(0)
    levels = [code.summand(XP, 1, v, [scalers], (), span, chance(2, i)) for i, v in enumerate(vectors)]
    assert {level.dtype for level in levels} == {torch.uint8 if workers == 3 else torch.int32}
    total = code.total(XP, [scalers, torch.stack(levels).sum(0, dtype=levels[0].dtype)], (), span, chance(2)).numpy()
    whole = torch.stack(vectors).sum(0).numpy()
    for scaler, found, wanted in zip(scalers, panels(span, total), panels(span, whole), strict=True):
        steps = found / float(scaler)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
        assert np.abs(steps).max() <= workers
        bound = float(scaler) * math.sqrt(2 * workers * math.log(2 * W / 1e-6))  # Hoeffding
        assert np.abs(found - wanted).max() < bound
    if workers == 200:
        assert np.corrcoef(total, whole)[0, 1] > 0.4


def test_signs_are_signs() -> None:
    vector = gradient(10)
    assert np.array_equal(through(SignSgd(), vector), np.sign(vector.numpy()))
    for before, after in zip(panels(SPAN, vector.numpy()), panels(SPAN, through(EfSignSgd(), vector)), strict=True):
        np.testing.assert_allclose(after, np.abs(before).mean() * np.sign(before), rtol=1e-12)


def test_threshold_sends_four_bytes_for_each_element_beyond_it() -> None:
    vector, code = gradient(11), Threshold(tau=0.75)
    beyond = np.abs(vector.numpy()) > 0.75
    assert code.encode(XP, vector, (), SPAN, chance()).numel() == 4 * beyond.sum()
    assert np.array_equal(through(code, vector), np.where(beyond, 0.75 * np.sign(vector.numpy()), 0.0))
    assert code.encode(XP, XP.zeros(W), (), SPAN, chance()).numel() == 0


@pytest.mark.parametrize("code", [TopK(density=1.0), RandomK(density=1.0), RescaledRandomK(density=1.0)])
def test_all_elements_of_a_sparse_code_are_the_identity(code: Compressor) -> None:
    vector = gradient(12)
    assert np.array_equal(through(code, vector), through(Identity(), vector))


def test_top_k_keeps_the_largest() -> None:
    vector = gradient(13).numpy()
    kept = np.sort(np.argsort(-np.abs(vector))[:43])
    decoded = through(TopK(density=43 / W), torch.from_numpy(vector))
    assert np.array_equal(np.flatnonzero(decoded), kept)
    assert np.array_equal(decoded[kept], vector[kept])


def test_random_k_sums_places_that_all_draw_alike() -> None:
    code, vectors = RandomK(density=0.1), [gradient(seed) for seed in range(3)]
    summands = [code.summand(XP, 0, v, [], (), SPAN, chance(4, worker)) for worker, v in enumerate(vectors)]
    total = code.total(XP, [torch.stack(summands).sum(0)], (), SPAN, chance(4))
    decoded = sum(through(code, vector, step=4) for vector in vectors)
    assert np.array_equal(total.numpy(), decoded)
    assert np.count_nonzero(decoded) == round(0.1 * W)


@pytest.mark.parametrize("masking", [True, False])
def test_dgc_takes_the_steps_of_its_paper(masking: bool) -> None:
    """Lin et al. 2018, algorithm 4, with local clipping, in plain NumPy; twelve steps of one worker of four."""
    span = Span(W, 8, SPAN.panels, members=4)
    code = Dgc(density=0.1, momentum=0.5, clip=12.0, masking=masking)
    slots = state(code)
    u, v = np.zeros(W), np.zeros(W)
    clipped = 0
    for step in range(12):
        g = gradient(step).numpy()
        local = 12.0 / math.sqrt(4)
        if np.linalg.norm(g) > local:
            g, clipped = g * (local / np.linalg.norm(g)), clipped + 1
        u = 0.5 * u + g
        v = v + u
        mask = np.abs(v) >= np.sort(np.abs(v))[-code.kept(span)]
        sent = np.where(mask, v, 0.0)
        u, v = np.where(mask & masking, 0.0, u), np.where(mask, 0.0, v)
        decoded = code.decode(XP, code.encode(XP, gradient(step), slots, span, chance(step)), span)
        np.testing.assert_allclose(decoded.numpy(), sent, rtol=1e-12)
        np.testing.assert_allclose(slots[0].numpy(), u, rtol=1e-12)
        np.testing.assert_allclose(slots[1].numpy(), v, rtol=1e-12)
    assert clipped == 12


def test_dgc_leaves_small_gradients_as_they_are() -> None:
    slots = [state(Dgc(clip=clip)) for clip in (0.0, 1e3)]
    messages = [Dgc(clip=c).encode(XP, gradient(), s, SPAN, chance()) for c, s in zip((0.0, 1e3), slots, strict=True)]
    assert torch.equal(*messages)


def test_dgc_loses_nothing_without_momentum() -> None:
    code = Dgc(density=0.1, momentum=0.0)
    slots, sent, put_in = state(code), np.zeros(W), np.zeros(W)
    for step in range(20):
        vector = torch.round(gradient(step) * 8) / 8
        put_in += vector.numpy()
        sent += code.decode(XP, code.encode(XP, vector, slots, SPAN, chance(step)), SPAN).numpy()
    assert np.array_equal(sent + slots[1].numpy(), put_in)


def test_dgc_sends_fewer_elements_from_stage_to_stage() -> None:
    """Sparsity of 75, 93.75, 98.44, 99.6, 99.9 %, and never below the last."""

    def densities(code: Compressor, steps: int) -> list[float]:
        return [now.density for step in range(steps) if isinstance(now := code.at(step), Dgc)]

    wanted = [d for e in range(1, 5) for d in [0.25**e] * 2]
    assert densities(Dgc(warmup_steps=8), 10) == [*wanted, 0.001, 0.001]
    assert densities(Dgc(density=0.05, warmup_steps=4), 6) == [0.25, 0.0625, 0.05, 0.05, 0.05, 0.05]
    assert densities(Dgc(density=0.3, warmup_steps=2), 3) == [0.3] * 3


def low_rank(rank: int, seed: int = 0) -> torch.Tensor:
    """Matrices of this rank, and vectors."""
    random = np.random.default_rng(seed)
    found = []
    for panel in SPAN.panels:
        r = min(rank, panel.rows, panel.columns)
        left, right = random.standard_normal((panel.rows, r)), random.standard_normal((r, panel.columns))
        found.append((left @ right).ravel())
    return torch.from_numpy(np.concatenate(found))


@pytest.mark.parametrize("rank", [1, 2])
def test_powersgd_of_at_least_the_rank_is_exact_after_one_iteration(rank: int) -> None:
    vector = low_rank(1)
    np.testing.assert_allclose(through(PowerSgd(rank=rank), vector), vector.numpy(), rtol=1e-9, atol=1e-11)
    assert np.abs(through(PowerSgd(rank=1), low_rank(2)) - low_rank(2).numpy()).max() > 0.1


def summed(code: PowerSgd, vectors: list[torch.Tensor], slots: list[tuple[torch.Tensor, ...]], step: int) -> Any:
    """What workers find by two all-reduces, each for itself."""
    before: list[torch.Tensor] = []
    for number in range(2):
        parts = [
            code.summand(XP, number, vector, before, slots[worker], SPAN, chance(step, worker))
            for worker, vector in enumerate(vectors)
        ]
        before.append(torch.stack(parts).sum(0))
    totals = [code.total(XP, before, own, SPAN, chance(step, worker)) for worker, own in enumerate(slots)]
    for total in totals[1:]:
        assert torch.equal(total, totals[0])
    return totals[0].numpy()


def test_powersgd_is_linear_and_agrees_with_its_paper() -> None:
    """Vogels et al. 2019, algorithm 1, in NumPy, on the sum of three workers' matrices; three steps."""
    code, workers = PowerSgd(rank=1), 3
    slots = [state(code) for _ in range(workers)]
    start: list[Any] = [None] * len(SPAN.panels)
    for step in range(3):
        vectors = [gradient(10 * step + worker) for worker in range(workers)]
        total = summed(code, vectors, slots, step)
        whole = panels(SPAN, torch.stack(vectors).sum(0).numpy())
        first = panels(SPAN, summed(code, vectors, [state(code) for _ in range(workers)], step))
        for number, (panel, matrix, found) in enumerate(zip(SPAN.panels, whole, panels(SPAN, total), strict=True)):
            if not panel.is_matrix:
                np.testing.assert_allclose(found, matrix, rtol=1e-12)
                continue
            if step:
                p, _ = np.linalg.qr(matrix @ start[number])
                np.testing.assert_allclose(found, p @ (p.T @ matrix), rtol=1e-9, atol=1e-11)
                assert np.abs(found - first[number]).max() > 1e-3  # warm start: not that of a new beginning
            left, _, _ = np.linalg.svd(found)
            start[number] = matrix.T @ left[:, :1]


def test_powersgd_of_many_workers_is_that_of_one_with_their_sum() -> None:
    """From the first step on: all draw the same first Q, whoever they are."""
    vectors, whole = [gradient(seed) for seed in range(3)], sum(gradient(seed) for seed in range(3))
    assert isinstance(whole, torch.Tensor)
    code = PowerSgd(rank=2)
    many, one = (summed(code, given, [state(code) for _ in given], 0) for given in (vectors, [whole]))
    np.testing.assert_allclose(many, one, rtol=1e-9, atol=1e-11)


def test_powersgd_in_messages_goes_on_from_the_last_q() -> None:
    """Power iteration of one gradient, sent again and again, ends at its best approximation of rank 1."""
    code, vector = PowerSgd(rank=1), gradient(16)
    slots, decoded = state(code), torch.zeros(0)
    for step in range(200):
        decoded = code.decode(XP, code.encode(XP, vector, slots, SPAN, chance(step)), SPAN)
    for panel, found, matrix in zip(
        SPAN.panels, panels(SPAN, decoded.numpy()), panels(SPAN, vector.numpy()), strict=True
    ):
        if panel.is_matrix:
            left, values, right = np.linalg.svd(matrix)
            np.testing.assert_allclose(found, values[0] * np.outer(left[:, 0], right[0]), atol=1e-6)


def test_powersgd_sends_small_matrices_as_they_are() -> None:
    """Two matrices of rank 6 would be larger than one of 12 x 7."""
    assert PowerSgd(rank=6).wire_bytes(SPAN) == 8 * W
    vector = gradient(14)
    assert np.array_equal(through(PowerSgd(rank=6), vector), vector.numpy())


def test_powersgd_comes_closer_with_more_rank() -> None:
    vector = gradient(15)
    errors = [np.linalg.norm(through(PowerSgd(rank=rank), vector) - vector.numpy()) for rank in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2] > 0
