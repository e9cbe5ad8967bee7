"""Fixtures that many tests share, and how pytest-xdist hands tests out (tests/handing_out.py)."""

import pytest
from hypothesis import HealthCheck, settings

from tests.handing_out import pytest_collection_finish, pytest_configure_node, pytest_xdist_make_scheduler

__all__ = ["pytest_collection_finish", "pytest_configure_node", "pytest_xdist_make_scheduler"]

# How long an example takes, or to draw it, says something of the machine.
settings.register_profile("busy cores", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy cores")


@pytest.fixture
def in_this_process(monkeypatch):
    """Points of sweeps, replicas and predictions run in this process (tests/effort.py)."""
    from tests.effort import run_here

    for module in ("parasim.study.sweep", "parasim.study.replicas", "calibration.checking.predicting"):
        monkeypatch.setattr(f"{module}.run_cases", run_here)


@pytest.fixture(scope="session")
def pool():
    """The warm pool of real ranks: torch is imported once for all tests."""
    from calibration.executor.pool import Pool

    with Pool() as pool:
        yield pool
