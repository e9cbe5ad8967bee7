"""What papers on compression say of learning and of networks, in the scenarios that show it (SCHEMES 10)."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

import parasim
from tests.bottleneck import PICTURE
from tests.golden import ROOT
from tests.schemes_real import learning, same_in_both
from tests.test_scenarios import golden

BOTTLENECK = ROOT / "scenarios" / "studies" / "is_network_the_bottleneck.yaml"


def curve(name: str, variant: str, seed: int, steps: int = 10) -> list[float]:
    """Loss of every so many steps of a scenario in scenarios/compression, on average over them and over workers."""
    case = parasim.load(ROOT / "scenarios" / "compression" / f"{name}.yaml", [f"run.seed={seed}"], variant=variant)
    found: dict[int, list[float]] = defaultdict(list)
    for row in parasim.simulate(case).trace:
        if row.label == "loss":
            found[row.step // steps].append(row.value)
    return [sum(losses) / len(losses) for _, losses in sorted(found.items())]


def last(name: str) -> dict[str, float]:
    """Loss of the last step, by variant."""
    return {variant: loss["last"] for variant, loss in golden(f"compression_{name}", "loss").items()}


# learning ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_one_bit_needs_error_feedback(seed: int) -> None:
    """Expected outcome of scenarios/compression/onebit.yaml, in means of forty steps."""
    plain, coded, without = (
        curve("onebit", variant, seed, steps=40)
        for variant in ("uncompressed", "1-bit", "1-bit without error feedback")
    )
    assert coded == pytest.approx(plain, rel=0.1)
    assert sum(plain[-2:]) < 0.85 * sum(plain[-4:-2])  # uncompressed gradients still gain in the last quarter
    assert sum(without[-2:]) > 0.9 * sum(without[-4:-2])
    assert without[-1] > 3 * plain[-1]


def test_powersgd_comes_closer_with_rank() -> None:
    """Expected outcome of scenarios/compression/powersgd.yaml."""
    loss, nbytes = last("powersgd"), golden("compression_powersgd", "bytes_sent_per_worker_per_step")
    order = ("uncompressed", "rank 4", "rank 2", "rank 1", "rank 1 without error feedback")
    assert [loss[variant] for variant in order] == sorted(loss.values())
    assert loss["rank 1"] < 1.1 * loss["uncompressed"]
    assert loss["rank 1 without error feedback"] > 1.2 * loss["uncompressed"]
    assert nbytes["rank 4"] == 2 * nbytes["rank 2"] == 4 * nbytes["rank 1"] < nbytes["uncompressed"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_powersgd_comes_closer_with_rank_whatever_the_seed(seed: int) -> None:
    ends = [curve("powersgd", variant, seed)[-1] for variant in ("uncompressed", "rank 4", "rank 2", "rank 1")]
    assert ends == sorted(ends)
    assert ends[-1] < 1.1 * ends[0]
    assert curve("powersgd", "rank 1 without error feedback", seed)[-1] > 1.2 * ends[0]


def test_dgc_needs_its_warm_up() -> None:
    """Expected outcome of scenarios/compression/dgc.yaml; single steps differ more than means of ten."""
    loss = last("dgc")
    assert loss["without warm-up"] > 2 * loss["uncompressed"]
    assert loss["with warm-up"] < 0.7 * loss["without warm-up"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_dgc_needs_its_warm_up_whatever_the_seed(seed: int) -> None:
    plain, warm, cold = (curve("dgc", variant, seed) for variant in ("uncompressed", "with warm-up", "without warm-up"))
    assert warm[:4] == pytest.approx(plain[:4], rel=0.1)
    assert all(w < 1.5 * p for w, p in zip(warm, plain, strict=True))
    assert all(c > 2 * p for c, p in zip(cold[3:], plain[3:], strict=True))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_masking_takes_momentum_from_what_is_sent_often(seed: int) -> None:
    """docs/compression.md: mean loss of the last ten steps, momentum 0.9 at a tenth of the scenario's rate."""

    def end(variant: str, *more: str) -> float:
        overrides = [f"run.seed={seed}", "optimizer.lr=0.02", *more]
        case = parasim.load(ROOT / "scenarios" / "compression" / "dgc.yaml", overrides, variant=variant)
        losses = [row.value for row in parasim.simulate(case).trace if row.label == "loss"]
        return sum(losses[-40:]) / 40

    plain = end("uncompressed", "optimizer.momentum=0.9")
    masked, free = (
        end("with warm-up", "compression.momentum=0.9", f"compression.masking={word}") for word in ("true", "false")
    )
    assert plain < free < 1.7 * plain
    assert masked > 2 * free


# networks ------------------------------------------------------------------------------------------------------------
def speeds(variant: str, gigabits: int, model: str = "resnet50") -> tuple[float, dict[str, Any]]:
    """Throughput relative to linear scaling, and the summary, of a point of the what-if."""
    overrides = [f"cluster.link.bandwidth={gigabits} Gbit/s", f"workload.model.kind={model}"]
    one, many = (
        parasim.simulate(parasim.load(BOTTLENECK, overrides, variant=name)).summary for name in ("one worker", variant)
    )
    return one["seconds_per_step"] / many["seconds_per_step"], many


@pytest.mark.parametrize("model", ["resnet50", "vgg16"])
def test_the_network_is_no_bottleneck_at_100_gigabits_and_5x_is_enough_at_10(model: str) -> None:
    """Zhang et al. 2020: what compression by Z at no cost gives at 10 Gbit/s is what Z times the bandwidth gives."""
    assert speeds("uncompressed", 100, model)[0] > 0.95
    assert speeds("uncompressed", 10, model)[0] < 0.6
    assert speeds("uncompressed", 50, model)[0] > 0.95
    assert 0.65 < speeds("uncompressed", 20, model)[0] < 0.9


def test_half_precision_is_worth_twice_the_bandwidth_and_qsgd_pays_in_coding() -> None:
    assert speeds("half precision, 2x", 10)[0] == pytest.approx(speeds("uncompressed", 20)[0], rel=0.03)
    speed, summary = speeds("QSGD of 8 bits, 4x", 10)
    assert summary["shares"]["compute"] > 0.95
    assert 0.8 < speed < 0.9


def test_the_picture_is_shown() -> None:
    assert f"](compression/{PICTURE.name})" in (ROOT / "docs" / "compression.md").read_text()
    assert PICTURE.read_bytes().startswith(b"\x89PNG")


# both runtimes -------------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.parametrize(
    "compression",
    [
        {"kind": "dgc", "density": 0.01, "warmup_steps": 2, "clip": 1.0},
        pytest.param({"kind": "qsgd"}, marks=pytest.mark.slow),
        pytest.param({"kind": "terngrad"}, marks=pytest.mark.slow),
        pytest.param({"kind": "terngrad_shared"}, marks=pytest.mark.slow),
        pytest.param({"kind": "signsgd"}, marks=pytest.mark.slow),
        pytest.param({"kind": "ef_signsgd"}, marks=pytest.mark.slow),
        pytest.param({"kind": "randomk", "density": 0.1}, marks=pytest.mark.slow),
        pytest.param({"kind": "randomk_rescaled", "density": 0.1}, marks=pytest.mark.slow),
        pytest.param({"kind": "onebit", "uncompressed_steps": 1}, marks=pytest.mark.slow),
    ],
    ids=lambda compression: compression["kind"],
)
def test_real_processes_send_the_same_bytes_and_learn_the_same_bits(compression: dict[str, Any], pool: Any) -> None:
    """Equal weights after rounding to so few bits: the messages were equal, too."""
    same_in_both(learning("allreduce", 2, compression=compression, steps=3, optimizer={"kind": "sgd", "lr": 0.1}), pool)
