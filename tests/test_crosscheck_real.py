"""A small cross-check against real ranks, and what is left of one that is killed."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from calibration import execute
from calibration.checking import measuring
from calibration.checking.alignment import align
from calibration.checking.bounds import BOUNDS, LOOPBACK, OVERSUBSCRIBED, Bounds
from calibration.checking.executed import as_executed
from calibration.checking.recording import read_measurements, trace_path
from calibration.checking.traces import load_trace
from calibration.crosscheck import crosscheck
from parasim.study.simulate import simulate
from tests.crosscheck_setup import case, profile, scenario

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[1]
SLOW = {"flops": "2 MFLOP/s", "memory": "1 GiB", "memory_bandwidth": "5 GB/s"}
"""Steps of some 200 ms: the messages of any machine are short beside them."""

ROOM = 0.1
"""How much longer than they are predicted is no fault: of profiles that are a guess, and of single runs."""


def paced(kind, **more):
    return scenario({"kind": kind, "workers": 2, **more}, size=3, steps=5, width=32, device=SLOW)


def test_small_crosscheck(pool, tmp_path, monkeypatch):
    """What these cases do is sleep, so nobody can be faster than predicted; how much slower, the machine decides.

    With that much allowed the prediction is accepted, and one of a hundred times what the slowest case took is not.
    """
    monkeypatch.setattr(measuring, "AGAIN", 0)
    cases = [
        case("ring", paced("allreduce")),
        case("server", paced("downpour", servers=1)),
        case("pipeline", paced("gpipe", micro_batches=2)),
    ]
    free = replace(BOUNDS, groups={LOOPBACK: Bounds(), OVERSUBSCRIBED: Bounds()}, coverage_runs=10**9)
    ask = {"runs": 2, "replicas": 4, "jobs": 1, "out": tmp_path, "execute": lambda one: execute(one, pool=pool)}
    right = errors_of(crosscheck(cases, profile(), demands=free, **ask))
    assert all(-1 < error < ROOM for error in right.values())
    bound = Bounds(each=1.1 * max(ROOM, *map(abs, right.values())))
    demands = replace(free, groups={LOOPBACK: bound, OVERSUBSCRIBED: bound})
    found = crosscheck(cases, profile(), demands=demands, **ask)  # what was measured is there already
    assert errors_of(found) == right
    for entry in found["cases"]:
        assert {check["what"]: check["passed"] for check in entry["checks"]}["error"]
    assert found["total"]["runs"] == 6
    slower = 100 / (1 + min(right.values()))
    wrong = [case(one.name, replace_device(one.scenario, slower)) for one in cases]
    recorded = read_measurements(tmp_path)
    recorded.identities.update({one.name: one.identity for one in wrong})
    rejected = crosscheck(wrong, profile(), demands=demands, measured=recorded, replicas=4, jobs=1)
    assert not any(entry["accepted"] for entry in rejected["cases"])
    for name, error in errors_of(rejected).items():
        assert 1 + error == pytest.approx(slower * (1 + right[name]), rel=0.2)


def errors_of(found):
    """By case: how much longer its steps are predicted than they were; all ran, with the bytes that were predicted."""
    for entry in found["cases"]:
        assert entry["failure"] is None
        assert entry["traffic_equal"], entry["traffic_differences"]
    return {entry["case"]: entry["error"] for entry in found["cases"]}


def replace_device(made, slower):
    """The same on a device that is so many times slower."""
    from parasim.scenario import from_document

    cluster = {**made.document["cluster"], "device": {**SLOW, "flops": f"{2e6 / slower} FLOP/s"}}
    return from_document({**made.document, "cluster": cluster})


@pytest.mark.parametrize("kind", ["allreduce", "gpipe"])
def test_operations_of_a_real_run_all_have_a_counterpart(pool, kind):
    made = paced(kind)
    real, simulated = execute(made, pool=pool), simulate(as_executed(made, profile()))
    found = align(real.trace, simulated.trace)
    assert found.only_first == found.only_second == ()
    assert len(found.pairs) > 20


FILE = """
name: killed
workload: {model: {kind: mlp, width: 16, depth: 2}, batch_size: 8, data: {kind: digits}}
cluster:
  topology: {kind: star, hosts: 2}
  device: {flops: 20 MFLOP/s, memory: 1 GiB, memory_bandwidth: 5 GB/s}
  link: {bandwidth: 100 Mbit/s, latency: 50 us}
scheme: {kind: allreduce, workers: 2}
run: {steps: 20, seed: 1}
execute: {compute: paced, network: NETWORK}
variants:
  ring: {}
  gossip: {scheme: {kind: adpsgd, workers: 2}}
"""
MARK = "PARASIM_TEST_OF_KILLS"


def marked(value):
    """Processes that inherited the mark."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={value}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def wait_for(happened):
    deadline = time.monotonic() + 300
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def recorded(out):
    """Runs on the disk; the file is whole at any time."""
    if not (out / "measured.json").exists():
        return 0
    return sum(map(len, read_measurements(out).runs.values()))


def links():
    """Network interfaces of this machine."""
    return sorted(entry.name for entry in Path("/sys/class/net").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("network", ["loopback", "shaped"])
def test_killed_at_any_moment_it_leaves_nothing_and_goes_on(tmp_path, network):
    if network == "shaped":
        from calibration.testbed.testbed import missing

        if reason := missing():
            pytest.skip(reason)
    path, out = tmp_path / "killed.yaml", tmp_path / "out"
    path.write_text(FILE.replace("NETWORK", network))
    words = [sys.executable, "-m", "parasim", "crosscheck", str(path), "--measure-only", "--runs", "40"]
    words += ["--out", str(out)]
    before, value = links(), f"{os.getpid()}-{network}"
    environment = {**os.environ, MARK: value}
    moments = random.Random(4)
    held = 0
    for number in range(10):
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        if number % 2:
            wait_for(lambda: recorded(out) > held)  # noqa: B023 - called at once
            time.sleep(moments.uniform(0.0, 1.0))
        else:
            time.sleep(moments.uniform(0.3, 5.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert wait_for(lambda: not marked(value)), marked(value)
        assert links() == before
        assert recorded(out) >= held
        held = recorded(out)
    most = max(map(len, read_measurements(out).runs.values())) + 1
    words[words.index("--runs") + 1] = str(most)
    subprocess.run(words, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert wait_for(lambda: not marked(value))
    assert {len(found) for found in read_measurements(out).runs.values()} == {most}
    assert all(len(load_trace(trace_path(out, f"killed/{name}", "real"))) > 0 for name in ("ring", "gossip"))
    hidden = [entry.name for entry in out.rglob(".*")]
    assert hidden == [".lock"]
