"""Normalisation layers: the controls that Santurkar et al. set against batch norm (SPEC §8).

Each normalises the channels of (N, C, H, W) or (N, C) inputs and has a trained scale γ and shift β per channel.
"""

from collections.abc import Callable

import torch
from torch import nn


def _over(x: torch.Tensor) -> tuple[int, ...]:
    """All dimensions but the channels."""
    return (0, *range(2, x.dim()))


def _per_channel(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))


class LpBatchNorm(nn.Module):
    """Subtract the batch mean, divide by the batch's mean ℓp norm before the subtraction (the paper's section 3.3).

    Unlike batch norm it does not fix the variance: what is left of the distribution may shift. p = ∞ takes the largest
    value. In evaluation mode running averages of both statistics are used.

    Args:
        channels: number of channels; p: 1, 2 or ``float("inf")``; eps, momentum: as in batch norm.

    Shape: (N, C, H, W) or (N, C), the same out.
    """

    def __init__(self, channels: int, p: float, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.p, self.eps, self.momentum = p, eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_norm", torch.ones(channels))

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        """Mean ℓp norm of each channel: (mean |x|^p)^(1/p), or max |x|."""
        if self.p == float("inf"):
            return x.abs().amax(_over(x))
        return x.abs().pow(self.p).mean(_over(x)).clamp_min(self.eps**self.p).pow(1 / self.p)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, norm = self.running_mean, self.running_norm
        if self.training:
            mean, norm = x.mean(_over(x)), self.norm(x)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_norm.lerp_(norm, self.momentum)
        x = (x - _per_channel(mean, x)) / _per_channel(norm + self.eps, x)
        return _per_channel(self.weight, x) * x + _per_channel(self.bias, x)


class NoisyBatchNorm(nn.BatchNorm2d):
    """Batch norm followed by noise that shifts and scales each channel, drawn at each step (the paper's section 2.1).

    In training mode: per step and channel μ ~ U(−0.5, 0.5) and σ ~ U(1, 1.25); per image and channel m ~ U(μ ± 0.1) and
    s ~ N(σ, 0.1); then a ← s·a + m. The distribution of activations shifts more than without batch norm. Evaluation is
    that of batch norm.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward(x)
        if not self.training:
            return x
        images, channels = x.shape[:2]

        def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
            return torch.empty(shape, device=x.device, dtype=x.dtype).uniform_(low, high)

        mean, spread = uniform(-0.5, 0.5, 1, channels), uniform(1.0, 1.25, 1, channels)
        shift = mean + uniform(-0.1, 0.1, images, channels)
        scale = spread + 0.1 * torch.randn(images, channels, device=x.device, dtype=x.dtype)
        return scale[:, :, None, None] * x + shift[:, :, None, None]


def _group(channels: int) -> nn.GroupNorm:
    """Groups of eight channels, or all of them where eight do not divide."""
    return nn.GroupNorm(channels // 8 if channels % 8 == 0 else 1, channels)


NORMS: dict[str, Callable[[int], nn.Module] | None] = {
    "none": None,
    "batch": nn.BatchNorm2d,
    "noisy_batch": NoisyBatchNorm,
    "group": _group,
    "layer": lambda channels: nn.GroupNorm(1, channels),  # all channels and places of one image
    "l1": lambda channels: LpBatchNorm(channels, 1),
    "l2": lambda channels: LpBatchNorm(channels, 2),
    "linf": lambda channels: LpBatchNorm(channels, float("inf")),
}
