"""A cluster's network on this machine, while it is needed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from types import TracebackType

from calibration.executor.seats import Seat
from calibration.testbed.build import SETTINGS, cable_lines, interface, node_lines
from calibration.testbed.limits import check_limits
from calibration.testbed.namespaces import Namespace
from calibration.testbed.plan import Plan, plan_of
from parasim.cluster.cluster import Cluster
from parasim.errors import ExecutionError

__all__ = ["Testbed", "missing"]


def missing() -> str:
    """What keeps this machine from having a testbed; "" if nothing is known to."""
    if sys.platform != "linux":
        return f"network namespaces are Linux's, this is {sys.platform}"
    for program in ("ip", "tc"):
        if shutil.which(program) is None:
            return f"no program {program!r}: install iproute2"
    if os.geteuid() != 0:
        return "network namespaces need root: run as root"
    return ""


class Testbed:
    """The hosts, switches and cables that actors placed on a cluster need, as network namespaces and veth pairs.

    Building takes some 20 ms per node. It may be used for any number of runs; close it, or use it as a context manager.
    When this process ends, it is gone in any case.

    Parameters
    ----------
    cluster
        Hosts, links and routes.
    placement
        Host of every rank.

    Raises
    ------
    ExecutionError
        Without root, ip, tc, or what they need of the kernel, or with links too slow or fast for a machine; one line
        that says what to do.
    ScenarioError
        If there is no route between two hosts with actors.
    """

    def __init__(self, cluster: Cluster, placement: Sequence[int]) -> None:
        self.plan = plan_of(cluster, placement)
        check_limits(self.plan, cluster)
        if reason := missing():
            raise ExecutionError(f"network: shaped: {reason}, or write execute: {{network: loopback}}")
        self._namespaces: dict[int, Namespace] = {}
        try:
            self._build(self.plan)
        except BaseException:
            self.close()
            raise

    def _build(self, plan: Plan) -> None:
        nodes = plan.nodes()
        for node in nodes:
            self._namespaces[node] = Namespace()
        paths = {node: namespace.path for node, namespace in self._namespaces.items()}
        for node in nodes:
            self._namespaces[node].configure(SETTINGS, cable_lines(plan, node, paths))
        for node in nodes:
            self._namespaces[node].configure({}, *node_lines(plan, node))

    def seats(self, placement: Sequence[int]) -> list[Seat]:
        """Where ranks run that are placed on these hosts, which must be among those that it was built for."""
        return [Seat(self._namespaces[host].descriptor, interface(host)) for host in placement]

    def namespace(self, node: int) -> Namespace:
        """The namespace of a host or switch."""
        return self._namespaces[node]

    def close(self) -> None:
        """Give up the namespaces; what is in them goes with them."""
        for namespace in self._namespaces.values():
            namespace.close()
        self._namespaces.clear()

    def __enter__(self) -> Testbed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
