"""Where a scenario's actors sit, as closed forms ask for it; it notes what the forms assume and the scenario breaks."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from parasim.cluster.hosts import Device
from parasim.program.ops import Kernel
from parasim.program.setting import Route
from parasim.simulation.devices import kernel_seconds
from parasim.study.build import build_cast, speeds_of_ranks, stragglers_of_ranks
from parasim.theory.laws import Atoms, Law, factor_law
from parasim.theory.order_statistics import expected_longest, expected_order
from parasim.theory.stragglers import total

if TYPE_CHECKING:
    from parasim.cluster.cluster import Path
    from parasim.scenario.model import Scenario
    from parasim.simulation.stragglers import Straggler

__all__ = ["ScenarioPlace"]


class _Pace(NamedTuple):
    """A device that takes `factor` times as long for each kernel."""

    device: Device
    factor: float

    def seconds(self, kernel: Kernel) -> float:
        return kernel_seconds(self.device, kernel) * self.factor


class ScenarioPlace:
    """The `Place` of a scenario (parasim/program/setting.py).

    A straggler rule of a constant factor that holds for the whole run counts as a slower device; all other rules are
    left out, and noted.
    """

    def __init__(self, scenario: Scenario) -> None:
        spec = scenario.cluster
        cast = build_cast(scenario)
        self._cluster = spec.build()
        self._placement = scenario.placement
        self._overhead = spec.overhead
        self._coupled = scenario.run.fidelity != "message"
        self._noise = spec.noise.kind
        self._law = _law_of(spec.noise)
        speeds, rules = speeds_of_ranks(scenario, cast), stragglers_of_ranks(scenario, cast)
        self._rules_left_out = sum(not _constant(rule) for own in rules.values() for rule in own)
        self._paces = [
            _Pace(
                self._cluster.hosts[host].device,
                math.prod(rule.slowdown or 1.0 for rule in rules.get(rank, ()) if _constant(rule))
                / speeds.get(rank, 1.0),
            )
            for rank, host in enumerate(scenario.placement)
        ]
        self._workers = Counter(self._paces[rank] for rank in cast.groups["worker"].ranks)
        self._sums: dict[tuple[float, ...], Atoms] = {}
        self._slowest_asked = False
        self._differing: set[str] = set()
        self._pairs: set[tuple[int, int]] = set()
        self._most_together = 1

    # what forms ask ------------------------------------------------------------------------------------------------
    @property
    def cores(self) -> float:
        """Cores per actor of the host that has fewest."""
        return min(self._cluster.hosts[host].cores / count for host, count in Counter(self._placement).items())

    @property
    def noisy(self) -> bool:
        """Do computes take random times?"""
        return self._noise != "none"

    def seconds(self, kernel: Kernel, rank: int | None = None) -> float:
        """Mean time of a kernel on an actor's device; without `rank`, on the slowest worker's."""
        if rank is not None:
            return self._paces[rank].seconds(kernel)
        times = {pace.seconds(kernel) for pace in self._workers}
        if len(times) > 1:
            self.differ("workers")
        return max(times)

    def longest(self, kernels: Sequence[Kernel]) -> float:
        """Expected time until every worker has done these kernels, one after the other."""
        times = [([pace.seconds(kernel) for kernel in kernels], count) for pace, count in self._workers.items()]
        law = self._law
        if not self.noisy or law is None or self._workers.total() == 1:
            return max(math.fsum(seconds) for seconds, _ in times)
        self._slowest_asked = True
        return expected_longest([(self._sum(law, tuple(seconds)), count) for seconds, count in times])

    def fastest(self, kernels: Sequence[Kernel], count: int) -> float:
        """Expected time until so many of the workers, whichever are first, have done these kernels.

        With noise on unlike workers, of the means alone.
        """
        times = sorted(math.fsum(pace.seconds(kernel) for kernel in kernels) for pace in self._workers.elements())
        if not self.noisy or self._law is None or len(self._workers) > 1:
            return times[count - 1]
        self._slowest_asked = True
        seconds = next(iter(self._workers)).seconds
        return expected_order(self._sum(self._law, tuple(seconds(kernel) for kernel in kernels)), count, len(times))

    def _sum(self, law: Law, seconds: tuple[float, ...]) -> Atoms:
        """The law of the sum of such kernels; the sums of the first of them are kept, for the next call."""
        found = self._sums.get(seconds)
        if found is None:
            first = [(1.0, self._sum(law, seconds[:-1]))] if len(seconds) > 1 else []
            found = self._sums[seconds] = total([*first, (seconds[-1], law)])
        return found

    def route(self, source: int, destination: int) -> Route:
        """Of a message that nobody disturbs."""
        self._pairs.add((source, destination))
        path = self._cluster.path(self._placement[source], self._placement[destination])
        return self._with_overhead(path.latency, 1.0 / path.bandwidth)

    def together(self, pairs: Iterable[tuple[int, int]]) -> Route:
        """Of the slowest of messages that start at once and are equally long; they share links fairly."""
        paths, load = self._loaded(pairs)
        self._most_together = max(self._most_together, *load.values())
        busiest = [max(load[link] / self._cluster.links[link].bandwidth for link in path.links) for path in paths]
        routes = {self._with_overhead(path.latency, beta) for path, beta in zip(paths, busiest, strict=True)}
        if len(routes) > 1:
            self.differ("routes")
        return Route(max(route.alpha for route in routes), max(route.beta for route in routes))

    def busiest(self, pairs: Iterable[tuple[int, int]]) -> float:
        """Seconds per byte of the busiest link if a byte goes over each of these routes: no sharing gets it sooner."""
        _, load = self._loaded(pairs)
        links = self._cluster.links
        return max((count / links[link].bandwidth for link, count in load.items()), default=0.0)

    def _loaded(self, pairs: Iterable[tuple[int, int]]) -> tuple[list[Path], Counter[int]]:
        """The routes, and how many of them each link is on."""
        paths = [self._cluster.path(self._placement[a], self._placement[b]) for a, b in pairs]
        return paths, Counter(link for path in paths for link in path.links)

    def differ(self, what: str) -> None:
        """Be told that the form takes the slowest of several that differ."""
        self._differing.add(what)

    def _with_overhead(self, latency: float, beta: float) -> Route:
        return Route(latency + self._overhead.per_message, beta + self._overhead.per_byte)

    # what that assumes ---------------------------------------------------------------------------------------------
    @property
    def slowest_taken(self) -> bool:
        """Does the form take the slowest of several workers or routes that differ? Then it is no bound."""
        return bool(self._differing)

    def broken(self) -> list[str]:
        """What the forms that asked assume and the scenario breaks, each in a line."""
        return [line for line in (*self._broken_computes(), *self._broken_routes()) if line]

    def _broken_computes(self) -> Iterable[str]:
        if self._slowest_asked:
            yield f"noise ({self._noise}): the form has the expected slowest worker, and means of all else"
        elif self.noisy:
            yield f"noise ({self._noise}): the form has every compute at its mean"
        if self._rules_left_out:
            yield "stragglers: rules that are random, or hold for a while, are not in the form"
        if "workers" in self._differing:
            yield "unlike workers: the form takes the slowest for all"
        if self.cores < 1:
            yield f"placement: actors share cores ({self.cores:.2g} cores per actor on the fullest host)"
        if self._coupled:
            yield "coupled fidelity: collectives are simulated as one flow each"
        if self._overhead.per_message or self._overhead.per_byte:
            yield "overheads: in the form as latency and time per byte of messages with payload"

    def _broken_routes(self) -> Iterable[str]:
        if "routes" in self._differing:
            yield "unlike routes: the form takes the slowest for all"
        if self._most_together > 1:
            yield f"contention: up to {self._most_together} messages of a round share a link, fairly in the form"
        if self._shared():
            yield "contention: messages of different actors share links, which the form does not know"

    def _shared(self) -> bool:
        """Do routes of different senders to different receivers, asked for one by one, have a link in common?"""
        senders: dict[int, set[int]] = defaultdict(set)
        receivers: dict[int, set[int]] = defaultdict(set)
        for source, destination in self._pairs:
            for link in self._cluster.path(self._placement[source], self._placement[destination]).links:
                senders[link].add(source)
                receivers[link].add(destination)
        return any(len(senders[link]) > 1 and len(receivers[link]) > 1 for link in senders)


def _law_of(noise: Any) -> Law | None:
    """Theory's law of the same kind and parameters."""
    return factor_law(noise.kind, {field.name: getattr(noise, field.name) for field in fields(noise) if field.init})


def _constant(rule: Straggler) -> bool:
    """Does the rule slow down by one factor for the whole run?"""
    return rule.slowdown is not None and not rule.by_step and rule.from_ == 0 and math.isinf(rule.until)
