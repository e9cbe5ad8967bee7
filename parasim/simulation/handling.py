"""What messages and operations cost the cores: jobs of `parasim.cluster.handling.Handling`, in virtual time.

Each actor has one *loop*, as a real rank has one thread that steps its programs: what it handles it handles one after
the other, each as a job on cores that it shares with the computes of its host. An actor with a single program computes
in that thread too (nothing else could go on), so messages that come meanwhile wait. Bytes are moved by another thread
of the same rank: jobs of their own beside the flow.

In paced runs the loop has timers: they end computes, and they hold a message up by the latency of its route, from when
both ends are ready. A loop that has nothing to do when one goes off has to wake up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from parasim.cluster.handling import Handling
from parasim.cluster.hosts import Host
from parasim.program.draws import Draws
from parasim.program.ops import Kernel
from parasim.simulation.network import Network
from parasim.simulation.noise import CROWDED, NoiseLaw
from parasim.simulation.processors import Processor

__all__ = ["Handlers", "Loop", "handlers_of", "handles"]

_NOTHING = Handling()
_BYTES = "bytes"
_CALM, _CROWDED = Kernel("handling", "handling"), Kernel("handling", CROWDED)
Done = Callable[[], None]


def handles(hosts: Sequence[Host]) -> bool:
    """Does handling cost anything on one of these hosts?"""
    different = {id(costs): costs for host in hosts for costs in (host.handling, host.native)}
    return any(costs != _NOTHING for costs in different.values())


class Loop:
    """The jobs of one actor, first in first out, one at a time on a processor: what each kind costs, times noise."""

    __slots__ = ("_busy", "_costs", "_count", "_draws", "_last", "_law", "_processor", "_queue", "held")

    def __init__(self, processor: Processor, costs: Handling, law: NoiseLaw, draws: Draws) -> None:
        self._processor = processor
        self._costs = costs
        self._law = law
        self._draws = draws
        self._queue: deque[tuple[str, Done]] = deque()
        self._last: dict[str, float] = {}
        self._busy = False
        self._count = 0
        self.held = False

    def run(self, kind: str, done: Done) -> None:
        """Do a job of this kind (a field of `Handling`, "" takes no time), after those before it; then call `done`.

        A job of no time that nothing is before is done at once, before this returns.
        """
        if self._busy:
            self._queue.append((kind, done))
        else:
            self._begin(kind, done)

    def wake(self, done: Done) -> None:
        """A timer of the loop has gone off: wake up, unless it is awake, and call `done`."""
        self.run("" if self._busy else "wake", done)

    def hold(self) -> None:
        """Nothing is handled from now on until `release`; nothing is now."""
        assert not self._busy
        self._busy = self.held = True

    def release(self, done: Done) -> None:
        """Call `done`, then go on with what has come meanwhile."""
        self._busy = self.held = False
        self._go_on(done)

    def pause(self, kind: str) -> float:
        """Seconds since the actor was last done with a job of this kind, or with bytes (`_BYTES`)."""
        return self._processor.now - self._last.get(kind, -math.inf)

    def did(self, kind: str) -> None:
        """It is done with one."""
        self._last[kind] = self._processor.now

    def _begin(self, kind: str, done: Done) -> None:
        seconds = getattr(self._costs, kind) if kind else 0.0
        if not seconds:
            done()
            return
        self._busy = True
        self._count += 1
        crowded = self._processor.running >= self._processor.cores
        seconds *= self._law.factor(self._draws, _CROWDED if crowded else _CALM, self._count)
        if self._costs.cold:
            seconds *= self._costs.warmth(self.pause(kind))
        self._processor.start(seconds, partial(self._ended, kind, done))

    def _ended(self, kind: str, done: Done) -> None:
        self._busy = False
        self.did(kind)
        self._go_on(done)

    def _go_on(self, done: Done) -> None:
        done()
        while self._queue and not self._busy:
            self._begin(*self._queue.popleft())


class Handlers:
    """The message and operation handling of all actors.

    Parameters
    ----------
    costs, placement
        What handling costs on each host; the host of each rank.
    processors
        The cores that it takes place on, by host.
    network
        Moves the data; it has a link of its own for each actor's messages.
    law, draws
        Noise of the jobs, and the draws of each rank.
    timers
        Do timers of the receiver hold messages up by the latency of their route?
    """

    def __init__(
        self,
        costs: Sequence[Handling],
        placement: Sequence[int],
        processors: Sequence[Processor],
        network: Network,
        law: NoiseLaw,
        draws: Sequence[Draws],
        timers: bool = False,
    ) -> None:
        self._of = [costs[host] for host in placement]
        self._placement = placement
        self._processors = [processors[host] for host in placement]
        self._loops = [
            Loop(processor, handling, law, own)
            for processor, handling, own in zip(self._processors, self._of, draws, strict=True)
        ]
        self._network = network
        self._timers = timers
        self._ends = [
            None if math.isinf(handling.bandwidth) else network.end(handling.bandwidth) for handling in self._of
        ]

    def announce(self, source: int, destination: int, heard: Done) -> None:
        """A message is posted at rank `source`; `heard` is called when rank `destination` knows of it."""
        hear = partial(self._loops[destination].run, "hear", heard)
        self._loops[source].run("post", hear)

    def operate(self, rank: int, then: Done) -> None:
        """Begin a compute (or a native collective)."""
        self._loops[rank].run("operation", then)

    def hold(self, rank: int) -> None:
        """The loop computes itself, until it has completed that: what comes meanwhile waits."""
        self._loops[rank].hold()

    def complete(self, rank: int, then: Done) -> None:
        """A compute has ended: its program goes on when the loop is free, at once if that has computed; or awake."""
        loop = self._loops[rank]
        if loop.held:
            loop.release(then)
        elif self._timers:
            loop.wake(then)
        else:
            loop.run("", then)

    def transfer(self, source: int, destination: int, nbytes: int, delivered: Callable[[float], None]) -> None:
        """Both ends are ready: move the data, then call `delivered` with the time of this call."""
        loop = self._loops[destination]
        start = partial(loop.run, "start", _Transfer(self, source, destination, nbytes, delivered).begin)
        hosts = self._placement[source], self._placement[destination]
        if self._timers and self._network.latency(*hosts):
            self._network.start(*hosts, 0.0, lambda _: loop.wake(start))
        else:
            start()

    def finish(self, rank: int, then: Done) -> None:
        """The data of a message have come or gone: let the program of `rank` go on by `then`."""
        self._loops[rank].run("finish", then)
        if background := self._of[rank].background:
            self._processors[rank].start(background, _nothing)


class _Transfer:
    """One message's flow, and the jobs of its bytes at both ends; delivered when all are done."""

    __slots__ = ("_delivered", "_handlers", "_left", "_nbytes", "_ranks", "_started")

    def __init__(
        self, handlers: Handlers, source: int, destination: int, nbytes: int, delivered: Callable[[float], None]
    ) -> None:
        self._handlers = handlers
        self._ranks = source, destination
        self._nbytes = nbytes
        self._delivered = delivered
        self._left = 1
        self._started = handlers._network.now

    def begin(self) -> None:
        """Let the data flow."""
        handlers, (source, destination) = self._handlers, self._ranks
        sender, receiver = handlers._of[source], handlers._of[destination]
        sending = sender.sending(self._nbytes, handlers._loops[source].pause(_BYTES))
        receiving = receiver.receiving(self._nbytes, handlers._loops[destination].pause(_BYTES))
        for rank, seconds in ((source, sending), (destination, receiving)):
            if seconds:
                self._left += 1
                handlers._processors[rank].start(seconds, partial(self._moved, rank))
        handlers._network.start(
            handlers._placement[source],
            handlers._placement[destination],
            self._nbytes,
            lambda _: self._done(),
            0.0 if handlers._timers else None,
            extra=receiver.latency,
            credit=sender.credit,
            ends=tuple(end for end in (handlers._ends[source], handlers._ends[destination]) if end is not None),
        )

    def _moved(self, rank: int) -> None:
        self._handlers._loops[rank].did(_BYTES)
        self._done()

    def _done(self) -> None:
        self._left -= 1
        if not self._left:
            self._delivered(self._started)


def _nothing() -> None:
    pass


def handlers_of(
    hosts: Sequence[Host],
    placement: Sequence[int],
    processors: Sequence[Processor],
    network: Network,
    law: NoiseLaw,
    draws: Sequence[Draws],
    cores: int | None,
) -> tuple[Handlers, Handlers]:
    """Those of the programs' messages, and those of the messages inside native collectives, which nothing holds up.

    With `cores` these handle the messages of all hosts together, in paced runs.
    """
    timers = cores is not None
    if cores is not None:
        processors = [Processor(network.env, cores)] * len(hosts)
    own = Handlers([host.handling for host in hosts], placement, processors, network, law, draws, timers)
    return own, Handlers([host.native for host in hosts], placement, processors, network, law, draws)
