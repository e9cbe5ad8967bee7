"""The lines for `ip` and `tc` that make the nodes of a plan."""

from __future__ import annotations

from calibration.testbed.plan import Plan, address
from calibration.testbed.shaping import MTU, QUEUE_PACKETS, Shape, queue_lines

__all__ = ["SETTINGS", "cable_lines", "device", "interface", "node_lines"]

SETTINGS = {
    "ipv6/conf/default/disable_ipv6": "1",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/tcp_congestion_control": "reno",
    "ipv4/tcp_slow_start_after_idle": "0",
    "ipv4/tcp_no_metrics_save": "1",
    "ipv4/tcp_reordering": "300",
    "ipv4/tcp_recovery": "0",
    "ipv4/tcp_autocorking": "0",
    "ipv4/tcp_limit_output_bytes": "262144",
    "ipv4/tcp_rmem": "4096 1048576 4194304",
    "ipv4/tcp_wmem": "4096 1048576 4194304",
}
_WINDOW = 1000
_FIRST_TABLE = 1000


def device(node: int) -> str:
    """Name of the device that leads to a node."""
    return f"to{node}"


def interface(host: int) -> str:
    """Name under which a host's own address is found."""
    return f"lo:{host}"


def cable_lines(plan: Plan, node: int, paths: dict[int, str]) -> list[str]:
    """Lines of `ip -batch` at a node: the cables to nodes with larger numbers; `paths` finds their namespaces.

    Both ends have one hardware address and ask nobody for the other's, so that no packet but those of ranks passes.
    """
    shapes = {link: Shape.of(bandwidth, len(plan.bandwidths)) for link, bandwidth in plan.bandwidths}
    lines = []
    for number, (first, second) in enumerate(plan.cables()):
        if first == node:
            mac = f"02:00:{number >> 24:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
            here, there = (
                f"address {mac} arp off mtu {MTU} txqueuelen {QUEUE_PACKETS}"
                + (f" gso_max_size {shapes[link].segment}" if link in shapes else "")
                for link in ((first, second), (second, first))
            )
            lines.append(
                f"link add {device(second)} {here} type veth peer name {device(first)} {there} netns {paths[second]}"
            )
    return lines


def node_lines(plan: Plan, node: int) -> tuple[list[str], list[str]]:
    """Lines of `ip -batch` and of `tc -batch` at a node whose cables are there: address, routes, bandwidths."""
    by_destination, by_pair = plan.hops(node)
    ip = ["link set lo up", *(f"link set {device(other)} up" for other in plan.neighbours(node))]
    source = ""
    if node in plan.hosts:
        ip.append(f"address add {address(node)}/32 dev lo label {interface(node)}")
        source = f" src {address(node)}"
    metrics = f"initcwnd {_WINDOW} initrwnd {_WINDOW}"
    ip += [f"route add {address(end)}/32 dev {device(hop)}{source} {metrics}" for end, hop in by_destination.items()]
    tables = {hop: _FIRST_TABLE + number for number, hop in enumerate(sorted(set(by_pair.values())))}
    ip += [f"route add default dev {device(hop)} table {table}" for hop, table in tables.items()]
    ip += [
        f"rule add from {address(start)} to {address(end)} lookup {tables[hop]}"
        for (start, end), hop in by_pair.items()
    ]
    flows = plan.flows()
    tc = []
    for (start, end), bandwidth in plan.bandwidths:
        if start == node:
            tc += queue_lines(device(end), Shape.of(bandwidth, len(plan.bandwidths)), flows[start, end])
    return ip, tc
