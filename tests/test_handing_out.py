"""Tests of a group run on one worker; nobody would see it otherwise, but for the time it takes."""

import collections
import os
import subprocess
import sys

from tests.golden import ROOT

TESTS = """
import os, pathlib, time
import pytest

def ran(request, seconds=0.0):
    time.sleep(seconds)
    worker = os.environ["PYTEST_XDIST_WORKER"]
    pathlib.Path(request.node.nodeid.replace("/", "-") + ".ran").write_text(worker)

@pytest.mark.parametrize("number", range(40))
def test_alone(request, number):
    ran(request)

@pytest.mark.real
@pytest.mark.parametrize("number", range(20))
def test_real(request, number):
    ran(request, 0.02)

@pytest.mark.xdist_group("shared")
@pytest.mark.parametrize("number", range(12))
def test_shared(request, number):
    ran(request, 0.02)
"""


def test_groups_stay_together_and_others_are_handed_out_in_pieces(tmp_path):
    for name in ("test_one.py", "test_other.py"):
        (tmp_path / name).write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = real\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.handing_out", "-n", "2", "--dist", "loadgroup"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    workers = collections.defaultdict(list)
    for path in sorted(tmp_path.glob("*.ran")):
        workers[path.name.split("::")[1].split("[")[0]].append(path.read_text())
    assert {name: len(found) for name, found in workers.items()} == {
        "test_alone": 80, "test_real": 40, "test_shared": 24,
    }  # fmt: skip
    assert len(set(workers["test_real"])) == len(set(workers["test_shared"])) == 1
