"""From a scenario to the contexts of its actors: the same for both runtimes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parasim.program.cast import Cast
from parasim.program.context import Context

if TYPE_CHECKING:
    from parasim.program.learner import Learner
    from parasim.scenario.model import Scenario

__all__ = ["build_cast", "build_context", "build_learner", "speeds_of_ranks"]


def build_cast(scenario: Scenario) -> Cast:
    """The actors and groups of the scenario's scheme."""
    return Cast(scenario.scheme.roles(), scenario.scheme.groups())


def speeds_of_ranks(scenario: Scenario, cast: Cast) -> dict[int, float]:
    """The speeds that the scenario gives to workers, by rank."""
    workers = cast.groups["worker"].ranks
    return {workers[index]: speed for index, speed in scenario.cluster.speeds.items()}


def build_learner(scenario: Scenario, device: str = "cpu") -> Learner:
    """The network with its data, on torch (imported here), its values on `device`."""
    from parasim.learning.build import make_learner

    workload = scenario.workload
    if workload.data_kind is None:
        raise ValueError(f"{scenario.name}: learning needs `workload: {{data: ...}}`")
    return make_learner(
        workload.model_kind,
        workload.model_options,
        workload.data_kind,
        workload.data_options,
        scenario.run.seed,
        workload.dtype,
        device,
    )


def build_context(scenario: Scenario, cast: Cast, rank: int, learner: Learner | None) -> Context:
    """What one actor sees."""
    from parasim.learning.build import make_optimizer

    model = scenario.workload.model
    return Context(
        **cast.seat(rank),
        options=scenario.scheme.options,
        model=model,
        batch_size=scenario.workload.batch_size,
        steps=scenario.run.steps,
        seed=scenario.run.seed,
        optimizer=make_optimizer(*scenario.optimizer),
        learner=learner,
        shared=scenario.scheme.shared(model),
    )
