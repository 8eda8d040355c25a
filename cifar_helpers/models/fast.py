"""A network made to be trained in minutes, after airbench94 (Jordan 2024, arXiv 2404.00498).

What it takes from there: a first layer that whitens 2×2 patches and is not trained, few wide 3×3 convolutions without
biases, max-pooling before normalisation, normalisation without a trained scale, and a scaled-down output.
"""

import torch
import torch.nn.functional as F
from torch import nn

PATCH, WHITENED = 2, 24  # 2×2 patches of three channels have 12 directions; each is taken with both signs


def whitening_filters(images: torch.Tensor, eps: float = 5e-4) -> torch.Tensor:
    """Filters that map 2×2 patches of these images to uncorrelated values of variance one, and their negatives.

    Args:
        images: (n, 3, h, w) float, normalised as for training.
        eps: added to every variance, so that directions with almost none are not blown up to noise.

    Returns:
        (24, 3, 2, 2): the eigenvectors of the patches' covariance over the root of their eigenvalues, then −1 times.
    """
    patches = F.unfold(images, PATCH).transpose(1, 2).reshape(-1, 3 * PATCH * PATCH).double()
    covariance = patches.T @ patches / len(patches)
    values, vectors = torch.linalg.eigh(covariance)
    filters = (vectors / (values + eps).sqrt()).T.reshape(-1, 3, PATCH, PATCH).flip(0)
    return torch.cat([filters, -filters]).float()


def _conv(inputs: int, filters: int) -> nn.Conv2d:
    """3×3 convolution whose first filters begin as the identity (Zagoruyko & Komodakis 2017)."""
    layer = nn.Conv2d(inputs, filters, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[:inputs].detach())
    return layer


def _norm(channels: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels, momentum=0.4)  # short runs need running averages that follow quickly
    layer.weight.requires_grad_(False)
    return layer


class FastNet(nn.Module):
    """The fast recipe's network: a whitening layer and three stages of two 3×3 convolutions with ``widths`` filters.

    Shape: images (N, 3, 32, 32) → logits (N, 10).
    """

    def __init__(self, widths: tuple[int, int, int] = (64, 256, 256)):
        super().__init__()
        self.whiten = nn.Conv2d(3, WHITENED, PATCH, bias=True)
        self.whiten.weight.requires_grad_(False)
        nn.init.zeros_(self.whiten.bias)
        stages, channels = [], WHITENED
        for width in widths:
            stages += [_conv(channels, width), nn.MaxPool2d(2), _norm(width), nn.GELU()]
            stages += [_conv(width, width), _norm(width), nn.GELU()]
            channels = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, 10, bias=False)
        with torch.no_grad():
            self.head.weight.div_(self.head.weight.std())

    @torch.no_grad()
    def prepare(self, images: torch.Tensor) -> None:
        """Set the first layer from training images, (n, 3, 32, 32) float, normalised as for training."""
        self.whiten.weight.copy_(whitening_filters(images))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stages(F.gelu(self.whiten(images)))
        x = x.amax((2, 3))
        return self.head(x) / x.shape[1]
