"""The interpreter of one actor: it steps the programs of all its lanes, in both runtimes.

Rule 1: everything that decides which program goes on, and with which reply, is here and in handlers.py.
Rule 2: nothing here knows what time is or how a message travels; that is the `Port`.
Rule 3: one thread. A runtime's callbacks put tasks into `ready`; `run` steps them one after the other, in the order in
which they became ready, or in the order of a record that is replayed.

A task is a stack of generators: the program itself, and the programs that some of its operations are expanded into
(a named collective, an access to shared memory).
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

from parasim.errors import ProgramError
from parasim.program.buffers import Buffer
from parasim.program.context import Context
from parasim.program.ops import ANY, Closed, Handle, Message, Program, Recv, Send
from parasim.runtime.describe import describe
from parasim.runtime.guard import Guard
from parasim.runtime.handlers import HANDLERS, expanded, finish_wait, fold, interrupt, message_reply
from parasim.runtime.mailbox import Mailbox
from parasim.runtime.port import Port
from parasim.runtime.shooting import camera_of, shoot
from parasim.runtime.tasks import NESTED, PENDING, Envelope, Frame, Lane, Part, Pending, Receipt, Task
from parasim.runtime.writer import Writer
from parasim.trace.actor import Sums
from parasim.trace.record import Recorder, Script
from parasim.trace.rows import Sink

__all__ = ["Actor"]

_MAX_CLOSINGS = 3


class Actor:
    """One actor of a run.

    Parameters
    ----------
    context
        What its programs see.
    port
        The runtime.
    sink
        Takes its rows.
    recorder, script
        Writes down the choices that are not determined; dictates those of an earlier run.
    """

    def __init__(
        self,
        context: Context,
        port: Port,
        sink: Sink,
        *,
        recorder: Recorder | None = None,
        script: Script | None = None,
    ) -> None:
        self.context = context
        self.rank = context.rank
        self.port = port
        self.carries = context.tensors is not None
        self.recorder = recorder
        self.script = script
        self.mailbox = Mailbox(self.rank)
        self.guard = Guard()
        self.lanes: dict[str, Lane] = {}
        self.tasks: dict[str, Task] = {}
        self.ready: deque[tuple[Task, Any, BaseException | None]] = deque()
        self.unfinished = 0
        self.messages = 0
        self.ended = 0.0  # when the last of its programs ended, seconds
        self.rows = Writer((self.rank, context.role, context.index), sink, port.now)
        self._now = port.now
        self.camera = camera_of(self)

    # programs and lanes --------------------------------------------------------------------------------------------
    def post(self, program: Program[Any], lane: str, daemon: bool, since: float = 0.0) -> Task:
        """Queue a program on a lane; it becomes ready when it is first there. `ProgramError` if it is no generator.

        What it does first could have been done at `since`, had its lane been free.
        """
        if not hasattr(program, "send"):
            who = f"rank {self.rank} ({self.context.role} {self.context.index})"
            raise ProgramError(f"{who}: the program of lane {lane} is {program!r}, not a generator; it must yield")
        stream = self.lanes.get(lane)
        if stream is None:
            stream = self.lanes[lane] = Lane(lane)
        name = f"{lane}#{stream.count}"
        stream.count += 1
        task = Task(name, lane, [Frame(program)], Handle(name, lane), daemon, since=since)
        self.tasks[name] = task
        if not daemon:
            self.unfinished += 1
        if stream.current is None:
            stream.current = task
            self.make_ready(task, since=since)
        else:
            stream.queue.append(task)
        return task

    def make_ready(
        self, task: Task, reply: Any = None, error: BaseException | None = None, *, since: float | None = None
    ) -> None:
        """The task's pending operation is done (or its program may begin): now, or `since` then."""
        task.pending = None
        task.since = self._now() if since is None else since
        self.ready.append((task, reply, error))
        self.port.wake(self)

    def run(self) -> None:
        """Step everything that is ready, in order; in replay, in the record's order, as far as it is ready.

        What stands for a native collective inside is nobody's choice, and is neither recorded nor replayed.
        """
        ready, script, recorder = self.ready, self.script, self.recorder
        while ready:
            if script is None:
                task, reply, error = ready.popleft()
            else:
                turn = self._turn(script)
                if turn is None:
                    return
                task, reply, error = turn
            if recorder is not None and not task.quiet:
                recorder.resume(task.id)
            if task.cancelled:
                self._stop(task)
            else:
                self._step(task, reply, error)

    def _turn(self, script: Script) -> tuple[Task, Any, BaseException | None] | None:
        """In replay: who goes on next, if it is ready."""
        wanted = script.next_resume()
        for position, item in enumerate(self.ready):
            task = item[0]
            if task.quiet or task.id == wanted:
                del self.ready[position]
                if not task.quiet:
                    script.resumed(task.id)
                return item
        return None

    def _step(self, task: Task, reply: Any, error: BaseException | None) -> None:
        """Go on with a program until an operation has to be waited for."""
        notes = self.context.notes
        stack = task.stack
        while True:
            program = stack[-1].program
            try:
                op = program.send(reply) if error is None else program.throw(error)
            except StopIteration as stop:
                if notes:
                    self._drain(task)
                frame = stack.pop()
                reply, error = stop.value if frame.op is None else fold(self, task, frame, stop.value), None
                if not stack:
                    self._finish(task, reply)
                    return
                if frame.quiet:
                    self.make_ready(task, reply)
                    return
                continue
            except Closed as closed:
                fold(self, task, stack.pop(), None)
                reply, error = None, closed
                if stack:
                    continue
                if not task.daemon:
                    raise
                self._finish(task, None)
                return
            except Exception as failure:
                failure.add_note(self._place(task, failure))
                raise
            if notes:
                self._drain(task)
            handler = HANDLERS.get(type(op))
            if handler is None:
                hint = "; write `yield from` before a program" if hasattr(op, "send") else ""
                raise ProgramError(f"rank {self.rank}, program {task.id}: {op!r} is no operation of the language{hint}")
            reply, error = handler(self, task, op), None
            if reply is PENDING:
                return
            if reply is NESTED:
                reply = None

    def _place(self, task: Task, failure: BaseException) -> str:
        """Where a program failed."""
        trace = failure.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        at = "" if trace is None else f", at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        return f"in rank {self.rank} ({self.context.role} {self.context.index}), program {task.id}{at}"

    def _finish(self, task: Task, result: Any) -> None:
        """The task ended: its lane goes on, then whoever waited for it."""
        lane = self.lanes[task.lane]
        lane.current = None
        if lane.queue:
            lane.current = lane.queue.popleft()
            self.make_ready(lane.current, since=max(lane.current.since, task.since))
        self._complete(task, result)

    def _complete(self, task: Task, result: Any) -> None:
        handle = task.handle
        handle.done = True
        handle.result = result
        handle.cancelled = task.cancelled
        handle.since = task.since
        self.ended = max(self.ended, task.since)
        del self.tasks[task.id]
        if not task.daemon:
            self.unfinished -= 1
        waiters, handle.waiters = handle.waiters, []
        for pending in waiters:
            if not pending.over:
                pending.remaining -= 1
                pending.over = pending.remaining == 0
                if pending.over:
                    finish_wait(self, pending, handle)
        self.port.finished(self, task)

    # stopping ------------------------------------------------------------------------------------------------------
    def cancel(self, task: Task) -> None:
        """Stop a task at the next kernel boundary."""
        if task.cancelled:
            return
        task.cancelled = True
        lane = self.lanes[task.lane]
        if lane.current is not task:
            lane.queue.remove(task)
            task.stack[0].program.close()
            self._complete(task, None)
        elif task.pending is not None and interrupt(self, task.pending):
            self.make_ready(task)

    def _stop(self, task: Task) -> None:
        """Close a cancelled task's generators and finish it."""
        while task.stack:
            frame = task.stack.pop()
            frame.program.close()
            fold(self, task, frame, None)
        self._finish(task, None)

    def close(self) -> bool:
        """Everything that is no daemon has finished: raise `Closed` in pending receives; False if there were none."""
        closed = False
        for task in list(self.tasks.values()):
            pending = task.pending
            if pending is None or type(pending.op) is not Recv or pending.over:
                continue
            if not self.mailbox.withdraw(pending.receipts[0]):
                continue
            task.closings += 1
            if task.closings > _MAX_CLOSINGS:
                raise ProgramError(f"rank {self.rank}, program {task.id}: goes on receiving after Closed was raised")
            self.unanswered(pending, "closed")
            self.make_ready(task, None, Closed())
            closed = True
        return closed

    def unanswered(self, pending: Pending, outcome: str) -> None:
        """A receive ends without a message: its row, and its place in the record."""
        if self.recorder is not None and pending.op.source == ANY:
            self.recorder.choice(pending.task.id, "source", ANY)
        self.rows.write(pending, "recv", "", t_start=self._now(), outcome=outcome, tag=pending.op.tag)

    def abandon(self) -> None:
        """Close every generator; the run is over or has failed."""
        for task in list(self.tasks.values()):
            for frame in reversed(task.stack):
                frame.program.close()
        self.tasks.clear()
        self.ready.clear()

    # callbacks of the runtime --------------------------------------------------------------------------------------
    def computed(self, pending: Pending, t_start: float, t_end: float, result: Any) -> None:
        """A compute ended."""
        self.rows.computed(pending, t_start, t_end)
        self.guard.stop(pending)
        if self.camera is not None and self.camera.due:
            shoot(self, t_end)  # before the next one begins: a server with a queue is never still
        following = self.guard.admit()
        self.make_ready(pending.task, result, since=t_end)
        for started in following:
            started.task.since = max(started.task.since, t_end)
            self.port.compute(self, started)

    def sent(self, envelope: Envelope, t_start: float, t_end: float) -> None:
        """The peer has all of it."""
        pending = envelope.pending
        assert pending is not None
        task = pending.task
        if task.quiet or type(pending.op) is not Send:
            self._message(pending, envelope, True, t_start, t_end)
            return
        pending.over = True
        self.rows.message(pending, envelope, True, t_start, t_end, task.cancelled)
        self.make_ready(task, None, since=t_end)

    def received(
        self, receipt: Receipt, envelope: Envelope, buffer: Buffer | None, t_start: float, t_end: float
    ) -> None:
        """All of a message is here, in `buffer` (which is `receipt.into` if that was given)."""
        pending, task = receipt.pending, receipt.pending.task
        message = Message(envelope.source, envelope.tag, envelope.header, buffer)
        if task.quiet or type(pending.op) is not Recv:
            pending.replies[receipt.slot] = message
            self._message(pending, envelope, False, t_start, t_end)
            return
        pending.over = True
        if self.recorder is not None and receipt.source == ANY:
            self.recorder.choice(task.id, "source", message.source)
        self.rows.message(pending, envelope, False, t_start, t_end, task.cancelled)
        pending.receipts.clear()  # they know the pending operation
        self.make_ready(task, message, since=t_end)

    def slept(self, pending: Pending) -> None:
        """A sleep ended (unless it was interrupted before)."""
        if not pending.over:
            pending.over = True
            self.rows.write(pending, "sleep", "", t_start=pending.t_post)
            self.make_ready(pending.task)

    def reduced(self, pending: Pending, t_start: float, t_end: float, result: Any) -> None:
        """A native collective ended."""
        op = pending.op
        nbytes = 0 if op.buffer is None else op.buffer.nbytes
        name = "" if op.buffer is None else op.buffer.name
        self.rows.write(
            pending, "collective", op.kind, t_start=t_start, t_end=t_end, outcome="native", group=op.group.name,
            buffer=name, nbytes=nbytes,
        )  # fmt: skip
        self.make_ready(pending.task, result, since=t_end)

    def coupled(
        self, pending: Pending, part: Part, t_start: float, t_end: float, result: Any, *, quiet: bool = False
    ) -> None:
        """A collective done as a whole ended; `quiet`: it stands for a native one, and claims no messages."""
        if quiet:
            self.reduced(pending, t_start, t_end, result)
            return
        self.rows.coupled(pending, part, t_start, t_end)
        self.make_ready(pending.task, result)

    def summed(self, pending: Pending, sums: Sums, end: float, result: Any) -> None:
        """A collective ended whose messages were not simulated one by one."""
        self.rows.summed(pending, sums, end)
        self.make_ready(pending.task, result, since=end)

    def granted(self, pending: Pending) -> None:
        """The lock of a `Locked` is held: run its program on the same task."""
        task, op = pending.task, pending.op
        self.rows.write(pending, "locked", op.shared.name, t_start=self._now())
        task.stack.append(Frame(op.program, op, self._now()))
        self.make_ready(task)

    def expand_native(self, pending: Pending, algorithm: str) -> None:
        """For a port without collectives of its own: run a named algorithm in the native one's place, unclaimed."""
        task = pending.task
        named = replace(pending.op, algorithm=algorithm)
        task.stack.append(Frame(expanded(self, task, named), pending.op, pending.t_post, quiet=True))
        task.quiet += 1
        self.make_ready(task)

    def copied(self, buffer: Buffer) -> Any:
        """Values for another buffer: a copy, or what both have from now on."""
        tensors = self.context.tensors
        assert tensors is not None
        return buffer.share(tensors)

    # details -------------------------------------------------------------------------------------------------------
    def _message(self, pending: Pending, envelope: Envelope, sent: bool, t_start: float, t_end: float) -> None:
        """One message of an Exchange is through, or of what is done for a native collective."""
        task = pending.task
        if not task.quiet:
            pending.messages.append((t_start, t_end, envelope, sent, task.cancelled))
        elif (frame := task.stack[-1]).quiet and (frame.t_first < 0 or t_start < frame.t_first):
            frame.t_first = t_start
        pending.remaining -= 1
        pending.end = t_end if t_end > pending.end else pending.end
        if not pending.remaining:
            self._messages_done(pending)

    def _messages_done(self, pending: Pending) -> None:
        pending.over = True
        if self.recorder is not None:
            for receipt in pending.receipts:
                if receipt.source == ANY:
                    self.recorder.choice(pending.task.id, "source", pending.replies[receipt.slot].source)
        if not pending.task.quiet:
            self.rows.messages(pending)
        reply = message_reply(pending)
        pending.messages.clear()  # messages and receipts know the pending operation:
        pending.receipts.clear()  # leave no cycles to the garbage collector
        self.make_ready(pending.task, reply, since=pending.end)

    def _drain(self, task: Task) -> None:
        notes = self.context.notes
        for event in notes:
            self.rows.note(task, event)
        notes.clear()

    def table(self) -> list[tuple[int, str, str, str, str, float]]:
        """For errors: rank, role, program, lane, pending operation, since when."""
        rows = []
        for task in self.tasks.values():
            pending = task.pending
            who = f"{self.context.role} {self.context.index}"
            if pending is not None:
                rows.append((self.rank, who, task.id, task.lane, describe(pending.op), pending.t_post))
            elif self.lanes[task.lane].current is not task:
                rows.append((self.rank, who, task.id, task.lane, "queued on its lane", 0.0))
        return rows
