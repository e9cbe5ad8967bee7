"""Plays tapes for all workers and servers in one compiled loop of events.

A worker's main lane computes, posts talks with servers on lanes of their own, and waits for all of them; a talk sends
a request, and may wait for the reply. A server's lane takes a request of its worker (or of whoever comes first),
computes, notes versions, replies. Which task goes on, and in which order at one instant, is decided step by step as in
parasim/runtime/actor.py and parasim/simulation/engine.py; what versions are read and applied follows from it.

Compiled by numba when first imported (some seconds), and kept on disk from then on. Import it where it is needed.
"""

from __future__ import annotations

from typing import Any

from parasim.simulation.compiling import compiled, inlined, inner
from parasim.simulation.filling import Traffic
from parasim.simulation.tapes.clock import FULL, Clock, alarm_at, due, fired, next_event, schedule
from parasim.simulation.tapes.company import (
    APPLIED,
    COMPUTE,
    COUNT,
    LOAD,
    POST,
    RECEIVE,
    SEND,
    WAIT,
    Company,
    Sheets,
    ready,
)  # fmt: skip
from parasim.simulation.tapes.heaps import sort
from parasim.simulation.tapes.records import NONE
from parasim.simulation.tapes.shares import Shares
from parasim.simulation.tapes.stations import enter, leave, ring, start_job
from parasim.simulation.tapes.wires import (
    CHANGED,
    GATHERING,
    Wires,
    earliest,
    let_in,
    settle_shares,
    start,
    take_ended,
)

__all__ = ["play"]


@inlined
def _begin_move(one: Any, now: float) -> None:
    if one.moving == 0:
        one.since_move = now
    one.moving += 1


@inlined
def _end_move(one: Any, now: float) -> None:
    one.moving -= 1
    if one.moving == 0:
        one.moved += now - one.since_move


@inlined
def _moved(one: Any, now: float) -> float:
    """What has moved until now."""
    if one.moving:
        return float(one.moved + (now - one.since_move))
    return float(one.moved)


@inlined
def _compute(
    company: Company, shares: Shares, clock: Clock, rank: int, task: int, seconds: float, now: float
) -> None:  # fmt: skip
    one = company.ranks[rank]
    if one.computing == 0:
        one.since_compute = now
    one.computing += 1
    start_job(company.hosts, shares, clock, company.jobs, one.host, task, seconds, now)


@inner
def _transfer(sheets: Sheets, company: Company, wires: Wires, clock: Clock, pair: int, way: int, now: float) -> None:
    """Both ends of a message are there."""
    server, worker = pair // sheets.workers, pair % sheets.workers
    one = company.pairs[pair]
    nbytes = sheets.replies[one.reply] if way else sheets.requests[one.request]
    if nbytes < 0 and sheets.header == 0.0:
        _arrived(sheets, company, pair, way, now)
        return
    _begin_move(company.ranks[sheets.first_worker + worker], now)
    _begin_move(company.ranks[sheets.first_server + server], now)
    if nbytes < 0:
        wires.way[pair] = way
        schedule(clock, len(clock.first) + 1 + pair, 1, now + sheets.header)
    else:
        arrival = start(wires, pair, way, float(nbytes), now)
        alarm_at(clock, len(clock.first) - 1, arrival, now)


@inner
def _arrived(sheets: Sheets, company: Company, pair: int, way: int, now: float) -> None:
    """A message is delivered: its sender goes on, then its receiver."""
    server, worker = pair // sheets.workers, pair % sheets.workers
    pairs = sheets.workers * sheets.servers
    talk, lane = sheets.workers + pair, pair if sheets.each else server
    task = sheets.workers + pairs + lane
    one = company.pairs[pair]
    company.ranks[sheets.first_server + server].end = now
    if way == 0:
        ready(company, sheets.first_worker + worker, talk)
        company.lanes[lane].client = worker
        company.lanes[lane].line = sheets.services[one.request]
        company.registers[lane, 0] = one.asked
        ready(company, sheets.first_server + server, task)
    else:
        ready(company, sheets.first_server + server, task)
        one.held = one.told
        ready(company, sheets.first_worker + worker, talk)


@inner
def _delivered(
    sheets: Sheets, company: Company, wires: Wires, shares: Shares, clock: Clock, pair: int, now: float
) -> None:  # fmt: skip
    """A message that took time is delivered."""
    _end_move(company.ranks[sheets.first_worker + pair % sheets.workers], now)
    _end_move(company.ranks[sheets.first_server + pair // sheets.workers], now)
    _arrived(sheets, company, pair, wires.way[pair], now)
    _settle(sheets, company, wires, shares, clock, now)


@inner
def _settle(sheets: Sheets, company: Company, wires: Wires, shares: Shares, clock: Clock, now: float) -> None:
    """Step everybody who has something to do."""
    numbers, size = company.numbers, len(company.awake)
    talks, pairs = sheets.workers, sheets.workers * sheets.servers
    while numbers[1]:
        rank = company.awake[numbers[0]]
        numbers[0] = numbers[0] + 1 if numbers[0] + 1 < size else 0
        numbers[1] -= 1
        one = company.ranks[rank]
        while one.head != NONE:
            task = one.head
            one.head = company.following[task]
            if task < talks:
                _go_on(sheets, company, shares, clock, task, now)
            elif task < talks + pairs:
                _talk(sheets, company, wires, clock, task - talks, now)
            else:
                _serve(sheets, company, wires, shares, clock, task - talks - pairs, now)
        one.asleep = 1


@inlined
def _go_on(sheets: Sheets, company: Company, shares: Shares, clock: Clock, worker: int, now: float) -> None:
    """A worker's main lane."""
    one, rank = company.workers[worker], sheets.first_worker + worker
    while True:
        line = sheets.main[one.line]
        one.line += 1
        if line[0] == COMPUTE:
            _compute(company, shares, clock, rank, worker, sheets.seconds[line[1], worker], now)
            return
        if line[0] == POST:
            pair = line[1] * sheets.workers + worker
            company.pairs[pair].line = line[2]
            one.talks += 1
            ready(company, rank, sheets.workers + pair)
        elif line[0] == WAIT:
            if one.talks:
                one.waiting = 1
                one.mark = _moved(company.ranks[rank], now)
                return
        else:
            company.ranks[rank].end = now
            company.numbers[2] += 1
            return


@inlined
def _talk(sheets: Sheets, company: Company, wires: Wires, clock: Clock, pair: int, now: float) -> None:
    """A worker's lane for one server."""
    one, server, worker = company.pairs[pair], pair // sheets.workers, pair % sheets.workers
    line = sheets.talk[one.line]
    one.line += 1
    if line[0] == SEND:
        one.request = line[1]
        one.asked = line[3] + (one.held if line[2] else 0)
        lane = pair if sheets.each else server
        if company.lanes[lane].idle:
            company.lanes[lane].idle = 0
            _transfer(sheets, company, wires, clock, pair, 0, now)
            return
        one.announced = 1
        if not sheets.each:
            at = company.servers[server]
            one.next = NONE
            if at.first == NONE:
                at.first = pair
            else:
                company.pairs[at.last].next = pair
            at.last = pair
    elif line[0] == RECEIVE:
        if one.offered:
            one.offered = 0
            _transfer(sheets, company, wires, clock, pair, 1, now)
        else:
            one.expecting = 1
    else:
        mine, rank = company.workers[worker], sheets.first_worker + worker
        mine.talks -= 1
        if mine.waiting and mine.talks == 0:
            mine.waiting = 0
            mine.waited += _moved(company.ranks[rank], now) - mine.mark
            ready(company, rank, worker)


@inlined
def _serve(
    sheets: Sheets, company: Company, wires: Wires, shares: Shares, clock: Clock, lane: int, now: float
) -> None:  # fmt: skip
    """A lane of a server."""
    one = company.lanes[lane]
    server = lane // sheets.workers if sheets.each else lane
    rank, registers = sheets.first_server + server, company.registers
    while one.line != NONE:
        line = sheets.serve[one.line]
        one.line += 1
        if line[0] == COMPUTE:
            if enter(company.servers, company.lanes, company.kinds, sheets.conflict, server, lane, line[1]):
                _compute_for(sheets, company, shares, clock, rank, lane, now)
            return
        if line[0] == SEND:
            pair = server * sheets.workers + one.client
            mine = company.pairs[pair]
            mine.reply = line[1]
            mine.told = line[3] + (registers[lane, line[2]] if line[2] != NONE else 0)
            if mine.expecting:
                mine.expecting = 0
                _transfer(sheets, company, wires, clock, pair, 1, now)
            else:
                mine.offered = 1
            return
        if line[0] == LOAD:
            registers[lane, line[1]] = company.counters[server, line[2]]
        elif line[0] == COUNT:
            company.counters[server, line[1]] += line[2]
        elif line[0] == APPLIED:
            read = line[2] + (registers[lane, line[1]] if line[1] != NONE else 0)
            _applied(company, server, one.client, read, registers[lane, line[3]] + line[4])
            company.ranks[rank].end = now
        else:
            one.line = NONE
    _next_request(sheets, company, wires, clock, server, lane, now)


@inlined
def _applied(company: Company, server: int, worker: int, read: int, applied: int) -> None:
    """A gradient is applied."""
    at = company.servers[server]
    company.stale[at.noted] = applied - read
    company.whose[at.noted] = worker
    at.noted += 1
    if applied != at.latest:
        at.latest = applied
        at.updates += 1


@inner
def _compute_for(
    sheets: Sheets, company: Company, shares: Shares, clock: Clock, rank: int, lane: int, now: float
) -> None:  # fmt: skip
    """A lane's compute starts."""
    kind = company.kinds[company.lanes[lane].kind]
    seconds = kind.seconds
    if len(sheets.factors):
        label = company.labels[kind.label]
        seconds *= sheets.factors[label.drawn]
        label.drawn += 1
    task = sheets.workers + sheets.workers * sheets.servers + lane
    _compute(company, shares, clock, rank, task, seconds, now)


@inlined
def _next_request(
    sheets: Sheets, company: Company, wires: Wires, clock: Clock, server: int, lane: int, now: float
) -> None:  # fmt: skip
    """A server's lane is there for the next request."""
    pair, at = lane, company.servers[server]
    if not sheets.each:
        pair = at.first
        if pair != NONE:
            at.first = company.pairs[pair].next
    if pair != NONE and company.pairs[pair].announced:
        company.pairs[pair].announced = 0
        _transfer(sheets, company, wires, clock, pair, 0, now)
    else:
        company.lanes[lane].idle = 1


@inlined
def _computed(
    sheets: Sheets, company: Company, wires: Wires, shares: Shares, clock: Clock, task: int, now: float
) -> None:  # fmt: skip
    """A task's compute ends."""
    lane = task - sheets.workers - sheets.workers * sheets.servers
    server = lane // sheets.workers if sheets.each else lane
    rank = sheets.first_worker + task if task < sheets.workers else sheets.first_server + server
    one = company.ranks[rank]
    one.computing -= 1
    if one.computing == 0:
        one.computed += now - one.since_compute
    if task < sheets.workers:
        ready(company, rank, task)
    else:
        one.end = now
        freed = leave(company.servers, company.lanes, company.kinds, sheets.conflict, server, lane, company.freed)
        ready(company, rank, task)
        for at in range(freed):
            _compute_for(sheets, company, shares, clock, rank, company.freed[at], now)
    _settle(sheets, company, wires, shares, clock, now)


@compiled
def play(
    sheets: Sheets, company: Company, wires: Wires, hubs: Shares, traffic: Traffic, shares: Shares, clock: Clock
) -> int:  # fmt: skip
    """Let everything happen: how many events there were; -1 if an alarm had no room for its deadlines."""
    network = len(clock.first) - 1
    _settle(sheets, company, wires, shares, clock, 0.0)
    events = 0
    while clock.numbers[0]:
        now = clock.keys[0]
        event = next_event(clock)
        events += 1
        if event < network:
            fired(clock, event)
            count = ring(company.hosts, shares, clock, company.jobs, event, now, company.ended)
            for at in range(count):
                _computed(sheets, company, wires, shares, clock, company.ended[at], now)
        elif event == network:
            fired(clock, event)
            latest = due(now)
            count = let_in(wires, hubs, now, latest, take_ended(wires, hubs, traffic, now, latest))
            sort(wires.ended, count, wires.started)
            for at in range(count):
                _delivered(sheets, company, wires, shares, clock, wires.ended[at], now)
            if wires.numbers[CHANGED] and not wires.numbers[GATHERING]:
                if clock.numbers[0] == 0 or clock.keys[0] > now:
                    settle_shares(wires, hubs, traffic, now)
                else:
                    wires.numbers[GATHERING] = 1
                    schedule(clock, network + 1, 2, now)
            _next_ring(wires, clock, network, now)
        elif event == network + 1:
            wires.numbers[GATHERING] = 0
            settle_shares(wires, hubs, traffic, now)
            _next_ring(wires, clock, network, now)
        else:
            _delivered(sheets, company, wires, shares, clock, event - network - 2, now)
        if clock.numbers[FULL]:
            return -1
    return events


@inner
def _next_ring(wires: Wires, clock: Clock, network: int, now: float) -> None:
    """Ring at the next end or arrival."""
    first = earliest(wires)
    if first < 1e300:
        alarm_at(clock, network, first, now)
