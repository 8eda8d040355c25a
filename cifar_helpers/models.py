"""Networks of the course, each with one explicit switch for normalisation, activation and initialisation.

Every network but the general ``VGG`` can be built without arguments and then is that of the source that named it. The
exact parameter counts are in the tests. The residual networks are in ``resnets``, the fast recipe's network in
``fast``; a config finds all of them here by name.
"""

import torch
from torch import nn

from . import owncode
from .fast import FastNet
from .layers import ACTIVATIONS, INITS, Swish, initialise, lookup, output_layer, parameter_count
from .norms import NORMS
from .resnets import ResNet, ResNet001, resnet18, resnet34, resnet50, resnet101, resnet152

__all__ = [
    "ACTIVATIONS",
    "INITS",
    "NORMS",
    "AlexNet",
    "ConvNet",
    "FastNet",
    "LeNet5",
    "MyNet",
    "ResNet",
    "ResNet001",
    "Swish",
    "VGG",
    "VGGNet",
    "VGG_A",
    "VGG_A_BatchNorm",
    "VGG_A_BatchNorm_Dropout",
    "VGG_A_Dropout",
    "VGG_A_Light",
    "VGG_BatchNorm",
    "initialise",
    "known",
    "output_layer",
    "parameter_count",
    "register",
    "resnet101",
    "resnet152",
    "resnet18",
    "resnet34",
    "resnet50",
]


class MyNet(nn.Module):
    """Source 001's own network: two convolutions with batch norm, two linear layers; 152 820 parameters (SPEC §2).

    Args:
        hidden: width of the hidden linear layer; 500 gives 657 220 parameters.
        kernel2: size of the second convolution's filters, unpadded; 3 with ``hidden=500`` gives 916 220 parameters.
        activation, init: names, see ``ACTIVATIONS`` and ``INITS``.
        filters: filters of the two convolutions.
        batch_norm: normalise after each convolution.

    Shape: images (N, 3, 32, 32) → logits (N, num_classes).

    Raises:
        ValueError: an unknown activation or init.
    """

    def __init__(
        self,
        hidden: int = 100,
        kernel2: int = 5,
        activation: str = "relu",
        init: str = "default",
        filters: tuple[int, int] = (20, 50),
        batch_norm: bool = True,
        num_classes: int = 10,
    ):
        super().__init__()
        act = lookup("activation", activation, ACTIVATIONS)
        first, second = filters
        side = (14 - kernel2 + 1) // 2
        self.features = nn.Sequential(
            nn.Conv2d(3, first, 5),
            *([nn.BatchNorm2d(first)] if batch_norm else []),
            act(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, kernel2),
            *([nn.BatchNorm2d(second)] if batch_norm else []),
            act(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Linear(second * side * side, hidden), act(), nn.Linear(hidden, num_classes))
        initialise(self, init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998) for colour images: 62 006 parameters, 62 458 with batch norm (SPEC §3).

    Args:
        batch_norm: normalise after every convolution and linear layer but the last.
        activation, init: names, see ``ACTIVATIONS`` and ``INITS``; source 002 compares ReLU with its own Swish.

    Shape: images (N, 3, 32, 32) → logits (N, num_classes).

    Raises:
        ValueError: an unknown activation or init.
    """

    def __init__(
        self, batch_norm: bool = False, activation: str = "relu", init: str = "default", num_classes: int = 10
    ):
        super().__init__()
        act = lookup("activation", activation, ACTIVATIONS)

        def conv(inputs: int, filters: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, filters, 5), *([nn.BatchNorm2d(filters)] if batch_norm else []), act()]

        def linear(inputs: int, units: int) -> list[nn.Module]:
            return [nn.Linear(inputs, units), *([nn.BatchNorm1d(units)] if batch_norm else []), act()]

        self.features = nn.Sequential(*conv(3, 6), nn.MaxPool2d(2), *conv(6, 16), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(*linear(400, 120), *linear(120, 84), nn.Linear(84, num_classes))
        initialise(self, init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class ConvNet(nn.Module):
    """Source 004's basic network: two convolutions, three linear layers; 576 778 parameters (SPEC §5).

    Args:
        activation, init: names, see ``ACTIVATIONS`` and ``INITS``.
        dropout: probability of dropping a value after each hidden linear layer, in [0, 1).

    Shape: images (N, 3, 32, 32) → logits (N, num_classes).

    Raises:
        ValueError: an unknown activation or init.
    """

    def __init__(self, activation: str = "relu", dropout: float = 0.0, init: str = "default", num_classes: int = 10):
        super().__init__()
        act = lookup("activation", activation, ACTIVATIONS)
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 5), act(), nn.MaxPool2d(3, stride=2)),
            *(nn.Conv2d(64, 64, 5), act(), nn.MaxPool2d(3, stride=2)),
        )
        drop = [nn.Dropout(dropout)] if dropout else []
        self.classifier = nn.Sequential(
            *(nn.Linear(1024, 384), act(), *drop, nn.Linear(384, 192), act(), *drop), nn.Linear(192, num_classes)
        )
        initialise(self, init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class AlexNet(nn.Module):
    """Source 003's AlexNet for 32×32 images: 23 272 266 parameters (SPEC §4).

    Args:
        batch_norm: normalise after each convolution.
        activation, init: names, see ``ACTIVATIONS`` and ``INITS``.
        dropout: probability of dropping an input of the two wide linear layers, in [0, 1).

    Shape: images (N, 3, 32, 32) → logits (N, num_classes).

    Raises:
        ValueError: an unknown activation or init.
    """

    def __init__(
        self,
        batch_norm: bool = False,
        activation: str = "relu",
        init: str = "default",
        dropout: float = 0.5,
        num_classes: int = 10,
    ):
        super().__init__()
        act = lookup("activation", activation, ACTIVATIONS)
        layers, channels = [], 3
        for number, filters in enumerate((64, 192, 384, 256, 256), 1):
            layers.append(nn.Conv2d(channels, filters, 3, stride=2 if number == 1 else 1, padding=1))
            layers += [nn.BatchNorm2d(filters)] if batch_norm else []
            layers += [act(), nn.MaxPool2d(2)] if number in (1, 2, 5) else [act()]
            channels = filters
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            *(nn.Dropout(dropout), nn.Linear(1024, 4096), act()),
            *(nn.Dropout(dropout), nn.Linear(4096, 4096), act()),
            nn.Linear(4096, num_classes),
        )
        initialise(self, init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class VGGNet(nn.Module):
    """Source 001's "VGGNet", reconstructed from its layer list: 14 777 162 parameters (SPEC §2).

    Every convolution has a bias and padding 1, the 1×1 ones too; each of five stages ends with a 2×2 max-pool (padding
    1 but for the first) and one batch norm.

    Args:
        init: see ``INITS``; the source compares its default with ``xavier_uniform``.

    Shape: images (N, 3, 32, 32) → logits (N, num_classes).

    Raises:
        ValueError: an unknown init.
    """

    def __init__(self, init: str = "default", num_classes: int = 10):
        super().__init__()
        layers, channels = [], 3
        for number, filters in enumerate((64, 128, 128, 256, 512)):
            for kernel in (3, 3) if number < 2 else (3, 3, 1):
                layers += [nn.Conv2d(channels, filters, kernel, padding=1), nn.ReLU()]
                channels = filters
            layers += [nn.MaxPool2d(2, padding=0 if number == 0 else 1), nn.BatchNorm2d(filters)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            *(nn.Linear(512 * 4 * 4, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU()), nn.Linear(1024, num_classes)
        )
        initialise(self, init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class VGG(nn.Module):
    """VGG for 32×32 images: stages of 3×3 convolutions (padding 1), each closed by a 2×2 max-pool, then linear layers.

    Args:
        stages: filters of each convolution, one tuple per stage.
        hidden: widths of the hidden linear layers.
        norm: what stands between a convolution and its activation, see ``norms.NORMS``.
        norm_hidden: batch norm after the hidden linear layers too; only with ``norm="batch"``.
        dropout: probability of dropping an input of a hidden linear layer, in [0, 1).
        activation, init: names, see ``ACTIVATIONS`` and ``INITS``.
        num_classes: number of outputs.
        width: share of the filters and hidden units; ¼ gives a small network for tests and sweeps.
        init_scale: factor of the initial weights.

    Shape: images (N, 3, 32, 32) → logits (N, num_classes).

    Raises:
        ValueError: an unknown norm, activation or init; a width that leaves no filter; a scale ≤ 0.
    """

    def __init__(
        self,
        stages: tuple[tuple[int, ...], ...],
        hidden: tuple[int, ...],
        norm: str = "none",
        norm_hidden: bool = False,
        dropout: float = 0.0,
        activation: str = "relu",
        init: str = "xavier_normal",
        num_classes: int = 10,
        width: float = 1.0,
        init_scale: float = 1.0,
    ):
        super().__init__()
        act, make_norm = lookup("activation", activation, ACTIVATIONS), lookup("norm", norm, NORMS)
        if norm_hidden and norm != "batch":
            raise ValueError(f"norm_hidden goes with norm='batch', not {norm!r}.")
        stages = tuple(tuple(round(width * filters) for filters in stage) for stage in stages)
        hidden = tuple(round(width * units) for units in hidden)
        if min(*hidden, *(filters for stage in stages for filters in stage)) < 1:
            raise ValueError(f"A width of {width!r} leaves no filter in some layer.")
        layers: list[nn.Module] = []
        channels = 3
        for stage in stages:
            for filters in stage:
                layers.append(nn.Conv2d(channels, filters, kernel_size=3, padding=1))
                if make_norm:
                    layers.append(make_norm(filters))
                layers.append(act())
                channels = filters
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

        layers = []
        inputs = channels * (32 // 2 ** len(stages)) ** 2
        for units in hidden:
            if dropout:
                layers.append(nn.Dropout(dropout))
            layers.append(nn.Linear(inputs, units))
            if norm_hidden:
                layers.append(nn.BatchNorm1d(units))
            layers.append(act())
            inputs = units
        layers.append(nn.Linear(inputs, num_classes))
        self.classifier = nn.Sequential(*layers)
        initialise(self, init, init_scale)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


VGG_A_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class VGG_A(VGG):
    """VGG-A of the course's sample code: 9 750 922 parameters (SPEC §6).

    The arguments and errors are those of ``VGG``.
    """

    def __init__(
        self,
        activation: str = "relu",
        init: str = "xavier_normal",
        num_classes: int = 10,
        norm: str = "none",
        width: float = 1.0,
        init_scale: float = 1.0,
    ):
        super().__init__(
            *(VGG_A_STAGES, (512, 512)),
            norm=norm,
            activation=activation,
            init=init,
            num_classes=num_classes,
            width=width,
            init_scale=init_scale,
        )


class VGG_A_BatchNorm(VGG):
    """VGG-A with batch normalisation after every convolution: 9 756 426 parameters (SPEC §6).

    Args:
        norm_hidden: also normalise the two hidden linear layers: 9 758 474 parameters.

    The other arguments and errors are those of ``VGG``.
    """

    def __init__(
        self,
        norm_hidden: bool = False,
        activation: str = "relu",
        init: str = "xavier_normal",
        num_classes: int = 10,
        width: float = 1.0,
        init_scale: float = 1.0,
    ):
        super().__init__(
            *(VGG_A_STAGES, (512, 512)),
            norm="batch",
            norm_hidden=norm_hidden,
            activation=activation,
            init=init,
            num_classes=num_classes,
            width=width,
            init_scale=init_scale,
        )


VGG_BatchNorm = VGG_A_BatchNorm  # the handout's name for it


class VGG_A_Light(VGG):
    """Two convolutions (16, 32) and hidden layers of 128: 285 162 parameters (SPEC §6)."""

    def __init__(self, init: str = "xavier_normal", num_classes: int = 10):
        super().__init__(((16,), (32,)), (128, 128), init=init, num_classes=num_classes)


class VGG_A_Dropout(VGG):
    """VGG-A with dropout before each hidden linear layer: as many parameters as VGG-A (SPEC §6)."""

    def __init__(self, dropout: float = 0.5, init: str = "xavier_normal", num_classes: int = 10):
        super().__init__(VGG_A_STAGES, (512, 512), dropout=dropout, init=init, num_classes=num_classes)


class VGG_A_BatchNorm_Dropout(VGG):
    """VGG-A with batch normalisation after the convolutions and dropout before the hidden linear layers (SPEC §5)."""

    def __init__(self, dropout: float = 0.5, init: str = "xavier_normal", num_classes: int = 10):
        super().__init__(VGG_A_STAGES, (512, 512), norm="batch", dropout=dropout, init=init, num_classes=num_classes)


def known() -> list[str]:
    """Names that a config may give as its model: the networks of this room and those added by ``register``."""
    kinds = {n for n, value in globals().items() if isinstance(value, type) and issubclass(value, nn.Module)}
    builders = (resnet18, resnet34, resnet50, resnet101, resnet152)
    return sorted(kinds - {"Swish"} | {build.__name__ for build in builders})


def register(network: type[nn.Module]) -> type[nn.Module]:
    """Class decorator that lets a config name a network of the reader's own, in this process.

    Changed code is noticed: everything of the reader's that the class runs is part of what a record's initial weights
    are compared by (``owncode.digest``).

    Raises:
        ValueError: the course has a network of this name.
    """
    name = network.__name__
    if name in globals() and name not in owncode.REGISTERED:
        raise ValueError(f"The course has a {name} already; give your network another name.")
    owncode.REGISTERED[name] = globals()[name] = network
    return network


globals().update(owncode.REGISTERED)  # this room may have been reloaded
