"""The iterations of DDG and of features replay (Huo et al. 2018): forward passes in turn, delayed backward passes.

With K = 3 modules and 5 mini-batches (a column is an iteration: in it mini-batch t goes forward through the modules one
after the other, and then every module takes its backward pass of another, older mini-batch)::

    module 0   F0    F1    F2 B0 F3 B1 F4 B2 .  B3 .  B4
    module 1   F0    F1 B0 F2 B1 F3 B2 F4 B3 .  B4
    module 2   F0 B0 F1 B1 F2 B2 F3 B3 F4 B4
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["IDLE", "Iteration", "ddg", "delayed"]

Iteration = tuple[int | None, int | None]
"""The mini-batches that go forward and backward (None: no such pass)."""
IDLE: Iteration = (None, None)


def ddg(modules: int, module: int, batches: int) -> Iterator[Iteration]:
    """The iterations of a module: mini-batch j goes backward ``modules - 1 - module`` of them after it went forward.

    Those in which the module has nothing left to do are left out.
    """
    return delayed(batches, modules - 1 - module)


def delayed(batches: int, delay: int) -> Iterator[Iteration]:
    """A mini-batch forward in each iteration, and backward the one that went forward `delay` iterations before."""
    for t in range(batches + delay):
        yield t if t < batches else None, t - delay if t >= delay else None
