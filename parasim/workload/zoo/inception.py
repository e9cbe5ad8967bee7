"""Inception-V3 without its auxiliary head, as torchvision has it. A unit of the trunk is an inception module.

References
----------
Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the inception architecture for computer vision, CVPR 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.workload.blocks import Network
from parasim.workload.data import DataSpec
from parasim.workload.operators import (
    Activate,
    BatchNorm,
    Concatenate,
    Conv,
    Flatten,
    GlobalPool,
    Linear,
    Operator,
    Pool,
)
from parasim.workload.zoo.ends import Images, chain, image_ends

__all__ = ["InceptionV3", "inception_v3"]

_Branch = tuple[Operator, ...]
_SMOOTH: _Branch = (Pool("average", (3, 3), (1, 1), (1, 1)),)
_HALVE: _Branch = (Pool("max", (3, 3), (2, 2)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class InceptionV3(Images):
    """Inception-V3 on images of 299 x 299, without auxiliary head and dropout."""


def _conv(width: int, rows: int, columns: int, stride: int = 1, padded: bool = True) -> _Branch:
    """A convolution that keeps the size (if padded), normalised and rectified."""
    padding = (rows // 2, columns // 2) if padded else (0, 0)
    return (Conv(width, (rows, columns), (stride, stride), padding, bias=False), BatchNorm(), Activate("relu"))


def _shrink(width: int) -> _Branch:
    return _conv(width, 3, 3, stride=2, padded=False)


def _split(width: int) -> _Branch:
    return (Concatenate((_conv(width, 1, 3), _conv(width, 3, 1))),)


def _module_a(pooled: int) -> tuple[_Branch, ...]:
    return (
        _conv(64, 1, 1),
        _conv(48, 1, 1) + _conv(64, 5, 5),
        _conv(64, 1, 1) + _conv(96, 3, 3) + _conv(96, 3, 3),
        _SMOOTH + _conv(pooled, 1, 1),
    )


def _module_b() -> tuple[_Branch, ...]:
    return (_shrink(384), _conv(64, 1, 1) + _conv(96, 3, 3) + _shrink(96), _HALVE)


def _module_c(width: int) -> tuple[_Branch, ...]:
    twice = _conv(width, 7, 1) + _conv(width, 1, 7) + _conv(width, 7, 1) + _conv(192, 1, 7)
    return (
        _conv(192, 1, 1),
        _conv(width, 1, 1) + _conv(width, 1, 7) + _conv(192, 7, 1),
        _conv(width, 1, 1) + twice,
        _SMOOTH + _conv(192, 1, 1),
    )


def _module_d() -> tuple[_Branch, ...]:
    factored = _conv(192, 1, 1) + _conv(192, 1, 7) + _conv(192, 7, 1) + _shrink(192)
    return (_conv(192, 1, 1) + _shrink(320), factored, _HALVE)


def _module_e() -> tuple[_Branch, ...]:
    return (
        _conv(320, 1, 1),
        _conv(384, 1, 1) + _split(384),
        _conv(448, 1, 1) + _conv(384, 3, 3) + _split(384),
        _SMOOTH + _conv(192, 1, 1),
    )


def inception_v3(options: InceptionV3, data: DataSpec | None) -> Network:
    """Five convolutions, eleven inception modules, a linear layer."""
    shape, classes = image_ends("inception-v3", options, (3, 299, 299), 1000, data)
    modules = {
        "mixed_5b": _module_a(32),
        "mixed_5c": _module_a(64),
        "mixed_5d": _module_a(64),
        "mixed_6a": _module_b(),
        "mixed_6b": _module_c(128),
        "mixed_6c": _module_c(160),
        "mixed_6d": _module_c(160),
        "mixed_6e": _module_c(192),
        "mixed_7a": _module_d(),
        "mixed_7b": _module_e(),
        "mixed_7c": _module_e(),
    }
    return chain(
        "inception-v3",
        shape,
        [
            ("conv_1a", _shrink(32)),
            ("conv_2a", _conv(32, 3, 3, padded=False)),
            ("conv_2b", _conv(64, 3, 3) + _HALVE),
            ("conv_3b", _conv(80, 1, 1)),
            ("conv_4a", _conv(192, 3, 3, padded=False) + _HALVE),
            *((name, (Concatenate(branches),)) for name, branches in modules.items()),
            ("fc", (GlobalPool(), Flatten(), Linear(classes))),
        ],
    )
