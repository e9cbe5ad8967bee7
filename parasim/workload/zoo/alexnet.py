"""AlexNet in its single-column version, as torchvision has it.

References
----------
Krizhevsky: One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997, 2014. The first AlexNet
(Krizhevsky, Sutskever, Hinton, NIPS 2012) had two columns and 60,965,224 parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.workload.blocks import Network
from parasim.workload.data import DataSpec
from parasim.workload.operators import Activate, Conv, Flatten, GlobalPool, Linear, Pool
from parasim.workload.zoo.ends import Images, chain, image_ends

__all__ = ["AlexNet", "alexnet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlexNet(Images):
    """AlexNet, the single-column version of 2014, without dropout."""


def alexnet(options: AlexNet, data: DataSpec | None) -> Network:
    """Five convolutions and three linear layers."""
    shape, classes = image_ends("alexnet", options, (3, 224, 224), 1000, data)
    relu, pool = Activate("relu"), Pool("max", (3, 3), (2, 2))
    return chain(
        "alexnet",
        shape,
        [
            ("conv1", (Conv(64, (11, 11), (4, 4), (2, 2)), relu, pool)),
            ("conv2", (Conv(192, (5, 5), padding=(2, 2)), relu, pool)),
            ("conv3", (Conv(384, (3, 3), padding=(1, 1)), relu)),
            ("conv4", (Conv(256, (3, 3), padding=(1, 1)), relu)),
            ("conv5", (Conv(256, (3, 3), padding=(1, 1)), relu, pool)),
            ("fc6", (GlobalPool(6, 6), Flatten(), Linear(4096), relu)),
            ("fc7", (Linear(4096), relu)),
            ("fc8", (Linear(classes),)),
        ],
    )
