"""What a rank does before its run's clock starts, so that steps cost what they cost in the long run.

The first pass through a network loads parts of torch and of its libraries (a quarter of a second with automatic
differentiation), and memory that is given back to the system after every step is zeroed by it again at the next (a
third of the time of a layer of 1024 x 1024). Drawing the initial weights takes as long as a step. None of it belongs
to a step.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parasim.program.learner import Learner
    from parasim.program.model import Model

__all__ = ["keep_memory", "warm_up"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_NEVER = 2**31 - 1
_AT_MOST = 1 << 30
_SAMPLES = 8


def keep_memory() -> None:
    """Let this process keep the memory that it frees, for its next allocation (glibc's ``mallopt``; else nothing)."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _AT_MOST)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


def warm_up(learner: Learner, model: Model, samples: int) -> None:
    """One forward and backward pass of the whole model on some samples (at most `samples`); its values are dropped.

    The initial weights have been drawn then: the program's own call finds them.
    """
    count = min(samples, _SAMPLES)
    whole = model.whole
    numbers = learner.samples(0, 0, count, count)
    _, saved = learner.forward(whole, learner.initial(whole), learner.inputs(numbers), numbers)
    learner.backward(whole, saved, None)
