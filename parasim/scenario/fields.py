"""Fields of a scenario's sections: dataclass fields with a line of documentation, limits, and a unit if they have one.

The sections of a file (parasim/scenario/model.py) and the options of schemes (parasim/program/scheme.py), models, data
and optimisers are dataclasses described in this one manner; `parasim/scenario/check.py` validates and
`parasim/scenario/schema.py` documents whatever is described so.
"""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any

__all__ = ["quantity", "setting"]


def setting(doc: str, default: Any = MISSING, **limits: float) -> Any:
    """Describe a plain field, required unless it has a default; `limits` are `ge`, `gt`, `le`, `lt`."""
    if default is MISSING:
        return field(metadata={"doc": doc, **limits})
    return field(default=default, metadata={"doc": doc, **limits})


def quantity(dimension: str, doc: str, default: Any = MISSING, **limits: float) -> Any:
    """Describe a float written with a unit ("10 Gbit/s"); `dimension` is a key of `parasim.units.DIMENSIONS`."""
    return setting(doc, default, **limits, dimension=dimension)  # type: ignore[arg-type]
