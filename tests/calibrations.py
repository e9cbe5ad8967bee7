"""Calibrations that measure nothing: probes whose times follow a known law, and one that starts a real process."""

import math
import time

import numpy as np

from calibration.probes.plan import Probe
from calibration.probes.record import Observation, Skipped, Task

FLOPS, BANDWIDTH, LAUNCH = 50e9, 10e9, 4e-6
"""The machine that is made up: peaks, and what a layer costs to start; half of the peak is reached."""


def factor(task, name, sigma=0.02, drift=0.02):
    """Noise of one timing, and what the round has in common."""
    common = np.random.default_rng([task.round, 7]).normal(0, drift)
    return math.exp(common + np.random.default_rng([task.seed, len(name)]).normal(0, sigma))


def observed(task, probe, kind, parameters, seconds):
    name = f"{kind}{sorted(parameters.items())}"
    return Observation(probe, kind, parameters, seconds * factor(task, name), task.round, 1e9 + task.round)


def peaks(task: Task):
    yield observed(task, "peaks", "flops", {"flops": 1e9, "nbytes": 0.0}, 1e9 / FLOPS)
    yield observed(task, "peaks", "stream", {"flops": 0.0, "nbytes": 1e8}, 1e8 / BANDWIDTH)


def layers(task: Task):
    for flops in (1e5, 1e6, 1e7, 1e8, 1e9):
        parameters = {"flops": flops, "nbytes": 0.0, "device": "cpu"}
        yield observed(task, "layers", "linear/forward", parameters, LAUNCH + 2 * flops / FLOPS)


def nothing(task: Task):
    raise Skipped("no such device")
    yield


def slow(task: Task):
    time.sleep(0.05)
    yield observed(task, "slow", "sleep", {"size": 1.0}, 0.05)


def ranks(task: Task):
    """Starts real processes."""
    from calibration.executor.launch import run_cast

    run_cast("calibration.probes.messages:setup", {"script": [["ping_pong", 8, 2]], "size": 2}, 2)
    yield observed(task, "ranks", "start", {"size": 1.0}, 1.0)


QUICK = (
    Probe("peaks", "compute", peaks, 1.0, always=True),
    Probe("layers", "compute", layers, 2.0),
    Probe("gpu", "contention", nothing),
)
REAL = (*QUICK, Probe("slow", "overheads", slow), Probe("ranks", "links", ranks))
