"""What main programs return, as JSON and bytes: buffers with values, numbers, texts, and lists of them."""

from __future__ import annotations

from typing import Any

from parasim.program.buffers import Buffer

__all__ = ["decode", "encode"]


def encode(value: Any, blobs: list[bytes]) -> Any:
    """As JSON; the values of buffers go to `blobs`. What is none of these becomes None."""
    if isinstance(value, Buffer):
        if value.values is None:
            return None
        values = value.values.detach().cpu().contiguous()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        blobs.append(values.numpy().tobytes())
        return {"type": str(values.numpy().dtype), "blob": len(blobs) - 1}
    if isinstance(value, list | tuple):
        return [encode(item, blobs) for item in value]
    return value if isinstance(value, bool | int | float | str) else None


def decode(value: Any, blobs: list[bytes]) -> Any:
    """Numpy arrays in the place of buffers."""
    if isinstance(value, dict):
        import numpy as np

        return np.frombuffer(blobs[value["blob"]], dtype=value["type"]).copy()
    if isinstance(value, list):
        return [decode(item, blobs) for item in value]
    return value
