"""The operations a program may yield, and the contract that every runtime keeps for each.

A *program* is a generator that yields operations and is sent their replies. An operation is plain data: frozen,
compared by value, knowing no runtime. It is typed by its reply: ``message = yield from Recv(ANY, "push")`` is a
`Message` for the type checker, because iterating an operation yields it once and returns the reply.

Rules that hold for all of them:

* Between two yields an actor's code is atomic: one thread steps all programs of an actor.
* Control flow depends on counters, versions, headers and `Decide`, never on tensor values by another way.
* Messages from one source with one tag are received in the order in which they were sent.
* What travels is the value at the moment the operation (or the `Post` around it) was yielded.
* A message's buffer belongs to the receiver: nobody else holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, cast

from parasim.program.shared import Snapshot
from parasim.program.values import value

if TYPE_CHECKING:
    from parasim.program.buffers import Buffer
    from parasim.program.groups import Group
    from parasim.program.shared import Shared

__all__ = [
    "ANY",
    "Cancel",
    "Closed",
    "Collective",
    "CollectiveKind",
    "Compute",
    "Decide",
    "Event",
    "Exchange",
    "Handle",
    "Header",
    "Kernel",
    "Locked",
    "Log",
    "Message",
    "Op",
    "Piece",
    "Poll",
    "Post",
    "Probe",
    "Program",
    "Read",
    "Recv",
    "ReduceKind",
    "Scalar",
    "Send",
    "Sleep",
    "Update",
    "Wait",
    "WaitAny",
    "number",
]

T = TypeVar("T")
Scalar = int | float | str | bool
Header = Mapping[str, Scalar]
Program = Generator["Op[Any]", Any, T]
ANY: Final = -1
"""As the source of a `Recv`: whoever comes first."""

CollectiveKind = Literal["all_reduce", "reduce_scatter", "all_gather", "all_to_all", "broadcast", "barrier"]
ReduceKind = Literal["sum", "mean", "max"]


class Closed(Exception):
    """Thrown into the pending `Recv` of a daemon when everything that is no daemon has finished. May go uncaught."""


class Op(Generic[T]):
    """A request to the runtime whose reply has type `T`."""

    __slots__ = ()

    def __iter__(self) -> Program[T]:
        reply: T = yield self
        return reply


@value(frozen=True, slots=True)
class Piece:
    """Equal steps of a kernel, one after the other: `count` of them, each of `flops` FLOP and `nbytes` bytes.

    `kind` is a path from the particular to the general ("linear/forward", "update/add_"): a device that knows no curve
    of the whole path takes that of its end ("forward", "add_"). `signature` names the block exactly, its shapes
    included and the number of samples not ("relu linear 256->256/forward"); equal blocks have equal signatures.
    """

    kind: str
    signature: str = ""
    flops: float = 0.0
    nbytes: float = 0.0
    count: int = 1


@value(frozen=True, slots=True)
class Kernel:
    """What a compute costs, in words a device model understands.

    `kind` picks the efficiency curve ("forward", "backward", "elementwise", "reduce", ...), `flops` and `nbytes` (moved
    through memory) the roofline; `lines` are cache lines of shared memory that another core wrote last. `layer`, `step`
    and `micro` say what it belongs to; they key its noise. A calibrated device sums over `pieces` (none: the kernel is
    one piece of its kind), unless the whole was measured: `signature` names it, at `size` (samples of a pass, elements
    of a vector).
    """

    label: str
    kind: str = "elementwise"
    flops: float = 0.0
    nbytes: float = 0.0
    layer: str = ""
    step: int = -1
    micro: int = -1
    pieces: tuple[Piece, ...] = ()
    signature: str = ""
    size: int = 0
    lines: int = 0


def number(header: Header, name: str) -> int:
    """The whole number that a header tells under this name, as it is: a runtime may know it otherwise."""
    return cast("int", header[name])


@value(frozen=True, slots=True)
class Message:
    """What a `Recv` replies: `source` (global rank), `header`, and the payload or None."""

    source: int
    tag: str
    header: Header
    buffer: Buffer | None


class Handle:
    """A posted program: is it done, was it cancelled, what did it return. Made by `Post` only."""

    __slots__ = ("cancelled", "done", "lane", "result", "since", "task", "waiters")

    def __init__(self, task: str, lane: str) -> None:
        self.task = task
        self.lane = lane
        self.done = False
        self.cancelled = False
        self.result: Any = None
        self.since = 0.0
        self.waiters: list[Any] = []

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled else "done" if self.done else "running"
        return f"Handle({self.task}, {state})"


@value(frozen=True, slots=True)
class Compute(Op[T]):
    """Occupy the actor's device for `kernel`; run `work()` if values are carried and reply with its result.

    `touches` are the buffers that `work` changes, `reads` those it only reads. Two computes of an actor never overlap
    if one touches what the other touches or reads; of two that would, the first one yielded runs first. Without values
    the reply is `otherwise()`, or None.
    """

    kernel: Kernel
    work: Callable[[], T] | None = None
    touches: Sequence[Buffer] = ()
    reads: Sequence[Buffer] = ()
    otherwise: Callable[[], T] | None = None


@value(frozen=True, slots=True)
class Send(Op[None]):
    """Send `buffer` (None: the header alone) to rank `peer`. Rendezvous at every size: done when the peer has it all.

    Sending a buffer that a running compute changes is a `ProgramError`; so is sending to oneself. With `lent` the
    program promises to leave the buffer alone until the send is done, and no copy is made.
    """

    peer: int
    buffer: Buffer | None = None
    tag: str = ""
    header: Header = field(default_factory=dict)
    lent: bool = False


@value(frozen=True, slots=True)
class Recv(Op[Message]):
    """Receive one message of this tag from rank `source`, or from whoever comes first (`ANY`).

    With `into` the payload is written there (its size must match) and `into` is the message's buffer. ANY and a named
    source pending on one tag at once is a `ProgramError`.
    """

    source: int = ANY
    tag: str = ""
    into: Buffer | None = None


@value(frozen=True, slots=True)
class Exchange(Op[tuple[Message, ...]]):
    """Start all sends and receives now; done when all are. Replies with the messages in the order of `receives`."""

    sends: tuple[Send, ...] = ()
    receives: tuple[Recv, ...] = ()


@value(frozen=True, slots=True)
class Post(Op[Handle]):
    """Run a program (or a single operation) on a lane of this actor, beside the main program; replies at once.

    A lane is first-in first-out and runs one program at a time; any name makes a lane. Posting to the lane one runs on
    is a `ProgramError`. A `Send` or `Exchange` that is posted by itself takes its values now. A daemon serves until
    everything that is no daemon, on any rank, is finished; then its pending `Recv` raises `Closed`.
    """

    program: Program[Any] | Op[Any]
    lane: str
    daemon: bool = False


@value(frozen=True, slots=True)
class Wait(Op[tuple[Any, ...]]):
    """Wait for all of them; replies with their results, None for a cancelled one."""

    handles: Sequence[Handle]


@value(frozen=True, slots=True)
class WaitAny(Op[Handle]):
    """Wait for the first of them to be done, and reply with it. If several are done: the first in the list."""

    handles: Sequence[Handle]


@value(frozen=True, slots=True)
class Poll(Op[bool]):
    """Is it done yet?"""

    handle: Handle


@value(frozen=True, slots=True)
class Probe(Op[bool]):
    """Has a message of this tag from `source` (or anyone) been announced that no receive has taken?"""

    source: int = ANY
    tag: str = ""


@value(frozen=True, slots=True)
class Cancel(Op[None]):
    """Stop a posted program at the next kernel boundary; replies at once (`Wait` tells when it has stopped).

    What has not started never starts; an unmatched `Recv`, a wait or a sleep ends at once; a compute, a send or an
    exchange in progress ends first (the row of the trace says "cancelled"). A finished program stays finished.
    """

    handle: Handle


@value(frozen=True, slots=True)
class Collective(Op[Any]):
    """Every member of `group` yields it, on lanes of one name, in one order.

    ========================  ==========================================================================
    all_reduce                `buffer` holds the reduction on every member (reply None)
    reduce_scatter            reply: the view of `buffer` that is this member's piece, reduced; the rest is scratch
    all_gather                each member has filled its piece of `buffer`; afterwards all pieces are filled (None)
    all_to_all                piece j of `buffer` goes to member j; reply: a new buffer with the pieces received
    broadcast                 `buffer` of member `root` reaches all (None)
    barrier                   no buffer; header-only messages (None)
    ========================  ==========================================================================

    Pieces are cut at `bounds`, or are `counts[j]` elements long; for all_to_all `counts` are the elements this member
    sends to each and `counts_in` those it gets from each. A named `algorithm` is expanded into its program
    (parasim/program/collectives; "": the kind's default, a ring where there is one); "native" is the backend's own, and
    its messages are not claimed. `shape` is (rows,
    columns) of the torus and (nodes, ranks per node) of the hierarchical algorithms. Until done the buffer is in use.
    """

    kind: CollectiveKind
    group: Group
    buffer: Buffer | None = None
    algorithm: str = ""
    reduce: ReduceKind = "sum"
    root: int = 0
    counts: tuple[int, ...] | None = None
    counts_in: tuple[int, ...] | None = None
    shape: tuple[int, int] | None = None
    chunks: int | None = None


@value(frozen=True, slots=True)
class Read(Op[Snapshot]):
    """Copy a part of a shared vector (None: all parts, one after the other, so the whole may be torn)."""

    shared: Shared
    part: int | None = None


@value(frozen=True, slots=True)
class Update(Op[int]):
    """Add `delta` to a part of a shared vector (None: all parts, one after the other); replies with the new version.

    Not atomic: what others write between this update's read and its write is lost, and the trace counts it.
    """

    shared: Shared
    delta: Buffer
    part: int | None = None
    atomic: bool = True


@value(frozen=True, slots=True)
class Locked(Op[T]):
    """Run `program` while holding the lock of `shared`; replies with its result."""

    shared: Shared
    program: Program[T]


@value(frozen=True, slots=True)
class Decide(Op[Any]):
    """The one door through which values reach control flow: reply `work()`, a scalar, recorded for replay.

    Without values the reply is `modelled`.
    """

    work: Callable[[], Scalar]
    modelled: Scalar
    label: str = ""


@value(frozen=True, slots=True)
class Sleep(Op[None]):
    """Do nothing for `seconds` (think time)."""

    seconds: float


@value(frozen=True, slots=True)
class Event:
    """A note.

    `kind` is one of "step" (a worker finished iteration `step`), "applied" (a gradient computed at `version_read`, by
    rank `peer` if not by oneself, was applied to a copy at `version_applied`), "loss" (`value`), "hold" and "release"
    (`nbytes` of `label`), or "note".
    """

    kind: Literal["step", "applied", "loss", "hold", "release", "note"]
    label: str = ""
    step: int = -1
    micro: int = -1
    layer: str = ""
    peer: int = -1
    version_read: int = -1
    version_applied: int = -1
    value: float | None = None
    nbytes: int = 0


@value(frozen=True, slots=True)
class Log(Op[None]):
    """Write a note into the trace, at no cost."""

    event: Event
