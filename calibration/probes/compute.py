"""Probes of one core (of one GPU): its peaks, and forward and backward passes of plain layers over sizes.

Layers run through the learner's own chains (parasim/learning/chains.py), as in training, and their FLOP and bytes are
those of `parasim.program.passes`, as in simulation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from calibration.probes.compute_timing import CpuClock, Point, observed
from calibration.probes.record import Observation, Task
from parasim.program.model import Model, Part
from parasim.program.passes import backward_pieces, forward_pieces
from parasim.workload.blocks import Block, Dense, Network
from parasim.workload.operators import LSTM, Activate, Attention, BatchNorm, Conv, Embedding, LayerNorm, Linear, Pool
from parasim.workload.unit import Unit

if TYPE_CHECKING:
    from parasim.learning.learner import TorchLearner

__all__ = ["end_points", "layer_points", "peak_points", "probe_layers", "probe_peaks"]

_SQUARE = 1024
_LARGE = 1 << 25
"""Elements (128 MiB of float32) that no cache holds."""


def probe_peaks(task: Task) -> Iterator[Observation]:
    """FLOP/s of a large product of matrices; bytes/s of copying what no cache holds."""
    yield from observed("peaks", task, peak_points("cpu"), CpuClock())


def probe_layers(task: Task) -> Iterator[Observation]:
    """Layers of every kind that dominates in the zoo, over widths and numbers of samples; taking samples; losses."""
    yield from observed("layers", task, [*layer_points("cpu"), *end_points("cpu")], CpuClock())


def peak_points(device: str) -> list[Point]:
    """A product of two square matrices ("flops"), and a copy ("stream", read and written bytes)."""

    def product() -> Callable[[], object]:
        import torch

        left, right, out = (torch.ones(_SQUARE, _SQUARE, device=device) for _ in range(3))
        return lambda: torch.mm(left, right, out=out)

    def copy() -> Callable[[], object]:
        import torch

        source, target = (torch.ones(_LARGE, device=device) for _ in range(2))
        return lambda: target.copy_(source)

    return [
        Point("flops", {"flops": 2.0 * _SQUARE**3, "nbytes": 12.0 * _SQUARE**2}, product),
        Point("stream", {"flops": 0.0, "nbytes": 8.0 * _LARGE}, copy),
    ]


def layer_points(device: str) -> list[Point]:
    """Forward and backward of each layer on each number of samples; a layer that stands first is not among them."""
    return [point for network, samples in _networks() for many in samples for point in _passes(network, many, device)]


def end_points(device: str) -> list[Point]:
    """The ends of a network: taking samples ("inputs/forward"), and the loss with its gradient ("loss/forward")."""
    points = []
    for samples, elements in itertools.product((1, 16, 256), (64, 3072)):

        def inputs(samples: int = samples, elements: int = elements) -> Callable[[], object]:
            learner = _learner(elements, device)
            return lambda: learner.inputs(learner.samples(0, 0, samples, samples))

        points.append(Point("inputs/forward", {"flops": 0.0, "nbytes": 8.0 * samples * elements}, inputs))
    for samples, classes in itertools.product((1, 16, 256), (10, 1000)):

        def loss(samples: int = samples, classes: int = classes) -> Callable[[], object]:
            import torch

            from parasim.learning.networks import LOSSES

            outputs = torch.zeros(samples, classes, device=device)
            targets = torch.zeros(samples, dtype=torch.int64, device=device)
            return lambda: LOSSES["classification"](outputs, targets)

        points.append(Point("loss/forward", {"flops": 0.0, "nbytes": 16.0 * samples * classes}, loss))
    return points


def _learner(elements: int, device: str) -> TorchLearner:
    from parasim.learning.build import make_learner

    data = {"samples": 1024, "inputs": elements, "classes": 2}
    return make_learner("mlp", {"depth": 1, "width": 1}, "classification", data, 0, "float32", device)


def _networks() -> Iterator[tuple[Network, Sequence[int]]]:
    """Networks of two blocks, of which the second is timed, and samples to time it on."""
    for width in (16, 64, 256, 1024):
        yield _pair([Dense("a", width, width), Dense("b", width, width)]), (1, 16, 128)
    for channels, side in itertools.product((4, 16, 64), (8, 32)):
        yield _units((channels, side, side), (Conv(channels, (3, 3), padding=(1, 1)), Activate("relu"))), (1, 16)
    yield _units((16, 32, 32), (BatchNorm(), Activate("relu"), Pool("max", (2, 2), (2, 2)))), (2, 32)
    for tokens, width in ((16, 64), (64, 64), (64, 256), (256, 256)):
        yield _units((tokens, width), (LayerNorm(), Attention(4, causal=True))), (1, 8)
        yield _units((tokens, width), (LayerNorm(), Linear(width), Activate("gelu_tanh"))), (1, 8)
    for tokens, width in ((16, 64), (32, 256)):
        yield _units((tokens, width), (LSTM(width),)), (1, 16)
    for tokens, width in ((16, 64), (256, 256)):
        yield _units((tokens,), (Embedding(256, width),)), (1, 16)


def _pair(blocks: list[Block]) -> Network:
    return Network("probe", tuple(blocks), "relu", "uniform")


def _units(entering: tuple[int, ...], operators: tuple[Any, ...]) -> Network:
    """A unit after one that does nothing, so that it does not stand first; an embedding does stand first."""
    unit = Unit("unit", entering, operators)
    if isinstance(operators[0], Embedding):
        return Network("probe", (unit,), "linear", "standard")
    return Network("probe", (Unit("nothing", entering, ()), unit), "linear", "standard")


def _passes(network: Network, samples: int, device: str) -> list[Point]:
    """Both passes of the last block."""
    model = Model(network.name, network.layers())
    part = model.part(len(model.layers) - 1, len(model.layers))
    (there,) = forward_pieces(part, samples)
    back = backward_pieces(part, samples)[0]
    words = part.layers[0].signature
    return [
        Point(piece.kind, {"flops": piece.flops, "nbytes": piece.nbytes, "block": words, "samples": samples}, make)
        for piece, make in (
            (there, lambda: _forward(network, part, samples, device)),
            (back, lambda: _backward(network, part, samples, device)),
        )
    ]


def _forward(network: Network, part: Part, samples: int, device: str) -> Callable[[], object]:
    chain, parameters, inputs = _ready(network, part, samples, device)
    return lambda: chain.forward(part, parameters, inputs)


def _backward(network: Network, part: Part, samples: int, device: str) -> Callable[[], object]:
    import torch

    chain, parameters, inputs = _ready(network, part, samples, device)
    _, kept = chain.forward(part, parameters, inputs)
    flow = torch.ones(samples, part.output_elements, device=device)
    return lambda: chain.backward(part, kept, flow)


def _ready(network: Network, part: Part, samples: int, device: str) -> tuple[Any, Any, Any]:
    """The chain, parameters and inputs of a part."""
    import torch

    from parasim.learning.chains import chain_of

    generator = torch.Generator(device).manual_seed(1)
    parameters = torch.rand(part.parameters, generator=generator, device=device).sub_(0.5).mul_(0.1)
    shape = (samples, part.input_elements)
    if part.layers[0].kind == "embedding":
        inputs = torch.randint(256, shape, generator=generator, device=device)
    else:
        inputs = torch.rand(shape, generator=generator, device=device).sub_(0.5)
    return chain_of(network, None, None), parameters, inputs
