"""Programs that probe messages: the same cast runs on real ranks and in the simulator, whose times the fit compares.

A *script* is a list of blocks; every block is one pattern of messages of one size, repeated. Before a block all actors
meet; each repetition of an actor ends with a note "step", so one run times many blocks.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from calibration.executor.bare import bare_context
from parasim.program.buffers import Buffer
from parasim.program.cast import Cast, Role
from parasim.program.context import Context
from parasim.program.model import Layer, Model
from parasim.program.ops import (
    ANY,
    Collective,
    Compute,
    Event,
    Exchange,
    Kernel,
    Log,
    Post,
    Program,
    Recv,
    Send,
    Wait,
)
from parasim.program.state import Batch

if TYPE_CHECKING:
    from parasim.program.learner import Learner
    from parasim.program.tensors import Tensor, Tensors
    from parasim.trace.table import Trace

__all__ = [
    "FLOPS",
    "OPERATED",
    "PATTERNS",
    "PAUSES",
    "WAKING",
    "WORKED",
    "Block",
    "Worker",
    "cast_of",
    "contexts_of",
    "spans_of",
    "times_of",
    "works",
]

WARM = 2
"""Repetitions at the start of a block that are not timed."""


@dataclass(frozen=True, slots=True)
class Block:
    """So many `repeats` (and a few before) of a pattern of messages of `nbytes`.

    The patterns are those of `PATTERNS`, `PAUSES`, `WAKING` and `WORKED`.
    """

    pattern: str
    nbytes: int
    repeats: int

    @classmethod
    def of(cls, values: Sequence[Any]) -> Block:
        """From JSON."""
        pattern, nbytes, repeats = values
        return cls(pattern, nbytes, repeats)

    def as_list(self) -> list[Any]:
        """For JSON."""
        return [self.pattern, self.nbytes, self.repeats]


@dataclass(frozen=True, slots=True)
class _Me:
    """What a pattern sees: the context, the buffers to send from and receive into (None: headers alone)."""

    context: Context
    out: Buffer | None
    into: Buffer | None

    @property
    def index(self) -> int:
        return self.context.index

    @property
    def size(self) -> int:
        return self.context.count("worker")


Pattern = Callable[[_Me], Program[None]]


def _ping_pong(me: _Me) -> Program[None]:
    """Pairs (0, 1), (2, 3) ...: there and back."""
    peer = me.index ^ 1
    if peer >= me.size:
        return
    if me.index < peer:
        yield from Send(peer, me.out, "ball", lent=True)
        yield from Recv(peer, "ball", me.into)
    else:
        yield from Recv(peer, "ball", me.into)
        yield from Send(peer, me.out, "ball", lent=True)


def _stream(me: _Me) -> Program[None]:
    """Pairs: one way."""
    peer = me.index ^ 1
    if peer >= me.size:
        return
    if me.index < peer:
        yield from Send(peer, me.out, "stream", lent=True)
    else:
        yield from Recv(peer, "stream", me.into)


def _ring(me: _Me) -> Program[None]:
    """A step of a ring: to the next, from the one before."""
    after, before = (me.index + 1) % me.size, (me.index - 1) % me.size
    yield Exchange((Send(after, me.out, "ring", lent=True),), (Recv(before, "ring", me.into),))


def _facing(me: _Me) -> Program[None]:
    """Pairs exchange."""
    peer = me.index ^ 1
    if peer < me.size:
        yield Exchange((Send(peer, me.out, "facing", lent=True),), (Recv(peer, "facing", me.into),))


def _fan_in(me: _Me) -> Program[None]:
    """All but the first push to it; it takes whoever comes and answers with as much, on a lane for each."""
    if me.index:
        yield from Send(0, me.out, "push", lent=True)
        yield from Recv(0, "answer", me.into)
        return
    handles = []
    for _ in range(me.size - 1):
        message = yield from Recv(ANY, "push", me.into)
        send = Send(message.source, me.out, "answer", lent=True)
        handles.append((yield from Post(send, f"answer {message.source}")))
    yield from Wait(handles)


def _natively(me: _Me) -> Program[None]:
    """The backend's own all-reduce."""
    assert me.out is not None
    yield from Collective("all_reduce", me.context.group("worker"), me.out, "native")


def _all_reduce(me: _Me) -> Program[None]:
    """A ring all-reduce in messages."""
    assert me.out is not None
    yield from Collective("all_reduce", me.context.group("worker"), me.out, "ring")


def _operations(me: _Me) -> Program[None]:
    """Forward and backward passes, each on a lane of its own as schemes have them; a note says how long the work took.

    What a pass costs besides is what an operation costs: to look up its kernel, to note what it holds, to hand it to a
    thread and to hear of its end.
    """
    context, before = me.context, len(_TAKEN)
    part = context.model.whole
    values = [None, None] if context.tensors is None else [context.tensors.zeros(part.parameters) for _ in range(2)]
    parameters, gradient = (Buffer("vector", part.parameters, 4, value) for value in values)
    for number in range(OPERATIONS // 2):
        batch = Batch(number, -1, 0, 1, 1)
        posted = yield from Post(context.forward(part, parameters, batch), "passes")
        (activation,) = yield from Wait([posted])
        posted = yield from Post(context.backward(activation, None, gradient), "passes")
        yield from Wait([posted])
    taken = sum(_TAKEN[before:]) if context.tensors is not None else OPERATIONS * WORK_SECONDS
    yield from Log(Event("note", WORK, value=taken))


class Worker:
    """What computes in the place of a network: its passes work, and keep nothing."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors

    def samples(self, step: int, start: int, stop: int, batch: int) -> None:
        """None are needed."""

    def inputs(self, samples: None) -> None:
        """None are needed."""

    def forward(self, *_: Any, **__: Any) -> tuple[None, None]:
        """Work for a while."""
        _TAKEN.append(_work())
        return None, None

    def backward(self, *_: Any) -> tuple[None, Tensor]:
        """The same, for a gradient of one element."""
        _TAKEN.append(_work())
        return None, self.tensors.zeros(1)


_TAKEN: list[float] = []
"""Seconds of the passes of this process."""


def _work(least: float = 0.0) -> float:
    """Train a perceptron, for so many seconds at least: what is timed is how long that takes itself.

    What it reads and writes (weights, gradients, activations) leaves nothing else in the caches of a core, as the
    passes of a real network do.
    """
    import torch

    start = time.perf_counter()
    activations, weights, gradients = _perceptron()
    for layer in itertools.cycle(range(_LAYERS)):
        after = activations @ weights[layer]
        torch.mm(activations.T, after, out=gradients[layer])
        taken = time.perf_counter() - start
        if taken >= least:
            break
    return taken


@functools.cache
def _perceptron() -> tuple[Any, list[Any], list[Any]]:
    """Activations, weights and gradients of its layers: 8 MB."""
    import torch

    weights = [torch.ones(_WIDTH, _WIDTH) for _ in range(_LAYERS)]
    return torch.ones(_SAMPLES, _WIDTH), weights, [torch.empty(_WIDTH, _WIDTH) for _ in range(_LAYERS)]


def _after_work(seconds: float, pattern: Pattern) -> Pattern:
    """The pattern after a real compute: its handling finds the core awake, but others' data in the caches."""

    def worked(me: _Me) -> Program[None]:
        taken = yield from Compute(Kernel(WORK, flops=seconds * FLOPS), functools.partial(_work, seconds))
        yield from Log(Event("note", WORK, value=seconds if taken is None else taken))
        yield from pattern(me)

    return worked


def _after(pause: float, pattern: Pattern) -> Pattern:
    """The pattern after a paced compute: what its handling needs has left the caches, and the core may sleep."""

    def paused(me: _Me) -> Program[None]:
        yield from Compute(Kernel(PAUSE, flops=pause * FLOPS))
        yield from pattern(me)

    return paused


OPERATIONS = 20
PAUSE = "pause"
WORK = "work"
WORK_SECONDS = 1e-3
"""What it is simulated to take."""
OPERATED = "operations"
FLOPS = 1e15
"""FLOP/s of the device that is simulated."""
_MODEL = Model("work", (Layer("work", 1, WORK_SECONDS * FLOPS, 0.0, WORK_SECONDS * FLOPS, 1, 1, 1),))
_WIDTH, _SAMPLES, _LAYERS = 512, 64, 4
PATTERNS: Mapping[str, Pattern] = {
    "ping_pong": _ping_pong,
    "stream": _stream,
    "ring": _ring,
    "facing": _facing,
    "fan_in": _fan_in,
    "all_reduce": _all_reduce,
    "native": _natively,
    OPERATED: _operations,
}
PAUSES = {
    f"{name} after {round(1e3 * pause)} ms": (pause, PATTERNS[name])
    for name in ("ping_pong", "stream", "facing", "ring", "fan_in")
    for pause in (0.001, 0.005, 0.03)
}
"""Patterns after a pause in which the cores have nothing to do; its seconds are not counted."""
WAKING = {f"waking after {round(1e3 * pause)} ms": pause for pause in (0.001, 0.005, 0.03)}
"""How long after the end of such a pause a program posts its next message: timers are late, and sleepers wake up."""
WORKED = {
    f"{name} after {round(1e3 * seconds)} ms of work": (seconds, PATTERNS[name])
    for name in ("ping_pong", "facing", "native")
    for seconds in (0.001, 0.005)
}
"""Patterns after real work, whose seconds are not counted."""


def works(pattern: str) -> bool:
    """Is something really computed in it?"""
    return pattern == OPERATED or pattern in WORKED


def cast_of(script: Sequence[Block], size: int, warm: int = WARM) -> Cast:
    """So many workers that go through the script, each block of which begins with `warm` repetitions."""

    def worker(me: Context) -> Program[None]:
        number = 0
        for block in script:
            yield from _meet(me)
            out = Buffer("out", block.nbytes, 1) if block.nbytes else None
            into = Buffer("into", block.nbytes, 1) if block.nbytes else None
            sees = _Me(me, out, into)
            program = _program_of(block.pattern)
            for _ in range(warm + block.repeats):
                yield from program(sees)
                yield from me.step_done(number)
                number += 1

    return Cast((Role("worker", size, worker),))


def _program_of(pattern: str) -> Pattern:
    if pattern in PAUSES:
        return _after(*PAUSES[pattern])
    if pattern in WAKING:
        return _after(WAKING[pattern], _facing)
    return _after_work(*WORKED[pattern]) if pattern in WORKED else PATTERNS[pattern]


def _meet(me: Context) -> Program[None]:
    """A barrier: word to the first, and back from it."""
    if me.index:
        yield from Send(0, None, "meet")
        yield from Recv(0, "met")
    else:
        for peer in range(1, me.count("worker")):
            yield from Recv(peer, "meet")
        for peer in range(1, me.count("worker")):
            yield from Send(peer, None, "met")


def contexts_of(cast: Cast, learner: Learner | None = None) -> Callable[[int], Context]:
    """Makes the context of a rank; without a learner no values are carried, and no work is done."""
    return lambda rank: bare_context(cast, rank, _MODEL, learner)


def times_of(trace: Trace, script: Sequence[Block], warm: int = WARM) -> list[list[float]]:
    """Seconds of the repetitions of each block: mean over the actors, the untimed ones left out.

    Of operations: of one of them, besides the work. After a pause: besides that. Of waking: from the end of the pause
    to the next message's post. After work: since the last actor's was done, however long it took each.
    """
    worked: dict[int, list[tuple[float, float]]] = {}
    work: dict[int, tuple[float, float]] = {}
    paused: dict[int, float] = {}
    late: dict[int, float] = {}
    woken: dict[int, list[float]] = {}
    for row in trace:
        if row.op == "compute" and row.label == PAUSE:
            paused[row.rank] = row.t_end
        elif row.op == "send" and row.rank in paused:
            late[row.rank] = row.t_post - paused.pop(row.rank)
        elif row.op == "log" and row.label == "step":
            worked.setdefault(row.step, []).append(work.pop(row.rank, (0.0, 0.0)))
            woken.setdefault(row.step, []).append(late.pop(row.rank, 0.0))
        elif row.op == "log" and row.label == WORK:
            before, _ = work.get(row.rank, (0.0, 0.0))
            work[row.rank] = before + (row.value or 0.0), row.t_end
    times = []
    number = 0
    for block, spans in zip(script, spans_of(trace, script, warm), strict=True):
        timed = range(number + warm, number + warm + block.repeats)
        if block.pattern in PAUSES:
            taken = [max(end - start - PAUSES[block.pattern][0], 0.0) for start, end in spans]
        elif block.pattern in WAKING:
            taken = [max(fmean(woken[repeat]), 0.0) for repeat in timed]
        elif block.pattern in WORKED:
            last = [max(moment for _, moment in worked[repeat]) for repeat in timed]
            taken = [max(end - moment, 0.0) for (_, end), moment in zip(spans, last, strict=True)]
        elif works(block.pattern):
            own = [fmean(seconds for seconds, _ in worked[repeat]) for repeat in timed]
            taken = [max(end - start - work, 0.0) / OPERATIONS for (start, end), work in zip(spans, own, strict=True)]
        else:
            taken = [end - start for start, end in spans]
        times.append(taken)
        number += warm + block.repeats
    return times


def spans_of(trace: Trace, script: Sequence[Block], warm: int = WARM) -> list[list[tuple[float, float]]]:
    """From when to when the timed repetitions of each block went: means over the actors."""
    ends: dict[int, list[float]] = {}
    for row in trace:
        if row.op == "log" and row.label == "step":
            ends.setdefault(row.step, []).append(row.t_end)
    spans = []
    number = 0
    for block in script:
        moments = [fmean(ends[number + repeat]) for repeat in range(warm + block.repeats)]
        spans.append(list(itertools.pairwise(moments[warm - 1 :])))
        number += warm + block.repeats
    return spans
