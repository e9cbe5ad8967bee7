"""Goes through the one program of a chorus, with the times of all actors as arrays.

When it applies: all actors have one role, keep no values and no rows, handle messages at no cost, and their program
does not ask who it is (voice.py). Its operations are computes, sleeps, notes, decisions, collectives of all actors
(gathering.py), such operations posted on lanes, and waits for them. In anything else, or where one thing could get into
another's way, `Distinguished` is raised, and the run goes actor by actor from its beginning.

Why it is exact: then an operation's end follows from its beginning and from nothing that other lanes do. So operations
need no order in time, and no events: each is worked out when it is yielded. What could tell otherwise is looked at:

* Computes have cores: a host has as many as its actors have lanes that compute.
* A buffer that one lane changes is used by no other lane at the same time.
* Collectives of different lanes are not under way together.
* Only the main lane runs code; what it posts are single operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from parasim.program.ops import Collective, Compute, Decide, Log, Op, Post, Sleep, Wait
from parasim.simulation.chorus.counts import Count, Distinguished
from parasim.simulation.chorus.periods import Periods
from parasim.simulation.chorus.promise import Promise
from parasim.simulation.chorus.tallies import Tallies
from parasim.trace.lanes import MAIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parasim.program.buffers import Buffer
    from parasim.program.context import Context
    from parasim.program.ops import Program
    from parasim.simulation.chorus.gathering import Gathered
    from parasim.simulation.chorus.likeness import Likeness
    from parasim.simulation.chorus.paces import Paces
    from parasim.simulation.chorus.voice import Steps, Voice

__all__ = ["Gatherer", "Score"]


class Gatherer(Protocol):
    """Knows how collectives go."""

    def gather(self, op: Collective, arrivals: NDArray[Any]) -> Gathered:
        """All actors come to it then (seconds)."""


class _Use(NamedTuple):
    """A buffer is used by a lane."""

    lane: str
    buffer: Buffer
    changes: bool
    start: NDArray[Any]
    end: NDArray[Any]


class Score:
    """One run of a chorus.

    Parameters
    ----------
    paces, gatherer
        Seconds of computes, and of collectives.
    spare
        Cores that each actor has to itself.

    Attributes
    ----------
    now
        When each actor's main lane goes on (seconds, without those skipped).
    tallies
        Sums of the trace.
    operations, collectives
        How many were worked out; how many collectives there were, skipped ones included.
    constants, modules, player
        What of the program's surroundings never changes; where its classes are; whose frame is around it.
    """

    def __init__(self, paces: Paces, gatherer: Gatherer, spare: int) -> None:
        self.now: NDArray[Any] = np.zeros(1)
        self.tallies = Tallies()
        self.operations = 0
        self.constants: list[object] = []
        self.modules: list[str] = []
        self.player = self._play.__func__.__code__  # type: ignore[attr-defined] # of a bound method
        self._paces = paces
        self._gatherer = gatherer
        self._spare = spare
        self._computing: set[str] = set()
        self._free: dict[str, NDArray[Any]] = {}  # when posted lanes are done with all that they have
        self._uses: list[_Use] = []
        self._under_way: list[tuple[str, float, float]] = []
        self._periods = Periods(self)

    @property
    def skipped(self) -> float:
        """Seconds that were skipped."""
        return self._periods.skipped

    @property
    def collectives(self) -> int:
        """How many there were, skipped ones included."""
        return int(self.tallies.linear.get("collectives", 0))

    def run(self, program: Callable[[Context], Program[Any]], voice: Voice) -> Any:
        """Go through the program of each actor; what it returns.

        Raises
        ------
        Distinguished
            If actors may differ in more than times, or if the program fails.
        """
        self.constants = [voice, voice.model]
        self.modules = [getattr(program, "__module__", "parasim.")]
        generator = program(voice)
        if not hasattr(generator, "send"):
            raise Distinguished("no program")
        try:
            return self._play(generator, voice)
        finally:
            generator.close()
            del self._gatherer  # which knows the cluster: leave nothing large to the garbage collector

    def before_step(self, steps: Steps) -> None:
        """Called by the program's iterations."""
        self._forget()
        if self._paces.steady:
            self._periods.before(steps)

    def _play(self, program: Program[Any], voice: Voice) -> Any:
        reply: Any = None
        notes = voice.notes
        while True:
            try:
                op = program.send(reply)
            except StopIteration as stop:
                self._note(notes)
                return stop.value
            except Exception as failure:  # it will fail again, with numbers as they should be
                raise Distinguished(str(failure)) from failure
            self._note(notes)
            self.operations += 1
            handler = _HANDLERS.get(type(op))
            if handler is None:
                raise Distinguished(f"a program yields {type(op).__name__}")
            reply = handler(self, op)

    def _note(self, notes: list[Any]) -> None:
        for event in notes:
            self.tallies.noted(event, self.now)
        notes.clear()

    # operations ----------------------------------------------------------------------------------------------------
    def _on_main(self, op: Op[Any]) -> Any:
        reply, self.now = self._work(op, MAIN, self.now)
        return reply

    def _post(self, op: Post) -> Promise:
        if op.daemon or op.lane == MAIN or type(op.program) not in _POSTED:
            raise Distinguished("a program is posted")
        free = self._free.get(op.lane)
        start = self.now if free is None else np.maximum(free, self.now)
        _, end = self._work(op.program, op.lane, start)  # type: ignore[arg-type] # it is no generator
        self._free[op.lane] = end
        return Promise(op.lane, end)

    def _wait(self, op: Wait) -> tuple[None, ...]:
        start, lanes = self.now, []
        for handle in op.handles:
            if not isinstance(handle, Promise):
                raise Distinguished("a strange handle")
            self.now = np.maximum(self.now, handle.over)
            lanes.append(handle.lane)
        self.tallies.waited(tuple(dict.fromkeys(lanes)), start, self.now)
        return (None,) * len(op.handles)

    def _log(self, op: Log) -> None:
        self.tallies.noted(op.event, self.now)

    def _decide(self, op: Decide) -> Any:
        self.tallies.row(self.now)
        return op.modelled

    def _work(self, op: Op[Any], lane: str, start: NDArray[Any]) -> tuple[Any, NDArray[Any]]:
        """What an operation that takes time replies, and when."""
        if isinstance(op, Compute):
            return self._compute(op, lane, start)
        if isinstance(op, Collective):
            return None, self._collective(op, lane, start)
        assert isinstance(op, Sleep)
        if not 0 <= op.seconds < np.inf:
            raise Distinguished("a sleep without end")
        end = start + op.seconds
        self.tallies.row(end)
        return None, end

    def _compute(self, op: Compute[Any], lane: str, start: NDArray[Any]) -> tuple[Any, NDArray[Any]]:
        self._take_core(lane)
        kernel = op.kernel
        step: Any = kernel.step
        if type(step) is Count:
            kernel = replace(kernel, step=step.value)
        end = start + self._paces.seconds(kernel, start)
        self._use(lane, op.touches, True, start, end)
        self._use(lane, op.reads, False, start, end)
        self.tallies.computed(lane, kernel.flops, start, end)
        return op.otherwise() if op.otherwise is not None else None, end

    def _collective(self, op: Collective, lane: str, start: NDArray[Any]) -> NDArray[Any]:
        gathered = self._gatherer.gather(op, start)
        if gathered.reduces:
            self._take_core(lane)
        begun, ended = float(start.min()), float(gathered.ends.max())
        if any(other != lane and begun < end and first < ended for other, first, end in self._under_way):
            raise Distinguished("collectives of two lanes meet")
        self._under_way.append((lane, begun, ended))
        assert op.buffer is not None
        self._use(lane, (op.buffer,), True, start, gathered.ends)
        for label, count in gathered.passed_over:
            self._paces.passed_over(label, count)
        self.tallies.gathered(lane, gathered)
        return gathered.ends

    # what could get into another's way -----------------------------------------------------------------------------
    def _take_core(self, lane: str) -> None:
        self._computing.add(lane)
        if len(self._computing) > self._spare:
            raise Distinguished("computes share cores")

    def _use(self, lane: str, buffers: Sequence[Buffer], changes: bool, start: NDArray[Any], end: NDArray[Any]) -> None:
        for buffer in buffers:
            for other in self._uses:
                if (
                    other.lane != lane
                    and (changes or other.changes)
                    and other.buffer.root is buffer.root
                    and other.buffer.start < buffer.stop
                    and buffer.start < other.buffer.stop
                    and not ((other.end <= start).all() or (end <= other.start).all())
                ):
                    raise Distinguished(f"two lanes use {buffer.name}")
            self._uses.append(_Use(lane, buffer, changes, start, end))

    def _forget(self) -> None:
        """Whatever comes begins now or later."""
        first = float(self.now.min())
        self._uses = [use for use in self._uses if not (use.end <= self.now).all()]
        self._under_way = [window for window in self._under_way if window[2] > first]
        self._free = {lane: free for lane, free in self._free.items() if (free > self.now).any()}
        self.tallies.lanes.fold(self.now)

    def look(self, likeness: Likeness) -> None:
        """What its state is like, but for the program's own."""
        for use in self._uses:
            likeness.take((use.lane, use.buffer, use.changes))
            likeness.times += [use.start, use.end]
        for lane, *window in self._under_way:
            likeness.take(lane)
            likeness.times.append(np.array(window))
        for lane, free in self._free.items():
            likeness.take(lane)
            likeness.times.append(free)
        likeness.times.append(self.now)
        self.tallies.look(likeness)


_POSTED = (Compute, Collective, Sleep)
_HANDLERS: dict[type, Callable[[Score, Any], Any]] = {
    **dict.fromkeys(_POSTED, Score._on_main),
    Post: Score._post,
    Wait: Score._wait,
    Log: Score._log,
    Decide: Score._decide,
}
