"""Wrong answers to the exercises of notebook 08, as students write them: exercise → (variant, part of its message)."""

import torch


def no_relu(maps, gradients):
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(dim=1)


def absolute(maps, gradients):
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(dim=1).abs()


def channels_kept(maps, gradients):
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return torch.relu(weights * maps)


def relu_too_early(maps, gradients):
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return torch.relu(weights * maps).sum(dim=1)


def gradient_times_map(maps, gradients):
    return torch.relu((gradients * maps).sum(dim=1))


def summed_weights(maps, gradients):
    weights = gradients.sum(dim=(2, 3), keepdim=True)
    return torch.relu((weights * maps).sum(dim=1))


def averaged_channels(maps, gradients):
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return torch.relu((weights * maps).mean(dim=1))


def roles_changed(maps, gradients):
    weights = maps.mean(dim=(2, 3), keepdim=True)
    return torch.relu((weights * gradients).sum(dim=1))


def weights_of_the_batch(maps, gradients):
    weights = gradients.mean(dim=(0, 2, 3), keepdim=True)
    return torch.relu((weights * maps).sum(dim=1))


def weighs_in_place(maps, gradients):
    maps *= gradients.mean(dim=(2, 3), keepdim=True)
    return maps.sum(dim=1).relu_()


def whole_tensor(direction, weights):
    return direction / direction.norm() * weights.norm()


def length_one(direction, weights):
    rows = direction.flatten(1)
    return (rows / rows.norm(dim=1, keepdim=True)).view_as(direction)


def own_length_kept(direction, weights):
    lengths = weights.flatten(1).norm(dim=1)
    return direction * lengths.reshape(-1, *[1] * (weights.dim() - 1))


def upside_down(direction, weights):
    factor = direction.flatten(1).norm(dim=1) / weights.flatten(1).norm(dim=1)
    return direction * factor.reshape(-1, *[1] * (weights.dim() - 1))


def no_root(direction, weights):
    factor = (weights**2).flatten(1).sum(dim=1) / (direction**2).flatten(1).sum(dim=1)
    return direction * factor.reshape(-1, *[1] * (weights.dim() - 1))


def entry_by_entry(direction, weights):
    return direction * weights.abs()


def each_kernel(direction, weights):
    ours, theirs = weights.norm(dim=(2, 3), keepdim=True), direction.norm(dim=(2, 3), keepdim=True)
    return direction / theirs * ours


def each_input(direction, weights):
    dims = [d for d in range(weights.dim()) if d != 1]
    ours, theirs = ((t**2).sum(dim=dims, keepdim=True).sqrt() for t in (weights, direction))
    return direction / theirs * ours


def biases_move(direction, weights):
    rows, lengths = direction.reshape(len(direction), -1), weights.reshape(len(weights), -1).norm(dim=1, keepdim=True)
    return (rows / rows.norm(dim=1, keepdim=True) * lengths).view_as(direction)


def biases_as_drawn(direction, weights):
    return direction if weights.dim() == 1 else biases_move(direction, weights)


def whole_where_there_are_no_filters(direction, weights):
    dims = tuple(range(1, weights.dim()))  # empty for a tensor of one dimension, and `sum` then takes all of it
    ours, theirs = ((t**2).sum(dim=dims, keepdim=True).sqrt() for t in (weights, direction))
    return direction / theirs * ours


def rule_forgotten(direction, weights):
    ours, theirs = weights.flatten(1).norm(dim=1), direction.flatten(1).norm(dim=1)
    return direction * (ours / theirs).view(-1, *[1] * (weights.dim() - 1))


def biases_halved(direction, weights):
    return direction / 2 if weights.dim() == 1 else biases_move(direction, weights)


def tuple_of_autograd(loss, w, v):
    (gradient,) = torch.autograd.grad(loss(w), w, create_graph=True)
    return torch.autograd.grad((gradient * v).sum(), w)


def no_graph(loss, w, v):
    (gradient,) = torch.autograd.grad(loss(w), w)
    return torch.autograd.grad((gradient * v).sum(), w)[0]


def not_a_number(loss, w, v):
    (gradient,) = torch.autograd.grad(loss(w), w, create_graph=True)
    return torch.autograd.grad(gradient * v, w)[0]


def only_the_gradient(loss, w, v):
    return torch.autograd.grad(loss(w), w, create_graph=True)[0]


def slope(loss, w, v):
    (gradient,) = torch.autograd.grad(loss(w), w, create_graph=True)
    return (gradient * v).sum()


def v_too_late(loss, w, v):
    (gradient,) = torch.autograd.grad(loss(w), w, create_graph=True)
    return torch.autograd.grad(gradient.sum(), w)[0] * v


def v_forgotten(loss, w, v):
    (gradient,) = torch.autograd.grad(loss(w), w, create_graph=True)
    return torch.autograd.grad(gradient.sum(), w)[0]


def curvature_along_v(loss, w, v):
    (gradient,) = torch.autograd.grad(loss(w), w, create_graph=True)
    product = torch.autograd.grad((gradient * v).sum(), w)[0]
    return (product * v).sum()


def outer_product(loss, w, v):
    (gradient,) = torch.autograd.grad(loss(w), w)
    return gradient * (gradient * v).sum()


def gradients_pile_up(loss, w, v):
    loss(w).backward(create_graph=True)
    (w.grad * v).sum().backward()
    return w.grad.detach()


def difference_quotient(loss, w, v, h=1e-4):
    (here,) = torch.autograd.grad(loss(w), w)
    (there,) = torch.autograd.grad(loss(w + h * v), w)
    return (there - here) / h


WRONG = {
    "grad_cam": [
        (no_relu, "keeps only"),
        (absolute, "as if it spoke for"),
        (channels_kept, "not added up yet"),
        (relu_too_early, "cancel"),
        (gradient_times_map, "its own weight"),
        (summed_weights, "mean of its gradient"),
        (averaged_channels, "fainter"),
        (roles_changed, "changed roles"),
        (weights_of_the_batch, "whole batch"),
        (weighs_in_place, "in place"),
    ],
    "filter_normalise": [
        (whole_tensor, "One factor"),
        (length_one, "length 1"),
        (own_length_kept, "its own as well"),
        (upside_down, "changed roles"),
        (no_root, "root"),
        (entry_by_entry, "entry by entry"),
        (each_kernel, "Each kernel"),
        (each_input, "into one unit"),
        (biases_move, "no filter"),
        (biases_as_drawn, "moves nothing"),
        (whole_where_there_are_no_filters, "as if it were one filter"),
        (rule_forgotten, "it stops at a tensor of one dimension"),
        (biases_halved, "a rule of its own"),
    ],
    "hessian_vector_product": [
        (no_graph, "once more"),
        (not_a_number, "starts from one number"),
        (only_the_gradient, "still"),
        (slope, "slope along v"),
        (v_too_late, "too late"),
        (v_forgotten, "no part"),
        (curvature_along_v, "vᵀHv"),
        (outer_product, "product of two first derivatives"),
        (gradients_pile_up, "added to it"),
        (difference_quotient, "close"),
        (tuple_of_autograd, "a tuple with one value"),
    ],
}
