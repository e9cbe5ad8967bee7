"""Is what was measured fit to be used? What is not is flagged, in a line that says what to do."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from calibration.fitting.session import Turn
from calibration.probes.record import Observation
from parasim.cluster.profile import Measured, Number, Profile, Transport

__all__ = [
    "DISTURBED",
    "Agreement",
    "agreement",
    "busy_flags",
    "drift_flags",
    "numbers_of",
    "undisturbed",
    "wide_flags",
]

MOST_BUSY = 0.05
"""Of the processors' time, by others, before a probe."""

MOST_STOLEN = 0.01
"""Of the processors' time, by the hypervisor, during a probe."""

DISTURBED = 0.05
"""Share of the processors' time that the hypervisor takes from a turn that says nothing of the machine."""
_STAY = 3
"""Rounds of a probe that stay in any case."""
_NEEDED = 2
"""Rounds of a kind of observation: not every round times every kind."""

MOST_WIDE = 10.0
"""Upper over lower end of an interval."""

MOST_DRIFT = 0.05
"""Between the first and the last round, of the middle of all times."""

_LEAST = 1e-30


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two profiles: how many fitted numbers both have, and those that differ by more than their intervals allow."""

    count: int
    apart: Mapping[str, tuple[Number, Number]]


def undisturbed(turns: Sequence[Turn]) -> tuple[list[Turn], list[str]]:
    """Leave out turns of probes during which the hypervisor took much of the processors' time from the machine.

    Of each probe, and of each kind of what it times, as many rounds stay as intervals need, the least disturbed. Of
    those that stay, what was timed on slow cores goes where at least as many other rounds have timed it. The second
    reply says what was left out, and what could not be.
    """
    kept: list[Turn] = []
    left_out = []
    for probe in dict.fromkeys(turn.probe for turn in turns):
        own = sorted((turn for turn in turns if turn.probe == probe), key=lambda turn: turn.stolen or 0.0)
        stay, rounds = [], Counter[str]()
        for place, turn in enumerate(own):
            kinds = {one.kind for one in turn.observations}
            if place < _STAY or (turn.stolen or 0.0) <= DISTURBED or any(rounds[kind] < _NEEDED for kind in kinds):
                stay.append(turn)
                rounds.update(kinds)
            else:
                left_out.append(turn)
        kept += stay
    kept.sort(key=lambda turn: turn.round)
    flags = []
    if left_out:
        which = ", ".join(f"{turn.probe} of round {turn.round + 1}" for turn in left_out)
        flags = [f"left out, as the hypervisor took over {DISTURBED:.0%} of the processors' time from them: {which}"]
    kept, slow = _calm(kept)
    return kept, flags + slow


def _calm(turns: Sequence[Turn]) -> tuple[list[Turn], list[str]]:
    """Leave out what was timed while others had a part of a core, where enough other rounds timed the same."""
    times = {(_what(one), turn.round) for turn in turns for one in turn.observations if not one.slow}
    calm = Counter(what for what, _ in times)
    kept = [
        replace(turn, observations=tuple(o for o in turn.observations if not o.slow or calm[_what(o)] < _NEEDED))
        for turn in turns
    ]
    stayed = sum(one.slow for turn in kept for one in turn.observations)
    if not stayed:
        return kept, []
    timed = sum(len(turn.observations) for turn in kept)
    return kept, [
        f"others had a part of the cores during {stayed} of {timed} timings that nothing stands in for: calibrate again"
        " when the machine is quieter"
    ]


def _what(one: Observation) -> tuple[object, ...]:
    """What was timed, in whatever round."""
    return one.probe, one.kind, *sorted(one.parameters.items())


def busy_flags(turns: Sequence[Turn]) -> list[str]:
    """Flags probes beside which the machine did something else."""
    flags = []
    for what, limit, shares in (
        ("others took", MOST_BUSY, [turn.busy for turn in turns if turn.busy is not None]),
        ("the hypervisor took", MOST_STOLEN, [turn.stolen for turn in turns if turn.stolen is not None]),
    ):
        over = [share for share in shares if share > limit]
        if over:
            flags.append(
                f"{what} up to {max(over):.0%} of the processors' time, over {limit:.0%} in {len(over)} of"
                f" {len(shares)} turns of probes: stop what else runs and calibrate again"
            )
    return flags


def drift_flags(observations: Sequence[Observation]) -> list[str]:
    """Flags a machine that was faster or slower in the last round than in the first."""
    means: dict[object, dict[int, list[float]]] = {}
    for one in observations:
        if one.seconds > 0:
            key = (one.probe, one.kind, tuple(sorted(one.parameters.items())))
            means.setdefault(key, {}).setdefault(one.round, []).append(math.log(one.seconds))
    rounds = sorted({one.round for one in observations})
    if len(rounds) < 2:
        return []
    first, last = rounds[0], rounds[-1]
    moved = [
        statistics.median(found[last]) - statistics.median(found[first])
        for found in means.values()
        if first in found and last in found
    ]
    middle = statistics.median(moved) if moved else 0.0
    if abs(middle) <= MOST_DRIFT:
        return []
    return [
        f"the last round took {math.exp(middle):.2f} times as long as the first: let the machine warm up or cool down,"
        " and calibrate again"
    ]


def wide_flags(profile: Profile) -> list[str]:
    """Flags numbers that the data do not determine."""
    wide = [name for name, number in numbers_of(profile) if number.high > MOST_WIDE * max(number.low, _LEAST)]
    if not wide:
        return []
    shown = ", ".join(wide[:4]) + (f" and {len(wide) - 4} more" if wide[4:] else "")
    return [f"{shown}: not known to within a factor of {MOST_WIDE:g}: calibrate in more rounds, or with all probes"]


def numbers_of(profile: Profile) -> Iterator[tuple[str, Number]]:
    """Every number of a profile, with its path ("handling.post")."""
    for entry in fields(profile):
        yield from _numbers(entry.name, getattr(profile, entry.name))


def agreement(one: Profile, other: Profile) -> Agreement:
    """Compare two profiles of one machine, as those of the odd and the even rounds of one calibration.

    Two numbers agree if they differ by no more than both intervals together allow: by the root of the sum of the
    squares of the half-widths that face each other. With 90 % intervals, one of ten is apart by chance. A number that
    both know exactly was set, not fitted, and does not count.
    """
    others = dict(numbers_of(other))
    both = [(name, mine, others[name]) for name, mine in numbers_of(one) if name in others]
    fitted = [any(number.low < number.high for number in (mine, yours)) for _, mine, yours in both]
    pairs = [known for known, counts in zip(both, fitted, strict=True) if counts]
    apart = {}
    for name, mine, yours in pairs:
        lower, upper = sorted((mine, yours), key=lambda number: number.value)
        if upper.value - lower.value > math.hypot(lower.high - lower.value, upper.value - upper.low):
            apart[name] = (mine, yours)
    return Agreement(len(pairs), apart)


def _numbers(path: str, value: object) -> Iterator[tuple[str, Number]]:
    if isinstance(value, Number):
        yield path, value
    elif isinstance(value, Measured):
        yield from _numbers(path, value.seconds)
    elif isinstance(value, Transport):
        yield from _numbers(f"{path}.goodput", value.goodput)
        yield from _numbers(f"{path}.bandwidth", value.bandwidth)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{path}.{key}", inner)
    elif isinstance(value, tuple):
        for place, inner in enumerate(value):
            yield from _numbers(f"{path}.{place}", inner)
