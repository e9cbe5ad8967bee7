"""GPipe: a pipeline with a flush every mini-batch (Huang et al. 2019; SCHEMES S26).

Stage k holds consecutive layers. A mini-batch is cut into M micro-batches that go forward through the stages one after
the other, then backward in reverse; when all gradients are accumulated every stage updates, and only then does
the next mini-batch begin. Activations and gradients travel on lanes beside the computing; a stage waits only for what
it needs next.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import (
    Activation,
    Buffer,
    ClosedForm,
    Context,
    Handle,
    Model,
    Options,
    Part,
    Post,
    Program,
    Recv,
    Role,
    Scheme,
    Send,
    Setting,
    Taxonomy,
    Wait,
    backward_kernel,
    forward_kernel,
    option,
)
from parasim.schedules.gpipe import gpipe
from parasim.theory.pipelines import flow_line_seconds

__all__ = ["GPipe"]


@dataclass(frozen=True, kw_only=True)
class GPipeOptions(Options):
    """Options of GPipe; `workers` is the number of stages."""

    micro_batches: int = option(4, "micro-batches per mini-batch (M >= 4 stages makes the bubble small)", ge=1)
    recompute: bool = option(False, "keep only a stage's input and repeat its forward pass before the backward pass")


class GPipe(Scheme):
    """Pipeline parallel, synchronous."""

    name = "gpipe"
    citation = "Huang et al. (2019)"
    taxonomy = Taxonomy("pipeline parallel", "synchronous", "none")
    staleness = "0"
    Options = GPipeOptions

    def roles(self) -> tuple[Role, ...]:
        """A worker per stage."""
        return (Role("worker", self.options.workers, self.worker),)

    def pipelines(self) -> int:
        """One."""
        return 1

    def worker(self, me: Context) -> Program[Buffer]:
        """One stage: all micro-batches forward, all backward, update."""
        part = me.model.stages(self.options.workers)[me.index]
        micros = self.options.micro_batches
        replica = me.replica(part)
        gradient = me.buffer("gradient", part.parameters)
        for step in me.steps():
            coming = yield from self._prefetch(me, part)
            stored: dict[int, Activation] = {}
            for way, micro in gpipe(micros):
                if way == "forward":
                    inputs = yield from self._arrived(coming, way, micro)
                    batch = me.batch(step, share=0, shares=1, micro=micro, micros=micros)
                    activation = yield from me.forward(part, replica.parameters, batch, inputs)
                    if not part.is_last:
                        yield from Post(Send(me.rank + 1, activation.outputs, "forward", lent=True), "send forward")
                    yield from me.log_loss(activation)
                    stored[micro] = self._input_alone(me, activation, inputs) if self.options.recompute else activation
                else:
                    activation = stored.pop(micro)
                    if self.options.recompute:
                        inputs = activation.saved
                        activation = yield from me.forward(part, replica.parameters, activation.batch, inputs)
                        me.release("inputs", inputs.nbytes if inputs else 0)
                    upstream = yield from self._arrived(coming, way, micro)
                    downstream = yield from me.backward(activation, upstream, gradient, add=micro < micros - 1)
                    if not part.is_first:
                        yield from Post(Send(me.rank - 1, downstream, "backward", lent=True), "send backward")
            yield from me.update(replica, gradient, read=replica.version, scale=1 / micros, layer=part.name)
            yield from me.step_done(step)
        return replica.parameters

    def _input_alone(self, me: Context, activation: Activation, inputs: Buffer | None) -> Activation:
        """Keep a stage's input (the first stage reads its batch again) and drop the rest of what forward stored."""
        me.hold("inputs", inputs.nbytes if inputs else 0)
        return me.keep_input(activation, inputs)

    def _prefetch(self, me: Context, part: Part) -> Program[dict[tuple[str, int], Handle]]:
        """Ask for everything that a mini-batch will bring, in the order in which it comes."""
        coming: dict[tuple[str, int], Handle] = {}
        for way, micro in gpipe(self.options.micro_batches):
            if way == "forward" and not part.is_first:
                coming[way, micro] = yield from Post(Recv(me.rank - 1, way), "receive forward")
            if way == "backward" and not part.is_last:
                coming[way, micro] = yield from Post(Recv(me.rank + 1, way), "receive backward")
        return coming

    def _arrived(self, coming: dict[tuple[str, int], Handle], way: str, micro: int) -> Program[Buffer | None]:
        """Wait for a neighbour's activation or gradient; None where there is no neighbour."""
        handle = coming.get((way, micro))
        if handle is None:
            return None
        (message,) = yield from Wait([handle])
        buffer: Buffer | None = message.buffer
        return buffer

    def check(self, model: Model, batch_size: int) -> None:
        """Enough layers for the stages; equal micro-batches."""
        stages, micros = self.options.workers, self.options.micro_batches
        if stages > len(model.layers):
            raise ValueError(f"{stages} stages need at least {stages} layers; {model.name} has {len(model.layers)}")
        if batch_size % micros:
            raise ValueError(f"batch_size {batch_size} is no multiple of micro_batches {micros}")

    def closed_form(self, setting: Setting) -> ClosedForm:
        """``(M + K - 1)(F + B)`` when balanced (the paper, section 2.3); stages and links as a flow line otherwise.

        Either way takes one micro-batch through all stages and links, and M - 1 times the slowest of these. Exact if
        all stages but the last repeat their first forward pass, and all make the update, before anyone waits for it.
        """
        stages, micros, model, place = self.options.workers, self.options.micro_batches, setting.model, setting.place
        parts = model.stages(stages)
        samples = setting.batch_size // micros
        forward = [place.seconds(forward_kernel(part, samples), k) for k, part in enumerate(parts)]
        backward = [place.seconds(backward_kernel(part, samples), k) for k, part in enumerate(parts)]
        again = forward if self.options.recompute else [0.0] * stages
        both = [a + b for a, b in zip(again, backward, strict=True)]
        sizes = [part.output_elements * samples * model.itemsize for part in parts[:-1]]
        up = [place.route(k, k + 1) for k in range(stages - 1)]
        down = [place.route(k + 1, k) for k in range(stages - 1)]
        up_links, down_links = (
            [route.alpha + size * route.beta for route, size in zip(routes, sizes, strict=True)]
            for routes in (up, down)
        )
        shares = [part.parameters / max(1, model.whole.parameters) for part in parts]
        updates = [place.seconds(setting.update_kernel(share, scale=1 / micros), k) for k, share in enumerate(shares)]
        seconds = flow_line_seconds(forward + up_links, micros) + updates[0]
        seconds += again[-1] + sum(backward) + sum(down_links) + (micros - 1) * max(both + down_links)
        repeated = all(again[k] <= sum(both[k + 1 :]) for k in range(stages - 1))
        updated = all(updates[k] <= updates[0] + sum(forward[:k]) + sum(backward[:k]) for k in range(stages))
        simple = repeated and updated
        return ClosedForm(
            seconds,
            2.0 * sum(sizes) * micros / stages,
            2.0 * (stages - 1) * micros / stages,
            0.0,
            "exact" if simple and not place.noisy else "lower bound",
            note="" if simple else "a stage is late with its update or its first repeated forward pass",
        )
