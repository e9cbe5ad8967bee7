"""What a scheme is: options, roles, groups, and its closed form. One scheme, one file in parasim/schemes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from parasim.fields import INTERNAL, option
from parasim.program.cast import Role
from parasim.program.compressor import Compressor
from parasim.program.context import Context
from parasim.program.groups import Group
from parasim.program.model import Model, Tied
from parasim.program.ops import Program
from parasim.program.setting import ClosedForm, NoClosedForm, Planning, Setting
from parasim.program.shared import Shared
from parasim.program.snapshots import HeldModel

__all__ = ["INTERNAL", "Codes", "Options", "Scheme", "Taxonomy", "option"]

Codes = Literal["", "sums", "models", "messages", "pieces", "changes", "values"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that every scheme has."""

    workers: int = option(0, "number of workers (0: one per host that no other role takes)", ge=0)

    def idle(self) -> Mapping[str, str]:
        """Options that have no effect beside the others, and why: a file that gives them is told so."""
        return {}


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Place on the axes of Ben-Nun and Hoefler (2019); SCHEMES 14.

    Attributes
    ----------
    concurrency
        Inside a network: data, model or pipeline parallel, or a hybrid.
    consistency
        Of the model between workers: synchronous, stale-synchronous, asynchronous, independent.
    distribution
        Of the parameters: centralised, decentralised, in shared memory; "none" if each has one owner.
    communication
        What is sent, and how.
    training
        How training is spread: one model, or several that are averaged.
    """

    concurrency: str
    consistency: str
    distribution: str
    communication: str = "activations and their gradients"
    training: str = "one model"


class Scheme:
    """Base of all schemes. Subclasses set the class variables and define `roles` and `closed_form`.

    A subclass sees nothing but the language: no clock, no runtime, no torch. Its role programs take one `Context`.
    """

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Options that an alias stands for, where they are not the defaults."""
    citation: ClassVar[str]
    taxonomy: ClassVar[Taxonomy]
    staleness: ClassVar[str]
    approximates: ClassVar[str] = ""
    """What takes the place of sequential SGD's gradient, in a few words; empty if nothing does."""
    Options: ClassVar[type[Options]] = Options
    compresses: ClassVar[Codes] = ""
    """What of it may be sent in code: gradients that workers sum, models that they average, gradients for servers or
    for owners of pieces, changes of models for neighbours, models as they are; nothing."""
    changes_with: ClassVar[str] = ""
    """Options with which codes for gradients carry changes of its models, as a file has them."""
    no_changes: ClassVar[str] = ""
    """Why changes of its models can't be sent in place of them, whatever the options; "": see `changes_with`."""
    most_workers: ClassVar[int | None] = None
    """What a number of workers that the options leave open is cut to."""
    fixed_batch: ClassVar[str] = ""
    """Why its mini-batches must all be equally large; "": they may grow."""

    prices_codes: ClassVar[bool] = False
    """Does its closed form know what compression costs?"""
    messages: ClassVar[str] = "messages"
    """What messages outside collectives are called where traffic is told by groups."""

    tries_batches: ClassVar[bool] = False
    """May steps be tried with other batches and taken back? So it is if every worker has all that they change: a whole
    model, made by `Context.replica`, and what codes keep."""

    def __init__(self, options: Any) -> None:
        self.options = options

    def roles(self) -> tuple[Role, ...]:
        """Roles and how many actors each has; the role that iterates is named "worker". By default workers only."""
        return (Role("worker", self.options.workers, self.worker),)

    def worker(self, me: Context) -> Program[Any]:
        """What a worker does; what it returns are its final weights."""
        raise NotImplementedError

    def groups(self) -> tuple[Group, ...]:
        """Groups beyond the roles themselves."""
        return ()

    def lanes(self) -> tuple[str, ...]:
        """Lanes that run collectives (a backend may need a communicator for each)."""
        return ("main",)

    def shared(self, model: Model) -> tuple[Shared, ...]:
        """Shared vectors, for schemes of one machine."""
        return ()

    def pipelines(self) -> int:
        """Batches of `batch_size` samples that one step of all workers consumes (as many as workers, by default)."""
        return int(self.options.workers)

    def batches(self, steps: int) -> tuple[tuple[float, int], ...]:
        """Until which step of a run how many such batches are taken per step: always as many, by default."""
        return ((math.inf, self.pipelines()),)

    def codes(self) -> Codes:
        """What may be sent in code with these options."""
        return self.compresses

    def no_codes(self, model: Model, code: Compressor) -> str:
        """Why what it sends of this model can't be in that code, and what to do; "": it can."""
        return ""

    def tied(self) -> Tied:
        """How it trains parameters that the first and the last layer share.

        Copies (their model is that of `Model.untie`) begin equal, and the scheme keeps them so: it sums their gradients
        before each update.
        """
        return ""

    def counts_vary(self) -> bool:
        """Does timing decide how many messages are sent? Then real and simulated runs differ a little."""
        return False

    def held_model(self) -> HeldModel:
        """The model that the scheme would give if it were stopped now: by default its servers', else its workers'."""
        served = any(role.name == "server" for role in self.roles())
        return HeldModel("server" if served else "worker", updates_per_step=self.updates_per_step)

    @property
    def updates_per_step(self) -> float:
        """A server's updates while all workers make a step."""
        return 1.0

    def no_norms(self) -> str:
        """Why who updates parameters can't know the norms of whole arrays, and what to do; "": he can."""
        servers = next((role.count for role in self.roles() if role.name == "server"), 1)
        return "" if servers == 1 else "the servers' shards cut layers: write servers: 1"

    def facts(self) -> Mapping[str, float]:
        """Figures that the options alone decide, by name; the summary and the table of a run show them."""
        return {}

    def check(self, model: Model, batch_size: int) -> None:
        """Refuse a workload or options that the scheme can't run.

        Raises
        ------
        ValueError
            One line: what does not fit, and what would.
        """

    def plan(self, setting: Planning) -> None:
        """Decide what depends on the cluster: how layers are cut. Called once, before anything else looks at parts.

        Raises
        ------
        ValueError
            As :meth:`check` does.
        """

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """What each actor holds at its peak, in bytes by part of memory; none if no closed form is known.

        Where it exceeds an actor's device, the scenario is refused. Called after :meth:`plan`.
        """
        return ()

    @classmethod
    def extra_actors(cls, options: Any) -> int:
        """Actors that are no workers: the default placement leaves hosts free for them."""
        return 0

    def closed_form(self, setting: Setting) -> ClosedForm | NoClosedForm:
        """Theory for one step, or why there is none."""
        return NoClosedForm(f"none is known of {self.name}")
