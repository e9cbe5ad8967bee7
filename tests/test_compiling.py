"""Compiled functions are kept on disk until a source changes that may be compiled into them."""

import importlib.util
import pickle
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
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "kept"))

    def compiled_anew() -> bool:
        twice = _kernel(tmp_path)
        assert twice(3) == 6
        (hits, misses) = (sum(counts.values()) for counts in twice.stats[1:])
        assert hits + misses == 1
        return misses == 1

    assert compiled_anew()
    assert not compiled_anew()
    monkeypatch.setattr(compiling, "_stamp", lambda _: "another")
    assert compiled_anew()
    assert not compiled_anew()


def test_what_is_kept_of_types_that_are_gone_is_compiled_anew(tmp_path, monkeypatch):
    """As after an update of the package: numba reads what it has kept before it looks whether sources have changed."""
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "kept"))
    twice = _kernel(tmp_path)
    assert twice(3) == 6
    index = twice._cache._cache_file
    gone = b"cparasim.simulation.compiling\nGone\n."
    Path(index._index_path).write_bytes(pickle.dumps(index._version) + gone)
    for misses in (1, 0):
        again = _kernel(tmp_path)
        assert again(3) == 6
        assert sum(again.stats.cache_misses.values()) == misses


def _kernel(folder):
    file = folder / "kernel.py"
    file.write_text(
        "from parasim.simulation.compiling import compiled\n\n\n@compiled\ndef twice(x):\n    return 2 * x\n"
    )
    spec = importlib.util.spec_from_file_location("kernel", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.twice
