"""The fixed random order of the hosts of a fat tree, in which the peers' programs place their ranks."""

from __future__ import annotations

__all__ = ["shuffled"]

_MASK = (1 << 64) - 1


def shuffled(hosts: int) -> list[int]:
    """Numbers of all hosts in a random order that is always the same: Fisher-Yates on SplitMix64 (Steele et al. 2014).

    Scenario files here hold such orders in their `placement`; rank r of a ring is on host ``shuffled(hosts)[r]``.
    """
    order = list(range(hosts))
    for last in range(hosts - 1, 0, -1):
        other = _mixed(last) % (last + 1)
        order[last], order[other] = order[other], order[last]
    return order


def _mixed(word: int) -> int:
    word = (word + 0x9E3779B97F4A7C15) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)
