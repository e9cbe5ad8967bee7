"""Kernels in pieces, and what a calibrated device makes of them."""

from __future__ import annotations

import itertools
import math
import pickle
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasim.cluster.curves import Block, Curve, Curves
from parasim.cluster.hosts import Device, Host
from parasim.cluster.profile import Measured, Number
from parasim.errors import CalibrationError, ScenarioError, ScenarioWarning
from parasim.learning.build import make_optimizer
from parasim.program.kernels import backward_kernel, counted, forward_kernel, update_function
from parasim.program.model import Model
from parasim.program.ops import Kernel, Piece
from parasim.program.tensors import Shape
from parasim.simulation.devices import kernel_seconds
from parasim.workload import MODELS, build_data, build_model
from parasim.workload.signatures import dominating, signature
from parasim.workload.zoo.transformers import _decoder_block

FLOPS, BANDWIDTH = 1e9, 1e8


def device(kinds: dict[str, Curve] | None = None, blocks: dict[str, Block] | None = None, **more: Any) -> Device:
    curves = Curves(kinds or {}, blocks or {})
    return Device("measured", FLOPS, memory_bandwidth=BANDWIDTH, calibrated=True, curves=curves, **more)


def mlp(depth: int = 4, width: int = 32, itemsize: int = 4) -> Model:
    return build_model("mlp", {"depth": depth, "width": width}, build_data("digits", {}), itemsize)


# pieces --------------------------------------------------------------------------------------------------------------
def test_a_pass_is_samples_then_layers_then_loss_and_equal_neighbours_are_one_piece() -> None:
    kernel = forward_kernel(mlp().whole, 16)
    assert [(piece.kind, piece.signature, piece.count) for piece in kernel.pieces] == [
        ("inputs/forward", "digits 1x8x8/inputs", 1),
        ("linear/forward", "linear 64->32/forward", 1),
        ("linear/forward", "tanh linear 32->32/forward", 2),
        ("linear/forward", "tanh linear 32->10/forward", 1),
        ("loss/forward", "classification 10/loss", 1),
    ]
    assert kernel.size == 16
    assert kernel.signature == (
        "linear 64->32 first | 2 x (tanh linear 32->32) | tanh linear 32->10 | digits 1x8x8 | classification 10/forward"
    )


def test_a_backward_pass_goes_the_other_way_and_gathers() -> None:
    kernel = backward_kernel(mlp().whole, 16)
    assert [(piece.signature, piece.count) for piece in kernel.pieces] == [
        ("tanh linear 32->10/backward", 1),
        ("tanh linear 32->32/backward", 2),
        ("linear 64->32 first/backward", 1),
        ("", 1),
    ]
    assert kernel.pieces[-1] == Piece("gather/backward", "", 0.0, 4.0 * mlp().whole.nbytes)


@pytest.mark.parametrize("kind", sorted(set(MODELS) - {"layers", "module", "quadratic"}))
def test_pieces_hold_all_flops_of_the_pass(kind: str) -> None:
    model = build_model(kind, {}, None, 4)
    for make in (forward_kernel, backward_kernel):
        kernel = make(model.whole, 3)
        assert sum(piece.count * piece.flops for piece in kernel.pieces) == pytest.approx(kernel.flops, rel=1e-12)
        assert all("/" in piece.kind and piece.nbytes > 0 for piece in kernel.pieces)


def test_the_first_layer_of_a_model_is_told_apart_only_where_it_stands_first() -> None:
    parts = mlp().each()
    ends = [backward_kernel(part, 8).pieces[0].signature for part in parts]
    assert ["first" in end for end in ends] == [True, False, False, False]
    assert backward_kernel(parts[1], 8).pieces[0] == backward_kernel(parts[2], 8).pieces[0]
    assert forward_kernel(parts[1], 8).signature == forward_kernel(parts[2], 8).signature
    assert [len(forward_kernel(part, 8).pieces) for part in parts] == [2, 1, 1, 2]


def test_the_number_of_samples_is_in_no_signature_and_the_width_of_numbers_is() -> None:
    few, many, wide = forward_kernel(mlp().whole, 1), forward_kernel(mlp().whole, 9), mlp(itemsize=8)
    assert few.signature == many.signature
    assert [piece.signature for piece in few.pieces] == [piece.signature for piece in many.pieces]
    assert forward_kernel(wide.whole, 1).pieces[1].signature == "linear 64->32 in 64 bits/forward"


def test_models_of_layers_have_no_exact_signature() -> None:
    layer = {"parameters": 1000, "forward_flops": 1e6, "repeat": 3}
    kernel = forward_kernel(build_model("layers", {"layers": [layer]}, None, 4).whole, 2)
    assert kernel.signature == ""
    assert [(piece.kind, piece.signature) for piece in kernel.pieces] == [("layer/forward", "")]
    assert kernel.pieces[0].count == 3


def test_steps_and_micro_batches_share_the_pieces() -> None:
    part = mlp().whole
    first, second = forward_kernel(part, 4, 0, 1), forward_kernel(part, 4, 7, 2)
    assert first.pieces is second.pieces
    assert (second.label, second.layer, second.step, second.micro) == ("forward", part.name, 7, 2)


def test_units_are_named_by_all_their_operators() -> None:
    block = _decoder_block(8, 2)
    assert signature(block, (16, 8)) == (
        "16x8: residual (layernorm, attention 2 causal=True), "
        "residual (layernorm, linear 32, activate gelu_tanh, linear 8)"
    )
    assert dominating(block, (4, 8)) == "linear"
    assert dominating(block, (4096, 8)) == "attention"


def test_an_update_is_its_verbs() -> None:
    adam = make_optimizer("adam", {})
    cost = counted(update_function(adam, False), (Shape(10, 4),) * 4, (("scale", 0.5),), ("count",))
    kernel = cost.kernel("update", "update")
    assert {piece.kind for piece in kernel.pieces} == {
        f"update/{verb}" for verb in ("scale_", "add_", "multiply", "sqrt", "add", "divide")
    }
    assert sum(piece.count * piece.flops for piece in kernel.pieces) == kernel.flops
    assert sum(piece.count * piece.nbytes for piece in kernel.pieces) == kernel.nbytes
    assert cost.kernel("update", "update") is kernel


# curves --------------------------------------------------------------------------------------------------------------
def test_a_curve_is_straight_in_logarithms_and_constant_beyond() -> None:
    curve = Curve((1e-6, 1e-4, 1e-2), (1e-5, 1e-4, 2e-2))
    assert curve.at(1e-9) == curve.at(1e-6) == 1e-5
    assert curve.at(1e-5) == pytest.approx(math.sqrt(1e-5 * 1e-4))
    assert curve.at(1e-4) == pytest.approx(1e-4)
    assert curve.at(1e-1) == pytest.approx(2e-1)


def test_a_block_is_straight_in_samples() -> None:
    block = Block((2, 10), (3.0, 11.0))
    assert [block.at(size) for size in (1, 2, 4, 10, 20)] == pytest.approx([3, 3, 5, 11, 22])


@given(
    st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=6, unique=True).map(sorted),
    st.floats(1e-10, 1e4),
    st.floats(1e-10, 1e4),
)
def test_rising_times_give_rising_curves(sizes: list[float], first: float, second: float) -> None:
    seconds = tuple(itertools.accumulate(sizes))
    for table in (Curve(tuple(sizes), seconds), Block(tuple(sizes), seconds)):
        low, high = sorted((first, second))
        assert table.at(low) <= table.at(high) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("sizes", "seconds", "message"),
    [
        ((), (), "0 sizes and 0 times"),
        ((1.0,), (1.0, 2.0), "1 sizes and 2 times"),
        ((1.0, 1.0), (1.0, 2.0), "must rise, but 1 follows 1"),
        ((1.0, 2.0), (1.0, -2.0), "time -2.0 is not above zero"),
        ((0.0, 2.0), (1.0, 2.0), "size 0.0 is not above zero"),
        ((1.0, math.inf), (1.0, 2.0), "size inf is not above zero and finite"),
    ],
)
@pytest.mark.parametrize("table", [Curve, Block])
def test_bad_tables_are_refused(table: Any, sizes: Any, seconds: Any, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        table(sizes, seconds)


# devices -------------------------------------------------------------------------------------------------------------
def test_without_curves_pieces_change_nothing() -> None:
    plain = Device("plain", FLOPS, memory_bandwidth=BANDWIDTH, launch=1e-6)
    kernel = forward_kernel(mlp().whole, 16)
    bare = Kernel("forward", "forward", kernel.flops, kernel.nbytes)
    assert kernel_seconds(plain, kernel) == kernel_seconds(plain, bare)


def test_the_exact_block_wins_then_the_kind_then_the_wider_ones_then_the_roofline() -> None:
    piece = Piece("linear/forward", "linear 3->4/forward", 1e6, 1.0)
    kernel = Kernel("forward", "forward", 5e6, 1.0, pieces=(piece,), signature="whole/forward", size=8)
    roofline = 1e6 / FLOPS
    steps = [
        (Curves(), roofline),
        (Curves({"kernel": Curve((roofline,), (2 * roofline,))}), 2 * roofline),
        (Curves({"kernel": Curve((roofline,), (1.0,)), "forward": Curve((roofline,), (3.0,))}), 3.0),
        (Curves({"forward": Curve((roofline,), (1.0,)), "linear/forward": Curve((roofline,), (4.0,))}), 4.0),
        (
            Curves({"linear/forward": Curve((roofline,), (1.0,))}, {"linear 3->4/forward": Block((8,), (5.0,))}),
            5.0,
        ),
        (
            Curves({}, {"linear 3->4/forward": Block((8,), (1.0,)), "whole/forward": Block((8,), (6.0,))}),
            6.0,
        ),
    ]
    for curves, seconds in steps:
        found = Device("d", FLOPS, memory_bandwidth=BANDWIDTH, curves=curves)
        assert kernel_seconds(found, kernel) == pytest.approx(seconds)


def test_a_deep_narrow_network_pays_for_each_layer() -> None:
    """12 layers, the taking of samples and the loss, all too small to cost more than being started."""
    measured = device({"kernel": Curve((1e-4, 1e-2), (1e-3, 2e-2))})
    with pytest.warns(ScenarioWarning, match="kernel was measured from"):
        assert kernel_seconds(measured, forward_kernel(mlp(12, 4).whole, 1)) == pytest.approx((12 + 2) * 1e-3)


def test_a_kernel_without_pieces_is_one_piece_of_its_kind() -> None:
    measured = device({"reduce": Curve((1e-3,), (0.5,)), "kernel": Curve((1e-3,), (0.25,))})
    assert kernel_seconds(measured, Kernel("reduce", "reduce", 1e6)) == pytest.approx(0.5)
    assert kernel_seconds(measured, Kernel("read", "shared", 1e6)) == pytest.approx(0.25)
    assert kernel_seconds(measured, Kernel("none")) == 0.25


def test_efficiency_and_launch_hold_for_what_was_measured_too() -> None:
    measured = device({"kernel": Curve((1e-3,), (0.5,))}, efficiency=0.5, launch=2.0)
    assert kernel_seconds(measured, Kernel("k", flops=1e6)) == pytest.approx(3.0)


def test_peaks_of_two_devices_with_one_set_of_curves_do_not_mix() -> None:
    curves = Curves({"kernel": Curve((1e-3, 1.0), (1e-3, 1.0))})
    slow, fast = Device("slow", 1e9, curves=curves), Device("fast", 2e9, curves=curves)
    kernel = Kernel("k", flops=1e8)
    assert kernel_seconds(slow, kernel) == pytest.approx(2 * kernel_seconds(fast, kernel))


def test_a_prediction_outside_of_what_was_measured_warns_once() -> None:
    measured = device({"forward": Curve((1e-3, 1e-2), (1e-3, 1e-2))})
    assert measured.curves is not None
    inside, above, below = (Kernel("f", "forward", flops) for flops in (5e6, 5e7, 5e5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel_seconds(measured, inside)
    with pytest.warns(ScenarioWarning, match=r"forward was measured from 0.001 to 0.01 s.* asked for at 0.05") as seen:
        assert len([kernel_seconds(measured, kernel) for kernel in (above, above, below)]) == 3
    assert len(seen) == 1
    assert measured.curves.outside == {"forward": (pytest.approx(5e-4), pytest.approx(5e-2))}


def test_samples_outside_of_what_was_measured_are_named() -> None:
    kernel = forward_kernel(mlp().whole, 100)
    measured = device({}, {kernel.signature: Block((8, 64), (1.0, 2.0))})
    with pytest.warns(ScenarioWarning, match="was measured from 8 to 64 samples, but is asked for at 100"):
        assert kernel_seconds(measured, kernel) == pytest.approx(2.0 * 100 / 64)


def test_curves_come_from_the_numbers_of_a_profile() -> None:
    numbers = Measured((1.0, 2.0), (Number(3.0, 2.0, 4.0, 5), Number(6.0, 5.0, 7.0, 5)))
    curves = Curves.of({"forward": numbers}, {"b/forward": numbers})
    assert curves == Curves({"forward": Curve((1.0, 2.0), (3.0, 6.0))}, {"b/forward": Block((1.0, 2.0), (3.0, 6.0))})
    assert hash(curves) == hash(Curves())
    again = pickle.loads(pickle.dumps(Device("d", 1e9, curves=curves)))
    assert again == Device("d", 1e9, curves=curves)


# hosts ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("contention", "message"), [((1.1, 1.2), "contention of one core is 1.1"), ((1.0, -1.0), "contention -1.0 is not")]
)
def test_impossible_contention_is_refused(contention: tuple[float, ...], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        Host("h", 2, Device("d", 1e9), contention=contention)
