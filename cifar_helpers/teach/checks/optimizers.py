"""Checks of the exercises on optimizers written by hand (notebook 02): SGD with momentum, Adam."""

import itertools
from collections.abc import Callable, Mapping

import torch
from torch import nn

from .engine import Mistake, compare, exercise, same

Tensors = list[torch.Tensor]
# state, step (from 1), weight, gradient → weight
Rule = Callable[[dict, int, torch.Tensor, torch.Tensor], torch.Tensor]
STEPS = 4
UNMOVED = "The network's own weights have not moved. Does the step change them, or make new tensors?"
FIRST_ONLY = "Only the first parameter moves. Does the loop end too soon?"
WATCHED = "Autograd takes the update for a part of the network, and refuses it. Should it watch here at all?"
UPHILL = "It climbs: which way does the gradient point?"
FIXED = "Right for one setting and not for another: which numbers does the object keep, and are they used?"


@exercise("02", "MySGD")
def sgd(student) -> None:
    """SGD with momentum over four steps (Polyak 1964; oracle: ``torch.optim.SGD`` fed the same gradients)."""
    lr, mu = 0.1, 0.8
    rules = {
        UPHILL: _momentum(-lr, mu),
        "no-momentum": _momentum(lr, 0),
        "share": _momentum(lr, mu, 1 - mu),
        "gradient-fades": _momentum(lr, 1, mu),
        "swapped": _momentum(lr, 1 - mu, mu),
        "no-fading": _momentum(lr, 1),
        "late": _momentum(lr, mu, late=True),
        "nesterov": _momentum(lr, mu, ahead=True),
        "alias": _momentum(lr, mu, alias=True),
        "shared": _momentum(lr, mu),
    }
    _compare_with(torch.optim.SGD, student, (lr, mu), rules)
    _compare_with(torch.optim.SGD, student, (0.05, 0.0), {}, FIXED)
    _compare_frozen(student, (lr, mu))


@exercise("02", "MyAdam")
def adam(student) -> None:
    """Adam over four steps (Kingma & Ba 2015; oracle: ``torch.optim.Adam`` fed the same gradients)."""
    lr, betas, eps = setting = 0.1, (0.8, 0.95), 0.1  # a large ε, so that its place shows
    every_call = itertools.count(1)
    rules = {
        UPHILL: _adam(-lr, betas, eps),
        "uncorrected": _adam(lr, betas, eps, first=False, scale=lambda v, c, eps: v**0.5 + eps),
        "first-uncorrected": _adam(lr, betas, eps, first=False),
        "second-uncorrected": _adam(lr, betas, eps, scale=lambda v, c, eps: v**0.5 + eps),
        "from-zero": _adam(lr, betas, eps, clock=lambda t: t - 1),
        "always-first": _adam(lr, betas, eps, clock=lambda t: 1),
        "count-per-parameter": _adam(lr, betas, eps, clock=lambda t: next(every_call)),
        "eps-inside": _adam(lr, betas, eps, scale=lambda v, c, eps: (v / c + eps) ** 0.5),
        "eps-early": _adam(lr, betas, eps, scale=lambda v, c, eps: (v**0.5 + eps) / c**0.5),
        "no-eps": _adam(lr, betas, eps, scale=lambda v, c, eps: (v / c) ** 0.5),
        "no-root": _adam(lr, betas, eps, scale=lambda v, c, eps: v / c + eps),
        "betas-swapped": _adam(lr, betas[::-1], eps),
        "unsquared": _adam(lr, betas, eps, square=lambda g, m: g),
        "square-of-mean": _adam(lr, betas, eps, square=lambda g, m: m * m),
        "sums": _adam(lr, betas, eps, mix=lambda beta, old, new: beta * old + new),
        "mix-swapped": _adam(lr, betas, eps, mix=lambda beta, old, new: (1 - beta) * old + beta * new),
        "forgotten": _adam(lr, betas, eps, mix=lambda beta, old, new: (1 - beta) * new),
        "fixed": _adam(lr, (0.9, 0.999), 1e-8),
        "shared": _adam(*setting),
    }
    _compare_with(torch.optim.Adam, student, setting, rules)
    _compare_with(torch.optim.Adam, student, (0.05, (0.9, 0.999), 1e-8), {}, FIXED)
    _compare_frozen(student, setting)


# --- What usual mistakes do ----------------------------------------------------------------------------------------


def _momentum(lr: float, keep: float, take=1.0, late=False, ahead=False, alias=False) -> Rule:
    """v ← keep · v + take · g, then w ← w − lr · v; or w − lr · the old v (late), or · (keep · v + g) (ahead).

    Where it is an ``alias``, the old v is in the second step the tensor that backward has written the gradient into.
    """

    def rule(state: dict, t: int, w: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        old = g if alias and t == 2 else state.get("v", torch.zeros_like(g))
        v = state["v"] = keep * old + take * g
        return w - lr * (old if late else keep * v + g if ahead else v)

    return rule


def _adam(
    lr: float,
    betas,
    eps: float,
    first: bool = True,  # whether the first mean is freed of its start at zero
    scale: Callable = lambda v, c, eps: (v / c) ** 0.5 + eps,  # divides the step; c frees v of its start at zero
    square: Callable = lambda g, m: g * g,  # what the second mean is of
    clock: Callable = lambda t: t,  # the step's number
    mix: Callable = lambda beta, old, new: beta * old + (1 - beta) * new,
) -> Rule:
    """Adam with parts that can be exchanged."""

    def rule(state: dict, t: int, w: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        (beta1, beta2), t = betas, clock(t)
        m = state["m"] = mix(beta1, state.get("m", 0 * g), g)
        v = state["v"] = mix(beta2, state.get("v", 0 * g), square(g, m))
        return w - lr * (m / (1 - beta1**t) if first else m) / scale(v, 1 - beta2**t, eps)

    return rule


# --- Driving an optimizer ------------------------------------------------------------------------------------------


def _compare_with(oracle, student, setting: tuple, rules: Mapping[str, Rule], otherwise: str = "off") -> None:
    """Compare the weights after four steps with the oracle's; the rule ``shared`` has one state for all parameters."""
    start = [torch.randn(shape, dtype=torch.double) for shape in 3 * [(2, 3)]]  # of one shape, as it hides most
    gradients = [[torch.randn_like(w) for w in start] for _ in range(STEPS)]
    for step in gradients:
        step[0][0, 0] = 0
    right = _drive(oracle, setting, start, gradients)
    mistakes = {UNMOVED: start, FIRST_ONLY: [right[0], *start[1:]]}
    mistakes |= {name: _follow(rule, start, gradients, name == "shared") for name, rule in rules.items()}
    compare(_drive(student, setting, start, gradients), right, mistakes, otherwise)


def _follow(rule: Rule, weights: Tensors, gradients: list[Tensors], shared: bool) -> Tensors:
    """Where a rule leads; ``shared``: with one state for all parameters."""
    one: dict = {}
    states = [one if shared else {} for _ in weights]
    for t, step in enumerate(gradients, start=1):
        weights = [rule(state, t, w, g) for state, w, g in zip(states, weights, step, strict=True)]
    return weights


def _drive(optimizer_class, setting: tuple, start: Tensors, gradients: list[Tensors]) -> Tensors:
    """Where an optimizer leads, if it has a step, is not watched by autograd and leaves gradients and parameters be."""
    weights = [nn.Parameter(w.clone()) for w in start]
    optimizer = optimizer_class(weights, *setting)
    if not callable(getattr(optimizer, "step", None)):
        raise Mistake("An optimizer is an object with a method `step`.")
    for step in gradients:
        for w, g in zip(weights, step, strict=True):
            if w.grad is None:
                w.grad = g.clone()
            else:
                w.grad.copy_(g)  # into the same tensor, as backward does unless gradients are set to None
        _take_step(optimizer)
        if not same([w.grad for w in weights], step):
            raise Mistake("The step changes the gradients themselves. They belong to the caller of backward.")
    if not all(w.is_leaf and w.requires_grad for w in weights):
        raise Mistake("After the step the weights are no parameters any more: they ask for no gradient.")
    return [w.detach() for w in weights]


def _take_step(optimizer) -> None:
    try:
        optimizer.step()
    except RuntimeError as error:
        if "in-place" not in str(error):
            raise
        raise Mistake(WATCHED) from error


def _compare_frozen(student, setting: tuple) -> None:
    frozen, moving = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = student([frozen, moving], *setting)
    moving.grad = torch.ones(2)
    try:
        optimizer.step()
    except (AttributeError, TypeError) as error:
        raise Mistake("A parameter without gradient (`grad` is None), as in a frozen layer, stops it.") from error
    if same(moving, torch.ones(2)) or not same(frozen, torch.ones(2)):
        raise Mistake("A parameter without gradient (`grad` is None) stays where it is; the others move on.")
