"""A difference, opened: the two traces of a case side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from calibration.checking.alignment import align
from calibration.checking.contributors import Contributor, contributors
from parasim.trace.rows import Row

__all__ = ["GROUPINGS", "explain"]

GROUPINGS = (("op", "label", "tag"), ("rank", "op", "peer"))
"""Columns that operations are grouped by, in turn."""


def explain(case: str, real: Iterable[Row], simulated: Iterable[Row]) -> dict[str, Any]:
    """What the difference of two runs of one scenario is made of.

    Returns
    -------
    dict
        `case`; `real` and `simulated`: seconds per step of a worker's main lane, mean over workers; `matched`: the
        fraction of operations with a counterpart; `groupings`: for each way to group operations the columns (`by`) and
        the `contributors`, as `calibration.checking.contributors` says, the largest first.
    """
    sides = list(real), list(simulated)
    groupings = [(by, contributors(*sides, by)) for by in GROUPINGS]
    whole = groupings[0][1]
    return {
        "case": case,
        "real": sum(one.real for one in whole),
        "simulated": sum(one.simulated for one in whole),
        "matched": align(*sides).matched,
        "groupings": [{"by": list(by), "contributors": [_entry(one) for one in found]} for by, found in groupings],
    }


def _entry(one: Contributor) -> dict[str, Any]:
    return {**asdict(one), "name": list(one.name), "difference": one.difference}
