"""The compressors: one code per file. A new one is one new file and one line in `COMPRESSORS`."""

from __future__ import annotations

from parasim.compression.dgc import Dgc
from parasim.compression.ef_signsgd import EfSignSgd
from parasim.compression.half import Bf16, Fp16
from parasim.compression.identity import Identity
from parasim.compression.onebit import OneBit
from parasim.compression.powersgd import PowerSgd
from parasim.compression.qsgd import Qsgd
from parasim.compression.randomk import RandomK, RescaledRandomK
from parasim.compression.signsgd import SignSgd
from parasim.compression.terngrad import SharedTernGrad, TernGrad
from parasim.compression.threshold import Threshold
from parasim.compression.topk import TopK
from parasim.program.compressor import Compressor

__all__ = ["COMPRESSORS"]

_CODES: tuple[type[Compressor], ...] = (
    Identity,
    Fp16,
    Bf16,
    OneBit,
    Qsgd,
    TernGrad,
    SharedTernGrad,
    SignSgd,
    EfSignSgd,
    Threshold,
    TopK,
    RandomK,
    RescaledRandomK,
    Dgc,
    PowerSgd,
)

COMPRESSORS: dict[str, type[Compressor]] = {code.name: code for code in _CODES}
"""All compressors, by name; their fields are their options."""
