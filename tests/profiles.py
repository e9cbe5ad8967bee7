"""Profiles of machines that were never measured, for tests."""

from parasim.cluster.profile import Measured, Number, Profile, Transport

__all__ = ["number", "profile"]


def number(value, unit="", spread=0.05, count=12):
    """A number whose interval reaches so far to both sides, relative to it."""
    return Number(value, value * (1 - spread), value * (1 + spread), count, unit)


def profile(**changes):
    """A machine of two cores."""
    facts = {
        "name": "made up",
        "cores": 2,
        "memory": 8e9,
        "flops": number(50e9, "FLOP/s"),
        "memory_bandwidth": number(10e9, "bytes/s"),
        "kernels": {"kernel": Measured((1e-6, 1e-3), (number(1e-5, "seconds"), number(1.25e-3, "seconds")))},
        "contention": (number(1.0, spread=0.0), number(1.2)),
        "handling": {"post": number(20e-6, "seconds"), "send_byte": number(0.1e-9, "seconds/byte")},
        "transports": {
            "loopback": Transport(number(1.0), number(1e9, "bytes/s")),
            "shaped": Transport(number(0.955, spread=0.01), settings={"burst": 65536, "congestion": "cubic"}),
        },
        "noise": {"compute": {"kind": "lognormal", "sigma": number(0.1)}},
        "drift": {"compute": number(0.02)},
        "validity": {"message_bytes": (8.0, 64e6), "ranks": (1.0, 8.0), "threads": (1.0, 1.0)},
        "provenance": {"date": "2026-11-21", "machine": {"model": "none"}},
    }
    return Profile(**{**facts, **changes})
