"""Fixtures that many tests share."""

import pytest


def pytest_collection_modifyitems(items):
    """Tests with real processes run on one worker of pytest-xdist: one warm pool of ranks serves them all."""
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.xdist_group("real"))


@pytest.fixture(scope="session")
def pool():
    """The warm pool of real ranks: torch is imported once for all tests."""
    from calibration.executor.pool import Pool

    with Pool() as pool:
        yield pool
