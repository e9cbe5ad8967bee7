"""Cases about layers that are split among members: what a pass through a shard exchanges, without values."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from parasim.program import Context, Program, backward_shard, bounds, forward_shard
from parasim.workload import build_model
from tests.conformance.stage import Case, Outcome, crew

WIDTH, DEPTH, SAMPLES = 12, 4, 4


def passes(how: Literal["outputs", "pairs"]) -> Any:
    """Forward and backward through all layers of the survey's network, which wants the gradient of its inputs too."""
    model = build_model("mlp", {"width": WIDTH, "depth": DEPTH}, None, 8)

    def program(me: Context) -> Program[int]:
        group = me.group("worker")
        shard = model.split(how, me.index, group.size)
        layers = shard.model.whole
        weights, gradient = me.buffer("weights", layers.parameters), me.buffer("gradient", layers.parameters)
        batch = me.batch(0, share=0, shares=1)
        passed = yield from forward_shard(me, shard, layers, weights, batch, group)
        yield from backward_shard(me, shard, passed, None, gradient, group)
        return layers.parameters

    return program


def check_sent(ranks: int, how: str) -> Any:
    """By outputs: two exchanges a layer, in which each element is sent to everyone else. In pairs: as many bytes."""

    def check(outcome: Outcome) -> None:
        nbytes, messages = Counter[int](), Counter[int]()
        for row in outcome.rows:
            if row.op == "send" and row.nbytes:
                nbytes[row.rank] += row.nbytes
                messages[row.rank] += 1
        activation = SAMPLES * WIDTH * 8
        if all(row.outcome != "coupled" for row in outcome.rows):  # a coupled collective is no messages
            assert sum(nbytes.values()) == 2 * DEPTH * activation * (ranks - 1)
            assert set(messages.values()) == {2 * DEPTH * (ranks - 1)}
        if how == "outputs":
            cuts = bounds(WIDTH, ranks)
            assert outcome.returns == [WIDTH * DEPTH * (cuts[i + 1] - cuts[i]) for i in range(ranks)]
        assert sum(outcome.returns) == WIDTH * WIDTH * DEPTH

    return check


CASES = {
    f"a pass through shards, {how}, of {ranks}": Case(crew(passes(how), ranks), check_sent(ranks, how))
    for how in ("outputs", "pairs")
    for ranks in (2, 3)
}
"""The cases of this file, by name."""
