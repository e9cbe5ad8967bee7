"""LeNet-5.

References
----------
LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proceedings of the IEEE 1998.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.workload.blocks import Network
from parasim.workload.data import DataSpec
from parasim.workload.operators import Activate, Conv, Flatten, Linear, Operator, Pool
from parasim.workload.zoo.ends import Images, chain, image_ends

__all__ = ["LeNet5", "lenet5"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeNet5(Images):
    """LeNet-5 as it is built today: plain average pooling, C3 connected to every map, linear outputs."""


def lenet5(options: LeNet5, data: DataSpec | None) -> Network:
    """Images smaller than 32 x 32 get a border of zeros, as the paper's digits of 28 x 28 do."""
    shape, classes = image_ends("lenet5", options, (1, 32, 32), 10, data)
    border = tuple(max(0, (33 - side) // 2) for side in shape[1:])
    squash, halve = Activate("tanh"), Pool("average", (2, 2), (2, 2))
    links: list[tuple[str, tuple[Operator, ...]]] = [
        ("c1", (Conv(6, (5, 5), padding=(border[0], border[1])), squash, halve)),
        ("c3", (Conv(16, (5, 5)), squash, halve)),
        ("c5", (Flatten(), Linear(120), squash)),
        ("f6", (Linear(84), squash)),
        ("output", (Linear(classes),)),
    ]
    return chain("lenet5", shape, links)
