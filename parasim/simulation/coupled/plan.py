"""What a coupled collective will do to the network and to its members: its rounds as the stretches of a train.

In a round all messages start together. A link is busy for the bytes that the round puts on it over its bandwidth, a
message takes its latencies and the time of its busiest link, and then its receiver adds what it got. The train's round
ends when the last member is through.

Members of a real collective do not wait for each other so: each goes on as soon as its own exchange is done. In a ring
that comes to the same. Where it does not (trees, folded pairs, slow links that other members need not wait for), the
collective is rehearsed, message by message, once per plan: that is the time it takes alone. Where that would be too
many messages, the longest chain of exchanges is followed instead, with the links' load of the whole round, and all
rounds are shortened in proportion.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain as chained
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from parasim.cluster.cluster import Cluster
from parasim.program.collectives.algorithms import ALGORITHMS, cuts_in
from parasim.program.collectives.expand import join_kernel, mean_kernel, reduce_kernel
from parasim.program.collectives.together import GroupRound, GroupRun, runs_together
from parasim.program.ops import Collective, Kernel
from parasim.runtime.tasks import Part
from parasim.simulation.coupled.play import Rehearsal, Step, rehearse
from parasim.simulation.coupled.trains import Leg, Stretch
from parasim.trace.intervals import covered

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FEW_MESSAGES", "MOST_ROUNDS", "Plan", "Setting", "SteadyPace", "make_plan"]

MOST_ROUNDS = 256
"""More rounds are gathered into as many: a train that shares links costs a bounded number of events."""

FEW_MESSAGES = 8_192
"""A collective of more messages is neither rehearsed nor played message by message (64 ranks in a ring have 8,064)."""

_IN_STEP = 1e-3
"""Members whose rounds differ by less (their pieces, by an element) keep step."""
_UNIFORM = 1e-12


@dataclass(frozen=True)
class Plan:
    """A collective of one group.

    Attributes
    ----------
    stretches
        Its rounds, for a train; none if it takes no time.
    steps
        Its rounds message by message; none if these are too many.
    rehearsal
        What happened when they were rehearsed; None where members keep step, or messages are too many.
    hosts
        Of the members.
    seconds
        Of the whole, alone.
    computing
        Of each member: seconds of its reductions, alone.
    flops
        Of each member's reductions.
    moving
        Of each member: the fraction of the time in which messages of its move.
    bytes_sent, messages_sent, bytes_received, messages_received
        Of each member.
    flow_over_latency
        The least ratio, over the rounds that carry something, of the time of flow to the latency.
    chain
        The longest chain of exchanges over the sum of the rounds: 1 where that is no estimate.
    """

    stretches: tuple[Stretch, ...]
    steps: tuple[Step, ...]
    rehearsal: Rehearsal | None
    hosts: tuple[int, ...]
    seconds: float
    computing: tuple[float, ...]
    flops: tuple[float, ...]
    moving: tuple[float, ...]
    bytes_sent: tuple[int, ...]
    messages_sent: tuple[int, ...]
    bytes_received: tuple[int, ...]
    messages_received: tuple[int, ...]
    flow_over_latency: float
    chain: float

    @cached_property
    def links(self) -> tuple[int, ...]:
        """All that it uses; cores of host h are link h after the cluster's own."""
        return tuple(dict.fromkeys(chained.from_iterable(leg.links for at in self.stretches for leg in at.legs)))

    def part(self, member: int) -> Part:
        """What it is to one member."""
        return Part(
            self.computing[member],
            self.flops[member],
            self.moving[member],
            (self.bytes_sent[member], self.messages_sent[member]),
            (self.bytes_received[member], self.messages_received[member]),
        )


class SteadyPace(Protocol):
    """Of members of one kind."""

    def steady(self, kernel: Kernel) -> float:
        """Seconds of a kernel without noise."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a group sits: hosts of its members; kinds of paces, and which of them each member has; overheads."""

    cluster: Cluster
    hosts: tuple[int, ...]
    paces: Sequence[SteadyPace]
    pace_of: NDArray[Any]
    message_overhead: float
    byte_overhead: float


class _Pattern:
    """Equal rounds, one after the other: same messages, of the same length to an element."""

    __slots__ = ("count", "longest", "round")

    def __init__(self, run: GroupRun, first: GroupRound) -> None:
        self.round = first
        self.count = run.count
        self.longest = run.longest

    def takes(self, run: GroupRun, other: GroupRound) -> bool:
        """Count more rounds, if they are equal."""
        own = self.round
        same = (
            own.complete == other.complete
            and np.array_equal(own.senders, other.senders)
            and np.array_equal(own.receivers, other.receivers)
            and np.array_equal(own.reduce, other.reduce)
            and (not own.elements.size or int(np.abs(own.elements - other.elements).max()) <= 1)
        )
        if same:
            self.count += run.count
            self.longest = max(self.longest, run.longest)
        return same


def make_plan(ops: Sequence[Collective], setting: Setting) -> Plan:
    """Plan a collective, given as each member's own operation; all have been checked, and it is no barrier."""
    size = len(ops)
    traffic = np.zeros((4, size))
    patterns = list(_patterns(ops, traffic))
    few = traffic[1].sum() <= FEW_MESSAGES
    chain = _Chain(ops, setting, few)
    rounds = [chain.follow(pattern) for pattern in patterns]
    rounds += chain.at_the_end()
    lockstep = sum(stretch.rounds * stretch.period for stretch in rounds)
    rehearsal = chain.rehearsed() if few and not chain.in_step else None
    seconds = float(chain.reached.max()) if rehearsal is None else rehearsal.seconds
    shrink = seconds / lockstep if lockstep else 1.0
    every = 1 if few else math.ceil(sum(stretch.rounds for stretch in rounds) / MOST_ROUNDS)
    itemsize = 0 if ops[0].buffer is None else ops[0].buffer.itemsize
    counted = traffic.astype(np.int64) * np.array([[itemsize], [1], [itemsize], [1]])
    sent, messages, received, incoming = map(tuple, counted.tolist())
    return Plan(
        stretches=tuple(_gathered(stretch, every, shrink) for stretch in rounds if stretch.rounds),
        steps=tuple(chain.steps),
        rehearsal=rehearsal,
        hosts=setting.hosts,
        seconds=seconds,
        computing=tuple(chain.computing.tolist()),
        flops=tuple(chain.flops.tolist()),
        moving=_moving(chain, rehearsal, seconds),
        bytes_sent=sent,
        messages_sent=messages,
        bytes_received=received,
        messages_received=incoming,
        flow_over_latency=chain.flow_over_latency,
        chain=1.0 if rehearsal is not None else shrink,
    )


def _moving(chain: _Chain, rehearsal: Rehearsal | None, seconds: float) -> tuple[float, ...]:
    """Of each member: the fraction of the time in which messages of its move; in step, whenever it does not reduce."""
    if rehearsal is None or not seconds:
        return tuple(((seconds - chain.computing) / seconds).tolist() if seconds else np.zeros(chain.computing.size))
    spans: list[list[tuple[float, float]]] = [[] for _ in chain.computing]
    for (at, number), (began, end, _) in rehearsal.messages.items():
        for member in chain.steps[at].messages[number][:2]:
            spans[member].append((began, end))
    return tuple(covered(own) / seconds for own in spans)


def _patterns(ops: Sequence[Collective], traffic: Any) -> Iterator[_Pattern]:
    """Runs of equal rounds; counts what members send and receive in elements and messages (rows of `traffic`)."""
    scaled = ops[0].reduce == "mean"
    last: _Pattern | None = None
    for run in runs_together(ops):
        traffic += (*run.sent, *run.received)
        group_round = run.first
        worked = group_round if scaled or not group_round.complete else replace(group_round, complete=())
        if last is not None and last.takes(run, worked):
            continue
        if last is not None:
            yield last
        last = _Pattern(run, worked)
    if last is not None:
        yield last


def _gathered(stretch: Stretch, every: int, shrink: float) -> Stretch:
    """The same in fewer, larger rounds, and shorter by `shrink`."""
    rounds = math.ceil(stretch.rounds / every)
    scale = shrink * stretch.rounds / rounds
    legs = [leg._replace(pause=leg.pause * scale, amount=leg.amount * scale) for leg in stretch.legs]
    return Stretch(rounds, tuple(legs))


class _Chain:
    """When each member is through, round after round, if nobody else uses the network."""

    def __init__(self, ops: Sequence[Collective], setting: Setting, few: bool) -> None:
        self._few = few  # so that there are steps
        self._ops = ops
        self._op = ops[0]
        self._setting = setting
        self._itemsize = 0 if self._op.buffer is None else self._op.buffer.itemsize
        self._receives = ALGORITHMS[self._op.kind, self._op.algorithm].receives
        size = len(ops)
        self.reached = np.zeros(size)
        self.computing = np.zeros(size)
        self.flops = np.zeros(size)
        self.flow_over_latency = math.inf
        self.in_step = True
        self.steps: list[Step] = []
        self._last: tuple[tuple[Any, Any], tuple[Any, Any, Any, Any]] | None = None
        self._hosts = np.asarray(setting.hosts)
        kinds = setting.cluster.kinds
        self._cores = np.array([host.cores for host in kinds.hosts])[kinds.of[self._hosts]]

    def follow(self, pattern: _Pattern) -> Stretch:
        """Go through a pattern's rounds; returns them as a stretch."""
        group_round = pattern.round
        computing = self._computing(group_round, pattern.count)
        busy = self._shared(computing)
        legs = self._reductions(computing)
        if not group_round.senders.size:
            self.reached += pattern.count * busy
            if not legs:
                return Stretch(0, ())
            self._step(pattern.count, (), computing)
            self.in_step = self.in_step and bool(busy.max() - busy.min() <= _IN_STEP * busy.max())
            return Stretch(pattern.count, legs)
        messages, times = self._messages(group_round, pattern.longest)
        done = 0
        while done < pattern.count:
            before = self.reached
            self.reached = self._after(before, group_round, times, busy)
            done += 1
            gain = self.reached - before
            spread = gain.max() - gain.min()
            self.in_step = self.in_step and bool(spread <= _IN_STEP * gain.max())
            if spread <= _UNIFORM * gain.max():
                self.reached = self.reached + (pattern.count - done) * gain
                break
        nbytes = group_round.elements * self._itemsize
        self._step(pattern.count, (group_round.senders, group_round.receivers, nbytes), computing)
        return Stretch(pattern.count, (messages, *legs))

    def _step(self, times: int, sent: Sequence[Any], computing: Any) -> None:
        if self._few:
            messages = tuple(zip(*(column.tolist() for column in sent), strict=True))
            self.steps += times * [Step(messages, computing.tolist())]

    def rehearsed(self) -> Rehearsal:
        """The whole, message by message."""
        setting = self._setting
        return rehearse(self.steps, setting.hosts, setting.cluster, setting.message_overhead, setting.byte_overhead)

    def at_the_end(self) -> list[Stretch]:
        """Reductions after the last round, where what is received is kept until then."""
        if self._receives == "place":
            return []
        op, others = self._op, len(self._ops) - 1
        computing = np.zeros(len(self._ops))
        for index, own in enumerate(self._ops):
            elements = 0 if own.buffer is None else own.buffer.elements
            if self._receives == "add":
                computing[index] += others * self._seconds(index, reduce_kernel(own, elements), others)
                if op.reduce == "mean" and elements:
                    computing[index] += self._seconds(index, mean_kernel(own, elements), 1)
            elif self._receives == "join":
                pieces = tuple(int(piece) for piece in np.diff(cuts_in(own, index)))
                computing[index] += self._seconds(index, join_kernel(own, pieces), 1)
        if not computing.any():
            return []
        self.computing += computing
        busy = self._shared(computing)
        self.reached = self.reached + busy
        self._step(1, (), computing)
        return [Stretch(1, self._reductions(computing))]

    @staticmethod
    def _after(reached: Any, group_round: GroupRound, times: Any, busy: Any) -> Any:
        """When each member is through a round that it can begin at `reached`."""
        senders, receivers = group_round.senders, group_round.receivers
        ends = np.maximum(reached[senders], reached[receivers]) + times
        through = reached.copy()
        np.maximum.at(through, senders, ends)
        np.maximum.at(through, receivers, ends)
        return through + busy

    def _messages(self, group_round: GroupRound, longest: int) -> tuple[Leg, Any]:
        """The round's messages as a leg, and the time of each."""
        setting = self._setting
        counts, latency, ids, used = self._ways(group_round)
        capacity = setting.cluster.numbers()[1][ids]
        rounding = longest / float(group_round.elements.max())
        nbytes = group_round.elements * (self._itemsize * rounding)
        on_link = np.bincount(used, np.repeat(nbytes, counts))
        busiest = np.maximum.reduceat((on_link / capacity)[used], np.concatenate([[0], np.cumsum(counts)[:-1]]))
        latency = latency + setting.message_overhead + setting.byte_overhead * nbytes
        largest = float(nbytes.max())
        weights = on_link / largest
        bandwidth = float((capacity / weights).min())
        most = float(latency.max())
        if most > 0:
            self.flow_over_latency = min(self.flow_over_latency, largest / bandwidth / most)
        times = latency + busiest
        pause = max(0.0, float(times.max()) - largest / bandwidth)
        return Leg(pause, largest, bandwidth, tuple(ids.tolist()), tuple(weights.tolist())), times

    def _ways(self, group_round: GroupRound) -> tuple[Any, Any, Any, Any]:
        """Of each message the number of links and the latency; ids of all links, and which of them each one uses."""
        senders, receivers = group_round.senders, group_round.receivers
        if self._last is None or not all(map(np.array_equal, self._last[0], (senders, receivers))):
            hosts = self._hosts
            links, counts, latency, _ = self._setting.cluster.paths(hosts[senders], hosts[receivers])
            self._last = (senders, receivers), (counts, latency, *np.unique(links, return_inverse=True))
        return self._last[1]

    def _reductions(self, computing: Any) -> tuple[Leg, ...]:
        """The members' reductions as a leg, if there are any: of the longest, on all cores that compute."""
        longest = float(computing.max())
        if not longest:
            return ()
        setting = self._setting
        work = np.bincount(self._hosts, computing / longest)
        hosts = np.flatnonzero(work)
        cores = np.array([setting.cluster.hosts[host].cores for host in hosts.tolist()])
        rate = min(1.0, float((cores / work[hosts]).min()))
        first = len(setting.cluster.links)
        return (Leg(0.0, longest, rate, tuple((first + hosts).tolist()), tuple(work[hosts].tolist())),)

    def _computing(self, group_round: GroupRound, rounds: int) -> Any:
        """Seconds that each member then adds and scales, alone; counts them for so many rounds."""
        seconds = np.zeros(len(self._ops))
        if self._receives == "place":
            adds = group_round.reduce
            added = group_round.receivers[adds], group_round.elements[adds]
            finished = np.array(group_round.complete, np.int64).reshape(-1, 2).T
            for kernel_of, (members, elements) in ((reduce_kernel, added), (mean_kernel, finished)):
                if not members.size:
                    continue
                kinds = self._setting.pace_of[members] + len(self._ops) * elements  # equal pieces at equal paces
                _, first, which = np.unique(kinds, return_index=True, return_inverse=True)
                kernels = [kernel_of(self._op, size) for size in elements[first].tolist()]
                of_kinds = zip(members[first].tolist(), kernels, strict=True)
                taken = np.array([self._steady(member, kernel) for member, kernel in of_kinds])
                np.add.at(seconds, members, taken[which])
                np.add.at(self.flops, members, np.array([rounds * kernel.flops for kernel in kernels])[which])
        self.computing += rounds * seconds
        return seconds

    def _seconds(self, member: int, kernel: Kernel, times: int) -> float:
        self.flops[member] += times * kernel.flops
        return self._steady(member, kernel)

    def _steady(self, member: int, kernel: Kernel) -> float:
        pace: SteadyPace = self._setting.paces[self._setting.pace_of[member]]
        return pace.steady(kernel)

    def _shared(self, computing: Any) -> Any:
        """The same with members of one host sharing its cores."""
        on_host = np.bincount(self._hosts, computing > 0)[self._hosts]
        return computing * np.maximum(1.0, on_host / self._cores)
