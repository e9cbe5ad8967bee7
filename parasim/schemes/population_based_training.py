"""Population-based training: members that copy better ones and change their rates (Jaderberg et al. 2017, algorithm 1).

Every `ready` steps a member is scored on held-out samples. Exploit: by truncation, the worst fifth takes the weights,
the optimiser's state and the rates of one of the best fifth; or in a binary tournament each looks at one other, and
takes them if that one is better. Explore: whoever did multiplies its rates by 0.8 or 1.2, or draws them anew.

Asynchronous as in the paper: members write checkpoints and scores to a store and go on; who comes is compared with
what the store has of the others. With a barrier all compare scores at once, and checkpoints go from member to member.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from parasim.program import (
    Buffer,
    Closed,
    ClosedForm,
    Context,
    Exchange,
    Post,
    Program,
    Recv,
    Replica,
    Role,
    Send,
    Setting,
    Taxonomy,
    number,
    option,
)
from parasim.program.draws import Draws
from parasim.program.elementwise import overwrite
from parasim.program.predicting import prediction_kernel
from parasim.schemes.population import Hyper, Population, PopulationOptions, Scored, scored_in, state_of

__all__ = ["PopulationBasedTraining", "chosen"]

MOST_MOMENTUM = 0.999


@dataclass(frozen=True, kw_only=True)
class PbtOptions(PopulationOptions):
    """Options of population-based training."""

    order: Literal["asynchronous", "synchronous"] = option(
        "asynchronous", "members meet a store when they are ready, or all members at a barrier"
    )
    ready: int = option(20, "steps of a member between two comparisons", ge=1)
    exploit: Literal["truncation", "binary_tournament", "none"] = option("truncation", "who copies whom")
    share: float = option(0.2, "truncation: the part that copies and that is copied (the paper: 0.2)", gt=0, le=0.5)
    explore: Literal["perturb", "resample"] = option("perturb", "rates that were copied change by a factor, or anew")
    factors: tuple[float, ...] = option((0.8, 1.2), "perturb: one of these, at random (the paper's)", gt=0)
    tunes: Literal["lr", "lr_and_momentum"] = option("lr", "what is searched; of momentum mu, 1 - mu is perturbed")


@dataclass(slots=True)
class Store:
    """Scores and checkpoints of all members, as they came last; how often each came."""

    scores: dict[int, Scored] = field(default_factory=dict)
    states: dict[int, tuple[Buffer, ...]] = field(default_factory=dict)


class PopulationBasedTraining(Population):
    """A population of models: the worst copy the best and go on with other learning rates."""

    name = "population_based_training"
    aliases = ("pbt",)
    citation = "Jaderberg et al. (2017)"
    taxonomy = Taxonomy(
        "data parallel",
        "independent",
        "centralised",
        "models to a store and back, or between members",
        "hyper-parameter search",
    )
    staleness = "0 with respect to the member's own model; the store's checkpoints are up to `ready` steps old"
    approximates = "several models; the best replace the worst"
    Options = PbtOptions

    @property
    def stored(self) -> bool:
        """Is there a store?"""
        return bool(self.options.order == "asynchronous")

    def roles(self) -> tuple[Role, ...]:
        """Workers, and the store."""
        store = (Role("store", 1, self.store, daemon=True),) if self.stored else ()
        return (Role("worker", self.options.workers, self.worker), *store)

    @classmethod
    def extra_actors(cls, options: PbtOptions) -> int:
        """The store."""
        return int(options.order == "asynchronous")

    def counts_vary(self) -> bool:
        """At a store, who copies depends on who came before."""
        return self.stored and self.options.exploit != "none"

    def worker(self, me: Context) -> Program[Buffer]:
        """Train; when ready, be scored, exploit and explore."""
        replica, gradient, member = self.begin(me), me.buffer("gradient"), self.member_of(me)
        hyper = self.first_hyper(me, member)
        yield from self.tune(me, hyper, member, 0)
        for step in me.steps():
            yield from me.gradient(replica.parameters, self.own_batch(me, step), gradient)
            yield from self.descend(me, replica, gradient)
            yield from me.step_done(step)
            if (step + 1) % self.options.ready == 0 and step + 1 < me.num_steps:
                own = Scored((yield from self.score(me, replica, member, step)), hyper)
                meet = self._ask if self.stored else self._meet
                taken = yield from meet(me, replica, own, step)
                if taken is not None:
                    hyper = self._explored(me, taken, step, member)
                    yield from self.tune(me, hyper, member, step)
        return replica.parameters

    # exploit -------------------------------------------------------------------------------------------------------
    def _meet(self, me: Context, replica: Replica, own: Scored, step: int) -> Program[Hyper | None]:
        """At a barrier: compare all scores; who copies gets it from the worker with its place in the other member."""
        member, size = self.member_of(me), self.options.group_size
        team, place = range(member * size, (member + 1) * size), me.index % size
        found = yield from self.compare(me, own, member, team, dict(enumerate(self.leaders())))
        sources = {each: self._source(me.common, found, each, step) for each in sorted(found)}
        ranks, state = me.ranks("worker"), state_of(replica)
        sends = [
            Send(ranks[each * size + place], buffer, f"state {at}")
            for each, source in sources.items()
            if source == member != each
            for at, buffer in enumerate(state)
        ]
        source = sources[member]
        copies = source != member
        receives = [Recv(ranks[source * size + place], f"state {at}") for at in range(len(state))] if copies else []
        if not sends and not copies:
            return None
        messages = yield from Exchange(tuple(sends), tuple(receives))
        if not copies:
            return None
        for mine, message in zip(state, messages, strict=True):
            assert message.buffer is not None
            yield from me.math(overwrite, (mine,), (message.buffer,))
        yield from self.note(me, "copied", member, step, peer=ranks[source * size])
        return found[source].hyper

    def _ask(self, me: Context, replica: Replica, own: Scored, step: int) -> Program[Hyper | None]:
        """Of the leader: write score and checkpoint, and do what the store says; it tells the others of its group."""
        (store,), size, ranks = me.ranks("store"), self.options.group_size, me.ranks("worker")
        first = me.index - me.index % size
        if me.index == first:
            header = {"member": self.member_of(me), "loss": own.loss, **own.hyper._asdict(), "step": step}
            for at, kept in enumerate(state_of(replica)):
                yield from Send(store, kept, f"report {at}", header, lent=True)
        teller = store if me.index == first else ranks[first]
        message = yield from Recv(teller, "verdict")
        header = dict(message.header)
        source = number(message.header, "source")
        received = [message.buffer]
        if source >= 0:
            for at in range(1, len(state_of(replica))):
                received.append((yield from Recv(teller, f"verdict {at}")).buffer)
            for mine, taken in zip(state_of(replica), received, strict=True):
                assert taken is not None
                yield from me.math(overwrite, (mine,), (taken,))
        if me.index == first:
            for rank in ranks[first + 1 : first + size]:
                yield from Send(rank, received[0], "verdict", header)
                for at, buffer in enumerate(received[1:], 1):
                    yield from Send(rank, buffer, f"verdict {at}")
        if source < 0:
            return None
        yield from self.note(me, "copied", self.member_of(me), step, peer=ranks[source * size])
        return scored_in(message.header).hyper

    def store(self, me: Context) -> Program[None]:
        """Serve every leader on a lane of its own."""
        store = Store()
        for index in self.leaders():
            yield from Post(self._serve(me, store, me.ranks("worker")[index]), f"leader {index}", daemon=True)

    def _serve(self, me: Context, store: Store, leader: int) -> Program[None]:
        """Keep what a leader reports, and tell it whom to copy."""
        try:
            while True:
                message = yield from Recv(leader, "report 0")
                state = [message.buffer]
                for at in range(len(me.optimizer.slots)):
                    state.append((yield from Recv(leader, f"report {at + 1}")).buffer)
                member = number(message.header, "member")
                for old in store.states.get(member, ()):
                    me.release("checkpoints", old.nbytes, old)
                store.states[member] = tuple(buffer for buffer in state if buffer is not None)
                for new in store.states[member]:
                    me.hold("checkpoints", new.nbytes, new)
                store.scores[member] = scored_in(message.header)
                source = self._source(me.common, store.scores, member, number(message.header, "step"))
                if source == member:
                    yield from Send(leader, None, "verdict", {"source": -1})
                    continue
                loss, hyper = store.scores[source]
                first, *others = store.states[source]
                yield from Send(leader, first, "verdict", {"source": source, "loss": loss, **hyper._asdict()})
                for at, buffer in enumerate(others, 1):
                    yield from Send(leader, buffer, f"verdict {at}")
        except Closed:
            return

    def _source(self, draws: Draws, found: Mapping[int, Scored], member: int, step: int) -> int:
        """Whom a member copies; itself, if nobody."""
        return chosen(self.options.exploit, self.options.share, draws, found, member, step)

    # explore -------------------------------------------------------------------------------------------------------
    def _explored(self, me: Context, hyper: Hyper, step: int, member: int) -> Hyper:
        """Other rates than those that were copied."""
        both = self.options.tunes == "lr_and_momentum" and hyper.momentum > 0
        if self.options.explore == "resample":
            momentum = MOST_MOMENTUM * me.common.uniform("momentum", step + 1, member) if both else hyper.momentum
            return Hyper(self.drawn_lr(me, step + 1, member), momentum)
        lr, rest = (self._factor(me, name, step, member) for name in ("perturb lr", "perturb momentum"))
        momentum = min(max(1.0 - (1.0 - hyper.momentum) * rest, 0.001), MOST_MOMENTUM) if both else hyper.momentum
        return Hyper(hyper.lr * lr, momentum)

    def _factor(self, me: Context, name: str, step: int, member: int) -> float:
        factors = self.options.factors
        return float(factors[me.common.integer(len(factors), name, step, member)])

    # theory --------------------------------------------------------------------------------------------------------
    def closed_form(self, setting: Setting) -> ClosedForm:
        """``T_c + C(m, P) + T_update + (T_score + T_copy) / ready``, as if nobody copied.

        With a store T_copy is that of a checkpoint to it, by the leaders of all groups at once; scores are headers.
        """
        options, place, slots = self.options, setting.place, len(setting.optimizer.slots)
        seconds, summed, exact = self.descent(setting)
        score = place.seconds(prediction_kernel(setting.model.whole, options.evaluated))
        leaders, ready, state = len(self.leaders()), options.ready, setting.model.whole.nbytes * (1 + slots)
        sent, messages, copying = summed.bytes_sent_mean, summed.messages_sent_mean, 0.0
        if self.stored:
            route = place.together([(leader, options.workers) for leader in self.leaders()])
            copying = (1 + slots) * route.alpha + state * route.beta
            sent += state * leaders / options.workers / ready
            messages += (1 + slots) * leaders / options.workers / ready
        alone = options.exploit == "none"
        exact = exact and alone and not place.noisy
        unknown = float("nan")
        return ClosedForm(
            seconds + (score + copying) / ready,
            sent if alone else unknown,
            messages if alone else unknown,
            0.0,
            "exact" if exact else "lower bound",
            note="" if exact else "copies, and who waits for them; runs no longer than `ready` compare nothing",
        )


def chosen(exploit: str, share: float, draws: Draws, found: Mapping[int, Scored], member: int, step: int) -> int:
    """Whom a member copies, of those whose scores are `found`; itself, if nobody.

    Truncation: of n members the worst and the best are ``share n``, rounded, one at least. All who find the same draw
    the same.
    """
    if exploit == "none" or len(found) < 2:
        return member
    if exploit == "binary_tournament":
        others = sorted(other for other in found if other != member)
        rival = others[draws.integer(len(others), "exploit", step, member)]
        return rival if found[rival].loss < found[member].loss else member
    ranking = sorted(found, key=lambda other: (found[other].loss, other))
    count = min(max(1, round(share * len(ranking))), len(ranking) // 2)
    if member not in ranking[-count:]:
        return member
    return ranking[draws.integer(count, "exploit", step, member)]
