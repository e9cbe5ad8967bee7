"""Hosts and devices as a profile describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from parasim.cluster.curves import Curves
from parasim.cluster.handling import STEPS, Handling
from parasim.cluster.hosts import Device, Host
from parasim.cluster.profile import LOOPBACK, Profile
from parasim.errors import ScenarioError
from parasim.fields import limits_of

__all__ = ["device_of", "handling_of", "host_of", "native_of", "transport_of"]


def device_of(profile: Profile) -> Device:
    """What one core of the machine (its GPU) computes with."""
    return Device(
        profile.name,
        profile.flops.value,
        profile.memory,
        profile.memory_bandwidth.value,
        dtype=profile.dtype,
        calibrated=True,
        curves=Curves.of(profile.kernels, profile.blocks) if profile.kernels or profile.blocks else None,
    )


def handling_of(profile: Profile, transport: str = LOOPBACK, idle: bool = False) -> Handling:
    """What handling costs a host of this machine whose messages take this transport; `idle`: cores don't compute.

    A bandwidth of the transport stands in the place of that of `Profile.handling`, its latency and its step come on
    top; a machine without the transport has what the latter says. A number drawn from its interval that is below the
    least of its field is that least.
    """
    numbers = {**profile.handling, **(profile.idle if idle else {})}
    costs = {name: number.value for name, number in numbers.items()}
    way = profile.transports.get(transport)
    if way is not None and way.bandwidth is not None:
        costs["bandwidth"] = way.bandwidth.value
    if way is not None and way.latency is not None:
        costs["latency"] = costs.get("latency", 0.0) + way.latency.value
    if way is not None and way.step is not None:
        costs |= {name: costs.get(name, 0.0) + way.step.value for name in STEPS}
    return _handling(costs)


def native_of(profile: Profile) -> Handling:
    """The same of messages inside the backend's own collectives."""
    return _handling({name: number.value for name, number in profile.native.items()})


def _handling(costs: Mapping[str, float]) -> Handling:
    least = {entry.name: limits_of(entry).get("ge", 0.0) for entry in fields(Handling)}
    return Handling(**{name: max(least[name], value) for name, value in costs.items()})


def host_of(profile: Profile, transport: str = LOOPBACK, idle: bool = False) -> Host:
    """The machine; its messages take this transport, and are handled as on cores that compute, or are `idle`.

    Raises
    ------
    ScenarioError
        If a number is outside its limits.
    """
    return Host(
        "host",
        profile.cores,
        device_of(profile),
        handling=handling_of(profile, transport, idle),
        native=native_of(profile),
        contention=tuple(number.value / profile.contention[0].value for number in profile.contention),
    )


def transport_of(profile: Profile, name: str | None, hosts: int) -> str:
    """Which of the profile's transports the messages of a cluster take.

    Parameters
    ----------
    profile
        Of the machine.
    name
        As asked for; None: the loopback inside one host, and between hosts the only other one (of a machine that has
        measured none: the loopback again, whose handling is all that is known).
    hosts
        Number of hosts of the cluster.

    Raises
    ------
    ScenarioError
        If there is no such transport, or several among which nothing chooses.
    """
    if name is not None:
        if name in profile.transports:
            return name
        there = ", ".join(profile.transports) or "none"
        raise ScenarioError(f"profile {profile.name} has no transport {name!r} (it has: {there})")
    others = [other for other in profile.transports if other != LOOPBACK]
    if hosts == 1 or not others:
        return LOOPBACK
    if len(others) > 1:
        raise ScenarioError(f"profile {profile.name} has several transports: choose one of {', '.join(others)}")
    return others[0]
