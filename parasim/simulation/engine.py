"""The simulated runtime: the port of every actor in virtual time, on SimPy.

SimPy orders what takes time: computes on processors, flows on links, sleeps. What takes none (matching, lanes, handles,
header-only messages without overhead) never becomes an event: actors that have something to do are
queued in `_awake` and stepped before the next event. Ties break by insertion, so the same seed gives the same trace.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import simpy
from simpy.core import EmptySchedule

from parasim.cluster.cluster import Cluster
from parasim.errors import ProgramError
from parasim.program.buffers import Buffer
from parasim.program.cast import Cast
from parasim.program.collectives import DEFAULTS
from parasim.program.context import Context
from parasim.program.ops import Collective, Locked
from parasim.program.shared import Shared
from parasim.runtime.actor import Actor
from parasim.runtime.deadlock import check_replay, deadlock_of
from parasim.runtime.shared import SharedVector
from parasim.runtime.tasks import Envelope, Pending, Receipt, Task
from parasim.simulation.alarm import Burst
from parasim.simulation.coupled.conductor import Conductor
from parasim.simulation.coupled.coupling import Coupling, Fidelity
from parasim.simulation.fast.instants import Instants
from parasim.simulation.garbage import YOUNG, collecting
from parasim.simulation.handling import Handlers, handlers_of, handles
from parasim.simulation.memory import Memory
from parasim.simulation.network import Network
from parasim.simulation.noise import NoiseLaw, NoNoise
from parasim.simulation.pace import kinds_of, modelled
from parasim.simulation.processors import Processor
from parasim.simulation.stragglers import Straggler
from parasim.trace.aggregate import Aggregates
from parasim.trace.record import Recorder, Script
from parasim.trace.rows import Sink

if TYPE_CHECKING:
    from parasim.simulation.coupled.plan import Setting
    from parasim.simulation.fast.collectives import Collectives

__all__ = ["Engine"]


class Engine:
    """One simulated run.

    Parameters
    ----------
    cluster, placement
        Where; `placement[rank]` is a host.
    cast, contexts
        Who, and what each sees; values are carried if the contexts have a learner.
    sink
        Takes the rows.
    noise
        Law of the computes' random factors.
    speeds, stragglers
        Speed of a rank relative to its device (default 1); rules that slow down a rank for a while.
    overhead
        Seconds per message and per byte that each end point spends on a message.
    handling_noise, handling_cores
        Law of the random factors of message handling; cores that handle the messages of all hosts together (None: each
        host's own, beside its computes). Computes are *paced* then, as in the executor: they take no core, begin when
        what their program waited for was over, and end by the model, though it may go on later; and the receiver's
        timers hold messages up by the latency of their route.
    fidelity
        Of collectives: every message, or one flow each (parasim/simulation/coupled/coupling.py).
    fast_paths
        Use what gives the same result in fewer events (parasim/simulation/fast)? Else every message is simulated.
    at_once
        Make values of a collective without its messages, where a fast path takes it? `run` may raise `Dissolved` then.
    recorders, scripts
        One per rank: to record choices, to replay recorded ones.

    Attributes
    ----------
    events
        SimPy events processed.
    returns
        What each rank's main program returned.
    """

    def __init__(
        self,
        cluster: Cluster,
        placement: Sequence[int],
        cast: Cast,
        contexts: Sequence[Context],
        sink: Sink,
        *,
        noise: NoiseLaw | None = None,
        speeds: Mapping[int, float] | None = None,
        stragglers: Mapping[int, Sequence[Straggler]] | None = None,
        overhead: tuple[float, float] = (0.0, 0.0),
        handling_noise: NoiseLaw | None = None,
        handling_cores: int | None = None,
        fidelity: Fidelity = "message",
        fast_paths: bool = True,
        at_once: bool = False,
        recorders: Sequence[Recorder] | None = None,
        scripts: Sequence[Script] | None = None,
    ) -> None:
        self.env = simpy.Environment()
        self.events = self._deliveries = 0
        self._tensors: Any = contexts[0].tensors
        sums = isinstance(sink, Aggregates) and not (recorders or scripts or handling_cores)
        sums = sums and (at_once or self._tensors is None)
        self._without_messages = fast_paths and fidelity == "message" and sums and not handles(cluster.hosts)
        self._fast: Collectives | None = None
        self._cluster = cluster
        self._placement = placement
        self._overhead = overhead
        burst = Burst()
        credit = max(host.handling.credit for host in cluster.hosts) if fidelity == "message" else 0.0
        self._network = Network(self.env, cluster, overhead, fast_paths=fast_paths, burst=burst, credit=credit)
        self._processors = [Processor(self.env, host.cores, host.contention, burst) for host in cluster.hosts]
        self._handlers: Handlers | None = None
        self._paced = handling_cores is not None
        if handles(cluster.hosts):
            law, draws, on = handling_noise or NoNoise(), [me.draws for me in contexts], self._processors
            costly = handlers_of(cluster.hosts, placement, on, self._network, law, draws, handling_cores)
            self._handlers, self._native = costly
        law, faster, slower = noise or NoNoise(), speeds or {}, stragglers or {}
        self._paces = [
            modelled(cluster.hosts[host].device, law, me.draws, faster.get(me.rank, 1.0), slower.get(me.rank, ()))
            for host, me in zip(placement, contexts, strict=True)
        ]
        self._coupling = None
        if fidelity != "message":
            conductor = Conductor(self.env, self._network)
            noisy = not isinstance(law, NoNoise) or bool(slower)
            self._coupling = Coupling(
                conductor, fidelity, self._setting_of, noisy=noisy, tensors=self._tensors, wake=self._go_on
            )
        self._awake: deque[Actor] = deque()
        instants = fast_paths and fidelity == "message" and self._handlers is None
        self._instants = Instants(self.env, burst, self._awake, self._paces) if instants else None
        self._asleep = [True] * len(cast)
        self._stepping = False
        self._memory = Memory(contexts[0])
        self._cast = cast
        none = [None] * len(contexts)
        self.actors = [
            Actor(me, self, sink, recorder=recorder, script=script)
            for me, recorder, script in zip(contexts, recorders or none, scripts or none, strict=True)
        ]
        self._mains: list[Task] = []

    def run(self) -> None:
        """Run until every program has finished.

        Raises
        ------
        DeadlockError
            If nothing can happen any more and programs that are no daemons are unfinished.
        ProgramError
            If a program breaks the contract of the language.
        Dissolved
            If a collective whose values were to be made `at_once` can't go without its messages: run anew, without.
        """
        try:
            with collecting(0 if any(actor.carries for actor in self.actors) else YOUNG):
                self._run()
        finally:
            for actor in self.actors:
                actor.abandon()

    def _run(self) -> None:
        for actor, cast in zip(self.actors, self._cast, strict=True):
            self._mains.append(actor.post(cast.role.program(actor.context), "main", cast.role.daemon))
        self._settle()
        self._events()
        while any(actor.tasks for actor in self.actors):
            self._close()
            self._settle()
            self._events()
        for actor in self.actors:
            if actor.script is not None:
                actor.script.finish()

    @property
    def collectives(self) -> dict[str, int] | None:
        """How many were simulated message by message and as one flow each; None at message fidelity."""
        return None if self._coupling is None else self._coupling.counts

    @property
    def fast_collectives(self) -> dict[str, int] | None:
        """How many collectives went without their messages, or not; None where none may."""
        return None if self._fast is None else dict(self._fast.counts)

    @property
    def returns(self) -> list[Any]:
        """What each rank's main program returned."""
        return [main.handle.result for main in self._mains]

    def _events(self) -> None:
        step = self.env.step
        count = 0
        try:
            while True:
                step()
                count += 1
        except EmptySchedule:
            self.events += count

    def _close(self) -> None:
        """The queue is empty: a deadlock, or the end of everything that is no daemon."""
        if self._fast is not None and self._fast.part_all():
            return
        check_replay(self.actors)
        if any(actor.unfinished for actor in self.actors) or sum(actor.close() for actor in self.actors) == 0:
            raise deadlock_of(self.actors)

    def _settle(self) -> None:
        """Step every actor that has something to do."""
        awake, asleep = self._awake, self._asleep
        self._stepping = True
        while awake:
            actor = awake.popleft()
            actor.run()
            asleep[actor.rank] = True
        self._stepping = False

    # the port ------------------------------------------------------------------------------------------------------
    def now(self) -> float:
        """Virtual seconds."""
        now: float = self.env.now
        return now

    def wake(self, actor: Actor) -> None:
        """Step the actor before the next event; who is being stepped takes up by himself what comes."""
        if self._asleep[actor.rank]:
            self._asleep[actor.rank] = False
            self._awake.append(actor)

    def compute(self, actor: Actor, pending: Pending) -> None:
        """Take the modelled time, shared with the other computes of the host; the work is done at its end."""
        if self._handlers is None or pending.task.quiet:
            self._begin(actor, pending)
        else:
            self._handlers.operate(actor.rank, partial(self._begin, actor, pending))

    def _begin(self, actor: Actor, pending: Pending) -> None:
        now = self.env.now
        if self._paced and not pending.task.quiet:
            start = pending.t_post = pending.task.since
            end = start + self._paces[actor.rank](pending.op.kernel, start)
            self.env.timeout(max(0.0, end - now)).callbacks.append(lambda _: self._computed(actor, pending, start, end))
        elif self._fast is None or self._fast.compute(actor, pending):
            processor = self._processors[self._placement[actor.rank]]
            if self._instants is not None and self._instants.take(actor, pending.op.kernel, processor, now):
                self._worked(actor, pending, now, now)
                return
            seconds = self._paces[actor.rank](pending.op.kernel, now)
            if self._handlers is not None and len(actor.tasks) == 1 and not pending.task.quiet:
                self._handlers.hold(actor.rank)
            processor.start(seconds, partial(self._computed, actor, pending, now))

    def _computed(self, actor: Actor, pending: Pending, start: float, end: float | None = None) -> None:
        worked = partial(self._worked, actor, pending, start, self.env.now if end is None else end)
        if self._handlers is None or pending.task.quiet:
            worked()
        else:
            self._handlers.complete(actor.rank, worked)

    def _worked(self, actor: Actor, pending: Pending, start: float, end: float) -> None:
        work = pending.op.work if actor.carries else pending.op.otherwise
        actor.computed(pending, start, end, work() if work is not None else None)
        self._go_on()

    def announce(self, actor: Actor, envelope: Envelope) -> None:
        """Announcements take no time but that of handling."""
        if not 0 <= envelope.destination < len(self.actors):
            raise ProgramError(f"rank {actor.rank} sends to rank {envelope.destination}; there are {len(self.actors)}")
        handlers = None if self._handlers is None else self._handlers_of(envelope)
        if handlers is None:
            self._heard(envelope)
        else:
            handlers.announce(envelope.source, envelope.destination, partial(self._finish, self._heard, envelope))

    def _handlers_of(self, envelope: Envelope) -> Handlers | None:
        """Who handles a message: the program's, or the backend's own inside a native collective."""
        assert envelope.pending is not None
        return self._native if envelope.pending.task.quiet else self._handlers

    def _heard(self, envelope: Envelope) -> None:
        receiver = self.actors[envelope.destination]
        if (receipt := receiver.mailbox.offer(envelope)) is not None:
            self.transfer(receiver, envelope, receipt)

    def transfer(self, actor: Actor, envelope: Envelope, receipt: Receipt) -> None:
        """Move the payload as a flow; a header alone takes the end points' overhead only."""
        delivered = partial(self._delivered, actor, envelope, receipt)
        handlers = None if self._handlers is None else self._handlers_of(envelope)
        if handlers is not None:
            if envelope.has_buffer:
                handlers.transfer(envelope.source, envelope.destination, envelope.nbytes, delivered)
            else:
                self._deliver(actor, envelope, receipt, self.now())
        elif envelope.has_buffer:
            source, destination = self._placement[envelope.source], self._placement[envelope.destination]
            done = delivered if self._fast is None else self._fast.watch(envelope, delivered)
            self._network.start(source, destination, envelope.elements * envelope.itemsize, done)
        elif self._overhead[0]:
            start = self.now()
            self.env.timeout(2 * self._overhead[0]).callbacks.append(lambda _: delivered(start))
        else:
            self._deliver(actor, envelope, receipt, self.now())

    def _delivered(self, actor: Actor, envelope: Envelope, receipt: Receipt, start: float) -> None:
        self._deliveries += envelope.has_buffer
        self._deliver(actor, envelope, receipt, start)
        self._settle()

    def _deliver(self, actor: Actor, envelope: Envelope, receipt: Receipt, start: float) -> None:
        end = self.env.now
        buffer = receipt.accept(envelope)
        if buffer is not None and actor.carries:
            sent = envelope.buffer
            assert sent is not None
            if receipt.into is not None:
                receipt.into.take(sent, self._tensors)
            else:
                values = actor.copied(sent) if envelope.lent or sent.content is not None else sent.values
                buffer = Buffer(sent.name, sent.elements, sent.itemsize, values)
        handlers = None if self._handlers is None else self._handlers_of(envelope)
        if handlers is None:
            self.actors[envelope.source].sent(envelope, start, end)
            actor.received(receipt, envelope, buffer, start, end)
        else:
            start = max(envelope.t_post, receipt.t_post)
            told = partial(self.actors[envelope.source].sent, envelope, start, end)
            handlers.finish(envelope.source, partial(self._finish, told))
            received = partial(actor.received, receipt, envelope, buffer, start, end)
            handlers.finish(envelope.destination, partial(self._finish, received))

    def _finish(self, done: Callable[..., None], *arguments: Any) -> None:
        """A message has been handled at one end."""
        done(*arguments)
        self._go_on()

    def sleep(self, actor: Actor, pending: Pending, seconds: float) -> None:
        """One event."""
        self.env.timeout(seconds).callbacks.append(lambda _: self._slept(actor, pending))

    def _slept(self, actor: Actor, pending: Pending) -> None:
        actor.slept(pending)
        self._settle()

    def native(self, actor: Actor, pending: Pending, op: Collective) -> None:
        """A named algorithm stands for the backend's own; its messages are not claimed."""
        named = replace(op, algorithm=DEFAULTS[op.kind])
        if self._coupling is not None and self._coupling.take(actor, pending, named, quiet=True):
            return
        if self._handlers is None:
            actor.expand_native(pending, DEFAULTS[op.kind])
        else:
            self._native.operate(actor.rank, partial(self._finish, actor.expand_native, pending, DEFAULTS[op.kind]))

    def whole(self, actor: Actor, pending: Pending, op: Collective) -> bool:
        """As one flow, or without its messages, if it can be."""
        if self._fast is None and self._without_messages:
            self._fast = self._begin_fast()
        takes = self._coupling or self._fast
        return takes is not None and takes.take(actor, pending, op)

    def interrupt(self, actor: Actor, pending: Pending) -> None:
        """A collective without messages goes on with them."""
        if self._fast is not None:
            self._fast.interrupt(actor, pending)

    def _begin_fast(self) -> Collectives:
        from parasim.simulation.fast.collectives import Collectives, Run

        run = Run(
            self.env, self._cluster, self._network, self._processors, self.actors, self._placement, self._paces,
            self._overhead, self._computed, self._delivered, lambda: self._deliveries, self._go_on,
        )  # fmt: skip
        return Collectives(run, self._tensors)

    def _go_on(self) -> None:
        """Step who has something to do, unless someone is stepped already."""
        if not self._stepping:
            self._settle()

    def _setting_of(self, ranks: tuple[int, ...]) -> Setting:
        from parasim.simulation.coupled.plan import Setting

        hosts, paces = tuple([self._placement[rank] for rank in ranks]), [self._paces[rank] for rank in ranks]
        return Setting(self._cluster, hosts, *kinds_of(paces), *self._overhead)

    def acquire(self, actor: Actor, pending: Pending, op: Locked[object]) -> None:
        """Locks are first-in first-out."""
        self._memory.acquire(op.shared, partial(actor.granted, pending))

    def release(self, actor: Actor, shared: Shared) -> None:
        """Grant it to the next in line."""
        self._memory.release(shared)

    def vector(self, shared: Shared) -> SharedVector:
        """The memory of a shared vector, made when first asked for."""
        return self._memory.vector(shared)

    def finished(self, actor: Actor, task: Task) -> None:
        """Nothing to do: the end is found when the queue is empty."""
