"""n-softsync: Downpour at n = N, every gradient used once, laws of staleness, rates that fall with it."""

import pytest
import torch
from scipy import stats

from parasim.learning.build import pin_threads
from parasim.metrics.staleness import staleness_of
from parasim.program import Context
from parasim.theory.staleness import asynchronous_probability
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, initial_weights, make, run, updates_of, weights
from tests.test_scenarios import golden

NOISE = {"kind": "lognormal", "sigma": 0.5}
EXPONENTIAL = {
    "model": {"kind": "layers", "layers": [{"parameters": 8, "forward_flops": 0.0, "weight_flops": 1e6}]},
    "noise": {"kind": "gamma", "shape": 1.0},
    "memory_bandwidth": 1e18,
    "bandwidth": 1e18,
    "latency": 0.0,
}
"""A step is one exponentially distributed time; all else takes none."""


@pytest.mark.parametrize("service", ["serial", "concurrent"])
def test_as_many_as_workers_at_constant_rates_equals_downpour_in_every_bit(service):
    """SCHEMES 17: S11 with n = lambda and alpha = alpha_0 is S9."""
    pin_threads()
    work = {"data": {"kind": "digits"}, "learn": True, "steps": 6, "noise": NOISE}
    options = {"workers": 3, "servers": 2, "service": service, **work}
    softsync, downpour = run("softsync", 5, n=3, rate="constant", **options), run("downpour", 5, **options)
    assert torch.equal(weights(softsync, range(5)), weights(downpour, range(5)))
    assert updates_of(softsync, 4) == updates_of(downpour, 4)


@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_every_gradient_is_used_once(monkeypatch, n, service):
    """The servers end where the mean of every c gradients takes them, in exact arithmetic."""
    pin_threads()
    pushed = []
    gradient = Context.gradient

    def spy(self, *arguments):
        found = yield from gradient(self, *arguments)
        pushed.append(found.values.clone())
        return found

    monkeypatch.setattr(Context, "gradient", spy)
    model, steps = EXACT_MODELS["one layer"]
    work = {"model": model, "data": EXACT_DATA, "dtype": "float64", "batch": 8, "learn": True, "steps": 2}
    options = {"workers": 4, "servers": 1, "n": n, "rate": "constant", "service": service, **work}
    result = run("softsync", 5, noise=NOISE, **options)
    assert len(pushed) == 8
    assert steps > 2
    expected = initial_weights(make("softsync", 5, **options)) - 0.125 * n / 4 * torch.stack(pushed).sum(0)
    assert torch.equal(weights(result, range(4, 5)), expected)
    assert result.summary["updates"] == 2 * n
    assert sorted(worker for worker, _, _ in updates_of(result, 4)) == sorted([*range(4)] * 2)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_rates_fall_with_staleness(monkeypatch, n):
    """alpha_0 / tau, and alpha_0 at 0: the weights that a scripted sum of scaled gradients gives."""
    pin_threads()
    pushed = {}
    gradient = Context.gradient

    def spy(self, *arguments):
        found = yield from gradient(self, *arguments)
        pushed.setdefault(self.rank, []).append(found.values.clone())
        return found

    monkeypatch.setattr(Context, "gradient", spy)
    options = {"workers": 5, "servers": 1, "n": n, "data": {"kind": "digits"}, "learn": True, "dtype": "float64"}
    result = run("softsync", 6, steps=4, noise=NOISE, **options)
    expected = initial_weights(make("softsync", 6, **options))
    done = dict.fromkeys(range(5), 0)
    stale = set()
    for worker, read, applied in updates_of(result, 5):
        stale.add(applied - read)
        rate = 1 / max(1, applied - read)
        expected -= 0.125 * rate / (5 // n) * pushed[worker][done[worker]]
        done[worker] += 1
    assert len(stale) > 1
    left = 20 % (5 // n)  # gradients that no update is made of
    assert sum(done.values()) == 20 - left
    torch.testing.assert_close(weights(result, range(5, 6)), expected, rtol=1e-12, atol=1e-12)


# staleness -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("speeds", [{}, {0: 0.2, 3: 3.0}], ids=["equal", "unequal"])
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_mean_staleness_is_that_of_the_law(n, speeds):
    """(N - 1) / c for any speeds (SCHEMES 4): every update meets one gradient of each other worker.

    Counted until a worker has come to its end, with what others have begun by then and its staleness so far.
    """
    steps, workers = 40, 6
    result = run("softsync", 7, workers=workers, n=n, steps=steps, noise=NOISE, speeds=speeds)
    count, done, applied = workers // n, dict.fromkeys(range(workers), 0), updates_of(result, workers)
    assert [version for _, _, version in applied] == [number // count for number in range(len(applied))]
    for number, (worker, _, _) in enumerate(applied):  # noqa: B007
        done[worker] += 1
        if done[worker] == steps:
            break
    updates = number // count + 1
    closed, begun = applied[: updates * count], applied[updates * count :]
    total = sum(version - read for _, read, version in closed)
    total += sum(max(0, updates - read) for read in {worker: read for worker, read, _ in reversed(begun)}.values())
    assert abs(total - (workers - 1) * updates) <= workers


def chances(workers, count, most):
    """P(staleness) for exponential times of equal mean: K pushes of others, geometric, from a random phase of c on."""
    found = [0.0] * (most + 1)
    for pushes in range(60 * workers):
        for phase in range(count):
            staleness = (phase + pushes) // count
            found[min(staleness, most)] += asynchronous_probability(workers, pushes) / count
    return found


@pytest.mark.parametrize("n", [6, pytest.param(2, marks=pytest.mark.slow)])
def test_distribution_of_staleness_fits_the_law(n):
    """Chi-square over 5,000 updates and more: geometric for one gradient per update, its sums over c for more."""
    workers, steps = 6, 5400 // n
    result = run("softsync", 7, workers=workers, n=n, rate="constant", steps=steps, trace="aggregate", **EXPONENTIAL)
    table = staleness_of(result.trace).overall
    count = workers // n
    assert result.summary["updates"] >= 5000
    most = max(value for value in table.histogram if table.count * chances(workers, count, value)[value] >= 20)
    expected = [table.count * chance for chance in chances(workers, count, most)]
    observed = [table.histogram.get(value, 0) for value in range(most)]
    observed.append(table.count - sum(observed))
    scale = sum(observed) / sum(expected)
    assert stats.chisquare(observed, [scale * value for value in expected]).pvalue > 1e-3
    assert table.mean == pytest.approx((workers - 1) / count, rel=0.03)


def test_more_than_twice_n_is_rare():
    """Less than 1 in 10,000 (Gupta et al. 2016), of 30 learners whose times vary by a tenth."""
    result = run("softsync", 31, workers=30, n=15, steps=60, trace="aggregate", noise={"kind": "gamma", "shape": 100.0})
    table = staleness_of(result.trace).overall
    assert table.mean == pytest.approx(29 / 2, rel=0.05)
    assert table.max <= 2 * 15


# scenario ------------------------------------------------------------------------------------------------------------
def test_n_beyond_the_workers_is_refused():
    with pytest.raises(ValueError, match="n 5 must be at most the number of workers, 4"):
        make("softsync", 5, workers=4, n=5)


def test_scenario():
    """What scenarios/schemes/softsync.yaml expects."""
    loss, staleness = golden("schemes_softsync", "loss"), golden("schemes_softsync", "staleness")
    updates = golden("schemes_softsync", "updates")
    for n in (1, 2, 10):
        assert staleness[f"n = {n}"]["mean"] == pytest.approx(9 / (10 // n), rel=0.15)
        assert updates[f"n = {n}"] == 10 * 60 // (10 // n)
    assert set(staleness["n = 1"]["histogram"]) == {"0", "1", "2"}  # no barrier, unlike hardsync (S11.7)
    assert loss["n = 10, constant rates"]["last"] > 2 * loss["n = 10"]["last"]
    assert all(loss[f"n = {n}"]["last"] < 0.6 * loss[f"n = {n}"]["first"] for n in (1, 2, 10))
