"""Successive halving: of many members the best go on, for longer (Jamieson, Talwalkar 2016; SCHEMES 14).

All members train a little; at the end of a rung they are scored on held-out samples, and of n the best n / eta go on to
the next, which ends after eta times as many steps in all; the last one ends with the run. With one rung it is a plain
search of a grid, or a random one. Workers of members that are dropped stay idle, or join: the mini-batches of the
members that are left are cut among more workers, so that their steps get shorter and learn the same.

All know all scores at the end of a rung (headers alone are sent), so all decide alike, and nobody asks a master.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    Buffer,
    ClosedForm,
    Collective,
    Context,
    Exchange,
    Group,
    Model,
    NoClosedForm,
    Program,
    Recv,
    Replica,
    Send,
    Setting,
    Taxonomy,
    option,
)
from parasim.program.elementwise import overwrite
from parasim.schemes.population import Population, PopulationOptions, Scored, state_of

__all__ = ["SuccessiveHalving", "survivors"]


@dataclass(frozen=True, kw_only=True)
class HalvingOptions(PopulationOptions):
    """Options of successive halving."""

    eta: int = option(2, "of n members n / eta go on, to eta times as many steps (Hyperband: 3 or 4)", ge=2)
    rungs: int = option(0, "how often members are scored (0: until one is left)", ge=0)
    freed: Literal["idle", "join"] = option("idle", "workers of members that are dropped wait, or help those left")


class SuccessiveHalving(Population):
    """Members with rates of their own, of which the worst are dropped at every rung."""

    name = "successive_halving"
    aliases = ("sha",)
    citation = "Jamieson, Talwalkar (2016); Li et al. (2018)"
    taxonomy = Taxonomy(
        "data parallel", "independent", "decentralised", "models between members, at rungs", "hyper-parameter search"
    )
    staleness = "0 with respect to the member's own model"
    approximates = "several models, of which the worst are dropped"
    Options = HalvingOptions

    @property
    def left(self) -> tuple[int, ...]:
        """Members that train in each rung."""
        found, eta, rungs = [self.members], self.options.eta, self.options.rungs
        while len(found) < rungs or (not rungs and found[-1] > 1):
            found.append(max(1, found[-1] // eta))
        return tuple(found)

    def ends(self, steps: int) -> tuple[int, ...]:
        """Steps of a member that are done at the end of each rung, rounded up."""
        eta, last = self.options.eta, len(self.left) - 1
        return tuple(-(-steps // eta ** (last - rung)) for rung in range(last + 1))

    def batches(self, steps: int) -> tuple[tuple[float, int], ...]:
        """Fewer from rung to rung."""
        size = self.options.group_size
        return tuple((end, left * size) for end, left in zip(self.ends(steps), self.left, strict=True))

    def team(self, rung: int, alive: tuple[int, ...], member: int) -> range:
        """Workers (by index) that train a member which is `alive` in a rung; of others, nobody."""
        if member not in alive:
            return range(0)
        size = self.options.group_size
        if self.options.freed == "idle":
            return range(member * size, (member + 1) * size)
        size = self.options.workers // self.left[rung]
        first = alive.index(member) * size
        return range(first, first + size)

    def groups(self) -> tuple[Group, ...]:
        """All teams that there may be."""
        if self.options.freed == "idle":
            return super().groups()
        workers = self.options.workers
        sizes = {workers // left for left in self.left}
        teams = [range(first, first + size) for size in sorted(sizes) for first in range(0, workers - size + 1, size)]
        return tuple(Group(_team_name(team), tuple(team)) for team in teams)

    def check(self, model: Model, batch_size: int) -> None:
        """Workers that join must cut mini-batches evenly."""
        super().check(model, batch_size)
        if self.options.freed == "idle":
            return
        size = self.options.group_size
        for left in self.left:
            team = self.options.workers // left
            if self.options.workers % left or team % size or batch_size % (team // size):
                raise ValueError(
                    f"freed: join: mini-batches of {batch_size} x {size} can't be cut evenly when {left} of "
                    f"{self.members} members share {self.options.workers} workers: use powers of eta, or freed: idle"
                )

    def worker(self, me: Context) -> Program[Buffer]:
        """Train in every rung that one's member is in; compare; go on with whom is left."""
        replica, gradient, member = self.begin(me), me.buffer("gradient"), self.member_of(me)
        hyper = self.first_hyper(me, member)
        yield from self.tune(me, hyper, member, 0)
        alive, start = tuple(range(self.members)), 0
        for rung, end in enumerate(self.ends(me.num_steps)):
            team, loss = self.team(rung, alive, member), 0.0
            if me.index in team:
                for step in range(start, end):
                    yield from self._step(me, replica, gradient, member, team, step)
                loss = yield from self.score(me, replica, member, end - 1)
            leaders = {each: self.team(rung, alive, each)[0] for each in alive}
            training = member if me.index in team else -1
            found = yield from self.compare(me, Scored(loss, hyper), training, team, leaders)
            if rung + 1 == len(self.left):
                best = survivors(found, 1)[0]
                if me.index in team:
                    yield from self.note(me, "survived" if member == best else "dropped", member, end - 1)
                return replica.parameters
            kept = survivors(found, self.left[rung + 1])
            if me.index in team and member not in kept:
                yield from self.note(me, "dropped", member, end - 1)
                if self.options.freed == "idle":
                    me.watcher.left()
            if self.options.freed == "join":
                member = yield from self._join(me, replica, rung, alive, kept)
                hyper = found[member].hyper
                yield from self.tune(me, hyper, member, end)
            alive, start = kept, end
        return replica.parameters

    def _step(
        self, me: Context, replica: Replica, gradient: Buffer, member: int, team: range, step: int
    ) -> Program[None]:
        """A step of a member, its mini-batch cut among the team."""
        batch = self.batch_of(me, step, member, me.index - team[0], len(team) // self.options.group_size)
        yield from me.gradient(replica.parameters, batch, gradient)
        if len(team) > 1:
            name = _team_name(team) if self.options.freed == "join" else f"member {member}"
            yield from Collective("all_reduce", me.group(name), gradient, "ring")
        yield from me.update(replica, gradient, read=replica.version, scale=1 / len(team))
        yield from me.step_done(step)

    def _join(
        self, me: Context, replica: Replica, rung: int, alive: tuple[int, ...], kept: tuple[int, ...]
    ) -> Program[int]:
        """Go to the team of a member that is left: replies which; who comes anew gets its state from who had it."""
        ranks, state, source, sends = me.ranks("worker"), state_of(replica), me.index, []
        mine = kept[int(me.index // (self.options.workers // len(kept)))]
        for member in kept:
            old, new = self.team(rung, alive, member), self.team(rung + 1, kept, member)
            for place, index in enumerate(new):
                giver = old[place % len(old)]
                if index in old:
                    continue
                if index == me.index:
                    source = giver
                elif giver == me.index:
                    sends += [Send(ranks[index], buffer, f"state {at}") for at, buffer in enumerate(state)]
        receives = [Recv(ranks[source], f"state {at}") for at in range(len(state))] if source != me.index else []
        if sends or receives:
            messages = yield from Exchange(tuple(sends), tuple(receives))
            for buffer, message in zip(state, messages, strict=False):
                assert message.buffer is not None
                yield from me.math(overwrite, (buffer,), (message.buffer,))
        return mine

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """``T_c + C(m, P) + T_update``, without what is between rungs: of the steps of members in groups of m."""
        if self.options.freed == "join":
            return NoClosedForm("steps get shorter from rung to rung")
        seconds, summed, _ = self.descent(setting)
        note = "scores of members, and who waits for them, at the ends of rungs"
        return ClosedForm(seconds, summed.bytes_sent_mean, summed.messages_sent_mean, 0.0, "lower bound", note=note)


def survivors(found: Mapping[int, Scored], count: int) -> tuple[int, ...]:
    """The members with the least losses, by number; of equal ones the first."""
    return tuple(sorted(sorted(found, key=lambda member: (found[member].loss, member))[:count]))


def _team_name(team: range) -> str:
    return f"workers {team[0]} to {team[-1]}"
