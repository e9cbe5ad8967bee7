"""What carries real values, as the context sees it; parasim/learning implements both on torch.

Without a learner a run has costs only. Tensors are flat vectors; the learner knows the shapes behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from parasim.program.contents import Promise
    from parasim.program.layout import Panels
    from parasim.program.model import Part
    from parasim.program.tensors import Tensor, Tensors

__all__ = ["Learner", "Optimizer"]


class Learner(Protocol):
    """A network with its data. Everything is a pure function of its arguments and the seed it was made with."""

    tensors: Tensors

    def initial(self, part: Part) -> Tensor:
        """Initial parameters of a part, flat; the same values however the model is cut."""

    def member(self, number: int, bagged: bool = False) -> Learner:
        """The learner of a run whose seed is larger by `number`: other initial weights, another order of samples.

        `bagged`: its samples are as many as there are, drawn with replacement, once (Breiman 1996).
        """

    def samples(self, step: int, start: int, stop: int, batch: int) -> Any:
        """Identifiers of samples `start`..`stop` of the global mini-batch of `batch` samples of iteration `step`.

        A function of (seed, step, position) alone (SCHEMES 0.5): N workers see exactly the sequential mini-batch.
        """

    def inputs(self, samples: Any) -> Tensor:
        """The input vectors of these samples, flat."""

    def labels(self, samples: Any) -> Tensor:
        """What these samples should give, flat: numbers, or a one for the class and zeros for the others."""

    def forward(
        self, part: Part, parameters: Tensor, inputs: Tensor, samples: Any, lent: bool = False, keeper: Any = None
    ) -> tuple[Tensor, Any]:
        """Outputs (flat) and what backward needs. If the part is the last: outputs is the mean loss (one element).

        `lent`: backward takes the parameters as they are by then, so they are not copied. `keeper`: nobody changes
        parameters or inputs while it is referred to, so these are not copied either.
        """

    def forward_shares(
        self, part: Part, parameters: Tensor, samples: Any, shares: int
    ) -> list[tuple[Tensor, Any]] | None:
        """:meth:`forward` of the whole model for each of equal shares of a mini-batch, in few passes; None if it can't.

        Nobody changes the parameters before the backward passes. Numbers are those of forward and backward to rounding.
        """

    def promise(self, saved: Any) -> Promise | None:
        """The gradient to the parameters of the whole model, to be made when it is wanted; None if nothing is won."""

    def backward(self, part: Part, saved: Any, gradient: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Gradients to the inputs (flat; None for the first part) and to the parameters (flat).

        `gradient` is that of the outputs; None for the last part, which starts at its mean loss.
        """

    def backward_inputs(self, part: Part, saved: Any, gradient: Tensor | None) -> tuple[Tensor | None, Any]:
        """The half of :meth:`backward` that others wait for: gradients to the inputs, and what the other half needs."""

    def backward_weights(self, part: Part, saved: Any, pending: Any) -> Tensor:
        """The other half: gradients to the parameters (flat)."""

    def distil(self, saved: Any, samples: Any, soft: Tensor, soften: Callable[..., None], weight: float) -> None:
        """Add `weight` times the loss against `soft` predictions to what the last part's backward pass starts at.

        ``soften(xp, residual, labels, soft, share=..., weight=...)`` changes the gradient of the mean loss; `share` is
        one over the number of predictions that it is the mean of.
        """

    def predict(self, parameters: Tensor, samples: Any) -> Tensor:
        """The whole model's predictions, flat: probabilities of classes, or the outputs themselves."""

    def predict_held_out(self, parameters: Tensor, count: int) -> Tensor:
        """The same for the first `count` samples of the evaluation set, which begins anew where it ends."""

    def judge(self, predictions: Tensor) -> tuple[float, float | None]:
        """Mean loss of predictions for the first samples of the evaluation set, and accuracy if there are classes."""

    @property
    def held_out(self) -> int:
        """Samples of the evaluation set."""

    def blocks(self, what: Any) -> dict[int, int]:
        """Address and bytes of every block of memory that tensors of `what` (buffers, what is saved) lie in."""

    def give_up(self, vector: Tensor) -> None:
        """Free the memory of a vector; whoever refers to it refers to nothing until :meth:`renew`."""

    def renew(self, vector: Tensor) -> None:
        """Give a vector memory again, with any contents."""

    def forward_segment(
        self, part: Part, parameters: Tensor, inputs: Tensor, aside: Any, samples: Any
    ) -> tuple[Tensor, Any, Any]:
        """Forward pass of one segment of a shard (parasim/program/shards.py): outputs, what is aside, what is kept.

        Outputs that members gather next lie at the member's place of a vector for all members' columns; those of the
        last segment are the mean loss. What is `aside` goes from one segment to the next, beside the outputs.
        """

    def backward_segment(
        self, part: Part, saved: Any, gradient: Tensor | None, aside: Any
    ) -> tuple[Tensor, Any, Tensor]:
        """Gradients to inputs (as the crossing before the segment needs it), to what was aside, and to parameters."""

    def loss(self, parameters: Tensor) -> float:
        """Mean loss of the whole model on the evaluation set."""

    def put(self, part: Part, values: Tensor, into: Tensor) -> None:
        """Write parameters of a part (of a shard, too) to their places in the vector of the whole model."""

    def evaluate(self, parameters: Tensor) -> tuple[float, float | None]:
        """Mean loss on the evaluation set, and the accuracy there if the data have classes."""

    def rightly(self, parameters: Tensor, samples: Any) -> Tensor:
        """How many of these samples the model classifies rightly (the share of tokens, summed): one element."""


class Optimizer(Protocol):
    """An update rule over the tensor namespace; `slots` names its state vectors (each as large as the parameters)."""

    @property
    def lr(self) -> float:
        """Learning rate, as the scenario says it."""

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the state vectors."""

    def __hash__(self) -> int: ...

    def rate(self, step: float) -> float:
        """Learning rate where so many steps are done (parasim/learning/rates.py)."""

    @property
    def layerwise(self) -> bool:
        """Does it need norms of whole arrays?"""

    def on(self, panels: Panels) -> Optimizer:
        """The update rule for a copy whose arrays lie there."""

    def at(self, step: float) -> Optimizer:
        """The update rule with that rate."""

    def scaled(self, factor: float) -> Optimizer:
        """The update rule with all rates multiplied by this."""

    @property
    def momentum(self) -> float:
        """Its momentum, if it has one that can be chosen; else 0."""

    def tuned(self, lr: float, momentum: float) -> Optimizer:
        """The update rule as a scenario with that learning rate (and that momentum, if it has one) says it."""

    def update(
        self, xp: Tensors, parameters: Tensor, gradient: Tensor, slots: tuple[Tensor, ...], step: int, scale: float
    ) -> None:
        """One update in place with `scale * gradient`; `step` counts updates from 0, for bias correction."""
