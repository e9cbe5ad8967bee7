"""Arrows run one way: a package imports only what lies below it. And no scheme knows a runtime, a clock or torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import parasim

ROOT = Path(parasim.__file__).parents[1]

BELOW = {
    "errors": set(),
    "fields": {"errors"},
    "units": {"errors"},
    "program": {"errors", "fields"},
    "theory": {"errors", "program"},
    "schedules": set(),
    "schemes": {"errors", "program", "schedules", "theory"},
    "compression": {"program"},
    "workload": {"errors", "fields", "program"},
    "cluster": {"errors", "fields", "program", "units"},
    "learning": {"errors", "program", "workload"},
    "trace": {"errors", "program"},
    "metrics": {"trace"},
    "runtime": {"errors", "program", "trace"},
    "simulation": {"cluster", "errors", "fields", "program", "runtime", "trace"},
    "scenario": {
        "cluster",
        "compression",
        "errors",
        "fields",
        "learning",
        "program",
        "schemes",
        "simulation",
        "units",
        "workload",
    },
    "study": {
        "cluster",
        "errors",
        "learning",
        "metrics",
        "program",
        "runtime",
        "scenario",
        "simulation",
        "theory",
        "trace",
        "workload",
    },
    "report": {"cluster", "errors", "fields", "metrics", "program", "scenario", "trace", "units", "workload"},
    "arguments": {"errors"},
    "analyzing": {"errors", "report", "scenario", "study"},
    "listing": {"cluster", "compression", "report", "scenario", "schemes"},
    "reporting": {"report", "trace"},
    "cli": {
        "analyzing",
        "arguments",
        "errors",
        "listing",
        "metrics",
        "report",
        "reporting",
        "scenario",
        "study",
        "trace",
    },
}
"""Of each room of the house: the rooms that it may import. (`parasim` itself, the public names, is imported by cli.)"""

LIBRARIES = {
    "program": {"numpy"},
    "schemes": set(),
    "schedules": set(),
    "compression": set(),
    "theory": {"numpy", "scipy", "sympy"},
    "metrics": set(),
    "runtime": set(),
    "simulation": {"numba", "numpy", "scipy", "simpy"},
    "learning": {"PIL", "numpy", "sklearn", "torch"},
    "trace": {"pandas"},
    "workload": {"torch"},
}
"""Libraries beyond the standard one that a room may import, where it matters."""


def imports(path):
    """(module, name) of every import of a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def files(room):
    place = ROOT / "parasim" / room
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def test_every_room_is_in_the_plan():
    rooms = {
        path.stem for path in (ROOT / "parasim").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__", "__main__"} == set(BELOW)


@pytest.mark.parametrize("room", BELOW)
def test_arrows_run_one_way(room):
    for path in files(room):
        for module in imports(path):
            parts = module.split(".")
            if parts[0] == "calibration":
                assert room == "cli", f"{path} imports {module}: only the command line does, inside its verbs"
            elif parts[0] == "parasim" and len(parts) > 1 and parts[1] != room:
                assert parts[1] in BELOW[room], f"{path} imports {module}: {room} stands below {parts[1]}, or beside it"


@pytest.mark.parametrize("room", LIBRARIES)
def test_libraries_stay_where_they_belong(room):
    for path in files(room):
        for module in imports(path):
            library = module.split(".")[0]
            allowed = LIBRARIES[room] | {"parasim"} | sys.stdlib_module_names
            assert library in allowed, f"{path} imports {library}"


@pytest.mark.parametrize("room", ["schemes", "schedules", "compression", "program"])
def test_programs_know_no_clock_and_no_global_randomness(room):
    for path in files(room):
        for module in imports(path):
            assert module.split(".")[0] not in {"time", "random", "os", "datetime", "secrets"}, (
                f"{path} imports {module}"
            )


def test_modules_are_small():
    for room in BELOW:
        for path in files(room):
            assert len(path.read_text().splitlines()) <= 420, f"{path} is long: a second concept wants a second file"


def test_public_names_and_their_documentation_agree():
    for name in parasim.__all__:
        assert f"`{name}`" in parasim.__doc__, name
        assert getattr(parasim, name) is not None
    assert dir(parasim) == sorted(parasim.__all__)


@pytest.mark.parametrize(
    "statement", ["import parasim", "import calibration", "from parasim.cli import main; main(['--help'])"]
)
def test_nothing_heavy_is_imported_early(statement):
    heavy = ["torch", "pandas", "matplotlib", "numpy", "pydantic", "sklearn", "scipy", "numba", "simpy", "sympy"]
    check = f"import sys; {statement}; found = [m for m in {heavy} if m in sys.modules]; assert not found, found"
    subprocess.run([sys.executable, "-c", check], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def test_simulating_without_learning_imports_no_torch():
    check = (
        "import sys, parasim\n"
        "s = parasim.load('scenarios/quickstart.yaml', ['run.learn=false', 'run.steps=2'], variant='all-reduce')\n"
        "parasim.simulate(s)\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)
