"""The law of the noise of handling is found again from the times that it gives."""

from __future__ import annotations

import pytest

from calibration.fitting.jitter import fit_jitter
from calibration.fitting.messages import machine, simulated
from calibration.probes.programs import Block
from calibration.probes.record import Observation
from parasim.cluster.handling import Handling
from parasim.simulation.noise import Crowding

HANDLING = Handling(post=60e-6, hear=60e-6, start=40e-6, finish=60e-6, latency=40e-6)
CORES = 2


def seen(law: Crowding, *ranks: int) -> list[Observation]:
    """What probes of a machine with this law see."""
    found = []
    for size in ranks:
        script = [Block(pattern, 8, 120) for pattern in ("ping_pong", "ring")]
        times = simulated(script, machine(CORES, HANDLING), [0] * size, handling_cores=CORES, law=law)
        for block, single in zip(script, times, strict=True):
            about = {"nbytes": 8, "ranks": size}
            found += [Observation("pairs", f"{block.pattern}/single", about, one, 0, 0.0) for one in single]
    return found


def test_jobs_on_busy_cores_scatter_more() -> None:
    found = fit_jitter(seen(Crowding(0.2, 0.8), 2, 4), HANDLING, CORES)
    assert found is not None
    assert found["kind"] == "crowding"
    assert found["sigma"] == pytest.approx(0.2, rel=0.3)
    assert found["crowded"] == pytest.approx(0.8, rel=0.3)


def test_without_more_ranks_than_cores_there_is_one_law() -> None:
    found = fit_jitter(seen(Crowding(0.2, 0.8), 2), HANDLING, CORES)
    assert found is not None
    assert found["kind"] in ("lognormal", "gamma")


def test_few_times_tell_no_law() -> None:
    assert fit_jitter(seen(Crowding(0.2, 0.8), 2)[:20], HANDLING, CORES) is None
