"""Probes of messages between real ranks of this machine: patterns over sizes and numbers of ranks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from calibration.executor.setup import Setup
from calibration.probes.programs import (
    FLOPS,
    OPERATED,
    WAKING,
    WORKED,
    Block,
    Worker,
    cast_of,
    contexts_of,
    spans_of,
    times_of,
    works,
)
from calibration.probes.record import Observation, Task
from calibration.probes.state import slow_of

if TYPE_CHECKING:
    from calibration.executor.seats import Seat

__all__ = ["observed", "probe_collectives", "probe_links", "probe_operations", "probe_pairs", "setup"]

_KIB, _MIB = 1 << 10, 1 << 20
_SIZES = (8, 4 * _KIB, 64 * _KIB, 256 * _KIB, _MIB, 4 * _MIB, 16 * _MIB, 64 * _MIB)
_MOST_RANKS = 8
_SIZES_PAUSED = (8, 512 * _KIB)
_SIZES_WORKED = (8, 512 * _KIB, 2 * _MIB)
_PAUSED = {
    2: tuple(f"{name} after {ms} ms" for name in ("ping_pong", "facing") for ms in (1, 5, 30)),
    4: ("ping_pong after 5 ms", "ring after 1 ms", "ring after 5 ms", "ring after 30 ms", "fan_in after 30 ms"),
    8: ("ring after 30 ms",),
}
"""By number of ranks."""
_BYTES = 3e8
"""A block moves about so many bytes at most, over all ranks."""


def setup(script: Sequence[Sequence[Any]], size: int, held: float = 0.0) -> Setup:
    """What a rank makes of a script: if all of it works, ranks really compute, each on a core of its own if it can.

    Payloads are `held` up for so many seconds before they flow.
    """
    blocks = [Block.of(values) for values in script]
    cast = cast_of(blocks, size)
    if all(works(block.pattern) for block in blocks):
        from parasim.learning.tensors import TorchTensors

        worker: Any = Worker(TorchTensors("float32"))
        return Setup(cast, contexts_of(cast, worker), bind=True)
    return Setup(
        cast, contexts_of(cast), lambda me: lambda kernel, now: kernel.flops / FLOPS, lambda source, destination: held
    )


def probe_links(task: Task) -> Iterator[Observation]:
    """Two ranks: to and fro, one way, and both at once, from a header alone to 64 MiB; and after pauses."""
    blocks = [Block("ping_pong", 0, 40)]
    blocks += [Block(name, nbytes, 6) for name in _PAUSED[2] for nbytes in _SIZES_PAUSED]
    blocks += [Block(name, 8, 6) for name in WAKING]
    for nbytes in _SIZES:
        repeats = _repeats(nbytes, 2, 40)
        blocks += [Block(pattern, nbytes, repeats) for pattern in ("ping_pong", "stream", "facing")]
    yield from observed("links", task, blocks, 2)


def probe_pairs(task: Task) -> Iterator[Observation]:
    """Several pairs at once, rings, and many that push to one: more ranks than cores too."""
    for size in (3, 4, 8):
        blocks = []
        for nbytes in (8, 64 * _KIB, _MIB, 4 * _MIB):
            repeats = _repeats(nbytes, size, 20)
            blocks += [Block("ring", nbytes, repeats), Block("fan_in", nbytes, repeats)]
            if size > 3:
                blocks += [Block("ping_pong", nbytes, repeats), Block("facing", nbytes, repeats)]
        blocks += [Block(name, nbytes, 5) for name in _PAUSED.get(size, ()) for nbytes in _SIZES_PAUSED]
        if size == 4:
            blocks += [Block(name, 8, 5) for name in WAKING]
        yield from observed("pairs", task, blocks, size)


def probe_collectives(task: Task) -> Iterator[Observation]:
    """All-reduces, in messages and the backend's own."""
    for size in (2, 4, 8):
        blocks = []
        for nbytes in (4 * _KIB, 256 * _KIB, 4 * _MIB):
            repeats = _repeats(nbytes, size, 10)
            blocks.append(Block("native", nbytes, repeats))
            if size < 8 or nbytes == 4 * _MIB:
                blocks.append(Block("all_reduce", nbytes, repeats))
        yield from observed("collectives", task, blocks, size)


def probe_operations(task: Task) -> Iterator[Observation]:
    """What a compute costs besides its work, on one rank and on as many as cores; and messages right after work."""
    cores = len(os.sched_getaffinity(0))
    for size in sorted({1, min(cores, _MOST_RANKS)}):
        blocks = [Block(OPERATED, 0, 10)]
        if size > 1:
            blocks += [Block(name, nbytes, 8) for name in WORKED for nbytes in _SIZES_WORKED]
        yield from observed("operations", task, blocks, size)


def _repeats(nbytes: int, size: int, most: int) -> int:
    return max(3, min(most, int(_BYTES / (size * max(nbytes, 1)))))


def observed(
    probe: str,
    task: Task,
    blocks: Sequence[Block],
    size: int,
    *,
    seats: Sequence[Seat] | None = None,
    held: float = 0.0,
    **parameters: float,
) -> Iterator[Observation]:
    """Run a script; the mean of each block, and every repetition of the smallest messages, whose jitter is seen.

    Repetitions while others had a part of a core are left out; where that leaves none, the mean is marked as slow.

    Parameters
    ----------
    probe, task, parameters
        For the observations.
    blocks, size
        The script, and the number of ranks.
    seats
        Where the ranks run, if not in the network of this process.
    held
        Seconds by which payloads are held up.
    """
    from calibration.executor.launch import run_cast

    script = [block.as_list() for block in blocks]
    arguments = {"script": script, "size": size, "held": held}
    outcome = run_cast("calibration.probes.messages:setup", arguments, size, seats=seats)
    at = time.time()
    slow = slow_of(outcome)
    timed = zip(blocks, times_of(outcome.trace, blocks), spans_of(outcome.trace, blocks), strict=True)
    for block, times, spans in timed:
        about = {"nbytes": block.nbytes, "ranks": size, "repeats": block.repeats, **parameters}
        calm = [seconds for seconds, span in zip(times, spans, strict=True) if not slow(*span)]
        mean = fmean(calm or times)
        yield Observation(probe, block.pattern, about, mean, task.round, at, slow=not calm)
        if block.nbytes <= 8:
            for one in calm:
                yield Observation(probe, f"{block.pattern}/single", about, one, task.round, at)
