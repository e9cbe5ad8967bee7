"""Which layer of a running ``torch.nn.Module`` is at work, forward and backward, and what it works and keeps.

Forward, hooks of modules tell. Backward, hooks of the graph's nodes do: a node belongs to the layer that was at work
when it was made, which is known whenever a module is entered or left, by walking back from the arrays in hand to nodes
that are known already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch.autograd.graph import GradientEdge, Node

__all__ = ["Counts", "Watch", "layer_names", "tensors_in"]

Counts = dict[str, int]
"""A number per layer, by its name."""


def layer_names(module: torch.nn.Module) -> tuple[dict[torch.nn.Module, str], set[torch.nn.Module]]:
    """Layer that each module inside works for; and the modules that are whole layers: links of a chain, or leaves."""
    from torch.nn import Sequential

    names: dict[torch.nn.Module, str] = {}
    whole: set[torch.nn.Module] = set()

    def visit(part: torch.nn.Module, path: str, around: str | None) -> None:
        if part in names:
            return
        names[part] = around or path or type(part).__name__
        children = list(part.named_children())
        if around is None and (not isinstance(part, Sequential) if isinstance(module, Sequential) else not children):
            whole.add(part)
        for name, child in children:
            visit(child, f"{path}.{name}" if path else name, names[part] if part in whole else around)

    visit(module, "", None)
    return names, whole


def tensors_in(value: object) -> Iterator[torch.Tensor]:
    """Every tensor in lists, tuples, mappings and dataclasses."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
        return
    inner: Iterable[object] = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, (list, tuple)):
        inner = value
    elif is_dataclass(value):
        inner = [getattr(value, entry.name) for entry in fields(value)]
    for entry in inner:
        yield from tensors_in(entry)


class Watch:
    """Gives every FLOP and every kept element to a layer.

    Parameters
    ----------
    module
        What will run.
    batch
        Samples that it will run on.
    total
        FLOP of everything so far.
    stack
        Closing it takes the hooks away.

    Attributes
    ----------
    order
        Layers in the order in which they first ran or did something.
    counts
        FLOP of each layer since the counts began; complete after :meth:`settle`.
    entering, leaving
        Elements per sample that enter and leave the whole layers.
    """

    def __init__(self, module: torch.nn.Module, batch: int, total: Callable[[], int], stack: ExitStack) -> None:
        self.order: list[str] = []
        self.counts: Counts = {}
        self.entering: Counts = {}
        self.leaving: Counts = {}
        self._batch = batch
        self._total = total
        self._seen = total()
        self._names, self._whole = layer_names(module)
        self._root = self._names[module]
        self._at_work = [self._root]
        self._nodes: dict[Node, str] = {}
        self._kept: dict[int, tuple[str, int, torch.UntypedStorage]] = {}
        self._stack = stack
        for part in module.modules():
            stack.callback(part.register_forward_pre_hook(self._enter, with_kwargs=True).remove)
            stack.callback(part.register_forward_hook(self._leave).remove)

    def start_counts(self) -> None:
        """Count FLOP anew, in new `counts`."""
        self.settle()
        self.counts = {}
        self._at_work = [self._root]

    def settle(self) -> None:
        """Give what was done since the last time to the layer at work."""
        done = self._total() - self._seen
        if done:
            name = self._at_work[-1]
            self.counts[name] = self.counts.get(name, 0) + done
            self._place(name)
        self._seen += done

    def name_nodes(self, tensors: Iterable[torch.Tensor]) -> None:
        """Nodes that led to these tensors and are not known yet belong to the layer at work."""
        name = self._at_work[-1]
        pending = [tensor.grad_fn for tensor in tensors]
        while pending:
            node = pending.pop()
            if node is None or node in self._nodes or hasattr(node, "variable"):  # a parameter's own node does no work
                continue
            self._nodes[node] = name
            self._stack.callback(node.register_prehook(self._switch_to(name)).remove)
            pending += [before for before, _ in node.next_functions]

    def embedded(self) -> list[GradientEdge]:
        """Ends of the graph where token numbers became numbers that have gradients."""
        from torch.autograd.graph import GradientEdge

        return [GradientEdge(node, 0) for node in self._nodes if node.name().startswith(("Embedding", "Index"))]

    def save(self, tensor: torch.Tensor) -> torch.Tensor:
        """Note that a tensor is kept for backward (a hook of `torch.autograd.graph.saved_tensors_hooks`)."""
        storage = tensor.untyped_storage()
        name = self._at_work[-1]
        self._kept.setdefault(storage._cdata, (name, storage.nbytes() // tensor.element_size(), storage))
        return tensor

    def kept(self, besides: Iterable[torch.Tensor]) -> Counts:
        """Elements kept by each layer, without the storages of some tensors."""
        known = {tensor.untyped_storage()._cdata for tensor in besides}
        counts: Counts = {}
        for key, (name, elements, _) in self._kept.items():
            if key not in known:
                counts[name] = counts.get(name, 0) + elements
                self._place(name)
        return counts

    def _place(self, name: str) -> None:
        if name not in self.order:
            self.order.append(name)

    def _enter(self, part: torch.nn.Module, positional: Any, named: Any) -> None:
        self.settle()
        given = list(tensors_in((positional, named)))
        self.name_nodes(given)
        name = self._names[part]
        self._at_work.append(name)
        if part in self._whole:
            self.entering.setdefault(name, sum(tensor.numel() for tensor in given) // self._batch)
        if part in self._whole or next(part.parameters(recurse=False), None) is not None:
            self._place(name)

    def _leave(self, part: torch.nn.Module, _: Any, given: Any) -> None:
        self.settle()
        tensors = list(tensors_in(given))
        self.name_nodes(tensors)
        name = self._at_work.pop()
        if part in self._whole:
            self.leaving[name] = sum(tensor.numel() for tensor in tensors) // self._batch

    def _switch_to(self, name: str) -> Callable[[Any], None]:
        def switch(_: Any) -> None:
            self.settle()
            self._at_work[-1] = name

        return switch
