"""What a worker does from its first operation to its last, recorded once.

When it applies: a worker's main lane computes, notes steps and memory, posts talks and waits for all of them; a talk is
a program on a lane of its own that sends requests to one server and receives its replies. The worker asks nowhere which
worker it is, and what servers told it (versions) it only tells them again.

Why it is exact: then all workers do the same, whatever comes when. A talk is recorded when it is posted; while it is
under way, all that it can reach must stay as it is, so it would do the same later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from parasim.program.ops import Compute, Event, Handle, Kernel, Log, Message, Post, Recv, Send, Wait
from parasim.simulation.chorus.counts import Distinguished
from parasim.simulation.chorus.likeness import UnknownState
from parasim.simulation.tapes.contexts import AnyWorker
from parasim.simulation.tapes.services import Reply, Request, ServerTape, asked
from parasim.simulation.tapes.state import go_on
from parasim.simulation.tapes.symbols import Likenesses, Number, Origin
from parasim.simulation.tapes.totals import Totals

__all__ = ["Talk", "WorkerTape"]

MAIN = "main"
Line = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Talk:
    """What is said to one server: ("send", request, number held?, added), ("receive",)."""

    server: int
    lines: tuple[Line, ...]


class _Promise(Handle):
    """The handle of a talk: a program can but wait for it."""

    __slots__ = ("said", "talk")

    def __init__(self, lane: str, talk: _Posted) -> None:
        self.lane = lane
        self.said = talk

    def __getattr__(self, name: str) -> Any:
        raise Distinguished(f"a program looks at the {name} of a handle")


@dataclass(slots=True, eq=False)
class _Posted:
    """A talk that may be under way: what it could reach when it was posted, and how that was."""

    result: Any
    reach: Sequence[Any]
    words: tuple[Any, ...]


@dataclass(slots=True)
class _Said:
    """What a talk has come to while it is recorded: replies that have been sent, and its lines."""

    server: int = -1
    replies: list[tuple[Reply, bool]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


class WorkerTape:
    """Any of the workers.

    Parameters
    ----------
    program
        Of their role.
    context
        What they see.
    servers
        Those that they talk to, and the rank of the first.

    Attributes
    ----------
    lines
        ("compute", number), ("post", talk), ("wait",).
    kernels
        Of the computes, in order.
    requests
        How often which kind of request is sent to which server.
    totals, returned
        Sums of its rows; what its program returns.
    """

    def __init__(
        self, program: Callable[[Any], Any], context: AnyWorker, servers: Sequence[ServerTape], first_server: int
    ) -> None:
        self._context = context
        self._constants = [context, context.model, getattr(program, "__self__", None)]
        self._modules = [getattr(program, "__module__", "parasim.")]
        self._servers = servers
        self._first = first_server
        self._lanes: dict[str, int] = {}  # of a lane: its server
        self._told: dict[int, Origin] = {}  # by server: where the number comes from that it told last
        self._under_way: dict[str, _Posted] = {}
        self._stepped = 0  # lines before the last step's end
        self.lines: list[Line] = []
        self.kernels: list[Kernel] = []
        self.requests: dict[tuple[int, Request], int] = {}
        self.totals = Totals()
        self.returned: Any = self._run(program(context))

    def _run(self, main: Any) -> Any:
        if not hasattr(main, "send"):
            raise Distinguished("no program")
        reply: Any = None
        while True:
            try:
                op = go_on(main, reply)
            except StopIteration as stop:
                self._note()
                if self._under_way:
                    raise Distinguished("a worker ends before its talks") from None
                if self.totals.sums["steps"] and len(self.lines) > self._stepped:
                    raise Distinguished("a worker goes on after its last step") from None
                return stop.value
            self._note()
            for posted in self._under_way.values():
                if self._words(posted.reach) != posted.words:
                    raise Distinguished("what a talk can reach changes while it is under way")
            reply = self._operation(op)

    def _note(self) -> None:
        for event in self._context.notes:
            self._noted(event)
        self._context.notes.clear()

    def _noted(self, event: Event) -> None:
        self.totals.noted(event)
        if event.kind == "step":
            self._stepped = len(self.lines)

    def _operation(self, op: Any) -> Any:
        """One more line; what the operation replies."""
        kind = type(op)
        if kind is Compute:
            if self._under_way:
                raise Distinguished("a worker computes while it talks")
            self.lines.append(("compute", len(self.kernels)))
            self.kernels.append(op.kernel)
            self.totals.row(flops=op.kernel.flops)
            return None if op.otherwise is None else op.otherwise()
        if kind is Log:
            self._noted(op.event)
            return None
        if kind is Post:
            return self._post(op)
        if kind is Wait:
            waited = [handle for handle in op.handles if type(handle) is _Promise]
            if len(waited) != len(op.handles) or not set(self._under_way) <= {handle.lane for handle in waited}:
                raise Distinguished("a worker waits for some of its talks")
            self._under_way.clear()
            self.lines.append(("wait",))
            self.totals.row()
            return tuple(handle.said.result for handle in waited)
        raise Distinguished(f"a worker yields {kind.__name__}")

    # talks ---------------------------------------------------------------------------------------------------------
    def _post(self, op: Post) -> _Promise:
        if op.daemon or op.lane == MAIN or op.lane in self._under_way or not hasattr(op.program, "send"):
            raise Distinguished("a worker posts something else than a talk, or two on one lane")
        program: Any = op.program
        reach = list(program.gi_frame.f_locals.values())
        words = self._words(reach)
        said = _Said()
        reply: Any = None
        while True:
            try:
                line = go_on(program, reply)
            except StopIteration as stop:
                result = stop.value
                break
            if self._context.notes or self._words(reach) != words:
                raise Distinguished("a talk changes what others can reach")
            reply = self._say(said, line)
        if self._context.notes or said.server < 0 or self._lanes.setdefault(op.lane, said.server) != said.server:
            raise Distinguished("a talk with nobody, or with several")
        if len(set(self._lanes.values())) != len(self._lanes):
            raise Distinguished("talks with one server on two lanes")
        if said.replies:
            raise Distinguished("a server replies to nobody")
        self.lines.append(("post", Talk(said.server, tuple(said.lines))))
        posted = _Posted(result, reach, words)
        self._under_way[op.lane] = posted
        return _Promise(op.lane, posted)

    def _say(self, said: _Said, op: Any) -> Any:
        kind = type(op)
        peer = op.peer if kind is Send else op.source if kind is Recv else -1
        server = peer - self._first
        if not 0 <= server < len(self._servers) or said.server not in (-1, server):
            raise Distinguished(f"a talk yields {kind.__name__}, or is with several")
        said.server = server
        if kind is Send:
            request, number = asked(op)
            if number is not None and number.origin is not self._told.get(server):
                raise Distinguished("a worker tells a server something that it did not tell last")
            service = self._servers[server].serve(request)
            self.requests[server, request] = self.requests.get((server, request), 0) + 1
            said.replies += [(reply, any(value is None for _, value in reply.header)) for reply in service.replies]
            said.lines.append(("send", request, number is not None, 0 if number is None else number.added))
            self.totals.sent(request.nbytes)
            return None
        if not said.replies or said.replies[0][0].tag != op.tag:
            raise Distinguished("a worker waits for a reply that does not come")
        reply, tells = said.replies.pop(0)
        if len(said.replies) or (op.into is not None and op.into.nbytes != reply.nbytes):
            raise Distinguished("several replies, or one of another size")
        number = None
        self._told.pop(server, None)
        if tells:
            origin = self._told[server] = Origin(server)
            number = Number(origin)
        said.lines.append(("receive",))
        self.totals.received(reply.nbytes)
        message = reply.message(op.source, number)
        return message if op.into is None else Message(message.source, message.tag, message.header, op.into)

    def _words(self, reach: Sequence[Any]) -> tuple[Any, ...]:
        likeness = Likenesses(self._constants, self._modules)
        try:
            likeness.take(reach)
        except UnknownState as unknown:
            raise Distinguished(str(unknown)) from unknown
        return tuple(likeness.words)
