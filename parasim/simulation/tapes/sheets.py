"""Tapes as arrays: what everybody says and computes, who sits where, and which ways messages take.

Why it is exact: nothing is added to the tapes. Seconds of computes are those of parasim/simulation/pace.py, a column of
workers or of a server's computes at a time (parasim/simulation/chorus/paces.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from parasim.runtime.guard import conflict, overlap
from parasim.simulation.chorus.counts import Distinguished
from parasim.simulation.devices import kernel_seconds
from parasim.simulation.noise import NoNoise
from parasim.simulation.tapes import company as lines_of
from parasim.simulation.tapes import records
from parasim.simulation.tapes.records import NONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parasim.simulation.chorus.paces import Paces
    from parasim.simulation.chorus.sing import Stage
    from parasim.simulation.tapes.recording import Talk, WorkerTape
    from parasim.simulation.tapes.services import Request, ServerTape, Service

__all__ = ["Seats", "make_company", "make_sheets"]


class Seats(NamedTuple):
    """Ranks: those of the workers and of the servers follow each other."""

    first_worker: int
    workers: int
    first_server: int
    servers: int


class _Lines:
    """Lines of five numbers."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, ...]] = []

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, *numbers: int) -> None:
        self._lines.append((*numbers, *(0,) * (5 - len(numbers))))

    def array(self) -> NDArray[np.int32]:
        return np.array(self._lines, np.int32).reshape(-1, 5)


class Parts(NamedTuple):
    """The sheets, with records of computes and where the factors of each label begin."""

    sheets: lines_of.Sheets
    kinds: Any
    labels: Any
    low: NDArray[Any]
    high: NDArray[Any]
    registers: int
    counters: int
    applied: NDArray[Any]


def make_sheets(
    worker: WorkerTape, servers: Sequence[ServerTape], seats: Seats, stage: Stage, paces: Paces, role: str
) -> Parts:
    """Put tapes into arrays; `paces` are those of the workers, `role` that of the servers."""
    serve = _Lines()
    requests: list[int] = []
    services: list[int] = []
    replies: list[int] = []
    numbers: dict[tuple[int, Request], int] = {}
    kinds: list[Any] = []
    low, high, applied = np.zeros((3, seats.servers), np.int64)
    conflicts: list[tuple[int, int]] = []
    labels: dict[tuple[int, str], int] = {}
    computes: dict[int, int] = {}  # of each label
    for number, server in enumerate(servers):
        low[number] = len(kinds)
        known: list[tuple[int, Service]] = []
        for request, service in server.services.items():
            times = worker.requests.get((number, request), 0) * seats.workers
            known.append((len(kinds), service))
            numbers[number, request] = len(requests)
            requests.append(NONE if request.nbytes is None else request.nbytes)
            services.append(len(serve))
            first_kind, first_reply = len(kinds), len(replies)
            for op in service.computes:
                label = labels.setdefault((number, op.kernel.label), len(labels))
                computes[label] = computes.get(label, 0) + times
                kinds.append((number, op, label))
            replies += [NONE if reply.nbytes is None else reply.nbytes for reply in service.replies]
            applied[number] += times * sum(line[0] == "applied" for line in service.lines)
            _write(serve, service, first_kind, first_reply)
        high[number] = len(kinds)
        if server.each:
            conflicts += _conflicts(known)
    conflicting = np.zeros((len(kinds), len(kinds)), np.int32)
    for one, other in conflicts:
        conflicting[one, other] = conflicting[other, one] = 1
    main, talk = _Lines(), _Lines()
    _write_worker(main, talk, worker, numbers)
    table, label_table, factors = _computes(kinds, labels, computes, seats, stage, role)
    everybody = [service for server in servers for service in server.services.values()]
    sheets = lines_of.Sheets(
        main.array(), talk.array(), serve.array(), _seconds(worker, seats, paces), np.array(requests, np.int64),
        np.array(services, np.int32), np.array(replies, np.int64), factors, conflicting, 2 * stage.overhead[0],
        seats.workers, seats.servers, seats.first_worker, seats.first_server, servers[0].each,
    )  # fmt: skip
    registers = max((service.registers for service in everybody), default=1)
    return Parts(sheets, table, label_table, low, high, registers, len(servers[0].counters), applied)


def _write(lines: _Lines, service: Service, first_kind: int, first_reply: int) -> None:
    for what, *rest in service.lines:
        if what == "load":
            for origin in rest[0]:
                if origin.register >= 0:
                    lines.add(lines_of.LOAD, origin.register, origin.counter)
        elif what == "compute":
            lines.add(lines_of.COMPUTE, first_kind + rest[0])
        elif what == "send":
            lines.add(lines_of.SEND, first_reply + rest[0], *rest[1:])
        else:
            lines.add(lines_of.COUNT if what == "count" else lines_of.APPLIED, *rest)
    lines.add(lines_of.END)


def _write_worker(main: _Lines, talk: _Lines, worker: WorkerTape, numbers: dict[tuple[int, Request], int]) -> None:
    written: dict[Talk, int] = {}
    for what, *rest in worker.lines:
        if what == "compute":
            main.add(lines_of.COMPUTE, rest[0])
        elif what == "wait":
            main.add(lines_of.WAIT)
        else:
            said: Talk = rest[0]
            if said not in written:
                written[said] = len(talk)
                for line in said.lines:
                    if line[0] == "send":
                        talk.add(lines_of.SEND, numbers[said.server, line[1]], *line[2:])
                    else:
                        talk.add(lines_of.RECEIVE)
                talk.add(lines_of.END)
            main.add(lines_of.POST, said.server, written[said])
    main.add(lines_of.END)


def _conflicts(services: Sequence[tuple[int, Service]]) -> list[tuple[int, int]]:
    """Computes of a server of which one changes what the other, of another lane, changes or reads.

    Raises
    ------
    Distinguished
        If a server may send what another lane changes.
    """
    found = []
    for first, one in services:
        for second, other in services:
            for a, mine in enumerate(one.computes):
                found += [(first + a, second + b) for b, yours in enumerate(other.again) if conflict(mine, yours)]
            if any(overlap(yours.touches, one.sends) for yours in other.again):
                raise Distinguished("a server sends what another lane changes")
    return found


def _seconds(worker: WorkerTape, seats: Seats, paces: Paces) -> NDArray[Any]:
    """Of each compute of each worker."""
    start = np.zeros(1)
    seconds = np.empty((max(1, len(worker.kernels)), seats.workers))
    for row, kernel in enumerate(worker.kernels):
        seconds[row] = paces.seconds(kernel, start)
    return seconds


def _computes(
    kinds: Sequence[Any], labels: dict[tuple[int, str], int], computes: dict[int, int], seats: Seats, stage: Stage,
    role: str,
) -> tuple[Any, Any, NDArray[Any]]:  # fmt: skip
    """Records of kinds of computes and of their labels, and all factors of their noise."""
    from parasim.simulation.chorus.paces import factors_of

    table, label_table = records.make(len(kinds), records.KIND), records.make(len(labels), records.LABEL)
    for at, (server, op, label) in enumerate(kinds):
        rank = seats.first_server + server
        device = stage.cluster.hosts[stage.placement[rank]].device
        table[at]["seconds"] = kernel_seconds(device, op.kernel) / stage.speeds.get(rank, 1.0)
        table[at]["label"] = label
    if isinstance(stage.noise, NoNoise):
        return table, label_table, np.zeros(0)
    pieces, first = [], 0
    for (server, _), label in labels.items():
        keys = {(op.kernel.label, op.kernel.layer, op.kernel.micro) for _, op, mine in kinds if mine == label}
        if len(keys) != 1:
            raise Distinguished("computes that are counted together draw their noise apart")
        kernel = next(op.kernel for _, op, mine in kinds if mine == label)
        pieces.append(factors_of(stage.noise, stage.seed, role, server, kernel, computes[label]))
        label_table[label]["drawn"] = first
        first += computes[label]
    return table, label_table, np.concatenate(pieces) if pieces else np.zeros(0)


def make_company(parts: Parts, seats: Seats, stage: Stage) -> lines_of.Company:
    """Everybody at the beginning: all main lanes are about to go on, in the order of ranks."""
    sheets, ranks = parts.sheets, seats.workers + seats.servers
    pairs = seats.workers * seats.servers
    lanes = pairs if sheets.each else seats.servers
    tasks = seats.workers + pairs + lanes
    company = lines_of.Company(
        ranks=records.make(ranks, records.RANK),
        workers=records.make(seats.workers, records.WORKER),
        servers=records.make(seats.servers, records.SERVER),
        pairs=records.make(pairs, records.PAIR),
        lanes=records.make(lanes, records.LANE),
        kinds=parts.kinds,
        labels=parts.labels,
        hosts=records.make(len(stage.cluster.hosts), records.HOST),
        registers=np.zeros((lanes, parts.registers), np.int64),
        counters=np.zeros((seats.servers, max(1, parts.counters)), np.int64),
        following=np.full(tasks, NONE, np.int32),
        awake=np.arange(ranks, dtype=np.int32),
        numbers=np.array([0, ranks, 0]),
        jobs=np.zeros(tasks, np.int64),
        ended=np.zeros(tasks, np.int32),
        freed=np.zeros(lanes, np.int32),
        stale=np.zeros(int(parts.applied.sum()), np.int32),
        whose=np.zeros(int(parts.applied.sum()), np.int32),
    )
    for name in ("head", "tail"):
        company.ranks[name] = company.servers[name] = NONE
    company.servers["first"] = company.servers["last"] = company.servers["latest"] = NONE
    company.servers["low"], company.servers["high"] = parts.low, parts.high
    company.servers["noted"] = np.cumsum(parts.applied) - parts.applied
    company.ranks["host"] = stage.placement
    company.hosts["alone"] = NONE
    company.lanes["line"] = NONE
    first = np.arange(seats.workers)
    company.ranks["head"][seats.first_worker + first] = company.ranks["tail"][seats.first_worker + first] = first
    each = lanes // seats.servers
    for server in range(seats.servers):
        begin = seats.workers + pairs + server * each
        rank = company.ranks[seats.first_server + server]
        rank["head"], rank["tail"] = begin, begin + each - 1
        company.following[begin : begin + each - 1] = np.arange(begin + 1, begin + each)
    return company
