"""Residual networks: those for ImageNet, those for CIFAR-10, and wide ones. A unit is a residual block.

References
----------
He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016: sections 4.1 (ImageNet) and 4.2 (CIFAR).
Zagoruyko, Komodakis: Wide residual networks, BMVC 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from parasim.program.scheme import option
from parasim.workload.blocks import Network
from parasim.workload.data import DataSpec
from parasim.workload.operators import (
    Activate,
    BatchNorm,
    Conv,
    Flatten,
    GlobalPool,
    Linear,
    Operator,
    Pool,
    Residual,
    Subsample,
)
from parasim.workload.zoo.ends import Images, chain, image_ends

__all__ = ["BLOCKS", "CifarResNet", "ResNet", "WideResNet", "cifar_resnet", "resnet", "wide_resnet"]

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Residual blocks of each stage of the networks for ImageNet; from 50 layers on, they are bottlenecks."""

_RELU = Activate("relu")
_Links = list[tuple[str, tuple[Operator, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNet(Images):
    """ResNet for ImageNet; a bottleneck strides in its 3x3 convolution, as torchvision has it (v1.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CifarResNet(Images):
    """ResNet for CIFAR-10."""

    shortcut: Literal["A", "B"] = option(
        "A", "where channels grow: A, the paper's: zeros, no parameters; B: 1x1 convolution"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WideResNet(Images):
    """Wide residual network for CIFAR-10: pre-activated blocks, without dropout."""


def _conv(width: int, side: int, stride: int = 1) -> Conv:
    return Conv(width, (side, side), (stride, stride), (side // 2, side // 2), bias=False)


def _projection(width: int, stride: int) -> tuple[Operator, ...]:
    return (_conv(width, 1, stride), BatchNorm())


def _basic(width: int, stride: int, shortcut: tuple[Operator, ...]) -> tuple[Operator, ...]:
    body = (_conv(width, 3, stride), BatchNorm(), _RELU, _conv(width, 3), BatchNorm())
    return (Residual(body, shortcut), _RELU)


def _bottleneck(width: int, stride: int, shortcut: tuple[Operator, ...]) -> tuple[Operator, ...]:
    narrow = (_conv(width, 1), BatchNorm(), _RELU, _conv(width, 3, stride), BatchNorm(), _RELU)
    return (Residual((*narrow, _conv(4 * width, 1), BatchNorm()), shortcut), _RELU)


def _head(classes: int) -> tuple[str, tuple[Operator, ...]]:
    return ("fc", (GlobalPool(), Flatten(), Linear(classes)))


def resnet(depth: int) -> Callable[[ResNet, DataSpec | None], Network]:
    """Builder of the network for ImageNet with `depth` layers of weights, a key of `BLOCKS`."""

    def build(options: ResNet, data: DataSpec | None) -> Network:
        shape, classes = image_ends(f"resnet{depth}", options, (3, 224, 224), 1000, data)
        block, growth = (_basic, 1) if depth < 50 else (_bottleneck, 4)
        links: _Links = [("conv1", (_conv(64, 7, 2), BatchNorm(), _RELU, Pool("max", (3, 3), (2, 2), (1, 1))))]
        channels = 64
        for stage, count in enumerate(BLOCKS[depth]):
            width = 64 * 2**stage
            for number in range(count):
                stride = 2 if stage and not number else 1
                shortcut = () if channels == growth * width else _projection(growth * width, stride)
                links.append((f"layer{stage + 1}.{number}", block(width, stride, shortcut)))
                channels = growth * width
        return chain(f"resnet{depth}", shape, [*links, _head(classes)])

    return build


def cifar_resnet(depth: int) -> Callable[[CifarResNet, DataSpec | None], Network]:
    """Builder of the network for CIFAR-10 with ``depth = 6 n + 2`` layers of weights."""

    def build(options: CifarResNet, data: DataSpec | None) -> Network:
        shape, classes = image_ends(f"resnet{depth}", options, (3, 32, 32), 10, data)
        links: _Links = [("conv1", (_conv(16, 3), BatchNorm(), _RELU))]
        for stage, width in enumerate((16, 32, 64)):
            for number in range((depth - 2) // 6):
                stride = 2 if stage and not number else 1
                shortcut: tuple[Operator, ...] = ()
                if stride == 2:
                    shortcut = (Subsample(width, 2),) if options.shortcut == "A" else _projection(width, 2)
                links.append((f"layer{stage + 1}.{number}", _basic(width, stride, shortcut)))
        return chain(f"resnet{depth}", shape, [*links, _head(classes)])

    return build


def wide_resnet(depth: int, factor: int) -> Callable[[WideResNet, DataSpec | None], Network]:
    """Builder of WRN-depth-factor, ``depth = 6 n + 4``; a 1x1 shortcut takes the activated inputs, as the body does."""

    def build(options: WideResNet, data: DataSpec | None) -> Network:
        name = f"wrn-{depth}-{factor}"
        shape, classes = image_ends(name, options, (3, 32, 32), 10, data)
        links: _Links = [("conv1", (_conv(16, 3),))]
        for stage in range(3):
            width = 16 * factor * 2**stage
            for number in range((depth - 4) // 6):
                stride = 2 if stage and not number else 1
                body: tuple[Operator, ...] = (_conv(width, 3, stride), BatchNorm(), _RELU, _conv(width, 3))
                operators: tuple[Operator, ...] = (Residual((BatchNorm(), _RELU, *body)),)
                if not number:
                    operators = (BatchNorm(), _RELU, Residual(body, (_conv(width, 1, stride),)))
                links.append((f"group{stage + 1}.{number}", operators))
        links.append(("fc", (BatchNorm(), _RELU, GlobalPool(), Flatten(), Linear(classes))))
        return chain(name, shape, links)

    return build
