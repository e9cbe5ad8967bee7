"""What a coupled collective will do to the network and to its members: its rounds as the stretches of a train.

In a round all messages start together. A link is busy for the bytes that the round puts on it over its bandwidth, a
message takes its latencies and the time of its busiest link, and then its receiver adds what it got. The train's round
ends when the last member is through. Members of a real collective do not wait for each other so: each goes on as soon
as its own exchange is done. Where that makes a difference (rounds whose slowest members are not the same), the longest
chain of exchanges is shorter than the sum of the rounds, and all rounds are shortened in that proportion, so that a
collective alone takes the time of its longest chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parasim.cluster.cluster import Cluster
from parasim.program.collectives.algorithms import ALGORITHMS, cuts_in
from parasim.program.collectives.expand import join_kernel, mean_kernel, reduce_kernel
from parasim.program.collectives.together import GroupRound, rounds_together
from parasim.program.ops import Collective, Kernel
from parasim.runtime.tasks import Part
from parasim.simulation.trains import Stretch

__all__ = ["MOST_ROUNDS", "Plan", "Setting", "make_plan"]

MOST_ROUNDS = 256
"""More rounds are gathered into as many: a train that shares links costs a bounded number of events."""

_UNIFORM = 1e-12


@dataclass(frozen=True, slots=True)
class Plan:
    """A collective of one group.

    Attributes
    ----------
    stretches
        Its rounds; none if it takes no time.
    seconds
        Of the whole, alone.
    computing
        Of each member: seconds of its reductions, alone.
    flops
        Of each member's reductions.
    bytes_sent, messages_sent, bytes_received, messages_received
        Of each member.
    flow_over_latency
        The least ratio, over the rounds that carry something, of the time of flow to the latency.
    chain
        The longest chain of exchanges over the sum of the rounds: 1 where all members keep step.
    """

    stretches: tuple[Stretch, ...]
    seconds: float
    computing: tuple[float, ...]
    flops: tuple[float, ...]
    bytes_sent: tuple[int, ...]
    messages_sent: tuple[int, ...]
    bytes_received: tuple[int, ...]
    messages_received: tuple[int, ...]
    flow_over_latency: float
    chain: float

    def part(self, member: int) -> Part:
        """What it is to one member."""
        return Part(
            self.computing[member],
            self.flops[member],
            (self.bytes_sent[member], self.messages_sent[member]),
            (self.bytes_received[member], self.messages_received[member]),
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a group sits: hosts of its members; time of a kernel on a member's device (member, kernel); overheads."""

    cluster: Cluster
    hosts: tuple[int, ...]
    seconds: Callable[[int, Kernel], float]
    message_overhead: float
    byte_overhead: float


class _Pattern:
    """Equal rounds, one after the other: same messages, of the same length to an element."""

    __slots__ = ("count", "longest", "round")

    def __init__(self, first: GroupRound) -> None:
        self.round = first
        self.count = 1
        self.longest = _longest(first)

    def takes(self, other: GroupRound) -> bool:
        """Count another round, if it is equal."""
        own = self.round
        same = (
            own.complete == other.complete
            and np.array_equal(own.senders, other.senders)
            and np.array_equal(own.receivers, other.receivers)
            and np.array_equal(own.reduce, other.reduce)
            and (not own.elements.size or int(np.abs(own.elements - other.elements).max()) <= 1)
        )
        if same:
            self.count += 1
            self.longest = max(self.longest, _longest(other))
        return same


def _longest(group_round: GroupRound) -> int:
    return int(group_round.elements.max()) if group_round.elements.size else 0


def make_plan(ops: Sequence[Collective], setting: Setting) -> Plan:
    """Plan a collective, given as each member's own operation; all have been checked, and it is no barrier."""
    size = len(ops)
    traffic = np.zeros((4, size))
    patterns = list(_patterns(ops, traffic))
    chain = _Chain(ops, setting)
    rounds = [chain.follow(pattern) for pattern in patterns]
    rounds += chain.at_the_end()
    lockstep = sum(stretch.rounds * stretch.period for stretch in rounds)
    seconds = float(chain.reached.max())
    shrink = seconds / lockstep if lockstep else 1.0
    every = math.ceil(sum(stretch.rounds for stretch in rounds) / MOST_ROUNDS)
    itemsize = 0 if ops[0].buffer is None else ops[0].buffer.itemsize
    sent, messages, received, incoming = (tuple(int(value) for value in row) for row in traffic)
    return Plan(
        tuple(_gathered(stretch, every, shrink) for stretch in rounds if stretch.period > 0),
        seconds,
        tuple(map(float, chain.computing)),
        tuple(map(float, chain.flops)),
        tuple(itemsize * value for value in sent),
        messages,
        tuple(itemsize * value for value in received),
        incoming,
        chain.flow_over_latency,
        shrink,
    )


def _patterns(ops: Sequence[Collective], traffic: Any) -> Iterator[_Pattern]:
    """Runs of equal rounds; counts what members send and receive in elements and messages (rows of `traffic`)."""
    size = len(ops)
    scaled = ops[0].reduce == "mean"
    last: _Pattern | None = None
    for group_round in rounds_together(ops):
        for row, members in ((0, group_round.senders), (2, group_round.receivers)):
            traffic[row] += np.bincount(members, group_round.elements, size)
            traffic[row + 1] += np.bincount(members, minlength=size)
        worked = group_round if scaled or not group_round.complete else replace(group_round, complete=())
        if last is not None and last.takes(worked):
            continue
        if last is not None:
            yield last
        last = _Pattern(worked)
    if last is not None:
        yield last


def _gathered(stretch: Stretch, every: int, shrink: float) -> Stretch:
    """The same in fewer, larger rounds, and shorter by `shrink`."""
    rounds = math.ceil(stretch.rounds / every)
    scale = shrink * stretch.rounds / rounds
    return stretch._replace(rounds=rounds, pause=stretch.pause * scale, nbytes=stretch.nbytes * scale)


class _Chain:
    """When each member is through, round after round, if nobody else uses the network."""

    def __init__(self, ops: Sequence[Collective], setting: Setting) -> None:
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
        hosts = np.asarray(setting.hosts)
        self._cores = np.array([setting.cluster.hosts[host].cores for host in setting.hosts])
        self._host_of = np.unique(hosts, return_inverse=True)[1]

    def follow(self, pattern: _Pattern) -> Stretch:
        """Go through a pattern's rounds; returns them as a stretch."""
        group_round = pattern.round
        computing = self._computing(group_round, pattern.count)
        busy = self._shared(computing)
        if not group_round.senders.size:
            length = float(busy.max())
            self.reached += pattern.count * busy
            return Stretch(pattern.count, length, 0.0, 1.0, (), ())
        links, weights, bandwidth, nbytes, times = self._messages(group_round, pattern.longest)
        done = 0
        while done < pattern.count:
            before = self.reached
            self.reached = self._after(before, group_round, times, busy)
            done += 1
            gain = self.reached - before
            if gain.max() - gain.min() <= _UNIFORM * gain.max():
                self.reached = self.reached + (pattern.count - done) * gain
                break
        length = float(self._after(np.zeros_like(busy), group_round, times, busy).max())
        flowing = nbytes / bandwidth
        return Stretch(pattern.count, max(0.0, length - flowing), nbytes, bandwidth, links, weights)

    def at_the_end(self) -> list[Stretch]:
        """Reductions after the last round, where what is received is kept until then."""
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
        return [Stretch(1, float(busy.max()), 0.0, 1.0, (), ())]

    @staticmethod
    def _after(reached: Any, group_round: GroupRound, times: Any, busy: Any) -> Any:
        """When each member is through a round that it can begin at `reached`."""
        senders, receivers = group_round.senders, group_round.receivers
        ends = np.maximum(reached[senders], reached[receivers]) + times
        through = reached.copy()
        np.maximum.at(through, senders, ends)
        np.maximum.at(through, receivers, ends)
        return through + busy

    def _messages(
        self, group_round: GroupRound, longest: int
    ) -> tuple[tuple[int, ...], tuple[float, ...], float, float, Any]:
        """Links, weights, bandwidth and length of the round's flow, and the time of each message."""
        setting = self._setting
        paths = [
            setting.cluster.path(setting.hosts[sender], setting.hosts[receiver])
            for sender, receiver in zip(group_round.senders.tolist(), group_round.receivers.tolist(), strict=True)
        ]
        counts = np.array([len(path.links) for path in paths])
        ids, used = np.unique(np.concatenate([path.links for path in paths]), return_inverse=True)
        capacity = np.array([setting.cluster.links[link].bandwidth for link in ids])
        rounding = longest / float(group_round.elements.max())
        nbytes = group_round.elements * (self._itemsize * rounding)
        on_link = np.bincount(used, np.repeat(nbytes, counts))
        busiest = np.maximum.reduceat((on_link / capacity)[used], np.concatenate([[0], np.cumsum(counts)[:-1]]))
        latency = np.array([path.latency for path in paths])
        latency = latency + setting.message_overhead + setting.byte_overhead * nbytes
        largest = float(nbytes.max())
        weights = on_link / largest
        bandwidth = float((capacity / weights).min())
        most = float(latency.max())
        if most > 0:
            self.flow_over_latency = min(self.flow_over_latency, largest / bandwidth / most)
        return tuple(ids.tolist()), tuple(weights.tolist()), bandwidth, largest, latency + busiest

    def _computing(self, group_round: GroupRound, rounds: int) -> Any:
        """Seconds that each member then adds and scales, alone; counts them for so many rounds."""
        seconds = np.zeros(len(self._ops))
        if self._receives == "place":
            adds = group_round.reduce
            for member, elements in zip(
                group_round.receivers[adds].tolist(), group_round.elements[adds].tolist(), strict=True
            ):
                seconds[member] += self._seconds(member, reduce_kernel(self._op, elements), rounds)
            for member, elements in group_round.complete:
                seconds[member] += self._seconds(member, mean_kernel(self._op, elements), rounds)
        self.computing += rounds * seconds
        return seconds

    def _seconds(self, member: int, kernel: Kernel, times: int) -> float:
        self.flops[member] += times * kernel.flops
        return self._setting.seconds(member, kernel)

    def _shared(self, computing: Any) -> Any:
        """The same with members of one host sharing its cores."""
        on_host = np.bincount(self._host_of, computing > 0)[self._host_of]
        return computing * np.maximum(1.0, on_host / self._cores)
