"""What a server does with each kind of request, recorded once.

When it applies: a server's program begins by noting what it holds, and then waits for requests: on a lane for each of
its clients, posted in a loop over them, or itself, for whoever comes first. A request leads to computes, notes of
applied gradients and replies to its client, and then to the same wait.

Why it is exact: the state of who waits is taken (state.py), and must be the same after a request as before. At every
operation in between, all that its other lanes could reach must be as before, but for versions; so whatever else a
server is doing, the next request of this kind leads to the same operations. Versions are known by where they were read;
a compiled loop reads and counts them at the same points. The loop over the clients must do the same for the second and
the third client, in the same state; so it does for all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from parasim.program.buffers import Buffer
from parasim.program.ops import ANY, Closed, Compute, Handle, Log, Message, Post, Recv, Send
from parasim.simulation.chorus.counts import Distinguished
from parasim.simulation.chorus.likeness import UnknownState
from parasim.simulation.tapes.contexts import Server
from parasim.simulation.tapes.state import go_on, words_of
from parasim.simulation.tapes.symbols import Likenesses, Number, Origin, Someone
from parasim.simulation.tapes.totals import Totals

__all__ = ["Reply", "Request", "ServerTape", "Service"]

_COUNTERS = ("version", "begun")
_MOST = 64
"""Kinds of requests of one server; with more, they would better be simulated one by one."""


@dataclass(frozen=True, slots=True)
class Request:
    """A kind of request: its header, None standing for a number of its own; elements and their size, -1: no buffer."""

    tag: str
    header: tuple[tuple[str, Any], ...]
    elements: int
    itemsize: int

    @property
    def nbytes(self) -> int | None:
        """Payload; None: a header alone."""
        return None if self.elements < 0 else self.elements * self.itemsize

    def message(self, source: Any, number: Number | None) -> Message:
        """Such a message."""
        header: dict[str, Any] = {name: number if value is None else value for name, value in self.header}
        buffer = None if self.elements < 0 else Buffer("received", self.elements, self.itemsize)
        return Message(source, self.tag, header, buffer)


Reply = Request
"""Replies are messages as well."""


@dataclass(slots=True)
class Service:
    """What a request leads to: lines (what it is, and what belongs to it), and the replies among them."""

    lines: list[tuple[Any, ...]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    computes: list[Compute[Any]] = field(default_factory=list)
    again: list[Compute[Any]] = field(default_factory=list)
    sends: list[Buffer] = field(default_factory=list)
    registers: int = 1
    layers: set[str] = field(default_factory=set)
    peers: set[bool] = field(default_factory=set)


def asked(op: Send) -> tuple[Request, Number | None]:
    """The kind of a message, and its number."""
    number = None
    header = []
    value: Any
    for name, value in op.header.items():
        if type(value) is Number:
            if number is not None:
                raise Distinguished("a header tells two numbers")
            number = value
            header.append((name, None))
        elif type(value) in (bool, int, float, str):
            header.append((name, value))
        else:
            raise Distinguished("a header tells something strange")
    size = (-1, 0) if op.buffer is None else (op.buffer.elements, op.buffer.itemsize)
    return Request(op.tag, tuple(header), *size), number


class _Lane:
    """A program of a server that waits for requests."""

    def __init__(self, program: Any, client: Someone | None) -> None:
        self.program = program
        self.client = client
        self.waits: Recv | None = None

    @property
    def source(self) -> Any:
        """Whose message it waits for."""
        return None if self.waits is None else self.waits.source


class ServerTape:
    """One server.

    Parameters
    ----------
    program
        Of its role.
    make
        Makes its context, given what is to be called before each round of a loop over its clients.

    Attributes
    ----------
    each
        Has it a lane for each client?
    idle
        Its lanes that wait for messages that nobody sends.
    services
        By kind of request.
    opening
        Sums of what it does first.
    returned
        What its program returns.
    """

    def __init__(self, program: Callable[[Any], Any], make: Callable[..., Server], clients: int) -> None:
        self._context = make(before_client=self._before_client)
        self._constants = [self._context, self._context.model, getattr(program, "__self__", None)]
        self._modules = [getattr(program, "__module__", "parasim.")]
        self._clients = clients
        self._lanes: list[_Lane] = []
        self._posted: list[_Lane] = []
        self._operations = 0
        self._rounds: list[tuple[int, Any]] = []
        self.services: dict[Request, Service] = {}
        self.opening = Totals()
        self.returned: Any = None
        self.counters: list[tuple[Any, str]] = []
        self._read: list[Origin] = []
        self._looped = False
        self._open(program(self._context))

    # its beginning -------------------------------------------------------------------------------------------------
    def _open(self, main: Any) -> None:
        if not hasattr(main, "send"):
            raise Distinguished("no program")
        serving = self._until_it_waits(main)
        self.each = not serving
        if serving:
            self._lanes = [_Lane(main, None)]
            self._lanes[0].waits = serving
        for replica in self._context.replicas:
            for name in _COUNTERS:
                if getattr(replica, name) != 0:
                    raise Distinguished("a version is counted before the first request")
                self.counters.append((replica, name))
        self._renew()
        for lane in self._posted:
            op = go_on(lane.program, None)
            if type(op) is not Recv or self._context.notes:
                raise Distinguished("a posted lane does not wait for a message")
            lane.waits = op
        self.idle = [lane for lane in self._posted if lane.client is None]
        mine = [lane for lane in self._posted if lane.client is not None]
        if self.each:
            self._lanes = mine
        elif mine:
            raise Distinguished("a server serves its clients in two ways")
        if not self._lanes or any(lane.source is not lane.client for lane in mine):
            raise Distinguished("a server's lane does not wait for its client")
        if serving and serving.source != ANY:
            raise Distinguished("a server serves one client only")
        tags = {lane.waits.tag for lane in self._lanes if lane.waits}
        if len(tags) != 1 or any(lane.waits and lane.waits.tag in tags for lane in self.idle):
            raise Distinguished("lanes of a server wait for different requests")
        (self.tag,) = tags
        if self.each and len({self._words([lane]) for lane in self._lanes}) != 1:
            raise Distinguished("lanes of a server differ")
        self._base = self._words(self._lanes[:1])

    def _until_it_waits(self, main: Any) -> Recv | None:
        """Go through the main program until it waits for requests, or ends."""
        reply: Any = None
        while True:
            try:
                op = go_on(main, reply)
            except StopIteration as stop:
                self._note()
                self.returned = stop.value
                return None
            self._note()
            reply = None
            self._operations += 1
            if type(op) is Recv:
                return op
            if type(op) is Log:
                self.opening.noted(op.event)
            elif type(op) is Post and op.daemon and hasattr(op.program, "send"):
                client = None
                if self._rounds and self._rounds[-1][0] == self._operations - 1 and not self._looped:
                    client = _client_of(op.program)
                self._posted.append(_Lane(op.program, client))
                reply = _Daemon()
            else:
                raise Distinguished(f"a server begins with {type(op).__name__}")

    def _note(self) -> None:
        for event in self._context.notes:
            self.opening.noted(event)
        self._context.notes.clear()

    def _before_client(self, number: int) -> None:
        """A round of a loop over the clients begins, or the loop ends."""
        if self._looped or (self._posted and self._posted[0].client is None and number == 0):
            raise Distinguished("clients are gone through twice, or after other lanes")
        if number and (self._operations - self._rounds[-1][0] != 1 or self._posted[-1].client is None):
            raise Distinguished("a round of the loop over clients does not post one lane")
        self._rounds.append((self._operations, self._frames(sys._getframe(2))))
        if len(self._rounds) > 2 and self._rounds[-1][1] != self._rounds[-2][1]:
            raise Distinguished("rounds of the loop over clients differ")
        self._looped = number == min(self._clients, 3)

    def _frames(self, frame: Any) -> tuple[Any, ...]:
        """The state of the main program while it runs."""
        likeness = self._likeness()
        try:
            while frame.f_code is not go_on.__code__:
                likeness.words += [id(frame.f_code), frame.f_lasti]
                for name, thing in frame.f_locals.items():
                    likeness.words.append(name)
                    if not isinstance(thing, Handle):
                        likeness.take(thing)
                frame = frame.f_back
        except UnknownState as unknown:
            raise Distinguished(str(unknown)) from unknown
        return tuple(likeness.words)

    # requests ------------------------------------------------------------------------------------------------------
    def serve(self, request: Request) -> Service:
        """What a kind of request leads to."""
        service = self.services.get(request)
        if service is None:
            if len(self.services) == _MOST or request.tag != self.tag:
                raise Distinguished("a server gets too many kinds of requests, or one that it does not expect")
            service = self._record(self._lanes[0], request)
            if len(self._lanes) > 1:
                second = self._record(self._lanes[1], request)
                if [line[0] for line in service.lines] != [line[0] for line in second.lines]:
                    raise Distinguished("lanes of a server do different things")
                service.again = second.computes
            self.services[request] = service
        return service

    def _record(self, lane: _Lane, request: Request) -> Service:
        service = Service()
        client = Someone(-1) if lane.client is None else lane.client
        number = Number(Origin(-1, 0)) if any(value is None for _, value in request.header) else None
        service.totals.received(request.nbytes)
        others = [other for other in (*self._lanes, *self.idle) if other is not lane]
        before = self._words(others)
        reply: Any = request.message(client, number)
        waits = lane.waits
        while True:
            read = self._renew()
            service.lines.append(("load", read))
            try:
                op = go_on(lane.program, reply)
            except StopIteration:
                raise Distinguished("a server serves no more") from None
            if self._context.notes:
                raise Distinguished("a server holds more with requests")
            for counter, (replica, name) in enumerate(self.counters):
                now = getattr(replica, name)
                if type(now) is not Number or now.origin is not read[counter]:
                    raise Distinguished("a version is not counted")
                if now.added:
                    service.lines.append(("count", counter, now.added))
            self._renew()
            if self._words(others) != before:
                raise Distinguished("what lanes of a server share changes with requests")
            if type(op) is Recv:
                break
            reply = self._line(service, op, client)
        if waits is None or op.into is not None or op.tag != waits.tag or op.source is not waits.source:
            raise Distinguished("a server waits for something else after a request")
        if self._words([lane]) != self._base:
            raise Distinguished("a request leaves a server in another state")
        return service

    def _line(self, service: Service, op: Any, client: Someone) -> Any:
        """One more line; what the operation replies."""
        kind = type(op)
        if kind is Compute:
            if type(op.kernel.step) is not int or op.kernel.step != -1:
                raise Distinguished("a server computes something of a step")
            service.lines.append(("compute", len(service.computes)))
            service.computes.append(op)
            service.totals.row(flops=op.kernel.flops)
            return None if op.otherwise is None else op.otherwise()
        if kind is Send and op.peer is client:
            reply, number = asked(op)
            service.lines.append(("send", len(service.replies), *self._used(service, number)))
            service.replies.append(reply)
            service.totals.sent(reply.nbytes)
            if op.buffer is not None:
                service.sends.append(op.buffer)
            return None
        if kind is Log and op.event.kind == "applied" and not op.event.nbytes:
            event = op.event
            if event.peer is client:
                service.peers.add(True)
            elif type(event.peer) is int and event.peer == -1:
                service.peers.add(False)
            else:
                raise Distinguished("a gradient of somebody else is applied")
            if type(event.version_applied) is not Number:
                raise Distinguished("a version is plain")
            service.layers.add(event.layer)
            read, applied = self._used(service, event.version_read), self._used(service, event.version_applied)
            service.lines.append(("applied", *read, *applied))
            service.totals.row()
            return None
        raise Distinguished(f"a server answers with {kind.__name__}")

    def _used(self, service: Service, number: Number | int | None) -> tuple[int, int]:
        """Register and what is added, of a number that is used; -1: it is plain."""
        if number is None or type(number) is int:
            return -1, number or 0
        if type(number) is not Number:
            raise Distinguished("a version is no number")
        if number.origin.register < 0:
            number.origin.register = service.registers
            service.registers += 1
        return number.origin.register, number.added

    def _renew(self) -> list[Origin]:
        """Versions may have been counted by others: they are read anew."""
        read = [Origin(counter) for counter in range(len(self.counters))]
        for (replica, name), origin in zip(self.counters, read, strict=True):
            setattr(replica, name, Number(origin))
        self._read = read
        return read

    def _words(self, lanes: Sequence[_Lane]) -> tuple[Any, ...]:
        try:
            return words_of([lane.program for lane in lanes], self._likeness())
        except UnknownState as unknown:
            raise Distinguished(str(unknown)) from unknown

    def _likeness(self) -> Likenesses:
        return Likenesses(self._constants, self._modules, self._read)

    # its end -------------------------------------------------------------------------------------------------------
    def close(self) -> None:
        """Everybody else is finished: what is left must end without another operation."""
        for lane in (*self._lanes, *self.idle):
            try:
                lane.program.throw(Closed())
            except StopIteration as stop:
                if not self.each and lane is self._lanes[0]:
                    self.returned = stop.value
            except Closed:
                pass
            else:
                raise Distinguished("a server goes on when all else is finished")
            if self._context.notes:
                raise Distinguished("a server notes something when all else is finished")


class _Daemon(Handle):
    """The handle of a lane that serves: a program can do nothing with it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("", "")

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return super().__getattribute__(name)
        raise Distinguished(f"a program looks at the {name} of a handle")


def _client_of(program: Any) -> Someone:
    """The client whose lane this is: the only one among its variables."""
    found = [value for value in program.gi_frame.f_locals.values() if type(value) is Someone]
    if len(found) != 1:
        raise Distinguished("a lane has no client, or several")
    return found[0]
