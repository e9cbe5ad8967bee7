"""Copies of the model in training, taken while a run goes on and looked at beside it: no time passes for them.

A scheme says which copies of the parameters are its model (`HeldModel`). Every actor that holds some of it copies that
at the boundaries where it is whole: a worker when it has finished a step, a server when it has applied an update. The
copies of all holders under one number make the model after so many steps; whoever evaluates it joins them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from parasim.program.buffers import Buffer
from parasim.program.tensors import Tensor

if TYPE_CHECKING:
    from parasim.program.learner import Learner
    from parasim.program.model import Part
    from parasim.program.ops import Event
    from parasim.program.state import Replica

__all__ = ["Camera", "Copy", "HeldModel", "ModelSnapshot", "Piece", "Watcher"]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class HeldModel:
    """Which copies make the model that a scheme would give if it were stopped.

    Attributes
    ----------
    role, copy
        Whose copies, and the name under which they are held; of shared memory: who looks at it, and the vector's name.
    mean
        The mean of all actors' copies; else each element is that of the first actor that holds it.
    shared
        It is in shared memory.
    updates_per_step
        Of actors that are no workers: updates of their copy for one step of every worker.
    models, members
        Several models are trained, one by each group of so many `members`: all are evaluated, and what counts is the
        first, their mean prediction ("ensemble"), or the one of least loss ("best").
    own
        Each of several models has initial weights of its own.
    """

    role: str = "worker"
    copy: str = "weights"
    mean: bool = False
    shared: bool = False
    updates_per_step: float = 1.0
    models: Literal["one", "first", "ensemble", "best"] = "one"
    members: int = 1
    own: bool = False


class Piece(NamedTuple):
    """Values of a range of the model's flat vector: from element `place` on, or of a part of a shard."""

    place: int | Part
    values: Tensor


class ModelSnapshot(NamedTuple):
    """What one actor held of the model.

    Attributes
    ----------
    rank, holder, number
        Who (rank, index in the role), and which of its snapshots (1, 2 ...; the same number: the same step).
    steps
        Steps of every worker that are in it.
    seconds
        When, on the run's clock.
    pieces
        Copies of what it holds.
    redundant
        It holds what the first actor (of its group) holds too, or no model any more: the pieces are left out.
    """

    rank: int
    holder: int
    number: int
    steps: float
    seconds: float
    pieces: tuple[Piece, ...]
    redundant: bool = False


@dataclass(slots=True, eq=False)
class Copy:
    """Parameters that an actor holds, and where they lie in the model; their values are to be divided by `weight`."""

    name: str
    place: int | Part
    owner: Buffer | Replica
    weight: float = 1.0

    @property
    def buffer(self) -> Buffer:
        """Where it is now: a replica's parameters may move."""
        return self.owner if isinstance(self.owner, Buffer) else self.owner.parameters


class Watcher:
    """What a program tells of the copies of parameters that it holds; nobody listens unless the model is evaluated."""

    def offer(self, owner: Buffer | Replica, place: int | Part, name: str = "weights") -> Copy:
        """A buffer holds a part of the model, or its elements from number `place` on, from now on.

        `Context.initial` and `Context.replica` say so; `name` is that of `HeldModel.copy`. What is offered again for
        the same place (a replica of what was an initial vector) takes its place.
        """
        return Copy(name, place if isinstance(place, int) or place.model.piece is not None else place.offset, owner)

    def withdraw(self, owner: Buffer | Replica) -> None:
        """It does no more."""

    def changed(self) -> None:
        """What a server offered was updated, and no note of an update says so."""

    def left(self) -> None:
        """The actor is done with the model that it trained: what it offered is none of the models from now on."""


class Camera(Watcher):
    """Takes one actor's snapshots.

    Parameters
    ----------
    who
        Rank, role and index of the actor.
    held
        Which copies are the model.
    parameters
        Elements of the whole model.
    due
        Snapshots that are due after so many steps of every worker; may be a fraction.
    learner
        Copies values.
    take
        Is given each snapshot.

    Attributes
    ----------
    shutter, shared
        The runtime's: takes the snapshot that is due as soon as it can; what is in shared memory now.
    """

    def __init__(
        self,
        who: tuple[int, str, int],
        held: HeldModel,
        parameters: int,
        due: Callable[[float], float],
        learner: Learner,
        take: Callable[[ModelSnapshot], None],
    ) -> None:
        self._rank, role, self._index = who
        self._held = held
        self._parameters = parameters
        self._due_after = due
        self._tensors = learner.tensors
        self._take = take
        self._copies: dict[object, Copy] = {}
        self._boundary = "step" if role == "worker" else "applied"
        self._updates = 0
        self._version = -1
        self._number = 0
        self._due: tuple[int, float] | None = None
        self._holds = role == held.role
        self._left = False
        self.shutter: Callable[[], None] = lambda: None
        self.shared: Callable[[], Tensor] = lambda: None

    @property
    def vector(self) -> str:
        """Name of the shared vector that the model is in; "" if it is in none."""
        return self._held.copy if self._held.shared else ""

    @property
    def due(self) -> bool:
        """Is there a snapshot to be taken?"""
        return self._due is not None

    def offer(self, owner: Buffer | Replica, place: int | Part, name: str = "weights") -> Copy:
        """The actor holds this copy from now on."""
        copy = super().offer(owner, place, name)
        if self._holds and name == self._held.copy:
            self._copies[copy.place] = copy
        return copy

    def withdraw(self, owner: Buffer | Replica) -> None:
        """It does no more."""
        self._copies = {place: copy for place, copy in self._copies.items() if copy.owner is not owner}

    def noted(self, event: Event) -> bool:
        """The actor notes an event. Is a snapshot due?"""
        if event.kind != self._boundary or not self._holds or self._left:
            return False
        if self._boundary == "step":
            return self._reached(event.step + 1)
        if event.version_applied == self._version:  # another gradient of the same update
            return False
        self._version = event.version_applied
        return self._updated()

    def changed(self) -> None:
        """An update was made."""
        if self._updated():
            self.shutter()

    def left(self) -> None:
        """It is done with its model."""
        if self._holds and not self._left:
            self._left = True
            self._due = self._number + 1, 0.0
            self.shutter()

    def _updated(self) -> bool:
        self._updates += 1
        return self._reached(self._updates / self._held.updates_per_step)

    def _reached(self, steps: float) -> bool:
        number = math.floor(self._due_after(steps) + _ROUNDING)
        if number <= self._number:
            return False
        self._number = number
        self._due = number, steps
        return True

    def shown(self) -> list[Buffer]:
        """What must not be changing while a snapshot is taken."""
        return [] if self._redundant else [copy.buffer for copy in self._copies.values()]

    @property
    def _redundant(self) -> bool:
        """Does the first actor (of its group) hold all that this one does, or has it left?"""
        if self._left:
            return True
        if self._held.models != "one":
            return self._index % self._held.members > 0
        if self._held.mean or not self._index:
            return False
        flat = [copy for copy in self._copies.values() if isinstance(copy.place, int)]
        return self._held.shared or sum(copy.buffer.elements for copy in flat) == self._parameters

    def shoot(self, seconds: float) -> None:
        """Take the snapshot that is due."""
        assert self._due is not None
        (number, steps), self._due = self._due, None
        redundant = self._redundant
        pieces: tuple[Piece, ...] = ()
        if not redundant and self._held.shared:
            pieces = (Piece(0, self.shared()),)
        elif not redundant:
            pieces = tuple(Piece(copy.place, self._values(copy)) for copy in self._copies.values())
        self._take(ModelSnapshot(self._rank, self._index, number, steps, seconds, pieces, redundant))

    def _values(self, copy: Copy) -> Tensor:
        values = copy.buffer.look()
        return self._tensors.copy(values) if copy.weight == 1 else self._tensors.multiply(values, 1 / copy.weight)
