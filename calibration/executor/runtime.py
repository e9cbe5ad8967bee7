"""The port of one actor among real processes, and the loop that steps its programs.

One thread, the loop's, owns the actor. Whatever takes time happens elsewhere (in threads that wait for transfers, run
computes, wait for locks) and ends as an item of the inbox; the loop takes items one after the other and steps the actor
after each. What is done at once crosses no thread. While an actor has a single program, its
computes and receives block the loop itself: nothing else could go on anyway.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calibration.executor.backend import Group
from calibration.executor.courier import LAST, MESSAGE, Courier, plain_header
from calibration.executor.device import CpuDevice
from calibration.executor.gauge import Gauge
from calibration.executor.helpers import Helpers
from calibration.executor.inbox import Inbox, throw
from calibration.executor.memory import Memory, Vector
from calibration.executor.scheduling import yielding
from calibration.executor.streams import Stream
from calibration.executor.watch import Watch
from parasim.errors import ProgramError
from parasim.program.buffers import Buffer
from parasim.program.groups import Group as Members
from parasim.program.ops import Collective, Exchange, Locked, Recv
from parasim.program.shared import Shared
from parasim.runtime.actor import Actor
from parasim.runtime.deadlock import Blocked
from parasim.runtime.tasks import Envelope, Pending, Receipt, Task
from parasim.simulation.pace import Pace

__all__ = ["Runtime", "Stuck"]


@dataclass(slots=True, eq=False)
class Incoming(Envelope):
    """An announced message at its receiver: `count` elements of type `dtype` come ("": bytes that nobody reads)."""

    dtype: str = ""
    count: int = 0


class Stuck(Exception):
    """The run is a deadlock; `rows` say what this rank's programs wait for, at `now`.

    `stranded`: a thread is left that waits inside a native collective for ever.
    """

    def __init__(self, rows: list[Blocked], now: float, stranded: bool) -> None:
        super().__init__(f"deadlock at {now} s")
        self.rows = rows
        self.now = now
        self.stranded = stranded


class Runtime:
    """One rank of a run.

    Parameters
    ----------
    group, up, down
        All ranks, for what the courier sends.
    open_group
        Makes the process group of a native stream: of its ranks and its name, over NCCL if a GPU is given.
    mains
        Of each rank: is its main program one that the run waits for?
    memory
        The shared vectors.
    device
        Where values live.
    pace
        Seconds of each compute; None: as long as it takes.
    latencies
        Of each rank: seconds by which payloads from there are held up before they flow.
    helpers, computers
        Threads that wait, and threads that compute, where the loop must not.

    Attributes
    ----------
    gauge
        How fast this rank's core was meanwhile.
    epoch
        Zero of the run's clock, in seconds of `time.monotonic`; to be set when all ranks are ready.
    """

    def __init__(
        self,
        group: Group,
        up: Group,
        down: Group,
        open_group: Callable[[tuple[int, ...], str, torch.device | None], Group],
        mains: list[bool],
        memory: Memory,
        device: CpuDevice,
        pace: Pace | None,
        latencies: Sequence[float],
        helpers: Helpers,
        computers: Helpers,
    ) -> None:
        self._group = group
        self._open_group = open_group
        self._memory = memory
        self._device = device
        self._pace = pace
        self._latencies = latencies
        self.epoch = 0.0
        self.gauge = Gauge(self.now)
        self._inbox = Inbox(helpers)
        self._computers = computers
        self._courier = Courier(group, up, down, self._heard)
        self._watch = Watch(group.index, mains, self._courier, self._state)
        self._scratch = torch.empty(0, dtype=torch.uint8)
        self._counts = {"announced": 0, "heard": 0, "delivered": 0, "accepted": 0}
        self._streams: dict[str, Stream] = {}
        self._locks: dict[str, deque[Pending]] = {}
        self._held: dict[str, int] = {}

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
        calm = functools.partial(self._watch.calm, actor)
        while self._watch.verdict is None:
            actor.run()
            item = self._inbox.take(calm)
            if item is not None:
                self.gauge.look()
                item()
        for peer in range(1, self._group.size) if self._group.index == 0 else (0,):
            self._courier.tell(peer, [LAST])
        self._courier.finish()
        if self._watch.verdict.kind == "stuck":
            stranded = any(stream.waiting for stream in self._streams.values())
            stuck = Stuck(actor.table(), self.now(), stranded)
            self._drain()
            raise stuck

    def _drain(self) -> None:
        """Take what nobody received, so that no thread of a sender waits on in a process that lives on."""
        for envelope in self._actor.mailbox.unclaimed():
            assert isinstance(envelope, Incoming)
            nbytes = envelope.count * (getattr(torch, envelope.dtype).itemsize if envelope.dtype else 1)
            if nbytes:
                wire = torch.empty(nbytes, dtype=torch.uint8)
                self._courier.receive(envelope.source, envelope.wire, wire).wait()
                self._courier.landed(envelope.source, envelope.wire)
            else:
                self._courier.receive_nothing(envelope.source, envelope.wire).wait()

    def _alone(self) -> bool:
        """Could nothing else go on?"""
        return len(self._actor.tasks) == 1

    def _state(self) -> dict[str, Any]:
        """What the watch reports of messages, collectives and locks."""
        return {
            **self._counts,
            "collectives": {name: [s.begun, int(s.waiting), s.size] for name, s in self._streams.items()},
            "locks": {name: [self._held.get(name, 0), int(bool(queue))] for name, queue in self._locks.items()},
        }

    def _heard(self, content: list[Any] | None, error: BaseException | None) -> None:
        """A packet has come, or the connection broke; called by the receiving thread."""
        if content is None:
            assert error is not None
            self._inbox.put(throw, error)
        elif content[0] == MESSAGE:
            self._inbox.put(self._announced, content[1:])
        else:
            self._inbox.put(self._watch.hear, self._actor, content)

    # the port: time --------------------------------------------------------------------------------------------------
    def now(self) -> float:
        """Seconds since the run's start."""
        return time.monotonic() - self.epoch

    def wake(self, actor: Actor) -> None:
        """Nothing to do: the loop steps the actor after every item."""

    def finished(self, actor: Actor, task: Task) -> None:
        """Nothing to do: the end is found by the loop."""

    def sleep(self, actor: Actor, pending: Pending, seconds: float) -> None:
        """A timer of the loop, which goes when the sleep is interrupted."""

        def slept() -> None:
            self._watch.event()
            actor.slept(pending)

        self._inbox.at(time.monotonic() + seconds, slept, lambda: pending.over)

    # the port: computing ---------------------------------------------------------------------------------------------
    def compute(self, actor: Actor, pending: Pending) -> None:
        """Run the work; paced, until the modelled time is over, with what it does without values at the end.

        The modelled time begins when what the program waited for was over, and the compute ends with it, also if this
        process hears of either later: stepping programs costs time of its own, which is no part of the model (a device
        that takes kernels from a queue does the same). Work is done within that time: it takes the longer of the two.
        """
        op = pending.op
        start = self.now()
        end = None
        if self._pace is not None:
            start = pending.t_post = min(pending.task.since, start)
            end = start + self._pace(op.kernel, start)
        work = op.work if actor.carries else None
        last = None if actor.carries else op.otherwise

        def job() -> tuple[Any, float]:
            try:
                result = None if work is None else work()
            except Exception as error:
                error.add_note(f"in rank {actor.rank}, program {pending.task.id}, compute {op.kernel.label!r}")
                raise
            self._device.synchronize()
            return result, self.now()

        def worked(result: Any, at: float) -> None:
            self._inbox.running -= 1
            if end is None or at > end:
                ended(result, at)
            else:
                self._inbox.at(end + self.epoch, lambda: ended(result, end))

        def ended(result: Any, at: float) -> None:
            self._watch.event()
            if last is not None:
                result = last()
                at = self.now() if end is None else at
            actor.computed(pending, start, at, result)

        self._inbox.running += 1
        if work is None:
            self._inbox.soon(worked, None, start)
        elif self._alone():
            with yielding():
                self._inbox.soon(worked, *job())
        else:
            self._inbox.beside(job, worked, self._computers)

    # the port: messages ----------------------------------------------------------------------------------------------
    def announce(self, actor: Actor, envelope: Envelope) -> None:
        """Send the announcement and the payload; a thread waits until the peer has it."""
        if not 0 <= envelope.destination < self._group.size:
            raise ProgramError(f"rank {actor.rank} sends to rank {envelope.destination}; there are {self._group.size}")
        payload, dtype, elements = self._payload(envelope)
        content = [
            MESSAGE, envelope.source, envelope.tag, plain_header(envelope), envelope.name, envelope.elements,
            envelope.itemsize, envelope.has_buffer, envelope.message, envelope.t_post, dtype, elements,
        ]  # fmt: skip
        parcel = self._courier.send(envelope.destination, content, payload)
        self._counts["announced"] += 1

        def job() -> tuple[float]:
            parcel.wait()
            return (self.now(),)

        def delivered(end: float) -> None:
            self._watch.event()
            self._counts["delivered"] += 1
            actor.sent(envelope, envelope.t_post, end)

        self._inbox.beside(job, delivered)

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
        self._watch.event()
        self._counts["heard"] += 1
        source, *named, dtype, count, wire = content
        envelope = Incoming(source, self._group.index, *named)
        envelope.dtype, envelope.count, envelope.wire = dtype, count, wire
        receipt = self._actor.mailbox.offer(envelope)
        if receipt is not None:
            self.transfer(self._actor, envelope, receipt)

    def transfer(self, actor: Actor, envelope: Envelope, receipt: Receipt) -> None:
        """Post the receive of the payload, when its latency is over."""
        buffer = receipt.accept(envelope)
        assert isinstance(envelope, Incoming)
        start = max(envelope.t_post, receipt.t_post)
        values = None
        into = None if receipt.into is None else receipt.into.values
        if envelope.dtype and actor.carries:
            values = self._device.landing(getattr(torch, envelope.dtype), envelope.count, into)
        wire = self._scratch_of(envelope.count) if values is None else values.view(torch.uint8)

        def landed(end: float) -> None:
            self._watch.event()
            self._inbox.running -= 1
            self._counts["accepted"] += 1
            here = buffer
            if values is not None:
                final = self._device.landed(values, into)
                if into is None:
                    here = Buffer(envelope.name, envelope.elements, envelope.itemsize, final)
            actor.received(receipt, envelope, here, min(start, end), end)

        self._inbox.running += 1
        if wire is None or not len(wire):
            self._courier.acknowledge(envelope.source, envelope.wire)
            self._inbox.soon(landed, self.now())
            return
        latency = self._latencies[envelope.source]

        def flow() -> None:
            parcel = self._courier.receive(envelope.source, envelope.wire, wire)

            def job() -> tuple[float]:
                parcel.wait()
                end = self.now()
                self._courier.landed(envelope.source, envelope.wire)
                return (end,)

            if self._alone() and _receives(receipt.pending.op) == 1:
                self._inbox.soon(landed, *job())
            else:
                self._inbox.beside(job, landed)

        if latency:
            self._inbox.at(time.monotonic() + latency, flow)
        else:
            flow()

    # the port: collectives and shared memory -------------------------------------------------------------------------
    def stream(self, members: Members, lane: str) -> Stream:
        """The native collectives of a group on a lane."""
        name = f"{members.name}/{lane}"
        if name not in self._streams:
            open_group = functools.partial(self._open_group, members.ranks)
            self._streams[name] = Stream(name, members.size, open_group, self._device)
        return self._streams[name]

    def whole(self, actor: Actor, pending: Pending, op: Collective) -> bool:
        """Never: every message is real."""
        return False

    def interrupt(self, actor: Actor, pending: Pending) -> None:
        """Nothing to do: a native collective goes on to its end."""

    def native(self, actor: Actor, pending: Pending, op: Collective) -> None:
        """Take part in a thread."""
        op.group.index(actor.rank)
        stream = self.stream(op.group, pending.task.lane)
        stream.begun += 1
        stream.waiting = True

        def reduced(start: float, end: float, reply: Any) -> None:
            self._watch.event()
            stream.waiting = False
            actor.reduced(pending, min(max(start, pending.t_post), end), end, reply)

        self._inbox.beside(lambda: stream.run(op, pending.t_post, self.now), reduced)

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
            self._watch.event()
            self._held[shared.name] = 1
            self._actor.granted(self._locks[shared.name].popleft())

        self._inbox.beside(job, granted)

    def release(self, actor: Actor, shared: Shared) -> None:
        """Give it to whoever waits."""
        self._held[shared.name] = 0
        self._memory.unlock(shared)
        if self._locks[shared.name]:
            self._lock(shared)

    def vector(self, shared: Shared) -> Vector:
        """The mapped memory."""
        return self._memory.vector(shared)


def _receives(op: Recv | Exchange) -> int:
    """Messages that an operation waits for: with one the loop may do so itself, more must come beside each other."""
    return len(op.receives) if isinstance(op, Exchange) else 1
