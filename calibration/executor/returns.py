"""What main programs return, as JSON and bytes."""

from __future__ import annotations

from typing import Any

from parasim.study.returns import plain

__all__ = ["decode", "encode"]


def encode(value: Any, blobs: list[bytes]) -> Any:
    """As JSON; arrays go to `blobs`."""
    return _encode(plain(value), blobs)


def _encode(value: Any, blobs: list[bytes]) -> Any:
    if isinstance(value, list):
        return [_encode(item, blobs) for item in value]
    if hasattr(value, "tobytes"):
        blobs.append(value.tobytes())
        return {"type": str(value.dtype), "blob": len(blobs) - 1}
    return value


def decode(value: Any, blobs: list[bytes]) -> Any:
    """Numpy arrays in the place of buffers."""
    if isinstance(value, dict):
        import numpy as np

        return np.frombuffer(blobs[value["blob"]], dtype=value["type"]).copy()
    if isinstance(value, list):
        return [decode(item, blobs) for item in value]
    return value
