"""The contiguous partition of a row of costs whose largest sum is least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["balanced_cuts"]

_TIE = 1e-12


def balanced_cuts(
    costs: Sequence[Sequence[float]], fits: Callable[[int, int, int], np.ndarray[Any, Any]] | None = None
) -> list[int] | None:
    """Where to cut: part k is ``[cut[k], cut[k + 1])``; ties give the earlier parts less.

    Dynamic programming over the ends of parts: O(parts * entries^2).

    Parameters
    ----------
    costs
        A row per part: what each entry costs there.
    fits
        ``fits(part, least, stop)``: may this part reach from each of ``least..stop - 1`` to `stop`? None: all may.

    Returns
    -------
    list
        One number more than parts; None if no partition is allowed.
    """
    import numpy as np

    parts, entries = len(costs), len(costs[0])
    best = np.full(entries + 1, np.inf)
    best[0] = 0.0
    chosen = []
    for part, row in enumerate(costs):
        sums = np.cumsum([0.0, *row])
        found, starts = np.full(entries + 1, np.inf), np.zeros(entries + 1, int)
        for stop in range(part + 1, entries - (parts - part - 1) + 1):
            largest = np.maximum(best[part:stop], sums[stop] - sums[part:stop])
            if fits is not None:
                largest = np.where(fits(part, part, stop), largest, np.inf)
            least = found[stop] = largest.min()
            starts[stop] = part + int(np.argmax(largest <= least * (1 + _TIE)))
        best = found
        chosen.append(starts)
    if not np.isfinite(best[entries]):
        return None
    cuts = [entries]
    for starts in reversed(chosen):
        cuts.append(int(starts[cuts[-1]]))
    return cuts[::-1]
