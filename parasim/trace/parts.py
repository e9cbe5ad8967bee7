"""Parts of memory, by the labels under which programs hold it."""

from __future__ import annotations

__all__ = ["PARTS", "part_of"]

_LABELS = {
    "weights": "weights",
    "model": "weights",
    "stashed weights": "stashed versions",
    "gradient": "gradients",
    "optimizer state": "optimizer state",
    "activations": "activations",
    "inputs": "activations",
    "output gradients": "activations",
    "messages": "messages",
}
PARTS = (*dict.fromkeys(_LABELS.values()), "buffers")
"""Weights, stashed versions of them, gradients, optimizer state, activations in flight; messages that have come and are
not read yet, or are on their way to somebody; buffers are all the rest."""


def part_of(label: str) -> str:
    """The part that a label belongs to."""
    return _LABELS.get(label, "buffers")
