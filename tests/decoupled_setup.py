"""What the schemes of decoupled modules should compute, written with automatic differentiation of the whole network.

Nothing here goes through parasim's passes or runtimes; only initial weights and samples are its own.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from typing import Any

import torch

from parasim import Scenario
from parasim.learning.build import make_learner
from tests.golden import golden_path
from tests.schemes_setup import make

RATE = 0.125
LEARNING: dict[str, Any] = {
    "model": {"kind": "mlp", "width": 24, "depth": 6},  # the first of two modules has two layers
    "data": {"kind": "digits"},
    "dtype": "float64",
    "learn": True,
    "batch": 8,
    "optimizer": {"kind": "sgd", "lr": RATE},
}
"""Settings of a small network on the digits, in float64."""
FREE = {"bandwidth": 1e18, "latency": 0.0, "memory_bandwidth": 1e18}
UNIT: dict[str, Any] = {  # a layer takes a second forward and two backward, for each sample
    "kind": "layers",
    "needs_input_gradient": True,
    "layers": [{"parameters": 8, "forward_flops": 1e9, "output_elements": 4, "repeat": 12}],
}


class Network:
    """The network of `LEARNING`, cut into modules, as functions of explicit weights."""

    def __init__(self, scenario: Scenario) -> None:
        work = scenario.workload
        assert work.data_kind is not None
        self.learner = make_learner(
            work.model_kind, work.model_options, work.data_kind, work.data_options, scenario.run.seed, work.dtype
        )
        model = self.learner.model
        self.batch = work.batch_size
        self.parts = scenario.scheme.parts(model)
        self.shapes = [(layer.output_elements, layer.input_elements) for layer in model.layers]
        self.initial = [self.learner.initial(part) for part in self.parts]

    def sample(self, step: int, share: int = 0, shares: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and labels of a mini-batch."""
        total = self.batch * shares
        numbers = self.learner.samples(step, share * self.batch, (share + 1) * self.batch, total)
        return self.learner.data.inputs[numbers], self.learner.data.targets[numbers]

    def forward(self, k: int, weights: torch.Tensor, h: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Outputs of module k; of the last one the loss."""
        part, place = self.parts[k], 0
        for i in range(part.start, part.stop):
            rows, columns = self.shapes[i]
            w = weights[place : place + rows * columns].view(rows, columns)
            place += rows * columns
            h = (torch.tanh(h) if i else h) @ w.T
        return torch.nn.functional.cross_entropy(h, labels) if part.is_last else h

    def gradients(self, weights: list[torch.Tensor], step: int, share: int = 0, shares: int = 1) -> list[torch.Tensor]:
        """Of the composite function, each module at its own weights."""
        leaves = [w.clone().requires_grad_() for w in weights]
        h, labels = self.sample(step, share, shares)
        for k, leaf in enumerate(leaves):
            h = self.forward(k, leaf, h, labels)
        return list(torch.autograd.grad(h, leaves))


def network(modules: int, **settings: Any) -> Network:
    """The network that a scenario of `LEARNING` with these settings trains."""
    return Network(make("ddg", modules, **{**LEARNING, **settings}))


def delayed(net: Network, steps: int, delays: list[int], shrink: float = 1.0) -> torch.Tensor:
    """``w_k <- w_k - eta beta^(K-1-k) grad_k f(w_0[j - d_0], w_1[j - d_1], ...)``: the final weights."""
    last = len(delays) - 1
    history = [[w] for w in net.initial]
    for j in range(steps):
        found = net.gradients([history[k][max(0, j - delay)] for k, delay in enumerate(delays)], j)
        for k, gradient in enumerate(found):
            history[k].append(history[k][-1] - RATE * shrink ** (last - k) * gradient)
    return torch.cat([versions[-1] for versions in history])


def replayed(net: Network, steps: int) -> torch.Tensor:
    """Features replay, iteration by iteration: the final weights."""
    last = len(net.initial) - 1
    weights = [w.clone() for w in net.initial]
    inputs: dict[tuple[int, int], torch.Tensor] = {}
    errors: dict[tuple[int, int], torch.Tensor] = {}
    for t in range(steps + last):
        if t < steps:
            h, labels = net.sample(t)
            for k in range(last + 1):
                inputs[k, t] = h
                h = net.forward(k, weights[k], h, labels)
        moved = []
        for k in range(last + 1):
            j = t - (last - k)
            if not 0 <= j < steps:
                moved.append(weights[k])
                continue
            leaf, h = weights[k].clone().requires_grad_(), inputs[k, j].clone().requires_grad_()
            outputs = net.forward(k, leaf, h, net.sample(j)[1])
            flow = None if k == last else errors[k, j]
            gradient, error = torch.autograd.grad(outputs, [leaf, h], flow)
            if k:
                errors[k - 1, j] = error
            moved.append(weights[k] - RATE * gradient)
        weights = moved
    return torch.cat(weights)


def passes(result: Any, module: int) -> list[Any]:
    """Rows of forward and backward passes, in order."""
    return [row for row in result.trace if row.rank == module and row.label in ("forward", "backward")]


def drawn(schedule: Any) -> list[str]:
    """The passes of each module in a schedule's drawing, in order."""
    lines = [line.split() for line in (inspect.getdoc(schedule) or "").splitlines()]
    return [" ".join(word for word in words[2:] if word != ".") for words in lines if words[:1] == ["module"]]


def unbalanced(counts: Sequence[float]) -> dict[str, Any]:
    """A layer for each module, of so many layers of `UNIT`."""
    layers = [{**UNIT["layers"][0], "repeat": 1, "forward_flops": 1e9 * count} for count in counts]
    return {"kind": "layers", "needs_input_gradient": True, "layers": layers}


def golden(name: str, figure: str) -> dict[str, Any]:
    """A figure of each variant of a scenario of schemes, in its golden summary."""
    summaries = json.loads(golden_path(f"scenarios/schemes/{name}.yaml").read_text())
    return {variant: summary[figure] for variant, summary in summaries.items()}
