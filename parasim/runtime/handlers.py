"""A handler per operation: it starts it, and replies at once or with PENDING.

The table `HANDLERS` is the language as the runtimes see it; what is not in it is no operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parasim.errors import ProgramError
from parasim.program.buffers import Buffer
from parasim.program.collectives import expand
from parasim.program.ops import (
    ANY,
    Cancel,
    Collective,
    Compute,
    Decide,
    Exchange,
    Handle,
    Locked,
    Log,
    Op,
    Poll,
    Post,
    Probe,
    Program,
    Read,
    Recv,
    Send,
    Sleep,
    Update,
    Wait,
    WaitAny,
)
from parasim.runtime.shared import read_program, update_program
from parasim.runtime.shooting import shoot
from parasim.runtime.tasks import NESTED, NOTHING, PENDING, Envelope, Frame, Pending, Receipt, Task

if TYPE_CHECKING:
    from parasim.runtime.actor import Actor
    from parasim.trace.record import ChoiceKind

__all__ = ["HANDLERS", "finish_wait", "fold", "interrupt", "message_reply"]


def _compute(actor: Actor, task: Task, op: Compute[Any]) -> Any:
    pending = task.pending = Pending(task, op, actor.port.now(), 1, NOTHING, NOTHING, NOTHING)
    if actor.guard.enter(pending):
        actor.port.compute(actor, pending)
    return PENDING


# messages ------------------------------------------------------------------------------------------------------------
def _send(actor: Actor, task: Task, op: Send) -> Any:
    pending = task.pending = Pending(task, op, actor.port.now())
    _announce(actor, pending, op, 0)
    return PENDING


def _recv(actor: Actor, task: Task, op: Recv) -> Any:
    pending = task.pending = Pending(task, op, actor.port.now(), 1, [None])
    _receive(actor, pending, op, 0)
    return PENDING


def _exchange(actor: Actor, task: Task, op: Exchange) -> Any:
    parts = len(op.sends) + len(op.receives)
    if not parts:
        return ()
    pending = task.pending = Pending(task, op, actor.port.now(), parts, [None] * len(op.receives))
    for slot, send in enumerate(op.sends):
        _announce(actor, pending, send, slot)
    for slot, recv in enumerate(op.receives):
        _receive(actor, pending, recv, slot)
    return PENDING


def _announce(actor: Actor, pending: Pending, op: Send, slot: int) -> None:
    buffer = op.buffer
    if op.peer == actor.rank:
        raise ProgramError(f"rank {actor.rank}, program {pending.task.id}: sends to itself (tag {op.tag!r})")
    if buffer is not None and (actor.guard.running or actor.carries) and not pending.task.frozen:
        buffer = _freeze(actor, pending.task.id, buffer, op.lent)
    actor.messages += 1
    envelope = Envelope(
        actor.rank,
        op.peer,
        op.tag,
        op.header,
        "" if buffer is None else buffer.name,
        0 if buffer is None else buffer.elements,
        0 if buffer is None else buffer.itemsize,
        buffer is not None,
        f"{actor.rank}:{actor.messages}",
        pending.t_post,
        buffer,
        pending,
        slot,
        op.lent,
    )
    actor.port.announce(actor, envelope)


def _freeze(actor: Actor, program: str, buffer: Buffer, lent: bool) -> Buffer:
    """The value of a buffer now: a copy, or the buffer itself if it is lent. Checks that no compute changes it."""
    changing = actor.guard.changing(buffer)
    if changing is not None:
        raise ProgramError(
            f"rank {actor.rank}, program {program}: sends {buffer.name!r} while compute "
            f"{changing.op.kernel.label!r} of program {changing.task.id} changes it; wait for it, or send a copy"
        )
    if lent or not buffer.carries_values:
        return buffer
    return Buffer(buffer.name, buffer.elements, buffer.itemsize, actor.copied(buffer))


def _receive(actor: Actor, pending: Pending, op: Recv, slot: int) -> None:
    source = op.source
    if source == ANY and actor.script is not None:
        source = int(actor.script.choice(pending.task.id, "source"))
    receipt = Receipt(source, op.tag, op.into, pending.t_post, pending, slot)
    pending.receipts.append(receipt)
    envelope = actor.mailbox.post(receipt)
    if envelope is not None:
        actor.port.transfer(actor, envelope, receipt)


def message_reply(pending: Pending) -> Any:
    """What a finished Send, Recv or Exchange replies."""
    if type(pending.op) is Send:
        return None
    return pending.replies[0] if type(pending.op) is Recv else tuple(pending.replies)


def _probe(actor: Actor, task: Task, op: Probe) -> bool:
    return bool(_choose(actor, task, "probe", lambda: actor.mailbox.probe(op.source, op.tag)))


# lanes ---------------------------------------------------------------------------------------------------------------
def _post(actor: Actor, task: Task, op: Post) -> Handle:
    if op.lane == task.lane:
        raise ProgramError(f"rank {actor.rank}, program {task.id}: posts to the lane it runs on; use another lane")
    program = op.program
    frozen = False
    if isinstance(program, Op):
        single = _freeze_op(actor, task.id, program)
        frozen = single is not program
        program = iter(single)
    posted = actor.post(program, op.lane, op.daemon, task.since)
    posted.frozen = frozen
    return posted.handle


def _freeze_op(actor: Actor, program: str, op: Op[Any]) -> Op[Any]:
    if isinstance(op, Send):
        return _freeze_send(actor, program, op)
    if isinstance(op, Exchange):
        return replace(op, sends=tuple(_freeze_send(actor, program, send) for send in op.sends))
    return op


def _freeze_send(actor: Actor, program: str, op: Send) -> Send:
    return op if op.buffer is None else replace(op, buffer=_freeze(actor, program, op.buffer, op.lent))


def _wait(actor: Actor, task: Task, op: Wait) -> Any:
    missing = [handle for handle in op.handles if not handle.done]
    pending = Pending(task, op, actor.port.now(), len(missing), NOTHING, NOTHING, NOTHING)
    if not missing:
        _heed(task, op.handles)
        _wait_row(actor, pending)
        return tuple(handle.result for handle in op.handles)
    return _wait_for(task, pending, missing)


def _wait_any(actor: Actor, task: Task, op: WaitAny) -> Any:
    if not op.handles:
        raise ProgramError(f"rank {actor.rank}, program {task.id}: WaitAny of no handles would never end")
    pending = Pending(task, op, actor.port.now())
    for handle in op.handles:
        if handle.done:
            _heed(task, (handle,))
            _wait_row(actor, pending)
            return _winner(actor, task, handle)
    return _wait_for(task, pending, op.handles)


def _wait_for(task: Task, pending: Pending, handles: Sequence[Handle]) -> Any:
    task.pending = pending
    for handle in handles:
        handle.waiters.append(pending)
    return PENDING


def finish_wait(actor: Actor, pending: Pending, handle: Handle) -> None:
    """The last handle of a Wait, or the first of a WaitAny, is done."""
    task, op = pending.task, pending.op
    _heed(task, (handle,) if type(op) is WaitAny else op.handles)
    _wait_row(actor, pending)
    if type(op) is WaitAny:
        actor.make_ready(task, _winner(actor, task, handle), since=task.since)
    else:
        actor.make_ready(task, tuple(h.result for h in op.handles), since=task.since)


def _heed(task: Task, handles: Sequence[Handle]) -> None:
    """What the task does next could not begin before these were done."""
    since = task.since
    for handle in handles:
        since = handle.since if handle.since > since else since
    task.since = since


def _winner(actor: Actor, task: Task, handle: Handle) -> Handle:
    """The handle that answers a WaitAny. It follows from the order of resumes; a replay must find the recorded one."""
    recorded = _choose(actor, task, "any", lambda: handle.task)
    if recorded != handle.task:
        raise ProgramError(
            f"the replay departs from the record at rank {actor.rank}, program {task.id}: WaitAny is answered by "
            f"{handle.task}, the record has {recorded}; replay the same scenario with the same seed"
        )
    return handle


def _wait_row(actor: Actor, pending: Pending) -> None:
    handles, since = pending.op.handles, pending.task.since
    lanes = (handles[0].lane,) if len(handles) == 1 else tuple(dict.fromkeys([handle.lane for handle in handles]))
    actor.rows.waited(pending, lanes, pending.t_post if pending.t_post > since else since)


def _poll(actor: Actor, task: Task, op: Poll) -> bool:
    return bool(_choose(actor, task, "poll", lambda: op.handle.done))


def _cancel(actor: Actor, task: Task, op: Cancel) -> None:
    if op.handle.task == task.id:
        raise ProgramError(f"rank {actor.rank}, program {task.id}: cancels itself; return instead")
    target = actor.tasks.get(op.handle.task)
    if target is not None and not op.handle.done:
        actor.cancel(target)


def interrupt(actor: Actor, pending: Pending) -> bool:
    """Can this pending operation of a cancelled program end at once? Then it does."""
    op = pending.op
    if isinstance(op, Compute):
        if pending in actor.guard.running:
            return False
        for started in actor.guard.leave(pending):
            actor.port.compute(actor, started)
        return True
    if isinstance(op, Recv):
        if not actor.mailbox.withdraw(pending.receipts[0]):
            return False
        actor.unanswered(pending, "cancelled")
    elif isinstance(op, Wait | WaitAny | Sleep):
        name = "sleep" if isinstance(op, Sleep) else "wait"
        start = pending.t_post if isinstance(op, Sleep) else actor.port.now()
        actor.rows.write(pending, name, "", t_start=start, outcome="cancelled")
    elif isinstance(op, Collective):
        actor.port.interrupt(actor, pending)
        following = pending.task.pending
        return following is not None and following is not pending and interrupt(actor, following)
    else:
        return False
    pending.over = True
    return True


# programs behind operations ------------------------------------------------------------------------------------------
def _collective(actor: Actor, task: Task, op: Collective) -> Any:
    now = actor.port.now()
    if op.algorithm == "native":
        pending = task.pending = Pending(task, op, now)
        actor.port.native(actor, pending, op)
        return PENDING
    task.pending = pending = Pending(task, op, now)
    if actor.port.whole(actor, pending, op):
        return PENDING
    task.pending = None
    return _nested(actor, task, expanded(actor, task, op), op)


def expanded(actor: Actor, task: Task, op: Collective) -> Program[Any]:
    """The program of a named collective; its tag keeps lanes and groups apart."""
    tag = f"{op.kind}/{op.group.name}/{task.lane}"
    return expand(op, actor.rank, tag, actor.context.tensors)


def _nested(actor: Actor, task: Task, program: Program[Any], op: Op[Any]) -> object:
    """Run a program in the place of an operation."""
    task.stack.append(Frame(program, op, actor.port.now()))
    return NESTED


def _read(actor: Actor, task: Task, op: Read) -> Any:
    return _nested(actor, task, read_program(actor.port.vector(op.shared), op, actor.context.tensors), op)


def _update(actor: Actor, task: Task, op: Update) -> Any:
    program = update_program(actor.port.vector(op.shared), op, actor.context.tensors, actor.rank)
    return _nested(actor, task, program, op)


def _locked(actor: Actor, task: Task, op: Locked[Any]) -> Any:
    pending = task.pending = Pending(task, op, actor.port.now())
    actor.port.acquire(actor, pending, op)
    return PENDING


def fold(actor: Actor, task: Task, frame: Frame, result: Any) -> Any:
    """A generator has ended. If it stood for an operation: write its row, give a lock back; the operation's reply."""
    op = frame.op
    if op is None:
        return result
    task.quiet -= frame.quiet
    pending = Pending(task, op, frame.t_post)
    end = max(frame.t_post, task.since)
    if isinstance(op, Locked):
        actor.port.release(actor, op.shared)
    elif isinstance(op, Collective):
        nbytes = 0 if op.buffer is None else op.buffer.nbytes
        start = frame.t_first if frame.quiet and frame.t_first >= 0 else frame.t_post
        actor.rows.write(
            pending, "collective", op.kind, t_start=start, t_end=end, outcome="native" if frame.quiet else "expanded",
            group=op.group.name, buffer="" if op.buffer is None else op.buffer.name, nbytes=nbytes,
        )  # fmt: skip
    elif isinstance(op, Read):
        outcome = "torn" if result is not None and result.torn else ""
        actor.rows.write(pending, "read", op.shared.name, t_start=frame.t_post, t_end=end, outcome=outcome)
    elif isinstance(op, Update):
        outcome = "lost" if result is not None and result.lost else ""
        actor.rows.write(pending, "update", op.shared.name, t_start=frame.t_post, t_end=end, outcome=outcome)
        return None if result is None else result.version
    return result


# values and notes ----------------------------------------------------------------------------------------------------
def _choose(actor: Actor, task: Task, kind: ChoiceKind, ask: Callable[[], Any]) -> Any:
    """An answer that is not determined: from the record in replay, else asked and written down."""
    answer = ask() if actor.script is None else actor.script.choice(task.id, kind)
    if actor.recorder is not None:
        actor.recorder.choice(task.id, kind, answer)
    return answer


def _decide(actor: Actor, task: Task, op: Decide) -> Any:
    answer = _choose(actor, task, "decide", op.work if actor.carries else lambda: op.modelled)
    value = float(answer) if isinstance(answer, int | float) else None
    when = task.since
    actor.rows.write(Pending(task, op, when), "decide", op.label, t_start=when, t_end=when, value=value)
    return answer


def _sleep(actor: Actor, task: Task, op: Sleep) -> Any:
    if not 0 <= op.seconds < math.inf:
        raise ProgramError(f"rank {actor.rank}, program {task.id}: sleeps {op.seconds} seconds; give 0 or more")
    pending = task.pending = Pending(task, op, actor.port.now())
    actor.port.sleep(actor, pending, op.seconds)
    return PENDING


def _log(actor: Actor, task: Task, op: Log) -> None:
    actor.rows.note(task, op.event)
    if actor.camera is not None and actor.camera.noted(op.event):
        shoot(actor, task.since)


HANDLERS: dict[type, Callable[[Actor, Task, Any], Any]] = {
    Compute: _compute,
    Send: _send,
    Recv: _recv,
    Exchange: _exchange,
    Post: _post,
    Wait: _wait,
    WaitAny: _wait_any,
    Poll: _poll,
    Probe: _probe,
    Cancel: _cancel,
    Collective: _collective,
    Read: _read,
    Update: _update,
    Locked: _locked,
    Decide: _decide,
    Sleep: _sleep,
    Log: _log,
}
