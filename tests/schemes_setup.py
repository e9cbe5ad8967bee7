"""Scenarios for the tests of schemes: small clusters without noise or contention unless a test asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from parasim import Result, Scenario, simulate
from parasim.metrics.memory import course_of
from parasim.program import Buffer, Context, Program
from parasim.scenario import from_document

EXACT_DATA = {"kind": "regression", "inputs": 16, "outputs": 4, "integers": True}
EXACT_MODELS = {  # with as many steps as 53 bits can hold: layers multiply the bits of a number
    "one layer": ({"kind": "mlp", "depth": 1, "initial": "exact"}, 4),
    "two layers": ({"kind": "mlp", "depth": 2, "width": 8, "activation": "linear", "initial": "exact"}, 2),
    "relu": ({"kind": "mlp", "depth": 2, "width": 8, "activation": "relu", "initial": "exact"}, 2),
}
"""Models that stay exact on `EXACT_DATA`, and for how many steps."""


def make(
    kind: str,
    hosts: int = 4,
    *,
    steps: int = 4,
    model: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    batch: int = 16,
    dtype: str = "float32",
    learn: bool = False,
    trace: str = "rows",
    fast_paths: str = "all",
    seed: int = 0,
    cores: int = 1,
    flops: float = 1e9,
    memory_bandwidth: float = 1e9,
    launch: float = 0.0,
    bandwidth: float = 1e8,
    latency: float = 1e-5,
    noise: dict[str, Any] | None = None,
    speeds: dict[int, float] | None = None,
    optimizer: dict[str, Any] | None = None,
    compression: dict[str, Any] | None = None,
    **options: Any,
) -> Scenario:
    """A checked scenario: a star of `hosts`, scheme `kind` with `options`; by default four layers of 32 neurons."""
    workload: dict[str, Any] = {"batch_size": batch, "dtype": dtype}
    workload["model"] = model or {"kind": "mlp", "width": 32, "depth": 4}
    if data is not None:
        workload["data"] = data
    cluster: dict[str, Any] = {
        "topology": {"kind": "star", "hosts": hosts},
        "host": {"cores": cores},
        "device": {
            "flops": f"{flops!r} FLOP/s",
            "memory": "1 GB",
            "memory_bandwidth": f"{memory_bandwidth!r} B/s",
            "launch": f"{launch!r} s",
        },
        "link": {"bandwidth": f"{bandwidth!r} B/s", "latency": f"{latency!r} s"},
        "speeds": speeds or {},
    }
    if noise is not None:
        cluster["noise"] = noise
    return from_document(
        {
            "name": kind,
            "workload": workload,
            "cluster": cluster,
            "scheme": {"kind": kind, **options},
            "optimizer": optimizer or {"kind": "sgd", "lr": 0.125},
            **({"compression": compression} if compression else {}),
            "run": {"steps": steps, "learn": learn, "seed": seed, "trace": trace, "fast_paths": fast_paths},
        }
    )


def run(kind: str, hosts: int = 4, **settings: Any) -> Result:
    """Simulate such a scenario."""
    return simulate(make(kind, hosts, **settings))


def steady(kind: str, hosts: int = 4, *, steps: int = 2, **settings: Any) -> tuple[float, float, float]:
    """Seconds, and bytes and messages sent by a worker, per step once start and end no longer matter."""
    short, long = (run(kind, hosts, steps=n, **settings).summary for n in (steps, 2 * steps))

    def difference(figure: str) -> float:
        return float((long[figure] * 2 * steps - short[figure] * steps) / steps)

    return (
        (long["seconds"] - short["seconds"]) / steps,
        difference("bytes_sent_per_worker_per_step"),
        difference("messages_sent_per_worker_per_step"),
    )


def but_messages(parts: Mapping[str, int]) -> dict[str, int]:
    """How many messages wait at once is a matter of times: plans know the most."""
    return {part: nbytes for part, nbytes in parts.items() if part != "messages"}


def peak_but_messages(trace: Any, rank: int) -> int:
    """The most that an actor held at once of all else, in bytes."""
    return max(held.total - held.bytes_of["messages"] for held in course_of(trace, rank))


def weights(result: Result, ranks: range) -> Any:
    """The final weights that these ranks hold, one after the other."""
    import torch

    return torch.cat([torch.from_numpy(result.returns[rank]) for rank in ranks])


def initial_weights(scenario: Scenario) -> Any:
    """The weights before the first step."""
    from parasim.learning.build import make_learner

    work = scenario.workload
    assert work.data_kind is not None
    learner = make_learner(
        work.model_kind, work.model_options, work.data_kind, work.data_options, scenario.run.seed, work.dtype
    )
    return learner.initial(learner.model.whole)


def updates_of(result: Result, rank: int) -> list[tuple[int, int, int]]:
    """What a copy applied, in order: rank that computed the gradient, version read, version applied."""
    return [
        (row.peer, row.version_read, row.version_applied)
        for row in result.trace
        if row.rank == rank and row.label == "applied"
    ]


def begin_and_stay(monkeypatch: Any, value: Callable[[int], float]) -> None:
    """Models begin with a value of the worker's index in every element, and no gradient is applied."""
    initial = Context.initial

    def own(self: Context, *arguments: Any) -> Buffer:
        buffer = initial(self, *arguments)
        buffer.values.fill_(float(value(self.index)))
        return buffer

    def nothing(self: Context, *arguments: Any, **rest: Any) -> Program[None]:
        return
        yield

    monkeypatch.setattr(Context, "initial", own)
    monkeypatch.setattr(Context, "update", nothing)
