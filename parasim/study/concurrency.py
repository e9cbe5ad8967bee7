"""How much of a network could be done at once: work and depth of its operators, layers and training step.

The counts are those of `parasim.theory.work_depth` and `parasim.theory.convolutions`; the networks those of the zoo.
Additions of biases to the outputs of a product are not counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parasim.errors import ScenarioError
from parasim.theory import convolutions
from parasim.theory.work_depth import (
    NOTHING,
    Passes,
    WorkDepth,
    attention,
    batch_norm,
    convolution,
    elementwise,
    fully_connected,
    layer_norm,
    levels,
    lstm,
    pooling,
    training_step,
)
from parasim.workload.blocks import Convolution, Dense, Network
from parasim.workload.choice import choose
from parasim.workload.costs import cost_of
from parasim.workload.models import MODELS
from parasim.workload.operator_costs import elements, shape_text
from parasim.workload.operators import (
    LSTM,
    Activate,
    Attention,
    BatchNorm,
    Bias,
    Concatenate,
    Conv,
    Embedding,
    GlobalPool,
    Join,
    LayerNorm,
    Linear,
    Operator,
    Pool,
    Positions,
    Residual,
    Segments,
    Shape,
    TiedLinear,
)
from parasim.workload.unit import Unit
from parasim.workload.zoo import ALIASES, ZOO

if TYPE_CHECKING:
    from parasim.scenario.model import Scenario

__all__ = ["concurrency", "passes_of"]

Entry = dict[str, Any]
_FREE = Passes(NOTHING, NOTHING, NOTHING)
_WINOGRAD = (2, 4)
"""Sides of its tiles."""


def concurrency(scenario: Scenario) -> Entry:
    """Work and depth of a scenario's network on one worker's batch, ready for JSON.

    `layers`: of each, `forward`, `weights` and `inputs` (`work`, `depth`, `parallelism`); `convolutions`: of each
    convolution its forward pass by every algorithm; `forward`, `step`: of the network; `parallel`: of a training step
    as N workers divide it (:func:`_parallel`), with Brent's bounds on N processors.

    Raises
    ------
    ScenarioError
        If the model's layers are costs alone.
    """
    work, workers = scenario.workload, scenario.scheme.options.workers
    network = _network(scenario)
    samples = work.batch_size
    chains = [
        list(_block_passes(block, samples, network.activation, place)) for place, block in enumerate(network.blocks)
    ]
    chain = [passes for own in chains for passes in own]
    first = work.model.needs_input_gradient
    step, forward = training_step(chain, first), _series(passes.forward for passes in chain)
    return {
        "scenario": scenario.name,
        "model": network.name,
        "batch": samples,
        "workers": workers,
        "layers": [
            {"layer": block.name, **_shown(_together(own))} for block, own in zip(network.blocks, chains, strict=True)
        ],
        "convolutions": [entry for block in network.blocks for entry in _algorithms(block, samples)],
        "forward": _entry(forward),
        "step": _entry(step),
        "parallel": _parallel(step, workers, len(network.blocks)),
    }


def passes_of(operator: Operator, entering: Shape, samples: int) -> Passes:
    """Passes of one operator on so many samples of this shape."""
    find = _OPERATORS.get(type(operator))
    return _FREE if find is None else find(operator, entering, samples)


def _parallel(step: WorkDepth, workers: int, layers: int) -> list[Entry]:
    """What N workers do to a training step of one worker's batch (SCHEMES 14).

    Data parallel: each has a batch of its own, and the sums of gradients are log2 N deeper. Model parallel: every
    operator is divided; work and depth stay, a worker has 1/N of the work. Pipeline of K = N equal stages, K batches on
    their way: a batch is no sooner done, but K of them take 2K - 1 stages one after the other, not K**2. Bounds are
    Brent's, on as many processors as workers, in operations.
    """
    stages = min(workers, layers)
    rows = {
        "one worker": (step, 1),
        "data parallel": (WorkDepth(workers * step.work, step.depth + levels(workers)), workers),
        "model parallel": (step, workers),
        "pipeline": (WorkDepth(stages * step.work, step.depth * (2 * stages - 1) / stages), stages),
    }
    return [
        {"how": how, "processors": count, **_entry(whole), "bounds": list(whole.bounds(count))}
        for how, (whole, count) in rows.items()
    ]


def _network(scenario: Scenario) -> Network:
    work = scenario.workload
    kind = ALIASES.get(work.model_kind, work.model_kind)
    if kind not in ZOO:
        raise ScenarioError(
            f"{scenario.source}: model: layers of kind {kind!r} are costs alone, and have no operators to count; use "
            "one of the zoo (parasim models)"
        )
    return ZOO[kind].build(choose("model", MODELS, kind, work.model_options), work.data)


def _block_passes(block: Any, samples: int, activation: str, place: int) -> Iterable[Passes]:
    """Of a block: its activation function, unless it is the first, and its linear map; or a unit's operators."""
    if isinstance(block, Unit):
        yield from _chain(block.operators, block.entering, samples)
        return
    if place and activation != "linear":
        yield elementwise(samples * block.inputs)
    if isinstance(block, Dense):
        yield fully_connected(samples, block.inputs, block.outputs)
    elif isinstance(block, Convolution):
        sides = (block.side_in,) * 2, (block.side_out,) * 2
        yield convolution(samples, (block.channels_in, block.channels_out), sides[0], (3, 3), sides[1])


def _chain(operators: Sequence[Operator], entering: Shape, samples: int) -> Iterable[Passes]:
    for operator in operators:
        yield passes_of(operator, entering, samples)
        entering = cost_of((operator,), entering).outputs


def _series(each: Iterable[WorkDepth]) -> WorkDepth:
    whole = NOTHING
    for one in each:
        whole = whole.then(one)
    return whole


def _together(chain: Sequence[Passes]) -> Passes:
    """Operators in series; gradients to weights beside each other."""
    weights = NOTHING
    for passes in chain:
        weights = weights.beside(passes.weights)
    forward, inputs = (_series(passes[place] for passes in chain) for place in (0, 2))
    return Passes(forward, weights, inputs)


def _beside(branches: Iterable[Passes]) -> Passes:
    found = list(branches)
    whole = _FREE
    for branch in found:
        whole = Passes(*(own.beside(other) for own, other in zip(whole, branch, strict=True)))
    return whole


def _convolved(operator: Conv, entering: Shape, samples: int) -> Passes:
    """Groups are beside each other."""
    channels = entering[0] // operator.groups, operator.outputs // operator.groups
    output = cost_of((operator,), entering).outputs[1:]
    one = convolution(samples, channels, (entering[1], entering[2]), operator.kernel, (output[0], output[1]))
    return Passes(*(WorkDepth(operator.groups * each.work, each.depth) for each in one))


def _linear(operator: Linear | TiedLinear, entering: Shape, samples: int) -> Passes:
    return fully_connected(samples * elements(entering[:-1]), entering[-1], operator.outputs)


def _pooled(operator: Pool, entering: Shape, samples: int) -> Passes:
    output = cost_of((operator,), entering).outputs
    return pooling(samples, output[0], operator.kernel, (output[1], output[2]), operator.stride)


def _globally(operator: GlobalPool, entering: Shape, samples: int) -> Passes:
    kernel = -(-entering[1] // operator.rows), -(-entering[2] // operator.columns)
    return pooling(samples, entering[0], kernel, (operator.rows, operator.columns))


def _residual(operator: Residual, entering: Shape, samples: int) -> Passes:
    """Body and shortcut beside each other, then the addition."""
    ways = [_together(list(_chain(way, entering, samples))) for way in (operator.body, operator.shortcut)]
    outputs = cost_of((operator,), entering).outputs
    return _together([_beside(ways), elementwise(samples * elements(outputs))])


def _concatenated(operator: Concatenate, entering: Shape, samples: int) -> Passes:
    return _beside(_together(list(_chain(branch, entering, samples))) for branch in operator.branches)


def _added(operator: Operator, entering: Shape, samples: int) -> Passes:
    """An addition of each element; back the gradient is passed on, and what is learned is a sum over the samples."""
    learned = WorkDepth(float(samples * elements(entering)), levels(samples))
    adds = WorkDepth(float(samples * elements(entering)), 1)
    return Passes(adds, NOTHING if isinstance(operator, Join) else learned, NOTHING)


_OPERATORS: Mapping[type, Callable[[Any, Shape, int], Passes]] = {
    Conv: _convolved,
    Linear: _linear,
    TiedLinear: _linear,
    BatchNorm: lambda _, at, samples: batch_norm(samples, at[0], (at[1], at[2]) if len(at) == 3 else (1, 1)),
    LayerNorm: lambda _, at, samples: layer_norm(samples, elements(at[:-1]), at[-1]),
    Activate: lambda _, at, samples: elementwise(samples * elements(at)),
    Pool: _pooled,
    GlobalPool: _globally,
    Attention: lambda op, at, samples: attention(samples, at[0], at[1], op.heads),
    LSTM: lambda op, at, samples: lstm(samples, at[0], at[1], op.hidden),
    Residual: _residual,
    Concatenate: _concatenated,
    **dict.fromkeys((Join, Bias, Positions, Segments), _added),
    Embedding: lambda op, at, samples: Passes(
        NOTHING, WorkDepth(float(samples * elements(at) * op.width), levels(samples * elements(at))), NOTHING
    ),
}
"""What is not here moves elements, and computes nothing."""


def _algorithms(block: Any, samples: int) -> Iterable[Entry]:
    """Forward passes of a block's convolutions by every algorithm; of Winograd's, those with a square kernel."""
    if isinstance(block, Convolution):
        conv = Conv(block.channels_out, (3, 3), (block.stride, block.stride), (1, 1))
        yield from _ways(block.name, conv, (block.channels_in, block.side_in, block.side_in), samples)
    elif isinstance(block, Unit):
        for operator, entering in _found(block.operators, block.entering):
            yield from _ways(block.name, operator, entering, samples)


def _found(operators: Sequence[Operator], entering: Shape) -> Iterable[tuple[Conv, Shape]]:
    """The convolutions, those of residuals and branches too, with what enters them."""
    for operator in operators:
        if isinstance(operator, Conv):
            yield operator, entering
        elif isinstance(operator, Residual):
            yield from itertools.chain(_found(operator.body, entering), _found(operator.shortcut, entering))
        elif isinstance(operator, Concatenate):
            for branch in operator.branches:
                yield from _found(branch, entering)
        entering = cost_of((operator,), entering).outputs


def _ways(name: str, conv: Conv, entering: Shape, samples: int) -> Iterable[Entry]:
    outputs = cost_of((conv,), entering).outputs
    channels, output = (entering[0] // conv.groups, conv.outputs // conv.groups), (outputs[1], outputs[2])
    image = entering[1] + 2 * conv.padding[0], entering[2] + 2 * conv.padding[1]
    matrix, gathered = convolutions.im2col(samples, channels, conv.kernel, output)
    ways = {"direct": _convolved(conv, entering, samples).forward, "im2col": _times(conv.groups, matrix)}
    if conv.stride == (1, 1) and conv.kernel != (1, 1):
        ways["fft"] = _times(conv.groups, convolutions.fft(samples, channels, image))
        if conv.kernel[0] == conv.kernel[1]:
            for tile in _WINOGRAD:
                one = convolutions.winograd(samples, channels, output, conv.kernel[0], tile)
                ways[f"winograd {tile}x{tile}"] = _times(conv.groups, one)
    words = f"{shape_text(conv.kernel)} {entering[0]}->{conv.outputs} of {shape_text(entering[1:])}"
    yield {
        "layer": name,
        "convolution": words,
        "gathered_elements": conv.groups * gathered,
        "ways": {way: _entry(whole) for way, whole in ways.items()},
    }


def _times(groups: int, one: WorkDepth) -> WorkDepth:
    return WorkDepth(groups * one.work, one.depth)


def _shown(passes: Passes) -> Entry:
    return {name: _entry(each) for name, each in zip(Passes._fields, passes, strict=True)}


def _entry(whole: WorkDepth) -> Entry:
    return {"work": whole.work, "depth": whole.depth, "parallelism": whole.work / whole.depth if whole.depth else None}
