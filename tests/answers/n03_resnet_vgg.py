"""Wrong answers to the exercises of notebook 03, as students write them: exercise → (variant, part of its message)."""

import math

import torch
import torch.nn.functional as F

# --- A residual block ----------------------------------------------------------------------------------------------


def no_shortcut(x, conv1, bn1, conv2, bn2, shortcut):
    x = F.relu(bn1(conv1(x)))
    return F.relu(bn2(conv2(x)))


def relu_before_the_sum(x, conv1, bn1, conv2, bn2, shortcut):
    out = F.relu(bn1(conv1(x)))
    out = F.relu(bn2(conv2(out)))
    return out + shortcut(x)


def relu_before_and_after(x, conv1, bn1, conv2, bn2, shortcut):
    out = F.relu(bn1(conv1(x)))
    out = F.relu(bn2(conv2(out)))
    return F.relu(out + shortcut(x))


def no_relu_at_the_end(x, conv1, bn1, conv2, bn2, shortcut):
    out = F.relu(bn1(conv1(x)))
    return bn2(conv2(out)) + shortcut(x)


def no_relu_between(x, conv1, bn1, conv2, bn2, shortcut):
    return F.relu(bn2(conv2(bn1(conv1(x)))) + shortcut(x))


def x_itself(x, conv1, bn1, conv2, bn2, shortcut):
    out = F.relu(bn1(conv1(x)))
    return F.relu(bn2(conv2(out)) + x)


def shortcut_from_the_middle(x, conv1, bn1, conv2, bn2, shortcut):
    x = F.relu(bn1(conv1(x)))
    return F.relu(bn2(conv2(x)) + shortcut(x))


def shortcut_from_the_end(x, conv1, bn1, conv2, bn2, shortcut):
    for layer in (conv1, bn1, F.relu, conv2, bn2):
        x = layer(x)
    x = x + shortcut(x)
    return F.relu(x)


def norm_after_relu(x, conv1, bn1, conv2, bn2, shortcut):
    out = bn1(F.relu(conv1(x)))
    out = bn2(F.relu(conv2(out)))
    return F.relu(out + shortcut(x))


def norm_before_convolution(x, conv1, bn1, conv2, bn2, shortcut):
    out = conv1(F.relu(bn1(x)))
    out = conv2(F.relu(bn2(out)))
    return out + shortcut(x)


def no_norm(x, conv1, bn1, conv2, bn2, shortcut):
    return F.relu(conv2(F.relu(conv1(x))) + shortcut(x))


def one_norm_twice(x, conv1, bn1, conv2, bn2, shortcut):
    out = F.relu(bn1(conv1(x)))
    return F.relu(bn1(conv2(out)) + shortcut(x))


def one_convolution_twice(x, conv1, bn1, conv2, bn2, shortcut):
    out = F.relu(bn1(conv1(x)))
    return F.relu(bn2(conv1(out)) + shortcut(x))


def side_by_side(x, conv1, bn1, conv2, bn2, shortcut):
    out = F.relu(bn1(conv1(x)))
    out = bn2(conv2(out))
    return F.relu(torch.cat([out, shortcut(x)], 1))


def added_in_place(x, conv1, bn1, conv2, bn2, shortcut):
    out = F.relu(bn1(conv1(x)))
    out = bn2(conv2(out))
    way = shortcut(x)
    way += out
    return F.relu(way)


def shape_decides(x, conv1, bn1, conv2, bn2, shortcut):
    out = F.relu(bn1(conv1(x)))
    out = bn2(conv2(out))
    if out.shape != x.shape:
        x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, out.shape[1] - x.shape[1]))
        return F.relu(out + x)
    return F.relu(out + shortcut(x))


# --- What a convolution costs --------------------------------------------------------------------------------------


def side(size, kernel, stride, padding):
    return (size + 2 * padding - kernel) // stride + 1


def no_biases(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights, weights * side(size, kernel, stride, padding) ** 2


def biases_of_the_input(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + inputs, weights * side(size, kernel, stride, padding) ** 2


def one_bias(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + 1, weights * side(size, kernel, stride, padding) ** 2


def kernel_not_squared(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel
    return weights + filters, weights * side(size, kernel, stride, padding) ** 2


def one_channel(inputs, filters, kernel, size, stride, padding):
    return filters * (kernel * kernel + 1), filters * kernel**2 * side(size, kernel, stride, padding) ** 2


def at_every_place(inputs, filters, kernel, size, stride, padding):
    places = side(size, kernel, stride, padding) ** 2
    parameters = (inputs * kernel**2 + 1) * filters * places
    return parameters, parameters


def places_of_the_input(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + filters, weights * size**2


def no_stride(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + filters, weights * (size + 2 * padding - kernel + 1) ** 2


def no_padding(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + filters, weights * ((size - kernel) // stride + 1) ** 2


def padded_once(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + filters, weights * ((size + padding - kernel) // stride + 1) ** 2


def one_place_less(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + filters, weights * ((size + 2 * padding - kernel) // stride) ** 2


def rounded_up(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + filters, weights * (math.ceil((size + 2 * padding - kernel) / stride) + 1) ** 2


def not_rounded(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + filters, weights * ((size + 2 * padding - kernel) / stride + 1) ** 2


def stride_alone(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + filters, weights * (size // stride) ** 2


def one_row(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + filters, weights * side(size, kernel, stride, padding)


def counted_as_two(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights + filters, 2 * weights * side(size, kernel, stride, padding) ** 2


def biases_multiplied(inputs, filters, kernel, size, stride, padding):
    parameters = inputs * filters * kernel**2 + filters
    return parameters, parameters * side(size, kernel, stride, padding) ** 2


def one_filter(inputs, filters, kernel, size, stride, padding):
    each = inputs * kernel**2
    return filters * (each + 1), each * side(size, kernel, stride, padding) ** 2


def one_channel_multiplied(inputs, filters, kernel, size, stride, padding):
    return filters * (inputs * kernel**2 + 1), filters * kernel**2 * side(size, kernel, stride, padding) ** 2


def operations_first(inputs, filters, kernel, size, stride, padding):
    weights = inputs * filters * kernel**2
    return weights * side(size, kernel, stride, padding) ** 2, weights + filters


def parameters_alone(inputs, filters, kernel, size, stride, padding):
    return inputs * filters * kernel**2 + filters


WRONG = {
    "residual_block": [
        (no_shortcut, "What is the shortcut for"),
        (relu_before_the_sum, "never take away"),
        (relu_before_and_after, "One ReLU too many"),
        (no_relu_at_the_end, "Negative values leave"),
        (no_relu_between, "between the two"),
        (x_itself, "x itself"),
        (shortcut_from_the_middle, "first half"),
        (shortcut_from_the_end, "what the convolutions give. Where"),
        (norm_after_relu, "ReLU comes before batch norm"),
        (norm_before_convolution, "before each convolution"),
        (no_norm, "Nothing is normalised"),
        (one_norm_twice, "One batch norm"),
        (one_convolution_twice, "One convolution"),
        (side_by_side, "side by side"),
        (added_in_place, "in place"),
        (shape_decides, "channels and size change"),
    ],
    "conv_cost": [
        (no_biases, "lack what every filter"),
        (biases_of_the_input, "belongs to the filters"),
        (one_bias, "More than one number"),
        (kernel_not_squared, "covers a square"),
        (one_channel, "sees one channel"),
        (at_every_place, "same parameters"),
        (places_of_the_input, "as large as the input"),
        (no_stride, "The stride plays no part"),
        (no_padding, "The padding plays no part"),
        (padded_once, "more than one side"),
        (one_place_less, "one place more"),
        (rounded_up, "over the border"),
        (not_rounded, "half place"),
        (stride_alone, "stride alone"),
        (one_row, "one row"),
        (counted_as_two, "counts once"),
        (biases_multiplied, "not multiplied by anything"),
        (one_filter, "single filter"),
        (one_channel_multiplied, "for one channel"),
        (operations_first, "other order"),
        (parameters_alone, "Two numbers"),
    ],
}


# --- Right answers unlike the notebook's ---------------------------------------------------------------------------


def joined_in_place(x, conv1, bn1, conv2, bn2, shortcut):
    out = torch.nn.Sequential(conv1, bn1, torch.nn.ReLU(inplace=True), conv2, bn2)(x)
    out += shortcut(x)
    return out.clamp_(min=0)


def counted_place_by_place(inputs, filters, kernel, size, stride, padding):
    places = len(range(-padding, size + padding - kernel + 1, stride)) ** 2
    return [filters * (inputs * kernel * kernel + 1), places * filters * inputs * kernel * kernel]


def rounded_by_int(inputs, filters, kernel, size, stride, padding):
    side = int((size + 2 * padding - kernel) / stride + 1)
    weights = inputs * filters * kernel**2
    return float(weights + filters), float(weights * side**2)


RIGHT = {
    "residual_block": [joined_in_place],
    "conv_cost": [counted_place_by_place, rounded_by_int],
}
