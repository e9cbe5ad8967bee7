"""SGP: stochastic gradient push (Assran, Loizou, Ballas, Rabbat 2019, algorithms 1 and 2; SCHEMES S20).

Gossip in one direction. A worker holds a biased model x and a weight w, both mixed by the same column-stochastic
matrix; z = x / w is what it computes gradients at. After its update it sends equal shares of x and w to its
out-neighbours, keeps one, and adds what its in-neighbours sent: sums of all x and of all w stay. On the directed
exponential graph the one peer of iteration k is ``2^(k mod log2 N)`` ahead, so log2 N iterations mix all with all.

With overlap t, a worker waits for the messages of iteration k at the end of iteration k + t only, and adds whatever is
there before. The weight travels in the message's header (4 bytes in the paper, not counted as payload).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Event,
    Exchange,
    Handle,
    HeldModel,
    Log,
    Message,
    Model,
    Options,
    Poll,
    Post,
    Program,
    Recv,
    Scheme,
    Send,
    Setting,
    Taxonomy,
    Tensor,
    Tensors,
    Wait,
    option,
)
from parasim.program.elementwise import scale
from parasim.program.graphs import exponential_hops, pairs_of, strongly_connected
from parasim.schemes.pushing import packed_values, unpacked

__all__ = ["Sgp", "SgpOptions"]


@dataclass(frozen=True, kw_only=True)
class SgpOptions(Options):
    """Options of SGP."""

    graph: Literal["exponential", "complete", "ring", "edges"] = option(
        "exponential", "whom a worker sends to: those 1, 2, 4 ... ahead in turn; all; the next; or as edges say"
    )
    edges: tuple[tuple[int, ...], ...] = option((), "pairs (from, to), of graph: edges")
    peers: int = option(1, "out-neighbours of an iteration, of graph: exponential", ge=1)
    overlap: int = option(0, "iterations that messages may be late; 0: wait for them at once", ge=0)


class Sgp(Scheme):
    """Data parallel, synchronous with in-neighbours only, decentralised (directed gossip)."""

    name = "sgp"
    aliases = ("stochastic_gradient_push", "gradient_push", "push_sum")
    citation = "Assran, Loizou, Ballas, Rabbat (2019)"
    taxonomy = Taxonomy(
        "data parallel", "synchronous", "decentralised", "shares of models to out-neighbours", "model averaging"
    )
    staleness = "0 on the worker's own copy; models of others are mixed in `overlap` iterations late at most"
    approximates = "models averaged with neighbours"
    Options = SgpOptions
    compresses = "values"

    def worker(self, me: Context) -> Program[Buffer]:
        """Gradient at z = x / w, update of x, shares to the peers, their shares to x; returns z."""
        replica = me.replica()
        shown = me.watcher.offer(replica, 0)
        gradient = me.buffer("gradient")
        me.hold("z and shares", (2 + self.options.overlap) * replica.parameters.nbytes)
        weight, late = 1.0, deque[Handle]()
        for step in me.steps():
            unbiased = yield from me.math(divide, (), (replica.parameters,), varying={"weight": weight})
            yield from me.gradient(unbiased, me.batch(step), gradient)
            yield from me.update(replica, gradient, read=replica.version)
            share = 1.0 / (1 + len(self.targets(me.index, step)))
            yield from me.math(scale, (replica.parameters,), factor=share)
            weight *= share
            exchange = yield from self._exchange(me, replica.parameters, weight, step)
            late.append((yield from Post(exchange, lane="gossip")))
            last = step + 1 == me.num_steps
            while late and (last or len(late) > self.options.overlap or (yield from Poll(late[0]))):
                (messages,) = yield from Wait([late.popleft()])
                weight += yield from self._absorb(me, replica.parameters, messages, step)
            yield from Log(Event("note", "weight", step, value=weight))
            shown.weight = weight
            yield from me.step_done(step)
        result: Buffer = yield from me.math(divide, (), (replica.parameters,), varying={"weight": weight})
        return result

    def _exchange(self, me: Context, share: Buffer, weight: float, step: int) -> Program[Exchange]:
        """The messages of one iteration, to and from the peers."""
        ranks = me.ranks("worker")
        sent, header = yield from packed_values(me, share, {"weight": weight, "step": step})
        return Exchange(
            tuple(Send(ranks[peer], sent, "share", header) for peer in self.targets(me.index, step)),
            tuple(Recv(ranks[peer], "share") for peer in self.sources(me.index, step)),
        )

    def _absorb(self, me: Context, model: Buffer, messages: tuple[Message, ...], step: int) -> Program[float]:
        """Add shares of other models, in the order of workers; replies with their weight."""
        received = []
        for message in messages:
            theirs = (yield from unpacked(me, message)).buffer
            assert theirs is not None
            received.append(theirs)
        if received:
            yield from me.math(add_all, (model,), received)
        for message in messages:
            sent = int(message.header["step"])
            yield from Log(Event("note", "absorbed", step, peer=message.source, version_read=sent))
        return sum(float(message.header["weight"]) for message in messages)

    def targets(self, index: int, step: int) -> tuple[int, ...]:
        """Workers that one sends to in an iteration."""
        options: SgpOptions = self.options
        workers = options.workers
        if options.graph == "edges":
            return tuple(sorted(to for sender, to in pairs_of(options.edges) if sender == index))
        if options.graph == "complete":
            return tuple(other for other in range(workers) if other != index)
        hops = exponential_hops(workers) if options.graph == "exponential" else exponential_hops(workers)[:1]
        ahead = {hops[(step + peer) % len(hops)] for peer in range(options.peers)} if hops else set()
        return tuple(sorted((index + hop) % workers for hop in ahead))

    def sources(self, index: int, step: int) -> tuple[int, ...]:
        """Workers that send to one in an iteration."""
        return tuple(other for other in range(self.options.workers) if index in self.targets(other, step))

    def held_model(self) -> HeldModel:
        """The mean of all z."""
        return HeldModel(mean=True)

    def check(self, model: Model, batch_size: int) -> None:
        """The graph must exist, and let everyone reach everyone."""
        options: SgpOptions = self.options
        if bool(options.edges) != (options.graph == "edges"):
            raise ValueError("edges belong to graph: edges, which needs some: write edges: [[0, 1], [1, 0]]")
        hops = len(exponential_hops(options.workers))
        most = hops if options.graph == "exponential" else 1
        if options.peers > max(1, most):
            raise ValueError(f"{options.peers} peers are too many: this graph of {options.workers} workers has {most}")
        if options.graph == "edges":
            strongly_connected(options.edges, options.workers)

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``T_c + alpha + P beta``; with overlap ``max(T_c, alpha + P beta)`` (SCHEMES S20.5).

        T_c is all that a worker computes. Exact where every iteration has equally many messages at every worker, whose
        routes are alike; elsewhere each iteration takes as long as its slowest message, and its largest mixing.
        """
        options, place, nbytes = self.options, setting.place, setting.model.whole.nbytes
        workers = range(options.workers)
        period = len(exponential_hops(options.workers)) if options.graph == "exponential" else 1
        rounds = [[(i, to) for i in workers for to in self.targets(i, step)] for step in range(max(1, period))]
        exchange = sent = 0.0
        counts = set()
        for pairs in rounds:
            route = setting.together(pairs)
            exchange += (route.alpha + nbytes * route.beta if pairs else 0.0) / len(rounds)
            sent += len(pairs) / len(workers) / len(rounds)
            counts |= {sum(to == i for _, to in pairs) for i in workers} | {
                sum(i == j for j, _ in pairs) for i in workers
            }
        share = 1.0 / (1 + max(counts))
        kernels = [*setting.gradient_kernels(), setting.update_kernel(), setting.math_kernel(divide, weight=1.0)]
        kernels += [setting.math_kernel(scale, factor=share)]
        if max(counts):
            kernels.append(setting.math_kernel(add_all, 1 + max(counts)))
        compute = place.longest(kernels)
        alike = len(counts) == 1
        return ClosedForm(
            max(compute, exchange) if options.overlap else compute + exchange,
            sent * nbytes,
            sent,
            0.0,
            "exact" if alike else "estimate",
            note="" if alike else "workers with fewer neighbours have their messages sooner",
        )


def divide(xp: Tensors, model: Tensor, weight: float) -> Tensor:
    """The unbiased model."""
    return xp.divide(model, weight)


def add_all(xp: Tensors, model: Tensor, *received: Tensor) -> None:
    """Add what others sent."""
    for other in received:
        xp.add_(model, other)
