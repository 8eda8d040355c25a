"""Wrong answers to the exercises of notebook 01, as students write them: exercise → (variant, part of its message)."""

import torch


def over_everything(images):
    x = images.float() / 255
    return x.mean(), x.std(correction=0)


def keeps_places(images):
    x = images.float() / 255
    return x.mean(dim=0), x.std(dim=0, correction=0)


def not_divided(images):  # and with torch's default: the larger fault is named first
    x = images.float()
    return x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3))


def variance(images):
    x = images.float() / 255
    return x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)


def of_each_image(images):
    x = images.float() / 255
    return x.mean(dim=(0, 2, 3)), x.std(dim=(2, 3), correction=0).mean(dim=0)


def other_way_round(images):
    x = images.float() / 255
    return x.std(dim=(0, 2, 3), correction=0), x.mean(dim=(0, 2, 3))


def torchs_default(images):
    x = images.double() / 255
    return x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3))


def divided_by_256(images):
    x = images.double() / 256
    return x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3), correction=0)


def copied(images):
    return torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])


def axes_kept(images):
    x = images.double() / 255
    return x.mean(dim=(0, 2, 3), keepdim=True), x.std(dim=(0, 2, 3), correction=0, keepdim=True)


def stacked(images):
    x = images.double() / 255
    return torch.stack([x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3), correction=0)])


def in_place(images):
    images.fill_(0)
    return images.float().mean(dim=(0, 2, 3)), images.float().std(dim=(0, 2, 3))


def mirrors_the_input(images, chosen):
    images[chosen] = images[chosen].flip(3)
    return images


def mirrors_all(images, chosen):
    return images.flip(-1)


def upside_down(images, chosen):
    out = images.clone()
    out[chosen] = images[chosen].flip(2)
    return out


def half_a_turn(images, chosen):
    out = images.clone()
    out[chosen] = images[chosen].flip(2, 3)
    return out


def other_colours(images, chosen):
    out = images.clone()
    out[chosen] = images[chosen].flip(1)
    return out


def the_others(images, chosen):
    out = images.flip(3)
    out[chosen] = images[chosen]
    return out


def only_the_chosen(images, chosen):
    return images[chosen].flip(3)


def chosen_first(images, chosen):
    return torch.cat([images[chosen].flip(3), images[~chosen]])


def lost_in_the_loop(images, chosen):
    for image, c in zip(images, chosen, strict=True):
        if c:
            image = image.flip(2)
    return images


def mask_over_columns(images, chosen):
    return torch.where(chosen, images.flip(3), images)


def tosses_again(images, chosen):
    coin = torch.rand(len(images)) < 0.5
    return torch.where(coin.view(-1, 1, 1, 1), images.flip(3), images)


def flips_the_batch(images, chosen):
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(0), images)


WRONG = {
    "channel_statistics": [
        (over_everything, "same value"),
        (keeps_places, "keeps the places"),
        (not_divided, "images.float() / 255"),
        (variance, "variance"),
        (of_each_image, "how much the images differ"),
        (other_way_round, "other way round"),
        (torchs_default, "1/(n − 1)"),
        (divided_by_256, "divide by 256"),
        (copied, "known numbers"),
        (
            axes_kept,
            "shape is not. Value 1 of 2 is a tensor of the shape (1, 3, 1, 1); wanted:",
        ),
        (stacked, "in one tensor"),
        (in_place, "in place"),
    ],
    "mirror": [
        (mirrors_the_input, "in place"),
        (mirrors_all, "All images"),
        (upside_down, "on their heads"),
        (half_a_turn, "half a turn"),
        (other_colours, "other colours"),
        (flips_the_batch, "become other images"),
        (the_others, "the others are mirrored"),
        (only_the_chosen, "Only the chosen"),
        (chosen_first, "another order"),
        (lost_in_the_loop, "No image has changed"),
        (mask_over_columns, "columns"),
        (tosses_again, "`chosen` names"),
    ],
}


def by_index(images, chosen):
    out = images.clone()
    out[chosen] = out[chosen].flip(-1)
    return out


def one_by_one(images, chosen):
    return torch.stack([image.flip(2) if c else image for image, c in zip(images, chosen, strict=True)])


RIGHT = {"mirror": [by_index, one_by_one]}
