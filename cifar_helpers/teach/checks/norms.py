"""Checks of the exercises on batch normalisation (notebook 04)."""

import inspect
import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from ... import models
from .engine import Mistake, call, compare, exercise, same

# --- Batch norm's forward pass -------------------------------------------------------------------------------------


@exercise("04", "my_batch_norm")
def batch_norm(student) -> None:
    """Batch norm of (N, C, H, W) in both modes, with the new running values (oracle: ``F.batch_norm``)."""
    # As many columns as channels, so that lining up the wrong axes gives numbers and not an error of shapes; ε is
    # large, so that it shows where it stands.
    for shape, momentum, eps in (((6, 3, 5, 3), 0.1, 0.2), ((2, 4, 3, 4), 0.3, 0.5)):
        x = (1.5 * torch.randn(shape) + torch.randn(1, shape[1], 1, 1)).double()
        gamma, beta, mean = torch.randn(3, shape[1], dtype=torch.float64)
        var = torch.rand(shape[1], dtype=torch.float64) + 0.5
        for training in (True, False):
            found = call(student, x, gamma, beta, mean, var, training, momentum, eps)
            if not isinstance(found, (tuple, list)) or len(found) != 3:
                raise Mistake("Three things are wanted: the output, the running mean and the running variance.")
            judge = _training if training else _evaluation
            judge(found, x, gamma, beta, mean, var, momentum, eps)


def _statistics(x, axes=(0, 2, 3), correction: int = 0):
    """Variance and mean over the axes, which stay as axes of length 1."""
    return torch.var_mean(x, axes, correction=correction, keepdim=True)


def _columns(values: torch.Tensor) -> torch.Tensor:
    return values.view(1, 1, 1, -1)


def _channels(values: torch.Tensor) -> torch.Tensor:
    return values.view(1, -1, 1, 1)


def _training(found, x, gamma, beta, mean, var, momentum, eps) -> None:
    new_mean, new_var = mean.clone(), var.clone()
    right = F.batch_norm(x, new_mean, new_var, gamma, beta, True, momentum, eps)
    variance, middle = batch = _statistics(x)
    _own_epsilon(found[0], _channels(gamma) * (x - middle), variance, _channels(beta), eps)
    compare(found[0], right, _wrong_outputs(x, gamma, beta, (var, mean), (new_var, new_mean), eps))
    unbiased = _statistics(x, correction=1)[0].flatten()
    _running(found[1], "mean", new_mean, mean, batch[1].flatten(), momentum, {})
    wrong = {
        "running-biased": torch.lerp(var, batch[0].flatten(), momentum),
        "running-deviations": torch.lerp(var, unbiased.sqrt(), momentum),
    }
    _running(found[2], "variance", new_var, var, unbiased, momentum, wrong)


def _wrong_outputs(x, gamma, beta, running, after, eps: float) -> dict[str, torch.Tensor]:
    """What the usual mistakes give in training mode; ``running``, ``after``: variance and mean before and after it."""
    gamma_c, beta_c = _channels(gamma), _channels(beta)

    def output(statistics, root=lambda v: (v + eps).sqrt()):
        return gamma_c * (x - statistics[1]) / root(statistics[0]) + beta_c

    batch = _statistics(x)
    x_hat = (x - batch[1]) / (batch[0] + eps).sqrt()
    lined_up = [_columns(s.flatten()) for s in batch]
    by_images = x.sum((0, 2, 3), keepdim=True) / len(x)
    return {
        "running": output(tuple(map(_channels, running))),
        "after": output(tuple(map(_channels, after))),
        "per-place": output(_statistics(x, 0)),
        "per-image": output(_statistics(x, (2, 3))),
        "layer-norm": output(_statistics(x, (1, 2, 3))),
        "all-channels": output(_statistics(x, (0, 1, 2, 3))),
        "unbiased": output(_statistics(x, correction=1)),
        "by-images": output((((x - by_images) ** 2).sum((0, 2, 3), keepdim=True) / len(x), by_images)),
        "variance-by-images": output((batch[0] * x[0, 0].numel(), batch[1])),
        "swapped": beta_c * x_hat + gamma_c,
        "eps-outside": output(batch, lambda v: v.sqrt() + eps),
        "no-eps": output(batch, torch.sqrt),
        "by-variance": output(batch, lambda v: v + eps),
        "no-affine": x_hat,
        "affine-columns": _columns(gamma) * x_hat + _columns(beta),
        "all-columns": _columns(gamma) * (x - lined_up[1]) / (lined_up[0] + eps).sqrt() + _columns(beta),
    }


def _own_epsilon(found, scaled, var, beta, eps: float) -> None:
    """Say it where the output was made with another ε than the given one (``scaled`` is γ times the distance to µ)."""
    if not isinstance(found, torch.Tensor) or found.shape != scaled.shape:
        return
    used = ((scaled / (found - beta)) ** 2 - var).median().item()  # solved for ε
    if used > 1e-12 and not same(used, eps) and same(found, scaled / (var + used).sqrt() + beta):
        raise Mistake(f"ε is there, but it is {used:.1g} and not the `eps` that the function is given.")


def _running(found, name: str, right, old, batch, momentum: float, wrong: dict) -> None:
    meaning = f"With a momentum of {momentum:g} this batch has the weight {momentum:g}"
    mistakes = {
        f"The running {name} is not updated in training mode.": old,
        f"The running {name} is this batch's alone. It should remember the batches before.": batch,
        f"Momentum is the wrong way round in the running {name}. {meaning}.": torch.lerp(batch, old, momentum),
    }
    off = f"The running {name} is off. {meaning}, and what was there before the rest."
    compare(found, right, mistakes | wrong, off)


def _evaluation(found, x, gamma, beta, mean, var, momentum, eps) -> None:
    scaled, beta_c = _channels(gamma) * (x - _channels(mean)), _channels(beta)
    _own_epsilon(found[0], scaled, _channels(var), beta_c, eps)
    mistakes = {
        "evaluation-of-batch": F.batch_norm(x, None, None, gamma, beta, True, momentum, eps),
        "evaluation-no-affine": (x - _channels(mean)) / (_channels(var) + eps).sqrt(),
        "evaluation-no-eps": scaled / _channels(var).sqrt() + beta_c,
        "evaluation-by-variance": scaled / (_channels(var) + eps) + beta_c,
    }
    compare(found[0], F.batch_norm(x, mean, var, gamma, beta, False, momentum, eps), mistakes, "evaluation-off")
    compare(tuple(found[1:]), (mean, var), {}, "evaluation-running")


# --- VGG-A with batch norm -----------------------------------------------------------------------------------------

KINDS = (
    *("conv2d", "linear", "relu", "relu_", "max_pool2d", "avg_pool2d", "softmax", "log_softmax", "dropout"),
    *("batch_norm", "instance_norm", "group_norm", "layer_norm"),
)
CALL, POOL = inspect.signature(F.batch_norm), inspect.signature(F.max_pool2d_with_indices)


@dataclass(frozen=True)
class _Layer:
    """A layer as it ran: its kind, the shape of its weight or else its channels.

    Of a batch norm also γ and mode, of a max-pool what it was given: the window, its stride, its padding.
    """

    kind: str
    size: tuple[int, ...]
    gamma: torch.Tensor | None = None
    training: bool = False
    window: tuple = ()

    def __str__(self) -> str:
        meaning = "weights" if self.kind in ("conv2d", "linear") else "channels"
        return f"{self.kind} ({meaning}: {', '.join(map(str, self.size))})"


class _Trace(TorchFunctionMode):
    """Notes every layer that runs, module or function, in the order in which it runs."""

    def __init__(self):
        super().__init__()
        self.layers: list[_Layer] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        kind = getattr(function, "__name__", "")
        if kind in KINDS:
            size = args[1].shape if kind in ("conv2d", "linear") else args[0].shape[1:2]
            given = CALL.bind(*args, **kwargs).arguments if function is F.batch_norm else {}
            mode = given.get("weight"), given.get("training", False)
            window = _window(*args, **kwargs) if kind == "max_pool2d" else ()
            self.layers.append(_Layer(kind.rstrip("_"), tuple(size), *mode, window))
        return function(*args, **kwargs)


def _window(*args, **kwargs) -> tuple:
    """Window, stride and padding of a max-pool, each as (rows, columns)."""
    given = POOL.bind(*args, **kwargs).arguments
    size, padding = given["kernel_size"], given.get("padding", 0)
    found = size, given.get("stride") or size, padding
    return tuple((each, each) if isinstance(each, int) else tuple(each) for each in found)


def _layers(network: nn.Module) -> tuple[list[_Layer], tuple[int, ...]]:
    """The layers in the order in which they run, and the shape of the output."""
    with _Trace() as trace, torch.no_grad():
        output = network(torch.randn(2, 3, 32, 32))
    return trace.layers, tuple(output.shape)


@exercise("04", "MyVGGBatchNorm")
def vgg_batch_norm(student) -> None:
    """VGG-A with batch norm after every convolution (the handout's ``VGG_BatchNorm``; oracle: the package's)."""
    network, reference = call(student), models.VGG_A_BatchNorm()
    if not isinstance(network, nn.Module):
        raise Mistake(f"What it builds is of the type {type(network).__name__}; a network is an nn.Module.")
    layers, shape = _layers(network.train())
    wanted, _ = _layers(reference)
    _normalisation(layers)
    for number, (layer, right) in enumerate(zip(layers, wanted, strict=False)):
        if (layer.kind, layer.size) != (right.kind, right.size):
            raise Mistake(
                f"The first {number} layers are those of VGG-A with batch norm. Then yours has {layer}, where "
                f"{right} belongs. Compare with the layers that the notebook prints."
            )
        if layer.window != right.window:
            window, stride, padding = (f"{rows}×{columns}" for rows, columns in layer.window)
            raise Mistake(
                f"Layer {number + 1}, a max-pool, has a window of {window}, a stride of {stride} and a padding of "
                f"{padding}. VGG-A's windows are 2×2, lie side by side and need no padding."
            )
    if len(layers) > len(wanted):
        raise Mistake(
            f"A {layers[len(wanted)].kind} follows the last linear layer; logits are any numbers as they are."
        )
    if len(layers) < len(wanted):
        raise Mistake(f"After {len(layers)} layers it ends; VGG-A with batch norm goes on.")
    if shape != (2, 10):
        raise Mistake(f"For two images it gives the shape {shape}: one value per image and class is wanted.")
    _parameters(network, reference)
    judged = _layers(network.eval())[0]
    if any(layer.training for layer in judged):
        raise Mistake("In evaluation mode the batch still normalises itself. Where are its running values?")


def _normalisation(layers: list[_Layer]) -> None:
    kinds = [layer.kind for layer in layers]
    for kind in ("instance_norm", "group_norm", "layer_norm"):
        if kind in kinds:
            raise Mistake(f"{kind} normalises each image by itself. Batch norm measures a channel over the batch.")
    if "batch_norm" not in kinds:
        raise Mistake("No nn.BatchNorm2d runs: this is the plain network. A layer that is built must also be called.")
    if any("softmax" in kind for kind in kinds):
        raise Mistake("It ends in a softmax. The loss, cross-entropy, takes logits and has the softmax in itself.")
    places = {
        "relu": "A batch norm stands after a ReLU, which has cut off half of the values it should have measured.",
        "max_pool2d": "A batch norm stands after a pooling. Is it a pooling's output that should be normalised?",
        "linear": "The hidden linear layers are normalised too. Here only the convolutions are.",
        "batch_norm": "Two batch norms follow each other; the second finds nothing left to do.",
        "": "The images are normalised before the first convolution. That is the data's business, not the network's.",
    }
    for before, kind in itertools.pairwise(["", *kinds]):
        if kind == "batch_norm" and before in places:
            raise Mistake(places[before])
    bare = sum(kind == "conv2d" and after != "batch_norm" for kind, after in itertools.pairwise(kinds))
    if bare:
        raise Mistake(f"{bare} of {kinds.count('conv2d')} convolutions have no batch norm behind them.")
    gammas = [layer.gamma for layer in layers if layer.kind == "batch_norm"]
    if any(gamma is None for gamma in gammas):
        raise Mistake("A batch norm has no γ and β: the network could not undo a normalisation that does harm.")
    if len({id(gamma) for gamma in gammas}) < len(gammas):
        raise Mistake("One batch norm serves several convolutions: they share γ, β and running values.")


def _parameters(network: nn.Module, reference: nn.Module) -> None:
    if any(isinstance(m, (nn.Conv2d, nn.Linear)) and m.bias is None for m in network.modules()):
        raise Mistake(
            "A layer has no bias. Before a batch norm that is superfluous, but here only one thing is to change."
        )
    count, right = (sum(p.numel() for p in net.parameters()) for net in (network, reference))
    if count < right:
        raise Mistake(
            f"All layers run, but of {right:,} parameters `parameters()` knows {count:,}: what hides in a plain list "
            "is not trained."
        )
    if count > right:
        raise Mistake(f"It has {count:,} parameters, of which {right:,} are used: a layer is built and never called.")
