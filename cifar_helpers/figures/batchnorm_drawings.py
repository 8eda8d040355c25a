"""Drawings for notebooks 04 and 10: ideas on paper, made from no run.

Each returns a figure whose label says in words what is drawn.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..intervals import t_quantile
from .style import BLUE, DASHES, GREEN, MARKERS, ORANGE, legend, styled, title_of

GREY = "#777777"


def _arrow(axis: Axes, start: Sequence, end: Sequence, colour: str, **options) -> None:
    """An arrow from a point to another, in the axes' units."""
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 2, "mutation_scale": 16, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=style | options, zorder=4)


@styled
def four_numbers(values: Sequence[float], scale: float, shift: float) -> Figure:
    """Batch norm of a few numbers as four number lines: as they come, centred, divided, scaled and shifted."""
    x = np.asarray(values, dtype=float)
    mean, deviation = x.mean(), x.std()
    stages = {
        f"as they come: mean {mean:g}, deviation {deviation:g}": x,
        f"minus the mean {mean:g}": x - mean,
        f"divided by the deviation {deviation:g}": (x - mean) / deviation,
        f"times γ = {scale:g}, plus β = {shift:g}": scale * (x - mean) / deviation + shift,
    }
    figure, axes = plt.subplots(len(stages), 1, figsize=(9, 5.2))
    for axis, (name, points) in zip(axes, stages.items(), strict=True):
        reach = max(1.15 * np.abs(points).max(), 2.2)
        axis.axhline(0, color=GREY, linewidth=1)
        axis.axvline(0, color=GREY, linewidth=1)
        low, high = points.mean() - points.std(), points.mean() + points.std()
        axis.plot([low, high], [0, 0], color=ORANGE, linewidth=6, alpha=0.45, solid_capstyle="butt")
        for point, marker in zip(points, MARKERS, strict=False):
            axis.plot(point, 0, marker, color=BLUE, ms=10, clip_on=False)
            axis.text(point, 0.35, f"{point:.3g}".replace("-", "−"), ha="center", va="bottom", fontsize=11)
        axis.set(xlim=(-reach, reach), ylim=(-0.5, 1.2), yticks=[])
        axis.set_title(name, loc="left", fontsize=11, pad=2)
        axis.grid(False)
        axis.spines["left"].set_visible(False)
    title_of(figure, "Four numbers get mean 0 and deviation 1, and keep their order")
    figure.set_label("Four number lines, each on its own scale; an orange bar reaches one deviation about the mean.")
    return figure


def t_factor(seeds: int) -> float:
    """Half the width of a 95 % interval of n seeds, in units of the spread between seeds: t / √n."""
    return float(t_quantile(seeds) / np.sqrt(seeds))


@styled
def intervals_of_seeds() -> Figure:
    """What a 95 % interval is: the same experiment again and again, and how wide an interval of n seeds is."""
    random, few, more, experiments = np.random.default_rng(4), 3, 5, 40
    effect = 1.0  # the true difference, in units of the spread between seeds
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.4), width_ratios=(1, 1, 1.15))
    for axis, seeds in zip(axes, (few, more), strict=False):
        found = random.normal(effect, 1, (experiments, seeds))
        half = t_factor(seeds) * found.std(axis=1, ddof=1)
        centre = found.mean(axis=1)
        missed = np.abs(centre - effect) > half
        for y, (middle, reach, miss) in enumerate(zip(centre, half, missed, strict=True)):
            style = {"color": ORANGE if miss else BLUE, "linewidth": 2.4 if miss else 1.4}
            axis.plot([middle - reach, middle + reach], [y, y], **style)
            axis.plot(middle, y, "|", color=style["color"], ms=6)
        undecided = ((centre - half < 0) & (centre + half > 0)).sum()
        axis.axvline(effect, color="black", linewidth=1.2, label="true difference")
        axis.axvline(0, color=GREY, linestyle=":", linewidth=1.4, label="no difference")
        axis.set(xlim=(-6, 8), yticks=[], xlabel="difference / spread of the seeds")
        axis.set_title(
            f"{seeds} seeds: {missed.sum()} of {experiments} miss,\n{undecided} reach over zero", fontsize=11
        )
        axis.grid(axis="y", visible=False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=10)
    n = np.arange(2, 21)
    axes[2].plot(n, [t_factor(k) for k in n], "o-", color=BLUE, label="95 % interval: t / √n", ms=4)
    axes[2].plot(n, 1 / np.sqrt(n), color=GREY, linestyle=DASHES[2], label="1 / √n alone")
    for k in (few, more, 10):
        place = {"xytext": (8, 6), "textcoords": "offset points", "fontsize": 10}
        axes[2].annotate(f"n = {k}: ± {t_factor(k):.2f}", (k, t_factor(k)), **place)
    axes[2].set(yscale="log", xlabel="number of seeds n", xticks=(2, 5, 10, 15, 20))
    axes[2].set_yticks((0.25, 0.5, 1, 2, 4, 8), ("0.25", "0.5", "1", "2", "4", "8"), minor=False)
    axes[2].minorticks_off()
    axes[2].set_title("half width, in units of the spread", fontsize=11)
    legend(axes[2], fontsize=10, loc="upper right")
    title_of(figure, f"{few} seeds give an interval twice as wide as {more} do")
    figure.set_label("Intervals of repeated experiments as bars, most of them across the true difference.")
    return figure


@styled
def moving_target() -> Figure:
    """Internal covariate shift: a layer aims by its gradient, and meanwhile the layers below move the target."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.1), sharex=True, sharey=True)
    here, target, angle = np.array([0.0, 0.0]), np.array([2.4, 0.9]), np.deg2rad(55)
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ target
    aims = [0.62 * target, 0.8 * turned]
    titles = ("1. the layer aims: −G", "2. the layers below step", "3. it aims again: −G′")
    grid = np.meshgrid(np.linspace(-0.8, 3.4, 80), np.linspace(-2.6, 2.2, 80))
    for number, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        centre = turned if number else target
        distance = (grid[0] - centre[0]) ** 2 + 1.6 * (grid[1] - centre[1]) ** 2
        axis.contour(*grid, distance, levels=(0.15, 0.7, 1.7, 3.2, 5.2), colors=GREEN, alpha=0.55, linewidths=1.2)
        axis.plot(*centre, "*", color=GREEN, ms=15)
        axis.plot(*here, "o", color="black", ms=7)
        if number == 1:
            axis.plot(*target, "*", color=GREEN, ms=15, alpha=0.3)
            _arrow(axis, target, turned, GREEN, connectionstyle="arc3,rad=-0.35", linestyle="--", shrinkB=8, shrinkA=8)
        else:
            _arrow(axis, here, aims[number // 2], BLUE)
        if number == 2:
            _arrow(axis, here, aims[0], GREY, alpha=0.6)
            axis.plot(*np.transpose(aims), color=ORANGE, linestyle=DASHES[2], linewidth=2.4)
            axis.text(*(np.mean(aims, axis=0) + [0.12, 0.0]), "‖G − G′‖", color=ORANGE, fontsize=12, va="center")
        axis.set_title(title, fontsize=12)
        axis.set(xlim=(-0.8, 3.4), ylim=(-2.6, 2.2), aspect="equal")
        axis.set_axis_off()
    title_of(figure, "Internal covariate shift: aiming at a target that the layers below move")
    figure.set_label(
        "A black dot (a layer's weights) aims at a green star. The star moves; the old aim and the new one differ."
    )
    return figure


@styled
def growing_circle() -> Figure:
    """Scale-free weights: every step is a tangent, so the radius grows, and each step turns by a smaller angle."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), width_ratios=(1.15, 1))
    steps, w, places = 6, np.array([1.0, 0.0]), []
    arc = np.linspace(-0.25, 2.6, 120)
    for number in range(steps + 1):
        radius, angle = np.hypot(*w), np.arctan2(w[1], w[0])
        places.append((radius, angle))
        left.plot(radius * np.cos(arc), radius * np.sin(arc), color=GREY, linewidth=0.7, alpha=0.6)
        left.plot([0, w[0]], [0, w[1]], color=BLUE, linewidth=1, alpha=0.5)
        if number < steps:
            tangent = np.array([-w[1], w[0]]) / radius
            moved = w + 0.9 / radius * tangent  # the gradient goes as 1 / radius, and so does the step
            _arrow(left, w, moved, ORANGE)
            w = moved
    left.plot(0, 0, "ko", ms=5)
    left.text(0.5, -0.2, "w", color=BLUE, fontsize=13)
    left.text(-1.6, 1.95, "a step −η∇f, at a right angle to w", color=ORANGE, fontsize=11)
    left.set(aspect="equal", xlim=(-1.9, 2.0), ylim=(-0.5, 2.15))
    left.set_axis_off()
    radii, angles = np.transpose(places)
    right.plot(range(steps + 1), radii, "o-", color=BLUE, label="length ‖w‖")
    right.plot(range(1, steps + 1), np.diff(angles), "s--", color=ORANGE, label="angle of each step (radians)")
    right.set(xlabel="step", ylim=(0, None), xticks=range(steps + 1))
    legend(right, loc="center right")
    title_of(figure, "Filters followed by batch norm grow, and the same rate turns them less and less")
    figure.set_label("Arrows at right angles to a vector that grows; beside them its length rises and the angle falls.")
    return figure
