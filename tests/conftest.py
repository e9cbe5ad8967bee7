"""Fixtures that many tests share."""

import pytest


@pytest.fixture(scope="session")
def pool():
    """The warm pool of real ranks: torch is imported once for all tests."""
    from calibration.executor.pool import Pool

    with Pool() as pool:
        yield pool
