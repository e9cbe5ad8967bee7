"""The same stage among real processes: each rank makes its case from the case's name."""

from __future__ import annotations

from calibration.executor.setup import Setup
from parasim.simulation.noise import NoNoise
from parasim.simulation.pace import modelled
from tests.conformance.stage import cast_of, context_of, device


def setup(name: str) -> Setup:
    """The case of this name, with computes paced by the stage's device."""
    from tests.conformance.cases import CASES

    case = CASES[name]
    cast = cast_of(case)
    return Setup(
        cast,
        lambda rank: context_of(case, cast, rank),
        lambda me: modelled(device(), NoNoise(), me.draws),
        shared=case.shared,
    )
