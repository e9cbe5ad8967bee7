"""Token vectors that the outputs share, in pipelines (Megatron-LM's embedding group; Shoeybi et al. 2019).

The first stage has the token vectors and the last one a copy of them. Both begin equal; before every update the two sum
their gradients, so that both make the same update: together they are the one parameter of the whole model. Each copy of
a pipeline has such a pair, and where stages are split each shard.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from parasim.program import (
    Buffer,
    ClosedForm,
    Collective,
    Context,
    Group,
    Model,
    Part,
    Planning,
    Program,
    Setting,
    Tie,
    Tied,
)
from parasim.schemes.crossings import Exchanged, ring_route, rings
from parasim.schemes.staged import Staged, update_seconds

__all__ = ["Tying"]


class Tying(Staged):
    """Stages that make an update of one mini-batch's gradients, all at the same version."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._pairs: tuple[tuple[int, int], ...] = ()

    @property
    def shards(self) -> int:
        """Workers that share a stage's layers."""
        return 1

    def tied(self) -> Tied:
        """As copies in the first and the last stage; one stage has the whole model."""
        return "copies" if self.cuts > 1 else "whole"

    def tie_of(self, model: Model) -> Tie | None:
        """What a worker of the first stage shares with one of the last."""
        return model.tie

    def plan(self, setting: Planning) -> None:
        """Cut the model; know who has what it shares."""
        super().plan(setting)
        if setting.model.tie is not None and setting.model.tie.copied:
            size = self.options.workers // self.pipelines()
            places = [copy * size + shard for copy in range(self.pipelines()) for shard in range(self.shards)]
            self._pairs = tuple((place + self.rank_of(0), place + self.rank_of(self.cuts - 1)) for place in places)

    def groups(self) -> tuple[Group, ...]:
        """Who has the token vectors, and who has the copy of them."""
        return tuple(Group(f"tied {number}", pair) for number, pair in enumerate(self._pairs))

    def sum_tied(self, me: Context, part: Part, gradient: Buffer) -> Program[None]:
        """Sum the gradient of what the part shares with another stage; most parts share nothing."""
        shared = part.tied(gradient)
        if shared is not None:
            number = next(number for number, pair in enumerate(self._pairs) if me.rank in pair)
            yield from Collective("all_reduce", me.group(f"tied {number}"), shared, "ring")

    def tied_cost(self, setting: Setting) -> Exchanged:
        """What that costs a pair; nothing where nothing is shared."""
        tie = self.tie_of(setting.model)
        if tie is None or not self._pairs:
            return Exchanged(0.0, 0.0, 0.0, True)
        nbytes = tie.elements * setting.model.itemsize
        return rings(setting, ring_route(setting, self._pairs), 2, [("all_reduce", nbytes)])

    def with_tied(self, setting: Setting, form: ClosedForm) -> ClosedForm:
        """The form of a pipeline with a flush, and this sum: the first stage, which is last to end, waits for it."""
        if not self._pairs:
            return form
        updates, cost, workers = update_seconds(self, setting), self.tied_cost(setting), self.options.workers
        own = [sum(updates[k::workers]) for k in range(workers)]
        return replace(
            form,
            seconds_per_step=form.seconds_per_step + max(0.0, cost.seconds - (max(own) - own[0])),
            bytes_sent_per_worker_per_step=form.bytes_sent_per_worker_per_step + 2 * cost.bytes_sent / workers,
            messages_sent_per_worker_per_step=form.messages_sent_per_worker_per_step + 2 * cost.messages_sent / workers,
            meaning="lower bound",
            note="first and last stage wait for each other with the gradient of the token vectors",
        )
