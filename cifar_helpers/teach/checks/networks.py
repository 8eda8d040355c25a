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
        compare(
            call(student, x),
            F.silu(x),
            {
                "This is the sigmoid alone. It says which share comes through; a share of what?": torch.sigmoid(x),
                "It follows x far below zero and vanishes far above. Which way does the sigmoid rise?": (
                    x * torch.sigmoid(-x)
                ),
                "Each value depends on its neighbours. Swish looks at one number at a time.": x * x.softmax(-1),
                "Below zero the share that comes through is negative, which a sigmoid never is.": x * torch.tanh(x),
                "The share is never below one half. Of what is the sigmoid taken?": x * torch.sigmoid(x * x),
                "Below zero nothing comes through, as with ReLU; Swish lets a little pass.": F.relu(x),
                "This is GELU, a relative of Swish: the share is not a sigmoid's.": F.gelu(x),
            },
            "These are not the values of x times its sigmoid.",
        )
    _compare_slope(student, torch.linspace(-6, 6, 25))
    far = torch.tensor([-100.0, 0.0, 100.0])
    compare(student(far), F.silu(far), {}, "Right near zero, but not at ±100: which term becomes infinite there?")
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
    compare(
        got,
        through_x + through_share,
        {
            "The values are right, but the gradient lacks what comes through the sigmoid.": through_x,
            "The values are right, but the gradient lacks what comes through the factor x.": through_share,
        },
        "The values are right, the gradient is not.",
    )


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
        compare(call(student, *inputs), _block(*inputs), _wrong_blocks(*inputs), "These are not the block's values.")
    inputs = torch.randn(3, 4, 8, 8), *_layers(4, 6, 2), nn.Conv2d(4, 6, 1, stride=2)
    otherwise = "Right where input and output have one shape, but not where channels and size change."
    compare(call(student, *inputs), _block(*inputs), {}, otherwise)


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
        "Nothing goes past the two convolutions. What is the shortcut for?": F.relu(body),
        "The last ReLU comes before the sum, so that the convolutions can add to x but never take away.": (
            F.relu(body) + past
        ),
        "One ReLU too many: what the convolutions give is cut off before the sum.": F.relu(F.relu(body) + past),
        "Negative values leave the block: after the sum something is missing.": body + past,
        "Nothing bends the signal between the two convolutions, so that they are no more than one.": F.relu(
            bn2(conv2(bn1(conv1(x)))) + past
        ),
        "x itself is added. Where channels or size change it does not fit; what makes it fit?": F.relu(body + x),
        "The shortcut takes what the first half gives. Where does it begin?": F.relu(body + shortcut(h)),
        "The shortcut takes what the convolutions give. Where does it begin?": F.relu(body + shortcut(body)),
        "ReLU comes before batch norm here. What should be normalised, the sums or what is left of them?": late,
        "Batch norm comes before each convolution here; this block has it after.": (
            conv2(F.relu(bn2(conv1(F.relu(bn1(x)))))) + past
        ),
        "Nothing is normalised: two layers are not used.": F.relu(conv2(F.relu(conv1(x))) + past),
        "One batch norm works twice, the other not at all.": F.relu(bn1(conv2(h)) + past),
        "One convolution works twice, the other not at all.": F.relu(bn2(conv1(h)) + past),
        "Both ways lie side by side, which doubles the channels. How does a residual block join them?": F.relu(
            torch.cat([body, past], dim=1)
        ),
    }


# --- What a convolution costs --------------------------------------------------------------------------------------

CONVOLUTIONS = (  # inputs, filters, kernel, size, stride, padding
    (3, 16, 3, 32, 1, 1),
    (16, 24, 5, 30, 1, 0),
    (8, 12, 3, 32, 2, 1),
    (6, 10, 7, 29, 3, 2),
)
PARAMETERS = "The parameters are off. How many numbers has one filter, and how many filters are there?"
OPERATIONS = "The multiply-adds are off. At how many places is a filter applied, and to what?"


@exercise("03", "my_conv_cost")
def conv_cost(student) -> None:
    """Parameters and multiply-adds of a convolution (oracle: ``nn.Conv2d`` and torch's own count of operations)."""
    got = [call(student, *convolution) for convolution in CONVOLUTIONS]
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in got):
        raise Mistake("Two numbers are wanted: the parameters, and the multiply-adds for one image.")
    right = [_counted(*convolution) for convolution in CONVOLUTIONS]
    if same(got, [pair[::-1] for pair in right], 0):
        raise Mistake("Both counts are right, but in the other order.")
    for i, (wrong, otherwise) in enumerate(((_wrong_parameters, PARAMETERS), (_wrong_operations, OPERATIONS))):
        each = [wrong(*convolution) for convolution in CONVOLUTIONS]
        mistakes = {sentence: [counts[sentence] for counts in each] for sentence in each[0]}
        compare([pair[i] for pair in got], [pair[i] for pair in right], mistakes, otherwise, tolerance=0)


def _counted(inputs, filters, kernel, size, stride, padding) -> tuple[int, int]:
    layer = nn.Conv2d(inputs, filters, kernel, stride=stride, padding=padding)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(torch.zeros(1, inputs, size, size))
    return sum(p.numel() for p in layer.parameters()), counter.get_total_flops() // 2


def _wrong_parameters(inputs, filters, kernel, size, stride, padding) -> dict[str, int]:
    weights = inputs * filters * kernel**2
    return {
        "The parameters lack what every filter adds at the end.": weights,
        "What is added at the end belongs to the filters, not to the input's channels.": weights + inputs,
        "More than one number is added at the end: every filter has its own.": weights + 1,
        "Your filter is a row of numbers; a filter covers a square.": inputs * filters * kernel + filters,
        "A filter that sees one channel has so many parameters. How many channels does the input have?": (
            filters * kernel**2 + filters
        ),
        "A convolution uses the same parameters at every place.": (
            (weights + filters) * _places(size + 2 * padding - kernel, stride)
        ),
    }


def _wrong_operations(inputs, filters, kernel, size, stride, padding) -> dict[str, float]:
    weights, way = inputs * filters * kernel**2, size + 2 * padding - kernel
    places = _places(way, stride)
    return {
        "The output need not be as large as the input: what do stride and padding do?": weights * size**2,
        "The stride plays no part in your multiply-adds.": weights * _places(way, 1),
        "The padding plays no part in your multiply-adds.": weights * _places(size - kernel, stride),
        "The image is padded on more than one side.": weights * _places(way - padding, stride),
        "A row has one place more than steps: it begins before the first step.": weights * (way // stride) ** 2,
        "A step that would lead over the border is not made.": weights * (math.ceil(way / stride) + 1) ** 2,
        "There is no half place. What happens to the rest of the division?": weights * (way / stride + 1) ** 2,
        "The stride alone does not say how large the output is: kernel and padding count too.": (
            weights * (size // stride) ** 2
        ),
        "These are the multiply-adds of one row of the output.": weights * (way // stride + 1),
        "A multiplication together with its addition counts once.": 2 * weights * places,
        "What is added at the end is not multiplied by anything, and does not count.": (weights + filters) * places,
        "These are the multiply-adds of a single filter.": weights // filters * places,
        "So much is multiplied for one channel. How many channels does the input have?": weights // inputs * places,
    }


def _places(way: int, stride: int) -> int:
    """Places of a kernel that can move by ``way`` pixels in both directions."""
    return (way // stride + 1) ** 2
