"""Fully decoupled and data parallel, after Pham & Ahn (2025), "stochastic gradient staleness" (SCHEMES S36).

S data groups run FDG (parasim/schemes/fdg.py), each with K modules and mini-batches of its own: agent (s, k) has module
k of group s. In every iteration, beside the exchange of outputs and error gradients inside a group, the agents that
hold the same module combine over the groups: they average their gradients, and make one update; or each makes its own
update and mixes weights with its neighbours on a graph, by a doubly stochastic matrix C (consensus).

The paper's listing was not at hand; this is what its abstract says, in FDG's order: forward first, then backward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from parasim.program import (
    Buffer,
    ClosedForm,
    Codes,
    Context,
    Exchange,
    Group,
    HeldModel,
    Message,
    Model,
    Part,
    Planning,
    Post,
    Program,
    Recv,
    Send,
    Setting,
    Taxonomy,
    Tensor,
    Tensors,
    Wait,
    option,
)
from parasim.program.graphs import Matrix, metropolis, named_graph
from parasim.schemes.dpsgd import mix
from parasim.schemes.fdg import Fdg, FdgOptions
from parasim.schemes.staged import stage_seconds
from parasim.schemes.stash import Stash
from parasim.schemes.summing import sum_in
from parasim.theory.collectives import Cost, cost
from parasim.theory.patterns import patterns

__all__ = ["FdgData"]


@dataclass(frozen=True, kw_only=True)
class FdgDataOptions(FdgOptions):
    """Options of fully decoupled, data parallel training; `workers` are modules times data groups."""

    modules: int = option(2, "modules of each data group (K)", ge=1)
    combine: Literal["average", "adapt_then_combine", "combine_then_adapt"] = option(
        "average", "average gradients by all-reduce; or consensus: update and mix weights, or mix and update"
    )
    algorithm: Literal["ring", "binomial", "recursive_doubling", "rabenseifner", "naive", "direct"] = option(
        "ring", "algorithm of the all-reduce"
    )
    graph: Literal["ring", "complete", "line", "star", "torus", "hypercube"] = option(
        "complete", "of consensus: which data groups are neighbours, with weights 1 / (1 + larger degree)"
    )


class FdgData(Fdg):
    """Data x pipeline parallel: groups of decoupled modules that combine their gradients or weights."""

    name = "fdg_data"
    aliases = ("fully_decoupled_data_parallel", "stochastic_gradient_staleness")
    citation = "after Pham, Ahn (2025)"
    taxonomy = Taxonomy(
        "hybrid: data x pipeline parallel",
        "stale-synchronous",
        "decentralised",
        "activations, their gradients; gradients or models between groups",
    )
    staleness = "2 (K - 1 - k) of module k (fewer at the start)"
    Options = FdgDataOptions

    @property
    def cuts(self) -> int:
        """K."""
        return int(self.options.modules)

    def pipelines(self) -> int:
        """S."""
        return int(self.options.workers) // self.cuts

    def groups(self) -> tuple[Group, ...]:
        """The agents that hold a module, by data group."""
        return tuple(Group(f"module {k}", self._holders(k)) for k in range(self.cuts))

    def _holders(self, module: int) -> tuple[int, ...]:
        return tuple(range(module, self.options.workers, self.cuts))

    def lanes(self) -> tuple[str, ...]:
        """Where the all-reduces run."""
        return ("combine",)

    @cached_property
    def weights(self) -> Matrix:
        """C."""
        return metropolis(named_graph(self.options.graph, self.pipelines()))

    def codes(self) -> Codes:
        """Gradients that data groups average; activations are sent as they are."""
        return "sums" if self.options.combine == "average" and self.pipelines() > 1 else ""

    def step(
        self, me: Context, stash: Stash, gradient: Buffer, version: int, exchange: Exchange
    ) -> Program[tuple[Message, ...]]:
        """Combine over the data groups beside the exchange, and update."""
        if self.pipelines() == 1:
            arrived = yield from super().step(me, stash, gradient, version, exchange)
            return arrived
        pipeline, module = divmod(me.index, self.cuts)
        layer = self.parts(me.model)[module].name
        if self.options.combine == "average":
            group = me.group(f"module {module}")
            part = self.parts(me.model)[module]
            combining = sum_in(me, group, gradient, stash.version, self.options.algorithm, offset=part.offset)
            averaging = yield from Post(combining, "combine")
            arrived = yield from exchange
            yield from Wait([averaging])
            yield from stash.update(gradient, read=version, scale=1 / self.pipelines(), layer=layer)
            return arrived
        if self.options.combine == "adapt_then_combine":
            yield from stash.update(gradient, read=version, layer=layer)
        own = yield from stash.spare()
        row = self.weights[pipeline]
        others = [s for s, weight in enumerate(row) if weight and s != pipeline]
        holders = self._holders(module)
        sends = tuple(Send(holders[s], own, "weights", lent=True) for s in others)
        receives = tuple(Recv(holders[s], "weights") for s in others)
        arrived = yield from Exchange((*exchange.sends, *sends), (*exchange.receives, *receives))
        theirs = [message.buffer for message in arrived if message.tag == "weights" and message.buffer is not None]
        place = sum(s < pipeline for s in others)
        me.hold("neighbours' weights", len(theirs) * own.nbytes, theirs)
        rows = tuple(row[s] for s in sorted((pipeline, *others)))
        yield from me.math(mix_, (own,), theirs, place=place, weights=rows)
        me.release("neighbours' weights", len(theirs) * own.nbytes, theirs)
        if self.options.combine == "combine_then_adapt":
            yield from stash.update(gradient, read=version, layer=layer)
        return arrived

    def held_model(self) -> HeldModel:
        """The first group's modules; the mean of all groups' where their models differ."""
        return HeldModel(mean=self.options.combine != "average")

    def check(self, model: Model, batch_size: int) -> None:
        """Whole data groups; a graph that is there."""
        workers, modules = self.options.workers, self.cuts
        if workers % modules:
            raise ValueError(
                f"{workers} workers are no multiple of {modules} modules: give each data group its modules"
            )
        if self.options.combine != "average":
            named_graph(self.options.graph, self.pipelines())
        super().check(model, batch_size)

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """As FDG, in every data group; and, with consensus, the weights of its neighbours on the graph."""
        alone = list(super().memory(setting)[: self.cuts])
        if self.options.combine == "average" or self.pipelines() == 1:
            return alone * self.pipelines()
        neighbours = [sum(weight > 0 for s, weight in enumerate(row) if s != i) for i, row in enumerate(self.weights)]
        parts = self.parts(setting.model)
        return [
            {**found, "buffers": degree * part.nbytes} if degree else found
            for degree in neighbours
            for found, part in zip(alone, parts, strict=True)
        ]

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``max_k (F_k + B_k) + max(exchange, combination)``, with updates (SCHEMES S36.5).

        Exact with one data group (FDG), or with one module and an all-reduce whose pieces are even: then nothing
        shares a link with it. Otherwise a lower bound: messages of exchange and combination share links.
        """
        if self.pipelines() == 1:
            return super().closed_form(setting)
        t = stage_seconds(self, setting)
        together = self.computing(setting, t)
        alone, crowded, _ = self.exchanged(setting, t, together)
        parts = self.parts(setting.model)
        combined = [self._combination(setting, part) for part in parts]
        mixing = self._mixing(setting, parts)
        busy = [own + mixed for own, mixed in zip(together, mixing, strict=True)]
        seconds = max(alone, *(own + c.seconds for own, c in zip(busy, combined, strict=True)))
        even = all(part.parameters % self.pipelines() == 0 for part in parts)
        exact = self.cuts == 1 and even and all(c.exact for c in combined) and not setting.place.noisy
        slowest = crowded + max(mixing) + max(c.seconds for c in combined)
        return ClosedForm(
            seconds,
            2.0 * sum(t.sizes) / self.cuts + sum(c.bytes_sent_mean for c in combined) / self.cuts,
            2.0 * len(t.sizes) / self.cuts + sum(c.messages_sent_mean for c in combined) / self.cuts,
            self.mean_staleness(),
            "exact" if exact else "lower bound",
            at_most=None if exact or setting.place.noisy else slowest,
            note="" if exact else "exchange and combination share links",
        )

    def _combination(self, setting: Setting, part: Part) -> Cost:
        """What a module's agents exchange: gradients, by all-reduce, or weights with their neighbours on the graph."""
        groups, place = self.pipelines(), setting.place
        if self.options.combine == "average":
            rounds = patterns("all_reduce", self.options.algorithm, groups)
            route = setting.worst(place.together(self._ranks(pattern)) for pattern in rounds)
            return cost("all_reduce", self.options.algorithm, groups, part.nbytes, *route, setting.gamma())
        pairs = [(i, j) for i, row in enumerate(self.weights) for j, weight in enumerate(row) if weight and i != j]
        route = place.together(self._ranks(pairs))
        degrees = [sum(i == s for i, _ in pairs) for s in range(groups)]
        mean = sum(degrees) / groups
        seconds = route.alpha + part.nbytes * route.beta
        return Cost(seconds, 1, max(degrees) * part.nbytes, mean * part.nbytes, mean, len(set(degrees)) == 1)

    def _ranks(self, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Pairs of data groups as pairs of ranks, of all modules at once."""
        return [(a * self.cuts + k, b * self.cuts + k) for a, b in pairs for k in range(self.cuts)]

    def _mixing(self, setting: Setting, parts: Sequence[Part]) -> list[float]:
        """Seconds in which each module mixes weights, where neighbours are most."""
        if self.options.combine == "average":
            return [0.0] * len(parts)
        row = max((tuple(w for w in row if w) for row in self.weights), key=len)
        whole = max(1, setting.model.whole.parameters)
        kernels = [setting.math_kernel(mix_, len(row), p.parameters / whole, place=0, weights=row) for p in parts]
        return [setting.place.seconds(kernel, k) for k, kernel in enumerate(kernels)]


def mix_(xp: Tensors, own: Tensor, *others: Tensor, place: int, weights: tuple[float, ...]) -> None:
    """Own = the weighted sum of all, of which it is at `place`: equal rows of C give equal bits."""
    models = [*others[:place], own, *others[place:]]
    xp.copy_(own, mix(xp, *models, weights=weights))
