"""Failures of ranks and launchers: the right error, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calibration.executor.directory import run_directory
from calibration.executor.launch import run_cast
from calibration.executor.pool import Pool
from parasim.errors import ExecutionError, ProgramError

pytestmark = pytest.mark.real
ROOT = Path(__file__).parent.parent


def fail(pool: Pool, how: str) -> None:
    run_cast("tests.real_programs:failing", {"how": how}, 3, pool=pool)


@pytest.mark.parametrize(
    ("how", "pattern"),
    [
        (
            "raise",
            r"rank 1 failed: ZeroDivisionError: of the program, in rank 1 \(worker 1\), program main#0, at .*:\d+",
        ),
        ("work", r"rank 1 failed: ZeroDivisionError: division by zero, in rank 1"),
        ("beside", r"rank 1 failed: ZeroDivisionError: division by zero, in rank 1"),
        ("kill", r"^rank 1 was killed by signal 9 \(SIGKILL\)"),
        ("abort", r"^rank 1 was killed by signal 6 \(SIGABRT\)"),
        ("exit", r"^rank 1 ended with status 3"),
    ],
)
def test_the_error_is_that_of_the_rank_that_failed_first(pool: Pool, how: str, pattern: str) -> None:
    with pytest.raises(ExecutionError, match=pattern):
        fail(pool, how)


def test_an_error_of_the_contract_keeps_its_kind(pool: Pool) -> None:
    with pytest.raises(ProgramError, match="sends to itself"):
        fail(pool, "contract")


def test_a_pool_works_on_after_failures_and_leaves_no_rank(pool: Pool) -> None:
    with pytest.raises(ExecutionError):
        fail(pool, "kill")
    assert run_cast("tests.real_programs:waiting", {"seconds": 0.0}, 2, pool=pool).returns == (None, None)
    (nursery,) = pool.pids()
    assert children(nursery) == []


def test_an_unknown_factory_is_named(pool: Pool) -> None:
    with pytest.raises(ExecutionError, match=r"no factory 'tests.real_programs:nothing'"):
        run_cast("tests.real_programs:nothing", {}, 2, pool=pool)


def test_a_cast_of_another_size_is_refused(pool: Pool) -> None:
    with pytest.raises(ExecutionError, match="the cast has 2 actors, the run 3 ranks"):
        run_cast("tests.real_programs:waiting", {"seconds": 0.0}, 3, pool=pool)


def test_the_nursery_is_started_again_after_it_was_killed() -> None:
    with Pool() as own:
        run_cast("tests.real_programs:waiting", {"seconds": 0.0}, 2, pool=own)
        (nursery,) = own.pids()
        os.kill(nursery, signal.SIGKILL)
        with pytest.raises(ExecutionError, match="forked from has ended"):
            run_cast("tests.real_programs:waiting", {"seconds": 0.0}, 2, pool=own)
        run_cast("tests.real_programs:waiting", {"seconds": 0.0}, 2, pool=own)


LAUNCHER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what they start in the background ignore it
from calibration.executor.launch import run_cast
try:
    run_cast("tests.real_programs:waiting", {"seconds": 3600.0}, 2)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.parametrize(("number", "status", "said"), [(signal.SIGINT, 0, "stopped"), (signal.SIGKILL, -9, "")])
def test_no_rank_outlives_its_launcher(number: int, status: int, said: str) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: len(descendants(launcher.pid)) == 3 or launcher.poll() is not None)
    family = descendants(launcher.pid)
    launcher.send_signal(number)
    out, err = launcher.communicate()
    assert launcher.returncode == status, err
    assert (out.strip(), err.strip()) == (said, "")
    assert len(family) == 3
    until(lambda: not any(alive(pid) for pid in family))


def test_directories_of_dead_launchers_are_removed() -> None:
    with run_directory() as used:
        left = used.parent / f"{used.name}-left"
        left.mkdir()
        for directory in (used, left):
            os.utime(directory, (time.time() - 1000, time.time() - 1000))
        with run_directory():
            assert used.exists()
            assert not left.exists()
    assert not used.exists()


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def descendants(pid: int) -> list[int]:
    return [found for child in children(pid) for found in (child, *descendants(child))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(holds) -> None:  # the test's own limit ends it
    while not holds():
        time.sleep(0.01)
