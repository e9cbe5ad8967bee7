"""Scenarios on profiles: what a profile gives, what replaces it, and what is said of it."""

import json
import math

import numpy as np
import pytest

import parasim
from parasim.cluster.profile import LOOPBACK
from parasim.cluster.profile_file import RECORDED, save_profile
from parasim.cluster.profiled import device_of, handling_of, host_of, transport_of
from parasim.errors import ScenarioError, ScenarioWarning
from parasim.report.table import results_footer
from parasim.scenario import load
from parasim.scenario.load import from_document
from parasim.simulation.noise import LogNormal, NoNoise
from tests.profiles import number, profile

BASE = """
workload: {model: {kind: mlp, width: 64, depth: 2}, batch_size: 32}
cluster: %s
scheme: {kind: allreduce, workers: 2}
run: {steps: 3}
"""
STAR = "topology: {kind: star, hosts: 4}, link: {bandwidth: 100 Mbit/s, latency: 10 us}"
SLOW = "{flops: 1 GFLOP/s, memory: 1 GiB, memory_bandwidth: 1 GB/s}"


@pytest.fixture
def folder(tmp_path):
    save_profile(profile(), tmp_path / "mine.json")
    return tmp_path


def scenario(folder, cluster, *overrides):
    path = folder / "scenario.yaml"
    path.write_text(BASE % cluster)
    return load(path, overrides)


def test_a_profile_alone_is_one_host_as_measured(folder):
    cluster = scenario(folder, "{profile: mine.json}").cluster
    assert cluster.hosts == 1
    assert cluster.host.cores == 2
    assert cluster.host == host_of(profile(), LOOPBACK)
    assert cluster.device == device_of(profile())
    assert cluster.device.calibrated
    assert cluster.host.contention == (1.0, 1.2)
    assert cluster.host.handling.post == 20e-6
    assert cluster.host.handling.bandwidth == 1e9
    assert cluster.noise == LogNormal(0.1)
    assert cluster.handling_noise == NoNoise()
    assert cluster.goodput == 1.0
    assert cluster.profiles == (profile(),)
    assert cluster.replaced == ()


def test_links_between_hosts_have_the_goodput_of_the_transport(folder):
    cluster = scenario(folder, f"{{profile: mine.json, {STAR}, links: {{host0->switch: {{latency: 1 us}}}}}}").cluster
    built = cluster.build()
    nominal = 100e6 / 8
    between = [link.bandwidth for ends, link in cluster.wiring().links.items() if ends[0] != ends[1]]
    assert between == pytest.approx([0.955 * nominal] * 8)
    assert cluster.host.handling.bandwidth == math.inf  # of the shaped transport: as the links say
    assert cluster.wiring().links[0, 4].latency == 1e-6
    assert built.hosts[0].handling.post == 20e-6


def test_a_loopback_of_its_own_has_no_goodput(folder):
    cluster = f"{{profile: mine.json, {STAR}, links: {{host0->host0: {{bandwidth: 1 GB/s}}}}}}"
    links = scenario(folder, cluster).cluster.wiring().links
    assert links[0, 0].bandwidth == 1e9
    assert links[0, 4].bandwidth == pytest.approx(0.955 * 12.5e6)


@pytest.mark.parametrize(
    ("said", "key", "seen"),
    [
        (
            "device: {flops: 1 GFLOP/s, memory: 1 GiB, memory_bandwidth: 1 GB/s}",
            "device",
            lambda c: c.device.flops == 1e9,
        ),
        ("device: V100", "device", lambda c: c.host.contention == () and not c.device.calibrated),
        ("host: {cores: 1}", "host", lambda c: c.host.cores == 1),
        ("noise: {kind: none}", "noise", lambda c: c.noise == NoNoise()),
        ("handling: {}", "handling", lambda c: c.host.handling.post == 0 and c.handling_noise == NoNoise()),
        ("handling: {hear: 1 us}", "handling", lambda c: c.host.handling.post == 0 and c.host.handling.hear == 1e-6),
        ("handling_noise: {kind: gamma, shape: 4}", "handling_noise", lambda c: c.handling_noise.shape == 4),
        ("handling_cores: 1", "handling_cores", lambda c: c.handling_cores == 1),
        ("overhead: {per_message: 1 us}", "overhead", lambda c: c.overhead.per_message == 1e-6),
        ("loopback: {bandwidth: 1 GB/s}", "loopback", lambda c: c.loopback.bandwidth == 1e9),
    ],
)
def test_keys_beside_a_profile_replace_what_it_gives(folder, said, key, seen):
    whole = scenario(folder, f"{{profile: mine.json, {said}}}")
    assert whole.cluster.replaced == (key,)
    assert seen(whole.cluster)
    summary = parasim.simulate(whole).summary
    assert not summary["calibrated"]
    assert summary["profile"] == {"names": ["made up"], "replaced": [key]}


def test_a_run_on_a_profile_is_calibrated_and_names_it(folder):
    summary = parasim.simulate(scenario(folder, "{profile: mine.json}")).summary
    assert summary["calibrated"]
    assert summary["profile"] == {"names": ["made up"], "replaced": []}


def test_a_run_without_a_profile_says_nothing_of_one(folder):
    assert "profile" not in parasim.simulate(scenario(folder, f"{{{STAR}, device: {SLOW}}}")).summary


def test_hosts_have_profiles_of_their_own(folder):
    save_profile(profile(name="other", cores=16, flops=number(9e12, "FLOP/s")), folder / "gpu.json")
    cluster = f'{{profile: mine.json, {STAR}, hosts: {{"0-1": {{profile: gpu.json}}, 3: {{cores: 1}}}}}}'
    whole = scenario(folder, cluster)
    built = whole.cluster.build().hosts
    assert [host.cores for host in built] == [16, 16, 2, 1]
    assert [host.device.name for host in built] == ["other", "other", "made up", "made up"]
    assert [one.name for one in whole.cluster.profiles] == ["made up", "other"]
    assert parasim.simulate(whole).summary["profile"]["names"] == ["made up", "other"]


def test_a_host_replaces_the_device_of_its_profile(folder):
    host = scenario(folder, f"{{profile: mine.json, {STAR}, hosts: {{1: {{profile: mine.json, device: V100}}}}}}")
    assert host.cluster.wiring().hosts[1].device.name == "V100-SXM2"
    assert host.cluster.wiring().hosts[1].contention == ()


def test_documents_find_profiles_from_anywhere(folder, monkeypatch, tmp_path_factory):
    cluster = f"{{profile: mine.json, {STAR}, hosts: {{1: {{profile: mine.json}}}}}}"
    monkeypatch.chdir(folder)
    document = scenario(folder.relative_to(folder), cluster).document
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    again = from_document(json.loads(json.dumps(document)))
    assert again.cluster.profiles == (profile(),)


def test_a_document_may_be_read_with_drawn_profiles(folder):
    document = scenario(folder, "{profile: mine.json}").document

    def post(seed):
        drawn = from_document(document, vary=lambda one: one.draw(np.random.default_rng(seed)))
        return drawn.cluster.host.handling.post

    assert post(1) == post(1) != post(2)


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ("{profile: none.json}", "cluster.profile: "),
        ("{profile: 3}", "cluster.profile: is 3, no profile"),
        ("{profile: nobody}", "no profile is recorded as 'nobody'"),
        ("{profile: mine.json, link: {bandwidth: 1 Gbit/s}}", "cluster.link: is between hosts"),
        ("{profile: mine.json, routing: {kind: ecmp}}", "cluster.routing: is between hosts"),
        ("{profile: mine.json, transport: shaped}", "cluster.transport: is between hosts"),
        (f"{{profile: mine.json, {STAR}, transport: pigeon}}", "has no transport 'pigeon'"),
        (f"{{profile: mine.json, {STAR}, transport: 3}}", "cluster.transport: 3 must be a name"),
        ("{transport: shaped, topology: {kind: star, hosts: 2}}", "cluster.transport: is one of a profile's"),
        ("{profile: mine.json, topology: {kind: star, hosts: 2}}", "cluster.link: is missing"),
        (f"{{profile: mine.json, {STAR}, hosts: {{1: {{profile: none.json}}}}}}", "cluster.hosts.1.profile: "),
        ("{profiles: mine.json}", "did you mean 'profile'"),
    ],
)
def test_mistakes_have_a_place_and_a_remedy(folder, cluster, words):
    with pytest.raises(ScenarioError) as error:
        scenario(folder, cluster)
    assert words in str(error.value)
    assert str(error.value).startswith(f"{folder / 'scenario.yaml'}:3:")


def test_several_transports_are_chosen_among(folder):
    ways = {**profile().transports, "fabric": profile().transports["shaped"]}
    both = profile(transports=ways)
    assert transport_of(both, None, 1) == LOOPBACK
    assert transport_of(both, "fabric", 4) == "fabric"
    with pytest.raises(ScenarioError, match="several transports: choose one of shaped, fabric"):
        transport_of(both, None, 4)
    assert transport_of(profile(transports={}), None, 4) == LOOPBACK
    assert handling_of(profile(transports={})).bandwidth == math.inf


@pytest.mark.parametrize(
    ("law", "words"),
    [
        ({"kind": "pink"}, "unknown law 'pink'"),
        ({"kind": "gamma", "sigma": 1.0}, "sigma"),
        ({"kind": "gamma"}, "shape"),
    ],
)
def test_noise_of_a_profile_is_a_law(folder, law, words):
    save_profile(profile(noise={"compute": law}), folder / "mine.json")
    with pytest.raises(ScenarioError, match=words):
        scenario(folder, "{profile: mine.json}")


def test_recorded_profiles_are_in_the_package():
    assert RECORDED.parent.parent.name == "parasim"


@pytest.mark.parametrize(
    ("changes", "overrides", "words"),
    [
        ({"validity": {"ranks": (1.0, 1.0)}}, (), "2 as many ranks on one host is outside of .* 1 to 1"),
        ({"validity": {"threads": (1.0, 2.0)}}, ["execute.threads=4"], "4 as many threads"),
        ({"validity": {"message_bytes": (8.0, 64.0)}}, (), "1.638e.04 bytes per message .* 8 to 64"),
        ({"dtype": "float64"}, (), "measured in float64, the workload computes in float32"),
    ],
)
def test_what_a_profile_does_not_cover_is_said(folder, changes, overrides, words):
    save_profile(profile(**changes), folder / "mine.json")
    with pytest.warns(ScenarioWarning, match=f"profile made up: .*{words}") as said:
        parasim.simulate(scenario(folder, "{profile: mine.json}", *overrides))
    assert len(said) == 1


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ("{profile: mine.json}", "PROFILE: measurements of made up."),
        (
            "{profile: mine.json, noise: {kind: none}}",
            "PROFILE: measurements of made up, UNCALIBRATED as the scenario replaces noise.",
        ),
        (
            f"{{profile: mine.json, {STAR}, hosts: {{1: {{device: {SLOW}}}}}}}",
            "PROFILE: measurements of made up, UNCALIBRATED as some hosts have devices without measurements.",
        ),
    ],
)
def test_tables_name_the_profile(folder, cluster, words):
    summary = parasim.simulate(scenario(folder, cluster)).summary
    footer = results_footer([summary])
    assert words in footer
    assert not any(line.startswith("UNCALIBRATED") for line in footer)
