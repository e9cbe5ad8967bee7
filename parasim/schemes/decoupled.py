"""What schemes of decoupled modules share: a module per worker, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parasim.program import (
    Buffer,
    Context,
    Exchange,
    Message,
    Model,
    Part,
    Program,
    Recv,
    Role,
    Scheme,
    Send,
    Setting,
    backward_kernel,
    forward_kernel,
)

__all__ = ["Costs", "Decoupled", "costs_of", "payload", "trade"]


class Decoupled(Scheme):
    """Base: the network is cut into modules of consecutive layers, one for each worker."""

    def roles(self) -> tuple[Role, ...]:
        """A worker per module."""
        return (Role("worker", self.options.workers, self.worker),)

    def worker(self, me: Context) -> Program[Buffer]:
        """One module."""
        raise NotImplementedError

    def pipelines(self) -> int:
        """One."""
        return 1

    def modules(self, model: Model) -> tuple[Part, ...]:
        """The layers of each module."""
        return model.stages(self.options.workers)

    def check(self, model: Model, batch_size: int) -> None:
        """Enough layers for the modules."""
        self.modules(model)


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of each module's passes and update, bytes of its outputs, and seconds of these to each neighbour."""

    forward: list[float]
    backward: list[float]
    update: list[float]
    sizes: list[int]
    up: list[float]
    down: list[float]


def costs_of(setting: Setting, parts: Sequence[Part]) -> Costs:
    """What the modules of one pipeline cost, that of rank k holding part k."""
    samples, model, place = setting.batch_size, setting.model, setting.place
    last = len(parts) - 1
    sizes = [part.output_elements * samples * model.itemsize for part in parts[:-1]]
    up, down = ([place.route(k, k + 1) for k in range(last)], [place.route(k + 1, k) for k in range(last)])
    shares = [part.parameters / max(1, model.whole.parameters) for part in parts]
    return Costs(
        [place.seconds(forward_kernel(part, samples), k) for k, part in enumerate(parts)],
        [place.seconds(backward_kernel(part, samples), k) for k, part in enumerate(parts)],
        [place.seconds(setting.update_kernel(share), k) for k, share in enumerate(shares)],
        sizes,
        [route.alpha + size * route.beta for route, size in zip(up, sizes, strict=True)],
        [route.alpha + size * route.beta for route, size in zip(down, sizes, strict=True)],
    )


def trade(
    me: Context, up: Buffer | None = None, down: Buffer | None = None, above: bool = False, below: bool = False
) -> Exchange:
    """Send outputs `up` and an error gradient `down`, if any; await those of the modules `above` and `below`."""
    sends = []
    if up is not None:
        sends.append(Send(me.rank + 1, up, "outputs", lent=True))
    if down is not None:
        sends.append(Send(me.rank - 1, down, "errors", lent=True))
    receives = []
    if below:
        receives.append(Recv(me.rank - 1, "outputs"))
    if above:
        receives.append(Recv(me.rank + 1, "errors"))
    return Exchange(tuple(sends), tuple(receives))


def payload(messages: Sequence[Message], tag: str) -> Buffer | None:
    """What came under this tag, if anything did."""
    return next((message.buffer for message in messages if message.tag == tag), None)
