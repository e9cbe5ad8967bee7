"""Any ``torch.nn.Module`` as layer costs, read on the meta device: shapes only, no values, no memory, no training.

How it is cut
-------------
A module that is a chain (``nn.Sequential``, nested or not) is cut between its links, whatever they hold. Any other
module is cut between its leaves (modules without children) in the order in which they first run; work outside leaves,
as a call of ``scaled_dot_product_attention`` in a block's ``forward``, makes a layer of its own under the name of the
module whose code it is, at the place where it first happens. What crosses a cut is then what the layer before it gives:
a connection that skips layers is not counted, so that pipelines are right for chains only.

What counts
-----------
FLOP are those of ``FlopCounterMode``; their sum over layers is its total of a training step, which needs no gradient of
the model's inputs. A layer's FLOP to inputs are those of a backward pass to the model's inputs alone (for token
numbers: to the vectors that an embedding makes of them); the rest is to weights. Kept elements are the storages that
automatic differentiation saves, each once, with the layer that saves it first. A parameter is counted once, with the
first layer that has it, or with the one around it where it has none that runs, as the output projection of
``nn.MultiheadAttention``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from parasim.errors import ScenarioError
from parasim.program.model import Layer
from parasim.workload.watch import Counts, Watch, layer_names, tensors_in

if TYPE_CHECKING:
    import torch

__all__ = ["InputType", "read_module"]

InputType = Literal["float32", "int64"]

_BATCH = 2
"""Samples that it is read with: normalisation over a batch refuses one."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """A forward pass on a batch: who did what, the inputs, the outputs with gradients, elements kept by layer."""

    watch: Watch
    x: torch.Tensor
    outputs: list[torch.Tensor]
    kept: Counts


@dataclass(frozen=True, slots=True)
class _Flops:
    """FLOP of the batch by layer; backward to inputs and parameters, to parameters alone, and to inputs alone."""

    forward: Counts
    both: Counts
    training: Counts
    inputs: Counts


def read_module(make: Callable[[], object], shape: Sequence[int], dtype: InputType) -> tuple[Layer, ...]:
    """Layers of a module.

    Parameters
    ----------
    make
        Makes it; called once, with the meta device as torch's default.
    shape
        Of one sample of its only input.
    dtype
        Type of the input; int64 for token numbers.

    Raises
    ------
    ScenarioError
        If `make` gives no module, a parameter is frozen, or no output depends on a parameter.
    Exception
        Whatever the module's own code raises.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        module = make()
        if not isinstance(module, torch.nn.Module):
            raise ScenarioError(f"gives {type(module).__name__}, no torch.nn.Module; return the module")
        module = module.to("meta").float().train()
        with ExitStack() as stack:
            counter = stack.enter_context(FlopCounterMode(display=False))
            passed = _forward(module, _inputs(shape, dtype, _BATCH), counter.get_total_flops, stack)
            flops = _flops(module, passed)
        with ExitStack() as stack:
            doubled = _forward(module, _inputs(shape, dtype, 2 * _BATCH), lambda: 0, stack)
    kept = {name: max(0, size - passed.kept.get(name, 0)) // _BATCH for name, size in doubled.kept.items()}
    return _layers(module, passed, flops, kept)


def _inputs(shape: Sequence[int], dtype: InputType, batch: int) -> torch.Tensor:
    """A batch; no leaf of the graph, so that the module may change it in place."""
    import torch

    return torch.empty((batch, *shape), dtype=getattr(torch, dtype), requires_grad=dtype == "float32").clone()


def _forward(module: torch.nn.Module, x: torch.Tensor, total: Callable[[], int], stack: ExitStack) -> _Pass:
    import torch

    watch = Watch(module, len(x), total, stack)
    with torch.autograd.graph.saved_tensors_hooks(watch.save, lambda saved: saved):
        outputs = [tensor for tensor in tensors_in(module(x)) if tensor.requires_grad]
    watch.settle()
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    if frozen:
        raise ScenarioError(f"freezes {frozen[0]} ({len(frozen)} in all), but all parameters are trained; unfreeze")
    parameters = list(module.parameters())
    if not outputs or not parameters:
        raise ScenarioError("gives no output that depends on a parameter; return what the loss is computed from")
    return _Pass(watch, x, outputs, watch.kept(besides=[*parameters, *module.buffers()]))


def _flops(module: torch.nn.Module, passed: _Pass) -> _Flops:
    """FLOP of the forward pass that was, and of three backward passes over its graph."""
    import torch
    from torch.autograd.graph import get_gradient_edge

    watch = passed.watch
    watch.name_nodes(passed.outputs)
    weights = [get_gradient_edge(parameter) for parameter in module.parameters()]
    ends = [get_gradient_edge(passed.x)] if passed.x.requires_grad else watch.embedded()
    counts = [watch.counts]
    for targets in ([*ends, *weights], weights, ends):
        watch.start_counts()
        if targets:
            seeds = [torch.empty_like(tensor) for tensor in passed.outputs]
            torch.autograd.backward(passed.outputs, seeds, retain_graph=True, inputs=targets)
        watch.settle()
        counts.append(watch.counts)
    return _Flops(*counts)


def _layers(module: torch.nn.Module, passed: _Pass, flops: _Flops, kept: Counts) -> tuple[Layer, ...]:
    """Layers in order; the first one's FLOP to inputs are exactly those that training leaves out."""
    watch = passed.watch
    shapes = _parameters(module, watch.order)
    owned = {name: sum(math.prod(shape) for shape in of) for name, of in shapes.items()}
    order = [*(name for name in owned if name not in watch.order), *watch.order]
    layers: list[Layer] = []
    entering = passed.x.numel() // _BATCH
    for place, name in enumerate(order):
        last = place == len(order) - 1
        leaving = sum(t.numel() for t in passed.outputs) // _BATCH if last else _leaving(watch, order, place, entering)
        both, training, inputs = (counts.get(name, 0) for counts in (flops.both, flops.training, flops.inputs))
        spared = both - training
        to_inputs, to_weights = (inputs - spared, both - inputs) if place else (spared, training)
        layers.append(
            Layer(
                name,
                owned.get(name, 0),
                flops.forward.get(name, 0) / _BATCH,
                to_inputs / _BATCH,
                to_weights / _BATCH,
                entering,
                leaving,
                kept.get(name, 0) + (leaving if last else 0),
                shapes=tuple(shapes.get(name, ())),
            )
        )
        entering = leaving
    return tuple(layers)


def _leaving(watch: Watch, order: Sequence[str], place: int, entering: int) -> int:
    """Elements that a layer gives; one that is no whole module gives what the next whole one takes."""
    name = order[place]
    if name in watch.leaving:
        return max(1, watch.leaving[name])
    return max(1, next((watch.entering[after] for after in order[place:] if after in watch.entering), entering))


def _parameters(module: torch.nn.Module, order: Sequence[str]) -> dict[str, list[tuple[int, ...]]]:
    """Shapes of each layer's parameters; what no layer has goes to the module itself."""
    names, _ = layer_names(module)
    found: dict[str, list[tuple[int, ...]]] = {}
    for path, parameter in module.named_parameters():
        owner = path.rpartition(".")[0]
        while owner and names[module.get_submodule(owner)] not in order:
            owner = owner.rpartition(".")[0]
        name = names[module.get_submodule(owner)]
        found.setdefault(name, []).append(tuple(parameter.shape))
    return found
