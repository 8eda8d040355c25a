"""The small and middling networks of the sources: MyNet, LeNet-5, the ConvNet, AlexNet (SPEC §2 to §5)."""

import torch
from torch import nn

from .layers import ACTIVATIONS, initialise, lookup


class MyNet(nn.Module):
    """Source 001's own network: two convolutions with batch norm, two linear layers; 152 820 parameters (SPEC §2).

    Args:
        hidden: width of the hidden linear layer; 500 gives 657 220 parameters.
        kernel2: size of the second convolution's filters, unpadded; 3 with ``hidden=500`` gives 916 220 parameters.
        activation: name in ``ACTIVATIONS``; another one raises ValueError.
        filters: filters of the two convolutions.

    Shape: images (N, 3, 32, 32) → logits (N, 10).
    """

    def __init__(
        self, hidden: int = 100, kernel2: int = 5, activation: str = "relu", filters: tuple[int, int] = (20, 50)
    ):
        super().__init__()
        act = lookup("activation", activation, ACTIVATIONS)
        first, second = filters
        side = (14 - kernel2 + 1) // 2
        self.features = nn.Sequential(
            *(nn.Conv2d(3, first, 5), nn.BatchNorm2d(first), act(), nn.MaxPool2d(2)),
            *(nn.Conv2d(first, second, kernel2), nn.BatchNorm2d(second), act(), nn.MaxPool2d(2)),
        )
        self.classifier = nn.Sequential(nn.Linear(second * side * side, hidden), act(), nn.Linear(hidden, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998) for colour images: 62 006 parameters, 62 458 with batch norm (SPEC §3).

    Args:
        batch_norm: normalise after every convolution and linear layer but the last.
        activation, init: names in ``ACTIVATIONS`` and ``INITS``; another one raises ValueError. Source 002 compares
            ReLU with its own Swish.

    Shape: images (N, 3, 32, 32) → logits (N, 10).
    """

    def __init__(self, batch_norm: bool = False, activation: str = "relu", init: str = "default"):
        super().__init__()
        act = lookup("activation", activation, ACTIVATIONS)

        def conv(inputs: int, filters: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, filters, 5), *([nn.BatchNorm2d(filters)] if batch_norm else []), act()]

        def linear(inputs: int, units: int) -> list[nn.Module]:
            return [nn.Linear(inputs, units), *([nn.BatchNorm1d(units)] if batch_norm else []), act()]

        self.features = nn.Sequential(*conv(3, 6), nn.MaxPool2d(2), *conv(6, 16), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(*linear(400, 120), *linear(120, 84), nn.Linear(84, 10))
        initialise(self, init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class ConvNet(nn.Module):
    """Source 004's basic network: two convolutions, three linear layers; 576 778 parameters (SPEC §5).

    Args:
        dropout: probability of dropping a value after each hidden linear layer, in [0, 1).

    Shape: images (N, 3, 32, 32) → logits (N, 10).
    """

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 5), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
            *(nn.Conv2d(64, 64, 5), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
        )
        drop = [nn.Dropout(dropout)] if dropout else []
        self.classifier = nn.Sequential(
            *(nn.Linear(1024, 384), nn.ReLU(), *drop, nn.Linear(384, 192), nn.ReLU(), *drop), nn.Linear(192, 10)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class AlexNet(nn.Module):
    """Source 003's AlexNet for 32×32 images: 23 272 266 parameters (SPEC §4).

    Half of the inputs of the two wide linear layers are dropped in training.

    Args:
        batch_norm: normalise after each convolution.

    Shape: images (N, 3, 32, 32) → logits (N, 10).
    """

    def __init__(self, batch_norm: bool = False):
        super().__init__()
        layers, channels = [], 3
        for number, filters in enumerate((64, 192, 384, 256, 256), 1):
            layers.append(nn.Conv2d(channels, filters, 3, stride=2 if number == 1 else 1, padding=1))
            layers += [nn.BatchNorm2d(filters)] if batch_norm else []
            layers += [nn.ReLU(), nn.MaxPool2d(2)] if number in (1, 2, 5) else [nn.ReLU()]
            channels = filters
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(1024, 4096), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
            nn.Linear(4096, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))
