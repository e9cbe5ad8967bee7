"""What times two functions side by side: pytest-benchmark, where it is installed and not switched off."""

import statistics
import time

import pytest

from benchmarks.ratios import Measure, Way, in_turn


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Measure:
    """Time two functions as `in_turn` does; pytest-benchmark keeps the seconds of the first, and the ratio."""
    if not request.config.pluginmanager.hasplugin("benchmark"):
        return in_turn
    request.node.add_marker(pytest.mark.benchmark(timer=time.process_time))
    benchmark = request.getfixturevalue("benchmark")

    def in_turn_with_the_plugin(first: Way, second: Way, repeat: int) -> tuple[float, float]:
        seconds = []

        def turn() -> None:
            begun = time.process_time()
            second()
            seconds.append(time.process_time() - begun)

        benchmark.pedantic(first, setup=turn, rounds=repeat)
        if benchmark.disabled:  # it has called each once, and timed nothing
            return in_turn(first, second, repeat)
        medians = benchmark.stats.stats.median, statistics.median(seconds)
        benchmark.extra_info["times"] = medians[1] / medians[0]
        return medians

    return in_turn_with_the_plugin
