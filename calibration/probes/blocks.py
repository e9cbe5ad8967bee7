"""Probes of a scenario's own network: every forward and backward pass that its scheme asks for, and the update.

A rank of the executor computes them as it does in a run: the learner's path, data and loss included, in their order.
So a block is measured with what the caches hold by then. The same on several ranks at once says what they cost each
other (`calibration.probes.contention`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from calibration.executor.setup import Setup
from calibration.probes.optimizers import update_kernel
from calibration.probes.record import Observation, Skipped, Task
from calibration.probes.state import slow_of
from parasim.program.buffers import Buffer
from parasim.program.cast import Cast, Role
from parasim.program.context import Context
from parasim.program.kernels import backward_kernel, forward_kernel
from parasim.program.model import Part
from parasim.program.ops import ANY, Decide, Program, Recv, Send
from parasim.program.state import Batch, Replica

if TYPE_CHECKING:
    from parasim.program.ops import Kernel
    from parasim.scenario.model import Scenario
    from parasim.trace.table import Trace

__all__ = ["Chain", "chains", "probe_blocks", "setup", "timed"]

WARM = 4
"""Repetitions at the start of a chain that are not timed."""
LEAST = 4
"""Repetitions that are timed at least."""
SINGLES = 40
"""Single times that are kept of each kernel and round."""
_MOST = 1000
_SCALE = 0.125


@dataclass(frozen=True, slots=True)
class Chain:
    """Parts of the model, one after the other, each on so many samples: ``[start, stop)`` of the layers."""

    samples: int
    parts: tuple[tuple[int, int], ...]

    def as_list(self) -> list[Any]:
        """For JSON."""
        return [self.samples, [list(part) for part in self.parts]]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Chain:
        """From JSON."""
        samples, parts = values
        return cls(samples, tuple((start, stop) for start, stop in parts))


def probe_blocks(task: Task) -> Iterator[Observation]:
    """The blocks of every scenario that has data to train on.

    Raises
    ------
    Skipped
        If none has.
    """
    trained = [scenario for scenario in task.scenarios if scenario.workload.data is not None]
    if not trained:
        raise Skipped("no scenario with data was given: its network is simulated by the curves of plain layers")
    distinct: dict[object, tuple[Scenario, dict[Chain, None]]] = {}
    for scenario in trained:
        _, found = distinct.setdefault(_network(scenario), (scenario, {}))
        found.update(dict.fromkeys(chains(scenario)))
    count = sum(len(found) for _, found in distinct.values())
    for scenario, found in distinct.values():
        yield from timed("blocks", task, scenario, list(found), 1, task.budget / count)


def _network(scenario: Scenario) -> object:
    """Scenarios with equal ones share their blocks."""
    workload = scenario.workload
    kinds = (workload.model_kind, str(workload.model_options), workload.data_kind, str(workload.data_options))
    return (*kinds, workload.dtype, str(scenario.optimizer), scenario.execute.threads)


def chains(scenario: Scenario) -> tuple[Chain, ...]:
    """The passes of one simulated step; parts that follow each other are a chain.

    The pass through the whole model on a worker's mini-batch is always among them.
    """
    from parasim.study.simulate import simulate

    run = replace(scenario.run, steps=1, learn=False, trace="aggregate")
    model = replace(scenario.workload.model)
    workload = replace(scenario.workload, model=model)
    simulate(replace(scenario, run=run, workload=workload))
    whole = (0, len(model.layers))
    asked = {(scenario.workload.batch_size, whole): None}
    for name, *key in model.kernels:
        if isinstance(name, str):  # not a step's own
            start, stop, samples = key
            asked[samples, (start, stop)] = None  # type: ignore[index]
    return _chained(list(asked))


def _chained(asked: Sequence[tuple[int, tuple[int, int]]]) -> tuple[Chain, ...]:
    """Put parts that follow each other, on equally many samples, in one chain; each part is in one."""
    left = dict.fromkeys(asked)
    found = []
    while left:
        samples, part = min(left, key=lambda entry: (entry[0], entry[1][0], -entry[1][1]))
        parts = [part]
        del left[samples, part]
        while True:
            after = [other for many, other in left if many == samples and other[0] == parts[-1][1]]
            if not after:
                break
            parts.append(after[0])
            del left[samples, after[0]]
        found.append(Chain(samples, tuple(parts)))
    return tuple(found)


def setup(
    document: Mapping[str, Any], source: str, script: Sequence[Sequence[Any]], ranks: int, seconds: float
) -> Setup:
    """What a rank makes of a script of chains, each repeated for so many seconds."""
    from calibration.executor.device import current_device
    from calibration.executor.warm import warm_up
    from parasim.learning.build import make_optimizer
    from parasim.scenario import from_document
    from parasim.study.build import build_learner

    scenario = from_document(document, source)
    cast = Cast((Role("worker", ranks, lambda me: _worker(me, [Chain.of(values) for values in script], seconds)),))

    def context(rank: int) -> Context:
        learner = build_learner(scenario, current_device())
        warm_up(learner, scenario.workload.model, scenario.workload.batch_size)
        return Context(
            **cast.seat(rank),
            options=None,
            model=scenario.workload.model,
            batch_size=scenario.workload.batch_size,
            steps=1,
            seed=scenario.run.seed,
            optimizer=make_optimizer(*scenario.optimizer),
            learner=learner,
        )

    return Setup(cast, context, threads=scenario.execute.threads, device=scenario.execute.device, bind=True)


def _worker(me: Context, script: Sequence[Chain], seconds: float) -> Program[None]:
    """Go through the chains, all ranks at once; a row's step says which chain and which repetition."""
    for number, chain in enumerate(script):
        parts = [me.model.part(start, stop) for start, stop in chain.parts]
        span = me.model.part(chain.parts[0][0], chain.parts[-1][1])
        replica, gradient = me.replica(span), me.buffer("gradient", span.parameters)
        inputs = None if span.is_first else me.buffer("inputs", chain.samples * span.input_elements)
        limit = _Limit(seconds)
        for repeat in range(_MOST):
            first = me.index * chain.samples
            total = me.count("worker") * chain.samples
            batch = Batch(number * _MOST + repeat, -1, first, first + chain.samples, total)
            yield from _pass(me, parts, replica, gradient, batch, inputs)
            if not (yield from _go_on(me, limit)):
                break


def _go_on(me: Context, limit: _Limit) -> Program[bool]:
    """Is there time for one more repetition? All ranks hear what the first finds, when all have come to ask."""
    if me.index:
        yield from Send(0, None, "ready")
        return bool((yield from Recv(0, "go on")).header["more"])
    others = range(1, me.count("worker"))
    for _ in others:
        yield from Recv(ANY, "ready")
    more = not (yield from Decide(limit.reached, modelled=True))
    for peer in others:
        yield from Send(peer, None, "go on", header={"more": more})
    return more


def _pass(
    me: Context, parts: Sequence[Part], replica: Replica, gradient: Buffer, batch: Batch, inputs: Buffer | None
) -> Program[None]:
    """Forward through all parts, backward through all, one update."""
    offset = parts[0].offset
    passed = []
    for part in parts:
        cut = (part.offset - offset, part.offset - offset + part.parameters, part.name)
        passed.append(((yield from me.forward(part, replica.parameters.part(*cut), batch, inputs)), cut))
        inputs = passed[-1][0].outputs
    flow = None
    if not parts[-1].is_last:
        assert inputs is not None
        flow = Buffer("flow", batch.size * parts[-1].output_elements, me.model.itemsize, inputs.values)
    while passed:
        activation, cut = passed.pop()
        flow = yield from me.backward(activation, flow, gradient.part(*cut))
    yield from me.optimize(replica, gradient, scale=_SCALE)


class _Limit:
    """Has the time passed since it was first asked, and were there repetitions enough?"""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = 0.0
        self._asked = 0

    def reached(self) -> bool:
        self._asked += 1
        if self._asked == 1:
            self._began = time.monotonic()
        return self._asked >= WARM + LEAST and time.monotonic() - self._began >= self._seconds


def timed(
    probe: str, task: Task, scenario: Scenario, found: Sequence[Chain], ranks: int, seconds: float
) -> Iterator[Observation]:
    """Run chains of a scenario's parts on so many ranks, each for so many seconds.

    Of each kernel the mean over the repetitions (kind "block"), and up to `SINGLES` single times (kind "block/single");
    several ranks compute at once, on as many "cores". Repetitions while others had a part of a core are left out; where
    that leaves none, the mean is marked.
    """
    from calibration.executor.launch import run_cast

    script = [chain.as_list() for chain in found]
    arguments = {
        "document": scenario.document, "source": scenario.source, "script": script, "ranks": ranks, "seconds": seconds,
    }  # fmt: skip
    outcome = run_cast("calibration.probes.blocks:setup", arguments, ranks)
    at = time.time()
    slow = slow_of(outcome)
    for (number, label, layer), spans in _spans(outcome.trace).items():
        kernel = _kernel(scenario, found[number], label, layer)
        parameters: dict[str, float | str] = {
            "signature": kernel.signature, "size": kernel.size, "flops": kernel.flops, "nbytes": kernel.nbytes,
            "cores": ranks, "device": "cpu",
        }  # fmt: skip
        calm = [end - start for start, end in spans if not slow(start, end)]
        mean = statistics.fmean(calm or [end - start for start, end in spans])
        yield Observation(probe, "block", parameters, mean, task.round, at, slow=not calm)
        for one in calm[:SINGLES]:
            yield Observation(probe, "block/single", parameters, one, task.round, at)


def _spans(trace: Trace) -> dict[tuple[int, str, str], list[tuple[float, float]]]:
    """From when to when each compute went, by chain, label and layer."""
    spans: dict[tuple[int, str, str], list[tuple[float, float]]] = {}
    step: dict[int, int] = {}
    for row in sorted((row for row in trace if row.op == "compute"), key=lambda row: row.t_start):
        if row.step >= 0:  # an update has none
            step[row.rank] = row.step
        number, repeat = divmod(step[row.rank], _MOST)
        if repeat >= WARM:
            spans.setdefault((number, row.label, row.layer), []).append((row.t_start, row.t_end))
    return spans


def _kernel(scenario: Scenario, chain: Chain, label: str, layer: str) -> Kernel:
    """The kernel that a row of the trace was of."""
    model = scenario.workload.model
    if label == "update":
        span = model.part(chain.parts[0][0], chain.parts[-1][1])
        return update_kernel(scenario.optimizer.kind, dict(scenario.optimizer.options), span.parameters, model.itemsize)
    part = next(part for part in (model.part(*cut) for cut in chain.parts) if part.name == layer)
    return (forward_kernel if label == "forward" else backward_kernel)(part, chain.samples)
