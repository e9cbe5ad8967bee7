"""D-PSGD: decentralised parallel SGD on a fixed graph (Lian, Zhang, Zhang, Hsieh, Zhang, Liu 2017; SCHEMES S18).

A worker sends its model to its neighbours and mixes theirs into its own by a symmetric, doubly stochastic matrix W;
it waits for its neighbours only. Two orders are in use. Combine-then-adapt, the paper's, sends the old models while the
gradient is computed, mixes, and applies the gradient to the mixture; adapt-then-combine applies the gradient first and
mixes what comes of it. In both, the mean of all models moves by the mean gradient exactly, and distances to it shrink
by |lambda_2(W)| a step.

Codes that can't carry models carry changes, after adapting (CHOCO-SGD: Koloskova, Stich, Jaggi 2019, algorithm 2).
Everyone keeps an estimate h_j of each neighbour's model, and the one h_i that neighbours have of his own::

    send q_i = C(x_i - h_i);  h_j += q_j for all neighbours and oneself
    x_i += consensus sum_j W_ij (h_j - h_i)

What a code leaves out stays in x_i - h_i, and goes with the next change; the mean of all models is as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Exchange,
    HeldModel,
    Kernel,
    Message,
    Model,
    Options,
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
from parasim.program.elementwise import add, difference
from parasim.program.graphs import (
    Matrix,
    check_mixing,
    contraction,
    graph_of_matrix,
    metropolis,
    named_graph,
)
from parasim.program.scheme import Codes
from parasim.schemes.coded_cost import CodedModel, coded_model
from parasim.schemes.pushing import packed, packed_values, unpacked

__all__ = ["DPsgd"]


@dataclass(frozen=True, kw_only=True)
class DPsgdOptions(Options):
    """Options of D-PSGD."""

    graph: Literal["ring", "complete", "line", "star", "torus", "hypercube", "edges"] = option(
        "ring", "who is beside whom, with weights 1 / (1 + larger degree)"
    )
    edges: tuple[tuple[int, ...], ...] = option((), "pairs of neighbours, of graph: edges")
    matrix: tuple[tuple[float, ...], ...] = option(
        (), "rows of a mixing matrix in place of the graph: symmetric, with sums 1"
    )
    consensus: float = option(1.0, "step of mixing where changes are sent in code (gamma of CHOCO-SGD)", gt=0, le=1)
    order: Literal["combine_then_adapt", "adapt_then_combine"] = option(
        "combine_then_adapt", "mix old models beside the gradient (the paper), or mix after applying it"
    )

    def idle(self) -> Mapping[str, str]:
        """The graph, if there is a matrix."""
        return {"graph": "the matrix says who is beside whom"} if self.matrix else {}


class DPsgd(Scheme):
    """Data parallel, synchronous with neighbours only, decentralised (gossip)."""

    name = "dpsgd"
    aliases = ("decentralized_sgd", "decentralized_parallel_sgd")
    citation = "Lian, Zhang, Zhang, Hsieh, Zhang, Liu (2017)"
    taxonomy = Taxonomy("data parallel", "synchronous", "decentralised", "models to neighbours", "model averaging")
    staleness = "0 on the worker's own copy; instead models differ: a step shrinks their distance by |lambda_2(W)|"
    approximates = "models averaged with neighbours"
    Options = DPsgdOptions
    compresses = "values"
    changes_with = "order: adapt_then_combine"
    prices_codes = True

    def codes(self) -> Codes:
        """Models; with order: adapt_then_combine their changes, in any code."""
        return "changes" if self.options.order == "adapt_then_combine" else "values"

    @cached_property
    def weights(self) -> Matrix:
        """The mixing matrix."""
        options: DPsgdOptions = self.options
        return options.matrix or metropolis(named_graph(options.graph, options.workers, options.edges))

    def worker(self, me: Context) -> Program[Buffer]:
        """Gradient, exchange with the neighbours, mix, update: in one of the two orders."""
        replica = me.replica()
        gradient = me.buffer("gradient")
        me.hold("models of neighbours", len(self._neighbours(me.index)) * replica.parameters.nbytes)
        for step in me.steps():
            if self.options.order == "combine_then_adapt":
                exchange = yield from Post((yield from self._exchange(me, replica.parameters)), lane="gossip")
                yield from me.gradient(replica.parameters, me.batch(step), gradient)
                (received,) = yield from Wait([exchange])
                replica.parameters = yield from self._mix(me, replica.parameters, received)
                yield from me.update(replica, gradient, read=replica.version)
            else:
                yield from me.gradient(replica.parameters, me.batch(step), gradient)
                yield from me.update(replica, gradient, read=replica.version)
                if me.compression is not None and not me.compression.compressor.for_values:
                    yield from self._mix_changes(me, replica.parameters)
                else:
                    received = yield from (yield from self._exchange(me, replica.parameters))
                    replica.parameters = yield from self._mix(me, replica.parameters, received)
            yield from me.step_done(step)
        return replica.parameters

    def _exchange(self, me: Context, model: Buffer) -> Program[Exchange]:
        """To all neighbours and from all neighbours at once."""
        ranks = [me.ranks("worker")[index] for index in self._neighbours(me.index)]
        sent, header = yield from packed_values(me, model, {})
        sends = tuple(Send(rank, sent, "model", header, lent=True) for rank in ranks)
        return Exchange(sends, tuple(Recv(rank, "model") for rank in ranks))

    def _mix(self, me: Context, own: Buffer, received: tuple[Message, ...]) -> Program[Buffer]:
        """``sum_j W_ij x_j``, in the order of workers: equal rows of W give equal bits."""
        row = self.weights[me.index]
        models = {me.index: own}
        for index, message in zip(self._neighbours(me.index), received, strict=True):
            theirs = (yield from unpacked(me, message)).buffer
            assert theirs is not None
            models[index] = theirs
        order = sorted(models)
        weights = tuple(row[index] for index in order)
        mixed: Buffer = yield from me.math(mix, (), [models[index] for index in order], weights=weights)
        return mixed

    def _mix_changes(self, me: Context, model: Buffer) -> Program[None]:
        """Tell the neighbours what changed since they were told last; approach what is known of them."""
        others, ranks = self._neighbours(me.index), me.ranks("worker")
        known = {j: me.kept(("estimate", j), lambda: me.initial("estimate")) for j in sorted((me.index, *others))}
        change = yield from me.math(difference, (), (model, known[me.index]))
        sent, header = yield from packed(me, change, {}, "change")
        sends = tuple([Send(ranks[j], sent, "change", header, lent=True) for j in others])
        received = yield from Exchange(sends, tuple([Recv(ranks[j], "change") for j in others]))
        for j, message in zip((me.index, *others), (Message(me.rank, "change", header, sent), *received), strict=True):
            theirs = (yield from unpacked(me, message)).buffer
            assert theirs is not None
            yield from me.math(add, (known[j],), (theirs,))
        row = self.weights[me.index]
        weights = tuple([row[j] * self.options.consensus for j in others])
        yield from me.math(approach, (model,), (known[me.index], *(known[j] for j in others)), weights=weights)

    def _neighbours(self, index: int) -> tuple[int, ...]:
        return graph_of_matrix(self.weights)[index]

    def held_model(self) -> HeldModel:
        """The mean of all models."""
        return HeldModel(mean=True)

    def check(self, model: Model, batch_size: int) -> None:
        """The graph must be there and connected; a matrix symmetric and doubly stochastic."""
        if self.options.matrix:
            if self.options.edges:
                raise ValueError("give edges or a matrix, not both")
            check_mixing(self.options.matrix, self.options.workers)
        else:
            named_graph(self.options.graph, self.options.workers, self.options.edges)

    def facts(self) -> Mapping[str, float]:
        """What the mixing matrix does to distances between models."""
        shrunk = contraction(self.weights)
        return {"|lambda_2(W)|": shrunk, "spectral gap of W": 1.0 - shrunk}

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``max(T_c, alpha + deg P beta) + T_mix + T_update``; after adapting: the sum (SCHEMES S18.5).

        All messages of a step share the links fairly. Exact where all workers have as many neighbours: elsewhere those
        with fewer may be served sooner, and the form takes all messages as long as the slowest.
        """
        graph = graph_of_matrix(self.weights)
        workers, degrees = len(graph), [len(others) for others in graph]
        pairs = [(i, j) for i, others in enumerate(graph) for j in others]
        coded, place = coded_model(setting), setting.place
        route = setting.together(pairs)
        exchange = route.alpha + coded.nbytes * route.beta if pairs else 0.0
        mixing = [
            self._mixing(setting, coded, row)
            for row in (tuple(w for j, w in enumerate(row) if w or j == i) for i, row in enumerate(self.weights))
        ]
        slowest = max(mixing, key=lambda kernels: sum(map(place.seconds, kernels)))
        passes, after = setting.gradient_kernels(), [setting.update_kernel(), *slowest]
        if self.options.order == "combine_then_adapt":
            making = place.longest(coded.making) if coded.making else 0.0
            seconds = making + max(place.longest(passes), exchange) + place.longest(after)
        else:
            seconds = place.longest([*passes, *after, *coded.making]) + exchange
        sent = sum(degrees) / workers
        regular = len(set(degrees)) == 1
        return ClosedForm(
            seconds,
            sent * coded.nbytes,
            sent,
            0.0,
            "exact" if regular and coded.settled else "estimate",
            note="" if regular else "workers with fewer neighbours have their messages sooner",
        )

    def _mixing(self, setting: Setting, coded: CodedModel, row: tuple[float, ...]) -> list[Kernel]:
        """What a worker computes to mix, given its row of the matrix, beside making its own message."""
        others = len(row) - 1
        if not coded.changes:
            return [*list(coded.reading) * others, setting.math_kernel(mix, len(row), weights=row)]
        told = [*coded.reading, setting.math_kernel(add, 2)] * (1 + others)
        weights = row[:others]
        return [setting.math_kernel(difference, 2), *told, setting.math_kernel(approach, 2 + others, weights=weights)]


def mix(xp: Tensors, *models: Tensor, weights: tuple[float, ...]) -> Tensor:
    """The weighted sum of models."""
    mixed = xp.multiply(models[0], weights[0])
    for model, weight in zip(models[1:], weights[1:], strict=True):
        xp.add_(mixed, model, weight)
    return mixed


def approach(xp: Tensors, model: Tensor, own: Tensor, *others: Tensor, weights: tuple[float, ...]) -> None:
    """Model += sum of weights (others - own)."""
    xp.add_(model, own, -sum(weights))
    for other, weight in zip(others, weights, strict=True):
        xp.add_(model, other, weight)
