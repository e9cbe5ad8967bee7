"""How a cable of the testbed becomes a link of the simulator's model: numbers, and lines for tc.

In the model, n bytes alone on a link of bandwidth b take n/b, flows that meet share it max-min fairly, and messages
without payload take nothing. A queue of the kernel as it comes (`tbf` over one FIFO) keeps none of this well: gloo's
notice that a receive is posted, and TCP's acknowledgements, wait behind whatever other ranks' data stand in the queue,
and flows share as their TCPs happen to fight it out. So each direction of a cable gets, at its sending end, one `htb`,
which is a token bucket (as tbf is) with classes inside:

- packets under 1 KB (notices, announcements, acknowledgements) pass first and are not charged to the link;
- data have a class for each pair of hosts. Classes with something to send take turns, a segment each, and together have
  the link's bandwidth;
- nothing is ever dropped: queues are as long as TCP's windows. So TCP never finds out about congestion, stays at its
  first window of 1.4 MB, and the queues decide alone. Windows are no larger than they need be to keep every class busy.

TCP hands down segments of `Shape.segment` bytes, which pass all hops in one piece: that is the grain of the sharing.
After a pause a link sends up to `Shape.burst` bytes and one segment at once, so a pause between two messages that is
shorter than that costs nothing; smaller numbers would make links late whenever their timers are, and keep the cores
busy with segments. With a burst of half a segment long messages were up to 4 % late on a busy machine, and saved a
third of what short ones did; with one and a half all save about the burst. What remains of the nominal bandwidth for
payload is `GOODPUT`, whatever the pattern.

Measured on two cores, with bursts of half a segment: milliseconds of a round beyond payload/(bandwidth * GOODPUT),
medians, and what the same round takes over loopback, where it is all handling. So a round takes its time on the link
and its handling.

================  ============  =============  ==============  ==============
hosts and links   payload       one way        ring            facing pairs
================  ============  =============  ==============  ==============
star 4, loopback  64, 512 KB    0.9, 0.9       1.6, 2.2        1.4, 1.6
star 4, 100 Mb/s  64 KB - 2 MB  0.8, 1.1, 2.1  1.5, 2.1, 3.0   1.3, 1.9, 2.6
star 4, 500 Mb/s  64 KB - 2 MB  0.3, 1.1, 1.3  1.3, 2.3, 2.7   1.0, 1.6, 2.4
star 8, loopback  64, 512 KB    1.3, 1.8       3.5, 4.1        2.4, 2.8
star 8, 100 Mb/s  64 KB - 2 MB  1.2, 1.4, 1.9  3.4, 4.2, 5.8   2.4, 2.2, 3.6
star 8, 200 Mb/s  64 KB - 2 MB  0.7, 1.5, 1.6  2.5, 3.6, 4.3   2.7, 3.4, 2.8
star 8, 500 Mb/s  512 KB, 2 MB  0.9, 1.2       3.0, 4.0        1.5, 2.3
================  ============  =============  ==============  ==============

All into one, and two flows on the one cable between two switches, take the sum of their payloads and 0.2 to 1 % more
at 2 MB a message. A fat tree of 16 hosts at 100 Mbit/s adds 4 to 7 ms to a round of 1 MB. With `tbf` over one queue and
the kernel's own settings rings took 1.4 to 1.7 times their nominal time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calibration.testbed.plan import Pair, address, plan_of

if TYPE_CHECKING:
    from parasim.cluster.cluster import Cluster

__all__ = ["GOODPUT", "MTU", "QUEUE_PACKETS", "Shape", "credit_of", "queue_lines"]

MTU = 1500
_HEADERS, _FRAME = 52, 14
GOODPUT = (MTU - _HEADERS) / (MTU + _FRAME)
"""Payload bytes over charged bytes: headers of Ethernet, IP and TCP with timestamps."""
QUEUE_PACKETS = 100_000
_SEGMENT_SECONDS = 4e-4
_SEGMENTS_PER_SECOND = 50_000
"""What two cores forward, all links together, beside the work of the ranks (measured)."""
_LARGEST_SEGMENT = 60_000
_BURST_SEGMENTS = 1.5
_SMALL_BITS = 0xFC00
"""Bits of an IP packet's length that are 0 below 1 KB."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of one direction of a cable.

    Attributes
    ----------
    bandwidth
        Bytes/s, frames counted whole.
    segment
        Most bytes that TCP hands down in one piece.
    burst
        Bytes that may leave at once after a pause, before the last segment.
    """

    bandwidth: float
    segment: int
    burst: int

    @classmethod
    def of(cls, bandwidth: float, num_links: int) -> Shape:
        """The choice for a bandwidth in bytes/s, on a testbed of so many directed links."""
        seconds = max(_SEGMENT_SECONDS, num_links / _SEGMENTS_PER_SECOND)
        segment = int(min(max(bandwidth * seconds, MTU), _LARGEST_SEGMENT))
        return cls(bandwidth, segment, round(_BURST_SEGMENTS * segment))


def credit_of(cluster: Cluster, placement: Sequence[int]) -> float:
    """Seconds of its time that a link saves at most in a pause, on the testbed of a cluster.

    Burst and the last segment leave at once; what they take of the link's time is earned again in the pause that
    follows (parasim/simulation/queues.py).
    """
    plan = plan_of(cluster, placement)
    if not plan.bandwidths:
        return 0.0
    shape = Shape.of(min(bandwidth for _, bandwidth in plan.bandwidths), len(plan.bandwidths))
    return (shape.burst + shape.segment) / shape.bandwidth


def queue_lines(device: str, shape: Shape, flows: Sequence[Pair]) -> list[str]:
    """Lines of `tc -batch` for a device that leads to the next node, over which these pairs of hosts send."""
    rate = f"{round(shape.bandwidth)}bps"
    small = "htb rate 100gbit burst 1mb cburst 1mb"
    whole = f"htb rate {rate} burst {shape.burst} cburst {shape.burst} quantum {shape.segment}"
    data = f"htb rate 8bps ceil {rate} burst 1 cburst {shape.burst} quantum {shape.segment}"
    lines = [
        f"qdisc add dev {device} root handle 1: htb default 3",
        f"class add dev {device} parent 1: classid 1:1 {small}",
        f"class add dev {device} parent 1: classid 1:2 {whole}",
        f"class add dev {device} parent 1:2 classid 1:3 {data} prio 1",
        f"filter add dev {device} parent 1: protocol ip prio 1 u32 match u16 0 {_SMALL_BITS:#x} at 2 flowid 1:1",
    ]
    for number, (source, destination) in enumerate(flows, 4):
        match = f"match ip src {address(source)}/32 match ip dst {address(destination)}/32"
        lines += [
            f"class add dev {device} parent 1:2 classid 1:{number:x} {data} prio 1",
            f"filter add dev {device} parent 1: protocol ip prio 2 u32 {match} flowid 1:{number:x}",
        ]
    return lines
