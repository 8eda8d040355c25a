"""Checks of the exercises on images and batches (notebook 01)."""

import torch

from .engine import call, compare, exercise


@exercise("01", "my_channel_statistics")
def channel_statistics(student) -> None:
    """Mean and standard deviation of each colour channel (handout, part one; oracle: ``torch.std_mean``)."""
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    images[:, 1] //= 2
    for batch in (images, images[:2]):
        x = batch.double() / 255
        std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
        per_image = x.std(dim=(2, 3), correction=0).mean(0)
        compare(
            call(student, batch),
            (mean, std),
            {
                "These are values from 0 to 255. The network sees pixels between 0 and 1.": (mean * 255, std * 255),
                "All channels have the same value: over which axes may you average, and which one has to stay?": (
                    x.mean(),
                    x.std(correction=0),
                ),
                "This averages over the images but keeps the places: a channel has one mean, not 1 024.": (
                    x.mean(0),
                    x.std(0, correction=0),
                ),
                "A mean of the images' deviations misses how much the images differ from each other.": (
                    mean,
                    per_image,
                ),
                "You give the variance; the spread in the units of a pixel is its root.": (mean, std**2),
                "First the mean, then the standard deviation: yours are the other way round.": (std, mean),
            },
            "Mean or standard deviation is off. Count over what each of them runs: images, rows and columns.",
        )
