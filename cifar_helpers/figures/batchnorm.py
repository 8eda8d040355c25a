"""Figures of notebook 10, why batch norm helps. Each takes what was measured, and draws."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from .style import COLOURS, DASHES, MARKERS, key_below, legend, styled, title_of

NORM_STYLES = {
    "no norm": ("#D55E00", "-"),
    "batch norm": ("#0072B2", (0, (6, 1.5))),
    "noisy batch norm": ("#56B4E9", (0, (3, 1))),
    "group norm": ("#009E73", (0, (5, 1, 1, 1))),
    "layer norm": ("#CC79A7", (0, (1, 1))),
    "ℓ1 norm": ("#E69F00", (0, (8, 2, 2, 2))),
    "ℓ2 norm": ("#7F7F7F", (0, (2, 2))),
    "ℓ∞ norm": ("#000000", (0, (4, 1, 1, 1, 1, 1))),
}
SHIFTS = {  # quantity of internal covariate shift → label of its axis, title
    "l2": ("‖G − G′‖₂ (log)", "Internal covariate shift: change of a layer's gradient when the layers below move"),
    "relative": ("‖G − G′‖₂ / ‖G‖₂ (log)", "Internal covariate shift, relative to the length of the gradient"),
    "cosine": ("cosine between G and G′", "Does the gradient keep its direction when the layers below move?"),
}
PASSES = 0.2  # validation accuracy above which a setting of the map counts as training


def _style(name: str) -> dict:
    colour, dash = NORM_STYLES[name]
    return {"color": colour, "linestyle": dash}


@styled
def norm_curves(found: Mapping[str, Sequence], smooth, span: int, title: str) -> Figure:
    """Training loss of each batch (median over seeds), and eval-mode validation loss at the end, under several norms.

    Args:
        found: norm → runs, one per seed; smooth: ``compare.smooth``, over ``span`` steps.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), width_ratios=(1.35, 1))
    for place, (name, runs) in enumerate(found.items()):
        whole, colour = [run for run in runs if run.diverged_at is None], NORM_STYLES[name][0]
        curves = [smooth(run.steps["loss"], span) for run in whole] or [[np.nan]]
        left.plot(np.median(curves, axis=0), **_style(name), label=name if whole else f"{name} (diverged)")
        ends = [run.epochs[-1]["validation_loss"] for run in whole]
        right.plot(ends, [place] * len(ends), "o", color=colour, mfc="white", ms=7, mew=1.6)
        if ends:
            right.plot(np.mean(ends), place, "|", color=colour, ms=20, mew=3)
    left.set(xlabel="step", ylabel="training loss (nats)", title=f"each batch, mean over {span} steps, median of seeds")
    right.set_yticks(range(len(found)), list(found))
    right.set(ylim=(len(found) - 0.5, -0.5), xlabel="validation loss (nats)")
    right.set_title("evaluation mode, at the end; bar: mean", fontsize=11)
    legend(left, fontsize=9.5, ncols=2, loc="upper right")
    title_of(figure, title)
    return figure


@styled
def covariate_shift(found: Mapping[str, Mapping[str, Sequence]], quantity: str) -> Figure:
    """One of ``SHIFTS`` along training, a panel per layer: layer → norm → one (steps, values) per seed."""
    label, title = SHIFTS[quantity]
    figure, axes = plt.subplots(1, len(found), figsize=(3.3 * len(found), 4.2), sharey=True, squeeze=False)
    for axis, (layer, networks) in zip(axes[0], found.items(), strict=True):
        for name, seeds in networks.items():
            for steps, values in seeds:
                axis.plot(steps, values, **_style(name), linewidth=0.7, alpha=0.6)
            steps = max((steps for steps, _ in seeds), key=len)  # a run that diverged has fewer
            padded = [[*values, *[np.nan] * (len(steps) - len(values))] for _, values in seeds]
            middle = np.ma.median(np.ma.masked_invalid(padded), axis=0).filled(np.nan)
            label_of = name if axis is axes[0][0] else None
            axis.plot(steps, middle, **_style(name), marker="o", ms=4, label=label_of)
        axis.set(xlabel="step", title=layer)
        if quantity == "cosine":
            axis.axhline(1, color="#777777", linewidth=1, linestyle=":")
        else:
            axis.set_yscale("log")
    axes[0][0].set_ylabel(label)
    figure.legend(loc="outside lower center", ncols=4, fontsize=11)
    key_below(figure, "thin: every seed; thick: their median")
    title_of(figure, title)
    return figure


@styled
def ridges(found: Mapping[str, Mapping[str, Sequence]]) -> Figure:
    """Distribution of the values before a channel's activation at several steps, one ridge per step.

    Every panel has an axis of its own, as wide as what it shows.

    Args:
        found: network → layer → (step, quantiles) pairs, the quantiles evenly spaced from the smallest value on.
    """
    layers = list(next(iter(found.values())))
    shape = {"figsize": (2.9 * len(layers), 3.2 * len(found)), "squeeze": False}
    figure, axes = plt.subplots(len(found), len(layers), **shape)
    for row, (name, by_layer) in zip(axes, found.items(), strict=True):
        for axis, layer in zip(row, layers, strict=True):
            ridges = by_layer[layer]
            ends = [np.interp((0.01, 0.99), np.linspace(0, 1, len(q)), q) for _, q in ridges]
            low, high = min(end[0] for end in ends), max(end[1] for end in ends)
            room = 0.08 * (high - low) or 1e-12
            edges = np.linspace(low - room, high + room, 61)
            for height, (_, quantiles) in enumerate(ridges):
                spread = np.asarray(quantiles) + np.linspace(0, 1e-9 * (room + abs(high)), len(quantiles))
                share = np.diff(np.interp(edges, spread, np.linspace(0, 1, len(spread)), left=0, right=1))
                density = np.convolve(share, [0.25, 0.5, 0.25], "same")
                density = density / max(density.max(), 1e-12) * 1.6
                shade = 0.25 + 0.7 * height / max(1, len(ridges) - 1)
                places, colour = (edges[1:] + edges[:-1]) / 2, _style(name)["color"]
                axis.fill_between(places, -height, density - height, color=colour, alpha=shade, lw=0.8, zorder=height)
            axis.set_yticks([-h for h in range(len(ridges))], [step for step, _ in ridges], fontsize=9)
            axis.grid(axis="y", visible=False)
            axis.set_title(f"{name}: {layer}", fontsize=11)
            axis.locator_params(axis="x", nbins=4)
        row[0].set_ylabel("step")
    for axis in axes[-1]:
        axis.set_xlabel("value before ReLU")
    title_of(figure, "What goes into one channel's activation along training (own scale in every panel)")
    return figure


@styled
def tolerance(found: Mapping[str, np.ndarray], rates: Sequence[float], scales: Sequence[float], steps: int) -> Figure:
    """Accuracy as colour over learning rate and initial scale, one panel per network.

    Args:
        found: network → (scales, rates) accuracies, 0 to 1; NaN where a run diverged. Above ``PASSES`` it trains.
    """
    figure, axes = plt.subplots(1, len(found), figsize=(5.6 * len(found), 4.4), sharey=True, squeeze=False)
    top = max(0.11, *(np.nan_to_num(values).max() for values in found.values()))
    for axis, (name, values) in zip(axes[0], found.items(), strict=True):
        percents, last = 100 * np.nan_to_num(values), axis is axes[0][-1]
        shown = np.where(np.isnan(values), "×", np.char.mod("%.0f", percents))
        ticks = {"xticklabels": [f"{rate:g}" for rate in rates], "yticklabels": [f"{scale:g}" for scale in scales]}
        style = {"cmap": "cividis", "vmin": 10, "vmax": 100 * top, "annot": shown, "fmt": "", "annot_kws": {"size": 10}}
        bar = {"cbar": last, "cbar_kws": {"label": "validation accuracy (%)"} if last else None}
        sns.heatmap(percents, ax=axis, **ticks, **style, **bar)
        axis.invert_yaxis()
        axis.grid(False)
        axis.tick_params(axis="y", labelrotation=0)
        axis.set(xlabel="learning rate", title=name)
    axes[0][0].set_ylabel("factor of the initial weights")
    counts = {name: int((np.nan_to_num(values) > PASSES).sum()) for name, values in found.items()}
    said = "; ".join(f"{name}: {count} of {found[name].size}" for name, count in counts.items())
    title_of(figure, f"Above {100 * PASSES:.0f} % after {steps} steps of SGD: {said} (×: diverged)")
    return figure


@styled
def weight_decay(found: Mapping[float, tuple[object, Mapping[int, float]]], smooth, span: int) -> Figure:
    """Filters, effective rate and loss under weight decays: strength → (run, {step: ‖w‖₂ over all convolutions})."""
    figure, axes = plt.subplots(1, 3, figsize=(11.5, 4.2))
    for number, (decay, (run, norms)) in enumerate(found.items()):
        style = {"color": COLOURS[number], "linestyle": DASHES[number]}
        steps, sizes = list(norms), np.array(list(norms.values()))
        points = style | {"marker": MARKERS[number], "mfc": "white"}
        axes[0].plot(steps, sizes, **points, label=f"weight decay {decay:g}")
        axes[1].plot(steps, 1e3 * run.config.lr / sizes**2, **points)
        axes[2].plot(smooth(run.steps["loss"], span), **style)
    axes[0].set(title="size of all filters", ylabel="‖w‖₂")
    axes[1].set(title="rate relative to the filters", ylabel="1000 · rate / ‖w‖₂²")
    axes[2].set(title=f"training loss, mean over {span} steps", ylabel="loss (nats)")
    for axis in axes:
        axis.set_xlabel("step")
    figure.legend(loc="outside lower center", ncols=3, fontsize=11)
    title_of(figure, "Batch norm and weight decay: filters, effective rate, loss")
    return figure


@styled
def batch_sizes(found: Mapping[tuple[str, int], Sequence[Mapping]], steps: Mapping[int, int], title: str) -> Figure:
    """Accuracy over the batch size, and what the switch to evaluation mode changes; each seed a marker.

    Args:
        found: (norm, batch size) → ``inside.shift.mode_gap`` of every seed; steps: batch size → steps trained.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.5), sharex=True)
    values = {left: lambda gap: 100 * gap["eval_accuracy"], right: lambda gap: gap["eval"] - gap["train"]}
    for number, name in enumerate(dict.fromkeys(name for name, _ in found)):
        sizes = [size for size in steps if (name, size) in found]
        for axis, value in values.items():
            for size in sizes:
                seeds = [value(gap) for gap in found[name, size]]
                axis.plot([size] * len(seeds), seeds, MARKERS[number], mfc="white", color=_style(name)["color"])
            middle = [np.median([value(gap) for gap in found[name, size]]) for size in sizes]
            axis.plot(sizes, middle, **_style(name), label=name)
    left.set(ylabel="validation accuracy (%)", title="evaluation mode; small batches took more steps")
    right.set(ylabel="loss, evaluation − training mode (nats)", title="what evaluation mode changes")
    right.axhline(0, color="#777777", linestyle=":", linewidth=1)
    right.annotate("evaluation is worse", (0.02, 0.97), xycoords="axes fraction", va="top", fontsize=10)
    right.annotate("evaluation is better", (0.98, 0.03), xycoords="axes fraction", ha="right", fontsize=10)
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_xticks(list(steps), [f"{size}\n{count:,} steps" for size, count in steps.items()])
        axis.minorticks_off()
        axis.set_xlabel("batch size (the rate in proportion to it)")
    legend(left, loc="lower left")
    title_of(figure, title)
    return figure


@styled
def later_explanations(growth: Mapping[str, Sequence], sharp: Mapping[str, Sequence], title: str) -> Figure:
    """How a layer's output grows after large steps, by depth; and sharpness times rate along gradient descent.

    Args:
        growth: norm → one list per seed, a value per convolution; sharp: norm → ``inside.explanations.sharpness``, one
            per seed.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4))
    for name, seeds in growth.items():
        depth = np.arange(1, len(seeds[0]) + 1)
        for values in seeds:
            left.plot(depth, values, **_style(name) | {"linewidth": 0.8}, alpha=0.6)
        left.plot(depth, np.median(seeds, axis=0), **_style(name), marker="o", ms=4, label=name)
    for name, seeds in sharp.items():
        for found in seeds:
            values = np.array(found["values"]) * found["rate"]
            right.plot(found["steps"], values, **_style(name) | {"linewidth": 1.2}, marker="o", ms=3)
    left.axhline(1, color="#777777", linestyle=":", linewidth=1)
    left.set(xlabel="convolution, from the image on", ylabel="spread of its output, after / before")
    left.set_title("six large steps: how much a layer's output grows", fontsize=11)
    right.axhline(2, color="black", linestyle=":", linewidth=1.4)
    right.annotate("2: edge of a parabola", (0.98, 2), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    right.set(xlabel="step of gradient descent", ylabel="sharpness · rate", ylim=(0, None))
    right.set_title("the same images at every step; one seed", fontsize=11)
    legend(left)
    key_below(figure, "left: thin: every seed, thick: their median")
    title_of(figure, title)
    return figure
