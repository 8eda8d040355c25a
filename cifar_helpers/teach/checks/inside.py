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

        compare(
            call(student, maps, gradients),
            weighted(maps, weights).relu(),
            {
                "Some places are negative. Grad-CAM keeps only what speaks *for* the class.": weighted(maps, weights),
                "The size of what speaks against the class is counted as if it spoke for it.": (
                    weighted(maps, weights).abs()
                ),
                "The maps are not added up yet: every place gets one number, from all channels together.": (
                    (maps * weights[:, :, None, None]).relu()
                ),
                "A channel that speaks against the class may cancel one that speaks for it. What is cut off when?": (
                    weighted(maps, weights.relu())
                ),
                "Every place has its own weight here. In Grad-CAM a channel has one, the same at all places.": (
                    (maps * gradients).sum(1).relu()
                ),
                "A channel's weight is the mean of its gradient over the places; yours is their sum.": (
                    weighted(maps, gradients.sum((2, 3))).relu()
                ),
                "A mean over the channels makes a wide layer's map fainter. In a weighted sum nothing is divided.": (
                    weighted(maps, weights).relu() / shape[1]
                ),
                "Maps and gradients have changed roles: which of them is seen place by place?": (
                    weighted(gradients, maps.mean((2, 3))).relu()
                ),
                "Each image has weights of its own; yours are those of the whole batch.": (
                    weighted(maps, weights.mean(0).expand_as(weights)).relu()
                ),
            },
            "The map is off. First one weight for each image and channel, then one number for each image and place.",
        )


@exercise("08", "my_filter_normalise")
def filter_normalise(student) -> None:
    """A direction with every filter as long as the network's (Li et al. 2018, section 4)."""
    otherwise = "The lengths are off. Compare `.flatten(1).norm(dim=1)` of your direction with that of the weights."
    for shape in ((4, 3, 3, 3), (5, 7), (6,)):
        drawn, weights = _normal(*shape), 2 * _normal(*shape)
        mistakes, right = {}, torch.zeros_like(weights)
        if len(shape) == 1:
            otherwise = "Right for filters. A tensor of one dimension has a rule of its own: it is not to move at all."
            mistakes["A tensor of one dimension is treated as if it were one filter; it is not to move at all."] = (
                drawn / drawn.norm() * weights.norm()
            )
            one_by_one = "A bias, or a scale or shift of batch norm, is no filter: should it move by its own length?"
            mistakes[one_by_one] = drawn * weights.abs() / drawn.abs()
            mistakes["A tensor of one dimension is to stay where it is. Which direction moves nothing?"] = drawn
            mistakes["The weights are given back; what is asked for is how far to move, in which direction."] = weights
        else:
            ours, theirs = (t.flatten(1).norm(dim=1).view(-1, *[1] * (len(shape) - 1)) for t in (weights, drawn))
            right = drawn / theirs * ours
            mistakes |= {
                "One factor for the whole tensor: then a strong and a weak filter are moved alike.": (
                    drawn / drawn.norm() * weights.norm()
                ),
                "Every filter has length 1. It should be as long as the network's own.": drawn / theirs,
                "Each filter is multiplied by the network's length, but still has its own as well.": drawn * ours,
                "The lengths have changed roles: a long filter of the network gets a short one.": drawn / ours * theirs,
                "These are squares of lengths; without the root the ratio is squared too.": (
                    drawn * (ours / theirs) ** 2
                ),
                "This follows the network's weights entry by entry. Only a filter's length is matched, its "
                "direction is free.": drawn * weights.abs(),
                "You go along the other axis: what leads *out* of an input. A filter is what leads into one unit.": (
                    _along(drawn, weights, [i for i in range(len(shape)) if i != 1])
                ),
            }
        if len(shape) == 4:
            mistakes["Each kernel has a length of its own here. A filter has all the kernels of one unit together."] = (
                _along(drawn, weights, (2, 3))
            )
        compare(_normalised(student, drawn, weights), right, mistakes, otherwise)


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


LOST = {  # a piece of torch's message → the idea
    "does not require grad": "The gradient is only numbers here: nobody kept how it came about. "
    "What does autograd need in order to differentiate it once more?",
    "only for scalar outputs": "Autograd starts from one number. Which number, made of the gradient and v, has Hv as "
    "its gradient?",
}


@exercise("08", "my_hessian_vector_product")
def hessian_vector_product(student) -> None:
    """Hessian times a vector by differentiating twice (Pearlmutter 1994; oracle: the Hessian itself)."""
    x, y = _normal(20, 3), torch.randint(0, 4, (20,))

    def cubes(w):
        return (w**3).sum() / 3 + (w[0] * w[1]) ** 2

    def cross_entropy(w):
        return F.cross_entropy(torch.tanh(x) @ w, y)

    for loss, w in ((cubes, _normal(3)), (cross_entropy, 3 * _normal(3, 4))):
        w, v = w.requires_grad_(), _normal(*w.shape)
        hessian = torch.autograd.functional.hessian(loss, w).reshape(w.numel(), w.numel())
        (gradient,) = torch.autograd.grad(loss(w), w)
        right = (hessian @ v.flatten()).view_as(v)
        got = _differentiated(student, loss, w, v)
        if same(got, right, 1e-2) and not same(got, right, 1e-7):
            raise Mistake("This is close, as a difference of two gradients is. Differentiated twice, Hv is exact.")
        compare(
            got,
            right,
            {
                "This is the gradient still. Its change along v is asked for.": gradient,
                "This is one number, the slope along v. How does each entry of the gradient change along v?": (
                    (gradient * v).sum()
                ),
                "This is vᵀHv, one number. Hv has one entry for each weight.": (right * v).sum(),
                "v comes too late: once the gradient's entries are added up, the rows of H are mixed.": (
                    hessian.sum(0).view_as(v) * v
                ),
                "v has no part in this: it is the sum of all the rows of H.": hessian.sum(0).view_as(v),
                "Only the diagonal of H is used: as if each entry of the gradient felt its own weight alone.": (
                    hessian.diagonal().view_as(v) * v
                ),
                "A product of two first derivatives is not a second derivative.": gradient * (gradient * v).sum(),
                "The first gradient is still in `w.grad`, and the second has been added to it.": gradient + right,
            },
            "The product is off. Take a loss whose second derivatives you know, such as w₁² w₂, and compare.",
            tolerance=1e-7,
        )


def _differentiated(student: Callable, *inputs):
    try:
        got = call(student, *inputs)
    except RuntimeError as error:
        for piece, sentence in LOST.items():
            if piece in str(error):
                raise Mistake(sentence) from error
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
    """The student's result.

    Raises:
        Mistake: autograd has made it. It needs what it saved on the way forward, which is noticed here.
    """
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
    mean = "β is added at every place of every image, and the loss feels each of them: a mean is too little."
    places = "β's gradient is kept apart for every place. A channel has one β."
    mistakes = {mean: grad.mean(OVER), places: grad.sum(0)}
    compare(got, right, mistakes, "The gradient of β is off. Where does β stand in y = γ x̂ + β, and how often?")


def _compare_gamma(got, right, grad, x, eps) -> None:
    (variance, mean), count = torch.var_mean(x, OVER, correction=0, keepdim=True), x.numel() // x.shape[1]
    compare(
        got,
        right,
        {
            "γ multiplies x̂, not x: its gradient has to see what it multiplies.": (grad * x).sum(OVER),
            "x is centred but not divided by its deviation when γ multiplies it; what does γ's gradient see?": (
                (grad * (x - mean)).sum(OVER)
            ),
            "This x̂ is made with the variance over n − 1. A batch is normalised by the one over n.": (
                (grad * (x - mean) / (variance * count / (count - 1) + eps).sqrt()).sum(OVER)
            ),
            "x̂ is made without `eps`. Usually it is too small to be seen; here it was large.": (
                grad * (x - mean) / variance.sqrt()
            ).sum(OVER),
            "Where does ε stand in the definition of x̂: beside the deviation, or beside the variance?": (
                grad * (x - mean) / (variance.sqrt() + eps)
            ).sum(OVER),
            "γ's gradient is a sum over all images and places, not a mean.": right / count,
        },
        "The gradient of γ is off. What does γ multiply in y = γ x̂ + β?",
    )


def _compare_statistics(got, grad, x, scale, eps) -> None:
    variance, mean = (t.requires_grad_() for t in torch.var_mean(x, OVER, correction=0, keepdim=True))
    x_hat_grad = scale[:, None, None] * grad
    loss = (x_hat_grad * (x - mean) / (variance + eps).sqrt()).sum()
    right = to_mean, to_variance = tuple(t.flatten() for t in torch.autograd.grad(loss, (mean, variance)))
    deviation = (variance.detach() + eps).sqrt().flatten()
    compare(
        got,
        right,
        {
            "The gradients of μ and σ² are there, the other way round.": (to_variance, to_mean),
            "μ's gradient has the wrong sign: a larger μ makes every x̂ smaller.": (-to_mean, to_variance),
            "σ²'s gradient has the wrong sign: a larger variance takes every x̂ nearer to zero.": (
                to_mean,
                -to_variance,
            ),
            "γ is missing in the gradients of μ and σ²: what multiplies x̂ before the loss sees it?": (
                to_mean / scale,
                to_variance / scale,
            ),
            "The second is the gradient of the deviation s. How does s change with σ²?": (
                to_mean,
                to_variance * 2 * deviation,
            ),
            "Every x̂ of the channel feels μ and σ²: a sum over images and places, not a mean.": (
                to_mean * x.shape[1] / x.numel(),
                to_variance * x.shape[1] / x.numel(),
            ),
        },
        "The gradients of μ and σ² are off. Write x̂ with both in it; how does each x̂ change with one of them alone?",
    )


def _compare_x(got, right, grad, x, scale, eps) -> None:
    variance, mean = torch.var_mean(x, OVER, correction=0, keepdim=True)
    deviation, count = (variance + eps).sqrt(), x.numel() // x.shape[1]
    x_hat, gamma = (x - mean) / deviation, scale[:, None, None]
    bar, along = grad.mean(OVER, keepdim=True), x_hat * (grad * x_hat).mean(OVER, keepdim=True)
    compare(
        got,
        right,
        {
            "Mean and variance are treated as constants. They are made of x: move one value, and all the others' x̂ "
            "change.": gamma / deviation * grad,
            "The way through the mean is there; the variance is made of x too.": gamma / deviation * (grad - bar),
            "The way through the variance is there; the mean is made of x too.": gamma / deviation * (grad - along),
            "γ is missing on the way: what multiplies x̂ before the loss sees it?": (grad - bar - along) / deviation,
            "One value moves the mean and the variance by one part in n only. Where is the n?": (
                gamma / deviation * (grad - count * bar - count * along)
            ),
            "This divides by the variance. x̂ was divided by its root.": gamma / deviation**2 * (grad - bar - along),
            "This is not divided by the deviation: how much does x̂ move when x does?": gamma * (grad - bar - along),
            "The two ways through mean and variance have the wrong sign: a larger value raises the mean, and then the "
            "others' x̂ fall.": gamma / deviation * (grad + bar + along),
            "The averages run over the images only. A channel's mean and variance run over its places too.": (
                gamma / deviation * (grad - grad.mean(0, keepdim=True) - x_hat * (grad * x_hat).mean(0, keepdim=True))
            ),
        },
        "The gradient of x is off. Three ways lead from a value of x to the loss: itself, the mean, the variance.",
    )


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
        compare(
            several(got, "the distance ‖G − G′‖₂", "the cosine"),
            right,
            mistakes,
            "Distance or cosine is off. G and G′: the same part, the same batch, and only what is below has moved.",
        )


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
        "Distance and cosine are there, the other way round.": (cosine, distance),
        "Nothing has changed, not even a little: are G and G′ two gradients, or one tensor under two names?": (
            0.0,
            1.0,
        ),
        "The second backward has added to the first one's gradient: your G′ is G + G′.": _apart(g, g + moved),
        "The part whose gradient is compared has moved as well; only what is below it should.": (
            _apart(g, flat(after(both, lr)))
        ),
        "The wrong part has moved: G′ is about a step of the layers *below*.": _apart(g, flat(after(("1.",), lr))),
        "The layers below have gone uphill. Gradient *descent* has a sign.": _apart(g, flat(after(("0.",), -lr))),
        "The step below does not have the length that the rate gives it.": _apart(g, flat(after(("0.",), 1.0))),
        "G is the gradient of the upper part alone; yours has the lower part's in it.": (
            _apart(flat(first, both), flat(second, both))
        ),
        "This is a squared length, not a length.": (distance**2, cosine),
        "The difference of two lengths is not the length of the difference: directions change too.": (
            (g.norm() - moved.norm()).abs(),
            cosine,
        ),
        "The distances of the single tensors do not add up to that of the whole. Make one vector of them first.": (
            sum(d for d, _ in each),
            cosine,
        ),
        "A mean over the tensors' cosines counts a bias like a matrix. Make one vector first.": (
            distance,
            sum(c for _, c in each) / len(each),
        ),
        "This is the distance relative to ‖G‖. Here the distance itself is asked for.": (distance / g.norm(), cosine),
    }


def _apart(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance and cosine of two vectors."""
    return (one - other).norm(), F.cosine_similarity(one, other, dim=0)
