"""What closed forms are told of the cluster, and what they answer.

A form asks its `Setting` how long kernels and messages take where the actors sit; whoever supplies the `Place`
behind it learns from these questions what the form assumes of the cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from parasim.program.compressor import Compression
from parasim.program.kernels import backward_kernel, counted, counted_of, forward_kernel, update_function
from parasim.program.layout import panels
from parasim.program.learner import Optimizer
from parasim.program.model import Model
from parasim.program.ops import Kernel
from parasim.program.tensors import Shape

__all__ = ["ClosedForm", "Ground", "NoClosedForm", "Place", "Planning", "Route", "Setting"]


class Route(NamedTuple):
    """A message of n bytes takes ``alpha + n beta`` seconds."""

    alpha: float
    beta: float


class Ground(Protocol):
    """What is known of an actor's device and of the routes between two before a plan is made."""

    def seconds(self, kernel: Kernel, rank: int) -> float:
        """Mean time of a kernel on an actor's device."""

    def memory(self, rank: int) -> float:
        """Bytes that its device has."""

    def route(self, source: int, destination: int) -> Route:
        """Of a message that nobody disturbs."""


@dataclass(frozen=True, slots=True)
class Planning:
    """What a scheme may ask when it plans: workload and optimiser as the context gives them, and the ground."""

    model: Model
    batch_size: int
    optimizer: Optimizer
    ground: Ground


class Place(Protocol):
    """The actors' hosts, devices and routes. Actors are given by rank, and a pair is (sender, receiver)."""

    @property
    def cores(self) -> float:
        """Cores per actor of the host that has fewest."""

    @property
    def noisy(self) -> bool:
        """Do computes take random times?"""

    def seconds(self, kernel: Kernel, rank: int | None = None) -> float:
        """Mean time of a kernel on an actor's device; without `rank`, on the slowest worker's."""

    def longest(self, kernels: Sequence[Kernel]) -> float:
        """Expected time until every worker has done these kernels, one after the other."""

    def fastest(self, kernels: Sequence[Kernel], count: int) -> float:
        """Expected time until so many of the workers, whichever are first, have done these kernels."""

    def route(self, source: int, destination: int) -> Route:
        """Of a message that nobody disturbs."""

    def together(self, pairs: Iterable[tuple[int, int]]) -> Route:
        """Of the slowest of messages that start at once and are equally long; they share links fairly."""

    def busiest(self, pairs: Iterable[tuple[int, int]]) -> float:
        """Seconds per byte of the busiest link if a byte goes over each of these routes: no sharing gets it sooner."""

    def differ(self, what: str) -> None:
        """Be told that the form takes the slowest of several that differ."""


_REDUCED = float(1 << 20)
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a scheme's closed form may ask.

    Attributes
    ----------
    model, batch_size, optimizer
        As the context gives them.
    place
        Where the actors sit.
    compression
        How what is sent is compressed; None: not at all.
    """

    model: Model
    batch_size: int
    optimizer: Optimizer
    place: Place
    compression: Compression | None = None

    def worst(self, routes: Iterable[Route]) -> Route:
        """Largest latency and inverse bandwidth of several routes; of none: a route that takes no time."""
        found = set(routes)
        if len(found) > 1:
            self.place.differ("routes")
        return Route(max((route.alpha for route in found), default=0.0), max((r.beta for r in found), default=0.0))

    def worst_between(self, pairs: Iterable[tuple[int, int]]) -> Route:
        """The same of the routes between these ranks, each for itself."""
        return self.worst(self.place.route(source, destination) for source, destination in pairs)

    def together(self, pairs: Iterable[tuple[int, int]]) -> Route:
        """Of the slowest of messages between these ranks that are on their way at once; of none: it takes no time."""
        found = list(pairs)
        return self.place.together(found) if found else self.worst([])

    def gradient_kernels(self) -> tuple[Kernel, Kernel]:
        """Forward and backward pass of one worker's mini-batch through the whole model."""
        whole = self.model.whole
        return forward_kernel(whole, self.batch_size), backward_kernel(whole, self.batch_size)

    def gradient_seconds(self) -> float:
        """Their time: T_c(b)."""
        return sum(self.place.seconds(kernel) for kernel in self.gradient_kernels())

    def update_kernel(
        self,
        fraction: float = 1.0,
        copy: bool = False,
        scale: float = 1.0,
        correct: Callable[..., Any] | None = None,
        beside: int = 0,
    ) -> Kernel:
        """The optimiser's update of this fraction of the parameters by a scaled gradient; with `copy`, and a copy.

        `correct` and the number of vectors that are `beside` are as of :meth:`Context.optimize`.
        """
        operands = 2 + len(self.optimizer.slots) + beside
        optimizer, whole = self.optimizer, self.model.whole
        if optimizer.layerwise and round(whole.parameters * fraction) == whole.parameters:
            optimizer = optimizer.on(panels(whole))
        update = update_function(optimizer, copy, correct)
        return self._count(update, operands, fraction, "update", (("scale", scale),), ("count",))

    def math_kernel(
        self, function: Callable[..., Any], operands: int = 1, fraction: float = 1.0, **constants: Any
    ) -> Kernel:
        """A function over the tensor namespace, on vectors as large as this fraction of the parameters."""
        return self._count(function, operands, fraction, "elementwise", tuple(sorted(constants.items())), ())

    def kernel_of(
        self,
        function: Callable[..., Any],
        sizes: Sequence[tuple[int, int]],
        varying: Sequence[str] = (),
        **constants: Any,
    ) -> tuple[Kernel, Any]:
        """A function over the tensor namespace on vectors of these elements and bytes each, and the shapes it replies.

        `varying` and `constants` are as of :meth:`Context.math`.
        """
        cost = counted_of(function, tuple(sizes), tuple(sorted(constants.items())), tuple(varying))
        return cost.kernel(getattr(function, "__name__", "math"), "elementwise"), cost.result

    def gamma(self, itemsize: int = 0) -> float:
        """Seconds per byte of a reduction (one addition per element), without the fixed cost of a kernel.

        Of one of a MiB: a measured device does not reduce all sizes alike. Elements are the model's, or of `itemsize`.
        """
        kernel = Kernel("reduce", "reduce", _REDUCED / (itemsize or self.model.itemsize), 3 * _REDUCED)
        return (self.place.seconds(kernel) - self.place.seconds(Kernel("reduce", "reduce"))) / _REDUCED

    def _count(
        self,
        function: Callable[..., Any],
        operands: int,
        fraction: float,
        kind: str,
        constants: tuple[tuple[str, Any], ...],
        varying: tuple[str, ...],
    ) -> Kernel:
        elements = round(self.model.whole.parameters * fraction)
        cost = counted(function, (Shape(elements, self.model.itemsize),) * operands, constants, varying)
        return cost.kernel(getattr(function, "__name__", "math"), kind)


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """What theory says of one step on a `Setting`.

    Attributes
    ----------
    seconds_per_step
        Time per step; what it is worth is `meaning`.
    bytes_sent_per_worker_per_step, messages_sent_per_worker_per_step, staleness_mean
        As the summary of a run has them; NaN where theory says nothing.
    meaning
        Of the time: "exact" if the simulator must meet it to rounding, far from start and end of the run; a
        "lower bound" on it; or an "estimate".
    at_most
        An upper bound on the time, if there is one.
    about
        An estimate between the two bounds, if there is one.
    note
        What the form leaves out, if it is not exact.
    """

    seconds_per_step: float
    bytes_sent_per_worker_per_step: float
    messages_sent_per_worker_per_step: float
    staleness_mean: float
    meaning: Literal["exact", "lower bound", "estimate"]
    at_most: float | None = None
    about: float | None = None
    note: str = ""

    @property
    def exact(self) -> bool:
        """Must the simulator meet the time to rounding?"""
        return self.meaning == "exact"


@dataclass(frozen=True, slots=True)
class NoClosedForm:
    """Why theory has no closed form."""

    reason: str
