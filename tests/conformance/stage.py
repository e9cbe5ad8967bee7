"""Where the tiny programs of the conformance suite play: a cast, contexts, and the simulated runtime on a small
star."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from parasim.cluster.hosts import Device
from parasim.cluster.links import Link
from parasim.cluster.star import star
from parasim.learning.optimizers import Sgd
from parasim.program import Cast, Compute, Context, Group, Kernel, Layer, Model, Post, Program, Role, Shared, Wait
from parasim.simulation.coupled.coupling import Fidelity
from parasim.simulation.engine import Engine
from parasim.trace.record import Record
from parasim.trace.rows import Row
from parasim.trace.table import Trace

FLOPS = 1e9
"""Speed of the stage's device: a kernel of 1e6 FLOP takes a millisecond."""


@dataclass(frozen=True)
class Outcome:
    """What a case left: the main programs' results, and the rows in order."""

    returns: list[Any]
    rows: list[Row]

    def of(self, rank: int, op: str = "", lane: str = "") -> list[Row]:
        """The rows of a rank (of one kind of operation, on one lane)."""
        return [
            row for row in self.rows if row.rank == rank and (not op or row.op == op) and (not lane or row.lane == lane)
        ]


def nothing(outcome: Outcome) -> None:
    """A case that is right if it ends."""


@dataclass(frozen=True)
class Case:
    """A tiny program for both runtimes.

    `roles` are its actors; `check` looks at what it left; `error` and `match` say how it must fail instead; `values`:
    with tensors. `same_rows` compares what every lane did in both runtimes, in order; off where order is a matter of
    time.
    """

    roles: tuple[Role, ...]
    check: Callable[[Outcome], None] = nothing
    error: type[Exception] | None = None
    match: str = ""
    values: bool = False
    shared: tuple[Shared, ...] = ()
    groups: tuple[Group, ...] = ()
    same_rows: bool = True
    seed: int = 7


class Values:
    """A learner that brings tensors and nothing to learn."""

    def __init__(self) -> None:
        from parasim.learning.tensors import TorchTensors

        self.tensors = TorchTensors("float64")

    def samples(self, step: int, start: int, stop: int, batch: int) -> range:
        """Their places in the iteration's mini-batch."""
        return range(start, stop)

    def labels(self, samples: range) -> Any:
        """Of each sample its number, twice."""
        found = self.tensors.zeros(2 * len(samples))
        for place, number in enumerate(samples):
            self.tensors.fill_(found[2 * place : 2 * place + 2], float(number))
        return found

    def blocks(self, what: Any) -> dict[int, int]:
        """The memory behind what a program holds."""
        from parasim.learning.ledger import blocks_of

        return blocks_of(what)


def model() -> Model:
    """Two layers that nobody looks at."""
    layer = Layer("layer", 8, 16.0, 16.0, 16.0, 2, 2, 2)
    return Model("two layers", (layer, layer), 8)


def cast_of(case: Case) -> Cast:
    """The actors of a case."""
    return Cast(case.roles, case.groups)


def context_of(case: Case, cast: Cast, rank: int) -> Context:
    """What an actor of a case sees."""
    return Context(
        **cast.seat(rank),
        options=None,
        model=model(),
        batch_size=4,
        steps=3,
        seed=case.seed,
        optimizer=Sgd(),
        learner=Values() if case.values else None,  # type: ignore[arg-type]
        shared=case.shared,
    )


def device() -> Device:
    """What every rank computes on."""
    return Device("stage", FLOPS, 1e9, 1e10)


def simulated(case: Case, record: Record | None = None, fidelity: Fidelity = "message") -> Outcome:
    """Play a case in virtual time, its collectives as `fidelity` says; with a record, replay it."""
    cast = cast_of(case)
    trace = Trace()
    scripts = None if record is None else [record.script(rank) for rank in range(len(cast))]
    cluster = star(
        len(cast),
        Link("link", 1e9, 25e-6),
        Link("loopback", 1e10, 0.0),
        2,
        device(),
    )
    contexts = [context_of(case, cast, rank) for rank in range(len(cast))]
    engine = Engine(cluster, range(len(cast)), cast, contexts, trace, fidelity=fidelity, scripts=scripts)
    engine.run()
    return Outcome([plain(value) for value in engine.returns], list(trace))


def plain(value: Any) -> Any:
    """A program's result as plain numbers: of a buffer its values, of either runtime."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "nbytes") and hasattr(value, "values") and hasattr(value, "elements"):
        return None if value.values is None else [float(x) for x in value.values]
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def milliseconds(count: float, *touches: Any, label: str = "work", work: Any = None) -> Compute[Any]:
    """A compute of so many milliseconds on the stage's device."""
    return Compute(Kernel(label, flops=count * 1e6), work, touches)


def all_begun() -> Program[None]:
    """Over when what was posted before has begun, in whatever time: programs begin in the order of their posts."""

    def ends_at_once() -> Program[None]:
        yield from ()

    yield from Wait([(yield from Post(ends_at_once(), "begun"))])


def crew(program: Callable[[Context], Any], count: int) -> tuple[Role, ...]:
    """So many workers with one program."""
    return (Role("worker", count, program),)


def pair(first: Callable[[Context], Any], second: Callable[[Context], Any]) -> tuple[Role, ...]:
    """Rank 0 and rank 1."""
    return (Role("worker", 1, first), Role("other", 1, second))


def each(*programs: Callable[[Context], Any]) -> tuple[Role, ...]:
    """One rank per program."""
    return tuple(Role(f"rank{i}", 1, program) for i, program in enumerate(programs))


def story(rows: Sequence[Row]) -> dict[tuple[int, str], list[tuple[Any, ...]]]:
    """What every lane of every rank did, in order, without times.

    Messages that started together (of an exchange, and of the exchanges that follow it at once) are sorted.
    """
    lanes: dict[tuple[int, str], list[tuple[Any, ...]]] = {}
    for row in rows:
        entry = (row.op, row.label, row.peer, row.tag, row.nbytes, row.control_bytes, row.program, row.outcome)
        lanes.setdefault((row.rank, row.lane), []).append(entry)
    return {lane: list(_sorted_runs(entries)) for lane, entries in lanes.items()}


def _sorted_runs(entries: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    def together(entry: tuple[Any, ...]) -> bool:
        return entry[0] in ("send", "recv") and bool(entry[1])

    for is_run, run in itertools.groupby(entries, together):
        steps = list(run)
        yield from sorted(steps) if is_run else steps
