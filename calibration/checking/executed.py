"""The simulated counterpart of one real experiment on this machine.

What really happens on one machine is not what the scenario describes: its hosts are processes or namespaces here, and
handling the messages of all of them takes the cores of this one. So the prediction of a cross-check simulates the
experiment, not the scenario's cluster:

* loopback, real: all ranks on one host, which is the profile's: its cores, shared by computes and message handling, its
  device, contention and noise. Speeds, stragglers and noise of the scenario don't touch real computes.
* paced: each rank takes the modelled time for the computes of the scenario's own cluster (device, noise, speeds,
  stragglers), so they wait for nobody; message handling alone takes the profile's cores. (Where they learn, training
  within that time takes cores too, which is not modelled: their device must be many times slower than the machine.)
* shaped: the scenario's own topology and placement; a link carries its bandwidth times the transport's goodput.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from calibration.testbed import credit_of
from parasim.cluster.changes import Changes
from parasim.cluster.links import Link
from parasim.cluster.profile import LOOPBACK
from parasim.cluster.profiled import host_of
from parasim.cluster.star import Star
from parasim.errors import CalibrationError
from parasim.scenario.model import ClusterSpec, Overhead
from parasim.scenario.profiles import law_of

if TYPE_CHECKING:
    from parasim.cluster.profile import Profile
    from parasim.scenario.model import Scenario

__all__ = ["as_executed"]

_SHAPED = "shaped"
_INSIDE = Link("inside", 1e15)
"""Between ranks of one host: what moves there costs handling, no link limits it."""


def as_executed(scenario: Scenario, profile: Profile) -> Scenario:
    """The scenario as `calibration.execute` runs it on the machine of a profile; same seed, same draws.

    Raises
    ------
    CalibrationError
        If the profile does not cover it: no shaped transport, or computes in another type of numbers; or if computing
        is real on shaped links: all hosts of the testbed then compute on the same cores, which is not modelled.
    """
    if scenario.execute.compute == "paced":
        return replace(scenario, cluster=_paced(scenario, profile))
    if scenario.execute.network == _SHAPED:
        raise CalibrationError(
            f"{scenario.name}: real computing on shaped links can't be predicted, as all hosts of the testbed share "
            "the cores of this machine: write execute.compute=paced"
        )
    if scenario.workload.dtype != profile.dtype:
        raise CalibrationError(
            f"{scenario.name}: computes in {scenario.workload.dtype}, profile {profile.name} was measured in "
            f"{profile.dtype}: calibrate with that type, or write execute.compute=paced"
        )
    return replace(scenario, cluster=_real(scenario, profile), placement=(0,) * len(scenario.placement))


def _paced(scenario: Scenario, profile: Profile) -> ClusterSpec:
    """Computes that take no cores; messages are handled on the profile's."""
    shaped = scenario.execute.network == _SHAPED
    if shaped and _SHAPED not in profile.transports:
        raise CalibrationError(
            f"{scenario.name}: profile {profile.name} has no transport {_SHAPED!r}: calibrate links of the testbed as "
            "root, or write execute.network=loopback"
        )
    own = scenario.cluster
    machine = host_of(profile, _SHAPED if shaped else LOOPBACK, idle=True)
    way = profile.transports[_SHAPED] if shaped else None
    credit = 0.0
    if way is not None:
        credit = credit_of(replace(own, goodput=1.0).build(), scenario.placement)
        credit *= 1.0 if way.credit is None else min(max(way.credit.value, 0.0), 1.0)
    handling = replace(machine.handling, credit=credit)
    hosts = {
        number: replace(host, handling=handling, native=machine.native, contention=())
        for number, host in enumerate(own.wiring().hosts)
    }
    if way is not None:
        links = own.changes.links
        spec = replace(own, goodput=way.goodput.value, loopback=_INSIDE)
    else:
        links = {}
        spec = replace(own, topology=Star(own.hosts), link=_INSIDE, loopback=_INSIDE, goodput=1.0)
    return replace(
        spec,
        loopback_is_memory=False,
        changes=Changes(hosts, links),
        overhead=Overhead(),
        handling_noise=law_of(profile, "handling"),
        handling_cores=profile.cores,
    )


def _real(scenario: Scenario, profile: Profile) -> ClusterSpec:
    """One host: the machine."""
    return replace(
        scenario.cluster,
        topology=Star(1),
        host=host_of(profile),
        link=_INSIDE,
        loopback=_INSIDE,
        loopback_is_memory=False,
        goodput=1.0,
        changes=Changes(),
        overhead=Overhead(),
        noise=law_of(profile, "compute"),
        handling_noise=law_of(profile, "handling"),
        handling_cores=None,
        speeds={},
        stragglers=(),
    )
