"""Cases about messages: rendezvous, order, matching, what travels."""

from __future__ import annotations

from parasim.errors import DeadlockError, ProgramError
from parasim.program import ANY, Buffer, Context, Exchange, Post, Probe, Program, Recv, Send, Sleep, Wait
from tests.conformance.stage import Case, Outcome, all_begun, crew, each, milliseconds, pair


def filled(me: Context, name: str, elements: int, value: float) -> Buffer:
    """A buffer of one value (if values are carried)."""
    buffer = me.buffer(name, elements)
    if me.tensors is not None:
        me.tensors.fill_(buffer.values, value)
    return buffer


# a payload with its header -------------------------------------------------------------------------------------------
def gives(me: Context) -> Program[None]:
    yield from Send(1, filled(me, "gift", 5, 2.5), "gift", {"kind": "first", "count": 3, "rate": 0.5, "last": False})


def takes(me: Context) -> Program[list[object]]:
    message = yield from Recv(0, "gift")
    assert message.buffer is not None
    return [message.source, message.tag, sorted(message.header.items()), message.buffer.nbytes, message.buffer]


def check_gift(outcome: Outcome) -> None:
    source, tag, header, nbytes, values = outcome.returns[1]
    assert (source, tag, nbytes, values) == (0, "gift", 40, [2.5] * 5)
    assert [list(item) for item in header] == [["count", 3], ["kind", "first"], ["last", False], ["rate", 0.5]]
    (sent,), (received,) = outcome.of(0, "send"), outcome.of(1, "recv")
    assert sent.message == received.message
    assert (sent.nbytes, sent.control_bytes) == (received.nbytes, received.control_bytes) == (40, 0)


# a header alone ------------------------------------------------------------------------------------------------------
def gives_header(me: Context) -> Program[None]:
    yield from Send(1, tag="word", header={"word": "go"})


def takes_header(me: Context) -> Program[list[object]]:
    message = yield from Recv(tag="word")
    return [message.header["word"], message.buffer is None]


def check_header(outcome: Outcome) -> None:
    assert outcome.returns[1] == ["go", True]
    (sent,) = outcome.of(0, "send")
    assert sent.nbytes == 0
    assert sent.control_bytes > 0


# an empty payload is a payload ---------------------------------------------------------------------------------------
def gives_empty(me: Context) -> Program[None]:
    yield from Send(1, Buffer("empty", 0, 8, None if me.tensors is None else me.tensors.zeros(0)), "empty")


def takes_empty(me: Context) -> Program[int]:
    message = yield from Recv(0, "empty")
    assert message.buffer is not None
    return message.buffer.nbytes


def check_empty(outcome: Outcome) -> None:
    assert outcome.returns[1] == 0
    assert outcome.of(1, "recv")[0].control_bytes == 0


# rendezvous ----------------------------------------------------------------------------------------------------------
def faces(me: Context) -> Program[None]:
    yield from Send(1 - me.rank, filled(me, "b", 2, 1.0), "face")
    yield from Recv(1 - me.rank, "face")


def faces_header(me: Context) -> Program[None]:
    yield from Send(1 - me.rank, tag="face")
    yield from Recv(1 - me.rank, "face")


def exchanges(me: Context) -> Program[list[object]]:
    peer = 1 - me.rank
    (message,) = yield from Exchange((Send(peer, filled(me, "b", 3, me.rank), "face"),), (Recv(peer, "face"),))
    return [message.source, message.buffer]


def check_exchange(outcome: Outcome) -> None:
    assert outcome.returns == [[1, [1.0] * 3], [0, [0.0] * 3]]


def hurries(me: Context, buffer: Buffer | None) -> Program[None]:
    """The send waits already when the other hears of it."""
    late = yield from Post(Send(1, buffer, "late"), "lane")
    yield from all_begun()
    yield from Send(1, tag="waiting")
    yield from Wait([late])


def hurries_payload(me: Context) -> Program[None]:
    yield from hurries(me, filled(me, "b", 1, 1.0))


def dawdles(me: Context) -> Program[None]:
    yield from Recv(0, "waiting")
    yield from Sleep(0.05)
    yield from Recv(0, "late")


def check_rendezvous(outcome: Outcome) -> None:
    (sent,), (_, received) = outcome.of(0, "send", "lane"), outcome.of(1, "recv")
    assert sent.t_post < received.t_post
    assert sent.t_end >= received.t_post
    assert sent.t_start >= received.t_post  # until then it waited, it did not move
    assert received.t_start >= received.t_post


def hurries_header(me: Context) -> Program[None]:
    yield from hurries(me, None)


# order ---------------------------------------------------------------------------------------------------------------
def counts_up(me: Context) -> Program[None]:
    for number in range(4):
        yield from Send(1, filled(me, "b", 1 + number, number), "count", {"number": number})


def listens(me: Context) -> Program[list[object]]:
    heard: list[object] = []
    for _ in range(4):
        message = yield from Recv(0, "count")
        heard += [message.header["number"], message.buffer]
    return heard


def check_order(outcome: Outcome) -> None:
    assert outcome.returns[1] == [0, [0.0], 1, [1.0] * 2, 2, [2.0] * 3, 3, [3.0] * 4]


def posts_two(me: Context) -> Program[None]:
    first = yield from Post(Send(1, filled(me, "b", 4, 1.0), "first"), "lane 1")
    second = yield from Post(Send(1, filled(me, "b", 6, 2.0), "second"), "lane 2")
    yield from Wait([first, second])


def takes_reversed(me: Context) -> Program[list[object]]:
    second = yield from Recv(0, "second")
    first = yield from Recv(0, "first")
    return [second.buffer, first.buffer]


def check_reversed(outcome: Outcome) -> None:
    assert outcome.returns[1] == [[2.0] * 6, [1.0] * 4]


def arrives_in_turn(me: Context) -> Program[None]:
    """Messages of one sender come in order: who has received the word knows of the message before it."""
    yield from Recv(0, "turn")
    sent = yield from Post(Send(0, filled(me, "b", 1, me.rank), "any", {"rank": me.rank}), "lane")
    yield from all_begun()
    yield from Send(0, tag="announced")
    yield from Wait([sent])


def all_in_turn(me: Context) -> Program[None]:
    """Every other rank announces its message, one after the other."""
    for rank in (1, 2, 3):
        yield from Send(rank, tag="turn")
        yield from Recv(rank, "announced")


def takes_any(me: Context) -> Program[list[object]]:
    yield from all_in_turn(me)
    order: list[object] = []
    for _ in range(3):
        message = yield from Recv(ANY, "any")
        order += [message.source, message.buffer]
    return order


def check_any(outcome: Outcome) -> None:
    assert outcome.returns[0] == [1, [1.0], 2, [2.0], 3, [3.0]]


def named_among_any(me: Context) -> Program[list[int]]:
    """A named receive takes its source's message although another came first."""
    yield from all_in_turn(me)
    third = yield from Recv(3, "any")
    first = yield from Recv(ANY, "any")
    second = yield from Recv(ANY, "any")
    return [third.source, first.source, second.source]


def check_named(outcome: Outcome) -> None:
    assert outcome.returns[0] == [3, 1, 2]


def mixes_any_and_named(me: Context) -> Program[None]:
    yield from Exchange((), (Recv(ANY, "mixed"), Recv(1, "mixed")))


def sleeps(me: Context) -> Program[None]:
    yield from Sleep(0.01)


# what travels --------------------------------------------------------------------------------------------------------
def changes_after_posting(me: Context) -> Program[None]:
    buffer = filled(me, "b", 3, 1.0)
    blocker = yield from Post(Recv(1, "go"), "out")
    posted = yield from Post(Send(1, buffer, "old"), "out")  # waits behind the receive, but its value is taken now
    if me.tensors is not None:
        me.tensors.fill_(buffer.values, 9.0)
    yield from Wait([blocker, posted])
    yield from Send(1, buffer, "new")


def takes_old_and_new(me: Context) -> Program[list[object]]:
    yield from Send(0, tag="go")
    old = yield from Recv(0, "old")
    new = yield from Recv(0, "new")
    return [old.buffer, new.buffer]


def check_old_and_new(outcome: Outcome) -> None:
    assert outcome.returns[1] == [[1.0] * 3, [9.0] * 3]


def changes_while_sending(me: Context) -> Program[None]:
    buffer = filled(me, "b", 3, 1.0)

    def send() -> Program[None]:
        yield from Send(1, buffer, "old")

    posted = yield from Post(send(), "out")
    yield from Send(1, tag="yielded")  # the posted program has yielded its send by the time this is taken
    if me.tensors is not None:
        me.tensors.fill_(buffer.values, 9.0)
    yield from Send(1, tag="changed")
    yield from Wait([posted])


def takes_after_change(me: Context) -> Program[object]:
    yield from Recv(0, "yielded")
    yield from Recv(0, "changed")
    return (yield from Recv(0, "old")).buffer


def check_old(outcome: Outcome) -> None:
    assert outcome.returns[1] == [1.0] * 3


def keeps_own(me: Context) -> Program[list[object]]:
    """A received buffer belongs to the receiver: both may change theirs."""
    buffer = filled(me, "b", 2, 1.0)
    if me.rank == 0:
        yield from Send(1, buffer, "give")
        mine = buffer
    else:
        message = yield from Recv(0, "give")
        assert message.buffer is not None
        mine = message.buffer
    if me.tensors is not None:
        me.tensors.add_(mine.values, buffer.values)
    yield from Exchange((Send(1 - me.rank, tag="done"),), (Recv(1 - me.rank, "done"),))
    return [mine, buffer]


def check_own(outcome: Outcome) -> None:
    assert outcome.returns == [[[2.0] * 2, [2.0] * 2], [[2.0] * 2, [1.0] * 2]]


def takes_into(me: Context) -> Program[object]:
    buffer = filled(me, "b", 10, 0.0)
    message = yield from Recv(0, "gift", buffer.part(3, 8))
    assert message.buffer is not None
    assert message.buffer.root is buffer
    return buffer


def check_into(outcome: Outcome) -> None:
    assert outcome.returns[1] == [0.0] * 3 + [2.5] * 5 + [0.0] * 2


def takes_into_small(me: Context) -> Program[object]:
    yield from Recv(0, "gift", filled(me, "b", 4, 0.0))


def sends_changing(me: Context) -> Program[None]:
    buffer = filled(me, "b", 3, 1.0)

    def change() -> Program[None]:
        yield from milliseconds(100, buffer, label="change")

    handle = yield from Post(change(), "beside")
    yield from all_begun()
    yield from Send(1, buffer, "gift")
    yield from Wait([handle])


def sends_to_itself(me: Context) -> Program[None]:
    yield from Send(me.rank, filled(me, "b", 1, 1.0), "mirror")


def sends_nowhere(me: Context) -> Program[None]:
    yield from Send(5, filled(me, "b", 1, 1.0), "void")


# probing -------------------------------------------------------------------------------------------------------------
def probes(me: Context) -> Program[list[bool]]:
    before = yield from Probe(1, "probe")
    yield from Send(1, tag="go")
    yield from Recv(1, "announced")
    announced = yield from Probe(1, "probe")
    anyone = yield from Probe(ANY, "probe")
    other = yield from Probe(1, "another tag")
    yield from Recv(1, "probe")
    after = yield from Probe(1, "probe")
    return [before, announced, anyone, other, after]


def is_probed(me: Context) -> Program[None]:
    yield from Recv(0, "go")
    sent = yield from Post(Send(0, tag="probe"), "lane")
    yield from all_begun()
    yield from Send(0, tag="announced")
    yield from Wait([sent])


def check_probe(outcome: Outcome) -> None:
    assert outcome.returns[0] == [False, True, True, False, False]


def sends_labels(me: Context) -> Program[object]:
    labels = me.labels(me.batch(1, share=1, shares=2, micro=1, micros=2))
    yield from Send(1, labels, lent=True)
    return labels


def takes_labels(me: Context) -> Program[object]:
    return (yield from Recv(0)).buffer


def check_labels(outcome: Outcome) -> None:
    """Samples 6 and 7 of 8, two numbers each."""
    assert outcome.returns == [[6.0, 6.0, 7.0, 7.0]] * 2


def check_labels_without_values(outcome: Outcome) -> None:
    assert outcome.returns == [None, None]
    assert [row.nbytes for row in outcome.of(0, "send")] == [32]


CASES = {
    "labels of a micro-batch": Case(pair(sends_labels, takes_labels), check_labels, values=True),
    "labels without values": Case(pair(sends_labels, takes_labels), check_labels_without_values),
    "a payload arrives with its header": Case(pair(gives, takes), check_gift, values=True),
    "a header alone is a message": Case(pair(gives_header, takes_header), check_header),
    "an empty payload is a payload": Case(pair(gives_empty, takes_empty), check_empty, values=True),
    "an empty payload without values": Case(pair(gives_empty, takes_empty), check_empty),
    "facing sends deadlock": Case(crew(faces, 2), error=DeadlockError, match=r"Send\(peer=1"),
    "facing sends of headers deadlock": Case(crew(faces_header, 2), error=DeadlockError, match=r"Send\(peer=0"),
    "facing exchanges do not": Case(crew(exchanges, 2), check_exchange, values=True),
    "a send waits for its receive": Case(pair(hurries_payload, dawdles), check_rendezvous),
    "a header waits for its receive": Case(pair(hurries_header, dawdles), check_rendezvous),
    "messages keep their order": Case(pair(counts_up, listens), check_order, values=True),
    "tags are taken in any order": Case(pair(posts_two, takes_reversed), check_reversed, values=True),
    "ANY takes the earliest": Case(each(takes_any, *[arrives_in_turn] * 3), check_any, values=True),
    "a named source goes before": Case(each(named_among_any, *[arrives_in_turn] * 3), check_named),
    "ANY and a named source on one tag": Case(
        pair(mixes_any_and_named, sleeps), error=ProgramError, match="ANY and one from a named source"
    ),
    "a posted send takes its values when posted": Case(
        pair(changes_after_posting, takes_old_and_new), check_old_and_new, values=True
    ),
    "a send takes its values when yielded": Case(
        pair(changes_while_sending, takes_after_change), check_old, values=True
    ),
    "a received buffer is the receiver's own": Case(crew(keeps_own, 2), check_own, values=True),
    "a receive into a part of a buffer": Case(pair(gives, takes_into), check_into, values=True),
    "a receive into too small a buffer": Case(
        pair(gives, takes_into_small), error=ProgramError, match="40 bytes from rank 0.*do not fit", values=True
    ),
    "sending what a compute changes": Case(
        pair(sends_changing, sleeps), error=ProgramError, match="sends 'b' while compute 'change'"
    ),
    "sending to oneself": Case(crew(sends_to_itself, 1), error=ProgramError, match="sends to itself"),
    "sending to nobody": Case(crew(sends_nowhere, 2), error=ProgramError, match="sends to rank 5"),
    "probing": Case(pair(probes, is_probed), check_probe),
}
