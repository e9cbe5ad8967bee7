"""What programs hold between operations: batches, activations, parameter copies; and the tensors behind them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from parasim.program.buffers import Buffer
from parasim.program.layout import Panels
from parasim.program.learner import Learner
from parasim.program.model import Part
from parasim.program.ops import Event
from parasim.program.tensors import Tensor
from parasim.program.values import value

__all__ = ["Activation", "Batch", "Ledger", "Replica", "held_note"]


@value(frozen=True, slots=True)
class Batch:
    """Samples ``[start, stop)`` of the global mini-batch (of `total` samples) of iteration `step`.

    Or several `runs` of them, each `stride` samples after the one before. The steps before took `shift` samples more
    than `total` each (none, where all mini-batches are equally large). Where several models are trained, the order is
    that of a `member` (`Learner.member`), of samples drawn with replacement if they are `bagged`.
    """

    step: int
    micro: int
    start: int
    stop: int
    total: int
    runs: int = 1
    stride: int = 0
    shift: int = 0
    member: int = -1
    bagged: bool = False

    @property
    def size(self) -> int:
        """Number of samples."""
        return self.runs * (self.stop - self.start)

    def samples(self, learner: Learner) -> Any:
        """Identifiers of the samples, in order."""
        learner = learner if self.member < 0 else learner.member(self.member, self.bagged)
        shifts = [self.shift + run * self.stride for run in range(self.runs)]
        found = [learner.samples(self.step, self.start + by, self.stop + by, self.total) for by in shifts]
        return found[0] if self.runs == 1 else learner.tensors.concatenate(found)


@dataclass(slots=True)
class Activation:
    """What a forward pass leaves: `outputs` (None after the loss), the mean `loss`, and what backward needs.

    The loss is a tensor of one element, or None; :meth:`Context.log_loss` reads it.
    """

    part: Part
    batch: Batch
    outputs: Buffer | None
    loss: Tensor | None
    saved: Any
    held_bytes: int = 0
    parameters: Buffer | None = None
    """Those that were lent to the forward pass: backward reads them again."""
    pending: Any = None
    """Between the two halves of a backward pass: the gradients of the layers' outputs."""

    @property
    def pending_bytes(self) -> int:
        """Bytes of these; that of the loss is among what the last part stored."""
        layers = self.part.layers[:-1] if self.part.is_last else self.part.layers
        return self.batch.size * self.part.model.itemsize * sum(layer.output_elements for layer in layers)


@dataclass(slots=True)
class Replica:
    """A parameter copy: its vector, the optimiser's state beside it, its version (updates applied), updates begun."""

    parameters: Buffer
    slots: tuple[Buffer, ...]
    version: int = 0
    begun: int = 0
    per_step: float = 1.0
    """Updates while all workers make a step: learning rates follow steps."""
    panels: Panels | None = None
    """Its arrays, for update rules that ask for them."""


class Ledger:
    """The memory behind what an actor holds, each block counted once whoever shares it; blocks are named by address."""

    def __init__(self) -> None:
        self._holders: dict[int, int] = {}
        self._passes: dict[int, Mapping[int, int]] = {}

    def kept(self, what: Any, blocks: Callable[[Any], Mapping[int, int]]) -> Mapping[int, int]:
        """The blocks behind what is held from now on, by `blocks`.

        What a pass saved is looked through just once, and its blocks are remembered for :meth:`left`: that takes as
        long as some of its kernels.
        """
        found = self.named(what) or blocks(what)
        if not isinstance(what, Buffer):
            self._passes[id(what)] = found
        return found

    def left(self, what: Any, blocks: Callable[[Any], Mapping[int, int]]) -> Mapping[int, int]:
        """The blocks behind what is held no more."""
        found = None if isinstance(what, Buffer) else self._passes.pop(id(what), None)
        return (self.named(what) or blocks(what)) if found is None else found

    def named(self, what: Any) -> dict[int, int]:
        """A buffer that may share its values counts as a block of its own, which no memory has; others have none.

        Those that have a name keep it when they get values of their own.
        """
        if not isinstance(what, Buffer):
            return {}
        root = what.root
        name, nbytes = -id(root), root.elements * root.itemsize
        return {name: nbytes} if nbytes and (self._holders.get(name) or root.content is not None) else {}

    def hold(self, blocks: Mapping[int, int]) -> int:
        """Somebody holds these (address -> bytes). Replies with the bytes that nobody held before."""
        new = sum(nbytes for address, nbytes in blocks.items() if address not in self._holders)
        for address in blocks:
            self._holders[address] = self._holders.get(address, 0) + 1
        return new

    def release(self, blocks: Mapping[int, int]) -> int:
        """He does no more. Replies with the bytes that nobody holds now."""
        freed = 0
        for address, nbytes in blocks.items():
            left = self._holders.get(address, 0) - 1
            if left > 0:
                self._holders[address] = left
            elif self._holders.pop(address, None) is not None:
                freed += nbytes
        return freed


@functools.lru_cache(maxsize=4096)
def held_note(kind: Literal["hold", "release"], label: str, nbytes: int) -> Event:
    """The note that so many bytes are held, or are not any more: always the same one."""
    return Event(kind, label, nbytes=nbytes)
