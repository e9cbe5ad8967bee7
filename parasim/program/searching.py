"""Automatic selection of the mini-batch size (Seide, Fu, Droppo, Li, Yu 2014; SCHEMES S49), beside any scheme that can.

Every so many samples the actors go back in time, once for each size: from the model of that moment they train on the
next samples in steps of that size, and count how many of them the model that comes of it classifies rightly; then all
is as it was before. The largest size that does not hurt the training accuracy is kept until the next search.

A trial is the scheme's own step: its program asks for the batch of a step, computes, exchanges, updates and reports
the step's end, and is told of a smaller or larger batch meanwhile. So trials take the time that such steps take, in
either runtime. Nothing of a trial is left but what was chosen.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from parasim.errors import ScenarioError
from parasim.fields import option
from parasim.program.batches import Batches
from parasim.program.buffers import Buffer
from parasim.program.context import Context
from parasim.program.elementwise import add, clear, overwrite
from parasim.program.kernels import forward_kernel
from parasim.program.ops import Collective, Compute, Decide, Event, Log, Program
from parasim.program.state import Activation, Batch, Replica

if TYPE_CHECKING:
    from parasim.program.learner import Learner
    from parasim.program.tensors import Tensor

__all__ = ["Search", "SearchingContext", "Trials", "largest_unharmed"]


@dataclass(frozen=True, kw_only=True)
class Search:
    """When sizes are tried, which, on what, and what is asked of them."""

    sizes: tuple[int, ...] = option((), "samples per worker that are tried", ge=1)
    by: Literal["epochs", "samples"] = option("epochs", "what `every` and `probe` count: epochs or samples of all")
    every: float = option(1.0, "sizes are tried each time that so much was trained on", gt=0)
    probe: float = option(0.1, "each size is tried on so much: rounded up to steps of the largest size", gt=0)
    margin: float = option(0.01, "training accuracy that the size chosen may lose against the best", ge=0, lt=1)
    scaling: Literal["linear", "sqrt", "none"] = option(
        "linear", "the learning rate follows the size relative to batch_size (Seide et al.: rates are per sample)"
    )

    def __post_init__(self) -> None:
        if len(self.sizes) < 2:
            raise ScenarioError("batch_search: sizes: give two at least, as in sizes: [16, 32, 64]")
        if list(self.sizes) != sorted(set(self.sizes)):
            raise ScenarioError(f"batch_search: sizes: {list(self.sizes)} does not rise: list each size once, in order")


@dataclass(frozen=True, slots=True)
class Trials:
    """A `Search` in a run: `every` and `probe` in samples of one worker."""

    sizes: tuple[int, ...]
    every: float
    probe: float
    margin: float
    scaling: Literal["linear", "sqrt", "none"]

    def rate(self, size: int, first: int) -> float:
        """What the learning rate is multiplied by with this size, where it is meant for the `first`."""
        return {"linear": size / first, "sqrt": math.sqrt(size / first), "none": 1.0}[self.scaling]

    def steps(self, size: int) -> int:
        """Steps of a trial of this size: all sizes that divide the largest see the same samples."""
        samples = math.ceil(self.probe / self.sizes[-1]) * self.sizes[-1]
        return math.ceil(samples / size)


def largest_unharmed(sizes: Sequence[int], accuracies: Sequence[float], margin: float) -> int:
    """The largest size whose accuracy is within `margin` of the best of all."""
    best = max(accuracies)
    return max(size for size, found in zip(sizes, accuracies, strict=True) if found >= best - margin)


@dataclass(slots=True)
class _Trial:
    """A search that is going on.

    Attributes
    ----------
    start, stop
        Step at which the search began, and at which the trial ends.
    batches
        The sizes before it.
    saved
        What changes in a trial, each with a copy (None: it did not exist, and is zero at first).
    begun
        Replicas, each with its number of updates.
    accuracies
        Found so far, in the order of the sizes.
    """

    start: int
    batches: Batches
    saved: list[tuple[Buffer, Buffer]]
    begun: list[tuple[Replica, int]]
    stop: int = 0
    accuracies: list[float] = field(default_factory=list)


class SearchingContext(Context):
    """A context whose batches are chosen while the run goes on: `Context` says the rest.

    The run takes as many samples as its steps would with the first size.

    Parameters
    ----------
    trials
        Which sizes are tried, and when.
    settings
        Of the context.
    """

    def __init__(self, *, trials: Trials, **settings: Any) -> None:
        super().__init__(**settings)
        self._trials = trials
        self._rule = self.optimizer
        self._first = self.batches.sizes[0]
        self._next = 0
        self._trial: _Trial | None = None

    def steps(self) -> Iterator[int]:  # type: ignore[override]  # how many there are is not known beforehand
        """The iterations of a worker, those of trials among them."""
        while self._trial is not None or not self._over:
            yield self._next

    @property
    def _over(self) -> bool:
        """Have all samples been seen?"""
        return self.batches.before(self._next) >= self.num_steps * self._first

    def samples_seen(self) -> float:
        """Samples that all workers have been trained on by now; trials do not count."""
        return self.batches.before(self._next) * self.count(self.role)

    # what a step does ----------------------------------------------------------------------------------------------
    def log_loss(self, activation: Activation) -> Program[None]:
        """Log the loss, unless it is that of a trial."""
        if self._trial is None:
            yield from super().log_loss(activation)

    def update(self, replica: Replica, gradient: Buffer, *, read: int, **more: Any) -> Program[Buffer | None]:
        """Apply a gradient; in a trial no version is counted and no staleness logged."""
        if self._trial is None:
            return (yield from super().update(replica, gradient, read=read, **more))
        more = {name: value for name, value in more.items() if name not in ("peer", "layer")}
        return (yield from self.optimize(replica, gradient, **more))

    def optimize(
        self, replica: Replica, gradient: Buffer, *, step: float | None = None, **more: Any
    ) -> Program[Buffer | None]:
        """The update alone. Schedules of the rate count steps of the first size."""
        at = self.batches.before(self._next) / self._first if step is None else step
        return (yield from super().optimize(replica, gradient, step=at, **more))

    def step_done(self, step: int) -> Program[None]:
        """Log that this worker finished a step, with its samples; or go on with a search."""
        size, before = self.batches.size(step), self.batches.before(step)
        self._next = step + 1
        if self._trial is not None:
            if self._next == self._trial.stop:
                yield from self._judge(self._trial)
            return
        yield Log(Event("step", step=step, value=float(size)))
        every = self._trials.every
        if (before + size) // every > before // every and not self._over:
            yield from self._begin()

    # a search ------------------------------------------------------------------------------------------------------
    def _state(self) -> list[Buffer]:
        """What steps change: parameters, the optimiser's state, what codes keep."""
        kept = [value for value in self._kept.values() if isinstance(value, Buffer)]
        return [buffer for each in self._replicas for buffer in (each.parameters, *each.slots)] + kept

    def _begin(self) -> Program[None]:
        """Keep all that changes; try the first size."""
        saved = []
        for buffer in self._state():
            copy = yield from self.copy(buffer)
            self.hold("before trials", copy.nbytes, copy)
            saved.append((buffer, copy))
        begun = [(replica, replica.begun) for replica in self._replicas]
        self._try(_Trial(self._next, self.batches, saved, begun))

    def _try(self, trial: _Trial) -> None:
        """Let the next size be tried."""
        size = self._trials.sizes[len(trial.accuracies)]
        trial.stop = trial.start + self._trials.steps(size)
        self._trial, self._next = trial, trial.start
        self._use(trial.batches.then(trial.start, size), size)

    def _use(self, batches: Batches, size: int) -> None:
        self.batches = batches
        self.optimizer = self._rule.scaled(self._trials.rate(size, self._first))

    def _judge(self, trial: _Trial) -> Program[None]:
        """How good is the model that a trial made? Then all is as it was; the next size, or the choice."""
        size = self.batches.size(trial.start)
        accuracy = yield from self._accuracy(trial, size)
        trial.accuracies.append(accuracy)
        yield Log(Event("note", f"training accuracy with batch {size}", step=trial.start, value=accuracy))
        known = {id(buffer) for buffer, _ in trial.saved}
        for buffer, copy in trial.saved:
            yield from self.math(overwrite, (buffer,), (copy,))
        for buffer in self._state():
            if id(buffer) not in known:  # it was zero when it was made
                yield from self.math(clear, (buffer,))
        for replica, begun in trial.begun:
            replica.begun = begun
        if len(trial.accuracies) < len(self._trials.sizes):
            self._try(trial)
            return
        for _, copy in trial.saved:
            self.release("before trials", copy.nbytes, copy)
        chosen = largest_unharmed(self._trials.sizes, trial.accuracies, self._trials.margin)
        self._trial, self._next = None, trial.start
        self._use(trial.batches.then(trial.start, chosen), chosen)

    def _accuracy(self, trial: _Trial, size: int) -> Program[float]:
        """Share of the trial's samples, of all workers, that the first replica classifies rightly."""
        count, parameters = self.buffer("rightly", 1), self._replicas[0].parameters
        for step in range(trial.start, trial.stop):
            batch = self.batch(step)
            work = self.work(functools.partial(_rightly, parameters=parameters, batch=batch))
            kernel = forward_kernel(self.model.whole, batch.size, step)
            found = yield Compute(kernel, work, (), (parameters,))
            yield from self.math(add, (count,), (Buffer("rightly", 1, count.itemsize, found),))
        workers = self.group(self.role)
        if workers.size > 1:
            yield Collective("all_reduce", workers, count, "binomial")
        right = yield Decide(lambda: float(count.values[0]), 0.0, f"right of batch {size}")
        self.release("rightly", count.nbytes, count)
        return float(right) / ((trial.stop - trial.start) * size * workers.size)


def _rightly(learner: Learner, parameters: Buffer, batch: Batch) -> Tensor:
    return learner.rightly(parameters.look(), batch.samples(learner))
