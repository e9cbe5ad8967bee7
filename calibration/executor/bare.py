"""The context of programs that belong to no scheme: probes, and what ranks say to each other before a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parasim.program.cast import Cast
from parasim.program.context import Context
from parasim.program.model import Model

if TYPE_CHECKING:
    from parasim.program.learner import Learner

__all__ = ["bare_context"]


def bare_context(cast: Cast, rank: int, model: Model, learner: Learner | None = None) -> Context:
    """Of a rank of such a cast; without a learner no values are carried, and no work is done."""
    return Context(
        **cast.seat(rank),
        options=None,
        model=model,
        batch_size=1,
        steps=1,
        seed=0,
        optimizer=None,  # type: ignore[arg-type] # nobody updates
        learner=learner,
    )
