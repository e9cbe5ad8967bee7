"""Cases about collectives, groups and shared memory."""

from __future__ import annotations

import itertools
from typing import Any, Literal

from parasim.program import (
    Buffer,
    Collective,
    Compute,
    Context,
    Group,
    Kernel,
    Locked,
    Post,
    Program,
    Read,
    Shared,
    Sleep,
    Update,
    Wait,
)
from tests.conformance.messages import filled
from tests.conformance.stage import Case, Outcome, crew, milliseconds, nothing, pair

ELEMENTS = 7


def numbered(me: Context, elements: int = ELEMENTS) -> Buffer:
    """Element j of rank r is r + 10 j."""
    buffer = me.buffer("b", elements)
    if me.tensors is not None:
        for j in range(elements):
            me.tensors.fill_(buffer.part(j, j + 1).values, float(me.rank + 10 * j))
    return buffer


# all-reduce ----------------------------------------------------------------------------------------------------------
def all_reduces(algorithm: str, reduce: Literal["sum", "mean", "max"] = "sum") -> Any:
    def program(me: Context) -> Program[object]:
        buffer = numbered(me)
        yield from Collective("all_reduce", me.group("worker"), buffer, algorithm, reduce)
        return buffer

    return program


def check_reduced(ranks: int, reduce: str) -> Any:
    def check(outcome: Outcome) -> None:
        columns = [[rank + 10 * j for rank in range(ranks)] for j in range(ELEMENTS)]
        value = {"sum": sum, "max": max, "mean": lambda column: sum(column) / ranks}[reduce]
        assert outcome.returns == [[float(value(column)) for column in columns]] * ranks

    return check


def check_native(outcome: Outcome) -> None:
    """The backend's own collective claims no messages."""
    check_reduced(3, "sum")(outcome)
    assert not [row for row in outcome.rows if row.op in ("send", "recv")]
    rows = [row for row in outcome.rows if row.op == "collective"]
    assert [(row.outcome, row.nbytes) for row in rows] == [("native", 8 * ELEMENTS)] * 3


def check_expanded(outcome: Outcome) -> None:
    """A named one is its messages: a ring of three sends 2 (N - 1) pieces."""
    check_reduced(3, "sum")(outcome)
    for rank in range(3):
        sends = outcome.of(rank, "send")
        assert len(sends) == 4
        assert {row.peer for row in sends} == {(rank + 1) % 3}
        assert [row.outcome for row in outcome.of(rank, "collective")] == ["expanded"]
    assert sum(row.nbytes for row in outcome.rows if row.op == "send") == 4 * 8 * ELEMENTS


# the others ----------------------------------------------------------------------------------------------------------
def others(algorithms: dict[str, str]) -> Any:
    def program(me: Context) -> Program[list[object]]:
        group = me.group("worker")
        scattered = numbered(me)
        piece = yield from Collective("reduce_scatter", group, scattered, algorithms["reduce_scatter"])
        gathered = me.buffer("g", 6)
        start, stop = (0, 1, 3, 6)[me.rank], (0, 1, 3, 6)[me.rank + 1]
        if me.tensors is not None:
            me.tensors.fill_(gathered.part(start, stop).values, me.rank + 1.0)
        counts = (1, 2, 3)
        yield from Collective("all_gather", group, gathered, algorithms["all_gather"], counts=counts)
        swapped = yield from Collective("all_to_all", group, numbered(me, 3), algorithms["all_to_all"])
        told = filled(me, "t", 2, 5.0 if me.rank == 1 else 0.0)
        yield from Collective("broadcast", group, told, algorithms["broadcast"], root=1)
        yield from Collective("barrier", group, algorithm=algorithms["barrier"])
        return [piece, gathered, swapped, told]

    return program


def check_others(outcome: Outcome) -> None:
    sums = [float(3 + 30 * j) for j in range(ELEMENTS)]
    pieces = [sums[0:2], sums[2:4], sums[4:7]]
    for rank, (piece, gathered, swapped, told) in enumerate(outcome.returns):
        assert piece == pieces[rank]
        assert gathered == [1.0, 2.0, 2.0, 3.0, 3.0, 3.0]
        assert swapped == [float(peer + 10 * rank) for peer in range(3)]
        assert told == [5.0, 5.0]


NAMED = {
    "reduce_scatter": "ring",
    "all_gather": "ring",
    "all_to_all": "pairwise",
    "broadcast": "binomial",
    "barrier": "dissemination",
}


def holds_back(me: Context) -> Program[None]:
    """Nobody leaves a barrier before the last has come."""
    if me.rank == 2:
        yield from Sleep(0.06)
    yield from Collective("barrier", me.group("worker"), algorithm="dissemination")
    yield from milliseconds(1)


def check_barrier(outcome: Outcome) -> None:
    came = outcome.of(2, "sleep")[0].t_end
    assert all(outcome.of(rank, "compute")[0].t_start >= came for rank in range(3))


# beside each other ---------------------------------------------------------------------------------------------------
def reduces_beside(me: Context) -> Program[list[object]]:
    """Two rings on two lanes while the main program computes, posted by the ranks in the same order."""
    first, second = filled(me, "first", 5, me.rank), filled(me, "second", 3, 1.0)
    group = me.group("worker")
    handles = [
        (yield from Post(Collective("all_reduce", group, first, "ring"), "lane 1")),
        (yield from Post(Collective("all_reduce", group, second, "ring"), "lane 2")),
    ]
    yield from milliseconds(20)
    yield from Wait(handles)
    return [first, second]


def check_beside(outcome: Outcome) -> None:
    assert outcome.returns == [[[3.0] * 5, [3.0] * 3]] * 3


def reduces_in_groups(me: Context) -> Program[object]:
    """Even and odd ranks at once."""
    buffer = filled(me, "b", 4, me.rank)
    yield from Collective("all_reduce", me.group("odd" if me.rank % 2 else "even"), buffer, "recursive_doubling")
    return buffer


def check_groups(outcome: Outcome) -> None:
    assert outcome.returns == [[2.0] * 4, [4.0] * 4] * 2


# shared memory -------------------------------------------------------------------------------------------------------
W = Shared("w", 6, 8, parts=2)


def adds(atomic: bool, times: int) -> Any:
    def program(me: Context) -> Program[object]:
        delta = filled(me, "delta", 6, 1.0)
        for _ in range(times):
            yield from Update(me.shared("w"), delta, atomic=atomic)
        yield from Collective("barrier", me.group("worker"), algorithm="dissemination")
        snapshot = yield from Read(me.shared("w"))
        return [snapshot.buffer, snapshot.version, snapshot.torn]

    return program


def check_atomic(outcome: Outcome) -> None:
    assert outcome.returns == [[[15.0] * 6, 15, False]] * 3
    assert not [row for row in outcome.rows if row.outcome in ("lost", "torn")]


def check_plain(outcome: Outcome) -> None:
    """Updates that are not atomic may be lost: none appears twice, and what is lost is seen."""
    (values, _, torn), *_ = outcome.returns
    assert not torn
    assert all(value <= 15.0 for value in values)
    if any(value < 15.0 for value in values):
        assert [row for row in outcome.rows if row.op == "update" and row.outcome == "lost"]


def locks(me: Context) -> Program[object]:
    """Plain updates under the lock lose nothing."""
    w = me.shared("w")
    delta = filled(me, "delta", 6, 1.0)

    def change() -> Program[int]:
        return (yield from Update(w, delta, atomic=False))

    for _ in range(3):
        yield from Locked(w, change())
    yield from Collective("barrier", me.group("worker"), algorithm="dissemination")
    return (yield from Read(w)).buffer


def check_locked(outcome: Outcome) -> None:
    assert outcome.returns == [[9.0] * 6] * 3
    assert not [row for row in outcome.rows if row.outcome == "lost"]
    held = sorted((row.t_start, row.t_end) for row in outcome.rows if row.op == "update")
    assert all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(held))


def slow_parts(me: Context) -> Program[bool]:
    """A read of both parts around a write of the first is torn; a read of one part never is."""
    w = me.shared("w")
    if me.rank == 0:
        first = yield from Read(w, 0)
        yield from Collective("barrier", me.group("all"), algorithm="dissemination")
        return first.torn
    yield from Update(w, filled(me, "delta", 3, 1.0), 1)
    yield from Collective("barrier", me.group("all"), algorithm="dissemination")
    yield Compute(Kernel("k"))
    second = yield from Read(w, 1)
    return second.torn or second.version != 1


def check_slow_parts(outcome: Outcome) -> None:
    assert outcome.returns == [False, False]


BOTH = (Group("even", (0, 2)), Group("odd", (1, 3)))

CASES = {
    **{
        f"all-reduce: {algorithm} of {ranks}": Case(
            crew(all_reduces(algorithm), ranks), check_reduced(ranks, "sum"), values=True
        )
        for algorithm in ("binomial", "recursive_doubling", "rabenseifner", "torus", "double_tree", "naive", "direct")
        for ranks in (3, 4)
    },
    "all-reduce: ring is its messages": Case(crew(all_reduces("ring"), 3), check_expanded, values=True),
    "all-reduce: native claims none": Case(crew(all_reduces("native"), 3), check_native, values=True, same_rows=False),
    "all-reduce: mean": Case(crew(all_reduces("ring", "mean"), 4), check_reduced(4, "mean"), values=True),
    "all-reduce: maximum": Case(crew(all_reduces("ring", "max"), 3), check_reduced(3, "max"), values=True),
    "all-reduce: native mean": Case(
        crew(all_reduces("native", "mean"), 4), check_reduced(4, "mean"), values=True, same_rows=False
    ),
    "all-reduce of one": Case(crew(all_reduces("ring"), 1), check_reduced(1, "sum"), values=True),
    "all-reduce without values": Case(crew(all_reduces("rabenseifner"), 3), nothing),
    "the other collectives": Case(crew(others(NAMED), 3), check_others, values=True),
    "the other collectives, native": Case(
        crew(others(dict.fromkeys(NAMED, "native")), 3), check_others, values=True, same_rows=False
    ),
    "a barrier holds back": Case(crew(holds_back, 3), check_barrier),
    "rings on two lanes beside a compute": Case(crew(reduces_beside, 3), check_beside, values=True),
    "two groups at once": Case(crew(reduces_in_groups, 4), check_groups, values=True, groups=BOTH),
    "atomic updates of shared memory": Case(crew(adds(True, 5), 3), check_atomic, values=True, shared=(W,)),
    "plain updates of shared memory": Case(
        crew(adds(False, 5), 3), check_plain, values=True, shared=(W,), same_rows=False
    ),
    "a lock on shared memory": Case(crew(locks, 3), check_locked, values=True, shared=(W,)),
    "reads and writes of parts": Case(
        pair(slow_parts, slow_parts), check_slow_parts, values=True, shared=(W,), groups=(Group("all", (0, 1)),)
    ),
}
