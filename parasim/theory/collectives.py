"""Closed forms of collectives in the alpha-beta-gamma model.

A message of n bytes takes ``alpha + n beta`` seconds, adding n received bytes takes ``n gamma``. Links are
full-duplex, a rank sends one message and receives one at a time, and all ranks start together. Where a form is
`exact`, a simulation on such a cluster must meet it to rounding, provided that every division of the vector into
pieces comes out even.

References
----------
SCHEMES 13.1 (the table) and 13.3 (crossovers); Thakur, Rabenseifner and Gropp (2005), Optimization of collective
communication operations in MPICH; Rabenseifner (2004), Optimization of collective reduction operations; Patarasuk and
Yuan (2009), Bandwidth optimal all-reduce algorithms; Sanders, Speck and Träff (2009), Two-tree algorithms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from parasim.errors import ProgramError
from parasim.program.collectives.double_tree import default_chunks, trees
from parasim.program.collectives.torus import most_square

__all__ = [
    "FORMS",
    "Bounds",
    "Cost",
    "best_chunks",
    "cost",
    "double_tree_beats_ring",
    "lower_bounds",
    "parameter_server_seconds",
    "ring_meets_doubling_bytes",
]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one collective costs.

    Attributes
    ----------
    seconds
        From the common start to the end of the last rank.
    rounds
        Number of exchanges, one after the other, that the busiest rank takes part in or waits for.
    bytes_sent_max, bytes_sent_mean
        Payload that a rank sends: the largest over the ranks, and the mean.
    messages_sent_mean
        Messages with payload that a rank sends, mean over the ranks (no piece being empty).
    exact
        Is `seconds` exact in the model, or an estimate?
    """

    seconds: float
    rounds: int
    bytes_sent_max: float
    bytes_sent_mean: float
    messages_sent_mean: float
    exact: bool = True


@dataclass(frozen=True, slots=True)
class _Case:
    """One case: `n` ranks, `s` bytes, `a` alpha, `b` beta, `g` gamma; alpha and beta between nodes are `outer`."""

    n: int
    s: float
    a: float
    b: float
    g: float
    shape: tuple[int, int] | None
    chunks: int | None
    outer: tuple[float, float]

    @property
    def levels(self) -> int:
        """ceil(log2 n)."""
        return (self.n - 1).bit_length()

    @property
    def floor_levels(self) -> int:
        """log2 of the largest power of two that is not above n."""
        return self.n.bit_length() - 1

    @property
    def extra(self) -> int:
        """Ranks beyond the largest power of two: those that fold."""
        return self.n - (1 << self.floor_levels)

    @property
    def others(self) -> float:
        """(n - 1) / n."""
        return (self.n - 1) / self.n


def cost(
    kind: str,
    algorithm: str,
    ranks: int,
    nbytes: float,
    alpha: float,
    beta: float,
    gamma: float = 0.0,
    *,
    shape: tuple[int, int] | None = None,
    chunks: int | None = None,
    outer: tuple[float, float] | None = None,
) -> Cost:
    """What a collective costs, by the table of SCHEMES 13.1 and the list under it.

    Parameters
    ----------
    kind, algorithm
        As in `Collective`; also ("reduce", "binomial").
    ranks
        Size of the group.
    nbytes
        Bytes of the whole vector (of all pieces together; for an all-to-all, of what one rank holds).
    alpha, beta, gamma
        Seconds per message; seconds per byte sent; seconds per byte added.
    shape
        (rows, columns) of the torus, (nodes, ranks per node) of the hierarchical algorithms; default: most square.
    chunks
        Of each half of the double tree; default: as its schedule chooses.
    outer
        Alpha and beta between nodes, for the hierarchical algorithms: beta is what one of the rings that share a node's
        uplink gets. Default: as inside.

    Raises
    ------
    ProgramError
        If there is no closed form of that name, or the shape does not make `ranks`.
    """
    form = FORMS.get((kind, algorithm))
    if form is None:
        known = ", ".join(f"{kind} {algorithm}" for kind, algorithm in FORMS)
        raise ProgramError(f"no closed form of {kind} by {algorithm!r}: there are {known}")
    if shape is not None and shape[0] * shape[1] != ranks:
        raise ProgramError(f"{kind} by {algorithm!r}: shape {shape[0]} x {shape[1]} does not make {ranks} ranks")
    if ranks == 1:
        return Cost(0.0, 0, 0.0, 0.0, 0.0)
    return form(_Case(ranks, nbytes, alpha, beta, gamma, shape, chunks, outer or (alpha, beta)))


def _ring_all_reduce(c: _Case) -> Cost:
    sent = 2 * c.others * c.s
    seconds = 2 * (c.n - 1) * c.a + sent * c.b + c.others * c.s * c.g
    return Cost(seconds, 2 * (c.n - 1), sent, sent, 2 * (c.n - 1))


def _binomial_all_reduce(c: _Case) -> Cost:
    up, down = _binomial_reduce(c), _binomial_broadcast(c)
    return Cost(
        up.seconds + down.seconds,
        up.rounds + down.rounds,
        c.levels * c.s,  # the root's; the rank that reduces j times broadcasts j times, and sends once upwards
        up.bytes_sent_mean + down.bytes_sent_mean,
        up.messages_sent_mean + down.messages_sent_mean,
    )


def _recursive_doubling(c: _Case) -> Cost:
    levels, folds = c.floor_levels, int(c.extra > 0)
    messages = ((1 << levels) * levels + 2 * c.extra) / c.n
    seconds = (levels + 2 * folds) * (c.a + c.s * c.b) + (levels + folds) * c.s * c.g
    return Cost(seconds, levels + 2 * folds, (levels + folds) * c.s, messages * c.s, messages)


def _rabenseifner(c: _Case) -> Cost:
    levels, power, folds = c.floor_levels, 1 << c.floor_levels, int(c.extra > 0)
    inside = (power - 1) / power
    rounds = 2 * levels + 3 * folds
    seconds = rounds * c.a + (2 * inside + 2 * folds) * c.s * c.b + (inside + folds / 2) * c.s * c.g
    total = 2 * (power - 1) * c.s + 2.5 * c.extra * c.s  # a pair sends half and half, half, and the whole
    messages = (2 * levels * power + 4 * c.extra) / c.n
    return Cost(seconds, rounds, (2 * inside + 1.5 * folds) * c.s, total / c.n, messages)


def _torus(c: _Case) -> Cost:
    rows, columns = c.shape or most_square(c.n)
    inner, (a, b) = (columns - 1) / columns, c.outer
    across = (rows - 1) / (rows * columns)
    rounds, sent = 2 * (columns - 1) + 2 * (rows - 1), 2 * (inner + across) * c.s
    seconds = 2 * (columns - 1) * c.a + 2 * inner * c.s * c.b + 2 * (rows - 1) * a + 2 * across * c.s * b
    return Cost(seconds + (inner + across) * c.s * c.g, rounds, sent, sent, rounds)


def _leaders(c: _Case) -> Cost:
    nodes, ranks = c.shape or most_square(c.n)
    inside = replace(c, n=ranks)
    up, down = _binomial_reduce(inside), _binomial_broadcast(inside)
    ring = _ring_all_reduce(replace(c, n=nodes, a=c.outer[0], b=c.outer[1]))
    return Cost(
        up.seconds + ring.seconds + down.seconds,
        up.rounds + ring.rounds + down.rounds,
        ring.bytes_sent_max + down.bytes_sent_max,  # a leader's
        up.bytes_sent_mean + ring.bytes_sent_mean / ranks + down.bytes_sent_mean,
        up.messages_sent_mean + ring.messages_sent_mean / ranks + down.messages_sent_mean,
    )


def _double_tree(c: _Case) -> Cost:
    """No member sends or gets more than four chunks, 2 s / chunks bytes, in a round.

    So a round takes no longer where links are shared max-min fairly. Short pipelines are faster (by half and more):
    their first and last rounds are thin.
    """
    chunks = c.chunks or default_chunks(c.n, round(c.s))
    pair = trees(c.n)
    depth = pair[0].depth
    rounds = 2 * depth + chunks - 1
    seconds = rounds * (c.a + 2 * c.s * c.b / chunks) + (depth + chunks - 1) * c.s * c.g / chunks
    edges = [sum((tree.parents[i] >= 0) + len(tree.children[i]) for tree in pair) for i in range(c.n)]
    mean = sum(edges) / c.n
    return Cost(seconds, rounds, max(edges) * c.s / 2, mean * c.s / 2, mean * chunks, exact=False)


def _naive(c: _Case) -> Cost:
    rounds = 2 * (c.n - 1)
    seconds = rounds * (c.a + c.s * c.b) + (c.n - 1) * c.s * c.g
    return Cost(seconds, rounds, (c.n - 1) * c.s, 2 * c.others * c.s, 2 * c.others)


def _direct(c: _Case) -> Cost:
    seconds = (c.n - 1) * (c.a + c.s * c.b + c.s * c.g)
    return Cost(seconds, c.n - 1, (c.n - 1) * c.s, (c.n - 1) * c.s, c.n - 1)


def _ring_reduce_scatter(c: _Case) -> Cost:
    sent = c.others * c.s
    return Cost((c.n - 1) * c.a + sent * (c.b + c.g), c.n - 1, sent, sent, c.n - 1)


def _pieces_once(c: _Case) -> Cost:
    sent = c.others * c.s
    return Cost((c.n - 1) * c.a + sent * c.b, c.n - 1, sent, sent, c.n - 1)


def _bruck(c: _Case) -> Cost:
    sent = c.others * c.s
    runs = (min(1 << level, c.n - (1 << level)) for level in range(c.levels))
    messages = sum(1 + (run - 1) / c.n for run in runs)  # run - 1 ranks send around the end: two messages
    return Cost(c.levels * c.a + sent * c.b, c.levels, sent, sent, messages)


def _binomial_reduce(c: _Case) -> Cost:
    seconds = c.levels * (c.a + c.s * c.b + c.s * c.g)
    return Cost(seconds, c.levels, c.s, c.others * c.s, c.others)


def _binomial_broadcast(c: _Case) -> Cost:
    return Cost(c.levels * (c.a + c.s * c.b), c.levels, c.levels * c.s, c.others * c.s, c.others)


def _scatter_all_gather(c: _Case) -> Cost:
    rounds, sent = c.levels + c.n - 1, 2 * c.others * c.s
    hops = sum(piece.bit_count() for piece in range(c.n))  # how often the scatter passes on a piece
    mean = (hops / c.n + c.n - 1) * c.s / c.n
    return Cost(rounds * c.a + sent * c.b, rounds, sent, mean, c.others + c.n - 1)


def _barrier(c: _Case) -> Cost:
    return Cost(c.levels * c.a, c.levels, 0.0, 0.0, 0.0)


FORMS: Final[Mapping[tuple[str, str], Callable[[_Case], Cost]]] = {
    ("all_reduce", "ring"): _ring_all_reduce,
    ("all_reduce", "binomial"): _binomial_all_reduce,
    ("all_reduce", "recursive_doubling"): _recursive_doubling,
    ("all_reduce", "rabenseifner"): _rabenseifner,
    ("all_reduce", "torus"): _torus,
    ("all_reduce", "hierarchical"): _torus,
    ("all_reduce", "hierarchical_leader"): _leaders,
    ("all_reduce", "double_tree"): _double_tree,
    ("all_reduce", "naive"): _naive,
    ("all_reduce", "direct"): _direct,
    ("reduce", "binomial"): _binomial_reduce,
    ("reduce_scatter", "ring"): _ring_reduce_scatter,
    ("all_gather", "ring"): _pieces_once,
    ("all_gather", "bruck"): _bruck,
    ("all_to_all", "pairwise"): _pieces_once,
    ("broadcast", "binomial"): _binomial_broadcast,
    ("broadcast", "scatter_all_gather"): _scatter_all_gather,
    ("barrier", "dissemination"): _barrier,
}
"""All closed forms, by kind and algorithm."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds below which no all-reduce can be, for each of the three reasons."""

    latency: float
    bandwidth: float
    compute: float


def lower_bounds(ranks: int, nbytes: float, alpha: float, beta: float, gamma: float = 0.0) -> Bounds:
    """Lower bounds of an all-reduce: ceil(log2 N) alpha, 2 (N-1)/N nbytes beta, (N-1)/N nbytes gamma (SCHEMES 13)."""
    others = (ranks - 1) / ranks
    return Bounds((ranks - 1).bit_length() * alpha, 2 * others * nbytes * beta, others * nbytes * gamma)


def parameter_server_seconds(
    workers: int, shards: int, nbytes: float, alpha: float, beta: float, gamma: float = 0.0
) -> float:
    """Push and pull of all workers at a server of so many shards, each on a host of its own (SCHEMES 13.1)."""
    return 2 * alpha + 2 * max(1, workers / shards) * nbytes * beta + workers / shards * nbytes * gamma


def ring_meets_doubling_bytes(ranks: int, alpha: float, beta: float) -> float:
    """Bytes at which ring and recursive doubling take equally long without gamma; the ring wins above (SCHEMES 13.3).

    With d rounds of doubling: ``alpha / beta (2(N-1) - d) / (d - 2(N-1)/N)``; for N that is no power of two d counts
    the two rounds of folding. Infinite for two ranks, where doubling always wins.
    """
    levels = ranks.bit_length() - 1
    rounds = levels + (2 if ranks != 1 << levels else 0)
    steps, volume = 2 * (ranks - 1), 2 * (ranks - 1) / ranks
    return alpha / beta * (steps - rounds) / (rounds - volume) if rounds > volume else math.inf


def best_chunks(ranks: int, nbytes: float, alpha: float, beta: float) -> float:
    """Chunks that minimise the double tree's time, a real number: sqrt((2h-1) 2 nbytes beta / alpha) (SCHEMES 13.1)."""
    depth = trees(ranks)[0].depth
    return math.sqrt((2 * depth - 1) * 2 * nbytes * beta / alpha)


def double_tree_beats_ring(ranks: int, nbytes: float, alpha: float, beta: float) -> bool:
    """Is the double tree, with the best number of chunks and without gamma, faster than the ring? (SCHEMES 13.3)."""
    depth = trees(ranks)[0].depth
    tree = (math.sqrt((2 * depth - 1) * alpha) + math.sqrt(2 * nbytes * beta)) ** 2
    return tree < cost("all_reduce", "ring", ranks, nbytes, alpha, beta).seconds
