"""Compiled functions are kept on disk until a source changes that may be compiled into them."""

import importlib.util
from pathlib import Path

import pytest

from parasim.simulation import compiling

pytestmark = pytest.mark.xdist_group("compiled")
SIMULATION = Path(compiling.__file__).parent


def test_sources_of_a_compiled_loop_are_all_that_it_is_made_of():
    names = {source.relative_to(SIMULATION).as_posix() for source in compiling.sources(SIMULATION / "tapes/playing.py")}
    assert names >= {"compiling.py", "filling.py", "fast/circulation.py", "tapes/wires.py", "tapes/records.py"}
    assert names >= {"tapes/playing.py", "tapes/shares.py", "tapes/stations.py", "tapes/clock.py", "tapes/heaps.py"}


def test_sources_of_what_calls_nothing_are_few():
    found = compiling.sources(SIMULATION / "tapes/heaps.py")
    assert found == {SIMULATION / "tapes/heaps.py", SIMULATION / "compiling.py"}


def test_a_kept_function_is_compiled_anew_once_another_source_changes(tmp_path, monkeypatch):
    file = tmp_path / "kernel.py"
    file.write_text(
        "from parasim.simulation.compiling import compiled\n\n\n@compiled\ndef twice(x):\n    return 2 * x\n"
    )
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "kept"))

    def compiled_anew() -> bool:
        spec = importlib.util.spec_from_file_location("kernel", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.twice(3) == 6
        (hits, misses) = (sum(counts.values()) for counts in module.twice.stats[1:])
        assert hits + misses == 1
        return misses == 1

    assert compiled_anew()
    assert not compiled_anew()
    monkeypatch.setattr(compiling, "_stamp", lambda _: "another")
    assert compiled_anew()
    assert not compiled_anew()
