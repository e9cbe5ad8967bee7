"""What kernels were measured to take, on top of the roofline: curves by kind of kernel, and exact blocks.

The roofline (Williams, Waterman, Patterson 2009) is what a kernel takes if its FLOP, or its bytes, go at the device's
peak. What it really takes is looked up, piece by piece: the exact block if it was measured, else the curve of its kind,
else that of a wider kind ("linear/forward", "forward", "kernel"), else the roofline itself.
"""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from parasim.cluster.profile import Measured
from parasim.errors import CalibrationError, ScenarioWarning
from parasim.program.ops import Kernel, Piece

__all__ = ["Block", "Curve", "Curves"]


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds measured over the seconds of the roofline, of kernels of one kind.

    Attributes
    ----------
    sizes
        Seconds of the roofline at the device's peak, rising.
    seconds
        Measured there. Between, the curve is straight on double logarithmic scales; below, as at the least size (what
        it costs to start a kernel); above, as efficient as at the largest.

    Raises
    ------
    CalibrationError
        If the numbers are not as many, not above zero, or sizes do not rise.
    """

    sizes: tuple[float, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        _check(self.sizes, self.seconds)

    def at(self, size: float) -> float:
        """Seconds of a kernel that takes `size` seconds by the roofline."""
        sizes, seconds = self.sizes, self.seconds
        if size <= sizes[0]:
            return seconds[0]
        if size >= sizes[-1]:
            return size * (seconds[-1] / sizes[-1])
        above = bisect.bisect_right(sizes, size)
        share = math.log(size / sizes[above - 1]) / math.log(sizes[above] / sizes[above - 1])
        return seconds[above - 1] * math.exp(share * math.log(seconds[above] / seconds[above - 1]))


@dataclass(frozen=True, slots=True)
class Block:
    """Seconds measured of one block (or whole pass) over its samples; attributes and errors as those of `Curve`.

    Between two sizes seconds grow evenly, since a block costs so much to start and so much per sample; below and above
    they go as a `Curve`'s do.
    """

    sizes: tuple[float, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        _check(self.sizes, self.seconds)

    def at(self, size: float) -> float:
        """Seconds on so many samples."""
        sizes, seconds = self.sizes, self.seconds
        if size <= sizes[0]:
            return seconds[0]
        if size >= sizes[-1]:
            return size * (seconds[-1] / sizes[-1])
        above = bisect.bisect_right(sizes, size)
        share = (size - sizes[above - 1]) / (sizes[above] - sizes[above - 1])
        return seconds[above - 1] + share * (seconds[above] - seconds[above - 1])


@dataclass(frozen=True, slots=True)
class Curves:
    """All that was measured of a device's kernels.

    Attributes
    ----------
    kinds
        By kind of piece.
    blocks
        By signature.
    outside
        Sizes asked for so far outside of what was measured, by kind or signature: (least, most).

    Warns
    -----
    ScenarioWarning
        Once for each kind and signature that is asked for at a size outside of what was measured.
    """

    kinds: Mapping[str, Curve] = field(default_factory=dict, hash=False)
    blocks: Mapping[str, Block] = field(default_factory=dict, hash=False)
    outside: dict[str, tuple[float, float]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _found: dict[tuple[object, ...], tuple[float, object]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, kernels: Mapping[str, Measured], blocks: Mapping[str, Measured]) -> Curves:
        """The curves of a profile's numbers."""
        return cls(
            {kind: Curve(table.sizes, _values(table)) for kind, table in kernels.items()},
            {signature: Block(table.sizes, _values(table)) for signature, table in blocks.items()},
        )

    def seconds(self, kernel: Kernel, flops: float, bandwidth: float) -> float:
        """Time of a kernel alone on a device of these peak rates (FLOP/s, bytes/s)."""
        pieces = kernel.pieces
        what = (id(pieces), kernel.size) if pieces else (kernel.kind, kernel.flops, kernel.nbytes)
        key = (what, flops, bandwidth)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _KEPT:
                self._found.clear()
            # `pieces` are kept beside the result: no others can then have their id.
            found = self._found[key] = (self._find(kernel, flops, bandwidth), pieces)
        return found[0]

    def _find(self, kernel: Kernel, flops: float, bandwidth: float) -> float:
        whole = self.blocks.get(kernel.signature)
        if whole is not None:
            return self._asked(kernel.signature, whole, kernel.size)
        pieces = kernel.pieces or (Piece(kernel.kind, "", kernel.flops, kernel.nbytes),)
        return sum(piece.count * self._piece(piece, kernel.size, flops, bandwidth) for piece in pieces)

    def _piece(self, piece: Piece, size: int, flops: float, bandwidth: float) -> float:
        block = self.blocks.get(piece.signature)
        if block is not None:
            return self._asked(piece.signature, block, size)
        ideal = max(piece.flops / flops, piece.nbytes / bandwidth)
        for kind in _wider(piece.kind):
            curve = self.kinds.get(kind)
            if curve is not None:
                return self._asked(kind, curve, ideal)
        return ideal

    def _asked(self, name: str, table: Curve | Block, size: float) -> float:
        """Seconds at a size; one that is outside is noted, and the first of each table warns."""
        least, most = table.sizes[0], table.sizes[-1]
        if (size < least * _LESS and size > 0.0) or size > most * _MORE:
            if name not in self.outside:
                unit = " s of the roofline" if isinstance(table, Curve) else " samples"
                warnings.warn(
                    f"profile: {name} was measured from {least:.3g} to {most:.3g}{unit}, but is asked for at "
                    f"{size:.3g}: calibrate with the scenario, or take the prediction with care",
                    ScenarioWarning,
                    stacklevel=2,
                )
            before = self.outside.get(name, (size, size))
            self.outside[name] = (min(size, before[0]), max(size, before[1]))
        return table.at(size)


_KEPT = 65_536
_LESS, _MORE = 1.0 - 1e-9, 1.0 + 1e-9


def _wider(kind: str) -> Iterator[str]:
    """The kind itself, then without its first word, and so on; "kernel" is any."""
    while True:
        yield kind
        _, slash, kind = kind.partition("/")
        if not slash:
            yield "kernel"
            return


def _values(table: Measured) -> tuple[float, ...]:
    return tuple([number.value for number in table.seconds])


def _check(sizes: Sequence[float], seconds: Sequence[float]) -> None:
    if not sizes or len(sizes) != len(seconds):
        raise CalibrationError(f"{len(sizes)} sizes and {len(seconds)} times; give as many of both, one or more")
    for name, numbers in (("size", sizes), ("time", seconds)):
        for number in numbers:
            if not 0.0 < number < math.inf:
                raise CalibrationError(f"measured {name} {number} is not above zero and finite; measure it again")
    for before, after in itertools.pairwise(sizes):
        if before >= after:
            raise CalibrationError(f"measured sizes must rise, but {after:g} follows {before:g}; sort them")
