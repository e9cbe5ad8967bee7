"""Processes that torchrun started: failures end with status 1 and the right error; two machines have one clock."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from calibration import testbed as beds
from parasim.trace.rows import Row
from tests.test_testbed_plan import cluster

pytestmark = pytest.mark.real
ROOT = Path(__file__).parent.parent
SCRIPT = """
import json, sys
from calibration.executor.torchrun import take_part_in_world
take_part_in_world(sys.argv[1], json.loads(sys.argv[2]), 2)
"""


def command(folder: Path, program: str, arguments: Mapping[str, object]) -> list[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    return [str(script), f"tests.real_programs:{program}", json.dumps(arguments)]


def environment(**values: object) -> dict[str, str]:
    return {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **{k: str(v) for k, v in values.items()}
    }  # fmt: skip


def processes_of(folder: Path) -> list[str]:
    """Processes that have this folder in their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(file.parent.name)
    return found


@pytest.mark.slow
def test_torchrun_reports_the_rank_that_failed_first(tmp_path: Path) -> None:
    words = command(tmp_path, "failing", {"how": "raise", "workers": 2})
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    done = subprocess.run(run, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError: of the program\nin rank 1 (worker 1), program main#0" in done.stderr
    first = done.stderr.split("Root Cause", 1)[1]
    assert "local_rank: 1" in first
    assert "exitcode  : 1 " in first
    assert "SIGABRT" not in done.stderr
    assert processes_of(tmp_path) == []


@pytest.mark.slow
def test_every_rank_of_a_deadlock_ends_by_itself_with_status_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = command(tmp_path, "native_deadlock", {"workers": 2})
    ranks = []
    for rank in range(2):
        place = environment(RANK=rank, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        ranks.append(subprocess.Popen([sys.executable, *words], cwd=ROOT, env=place, stderr=subprocess.PIPE, text=True))
    said = [process.communicate()[1] for process in ranks]
    assert [process.returncode for process in ranks] == [1, 1], said
    assert all("DeadlockError: deadlock at" in text and "terminate called" not in text for text in said)


TWO_MACHINES = """
import json
from calibration.executor.launch import outcome_of
from calibration.executor.torchrun import take_part_in_world
flows = [[0, 2], [2, 0], [1, 3], [3, 1], [0, 1], [2, 3]]
arguments = {"size": 4, "nbytes": 50_000, "flows": flows, "rounds": 20}
answers = take_part_in_world("tests.testbed_programs:traffic", arguments, 4)
if answers is not None:
    outcome = outcome_of(answers)
    print(json.dumps([list(outcome.trace), outcome.record.meta["clocks"]]))
"""
SHIFT = 5000


@pytest.mark.skipif(bool(beds.missing()), reason=beds.missing() or "nothing is missing")
def test_two_machines_whose_clocks_are_far_apart_write_one_consistent_trace(tmp_path: Path) -> None:
    """Each machine is a network namespace; the second also has a time namespace, whose clock is ahead."""
    script = tmp_path / "script.py"
    script.write_text(TWO_MACHINES)
    nodes: list[subprocess.Popen[str]] = []
    with beds.Testbed(cluster("star", {"hosts": 2}), [0, 1]) as testbed:
        for node in range(2):
            apart = ["unshare", "--time", "--monotonic", str(SHIFT), "--fork", "--kill-child"] if node else []
            words = (
                f"--nnodes 2 --node-rank {node} --nproc-per-node 2 --master-addr {beds.address(0)} --master-port 29500"
            )
            run = [*apart, sys.executable, "-m", "torch.distributed.run", *words.split(), str(script)]

            def start(run: list[str] = run, interface: str = beds.interface(node)) -> None:
                place = environment(GLOO_SOCKET_IFNAME=interface)
                nodes.append(subprocess.Popen(
                    run, cwd=ROOT, env=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                ))  # fmt: skip

            testbed.namespace(node).run(start)
        said = [node.communicate() for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    values, clocks = json.loads(said[0][0].splitlines()[-1])
    assert [clock["machine"] for clock in clocks] == [0, 0, 1, 1]
    bound = clocks[2]["error"]
    assert 0 < bound < SHIFT / 1000
    assert abs(clocks[2]["offset"] + SHIFT) <= bound
    rows = [Row(*row) for row in values]
    sent, received = ({row.message: row for row in rows if row.op == op} for op in ("send", "recv"))
    assert sent.keys() == received.keys()
    assert len(sent) == 2 * 20 * 6
    for message, send in sent.items():
        receive = received[message]
        assert receive.t_end >= send.t_post - 2 * bound, "received before it was posted"
        assert send.t_end >= receive.t_post - 2 * bound, "sent before the receive was posted: no rendezvous"
        assert abs(receive.t_start - max(send.t_post, receive.t_post)) <= 2 * bound
    assert processes_of(tmp_path) == []
