"""SGP: stochastic gradient push (Assran, Loizou, Ballas, Rabbat 2019, algorithms 1 and 2; SCHEMES S20).

Gossip in one direction. A worker holds a biased model x and a weight w, both mixed by the same column-stochastic
matrix; z = x / w is what it computes gradients at. After its update it sends equal shares of x and w to its
out-neighbours, keeps one, and adds what its in-neighbours sent: sums of all x and of all w stay. On the directed
exponential graph the one peer of iteration k is ``2^(k mod log2 N)`` ahead, so log2 N iterations mix all with all.

With overlap t, a worker waits for the messages of iteration k at the end of iteration k + t only, and adds whatever is
there before. The weight travels in the message's header (4 bytes in the paper, not counted as payload).

Codes that can't carry models carry changes, where everyone sends to the same workers in every iteration (quantised
push-sum: Taheri, Mokhtari, Hassani, Pedarsani 2020, algorithm 1). All who get messages of worker j keep the same
estimate h_j of its model, and so does j; with a_j = consensus / (1 + d_j), of d_j out-neighbours::

    send q_i = C(x_i - h_i);  h_j += q_j for oneself and all in-neighbours
    x_i += sum_j a_j h_j - d_i a_i h_i;    w_i += sum_j a_j w_j - d_i a_i w_i

What a code leaves out stays in x_i - h_i, and goes with the next change; sums of all x and of all w stay.
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
from parasim.program.elementwise import add, difference, scale
from parasim.program.graphs import exponential_hops, pairs_of, strongly_connected
from parasim.program.ops import Header
from parasim.program.scheme import Codes
from parasim.schemes.coded_cost import coded_model
from parasim.schemes.pushing import packed, packed_values, unpacked

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
    consensus: float = option(1.0, "step of mixing where changes are sent in code", gt=0, le=1)


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
    prices_codes = True
    changes_with = "graph: ring, complete or edges (changes are for who gets all of them)"

    def codes(self) -> Codes:
        """Models; where receivers stay the same (graph: ring, complete, edges) their changes, in any code."""
        options: SgpOptions = self.options
        fixed = options.graph != "exponential" or options.peers >= len(exponential_hops(options.workers))
        return "changes" if fixed else "values"

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
            if me.compression is not None and not me.compression.compressor.for_values:
                exchange, weight = yield from self._push_change(me, replica.parameters, weight, step)
            else:
                exchange, weight = yield from self._push(me, replica.parameters, weight, step)
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

    def _push(self, me: Context, model: Buffer, weight: float, step: int) -> Program[tuple[Exchange, float]]:
        """Keep a share of the model; replies with the messages of the others, and the weight that is left."""
        share = 1.0 / (1 + len(self.targets(me.index, step)))
        yield from me.math(scale, (model,), factor=share)
        sent, header = yield from packed_values(me, model, {"weight": weight * share, "step": step})
        return self._exchange(me, sent, header, step), weight * share

    def _push_change(self, me: Context, model: Buffer, weight: float, step: int) -> Program[tuple[Exchange, float]]:
        """The same where changes are told: what is given away are shares of what others know of the model."""
        targets = self.targets(me.index, step)
        share = self._coded_share(me.index, step)
        known = self._estimate(me, me.index)
        change = yield from me.math(difference, (), (model, known))
        sent, header = yield from packed(me, change, {"weight": weight * share, "step": step}, "change")
        told = (yield from unpacked(me, Message(me.rank, "share", header, sent))).buffer
        assert told is not None
        yield from me.math(add, (known,), (told,))
        yield from me.math(add, (model,), (known,), scale=-share * len(targets))
        return self._exchange(me, sent, header, step), weight * (1.0 - share * len(targets))

    def _coded_share(self, index: int, step: int) -> float:
        """What a worker gives to each out-neighbour where changes are sent."""
        options: SgpOptions = self.options
        return options.consensus / (1 + len(self.targets(index, step)))

    def _estimate(self, me: Context, index: int) -> Buffer:
        """What those know of a worker's model to whom its changes are told; all begin alike."""
        return me.kept(("estimate", index), lambda: me.initial("estimate"))

    def _exchange(self, me: Context, sent: Buffer | None, header: Header, step: int) -> Exchange:
        """The messages of one iteration, to and from the peers."""
        ranks = me.ranks("worker")
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
        if me.compression is not None and not me.compression.compressor.for_values:
            for message, change in zip(messages, received, strict=True):
                index = me.ranks("worker").index(message.source)
                known = self._estimate(me, index)
                yield from me.math(add, (known,), (change,))
                yield from me.math(add, (model,), (known,), scale=self._coded_share(index, int(message.header["step"])))
        elif received:
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
        options, place, coded = self.options, setting.place, coded_model(setting)
        workers = range(options.workers)
        period = len(exponential_hops(options.workers)) if options.graph == "exponential" else 1
        rounds = [[(i, to) for i in workers for to in self.targets(i, step)] for step in range(max(1, period))]
        exchange = sent = 0.0
        counts = set()
        for pairs in rounds:
            route = setting.together(pairs)
            exchange += (route.alpha + coded.nbytes * route.beta if pairs else 0.0) / len(rounds)
            sent += len(pairs) / len(workers) / len(rounds)
            counts |= {sum(to == i for _, to in pairs) for i in workers} | {
                sum(i == j for j, _ in pairs) for i in workers
            }
        share = 1.0 / (1 + max(counts))
        kernels = [*setting.gradient_kernels(), setting.update_kernel(), setting.math_kernel(divide, weight=1.0)]
        received = max(counts)
        if coded.changes:
            shared = [setting.math_kernel(add, 2), setting.math_kernel(add, 2, scale=share)]
            kernels += [setting.math_kernel(difference, 2), *coded.making]
            kernels += [*coded.reading, *shared] * (1 + received)
        else:
            kernels += [setting.math_kernel(scale, factor=share), *coded.making, *list(coded.reading) * received]
            kernels += [setting.math_kernel(add_all, 1 + received)] if received else []
        compute = place.longest(kernels)
        alike = len(counts) == 1
        return ClosedForm(
            max(compute, exchange) if options.overlap else compute + exchange,
            sent * coded.nbytes,
            sent,
            0.0,
            "exact" if alike and coded.settled else "estimate",
            note="" if alike else "workers with fewer neighbours have their messages sooner",
        )


def divide(xp: Tensors, model: Tensor, weight: float) -> Tensor:
    """The unbiased model."""
    return xp.divide(model, weight)


def add_all(xp: Tensors, model: Tensor, *received: Tensor) -> None:
    """Add what others sent."""
    for other in received:
        xp.add_(model, other)
