"""Checks of the exercises that look inside a network (notebooks 08 and 10)."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from .engine import Mistake, call, compare, exercise, same, several


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


# --- 08: explanations, surfaces, curvature -------------------------------------------------------------------------


@exercise("08", "my_grad_cam")
def grad_cam(student) -> None:
    """Grad-CAM of a layer from its maps and their gradients (Selvaraju et al. 2017, equations 1 and 2)."""
    for shape in ((3, 4, 5, 5), (2, 6, 3, 4), (1, 1, 2, 2)):
        maps, gradients = _normal(*shape).relu(), _normal(*shape)
        weights = gradients.mean((2, 3))

        def weighted(maps, weights):
            return torch.einsum("nchw,nc->nhw", maps, weights)

        mistakes = {
            "no-relu": weighted(maps, weights),
            "absolute": weighted(maps, weights).abs(),
            "not-summed": (maps * weights[:, :, None, None]).relu(),
            "relu-of-weights": weighted(maps, weights.relu()),
            "per-place": (maps * gradients).sum(1).relu(),
            "sum-of-gradients": weighted(maps, gradients.sum((2, 3))).relu(),
            "mean-of-channels": weighted(maps, weights).relu() / shape[1],
            "swapped": weighted(gradients, maps.mean((2, 3))).relu(),
            "per-batch": weighted(maps, weights.mean(0).expand_as(weights)).relu(),
        }
        compare(call(student, maps, gradients), weighted(maps, weights).relu(), mistakes)


@exercise("08", "my_filter_normalise")
def filter_normalise(student) -> None:
    """A direction with every filter as long as the network's (Li et al. 2018, section 4)."""
    for shape in ((4, 3, 3, 3), (5, 7), (6,)):
        drawn, weights = _normal(*shape), 2 * _normal(*shape)
        if len(shape) == 1:
            right = torch.zeros_like(weights)
            mistakes = {
                "one-filter": drawn / drawn.norm() * weights.norm(),
                "one-by-one": drawn * weights.abs() / drawn.abs(),
                "drawn": drawn,
                "weights": weights,
            }
        else:
            ours, theirs = (t.flatten(1).norm(dim=1).view(-1, *[1] * (len(shape) - 1)) for t in (weights, drawn))
            right = drawn / theirs * ours
            mistakes = {
                "one-factor": drawn / drawn.norm() * weights.norm(),
                "unit": drawn / theirs,
                "undivided": drawn * ours,
                "swapped": drawn / ours * theirs,
                "squared": drawn * (ours / theirs) ** 2,
                "entrywise": drawn * weights.abs(),
                "other-axis": _along(drawn, weights, [i for i in range(len(shape)) if i != 1]),
            }
        if len(shape) == 4:
            mistakes["per-kernel"] = _along(drawn, weights, (2, 3))
        compare(_normalised(student, drawn, weights), right, mistakes, "vector-off" if len(shape) == 1 else "off")


def _normalised(student: Callable, drawn: torch.Tensor, weights: torch.Tensor):
    try:
        return call(student, drawn, weights)
    except (IndexError, RuntimeError) as error:
        if weights.dim() > 1:
            raise
        raise Mistake(
            f"Right for filters, but it stops at a tensor of one dimension ({error}). Such a tensor has no filters, "
            "and a rule of its own: it is not to move at all."
        ) from error


def _along(drawn: torch.Tensor, weights: torch.Tensor, dims) -> torch.Tensor:
    lengths = (torch.linalg.vector_norm(t, dim=tuple(dims), keepdim=True) for t in (weights, drawn))
    return drawn * next(lengths) / next(lengths)


LOST = {"does not require grad": "only-numbers", "only for scalar outputs": "no-scalar"}  # part of torch's message


@exercise("08", "my_hessian_vector_product")
def hessian_vector_product(student) -> None:
    """Hessian times a vector by differentiating twice (Pearlmutter 1994; oracle: the Hessian itself)."""
    x, y = _normal(20, 3), torch.randint(0, 4, (20,))
    losses = (
        (lambda w: (w**3).sum() / 3 + (w[0] * w[1]) ** 2, _normal(3)),
        (lambda w: F.cross_entropy(torch.tanh(x) @ w, y), 3 * _normal(3, 4)),
    )
    for loss, w in losses:
        w, v = w.requires_grad_(), _normal(*w.shape)
        hessian = torch.autograd.functional.hessian(loss, w).reshape(w.numel(), w.numel())
        (gradient,) = torch.autograd.grad(loss(w), w)
        right = (hessian @ v.flatten()).view_as(v)
        got = _differentiated(student, loss, w, v)
        if same(got, right, 1e-2) and not same(got, right, 1e-7):
            raise Mistake("This is close, as a difference of two gradients is. Differentiated twice, Hv is exact.")
        mistakes = {
            "gradient": gradient,
            "slope": (gradient * v).sum(),
            "quadratic-form": (right * v).sum(),
            "v-late": hessian.sum(0).view_as(v) * v,
            "no-v": hessian.sum(0).view_as(v),
            "diagonal": hessian.diagonal().view_as(v) * v,
            "first-derivatives": gradient * (gradient * v).sum(),
            "accumulated": gradient + right,
        }
        compare(got, right, mistakes, tolerance=1e-7)


def _differentiated(student: Callable, *inputs):
    try:
        got = call(student, *inputs)
    except RuntimeError as error:
        for piece, name in LOST.items():
            if piece in str(error):
                raise Mistake(name) from error
        raise
    if isinstance(got, tuple) and len(got) == 1:
        raise Mistake("It gives a tuple with one value in it, as `torch.autograd.grad` does. Hv is what is inside.")
    return got


# --- 10: batch norm -------------------------------------------------------------------------------------------------


@exercise("10", "my_batch_norm_backward")
def batch_norm_backward(student) -> None:
    """Gradients of batch norm and of its statistics (Ioffe & Szegedy 2015, section 3; oracle: ``torch.autograd``)."""
    for shape, eps in (((6, 3, 2, 2), 1e-5), ((5, 4, 3, 1), 0.5), ((2, 1, 4, 4), 1e-5)):
        x, grad, scale = 1 + 2 * _normal(*shape), 0.5 + _normal(*shape), 1.5 + torch.rand(shape[1]).double()
        leaves = x.clone().requires_grad_(), scale.clone().requires_grad_(), torch.zeros_like(scale).requires_grad_()
        y = F.batch_norm(leaves[0], None, None, *leaves[1:], training=True, eps=eps)
        right = torch.autograd.grad(y, leaves, grad)
        got = several(_by_hand(student, grad, x, scale, eps), "the gradient of x", "of γ", "of β", "of μ", "of σ²")
        if not same(got[1:3], right[1:]) and same(got[1:3], right[:0:-1]):
            raise Mistake("The gradients of γ and β are there, the other way round.")
        _compare_beta(got[2], right[2], grad)
        _compare_gamma(got[1], right[1], grad, x, eps)
        _compare_statistics(got[3:], grad, x, scale, eps)
        _compare_x(got[0], right[0], grad, x, scale, eps)


OVER = (0, 2, 3)


def _by_hand(student: Callable, *inputs):
    """The student's result, not made by autograd: that needs what it saved on the way forward, which is noticed."""
    used = []

    def unpack(tensor):
        used.append(tensor)
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
            got = call(student, *inputs)
    except RuntimeError as error:  # what torch.func says of the hooks
        if "saved tensor hooks" not in str(error):
            raise
        raise Mistake("`torch.func` is autograd under another name: here find the gradients by hand.") from error
    if used:
        raise Mistake("Autograd has made these gradients; the check can do that as well. Here find them by hand.")
    return got


def _compare_beta(got, right, grad) -> None:
    mistakes = {"beta-averaged": grad.mean(OVER), "beta-per-place": grad.sum(0)}
    compare(got, right, mistakes, "beta-off")


def _compare_gamma(got, right, grad, x, eps) -> None:
    (variance, mean), count = torch.var_mean(x, OVER, correction=0, keepdim=True), x.numel() // x.shape[1]
    mistakes = {
        "gamma-of-x": (grad * x).sum(OVER),
        "gamma-of-centred": (grad * (x - mean)).sum(OVER),
        "gamma-unbiased": (grad * (x - mean) / (variance * count / (count - 1) + eps).sqrt()).sum(OVER),
        "gamma-no-eps": (grad * (x - mean) / variance.sqrt()).sum(OVER),
        "gamma-eps-outside": (grad * (x - mean) / (variance.sqrt() + eps)).sum(OVER),
        "gamma-averaged": right / count,
    }
    compare(got, right, mistakes, "gamma-off")


def _compare_statistics(got, grad, x, scale, eps) -> None:
    variance, mean = (t.requires_grad_() for t in torch.var_mean(x, OVER, correction=0, keepdim=True))
    x_hat_grad = scale[:, None, None] * grad
    loss = (x_hat_grad * (x - mean) / (variance + eps).sqrt()).sum()
    right = to_mean, to_variance = tuple(t.flatten() for t in torch.autograd.grad(loss, (mean, variance)))
    deviation = (variance.detach() + eps).sqrt().flatten()
    mistakes = {
        "statistics-swapped": (to_variance, to_mean),
        "mean-sign": (-to_mean, to_variance),
        "variance-sign": (to_mean, -to_variance),
        "statistics-no-gamma": (to_mean / scale, to_variance / scale),
        "of-deviation": (to_mean, to_variance * 2 * deviation),
        "statistics-averaged": (to_mean * x.shape[1] / x.numel(), to_variance * x.shape[1] / x.numel()),
    }
    compare(got, right, mistakes, "statistics-off")


def _compare_x(got, right, grad, x, scale, eps) -> None:
    variance, mean = torch.var_mean(x, OVER, correction=0, keepdim=True)
    deviation, count = (variance + eps).sqrt(), x.numel() // x.shape[1]
    x_hat, gamma = (x - mean) / deviation, scale[:, None, None]
    bar, along = grad.mean(OVER, keepdim=True), x_hat * (grad * x_hat).mean(OVER, keepdim=True)
    over_images = grad.mean(0, keepdim=True) + x_hat * (grad * x_hat).mean(0, keepdim=True)
    mistakes = {
        "constants": gamma / deviation * grad,
        "no-variance": gamma / deviation * (grad - bar),
        "no-mean": gamma / deviation * (grad - along),
        "no-gamma": (grad - bar - along) / deviation,
        "no-n": gamma / deviation * (grad - count * bar - count * along),
        "by-variance": gamma / deviation**2 * (grad - bar - along),
        "undivided": gamma * (grad - bar - along),
        "wrong-sign": gamma / deviation * (grad + bar + along),
        "over-images": gamma / deviation * (grad - over_images),
    }
    compare(got, right, mistakes)


@exercise("10", "my_covariate_shift")
def covariate_shift(student) -> None:
    """Change of a part's gradient when the layers below it move (Santurkar et al. 2018, definition 2.1)."""
    for sizes, lr in (((4, 6, 5), 1.0), ((3, 4, 4), 0.5)):
        below = nn.Sequential(nn.Linear(sizes[0], sizes[1]), nn.Tanh()).double()
        above = nn.Sequential(nn.Linear(sizes[1], sizes[2]), nn.Tanh(), nn.Linear(sizes[2], 3)).double()
        for p in (*below.parameters(), *above.parameters()):
            p.data = _normal(*p.shape)
        images, labels = 2 * _normal(8, sizes[0]), torch.randint(0, 3, (8,))
        got = call(student, copy.deepcopy(below), copy.deepcopy(above), images, labels, lr)
        right, mistakes = _shifts(nn.Sequential(below, above), images, labels, lr)
        compare(several(got, "the distance ‖G − G′‖₂", "the cosine"), right, mistakes)


def _shifts(network: nn.Sequential, images: torch.Tensor, labels: torch.Tensor, lr: float) -> tuple[tuple, dict]:
    """The right distance and cosine, and those of the usual mistakes; ``network`` is (below, above)."""
    start = {name: p.detach() for name, p in network.named_parameters()}

    def gradients(at: dict) -> dict:
        at = {name: p.clone().requires_grad_() for name, p in at.items()}
        loss = F.cross_entropy(functional_call(network, at, images), labels)
        return dict(zip(at, torch.autograd.grad(loss, list(at.values())), strict=True))

    def after(parts: tuple[str, ...], rate: float) -> dict:
        return gradients({name: p - rate * first[name] if name.startswith(parts) else p for name, p in start.items()})

    def flat(found: dict, parts: tuple[str, ...] = ("1.",)) -> torch.Tensor:
        return torch.cat([t.flatten() for name, t in found.items() if name.startswith(parts)])

    first, both = gradients(start), ("0.", "1.")
    second = after(("0.",), lr)
    g, moved = flat(first), flat(second)
    right = distance, cosine = _apart(g, moved)
    each = [_apart(first[name].flatten(), second[name].flatten()) for name in first if name.startswith("1.")]
    return right, {
        "swapped": (cosine, distance),
        "one-tensor": (0.0, 1.0),
        "accumulated": _apart(g, g + moved),
        "both-moved": _apart(g, flat(after(both, lr))),
        "above-moved": _apart(g, flat(after(("1.",), lr))),
        "uphill": _apart(g, flat(after(("0.",), -lr))),
        "rate-1": _apart(g, flat(after(("0.",), 1.0))),
        "both-compared": _apart(flat(first, both), flat(second, both)),
        "squared": (distance**2, cosine),
        "lengths": ((g.norm() - moved.norm()).abs(), cosine),
        "sum-of-distances": (sum(d for d, _ in each), cosine),
        "mean-of-cosines": (distance, sum(c for _, c in each) / len(each)),
        "relative": (distance / g.norm(), cosine),
    }


def _apart(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance and cosine of two vectors."""
    return (one - other).norm(), F.cosine_similarity(one, other, dim=0)
