"""Ranks that torchrun started: each process runs its own actor, and rank 0 gathers what all found.

When a run fails, threads of this process still wait inside gloo for what will never come. They can be neither woken nor
joined, and would make the C++ runtime abort the process (SIGABRT) in place of the error's own end. So a process in
which a run has failed ends, after its last output, without unwinding and with status 1, even if the error was caught:
the other ranks have lost it anyway. A deadlock without native collectives leaves no such thread, and all is well.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.executor.directory import run_directory
from calibration.executor.frames import pack_frame, unpack_frame
from calibration.executor.pool import Answer
from parasim.errors import ExecutionError, ScenarioError
from parasim.runtime.deadlock import deadlock_error

if TYPE_CHECKING:
    from calibration.executor.backend import Group

__all__ = ["started_by_torchrun", "take_part_in_world"]

_LENGTH_TAG, _FRAME_TAG = 1, 2
_runs = itertools.count()
_stranded = False
"""Do threads wait for ever inside gloo?"""


def started_by_torchrun() -> bool:
    """Is this process one of several that torchrun started?"""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@functools.cache
def _world() -> Any:
    """The store that torchrun's processes share."""
    import torch.distributed

    atexit.register(_end_if_stranded)  # early: what is registered later, and cleans up, still runs before
    dist: Any = torch.distributed
    if os.environ["MASTER_ADDR"] in ("localhost", "127.0.0.1"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return next(iter(dist.rendezvous("env://")))[0]


def _end_if_stranded() -> None:
    """End without unwinding if threads are blocked; the error has been printed by then."""
    if _stranded:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def take_part_in_world(factory: str, arguments: Mapping[str, Any], size: int) -> list[Answer] | None:
    """Run this process's rank of the setup; the answers of all ranks on rank 0, None elsewhere.

    Raises
    ------
    ScenarioError
        If torchrun started another number of processes than the cast has actors.
    DeadlockError
        If the programs wait for ever; on every rank, with the table of all on rank 0.
    ExecutionError
        If another rank is gone: that rank printed why.
    ProgramError, Exception
        If the program of this rank breaks the language; what it raises.
    """
    global _stranded  # noqa: PLW0603 - of the process, read when it ends
    import torch.distributed

    from calibration.executor.backend import Group, own_client
    from calibration.executor.courier import LostPeer
    from calibration.executor.member import Place, take_part
    from calibration.executor.runtime import Stuck
    from calibration.executor.setup import make_setup

    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if world != size:
        raise ScenarioError(f"the scheme has {size} actors, torchrun started {world} processes; start {size}")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world)) == world
    dist: Any = torch.distributed
    store = dist.PrefixStore(f"parasim/{next(_runs)}", _world())
    with ExitStack() as stack:
        directory = None
        if local:
            if rank == 0:
                store.set("directory", str(stack.enter_context(run_directory())))
            directory = Path(store.get("directory").decode())
        answering = Group(store, "answers", rank, world)  # now: later a thread may wait inside the store for ever
        client = functools.partial(own_client, store)
        place = Place(rank, world, int(os.environ.get("LOCAL_RANK", rank)), store, client, directory)
        try:
            message, blobs = take_part(make_setup(factory, arguments), place)
        except Stuck as stuck:
            _stranded = stuck.stranded
            message, blobs = {"stuck": stuck.rows, "now": stuck.now}, []
        except LostPeer as lost:
            _stranded = True
            raise ExecutionError(f"rank {rank}: {lost}; another rank ended first, look for its error") from None
        except BaseException:
            _stranded = True
            raise
        gathered = _gather(answering, pack_frame(message, blobs))
    answers = [Answer(*unpack_frame(data)) for data in gathered]
    if any("stuck" in answer.message for answer in answers):
        rows = [tuple(row) for answer in answers for row in answer.message["stuck"]]
        raise deadlock_error(rows, answers[0].message["now"])
    return answers if rank == 0 else None


def _gather(group: Group, data: bytes) -> list[bytes]:
    """The data of all ranks on rank 0, one's own elsewhere; returns when all have sent theirs."""
    import torch

    if group.index:
        length = torch.tensor([len(data)])
        group.send(length, 0, _LENGTH_TAG).wait()
        group.send(torch.frombuffer(bytearray(data), dtype=torch.uint8), 0, _FRAME_TAG).wait()
        gathered = [data]
    else:
        gathered = [data]
        for peer in range(1, group.size):
            length = torch.zeros(1, dtype=torch.int64)
            group.receive(length, peer, _LENGTH_TAG).wait()
            frame = torch.empty(int(length), dtype=torch.uint8)
            group.receive(frame, peer, _FRAME_TAG).wait()
            gathered.append(frame.numpy().tobytes())
    group.latest(0.0)
    return gathered
