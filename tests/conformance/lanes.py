"""Cases about lanes, handles, cancelling, daemons and computes."""

from __future__ import annotations

import itertools

from parasim.errors import DeadlockError, ProgramError
from parasim.program import (
    ANY,
    Buffer,
    Cancel,
    Closed,
    Compute,
    Context,
    Decide,
    Event,
    Handle,
    Kernel,
    Log,
    Poll,
    Post,
    Program,
    Recv,
    Role,
    Send,
    Sleep,
    Wait,
    WaitAny,
)
from tests.conformance.stage import Case, Outcome, all_begun, crew, milliseconds, pair


def says(word: str, seconds: float = 0.0) -> Program[str]:
    yield from Sleep(seconds)
    return word


# posting and waiting -------------------------------------------------------------------------------------------------
def posts_in_order(me: Context) -> Program[list[object]]:
    """One lane: the second begins when the first has ended, however short it is."""
    first = yield from Post(says("first", 0.05), "lane")
    second = yield from Post(says("second", 0.01), "lane")
    results = yield from Wait([second, first])
    return [*results, first.task, second.task]


def check_in_order(outcome: Outcome) -> None:
    assert outcome.returns[0] == ["second", "first", "lane#0", "lane#1"]
    first, second = outcome.of(0, "sleep", "lane")
    assert (first.program, second.program) == ("lane#0", "lane#1")
    assert second.t_post >= first.t_end


def posts_beside(me: Context) -> Program[list[object]]:
    """Two lanes go on beside each other and beside the main program; the slow one ends when that lets it."""

    def waits() -> Program[str]:
        yield from Recv(1, "end")
        return "slow"

    slow = yield from Post(waits(), "a")
    quick = yield from Post(says("quick", 0.02), "b")
    first = yield from WaitAny([slow, quick])
    again = yield from WaitAny([slow, quick])
    done = yield from Poll(slow)
    yield from Send(1, tag="go")
    yield from Wait([slow])
    both = yield from WaitAny([slow, quick])
    return [first.result, again.result, done, both.result, (yield from Wait([]))]


def check_beside(outcome: Outcome) -> None:
    assert outcome.returns[0] == ["quick", "quick", False, "slow", []]
    slow, quick = outcome.of(0, "recv", "a")[0], outcome.of(0, "sleep", "b")[0]
    assert slow.t_post <= quick.t_end <= slow.t_end


def lets_end(me: Context) -> Program[None]:
    yield from Recv(0, "go")
    yield from Send(0, tag="end")


def polls(me: Context) -> Program[list[bool]]:
    handle = yield from Post(says("done", 0.03), "lane")
    before = yield from Poll(handle)
    yield from Wait([(yield from Post(says("what follows on its lane"), "lane"))])
    return [before, (yield from Poll(handle))]


def check_polls(outcome: Outcome) -> None:
    assert outcome.returns[0] == [False, True]


def posts_to_own_lane(me: Context) -> Program[None]:
    yield from Post(says("never"), "main")


def posts_nested(me: Context) -> Program[object]:
    """A posted program may post; its results come back through its handle."""

    def outer() -> Program[str]:
        handle = yield from Post(says("inner"), "inner")
        (word,) = yield from Wait([handle])
        return f"outer of {word}"

    (word,) = yield from Wait([(yield from Post(outer(), "outer"))])
    return word


def check_nested(outcome: Outcome) -> None:
    assert outcome.returns[0] == "outer of inner"


def waits_for_nothing(me: Context) -> Program[None]:
    yield from WaitAny([])


def yields_a_word(me: Context) -> Program[None]:
    yield "hello"  # type: ignore[misc]


def forgets_from(me: Context) -> Program[None]:
    yield says("never")  # type: ignore[misc]


def returns_at_once(me: Context) -> int:
    return 3


def sleeps_backwards(me: Context) -> Program[None]:
    yield from Sleep(-1.0)


def sleeps_nan(me: Context) -> Program[None]:
    yield from Sleep(float("nan"))


def names_no_group(me: Context) -> Program[None]:
    yield from Sleep(0.0)
    me.group("wrkr")


def fails(me: Context) -> Program[None]:
    yield from Sleep(0.01)
    if me.rank == 1:
        raise ValueError("a mistake in a scheme")
    yield from Recv(1, "never")


# cancelling ----------------------------------------------------------------------------------------------------------
def works(me: Context, log: list[int]) -> Program[str]:
    for number in range(3):
        log.append(number)
        yield from milliseconds(60)
    return "finished"


def cancels_at_boundary(me: Context) -> Program[list[object]]:
    log: list[int] = []
    handle = yield from Post(works(me, log), "lane")
    yield from all_begun()
    yield from Cancel(handle)
    (result,) = yield from Wait([handle])
    following = yield from Post(says("lane goes on"), "lane")
    (word,) = yield from Wait([following])
    return [result, handle.cancelled, handle.done, list(log), word]


def check_boundary(outcome: Outcome) -> None:
    assert outcome.returns[0] == [None, True, True, [0], "lane goes on"]
    (row,) = outcome.of(0, "compute")
    assert row.outcome == "cancelled"
    assert row.t_end - row.t_start >= 0.059


def cancels_gradient(me: Context) -> Program[None]:
    """What a cancelled gradient stored is released."""
    weights, gradient = me.initial(), me.buffer("gradient")
    for step in range(3):
        handle = yield from Post(me.gradient(weights, me.batch(step), gradient), "gradient")
        yield from Cancel(handle)
        yield from Wait([handle])
        handle = yield from Post(me.gradient(weights, me.batch(step), gradient), "gradient")
        yield from Sleep(2e-7)  # into the backward pass, in virtual time
        yield from Cancel(handle)
        yield from Wait([handle])
    yield from Sleep(0.001)


def check_released(outcome: Outcome) -> None:
    held = [row.held_bytes for row in outcome.of(0, "log") if row.buffer == "activations"]
    assert sum(held) == 0
    assert max(itertools.accumulate(held), default=0) <= max([*held, 0])  # never more than one gradient's


def cancels_queued(me: Context) -> Program[list[object]]:
    first = yield from Post(says("first", 0.03), "lane")
    never = yield from Post(says("never", 0.03), "lane")
    third = yield from Post(says("third"), "lane")
    yield from Cancel(never)
    results = yield from Wait([first, never, third])
    yield from Cancel(first)  # a finished program stays finished
    return [*results, never.cancelled, first.cancelled]


def check_queued(outcome: Outcome) -> None:
    assert outcome.returns[0] == ["first", None, "third", True, False]


FOR_EVER = 1e6
"""Seconds."""


def cancels_waiting(me: Context) -> Program[list[object]]:
    """An unmatched receive, a sleep and a wait end at once; the message stays for whoever asks next."""

    def receive() -> Program[None]:
        yield from Recv(1, "mail")

    receiving = yield from Post(receive(), "receive")
    sleeping = yield from Post(says("never", FOR_EVER), "sleep")

    def waiting() -> Program[None]:
        yield from Wait([sleeping])

    waits = yield from Post(waiting(), "wait")
    yield from all_begun()
    for handle in (receiving, waits, sleeping):
        yield from Cancel(handle)
    yield from Wait([receiving, waits, sleeping])
    yield from Send(1, tag="go")
    message = yield from Recv(1, "mail")
    return [receiving.cancelled, waits.cancelled, sleeping.cancelled, message.source]


def mails(me: Context) -> Program[None]:
    yield from Recv(0, "go")
    yield from Send(0, tag="mail")


def check_cancel_waiting(outcome: Outcome) -> None:
    assert outcome.returns[0] == [True, True, True, 1]
    assert [row.outcome for row in outcome.of(0, "recv", "receive")] == ["cancelled"]
    assert all(row.t_end < FOR_EVER for row in outcome.rows)


def cancels_itself(me: Context) -> Program[None]:
    handles: list[Handle] = []

    def program() -> Program[None]:
        yield from Sleep(0.01)
        yield from Cancel(handles[0])

    handles.append((yield from Post(program(), "lane")))
    yield from Wait(handles)


# daemons -------------------------------------------------------------------------------------------------------------
def serves(me: Context) -> Program[int]:
    served = 0
    try:
        while True:
            message = yield from Recv(ANY, "ask")
            yield from Send(message.source, tag="answer", header={"double": 2 * int(message.header["number"])})
            served += 1
    except Closed:
        return served


def asks(me: Context) -> Program[int]:
    total = 0
    for number in range(3):
        yield from Send(me.ranks("server")[0], tag="ask", header={"number": number})
        total += int((yield from Recv(me.ranks("server")[0], "answer")).header["double"])
    return total


def check_service(outcome: Outcome) -> None:
    assert outcome.returns == [6, 6, 6]
    assert [row.outcome for row in outcome.of(2, "recv")] == [""] * 6 + ["closed"]


def serves_on_lanes(me: Context) -> Program[list[object]]:
    """A daemon with a daemon lane per client; Closed may go uncaught."""
    count = [0]

    def client(rank: int) -> Program[None]:
        while True:
            message = yield from Recv(rank, "ask")
            count[0] += 1
            yield from Send(rank, tag="answer", header={"double": 2 * int(message.header["number"])})

    handles = []
    for rank in me.ranks("worker"):
        handles.append((yield from Post(client(rank), f"client {rank}", daemon=True)))
    results = yield from Wait(handles)
    return [count[0], *results]


def check_lanes_service(outcome: Outcome) -> None:
    assert outcome.returns == [6, 6, [6, None, None]]


def serves_beside(me: Context) -> Program[object]:
    """A worker with a daemon lane of its own: it serves its neighbour until both are finished."""

    def service() -> Program[None]:
        while True:
            message = yield from Recv(ANY, "ask")
            yield from Send(message.source, tag="answer", header={"rank": me.rank})

    yield from Post(service(), "service", daemon=True)
    if me.rank == 1:
        yield from Sleep(0.05)
    yield from Send(1 - me.rank, tag="ask")
    return (yield from Recv(1 - me.rank, "answer")).header["rank"]


def check_beside_service(outcome: Outcome) -> None:
    assert outcome.returns == [1, 0]


def waits_for_ever(me: Context) -> Program[None]:
    yield from Recv(1, "never")


def ends(me: Context) -> Program[None]:
    yield from Sleep(0.01)


def never_stops(me: Context) -> Program[None]:
    while True:
        try:
            yield from Recv(ANY, "ask")
        except Closed:
            continue


# computes ------------------------------------------------------------------------------------------------------------
def computes_on_one_buffer(me: Context) -> Program[object]:
    """Computes that touch one buffer never overlap, and run in the order in which they were yielded."""
    buffer = me.buffer("b", 4)

    def add_then_double(lane: int) -> Program[None]:
        def work() -> None:
            if me.tensors is not None:
                me.tensors.add_(buffer.values, buffer.values)
                me.tensors.add_(buffer.values, me.tensors.zeros(4) + lane)

        yield Compute(Kernel("step", flops=20e6), work, (buffer,))

    handles = []
    for lane in range(3):
        handles.append((yield from Post(add_then_double(lane + 1), f"lane {lane}")))
    yield from Wait(handles)
    return buffer


def check_one_buffer(outcome: Outcome) -> None:
    assert outcome.returns[0] == [11.0] * 4  # ((0 * 2 + 1) * 2 + 2) * 2 + 3
    rows = outcome.of(0, "compute")
    assert [row.lane for row in rows] == ["lane 0", "lane 1", "lane 2"]
    assert all(later.t_start >= earlier.t_end for earlier, later in itertools.pairwise(rows))


def computes_on_parts(me: Context) -> Program[None]:
    """Parts that share no element are different buffers; readers may overlap; a writer waits for readers.

    All may begin at one moment, however long it takes to post them.
    """
    buffer = me.buffer("b", 4)
    left, right = buffer.part(0, 2), buffer.part(2, 4)
    start = yield from Post(says("go"), "start")

    def run(kernel: str, touches: tuple[Buffer, ...], reads: tuple[Buffer, ...]) -> Program[None]:
        yield from Wait([start])
        yield Compute(Kernel(kernel, flops=60e6), None, touches, reads)

    handles = []
    for name, touches, reads in (
        ("left", (left,), ()),
        ("right", (right,), ()),
        ("read 1", (), (buffer,)),
        ("read 2", (), (buffer,)),
        ("write", (right,), ()),
    ):
        handles.append((yield from Post(run(name, touches, reads), name)))
    yield from Wait(handles)


def check_parts(outcome: Outcome) -> None:
    rows = {row.label: row for row in outcome.of(0, "compute")}
    assert rows["right"].t_start < rows["left"].t_end
    assert rows["left"].t_start < rows["right"].t_end
    for reader in ("read 1", "read 2"):
        assert rows[reader].t_start >= max(rows["left"].t_end, rows["right"].t_end)
        assert rows["write"].t_start >= rows[reader].t_end
    assert rows["read 2"].t_start < rows["read 1"].t_end


def computes_result(me: Context) -> Program[list[object]]:
    """The reply is what the work returns when values are carried, else what `otherwise` returns."""
    kernel = Kernel("k", flops=1e6)
    with_work = yield Compute(kernel, lambda: "worked", otherwise=lambda: "modelled")
    nothing = yield Compute(kernel)
    return [with_work, nothing]


def check_worked(outcome: Outcome) -> None:
    assert outcome.returns[0] == ["worked", None]


def check_modelled(outcome: Outcome) -> None:
    assert outcome.returns[0] == ["modelled", None]


# notes and decisions -------------------------------------------------------------------------------------------------
def decides(me: Context) -> Program[list[object]]:
    """A value reaches control flow through Decide, and another rank in a header."""
    buffer = me.buffer("b", 3)
    if me.rank == 0:
        if me.tensors is not None:
            me.tensors.fill_(buffer.values, 4.0)
        many = yield from Decide(lambda: int(sum(float(x) for x in buffer.values)), 5, "how many")
        yield from Send(1, tag="many", header={"many": many})
    else:
        many = (yield from Recv(0, "many")).header["many"]
    for step in range(int(str(many))):
        yield from Log(Event("step", step=step))
    return [many]


def check_decided(outcome: Outcome) -> None:
    assert outcome.returns == [[12], [12]]
    assert [row.value for row in outcome.of(0, "decide")] == [12.0]
    assert len([row for row in outcome.of(1, "log") if row.label == "step"]) == 12


def check_decided_without_values(outcome: Outcome) -> None:
    assert outcome.returns == [[5], [5]]


def notes(me: Context) -> Program[None]:
    yield from Log(Event("applied", peer=3, version_read=4, version_applied=9, layer="fc"))
    yield from Log(Event("loss", step=2, value=0.25))
    me.hold("stash", 100)
    yield from Sleep(0.001)
    me.release("stash", 100)


def check_notes(outcome: Outcome) -> None:
    applied, loss, hold, release = outcome.of(0, "log")
    assert (applied.peer, applied.version_read, applied.version_applied, applied.layer) == (3, 4, 9, "fc")
    assert (loss.label, loss.step, loss.value) == ("loss", 2, 0.25)
    assert [(row.label, row.buffer, row.held_bytes) for row in (hold, release)] == [
        ("hold", "stash", 100),
        ("release", "stash", -100),
    ]
    assert all(row.t_post == row.t_end for row in outcome.of(0, "log"))


def draws(me: Context) -> Program[list[float]]:
    yield from Sleep(0.001)
    return [me.draws.uniform("purpose", step) for step in range(3)]


def check_draws(outcome: Outcome) -> None:
    first, second = outcome.returns
    assert first != second
    assert all(0 < value < 1 for value in (*first, *second))


CASES = {
    "a lane is first-in first-out": Case(crew(posts_in_order, 1), check_in_order),
    "lanes go on beside each other": Case(pair(posts_beside, lets_end), check_beside),
    "polling": Case(crew(polls, 1), check_polls),
    "posting to one's own lane": Case(crew(posts_to_own_lane, 1), error=ProgramError, match="the lane it runs on"),
    "a posted program posts": Case(crew(posts_nested, 1), check_nested),
    "waiting for any of nothing": Case(crew(waits_for_nothing, 1), error=ProgramError, match="WaitAny of no handles"),
    "what is no operation": Case(crew(yields_a_word, 1), error=ProgramError, match="'hello' is no operation"),
    "a yield without from": Case(crew(forgets_from, 1), error=ProgramError, match="write `yield from`"),
    "a program that is no generator": Case(crew(returns_at_once, 1), error=ProgramError, match="is 3, not a generator"),
    "a negative sleep": Case(crew(sleeps_backwards, 1), error=ProgramError, match=r"sleeps -1\.0 seconds"),
    "a sleep that is no number": Case(crew(sleeps_nan, 1), error=ProgramError, match="sleeps nan seconds"),
    "a group that is not there": Case(crew(names_no_group, 1), error=ProgramError, match="no group 'wrkr'; there are"),
    "a mistake in a program": Case(crew(fails, 2), error=Exception, match="a mistake in a scheme"),
    "cancelling at a kernel boundary": Case(crew(cancels_at_boundary, 1), check_boundary),
    "cancelling a gradient": Case(crew(cancels_gradient, 1), check_released, same_rows=False),
    "cancelling what is queued": Case(crew(cancels_queued, 1), check_queued),
    "cancelling what waits": Case(pair(cancels_waiting, mails), check_cancel_waiting, same_rows=False),
    "cancelling oneself": Case(crew(cancels_itself, 1), error=ProgramError, match="cancels itself"),
    "a daemon serves until all are finished": Case(
        (*crew(asks, 2), Role("server", 1, serves, daemon=True)), check_service, same_rows=False
    ),
    "a daemon with a lane per client": Case(
        (*crew(asks, 2), Role("server", 1, serves_on_lanes, daemon=True)), check_lanes_service
    ),
    "a daemon lane beside a worker": Case(crew(serves_beside, 2), check_beside_service),
    "a receive that nobody answers": Case(
        pair(waits_for_ever, ends), error=DeadlockError, match=r"worker 0 .*Recv\(source=1, tag=never\)"
    ),
    "a daemon that ignores Closed": Case(
        (*crew(ends, 1), Role("server", 1, never_stops, daemon=True)), error=ProgramError, match="after Closed"
    ),
    "computes on one buffer take turns": Case(crew(computes_on_one_buffer, 1), check_one_buffer, values=True),
    "computes on parts of a buffer": Case(crew(computes_on_parts, 1), check_parts, same_rows=False),
    "a compute replies its work": Case(crew(computes_result, 1), check_worked, values=True),
    "a compute without values": Case(crew(computes_result, 1), check_modelled),
    "a decision with values": Case(crew(decides, 2), check_decided, values=True),
    "a decision without values": Case(crew(decides, 2), check_decided_without_values),
    "notes": Case(crew(notes, 1), check_notes),
    "draws are the same in both runtimes": Case(crew(draws, 2), check_draws),
}
