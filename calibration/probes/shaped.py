"""Probes of the shaped testbed: what its links carry of their nominal bandwidth, and what a message takes besides.

Long messages say the former. Short ones say what passing through namespaces, queues and routers costs the cores, which
is as much again as on the loopback, and what a shaper lets through at once after a pause. Messages are held up by the
latency of their route, as in every run on the testbed: by a timer, which is late, for somebody who sleeps meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from calibration.probes.messages import observed
from calibration.probes.programs import FLOPS, Block
from calibration.probes.record import Observation, Skipped, Task
from calibration.testbed import missing, standing_testbed

if TYPE_CHECKING:
    from parasim.cluster.cluster import Cluster
    from parasim.cluster.handling import Handling

__all__ = [
    "BANDWIDTHS",
    "HOSTS",
    "LATENCY",
    "LONG_SECONDS",
    "SHAPED",
    "blocks_of",
    "probe_shaped",
    "star_of",
    "testbed_settings",
]

HOSTS = 4
BANDWIDTHS = (12.5e6, 62.5e6)
"""Bytes/s: 100 and 500 Mbit/s."""
LATENCY = 1e-4
"""Seconds of each link."""
SHAPED = "shaped"

LONG_SECONDS = 0.005
"""Messages that take as long on the wire, alone, are long."""
_LONG = ("stream", "facing", "ring", "fan_in"), ((LONG_SECONDS, 6), (4 * LONG_SECONDS, 3))
_SHORT = (
    ("ping_pong", "ring", "fan_in", "ping_pong after 5 ms", "ring after 1 ms", "ring after 5 ms"),
    ((0.0, 6), (0.0004, 6), (0.0015, 6)),
)
"""Patterns, and seconds on the wire of a block's messages with the number of repetitions."""
_LEAST_BYTES = 8


def star_of(
    bandwidth: float, hosts: int = HOSTS, handling: Handling | None = None, latency: float = LATENCY
) -> Cluster:
    """The cluster that is probed; its hosts handle messages as given."""
    from parasim.cluster.handling import Handling
    from parasim.cluster.hosts import Device, Host
    from parasim.cluster.links import Link
    from parasim.cluster.star import Star
    from parasim.cluster.topology import build

    device = Device("none", flops=FLOPS, memory=1.0, memory_bandwidth=1.0)
    host = Host("host", 1, device, handling=handling or Handling())
    return build(Star(hosts), host, Link("link", bandwidth, latency), Link("inside", 1e15))


def testbed_settings() -> dict[str, Any]:
    """How the links that are probed are shaped: for the record of a profile."""
    from calibration.testbed.shaping import GOODPUT, MTU, Shape

    shapes = {f"{bandwidth * 8e-6:g} Mbit/s": Shape.of(bandwidth, 2 * HOSTS) for bandwidth in BANDWIDTHS}
    burst = {name: shape.burst for name, shape in shapes.items()}
    segment = {name: shape.segment for name, shape in shapes.items()}
    return {"mtu": MTU, "payload_of_frame": GOODPUT, "burst_bytes": burst, "segment_bytes": segment}


def probe_shaped(task: Task) -> Iterator[Observation]:
    """Patterns between hosts of a star, of several sizes and at two bandwidths."""
    if reason := missing():
        raise Skipped(f"links of the testbed: {reason}")
    for bandwidth in BANDWIDTHS:
        star = star_of(bandwidth)
        seats = standing_testbed(star, range(HOSTS)).seats(range(HOSTS))
        held = star.route_latency(0, 1)
        yield from observed(
            SHAPED, task, blocks_of(bandwidth), HOSTS, seats=seats, held=held, bandwidth=bandwidth, latency=LATENCY
        )


def blocks_of(bandwidth: float) -> list[Block]:
    """What is timed at a bandwidth in bytes/s."""
    return [
        Block(pattern, max(round(bandwidth * seconds), _LEAST_BYTES), repeats)
        for patterns, sizes in (_LONG, _SHORT)
        for seconds, repeats in sizes
        for pattern in patterns
    ]
