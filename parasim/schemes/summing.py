"""What schemes share that sum or average a vector of all workers by all-reduce: options, the operation, its cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    Buffer,
    Collective,
    Context,
    Group,
    Kernel,
    Model,
    Options,
    Part,
    Program,
    Route,
    Setting,
    Tensor,
    Tensors,
    coded_sum,
    option,
)
from parasim.program.collectives.torus import most_square
from parasim.program.elementwise import add, overwrite, scale
from parasim.schemes.coded_cost import coded_sum_cost
from parasim.theory.collectives import Cost, cost
from parasim.theory.patterns import patterns

__all__ = [
    "SummingOptions",
    "agree",
    "average",
    "average_cost",
    "check_rows",
    "cost_is_exact",
    "sum_all",
    "sum_cost",
    "sum_in",
]

_SHAPED = ("torus", "hierarchical", "hierarchical_leader")
"""Algorithms of workers in rows and columns, or in nodes."""


@dataclass(frozen=True, kw_only=True)
class SummingOptions(Options):
    """How the vectors of all workers are summed."""

    algorithm: Literal[
        "ring",
        "binomial",
        "recursive_doubling",
        "rabenseifner",
        "torus",
        "hierarchical",
        "hierarchical_leader",
        "double_tree",
        "naive",
        "direct",
        "native",
    ] = option("ring", "algorithm of the all-reduce; native: the backend's own")
    rows: int = option(0, "rows of the torus (0: as square as can be), or nodes of the hierarchical algorithms", ge=0)

    def idle(self) -> Mapping[str, str]:
        """Rows, of algorithms that have none."""
        if self.algorithm in _SHAPED:
            return {}
        return {"rows": f"rows are of algorithm: torus or hierarchical, not {self.algorithm}"}

    @property
    def shape(self) -> tuple[int, int] | None:
        """Rows and columns, if they are given."""
        return (self.rows, self.workers // self.rows) if self.rows else None


def check_rows(options: SummingOptions) -> None:
    """The torus must be full; the hierarchy needs its nodes. `ValueError` if not."""
    rows, workers = options.rows, options.workers
    if options.algorithm.startswith("hierarchical") and not rows:
        raise ValueError(f"{options.algorithm} needs rows: the number of nodes that the {workers} workers sit on")
    if rows and workers % rows:
        raise ValueError(f"{workers} workers do not fill {rows} rows: rows x columns must be {workers}")


def sum_all(
    me: Context, buffer: Buffer, options: SummingOptions, step: int, what: str = "gradient"
) -> Collective | Program[None]:
    """Sum of a buffer over all workers, left in it; `what` it is tells compressed ones apart."""
    return sum_in(me, me.group("worker"), buffer, step, options.algorithm, options.shape, what)


def sum_in(
    me: Context,
    group: Group,
    buffer: Buffer,
    step: int,
    algorithm: str,
    shape: tuple[int, int] | None = None,
    what: str = "gradient",
    offset: int = 0,
    model: Model | None = None,
) -> Collective | Program[None]:
    """The same over a group; the root of the buffer begins at `offset` of the model (default: the whole model)."""
    if me.compression is not None:
        return coded_sum(me, group, buffer, what, step, offset=offset, algorithm=algorithm, shape=shape, model=model)
    return Collective("all_reduce", group, buffer, algorithm, shape=shape)


def average(me: Context, buffer: Buffer, options: SummingOptions, step: int, what: str = "model") -> Program[None]:
    """Mean of a buffer over all workers, left in it: equal bits on all of them.

    A code that can't carry values as they are carries their change since what all agreed on last, with error feedback:
    Qsparse-local-SGD (Basu, Data, Karakus, Diggavi 2019).
    """
    if me.compression is None or me.compression.compressor.for_values:
        yield from sum_all(me, buffer, options, step, what)
        yield from me.math(scale, (buffer,), factor=1 / options.workers)
        return
    agreed = _agreed(me, what, buffer)
    yield from me.math(add, (buffer,), (agreed,), scale=-1.0)
    yield from sum_all(me, buffer, options, step, what)
    yield from me.math(advance, (agreed, buffer), factor=1 / options.workers)


def agree(me: Context, buffer: Buffer, what: str = "model") -> Program[None]:
    """All workers have the same values in this buffer now: changes are counted from there."""
    if me.compression is not None and not me.compression.compressor.for_values:
        yield from me.math(overwrite, (_agreed(me, what, buffer),), (buffer,))


def _agreed(me: Context, what: str, buffer: Buffer) -> Buffer:
    """What all agreed on last: at first the initial model, or zeros."""
    if what == "model":
        return me.kept(("agreed", what), lambda: me.initial("agreed"))
    return me.kept(("agreed", what), lambda: me.buffer("agreed", buffer.elements))


def advance(xp: Tensors, agreed: Tensor, change: Tensor, factor: float) -> None:
    """Agreed += factor * change; and so is what had the change."""
    xp.add_(agreed, change, factor)
    xp.copy_(change, agreed)


def sum_cost(options: SummingOptions, setting: Setting, part: Part) -> Cost:
    """What :func:`sum_all` of a part of the model costs (SCHEMES 13.1), in code too; "native" has no closed form."""
    inner, outer = routes = _routes(options, setting)
    if setting.compression is not None:
        first = part.offset
        last = first + part.parameters
        return coded_sum_cost(setting, options.workers, first, last, options.algorithm, routes, options.shape)
    return cost(
        "all_reduce",
        options.algorithm,
        options.workers,
        part.nbytes,
        *inner,
        setting.gamma(),
        shape=options.shape,
        outer=outer,
    )


def average_cost(options: SummingOptions, setting: Setting) -> tuple[Cost, float]:
    """What :func:`average` of a vector as large as the parameters costs: the sum, and seconds of what is beside it."""
    seconds = setting.place.seconds
    cost = sum_cost(options, setting, setting.model.whole)
    if setting.compression is None or setting.compression.compressor.for_values:
        return cost, seconds(setting.math_kernel(scale, factor=1 / options.workers))
    change = seconds(setting.math_kernel(add, 2, scale=-1.0))
    return cost, change + seconds(setting.math_kernel(advance, 2, factor=1 / options.workers))


def cost_is_exact(options: SummingOptions, setting: Setting, cost: Cost) -> bool:
    """Must the simulator meet the cost of a vector as large as the parameters to rounding?

    The form must be exact, all pieces that it is cut into equally long, and additions free to start. (What is in code
    knows this itself.)
    """
    if setting.compression is not None:
        return cost.exact
    pieces = math.lcm(options.workers, 1 << (options.workers.bit_length() - 1))
    free = setting.place.seconds(Kernel("reduce", "reduce")) == 0
    return cost.exact and free and setting.model.whole.parameters % pieces == 0


def _routes(options: SummingOptions, setting: Setting) -> tuple[Route, Route]:
    """The slowest route of a round; of a torus or hierarchy: along rows (in nodes), and across."""
    place, workers, shape = setting.place, options.workers, options.shape
    rounds = patterns("all_reduce", options.algorithm, workers, shape)
    if options.algorithm == "double_tree":  # its form counts what members send and receive at once
        route = setting.worst_between({pair for pattern in rounds for pair in pattern})
        return route, route
    if options.algorithm not in _SHAPED:
        route = setting.worst(place.together(pattern) for pattern in rounds)
        return route, route
    columns = (shape or most_square(workers))[1]
    inside = [pattern for pattern in rounds if all(i // columns == j // columns for i, j in pattern)]
    across = [pattern for pattern in rounds if pattern not in inside]
    inner, outer = ([place.together(pattern) for pattern in some] for some in (inside, across))
    return setting.worst(inner), setting.worst(outer)
