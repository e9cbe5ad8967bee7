"""The compressors: one code per file. A new one is one new file and one line in `COMPRESSORS`."""

from __future__ import annotations

from parasim.compression.half import Bf16, Fp16
from parasim.compression.identity import Identity
from parasim.compression.topk import TopK
from parasim.program.compressor import Compressor

__all__ = ["COMPRESSORS"]

COMPRESSORS: dict[str, type[Compressor]] = {code.name: code for code in (Identity, Fp16, Bf16, TopK)}
"""All compressors, by name; their fields are their options."""
