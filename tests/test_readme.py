"""README.md says what is true: its made parts are current, its commands and examples run."""

import functools
import re
import runpy
import shutil

import pytest

import calibration
import parasim
from parasim.cli import main
from tests.readme import PAGES, README, ROOT, made

ENTRIES = [
    (section, entry)
    for section, block in re.findall(
        r"<!-- entries of: (\w+) -->\n```yaml\n(.*?)```", README.read_text(), flags=re.DOTALL
    )
    for entry in re.split(r"\n(?=\S)", block.strip())
]
"""What may stand in a scenario's sections, an entry at a time."""
BASE = {
    "workload": {"model": "{kind: resnet20}", "batch_size": "8"},
    "cluster": {
        "topology": "{kind: star, hosts: 8}",
        "device": "{flops: 1 TFLOP/s, memory: 16 GiB, memory_bandwidth: 100 GB/s}",
        "link": "{bandwidth: 10 Gbit/s, latency: 20 us}",
    },
}
MODELS = {"data: {kind: characters": "{kind: gpt, layers: 1, hidden: 8, heads: 1, tied: false}"}
"""Of data that need another model than the base's."""


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_made_parts_are_current(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = page.read_text()
    assert made(text) == text, "run: python -m tests.readme"


def test_ci_runs_the_command_of_the_readme():
    command = r"^python3 -m venv \.venv && \. \.venv/bin/activate && pip install -e '\.\[dev\]' && pytest$"
    assert len(re.findall(command, README.read_text(), flags=re.MULTILINE)) == 1
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_the_simulated_rows_beside_real_ones_are_current():
    """The real rows are of some machine and some day; the others are those of the table that is made."""
    lines = README.read_text().splitlines()
    beside = [line.split() for line in lines if re.match(r"[\w-]+ +\w+ +simulated +\d", line)]
    made_rows = [line.split() for line in lines]
    assert len(beside) == 3
    for name, scheme, _, *figures in beside:
        assert [name, scheme, *figures] in made_rows


def test_paths_that_are_named_exist():
    text = README.read_text()
    named = re.findall(r"`((?:parasim|calibration|scenarios|tests|benchmarks)/[\w./*]*)`|\]\(([^)#:]+)\)", text)
    assert len(named) > 10
    for path in {quoted or linked for quoted, linked in named}:
        assert list(ROOT.glob(path.rstrip("/"))), path


def test_the_table_of_verbs_is_complete(capsys):
    assert main(["--help"]) == 0
    verbs = re.findall(r"^  (\w+) +[A-Z]", capsys.readouterr().out, flags=re.MULTILINE)
    assert re.findall(r"^\| `parasim (\w+)", README.read_text(), flags=re.MULTILINE) == verbs


@pytest.mark.parametrize(("section", "entry"), ENTRIES, ids=[entry[:60] for _, entry in ENTRIES])
def test_entries_of_sections_run(section, entry, tmp_path):
    """Each in a scenario of its own; the data with a model that learns from them."""
    shutil.copytree(ROOT / "scenarios" / "own", tmp_path / "own")
    key, value = entry.split(":", 1)
    sections = {name: dict(entries) for name, entries in BASE.items()}
    sections[section][key] = value.strip() if "\n" not in value else value
    for start, model in MODELS.items():
        if entry.startswith(start):
            sections["workload"]["model"] = model
    lines = [
        f"{name}:\n" + "\n".join(f"  {k}: {indented(v)}" for k, v in keys.items()) for name, keys in sections.items()
    ]
    lines.append("scheme: {kind: allreduce, workers: 4}")
    lines.append(
        f"run: {{steps: 12, trace: aggregate, fidelity: coupled, learn: {'true' if key == 'data' else 'false'}}}"
    )
    path = tmp_path / "entry.yaml"
    path.write_text("\n".join(lines))
    assert parasim.simulate(parasim.load(path, allow_code=True)).summary["seconds"] > 0


def indented(value):
    """A value of several lines, two columns further right."""
    return value.replace("\n", "\n  ")


@pytest.mark.real
def test_the_python_example_runs(pool, monkeypatch):
    (example,) = re.findall(r"```python\n(import parasim.*?)```", README.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(calibration, "execute", functools.partial(calibration.execute, pool=pool))
    names = {}
    exec(example, names)
    assert names["weights"].tobytes() == names["again"].returns[0].tobytes()


def test_the_example_scheme_is_synchronous_sgd(tmp_path, monkeypatch):
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
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(path))
