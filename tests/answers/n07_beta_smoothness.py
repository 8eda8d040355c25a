"""Wrong answers to the exercises of notebook 07, as students write them: exercise → (variant, part of its message)."""

import numpy as np
import torch


def table(steps):
    """(steps, parameters)"""
    return np.stack([torch.cat([t.flatten() for t in tensors]).numpy() for tensors in steps])


def change(values):
    """Distance of every step from the one before; NaN for the first."""
    return np.concatenate([[np.nan], np.linalg.norm(np.diff(values, axis=0), axis=1)])


def quotient(weights, gradients):
    moved = change(table(weights))
    return np.where(moved > 0, change(table(gradients)) / np.where(moved > 0, moved, 1), np.nan)


def not_divided(weights, gradients):
    return change(table(gradients))


def upside_down(weights, gradients):
    return change(table(weights)) / change(table(gradients))


def by_the_weights(weights, gradients):
    return change(table(gradients)) / np.linalg.norm(table(weights), axis=1)


def by_the_gradient(weights, gradients):
    return change(table(gradients)) / np.linalg.norm(table(gradients), axis=1)


def by_the_gradient_before(weights, gradients):
    g = table(gradients)
    beta = np.full(len(g), np.nan)
    for t in range(1, len(g)):
        beta[t] = np.linalg.norm(g[t] - g[t - 1]) / np.linalg.norm(g[t - 1])
    return beta


def other_step(weights, gradients):
    w, g = table(weights), table(gradients)
    beta = np.full(len(w), np.nan)
    for t in range(1, len(w) - 1):
        beta[t] = np.linalg.norm(g[t] - g[t - 1]) / np.linalg.norm(w[t + 1] - w[t])
    return beta


def squared(weights, gradients):
    return change(table(gradients)) ** 2 / change(table(weights)) ** 2


def per_tensor(weights, gradients):
    """Quotient of every tensor: (tensors, steps)."""
    parts = zip(zip(*weights, strict=True), zip(*gradients, strict=True), strict=True)
    return np.stack([quotient([[t] for t in w], [[t] for t in g]) for w, g in parts])


def mean_over_tensors(weights, gradients):
    return per_tensor(weights, gradients).mean(axis=0)


def largest_tensor(weights, gradients):
    return per_tensor(weights, gradients).max(axis=0)


def of_lengths(weights, gradients):
    lengths = [np.linalg.norm(table(values), axis=1) for values in (weights, gradients)]
    return np.concatenate([[np.nan], np.abs(np.diff(lengths[1])) / np.abs(np.diff(lengths[0]))])


def longer(values):
    """By how much the vector of every step is longer or shorter than the one before."""
    return np.abs(np.diff(np.linalg.norm(table(values), axis=1), prepend=np.nan))


def of_lengths_above(weights, gradients):
    return longer(gradients) / change(table(weights))


def of_lengths_below(weights, gradients):
    return change(table(gradients)) / longer(weights)


def sum_over_tensors(weights, gradients):
    return per_tensor(weights, gradients).sum(axis=0)


def lengths_of_tensors_added(weights, gradients):
    moved, changed = np.zeros(len(weights)), np.zeros(len(weights))
    for t in range(1, len(weights)):
        for now, before in zip(weights[t], weights[t - 1], strict=True):
            moved[t] += (now - before).norm().item()
        for now, before in zip(gradients[t], gradients[t - 1], strict=True):
            changed[t] += (now - before).norm().item()
    return np.array([c / m if m else np.nan for c, m in zip(changed, moved, strict=True)])


def one_step_early(weights, gradients):
    return np.append(quotient(weights, gradients)[1:], np.nan)


def one_step_late(weights, gradients):
    return np.append(np.nan, quotient(weights, gradients)[:-1])


def infinite(weights, gradients):
    with np.errstate(divide="ignore"):
        return change(table(gradients)) / change(table(weights))


def guarded_by_a_small_number(weights, gradients):
    return change(table(gradients)) / (change(table(weights)) + 1e-8)


def zero_where_still(weights, gradients):
    moved, beta = change(table(weights)), quotient(weights, gradients)
    beta[moved == 0] = 0
    return beta


def too_short(weights, gradients):
    return quotient(weights, gradients)[1:]


def zero_first(weights, gradients):
    beta = quotient(weights, gradients)
    beta[0] = 0
    return beta


def maximum_of_the_run(weights, gradients):
    return np.nanmax(quotient(weights, gradients))


def betas(gradient, w, etas):
    g = gradient(w)
    return [((gradient(w - eta * g) - g).norm() / (eta * g.norm())).item() for eta in etas]


def largest_distance(gradient, w, etas):
    g = gradient(w)
    return max((gradient(w - eta * g) - g).norm() for eta in etas)


def by_eta(gradient, w, etas):
    g = gradient(w)
    return max((gradient(w - eta * g) - g).norm() / eta for eta in etas)


def by_the_length(gradient, w, etas):
    g = gradient(w)
    return max((gradient(w - eta * g) - g).norm() / g.norm() for eta in etas)


def by_the_squared_length(gradient, w, etas):
    g = gradient(w)
    return max((gradient(w - eta * g) - g).norm() / (eta * (g @ g)) for eta in etas)


def uphill(gradient, w, etas):
    g = gradient(w)
    return max((gradient(w + eta * g) - g).norm() / (eta * g.norm()) for eta in etas)


def trains(gradient, w, etas):
    found = []
    for eta in etas:
        g = gradient(w)
        w = w - eta * g
        found.append((gradient(w) - g).norm() / (eta * g.norm()))
    return max(found)


def in_place(gradient, w, etas):
    g, found = gradient(w), []
    for eta in etas:
        w -= eta * g
        found.append((gradient(w) - g).norm() / (eta * g.norm()))
    return max(found)


def every_eta(gradient, w, etas):
    return betas(gradient, w, etas)


def mean_over_eta(gradient, w, etas):
    return np.mean(betas(gradient, w, etas))


def smallest(gradient, w, etas):
    return min(betas(gradient, w, etas))


def longest_step(gradient, w, etas):
    return betas(gradient, w, [max(etas)])[0]


def return_in_the_loop(gradient, w, etas):
    g = gradient(w)
    for eta in etas:
        return (gradient(w - eta * g) - g).norm() / (eta * g.norm())


def overwritten(gradient, w, etas):
    g = gradient(w)
    for eta in etas:
        beta = (gradient(w - eta * g) - g).norm() / (eta * g.norm())
    return beta


WRONG = {
    "beta_smoothness": [
        (not_divided, "How far did the weights go"),
        (upside_down, "upside down"),
        (by_the_weights, "length of the weights"),
        (by_the_gradient, "relative change"),
        (by_the_gradient_before, "divide by the gradient before"),
        (other_step, "different steps"),
        (squared, "squared"),
        (mean_over_tensors, "mean of quotients"),
        (largest_tensor, "take the largest"),
        (of_lengths, "A turn"),
        (of_lengths_above, "Above the line"),
        (of_lengths_below, "Below the line"),
        (sum_over_tensors, "sum of quotients"),
        (lengths_of_tensors_added, "measured by itself"),
        (one_step_early, "too early"),
        (one_step_late, "too late"),
        (infinite, "infinity"),
        (zero_where_still, "gives 0"),
        (too_short, "holds its place"),
        (zero_first, "loss is flat."),
        (maximum_of_the_run, "over models"),
        (guarded_by_a_small_number, "small number"),
    ],
    "effective_beta": [
        (largest_distance, "not yet per distance"),
        (by_eta, "divide by η"),
        (by_the_length, "length alone"),
        (by_the_squared_length, "wrong power"),
        (uphill, "uphill"),
        (trains, "that is training"),
        (in_place, "in place"),
        (every_eta, "One value per η"),
        (mean_over_eta, "mean over η"),
        (smallest, "smallest quotient"),
        (longest_step, "longest step"),
        (return_in_the_loop, "Only the first η"),
        (overwritten, "Only the last η"),
    ],
}
