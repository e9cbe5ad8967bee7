"""What a scenario is, once checked: frozen objects in SI units (seconds, bytes, bytes/s, FLOP, FLOP/s).

A scenario file is read by `parasim.scenario.load`; nothing in here parses. A new kind of topology or noise is one
class here and its line in `TOPOLOGIES` or `NOISES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from parasim.program.model import Model
from parasim.program.scheme import Scheme
from parasim.scenario.fields import quantity, setting
from parasim.workload import DataSpec

__all__ = [
    "NOISES",
    "TOPOLOGIES",
    "Cluster",
    "Device",
    "Execute",
    "GammaNoise",
    "Link",
    "LognormalNoise",
    "MixtureNoise",
    "Noise",
    "Optimizer",
    "Overhead",
    "ParetoNoise",
    "ResampledNoise",
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

    bandwidth: float = quantity("bytes/s", "of each link and direction", gt=0)
    latency: float = quantity("seconds", "of each link and direction", 0.0, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """No noise; subclasses are random factors of mean 1 on the time of every kernel (parasim/simulation/noise.py)."""

    kind: ClassVar[str] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class LognormalNoise(Noise):
    """Factor ``exp(sigma z - sigma^2 / 2)``, z standard normal: mean 1."""

    kind: ClassVar[str] = "lognormal"
    sigma: float = setting("standard deviation of the factor's logarithm", ge=0, le=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class GammaNoise(Noise):
    """Gamma-distributed factor: its coefficient of variation is ``1 / sqrt(shape)``."""

    kind: ClassVar[str] = "gamma"
    shape: float = setting("shape of the distribution (1: exponential; larger: steadier)", gt=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureNoise(Noise):
    """With `probability` a kernel takes `slowdown` times as long as otherwise."""

    kind: ClassVar[str] = "mixture"
    probability: float = setting("probability that a kernel straggles", ge=0, le=1)
    slowdown: float = setting("how many times as long it then takes", ge=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoNoise(Noise):
    """With `probability` a kernel takes X times as long as otherwise, ``P(X > x) = x ** -exponent``."""

    kind: ClassVar[str] = "pareto"
    probability: float = setting("probability that a kernel straggles", ge=0, le=1)
    exponent: float = setting("exponent of the tail (smaller: heavier)", gt=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResampledNoise(Noise):
    """Measured factors, drawn with equal probability and divided by their mean."""

    kind: ClassVar[str] = "resampled"
    factors: tuple[float, ...] = setting("measured factors")

    def __post_init__(self) -> None:
        if not self.factors or min(self.factors) <= 0:
            raise ValueError("factors must be one or more numbers greater than 0")


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
    "mixture": MixtureNoise,
    "pareto": ParetoNoise,
    "resampled": ResampledNoise,
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
    """What is trained.

    Attributes
    ----------
    model_kind, model_options, data_kind, data_options
        Kinds, and all their options by name; `data_kind` is None without data.
    batch_size
        Samples per worker (per pipeline) and step.
    dtype
        "float32" or "float64".
    data, model
        Sizes of the data, and the model as costs.
    """

    model_kind: str
    model_options: Mapping[str, Any]
    data_kind: str | None
    data_options: Mapping[str, Any]
    batch_size: int
    dtype: str
    data: DataSpec | None
    model: Model


class Optimizer(NamedTuple):
    """Kind of the optimiser, and all its options by name."""

    kind: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How long, from which seed, with real gradients or costs only, and what is kept of the trace."""

    steps: int = setting("iterations of each worker (of each pipeline)", ge=1, le=1_000_000_000)
    seed: int = setting("seed of every random draw", 0, ge=0, le=10**18)
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
