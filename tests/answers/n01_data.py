"""Wrong answers to the exercises of notebook 01, as students write them: exercise → (variant, part of its message)."""


def over_everything(images):
    x = images.float() / 255
    return x.mean(), x.std(correction=0)


def keeps_places(images):
    x = images.float() / 255
    return x.mean(dim=0), x.std(dim=0, correction=0)


def not_divided(images):
    x = images.float()
    return x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3), correction=0)


def variance(images):
    x = images.float() / 255
    return x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)


def of_each_image(images):
    x = images.float() / 255
    return x.mean(dim=(0, 2, 3)), x.std(dim=(2, 3), correction=0).mean(dim=0)


def other_way_round(images):
    x = images.float() / 255
    return x.std(dim=(0, 2, 3), correction=0), x.mean(dim=(0, 2, 3))


def in_place(images):
    images.fill_(0)
    return images.float().mean(dim=(0, 2, 3)), images.float().std(dim=(0, 2, 3))


WRONG = {
    "channel_statistics": [
        (over_everything, "same value"),
        (keeps_places, "keeps the places"),
        (not_divided, "0 to 255"),
        (variance, "variance"),
        (of_each_image, "how much the images differ"),
        (other_way_round, "other way round"),
        (in_place, "in place"),
    ],
}
