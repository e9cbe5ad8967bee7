"""SpecTrain: 1F1B whose passes go through predicted weights (Chen, Yang, Cheng 2018; SCHEMES S29).

Nothing is stashed. Before each pass stage k predicts its weights of the time at which the update will be applied, from
the momentum v of the optimiser: ``W - s lr v``, with s = floor(k/2) + K - k - 1 updates ahead of a forward pass and
floor(k/2) ahead of a backward pass; the gradient is applied to the real weights.

The authors' repository has a second version (SCHEMES S29.3): weights are predicted once, s = K - k updates ahead of a
forward pass, which is when the mini-batch's own update will have been made, and are kept for its backward pass. One
stage alone then looks one update ahead: with momentum that is not sequential SGD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    Buffer,
    ClosedForm,
    Context,
    Holding,
    Planning,
    Program,
    Replica,
    Setting,
    Taxonomy,
    Tensor,
    Tensors,
    option,
)
from parasim.schedules.one_f_one_b import fill, one_f_one_b
from parasim.schemes.staged import Stage, Staged, StagedOptions, update_seconds
from parasim.schemes.streaming import Stream, streamed

__all__ = ["SpecTrain"]


@dataclass(frozen=True, kw_only=True)
class SpecTrainOptions(StagedOptions):
    """Options of SpecTrain."""

    version: Literal[1, 2] = option(1, "1: a prediction before each pass (the paper); 2: one for both, kept between")


class SpecTrain(Staged):
    """Pipeline parallel, with known delays that are predicted away."""

    name = "spectrain"
    citation = "Chen, Yang, Cheng (2018)"
    taxonomy = Taxonomy("pipeline parallel", "stale-synchronous", "none")
    staleness = "K - 1 - k at stage k, less what is predicted"
    approximates = "predicted weights"
    Options = SpecTrainOptions

    def worker(self, me: Context) -> Program[Buffer]:
        """One stage: predict, pass; after a backward pass update the real weights."""
        part = self.parts(me.model)[me.index]
        stage = Stage(me, part, [me.rank - 1], [me.rank + 1])
        replica, gradient = me.replica(part), me.buffer("gradient", part.parameters)
        free = [me.buffer("predicted weights", part.parameters) for _ in range(self._predictions(me.index))]
        read: dict[int, tuple[int, Buffer]] = {}
        late = fill(me.index, self.options.workers)
        stream = Stream(stage, one_f_one_b(late, me.num_steps), 2 * self.options.workers)
        once = self.options.version == 2
        while (now := (yield from stream.next())) is not None:
            way, step = now
            if way == "forward":
                predicted = free.pop() if once else free[0]
                ahead = late + 1 if once else me.index // 2 + late
                yield from self._predict(me, replica, predicted, ahead)
                read[step] = replica.version, predicted
                yield from stage.forward(step, predicted, me.batch(step, share=0, shares=1))
            else:
                version, predicted = read.pop(step)
                if once:
                    free.append(predicted)
                else:
                    yield from self._predict(me, replica, predicted, me.index // 2)
                yield from stage.backward(step, gradient)  # through what is predicted now
                yield from me.update(replica, gradient, read=version, layer=part.name)
                yield from me.step_done(step)
        return replica.parameters

    def _predictions(self, place: int) -> int:
        """Vectors of predicted weights that a stage has: one, or one for each mini-batch in flight."""
        return int(self.options.workers - place) if self.options.version == 2 else 1

    def _predict(self, me: Context, replica: Replica, predicted: Buffer, ahead: int) -> Program[None]:
        """Write the weights of so many updates ahead."""
        rate = me.optimizer.rate(replica.begun)
        operands = (replica.parameters, *replica.slots)
        yield from me.math(predict, (predicted,), operands, varying={"rate": rate}, ahead=ahead)

    def plan(self, setting: Planning) -> None:
        """The momentum of plain SGD predicts; without momentum nothing is predicted."""
        if setting.optimizer.slots not in ((), ("momentum",)):
            raise ValueError("SpecTrain predicts by the momentum of SGD: write optimizer: {kind: sgd, momentum: 0.9}")
        super().plan(setting)

    def holding(self, place: int, samples: int) -> Holding:
        """K - k mini-batches; the predicted weights are a buffer, or one for each of these."""
        return Holding(buffers=self._predictions(place), activations=self.options.workers - place, samples=samples)

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``max over stages of F_k + B_k + update + two predictions`` (or one) for a mini-batch.

        Exact for balanced stages, and links that take no time.
        """
        stages, whole = self.options.workers, max(1, setting.model.whole.parameters)
        slots = len(setting.optimizer.slots)
        extra = update_seconds(self, setting)
        for place, part in enumerate(self.parts(setting.model)):
            late, half = fill(place, stages), place // 2
            for ahead in (late + 1,) if self.options.version == 2 else (half + late, half):
                kernel = setting.math_kernel(predict, 2 + slots, part.parameters / whole, ahead=ahead, rate=1)
                extra[place] += setting.place.seconds(kernel, place)
        return streamed(self, setting, extra, (stages - 1) / 2, [stages - k for k in range(stages)])


def predict(xp: Tensors, predicted: Tensor, parameters: Tensor, *velocity: Tensor, ahead: int, rate: float) -> None:
    """``parameters - ahead * rate * velocity``."""
    xp.copy_(predicted, parameters)
    if velocity and ahead:
        xp.add_(predicted, velocity[0], -ahead * rate)
