"""A collective message by message, without its programs: each member goes on as soon as its own exchange is done.

Alone on a cluster of its own it is a rehearsal (`rehearse`), which tells how long the collective takes and when each
message moves. In a run it takes over where collectives meet other traffic whose members do not keep step (trees, folded
pairs): a `Train` would have all of them wait for the slowest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from simpy.core import EmptySchedule, Environment

from parasim.cluster.cluster import Cluster
from parasim.simulation.network import Network

__all__ = ["Play", "Rehearsal", "Step", "Work", "rehearse"]


class Step(NamedTuple):
    """A round: its messages (sender, receiver, bytes), and each member's seconds of reductions after them."""

    messages: Sequence[tuple[int, int, float]]
    reductions: Sequence[float]


Work = tuple[float, float, float]
"""Beginning and end of a message or reduction, and when it began to move (a message: after its latencies)."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What happened in a collective alone; times in seconds from its beginning.

    Attributes
    ----------
    seconds
        Until the last member was through.
    messages, reductions
        By (round, number of the message) and (round, member).
    through
        Of each member: when it was through all rounds.
    """

    seconds: float
    messages: Mapping[tuple[int, int], Work]
    reductions: Mapping[tuple[int, int], Work]
    through: Sequence[float]

    def early(self) -> dict[float, list[int]]:
        """The members that were through before the last, by when."""
        result: dict[float, list[int]] = {}
        for member, seconds in enumerate(self.through):
            if seconds < self.seconds:
                result.setdefault(seconds, []).append(member)
        return result


def rehearse(
    steps: Sequence[Step], hosts: Sequence[int], cluster: Cluster, message_overhead: float, byte_overhead: float
) -> Rehearsal:
    """Do a collective on an otherwise idle cluster.

    Parameters
    ----------
    steps
        The rounds.
    hosts
        Of each member.
    cluster
        Where.
    message_overhead, byte_overhead
        Those of `Network`.
    """
    env = Environment()
    network = Network(env, cluster, (message_overhead, byte_overhead))
    through = [0.0] * len(hosts)

    def note(member: int) -> None:
        through[member] = float(env.now)

    play = Play(env, network, steps, hosts, note)
    for member in range(len(hosts)):
        play.enter(member)
    try:
        while True:
            env.step()
    except EmptySchedule:
        return Rehearsal(max(through), play.messages, play.reductions, through)


class Play:
    """The rounds of a collective under way.

    Parameters
    ----------
    env, network
        Clock; links and cores.
    steps, hosts
        The rounds; the host of each member.
    through
        Called with each member that is through all rounds.
    """

    def __init__(
        self,
        env: Environment,
        network: Network,
        steps: Sequence[Step],
        hosts: Sequence[int],
        through: Callable[[int], None],
    ) -> None:
        size = len(hosts)
        self._env = env
        self._network = network
        self._steps = steps
        self._hosts = hosts
        self._through = through
        self._at = [-1] * size  # round of each member
        self._open = [0] * size  # messages of that round that are not through
        self._of: list[dict[int, list[int]]] = []
        for messages, _ in steps:
            own: dict[int, list[int]] = {}
            for number, (sender, receiver, _) in enumerate(messages):
                own.setdefault(sender, []).append(number)
                own.setdefault(receiver, []).append(number)
            self._of.append(own)
        self.messages: dict[tuple[int, int], Work] = {}
        self.reductions: dict[tuple[int, int], Work] = {}

    def enter(self, member: int) -> None:
        """A member begins with its first round."""
        self._advance(member)

    def take_over(self, at: int, leg: int, latency: float, left: float) -> None:
        """Go on with a train: in round `at`, the fraction `left` of its messages (leg 0) or reductions (1) is to do.

        `latency` is what is left of the messages'. With all of leg 0 to do, the round has not begun.
        """
        messages, reductions = self._steps[at]
        members = range(len(self._hosts))
        if leg == 0 and left == 1.0:
            self._at = [at - 1 for _ in members]
            for member in members:
                self._advance(member)
            return
        self._at = [at for _ in members]
        if leg == 0 and messages:
            for member in members:
                self._open[member] = len(self._of[at].get(member, ()))
            for number, (_, _, nbytes) in enumerate(messages):
                self._move(at, number, left * nbytes, latency)
            alone = [member for member in members if not self._open[member]]
        else:
            alone = list(members)
        for member in alone:
            self._reduce(member, reductions[member] * (left if leg or not messages else 1.0))

    def resume(self, rehearsal: Rehearsal, elapsed: float) -> None:
        """Go on from where the rehearsal was after so many seconds; each message or reduction has its rest to do."""
        for member in range(len(self._hosts)):
            at = -1
            while (following := self._next(member, at)) < len(self._steps):
                at = following
                if not self._round_over(rehearsal, at, member, elapsed):
                    break
            else:
                at = len(self._steps)
            self._at[member] = at
        for member, at in enumerate(self._at):
            if at == len(self._steps):
                self._through(member)
                continue
            waiting = [n for n in self._of[at].get(member, ()) if rehearsal.messages[at, n][1] > elapsed]
            self._open[member] = len(waiting)
            for number in waiting:
                sender, receiver, nbytes = self._steps[at].messages[number]
                began, end, moved = rehearsal.messages[at, number]
                if member == sender and began <= elapsed:
                    rest = nbytes * min(1.0, (end - elapsed) / (end - moved)) if end > moved else 0.0
                    self._move(at, number, rest, max(0.0, moved - elapsed))
                elif began > elapsed and self._at[sender] == self._at[receiver] == at and member == receiver:
                    self._move(at, number, nbytes, None)
            if not waiting:
                began, end, _ = rehearsal.reductions[at, member]
                work = self._steps[at].reductions[member]
                self._reduce(member, work * min(1.0, (end - elapsed) / (end - began)) if end > began else 0.0)

    def _round_over(self, rehearsal: Rehearsal, at: int, member: int, elapsed: float) -> bool:
        """Was the member through this round?"""
        own = self._of[at].get(member, ())
        if any(rehearsal.messages[at, number][1] > elapsed for number in own):
            return False
        return not self._steps[at].reductions[member] or rehearsal.reductions[at, member][1] <= elapsed

    def _next(self, member: int, at: int) -> int:
        """The next round in which a member has something to do."""
        at += 1
        while at < len(self._steps) and member not in self._of[at] and not self._steps[at].reductions[member]:
            at += 1
        return at

    def _advance(self, member: int) -> None:
        at = self._at[member] = self._next(member, self._at[member])
        if at == len(self._steps):
            self._through(member)
            return
        own = self._of[at].get(member, ())
        self._open[member] = len(own)
        for number in own:
            sender, receiver, nbytes = self._steps[at].messages[number]
            if self._at[sender] == self._at[receiver] == at:
                self._move(at, number, nbytes, None)
        if not own:
            self._reduce(member, self._steps[at].reductions[member])

    def _move(self, at: int, number: int, nbytes: float, latency: float | None) -> None:
        """Send (the rest of) a message; `latency`: what is left of it."""
        sender, receiver, _ = self._steps[at].messages[number]
        source, destination = self._hosts[sender], self._hosts[receiver]
        moves = self._network.start(source, destination, nbytes, partial(self._delivered, at, number), latency)
        self.messages[at, number] = (self._env.now, -1.0, moves)

    def _delivered(self, at: int, number: int, _: float) -> None:
        began, _, moved = self.messages[at, number]
        self.messages[at, number] = (began, self._env.now, moved)
        sender, receiver, _ = self._steps[at].messages[number]
        for member in (sender, receiver):
            self._open[member] -= 1
            if not self._open[member]:
                self._reduce(member, self._steps[at].reductions[member])

    def _reduce(self, member: int, work: float) -> None:
        if not work:
            self._advance(member)
            return
        now = self._env.now
        self.reductions[self._at[member], member] = (now, -1.0, now)
        core = self._network.core(self._hosts[member])
        self._network.flow((core,), (1.0,), work, 1.0, 0.0, partial(self._reduced, member))

    def _reduced(self, member: int, _: float) -> None:
        key = self._at[member], member
        began, _, moved = self.reductions[key]
        self.reductions[key] = (began, self._env.now, moved)
        self._advance(member)
