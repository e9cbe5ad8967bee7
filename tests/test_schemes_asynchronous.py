"""What all asynchronous schemes with servers have in common: laws, traffic, and both runtimes."""

import pytest

import parasim
from parasim.schemes import SCHEMES
from parasim.schemes.asynchronous import Asynchronous
from tests.schemes_real import same_payload, same_when_replayed
from tests.schemes_setup import run

CASES = {  # name: scheme, options, vectors pushed and fetched per step, and the most a run may apply at once
    "downpour": ("downpour", {}, 1, 1),
    "downpour, warm start": ("downpour", {"warm_start": 2}, 1, 1),
    "downpour, every other step": ("downpour", {"n_push": 2, "n_fetch": 2}, 1 / 2, 1 / 2),
}
REAL = {**{name: case[:2] for name, case in CASES.items()}, "downpour, zealous": ("downpour", {"zealous": 3})}
SERVICES = pytest.mark.parametrize("service", ["serial", "concurrent"])
EACH = pytest.mark.parametrize("name", CASES)
RULES = ({"kind": "sgd", "lr": 0.1, "momentum": 0.9}, {"kind": "adagrad", "lr": 0.05}, {"kind": "sgd", "lr": 0.125})
GEOMETRY = {"steps": 8, "bandwidth": 1e7}


def test_every_relative_is_here():
    relatives = {name for name, scheme in SCHEMES.items() if issubclass(scheme, Asynchronous)}
    assert {kind for kind, *_ in CASES.values()} == relatives


# traffic -------------------------------------------------------------------------------------------------------------
@SERVICES
@EACH
def test_payload_is_that_of_the_table_of_schemes(name, service):
    """SCHEMES 12: 4 L n^2 bytes up and as many down per step (n_push = n_fetch = 1), in S messages each."""
    kind, options, pushed, fetched = CASES[name]
    met = [run(kind, 6, workers=3, servers=2, service=service, steps=n, **options).summary for n in (6, 12)]
    for direction, vectors in (("sent", pushed), ("received", fetched)):
        for figure, unit in (("bytes", 4 * 4096), ("messages", 2)):
            short, long = (one[f"{figure}_{direction}_per_worker_per_step"] * one["steps"] for one in met)
            assert (long - short) / 6 == pytest.approx(vectors * unit)


# both runtimes -------------------------------------------------------------------------------------------------------
@pytest.mark.real
@SERVICES
@pytest.mark.parametrize("name", REAL)
def test_real_runs_have_the_simulated_payload_and_are_replayed_exactly(name, service, pool, tmp_path):
    from tests.schemes_real import learning

    kind, options = REAL[name]
    case = learning(kind, workers=2, servers=2, service=service, optimizer={"kind": "sgd", "lr": 0.1}, **options)
    real = same_when_replayed(case, pool, tmp_path / "record.json")
    if options.get("zealous", 1) == 1:
        same_payload(real, parasim.simulate(case))
