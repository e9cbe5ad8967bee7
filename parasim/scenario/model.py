"""What a scenario is, once checked: frozen objects in SI units (seconds, bytes, bytes/s, FLOP, FLOP/s).

A scenario file is read by `parasim.scenario.load`; nothing in here parses. A new kind of topology or noise is one
class here and its line in `TOPOLOGIES` or `NOISES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from parasim.program.model import Model
from parasim.program.scheme import Scheme
from parasim.scenario.fields import quantity, setting

__all__ = [
    "NOISES",
    "TOPOLOGIES",
    "Cluster",
    "Device",
    "Execute",
    "GammaNoise",
    "Link",
    "LognormalNoise",
    "Noise",
    "Optimizer",
    "Overhead",
    "ParetoNoise",
    "Run",
    "Scenario",
    "Star",
    "Topology",
    "Workload",
]

MAX_HOSTS = 1_000_000


# the cluster -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """How hosts are joined; a subclass per kind, listed in `TOPOLOGIES`."""

    kind: ClassVar[str]
    hosts: int = setting("number of hosts", ge=1, le=MAX_HOSTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Star(Topology):
    """Every host has one link in each direction to one switch, which is never the bottleneck."""

    kind: ClassVar[str] = "star"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What an actor computes on.

    Attributes
    ----------
    flops, memory, memory_bandwidth
        FLOP/s, bytes and bytes/s.
    launch
        Fixed seconds per kernel.
    name, calibrated
        For reports; plain numbers and data sheets are not calibrated.
    """

    flops: float = quantity("FLOP/s", "arithmetic speed", gt=0)
    memory: float = quantity("bytes", "size of its memory", gt=0)
    memory_bandwidth: float = quantity("bytes/s", "speed of its memory", gt=0)
    launch: float = quantity("seconds", "fixed time of every kernel", 0.0, ge=0)
    name: str = setting("a name for reports", "")
    calibrated: bool = field(default=False, init=True, metadata={"hidden": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link, each direction on its own: bytes/s and seconds."""

    bandwidth: float = quantity("bytes/s", "bandwidth of each link and direction", gt=0)
    latency: float = quantity("seconds", "latency of each link and direction", 0.0, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """No noise; subclasses are random factors of mean 1 (but see `ParetoNoise`) on the time of every kernel."""

    kind: ClassVar[str] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class LognormalNoise(Noise):
    """Factor ``exp(sigma z - sigma^2 / 2)``, z standard normal: mean 1."""

    kind: ClassVar[str] = "lognormal"
    sigma: float = setting("standard deviation of the factor's logarithm", ge=0, le=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class GammaNoise(Noise):
    """Gamma-distributed factor of mean 1 and standard deviation `sigma` (shape ``1 / sigma^2``)."""

    kind: ClassVar[str] = "gamma"
    sigma: float = setting("standard deviation of the factor", ge=0, le=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoNoise(Noise):
    """Stragglers: a log-normal factor of mean 1, times a Pareto(`alpha`) factor >= 1 with probability `probability`.

    The mean is ``1 + probability / (alpha - 1)``.
    """

    kind: ClassVar[str] = "pareto"
    probability: float = setting("probability that a kernel straggles", ge=0, le=1)
    alpha: float = setting("exponent of the straggler's Pareto factor (heavier when smaller)", gt=1, le=100)
    sigma: float = setting("standard deviation of the ordinary factor's logarithm", 0.0, ge=0, le=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Time that each end point spends on a message: seconds, and seconds per byte."""

    per_message: float = quantity("seconds", "time each end spends on a message", 0.0, ge=0)
    per_byte: float = quantity("seconds/byte", "time each end spends on a byte of a message", 0.0, ge=0)


TOPOLOGIES: dict[str, type[Topology]] = {"star": Star}
NOISES: dict[str, type[Noise]] = {
    "none": Noise,
    "lognormal": LognormalNoise,
    "gamma": GammaNoise,
    "pareto": ParetoNoise,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where a scheme runs.

    Attributes
    ----------
    cores
        Cores of each host: as many actors compute at full speed beside each other.
    link, loopback
        Links of the topology; the way between two actors of one host.
    speeds
        Speed of worker i relative to the device (0.5: takes twice as long); 1 where i is not named.
    """

    topology: Topology
    cores: int
    device: Device
    link: Link
    loopback: Link
    noise: Noise
    overhead: Overhead
    speeds: Mapping[int, float]

    @property
    def hosts(self) -> int:
        """Number of hosts."""
        return self.topology.hosts


# the rest ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is trained: kinds with their options objects, samples per worker and step, and the model as costs."""

    model_kind: str
    model_options: Any
    data_kind: str | None
    data_options: Any
    batch_size: int
    dtype: str
    model: Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """Kind of the optimiser and its options object."""

    kind: str
    options: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How long, from which seed, with real gradients or costs only, and what is kept of the trace."""

    steps: int = setting("iterations of each worker (of each pipeline)", ge=1, le=1_000_000_000)
    seed: int = setting("seed of every random draw", 0, ge=0, le=2**63 - 1)
    learn: bool = setting("train the network for real, in simulated time too", False)
    trace: Literal["rows", "aggregate"] = setting("keep every row of the trace, or sums only", "rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Execute:
    """How `parasim execute` runs it for real."""

    compute: Literal["real", "paced"] = setting("train the network, or sleep for the modelled time", "real")
    threads: int = setting("threads of each process for arithmetic", 1, ge=1, le=1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One checked scenario.

    Attributes
    ----------
    name, source, variant
        Its name (with the variant's), the file it came from, and the variant ("" if the file has none).
    scheme
        The scheme object; `scheme.options.workers` is resolved.
    placement
        Host of every rank.
    document
        The document after overrides, as plain mappings: what `parasim.scenario.from_document` takes.
    """

    name: str
    source: str
    variant: str
    workload: Workload
    cluster: Cluster
    scheme: Scheme
    placement: tuple[int, ...]
    optimizer: Optimizer
    run: Run
    execute: Execute
    document: Mapping[str, Any]
