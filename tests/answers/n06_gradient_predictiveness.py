"""Wrong answers to the exercises of notebook 06, as students write them: exercise → (variant, part of its message)."""

import numpy as np
import torch
import torch.nn.functional as F


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def compared(gradients, gap, distance):
    """NaN for the first steps, then ``distance`` of every step from the one ``gap`` before."""
    values = [float("nan")] * gap
    return values + [float(distance(gradients[t], gradients[t - gap])) for t in range(gap, len(gradients))]


def right(gradients, gap):
    return compared(gradients, gap, lambda new, old: (flat(new) - flat(old)).norm())


def difference_of_norms(gradients, gap):
    return compared(gradients, gap, lambda new, old: (flat(new).norm() - flat(old).norm()).abs())


def absolute_values(gradients, gap):
    return compared(gradients, gap, lambda new, old: (flat(new) - flat(old)).abs().sum())


def squared(gradients, gap):
    return compared(gradients, gap, lambda new, old: ((flat(new) - flat(old)) ** 2).sum())


def mean_of_squares(gradients, gap):
    return compared(gradients, gap, lambda new, old: F.mse_loss(flat(new), flat(old)).sqrt())


def sum_over_tensors(gradients, gap):
    return compared(gradients, gap, lambda new, old: sum((a - b).norm() for a, b in zip(new, old, strict=True)))


def last_tensor(gradients, gap):
    distances = [float("nan")] * gap
    for t in range(gap, len(gradients)):
        for new, old in zip(gradients[t], gradients[t - gap], strict=True):
            distance = (new - old).norm().item()
        distances.append(distance)
    return distances


def first_tensor(gradients, gap):
    return compared(gradients, gap, lambda new, old: (new[0] - old[0]).norm())


def gap_ignored(gradients, gap):
    return right(gradients, 1)


def shifted(gradients, gap):
    return right(gradients, gap)[gap:] + [float("nan")] * gap


def too_short(gradients, gap):
    return right(gradients, gap)[gap:]


def zeros_first(gradients, gap):
    return [0.0] * gap + right(gradients, gap)[gap:]


def mean_of_the_run(gradients, gap):
    return float(np.nanmean(right(gradients, gap)))


def python_wraps_around(gradients, gap):
    return [(flat(gradients[t]) - flat(gradients[t - gap])).norm().item() for t in range(len(gradients))]


def scalar_product(before, after):
    return flat(before) @ flat(after)


def divided_by_one(before, after):
    return flat(before) @ flat(after) / flat(before).norm()


def divided_by_a_square(before, after):
    return flat(before) @ flat(after) / flat(before).norm() ** 2


def mean_over_tensors(before, after):
    cosines = [F.cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in zip(before, after, strict=True)]
    return torch.stack(cosines).mean()


def absolute(before, after):
    return (flat(before) @ flat(after) / (flat(before).norm() * flat(after).norm())).abs()


def distance(before, after):
    return 1 - flat(before) @ flat(after) / (flat(before).norm() * flat(after).norm())


def angle(before, after):
    return torch.acos(flat(before) @ flat(after) / (flat(before).norm() * flat(after).norm()))


def zero_for_zero(before, after):
    return F.cosine_similarity(flat(before), flat(after), dim=0)


WRONG = {
    "gradient_predictiveness": [
        (difference_of_norms, "lengths only"),
        (absolute_values, "ℓ1"),
        (squared, "squared"),
        (mean_of_squares, "averaged"),
        (sum_over_tensors, "by itself"),
        (last_tensor, "Only the last"),
        (first_tensor, "Only the first"),
        (gap_ignored, "gap is ignored"),
        (shifted, "yet to come"),
        (too_short, "holds their places"),
        (zeros_first, "0 would say"),
        (mean_of_the_run, "whole run"),
        (python_wraps_around, "end of the list"),
    ],
    "gradient_cosine": [
        (scalar_product, "grows with"),
        (divided_by_one, "second gradient's length still counts"),
        (divided_by_a_square, "twice"),
        (mean_over_tensors, "bias of ten numbers"),
        (absolute, "sign is lost"),
        (distance, "1 − cos"),
        (angle, "angle"),
        (zero_for_zero, "no direction"),
    ],
}
