"""Overlap-SGP: gradient push whose messages travel beside the next gradients (Assran et al. 2019; SCHEMES S20).

The program is that of sgp.py; only the defaults differ.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.program import Taxonomy, option
from parasim.schemes.sgp import Sgp, SgpOptions

__all__ = ["OverlapSgp"]


@dataclass(frozen=True, kw_only=True)
class OverlapSgpOptions(SgpOptions):
    """Options of Overlap-SGP."""

    overlap: int = option(1, "iterations that messages may be late", ge=1)


class OverlapSgp(Sgp):
    """Data parallel, bounded-stale with in-neighbours, decentralised (directed gossip)."""

    name = "osgp"
    aliases = ("overlap_sgp", "overlapped_sgp", "asynchronous_sgp")
    citation = "Assran, Loizou, Ballas, Rabbat (2019)"
    taxonomy = Taxonomy(
        "data parallel", "stale-synchronous", "decentralised", "shares of models to out-neighbours", "model averaging"
    )
    approximates = "models averaged with neighbours, late"
    Options = OverlapSgpOptions
