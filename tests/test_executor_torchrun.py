"""Failures among processes that torchrun started: exit status 1, the right error, and nothing left behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

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
