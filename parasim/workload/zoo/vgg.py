"""VGG networks, configurations A, B, D and E, without batch normalisation.

References
----------
Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition, ICLR 2015, table 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from parasim.workload.blocks import Network
from parasim.workload.data import DataSpec
from parasim.workload.operators import Activate, Conv, Flatten, GlobalPool, Linear, Operator, Pool
from parasim.workload.zoo.ends import Images, chain, image_ends

__all__ = ["CONVOLUTIONS", "Vgg", "vgg"]

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""3x3 convolutions before each pooling, by the number of layers with weights."""
_WIDTHS = (64, 128, 256, 512, 512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vgg(Images):
    """VGG: 3x3 convolutions, pooling by 2, three linear layers; without dropout."""


def vgg(depth: int) -> Callable[[Vgg, DataSpec | None], Network]:
    """Builder of the network with `depth` layers of weights, a key of `CONVOLUTIONS`."""

    def build(options: Vgg, data: DataSpec | None) -> Network:
        shape, classes = image_ends(f"vgg{depth}", options, (3, 224, 224), 1000, data)
        relu = Activate("relu")
        links: list[tuple[str, tuple[Operator, ...]]] = []
        for group, (count, width) in enumerate(zip(CONVOLUTIONS[depth], _WIDTHS, strict=True), 1):
            for number in range(1, count + 1):
                operators: tuple[Operator, ...] = (Conv(width, (3, 3), padding=(1, 1)), relu)
                if number == count:
                    operators = (*operators, Pool("max", (2, 2), (2, 2)))
                links.append((f"conv{group}_{number}", operators))
        links += [
            ("fc6", (GlobalPool(7, 7), Flatten(), Linear(4096), relu)),
            ("fc7", (Linear(4096), relu)),
            ("fc8", (Linear(classes),)),
        ]
        return chain(f"vgg{depth}", shape, links)

    return build
