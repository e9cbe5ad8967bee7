"""README.md says what is true: its made parts are current, its commands and examples run."""

import re
import subprocess
import sys

import pytest

from tests.readme import README, ROOT, made


def test_made_parts_are_current(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = README.read_text()
    assert made(text) == text, "run: python -m tests.readme"


def test_ci_runs_the_command_of_the_readme():
    command = r"^python3 -m venv \.venv && \. \.venv/bin/activate && pip install -e '\.\[dev\]' && pytest$"
    assert len(re.findall(command, README.read_text(), flags=re.MULTILINE)) == 1
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.real
def test_the_python_example_runs():
    (example,) = re.findall(r"```python\n(import parasim.*?)```", README.read_text(), flags=re.DOTALL)
    subprocess.run([sys.executable, "-c", example], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_the_example_scheme_is_synchronous_sgd(tmp_path):
    """The scheme of "How to add a scheme" runs, and gives the very weights of the all-reduce scheme without overlap."""
    (source,) = re.findall(r"```python\n(class Synchronous.*?)```", README.read_text(), flags=re.DOTALL)
    program = f"""
import dataclasses
import parasim
from parasim.program import *

{source}

overrides = ["run.steps=4", "workload.model.width=32"]
known = parasim.load("scenarios/quickstart.yaml", [*overrides, "scheme.overlap=false"], variant="all-reduce")
mine = dataclasses.replace(known, scheme=Synchronous(known.scheme.options))
first, second = parasim.simulate(known), parasim.simulate(mine)
for one, other in zip(first.returns, second.returns, strict=True):
    assert one.tobytes() == other.tobytes()
assert mine.scheme.name == "synchronous"
"""
    path = tmp_path / "example.py"
    path.write_text(program)
    subprocess.run([sys.executable, path], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""})
