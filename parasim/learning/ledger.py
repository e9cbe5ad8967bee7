"""Which memory tensors lie in: what a program says it holds, counted in the tensors themselves."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from parasim.learning.chains import Graph, KeptInputs
from parasim.learning.together import Share
from parasim.program.buffers import Buffer

__all__ = ["blocks_of"]


def blocks_of(what: Any) -> dict[int, int]:
    """Address and bytes of each block of memory behind the tensors of `what`: buffers, lists, what a pass saved.

    Of a recorded graph also what its operators keep for the backward pass; its parameters, which the graph only
    borrows or copies where they do not start on a cache line, belong to whoever holds the parameters, as do weights
    that were lent to a pass. Weights that are only frozen count as the copies that a real run has.
    """
    kept = getattr(what, "kept", None)
    if isinstance(kept, Share):
        return kept.blocks()
    blocks = _frozen(kept)
    for tensor in _tensors(what):
        storage = tensor.untyped_storage()
        nbytes = storage.nbytes()
        if nbytes:
            blocks[storage.data_ptr()] = nbytes
    return blocks


def _frozen(kept: Any) -> dict[int, int]:
    """Of a pass over frozen weights: the copies that it did not have to make, by names that no memory has."""
    if not (isinstance(kept, KeptInputs) and kept.frozen):
        return {}
    return {-id(weights): weights.numel() * weights.element_size() for weights in kept.weights if weights.numel()}


def _tensors(what: Any) -> Iterator[torch.Tensor]:
    if isinstance(what, torch.Tensor):
        yield what
    elif isinstance(what, Buffer):
        yield from _tensors(what.root.values)
    elif isinstance(what, KeptInputs):
        yield from [*what.inputs, *([] if what.lent or what.frozen else what.weights)]
    elif isinstance(what, Graph):
        borrowed = {parameter.untyped_storage().data_ptr() for parameter in what.parameters}
        yield from (t for t in _recorded(what.outputs) if t.untyped_storage().data_ptr() not in borrowed)
    elif isinstance(what, (list, tuple)):
        for item in what:
            yield from _tensors(item)
    elif is_dataclass(what):
        for entry in fields(what):
            yield from _tensors(getattr(what, entry.name))


def _recorded(outputs: torch.Tensor) -> Iterator[torch.Tensor]:
    """What the operators that led to these outputs keep."""
    pending, seen = [outputs.grad_fn], set()
    while pending:
        function = pending.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        pending += [following for following, _ in function.next_functions]
        for name in _kept_by(type(function)):
            yield from (t for t in _listed(getattr(function, name)) if isinstance(t, torch.Tensor))


@functools.cache
def _kept_by(operator: type) -> tuple[str, ...]:
    """The names under which an operator of this kind keeps something: to list all of them takes longer than a pass."""
    return tuple(name for name in dir(operator) if name.startswith("_saved_"))


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
