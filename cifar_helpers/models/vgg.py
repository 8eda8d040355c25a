"""The VGG family: source 001's VGGNet and the VGG-A networks of the course's sample code (SPEC §2, §6)."""

import torch
from torch import nn

from .layers import ACTIVATIONS, initialise, lookup
from .norms import NORMS


class VGGNet(nn.Module):
    """Source 001's "VGGNet", reconstructed from its layer list: 14 777 162 parameters (SPEC §2).

    Every convolution has a bias and padding 1, the 1×1 ones too; each of five stages ends with a 2×2 max-pool (padding
    1 but for the first) and one batch norm.

    Args:
        init: name in ``INITS``, another one raises ValueError; the source compares its default with ``xavier_uniform``.

    Shape: images (N, 3, 32, 32) → logits (N, 10).
    """

    def __init__(self, init: str = "default"):
        super().__init__()
        layers, channels = [], 3
        for number, filters in enumerate((64, 128, 128, 256, 512)):
            for kernel in (3, 3) if number < 2 else (3, 3, 1):
                layers += [nn.Conv2d(channels, filters, kernel, padding=1), nn.ReLU()]
                channels = filters
            layers += [nn.MaxPool2d(2, padding=0 if number == 0 else 1), nn.BatchNorm2d(filters)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            *(nn.Linear(512 * 4 * 4, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU()), nn.Linear(1024, 10)
        )
        initialise(self, init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


VGG_A_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class VGG(nn.Module):
    """VGG for 32×32 images: stages of 3×3 convolutions (padding 1), each closed by a 2×2 max-pool, then linear layers.

    Args:
        stages: filters of each convolution, one tuple per stage; VGG-A's if not given.
        hidden: widths of the hidden linear layers.
        norm: what stands between a convolution and its activation, see ``models.NORMS``.
        norm_hidden: batch norm after the hidden linear layers too; only with ``norm="batch"``.
        dropout: probability of dropping an input of a hidden linear layer, in [0, 1).
        activation, init: names, see ``ACTIVATIONS`` and ``INITS``.
        width: share of the filters and hidden units; ¼ gives a small network for tests and sweeps.
        init_scale: factor of the initial weights.

    Shape: images (N, 3, 32, 32) → logits (N, 10).

    Raises:
        ValueError: an unknown norm, activation or init; a width that leaves no filter; a scale ≤ 0.
    """

    def __init__(
        self,
        stages: tuple[tuple[int, ...], ...] = VGG_A_STAGES,
        hidden: tuple[int, ...] = (512, 512),
        norm: str = "none",
        norm_hidden: bool = False,
        dropout: float = 0.0,
        activation: str = "relu",
        init: str = "xavier_normal",
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
                layers += [make_norm(filters), act()] if make_norm else [act()]
                channels = filters
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

        layers = []
        inputs = channels * (32 // 2 ** len(stages)) ** 2
        for units in hidden:
            layers += [nn.Dropout(dropout)] if dropout else []
            layers.append(nn.Linear(inputs, units))
            layers += [nn.BatchNorm1d(units), act()] if norm_hidden else [act()]
            inputs = units
        layers.append(nn.Linear(inputs, 10))
        self.classifier = nn.Sequential(*layers)
        initialise(self, init, init_scale)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class VGG_A(VGG):
    """VGG-A of the course's sample code: 9 750 922 parameters (SPEC §6).

    The arguments and errors are those of ``VGG``.
    """


class VGG_A_BatchNorm(VGG):
    """VGG-A with batch normalisation after every convolution: 9 756 426 parameters (SPEC §6).

    Args:
        norm_hidden: also normalise the two hidden linear layers: 9 758 474 parameters.
        width: as in ``VGG``.
    """

    def __init__(self, norm_hidden: bool = False, width: float = 1.0):
        super().__init__(norm="batch", norm_hidden=norm_hidden, width=width)


VGG_BatchNorm = VGG_A_BatchNorm  # the handout's name for it


class VGG_A_Light(VGG):
    """Two convolutions (16, 32) and hidden layers of 128: 285 162 parameters (SPEC §6)."""

    def __init__(self):
        super().__init__(((16,), (32,)), (128, 128))


class VGG_A_Dropout(VGG):
    """VGG-A with dropout ½ before each hidden linear layer: as many parameters as VGG-A (SPEC §6)."""

    def __init__(self, width: float = 1.0):
        super().__init__(dropout=0.5, width=width)


class VGG_A_BatchNorm_Dropout(VGG):
    """VGG-A with batch normalisation after the convolutions and dropout ½ before the hidden linear layers (SPEC §5)."""

    def __init__(self, width: float = 1.0):
        super().__init__(norm="batch", dropout=0.5, width=width)
