"""What programs see while tapes are recorded: a worker that is no one in particular, and a server with any clients.

When it applies, and why it is exact: as parasim/simulation/chorus/voice.py. A worker's steps are plain numbers, as they
are all recorded; a server's versions are numbers of which only the origin is known (symbols.py).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from parasim.errors import ProgramError
from parasim.program.context import Context
from parasim.program.groups import Group
from parasim.program.model import Part
from parasim.program.state import Replica
from parasim.simulation.chorus.counts import Distinguished
from parasim.simulation.chorus.voice import Voice
from parasim.simulation.tapes.symbols import Clients

__all__ = ["AnyWorker", "Server"]

_Made = TypeVar("_Made")


class AnyWorker(Voice):
    """The context of any of the workers."""

    def __init__(self, **given: Any) -> None:
        super().__init__(lambda _: None, **given)

    def steps(self) -> range:
        """The iterations."""
        return range(self.num_steps)

    def replica(
        self, part: Part | None = None, elements: tuple[int, int] | None = None, per_step: float = 1.0
    ) -> Replica:
        """A parameter copy: its versions are as plain as the steps."""
        return Context.replica(self, part, elements, per_step)


class Server(Context):
    """The context of a server.

    Parameters
    ----------
    clients
        Role whose actors are its clients.
    before_client
        Called before each round of a loop over them.
    given
        As `Context` has it.

    Attributes
    ----------
    replicas
        The parameter copies that its program has made.
    """

    def __init__(self, clients: str, before_client: Callable[[int], None], **given: Any) -> None:
        super().__init__(**given)
        self.replicas: list[Replica] = []
        self._clients = clients
        self._before_client = before_client
        del self.draws

    def __getattr__(self, name: str) -> Any:
        if name == "draws":
            raise Distinguished("a server's program draws")
        raise AttributeError(name)

    def group(self, name: str) -> Group:
        """A declared group, if its clients are not in it."""
        group = super().group(name)
        if set(group.ranks) & set(super().ranks(self._clients)):
            raise Distinguished("a server's program asks for a group of its clients")
        return group

    def ranks(self, role: str) -> Any:
        """Ranks of a role; of its clients, those of nobody in particular."""
        ranks = super().ranks(role)
        if role == self._clients:
            return Clients(len(ranks), self._before_client)
        if set(ranks) & set(super().ranks(self._clients)):
            raise ProgramError(f"role {role} has actors of {self._clients}")
        return ranks

    def kept(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """Nothing is kept here, where it could not be seen whether it changes."""
        raise Distinguished("a server keeps something in its context")

    def replica(
        self, part: Part | None = None, elements: tuple[int, int] | None = None, per_step: float = 1.0
    ) -> Replica:
        """A parameter copy."""
        replica = super().replica(part, elements, per_step)
        self.replicas.append(replica)
        return replica
