"""The simulated counterpart of a real run: one machine, whatever the scenario's cluster is."""

from dataclasses import replace

import pytest

from calibration.checking.executed import as_executed
from parasim.cluster.profiled import handling_of, host_of, native_of
from parasim.simulation.noise import LogNormal, NoNoise
from parasim.study.simulate import simulate
from tests.crosscheck_setup import number, profile, scenario

RING = {"kind": "allreduce", "workers": 3}
FREE = {"handling": {}, "native": {}, "noise": {}, "drift": {}, "contention": ()}
"""A machine on which messages cost nothing."""
CREDIT = 12500 / 12.5e6
"""Seconds: at 100 Mbit/s the testbed lets a segment of 0.4 ms and one and a half of it through at once."""


def test_real_computing_is_one_host_of_the_profile():
    made = scenario(RING, compute="real", speeds={0: 0.5}, noise={"kind": "lognormal", "sigma": 0.9},
                    stragglers=[{"workers": "all", "slowdown": 3}])  # fmt: skip
    bench = profile()
    cluster = as_executed(made, bench).cluster
    assert as_executed(made, bench).placement == (0, 0, 0)
    assert replace(cluster.build().hosts[0], name="host") == host_of(bench)
    assert cluster.noise == LogNormal(0.05)
    assert (cluster.speeds, cluster.stragglers, cluster.handling_cores) == ({}, (), None)


@pytest.mark.parametrize("network", ["loopback", "shaped"])
def test_paced_ranks_keep_their_computes_and_share_no_cores(network):
    pace = {"noise": {"kind": "lognormal", "sigma": 0.2}, "speeds": {1: 0.5}}
    faster = {"hosts": {2: {"device": {"flops": "4 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "5 GB/s"}}}}
    made = scenario(RING, network=network, placement={"worker": [0, 0, 2]}, **pace, **faster)
    bench = profile(native={"post": number(30e-6)})
    ready = as_executed(made, bench)
    hosts = ready.cluster.build().hosts
    assert ready.placement == (0, 0, 2)
    assert (ready.cluster.noise, ready.cluster.speeds) == (made.cluster.noise, made.cluster.speeds)
    assert [host.device for host in hosts] == [host.device for host in made.cluster.build().hosts]
    credit = CREDIT if network == "shaped" else 0.0
    assert {host.handling for host in hosts} == {replace(handling_of(bench, network), credit=credit)}
    assert {host.native for host in hosts} == {native_of(bench)}
    assert {host.contention for host in hosts} == {()}
    assert ready.cluster.handling_cores == bench.cores
    assert as_executed(made, profile(jitter=0.0)).cluster.handling_noise == NoNoise()


def test_what_a_profile_says_of_its_shaped_links_is_what_ranks_meet():
    way = replace(profile().transports["shaped"], step=number(2e-5), credit=number(0.6, unit=""))
    bench = profile(transports={"shaped": way})
    made = scenario(RING, network="shaped")
    plain, costly = (as_executed(made, one).cluster.build().hosts[0] for one in (profile(), bench))
    assert costly.handling.credit == pytest.approx(0.6 * plain.handling.credit)
    for name in ("post", "hear", "start"):
        assert getattr(costly.handling, name) == pytest.approx(getattr(plain.handling, name) + 2e-5)
    assert costly.handling.finish == plain.handling.finish


def test_messages_inside_the_machine_find_no_link():
    made = scenario(RING, link={"bandwidth": "1 Mbit/s", "latency": "1 s"})
    took = [simulate(as_executed(made, replace(profile(), **FREE))).summary["shares"]["transfer"]]
    assert took[0] < 0.2
    assert simulate(made).summary["shares"]["transfer"] > 0.9


def test_shaped_links_have_their_bandwidth_times_the_goodput_and_cuts_stay():
    changed = {"host0->switch": {"bandwidth": "10 Mbit/s"}, "host3<->switch": "cut"}
    made = scenario(RING, network="shaped", size=4, links=changed, placement={"worker": [0, 1, 2]})
    own, ready = made.cluster.wiring().links, as_executed(made, profile()).cluster.wiring().links
    assert own.keys() == ready.keys()
    for ends, link in own.items():
        assert ready[ends].bandwidth == pytest.approx(0.95 * link.bandwidth)
        assert ready[ends].latency == link.latency


def test_a_wide_link_takes_the_time_by_hand():
    """Three workers' ring of one bucket: four rounds of a third of the vector, less what links earn in pauses.

    Before the first round they have paused for long, before the others for as long as its latency.
    """
    slow = {"flops": "1 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "5 GB/s"}
    made = scenario({**RING, "overlap": False}, network="shaped", steps=3, device=slow)
    free = replace(profile(doubt=0.0), **FREE, transports={"shaped": profile().transports["shaped"]})
    result = simulate(as_executed(made, replace(free, transports={
        "shaped": replace(free.transports["shaped"], bandwidth=None)})))  # fmt: skip
    sent = result.summary["bytes_sent_per_worker_per_step"]
    moved = sent / (0.95 * 12.5e6) + result.summary["messages_sent_per_worker_per_step"] * 2 * 50e-6
    moved -= CREDIT + (result.summary["messages_sent_per_worker_per_step"] - 1) * 2 * 50e-6
    share = result.summary["shares"]["transfer"] * result.summary["seconds_per_step"]
    assert share == pytest.approx(moved, rel=0.02)
