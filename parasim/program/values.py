"""`value`: how the small classes are made that a run makes most of, operations and what they carry.

They are slotted dataclasses, compared and hashed by value, that nobody changes. The type checker holds them frozen; at
run time they are not guarded, because the guard of a frozen dataclass doubles the price of making one, and a run makes
several per operation.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

__all__ = ["value"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:

    def value(*, frozen: bool, slots: bool) -> Any:
        """As `dataclasses.dataclass`, for `frozen` and slotted classes."""
        assert frozen
        assert slots
        return dataclasses.dataclass(slots=True, unsafe_hash=True)
