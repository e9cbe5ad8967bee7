"""AsySVRG: variance-reduced SGD of several cores on one shared vector (Zhao, Li 2016, algorithm 1; SCHEMES S16).

An epoch: all workers compute the full gradient mu at the weights w_t together, each over its own samples; then each
makes inner steps: it reads the weights u as they are by then, draws some samples i, and adds
``-lr (grad f_i(u) - grad f_i(w_t) + mu)`` to them. Reads and additions are both locked (consistent), only additions are
(inconsistent), or neither is (unlocked), so that reads may be torn and additions lost. An epoch ends with the weights
as they are by then (the paper's option 1), or with the mean of what all workers have read in it (option 2).

The samples are those of the first `pass_steps` mini-batches of every worker, n in all; they stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

from parasim.errors import ProgramError
from parasim.program import (
    Activation,
    Batch,
    Buffer,
    ClosedForm,
    Collective,
    Context,
    Event,
    HeldModel,
    Locked,
    Log,
    Model,
    Options,
    Program,
    Read,
    Replica,
    Scheme,
    Setting,
    Shared,
    Taxonomy,
    Tensor,
    Tensors,
    Update,
    option,
)
from parasim.program.elementwise import add, clear, overwrite
from parasim.program.kernels import read_kernel, write_kernels

__all__ = ["AsySvrg"]

T = TypeVar("T")
_MEAN = "mean of weights read"


@dataclass(frozen=True, kw_only=True)
class AsySvrgOptions(Options):
    """Options of AsySVRG."""

    reads: Literal["consistent", "inconsistent", "unlocked"] = option(
        "unlocked", "locks: of reads and additions, of additions, or none"
    )
    pass_steps: int = option(8, "mini-batches of a worker that the full gradient is of: n / (p b)", ge=1)
    inner: int = option(0, "inner steps of a worker and epoch (0: the paper's 2 n / p samples, twice pass_steps)", ge=0)
    output: Literal["last", "average"] = option(
        "last", "weights that an epoch ends with: the last, or the mean of those read in its inner steps"
    )
    parts: int = option(1, "pieces of the weights; each is read, and each is added to, at one moment", ge=1)


class AsySvrg(Scheme):
    """Shared memory, data parallel, asynchronous inside an epoch. A step is an inner step."""

    name = "asysvrg"
    aliases = ("async_svrg", "lock_free_svrg")
    citation = "Zhao, Li (2016)"
    taxonomy = Taxonomy("data parallel", "asynchronous", "shared memory", "shared memory", "one model")
    staleness = "mean N-1 at most: what others add between a worker's read and its addition"
    approximates = "stale gradients, torn reads, lost updates"
    Options = AsySvrgOptions
    fixed_batch = "the full gradient is that of pass_steps equal mini-batches"

    @property
    def inner(self) -> int:
        """Inner steps of a worker and epoch."""
        return int(self.options.inner or 2 * self.options.pass_steps)

    def shared(self, model: Model) -> tuple[Shared, ...]:
        """The weights u, the full gradient mu and, if an epoch ends with it, the mean of weights read."""
        size = model.whole.parameters
        averaged = (Shared(_MEAN, size, model.itemsize),) if self.options.output == "average" else ()
        return (
            Shared("weights", size, model.itemsize, self.options.parts, initial=True),
            Shared("full gradient", size, model.itemsize),
            *averaged,
        )

    def worker(self, me: Context) -> Program[Buffer]:
        """The full gradient every so many steps; inner steps; returns the weights when all have ended."""
        if getattr(me.optimizer, "weight_decay", 0.0):
            raise ProgramError("asysvrg adds -lr v to weights that it does not hold: leave weight_decay out")
        weights, options = me.shared("weights"), self.options
        here, there, change = me.buffer("gradient"), me.buffer("gradient at w"), me.buffer("change")
        told = me.buffer("share of the full gradient")
        me.hold("copies of weights and full gradient", 3 * told.nbytes)
        rule = Replica(change, tuple(me.buffer(slot) for slot in me.optimizer.slots))
        for step in me.steps():
            if step % self.inner == 0:
                yield from self._end_epoch(me, min(step, self.inner))
                anchor = (yield from Read(weights)).buffer
                full = yield from self._full_gradient(me, anchor, here, there, told)
            drawn = me.draws.integer(options.workers * options.pass_steps, "samples", step)
            batch = me.batch(drawn % options.pass_steps, share=drawn // options.pass_steps)
            current = yield from self._locked(weights, iter(Read(weights)), options.reads == "consistent")
            if options.output == "average":
                yield from me.accumulate(_sum_of_reads(me), current.buffer)
            passed = yield from self._gradient(me, current.buffer, batch, here)
            yield from self._gradient(me, anchor, batch, there)
            yield from me.math(reduce_variance, (here,), (there, full))
            yield from me.clear(change)
            yield from me.optimize(rule, here)
            add = iter(Update(weights, change, atomic=options.reads != "unlocked"))
            version = yield from self._locked(weights, add, options.reads != "unlocked")
            yield from Log(Event("applied", version_read=current.version, version_applied=version - 1))
            if passed.loss is not None:
                yield from Log(Event("loss", step=step, value=float(passed.loss)))
            yield from me.step_done(step)
        yield from self._end_epoch(me, (me.num_steps - 1) % self.inner + 1)
        return (yield from Read(weights)).buffer

    def _end_epoch(self, me: Context, steps: int) -> Program[None]:
        """Wait until all have made these steps; of output: average, their mean takes the place of the weights."""
        everyone = me.group("worker")
        if self.options.output == "average" and steps:
            summed, told = _sum_of_reads(me), me.kept("told of reads", lambda: me.buffer("share of the mean"))
            yield from me.math(tell, (summed, told), share=1.0 / (steps * everyone.size))
            yield from Update(me.shared(_MEAN), told)
            yield from me.math(overwrite, (told,), (summed,))
            yield from me.clear(summed)
            yield from Collective("barrier", everyone)
            if me.index == 0:
                weights, mean = me.shared("weights"), (yield from Read(me.shared(_MEAN))).buffer
                yield from me.math(add, (mean,), ((yield from Read(weights)).buffer,), scale=-1.0)
                yield from Update(weights, mean)
        yield from Collective("barrier", everyone)

    def _full_gradient(self, me: Context, anchor: Buffer, here: Buffer, own: Buffer, told: Buffer) -> Program[Buffer]:
        """Mean gradient of all samples at `anchor`; each worker adds what its share has changed by since last told."""
        yield from me.clear(own)
        for step in range(self.options.pass_steps):
            yield from self._gradient(me, anchor, me.batch(step), here)
            yield from me.accumulate(own, here)
        share = 1.0 / (self.options.pass_steps * self.options.workers)
        yield from me.math(tell, (own, told), share=share)
        yield from Update(me.shared("full gradient"), told)
        yield from me.math(overwrite, (told,), (own,))
        yield from Collective("barrier", me.group("worker"))
        return (yield from Read(me.shared("full gradient"))).buffer

    def _gradient(self, me: Context, parameters: Buffer, batch: Batch, into: Buffer) -> Program[Activation]:
        activation = yield from me.forward(me.model.whole, parameters, batch)
        yield from me.backward(activation, None, into)
        return activation

    def _locked(self, shared: Shared, access: Program[T], lock: bool) -> Program[T]:
        """Read or add, under the lock of the weights or without."""
        return (yield from Locked(shared, access)) if lock else (yield from access)

    def held_model(self) -> HeldModel:
        """What is in shared memory when the first worker has finished a step."""
        return HeldModel(shared=True)

    def no_norms(self) -> str:
        """A worker updates a change, not the weights."""
        return "workers add changes to weights that they do not hold: use sgd, adagrad or adam"

    def check(self, model: Model, batch_size: int) -> None:
        """No more parts than parameters."""
        if self.options.parts > model.whole.parameters:
            raise ValueError(f"{self.options.parts} parts are more than the {model.whole.parameters} parameters")

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``2 T_c + T_read + T_update + T_add + (pass_steps T_c + T_mu) / inner``.

        Per epoch that is n + 2 (2 n) gradients over p workers (SCHEMES S16.5). Exact where nobody waits for a lock and
        lines that another core wrote last cost nothing; else a lower bound.
        """
        options, place = self.options, setting.place
        weights, full, *mean = self.shared(setting.model)
        atomic = options.reads != "unlocked"
        passes = setting.gradient_kernels()
        reads = [read_kernel(weights, part) for part in range(options.parts)]
        step, epoch = [*passes, *passes, *reads, setting.math_kernel(reduce_variance, 3)], [*reads]
        step += [setting.math_kernel(clear), setting.update_kernel()]
        share = 1.0 / (options.pass_steps * options.workers)
        epoch += [setting.math_kernel(clear), setting.math_kernel(tell, 2, share=share)]
        epoch += [setting.math_kernel(overwrite, 2), read_kernel(full, 0)]
        if mean:
            step.append(setting.math_kernel(add, 2))
            epoch += [
                setting.math_kernel(tell, 2, share=1.0 / (self.inner * options.workers)),
                setting.math_kernel(clear),
            ]
            epoch += [setting.math_kernel(overwrite, 2), *reads, read_kernel(mean[0], 0)]
            epoch.append(setting.math_kernel(add, 2, scale=-1.0))
        for _ in range(options.pass_steps):
            epoch += [*passes, setting.math_kernel(add, 2)]

        def seconds(stolen: bool) -> float:
            added = [k for part in range(options.parts) for k in write_kernels(weights, part, atomic, stolen)]
            told = [*write_kernels(full, 0, True, stolen)]
            for vector in mean:  # each tells its share; the first worker then writes the weights
                told += write_kernels(vector, 0, True, stolen)
                told += [k for part in range(options.parts) for k in write_kernels(weights, part, True, stolen)]
            return place.longest([*step, *added]) + place.longest([*epoch, *told]) / self.inner

        free = options.workers == 1 or (not atomic and seconds(True) == seconds(False))
        return ClosedForm(
            seconds(False),
            0.0,
            0.0,
            float("nan"),
            "exact" if free else "lower bound",
            note="" if free else "lines that another core wrote last, and waiting for locks, take longer",
        )


def _sum_of_reads(me: Context) -> Buffer:
    """What a worker has read in the epoch's steps, added up."""
    return me.kept("sum of reads", lambda: me.buffer("sum of weights read"))


def reduce_variance(xp: Tensors, here: Tensor, there: Tensor, full: Tensor) -> None:
    """Here = here - there + full."""
    xp.add_(here, there, -1.0)
    xp.add_(here, full)


def tell(xp: Tensors, own: Tensor, told: Tensor, share: float) -> None:
    """Own = share own; told = own - told: what is new."""
    xp.scale_(own, share)
    xp.scale_(told, -1.0)
    xp.add_(told, own)
