"""How many workers are worth having: where communication takes as long as what it divides.

References
----------
SCHEMES 0.3 (parallelisability limit), S1.5; Seide, Fu, Droppo, Li, Yu (2014), On parallelizability of stochastic
gradient descent for speech DNNs, and 1-bit stochastic gradient descent, equation 4; Amdahl (1967).
"""

from __future__ import annotations

from parasim.errors import ProgramError

__all__ = ["amdahl_speedup", "data_parallel_limit", "seide_limit"]


def data_parallel_limit(batch_size: float, flops: float, bandwidth: float, compression: float = 1.0) -> float:
    """N^ = 0.75 b Z bandwidth / flops: workers at which a ring all-reduce takes as long as the computing of b samples.

    For a network of fully connected layers in single precision: ``6 b L n**2 c / N = 8 L n**2 beta``, whatever L and n.

    Parameters
    ----------
    batch_size
        Samples of a step, of all workers together.
    flops, bandwidth
        FLOP/s that a worker reaches; bytes/s of its link in one direction.
    compression
        Z: by how much gradients shrink on the wire.
    """
    return 0.75 * batch_size * compression * bandwidth / flops


def seide_limit(
    batch_size: float,
    frame_seconds: float,
    exchange_seconds: float,
    *,
    post_seconds: float = 0.0,
    update_seconds: float = 0.0,
    compression: float = 1.0,
) -> float:
    """N^ = (b/2 T_frm + C T_post) / (T_float / Z - T_upd): where computing takes as long as exchanging half a batch.

    Double buffering exchanges one half of the mini-batch while the other is computed.

    Parameters
    ----------
    batch_size, frame_seconds
        Samples per step; seconds of forward and backward pass of one.
    exchange_seconds
        T_float: of the exchange of uncompressed gradients.
    post_seconds
        C T_post: element-wise work on gradients that workers share.
    update_seconds
        T_upd: update that they do not share.
    compression
        Z.

    Raises
    ------
    ProgramError
        If the exchange is no longer than the update: then the update is the limit (see `amdahl_speedup`).
    """
    wire = exchange_seconds / compression - update_seconds
    if wire <= 0:
        raise ProgramError(
            f"an exchange of {exchange_seconds / compression} s is no longer than the update of {update_seconds} s: "
            "the update limits the speed-up; see amdahl_speedup"
        )
    return (batch_size / 2 * frame_seconds + post_seconds) / wire


def amdahl_speedup(workers: float, serial: float) -> float:
    """1 / (s + (1 - s) / N) with `serial` fraction s of the work that is not divided."""
    return 1.0 / (serial + (1.0 - serial) / workers)
