"""What a scenario is, once checked: frozen objects in SI units (seconds, bytes, bytes/s, FLOP, FLOP/s).

A scenario file is read by `parasim.scenario.load`; nothing in here parses. Devices, links, topologies and laws of noise
are those of their owners (parasim/cluster, parasim/simulation/noise.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple
from weakref import finalize

from parasim.cluster.changes import Changes
from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.profile import Profile
from parasim.cluster.routing import Routing, Shortest
from parasim.cluster.topology import Topology, Wiring, join
from parasim.fields import INTERNAL, quantity, setting
from parasim.program.batches import Batches
from parasim.program.compressor import Compression
from parasim.program.model import Model
from parasim.program.scheme import Scheme
from parasim.program.searching import Trials
from parasim.scenario.evaluation import Evaluate, StepsModel, Target
from parasim.simulation.noise import NoiseLaw, NoNoise
from parasim.simulation.stragglers import Straggler
from parasim.workload import DataSpec

__all__ = ["ClusterSpec", "Execute", "Optimizer", "Overhead", "Run", "Scenario", "Workload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Time that each end point spends on a message: seconds, and seconds per byte."""

    per_message: float = quantity("seconds", "time each end spends on a message", 0.0, ge=0)
    per_byte: float = quantity("seconds/byte", "time each end spends on a byte of a message", 0.0, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class ClusterSpec:
    """Where a scheme runs.

    Attributes
    ----------
    host
        Every host that nothing else is said of.
    link, loopback
        Each link of the topology and direction; the way between two actors of one host.
    handling_noise, handling_cores
        Random factors on the handling of messages; cores that handle those of all hosts together, apart from computes
        (None: each host's own, shared with its computes). What handling costs is said by `Host.handling`.
    loopback_is_memory
        The way inside each host has the bandwidth of its own device's memory, whatever `loopback` says.
    routing
        The choice among routes with the fewest links.
    changes
        Hosts and links that differ from the rest.
    goodput
        What messages find of the bandwidth of each link between hosts and switches, by the profile's transport.
    profiles
        Those that it rests on: the cluster's own first, then those of single hosts.
    replaced
        Keys of the cluster that stand in the place of parts of its own profile.
    speeds
        Speed of worker i relative to the device (0.5: takes twice as long); 1 where i is not named.
    stragglers
        Rules that slow down some actors; where several hold, they multiply.
    """

    topology: Topology
    host: Host
    link: Link
    loopback: Link
    noise: NoiseLaw
    overhead: Overhead
    speeds: Mapping[int, float]
    stragglers: tuple[Straggler, ...] = ()
    handling_noise: NoiseLaw = field(default_factory=NoNoise)
    handling_cores: int | None = None
    loopback_is_memory: bool = False
    routing: Routing = field(default_factory=Shortest)
    changes: Changes = field(default_factory=Changes)
    goodput: float = 1.0
    profiles: tuple[Profile, ...] = ()
    replaced: tuple[str, ...] = ()

    @property
    def hosts(self) -> int:
        """Number of hosts."""
        return self.topology.hosts

    @property
    def device(self) -> Device:
        """Device of every host that nothing else is said of."""
        return self.host.device

    def wiring(self) -> Wiring:
        """Hosts, switches and links, loopbacks left out."""
        return self.changes.apply(self.topology.wiring(self.host, self.link)).scaled(self.goodput)

    def loopback_of(self, device: Device) -> Link:
        """The way from a host with this device to itself."""
        return replace(self.loopback, bandwidth=device.memory_bandwidth) if self.loopback_is_memory else self.loopback

    def build(self) -> Cluster:
        """Hosts, links and routes.

        What was built last is kept while its spec lives: planning, theory and every run of a scenario ask for it.
        """
        built = _BUILT.get(id(self))
        if built is None:
            built = join(self.wiring(), self.loopback_of, self.routing)
            room = _MOST_LINKS - len(built.links)
            while _BUILT and sum(len(other.links) for other in _BUILT.values()) > room:
                del _BUILT[next(iter(_BUILT))]
            _BUILT[id(self)] = built
            finalize(self, _BUILT.pop, id(self), None).atexit = False
        return built


_BUILT: dict[int, Cluster] = {}
"""By the identity of their specs, those built last at the end."""
_MOST_LINKS = 50_000
"""Of all that are kept; a larger cluster is kept alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is trained.

    Attributes
    ----------
    model_kind, model_options, data_kind, data_options
        Kinds, and all their options by name; `data_kind` is None without data.
    batch_size, batches
        Samples per worker (per pipeline) of the first step, and of each.
    trials
        Sizes that are tried while the run goes on; `batches` has the first size alone then. None: no other.
    dtype
        "float32", "float64", "float16" or "bfloat16"; the first two can be trained in.
    data, model
        Sizes of the data, and the model as costs.
    """

    model_kind: str
    model_options: Mapping[str, Any]
    data_kind: str | None
    data_options: Mapping[str, Any]
    batch_size: int
    batches: Batches
    dtype: str
    data: DataSpec | None
    model: Model
    trials: Trials | None = None

    def samples(self, scheme: Scheme, run: int, steps: float) -> float:
        """Samples that all workers take in so many first steps of a run of `run` steps."""
        before, found, start = self.batches.before, 0.0, 0.0
        for stop, count in scheme.batches(run):
            end = max(start, min(steps, stop))
            found += count * (before(end) - before(start))
            start = end
        return found

    @property
    def sizes(self) -> tuple[int, ...]:
        """All batch sizes that a worker may have."""
        return self.batches.sizes + (() if self.trials is None else self.trials.sizes)


class Optimizer(NamedTuple):
    """Kind of the optimiser, and all its options by name."""

    kind: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How long, from which seed, with real gradients or costs only, and what is kept of the trace."""

    steps: int = setting("iterations of each worker (of each pipeline)", 0, ge=1, le=1_000_000_000)
    epochs: float | None = setting(
        "passes over the data: in the place of steps, as many as take these samples", None, gt=0
    )
    seed: int = setting("seed of every random draw", 0, ge=0, le=10**18)
    learn: bool = setting("train the network for real, in simulated time too", False)
    trace: Literal["rows", "aggregate"] = setting("keep every row of the trace, or sums only", "rows")
    fidelity: Literal["message", "coupled", "auto"] = setting(
        "collectives message by message, as one flow each (coupled), or as one flow where that is close (auto)",
        "message",
    )
    batched_gradients: bool = setting(
        "gradients of workers with the same parameters are computed together: equal to rounding, not bit for bit",
        False,
    )
    fast_paths: Literal["all", "none"] = setting(
        "what gives the same result sooner is used, or every message is simulated by itself", "all"
    )
    evaluate: Evaluate | None = field(default=None, metadata=INTERNAL)
    target: Target | None = field(default=None, metadata=INTERNAL)
    steps_model: StepsModel | None = field(default=None, metadata=INTERNAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execute:
    """How `parasim execute` runs it for real."""

    compute: Literal["real", "paced"] = setting(
        "as long as training takes, or the modelled time: with learn, training goes on within it", "real"
    )
    threads: int = setting("threads of each process for arithmetic", 1, ge=1, le=1024)
    network: Literal["loopback", "shaped"] = setting(
        "messages stay inside this machine, or take links of the scenario's bandwidth and latency", "loopback"
    )
    device: Literal["auto", "cpu", "cuda"] = setting("where values live; auto: on GPUs if there are any", "auto")


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
    compression
        How what is sent is compressed; None: not at all.
    document
        The document after overrides, as plain mappings: what `parasim.scenario.from_document` takes. A model that code
        has made stands there as its layers, and files are named by absolute paths.
    """

    name: str
    source: str
    variant: str
    workload: Workload
    cluster: ClusterSpec
    scheme: Scheme
    placement: tuple[int, ...]
    optimizer: Optimizer
    compression: Compression | None = None
    run: Run
    execute: Execute
    document: Mapping[str, Any]

    def samples(self, steps: float) -> float:
        """Samples that all workers take in so many steps."""
        return self.workload.samples(self.scheme, self.run.steps, steps)

    @property
    def own_pace(self) -> bool:
        """Does each worker take a batch of its own in every step, towards a model that is not its own alone?"""
        scheme = self.scheme
        own = all(count == scheme.options.workers for _, count in scheme.batches(self.run.steps))
        return own and scheme.taxonomy.consistency != "independent"

    def evaluations(self, steps: float, samples: float | None = None) -> float:
        """Evaluations that are due after so many steps and samples of all (default: those of the batches)."""
        evaluate, data = self.run.evaluate, self.workload.data
        assert evaluate is not None
        assert data is not None
        return evaluate.due(steps, self.samples(steps) if samples is None else samples, data.samples)
