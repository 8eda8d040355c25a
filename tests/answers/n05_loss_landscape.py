"""Wrong answers to the exercises of notebook 05, as students write them: exercise → (variant, part of its message)."""

import copy

import numpy as np
import torch
import torch.nn.functional as F


def to_the_shortest(losses):
    length = min(len(loss) for loss in losses)
    table = np.stack([loss[:length] for loss in losses])
    return np.nanmin(table, axis=0), np.nanmax(table, axis=0)


def filled(losses, value):
    table = np.full((len(losses), max(len(loss) for loss in losses)), value)
    for row, loss in enumerate(losses):
        table[row, : len(loss)] = loss
    return table


def nan_spreads(losses):
    table = filled(losses, np.nan)
    return np.min(table, axis=0), np.max(table, axis=0)


def infinities(losses):
    table = filled(losses, np.inf)
    return np.fmin.reduce(table), np.fmax.reduce(table)


def pythons_min(losses):
    steps = [[loss[t] for loss in losses if t < len(loss)] for t in range(max(map(len, losses)))]
    return np.array([min(values) for values in steps]), np.array([max(values) for values in steps])


def nan_counts_as_zero(losses):
    table = filled([np.nan_to_num(loss) for loss in losses], np.nan)
    return np.nanmin(table, axis=0), np.nanmax(table, axis=0)


def zero_where_there_is_none(losses):
    table = filled(losses, np.nan)
    return np.nan_to_num(np.fmin.reduce(table)), np.nan_to_num(np.fmax.reduce(table))


def zeros(losses):
    table = filled(losses, 0.0)
    return np.fmin.reduce(table), np.fmax.reduce(table)


def per_run(losses):
    return np.array([np.nanmin(loss) for loss in losses]), np.array([np.nanmax(loss) for loss in losses])


def one_number(losses):
    everything = np.concatenate(losses)
    return np.nanmin(everything), np.nanmax(everything)


def largest_first(losses):
    table = filled(losses, np.nan)
    return np.fmax.reduce(table), np.fmin.reduce(table)


def held(losses):
    length = max(len(loss) for loss in losses)
    table = np.array([list(loss) + [loss[-1]] * (length - len(loss)) for loss in losses])
    return np.fmin.reduce(table), np.fmax.reduce(table)


def without_diverged(losses):
    table = filled([loss for loss in losses if not np.isnan(loss).any()], np.nan)
    return np.fmin.reduce(table), np.fmax.reduce(table)


def infinity_left(losses):
    length = max(len(loss) for loss in losses)
    smallest, largest = np.full(length, np.inf), np.full(length, -np.inf)
    for loss in losses:
        for step, value in enumerate(loss):
            if not np.isnan(value):
                smallest[step], largest[step] = min(smallest[step], value), max(largest[step], value)
    return smallest, largest


def mean_and_spread(losses):
    table = filled(losses, np.nan)[:, : min(len(loss) for loss in losses)]
    return table.mean(axis=0) - table.std(axis=0), table.mean(axis=0) + table.std(axis=0)


def loss_of(model, batch):
    images, labels = batch
    return F.cross_entropy(model(images), labels)


def gradient_of(model, batch):
    return torch.autograd.grad(loss_of(model, batch), list(model.parameters()))


@torch.no_grad()
def move(model, start, direction, length):
    for p, w, d in zip(model.parameters(), start, direction, strict=True):
        p.copy_(w - length * d)


def weights_of(model):
    return [p.detach().clone() for p in model.parameters()]


def along(model, batch, direction, lengths):
    """The right way along a direction, for the variants whose mistake lies in the direction or in the lengths."""
    start, losses = weights_of(model), []
    for length in lengths:
        move(model, start, direction, length)
        losses.append(loss_of(model, batch).item())
    move(model, start, direction, 0)
    return losses


def uphill(model, batch, etas):
    return along(model, batch, gradient_of(model, batch), [-eta for eta in etas])


def unit_gradient(model, batch, etas):
    gradient = gradient_of(model, batch)
    norm = torch.cat([g.flatten() for g in gradient]).norm()
    return along(model, batch, [g / norm for g in gradient], etas)


def steps_add_up(model, batch, etas):
    gradient, start, losses = gradient_of(model, batch), weights_of(model), []
    with torch.no_grad():
        for eta in etas:
            for p, g in zip(model.parameters(), gradient, strict=True):
                p -= eta * g
            losses.append(loss_of(model, batch).item())
    move(model, start, gradient, 0)
    return losses


def trains(model, batch, etas):
    model, losses = copy.deepcopy(model), []
    for eta in etas:
        optimizer = torch.optim.SGD(model.parameters(), lr=eta)
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()
        losses.append(loss_of(model, batch).item())
    return losses


def not_put_back(model, batch, etas):
    gradient, start, losses = gradient_of(model, batch), weights_of(model), []
    for eta in etas:
        move(model, start, gradient, eta)
        losses.append(loss_of(model, batch).item())
    return losses


def zero_grad_forgotten(model, batch, etas):
    loss_of(model, batch).backward()
    return along(model, batch, [p.grad.clone() for p in model.parameters()], etas)


def backward_forgotten(model, batch, etas):
    loss_of(model, batch)
    return along(model, batch, [p.grad.clone() for p in model.parameters()], etas)


def own_gradients_left(model, batch, etas):
    start = copy.deepcopy(model.state_dict())
    model.zero_grad()
    loss_of(model, batch).backward()
    losses = along(model, batch, [p.grad.clone() for p in model.parameters()], etas)
    model.load_state_dict(start)
    return losses


def evaluation_mode(model, batch, etas):
    model.eval()
    return along(model, batch, gradient_of(model, batch), etas)


def left_in_evaluation_mode(model, batch, etas):
    losses = along(model, batch, gradient_of(model, batch), etas)
    model.eval()
    return losses


def only_weights_put_back(model, batch, etas):
    return along(model, batch, gradient_of(model, batch), etas)


def change(model, batch, etas):
    before = loss_of(model, batch).item()
    return [loss - before for loss in along(model, batch, gradient_of(model, batch), etas)]


def slope_only(model, batch, etas):
    loss = loss_of(model, batch)
    squared = sum((g**2).sum() for g in torch.autograd.grad(loss, list(model.parameters())))
    return [(loss - eta * squared).item() for eta in etas]


def new_names(model, batch, etas):
    gradient, losses = gradient_of(model, batch), []
    for eta in etas:
        for p, g in zip(model.parameters(), gradient, strict=True):
            p = p - eta * g
        losses.append(loss_of(model, batch).item())
    return losses


def measured_before_the_move(model, batch, etas):
    gradient, start, losses = gradient_of(model, batch), weights_of(model), []
    for eta in etas:
        losses.append(loss_of(model, batch).item())
        move(model, start, gradient, eta)
    move(model, start, gradient, 0)
    return losses


def in_place_under_autograd(model, batch, etas):
    gradient, losses = gradient_of(model, batch), []
    for eta in etas:
        for p, g in zip(model.parameters(), gradient, strict=True):
            p -= eta * g
        losses.append(loss_of(model, batch).item())
    return losses


WRONG = {
    "min_max_curve": [
        (to_the_shortest, "end with the shortest"),
        (nan_spreads, "the other runs still have theirs"),
        (infinities, "infinite loss"),
        (pythons_min, "cannot compare"),
        (nan_counts_as_zero, "NaN counts as 0"),
        (zero_where_there_is_none, "you give 0"),
        (zeros, "a loss of 0"),
        (per_run, "one value per run"),
        (one_number, "single number"),
        (largest_first, "other way round"),
        (held, "last loss"),
        (without_diverged, "left out altogether"),
        (infinity_left, "infinity"),
        (mean_and_spread, "standard deviation"),
    ],
    "direct_probe": [
        (uphill, "uphill"),
        (unit_gradient, "length 1"),
        (steps_add_up, "same w"),
        (trains, "that is training"),
        (not_put_back, "not where they were"),
        (zero_grad_forgotten, "added to them"),
        (backward_forgotten, "direction is the gradient of an earlier batch"),
        (evaluation_mode, "batch's own statistics"),
        (left_in_evaluation_mode, "left in evaluation mode"),
        (only_weights_put_back, "running values of batch norm have moved"),
        (own_gradients_left, "`p.grad` no longer holds"),
        (change, "change of the loss"),
        (slope_only, "promises"),
        (new_names, "have not moved"),
        (measured_before_the_move, "before the move"),
        (in_place_under_autograd, "no part of the loss"),
    ],
}


def on_a_copy(model, batch, etas):
    return only_weights_put_back(copy.deepcopy(model), batch, etas)


def by_nanmin(losses):
    table = filled(losses, np.nan)
    return np.nanmin(table, axis=0), np.nanmax(table, axis=0)


RIGHT = {"direct_probe": [on_a_copy], "min_max_curve": [by_nanmin]}
