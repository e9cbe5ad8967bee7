"""What main programs return, for users: the same of either runtime."""

from __future__ import annotations

from typing import Any

from parasim.program.buffers import Buffer

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Numpy arrays in the place of buffers (None without values), lists of lists and tuples; None for other objects."""
    if isinstance(value, Buffer):
        values = value.look()
        if values is None:
            return None
        values = values.detach().cpu().contiguous()
        if str(values.dtype) == "torch.bfloat16":  # which numpy does not know
            values = values.float()
        return values.numpy().copy()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else None
