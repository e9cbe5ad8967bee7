"""A network of your own: parasim calls a function that returns a torch.nn.Module, and reads what its layers cost."""

from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions with a way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images to images of the same size."""
        return nn.functional.relu(images + self.body(images))


def make(classes: int, channels: int = 64) -> nn.Module:
    """What `factory: "own_network:make"` calls, with the scenario's `arguments`."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        Block(channels),
        nn.MaxPool2d(2),
        Block(channels),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, classes),
    )
