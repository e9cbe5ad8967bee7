"""What everybody does, and where everybody is, for the compiled loop: tapes, and records (records.py)."""

from __future__ import annotations

from typing import Any, NamedTuple

from parasim.simulation.compiling import inlined
from parasim.simulation.tapes.heaps import Numbers, Places, Reals
from parasim.simulation.tapes.records import NONE

__all__ = [
    "APPLIED", "COMPUTE", "COUNT", "END", "LOAD", "POST", "RECEIVE", "SEND", "WAIT", "Company", "Sheets", "ready",
]  # fmt: skip

COMPUTE, POST, WAIT, SEND, RECEIVE, LOAD, COUNT, APPLIED, END = range(9)
"""What lines of tapes say; `Sheets` tells how they go on."""


class Sheets(NamedTuple):
    """What everybody does: lines of five numbers."""

    main: Numbers  # of a worker: COMPUTE row of `seconds`; POST server, line of `talk`; WAIT
    talk: Numbers  # of a worker and a server: SEND request, is its number the one held?, added; RECEIVE
    serve: Numbers  # of a server: COMPUTE kind; SEND reply, register of its number, added; LOAD register, counter;
    # COUNT counter, by; APPLIED register or NONE of the version read, added, register of the version applied, added
    seconds: Reals  # (rows, workers)
    requests: Places  # of each request: bytes, NONE: a header alone
    services: Numbers  # of each request: line of `serve`
    replies: Places  # of each reply: as of requests
    factors: Reals  # of servers' computes, in the order of a label's computes
    conflict: Numbers  # (kinds, kinds): 1: one changes what the other changes or reads
    header: float  # seconds of a message without payload
    workers: int
    servers: int
    first_worker: int  # its rank
    first_server: int
    each: bool  # has a server a lane for each worker?


class Company(NamedTuple):
    """Where everybody is: records (records.py), and what goes with them."""

    ranks: Any
    workers: Any
    servers: Any
    pairs: Any
    lanes: Any
    kinds: Any
    labels: Any
    hosts: Any
    registers: Places  # (lanes, registers)
    counters: Places  # (servers, counters)
    following: Numbers  # of each task: the next that goes on
    awake: Numbers  # ranks that are to be stepped, round and round
    numbers: Places  # where these begin, how many; workers that are through
    jobs: Places  # of each task: number of its compute
    ended: Numbers  # room for tasks whose computes end at an instant
    freed: Numbers  # room for lanes whose computes may start
    stale: Numbers  # staleness of gradients, server by server
    whose: Numbers  # and their workers


@inlined
def ready(company: Company, rank: int, task: int) -> None:
    """A task may go on."""
    one = company.ranks[rank]
    company.following[task] = NONE
    if one.head == NONE:
        one.head = task
    else:
        company.following[one.tail] = task
    one.tail = task
    if one.asleep:
        one.asleep = 0
        numbers, size = company.numbers, len(company.awake)
        place = numbers[0] + numbers[1]
        company.awake[place - size if place >= size else place] = rank
        numbers[1] += 1
