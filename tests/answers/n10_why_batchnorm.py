"""Wrong answers to the exercises of notebook 10, as students write them: exercise → (variant, part of its message)."""

import functools

import torch
import torch.nn.functional as F

DIMS = (0, 2, 3)


def normalised(x, eps):
    """Right: x̂ and the deviation, where the mistake of a variant is another one."""
    s = (x.var(dim=DIMS, correction=0, keepdim=True) + eps).sqrt()
    return (x - x.mean(dim=DIMS, keepdim=True)) / s, s


def constants(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    return scale.view(1, -1, 1, 1) * grad / s, (grad * x_hat).sum(DIMS), grad.sum(DIMS)


def mean_only(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    to_x = scale.view(1, -1, 1, 1) / s * (grad - grad.mean(DIMS, keepdim=True))
    return to_x, (grad * x_hat).sum(DIMS), grad.sum(DIMS)


def variance_only(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    to_x = scale.view(1, -1, 1, 1) / s * (grad - x_hat * (grad * x_hat).mean(DIMS, keepdim=True))
    return to_x, (grad * x_hat).sum(DIMS), grad.sum(DIMS)


def gamma_forgotten(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    to_x = (grad - grad.mean(DIMS, keepdim=True) - x_hat * (grad * x_hat).mean(DIMS, keepdim=True)) / s
    return to_x, (grad * x_hat).sum(DIMS), grad.sum(DIMS)


def no_n(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    to_shift, to_scale = grad.sum(DIMS, keepdim=True), (grad * x_hat).sum(DIMS, keepdim=True)
    to_x = scale.view(1, -1, 1, 1) / s * (grad - to_shift - x_hat * to_scale)
    return to_x, to_scale.flatten(), to_shift.flatten()


def by_the_variance(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    to_x = grad - grad.mean(DIMS, keepdim=True) - x_hat * (grad * x_hat).mean(DIMS, keepdim=True)
    return scale.view(1, -1, 1, 1) / s**2 * to_x, (grad * x_hat).sum(DIMS), grad.sum(DIMS)


def over_images(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    to_x = scale.view(1, -1, 1, 1) / s * (grad - grad.mean(0) - x_hat * (grad * x_hat).mean(0))
    return to_x, (grad * x_hat).sum(DIMS), grad.sum(DIMS)


def plus(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    to_x = grad + grad.mean(DIMS, keepdim=True) + x_hat * (grad * x_hat).mean(DIMS, keepdim=True)
    return scale.view(1, -1, 1, 1) / s * to_x, (grad * x_hat).sum(DIMS), grad.sum(DIMS)


def gamma_of_x(grad, x, scale, eps):
    return constants(grad, x, scale, eps)[0], (grad * x).sum(DIMS), grad.sum(DIMS)


def unbiased(grad, x, scale, eps):
    s = (x.var(dim=DIMS, keepdim=True) + eps).sqrt()
    x_hat = (x - x.mean(dim=DIMS, keepdim=True)) / s
    to_x = (
        scale.view(1, -1, 1, 1)
        / s
        * (grad - grad.mean(DIMS, keepdim=True) - x_hat * (grad * x_hat).mean(DIMS, keepdim=True))
    )
    return to_x, (grad * x_hat).sum(DIMS), grad.sum(DIMS)


def no_eps(grad, x, scale, eps):
    x_hat, s = normalised(x, 0)
    to_x = grad - grad.mean(DIMS, keepdim=True) - x_hat * (grad * x_hat).mean(DIMS, keepdim=True)
    return scale.view(1, -1, 1, 1) / s * to_x, (grad * x_hat).sum(DIMS), grad.sum(DIMS)


def eps_outside(grad, x, scale, eps):
    s = x.std(dim=DIMS, correction=0, keepdim=True) + eps
    x_hat = (x - x.mean(dim=DIMS, keepdim=True)) / s
    to_x = grad - grad.mean(DIMS, keepdim=True) - x_hat * (grad * x_hat).mean(DIMS, keepdim=True)
    return scale.view(1, -1, 1, 1) / s * to_x, (grad * x_hat).sum(DIMS), grad.sum(DIMS)


def one_beta_per_place(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    return scale.view(1, -1, 1, 1) * grad / s, (grad * x_hat).sum(0), grad.sum(0)


def beta_before_gamma(grad, x, scale, eps):
    to_x, to_scale, to_shift = constants(grad, x, scale, eps)
    return to_x, to_shift, to_scale


def parts(grad, x, scale, eps):
    """Right: the gradients of x, γ, β, μ and σ²."""
    x_hat, s = normalised(x, eps)
    to_x_hat = scale.view(1, -1, 1, 1) * grad
    to_mean, to_variance = -(to_x_hat / s).sum(DIMS), -(to_x_hat * x_hat / (2 * s**2)).sum(DIMS)
    to_x = (to_x_hat - to_x_hat.mean(DIMS, keepdim=True) - x_hat * (to_x_hat * x_hat).mean(DIMS, keepdim=True)) / s
    return to_x, (grad * x_hat).sum(DIMS), grad.sum(DIMS), to_mean, to_variance


def with_statistics(variant):
    """The variant's gradients of x, γ and β with the right ones of μ and σ²."""

    @functools.wraps(variant)
    def answer(grad, x, scale, eps):
        return *variant(grad, x, scale, eps), *parts(grad, x, scale, eps)[3:]

    return answer


def variance_before_mean(grad, x, scale, eps):
    *others, to_mean, to_variance = parts(grad, x, scale, eps)
    return *others, to_variance, to_mean


def signs_of_the_statistics(grad, x, scale, eps):
    *others, to_mean, to_variance = parts(grad, x, scale, eps)
    return *others, -to_mean, to_variance


def variance_pushes_out(grad, x, scale, eps):
    *others, to_mean, to_variance = parts(grad, x, scale, eps)
    return *others, to_mean, -to_variance


def statistics_without_gamma(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    return *parts(grad, x, scale, eps)[:3], -(grad / s).sum(DIMS), -(grad * x_hat / (2 * s**2)).sum(DIMS)


def of_the_deviation(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    return *parts(grad, x, scale, eps)[:4], -(scale.view(1, -1, 1, 1) * grad * x_hat / s).sum(DIMS)


def means_over_places(grad, x, scale, eps):
    x_hat, s = normalised(x, eps)
    to_x_hat = scale.view(1, -1, 1, 1) * grad
    averages = -(to_x_hat / s).mean(DIMS), -(to_x_hat * x_hat / (2 * s**2)).mean(DIMS)
    return *parts(grad, x, scale, eps)[:3], *averages


def without_the_statistics(grad, x, scale, eps):
    return parts(grad, x, scale, eps)[:3]


def by_autograd(grad, x, scale, eps):
    mean, variance = x.mean(DIMS).requires_grad_(), x.var(DIMS, correction=0).requires_grad_()
    y = scale.view(1, -1, 1, 1) * (x - mean.view(1, -1, 1, 1)) / (variance + eps).sqrt().view(1, -1, 1, 1)
    y.backward(grad)
    return *parts(grad, x, scale, eps)[:3], mean.grad, variance.grad


def by_vjp(grad, x, scale, eps):
    shift = torch.zeros_like(scale)
    _, pull = torch.func.vjp(lambda *v: F.batch_norm(v[0], None, None, *v[1:], training=True, eps=eps), x, scale, shift)
    return *pull(grad), *parts(grad, x, scale, eps)[3:]


def gradient(below, above, images, labels):
    """Right: the gradient of the upper part as one vector."""
    loss = F.cross_entropy(above(below(images)), labels)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(above.parameters()))])


def step(part, whole, images, labels, lr):
    """Right: one step of gradient descent for a part of a network."""
    parameters = list(part.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(whole(images), labels), parameters)
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p -= lr * g


def moved(below, above, images, labels, lr, part):
    before = gradient(below, above, images, labels)
    step(part, torch.nn.Sequential(below, above), images, labels, lr)
    after = gradient(below, above, images, labels)
    return before, after


def all_layers_step(below, above, images, labels, lr):
    a, b = moved(below, above, images, labels, lr, torch.nn.Sequential(below, above))
    return (a - b).norm(), torch.cosine_similarity(a, b, dim=0)


def upper_part_steps(below, above, images, labels, lr):
    a, b = moved(below, above, images, labels, lr, above)
    return (a - b).norm(), torch.cosine_similarity(a, b, dim=0)


def uphill(below, above, images, labels, lr):
    a, b = moved(below, above, images, labels, -lr, below)
    return (a - b).norm(), torch.cosine_similarity(a, b, dim=0)


def rate_forgotten(below, above, images, labels, lr):
    a, b = moved(below, above, images, labels, 1, below)
    return (a - b).norm(), torch.cosine_similarity(a, b, dim=0)


def no_zero_grad(below, above, images, labels, lr):
    F.cross_entropy(above(below(images)), labels).backward()
    before = torch.cat([p.grad.flatten() for p in above.parameters()])
    torch.optim.SGD(below.parameters(), lr=lr).step()
    F.cross_entropy(above(below(images)), labels).backward()
    after = torch.cat([p.grad.flatten() for p in above.parameters()])
    return (before - after).norm(), torch.cosine_similarity(before, after, dim=0)


def two_names(below, above, images, labels, lr):
    F.cross_entropy(above(below(images)), labels).backward()
    before = [p.grad for p in above.parameters()]
    torch.optim.SGD(below.parameters(), lr=lr).step()
    F.cross_entropy(above(below(images)), labels).backward()
    after = [p.grad for p in above.parameters()]
    before, after = (torch.cat([g.flatten() for g in gradients]) for gradients in (before, after))
    return (before - after).norm(), torch.cosine_similarity(before, after, dim=0)


def all_gradients(below, above, images, labels, lr):
    vectors = []
    for _ in range(2):
        below.zero_grad()
        above.zero_grad()
        F.cross_entropy(above(below(images)), labels).backward()
        vectors.append(torch.cat([p.grad.flatten() for p in [*below.parameters(), *above.parameters()]]))
        torch.optim.SGD(below.parameters(), lr=lr).step()
    return (vectors[0] - vectors[1]).norm(), torch.cosine_similarity(*vectors, dim=0)


def squared(below, above, images, labels, lr):
    a, b = moved(below, above, images, labels, lr, below)
    return ((a - b) ** 2).sum(), torch.cosine_similarity(a, b, dim=0)


def of_lengths(below, above, images, labels, lr):
    a, b = moved(below, above, images, labels, lr, below)
    return (a.norm() - b.norm()).abs(), torch.cosine_similarity(a, b, dim=0)


def relative(below, above, images, labels, lr):
    a, b = moved(below, above, images, labels, lr, below)
    return (a - b).norm() / a.norm(), torch.cosine_similarity(a, b, dim=0)


def tensor_by_tensor(below, above, images, labels, lr):
    a, b = moved(below, above, images, labels, lr, below)
    sizes = [p.numel() for p in above.parameters()]
    distance = sum((one - other).norm() for one, other in zip(a.split(sizes), b.split(sizes), strict=True))
    return distance, torch.cosine_similarity(a, b, dim=0)


def cosine_first(below, above, images, labels, lr):
    a, b = moved(below, above, images, labels, lr, below)
    return torch.cosine_similarity(a, b, dim=0), (a - b).norm()


WRONG = {
    "batch_norm_backward": [
        (with_statistics(constants), "constants"),
        (with_statistics(mean_only), "variance is made of x too"),
        (with_statistics(variance_only), "mean is made of x too"),
        (with_statistics(gamma_forgotten), "γ is missing"),
        (with_statistics(no_n), "Where is the n"),
        (with_statistics(by_the_variance), "by the variance"),
        (with_statistics(over_images), "over the images only"),
        (with_statistics(plus), "wrong sign"),
        (with_statistics(gamma_of_x), "not x"),
        (with_statistics(unbiased), "n − 1"),
        (with_statistics(no_eps), "without `eps`"),
        (with_statistics(eps_outside), "Where does ε stand"),
        (with_statistics(one_beta_per_place), "one β"),
        (with_statistics(beta_before_gamma), "other way round"),
        (variance_before_mean, "μ and σ² are there, the other way round"),
        (signs_of_the_statistics, "μ's gradient has the wrong sign"),
        (variance_pushes_out, "σ²'s gradient has the wrong sign"),
        (statistics_without_gamma, "γ is missing in the gradients of μ"),
        (of_the_deviation, "the deviation s"),
        (means_over_places, "a sum over images and places, not a mean."),
        (without_the_statistics, "5 values are wanted"),
        (by_autograd, "Autograd has made"),
        (by_vjp, "under another name"),
    ],
    "covariate_shift": [
        (all_layers_step, "moved as well"),
        (upper_part_steps, "wrong part"),
        (uphill, "uphill"),
        (rate_forgotten, "rate"),
        (no_zero_grad, "has added"),
        (two_names, "two names"),
        (all_gradients, "lower part's"),
        (squared, "squared length"),
        (of_lengths, "two lengths"),
        (relative, "relative"),
        (tensor_by_tensor, "one vector"),
        (cosine_first, "other way round"),
    ],
}

RIGHT = {"batch_norm_backward": [parts]}
