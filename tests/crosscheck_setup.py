"""Profiles, cases and stand-ins for real runs that tests of the cross-check share."""

from __future__ import annotations

from dataclasses import replace

from calibration.checking.cases import case_of
from calibration.checking.figures import RunFigures, figures_of
from calibration.checking.machine import this_machine
from calibration.checking.predicting import replica
from calibration.checking.recording import Measurements
from parasim.cluster.profile import Number, Profile, Transport
from parasim.scenario import from_document
from parasim.study.simulate import simulate

CORES = 2


def number(value, doubt=0.01, unit="seconds"):
    return Number(value, value * (1 - doubt), value * (1 + doubt), 20, unit)


def profile(*, doubt=0.01, drift=0.01, jitter=0.05, post=60e-6, byte=4e-10, contention=1.3, **changes):
    """A machine of two cores: messages cost it some tenths of a millisecond, computes on both cores slow down."""
    costs = {"post": post, "hear": 60e-6, "start": 40e-6, "finish": 60e-6, "latency": 40e-6, "operation": 10e-6}
    noise = {"handling": {"kind": "lognormal", "sigma": jitter}, "compute": {"kind": "lognormal", "sigma": jitter}}
    whole = Profile(
        name="bench",
        cores=CORES,
        memory=8e9,
        flops=number(2e10, doubt, "FLOP/s"),
        memory_bandwidth=number(1e10, doubt, "bytes/s"),
        contention=(number(1.0, 0.0, ""), number(contention, doubt, "")),
        handling={
            **{name: number(value, doubt) for name, value in costs.items()},
            "send_byte": number(byte, doubt, "seconds/byte"),
            "receive_byte": number(byte, doubt, "seconds/byte"),
        },
        transports={
            "loopback": Transport(number(1.0, 0.0, ""), number(2e9, doubt, "bytes/s")),
            "shaped": Transport(number(0.95, doubt, ""), number(2e9, doubt, "bytes/s")),
        },
        noise=noise if jitter else {},
        drift={of: number(drift, 0.0, "") for of in ("compute", "handling")} if drift else {},
        provenance={"machine": this_machine()},
    )
    return replace(whole, **changes)


def scenario(scheme, *, compute="paced", network="loopback", size=4, steps=30, width=64, **cluster):
    return from_document(
        {
            "name": f"{scheme['kind']} {network} {compute}",
            "workload": {
                "model": {"kind": "mlp", "width": width, "depth": 4},
                "batch_size": 16,
                "data": {"kind": "digits"},
            },
            "cluster": {
                "topology": {"kind": "star", "hosts": size},
                "device": {"flops": "2 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "5 GB/s"},
                "link": {"bandwidth": "100 Mbit/s", "latency": "50 us"},
                **cluster,
            },
            "scheme": scheme,
            "run": {"steps": steps, "seed": 3},
            "execute": {"compute": compute, "network": network},
        }
    )


def case(name, made):
    return case_of(made, name, CORES)


def pretended(cases, truth, runs, first=1000):
    """Measurements of a machine that is what a profile says: replicas that no prediction has."""
    found = Measurements(this_machine())
    for one in cases:
        found.identities[one.name] = one.identity
        found.runs[one.name] = [
            figures_of(simulate(replica(one.scenario, truth, first + place))) for place in range(runs)
        ]
    return found


def figures(seconds, *, rate=None, sent=(10, 10), staleness=None, reached=None):
    """Figures of a run of two ranks, which reached its target after so many seconds."""
    shares = {"compute": 0.5, "transfer": 0.3, "wait": 0.2}
    names = ("bytes_sent", "bytes_received", "messages_sent", "messages_received")
    traffic = {name: sent if name == "bytes_sent" else (10, 10) for name in names}
    return RunFigures(seconds, rate or 1 / seconds, shares, traffic, staleness or {}, 10, seconds_to_target=reached)
