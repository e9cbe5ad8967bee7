"""What a scheme is: options, roles, groups, and its closed form. One scheme, one file in parasim/schemes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from parasim.fields import option
from parasim.program.cast import Role
from parasim.program.groups import Group
from parasim.program.kernels import backward_kernel, counted, forward_kernel, update_function
from parasim.program.learner import Optimizer
from parasim.program.model import Model
from parasim.program.ops import Kernel
from parasim.program.shared import Shared
from parasim.program.tensors import Shape

__all__ = ["ClosedForm", "Options", "Scheme", "Setting", "Taxonomy", "option"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that every scheme has."""

    workers: int = option(0, "number of workers (0: one per host that no other role takes)", ge=0)


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Place on the axes of Ben-Nun and Hoefler (2019); SCHEMES 14."""

    concurrency: str
    consistency: str
    distribution: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A deterministic cluster without contention, for closed forms.

    Attributes
    ----------
    model, batch_size
        As the context gives them.
    alpha
        Latency of a message between two hosts, in seconds.
    beta
        Seconds per byte between two hosts.
    seconds
        Time of a kernel on an actor's device, without noise.
    """

    model: Model
    batch_size: int
    alpha: float
    beta: float
    seconds: Callable[[Kernel], float]
    optimizer: Optimizer

    def gradient_seconds(self) -> float:
        """Forward and backward pass of one worker's mini-batch through the whole model: T_c(b)."""
        whole = self.model.whole
        return self.seconds(forward_kernel(whole, self.batch_size)) + self.seconds(
            backward_kernel(whole, self.batch_size)
        )

    def update_seconds(self, fraction: float = 1.0, copy: bool = False, scale: float = 1.0) -> float:
        """The optimiser's update of this fraction of the parameters by a scaled gradient; with `copy`, and a copy."""
        operands = 2 + len(self.optimizer.slots)
        return self._count(
            update_function(self.optimizer, copy), operands, fraction, "update", (("scale", scale),), ("count",)
        )

    def math_seconds(self, function: Callable[..., Any], operands: int = 1) -> float:
        """A function over the tensor namespace, on vectors as large as the parameters."""
        return self._count(function, operands, 1.0, "elementwise", (), ())

    def gamma(self) -> float:
        """Seconds per byte of a reduction (one addition per element), without the fixed cost of a kernel."""
        itemsize = self.model.itemsize
        kernel = Kernel("reduce", "reduce", 1e9 / itemsize, 3e9)
        return (self.seconds(kernel) - self.seconds(Kernel("reduce", "reduce"))) / 1e9

    def _count(
        self,
        function: Callable[..., Any],
        operands: int,
        fraction: float,
        kind: str,
        constants: tuple[tuple[str, Any], ...],
        varying: tuple[str, ...],
    ) -> float:
        elements = round(self.model.whole.parameters * fraction)
        cost = counted(function, (Shape(elements, self.model.itemsize),) * operands, constants, varying)
        return self.seconds(cost.kernel(getattr(function, "__name__", "math"), kind))


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """What theory says of one step on a `Setting`; `exact` if the simulator must meet the time to rounding."""

    seconds_per_step: float
    bytes_sent_per_worker_per_step: float
    messages_sent_per_worker_per_step: float
    staleness_mean: float
    exact: bool
    note: str = ""


class Scheme:
    """Base of all schemes. Subclasses set the class variables and define `roles` and `closed_form`.

    A subclass sees nothing but the language: no clock, no runtime, no torch. Its role programs take one `Context`.
    """

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    citation: ClassVar[str]
    taxonomy: ClassVar[Taxonomy]
    staleness: ClassVar[str]
    Options: ClassVar[type[Options]] = Options

    def __init__(self, options: Any) -> None:
        self.options = options

    def roles(self) -> tuple[Role, ...]:
        """Roles and how many actors each has; the role that iterates is named "worker"."""
        raise NotImplementedError

    def groups(self) -> tuple[Group, ...]:
        """Groups beyond the roles themselves."""
        return ()

    def lanes(self) -> tuple[str, ...]:
        """Lanes that run collectives (a backend may need a communicator for each)."""
        return ("main",)

    def shared(self, model: Model) -> tuple[Shared, ...]:
        """Shared vectors, for schemes of one machine."""
        return ()

    def pipelines(self) -> int:
        """Batches of `batch_size` samples that one step of all workers consumes (as many as workers, by default)."""
        return int(self.options.workers)

    def check(self, model: Model, batch_size: int) -> None:
        """Refuse a workload or options that the scheme can't run.

        Raises
        ------
        ValueError
            One line: what does not fit, and what would.
        """

    @classmethod
    def extra_actors(cls, options: Any) -> int:
        """Actors that are no workers: the default placement leaves hosts free for them."""
        return 0

    def closed_form(self, setting: Setting) -> ClosedForm | None:
        """Theory for one step, or None where there is none."""
        return None
