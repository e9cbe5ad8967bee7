"""Directed links. A cable that carries both ways is two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parasim.errors import ScenarioError

__all__ = ["Link"]


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a connection: `bandwidth` in bytes/s, `latency` in seconds.

    Raises
    ------
    ScenarioError
        If the bandwidth is not a finite number above zero, or the latency is negative or infinite.
    """

    name: str
    bandwidth: float
    latency: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.bandwidth < math.inf:
            raise ScenarioError(
                f"link {self.name!r}: bandwidth must be finite and above 0 bytes/s, got {self.bandwidth}"
            )
        if not 0 <= self.latency < math.inf:
            raise ScenarioError(f"link {self.name!r}: latency must be finite and 0 seconds or more, got {self.latency}")
