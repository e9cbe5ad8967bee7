"""A small cluster of equal hosts, for tests of what shares links."""

from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link

BANDWIDTH, LATENCY = 1.25e9, 5e-6
SLOW_MEMORY = 6e9  # bytes/s: a reduction takes 0.6 of the transfer's time


def pods(hosts, pod=None, memory=SLOW_MEMORY, cores=1, thin=(), flops=1e18):
    """A star, or pods of so many hosts behind uplinks of twice a link; `thin` hosts have a third of the bandwidth."""
    device = Device("d", flops, memory_bandwidth=memory)
    links = {}
    pods = -(-hosts // pod) if pod else 1
    for host in range(hosts):
        switch = hosts + (host // pod if pod else 0)
        bandwidth = BANDWIDTH / 3 if host in thin else BANDWIDTH
        links[host, switch] = Link(f"{host}>", bandwidth, LATENCY)
        links[switch, host] = Link(f">{host}", bandwidth, LATENCY)
        links[host, host] = Link(f"{host}", 1e12, 0.0)
    for switch in range(hosts, hosts + pods if pod else hosts):
        links[switch, hosts + pods] = Link(f"{switch}>", 2 * BANDWIDTH, LATENCY)
        links[hosts + pods, switch] = Link(f">{switch}", 2 * BANDWIDTH, LATENCY)
    return Cluster([Host(str(host), cores, device) for host in range(hosts)], links)
