"""Laws of staleness: updates between the reading of parameters and the use of the gradient computed from them.

Stages and modules are numbered k = 0 .. K-1 from the input on.

References
----------
SCHEMES 4 (conservation law), S10 to S12, S25 to S33; Gupta et al. (2016), Model accuracy and runtime tradeoff in
distributed deep learning; Ho et al. (2013), More effective distributed ML via a stale synchronous parallel server;
Narayanan et al. (2019, 2021), PipeDream and PipeDream-2BW; Huo et al. (2018), DDG; Zhuang et al. (2021), FDG.
"""

from __future__ import annotations

from parasim.errors import ProgramError

__all__ = [
    "asynchronous_mean",
    "asynchronous_probability",
    "backup_workers",
    "decoupled_backward",
    "decoupled_forward_and_backward",
    "delayed_by_one",
    "pipedream",
    "stale_synchronous_window",
]


def asynchronous_mean(workers: int, per_update: int = 1) -> float:
    """Mean staleness (N - 1) / c with one update per c gradients, for any speeds of the workers.

    Every worker has one gradient outstanding and reads right after it pushed; start and end of the run aside. Each
    update falls into exactly one interval between read and push of each other worker.
    """
    if workers < 1 or per_update < 1:
        raise ProgramError(f"{workers} workers and an update per {per_update} gradients: both must be 1 or more")
    return (workers - 1) / per_update


def asynchronous_probability(workers: int, staleness: int) -> float:
    """P(staleness = l) = (1/N) (1 - 1/N)**l, for exponential times of equal mean and an update per gradient."""
    return (1.0 - 1.0 / workers) ** staleness / workers if staleness >= 0 else 0.0


def stale_synchronous_window(workers: int, slack: int) -> int:
    """Most updates of others, (2 s + 1) (N - 1), that a gradient of SSP with slack s can miss; 0 slack is one barrier.

    A read at clock c holds all updates of clocks up to c - s - 1; nobody is more than s clocks ahead when it is used.
    With slack 0 the others' gradients of the same clock are all that it misses.
    """
    if slack < 0:
        raise ProgramError(f"slack {slack}: give 0 (synchronous) or more")
    return (2 * slack + 1) * (workers - 1)


def backup_workers() -> int:
    """0: a gradient of an older version is thrown away (SCHEMES S4.1), as all synchronous schemes wait."""
    return 0


def delayed_by_one() -> int:
    """1, on every stage: Pipe-SGD of width 2 (SCHEMES S4.4) and PipeDream-2BW (SCHEMES S28)."""
    return 1


def pipedream(stages: int, stage: int, *, vertical_sync: bool = False) -> int:
    """K - 1 - k mini-batches with weight stashing; K - 1 on all stages with vertical sync (SCHEMES S27)."""
    _check(stages, stage)
    return stages - 1 if vertical_sync else stages - 1 - stage


def decoupled_backward(modules: int, module: int) -> int:
    """K - 1 - k iterations: DDG, and the inputs that features replay repeats (SCHEMES S30, S31)."""
    _check(modules, module)
    return modules - 1 - module


def decoupled_forward_and_backward(modules: int, module: int, *, backward_first: bool = False) -> int:
    """2 (K - 1 - k) updates: pipelined back-propagation and FDG (SCHEMES S25, S33).

    One fewer on all but the last where a module steps before its forward pass, as FDG's published code does.
    """
    _check(modules, module)
    delay = 2 * (modules - 1 - module)
    return delay - 1 if backward_first and delay else delay


def _check(stages: int, stage: int) -> None:
    if not 0 <= stage < stages:
        raise ProgramError(f"no stage {stage} of {stages}: choose 0 to {stages - 1}")
