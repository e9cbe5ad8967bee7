"""Directed links. A cable that carries both ways is two of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from parasim.fields import INTERNAL, check_fields, quantity

__all__ = ["Link"]


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a connection: `bandwidth` in bytes/s, `latency` in seconds.

    Raises
    ------
    ScenarioError
        If the bandwidth is not a finite number above zero, or the latency is negative or infinite.
    """

    name: str = field(metadata=INTERNAL)
    bandwidth: float = quantity("bytes/s", "of each link and direction", gt=0)
    latency: float = quantity("seconds", "of each link and direction", 0.0, ge=0)

    def __post_init__(self) -> None:
        check_fields(self, f"link {self.name!r}")
