"""Checks of the exercises on layers: an activation (notebook 02), a residual block, a convolution's cost (03)."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .engine import Mistake, call, compare, exercise, same

# --- Swish ---------------------------------------------------------------------------------------------------------


@exercise("02", "my_swish")
def swish(student) -> None:
    """Swish and its gradient (Ramachandran et al. 2017; oracle: ``F.silu`` and its derivative)."""
    for x in (torch.randn(4, 3), torch.linspace(-6, 6, 25), torch.randn(2, 3, 5, 5, dtype=torch.double)):
        mistakes = {
            "sigmoid": torch.sigmoid(x),
            "falling": x * torch.sigmoid(-x),
            "softmax": x * x.softmax(-1),
            "tanh": x * torch.tanh(x),
            "of-square": x * torch.sigmoid(x * x),
            "relu": F.relu(x),
            "gelu": F.gelu(x),
        }
        compare(call(student, x), F.silu(x), mistakes)
    _compare_slope(student, torch.linspace(-6, 6, 25))
    far = torch.tensor([-100.0, 0.0, 100.0])
    compare(student(far), F.silu(far), {}, "infinite")
    _compare_slope(student, far)


def _compare_slope(student, x: torch.Tensor) -> None:
    share, given = torch.sigmoid(x), x.clone().requires_grad_()
    y = student(given)
    if not isinstance(y, torch.Tensor) or not y.requires_grad:
        raise Mistake("The values are right, but no gradient comes back: on the way the tensor loses its history.")
    if "SiluBackward0" in _operations(y):
        raise Mistake("The values are right, but torch's own SiLU made them. Build them from the sigmoid.")
    (got,) = torch.autograd.grad(y.sum(), given)
    through_x, through_share = share, x * share * (1 - share)
    if got.isnan().any():
        raise Mistake("The values are right, but at ±100 the gradient is nan: a term on the way becomes infinite.")
    mistakes = {"no-sigmoid": through_x, "no-factor": through_share}
    compare(got, through_x + through_share, mistakes, "slope-off")


def _operations(y: torch.Tensor) -> set[str]:
    """Names of the operations that autograd kept on the way to a tensor."""
    found, waiting = set(), {y.grad_fn}
    while waiting:
        node = waiting.pop()
        found.add(node)
        waiting |= {before for before, _ in node.next_functions if before and before not in found}
    return {node.name() for node in found}


# --- A residual block ----------------------------------------------------------------------------------------------


@exercise("03", "my_residual_block")
def residual_block(student) -> None:
    """The forward pass of a basic block (He et al. 2016; oracle: its formula on random layers)."""
    for shortcut in (nn.Conv2d(4, 4, 1), nn.Identity()):  # first one that changes x, so that leaving it out shows
        inputs = torch.randn(3, 4, 8, 8), *_layers(4, 4, 1), shortcut
        compare(call(student, *inputs), _block(*inputs), _wrong_blocks(*inputs))
    inputs = torch.randn(3, 4, 8, 8), *_layers(4, 6, 2), nn.Conv2d(4, 6, 1, stride=2)
    compare(call(student, *inputs), _block(*inputs), {}, "shortcut-off")


def _layers(inputs: int, filters: int, stride: int) -> tuple[nn.Module, ...]:
    """conv1, bn1, conv2, bn2, with scales and shifts as after some training."""
    norms = [nn.BatchNorm2d(filters) for _ in range(2)]
    for parameter in (*norms[0].parameters(), *norms[1].parameters()):
        nn.init.normal_(parameter)
    conv1 = nn.Conv2d(inputs, filters, 3, stride=stride, padding=1, bias=False)
    return conv1, norms[0], nn.Conv2d(filters, filters, 3, padding=1, bias=False), norms[1]


def _block(x, conv1, bn1, conv2, bn2, shortcut) -> torch.Tensor:
    return F.relu(bn2(conv2(F.relu(bn1(conv1(x))))) + shortcut(x))


def _wrong_blocks(x, conv1, bn1, conv2, bn2, shortcut) -> dict[str, torch.Tensor]:
    """What the usual mistakes give; input and output have to be of one shape."""
    h = F.relu(bn1(conv1(x)))
    body, past = bn2(conv2(h)), shortcut(x)
    late = F.relu(bn2(F.relu(conv2(bn1(F.relu(conv1(x)))))) + past)
    return {
        "no-shortcut": F.relu(body),
        "early-relu": F.relu(body) + past,
        "extra-relu": F.relu(F.relu(body) + past),
        "no-last-relu": body + past,
        "no-first-relu": F.relu(bn2(conv2(bn1(conv1(x)))) + past),
        "x-itself": F.relu(body + x),
        "shortcut-of-half": F.relu(body + shortcut(h)),
        "shortcut-of-body": F.relu(body + shortcut(body)),
        "relu-first": late,
        "norm-first": conv2(F.relu(bn2(conv1(F.relu(bn1(x)))))) + past,
        "no-norm": F.relu(conv2(F.relu(conv1(x))) + past),
        "one-norm": F.relu(bn1(conv2(h)) + past),
        "one-convolution": F.relu(bn2(conv1(h)) + past),
        "concatenated": F.relu(torch.cat([body, past], dim=1)),
    }


# --- What a convolution costs --------------------------------------------------------------------------------------

CONVOLUTIONS = (  # inputs, filters, kernel, size, stride, padding
    (3, 16, 3, 32, 1, 1),
    (16, 24, 5, 30, 1, 0),
    (8, 12, 3, 32, 2, 1),
    (6, 10, 7, 29, 3, 2),
)


@exercise("03", "my_conv_cost")
def conv_cost(student) -> None:
    """Parameters and multiply-adds of a convolution (oracle: ``nn.Conv2d`` and torch's own count of operations)."""
    got = [call(student, *convolution) for convolution in CONVOLUTIONS]
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in got):
        raise Mistake("Two numbers are wanted: the parameters, and the multiply-adds for one image.")
    right = [_counted(*convolution) for convolution in CONVOLUTIONS]
    if same(got, [pair[::-1] for pair in right], 0):
        raise Mistake("Both counts are right, but in the other order.")
    for i, (wrong, off) in enumerate(((_wrong_parameters, "parameters-off"), (_wrong_operations, "operations-off"))):
        each = [wrong(*convolution) for convolution in CONVOLUTIONS]
        mistakes = {name: [counts[name] for counts in each] for name in each[0]}
        compare([pair[i] for pair in got], [pair[i] for pair in right], mistakes, off, tolerance=0)


def _counted(inputs, filters, kernel, size, stride, padding) -> tuple[int, int]:
    layer = nn.Conv2d(inputs, filters, kernel, stride=stride, padding=padding)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(torch.zeros(1, inputs, size, size))
    return sum(p.numel() for p in layer.parameters()), counter.get_total_flops() // 2


def _wrong_parameters(inputs, filters, kernel, size, stride, padding) -> dict[str, int]:
    weights = inputs * filters * kernel**2
    return {
        "no-bias": weights,
        "input-biases": weights + inputs,
        "one-bias": weights + 1,
        "row-filter": inputs * filters * kernel + filters,
        "one-channel": filters * kernel**2 + filters,
        "per-place": (weights + filters) * _places(size + 2 * padding - kernel, stride),
    }


def _wrong_operations(inputs, filters, kernel, size, stride, padding) -> dict[str, float]:
    weights, way = inputs * filters * kernel**2, size + 2 * padding - kernel
    places = _places(way, stride)
    return {
        "input-size": weights * size**2,
        "no-stride": weights * _places(way, 1),
        "no-padding": weights * _places(size - kernel, stride),
        "one-side": weights * _places(way - padding, stride),
        "no-first-place": weights * (way // stride) ** 2,
        "over-border": weights * (math.ceil(way / stride) + 1) ** 2,
        "half-place": weights * (way / stride + 1) ** 2,
        "stride-alone": weights * (size // stride) ** 2,
        "one-row": weights * (way // stride + 1),
        "twice": 2 * weights * places,
        "biases-counted": (weights + filters) * places,
        "one-filter": weights // filters * places,
        "one-input-channel": weights // inputs * places,
    }


def _places(way: int, stride: int) -> int:
    """Places of a kernel that can move by ``way`` pixels in both directions."""
    return (way // stride + 1) ** 2
