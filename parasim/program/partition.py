"""How a model is cut into stages: by hand, or balanced by cost within what devices hold; for all staged schemes.

The balanced cut is the contiguous partition whose slowest stage is fastest, over the sums of the layers' costs; stages
may have different devices. What a stage holds is told by its `Holding`, in multiples of what its layers have.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parasim.program.balance import balanced_cuts
from parasim.program.model import Model, Part

__all__ = ["Holding", "cut_by_hand", "cut_evenly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a stage holds at its peak.

    Attributes
    ----------
    weights, versions, gradients, state, buffers
        Vectors as large as the stage's parameters: those in use, stashed versions beside, gradients, optimiser state,
        others.
    activations
        Micro-batches of which all that backward needs is held.
    inputs
        Micro-batches of which the stage's input alone is held besides (0 at the first stage, which reads its batch).
    halves
        Micro-batches between the two halves of a backward pass: the gradients of all layers' outputs.
    arriving, leaving
        Messages as large as what enters the stage (whole micro-batches, up or down), and as what leaves it: at most.
    samples
        Per micro-batch.
    """

    weights: float = 1
    versions: float = 0
    gradients: float = 1
    state: float = 0
    activations: float = 1
    inputs: float = 0
    halves: float = 0
    buffers: float = 0
    arriving: float = 0
    leaving: float = 0
    samples: int = 1

    def with_state(self, slots: int) -> Holding:
        """With so many vectors of optimiser state for each of weights."""
        return replace(self, state=self.weights * slots)

    def with_messages(self, arriving: float, leaving: float) -> Holding:
        """With so many messages at the most, of what enters the stage and of what leaves it."""
        return replace(self, arriving=arriving, leaving=leaving)

    @property
    def vectors(self) -> float:
        """All of the parameters' size together."""
        return self.weights + self.versions + self.gradients + self.state + self.buffers

    def bytes_of(self, part: Part) -> dict[str, int]:
        """Bytes by part of memory (parasim/trace/parts.py) of a stage of these layers."""
        kept = self.activations * part.stored_elements + (0 if part.is_first else self.inputs * part.input_elements)
        outputs = part.layers[:-1] if part.is_last else part.layers  # the gradient of the last ones is stored
        kept += self.halves * sum(layer.output_elements for layer in outputs)
        entering = 0 if part.is_first else self.arriving * part.input_elements
        sent = entering + (0 if part.is_last else self.leaving * part.output_elements)
        found = {
            "weights": self.weights * part.nbytes,
            "stashed versions": self.versions * part.nbytes,
            "gradients": self.gradients * part.nbytes,
            "optimizer state": self.state * part.nbytes,
            "activations": self.samples * part.model.itemsize * kept,
            "messages": self.samples * part.model.itemsize * sent,
            "buffers": self.buffers * part.nbytes,
        }
        return {name: round(nbytes) for name, nbytes in found.items() if nbytes}


def cut_by_hand(model: Model, layers: Sequence[int], count: int) -> tuple[Part, ...]:
    """Parts of so many layers each.

    Raises
    ------
    ValueError
        If there are not `count` numbers above zero that add up to the model's layers.
    """
    shown = f"stages {list(layers)}"
    if len(layers) != count:
        raise ValueError(f"{shown} has {len(layers)} numbers of layers for {count} stages: give one for each stage")
    if min(layers) < 1 or sum(layers) != len(model.layers):
        raise ValueError(
            f"{shown} sums to {sum(layers)}; {model.name} has {len(model.layers)} layers: give each stage 1 or more, "
            "all together as many"
        )
    stops = [sum(layers[: k + 1]) for k in range(count)]
    return tuple(Part(model, stop - some, stop) for stop, some in zip(stops, layers, strict=True))


def cut_evenly(
    model: Model,
    count: int,
    cost: Callable[[int, int], float],
    holdings: Sequence[Holding] = (),
    room: Sequence[float] = (),
) -> tuple[Part, ...]:
    """The contiguous partition with the least largest cost; ties give the earlier parts less.

    Parameters
    ----------
    model, count
        What is cut, into how many parts.
    cost
        Of a layer, by its index, at a stage (seconds, or FLOP).
    holdings, room
        What each stage holds, and the bytes that its device has; empty: no limits.

    Raises
    ------
    ValueError
        If there are fewer layers than parts.

    Notes
    -----
    If no cut fits, the limits are left out: who asks what the stages hold then sees what is missing.
    """
    layers = len(model.layers)
    if count > layers:
        raise ValueError(f"{count} stages need at least {count} layers; {model.name} has {layers}")
    costs = [[cost(layer, stage) for layer in range(layers)] for stage in range(count)]
    cuts = balanced_cuts(costs, _fits(model, holdings, room)) if holdings else None
    cuts = cuts or balanced_cuts(costs)
    assert cuts is not None
    return tuple(Part(model, start, stop) for start, stop in itertools.pairwise(cuts))


def _fits(model: Model, holdings: Sequence[Holding], room: Sequence[float]) -> Any:
    """Which layers a stage's device can hold, for :func:`parasim.program.balance.balanced_cuts`."""
    import numpy as np

    stored = np.cumsum([0, *(layer.stored_elements for layer in model.layers)])
    entering = np.array([0, *(layer.input_elements for layer in model.layers[1:])])
    outputs = np.array([0, *(layer.output_elements for layer in model.layers)])
    leaving = np.cumsum(outputs)
    outputs[-1] = 0  # nothing is sent after the last layer
    offsets = np.array(model.offsets)

    def fits(stage: int, least: int, stop: int) -> Any:
        h, starts = holdings[stage], slice(least, stop)
        kept = h.activations * (stored[stop] - stored[starts]) + h.inputs * entering[starts]
        kept = kept + h.halves * (leaving[stop] - leaving[starts])
        kept = kept + h.arriving * entering[starts] + h.leaving * outputs[stop]
        held = h.vectors * (offsets[stop] - offsets[starts]) + h.samples * kept
        return model.itemsize * held <= room[stage]

    return fits
