"""Drawings that come before a measurement: a ravine, ten layers, a step that overshoots, a cone, a ball in a bowl.

They are made by code from a few made-up numbers, or from what a notebook has computed in view; no run is shown.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .style import BLUE, CHANNELS, COLOURS, DASHES, GREEN, MARKERS, ORANGE, legend, styled, title_of

GREY = "#444444"


@styled
def ravine(paths: Mapping[str, np.ndarray], curvatures: Sequence[float]) -> Figure:
    """A ravine seen from above, L(w) = ½ (c₁ w₁² + c₂ w₂²), and the way of each optimizer through it.

    Args:
        paths: optimizer → (n, 2) places, the start first; curvatures: c₁ along the ravine and c₂ across it.
    """
    figure, axes = plt.subplots(1, len(paths), figsize=(3.7 * len(paths), 2.9), sharex=True, sharey=True)
    side = 1.15 * np.abs(np.concatenate([*paths.values()])).max()
    x, y = np.meshgrid(np.linspace(-side, side, 120), np.linspace(-side / 2, side / 2, 120))
    loss = (curvatures[0] * x**2 + curvatures[1] * y**2) / 2
    for axis, (name, path) in zip(axes, paths.items(), strict=True):
        axis.contour(x, y, loss, loss.max() * np.linspace(0.02, 1, 9) ** 2, colors="#AAAAAA", linewidths=0.9)
        axis.plot(*path.T, "o-", color=BLUE, linewidth=1.2, ms=4, mfc="white")
        axis.plot(*path[0], "o", color="black", ms=9)
        axis.plot(0, 0, "*", color=ORANGE, ms=16)
        axis.set(title=f"{name}: after {len(path) - 1} steps\n{np.linalg.norm(path[-1]):.2g} from the bottom")
        axis.set(xlabel="along the ravine", xticks=[], yticks=[])
    axes[0].set_ylabel("across")
    title_of(figure, "One ravine, the same number of steps")
    return figure


@styled
def ten_layers(found: Mapping[str, Sequence[float]]) -> Figure:
    """Root mean square of the signal behind each layer, by how the weights were drawn; the input's is 1."""
    figure, axis = plt.subplots(figsize=(8, 4))
    for (name, sizes), colour, marker in zip(found.items(), COLOURS, MARKERS, strict=False):
        axis.plot(range(len(sizes) + 1), [1, *sizes], marker, linestyle="-", color=colour, mfc="white", label=name)
    axis.axhline(1, color="#777777", linestyle=":", linewidth=1)
    axis.set(yscale="log", xlabel="layer", ylabel="size of the signal (root mean square)")
    axis.set_xticks(range(1 + max(map(len, found.values()))))
    legend(axis, loc="lower left")
    title_of(figure, "The same factor in each layer: what is left after ten")
    return figure


@styled
def overshoot() -> Figure:
    """Two valleys, one slope at the start: the same steps lead down in one and past the bottom of the other.

    The bar on the right of each is the band of the probe: lowest to highest loss over the steps.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    steps, way = np.array([0.25, 0.5, 1, 2]), np.linspace(-0.3, 2.35, 200)
    valleys = {"the slope changes slowly": 0.3, "the slope changes fast": 2}
    for axis, (name, curvature) in zip(axes, valleys.items(), strict=True):
        after = 2 - steps + curvature / 2 * steps**2
        axis.plot(way, 2 - way + curvature / 2 * way**2, color=GREY)
        axis.plot(way, 2 - way, color=GREEN, linestyle=(0, (5, 3)), linewidth=1.6, label="what the slope promises")
        axis.plot(steps, after, "o", color=BLUE, ms=8, mfc="white", mew=2, label="where steps of ½ to 4 × η land")
        axis.plot(0, 2, "o", color="black", ms=10, label="we stand here")
        axis.annotate("", (2.55, after.min()), (2.55, after.max()), arrowprops={"arrowstyle": "<->", "color": ORANGE})
        axis.text(2.62, after.mean(), "band", color=ORANGE, va="center")
        axis.set(title=name, xlabel="way along −g", xticks=[], yticks=[], xlim=(-0.4, 3), ylim=(-0.5, 4.9))
    axes[0].set_ylabel("loss")
    legend(axes[0], loc="upper left")
    title_of(figure, "Same slope, same steps: where the slope changes fast, a long step overshoots")
    return figure


@styled
def walk(etas: Sequence[float], losses: Sequence[float], promised: Sequence[float], window: Sequence[float]) -> Figure:
    """The loss along the gradient from one point, beside what the slope at the point promises.

    Args:
        etas, losses, promised: (m,) step lengths, the loss there, and the tangent.
        window: the step lengths that the band is over; shaded.
    """
    figure, axis = plt.subplots(figsize=(8, 4))
    axis.plot(etas, promised, color=GREEN, linestyle=(0, (5, 3)), label="promised: L(w) − η‖g‖²")
    axis.plot(etas, losses, "o-", color=BLUE, mfc="white", ms=5, label="found: L(w − ηg)")
    axis.plot(etas[0], losses[0], "o", color="black", ms=9, label="we stand here")
    axis.axvspan(*window, color="#999999", alpha=0.15, linewidth=0, label="the probe's range of η")
    axis.set(xlabel="rate η", ylabel="loss on this batch (nats)")
    axis.set_ylim(min(np.nanmin(losses), losses[0]) - 0.15 * np.ptp(losses), np.nanmax(losses) + 0.1 * np.ptp(losses))
    legend(axis)
    title_of(figure, "The slope keeps its promise only for short steps")
    return figure


@styled
def cone() -> Figure:
    """A gradient that changes by at most β per unit of way stays in a cone; one that changes faster leaves it."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.9), sharey=True)
    way = np.linspace(0, 2, 200)
    curves = {"β-smooth: it cannot leave": np.sin(2.2 * way) / 2.6, "not β-smooth: it left": 0.8 * np.sin(3.5 * way)}
    for axis, (name, change) in zip(axes, curves.items(), strict=True):
        axis.fill_between(way, 1 - way, 1 + way, color=GREEN, alpha=0.2, linewidth=0, label="g ± β × way")
        outside = np.abs(change) > way
        axis.plot(way, 1 + change, color=BLUE, label="the gradient on the way")
        axis.plot(way, np.where(outside, 1 + change, np.nan), color=ORANGE, linewidth=3, label="outside the cone")
        axis.plot(0, 1, "o", color="black", ms=9)
        axis.set(title=name, xlabel="way from w, η‖g‖", xticks=[], yticks=[], ylim=(-1.4, 3.9))
    axes[0].set_ylabel("gradient (one number)")
    legend(axes[1], loc="upper left", fontsize=11)
    title_of(figure, "A β-smooth loss: its gradient stays inside a cone")
    return figure


@styled
def ball(paths: Mapping[str, Sequence[float]], curvature: float) -> Figure:
    """A ball in the bowl L(w) = ½ β w² (curvature β), a panel per step length: in words → (n,) places of the ball."""
    figure, axes = plt.subplots(1, len(paths), figsize=(3.4 * len(paths), 3.9), sharex=True, sharey=True)
    side = 1.15 * max(np.abs(path[:6]).max() for path in paths.values())
    around = np.linspace(-side, side, 200)
    for axis, (name, path) in zip(axes, paths.items(), strict=True):
        path = np.asarray(path[:6])
        axis.plot(around, curvature / 2 * around**2, color=GREY, linewidth=1.4)
        axis.plot(path, curvature / 2 * path**2, "o-", color=BLUE, linewidth=1, mfc="white", ms=6)
        axis.plot(path[0], curvature / 2 * path[0] ** 2, "o", color="black", ms=9)
        factor = path[1] / path[0]
        axis.set(title=f"{name}\nevery step: w × {factor:.1f}".replace("-", "−"), xlabel="w", xticks=[], yticks=[])
    axes[0].set_ylabel("loss")
    title_of(figure, "The ball leaves the bowl as soon as η is above 2/β")
    return figure


@styled
def bowl(curvatures: Sequence[float], angles: Sequence[float], betas: Sequence[float]) -> Figure:
    """A bowl seen from above, and the β that a walk along the gradient finds, by where in the bowl it starts.

    Args:
        curvatures: the two eigenvalues; angles: (m,) degrees of the starting point; betas: (m,) found there.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    x, y = np.meshgrid(*[np.linspace(-1.3, 1.3, 120)] * 2)
    loss = (curvatures[0] * x**2 + curvatures[1] * y**2) / 2
    left.contour(x, y, loss, 9, colors="#999999", linewidths=0.9)
    for degrees, colour in ((0, GREEN), (45, BLUE), (90, ORANGE)):
        w = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
        g = np.asarray(curvatures) * w
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 2, "mutation_scale": 16}
        left.annotate("", w - 0.5 * g / np.linalg.norm(g), w, arrowprops=arrow)
        left.plot(*w, "o", color=colour, ms=8)
        left.text(*(1.12 * w + 0.02), f"{degrees}°", color=colour)
    left.set(title="the bowl from above, and −g", xticks=[], yticks=[], aspect="equal")
    right.plot(angles, betas, color=BLUE, label="β along −g")
    for value in curvatures:
        right.axhline(value, color=GREY, linestyle=":", linewidth=1.3)
        right.text(angles[-1], value, f" curvature {value:g}", va="bottom", ha="right", color=GREY)
    right.set(xlabel="where we start (degrees)", ylabel="β found", ylim=(0, 1.2 * max(curvatures)))
    right.set_title("β lies between the two curvatures")
    title_of(figure, "Along the gradient we find a mixture of curvatures, mostly the largest")
    return figure


@styled
def through_depth(found: Mapping[str, Mapping[int, Sequence[float]]]) -> Figure:
    """How long the gradient is at every block, a panel for each kind of block and a line for each depth.

    Args:
        found: kind of block → number of blocks → (blocks,) ‖∂L/∂x‖ for the outputs x, the first block's first. What is
            below 1e-6 is not drawn.
    """
    figure, axes = plt.subplots(1, len(found), figsize=(11, 4), sharey=True)
    for axis, (kind, networks) in zip(axes, found.items(), strict=True):
        for number, (blocks, norms) in enumerate(networks.items()):
            look = {"color": COLOURS[number], "linestyle": DASHES[number], "label": f"{blocks} blocks"}
            axis.plot(np.arange(1, blocks + 1), norms, **look)
        axis.set(title=kind, xlabel="block, counted from the image", yscale="log")
    axes[0].set_ylim(1e-6, None)
    if min(min(norms) for networks in found.values() for norms in networks.values()) < 1e-6:
        axes[0].annotate("cut at 1e-6", (0.42, 0.02), xycoords="axes fraction", fontsize=9, color="#444444")
    axes[0].set_ylabel("‖∂L/∂x‖ behind the block")
    legend(axes[0])
    title_of(figure, "The gradient walks back from right to left: a shortcut changes it least")
    return figure


@styled
def shadows() -> Figure:
    """A bent wire in space and its three shadows: a circle, an arch, and an arch upside down."""
    figure = plt.figure(figsize=(10, 3.1))
    t = np.linspace(0, 2 * np.pi, 200)
    wire = np.cos(t), np.sin(t), np.cos(2 * t)
    space = figure.add_subplot(1, 4, 1, projection="3d")
    space.plot(*wire, color=GREY, linewidth=3)
    space.set(xticks=[], yticks=[], zticks=[], title="the wire")
    sides = {"from above": (0, 1), "from the front": (0, 2), "from the side": (1, 2)}
    for number, (name, pair) in enumerate(sides.items()):
        axis = figure.add_subplot(1, 4, number + 2)
        axis.plot(*(wire[i] for i in pair), color=COLOURS[number], linewidth=3)
        axis.set(title=name, xticks=[], yticks=[], xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
    title_of(figure, "One wire, three shadows: each is true, none is the wire")
    return figure


@styled
def whitening(before, after, filters) -> Figure:
    """How patches of 2×2 pixels are correlated, the filters that undo it, and what is left behind them.

    Args:
        before, after: (12, 12) tensors: covariances of the patches' numbers and of the filters' outputs.
        filters: (12, 3, 2, 2), drawn as colours, each on its own scale.
    """
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9))
    look = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}
    panels = ((axes[0], before / before.max(), "a patch's numbers"), (axes[2], after, "the outputs"))
    for axis, covariance, name in panels:
        shown = axis.imshow(covariance, **look)
        axis.set(title=f"covariance of {name}", xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes[2], shrink=0.8)
    tiles = np.ones((3 * 3, 4 * 3, 3))
    for number, weights in enumerate(filters):
        row, column = 3 * (number // 4), 3 * (number % 4)
        tiles[row : row + 2, column : column + 2] = 0.5 + 0.5 * weights.permute(1, 2, 0) / weights.abs().max()
    axes[1].imshow(tiles[:-1, :-1])
    for number in range(len(filters)):
        corner = 3 * (number % 4) - 0.5, 3 * (number // 4) - 0.5
        axes[1].add_patch(plt.Rectangle(corner, 2, 2, fill=False, color="#777777", linewidth=1))
    axes[1].set(title="the twelve filters")
    axes[1].set_axis_off()
    for axis in axes:
        axis.grid(False)
    title_of(figure, "Whitening: neighbouring pixels say the same, the filters' outputs do not")
    return figure


@styled
def turning(vectors: Sequence[Sequence[float]], curvatures: Sequence[float]) -> Figure:
    """Directions from the bottom of a bowl: each is the Hessian times the last, drawn at length 1.

    Args:
        vectors: (m, 2) in the order in which they were made; curvatures: of the bowl, along x and y.
    """
    figure, axis = plt.subplots(figsize=(6.2, 4.2))
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 120), np.linspace(-0.4, 1.25, 120))
    axis.contour(x, y, (curvatures[0] * x**2 + curvatures[1] * y**2) / 2, 9, colors="#999999", linewidths=0.9)
    for number, vector in enumerate(vectors):
        end = np.asarray(vector) / np.linalg.norm(vector)
        arrow = {"arrowstyle": "-|>", "color": COLOURS[number], "linewidth": 2.5, "mutation_scale": 18, "shrinkA": 0}
        axis.annotate("", end, (0, 0), arrowprops=arrow)
        axis.text(*(1.08 * end), "H" * number + "v", color=COLOURS[number], ha="center", va="center")
    axis.set(xticks=[], yticks=[], aspect="equal")
    title_of(figure, "Multiply by H again and again:\nany direction turns to the steepest")
    return figure


@styled
def pixels(picture) -> Figure:
    """A tiny picture, (3, h, w) numbers from 0 to 255, and its three channels as tables of numbers."""
    values = np.asarray(picture)
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.9))
    axes[0].imshow(values.transpose(1, 2, 0).astype("uint8"))
    axes[0].set_title("the picture")
    for channel, (name, colour, _) in enumerate(CHANNELS):
        axis = axes[channel + 1]
        axis.imshow(values[channel], cmap="gray", vmin=0, vmax=255)
        axis.set_title(name, color=colour)
        for place in np.ndindex(values[channel].shape):
            number = values[channel][place]
            axis.text(*place[::-1], number, ha="center", va="center", color="black" if number > 120 else "white")
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    title_of(figure, "A picture is three tables of numbers")
    return figure
