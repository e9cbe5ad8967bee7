"""DC-ASGD: Downpour without strength, a plain step without delay, exact on a quadratic; what its servers keep."""

import pytest
import torch

from parasim.learning.build import pin_threads
from parasim.learning.tensors import TorchTensors
from parasim.program import Context
from parasim.schemes.dcasgd import Compensation
from tests.schemes_setup import initial_weights, make, run, updates_of, weights
from tests.test_scenarios import golden

NOISE = {"kind": "lognormal", "sigma": 0.5}


@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_no_strength_equals_downpour_in_every_bit(adaptive, service):
    """SCHEMES 17: S13 with lambda_0 = 0 is S9: the same weights after the same order of updates."""
    pin_threads()
    free = {"memory_bandwidth": 1e15, "flops": 1e9, "bandwidth": 1e15, "latency": 0.0, "batch": 4096}
    work = {"data": {"kind": "digits"}, "learn": True, "steps": 5, "noise": NOISE, **free}
    options = {"workers": 3, "servers": 1, "service": service, **work}
    plain = run("downpour", 4, **options)
    without = run("dcasgd", 4, strength=0.0, adaptive=adaptive, **options)
    assert updates_of(without, 3) == updates_of(plain, 3)
    assert torch.equal(weights(without, range(3, 4)), weights(plain, range(3, 4)))


@pytest.mark.parametrize("curvature", [0.5, 2.0, 8.0])
def test_correction_is_exact_on_a_quadratic_where_the_strength_is_the_curvature_over_the_square(curvature):
    """SCHEMES S13.7: f = h w^2 / 2, lambda = h / g^2: the undelayed gradient."""
    xp = TorchTensors("float64")
    then, now = torch.tensor([3.0], dtype=torch.float64), torch.tensor([1.25], dtype=torch.float64)
    gradient = curvature * then
    corrected = Compensation(curvature / float(gradient) ** 2, None)(xp, gradient, now, then)
    torch.testing.assert_close(corrected, curvature * now, rtol=1e-15, atol=0)


def test_without_delay_it_is_the_plain_step():
    xp = TorchTensors("float64")
    w, g = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    mean = torch.rand(8, dtype=torch.float64)
    assert torch.equal(Compensation(2.0, None)(xp, g, w, w.clone()), g)
    assert torch.equal(Compensation(2.0, 0.95)(xp, g, w, w.clone(), mean), g)


@pytest.mark.parametrize("service", ["serial", "concurrent"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_servers_follow_the_rule_of_the_paper(monkeypatch, adaptive, service):
    """Every update again, from the pushed gradients and the versions that the trace tells."""
    pin_threads()
    pushed = {}
    gradient = Context.gradient

    def spy(self, *arguments):
        found = yield from gradient(self, *arguments)
        pushed.setdefault(self.rank, []).append(found.values.clone())
        return found

    monkeypatch.setattr(Context, "gradient", spy)
    options = {"workers": 3, "servers": 1, "adaptive": adaptive, "strength": 1.5, "service": service}
    options |= {"decay": 0.75} if adaptive else {}
    options |= {"data": {"kind": "digits"}, "learn": True, "dtype": "float64", "noise": NOISE}
    result = run("dcasgd", 4, steps=4, **options)
    versions, mean = [initial_weights(make("dcasgd", 4, **options))], 0.0
    for worker, read, applied in updates_of(result, 3):
        assert applied == len(versions) - 1
        g, w, backup = pushed[worker].pop(0), versions[-1], versions[read]
        mean = 0.75 * mean + 0.25 * g * g
        strength = 1.5 / torch.sqrt(mean + 1e-7) if adaptive else 1.5
        versions.append(w - 0.125 * (g + strength * g * g * (w - backup)))
    torch.testing.assert_close(weights(result, range(3, 4)), versions[-1], rtol=1e-12, atol=1e-12)
    assert result.summary["staleness"]["max"] > 0


def test_servers_keep_a_copy_for_every_worker():
    """SCHEMES S13.5: N P for what was fetched, P for the mean square."""
    nbytes = 4 * 4096
    for adaptive in (False, True):
        kept, plain = (
            run(kind, 4, workers=3, servers=1, **options).summary["roles"]["server"]["memory_bytes"]
            for kind, options in (("dcasgd", {"adaptive": adaptive}), ("downpour", {}))
        )
        assert kept - plain == nbytes * (3 + adaptive)


def test_scenario():
    """What scenarios/schemes/dcasgd.yaml expects."""
    loss = {name: found["last"] for name, found in golden("schemes_dcasgd", "loss").items()}
    assert loss["one worker"] < 0.5 * loss["ASGD"]
    for name in ("DC-ASGD-c", "DC-ASGD-a"):
        recovered = (loss["ASGD"] - loss[name]) / (loss["ASGD"] - loss["one worker"])
        assert recovered > 0.5, name
