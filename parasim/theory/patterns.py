"""Who sends to whom in the rounds of a collective: what decides which links its messages share."""

from __future__ import annotations

import functools

from parasim.program.buffers import Buffer
from parasim.program.groups import Group
from parasim.program.ops import Collective, CollectiveKind

__all__ = ["patterns"]

Pattern = tuple[tuple[int, int], ...]


@functools.lru_cache(maxsize=64)
def patterns(
    kind: CollectiveKind, algorithm: str, size: int, shape: tuple[int, int] | None = None
) -> tuple[Pattern, ...]:
    """The different rounds of a collective, each as pairs (sender, receiver) of members that send at once.

    Members are counted from 0 to `size` - 1; `shape` is that of `Collective`. A ring has one pattern, whatever its
    number of rounds.
    """
    from parasim.program.collectives.together import rounds_together

    group = Group("members", tuple(range(size)))
    op = Collective(kind, group, Buffer("vector", 4 * size, 4), algorithm, shape=shape)
    found: dict[Pattern, None] = {}
    for group_round in rounds_together([op] * size):
        pairs = zip(group_round.senders.tolist(), group_round.receivers.tolist(), strict=True)
        found[tuple(sorted(pairs))] = None
    return tuple(pattern for pattern in found if pattern)
