"""DC-ASGD: asynchronous SGD with delay compensation (Zheng et al. 2017; SCHEMES S13).

Workers are those of Downpour. A server keeps what each worker m fetched last, w_bak[m], and corrects its gradient by
the first term of a Taylor expansion, with lambda g g' as a cheap stand-in for the Hessian:
``w -= lr (g + lambda g * g * (w - w_bak[m]))``. The strength lambda is constant (DC-ASGD-c), or adaptive (DC-ASGD-a):
``lambda_0 / sqrt(MS + 1e-7)`` per parameter, with the running mean ``MS = m MS + (1 - m) g * g`` of all workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from parasim.program import (
    Buffer,
    Context,
    Kernel,
    Message,
    Model,
    Program,
    Replica,
    Setting,
    Taxonomy,
    Tensor,
    Tensors,
    option,
)
from parasim.schemes.asynchronous import Asynchronous, Shard
from parasim.schemes.server_times import ServerOptions

__all__ = ["DcAsgd"]

_EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True)
class DcAsgdOptions(ServerOptions):
    """Options of DC-ASGD; the defaults are those of the adaptive one on CIFAR-10."""

    adaptive: bool = option(True, "divide the strength by the root mean square of the gradient (DC-ASGD-a; else -c)")
    strength: float = option(-1.0, "lambda_0 (-1: the paper's, 2 if adaptive and 0.04 if not; 0: none)", ge=-1)
    decay: float = option(0.95, "decay m of the mean square (the paper: 0.95; ImageNet: 0)", ge=0, lt=1)

    def idle(self) -> Mapping[str, str]:
        """The decay of a mean that is not taken."""
        return {} if self.adaptive else {"decay": "a constant strength takes no mean square"}


@dataclass(slots=True)
class Compensating(Shard):
    """A shard with the mean square of gradients, if the strength adapts to it."""

    beside: tuple[Buffer, ...] = ()


class DcAsgd(Asynchronous):
    """Data parallel, asynchronous, centralised; the server compensates for the delay of gradients."""

    name = "dcasgd"
    aliases = ("dc_asgd_c", "dc_asgd_a", "delay_compensated_asgd")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dc_asgd_c": {"adaptive": False}}
    citation = "Zheng et al. (2017)"
    taxonomy = Taxonomy(
        "data parallel", "asynchronous", "centralised", "gradients to servers, parameters back", "one model"
    )
    staleness = "mean N-1, any speeds; its effect on the gradient is compensated to first order"
    approximates = "stale gradients, corrected to first order"
    Options = DcAsgdOptions
    keeps_copies = True

    @property
    def compensation(self) -> Compensation:
        """The correction of gradients."""
        options, papers = self.options, 2.0 if self.options.adaptive else 0.04
        strength = papers if options.strength == -1 else options.strength
        return Compensation(strength, options.decay if options.adaptive else None)

    def check(self, model: Model, batch_size: int) -> None:
        """A strength of 0 or more, or the default."""
        if -1 < self.options.strength < 0:
            raise ValueError(f"strength {self.options.strength}: give 0 or more, or -1 for the paper's")

    def shard(self, me: Context, replica: Replica) -> Compensating:
        """A shard, with the mean square of gradients."""
        beside = (me.buffer("mean square", replica.parameters.elements),) if self.options.adaptive else ()
        return Compensating(replica, beside=beside)

    def apply(
        self, me: Context, shard: Shard, message: Message, gradient: Buffer, *, copy: bool
    ) -> Program[Buffer | None]:
        """Update with the compensated gradient."""
        assert isinstance(shard, Compensating)
        return (
            yield from me.update(
                shard.replica,
                gradient,
                read=int(message.header["read"]),
                peer=message.source,
                copy=copy,
                correct=self.compensation,
                beside=(shard.sent[message.source], *shard.beside),
            )
        )

    def update_kernel(self, setting: Setting) -> Kernel:
        """The update with its compensation, and the copy that is kept and sent."""
        return setting.update_kernel(1 / self.options.servers, True, 1.0, self.compensation, 1 + self.options.adaptive)


@dataclass(frozen=True, slots=True)
class Compensation:
    """``g + lambda g * g * (w - backup)``; `decay` None: a constant lambda."""

    strength: float
    decay: float | None

    def __call__(
        self, xp: Tensors, gradient: Tensor, parameters: Tensor, backup: Tensor, *mean_square: Tensor
    ) -> Tensor:
        """The compensated gradient."""
        square = xp.multiply(gradient, gradient)
        slope = square
        if self.decay is not None:
            (mean,) = mean_square
            xp.scale_(mean, self.decay)
            xp.add_(mean, square, 1 - self.decay)
            slope = xp.divide(square, xp.sqrt(xp.add(mean, _EPSILON)))
        moved = xp.add(parameters, backup, -1.0)
        return xp.add(gradient, xp.multiply(slope, moved), self.strength)
