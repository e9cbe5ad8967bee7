"""What schemes of decoupled modules share: exchanges between neighbours, and what modules cost."""

from __future__ import annotations

from collections.abc import Sequence

from parasim.program import Buffer, Context, Exchange, Message, Recv, Send, Setting
from parasim.schemes.staged import Staged
from parasim.schemes.stash import stash_kernel_seconds

__all__ = ["payload", "stash_seconds", "trade"]


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


def stash_seconds(scheme: Staged, setting: Setting) -> list[float]:
    """Seconds in which each module copies its weights before an update; the last one, which is not late, does not."""
    parts = scheme.parts(setting.model)
    whole = max(1, setting.model.whole.parameters)
    return [*(stash_kernel_seconds(setting, part.parameters / whole, k) for k, part in enumerate(parts[:-1])), 0.0]
