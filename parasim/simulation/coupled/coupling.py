"""Collectives at coupled fidelity: gather the members, send one train through the network, let all go on at its end.

A collective that nobody disturbs costs one event (a few where members are through at different times), whatever the
number of ranks. Where other traffic uses its links it goes on message by message, without its programs; one of more
than `plan.FEW_MESSAGES` messages goes on as one flow round by round, in at most `plan.MOST_ROUNDS` rounds.

What it leaves out. Its reductions take their modelled time, without noise, and share cores with those of other
collectives only, not with what programs compute. Undisturbed members that keep step wait for the last one. One of many
messages waits, in each round, for its slowest. So its time is no less than that of its messages on idle links, and no
more than that of its messages and of all those it meets, one after the other.

`auto` couples a collective where this is close to the messages: in every round data flow at least ten times as long as
the latency, the members keep step to 2 %, and its reductions take no more than 2 % of the time, or neither noise nor a
compute under way beside them can slow them down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from parasim.errors import ProgramError
from parasim.program.buffers import Buffer
from parasim.program.collectives import DEFAULTS
from parasim.program.collectives.algorithms import ALGORITHMS, check, cuts_in
from parasim.program.collectives.expand import own_piece
from parasim.program.collectives.values import do_values
from parasim.program.ops import Collective
from parasim.runtime.actor import Actor
from parasim.runtime.tasks import Pending
from parasim.simulation.coupled.conductor import Conductor, Journey

if TYPE_CHECKING:
    from parasim.program.tensors import Tensors
    from parasim.simulation.coupled.plan import Plan, Setting

__all__ = ["LEAST_FLOW_OVER_LATENCY", "Coupling", "Fidelity"]

Fidelity = Literal["message", "coupled", "auto"]

LEAST_FLOW_OVER_LATENCY = 10.0
_CLOSE = 0.02
_ALL_NEED_ALL = ("all_reduce", "reduce_scatter", "all_gather")
"""Kinds in which no member can be through before all have come."""


class _Member(NamedTuple):
    actor: Actor
    pending: Pending
    op: Collective
    quiet: bool
    entered: float


@dataclass(slots=True, eq=False)
class _Gathering:
    """The members of one collective that have come; its journey from the first on, if they may enter one by one."""

    coupled: bool
    size: int
    members: dict[int, _Member] = field(default_factory=dict)
    journey: Journey | None = None
    complete: float = 0.0  # when the last came
    replies: list[Any] | None = None


class Coupling:
    """Decides which collectives are simulated as a whole, and does so.

    Parameters
    ----------
    conductor
        Leads them through the network.
    fidelity
        "coupled": all but barriers; "auto": those that it fits.
    setting_of
        From the ranks of a group to where it sits.
    noisy
        Do computes have random times?
    tensors
        The tensor namespace of the run, if values are carried.
    wake
        Called after a member has been told to go on.

    Attributes
    ----------
    coupled, by_message
        Collectives so far.
    """

    def __init__(
        self,
        conductor: Conductor,
        fidelity: Fidelity,
        setting_of: Callable[[tuple[int, ...]], Setting],
        *,
        noisy: bool,
        tensors: Tensors | None,
        wake: Callable[[], None],
    ) -> None:
        self.coupled = self.by_message = 0
        self._conductor = conductor
        self._fidelity = fidelity
        self._setting_of = setting_of
        self._noisy = noisy
        self._tensors = tensors
        self._wake = wake
        self._plans: dict[Any, Plan] = {}
        self._gatherings: dict[tuple[str, int], _Gathering] = {}
        self._counts: dict[tuple[str, int], int] = {}

    @property
    def counts(self) -> dict[str, int]:
        """For the summary of a run."""
        return {"message": self.by_message, "coupled": self.coupled}

    def take(self, actor: Actor, pending: Pending, op: Collective, quiet: bool = False) -> bool:
        """A member has come to a collective; False if its messages are to be simulated.

        Raises
        ------
        ProgramError
            If the collective does not fit its algorithm, or the members do not agree.
        """
        op = op if op.algorithm else replace(op, algorithm=DEFAULTS.get(op.kind, ""))
        index = op.group.index(actor.rank)
        check(op, index)
        if op.buffer is None or op.group.size == 1:
            return False
        lane = pending.task.lane
        tag = f"{op.kind}/{op.group.name}/{lane}"
        number = self._counts.get((tag, actor.rank), 0)
        self._counts[tag, actor.rank] = number + 1
        gathering = self._gatherings.get((tag, number))
        if gathering is None:
            gathering = self._gatherings[tag, number] = _Gathering(self._fits(op, actor), op.group.size)
            self.coupled += gathering.coupled
            self.by_message += not gathering.coupled
        gathering.members[index] = _Member(actor, pending, op, quiet, actor.port.now())
        if len(gathering.members) == op.group.size:
            del self._gatherings[tag, number]
        if gathering.coupled:
            self._enter(gathering, index)
        return gathering.coupled

    def _enter(self, gathering: _Gathering, index: int) -> None:
        """A member has come to a collective that is coupled."""
        actor, pending, op, _, now = gathering.members[index]
        assert op.buffer is not None
        changing = actor.guard.changing(op.buffer)
        if changing is not None:
            raise ProgramError(
                f"rank {actor.rank}, program {pending.task.id}: {op.kind} of {op.buffer.name!r} while compute "
                f"{changing.op.kernel.label!r} of program {changing.task.id} changes it; wait for it first"
            )
        _agree(next(iter(gathering.members.values())), gathering.members[index])
        everyone = len(gathering.members) == gathering.size
        if everyone:
            gathering.complete = now
        if gathering.journey is not None:
            self._conductor.enter(gathering.journey, index)
        elif op.kind in _ALL_NEED_ALL:
            self._open(gathering, self._plan([op] * gathering.size))
        elif everyone:
            self._open(gathering, self._plan([gathering.members[i].op for i in range(gathering.size)]))

    def _open(self, gathering: _Gathering, plan: Plan) -> None:
        """Let the members that have come enter."""
        if not plan.seconds:
            if len(gathering.members) == gathering.size:
                for index in range(gathering.size):
                    self._through(gathering, plan, index)
            return
        gathering.journey = self._conductor.open(plan, lambda index: self._through(gathering, plan, index))
        for index in sorted(gathering.members):
            self._conductor.enter(gathering.journey, index)

    def _fits(self, op: Collective, actor: Actor) -> bool:
        if self._fidelity == "coupled":
            return True
        if op.kind == "all_to_all":
            return False  # what others send is not known yet
        plan = self._plan([op] * op.group.size)
        uncertain = self._noisy or bool(actor.guard.running)
        return (
            plan.flow_over_latency >= LEAST_FLOW_OVER_LATENCY
            and plan.chain >= 1 - _CLOSE
            and not (uncertain and max(plan.computing) > _CLOSE * plan.seconds)
        )

    def _through(self, gathering: _Gathering, plan: Plan, index: int) -> None:
        """A member may go on; it had to wait for the last that came, at most until now."""
        if gathering.replies is None:
            gathering.replies = _replies([gathering.members[i].op for i in range(gathering.size)], self._tensors)
        actor, pending, _, quiet, entered = gathering.members[index]
        end = actor.port.now()
        start = max(entered, min(gathering.complete, end))
        actor.coupled(pending, plan.part(index), start, end, gathering.replies[index], quiet=quiet)
        self._wake()

    def _plan(self, ops: Sequence[Collective]) -> Plan:
        from parasim.simulation.coupled.plan import make_plan

        first = ops[0]
        assert first.buffer is not None
        varying = first.kind == "all_to_all"
        key = (
            first.kind, first.algorithm, first.group.ranks, first.root, first.shape, first.chunks, first.reduce,
            first.buffer.itemsize,
            tuple((op.counts, op.counts_in, op.buffer and op.buffer.elements) for op in (ops if varying else ops[:1])),
        )  # fmt: skip
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = make_plan(ops, self._setting_of(first.group.ranks))
        return plan


def _replies(ops: Sequence[Collective], tensors: Tensors | None) -> list[Any]:
    """What each member's operation replies; values are made, if there are any."""
    if tensors is not None:
        return do_values(ops, tensors)
    if ALGORITHMS[ops[0].kind, ops[0].algorithm].receives == "join":
        return [_received(op, index) for index, op in enumerate(ops)]
    return [own_piece(op, index) for index, op in enumerate(ops)]


def _received(op: Collective, index: int) -> Buffer:
    """What an all-to-all leaves at a member: a buffer of its own."""
    assert op.buffer is not None
    return Buffer(op.buffer.name, cuts_in(op, index)[-1], op.buffer.itemsize)


def _agree(first: _Member, member: _Member) -> None:
    """Both members ask for the same."""
    for name in ("algorithm", "reduce", "root", "shape", "chunks"):
        own, other = getattr(first.op, name), getattr(member.op, name)
        if own != other:
            raise _disagreement(first, member, name, own, other)
    if first.op.kind != "all_to_all":
        assert first.op.buffer is not None
        assert member.op.buffer is not None
        if first.op.buffer.nbytes != member.op.buffer.nbytes:
            raise _disagreement(first, member, "bytes", first.op.buffer.nbytes, member.op.buffer.nbytes)
        if first.op.counts != member.op.counts:
            raise _disagreement(first, member, "counts", first.op.counts, member.op.counts)


def _disagreement(first: _Member, member: _Member, name: str, own: object, other: object) -> ProgramError:
    return ProgramError(
        f"{first.op.kind} of group {first.op.group.name!r}: rank {first.actor.rank} gives {name} {own}, rank "
        f"{member.actor.rank} gives {other}; all members must ask for the same"
    )
