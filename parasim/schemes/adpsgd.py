"""AD-PSGD: asynchronous decentralised parallel SGD (Lian, Zhang, Zhang, Liu 2018; SCHEMES S19).

A worker computes a gradient at a copy x^ of its model x and applies it to x as it is by then. Beside that, once per
gradient, it averages x with a random neighbour. Each edge of the graph has one end that asks and one that answers, and
along asking no path leads back: so nobody waits in a circle, on any graph. On a bipartite graph some (the active ones,
the paper's remedy against deadlock) only ask and the others only answer; on any other graph the worker of lower index
asks. Who does both does one after the other, so that no averaging comes between the two sides of another.

An averaging moves d = (x_a - x_p) / 2 from one to the other: the passive worker adds d when it is asked, the active one
subtracts it when the answer is there. The sum of all models is kept whatever either applied in the meantime; if
nothing, both have the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from parasim.program import (
    ANY,
    Buffer,
    ClosedForm,
    Context,
    Event,
    HeldModel,
    Log,
    Message,
    Model,
    Options,
    Post,
    Program,
    Recv,
    Replica,
    Scheme,
    Send,
    Setting,
    Taxonomy,
    Tensor,
    Tensors,
    Wait,
    option,
)
from parasim.program.elementwise import copied
from parasim.program.graphs import Graph, named_graph, two_colours
from parasim.schemes.pushing import packed_values, unpacked

__all__ = ["AdPsgd"]


@dataclass(frozen=True, kw_only=True)
class AdPsgdOptions(Options):
    """Options of AD-PSGD."""

    graph: Literal["complete", "all", "ring", "line", "star", "torus", "hypercube", "edges"] = option(
        "complete",
        "who averages with whom; complete: every even worker with every odd one; all: everyone with everyone",
    )
    edges: tuple[tuple[int, ...], ...] = option((), "pairs of neighbours, of graph: edges")


class AdPsgd(Scheme):
    """Data parallel, asynchronous, decentralised (gossip)."""

    name = "adpsgd"
    aliases = ("asynchronous_decentralized_sgd",)
    citation = "Lian, Zhang, Zhang, Liu (2018)"
    taxonomy = Taxonomy(
        "data parallel", "asynchronous", "decentralised", "models and differences in pairs", "model averaging"
    )
    staleness = (
        "averagings of the worker's model while its gradient is computed: "
        "near 0 where averaging takes longer than computing, about 1 where computing takes longer"
    )
    approximates = "stale gradients; models averaged in pairs"
    Options = AdPsgdOptions
    compresses = "values"
    no_changes = "partners are drawn, so nobody knows the model that a change would be added to"

    def worker(self, me: Context) -> Program[Buffer]:
        """Compute at a copy, apply to the model; averaging goes on beside it."""
        replica = me.replica()
        gradient = me.buffer("gradient")
        asks, answers = bool(self.asked_by[me.index]), self._answers(me.index)
        me.hold("copy", (1 + (asks and answers)) * replica.parameters.nbytes)
        if answers:
            yield from Post(self._answer(me, replica, asks), lane="answer", daemon=True)
        for step in me.steps():
            if asks:
                handle = yield from Post(self._average(me, replica, step), lane="average")
            copy = yield from me.copy(replica.parameters)
            read = replica.version
            yield from me.gradient(copy, me.batch(step), gradient)
            yield from me.update(replica, gradient, read=read)
            if asks:
                yield from Wait([handle])
            yield from me.step_done(step)
        return replica.parameters

    def _average(self, me: Context, replica: Replica, step: int) -> Program[None]:
        """Ask a random neighbour of those that one asks; subtract what it added."""
        asked = self.asked_by[me.index]
        partner = me.ranks("worker")[asked[me.draws.integer(len(asked), "partner", step)]]
        model = (yield from me.copy(replica.parameters)) if self._answers(me.index) else replica.parameters
        sent, header = yield from packed_values(me, model, {})
        yield from Send(partner, sent, "ask", header)
        moved = yield from unpacked(me, (yield from Recv(partner, "moved")))
        assert moved.buffer is not None
        yield from me.math(subtract, (replica.parameters,), (moved.buffer,))
        yield from self._averaged(replica, partner)

    def _answer(self, me: Context, replica: Replica, asks: bool) -> Program[None]:
        """Serve whoever asks, one after the other; who asks too, between its own averagings."""
        while True:
            asked = yield from Recv(ANY, "ask")
            serving = self._serve(me, replica, asked)
            if asks:
                yield from Wait([(yield from Post(serving, lane="average"))])
            else:
                yield from serving

    def _serve(self, me: Context, replica: Replica, asked: Message) -> Program[None]:
        """Add half of the difference; tell what was added."""
        asked = yield from unpacked(me, asked)
        assert asked.buffer is not None
        moved = yield from me.math(move_half, (replica.parameters,), (asked.buffer,))
        yield from self._averaged(replica, asked.source)
        sent, header = yield from packed_values(me, moved, {})
        yield from Send(asked.source, sent, "moved", header, lent=True)

    def _averaged(self, replica: Replica, peer: int) -> Program[None]:
        """An averaging changes the model: a new version."""
        replica.version += 1
        yield from Log(Event("note", "averaged", peer=peer, version_applied=replica.version))

    @cached_property
    def asked_by(self) -> Graph:
        """Of every worker, the neighbours that it asks."""
        options: AdPsgdOptions = self.options
        if options.graph == "complete" and not options.edges:
            passive = tuple(range(1, options.workers, 2))
            return tuple(() if index % 2 else passive for index in range(options.workers))
        graph = named_graph("complete" if options.graph == "all" else options.graph, options.workers, options.edges)
        colours = two_colours(graph)
        rank = range(options.workers) if colours is None else colours
        return tuple(tuple(other for other in others if rank[i] < rank[other]) for i, others in enumerate(graph))

    def _answers(self, index: int) -> bool:
        return any(index in asked for asked in self.asked_by)

    def held_model(self) -> HeldModel:
        """The mean of all models, each as its worker had it after so many steps of its own."""
        return HeldModel(mean=True)

    def check(self, model: Model, batch_size: int) -> None:
        """Two workers at least, on a connected graph."""
        if self.options.workers < 2:
            raise ValueError("AD-PSGD needs 2 workers or more")
        assert self.asked_by

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``max(T_c, 2 (alpha + P beta))``, no barrier (SCHEMES S19.5).

        Asking and answering follow each other here, so an exchange costs 2 (alpha + P beta) and not alpha + 2 P beta.
        A worker serves one after the other, and those that answer may be fewer than those that ask.
        """
        nbytes, workers, place = setting.model.whole.nbytes, self.options.workers, setting.place
        asked = [(asker, answerer) for asker, others in enumerate(self.asked_by) for answerer in others]
        askers, answerers = (len({pair[end] for pair in asked}) for end in (0, 1))
        route = setting.worst_between(pair for a, b in asked for pair in ((a, b), (b, a)))
        own = [setting.update_kernel(), setting.math_kernel(copied)]
        compute = setting.gradient_seconds() + sum(place.seconds(kernel) for kernel in own)
        served = 2 * (route.alpha + nbytes * route.beta) + place.seconds(setting.math_kernel(move_half, 2))
        exchange = served + place.seconds(setting.math_kernel(subtract, 2))
        sent = 2 * askers / workers
        return ClosedForm(
            max(compute, exchange, served * askers / answerers),
            sent * nbytes,
            sent,
            float("nan"),
            "lower bound",
            note="longer where several ask one worker at once, or averaging shares a core with the gradient",
        )


def move_half(xp: Tensors, mine: Tensor, theirs: Tensor) -> Tensor:
    """Move d = (theirs - mine) / 2 to `mine`, and reply d."""
    moved = xp.add(theirs, mine, -1.0)
    xp.scale_(moved, 0.5)
    xp.add_(mine, moved)
    return moved


def subtract(xp: Tensors, mine: Tensor, moved: Tensor) -> None:
    """Mine -= moved."""
    xp.add_(mine, moved, -1.0)
