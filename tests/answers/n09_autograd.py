"""Wrong answers to the exercises of notebook 09, as students write them: exercise → (variant, part of its message)."""

import numpy as np


def unbroadcast(grad, shape):
    """Right: what the variants below share where their mistake is another one."""
    while grad.ndim > len(shape):
        grad = grad.sum(axis=0)
    for i, n in enumerate(shape):
        if n == 1:
            grad = grad.sum(axis=i, keepdims=True)
    return grad


def no_copies(grad, x, y):
    return grad / y, -grad * x / y**2


def sign(grad, x, y):
    return unbroadcast(grad / y, x.shape), unbroadcast(grad * x / y**2, y.shape)


def not_squared(grad, x, y):
    return unbroadcast(grad / y, x.shape), unbroadcast(-grad * x / y, y.shape)


def local_only(grad, x, y):
    return 1 / y, -x / y**2


def multiplied(grad, x, y):
    return unbroadcast(grad * y, x.shape), unbroadcast(-grad * x / y**2, y.shape)


def y_first(grad, x, y):
    return unbroadcast(-grad * x / y**2, y.shape), unbroadcast(grad / y, x.shape)


def leading_only(grad, x, y):
    to_x, to_y = grad / y, -grad * x / y**2
    return to_x.sum(tuple(range(to_x.ndim - x.ndim))), to_y.sum(tuple(range(to_y.ndim - y.ndim)))


def mean_of_copies(grad, x, y):
    to_y = -grad * x / y**2
    while to_y.ndim > y.ndim:
        to_y = to_y.mean(axis=0)
    return grad / y, to_y


def divides_in_place(grad, x, y):
    grad /= y
    return grad, -grad * x / y


def only_x(grad, x, y):
    return grad / y


def w_sides(grad, x, w):
    return grad @ w.T, grad @ x.T


def w_turned(grad, x, w):
    return grad @ w.T, grad.T @ x


def x_sides(grad, x, w):
    return w.T @ grad, x.T @ grad


def x_not_transposed(grad, x, w):
    return grad @ w, x.T @ grad


def w_not_transposed(grad, x, w):
    return grad @ w.T, x @ grad


def ones_come_in(grad, x, w):
    grad = np.ones(grad.shape)
    return grad @ w.T, x.T @ grad


def entry_by_entry(grad, x, w):
    return grad * w, grad * x


def capital_t(grad, x, w):
    return grad @ w.T, (x.T @ grad).reshape(-1, *w.shape).sum(axis=0)


def one_per_matrix(grad, x, w):
    return grad @ w.T, x.swapaxes(-1, -2) @ grad


def mean_of_stack(grad, x, w):
    to_w = x.swapaxes(-1, -2) @ grad
    return grad @ w.T, to_w.reshape(-1, *w.shape).mean(axis=0)


def w_first(grad, x, w):
    return x.T @ grad, grad @ w.T


def as_it_came(grad, x, axis):
    return grad


def ones(grad, x, axis):
    return np.ones_like(x)


def of_a_mean(grad, x, axis):
    if axis is None:
        return np.full(x.shape, grad / x.size)
    return np.repeat(np.expand_dims(grad, axis), x.shape[axis], axis) / x.shape[axis]


def times_x(grad, x, axis):
    return x * (grad if axis is None else np.expand_dims(grad, axis))


def axis_ignored(grad, x, axis):
    return np.full(x.shape, grad.sum())


def lines_up_wrongly(grad, x, axis):
    return np.broadcast_to(grad, x.shape)


def back_at_the_end(grad, x, axis):
    return np.ones_like(x) * np.expand_dims(grad, -1)


def fills_x(grad, x, axis):
    x[...] = grad if axis is None else np.expand_dims(grad, axis)
    return x


WRONG = {
    "divide_backward": [
        (no_copies, "shape of the quotient"),
        (sign, "sign of Y's gradient"),
        (not_squared, "power of Y"),
        (local_only, "slope of the operation alone"),
        (multiplied, "scaled the wrong way"),
        (y_first, "other way round"),
        (leading_only, "axis of length 1"),
        (mean_of_copies, "mean over the copies"),
        (divides_in_place, "in place"),
        (only_x, "2 values are wanted"),
    ],
    "matmul_backward": [
        (x_not_transposed, "X's gradient: over which"),
        (w_not_transposed, "W's gradient: over which"),
        (w_sides, "on the left"),
        (w_turned, "rows and columns exchanged"),
        (x_sides, "wrong order"),
        (ones_come_in, "slope of the operation alone"),
        (entry_by_entry, "mixes entries"),
        (capital_t, "reverses all the axes"),
        (one_per_matrix, "one W"),
        (mean_of_stack, "mean over the stack"),
        (w_first, "other way round"),
    ],
    "sum_backward": [
        (as_it_came, "as it came"),
        (ones, "slope of the operation alone"),
        (of_a_mean, "backward of a mean"),
        (times_x, "no part in it"),
        (axis_ignored, "forget which row"),
        (lines_up_wrongly, "wrong axis"),
        (back_at_the_end, "put back at the end"),
        (fills_x, "in place"),
    ],
}
