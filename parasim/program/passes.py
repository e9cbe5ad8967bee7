"""Forward and backward passes of a part as pieces: one per layer, and what training does beside the layers.

Beside them: samples are taken from the data (by the first layer's part), the loss and its gradient are found (by the
last one's), and the gradients of all layers are put together in one vector.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Literal

from parasim.program.model import Part
from parasim.program.ops import Piece

__all__ = ["FIRST", "backward_pieces", "forward_pieces", "half_pieces", "pass_signature"]

FIRST = " first"
"""Ends the signature of a backward pass that finds no gradient of its inputs, as a network's first layer."""


def forward_pieces(part: Part, samples: int) -> tuple[Piece, ...]:
    """Pieces of the forward pass of a part on so many samples, in their order, equal neighbours together."""
    model, itemsize = part.model, part.model.itemsize
    pieces = []
    if part.is_first and model.source:
        source = _named(part, model.source, "inputs")
        pieces.append(Piece("inputs/forward", source, 0.0, 2.0 * samples * part.input_elements * itemsize))
    for layer in part.layers:
        moved = layer.parameters + samples * (layer.input_elements + layer.stored_elements)
        flops = layer.forward_flops * samples
        signature = layer.signature and _named(part, layer.signature, "forward")
        pieces.append(Piece(f"{layer.kind}/forward", signature, flops, float(moved * itemsize)))
    if part.is_last and model.loss:
        loss = _named(part, model.loss, "loss")
        pieces.append(Piece("loss/forward", loss, 0.0, 4.0 * samples * part.output_elements * itemsize))
    return _merged(pieces)


def backward_pieces(part: Part, samples: int) -> tuple[Piece, ...]:
    """The same of the backward pass."""
    model, itemsize = part.model, part.model.itemsize
    pieces = []
    for number, layer in zip(reversed(range(part.start, part.stop)), reversed(part.layers), strict=True):
        first = number == 0
        flops = layer.weight_flops + (0.0 if first and not model.needs_input_gradient else layer.input_flops)
        moved = 2 * layer.parameters + samples * (2 * layer.stored_elements + layer.input_elements)
        signature = layer.signature and _named(part, f"{layer.signature}{FIRST if first else ''}", "backward")
        pieces.append(Piece(f"{layer.kind}/backward", signature, flops * samples, float(moved * itemsize)))
    pieces.append(Piece("gather/backward", "", 0.0, 4.0 * part.nbytes))
    return _merged(pieces)


def half_pieces(part: Part, samples: int, half: Literal["inputs", "weights"]) -> tuple[Piece, ...]:
    """Of the half of the backward pass that finds gradients of inputs, or of weights and of both what it moves."""
    model, itemsize = part.model, part.model.itemsize
    pieces = []
    for number, layer in zip(reversed(range(part.start, part.stop)), reversed(part.layers), strict=True):
        if half == "inputs":
            if number == 0 and not model.needs_input_gradient:
                continue
            flops, moved = (
                layer.input_flops,
                layer.parameters + samples * (layer.stored_elements + layer.input_elements),
            )
        else:
            flops, moved = layer.weight_flops, layer.parameters + samples * layer.stored_elements
        pieces.append(Piece(f"{layer.kind}/backward", "", flops * samples, float(moved * itemsize)))
    if half == "weights":
        pieces.append(Piece("gather/backward", "", 0.0, 4.0 * part.nbytes))
    return _merged(pieces)


def pass_signature(part: Part, direction: str) -> str:
    """Names a whole pass by its layers, samples and loss; "" if a layer has no signature."""
    names = [layer.signature for layer in part.layers]
    if not all(names):
        return ""
    model = part.model
    if part.is_first:
        names[0] += FIRST
    ends = [model.source] if part.is_first and model.source else []
    ends += [model.loss] if part.is_last and model.loss else []
    runs = [(name, len(list(equal))) for name, equal in itertools.groupby(names)]
    listed = [name if count == 1 else f"{count} x ({name})" for name, count in runs]
    return _named(part, " | ".join([*listed, *ends]), direction)


def _named(part: Part, words: str, direction: str) -> str:
    """With the direction, and the width of numbers if they are not of 32 bits."""
    itemsize = part.model.itemsize
    return f"{words}{'' if itemsize == 4 else f' in {8 * itemsize} bits'}/{direction}"


def _merged(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    merged = []
    for piece, equal in itertools.groupby(pieces):
        count = len(list(equal))
        merged.append(Piece(piece.kind, piece.signature, piece.flops, piece.nbytes, count))
    return tuple(merged)
