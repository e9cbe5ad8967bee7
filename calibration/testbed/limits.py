"""What one machine can carry: links that it can't shape are refused, and a load that may be too much is told of."""

from __future__ import annotations

import warnings

from calibration.testbed.plan import Plan
from parasim.cluster.cluster import Cluster
from parasim.errors import ExecutionError, ScenarioWarning

__all__ = ["check_limits"]

_SLOWEST, _FASTEST = 1e5 / 8, 5e9 / 8
"""Bandwidths of a link, bytes/s: below, a frame takes over a tenth of a second; above, one core can't fill it."""
_MOST = 5e9 / 8
"""Sum of what all hosts may send at once, bytes/s, that two cores carry without slowing the links down (measured)."""
_REMEDY = "set cluster.link.bandwidth=200Mbit/s, say, or write execute: {network: loopback}"


def check_limits(plan: Plan, cluster: Cluster) -> None:
    """Look at the bandwidths of a plan.

    Raises
    ------
    ExecutionError
        If a link is slower or faster than a machine can shape.

    Warns
    -----
    ScenarioWarning
        If all hosts sending at once may be more than it carries.
    """
    for (start, end), bandwidth in plan.bandwidths:
        if not _SLOWEST <= bandwidth <= _FASTEST:
            name = f"{cluster.node_name(start)}->{cluster.node_name(end)}"
            raise ExecutionError(
                f"network: shaped: link {name} of {_mbit(bandwidth)}; a machine shapes {_mbit(_SLOWEST)} to"
                f" {_mbit(_FASTEST)}: {_REMEDY}"
            )
    total = sum(bandwidth for (start, _), bandwidth in plan.bandwidths if start in plan.hosts)
    if total > _MOST:
        warnings.warn(
            f"network: shaped: hosts may send {_mbit(total)} in all, two cores carry {_mbit(_MOST)}: if"
            f" they do, links are slower than they should be; {_REMEDY}",
            ScenarioWarning,
            stacklevel=3,
        )


def _mbit(bandwidth: float) -> str:
    return f"{bandwidth * 8 / 1e6:g} Mbit/s"
