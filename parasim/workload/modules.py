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
class _Reading:
    """What a run on a batch showed; FLOP backward are to inputs and parameters, to parameters, and to inputs alone."""

    watch: Watch
    outputs: int
    kept: Counts
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

    with torch.device("meta"):
        module = make()
        if not isinstance(module, torch.nn.Module):
            raise ScenarioError(f"gives {type(module).__name__}, no torch.nn.Module; return the module")
        module = module.to("meta").float().train()
        reading = _read(module, shape, dtype, _BATCH)
        doubled = _read(module, shape, dtype, 2 * _BATCH).kept
    kept = {name: max(0, elements - reading.kept[name]) // _BATCH for name, elements in doubled.items()}
    return _layers(module, reading, kept, [1, *shape])


def _read(module: torch.nn.Module, shape: Sequence[int], dtype: InputType, batch: int) -> _Reading:
    """One forward pass, and three backward passes over its graph."""
    import torch
    from torch.autograd.graph import get_gradient_edge
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.empty((batch, *shape), dtype=getattr(torch, dtype), requires_grad=dtype == "float32").clone()
    with ExitStack() as stack:
        counter = stack.enter_context(FlopCounterMode(display=False))
        watch = Watch(module, batch, counter.get_total_flops, stack)
        forward = watch.count()
        with torch.autograd.graph.saved_tensors_hooks(watch.save, lambda saved: saved):
            outputs = [tensor for tensor in tensors_in(module(x)) if tensor.requires_grad]
        watch.settle()
        parameters = list(module.parameters())
        frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
        if frozen:
            raise ScenarioError(f"freezes {frozen[0]} ({len(frozen)} in all), but all parameters are trained; unfreeze")
        if not outputs or not parameters:
            raise ScenarioError("gives no output that depends on a parameter; return what the loss is computed from")
        watch.name_nodes(outputs)
        kept = watch.kept(besides=[*parameters, *module.buffers()])
        weights = [get_gradient_edge(parameter) for parameter in parameters]
        ends = [get_gradient_edge(x)] if x.requires_grad else watch.embedded()
        backward = []
        for targets in ([*ends, *weights], weights, ends):
            backward.append(watch.count())
            if targets:
                seeds = [torch.empty_like(tensor) for tensor in outputs]
                torch.autograd.grad(outputs, targets, seeds, retain_graph=True, allow_unused=True)
            watch.settle()
    return _Reading(watch, sum(tensor.numel() for tensor in outputs) // batch, kept, forward, *backward)


def _layers(module: torch.nn.Module, reading: _Reading, kept: Counts, shape: Sequence[int]) -> tuple[Layer, ...]:
    """Layers in order; the first one's FLOP to inputs are exactly those that training leaves out."""
    import math

    owned = _parameters(module, reading.watch.order)
    order = list(dict.fromkeys([*(name for name in owned if name not in reading.watch.order), *reading.watch.order]))
    layers: list[Layer] = []
    entering = math.prod(shape)
    for place, name in enumerate(order):
        last = place == len(order) - 1
        leaving = reading.outputs if last else _leaving(reading.watch, order, place, entering)
        both, training, inputs = (counts.get(name, 0) for counts in (reading.both, reading.training, reading.inputs))
        spared = both - training
        to_inputs, to_weights = (inputs - spared, both - inputs) if place else (spared, training)
        layers.append(
            Layer(
                name,
                owned.get(name, 0),
                reading.forward.get(name, 0) / _BATCH,
                to_inputs / _BATCH,
                to_weights / _BATCH,
                entering,
                leaving,
                kept.get(name, 0) + (leaving if last else 0),
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


def _parameters(module: torch.nn.Module, order: Sequence[str]) -> Counts:
    """Parameter elements of each layer; what no layer has goes to the module itself."""
    names, _ = layer_names(module)
    counts: Counts = {}
    for path, parameter in module.named_parameters():
        owner = path.rpartition(".")[0]
        while owner and names[module.get_submodule(owner)] not in order:
            owner = owner.rpartition(".")[0]
        name = names[module.get_submodule(owner)]
        counts[name] = counts.get(name, 0) + parameter.numel()
    return counts
