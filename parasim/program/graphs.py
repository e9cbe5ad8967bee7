"""Graphs that workers gossip on, and the matrices by which they mix their models.

A graph is a tuple of the neighbours of every worker, by index, each in rising order. A mixing matrix W is a tuple of
rows: worker i's new model is ``sum_j W[i][j] x_j``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from parasim.program.collectives.torus import most_square

__all__ = [
    "Edges",
    "Graph",
    "GraphKind",
    "Matrix",
    "check_mixing",
    "contraction",
    "exponential_hops",
    "graph_of_matrix",
    "metropolis",
    "named_graph",
    "pairs_of",
    "strongly_connected",
    "two_colours",
]

GraphKind = Literal["ring", "complete", "line", "star", "torus", "hypercube", "edges"]
Graph = tuple[tuple[int, ...], ...]
Edges = tuple[tuple[int, ...], ...]
Matrix = tuple[tuple[float, ...], ...]

_ROUNDING = 1e-9
"""How far from 1 the sums of a mixing matrix may be."""


def named_graph(kind: GraphKind, workers: int, edges: Edges = ()) -> Graph:
    """The undirected graph of this kind: of "edges", that of the given pairs of workers.

    Raises
    ------
    ValueError
        If there is no such graph of so many workers, if edges are given and not asked for, if one joins a worker with
        itself, or if it is not connected.
    """
    if bool(edges) != (kind == "edges"):
        raise ValueError("edges belong to graph: edges, which needs some: write edges: [[0, 1], [1, 2]]")
    if kind == "hypercube" and workers & (workers - 1):
        raise ValueError(f"a hypercube has 2, 4, 8 ... workers, not {workers}; use that many, or graph: ring")
    beside: list[set[int]] = [set() for _ in range(workers)]
    for one, other in _pairs(kind, workers, edges):
        for worker in (one, other):
            if not 0 <= worker < workers:
                raise ValueError(f"edge [{one}, {other}]: worker {worker} does not exist (workers: 0..{workers - 1})")
        if one == other and kind == "edges":
            raise ValueError(f"edge [{one}, {other}] joins worker {one} with itself: leave it out")
        if one != other:
            beside[one].add(other)
            beside[other].add(one)
    graph = tuple(tuple(sorted(some)) for some in beside)
    alone = set(range(workers)) - _reached(graph)
    if alone:
        raise ValueError(f"the graph is not connected: no path from worker 0 to worker {min(alone)}; add an edge")
    return graph


def _pairs(kind: GraphKind, workers: int, edges: Edges) -> Iterable[tuple[int, int]]:
    if kind == "ring":
        return [(i, (i + 1) % workers) for i in range(workers)]
    if kind == "complete":
        return itertools.combinations(range(workers), 2)
    if kind == "line":
        return itertools.pairwise(range(workers))
    if kind == "star":
        return [(0, i) for i in range(1, workers)]
    if kind == "hypercube":
        return [(i, i ^ (1 << bit)) for i in range(workers) for bit in range(workers.bit_length() - 1)]
    if kind == "torus":
        rows, columns = most_square(workers)
        across = [(r * columns + c, r * columns + (c + 1) % columns) for r in range(rows) for c in range(columns)]
        return across + [(r * columns + c, (r + 1) % rows * columns + c) for r in range(rows) for c in range(columns)]
    assert kind in get_args(GraphKind)
    return pairs_of(edges)


def pairs_of(edges: Edges) -> list[tuple[int, int]]:
    """Edges as pairs; `ValueError` if one has not two ends."""
    for edge in edges:
        if len(edge) != 2:
            raise ValueError(f"edge {list(edge)} has {len(edge)} ends: write edges as [[0, 1], [1, 2]]")
    return [(edge[0], edge[1]) for edge in edges]


def _reached(graph: Graph) -> set[int]:
    """The workers that paths from worker 0 reach."""
    reached, border = {0}, [0]
    while border:
        for other in graph[border.pop()]:
            if other not in reached:
                reached.add(other)
                border.append(other)
    return reached


def strongly_connected(edges: Edges, workers: int) -> None:
    """`ValueError` unless directed edges lead from every one of the workers to every other, and none to itself."""
    pairs = pairs_of(edges)
    for one, other in pairs:
        if not (0 <= one < workers and 0 <= other < workers and one != other):
            raise ValueError(f"edge [{one}, {other}] does not join two of workers 0..{workers - 1}")
    if len(set(pairs)) < len(pairs):
        raise ValueError("an edge is given twice; give each once")
    for direction in (1, -1):
        ahead = tuple(
            tuple(to for start, to in (pair[::direction] for pair in pairs) if start == i) for i in range(workers)
        )
        missed = set(range(workers)) - _reached(ahead)
        if missed:
            way = "from worker 0 to" if direction == 1 else "to worker 0 from"
            raise ValueError(f"the graph is not connected: no path {way} worker {min(missed)}; add an edge")


def two_colours(graph: Graph) -> tuple[int, ...] | None:
    """Colour 0 or 1 of every worker such that no edge joins equal colours, worker 0's being 0; None: not bipartite."""
    colours: dict[int, int] = {}
    for start in range(len(graph)):
        border = [start] if start not in colours else []
        colours.setdefault(start, 0)
        while border:
            worker = border.pop()
            for other in graph[worker]:
                if other not in colours:
                    colours[other] = 1 - colours[worker]
                    border.append(other)
                elif colours[other] == colours[worker]:
                    return None
    return tuple(colours[worker] for worker in range(len(graph)))


def metropolis(graph: Graph) -> Matrix:
    """Weights ``1 / (1 + max(deg i, deg j))`` (Xiao, Boyd 2004): symmetric and doubly stochastic on any graph.

    On a regular graph all weights are 1 / (deg + 1): thirds on a ring (SCHEMES S18.3).
    """
    rows = []
    for worker, others in enumerate(graph):
        row = [0.0] * len(graph)
        for other in others:
            row[other] = 1.0 / (1 + max(len(others), len(graph[other])))
        own = 1.0 / (1 + len(others))
        row[worker] = own if all(row[other] == own for other in others) else 1.0 - sum(row)
        rows.append(tuple(row))
    return tuple(rows)


def check_mixing(matrix: Matrix, workers: int) -> None:
    """`ValueError` unless the matrix is workers x workers, not negative, symmetric and doubly stochastic."""
    if len(matrix) != workers or any(len(row) != workers for row in matrix):
        raise ValueError(f"matrix must have {workers} rows of {workers} numbers, as there are {workers} workers")
    for i, row in enumerate(matrix):
        if min(row) < 0:
            raise ValueError(f"matrix: row {i} has a negative weight; weights are 0 or more")
        if abs(sum(row) - 1) > _ROUNDING:
            raise ValueError(f"matrix: row {i} sums to {sum(row):.12g}, not 1: the mean of all models would move")
        for j, weight in enumerate(row):
            if weight != matrix[j][i]:
                raise ValueError(f"matrix: weight [{i}, {j}] differs from [{j}, {i}]: make it symmetric, or use sgp")


def graph_of_matrix(matrix: Matrix) -> Graph:
    """Who is beside whom: where weights are above zero."""
    return tuple(tuple(j for j, weight in enumerate(row) if weight and j != i) for i, row in enumerate(matrix))


def contraction(matrix: Sequence[Sequence[float]]) -> float:
    """Second largest modulus of the eigenvalues of a symmetric mixing matrix: distances to the mean shrink by it.

    Of one worker: 0. The spectral gap is 1 less this.
    """
    import numpy as np

    moduli = np.sort(np.abs(np.linalg.eigvalsh(np.array(matrix, dtype=float))))
    return float(moduli[-2]) if len(matrix) > 1 else 0.0


def exponential_hops(workers: int) -> tuple[int, ...]:
    """Distances 1, 2, 4 ... of the directed exponential graph: ``floor(log2(N - 1)) + 1`` of them (SCHEMES S20.4)."""
    return tuple(1 << k for k in range((workers - 1).bit_length())) if workers > 1 else ()
