"""Nothing is left of a testbed whose launcher is killed, whenever that happens; others are not disturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from calibration.testbed import missing

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(missing()), reason=missing() or "nothing is missing"),
]
ROOT = Path(__file__).parent.parent
LAUNCHER = """
import os, sys
from calibration.executor.launch import run_cast
from calibration.executor.pool import Pool
from calibration.testbed import Testbed
from calibration.testbed.namespaces import Namespace
from tests.test_testbed_plan import cluster

made = Namespace.__init__
def told(self):
    made(self)
    print(os.readlink(self.path), flush=True)
Namespace.__init__ = told

pool = Pool()
ring = [(rank, (rank + 1) % 3) for rank in range(3)]
arguments = {"size": 3, "nbytes": 100_000, "flows": ring}
for _ in range(int(sys.argv[1])):
    with Testbed(cluster("fat_tree", {"k": 4}), [0, 7, 12]) as testbed:
        for _ in range(3):
            seats = testbed.seats([0, 7, 12])
            outcome = run_cast("tests.testbed_programs:traffic", arguments, 3, pool=pool, seats=seats)
            print("received", sum(row.nbytes for row in outcome.trace if row.op == "recv"), flush=True)
"""


def launched(mark: str, rounds: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PARASIM_TEST_MARK": mark}
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(rounds)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )


def ours(process: int) -> bool:
    """Does it descend from the test run, as other tests' processes do? The kernel gives numbers of namespaces again."""
    while process > 1:
        if process in (os.getpid(), os.getppid()):
            return True
        try:
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def holders(mark: str, namespaces: set[str]) -> list[str]:
    """What still is of a dead launcher: processes that it started, and orphans that hold one of its namespaces."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = {os.readlink(process / "ns/net"), *(os.readlink(file) for file in (process / "fd").iterdir())}
            started = f"PARASIM_TEST_MARK={mark}".encode() in (process / "environ").read_bytes()
        except OSError:
            continue
        if started or (links & namespaces and not ours(int(process.name))):
            found.append(process.name)
    mounts = Path("/proc/self/mountinfo").read_text()
    return found + [name for name in namespaces if name in mounts]


def devices() -> list[str]:
    """Names of this process's network interfaces."""
    return sorted(file.name for file in Path("/sys/class/net").iterdir())


def gone(mark: str, namespaces: set[str]) -> bool:
    """Is all gone, after a while at most?"""
    deadline = time.monotonic() + 300.0
    while holders(mark, namespaces):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.slow)])
def test_killing_the_launcher_at_any_moment_leaves_nothing(kills: int) -> None:
    before, moments = devices(), random.Random(4)
    seen: list[int] = []
    for number in range(kills):
        mark = uuid.uuid4().hex
        launcher = launched(mark, 1000)
        assert launcher.stdout is not None
        said = [launcher.stdout.readline()]  # it builds
        if number % 2:
            said += [launcher.stdout.readline() for _ in range(moments.randrange(4, 40))]  # it is at work
        time.sleep(moments.uniform(0.0, 0.02))
        launcher.send_signal(signal.SIGKILL)
        said += launcher.stdout.read().splitlines()
        launcher.wait()
        launcher.stdout.close()
        namespaces = {line.strip() for line in said if line.startswith("net:")}
        seen.append(len(said))
        assert namespaces
        assert gone(mark, namespaces), holders(mark, namespaces)
    assert len(set(seen)) > 1, "all were killed in the same state"
    assert devices() == before


@pytest.mark.slow
def test_launchers_beside_each_other_do_not_disturb_each_other() -> None:
    marks = [uuid.uuid4().hex for _ in range(2)]
    killed, other = (launched(mark, rounds) for mark, rounds in zip(marks, (1000, 4), strict=True))
    assert killed.stdout is not None
    assert other.stdout is not None
    while not killed.stdout.readline().startswith("received"):
        pass
    killed.kill()
    killed.wait()
    killed.stdout.close()
    received = [line for line in other.stdout.read().splitlines() if line.startswith("received")]
    other.stdout.close()
    assert other.wait() == 0
    assert received == [f"received {3 * 3 * 100_000}"] * 12
    assert all(gone(mark, set()) for mark in marks)
