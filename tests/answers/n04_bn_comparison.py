"""Wrong answers to the exercises of notebook 04, as students write them: exercise → (variant, part of its message)."""

import torch
import torch.nn.functional as F
from torch import nn


def one_result(x, gamma, beta, running_mean, running_var, training, momentum, eps):
    mean, var = x.mean(dim=(0, 2, 3), keepdim=True), x.var(dim=(0, 2, 3), keepdim=True, correction=0)
    return gamma.view(1, -1, 1, 1) * (x - mean) / torch.sqrt(var + eps) + beta.view(1, -1, 1, 1)


def mode_ignored(x, gamma, beta, running_mean, running_var, training, momentum, eps):
    shape = (1, -1, 1, 1)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    y = gamma.view(shape) * (x - mean.view(shape)) / (var.view(shape) + eps).sqrt() + beta.view(shape)
    running_mean = (1 - momentum) * running_mean + momentum * mean
    running_var = (1 - momentum) * running_var + momentum * x.var((0, 2, 3))
    return y, running_mean, running_var


def forward(  # what the variants below have in common; each has one thing wrong
    x,
    gamma,
    beta,
    running_mean,
    running_var,
    training,
    momentum,
    eps,
    axes=(0, 2, 3),
    correction=0,
    running_correction=1,
    root=lambda var, eps: torch.sqrt(var + eps),
    newest=None,
    shape=(1, -1, 1, 1),
):
    newest = momentum if newest is None else newest(momentum)
    if training:
        mean = x.mean(dim=axes, keepdim=True)
        var = x.var(dim=axes, keepdim=True, correction=correction)
        of_batch = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=running_correction)
        running_mean = (1 - newest) * running_mean + newest * of_batch[0]
        running_var = (1 - newest) * running_var + newest * of_batch[1]
    else:
        mean, var = running_mean.view(1, -1, 1, 1), running_var.view(1, -1, 1, 1)
    return gamma.view(shape) * (x - mean) / root(var, eps) + beta.view(shape), running_mean, running_var


def over_the_batch_only(*args):
    return forward(*args, axes=0)


def each_image_by_itself(*args):
    return forward(*args, axes=(2, 3))


def layer_norm(*args):
    return forward(*args, axes=(1, 2, 3))


def over_everything(*args):
    return forward(*args, axes=(0, 1, 2, 3))


def unbiased_in_the_batch(*args):
    return forward(*args, correction=1)


def biased_running_variance(*args):
    return forward(*args, running_correction=0)


def eps_outside(*args):
    return forward(*args, root=lambda var, eps: torch.sqrt(var) + eps)


def eps_missing(*args):
    return forward(*args, root=lambda var, eps: torch.sqrt(var))


def eps_of_their_own(*args):
    return forward(*args, root=lambda var, eps: torch.sqrt(var + 1e-5))


def eps_of_their_own_in_evaluation(*args):
    return forward(*args) if args[5] else forward(*args[:-1], 1e-3)


def over_the_number_of_images(x, gamma, beta, running_mean, running_var, training, momentum, eps):
    mean = x.sum((0, 2, 3), keepdim=True) / len(x)
    var = ((x - mean) ** 2).sum((0, 2, 3), keepdim=True) / len(x)
    y = gamma.view(1, -1, 1, 1) * (x - mean) / torch.sqrt(var + eps) + beta.view(1, -1, 1, 1)
    return y, running_mean, running_var


def variance_over_the_number_of_images(x, gamma, beta, running_mean, running_var, training, momentum, eps):
    mean = x.mean((0, 2, 3), keepdim=True)
    var = ((x - mean) ** 2).sum((0, 2, 3), keepdim=True) / len(x)
    y = gamma.view(1, -1, 1, 1) * (x - mean) / torch.sqrt(var + eps) + beta.view(1, -1, 1, 1)
    return y, running_mean, running_var


def scale_and_shift_swapped(x, gamma, beta, *rest):
    return forward(x, beta, gamma, *rest)


def divided_by_variance(*args):
    return forward(*args, root=lambda var, eps: var + eps)


def momentum_the_wrong_way(*args):
    return forward(*args, newest=lambda momentum: 1 - momentum)


def no_memory(*args):
    return forward(*args, newest=lambda momentum: 1.0)


def never_updated(*args):
    return forward(*args, newest=lambda momentum: 0.0)


def scale_along_columns(*args):
    return forward(*args, shape=(-1,))


def running_values_in_training(x, gamma, beta, running_mean, running_var, training, momentum, eps):
    shape = (1, -1, 1, 1)
    y = (x - running_mean.view(shape)) / torch.sqrt(running_var.view(shape) + eps)
    return gamma.view(shape) * y + beta.view(shape), running_mean, running_var


def scale_forgotten(x, gamma, beta, running_mean, running_var, training, momentum, eps):
    var, mean = torch.var_mean(x, (0, 2, 3), keepdim=True, correction=0)
    return (x - mean) / torch.sqrt(var + eps), running_mean, running_var


def no_keepdim(x, gamma, beta, running_mean, running_var, training, momentum, eps):
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    return gamma * (x - mean) / torch.sqrt(var + eps) + beta, running_mean, running_var


def running_values_move_in_evaluation(x, gamma, beta, running_mean, running_var, training, momentum, eps):
    new_mean, new_var = running_mean.clone(), running_var.clone()
    F.batch_norm(x, new_mean, new_var, training=True, momentum=momentum)
    used = (None, None) if training else (running_mean, running_var)
    return F.batch_norm(x, *used, gamma, beta, training, momentum, eps), new_mean, new_var


def running_values_in_place(x, gamma, beta, running_mean, running_var, training, momentum, eps):
    y = F.batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)
    return y, running_mean, running_var


PLAN = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
HEAD = (nn.Flatten(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))


def vgg(block, first=(), head=HEAD, plan=PLAN):
    """VGG-A from ``block(inputs, filters)``, a list of layers per convolution."""
    layers, channels = list(first), 3
    for filters in plan:
        if filters == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += block(channels, filters)
            channels = filters
    return nn.Sequential(*layers, *head)


def conv(inputs, filters, **settings):
    return nn.Conv2d(inputs, filters, 3, padding=1, **settings)


def right(inputs, filters):
    return [conv(inputs, filters), nn.BatchNorm2d(filters), nn.ReLU()]


def plain():
    return vgg(lambda inputs, filters: [conv(inputs, filters), nn.ReLU()])


def after_relu():
    return vgg(lambda inputs, filters: [conv(inputs, filters), nn.ReLU(), nn.BatchNorm2d(filters)])


def on_the_input_only():
    return vgg(lambda inputs, filters: [conv(inputs, filters), nn.ReLU()], first=[nn.BatchNorm2d(3)])


def after_pooling():
    layers, channels = [], 3
    for filters in PLAN:
        if filters == "M":
            layers += [nn.MaxPool2d(2), nn.BatchNorm2d(channels)]
        else:
            layers += [conv(channels, filters), nn.ReLU()]
            channels = filters
    return nn.Sequential(*layers, *HEAD)


def reused():
    norms = {filters: nn.BatchNorm2d(filters) for filters in (64, 128, 256, 512)}
    return vgg(lambda inputs, filters: [conv(inputs, filters), norms[filters], nn.ReLU()])


def instance_norm():
    return vgg(lambda inputs, filters: [conv(inputs, filters), nn.InstanceNorm2d(filters), nn.ReLU()])


def no_scale():
    return vgg(lambda inputs, filters: [conv(inputs, filters), nn.BatchNorm2d(filters, affine=False), nn.ReLU()])


def no_running_values():
    norm = {"track_running_stats": False}
    return vgg(lambda inputs, filters: [conv(inputs, filters), nn.BatchNorm2d(filters, **norm), nn.ReLU()])


def once_per_stage():
    def block(inputs, filters):
        norm = [] if inputs == filters else [nn.BatchNorm2d(filters)]
        return [conv(inputs, filters), *norm, nn.ReLU()]

    return vgg(block)


def hidden_too():
    hidden = [nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU()]
    return vgg(right, head=[nn.Flatten(), *hidden, nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)])


def no_bias():
    return vgg(lambda inputs, filters: [conv(inputs, filters, bias=False), nn.BatchNorm2d(filters), nn.ReLU()])


def softmax_at_the_end():
    return vgg(right, head=[*HEAD, nn.Softmax(dim=1)])


def relu_at_the_end():
    return vgg(right, head=[*HEAD, nn.ReLU()])


def a_stage_too_narrow():
    return vgg(right, plan=(64, "M", 128, "M", 128, 256, "M", 512, 512, "M", 512, 512, "M"))


def dropout_too():
    drop = (nn.Dropout(), nn.Linear(512, 512), nn.ReLU())
    return vgg(right, head=[nn.Flatten(), *drop, *drop, nn.Linear(512, 10)])


def pools_overlap():
    return nn.Sequential(*(nn.MaxPool2d(3, 2, 1) if isinstance(m, nn.MaxPool2d) else m for m in vgg(right)))


class NeverCalled(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = vgg(right)
        self.last_norm = nn.BatchNorm1d(512)

    def forward(self, images):
        return self.features(images)


class InAList(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = list(vgg(right))

    def forward(self, images):
        for layer in self.features:
            images = layer(images)
        return images


already_built = InAList()


WRONG = {
    "batch_norm": [
        (one_result, "Three things"),
        (mode_ignored, "ignores the mode"),
        (over_the_batch_only, "Every place"),
        (each_image_by_itself, "whole batch"),
        (layer_norm, "layer norm"),
        (over_everything, "All channels share"),
        (unbiased_in_the_batch, "1/(|B| − 1)"),
        (biased_running_variance, "biased variance"),
        (eps_outside, "added to the standard deviation"),
        (eps_missing, "ε is missing: a channel"),
        (eps_of_their_own, "ε is there, but it is 1e-05"),
        (eps_of_their_own_in_evaluation, "ε is there, but it is 0.001"),
        (over_the_number_of_images, "You divide by the number of images"),
        (variance_over_the_number_of_images, "variance is divided by the number of images"),
        (scale_and_shift_swapped, "changed places"),
        (divided_by_variance, "divide by the variance"),
        (momentum_the_wrong_way, "wrong way round"),
        (no_memory, "remember the batches"),
        (never_updated, "not updated"),
        (scale_along_columns, "γ and β are lined up"),
        (running_values_in_training, "you use the running ones"),
        (scale_forgotten, "no effect"),
        (no_keepdim, "belongs to a channel is lined up"),
        (running_values_move_in_evaluation, "leave no trace"),
        (running_values_in_place, "in place"),
    ],
    "vgg_batch_norm": [
        (plain, "plain network"),
        (after_relu, "after a ReLU"),
        (on_the_input_only, "before the first convolution"),
        (after_pooling, "after a pooling"),
        (reused, "serves several"),
        (instance_norm, "each image by itself"),
        (no_scale, "no γ and β"),
        (no_running_values, "running values"),
        (once_per_stage, "4 of 8"),
        (hidden_too, "hidden linear"),
        (no_bias, "no bias"),
        (softmax_at_the_end, "softmax"),
        (relu_at_the_end, "follows the last linear layer"),
        (a_stage_too_narrow, "first 8 layers are"),
        (dropout_too, "Then yours has dropout (channels: 512), where linear (weights: 512, 512) belongs"),
        (pools_overlap, "a max-pool, has a window of 3×3, a stride of 2×2 and a padding of 1×1"),
        (NeverCalled, "never called"),
        (InAList, "plain list"),
        (already_built, "built already"),
    ],
}


class PoolsByFunction(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = vgg(right)

    def forward(self, images):
        for layer in self.layers:
            images = F.max_pool2d(images, (2, 2)) if isinstance(layer, nn.MaxPool2d) else layer(images)
        return images


RIGHT = {"vgg_batch_norm": [PoolsByFunction]}
