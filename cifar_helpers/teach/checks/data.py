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
        got = call(student, batch)
        if isinstance(got, torch.Tensor) and same(got, torch.stack([mean, std])):
            raise Mistake("one-tensor")
        got = several(got, "the mean", "the standard deviation")
        if same(got[0], PUBLISHED, 1e-3):
            raise Mistake("known-numbers")
        if same(got[0], mean * 255):  # whatever else is off
            raise Mistake("undivided")
        mistakes = {
            "all-channels": (x.mean(), x.std(correction=0)),
            "per-place": (x.mean(0), x.std(0, correction=0)),
            "per-image": (mean, x.std(dim=(2, 3), correction=0).mean(0)),
            "unbiased": (mean, x.std(dim=(0, 2, 3), correction=1)),
            "by-256": (mean * 255 / 256, std * 255 / 256),
            "variance": (mean, std**2),
            "swapped": (std, mean),
        }
        compare(got, (mean, std), mistakes)


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
        "all": mirrored,
        "none": batch,
        "others": where_chosen(mirrored).flip(3),
        "order": torch.cat([mirrored[chosen], batch[~chosen]]),
        "chosen-only": mirrored[chosen],
        "rows": where_chosen(batch.flip(2)),
        "half-turn": where_chosen(batch.flip(2, 3)),
        "colours": where_chosen(batch.flip(1)),
        "images": where_chosen(batch.flip(0)),
    }
    if len(batch) == batch.shape[3]:
        mistakes["columns"] = torch.where(chosen, mirrored, batch)
    compare(got, where_chosen(mirrored), mistakes, "other-images" if _either(got, batch, mirrored) else "off")


def _either(got, one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether every image of ``got`` is the one or the other."""
    if not isinstance(got, torch.Tensor) or got.shape != one.shape:
        return False
    return bool(((got == one).flatten(1).all(1) | (got == other).flatten(1).all(1)).all())
