"""The survey's setting: a network of fully connected layers of one width, and what schemes cost on it.

L layers of width n, a mini-batch of b samples, N workers, single precision (4 bytes). Biases, non-linearities, the
loss, updates and reductions are left out. With c seconds per FLOP one step on one device takes 6 b L n**2 c; parameters
have 4 L n**2 bytes, activations at a boundary 4 b n.

References
----------
Yook, Lee, Yoo (2020), A survey on parallel training algorithms for deep neural networks, J. Acoust. Soc. Korea 39(6);
SCHEMES 0.3 and the table of section 12.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Mlp", "StepCost", "adpsgd", "all_reduce", "downpour", "gpipe", "parameter_server", "sequential"]


@dataclass(frozen=True, slots=True)
class Mlp:
    """The network and the cluster.

    Attributes
    ----------
    layers, width
        L and n.
    batch_size
        b: samples of a step of all workers together.
    seconds_per_flop
        c: one over the FLOP/s that a worker reaches.
    alpha, beta
        Seconds per message, seconds per byte.
    """

    layers: int
    width: int
    batch_size: int
    seconds_per_flop: float
    alpha: float
    beta: float

    @property
    def compute_seconds(self) -> float:
        """T_c(b) = 6 b L n**2 c."""
        return 6.0 * self.batch_size * self.layers * self.width**2 * self.seconds_per_flop

    @property
    def parameter_bytes(self) -> float:
        """P = 4 L n**2."""
        return 4.0 * self.layers * self.width**2

    @property
    def boundary_bytes(self) -> float:
        """A = 4 b n."""
        return 4.0 * self.batch_size * self.width


@dataclass(frozen=True, slots=True)
class StepCost:
    """Seconds per b samples, bytes that a worker sends for them, and the mean staleness of their gradients."""

    seconds: float
    bytes_per_worker: float
    staleness: float = 0.0


def sequential(mlp: Mlp) -> StepCost:
    """6 b L n**2 c (S1)."""
    return StepCost(mlp.compute_seconds, 0.0)


def parameter_server(mlp: Mlp, workers: int, shards: int = 1) -> StepCost:
    """6 b L n**2 c / N + 2 alpha + 8 L n**2 beta max(1, N/S), synchronous (S2); bytes are those pushed and pulled."""
    crowd = max(1.0, workers / shards)
    wire = 2 * mlp.alpha + 2 * mlp.parameter_bytes * mlp.beta * crowd
    return StepCost(mlp.compute_seconds / workers + wire, 2 * mlp.parameter_bytes)


def all_reduce(mlp: Mlp, workers: int) -> StepCost:
    """6 b L n**2 c / N + 2 (N-1) alpha + 8 L n**2 beta (N-1)/N, by a ring after the backward pass (S3)."""
    sent = 2 * mlp.parameter_bytes * (workers - 1) / workers
    return StepCost(mlp.compute_seconds / workers + 2 * (workers - 1) * mlp.alpha + sent * mlp.beta, sent)


def downpour(mlp: Mlp, workers: int) -> StepCost:
    """(6 b L n**2 c + 2 alpha + 8 L n**2 beta) / N for b samples of one worker, while servers keep up (S9).

    Pushed and fetched bytes; staleness N - 1.
    """
    cycle = mlp.compute_seconds + 2 * mlp.alpha + 2 * mlp.parameter_bytes * mlp.beta
    return StepCost(cycle / workers, 2 * mlp.parameter_bytes, workers - 1.0)


def adpsgd(mlp: Mlp, workers: int) -> StepCost:
    """max(6 b L n**2 c / N, alpha + 4 L n**2 beta), both directions of an averaging at once (S19).

    The staleness is of the order of one and has no closed form (NaN).
    """
    exchange = mlp.alpha + mlp.parameter_bytes * mlp.beta
    return StepCost(max(mlp.compute_seconds / workers, exchange), mlp.parameter_bytes, float("nan"))


def gpipe(mlp: Mlp, stages: int, micro_batches: int, *, recompute: bool = False) -> StepCost:
    """(1 + (K-1)/M) 6 b L n**2 c / K, 4/3 of it with recomputation, and the fill's transfers (S26, 0.3).

    Every boundary carries 8 b n bytes: a stage between two others sends as many.
    """
    compute = (1 + (stages - 1) / micro_batches) * mlp.compute_seconds / stages * (4 / 3 if recompute else 1.0)
    fill = 2 * (stages - 1) * (mlp.alpha + mlp.boundary_bytes / micro_batches * mlp.beta)
    return StepCost(compute + fill, 2 * mlp.boundary_bytes if stages > 1 else 0.0)
