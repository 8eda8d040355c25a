"""Networks of the course. One switch each for normalisation, activation and initialisation.

Every class can be built without arguments and then is the network of the source that named it (SPEC §6). The exact
parameter counts are in the tests.
"""

from collections.abc import Callable

import torch
from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
}
NORMS = ("none", "batch")
INITS = ("default", "xavier_normal")


def _lookup(kind: str, name: str, known):
    """Return ``known[name]`` (or ``name`` where ``known`` is a tuple), or say which names there are."""
    if name not in known:
        raise ValueError(f"Unknown {kind} {name!r}; choose one of {', '.join(known)}.")
    return known[name] if isinstance(known, dict) else name


@torch.no_grad()
def initialise(model: nn.Module, init: str) -> None:
    """Initialise convolutions and linear layers in place; normalisation layers keep scale 1 and shift 0.

    ``xavier_normal`` (Glorot & Bengio 2010, eq. 12 as a normal distribution) with zero biases is what the course's
    sample code does; ``default`` leaves PyTorch's own initialisation.

    Raises:
        ValueError: the name is unknown.
    """
    if _lookup("init", init, INITS) == "default":
        return
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def output_layer(model: nn.Module) -> nn.Linear:
    """The last linear layer of a classifier: the one whose gradient the handout calls "back to the output layer"."""
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]


class VGG(nn.Module):
    """VGG for 32×32 images: stages of 3×3 convolutions (padding 1), each closed by a 2×2 max-pool, then linear layers.

    Args:
        stages: filters of each convolution, one tuple per stage.
        hidden: widths of the hidden linear layers.
        norm: ``none`` or ``batch``: what stands between a convolution and its activation.
        norm_hidden: normalise the hidden linear layers too.
        dropout: probability of dropping an input of a hidden linear layer, in [0, 1).
        activation, init: names, see ``ACTIVATIONS`` and ``INITS``.
        num_classes: number of outputs.

    Shape: images (N, 3, 32, 32) → logits (N, num_classes).

    Raises:
        ValueError: an unknown norm, activation or init.
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
    ):
        super().__init__()
        act = _lookup("activation", activation, ACTIVATIONS)
        normalised = _lookup("norm", norm, NORMS) == "batch"
        layers: list[nn.Module] = []
        channels = 3
        for stage in stages:
            for filters in stage:
                layers.append(nn.Conv2d(channels, filters, kernel_size=3, padding=1))
                if normalised:
                    layers.append(nn.BatchNorm2d(filters))
                layers.append(act())
                channels = filters
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

        layers = []
        width = channels * (32 // 2 ** len(stages)) ** 2
        for units in hidden:
            if dropout:
                layers.append(nn.Dropout(dropout))
            layers.append(nn.Linear(width, units))
            if normalised and norm_hidden:
                layers.append(nn.BatchNorm1d(units))
            layers.append(act())
            width = units
        layers.append(nn.Linear(width, num_classes))
        self.classifier = nn.Sequential(*layers)
        initialise(self, init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


VGG_A_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class VGG_A(VGG):
    """VGG-A of the course's sample code: 9 750 922 parameters (SPEC §6).

    The arguments and errors are those of ``VGG``.
    """

    def __init__(self, activation: str = "relu", init: str = "xavier_normal", num_classes: int = 10):
        super().__init__(VGG_A_STAGES, (512, 512), activation=activation, init=init, num_classes=num_classes)


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
    ):
        super().__init__(
            VGG_A_STAGES,
            (512, 512),
            norm="batch",
            norm_hidden=norm_hidden,
            activation=activation,
            init=init,
            num_classes=num_classes,
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
