"""Checks of the exercises on images and batches (notebook 01)."""

import torch

from .engine import Mistake, call, compare, exercise, same, several

PUBLISHED = torch.tensor([0.4914, 0.4822, 0.4465])  # means of the channels that are copied from tutorial to tutorial


@exercise("01", "my_channel_statistics")
def channel_statistics(student) -> None:
    """Mean and standard deviation of each colour channel (handout, part one; oracle: ``torch.std_mean``)."""
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    images[:, 1] //= 2
    for batch in (images, images[:2]):
        x = batch.double() / 255
        std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
        per_image = x.std(dim=(2, 3), correction=0).mean(0)
        got = call(student, batch)
        if isinstance(got, torch.Tensor) and same(got, torch.stack([mean, std])):
            raise Mistake(
                "The numbers are right, in one tensor. Two tensors are wanted: the means, then the deviations."
            )
        got = several(got, "the mean", "the standard deviation")
        if same(got[0], PUBLISHED, 1e-3):
            raise Mistake(
                "These are the known numbers of CIFAR-10's training images. Yours have to come from the images that "
                "the function is given; here they are others."
            )
        if same(got[0], mean * 255):  # whatever else is off
            raise Mistake(
                "These are values from 0 to 255. The network sees pixels between 0 and 1: divide the images by 255 "
                "(`images.float() / 255`) before you average."
            )
        compare(
            got,
            (mean, std),
            {
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
                "You count with 1/(n − 1), torch's default; the exercise wants 1/n.": (
                    mean,
                    x.std(dim=(0, 2, 3), correction=1),
                ),
                "You divide by 256. The largest value of a pixel is 255, and it should become 1.": (
                    mean * 255 / 256,
                    std * 255 / 256,
                ),
                "You give the variance; the spread in the units of a pixel is its root.": (mean, std**2),
                "First the mean, then the standard deviation: yours are the other way round.": (std, mean),
            },
            "Mean or standard deviation is off. Count over what each of them runs: images, rows and columns.",
        )


OTHER_AXES = {
    "The chosen images stand on their heads. Which axis holds the rows, which the columns?": (2,),
    "The chosen images are turned by half a turn. A mirror swaps left and right and leaves above and below.": (2, 3),
    "The chosen images have other colours. One axis holds red, green and blue.": (1,),
    "Chosen images have become other images. One axis counts the images, and the labels follow it.": (0,),
}


@exercise("01", "my_mirror")
def mirror(student) -> None:
    """Chosen images mirrored left to right, the others as they are (oracle: ``torch.where`` on the flipped batch)."""
    images = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8)
    some = torch.arange(32) % 3 == 0
    # 32 images of 32 columns: here a mask along the wrong axis gives no error.
    for batch, chosen in ((images, some), (images[:5] / 255, some[:5]), (images[:4], ~some[1:5])):
        _compare_mirrored(call(student, batch, chosen), batch, chosen)


def _compare_mirrored(got, batch: torch.Tensor, chosen: torch.Tensor) -> None:
    def where_chosen(changed: torch.Tensor) -> torch.Tensor:
        return torch.where(chosen.view(-1, 1, 1, 1), changed, batch)

    mirrored = batch.flip(3)
    mistakes = {
        "All images are mirrored, those too that were not chosen.": mirrored,
        "No image has changed. Does what you mirror reach what you return?": batch,
        "The chosen images are as they were, and the others are mirrored.": where_chosen(mirrored).flip(3),
        "Images come in another order, so the labels no longer belong to them.": torch.cat(
            [mirrored[chosen], batch[~chosen]]
        ),
        "Only the chosen images come back. A batch keeps its size and its order.": mirrored[chosen],
    }
    mistakes |= {sentence: where_chosen(batch.flip(axes)) for sentence, axes in OTHER_AXES.items()}
    if len(batch) == batch.shape[3]:
        sentence = "The mask chooses columns here, not images. Along which axis does it count?"
        mistakes[sentence] = torch.where(chosen, mirrored, batch)
    otherwise = "These are not the images wanted: the chosen ones mirrored, the others as they are."
    if _either(got, batch, mirrored):
        otherwise = "Some images are mirrored and some are not, but not those that `chosen` names."
    compare(got, where_chosen(mirrored), mistakes, otherwise)


def _either(got, one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether every image of ``got`` is the one or the other."""
    if not isinstance(got, torch.Tensor) or got.shape != one.shape:
        return False
    return bool(((got == one).flatten(1).all(1) | (got == other).flatten(1).all(1)).all())
