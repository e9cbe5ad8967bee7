"""Gradients of many shares of a mini-batch, at the same parameters, in one pass.

Samples of all shares go through the network as one batch; each share has its own loss, and its own gradient of the
parameters. Products of larger matrices may add up in another order: numbers agree with those of one share at a time to
rounding, not to the last bit. It applies to networks of written-out blocks (`parasim.learning.chains.BlockChain`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from parasim.learning.chains import BlockChain
from parasim.learning.networks import Loss
from parasim.program.model import Part

__all__ = ["Share", "Together"]


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
