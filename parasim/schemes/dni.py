"""Decoupled neural interfaces: modules learn from synthetic gradients (Jaderberg et al. 2017; SCHEMES S32).

Module k holds consecutive layers. It sends its outputs up and does not wait for their gradient: a model of its own
predicts it, from the outputs alone or (cDNI) from the labels too, and the module goes backward and updates at once.
What comes down later, computed by module k + 1 from its own prediction or, in the last module, from the loss, is the
target that the model is trained on. The oracle in the model's place waits for that gradient: back-propagation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from parasim.program import (
    Batch,
    Buffer,
    ClosedForm,
    Context,
    Handle,
    Holding,
    Kernel,
    Model,
    Part,
    Planning,
    Post,
    Program,
    Recv,
    Replica,
    Send,
    Setting,
    Taxonomy,
    Wait,
    option,
)
from parasim.program.kernels import counted
from parasim.program.tensors import Shape
from parasim.schemes.staged import Staged, StagedOptions, StageSeconds, received, sent, stage_seconds, taken
from parasim.schemes.synthetic import GradientModel

__all__ = ["Dni"]


@dataclass(frozen=True, kw_only=True)
class DniOptions(StagedOptions):
    """Options of synthetic gradients; `workers` is the number of modules."""

    gradients: Literal["synthetic", "oracle"] = option(
        "synthetic", "what a module goes backward from: its model's prediction, or the true gradient once it is there"
    )
    labels: bool = option(False, "the models are told the labels (cDNI)")
    layers: int = option(0, "hidden layers of a model", ge=0, le=2)
    hidden: int = option(64, "rectifiers of a hidden layer", ge=1)
    rate: float = option(1.0, "factor of the models' gradients, on top of the learning rate", gt=0)
    late: int = option(1, "steps that a module goes on before it waits for a target", ge=0)


class Dni(Staged):
    """Pipeline parallel, synchronous in each module: no module waits for gradients, which are approximate."""

    name = "dni"
    aliases = ("synthetic_gradients", "decoupled_neural_interfaces")
    citation = "Jaderberg et al. (2017)"
    taxonomy = Taxonomy("pipeline parallel", "independent", "none")
    staleness = "0; gradients are predicted"
    approximates = "predicted error gradients"
    Options = DniOptions

    def worker(self, me: Context) -> Program[Buffer]:
        """A module: forward, backward from a prediction, update; then train the model on what has come."""
        part = self.parts(me.model)[me.index]
        replica = me.replica(part)
        gradient = me.buffer("gradient", part.parameters)
        predicts = not part.is_last and self.options.gradients == "synthetic"
        model = self.gradient_model(me.model, part)
        theta, slope = (yield from self._begin(me, model)) if predicts else (replica, gradient)
        waiting: deque[tuple[list[Buffer], int, Handle]] = deque()
        for step in me.steps():
            inputs = None if part.is_first else (yield from Recv(me.rank - 1, "outputs")).buffer
            batch = me.batch(step, share=0, shares=1)
            activation = yield from me.forward(part, replica.parameters, batch, inputs, lent=True)
            yield from me.log_loss(activation)
            error: Buffer | None = None
            if activation.outputs is not None:
                if predicts:  # outputs are held, as what is predicted from, until their gradient has come
                    yield from Post(Send(me.rank + 1, activation.outputs, "outputs", lent=True), "send outputs")
                    given = self._given(me, activation.outputs, batch)
                    error = yield from me.math(model.predict, (), (theta.parameters, *given), samples=batch.size)
                    me.hold("predicted from", activation.outputs.nbytes, activation.outputs)
                    coming = yield from Post(received(me, me.rank + 1, "errors"), "receive errors")
                    waiting.append((given, batch.size, coming))
                else:
                    yield from Post(sent(me, me.rank + 1, activation.outputs, "outputs"), "send outputs")
                    error = (yield from Recv(me.rank + 1, "errors")).buffer
            downstream = yield from me.backward(activation, error, gradient)
            if downstream is not None:
                yield from Post(sent(me, me.rank - 1, downstream, "errors"), "send errors")
            yield from me.update(replica, gradient, read=replica.version, layer=part.name)
            while len(waiting) > (self.options.late if step + 1 < me.num_steps else 0):
                yield from self._train(me, model, theta, slope, *waiting.popleft())
            yield from me.step_done(step)
        return replica.parameters

    def no_norms(self) -> str:
        """The models of gradients are one vector."""
        known = self.options.gradients == "oracle"
        return (
            "" if known else "the models of its gradients have no layers: write gradients: oracle, or use sgd or adam"
        )

    def gradient_model(self, model: Model, part: Part) -> GradientModel:
        """The model of a module's gradients."""
        labels = model.whole.output_elements if self.options.labels else 0
        return GradientModel(part.output_elements, labels, self.options.layers, self.options.hidden)

    def _begin(self, me: Context, model: GradientModel) -> Program[tuple[Replica, Buffer]]:
        """The model's parameters with their optimiser's state, and room for their gradient."""
        parameters = me.buffer("model", model.elements)
        theta = Replica(parameters, tuple(me.buffer("optimizer state", model.elements) for _ in me.optimizer.slots))
        yield from me.math(model.initialise, (parameters,), draws=me.draws)
        return theta, me.buffer("gradient", model.elements)

    def _given(self, me: Context, outputs: Buffer, batch: Batch) -> list[Buffer]:
        """What the model is told."""
        return [outputs, me.labels(batch)] if self.options.labels else [outputs]

    def _train(
        self,
        me: Context,
        model: GradientModel,
        theta: Replica,
        slope: Buffer,
        given: list[Buffer],
        samples: int,
        coming: Handle,
    ) -> Program[None]:
        """A step of the model towards the target that has come."""
        (error,) = yield from Wait([coming])
        taken(me, error)
        yield from me.math(model.gradient, (slope,), (theta.parameters, error, *given), samples=samples)
        yield from me.optimize(theta, slope, scale=self.options.rate)
        me.release("predicted from", given[0].nbytes, given[0])

    def holding(self, place: int, samples: int) -> Holding:
        """One mini-batch."""
        return Holding(samples=samples)

    def waiting(self, place: int) -> tuple[int, int]:
        """Gradients of the steps that modules go on for; outputs of one."""
        return self.options.late + 1, self.options.late + 2

    def memory(self, setting: Planning) -> Sequence[Mapping[str, int]]:
        """Beside a module its model with its gradient and state, and outputs of the steps that it goes on for."""
        held = [dict(found) for found in super().memory(setting)]
        if self.options.gradients == "oracle":
            return held
        itemsize, vectors = setting.model.itemsize, {"weights": 1, "gradients": 1}
        vectors |= {"optimizer state": len(setting.optimizer.slots)} if setting.optimizer.slots else {}
        for found, part in zip(held, self.parts(setting.model)[:-1], strict=False):
            for name, count in vectors.items():
                found[name] += count * self.gradient_model(setting.model, part).elements * itemsize
            found["buffers"] = (self.options.late + 1) * setting.batch_size * part.output_elements * itemsize
        return held

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``max_k (F_k + B_k + M_k)``, with updates, M_k being prediction and training; or a link (SCHEMES S32.5).

        Of the oracle ``sum_k (F_k + B_k)`` with transfers and the first module's update. Modules wait longer where
        targets come after the steps that they go on for, and the oracle where a later module is late with its update.
        """
        t = stage_seconds(self, setting)
        if self.options.gradients == "oracle":
            seconds = sum((*t.forward, *t.backward, *t.up, *t.down)) + t.updates[0]
        else:
            own = zip(t.forward, t.backward, t.updates, self._modelling(setting), strict=True)
            seconds = max([*(sum(times) for times in own), *t.up, *t.down, *self._both_ways(setting, t)])
        return ClosedForm(
            seconds,
            2.0 * sum(t.sizes) / self.cuts,
            2.0 * len(t.sizes) / self.cuts,
            0.0,
            "exact" if self.cuts == 1 and not setting.place.noisy else "lower bound",
            note="" if self.cuts == 1 else "modules wait for outputs, targets and busy links",
        )

    def _both_ways(self, setting: Setting, t: StageSeconds) -> list[float]:
        """Seconds in which a module between two others sends outputs and a target, at least."""
        routes = [setting.place.together([(k, k + 1), (k, k - 1)]) for k in range(1, self.cuts - 1)]
        return [min(t.sizes[k], t.sizes[k + 1]) * route.beta for k, route in enumerate(routes)]

    def _modelling(self, setting: Setting) -> list[float]:
        """Seconds in which each module predicts and trains its model; the last one has none."""
        seconds = []
        samples, itemsize = setting.batch_size, setting.model.itemsize
        for k, part in enumerate(self.parts(setting.model)[:-1]):
            model = self.gradient_model(setting.model, part)
            theta, outputs = Shape(model.elements, itemsize), Shape(samples * model.inputs, itemsize)
            given = (outputs, *([Shape(samples * model.labels, itemsize)] if model.labels else []))
            constants = (("samples", samples),)
            kernels: list[Kernel] = [
                counted(model.predict, (theta, *given), constants).kernel("predict"),
                counted(model.gradient, (theta, theta, outputs, *given), constants).kernel("gradient"),
                setting.update_kernel(model.elements / setting.model.whole.parameters, scale=self.options.rate),
            ]
            seconds.append(sum(setting.place.seconds(kernel, k) for kernel in kernels))
        return [*seconds, 0.0]
