"""Delayed SGD of a monolithic net, by torch's autograd: what pipelines without a flush must equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from parasim.learning.build import make_learner
from parasim.schedules.one_f_one_b import fill_replicated

Version = Callable[[int, int], int]


def learner_of(scenario: Any) -> Any:
    """The network and data of a scenario."""
    work = scenario.workload
    return make_learner(
        work.model_kind, work.model_options, work.data_kind, work.data_options, scenario.run.seed, work.dtype
    )


class Mixed(torch.autograd.Function):
    """``x W'`` forward; backward through other weights V, as where nothing is stashed."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, v)
        return x @ w.T

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, v = ctx.saved_tensors
        return g @ v, g.T @ x, None


def gradient(learner: Any, samples: Any, forward: torch.Tensor, backward: torch.Tensor | None = None) -> torch.Tensor:
    """Of the mean cross-entropy of an mlp with relu, flat; `backward`: weights that the backward pass goes through."""
    x = learner.inputs(samples).view(len(samples), -1)
    leaf = forward.clone().requires_grad_()
    for i, layer in enumerate(learner.model.layers):
        start, stop = learner.model.offsets[i], learner.model.offsets[i + 1]
        shape = (layer.output_elements, layer.input_elements)
        w = leaf[start:stop].view(shape)
        x = torch.relu(x) if i else x
        x = x @ w.T if backward is None else Mixed.apply(x, w, backward[start:stop].view(shape))
    loss = torch.nn.functional.cross_entropy(x, learner.data.targets[samples])
    (found,) = torch.autograd.grad(loss, leaf)
    return found


def delayed(
    scenario: Any,
    parts: Sequence[Any],
    count: int,
    read: Version,
    back: Version | None = None,
    *,
    replicas: Sequence[int] = (),
    momentum: float = 0.0,
    ahead: tuple[Version, Version] | None = None,
    rate: Callable[[int], float] = lambda update: 0.125,
) -> list[torch.Tensor]:
    """Final weights of each stage after `count` mini-batches.

    Parameters
    ----------
    read, back
        (mini-batch, stage) -> version that its forward (backward) pass uses; without `back` they are the same.
    replicas
        Mini-batches per update of each stage, whose gradients are summed and scaled by 1 / replicas of stage 0.
    ahead
        Updates ahead for which forward and backward passes predict the weights from the momentum.
    rate
        Number of an update, from 0, -> its learning rate.
    """
    learner = learner_of(scenario)
    replicas = replicas or [1] * len(parts)
    period = max(replicas) if len(set(replicas)) <= 2 else 6
    size = scenario.workload.batch_size
    weights = [[learner.initial(part)] for part in parts]
    speeds = [[torch.zeros_like(versions[0])] for versions in weights]
    sums = [torch.zeros_like(versions[0]) for versions in weights]

    def composite(j: int, version: Version, distance: Version | None) -> torch.Tensor:
        found = []
        for k in range(len(parts)):
            v = version(j, k)
            shift = distance(j, k) * rate(v) if distance else 0.0
            found.append(weights[k][v] - shift * speeds[k][v])
        return torch.cat(found)

    for j in range(count):
        place = j % period
        samples = learner.samples(j // period, place * size, (place + 1) * size, period * size)
        forward = composite(j, read, ahead and ahead[0])
        other = None if back is None and ahead is None else composite(j, back or read, ahead and ahead[1])
        found = gradient(learner, samples, forward, other)
        for k, part in enumerate(parts):
            sums[k] += found[part.offset : part.offset + part.parameters]
            if (j + 1) % replicas[k] == 0:
                speed = momentum * speeds[k][-1] + sums[k] / replicas[0]
                speeds[k].append(speed)
                weights[k].append(weights[k][-1] - rate(len(weights[k]) - 1) * speed)
                sums[k] = torch.zeros_like(sums[k])
    return [versions[-1] for versions in weights]


def stashed(stages: int) -> Version:
    """PipeDream's: ``max(0, j - (K-1-k))``."""
    return lambda j, k: max(0, j - (stages - 1 - k))


def replicated(replicas: Sequence[int]) -> Version:
    """1F1B-RR's, in rounds."""
    return lambda j, k: max(0, j // replicas[k] - fill_replicated(k, replicas))
