"""Testbeds that stay up between runs: building one takes as long as a short run."""

from __future__ import annotations

import atexit
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

from calibration.testbed.plan import Plan, plan_of
from calibration.testbed.testbed import Testbed
from parasim.cluster.cluster import Cluster

__all__ = ["standing_testbed"]

_MOST = 8
_standing: OrderedDict[Plan, Testbed] = OrderedDict()
_lock = threading.Lock()
_owner = 0


def standing_testbed(cluster: Cluster, placement: Sequence[int]) -> Testbed:
    """Find the testbed of a cluster and placement, or build it; the least recently used of more than eight is closed.

    Raises
    ------
    ExecutionError, ScenarioError
        As :class:`Testbed` does.
    """
    global _owner  # noqa: PLW0603 - of the process
    plan = plan_of(cluster, placement)
    with _lock:
        if _owner != os.getpid():
            _owner = os.getpid()
            _standing.clear()
            atexit.register(_close_all, _owner)
        testbed = _standing.pop(plan, None) or Testbed(cluster, placement)
        _standing[plan] = testbed
        while len(_standing) > _MOST:
            _standing.popitem(last=False)[1].close()
    return testbed


def _close_all(owner: int) -> None:
    if owner == os.getpid():
        while _standing:
            _standing.popitem()[1].close()
