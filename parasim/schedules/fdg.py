"""The iterations of FDG (Zhuang et al. 2021): each module goes forward and backward in every one.

With K = 3 modules and 6 mini-batches (a column is an iteration; at its end neighbours exchange what they computed)::

    module 0   F0    F1    F2    F3    F4 B0 F5 B1 .  B2 .  B3 .  B4 .  B5
    module 1   .     F0    F1    F2 B0 F3 B1 F4 B2 F5 B3 .  B4 .  B5
    module 2   .     .     F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5
"""

from __future__ import annotations

from collections.abc import Iterator

from parasim.schedules.ddg import Iteration, delayed

__all__ = ["fdg"]


def fdg(modules: int, module: int, batches: int) -> Iterator[Iteration]:
    """The iterations of a module: mini-batch j goes backward ``2 (modules - 1 - module)`` after it went forward.

    Module k's first iteration is the k-th of all: it begins when the first output of the module before has arrived.
    """
    return delayed(batches, 2 * (modules - 1 - module))
