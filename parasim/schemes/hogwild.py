"""Hogwild!: SGD of several cores on one shared vector, without locks (Niu, Recht, Re, Wright 2011; SCHEMES S14).

A worker reads the shared weights while others write them, so what it reads may be torn between parts; it computes the
gradient of one sample and adds -lr g to the weights at once, part by part. Additions are atomic; with access: plain
they are not, and what others write between the read and the write of a part is lost. Nothing is sent: the cost is
memory traffic, and the cache lines that another core wrote last (`device.coherence`).

Sparse samples touch few parts of the weights only: `support` says which. Parts that a sample does not touch are neither
read nor written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from parasim.errors import ProgramError
from parasim.program import (
    Buffer,
    ClosedForm,
    Collective,
    Context,
    Event,
    HeldModel,
    Kernel,
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
    Snapshot,
    Taxonomy,
    Update,
    backward_kernel,
    forward_kernel,
    option,
)
from parasim.program.elementwise import clear, overwrite
from parasim.program.kernels import read_kernel, write_kernels

__all__ = ["Hogwild", "HogwildOptions"]


@dataclass(frozen=True, kw_only=True)
class HogwildOptions(Options):
    """Options of Hogwild!."""

    parts: int = option(1, "pieces of the weights; each is read, and each is added to, at one moment", ge=1)
    access: Literal["atomic", "plain", "locked"] = option(
        "atomic", "additions: atomic, plain (others' writes may be lost), or one whole update at a time under a lock"
    )
    support: Literal["all", "drawn", "own"] = option(
        "all", "parts that a sample touches: all; some in a row, drawn anew; every N-th, so that workers never meet"
    )
    touched: int = option(1, "parts that a sample touches, of support: drawn", ge=1)

    def idle(self) -> Mapping[str, str]:
        """The number of parts that are drawn, if none are."""
        return {} if self.support == "drawn" else {"touched": f"of support: {self.support} no parts are drawn"}


class Hogwild(Scheme):
    """Shared memory, data parallel, asynchronous without locks."""

    name = "hogwild"
    aliases = ("hogwild_sgd", "lock_free_sgd")
    citation = "Niu, Recht, Re, Wright (2011)"
    taxonomy = Taxonomy("data parallel", "asynchronous", "shared memory", "shared memory", "one model")
    staleness = "mean N-1 at most, in writes: what others write between a worker's read and its write"
    approximates = "stale gradients, torn reads, lost updates"
    Options = HogwildOptions

    def shared(self, model: Model) -> tuple[Shared, ...]:
        """The weights."""
        return (Shared("weights", model.whole.parameters, model.itemsize, self.options.parts, initial=True),)

    def samples_at_once(self, batch_size: int) -> int:
        """Samples between a read and a write."""
        return 1

    def worker(self, me: Context) -> Program[Buffer]:
        """Read, gradient, add: for every few samples of every step; returns the weights when all have ended."""
        if getattr(me.optimizer, "weight_decay", 0.0):
            raise ProgramError(f"{self.name} adds -lr g to weights that it does not hold: leave weight_decay out")
        shared = me.shared("weights")
        gradient, change = me.buffer("gradient"), me.buffer("change")
        rule = Replica(change, tuple(me.buffer(slot) for slot in me.optimizer.slots))
        mine = yield from Read(shared)
        me.hold("copy of the weights", mine.buffer.nbytes)
        for step in me.steps():
            size = me.batches.size(step)
            at_once = self.samples_at_once(size)
            for piece in range(size // at_once):
                support = self.support(me, step, piece)
                mine, versions = yield from self._read(me, shared, support, mine)
                batch = me.batch(step, micro=piece, micros=size // at_once)
                yield from me.gradient(mine.buffer, batch, gradient)
                yield from me.clear(change)
                yield from me.optimize(rule, gradient, scale=float(at_once), step=step)
                if self.options.access == "locked":
                    yield from Locked(shared, self._add(shared, support, change, versions))
                else:
                    yield from self._add(shared, support, change, versions)
            yield from me.step_done(step)
        yield from Collective("barrier", me.group("worker"))
        return (yield from Read(shared)).buffer

    def _read(
        self, me: Context, shared: Shared, support: tuple[int, ...] | None, mine: Snapshot
    ) -> Program[tuple[Snapshot, list[int]]]:
        """A copy of the weights, fresh on the support; with the version of each part of it (of all: the oldest)."""
        if support is None:
            mine = yield from Read(shared)
            return mine, [mine.version]
        versions = []
        for part in support:
            fresh = yield from Read(shared, part)
            yield from me.math(overwrite, (mine.buffer.part(*shared.bounds(part)),), (fresh.buffer,))
            versions.append(fresh.version)
        return mine, versions

    def _add(
        self, shared: Shared, support: tuple[int, ...] | None, change: Buffer, versions: list[int]
    ) -> Program[None]:
        """Add the change on the support, part by part; log what was written meanwhile."""
        atomic = self.options.access == "atomic"
        for part, read in zip((None,) if support is None else support, versions, strict=True):
            delta = change if part is None else change.part(*shared.bounds(part))
            version = yield from Update(shared, delta, part, atomic)
            layer = "" if part is None else f"part {part}"
            yield from Log(Event("applied", version_read=read, version_applied=version - 1, layer=layer))

    def support(self, me: Context, step: int, piece: int) -> tuple[int, ...] | None:
        """Parts that the next samples touch; None: all."""
        options: HogwildOptions = self.options
        if options.support == "all":
            return None
        if options.support == "own":
            return tuple(range(me.index, options.parts, options.workers))
        first = me.draws.integer(options.parts, "support", step, piece)
        return tuple(sorted((first + i) % options.parts for i in range(options.touched)))

    def held_model(self) -> HeldModel:
        """What is in shared memory when the first worker has finished a step."""
        return HeldModel(shared=True)

    def no_norms(self) -> str:
        """A worker updates a change, not the weights."""
        return "workers add changes to weights that they do not hold: use sgd, adagrad or adam"

    def check(self, model: Model, batch_size: int) -> None:
        """Parts must be there to be touched; a step is a whole number of pieces."""
        options: HogwildOptions = self.options
        if options.parts > model.whole.parameters:
            raise ValueError(f"{options.parts} parts are more than the {model.whole.parameters} parameters")
        if options.support == "own" and options.parts % options.workers:
            raise ValueError(f"support: own needs parts in a multiple of {options.workers} workers")
        if options.support == "drawn" and options.touched > options.parts:
            raise ValueError(f"touched: {options.touched} parts of {options.parts}; cut the weights in more parts")
        at_once = self.samples_at_once(batch_size)
        if batch_size % at_once:
            raise ValueError(f"batch_size {batch_size} is no multiple of {at_once} samples at once")

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``b / B (T_read + T_c(B) + T_update + T_add + lines T_line)``: memory traffic (SCHEMES S14.5).

        B samples at once. Exact for one worker, and for several where lines cost nothing and nobody waits for a lock;
        else a lower bound, in which every line of a written part was another's before, at most.
        """
        options: HogwildOptions = self.options
        place, (shared,) = setting.place, self.shared(setting.model)
        at_once = self.samples_at_once(setting.batch_size)
        whole = setting.model.whole
        parts = range(options.parts)
        kernels: list[Kernel] = [forward_kernel(whole, at_once), backward_kernel(whole, at_once)]
        kernels += [setting.math_kernel(clear), setting.update_kernel(scale=float(at_once))]
        share = {"all": 1.0, "own": 1 / options.workers, "drawn": options.touched / options.parts}[options.support]
        access = [read_kernel(shared, part) for part in parts]
        written = [kernel for part in parts for kernel in write_kernels(shared, part, options.access == "atomic")]
        stolen = [
            kernel for part in parts for kernel in write_kernels(shared, part, options.access == "atomic", stolen=True)
        ]
        if options.support != "all":
            access += [setting.math_kernel(overwrite, 2, fraction=1 / options.parts) for _ in parts]
        alone, crowded = (
            place.longest(kernels) + share * place.longest([*access, *some]) for some in (written, stolen)
        )
        pieces = setting.batch_size // at_once
        even = options.support == "all" or whole.parameters % options.parts == 0
        free = crowded == alone and options.access != "locked"
        exact = options.workers == 1 or options.support == "own" or free
        return ClosedForm(
            pieces * alone,
            0.0,
            0.0,
            float("nan"),
            "exact" if exact and even else "estimate" if not even else "lower bound",
            at_most=None if exact or options.access == "locked" else pieces * crowded,
            note="" if exact and even else "lines that another core wrote last, and waiting for a lock, take longer",
        )
