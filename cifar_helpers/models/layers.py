"""What the networks share: activations, normalisation and initialisation by name, and the course's own ``Swish``."""

from collections.abc import Callable, Mapping

import torch
from torch import nn


class Swish(nn.Module):
    """x · sigmoid(x) (Ramachandran et al. 2017); PyTorch has it as ``nn.SiLU``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "swish": Swish,
}
INITS: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = {
    "default": None,
    "kaiming_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
}


def lookup(kind: str, name: str, known: Mapping):
    """``known[name]``; ``ValueError`` with the names that there are, where it is none of them."""
    if name not in known:
        raise ValueError(f"Unknown {kind} {name!r}; choose one of {', '.join(known)}.")
    return known[name]


@torch.no_grad()
def initialise(model: nn.Module, init: str, scale: float = 1.0) -> None:
    """Initialise convolutions and linear layers in place; normalisation layers keep scale 1 and shift 0.

    ``default`` leaves PyTorch's own initialisation. The others draw the weights and set biases to zero:
    ``xavier_normal`` and ``xavier_uniform`` (Glorot & Bengio 2010, eq. 12; the former is what the course's sample code
    does), ``kaiming_normal`` (He et al. 2015, variance 2 / fan-in).

    Args:
        scale: multiplies every weight afterwards.

    Raises:
        ValueError: the name is unknown, or a scale that is not positive.
    """
    draw = lookup("init", init, INITS)
    if not scale > 0:
        raise ValueError(f"The scale of the initial weights must be a positive number, not {scale!r}.")
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if draw:
                draw(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            if scale != 1:
                layer.weight.mul_(scale)


def output_layer(model: nn.Module) -> nn.Linear:
    """The last linear layer of a classifier: the one whose gradient the handout calls "back to the output layer"."""
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]


def parameter_count(model: nn.Module) -> int:
    """Number of parameters, those that are not trained included."""
    return sum(p.numel() for p in model.parameters())
