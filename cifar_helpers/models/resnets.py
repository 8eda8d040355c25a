"""Residual networks (He et al. 2016, arXiv 1512.03385) for 32×32 images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .layers import initialise


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch norm, added to the input or to its 1×1 projection.

    Args:
        inputs, filters: channels before and after.
        stride: of the first convolution.
        projection: where shapes differ, project the input by a 1×1 convolution; without it the input is subsampled and
            padded with zero channels, which needs no parameters (option A of the paper).

    Shape: (N, inputs, H, W) → (N, filters · expansion, H / stride, W / stride).
    """

    expansion = 1

    def __init__(self, inputs: int, filters: int, stride: int = 1, projection: bool = True):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, filters, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters),
        )
        self.shortcut = _shortcut(inputs, filters, stride, projection)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolution with batch norm, the last four times as wide; else as ``BasicBlock``."""

    expansion = 4

    def __init__(self, inputs: int, filters: int, stride: int = 1, projection: bool = True):
        super().__init__()
        outputs = filters * self.expansion
        self.body = nn.Sequential(
            nn.Conv2d(inputs, filters, 1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Conv2d(filters, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = _shortcut(inputs, outputs, stride, projection)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class ZeroPadded(nn.Module):
    """A shortcut without parameters: every ``stride``-th pixel, and zeros for the channels that the input lacks."""

    def __init__(self, missing: int, stride: int):
        super().__init__()
        self.missing, self.stride = missing, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))


def _shortcut(inputs: int, outputs: int, stride: int, projection: bool) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    if not projection:
        return ZeroPadded(outputs - inputs, stride)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """A residual network with the 3×3 stem used for CIFAR-10, without its max-pool (SPEC §5).

    Args:
        blocks: number of blocks at 64, 128, 256 and 512 filters.
        bottleneck: blocks of three convolutions instead of two.

    Shape: images (N, 3, 32, 32) → logits (N, 10).
    """

    def __init__(self, blocks: Sequence[int] = (2, 2, 2, 2), bottleneck: bool = False):
        super().__init__()
        kind = Bottleneck if bottleneck else BasicBlock
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.stages, channels = _stages(kind, blocks, 64, projection=True)
        self.output = nn.Linear(channels, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.stages(self.stem(images)).mean((2, 3)))


def _stages(kind, blocks: Sequence[int], channels: int, projection: bool) -> tuple[nn.Sequential, int]:
    layers = []
    for stage, (count, filters) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True)):
        for position in range(count):
            stride = 2 if stage and position == 0 else 1
            layers.append(kind(channels, filters, stride, projection))
            channels = filters * kind.expansion
    return nn.Sequential(*layers), channels


class ResNet001(nn.Module):
    """A reconstruction of source 001's ResNet from its parameter count alone: 4 737 098 parameters (SPEC §2).

    A 7×7 convolution without bias and batch norm, one basic block each at 64, 128, 256 and 512 filters with zero-padded
    shortcuts, a linear layer. The source names neither stride nor pooling: as in the paper the 7×7 convolution has
    stride 2 and a 3×3 max-pool follows.

    Args:
        init: name in ``INITS``, another one raises ValueError; the source compares its default with ``xavier_uniform``.

    Shape: images (N, 3, 32, 32) → logits (N, 10).
    """

    def __init__(self, init: str = "default"):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages, channels = _stages(BasicBlock, (1, 1, 1, 1), 64, projection=False)
        self.output = nn.Linear(channels, 10)
        initialise(self, init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.stages(self.stem(images)).mean((2, 3)))


def resnet18() -> ResNet:
    """ResNet-18: 11 173 962 parameters."""
    return ResNet((2, 2, 2, 2))


def resnet34() -> ResNet:
    """ResNet-34: 21 282 122 parameters."""
    return ResNet((3, 4, 6, 3))


def resnet50() -> ResNet:
    """ResNet-50: 23 520 842 parameters."""
    return ResNet((3, 4, 6, 3), bottleneck=True)


def resnet101() -> ResNet:
    """ResNet-101: 42 512 970 parameters."""
    return ResNet((3, 4, 23, 3), bottleneck=True)


def resnet152() -> ResNet:
    """ResNet-152: 58 156 618 parameters."""
    return ResNet((3, 8, 36, 3), bottleneck=True)
