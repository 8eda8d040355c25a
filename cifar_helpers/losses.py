"""Loss functions by name, all of them of logits and integer labels."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F


def _against_one_hot(function: Callable) -> Callable:
    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return function(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype))

    return loss


# Every one is a mean over the images; those against a one-hot target are a mean over the classes too.
LOSSES: dict[str, Callable] = {
    "cross_entropy": F.cross_entropy,
    "nll": lambda logits, labels: F.nll_loss(F.log_softmax(logits, 1), labels),
    "mse": _against_one_hot(F.mse_loss),
    "smooth_l1": _against_one_hot(F.smooth_l1_loss),
    "bce_with_logits": _against_one_hot(F.binary_cross_entropy_with_logits),
}


def criterion(name: str = "cross_entropy", label_smoothing: float = 0.0) -> Callable:
    """The loss of this name: (logits (N, C), labels (N,)) → mean loss.

    Args:
        label_smoothing: share of every target that is spread over all classes; for ``cross_entropy`` alone.

    Raises:
        ValueError: an unknown name, or smoothing for another loss.
    """
    if name not in LOSSES:
        raise ValueError(f"Unknown loss {name!r}; choose one of {', '.join(LOSSES)}.")
    if not label_smoothing:
        return LOSSES[name]
    if name != "cross_entropy":
        raise ValueError(f"label_smoothing goes with cross_entropy, not with {name}.")
    return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def l1_penalty(parameters: Iterable[torch.Tensor]) -> torch.Tensor:
    """Sum of the absolute values of all weights with two dimensions or more (biases and normalisation left alone)."""
    return sum(p.abs().sum() for p in parameters if p.dim() > 1)
