"""The tensor namespace on torch: every verb against numpy, and its shapes against the counting namespace."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim.learning.build import pin_threads
from parasim.learning.tensors import DTYPES, TorchTensors
from parasim.program.draws import Draws
from parasim.program.tensors import CountingTensors, Shape, Tensors

N = 37  # no multiple of a vector register
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal(N)
Y = RANDOM.standard_normal(N)
MASK = RANDOM.random(N) > 0.5
INDICES = np.array([5, 0, 36, 7], dtype=np.int32)
VALUES = np.array([1.0, -2.0, 3.0, 4.0])
MATRIX = RANDOM.standard_normal((9, 4))
OTHER = RANDOM.standard_normal((4, 5))
DRAWS = Draws(3, "worker", 1)
SMALL = RANDOM.integers(0, 8, N).astype(np.int32)


def packed(mask):
    return np.packbits(mask, bitorder="little")


def packed_integers(integers, bits):
    ones = (integers[:, None] >> np.arange(bits)) & 1
    return packed(ones.ravel())


def chosen(k):
    return np.sort(DRAWS.generator("indices", 4).choice(N, k, replace=False, shuffle=False)).astype(np.int32)


def changed(array, change):
    result = array.copy()
    change(result)
    return result


def top(array, k):
    order = np.lexsort((np.arange(array.size), -np.abs(array)))[:k]
    return array[order], order


def q_of(matrix):
    q, r = np.linalg.qr(matrix)
    return (q * np.where(np.diag(r) < 0, -1.0, 1.0)).ravel()


# verb, arguments (arrays become tensors), expected result; of a verb ending in "_" what its first argument becomes
CASES = [
    ("zeros", (N,), np.zeros(N)),
    ("zeros_like", (X,), np.zeros(N)),
    ("copy", (X,), X),
    ("concatenate", ([X, VALUES],), np.concatenate([X, VALUES])),
    ("cast", (X, "float16"), X.astype(np.float16)),
    ("cast", (X, "float32"), X.astype(np.float32)),
    ("cast", (np.abs(X) * 9, "uint8"), (np.abs(X) * 9).astype(np.uint8)),
    ("copy_", (X, Y), Y),
    ("add_", (X, Y), X + Y),
    ("add_", (X, Y, -0.5), X - 0.5 * Y),
    ("scale_", (X, 0.3), X * 0.3),
    ("fill_", (X, 7.0), np.full(N, 7.0)),
    ("maximum_", (X, Y), np.maximum(X, Y)),
    ("add", (X, Y), X + Y),
    ("add", (X, 2.0), X + 2.0),
    ("add", (X, Y, 0.25), X + 0.25 * Y),
    ("add", (X, 2.0, 0.25), X + 0.5),
    ("multiply", (X, Y), X * Y),
    ("multiply", (X, -3.0), X * -3.0),
    ("divide", (X, Y), X / Y),
    ("divide", (X, 3.0), X / 3.0),
    ("sqrt", (np.abs(X),), np.sqrt(np.abs(X))),
    ("absolute", (X,), np.abs(X)),
    ("sign", (np.where(MASK, X, 0.0),), np.sign(np.where(MASK, X, 0.0))),
    ("floor", (X * 3,), np.floor(X * 3)),
    ("clip", (X, -0.5, 0.25), np.clip(X, -0.5, 0.25)),
    ("clip", (X, np.array([-0.5]), np.array([0.25])), np.clip(X, -0.5, 0.25)),
    ("multiply", (X, np.array([3.0])), X * 3.0),
    ("divide", (X, np.array([3.0])), X / 3.0),
    ("greater", (X, np.array([0.1])), X > 0.1),
    ("greater", (X, Y), X > Y),
    ("greater", (X, 0.1), X > 0.1),
    ("where", (MASK, X, Y), np.where(MASK, X, Y)),
    ("where", (MASK, X, 0.0), np.where(MASK, X, 0.0)),
    ("where", (MASK, 0.1, Y), np.where(MASK, 0.1, Y)),
    ("where", (MASK, 0.1, -0.1), np.where(MASK, 0.1, -0.1)),
    ("uniform", (X, DRAWS, "rounding", 4), DRAWS.generator("rounding", 4).random(N)),
    ("sum", (X,), np.array([X.sum()])),
    ("maximum", (X,), np.array([X.max()])),
    ("norm", (X,), np.array([np.linalg.norm(X)])),
    ("dot", (X, Y), np.array([X @ Y])),
    ("top_k", (X, 6), top(X, 6)),
    ("top_k", (X, N), top(X, N)),
    ("top_k", (X, 0), top(X, 0)),
    ("take", (X, INDICES), X[INDICES]),
    ("put_", (X, INDICES, VALUES), changed(X, lambda a: a.__setitem__(INDICES, VALUES))),
    ("add_at_", (X, INDICES, VALUES), changed(X, lambda a: np.add.at(a, INDICES, VALUES))),
    ("add_at_", (X, INDICES * 0, VALUES), changed(X, lambda a: np.add.at(a, INDICES * 0, VALUES))),
    ("pack_bits", (MASK,), packed(MASK)),
    ("unpack_bits", (packed(MASK), N), MASK),
    ("indices", (MASK, int(MASK.sum())), np.flatnonzero(MASK).astype(np.int32)),
    ("choose", (X, 9, DRAWS, "indices", 4), chosen(9)),
    ("pack_integers", (SMALL, 3), packed_integers(SMALL, 3)),
    ("pack_integers", (SMALL.astype(float), 8), SMALL.astype(np.uint8)),
    ("pack_integers", (SMALL * 100, 11), packed_integers(SMALL * 100, 11)),
    ("unpack_integers", (packed_integers(SMALL, 3), N, 3), SMALL),
    ("unpack_integers", (SMALL.astype(np.uint8), N, 8), SMALL),
    ("unpack_integers", (packed_integers(SMALL * 100, 11), N, 11), SMALL * 100),
    ("bytes_of", ([X, INDICES],), np.frombuffer(X.tobytes() + INDICES.tobytes(), np.uint8)),
    ("from_bytes", (np.frombuffer(INDICES.tobytes(), np.uint8), "int32"), INDICES),
    ("from_bytes", (np.frombuffer(X.astype("float32").tobytes(), np.uint8)[4:], "float32"), X.astype("float32")[1:]),
    ("sum_rows", (MATRIX.ravel(), 9, 4), MATRIX.sum(1)),
    ("sum_columns", (MATRIX.ravel(), 9, 4), MATRIX.sum(0)),
    ("maximum_rows", (MATRIX.ravel(), 9, 4), MATRIX.max(1)),
    ("spread_rows", (VALUES, 3), np.repeat(VALUES, 3)),
    ("spread_columns", (VALUES, 3), np.tile(VALUES, 3)),
    ("matmul", (MATRIX.ravel(), OTHER.ravel(), 9, 4, 5), (MATRIX @ OTHER).ravel()),
    ("transpose", (MATRIX.ravel(), 9, 4), MATRIX.T.ravel()),
    ("orthonormalise", (MATRIX.ravel(), 9, 4), q_of(MATRIX)),
]
IDS = [f"{i}-{case[0]}" for i, case in enumerate(CASES)]


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


def mapped(arguments, function):
    """Apply `function` to the arrays among (possibly nested) arguments."""
    if isinstance(arguments, np.ndarray):
        return function(arguments)
    if isinstance(arguments, (list, tuple)):
        return type(arguments)(mapped(argument, function) for argument in arguments)
    return arguments


def tensor(array):
    return torch.from_numpy(array.copy())


def shape(array):
    return Shape(array.size, array.itemsize)


def call(xp, verb, arguments):
    """Results as a list; for verbs that write, their first argument."""
    result = getattr(xp, verb)(*arguments)
    if verb.endswith("_"):
        assert result is None
        return [arguments[0]]
    return list(result) if isinstance(result, tuple) else [result]


def test_every_verb_has_a_case():
    verbs = {name for name, _ in inspect.getmembers(Tensors, inspect.isfunction) if not name.startswith("_")}
    assert verbs == {case[0] for case in CASES}


@pytest.mark.parametrize(("verb", "arguments", "expected"), CASES, ids=IDS)
def test_verb_equals_numpy(verb, arguments, expected):
    results = call(TorchTensors("float64"), verb, mapped(arguments, tensor))
    wanted = expected if isinstance(expected, tuple) else (expected,)
    for result, want in zip(results, wanted, strict=True):
        assert result.dim() == 1
        assert result.is_contiguous()
        np.testing.assert_allclose(result.numpy(), want, rtol=1e-12, atol=1e-13)
        if want.dtype.kind in "iub" and verb != "top_k":
            assert result.numpy().dtype == want.dtype


@pytest.mark.parametrize(("verb", "arguments", "expected"), CASES, ids=IDS)
def test_counting_namespace_agrees_on_shapes(verb, arguments, expected):
    counting = CountingTensors(itemsize=8)
    shapes = call(counting, verb, mapped(arguments, shape))
    results = call(TorchTensors("float64"), verb, mapped(arguments, tensor))
    assert [Shape(r.numel(), r.element_size()) for r in results] == shapes
    assert counting.nbytes > 0


@pytest.mark.parametrize(("verb", "arguments", "expected"), CASES, ids=IDS)
def test_verbs_leave_other_arguments_alone_and_repeat(verb, arguments, expected):
    xp = TorchTensors("float64")
    first, second = mapped(arguments, tensor), mapped(arguments, tensor)
    results = call(xp, verb, first), call(xp, verb, second)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    for position, argument in enumerate(arguments):
        if isinstance(argument, np.ndarray) and not (position == 0 and verb.endswith("_")):
            np.testing.assert_array_equal(first[position].numpy(), argument)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_slice_is_updated_as_the_whole(dtype):
    xp = TorchTensors(dtype)
    x, y = xp.cast(tensor(X), dtype), xp.cast(tensor(Y), dtype)
    whole, parts = xp.copy(x), xp.copy(x)
    xp.add_(whole, y, -0.1)
    for start in range(0, N, 5):
        xp.add_(parts[start : start + 5], y[start : start + 5], -0.1)
    assert torch.equal(whole, parts)


def test_scalars_and_zeros_take_the_type_of_the_namespace():
    mask = torch.tensor([True, False])
    assert TorchTensors("float32").zeros(3).dtype == torch.float32
    assert TorchTensors("float64").where(mask, 0.1, 0.2).tolist() == [0.1, 0.2]
    assert TorchTensors("float32").sum(mask).dtype == torch.float32


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.data())
def test_top_k_breaks_ties_by_index(values, data):
    k = data.draw(st.integers(0, len(values)))
    array = np.array(values, dtype=np.float32)
    found, indices = TorchTensors().top_k(tensor(array), k)
    want, order = top(array, k)
    assert indices.dtype == torch.int32
    assert indices.tolist() == order.tolist()
    assert found.tolist() == want.tolist()


def test_top_k_of_a_diverged_vector_still_has_k_elements():
    x = torch.tensor([1.0, float("nan"), float("inf"), -2.0, float("nan")])
    _, indices = TorchTensors().top_k(x, 4)
    assert indices.tolist() == [1, 2, 4, 3]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_bits_survive_packing(bits):
    xp = TorchTensors()
    mask = torch.tensor(bits)
    sent = xp.pack_bits(mask)
    assert sent.numel() == (len(bits) + 7) // 8
    assert torch.equal(xp.unpack_bits(sent, len(bits)), mask)


def test_orthonormal_columns_even_of_a_deficient_matrix():
    matrix = np.outer(np.arange(1.0, 7.0), [1.0, 2.0])
    q = TorchTensors("float64").orthonormalise(tensor(matrix.ravel()), 6, 2).view(6, 2)
    np.testing.assert_allclose(q.T @ q, np.eye(2), atol=1e-12)


def test_uniform_is_below_one_and_keyed():
    xp = TorchTensors("float32")
    x = xp.zeros(10_000)
    draws = xp.uniform(x, Draws(1), "rounding", 0)
    assert draws.dtype == torch.float32
    assert 0.0 <= float(draws.min()) <= float(draws.max()) < 1.0
    assert torch.equal(draws, xp.uniform(x, Draws(1), "rounding", 0))
    assert not torch.equal(draws, xp.uniform(x, Draws(1), "rounding", 1))
    with pytest.raises(TypeError, match="could round to 1"):
        xp.uniform(xp.cast(x, "float16"), Draws(1), "rounding", 0)


def test_types_have_the_sizes_that_counting_assumes():
    for name, dtype in DTYPES.items():
        assert CountingTensors().cast(Shape(1, 4), name).itemsize == dtype.itemsize
