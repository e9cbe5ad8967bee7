"""DynSGD, AGN and ADAG: how each scales what a worker commits after lambda steps of its own."""

import pytest
import torch

from parasim.learning.build import pin_threads
from parasim.learning.tensors import TorchTensors
from parasim.program import Context
from parasim.schemes.adag import Damping
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, initial_weights, make, run, updates_of, weights
from tests.test_scenarios import golden

NOISE = {"kind": "lognormal", "sigma": 0.5}
FREE = {"memory_bandwidth": 1e15, "bandwidth": 1e15, "latency": 0.0}
"""With a large batch only gradients take time to speak of: nothing is committed while a worker scales its own."""


@pytest.fixture(autouse=True)
def one_thread():
    pin_threads()


@pytest.fixture
def gradients(monkeypatch):
    """The gradients of every worker, by rank, in their order."""
    found = {}
    gradient = Context.gradient

    def watched(self, *arguments):
        result = yield from gradient(self, *arguments)
        found.setdefault(self.rank, []).append(result.values.clone())
        return result

    monkeypatch.setattr(Context, "gradient", watched)
    return found


def exact(kind, hosts, model, **settings):
    return run(kind, hosts, model=model, data=EXACT_DATA, dtype="float64", learn=True, **settings)


# one worker ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scaled_by", ["", "message", "server", "worker"])
def test_one_worker_takes_the_steps_of_sequential_sgd(scaled_by):
    """SCHEMES S12.7: N = 1 has no staleness, so DynSGD and ADAG scale by 1; the local path is the server's."""
    model, steps = EXACT_MODELS["one layer"]
    kind, options = ("adag", {"scaled_by": scaled_by}) if scaled_by else ("dynsgd", {})
    result = exact(kind, 2, model, workers=1, local_steps=2, steps=steps, **options)
    whole = exact("sequential", 1, model, steps=steps)
    assert torch.equal(weights(result, range(1, 2)), weights(whole, range(1)))


@pytest.mark.parametrize("kind", ["agn", "adag"])
def test_one_worker_of_agn_moves_a_part_of_its_way(kind):
    """1 / lambda of it (SCHEMES S12.7); ADAG-AGN the same, as nothing is stale."""
    model, _ = EXACT_MODELS["one layer"]
    options = {"normalise": True} if kind == "adag" else {}
    result = exact(kind, 2, model, workers=1, local_steps=4, steps=4, **options)
    start = initial_weights(make("agn", 2, model=model, data=EXACT_DATA, dtype="float64"))
    path = weights(exact("sequential", 1, model, steps=4), range(1)) - start
    assert torch.equal(weights(result, range(1, 2)) - start, path / 4)
    assert bool(path.any())


@pytest.mark.parametrize("service", ["serial", "concurrent"])
def test_agn_of_one_step_equals_downpour_in_every_bit(service):
    """SCHEMES 17: S12 AGN with lambda = 1 is S9."""
    options = {"workers": 3, "servers": 2, "service": service, "steps": 6, "noise": NOISE}
    options |= {"data": {"kind": "digits"}, "learn": True}
    agn, downpour = run("agn", 5, local_steps=1, **options), run("downpour", 5, **options)
    assert torch.equal(weights(agn, range(5)), weights(downpour, range(5)))
    assert updates_of(agn, 4) == updates_of(downpour, 4)
    assert agn.summary["seconds"] == downpour.summary["seconds"]


# several workers -----------------------------------------------------------------------------------------------------
CASES = {
    "dynsgd": ("dynsgd", {}),
    "agn": ("agn", {}),
    "message": ("adag", {"scaled_by": "message"}),
    "server": ("adag", {"scaled_by": "server"}),
    "worker": ("adag", {"scaled_by": "worker"}),
    "ADAG-AGN": ("adag", {"normalise": True}),
}


@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("name", CASES)
def test_servers_follow_the_rule_of_the_thesis(gradients, name, service):
    """Every commit again, from the gradients of the workers and the versions that the trace tells."""
    kind, options = CASES[name]
    options = {**options, "workers": 3, "local_steps": 2, "service": service, "noise": NOISE, "batch": 256, **FREE}
    options |= {"data": {"kind": "digits"}, "learn": True, "dtype": "float64"}
    gamma = 1e-3 if kind == "adag" else None
    options |= {"gamma": gamma} if gamma else {}
    result = run(kind, 4, steps=6, **options)
    versions = [initial_weights(make(kind, 4, **options))]
    stale = set()
    for worker, read, applied in updates_of(result, 3):
        commit, gradients[worker] = sum(gradients[worker][:2]), gradients[worker][2:]
        scale = {"dynsgd": 1 / (applied - read + 1), "agn": 1 / 2, "ADAG-AGN": 1 / 2}.get(name, 1.0)
        if gamma:
            scale = scale / ((versions[-1] - versions[read]) ** 2 / gamma + 1)
        versions.append(versions[-1] - 0.125 * scale * commit)
        stale.add(applied - read)
    torch.testing.assert_close(weights(result, range(3, 4)), versions[-1], rtol=1e-12, atol=1e-12)
    assert len(stale) > 1


def test_scale_of_adag_lies_between_0_and_1():
    """SCHEMES S12.7: in (0, 1], and 1 where nothing has moved."""
    xp = TorchTensors("float64")
    now, then = (torch.randn(64, dtype=torch.float64) for _ in range(2))
    then[:8] = now[:8]
    scale = Damping(1e-4)(xp, torch.ones(64, dtype=torch.float64), now, then)
    assert bool((scale > 0).all())
    assert bool((scale <= 1).all())
    assert torch.equal(scale == 1, torch.arange(64) < 8)


def test_memory_of_the_three_placements():
    """SCHEMES S12.5: N P at the server, or a copy at each worker; one that scales has another for a while."""
    nbytes = 4 * 4096
    held = {}
    for name in ("message", "server", "worker", ""):
        kind, options = ("adag", {"scaled_by": name}) if name else ("dynsgd", {})
        summary = run(kind, 4, workers=3, local_steps=2, **options).summary
        held[name] = (summary["roles"]["server"]["memory_bytes"], summary["memory_bytes_per_worker"])
    server, worker = held[""]
    assert held["server"] == (server + 3 * nbytes, worker)
    assert held["message"] == (server, worker + nbytes)
    assert held["worker"] == (server, 5 * nbytes)  # with weights, gradient, sum and copy; no pass is under way


# scenarios -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "learns"),
    [
        ("dynsgd", ["DynSGD"]),
        ("agn", ["lambda 1", "lambda 10", "lambda 20"]),
        ("adag", ["told by messages", "kept by servers", "scaled by workers", "ADAG-AGN"]),
    ],
)
def test_scenarios(name, learns):
    """What the files in scenarios/schemes expect: they learn where Downpour of the same period fails."""
    loss, sent = golden(f"schemes_{name}", "loss"), golden(f"schemes_{name}", "bytes_sent_per_worker_per_step")
    if name != "adag":
        assert loss["Downpour"]["last"] > 2 * loss["Downpour"]["first"]
    for variant in learns:
        part = 0.75 if variant == "ADAG-AGN" else 0.65  # its steps are the smallest
        assert loss[variant]["last"] < part * loss[variant]["first"], variant
    if name == "agn":
        assert loss["lambda 1"]["last"] < loss["lambda 10"]["last"] < loss["lambda 20"]["last"]
        assert sent["lambda 1"] > 8 * sent["lambda 10"] > 12 * sent["lambda 20"]
    elif name == "adag":
        seconds = golden("schemes_adag")
        assert seconds["kept by servers"] < min(seconds["told by messages"], seconds["scaled by workers"])
        assert sent["told by messages"] == 2 * sent["kept by servers"] == 2 * sent["scaled by workers"]
    else:
        assert sent["DynSGD"] == sent["Downpour"]
