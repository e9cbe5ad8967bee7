"""Fixtures that many tests share, and how pytest-xdist hands tests out."""

import collections
import functools

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, or to draw it, says something of the machine.
settings.register_profile("busy cores", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy cores")


def pytest_collection_modifyitems(items):
    """Tests with real processes run on one worker of pytest-xdist: one warm pool of ranks serves them all."""
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.xdist_group("real"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Groups as they are marked, and all other tests some at a time.

    One at a time, ten thousand tests cost a minute: whenever one ends, xdist counts through all that it has handed out.
    """
    from xdist.scheduler import LoadGroupScheduling

    class InPieces(LoadGroupScheduling):
        def _split_scope(self, nodeid):
            scope = super()._split_scope(nodeid)
            return self.pieces[nodeid] if scope == nodeid else scope

        @functools.cached_property
        def pieces(self):
            """Of each test, its file and which eight of the file it is among."""
            seen = collections.Counter()
            pieces = {}
            for nodeid in next(iter(self.registered_collections.values())):
                file = nodeid.split("::")[0]
                pieces[nodeid] = f"{file} {seen[file] // 8}"
                seen[file] += 1
            return pieces

    return InPieces(config, log) if config.getvalue("dist") == "loadgroup" else None


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
