"""When a model in training is evaluated, and what it is trained for: `run.evaluate` and `run.target`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from parasim.fields import setting

__all__ = ["EVALUATION", "Evaluate", "StepsModel", "Target"]

EVALUATION = {
    "evaluate": "evaluate the model on held-out data while it is trained; no time passes for it",
    "target": "an accuracy or a loss: the run tells when it was reached first",
    "steps_model": "updates to a target by a statistical model, for networks too large to train: modelled time to it",
}
"""Keys of `run` beside the fields of `Run`."""

_EVERY = re.compile(r"(\d+(?:\.\d*)?)\s*(step|epoch|sample)s?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """How often the model is evaluated on held-out data: "10 steps", "1 epoch", "0.5 epochs", "5000 samples"."""

    every: str = setting("steps of each worker, epochs or samples of all, from evaluation to evaluation")

    def __post_init__(self) -> None:
        """Refuse what is no cadence: `ValueError`."""
        found = _EVERY.fullmatch(self.every.strip())
        if found is None or not float(found[1]):
            raise ValueError(f"every: {self.every!r} is no cadence: write every: 10 steps, 1 epoch or 5000 samples")

    def due(self, steps: float, samples: float, samples_per_epoch: int) -> float:
        """Evaluations that are due after so many steps of every worker and samples of all; may be a fraction."""
        found = _EVERY.fullmatch(self.every.strip())
        assert found is not None
        done = {"step": steps, "epoch": samples / samples_per_epoch, "sample": samples}[found[2]]
        return done / float(found[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the model is trained for: an accuracy or a loss on held-out data, and whether the run ends there."""

    accuracy: float | None = setting("share of held-out samples that are classified rightly", None, gt=0, le=1)
    loss: float | None = setting("mean loss on held-out samples", None, gt=0)
    stop: bool = setting("a simulated run ends where the target is reached; a real one goes on", False)

    def __post_init__(self) -> None:
        """Refuse none and both: `ValueError`."""
        if (self.accuracy is None) == (self.loss is None):
            raise ValueError("give one figure: target: {accuracy: 0.95} or target: {loss: 0.1}")

    @property
    def figure(self) -> str:
        """Name of the figure."""
        return "loss" if self.accuracy is None else "accuracy"

    @property
    def value(self) -> float:
        """What it is to reach."""
        value = self.loss if self.accuracy is None else self.accuracy
        assert value is not None
        return value

    def reached(self, loss: float, accuracy: float | None) -> bool:
        """Is a model with these figures at the target or beyond?"""
        if self.loss is not None:
            return loss <= self.loss
        return accuracy is not None and accuracy >= self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsModel:
    """Updates to a target: ``least_steps (1 + critical_batch / B) (1 + staleness_penalty staleness)``.

    B is the number of samples of an update (McCandlish et al. 2018; parasim/theory/steps.py).
    """

    least_steps: float = setting("S_min: updates with batches of any size", gt=0)
    critical_batch: float = setting("B_crit: samples of an update at which twice as many updates are needed", gt=0)
    staleness_penalty: float = setting("part by which each update of staleness adds to the updates", 0.0, ge=0)
