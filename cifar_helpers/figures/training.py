"""Figures of notebooks 01 and 04: images, training curves, two networks compared."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ..intervals import Paired
from ..words import by_side, rounded
from .style import BLUE, CHANNELS, COLOURS, LN10, in_order, legend, line_style, steps_axis, styled, title_of

CUT = 4.0  # nats; a higher training loss is written and not drawn


@styled
def sample_grid(images, labels, classes: Sequence[str]) -> Figure:
    """The first ten images of each class, one class per row; images, labels: (n, 3, 32, 32) uint8 and (n,) tensors."""
    figure, axes = plt.subplots(len(classes), 10, figsize=(8, 8.4))
    for number, (row, name) in enumerate(zip(axes, classes, strict=True)):
        for axis in row:
            axis.axis("off")
        for axis, image in zip(row, images[labels == number][:10], strict=False):
            axis.imshow(image.permute(1, 2, 0).numpy())
        row[0].text(-6, 16, name, ha="right", va="center", fontsize=12)
    title_of(figure, "10 training images of each class")
    return figure


@styled
def channel_histograms(images, mean, std) -> Figure:
    """Share of pixels at each of the 256 values, per colour channel, with mean and standard deviation.

    Args:
        images: (n, 3, h, w) uint8; mean, std: (3,) on the [0, 1] scale.
    """
    figure, axis = plt.subplots(figsize=(8, 3.8))
    for channel, (name, colour, dash) in enumerate(CHANNELS):
        counts = images[:, channel].flatten().bincount(minlength=256).numpy()
        label = f"{name}: mean {mean[channel]:.4f}, std {std[channel]:.4f}"
        axis.plot(np.arange(256) / 255, counts / counts.sum() * 100, color=colour, linestyle=dash, label=label)
        axis.axvline(float(mean[channel]), color=colour, linestyle=dash, linewidth=1)
    axis.set(xlabel="pixel value (0 black, 1 full)", ylabel="share of pixels (%)", xlim=(0, 1), ylim=(0, None))
    top = np.percentile(np.concatenate([line.get_ydata() for line in axis.lines if len(line.get_ydata()) == 256]), 99)
    highest = max(max(line.get_ydata()) for line in axis.lines if len(line.get_ydata()) == 256)
    axis.set_ylim(0, 1.6 * top)  # the peaks at 0 and 1 (clipped pixels) would flatten the rest
    if highest > 1.6 * top:
        note = f"cut: the highest peak is {highest:.1f} %"
        axis.annotate(note, (0.02, 0.98), xycoords="axes fraction", va="top", fontsize=10, color="#444444")
    axis.legend(loc="upper right")
    title_of(figure, "Pixel values of the training images, by colour channel")
    return figure


@styled
def augmentation_grid(rows: dict) -> Figure:
    """The same images, (n, 3, 32, 32) float in [0, 1], under several augmentations, one augmentation per row."""
    n = min(len(images) for images in rows.values())
    figure, axes = plt.subplots(len(rows), n, figsize=(8, 1.05 * len(rows) + 0.5), squeeze=False)
    for axis_row, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(axis_row, images[:n], strict=True):
            axis.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
            axis.axis("off")
        axis_row[0].text(-4, 16, name, ha="right", va="center", fontsize=12)
    title_of(figure, "The same images under each augmentation")
    return figure


@styled
def training_curves(runs: Sequence, smooth) -> Figure:
    """Training loss per step and validation accuracy of several networks; every seed thin, their median thick.

    Args:
        runs: records at one rate.
        smooth: ``compare.smooth``.
    """
    config = runs[0].config
    span, width = max(1, config.steps // 25), config.model_args.get("width", 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    for model in in_order(run.config.model for run in runs):
        mine = [run for run in runs if run.config.model == model]
        style = line_style(model)
        curves = [smooth(run.steps["loss"], span) for run in mine]
        for curve in curves:
            left.plot(curve, color=style["color"], linewidth=0.8, alpha=0.6)
        shortest = min(map(len, curves))
        left.plot(np.median([c[:shortest] for c in curves], axis=0), **style)
        points = [[(e["step"], 100 * e["validation_accuracy"]) for e in run.epochs] for run in mine if run.epochs]
        for series in points:
            right.plot(*zip(*series, strict=True), color=style["color"], linewidth=0.8, alpha=0.6, marker="o", ms=3)
        if points and len({len(series) for series in points}) == 1:
            right.plot(*np.median(points, axis=0).T, **style, marker="o", ms=5)
    steps_axis(left, right)
    left.axhline(LN10, color="#777777", linewidth=1, linestyle=":")
    left.annotate("ln 10: guessing", (0.98, LN10), xycoords=("axes fraction", "data"), ha="right", va="bottom", size=10)
    left.set(ylabel="training loss (nats)", title=f"loss of each batch, mean over {span} steps")
    right.set(ylabel="validation accuracy (%)", title="eval mode")
    legend(left, loc="lower left")
    seeds = len({run.config.seed for run in runs})
    thin = f"; thin: {seeds} seeds, thick: median" if seeds > 1 else "; one seed"
    what = "VGG-A with and without batch norm" if width == 1 else f"VGG-A ± BN, {width:g} of the width"
    title_of(figure, f"{what}, {config.optimizer} at rate {config.lr:g}{thin}")
    return figure


@styled
def family_curves(runs: Sequence) -> Figure:
    """Eval-mode loss of the VGG-A family on training images and on validation images."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharey=True)
    for model in in_order(run.config.model for run in runs):
        for run in (run for run in runs if run.config.model == model):
            for axis, part in zip(axes, ("train", "validation"), strict=True):
                steps, losses = [e["step"] for e in run.epochs], [e[f"{part}_loss"] for e in run.epochs]
                axis.plot(steps, losses, **line_style(model), marker="o", ms=4)
    steps_axis(*axes)
    axes[0].set(ylabel="loss in eval mode (nats)", title="on training images")
    axes[1].set(title="on validation images")
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low - 0.4 * (high - low), high)  # room for the legend below the curves
    legend(axes[0], loc="lower left", fontsize=10, ncols=2)
    title_of(figure, "The VGG-A family at the same rate, dropout switched off for the measurement")
    return figure


@styled
def hard_settings(runs: Sequence, smooth, span: int, title: str) -> Figure:
    """Training loss of both networks at each hard setting, against the loss of guessing; peaks above the cut in words.

    Args:
        runs: records of several (optimizer, rate) settings; smooth, span: as in ``training_curves``.
    """
    settings = list(dict.fromkeys((run.config.optimizer, run.config.lr) for run in runs))
    columns = min(2, len(settings))
    rows = -(-len(settings) // columns)
    size = (5 * columns if columns > 1 else 7, 3.3 * rows if rows > 1 else 4)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    for axis, setting in zip(axes.flat, settings, strict=False):
        for run in (run for run in runs if (run.config.optimizer, run.config.lr) == setting):
            (line,) = axis.plot(np.minimum(smooth(run.steps["loss"], span), CUT), **line_style(run.config.model))
            colour, peak = line.get_color(), max(filter(np.isfinite, run.steps["loss"]), default=0)
            if peak > CUT:
                place = (0.14, 0.95 - 0.1 * (run.config.model != "VGG_A"))
                axis.annotate(f"up to {rounded(peak)}", place, xycoords="axes fraction", color=colour, va="top")
            if run.diverged_at is not None:
                axis.plot(run.diverged_at, CUT, "x", color=colour, ms=9, mew=2.5)
        axis.axhline(LN10, color="#777777", linewidth=1, linestyle=":", label="ln 10: guessing")
        axis.set(title=f"{setting[0]}, rate {setting[1]:g}", ylim=(0, CUT + 0.15))
    steps_axis(*axes[-1])
    for unused in list(axes.flat)[len(settings) :]:
        unused.axis("off")
    for axis in axes[:, 0]:
        axis.set_ylabel(f"training loss (nats, cut at {CUT:g})")
    legend(axes.flat[0], fontsize=11)
    title_of(figure, title)
    return figure


@styled
def loss_gap(rows: list[dict], window: str) -> Figure:
    """Training loss with BN minus without, at every rate of ``compare.same_step_rows``; window: of steps, in words."""
    bars = []
    for row in rows:
        (both, every), name = row["by_seeds"], f"rate {row['rate']:g}"
        bars.append((name if both is every else f"{name}, both train", both, BLUE))
        bars += [("all seeds", every, COLOURS[6])] if both is not every else []
    figure, axis = plt.subplots(figsize=(8, 0.6 * len(bars) + 2.1))
    for y, (_, result, colour) in enumerate(bars):
        if result is None:
            axis.text(0, y, "  nothing to compare", va="center")
            continue
        axis.plot(result.values, [y] * len(result.values), "o", color=colour, ms=8, mfc="white", mew=1.8)
        if result.interval:
            axis.plot(result.interval, [y, y], color=colour, linewidth=2.5)
            axis.plot(result.mean, y, "|", color=colour, ms=20, mew=3)
    axis.axvline(0, color="#444444", linewidth=1.2)
    axis.margins(x=0.1)
    labels = [f"{name} (n = {len(result.values) if result else 0})" for name, result, _ in bars]
    axis.set_yticks(range(len(bars)), labels)
    axis.set_ylim(len(bars) - 0.4, -0.6)
    axis.set_xlabel("training loss with BN − without BN (nats); left of 0: BN is ahead")
    axis.set_title(f"{window}; circle: one seed, bar: mean with 95 % t interval", loc="left", fontsize=11)
    title_of(figure, _gap_title(rows))
    return figure


def _gap_title(rows: Sequence[Mapping]) -> str:
    """At how many rates batch norm is ahead, where both networks train and, if that differs, over all seeds."""

    def at(found: Iterable[Paired | None]) -> str:
        sides = [by_side(each, "ahead", "behind", "") for each in found]
        behind = f" (behind at {sides.count('behind')})" * ("behind" in sides)
        return f"at {sides.count('ahead')} of {len(sides)}{behind}"

    both, every = (at(found) for found in zip(*(row["by_seeds"] for row in rows), strict=True))
    return f"Batch norm is ahead {both} rates" + f" where both train,\n{every} over all seeds" * (both != every)
