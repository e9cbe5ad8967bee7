"""The workloads: scenario files of this folder, or the same with overrides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parasim.scenario import Scenario

__all__ = ["CASES", "Case"]

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario file with overrides.

    Attributes
    ----------
    long
        Takes parasim or the peer so long that it is run only when it is named, or all are asked for.
    peer
        Does the peer's program run it too? Not where it would be another case's run once more.
    """

    file: Path
    overrides: tuple[str, ...] = ()
    long: bool = False
    peer: bool = True

    def load(self) -> Scenario:
        """The scenario."""
        import parasim

        return parasim.load(self.file, list(self.overrides))


def _case(stem: str, *overrides: str, long: bool = False, peer: bool = True) -> Case:
    return Case(_HERE / f"{stem}.yaml", overrides, long, peer)


CASES: dict[str, Case] = {
    "r256": _case("r256"),
    "r256_coupled": _case("r256", "run.fidelity=coupled", peer=False),
    "r1024": _case("r1024"),
    "r1024_coupled": _case("r1024", "run.fidelity=coupled", peer=False),
    "r1024_noise": _case("r1024_noise"),
    "d256": _case("d256", long=True),
    "ps256": _case("ps256"),
    "ps1024": _case("ps1024"),
    "pss120": _case("pss120"),
    "pss1008": _case("pss1008", long=True),
    "r1024_fat16": _case("r1024_fat16"),
    "r1024_fat16o": _case("r1024_fat16o", long=True),
}
"""By name."""
