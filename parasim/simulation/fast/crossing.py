"""Collectives whose own messages share links: all of them in one compiled loop, while nobody else uses the links.

When it applies: as timetable.py, but messages may meet each other on links. Members wait until the last has come; then
circulation.py takes all of them through all rounds, from the coming of the first. It begins as soon as there have been
`WORTH` messages of such collectives, and is left out where numba is not there.

Why it is exact: the loop does what programs, mailboxes and network do message by message, with the same state of each
flow, changed at the same instants, and max-min fair shares are unique. What else a message has, its program and its
row, follows from the round that it belongs to.

Times are the same but for rounding. In long rings on much shared links that may be more than it seems: who meets whom
hangs on the last bits, message by message too. With 80 random hosts of a fat tree, latencies that are longer by 1e-12
of themselves change the makespan by some 1e-5 of itself, in either way of simulating.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from parasim.simulation.crowd import compiled as solver
from parasim.simulation.fast.recurrence import Outcome, Passage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parasim.cluster.cluster import Cluster
    from parasim.simulation.fast.timetable import TimedBlock

__all__ = ["WORTH", "Crossing", "compiled", "make_crossing"]

WORTH = 6_000
"""Messages simulated one by one, in some 0.3 s, before the compiled loop is loaded: that takes as long."""
_MOST_MESSAGES, _MOST_WAYS = 1 << 24, 1 << 17


@functools.cache
def compiled() -> ModuleType | None:
    """The compiled loop; None where numba is not there, or finds no place to keep what it compiles."""
    if solver() is None:
        return None
    from parasim.simulation.fast import circulation

    return circulation


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """A collective as arrays.

    Attributes
    ----------
    course
        Arguments of `Course`, in order.
    capacities
        Of the links that are used, bytes/s.
    route, hops, bandwidths
        Of each slot, as of `Slots`.
    most
        Of each member: its messages, sent and received.
    reduces
        Are its reductions told from the messages around them?
    """

    course: tuple[NDArray[Any], ...]
    capacities: NDArray[Any]
    route: NDArray[Any]
    hops: NDArray[Any]
    bandwidths: NDArray[Any]
    most: NDArray[Any]
    reduces: bool

    @property
    def messages(self) -> int:
        """How many there are."""
        return len(self.course[2])

    def play(self, arrivals: NDArray[Any], slack: float) -> Outcome:
        """Take all members, who come at `arrivals`, through all rounds; times in seconds.

        Something may be late by `slack` and still be of an instant.
        """
        run = _Run(self, arrivals)
        run.go(slack, np.inf)
        open_pieces = run.moving.edges[run.moving.first + run.moving.over]
        moving = _by_member(run.moving, run.moving.over + (open_pieces[:, 1] > open_pieces[:, 0]))
        return Outcome(run.members.through, moving, _by_member(run.adding, run.adding.over))

    def passages(
        self, arrivals: NDArray[Any], now: float, latest: float, blocks: Iterable[TimedBlock]
    ) -> Iterator[Passage]:
        """The rounds with what has become of their messages until now, an instant that lasts until `latest`."""
        run = _Run(self, arrivals, asked=True)
        run.go(latest - now, latest)
        left, firsts = run.left(now), self.course[1]
        at = number = 0
        for block in blocks:
            width = len(block.senders)
            for row in range(len(block.elements)):
                messages, slot = slice(at, at + width), at - int(firsts[number])
                known = run.messages.begun[messages], run.messages.ended[messages], run.messages.through[number]
                yield Passage(block, row, *known, left[slot : slot + width])
                at, number = at + width, number + 1


class _Run:
    """One run of a crossing: the state of everything, at first before the members come."""

    def __init__(self, crossing: Crossing, arrivals: NDArray[Any], *, asked: bool = False) -> None:
        filling, functions = solver(), compiled()
        assert filling is not None
        assert functions is not None
        self._functions: Any = functions
        self._course = functions.Course(*crossing.course)
        size, ways, rounds = len(arrivals), len(crossing.hops), len(self._course.pattern)
        zeros = np.zeros((4, size), np.int32)
        self.members = functions.Members(*zeros, np.full(size, np.inf))
        known = crossing.messages if asked else 0
        self.messages = functions.Messages(
            np.full(known, np.inf), np.full(known, np.inf), np.full((rounds if asked else 0, size), np.inf)
        )
        leaves = 1 << (ways + size - 1).bit_length()
        tree = np.full(2 * leaves, np.inf)
        tree[leaves + ways : leaves + ways + size] = arrivals
        while leaves > 1:
            leaves //= 2
            tree[leaves : 2 * leaves] = tree[2 * leaves : 4 * leaves].reshape(-1, 2).min(axis=1)
        flowing, entering = np.zeros((2, ways), np.int32)
        self._events = functions.Events(tree, flowing, entering, np.zeros(2, np.int32))
        self.moving = _pieces(functions, crossing.most + 1)
        self.adding = _pieces(functions, np.full(size, rounds if crossing.reduces else 0))
        self._traffic = filling.make_traffic(crossing.capacities, *crossing.route.shape)
        self._traffic.nodes.link = crossing.route.ravel()
        self._traffic.slots.bandwidth, self._traffic.slots.hops = crossing.bandwidths, crossing.hops

    def go(self, slack: float, until: float) -> None:
        """Let everything happen that happens until then."""
        self._functions.circulate(
            self._course, self.members, self.messages, self._events, self.moving, self.adding, self._traffic, slack,
            until,
        )  # fmt: skip

    def left(self, now: float) -> NDArray[Any]:
        """Which part of its bytes a message has left, by slot; 1 where none flows."""
        slots, flowing = self._traffic.slots, self._events.flowing > 0
        left = np.ones(len(flowing))
        left[flowing] = np.maximum(0.0, slots.end[flowing] - now) * slots.rate[flowing] / slots.volume[flowing]
        return np.minimum(left, 1.0)


def _pieces(functions: Any, most: NDArray[Any]) -> Any:
    """Room for so many pieces of each member."""
    first = np.cumsum(most) - most
    edges = np.empty((int(most.sum()), 2))
    if len(edges):
        edges[first] = -np.inf
    return functions.Pieces(first, np.zeros(len(most), np.int64), edges)


def _by_member(pieces: Any, counts: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Starts and ends of so many pieces of each member, without the room that was left for more."""
    bounds = zip(pieces.first.tolist(), (pieces.first + counts).tolist(), strict=True)
    return [tuple(pieces.edges[low:high].T.copy()) for low, high in bounds]


def make_crossing(
    blocks: Iterable[TimedBlock], hosts: Sequence[int], cluster: Cluster, itemsize: int, *, reduces: bool
) -> Crossing | None:
    """Put a collective into arrays; None if they would be too large.

    Parameters
    ----------
    blocks
        Its rounds, timed.
    hosts, cluster
        Where its members sit.
    itemsize
        Bytes of an element.
    reduces
        As of a `Crossing`.
    """
    size, ways, messages = len(hosts), 0, 0
    patterns: dict[tuple[bytes, bytes], _Pattern] = {}
    of_round: list[int] = []
    first: list[int] = []
    nbytes, latencies, adding = [], [], []
    for block in blocks:
        rounds, width = block.elements.shape
        pattern = patterns.setdefault(
            (block.senders.tobytes(), block.receivers.tobytes()),
            _Pattern(len(patterns), ways, block.senders, block.receivers),
        )
        ways = max(ways, pattern.first + width)
        of_round += [pattern.number] * rounds
        first += range(messages - pattern.first, messages - pattern.first + rounds * width, width)
        messages += rounds * width
        if ways > _MOST_WAYS or messages > _MOST_MESSAGES:
            return None
        nbytes.append((block.elements * float(itemsize)).ravel())
        latencies.append(block.latencies.ravel())
        adding.append(np.zeros((rounds, size)) if block.adding is None else block.adding)
    own: list[int] = []
    begin, most = [], np.zeros(size, np.int64)
    for pattern, times in zip(patterns.values(), np.bincount(of_round), strict=True):
        slots, members = pattern.by_member()
        begin.append(len(own) + np.searchsorted(members, np.arange(size + 1)))
        own += slots.tolist()
        most += times * np.bincount(members, minlength=size)
    sender = np.concatenate([pattern.senders for pattern in patterns.values()])
    receiver = np.concatenate([pattern.receivers for pattern in patterns.values()])
    paths = [cluster.path(hosts[s], hosts[r]) for s, r in zip(sender.tolist(), receiver.tolist(), strict=True)]
    hops = np.array([len(path.links) for path in paths], np.int32)
    used, numbers = np.unique([link for path in paths for link in path.links], return_inverse=True)
    route = np.zeros((len(paths), int(hops.max())), np.int32)
    route[np.arange(route.shape[1]) < hops[:, None]] = numbers
    reductions = np.concatenate(adding)
    course = (
        np.array(of_round, np.int32), np.array(first), np.concatenate(nbytes), np.concatenate(latencies),
        reductions if reductions.any() else np.zeros((0, 0)), np.array(own, np.int32), np.array(begin),
        sender.astype(np.int32), receiver.astype(np.int32),
    )  # fmt: skip
    capacities = np.array(cluster.bandwidths)[used]
    return Crossing(course, capacities, route, hops, np.array([path.bandwidth for path in paths]), most, reduces)


@dataclass(frozen=True, slots=True, eq=False)
class _Pattern:
    """Ways that rounds go: the first slot, and of each slot who sends and who receives."""

    number: int
    first: int
    senders: NDArray[Any]
    receivers: NDArray[Any]

    def by_member(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Each slot twice, with its ends, in the order of these."""
        members = np.concatenate([self.senders, self.receivers])
        order = np.argsort(members, kind="stable")
        return self.first + order % len(self.senders), members[order]
