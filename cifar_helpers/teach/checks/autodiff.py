"""Checks of the exercises on automatic differentiation (notebook 09): backward of an operation on numpy arrays.

The oracle is ``torch.autograd`` in double precision. Square arrays come first, for there a wrong formula has the right
shape and can be recognised; then shapes that differ.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from .engine import Mistake, call, compare, exercise, same, several

NO_INCOMING = (
    "This is the slope of the operation alone. How the loss depends on its output comes in as `grad`, and belongs to "
    "the chain rule too."
)


def _normal(*shape: int) -> np.ndarray:
    return torch.randn(shape, dtype=torch.float64).numpy()


def _autograd(operation: Callable, grad: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
    found = torch.autograd.grad(operation(*leaves), leaves, torch.as_tensor(grad))
    return tuple(t.numpy() for t in found)


def _compare_two(got, right: tuple, names: tuple[str, str], mistakes: tuple[Mapping, Mapping]) -> None:
    """Compare two gradients, each with the mistakes made there."""
    got = several(got, *(f"the gradient of {name}" for name in names))
    if not same(got, right) and same(got, right[::-1]):
        raise Mistake("Both are there, the other way round: first the gradient of the first input.")
    for name, *parts in zip(names, got, right, mistakes, strict=True):
        compare(*parts, f"{name}-off")


@exercise("09", "my_divide_backward")
def divide_backward(student) -> None:
    """Gradients of X / Y with numpy's broadcasting (source 003, question 1; oracle: ``torch.autograd``)."""
    for x, y in (((3, 3), (3, 3)), ((3, 4), (4,)), ((2, 4, 3), (4, 1)), ((2, 1, 3), (4, 1)), ((2, 3), ())):
        x, y = _normal(*x), 1.5 + np.abs(_normal(*y))
        grad = _normal(*(x / y).shape)
        to_x, to_y = _autograd(torch.div, grad, x, y)
        for_x = {
            NO_INCOMING: _collected(np.ones_like(grad) / y, x.shape),
            "x-times-y": _collected(grad * y, x.shape),
        }
        for_y = {
            NO_INCOMING: _collected(-x / y**2, y.shape),
            "y-sign": -to_y,
            "y-power": _collected(-grad * x / y, y.shape),
        }
        mistakes = for_x | _uncollected(grad / y, x.shape), for_y | _uncollected(-grad * x / y**2, y.shape)
        _compare_two(call(student, grad, x, y), (to_x, to_y), ("X", "Y"), mistakes)


def _copied(shape: tuple[int, ...], wide: tuple[int, ...]) -> tuple[int, ...]:
    """The axes along which broadcasting copies an array of one shape to fill another."""
    full = (1,) * (len(wide) - len(shape)) + shape
    return tuple(i for i, length in enumerate(full) if length != wide[i])


def _collected(part: np.ndarray, shape: tuple[int, ...], reduce: Callable = np.sum) -> np.ndarray:
    """What the copies of each entry add up to."""
    return reduce(part, axis=_copied(shape, part.shape), keepdims=True).reshape(shape)


def _uncollected(part: np.ndarray, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What a backward gives that does not add up the copies, or not all of them."""
    if not _copied(shape, part.shape):
        return {}
    return {
        "copies-apart": part,
        "copies-averaged": _collected(part, shape, np.mean),
        "front-only": part.sum(tuple(range(part.ndim - len(shape)))),
    }


@exercise("09", "my_matmul_backward")
def matmul_backward(student) -> None:
    """Gradients of X W, for one matrix and for a stack of them (source 003, question 3; oracle: ``torch.autograd``)."""
    for x, w in (((3, 3), (3, 3)), ((5, 3), (3, 2)), ((3, 3, 3), (3, 3)), ((4, 5, 3), (3, 2)), ((2, 2, 1, 3), (3, 4))):
        x, w = _normal(*x), _normal(*w)
        grad = _normal(*(x @ w).shape)
        to_x, to_w = _autograd(torch.matmul, grad, x, w)
        bare = _autograd(torch.matmul, np.ones_like(grad), x, w)
        for_x, for_w = {NO_INCOMING: bare[0]}, {NO_INCOMING: bare[1]}
        if x.ndim > 2:
            each = x.swapaxes(-1, -2) @ grad
            for_w |= {"stack-apart": each, "stack-averaged": each.mean(tuple(range(x.ndim - 2)))}
        if x.shape[-2:] == w.shape == grad.shape[-2:]:
            wrong = _wrong_orders(grad, x, w)
            for_x, for_w = for_x | wrong[0], for_w | wrong[1]
        _compare_two(call(student, grad, x, w), (to_x, to_w), ("X", "W"), (for_x, for_w))


def _wrong_orders(grad: np.ndarray, x: np.ndarray, w: np.ndarray) -> tuple[dict, dict]:
    """What wrong orders and missing transposes give; where all matrices are square nothing else stops them."""
    stack, turned = tuple(range(x.ndim - 2)), x.swapaxes(-1, -2)
    for_x = {"x-entrywise": grad * w, "w-untransposed": grad @ w, "x-order": w.T @ grad}
    for_w = {
        "w-entrywise": (grad * x).sum(stack),
        "x-untransposed": (x @ grad).sum(stack),
        "w-order": (grad @ turned).sum(stack),
        "w-transposed": (grad.swapaxes(-1, -2) @ x).sum(stack),
    }
    if stack:
        for_w |= {"t-of-stack": (x.T @ grad).sum(stack), "t-of-stack-apart": x.T @ grad}
    return for_x, for_w


@exercise("09", "my_sum_backward")
def sum_backward(student) -> None:
    """Gradient of a sum along an axis or over everything (source 003, question 8; oracle: ``torch.autograd``)."""
    for shape, axis in (((3, 3), None), ((3, 3), 0), ((3, 3), 1), ((2, 3, 4), 1), ((4, 2), -1), ((5,), 0)):
        x = _normal(*shape)
        grad = _normal(*np.shape(x.sum(axis)))
        (right,) = _autograd(lambda t, axis=axis: t.sum() if axis is None else t.sum(axis), grad, x)
        mistakes = {
            NO_INCOMING: np.ones_like(x),
            "as-it-came": grad,
            "mean": right * grad.size / x.size,
            "times-x": right * x,
            "added-up": np.full(shape, grad.sum()),
        }
        if (shape, axis) == ((3, 3), 1):  # elsewhere numpy stops
            mistakes["wrong-axis"] = np.broadcast_to(grad, shape)
        if (shape, axis) == ((3, 3), 0):
            mistakes["axis-last"] = np.broadcast_to(grad[:, None], shape)
        compare(call(student, grad, x, axis), right, mistakes)
