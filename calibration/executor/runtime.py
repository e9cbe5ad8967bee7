"""The port of one actor among real processes, and the loop that steps its programs.

One thread, the loop's, owns the actor. Whatever takes time happens elsewhere (in threads that wait for transfers, run
computes, wait for locks) and ends as an item in `_inbox`; the loop takes items one after the other and steps the actor
after each. What is done at once goes to `_soon`, without crossing threads. While an actor has a single program, its
computes and receives block the loop itself: nothing else could go on anyway.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import torch

from calibration.executor.backend import Group
from calibration.executor.courier import LAST, MESSAGE, ORDER, REPORT, Courier
from calibration.executor.device import CpuDevice
from calibration.executor.ending import QUIET_SECONDS, Coordinator, Order, State
from calibration.executor.helpers import Helpers
from calibration.executor.memory import Memory, Vector
from calibration.executor.pacing import Pace
from calibration.executor.streams import Stream
from parasim.errors import ProgramError
from parasim.program.buffers import Buffer
from parasim.program.groups import Group as Members
from parasim.program.ops import Collective, Locked
from parasim.program.shared import Shared
from parasim.runtime.actor import Actor
from parasim.runtime.deadlock import Blocked
from parasim.runtime.mailbox import Envelope, Receipt
from parasim.runtime.tasks import Pending, Task

__all__ = ["Runtime", "Stuck"]

_SPIN_SECONDS = 1e-4
_LONGEST_WAIT = 3600.0
_Item = Callable[[], None]


@dataclass(slots=True, eq=False)
class Incoming(Envelope):
    """An announced message at its receiver: `count` elements of type `dtype` come ("": bytes that nobody reads)."""

    dtype: str = ""
    count: int = 0


class Stuck(Exception):
    """The run is a deadlock; `rows` say what this rank's programs wait for, at `now`."""

    def __init__(self, rows: list[Blocked], now: float) -> None:
        super().__init__(f"deadlock at {now} s")
        self.rows = rows
        self.now = now


class Runtime:
    """One rank of a run.

    Parameters
    ----------
    group
        All ranks.
    open_group
        Makes the process group of a native stream: of its ranks and its name, over NCCL or not.
    mains
        Of each rank: is its main program one that the run waits for?
    memory
        The shared vectors.
    device
        Where values live.
    pace
        Seconds of each compute; None: as long as it takes.
    epoch
        Zero of the run's clock, in seconds of `time.monotonic`.
    """

    def __init__(
        self,
        group: Group,
        open_group: Callable[[tuple[int, ...], str, bool], Group],
        mains: list[bool],
        memory: Memory,
        device: CpuDevice,
        pace: Pace | None,
        epoch: float,
    ) -> None:
        self._group = group
        self._open_group = open_group
        self._memory = memory
        self._device = device
        self._pace = pace
        self._epoch = epoch
        self._helpers = Helpers()
        self._courier = Courier(group, self._heard)
        self._inbox: SimpleQueue[_Item] = SimpleQueue()
        self._soon: deque[_Item] = deque()
        self._timers: list[tuple[float, int, _Item]] = []
        self._numbers = itertools.count()
        self._scratch = torch.empty(0, dtype=torch.uint8)
        self._running = 0  # operations under way that end by themselves
        self._counts = {"announced": 0, "heard": 0, "delivered": 0, "accepted": 0, "closed": 0}
        self._streams: dict[str, Stream] = {}
        self._locks: dict[str, deque[Pending]] = {}
        self._held: dict[str, int] = {}
        # the ending
        self._coordinator = Coordinator(mains) if group.index == 0 else None
        self._events = 0
        self._reported = -1
        self._asked: Order | None = None
        self._calm = 0.0
        self._order: Order | None = None

    # the loop --------------------------------------------------------------------------------------------------------
    def run(self, actor: Actor) -> None:
        """Step the actor until the run is over.

        Raises
        ------
        Stuck
            If the run is a deadlock.
        LostPeer
            If another process is gone.
        """
        self._actor = actor
        self._courier.start()
        while self._order is None:
            actor.run()
            if self._soon:
                self._soon.popleft()()
                continue
            item = self._next()
            if item is not None:
                item()
        for peer in range(1, self._group.size) if self._coordinator is not None else (0,):
            self._courier.tell(peer, [LAST])
        self._courier.finish()
        if self._order.kind == "stuck":
            stuck = Stuck(actor.table(), self.now())
            self._drain()
            raise stuck

    def _drain(self) -> None:
        """Take what nobody received, so that no thread of a sender waits on in a process that lives on."""
        for envelope in self._actor.mailbox.unclaimed():
            assert isinstance(envelope, Incoming)
            nbytes = envelope.count * (getattr(torch, envelope.dtype).itemsize if envelope.dtype else 1)
            wire = torch.empty(max(nbytes, 1), dtype=torch.uint8)
            self._courier.receive(envelope.source, envelope.wire, wire).wait()

    def _next(self) -> _Item | None:
        """Wait for the next item; None if there was something to say to rank 0 instead."""
        while True:
            timeout = _LONGEST_WAIT
            if self._timers:
                left = self._timers[0][0] - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._timers)[2]
                timeout = min(left - _SPIN_SECONDS, timeout)
                if timeout <= 0 and self._inbox.empty():
                    continue
            elif not self._running and self._inbox.empty():
                quiet = self._quiet()
                if quiet <= 0:
                    return None
                timeout = min(quiet, timeout)
            try:
                return self._inbox.get(timeout=max(timeout, 0.0))
            except Empty:
                pass

    def _quiet(self) -> float:
        """Nothing happens in this rank: seconds until there is something to say to rank 0; 0 if that has been done."""
        now = time.monotonic()
        if not self._calm:
            self._calm = now
        left = self._calm + QUIET_SECONDS - now
        if self._group.size == 1 or not self._actor.tasks:
            left = 0.0
        if self._asked is not None and (self._asked.final or left <= 0):
            wave, self._asked = self._asked.wave, None
            self._report(wave)
            return 0.0
        if self._reported != self._events:
            if left > 0:
                return left
            self._reported = self._events
            self._report(0)
            return 0.0
        return left if self._asked is not None else _LONGEST_WAIT

    def _event(self) -> None:
        """Something has happened to this rank's programs."""
        self._events += 1
        self._calm = 0.0

    def _put(self, function: Callable[..., None], *arguments: Any) -> None:
        self._inbox.put(functools.partial(function, *arguments))

    def _beside(self, job: Callable[[], tuple[Any, ...]], then: Callable[..., None]) -> None:
        """Run a job in a thread of its own, then `then` with its results in the loop."""

        def work() -> None:
            try:
                results = job()
            except BaseException as error:
                self._put(_throw, error)
            else:
                self._put(then, *results)

        self._helpers.submit(work)

    def _alone(self) -> bool:
        """Could anything else go on?"""
        return len(self._actor.tasks) == 1

    # the ending ------------------------------------------------------------------------------------------------------
    def _state(self) -> State:
        actor = self._actor
        return State(
            events=self._events,
            unfinished=actor.unfinished,
            tasks=len(actor.tasks),
            collectives={name: [s.begun, int(s.waiting), s.size] for name, s in self._streams.items()},
            locks={name: [self._held.get(name, 0), int(bool(queue))] for name, queue in self._locks.items()},
            **self._counts,
        )

    def _report(self, wave: int) -> None:
        state = self._state()
        if self._coordinator is None:
            values = {name: getattr(state, name) for name in State.__slots__}
            self._courier.tell(0, [REPORT, self._group.index, wave, values])
        else:
            self._reported_to_me(0, wave, state)

    def _reported_to_me(self, rank: int, wave: int, state: State) -> None:
        assert self._coordinator is not None
        order = self._coordinator.report(rank, wave, state)
        if order is not None:
            for peer in range(1, self._group.size):
                self._courier.tell(peer, [ORDER, *order.as_list()])
            self._ordered(order)

    def _ordered(self, order: Order) -> None:
        if order.kind in ("done", "stuck"):
            self._order = order
            return
        if order.kind == "close":
            self._counts["closed"] += self._actor.close()
            self._event()
        self._asked = order

    def _heard(self, content: list[Any] | None, error: BaseException | None) -> None:
        """A packet has come; called by the receiving thread."""
        if content is None:
            assert error is not None
            self._put(_throw, error)
        elif content[0] == MESSAGE:
            self._put(self._announced, content[1:])
        elif content[0] == REPORT:
            self._put(self._reported_to_me, content[1], content[2], State(**content[3]))
        else:
            self._put(self._ordered, Order(*content[1:]))

    # the port: time --------------------------------------------------------------------------------------------------
    def now(self) -> float:
        """Seconds since the run's start."""
        return time.monotonic() - self._epoch

    def wake(self, actor: Actor) -> None:
        """Nothing to do: the loop steps the actor after every item."""

    def finished(self, actor: Actor, task: Task) -> None:
        """Nothing to do: the end is found by the loop."""

    def _at(self, moment: float, item: _Item) -> None:
        heapq.heappush(self._timers, (moment, next(self._numbers), item))

    def sleep(self, actor: Actor, pending: Pending, seconds: float) -> None:
        """A timer of the loop."""

        def slept() -> None:
            self._event()
            actor.slept(pending)

        self._at(time.monotonic() + seconds, slept)

    # the port: computing ---------------------------------------------------------------------------------------------
    def compute(self, actor: Actor, pending: Pending) -> None:
        """Run the work; paced, until the modelled time is over, with what it does without values at the end."""
        op = pending.op
        start = self.now()
        end = None if self._pace is None else start + self._pace(op.kernel)
        work = op.work if actor.carries else None
        last = None if actor.carries else op.otherwise

        def job() -> tuple[Any, float]:
            result = None if work is None else work()
            self._device.synchronize()
            return result, self.now()

        def worked(result: Any, at: float) -> None:
            self._running -= 1
            if end is None:
                ended(result, at)
            else:
                self._at(end + self._epoch, lambda: ended(result, self.now()))

        def ended(result: Any, at: float) -> None:
            self._event()
            if last is not None:
                result, at = last(), self.now()
            actor.computed(pending, start, at, result)

        self._running += 1
        if work is None:
            self._soon.append(functools.partial(worked, None, start))
        elif self._alone():
            self._soon.append(functools.partial(worked, *job()))
        else:
            self._beside(job, worked)

    # the port: messages ----------------------------------------------------------------------------------------------
    def announce(self, actor: Actor, envelope: Envelope) -> None:
        """Send the announcement and the payload; a thread waits until the peer has it."""
        if not 0 <= envelope.destination < self._group.size:
            raise ProgramError(f"rank {actor.rank} sends to rank {envelope.destination}; there are {self._group.size}")
        payload, dtype, elements = self._payload(envelope)
        content = [
            MESSAGE, envelope.source, envelope.tag, _plain(envelope), envelope.name, envelope.elements,
            envelope.itemsize, envelope.has_buffer, envelope.message, envelope.t_post, dtype, elements,
        ]  # fmt: skip
        parcel = self._courier.send(envelope.destination, content, payload)
        self._counts["announced"] += 1

        def job() -> tuple[float]:
            parcel.wait()
            return (self.now(),)

        def delivered(end: float) -> None:
            self._event()
            self._counts["delivered"] += 1
            actor.sent(envelope, envelope.t_post, end)

        self._beside(job, delivered)

    def _payload(self, envelope: Envelope) -> tuple[torch.Tensor | None, str, int]:
        """The bytes to send (None: nothing), their type ("" for scratch) and number of elements of that type."""
        buffer = envelope.buffer
        if buffer is None:
            return None, "", 0
        if buffer.values is None:
            return self._scratch_of(buffer.nbytes), "", buffer.nbytes
        wire = self._device.to_wire(buffer.values)
        return wire if len(wire) else None, str(buffer.values.dtype).removeprefix("torch."), buffer.values.numel()

    def _scratch_of(self, nbytes: int) -> torch.Tensor | None:
        """Memory that stands for values; nobody reads it."""
        if nbytes > len(self._scratch):
            self._scratch = torch.zeros(nbytes, dtype=torch.uint8)
        return self._scratch[:nbytes] if nbytes else None

    def _announced(self, content: list[Any]) -> None:
        """A message to this rank has been announced."""
        self._event()
        self._counts["heard"] += 1
        source, *named, dtype, count, wire = content
        envelope = Incoming(source, self._group.index, *named)
        envelope.dtype, envelope.count, envelope.wire = dtype, count, wire
        receipt = self._actor.mailbox.offer(envelope)
        if receipt is not None:
            self.transfer(self._actor, envelope, receipt)

    def transfer(self, actor: Actor, envelope: Envelope, receipt: Receipt) -> None:
        """Post the receive of the payload."""
        buffer = receipt.accept(envelope)
        assert isinstance(envelope, Incoming)
        start = max(envelope.t_post, receipt.t_post)
        values = None
        into = None if receipt.into is None else receipt.into.values
        if envelope.dtype and actor.carries:
            values = self._device.landing(getattr(torch, envelope.dtype), envelope.count, into)
        wire = self._scratch_of(envelope.count) if values is None else values.view(torch.uint8)

        def landed(end: float) -> None:
            self._event()
            self._running -= 1
            self._counts["accepted"] += 1
            here = buffer
            if values is not None:
                final = self._device.landed(values, into)
                if into is None:
                    here = Buffer(envelope.name, envelope.elements, envelope.itemsize, final)
            actor.received(receipt, envelope, here, min(start, end), end)

        self._running += 1
        if wire is None or not len(wire):
            self._courier.acknowledge(envelope.source, envelope.wire)
            self._soon.append(lambda: landed(self.now()))
            return
        parcel = self._courier.receive(envelope.source, envelope.wire, wire)

        def job() -> tuple[float]:
            parcel.wait()
            return (self.now(),)

        if self._alone() and len(receipt.pending.receipts) == 1:
            self._soon.append(functools.partial(landed, *job()))
        else:
            self._beside(job, landed)

    # the port: collectives and shared memory -------------------------------------------------------------------------
    def stream(self, members: Members, lane: str) -> Stream:
        """The native collectives of a group on a lane."""
        name = f"{members.name}/{lane}"
        if name not in self._streams:
            open_group = functools.partial(self._open_group, members.ranks)
            self._streams[name] = Stream(name, members.size, open_group, self._device)
        return self._streams[name]

    def native(self, actor: Actor, pending: Pending, op: Collective) -> None:
        """Take part in a thread."""
        op.group.index(actor.rank)
        stream = self.stream(op.group, pending.task.lane)
        stream.begun += 1
        stream.waiting = True

        def reduced(start: float, end: float, reply: Any) -> None:
            self._event()
            stream.waiting = False
            actor.reduced(pending, min(max(start, pending.t_post), end), end, reply)

        self._beside(lambda: stream.run(op, pending.t_post, self.now), reduced)

    def acquire(self, actor: Actor, pending: Pending, op: Locked[object]) -> None:
        """First in first out within the actor; the kernel chooses among actors."""
        queue = self._locks.setdefault(op.shared.name, deque())
        queue.append(pending)
        if len(queue) == 1 and not self._held.get(op.shared.name):
            self._lock(op.shared)

    def _lock(self, shared: Shared) -> None:
        def job() -> tuple[()]:
            self._memory.lock(shared)
            return ()

        def granted() -> None:
            self._event()
            self._held[shared.name] = 1
            self._actor.granted(self._locks[shared.name].popleft())

        self._beside(job, granted)

    def release(self, actor: Actor, shared: Shared) -> None:
        """Give it to whoever waits."""
        self._held[shared.name] = 0
        self._memory.unlock(shared)
        if self._locks[shared.name]:
            self._lock(shared)

    def vector(self, shared: Shared) -> Vector:
        """The mapped memory."""
        return self._memory.vector(shared)


def _plain(envelope: Envelope) -> Mapping[str, Any]:
    """The header, if it can travel."""
    header = dict(envelope.header)
    for key, value in header.items():
        if type(value) not in (int, float, str, bool):
            raise ProgramError(
                f"rank {envelope.source}: header {key}={value!r} (tag {envelope.tag!r}) is a {type(value).__name__}; "
                "headers hold int, float, str and bool"
            )
    return header


def _throw(error: BaseException) -> None:
    raise error
