"""SCHEMES 12, third column: bytes per worker and step; and the limits of SCHEMES 17 by real processes."""

import pytest
import torch

from parasim import simulate
from parasim.learning.build import pin_threads
from tests.schemes_real import executed, same_payload
from tests.schemes_setup import EXACT_DATA, EXACT_MODELS, make, run, weights
from tests.test_schemes_equality import ALGORITHMS, rows_for

P = 4 * 4 * 32**2
"""4 L n^2: bytes of four layers of 32 neurons."""
TABLE = {  # row: scheme, options, hosts, what the table says in multiples of P; with servers both ways are counted
    "S1": ("sequential", {}, 1, 0),
    "S2": ("parameter_server", {"servers": 2}, 6, 2),
    "S3, ring": ("allreduce", {}, 4, 2 * 3 / 4),
    "S4.1, 3 of 4": ("backup_workers", {"backups": 1}, 5, 2 * 4 / 3),
    "S6, ring": ("local_sgd", {"period": 3}, 4, 2 * 3 / 4 / 3),
    "S7, ring": ("bmuf", {"period": 3}, 4, 2 * 3 / 4 / 3),
    "S8": ("easgd", {"period": 3}, 5, 2 / 3),
    "S9": ("downpour", {"servers": 2}, 6, 2),
    "S11": ("softsync", {"n": 2}, 5, 2),
    "S18, ring": ("dpsgd", {}, 4, 2),
    "S19": ("adpsgd", {}, 4, 1),
    "S20, one peer": ("sgp", {}, 4, 1),
}


@pytest.mark.parametrize("row", TABLE)
def test_bytes_are_those_of_the_table(row):
    """Far from start and end of a run; of backup workers per required one, and all are in time."""
    kind, options, hosts, expected = TABLE[row]
    workers = 1 if kind == "sequential" else 4
    short, long = (run(kind, hosts, workers=workers, steps=steps, **options).summary for steps in (6, 12))
    ways = ("sent", "received") if "server" in long["roles"] else ("sent",)
    figures = [f"bytes_{way}_per_worker_per_step" for way in ways]
    moved = sum(long[figure] * long["steps"] - short[figure] * short["steps"] for figure in figures) / 6
    required = workers - options.get("backups", 0)
    assert moved * workers / required == pytest.approx(expected * P, rel=1e-12)


MODEL, STEPS = EXACT_MODELS["one layer"]
EXACT = {"model": MODEL, "data": EXACT_DATA, "dtype": "float64", "learn": True, "steps": STEPS}
HEAVY_BALL = {"kind": "sgd", "lr": 0.125, "momentum": 0.5}
ALONE = ("sequential", {"batch": 16})
LIMITS = {  # row: scheme and options; what it must equal, of the same two workers or of one at the batch of both
    "S2": ("parameter_server", {}, *ALONE),
    "S4.2, K = N": ("k_sync", {"k": 2, "servers": 2}, *ALONE),
    "S4.3": ("accumulation", {"micro_batches": 2}, *ALONE),
    "S6, every step": ("local_sgd", {"period": 1, "optimizer": HEAVY_BALL}, "allreduce", {"optimizer": HEAVY_BALL}),
    "S7, no momentum": (
        *("bmuf", {"period": 2, "block_momentum": 0.0, "momentum": "keep"}),
        *("local_sgd", {"period": 2}),
    ),
    "S8, alpha = 0": ("easgd", {"moving_rate": 0.0, "period": 1, "servers": 2}, "one_shot", {}),
    "S18, all with all": ("dpsgd", {"graph": "complete", "order": "adapt_then_combine"}, "allreduce", {}),
    "S20, all with all": ("sgp", {"graph": "complete"}, "allreduce", {}),
}


@pytest.mark.real
@pytest.mark.parametrize("row", LIMITS)
def test_real_limits_are_met_in_every_bit(row, pool):
    """Equalities of SCHEMES 17 that are exact, by two real workers and their servers (of others: where these are)."""
    pin_threads()
    kind, options, other, more = LIMITS[row]
    case = make(kind, 4, workers=2, **{"batch": 8, **EXACT, **options})
    real = executed(case, pool)
    same_payload(real, simulate(case))
    expected = run(other, 3, workers=1 if other == "sequential" else 2, **{"batch": 8, **EXACT, **more})
    servers = len(real.returns) - 2
    if other == "sequential" and servers:
        assert torch.equal(weights(real, range(2, 2 + servers)), weights(expected, range(1)))
        return
    for rank in range(2):
        of = 0 if other == "sequential" else rank
        assert torch.equal(weights(real, range(rank, rank + 1)), weights(expected, range(of, of + 1)))


@pytest.mark.real
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_real_allreduce_by_any_collective_is_sequential_in_every_bit(algorithm, pool):
    """SCHEMES 17, S3: four real workers, two buckets a step."""
    pin_threads()
    model, steps = EXACT_MODELS["two layers"]
    work = {**EXACT, "model": model, "steps": steps}
    options = {"algorithm": algorithm, "rows": rows_for(algorithm, 4), "bucket_bytes": 1}
    case = make("allreduce", 4, batch=4, **options, **work)
    real, alone = executed(case, pool), run("sequential", 1, batch=16, **work)
    same_payload(real, simulate(case))
    for rank in range(4):
        assert torch.equal(weights(real, range(rank, rank + 1)), weights(alone, range(1)))
