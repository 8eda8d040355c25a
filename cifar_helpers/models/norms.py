"""Normalisation layers: batch norm written out, and the controls that Santurkar et al. set against it (SPEC §8).

Each normalises the channels of (N, C, H, W) or (N, C) inputs and has a trained scale γ and shift β per channel.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.autograd.function import once_differentiable

EPS, MOMENTUM = 1e-5, 0.1


def _over(x: torch.Tensor) -> tuple[int, ...]:
    """All dimensions but the channels."""
    return (0, *range(2, x.dim()))


def _per_channel(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))


class _Normalise(torch.autograd.Function):
    """x̂ = (x − μ) / σ with γ and β, and its gradient derived by hand (Ioffe & Szegedy 2015, section 3)."""

    @staticmethod
    def forward(context, x, scale, shift, mean, variance, eps, from_batch):
        deviation = (variance + eps).sqrt()
        x_hat = (x - _per_channel(mean, x)) / _per_channel(deviation, x)
        context.save_for_backward(x_hat, scale, deviation)
        context.from_batch = from_batch
        return _per_channel(scale, x) * x_hat + _per_channel(shift, x)

    @staticmethod
    @once_differentiable  # x̂ is kept as a number: a second derivative would be wrong, so it is refused
    def backward(context, grad):
        x_hat, scale, deviation = context.saved_tensors
        dims = _over(grad)
        to_shift, to_scale = grad.sum(dims), (grad * x_hat).sum(dims)
        through = grad
        if context.from_batch:  # mean and variance depend on x: what they see of the gradient is taken out
            count = grad.numel() // grad.shape[1]
            through = grad - _per_channel(to_shift, grad) / count - x_hat * _per_channel(to_scale, grad) / count
        to_x = through * _per_channel(scale / deviation, grad)
        return to_x, to_scale, to_shift, None, None, None, None


class BatchNormByHand(nn.Module):
    """Batch norm with forward and backward written out; equal to ``nn.BatchNorm2d`` (and 1d) in both modes.

    In training mode a batch is normalised by its own mean and *biased* variance; the running averages take the mean and
    the *unbiased* variance, each with weight ``momentum``. In evaluation mode the running averages normalise.

    Args:
        channels: number of channels; eps: added to the variance; momentum: weight of the newest batch.

    Shape: (N, C, H, W) or (N, C), the same out.

    Raises:
        ValueError: another number of channels; in training mode, a single value per channel: it has no variance.
    """

    def __init__(self, channels: int, eps: float = EPS, momentum: float = MOMENTUM):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() < 2 or x.shape[1] != len(self.weight):
            raise ValueError(f"Batch norm for {len(self.weight)} channels got an input of shape {tuple(x.shape)}.")
        mean, variance = self.running_mean, self.running_var
        if self.training:
            count = x.numel() // x.shape[1]
            if count < 2:
                raise ValueError(f"Batch norm needs more than one value per channel to train, not {tuple(x.shape)}.")
            with torch.no_grad():
                mean, variance = x.mean(_over(x)), x.var(_over(x), correction=0)
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return _Normalise.apply(x, self.weight, self.bias, mean, variance, self.eps, self.training)


class LpBatchNorm(nn.Module):
    """Subtract the batch mean, divide by the batch's mean ℓp norm before the subtraction (the paper's section 3.3).

    Unlike batch norm it does not fix the variance: what is left of the distribution may shift. p = ∞ takes the largest
    value. In evaluation mode running averages of both statistics are used.

    Args:
        channels: number of channels; p: 1, 2 or ``float("inf")``; eps, momentum: as in batch norm.

    Shape: (N, C, H, W) or (N, C), the same out.
    """

    def __init__(self, channels: int, p: float, eps: float = EPS, momentum: float = MOMENTUM):
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
    "by_hand": BatchNormByHand,
    "group": _group,
    "layer": lambda channels: nn.GroupNorm(1, channels),  # all channels and places of one image
    "l1": lambda channels: LpBatchNorm(channels, 1),
    "l2": lambda channels: LpBatchNorm(channels, 2),
    "linf": lambda channels: LpBatchNorm(channels, float("inf")),
}
