"""One rank's part of a run, wherever it runs: a forked process of the pool, or a process that torchrun started."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.executor.album import encode_snapshots
from calibration.executor.backend import Group, make_thread
from calibration.executor.clocks import Clock
from calibration.executor.device import choose_device
from calibration.executor.helpers import Helpers
from calibration.executor.memory import Memory
from calibration.executor.rehearsal import rehearse
from calibration.executor.returns import encode
from calibration.executor.runtime import Runtime
from calibration.executor.scheduling import awake, bind, give_way
from calibration.executor.setup import Setup
from calibration.executor.warm import keep_memory
from parasim.errors import ExecutionError
from parasim.runtime.actor import Actor
from parasim.simulation.pace import Pace
from parasim.trace.record import Recorder
from parasim.trace.rows import Row

__all__ = ["Place", "take_part"]

_SWITCH_SECONDS = 5e-4
"""A thread whose transfer is over should not wait for long for the interpreter."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rank is: its number, the number of ranks, the store where they meet, a directory that all ranks see.

    `client` opens the store once more, for threads that wait there; `local_rank` is its number on its machine;
    `directory` is None if the ranks are on several machines.
    """

    rank: int
    size: int
    local_rank: int
    store: Any
    client: Callable[[], Any]
    directory: Path | None


class _Rows:
    """A sink: a list. Messages that were held up by a latency have the outcome "injected", at both ends."""

    def __init__(self, delayed: Collection[tuple[str, int]]) -> None:
        self.rows: list[Row] = []
        self._delayed = delayed

    def add(self, row: Row) -> None:
        """Take one row."""
        if row.nbytes and not row.outcome and (row.op, row.peer) in self._delayed:
            row = row._replace(outcome="injected")
        self.rows.append(row)


def take_part(setup: Setup, place: Place) -> tuple[dict[str, Any], list[bytes]]:
    """Run one rank's actor to the end: its rows, choices and returned value, as JSON and bytes.

    Raises
    ------
    Stuck
        If the run is a deadlock.
    ProgramError, ExecutionError, LostPeer, Exception
        If the program breaks the language; if the number of ranks is wrong; if another rank is gone; what a program
        raises.
    """
    import torch

    if len(setup.cast) != place.size:
        raise ExecutionError(f"the cast has {len(setup.cast)} actors, the run {place.size} ranks; give as many")
    torch.set_num_threads(setup.threads)
    keep_memory()
    sys.setswitchinterval(_SWITCH_SECONDS)
    if setup.bind:
        bind(place.local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", place.size)), setup.threads)
    device = choose_device(setup.device, place.local_rank)
    context = setup.context(place.rank)
    memory = Memory(setup.shared, place.directory, context)
    if place.rank == 0:
        memory.create()
    thread = make_thread()
    group, up, down = (
        Group(place.store, name, place.rank, place.size, thread=thread) for name in ("all", "up", "down")
    )

    def open_group(ranks: tuple[int, ...], name: str, gpu: torch.device | None) -> Group:
        return Group(place.client(), name, ranks.index(place.rank), len(ranks), gpu=gpu)

    actors = setup.cast.actors
    role = actors[place.rank].role
    clock, helpers, computers = Clock(group), Helpers(), Helpers(give_way)

    def runtime_of(mains: list[bool], pace: Pace | None = None, latencies: Sequence[float] = ()) -> Runtime:
        waits = latencies or [0.0] * place.size
        return Runtime(group, up, down, open_group, mains, memory, device, pace, waits, helpers, computers)

    runtime = runtime_of(
        [not actor.role.daemon for actor in actors],
        None if setup.pace is None else setup.pace(context),
        [_latency(setup, peer, place.rank) for peer in range(place.size)],
    )
    for name, lane in setup.streams:
        members = setup.cast.groups[name]
        if place.rank in members.ranks:
            runtime.stream(members, lane).open()
    peers = range(place.size)
    delayed = {("recv", peer) for peer in peers if _latency(setup, peer, place.rank)}
    delayed |= {("send", peer) for peer in peers if _latency(setup, place.rank, peer)}
    sink, recorder = _Rows(delayed), Recorder()
    actor = Actor(context, runtime, sink, recorder=recorder)
    main = actor.post(role.program(context), "main", role.daemon)
    with awake():
        rehearse(runtime_of, place.rank, place.size)
        runtime.epoch = clock.begin()
        runtime.run(actor)
    clock.stop()
    rows = [clock.corrected(row) for row in sink.rows]
    blobs = [json.dumps(rows).encode(), json.dumps(recorder.entries).encode()]
    message = {"returned": encode(main.handle.result, blobs), "clock": clock.facts(), "cores": runtime.gauge.samples}
    taken = [snapshot._replace(seconds=clock.shown(snapshot.seconds)) for snapshot in setup.album.snapshots]
    message["snapshots"] = encode_snapshots(taken, blobs)
    return message, blobs


def _latency(setup: Setup, source: int, destination: int) -> float:
    return 0.0 if setup.latency is None or source == destination else setup.latency(source, destination)
