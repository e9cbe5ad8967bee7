"""A scheme in both runtimes: equal payload, equal weights, and replays of what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import parasim
from parasim.metrics.staleness import staleness_of
from parasim.scenario import from_document

EQUAL = (
    "bytes_sent_per_worker_per_step",
    "messages_sent_per_worker_per_step",
    "bytes_received_per_worker_per_step",
    "messages_received_per_worker_per_step",
    "control_messages_per_worker_per_step",
    "steps",
    "updates",
)
"""Figures that both runtimes must have in common."""


def learning(
    kind: str,
    hosts: int = 4,
    steps: int = 6,
    optimizer: dict[str, Any] | None = None,
    compression: dict[str, Any] | None = None,
    depth: int = 3,
    **options: Any,
) -> Any:
    """A small scenario that learns the digits on a star of hosts."""
    return from_document(
        {
            "name": kind,
            "workload": {
                "model": {"kind": "mlp", "width": 32, "depth": depth},
                "batch_size": 16,
                "data": {"kind": "digits"},
            },
            "cluster": {
                "topology": {"kind": "star", "hosts": hosts},
                "device": {"flops": "5 GFLOP/s", "memory": "1 GiB", "memory_bandwidth": "5 GB/s"},
                "link": {"bandwidth": "10 Gbit/s", "latency": "20 us"},
            },
            "scheme": {"kind": kind, **options},
            "optimizer": optimizer or {"kind": "sgd", "lr": 0.1, "momentum": 0.5},
            **({"compression": compression} if compression else {}),
            "run": {"steps": steps, "seed": 3, "learn": True},
        }
    )


def executed(case: Any, pool: Any, record: Path | None = None) -> Any:
    """A real run on warm ranks."""
    from calibration import execute

    return execute(case, pool=pool, record=record)


def same_payload(one: Any, other: Any) -> None:
    """Bytes, messages, steps and updates."""
    for figure in EQUAL:
        assert one.summary[figure] == pytest.approx(other.summary[figure], rel=1e-12), figure


def same_weights(one: Any, other: Any) -> None:
    """What every rank returned, bit for bit."""
    for mine, yours in zip(one.returns, other.returns, strict=True):
        for part, same in zip(_parts(mine), _parts(yours), strict=True):
            assert part.tobytes() == same.tobytes()


def _parts(returned: Any) -> list[Any]:
    """One array, or several."""
    return returned if isinstance(returned, list) else [returned]


def same_in_both(case: Any, pool: Any) -> Any:
    """A real run that equals the simulated one in payload, weights and losses; the real run is returned."""
    real, simulated = executed(case, pool), parasim.simulate(case)
    same_payload(real, simulated)
    same_weights(real, simulated)
    assert real.summary["loss"] == simulated.summary["loss"]
    assert real.summary.get("groups") == simulated.summary.get("groups")
    return real


def same_when_replayed(case: Any, pool: Any, path: Path) -> Any:
    """A real run whose record, replayed, gives its payload, weights, versions and staleness; the run is returned."""
    real = executed(case, pool, path)
    again = parasim.simulate(case, replay=parasim.Record.load(path))
    same_payload(real, again)
    same_weights(real, again)
    assert versions(real) == versions(again)
    assert staleness_of(real.trace) == staleness_of(again.trace)
    return real


def versions(result: Any) -> list[tuple[int, int, int, int]]:
    """What was applied: rank of the copy, version, whose gradient, version that it was computed at."""
    applied = [row for row in result.trace if row.label == "applied"]
    return sorted((row.rank, row.version_applied, row.peer, row.version_read) for row in applied)
