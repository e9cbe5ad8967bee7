"""How a cable of the testbed becomes a link of the simulator's model: numbers, and lines for tc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calibration.testbed.plan import Pair, address

__all__ = ["MTU", "QUEUE_PACKETS", "Shape", "queue_lines"]

MTU = 1500
_QUANTUM_SECONDS = 4e-4
_SMALLEST, _LARGEST = 4 * MTU, 60_000
QUEUE_PACKETS = 100_000
_SMALL_BITS = 0xFC00


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of one direction of a cable.

    Attributes
    ----------
    bandwidth
        Bytes/s, frames counted whole.
    segment
        Most bytes that TCP hands down in one piece: what a small packet may have to wait for.
    burst
        Bytes that may leave at once after a pause.
    """

    bandwidth: float
    segment: int
    burst: int

    @classmethod
    def of(cls, bandwidth: float) -> Shape:
        """The choice for a bandwidth in bytes/s."""
        segment = int(min(max(bandwidth * _QUANTUM_SECONDS, _SMALLEST), _LARGEST))
        return cls(bandwidth, segment, 2 * segment)


def queue_lines(device: str, shape: Shape, flows: Sequence[Pair]) -> list[str]:
    """Lines of `tc -batch`: the rate, and inside it a queue for small packets and one for each pair of hosts."""
    leaf = f"htb rate 100gbit burst 1mb cburst 1mb quantum {shape.segment}"
    lines = [
        f"qdisc add dev {device} root handle 1: tbf rate {round(shape.bandwidth)}bps burst {shape.burst} limit 1gb",
        f"qdisc add dev {device} parent 1:1 handle 2: htb default 2",
        f"class add dev {device} parent 2: classid 2:1 {leaf} prio 0",
        f"class add dev {device} parent 2: classid 2:2 {leaf} prio 1",
        f"filter add dev {device} parent 2: protocol ip prio 1 u32 match u16 0 {_SMALL_BITS:#x} at 2 flowid 2:1",
    ]
    for number, (source, destination) in enumerate(flows, 3):
        match = f"match ip src {address(source)}/32 match ip dst {address(destination)}/32"
        lines += [
            f"class add dev {device} parent 2: classid 2:{number:x} {leaf} prio 1",
            f"filter add dev {device} parent 2: protocol ip prio 2 u32 {match} flowid 2:{number:x}",
        ]
    return lines
