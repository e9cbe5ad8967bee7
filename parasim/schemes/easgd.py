"""EASGD and EAMSGD: elastic averaging (Zhang, Choromanska, LeCun 2015; SCHEMES S8).

Every worker i trains a model x_i of its own; every `period` steps it and the centre c, on the server, move towards each
other by ``d = alpha (x_i - c)``, with alpha the moving rate over N. The gradient of the step is that of x_i before
the move. EAMSGD has Nesterov's momentum: ``v = delta v - lr g(x + delta v)``, ``x += v``.

Hermans (2017) has a worker take its `period` steps first, and then fetch the centre and move. He also lets it exchange
early, as soon as its step is about as long as the pull of the centre it fetched last, which would undo the step:
``| |lr g| - |alpha (x - c)| | < lr``.

Asynchronous: a worker fetches the centre and pushes d, whenever it comes. Round-robin: the same, in turn. Synchronous:
all send x_i, and get the centre as it was; it moves by the sum. Each of several servers has a shard of the centre.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

from parasim.program import (
    Buffer,
    Closed,
    ClosedForm,
    Context,
    Decide,
    Exchange,
    HeldModel,
    Kernel,
    Model,
    NoClosedForm,
    Options,
    Post,
    Program,
    Recv,
    Replica,
    Role,
    Scheme,
    Send,
    Setting,
    Taxonomy,
    Tensor,
    Tensors,
    bounds,
    option,
)
from parasim.program.elementwise import copied, scale
from parasim.schemes.pushing import packed_values, unpacked

__all__ = ["Eamsgd", "Easgd"]


@dataclass(frozen=True, kw_only=True)
class EasgdOptions(Options):
    """Options of EASGD."""

    servers: int = option(1, "servers, each with one shard of the centre", ge=1)
    order: Literal["asynchronous", "round_robin", "synchronous"] = option(
        "asynchronous", "who exchanges when: whoever comes, all in turn, or all at once"
    )
    period: int = option(4, "exchange with the centre every so many steps (the paper: 1, 4, 16, 64)", ge=1)
    moving_rate: float = option(0.9, "beta; a worker and the centre move by alpha = beta / N of their distance", ge=0)
    momentum: float = option(0.0, "delta, Nesterov's momentum of a worker (0.99 in the paper's EAMSGD)", ge=0, lt=1)
    moves: Literal["with_gradient", "after_steps"] = option(
        "with_gradient", "a worker moves with a gradient that is taken before, or after its period of steps (Hermans)"
    )
    early: bool = option(False, "exchange as soon as the pull of the centre would undo a step (Hermans)")


@dataclass(frozen=True, kw_only=True)
class EamsgdOptions(EasgdOptions):
    """Options of EAMSGD."""

    momentum: float = option(0.99, "delta, Nesterov's momentum of a worker", ge=0, lt=1)


class Easgd(Scheme):
    """Data parallel, elastically coupled to a centre; synchronous or asynchronous, centralised."""

    name = "easgd"
    aliases: ClassVar[tuple[str, ...]] = ("elastic_averaging", "asynchronous_easgd", "aeasgd", "synchronous_easgd")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "aeasgd": {"moves": "after_steps"},
        "synchronous_easgd": {"order": "synchronous"},
    }
    citation = "Zhang, Choromanska, LeCun (2015)"
    taxonomy = Taxonomy(
        "data parallel",
        "asynchronous or synchronous",
        "centralised",
        "the centre from a server, differences back",
        "elastic averaging",
    )
    staleness = "0 with respect to the worker's own model; the centre it fetches misses exchanges under way"
    approximates = "models that differ, drawn to a centre"
    Options = EasgdOptions
    compresses = "values"

    @property
    def alpha(self) -> float:
        """The part of the distance that both move by."""
        return float(self.options.moving_rate / self.options.workers)

    def roles(self) -> tuple[Role, ...]:
        """Workers and the servers; asynchronous, these end with them."""
        programs = {"asynchronous": self.serve, "round_robin": self.take_turns, "synchronous": self.serve_together}
        order = self.options.order
        server = Role("server", self.options.servers, programs[order], daemon=order == "asynchronous")
        return (Role("worker", self.options.workers, self.worker), server)

    @classmethod
    def extra_actors(cls, options: EasgdOptions) -> int:
        """The servers."""
        return options.servers

    # workers -------------------------------------------------------------------------------------------------------
    def worker(self, me: Context) -> Program[Buffer]:
        """Now and then the elastic move; in every step the gradient, taken before it (or all steps, then the move)."""
        x = me.replica() if not self.options.momentum else Replica(me.initial(), ())
        velocity = self._velocity(me) if self.options.momentum else x
        gradient, since = me.buffer("gradient"), 0
        moved: tuple[Buffer, ...] = ()
        centre: tuple[Buffer, ...] = ()
        for step in me.steps():
            if self._first and step % self.options.period == 0:
                moved, _ = yield from self._exchange(me, x.parameters)
            yield from self._gradient(me, x, velocity, step, gradient)
            yield from self._elastic_move(me, x, moved)
            yield from self._step(me, x, velocity, gradient)
            moved, since = (), since + 1
            if not self._first and (
                since == self.options.period or (yield from self._undone(me, step, gradient, x.parameters, centre))
            ):
                moved, centre = yield from self._exchange(me, x.parameters)
                yield from self._elastic_move(me, x, moved)
                moved, since = (), 0
            yield from me.step_done(step)
        return x.parameters

    @property
    def _first(self) -> bool:
        """Does a worker meet the centre before its steps, not after?"""
        return bool(self.options.moves == "with_gradient")

    def _velocity(self, me: Context) -> Replica:
        """What the optimiser's steps change in EAMSGD: v, from zero."""
        return Replica(me.buffer("velocity"), tuple(me.buffer(slot) for slot in me.optimizer.slots))

    def _gradient(self, me: Context, x: Replica, velocity: Replica, step: int, gradient: Buffer) -> Program[None]:
        """At x, or, with momentum, at x + delta v."""
        at = x.parameters
        if delta := self.options.momentum:
            at = yield from me.math(look_ahead, (), (at, velocity.parameters), delta=delta)
        yield from me.gradient(at, me.batch(step), gradient)

    def _step(self, me: Context, x: Replica, velocity: Replica, gradient: Buffer) -> Program[None]:
        """The optimiser's step of x; with momentum ``v = delta v - lr g`` and ``x += v``."""
        if delta := self.options.momentum:
            yield from me.math(scale, (velocity.parameters,), factor=delta)
        yield from me.update(velocity, gradient, read=velocity.version)
        if delta:
            yield from me.math(move, (x.parameters,), (velocity.parameters,), way=1.0)

    def _exchange(self, me: Context, x: Buffer) -> Program[tuple[tuple[Buffer, ...], tuple[Buffer, ...]]]:
        """Meet the centre; replies with d, by which the worker is still to move, and with the centre, in shards."""
        servers = me.ranks("server")
        if self.options.order == "synchronous":
            yield from self._send(me, "model", dict(zip(servers, self._shards(x), strict=True)))
        elif self.options.order == "asynchronous":
            yield from Exchange(tuple(Send(server, None, "ask") for server in servers))
        centre, moved = [], []
        for message in (yield from Exchange((), tuple(Recv(server, "centre") for server in servers))):
            shard = (yield from unpacked(me, message)).buffer
            assert shard is not None
            centre.append(shard)
        for own, shard in zip(self._shards(x), centre, strict=True):
            moved.append((yield from me.math(elastic, (), (own, shard), alpha=self.alpha)))
        if self.options.order != "synchronous":
            yield from self._send(me, "move", dict(zip(servers, moved, strict=True)))
        return tuple(moved), tuple(centre)

    def _send(self, me: Context, tag: str, shards: Mapping[int, Buffer]) -> Program[None]:
        """A vector's shards to their servers."""
        sends = []
        for server, shard in shards.items():
            sent, header = yield from packed_values(me, shard, {})
            sends.append(Send(server, sent, tag, header, lent=True))
        yield from Exchange(tuple(sends))

    def _shards(self, vector: Buffer) -> list[Buffer]:
        """A vector's shards, by server."""
        return [vector.part(*cut) for cut in pairwise(bounds(vector.elements, self.options.servers))]

    def _elastic_move(self, me: Context, x: Replica, moved: tuple[Buffer, ...]) -> Program[None]:
        """A worker's side of an exchange: ``x -= d``."""
        for own, shard in zip(self._shards(x.parameters) if moved else (), moved, strict=True):
            yield from me.math(move, (own,), (shard,), way=-1.0)

    def _undone(self, me: Context, step: int, gradient: Buffer, x: Buffer, centre: tuple[Buffer, ...]) -> Program[bool]:
        """Would the pull of the centre, as it was fetched last, undo the step: are their lengths within lr?"""
        if not self.options.early or not centre:
            return False
        lr = me.optimizer.rate(step)
        longer = yield from me.math(step_less_pull, (), (gradient, x, *centre), varying={"lr": lr}, alpha=self.alpha)
        return bool((yield from Decide(lambda: abs(float(longer.values)) < lr, False, "early")))

    # servers -------------------------------------------------------------------------------------------------------
    def _centre(self, me: Context) -> Buffer:
        """A server's shard of the centre."""
        if self.options.servers == 1:
            return me.initial("centre")
        cuts = bounds(me.model.whole.parameters, self.options.servers)
        return me.shard("centre", (cuts[me.index], cuts[me.index + 1]))

    def serve(self, me: Context) -> Program[Buffer]:
        """The centre, for whoever comes: a lane for each worker."""
        centre = self._centre(me)
        for worker in me.ranks("worker"):
            yield from Post(self._serve(me, centre, worker), f"worker {worker}", daemon=True)
        return centre

    def _serve(self, me: Context, centre: Buffer, worker: int) -> Program[None]:
        try:
            while True:
                yield from Recv(worker, "ask")
                copy = yield from me.copy(centre)
                yield from self._meet(me, centre, copy, worker)
        except Closed:
            return

    def _meet(self, me: Context, centre: Buffer, shown: Buffer, worker: int) -> Program[None]:
        """Show a worker the centre, and move it by what the worker answers."""
        yield from self._send(me, "centre", {worker: shown})
        message = yield from unpacked(me, (yield from Recv(worker, "move")))
        assert message.buffer is not None
        yield from me.math(move, (centre,), (message.buffer,), way=1.0)
        me.watcher.changed()

    def take_turns(self, me: Context) -> Program[Buffer]:
        """The centre, for all in turn."""
        centre = self._centre(me)
        for _ in self._exchanges(me):
            for worker in me.ranks("worker"):
                yield from self._meet(me, centre, centre, worker)
        return centre

    def serve_together(self, me: Context) -> Program[Buffer]:
        """The centre, for all at once: ``c = (1 - N alpha) c + alpha sum x_i``, added in the order of the workers."""
        centre, workers = self._centre(me), me.ranks("worker")
        for _ in self._exchanges(me):
            messages = yield from Exchange((), tuple(Recv(worker, "model") for worker in workers))
            sent, header = yield from packed_values(me, centre, {})
            yield from Exchange(tuple(Send(worker, sent, "centre", header, lent=True) for worker in workers))
            yield from me.math(scale, (centre,), factor=1 - len(workers) * self.alpha)
            for message in messages:
                theirs = (yield from unpacked(me, message)).buffer
                assert theirs is not None
                yield from me.math(move, (centre,), (theirs,), way=self.alpha)
            me.watcher.changed()
        return centre

    def _exchanges(self, me: Context) -> range:
        """Of a run in which nobody exchanges early."""
        return (
            range(0, me.num_steps, self.options.period) if self._first else range(me.num_steps // self.options.period)
        )

    # theory --------------------------------------------------------------------------------------------------------
    def counts_vary(self) -> bool:
        """Values decide who exchanges early."""
        return bool(self.options.early)

    def held_model(self) -> HeldModel:
        """The centre; it moves once for all workers, or for each of them."""
        moves = 1 if self.options.order == "synchronous" else self.options.workers
        return HeldModel("server", "centre", updates_per_step=moves / self.options.period)

    def no_norms(self) -> str:
        """With momentum, the optimiser changes the velocity."""
        return "its own momentum takes the optimiser's steps: write momentum: 0" if self.options.momentum else ""

    def check(self, model: Model, batch_size: int) -> None:
        """Early exchanges are for who waits for nobody."""
        options = self.options
        if options.early and (options.order, options.moves) != ("asynchronous", "after_steps"):
            raise ValueError("early exchanges need order: asynchronous and moves: after_steps")

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """``T_c + T_update + (2 alpha + 2 P beta + elastic moves) / period`` (SCHEMES S8.5).

        Synchronous: all at once, so N times the bytes on the servers' links; exact if the servers have moved the centre
        by the time of the next exchange. Round-robin: N exchanges one after the other if that takes longer; exact.
        Asynchronous: exact for one worker, at least what the servers' links take for more. Shards are equally large.
        """
        options, place, whole = self.options, setting.place, setting.model.whole
        if options.early:
            return NoClosedForm("how often workers exchange early depends on what they learn")
        workers, servers, alpha, nbytes = options.workers, options.servers, self.alpha, whole.nbytes / options.servers
        together, fraction = options.order == "synchronous", 1 / servers
        pairs = [(worker, workers + shard) for worker in range(workers) for shard in range(servers)]
        back = [(server, worker) for worker, server in pairs]
        at_once = len(pairs) if together else servers  # messages of all workers, or of one
        push, pull = (
            setting.worst(place.together(ways[at : at + at_once]) for at in range(0, len(ways), at_once))
            for ways in (pairs, back)
        )
        messages = push.alpha + pull.alpha + (push.beta + pull.beta) * nbytes
        meet = servers * place.seconds(setting.math_kernel(elastic, 2, fraction, alpha=alpha))
        own = servers * place.seconds(setting.math_kernel(move, 2, fraction, way=-1.0))
        step = place.longest(self._step_kernels(setting) * options.period)
        moving = setting.math_kernel(move, 2, fraction, way=alpha if together else 1.0)
        at_server = place.seconds(moving, workers)
        cycle = step + messages + meet + own
        exact = workers == 1 or options.order != "asynchronous"
        if together:
            shrinking = setting.math_kernel(scale, fraction=fraction, factor=1 - workers * alpha)
            exact = place.seconds(shrinking, workers) + workers * at_server <= step
        elif options.order == "round_robin":
            cycle = max(cycle, workers * (messages + meet + at_server))
        else:
            cycle += place.seconds(setting.math_kernel(copied, fraction=fraction), workers)
            cycle = max(cycle, nbytes * max(place.busiest(pairs), place.busiest(back)))
        even = whole.parameters % servers == 0
        exact = exact and not place.noisy and even
        return ClosedForm(
            cycle / options.period,
            whole.nbytes / options.period,
            servers / options.period,
            0.0,
            "exact" if exact else "lower bound" if even else "estimate",
            note="" if exact else "workers wait for each other at the servers, or shards differ in size",
        )

    def _step_kernels(self, setting: Setting) -> list[Kernel]:
        """What a worker computes in a step without exchange."""
        kernels = [*setting.gradient_kernels(), setting.update_kernel()]
        delta = self.options.momentum
        if delta:
            kernels.append(setting.math_kernel(look_ahead, 2, delta=delta))
            kernels.append(setting.math_kernel(scale, factor=delta))
            kernels.append(setting.math_kernel(move, 2, way=1.0))
        return kernels


class Eamsgd(Easgd):
    """EASGD with Nesterov's momentum in the workers."""

    name = "eamsgd"
    aliases = ("elastic_averaging_momentum",)
    Options = EamsgdOptions


def elastic(xp: Tensors, x: Tensor, centre: Tensor, alpha: float) -> Tensor:
    """Reply ``alpha (x - centre)``."""
    moved = xp.add(x, centre, -1.0)
    xp.scale_(moved, alpha)
    return moved


def move(xp: Tensors, x: Tensor, by: Tensor, way: float) -> None:
    """``x += way by``."""
    xp.add_(x, by, way)


def step_less_pull(xp: Tensors, gradient: Tensor, x: Tensor, *shards: Tensor, lr: float, alpha: float) -> Tensor:
    """Reply ``|lr g| - |alpha (x - c)|``, the centre c in shards."""
    centre = shards[0] if len(shards) == 1 else xp.concatenate(list(shards))
    pull = xp.multiply(xp.norm(xp.add(x, centre, -1.0)), alpha)
    return xp.add(xp.multiply(xp.norm(gradient), lr), pull, -1.0)


def look_ahead(xp: Tensors, x: Tensor, velocity: Tensor, delta: float) -> Tensor:
    """Reply ``x + delta velocity``."""
    return xp.add(x, velocity, delta)
