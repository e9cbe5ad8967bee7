"""Counter-based random draws: a pure function of (seed, purpose, role, index in role, step, micro, label).

Adding a worker or another scheme changes nobody else's draws, and schemes are compared on common random numbers. Single
draws hash the key with SplitMix64 (Steele, Lea, Flood 2014); bulk draws come from NumPy's Philox under the same key.
"""

from __future__ import annotations

import functools
import hashlib
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Draws"]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


@functools.lru_cache(maxsize=4096)
def _word(text: str) -> int:
    """A stable 64-bit number for a string."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(state: int, word: int) -> int:
    """One SplitMix64 step, absorbing `word`."""
    x = (state + _GOLDEN + word) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


class Draws:
    """The draws of one actor.

    Parameters
    ----------
    seed
        Seed of the run.
    role, index
        Whose draws they are. The empty role stands for what all actors share (data order, initial weights).
    """

    __slots__ = ("_base", "_purposes")

    def __init__(self, seed: int, role: str = "", index: int = 0) -> None:
        self._base = _mix(self.shared_key(seed, role), index & _MASK)
        self._purposes: dict[tuple[str, str], int] = {}

    @staticmethod
    def shared_key(seed: int, role: str) -> int:
        """What the keys of all actors of a role begin with; the index is absorbed next, then the words of a draw."""
        return _mix(_mix(0, seed & _MASK), _word(role))

    @staticmethod
    def word(text: str) -> int:
        """The 64-bit number that stands for a purpose or a label in keys."""
        return _word(text)

    def branch(self, name: str) -> Draws:
        """The same actor's draws under another name: the same purposes give independent numbers there."""
        other = Draws.__new__(Draws)
        other._base = _mix(self._base, _word(name))
        other._purposes = {}
        return other

    def prefix(self, purpose: str, label: str = "") -> int:
        """What the keys of a purpose's draws begin with; the step is absorbed next, then the micro-batch."""
        return _mix(_mix(self._base, _word(purpose)), _word(label))

    def key(self, purpose: str, step: int = 0, micro: int = 0, label: str = "") -> int:
        """The 64-bit key of a draw."""
        base = self._purposes.get((purpose, label))
        if base is None:
            base = self._purposes[purpose, label] = self.prefix(purpose, label)
        x = (base + _GOLDEN + (step & _MASK)) & _MASK  # _mix of the step, then of the micro-batch
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        return _mix(x ^ (x >> 31), micro & _MASK)

    def uniform(self, purpose: str, step: int = 0, micro: int = 0, label: str = "") -> float:
        """Uniform in the open interval (0, 1)."""
        return ((self.key(purpose, step, micro, label) >> 11) + 0.5) * 2.0**-53

    def normal(self, purpose: str, step: int = 0, micro: int = 0, label: str = "") -> float:
        """Standard normal (Box-Muller on two hashes of one key)."""
        key = self.key(purpose, step, micro, label)
        first = ((key >> 11) + 0.5) * 2.0**-53
        second = ((_mix(key, 1) >> 11) + 0.5) * 2.0**-53
        return math.sqrt(-2.0 * math.log(first)) * math.cos(2.0 * math.pi * second)

    def integer(self, below: int, purpose: str, step: int = 0, micro: int = 0, label: str = "") -> int:
        """Uniform in 0..below-1 (the bias of the modulus is under below / 2**64)."""
        return self.key(purpose, step, micro, label) % below

    def generator(self, purpose: str, step: int = 0, micro: int = 0, label: str = "") -> np.random.Generator:
        """A NumPy generator (Philox) for bulk draws under one key."""
        import numpy as np

        return np.random.Generator(np.random.Philox(key=self.key(purpose, step, micro, label)))
