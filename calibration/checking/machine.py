"""What machine this is, as far as a prediction for it depends on which one it is."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parasim.study.pool import cores

if TYPE_CHECKING:
    from parasim.cluster.profile import Profile

__all__ = ["differences", "load_average", "machine_of", "this_machine"]

_WORDS = {"processor": "processor", "cores": "cores", "kernel": "kernel"}


def this_machine() -> dict[str, Any]:
    """Model of its processor, number of cores that this process may use, and release of the kernel."""
    return {"processor": _processor(), "cores": cores(), "kernel": platform.release()}


def machine_of(profile: Profile) -> Mapping[str, Any]:
    """What its provenance says of the machine; nothing if it says nothing."""
    machine = profile.provenance.get("machine")
    return machine if isinstance(machine, Mapping) else {}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In what two machines differ, in words; what one of them does not say counts as different."""
    return [
        f"{word} {one.get(key)!r}, not {other.get(key)!r}"
        for key, word in _WORDS.items()
        if one.get(key) != other.get(key)
    ]


def load_average() -> float | None:
    """Processes that wanted to run over the last minute, as Linux tells."""
    try:
        return float(Path("/proc/loadavg").read_text().split()[0])
    except (OSError, ValueError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
