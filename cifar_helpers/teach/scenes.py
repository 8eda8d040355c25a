"""What the explorers show: scenes, for an ordinary cell (``still``) and for the controls of ``widgets``.

A scene is a function. It draws what stays into an empty figure and returns ``show``, a function of a state that moves
the rest and returns a sentence saying in words what is seen: the picture's caption and alternative text. What moves is
marked ``animated``, as matplotlib calls it, so that the rest need not be drawn again. Here are scenes made from images
and activations; those of recorded runs are in ``replays``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from ..data.batches import Batches
from ..env import CourseError
from ..figures.style import BLUE, ORANGE, STYLE, legend, title_of

SIZE, DPI = (8.4, 3.8), 100  # inches, dots per inch: 840 × 380 pixels
LIVE = STYLE | {"font.size": 10, "axes.titlesize": 10, "figure.constrained_layout.use": False}
PANELS = {"left": 0.07, "right": 0.985, "top": 0.81, "bottom": 0.14, "wspace": 0.06}
BATCHES = 40  # in which one value is followed
KERNELS = {  # name → weights, and what they are divided by
    "vertical edges": (((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), 4),
    "horizontal edges": (((-1, -2, -1), (0, 0, 0), (1, 2, 1)), 4),
    "blur": (((1, 1, 1), (1, 1, 1), (1, 1, 1)), 9),
    "sharpen": (((0, -1, 0), (-1, 5, -1), (0, -1, 0)), 1),
    "outline": (((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)), 4),
    "shift by one pixel": (((0, 0, 0), (0, 0, 1), (0, 0, 0)), 1),
}
Show = Callable[..., str]


def still(scene: Callable[..., Show], found: Sequence, state: Sequence) -> Figure:
    """A new figure of a scene in one state, for an ordinary cell.

    Args:
        found: what the scene is made from, its arguments after the figure; state: the arguments of its ``show``.
    """
    with mpl.rc_context(LIVE):
        figure = plt.figure(figsize=SIZE, dpi=DPI)
        figure.set_label(scene(figure, *found)(*state))
        interactive = mpl.is_interactive()
    mpl.interactive(interactive)  # as in figures.style.styled
    return figure


def signed(value: float, form: str = ".2f") -> str:
    """A number as text, with a minus sign where Python writes a hyphen."""
    return format(value, form).replace("-", "−")


# --- Images --------------------------------------------------------------------------------------------------------


def augmentation(figure: Figure, pixels: torch.Tensor, names: Sequence[str]) -> Show:
    """An image as it is stored, and as seven epochs see it.

    Args:
        pixels: (n, 3, 32, 32) uint8; names: the class of each.

    Returns:
        ``show(number, seed, chosen)``: which image, counted from 1; the seed and augmentations of ``batches.Batches``.
    """
    axes = figure.subplots(2, 4, gridspec_kw={"left": 0.1, "right": 0.9, "top": 0.83, "bottom": 0.02, "hspace": 0.22})
    tiles = []
    for axis, title in zip(axes.flat, ["as stored", *(f"epoch {number}" for number in range(1, 8))], strict=True):
        tiles.append(axis.imshow(np.zeros((32, 32, 3)), interpolation="nearest", animated=True))
        axis.set_title(title, pad=3)
        axis.axis("off")
    title_of(figure, "One image, as seven epochs see it")

    def show(number: int, seed: int, chosen: Sequence[str]) -> str:
        image, name = pixels[number - 1 : number], names[number - 1]
        batches = Batches(image, torch.zeros(1, dtype=torch.int64), 1, seed, augmentation=chosen)
        seen = [(batches[epoch][0][0] / 2 + 0.5).clamp(0, 1) for epoch in range(7)]
        for tile, picture in zip(tiles, [image[0] / 255, *seen], strict=True):
            tile.set_data(picture.permute(1, 2, 0).numpy())
        different = len({picture.numpy().tobytes() for picture in seen})
        how = " + ".join(chosen) if chosen else "no augmentation"
        return f"{name}, {how}, seed {seed}: {different} different image{'s' * (different > 1)} in 7 epochs."

    return show


def mixed_kernel(name: str, strength: float) -> np.ndarray:
    """The (3, 3) kernel at a strength: 0 leaves an image as it is, 1 is the named kernel.

    Raises:
        CourseError: an unknown kernel.
    """
    if name not in KERNELS:
        raise CourseError(f"Unknown kernel {name!r}; choose from {', '.join(KERNELS)}.")
    weights, divisor = KERNELS[name]
    same = np.zeros((3, 3))
    same[1, 1] = 1
    return (1 - strength) * same + strength * np.array(weights) / divisor


def convolution(figure: Figure, pixels: torch.Tensor) -> Show:
    """An image in grey, a 3×3 kernel, and what the kernel makes of the image.

    Args:
        pixels: (n, 3, h, w) uint8.

    Returns:
        ``show(number, kernel, strength, relu)``: which image, counted from 1; a name from ``KERNELS``; as in
        ``mixed_kernel``; whether negative values are set to zero afterwards.
    """
    height, width = pixels.shape[2:]
    axes = figure.subplots(1, 3, gridspec_kw={"left": 0.01, "right": 0.92, "top": 0.83, "bottom": 0, "wspace": 0.04})
    scales = ({"cmap": "gray", "vmin": 0}, {"cmap": "RdBu_r", "vmin": -1}, {"cmap": "RdBu_r", "vmin": -1})
    shapes = ((height, width), (3, 3), (height - 2, width - 2))
    titles = (f"input: {height} × {width}, grey", "kernel: 3 × 3 weights", f"output: {height - 2} × {width - 2}")
    shown = []
    for axis, scale, shape, title in zip(axes, scales, shapes, titles, strict=True):
        shown.append(axis.imshow(np.zeros(shape), vmax=-scale["vmin"] or 1, animated=True, **scale))
        axis.set_title(title)
        axis.axis("off")
        axis.set_anchor("N")
    centred = {"ha": "center", "va": "center", "size": 12, "animated": True}
    numbers = {(row, column): axes[1].text(column, row, "", **centred) for row, column in np.ndindex(3, 3)}
    bar = figure.colorbar(shown[2], cax=figure.add_axes((0.935, 0.2, 0.015, 0.6)), extend="both", ticks=(-1, 0, 1))
    bar.set_label("output", labelpad=-2)
    title_of(figure, "Each output is a weighted sum of nine pixels")

    def show(number: int, kernel: str, strength: float, relu: bool) -> str:
        weights, grey = mixed_kernel(kernel, strength), pixels[number - 1].double().mean(0) / 255
        output = F.conv2d(grey[None, None], torch.from_numpy(weights)[None, None])[0, 0].numpy()
        negative = (output < 0).mean()
        for image, values in zip(
            shown, (grey.numpy(), weights, np.maximum(output, 0) if relu else output), strict=True
        ):
            image.set_data(values)
        for place, text in numbers.items():
            text.set(text=signed(weights[place], "+.2f"), color="white" if abs(weights[place]) > 0.7 else "black")
        return (
            f"{kernel} at strength {strength:g}: outputs from {signed(output.min())} to {signed(output.max())}, "
            f"{negative:.0%} of them negative{', which ReLU sets to zero' if relu else ''}."
        )

    return show


# --- Batch norm ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Channel:
    """Values of one channel over many images, summed up so that any batch of them is quick to draw.

    Attributes:
        edges: (bins + 1,) of the histogram; counts: (images, bins) in each image.
        sums, squares: (images,) of the values and of their squares; places: values per image.
    """

    edges: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    places: int

    @classmethod
    def of(cls, values, bins: int = 50) -> "Channel":
        """Sum up (images, …) values.

        Raises:
            CourseError: fewer than two images.
        """
        if len(values) < 2:
            raise CourseError("Batches can be compared only where there are at least two images.")
        rows = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
        edges = np.linspace(*np.percentile(rows, (0.1, 99.9)), bins + 1)
        counts = np.stack([np.histogram(row, edges)[0] for row in rows])
        return cls(edges, counts, rows.sum(1), np.square(rows).sum(1), rows.shape[1])

    def statistics(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation √(σ² + ε), σ² being biased, over batches: (…, images) indices → (…) each."""
        mean = self.sums[chosen].mean(-1) / self.places
        variance = self.squares[chosen].mean(-1) / self.places - mean**2
        return mean, np.sqrt(np.maximum(variance, 0) + 1e-5)

    def shares(self, chosen: np.ndarray) -> np.ndarray:
        """Share of the values in each bin, in percent, over one batch."""
        counts = self.counts[chosen].sum(0)
        return 100 * counts / counts.sum()


def batch_norm(figure: Figure, channel: Channel) -> Show:
    """Values of a channel before and after batch norm, and where one and the same value ends up in 40 batches.

    ``show(scale, shift, size)``: γ, β, and images in a batch.
    """
    everything = np.arange(len(channel.counts))
    followed = float(np.add(*channel.statistics(everything)))
    left, right = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(**PANELS)
    left.stairs(channel.shares(everything), channel.edges, color="black", linewidth=1, label="all images")
    left.plot(followed, 0, "^", color="black", ms=9, clip_on=False, label=f"one value, x = {signed(followed)}")
    left.set(xlabel="activation x", ylabel="share of the values (%)")
    left.set_title("before", loc="left")
    left.set_ylim(0, 2 * channel.shares(everything).max())
    legend(left, loc="upper right", fontsize=9)
    right.plot([], [], "o", color="black", ms=4, alpha=0.6, label=f"that one value, in {BATCHES} batches of this size")
    right.set_title("after: y = γ (x − μ) / σ + β", loc="left")
    right.set(xlabel="output y", xlim=(-6, 6))
    right.tick_params(labelleft=False)
    legend(right, loc="upper right", fontsize=9)
    bars = [axis.stairs([0], [0, 1], fill=True, color=BLUE, alpha=0.55, animated=True) for axis in (left, right)]
    spans = [axis.axvspan(0, 1, color=ORANGE, alpha=0.15, linewidth=0, animated=True) for axis in (left, right)]
    centres = [axis.axvline(0, color=ORANGE, animated=True) for axis in (left, right)]
    style = {"color": ORANGE, "weight": "bold", "ha": "right", "animated": True}
    texts = [axis.text(1, 1.025, "", transform=axis.transAxes, **style) for axis in (left, right)]
    dots = right.plot([], [], "o", color="black", ms=4, alpha=0.5, mew=0, animated=True)[0]
    title_of(figure, "Batch norm moves and stretches a channel, by what the batch measures")

    def show(scale: float, shift: float, size: int) -> str:
        if not 1 <= size <= len(everything):
            raise CourseError(f"A batch of {size} cannot be taken from {len(everything)} images.")
        rng = np.random.default_rng(0)
        batches = np.stack([rng.permutation(len(everything))[:size] for _ in range(BATCHES)])
        means, deviations = channel.statistics(batches)
        mean, deviation, shares = means[0], deviations[0], channel.shares(batches[0])
        sides = ((mean, deviation), (shift, scale))
        for (middle, width), bar, span, centre in zip(sides, bars, spans, centres, strict=True):
            bar.set_data(shares, (channel.edges - mean) / deviation * width + middle)
            span.set(x=middle - width, width=2 * width)
            centre.set_xdata([middle] * 2)
        texts[0].set_text(f"batch of {size}: μ = {signed(mean)}, σ = {deviation:.2f}")
        texts[1].set_text(f"β = {signed(shift, '.1f')}, γ = {scale:.1f}")
        ends = scale * (followed - means) / deviations + shift
        dots.set_data(ends, (0.03 + 0.025 * (np.arange(BATCHES) % 5)) * right.get_ylim()[1])  # side by side
        return (
            f"This batch of {size} has mean {signed(mean)} and deviation {deviation:.2f}; they become "
            f"{signed(shift, '.1f')} and {scale:.1f}. One and the same value, {signed(followed)}, becomes "
            f"{signed(ends.min())} to {signed(ends.max())}, depending on the batch it is in."
        )

    return show
