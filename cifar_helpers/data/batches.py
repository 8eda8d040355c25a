"""Batches of images on the device that trains: drawn, augmented, normalised."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from ..env import CourseError, send, usual_torch
from .images import AUGMENTATIONS, CROP_PADDING, CUTOUT_SIZE, HALF, SHIFT_PADDING


def normalise(images: torch.Tensor, mean, std) -> torch.Tensor:
    """uint8 (n, 3, h, w) → float32 ``(x / 255 − mean) / std`` per channel, channels last in memory (not on MPS)."""
    mean, std = (torch.as_tensor(v, dtype=torch.float32, device=images.device).view(1, 3, 1, 1) for v in (mean, std))
    layout = torch.preserve_format if images.device.type == "mps" else torch.channels_last
    floats = images.to(torch.float32, memory_format=layout)
    return floats.mul_(1 / (255 * std)).sub_(mean / std)


def evaluation_batches(images: torch.Tensor, labels: torch.Tensor, device, normalisation=HALF, batch_size: int = 250):
    """Yield every image once, in order, as (images, labels); the last batch may be smaller."""
    device = torch.device(device)
    mean, std = (torch.as_tensor(v, dtype=torch.float32, device=device) for v in normalisation)  # once: it waits
    for start in range(0, len(labels), batch_size):
        part = slice(start, start + batch_size)
        yield normalise(send(images[part], device), mean, std), send(labels[part], device)


def _mirror_border(images: torch.Tensor, width: int) -> torch.Tensor:
    """Images with their border mirrored outwards by ``width`` pixels (torch pads floats only in this way)."""
    size = images.shape[-1]
    inner = torch.arange(-width, size + width, device=images.device).abs()
    index = torch.where(inner < size, inner, 2 * (size - 1) - inner)
    return images[:, :, index][:, :, :, index]


class Batches:
    """Endless shuffled training batches from uint8 images that stay on the device.

    Order and augmentation of an epoch are drawn on the CPU from ``(seed, epoch)`` alone. So batch ``step`` is the same
    on every device, and a resumed run needs nothing but its step number.

    Args:
        images, labels: (n, 3, 32, 32) uint8 and (n,) int64.
        batch_size: images per batch; an epoch leaves out the last incomplete batch.
        seed: of the order and the augmentation.
        augmentation: any of ``crop`` (4 pixels of zero padding) or ``shift`` (2 pixels, the border mirrored), ``flip``
            (probability ½) or ``alternating_flip`` (every image as it is in one epoch and mirrored in the next, the
            first by chance), and ``cutout`` (16×16, to the mean grey).
        normalisation: (mean, std) per channel.
        sizes: (step, side) pairs in order: images are scaled to this side before this step; 32 after the last.

    Raises:
        CourseError: the batch is larger than the set, an augmentation is unknown, or two of them exclude each other.
    """

    @usual_torch()
    def __init__(self, images, labels, batch_size, seed, device="cpu", augmentation=(), normalisation=HALF, sizes=()):
        unknown = sorted(set(augmentation) - set(AUGMENTATIONS))
        if unknown:
            raise CourseError(f"Unknown augmentation {', '.join(unknown)}; choose from {', '.join(AUGMENTATIONS)}.")
        for one, other in (("crop", "shift"), ("flip", "alternating_flip")):
            if one in augmentation and other in augmentation:
                raise CourseError(f"Choose {one} or {other}, not both.")
        if not 1 <= batch_size <= len(labels):
            raise CourseError(
                f"A batch of {batch_size} cannot be taken from {len(labels)} images; choose a batch_size of 1 to "
                f"{len(labels)}, or more images (n_items)."
            )
        self.labels, self.device = labels.to(device), torch.device(device)
        self.batch_size, self.seed = batch_size, seed
        self.augmentation, self.sizes = frozenset(augmentation), tuple(sizes)
        # On the device from the start: a copy from the host at every step would wait for the device.
        self.normalisation = tuple(torch.as_tensor(v, dtype=torch.float32, device=device) for v in normalisation)
        images = images.to(device)
        if "crop" in augmentation:
            images = F.pad(images, (CROP_PADDING,) * 4)
        elif "shift" in augmentation:
            images = _mirror_border(images, SHIFT_PADDING)
        # uint8 with the channels innermost: a pixel is one short run of memory, and the model wants channels last.
        self.images = images.permute(0, 2, 3, 1).contiguous()
        apart = torch.Generator().manual_seed((seed * 1_000_003 - 1) % 2**63)  # from every epoch's generator
        self._first_flip = torch.rand(len(labels), generator=apart) < 0.5
        self.steps_per_epoch = len(labels) // batch_size
        self._epoch, self._draws = -1, {}

    def steps(self, start: int, stop: int) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield (step, images, labels) for ``start`` ≤ step < ``stop``."""
        for step in range(start, stop):
            yield step, *self[step]

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Batch ``step``: normalised float32 images (batch, 3, side, side) and labels (batch,), on the device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._draws = epoch, self._draw(epoch)
        part = slice(position * self.batch_size, (position + 1) * self.batch_size)
        draws = {name: values[part] for name, values in self._draws.items()}
        index = draws["order"]
        moved = self.augmentation & {"crop", "shift"}
        images = self._window(index, draws[next(iter(moved))]) if moved else self.images[index]
        images = images.permute(0, 3, 1, 2)
        if self.augmentation & {"flip", "alternating_flip"}:
            images = torch.where(draws["flip"].view(-1, 1, 1, 1), images.flip(3), images)
        images = normalise(images, *self.normalisation)
        if "cutout" in self.augmentation:
            self._cut_out(images, draws)
        side = next((side for until, side in self.sizes if step < until), 32)
        if side < 32:
            images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        return images, self.labels[index]

    @usual_torch()
    def _draw(self, epoch: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        n = len(self.labels)
        draws = {"order": torch.randperm(n, generator=generator)}
        # Always drawn, so that switching one augmentation on leaves the others as they were.
        draws["crop"] = torch.randint(2 * CROP_PADDING + 1, (n, 2), generator=generator)
        draws["flip"] = torch.rand(n, generator=generator) < 0.5
        draws["centre"] = torch.randint(32, (n, 2), generator=generator)
        draws["shift"] = torch.randint(2 * SHIFT_PADDING + 1, (n, 2), generator=generator)
        if "alternating_flip" in self.augmentation:
            draws["flip"] = self._first_flip[draws["order"]] ^ bool(epoch % 2)
        return {name: send(values, self.device) for name, values in draws.items()}

    def _window(self, index: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """Gather the 32×32 window of every image in one indexing operation over a view of all windows."""
        windows = self.images.unfold(1, 32, 1).unfold(2, 32, 1)  # (n, 9, 9, 3, 32, 32) for crop, no copy
        return windows[index, offset[:, 0], offset[:, 1]].permute(0, 2, 3, 1)

    def _cut_out(self, images: torch.Tensor, draws: dict[str, torch.Tensor]) -> None:
        axis = torch.arange(32, device=self.device)
        inside = [((axis - draws["centre"][:, i, None]).abs() < CUTOUT_SIZE // 2) for i in (0, 1)]
        images.masked_fill_((inside[0][:, :, None] & inside[1][:, None, :]).unsqueeze(1), 0.0)
