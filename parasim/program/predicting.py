"""Predictions, and the loss against them: what distillation, ensembles and searches need beside gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from parasim.program.buffers import Buffer
from parasim.program.context import Context
from parasim.program.kernels import counted_of, forward_kernel
from parasim.program.model import Part
from parasim.program.ops import Compute, Decide, Event, Kernel, Log, Program
from parasim.program.state import Activation, Batch
from parasim.program.tensors import Tensor, Tensors

__all__ = ["distil", "evaluated", "judged", "predict", "predict_held_out", "prediction_kernel", "soften"]


def prediction_kernel(whole: Part, samples: int, step: int = -1, label: str = "predict") -> Kernel:
    """A forward pass of the whole model on so many samples, under another name: its noise is its own."""
    return replace(forward_kernel(whole, samples, step), label=label)


def predict(me: Context, parameters: Buffer, batch: Batch, label: str = "predict") -> Program[Buffer]:
    """Predictions of a model for the samples of a batch; nothing is kept for a backward pass.

    Of classes: their probabilities; else the outputs. `output_elements` numbers per sample.
    """
    work = me.work(lambda learner: learner.predict(parameters.look(), batch.samples(learner)))
    return (yield from _predicted(me, parameters, batch.size, batch.step, label, work))


def predict_held_out(me: Context, parameters: Buffer, samples: int, step: int = -1) -> Program[Buffer]:
    """The same for the first so many samples of the evaluation set, which begins anew where it ends."""
    work = me.work(lambda learner: learner.predict_held_out(parameters.look(), samples))
    return (yield from _predicted(me, parameters, samples, step, "evaluate", work))


def evaluated(me: Context, parameters: Buffer, samples: int, step: int, modelled: float) -> Program[float]:
    """Mean loss of a model on so many samples of the evaluation set: a forward pass, and a decision.

    Without values the loss is `modelled`.
    """
    kernel = prediction_kernel(me.model.whole, samples, step, "evaluate")
    work = me.work(lambda learner: learner.judge(learner.predict_held_out(parameters.look(), samples))[0])
    loss = yield Compute(kernel, work, (), (parameters,))
    return float((yield from Decide(lambda: float(loss), modelled, "score")))


def judged(me: Context, predictions: Buffer, label: str, step: int) -> Program[None]:
    """Note the mean loss of predictions for the first samples of the evaluation set, and the accuracy if there is one.

    They are notes named `label` and the figure (parasim/metrics/members.py); without values there are none in them.
    """
    kernel = Kernel("judge", "elementwise", predictions.elements, predictions.nbytes)
    work = me.work(lambda learner: learner.judge(predictions.look()))
    loss, accuracy = (yield Compute(kernel, work, (), (predictions,))) or (None, None)
    yield Log(Event("note", f"{label} loss", step, value=loss))
    yield Log(Event("note", f"{label} accuracy", step, value=accuracy))


def distil(me: Context, activation: Activation, soft: Buffer, weight: float) -> Program[None]:
    """Add `weight` times the loss against `soft` predictions to that of the last part, before its backward pass.

    The loss of a class with probability one becomes that of the teachers' probabilities: cross-entropy, and of numbers
    squared error (Hinton, Vinyals, Dean 2015, at temperature 1; Anil et al. 2018).
    """
    sizes = ((soft.elements, soft.itemsize),) * 3
    kernel = counted_of(soften, sizes, (("weight", weight),), ("share",)).kernel("distil")
    batch = activation.batch
    work = me.work(
        lambda learner: learner.distil(activation.saved, batch.samples(learner), soft.look(), soften, weight)
    )
    yield Compute(kernel, work, (), (soft,))


def soften(xp: Tensors, residual: Tensor, labels: Tensor, soft: Tensor, share: float, weight: float) -> None:
    """Residual += weight * share * (prediction - soft), where it was ``share * (prediction - labels)``."""
    xp.scale_(residual, 1.0 + weight)
    xp.add_(residual, labels, weight * share)
    xp.add_(residual, soft, -weight * share)


def _predicted(
    me: Context, parameters: Buffer, samples: int, step: int, label: str, work: Callable[[], Tensor] | None
) -> Program[Buffer]:
    kernel = prediction_kernel(me.model.whole, samples, step, label)
    values = yield Compute(kernel, work, (), (parameters,))
    return Buffer("predictions", samples * me.model.whole.output_elements, me.model.itemsize, values)
