"""Gradients of many shares of a mini-batch, at the same parameters, in one pass.

Samples of all shares go through the network as one batch; each share has its own loss, and its own gradient of the
parameters. Products of larger matrices may add up in another order: numbers agree with those of one share at a time to
rounding, not to the last bit. It applies to networks of written-out blocks (`parasim.learning.chains.BlockChain`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from parasim.learning.chains import BlockChain
from parasim.learning.networks import Loss
from parasim.program.model import Part

__all__ = ["Promised", "Share", "Together"]


class Together:
    """A forward pass over all shares, and the backward pass when the first gradient is asked for.

    Parameters
    ----------
    chain, loss
        The network and its loss.
    part, parameters
        The whole model; its parameters, which nobody changes before the backward pass.
    inputs, targets
        Of the samples of all shares, share by share: a row per sample.
    shares
        How many, of as many samples each.
    """

    def __init__(
        self,
        chain: BlockChain,
        loss: Loss,
        part: Part,
        parameters: torch.Tensor,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        shares: int,
    ) -> None:
        outputs, kept = chain.forward(part, parameters, inputs, frozen=True)
        losses, residual = loss(outputs, targets, shares)
        self.losses = torch.split(losses, 1)
        self.nbytes = sum(h.numel() * h.element_size() for h in (*kept.inputs, outputs)) // shares
        self.nbytes += parameters.numel() * parameters.element_size()
        self._pass = chain, part, kept, residual
        self._gradients: tuple[torch.Tensor, ...] = ()

    def gradient(self, share: int) -> torch.Tensor:
        """Gradient of a share's loss, flat; a row of one matrix."""
        if not self._gradients:
            chain, part, kept, residual = self._pass
            self._gradients = chain.backward_each(part, kept, residual, len(self.losses)).unbind(0)
            del self._pass
        return self._gradients[share]

    def total(self) -> torch.Tensor:
        """Sum of all gradients, flat; a new one."""
        if self._gradients:
            return torch.stack(self._gradients).sum(0)
        chain, part, kept, residual = self._pass
        return torch.cat(chain.backward(part, kept, residual)[1])


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """One share of a pass; what it would hold had it been computed by itself counts as held."""

    together: Together
    number: int

    @property
    def loss(self) -> torch.Tensor:
        """Its mean loss (one element)."""
        return self.together.losses[self.number]

    @property
    def gradient(self) -> torch.Tensor:
        """Gradient of its loss, flat."""
        return self.together.gradient(self.number)

    def blocks(self) -> dict[int, int]:
        """Its inputs, activations and weights, by a name that no memory has."""
        return {-id(self): self.together.nbytes}


@dataclass(frozen=True, slots=True, eq=False)
class Promised:
    """The gradient of a share, made when somebody looks at it; `keeper` keeps the parameters as they are till then."""

    share: Share
    keeper: Any

    def make(self) -> torch.Tensor:
        """The gradient, flat."""
        return self.share.gradient

    def total(self, promises: Sequence[Any]) -> torch.Tensor | None:
        """Sum of gradients, if they are those of all shares of some passes, each once: in one product of matrices."""
        numbers: dict[Together, set[int]] = {}
        for promise in promises:
            if not isinstance(promise, Promised):
                return None
            numbers.setdefault(promise.share.together, set()).add(promise.share.number)
        if any(len(own) < len(together.losses) for together, own in numbers.items()):
            return None
        if sum(len(own) for own in numbers.values()) < len(promises):
            return None
        first, *others = [together.total() for together in numbers]
        for other in others:
            first.add_(other)
        return first
