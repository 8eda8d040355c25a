"""Figures of the first part: sweeps, weights, mistakes, costs. Each takes what was read from records, and draws."""

import re
from collections.abc import Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .style import COLOURS, DASHES, FIXED, LN10, MARKERS, key_below, label_of, legend, styled, title_of


def phrase(factor: str, value: str) -> str:
    """A variant's value where it has to say what it is: ``batch size 4`` rather than ``4``, ``no penalty``."""
    if re.fullmatch(r"[\d.e+-]+", value):
        return f"{factor} {value}"
    whole = {"none": f"no {factor}", "without": f"without {factor}", "default": f"default {factor}"}
    return whole.get(value, label_of(value))


def _in_legend(found, value: str) -> str:
    """A second factor's value; a bare number with what it is."""
    return phrase(found.factors[1], value) if re.match(r"[\d.]", value) else label_of(value)


def phrased(found):
    """A ``ranking.Ranked`` whose variants go by quoted names that can stand in a sentence."""
    named = [" · ".join(map(phrase, found.factors, outcome.variant)) for outcome in found]
    outcomes = [replace(outcome, variant=(f"“{name}”",)) for outcome, name in zip(found, named, strict=True)]
    return replace(found, outcomes=tuple(outcomes))


@styled
def sweep_dots(found) -> Figure:
    """Validation accuracy in a ``ranking.Ranked``: each seed a marker, their mean a bar; a second factor by colour."""
    first = list(dict.fromkeys(o.variant[0] for o in found))
    second = list(dict.fromkeys(o.variant[1] for o in found)) if len(found.factors) == 2 else [None]
    figure, axis = plt.subplots(figsize=(8, 0.38 * len(found.outcomes) + 0.25 * len(first) + 1.7))
    height = 0.75 / len(second)
    for o in found:
        group = second.index(o.variant[1]) if len(second) > 1 else 0
        y = first.index(o.variant[0]) + (group - (len(second) - 1) / 2) * height
        colour, marker = FIXED.get(o.variant[-1], COLOURS[group]), MARKERS[group]
        values = 100 * np.asarray(o.scores)
        if np.isfinite(values).all():
            style = {"ms": 8, "mfc": "white", "mew": 1.6}
            for value, idle in zip(values, o.stuck, strict=True):
                axis.plot(value, y, marker, **style, color="#999999" if idle else colour)
            if not all(o.stuck):
                axis.plot([100 * o.mean] * 2, [y - 0.38 * height, y + 0.38 * height], color=colour, linewidth=3)
        else:
            place = axis.get_yaxis_transform()
            axis.text(0.02, y, f"× {o.verdict}", transform=place, va="center", color=colour, size=10)
    for group, name in enumerate(second):
        if name is not None:
            colour = FIXED.get(name, COLOURS[group])
            axis.plot([], [], MARKERS[group], mfc="white", mew=1.6, color=colour, label=_in_legend(found, name))
    scores = [100 * s for o in found for s in o.scores if np.isfinite(s)]
    guessing = not scores or min(scores) < 20
    if guessing:
        axis.axvline(10, color="#777777", linestyle=":", linewidth=1)
    for y in range(len(first) - 1):
        axis.axhline(y + 0.5, color="#DDDDDD", linewidth=0.8, zorder=0)
    axis.set_yticks(range(len(first)), [label_of(name) for name in first])
    axis.set_ylim(len(first) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    seeds = max(len(o.runs) for o in found)
    idle = any(any(o.stuck) for o in found)
    mean = "mean of the others" if idle else "their mean"
    shown = f"marker: one of {seeds} seeds, bar: {mean}" if seeds > 1 else "one seed"
    shown += "; grey: at chance" * idle
    axis.set_title(shown + ("; dotted: guessing" if guessing else ""), loc="left", fontsize=11)
    axis.set_xlabel("validation accuracy (%)")
    axis.set_ylabel(found.factors[0])
    if len(second) > 1:
        figure.legend(loc="outside lower center", ncols=min(4, len(second)), fontsize=11)
    title_of(figure, found.title)
    return figure


@styled
def sweep_over_scale(found) -> Figure:
    """Validation accuracy over a number that is varied, such as the rate: each seed a marker, a line through the means.

    Args:
        found: a ``ranking.Ranked``; its first factor's values are numbers, a second factor goes by colour.
    """
    figure, axis = plt.subplots(figsize=(8, 4.6))
    second = list(dict.fromkeys(o.variant[1:] for o in found))
    for number, rest in enumerate(second):
        mine = sorted((o for o in found if o.variant[1:] == rest), key=lambda o: float(o.variant[0]))
        name = " · ".join(map(label_of, rest))
        colour, place = FIXED.get(name, COLOURS[number]), [float(o.variant[0]) for o in mine]
        axis.plot(place, [100 * o.mean for o in mine], c=colour, ls=DASHES[number % len(DASHES)], label=name or None)
        for x, o in zip(place, mine, strict=True):
            seeds = [100 * s if np.isfinite(s) else 10.0 for s in o.scores]  # what diverged only guesses
            axis.plot([x] * len(seeds), seeds, MARKERS[number], mfc="white", mew=1.6, ms=7, color=colour)
    axis.axhline(10, color="#777777", linestyle=":", linewidth=1)
    axis.annotate("guessing", (0.4, 10), xycoords=("axes fraction", "data"), va="bottom", size=10)
    axis.set(xscale="log", xlabel=f"{found.factors[0]}, log", ylabel="validation accuracy (%)", ylim=(5, None))
    if len(second) > 1:
        legend(axis, loc="lower center")
    title_of(figure, found.title)
    return figure


@styled
def sweep_curves(found, span: int, smooth) -> Figure:
    """Training loss by step and eval-mode loss on validation images by epoch; seeds thin, their median thick.

    Args:
        found: a ``ranking.Ranked``; smooth: ``compare.smooth``, over ``span`` steps.
    """
    several = any(len(run.epochs) > 2 for o in found for run in o.runs)  # else no curve, but a number in the legend
    size = (10.5, 4.4) if several else (8, 4.8)
    figure, axes = plt.subplots(1, 1 + several, figsize=size, sharex=True, squeeze=False)
    left, right = axes[0][0], axes[0][-1]
    for number, o in enumerate(found):
        style = {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}
        label = " · ".join(label_of(value) for value in o.variant)
        whole = [run for run in o.runs if run.diverged_at is None and run.epochs]
        epoch = [run.epochs[-1]["epoch"] / run.epochs[-1]["step"] for run in whole]
        curves = [smooth(run.steps["loss"], span) for run in whole]
        validation = [[(e["epoch"], e["validation_loss"]) for e in run.epochs] for run in whole]
        if whole and not several:
            label += f"; validation images: {np.median([points[-1][1] for points in validation]):.2f} at the end"
        for curve, per_step, points in zip(curves, epoch, validation, strict=True):
            thin = style | {"linewidth": 0.7, "alpha": 0.5}
            left.plot(np.arange(len(curve)) * per_step, curve, **thin, marker="o" if len(curve) == 1 else "")
            if several:
                right.plot(*np.transpose(points), **thin)
        if whole:
            left.plot(np.arange(len(curves[0])) * epoch[0], np.median(curves, axis=0), **style, label=label)
        else:
            left.plot([], [], **style, label=f"{label}: {o.verdict}")
        if whole and several:
            right.plot(*np.median(validation, axis=0).T, **style, marker=MARKERS[number % len(MARKERS)], ms=5)
    for axis in axes.flat:
        label = "ln 10: guessing" if axis is left else None  # in the legend: beside its line a curve may run
        axis.axhline(LN10, color="#777777", linewidth=1, linestyle=":", label=label)
        axis.set_xlabel("epoch")
    if several:
        right.set(title="validation images, eval mode", ylabel="cross-entropy (nats)")
    left.set(ylabel="training loss (nats)", title=f"loss of each batch, mean over {span} steps")
    if any(len(o.runs) > 1 for o in found):
        key_below(figure, "thin: every seed; thick: their median")
    figure.legend(loc="outside lower center", ncols=3 if several else 1, fontsize=11)
    title_of(figure, found.title)
    return figure


@styled
def greedy_steps(rows: Sequence[dict]) -> Figure:
    """The greedy tuning: every option tried with its accuracy, step by step, the chosen one filled."""
    rows = [row | {"y": 100 * (row["accuracy"] or 0.0)} for row in rows]
    steps = list(dict.fromkeys(row["step"] for row in rows))
    apart = max(0.5, 0.065 * np.ptp([row["y"] for row in rows]))  # the height of a label
    figure, axis = plt.subplots(figsize=(8, 4.2))
    for x, step in enumerate(steps):
        mine = [row for row in rows if row["step"] == step]
        labels: dict[float, str] = {}
        for row in sorted(mine, key=lambda row: row["chosen"]):  # the chosen one on top
            inside = COLOURS[0] if row["chosen"] else "white"
            axis.plot(x, row["y"], "o", ms=10, color=COLOURS[0], mfc=inside, mew=1.8)
        for row in mine:
            y = row["y"]
            text = f"{row['option']}: {'diverged' if row['accuracy'] is None else format(y, '.1f')}"
            labels[y] = f"{labels[y]}\ntied: {text}" if y in labels else text
        top = float("-inf")
        for y, text in sorted(labels.items()):  # each option has a label of its own, in the order of the dots
            lines = 1 + text.count("\n")
            place = max(y, top + apart * (1 + lines) / 2)
            top = place + apart * (lines - 1) / 2
            style = {"boxstyle": "square,pad=0.05", "facecolor": "white", "edgecolor": "none"}
            axis.annotate(text, (x, place), (9, 0), textcoords="offset points", va="center", size=11, bbox=style)
    chosen = [row["y"] for row in rows if row["chosen"]]
    axis.plot(range(len(steps)), chosen, color=COLOURS[0], linewidth=1, alpha=0.6, zorder=0)
    axis.axhline(10, color="#777777", linestyle=":", linewidth=1)
    axis.set_xticks(range(len(steps)), steps)
    axis.set_xlim(-0.3, len(steps) - 0.3)
    axis.set_ylabel("validation accuracy (%)")
    axis.set_xlabel("what is chosen; filled: kept for all later steps")
    title_of(figure, "AlexNet tuned one setting at a time, on validation images")
    return figure


@styled
def weight_histograms(summaries: dict, value_range: float) -> Figure:
    """Weights by layer: penalty → ``features.weight_summary`` of one run; value_range: half the width shown."""
    first, *rest = summaries  # no penalty, shown grey behind every pair
    pairs = [rest[i : i + 2] for i in range(0, len(rest), 2)] or [[]]
    layers = [row["layer"] for row in summaries[first]]
    size = (2.1 * len(layers), 2.0 * len(pairs) + 0.8)
    figure, axes = plt.subplots(len(pairs), len(layers), figsize=size, sharex=True, sharey=True, squeeze=False)
    for row, pair in zip(axes, pairs, strict=True):
        for number, axis in enumerate(row):
            for i, name in enumerate([first, *pair]):
                counts = np.asarray(summaries[name][number]["counts"])
                edges = np.linspace(-value_range, value_range, len(counts) + 1)
                line = {"color": COLOURS[name.startswith("L1")], "linewidth": 1.8}
                look = line if i else {"color": "#C8C8C8", "fill": True}
                axis.stairs(100 * counts / counts.sum(), edges, label=name, **look)
        row[0].set_ylabel("weights (%), log")
        row[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=10, frameon=False)
    for axis, layer in zip(axes[0], layers, strict=True):
        axis.set(yscale="log", ylim=(0.02, 110), title=layer)
    for axis in axes[-1]:
        axis.set_xlabel("weight")
    title_of(figure, "Weights of each layer of LeNet-5 under L2 and L1, at the end of training")
    return figure


@styled
def depth_costs(rows: Sequence[dict]) -> Figure:
    """Parameters of ``timing.depth_times``' ResNets, and seconds per step and operations relative to the first."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    names = [row["model"].removeprefix("resnet") for row in rows]
    left.bar(names, [row["parameters"] / 1e6 for row in rows], color=COLOURS[5])
    left.set(ylabel="parameters (millions)", title="size")
    ours = [row["seconds_per_step"] / rows[0]["seconds_per_step"] for row in rows]
    flops = [row["flops"] / rows[0]["flops"] for row in rows]
    seconds = rows[0]["seconds_per_step"]
    first = f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
    right.plot(names, ours, "o-", color=COLOURS[0], label=f"time of a step here ({first} for the first)")
    right.plot(names, flops, "^:", color=COLOURS[2], label="operations of a forward pass")
    right.set(ylabel="times that of ResNet-18", title="cost", ylim=(0, None))
    for axis in (left, right):
        axis.set_xlabel("depth (layers with weights)")
    legend(right, loc="upper left", fontsize=10)
    title_of(figure, f"What depth costs: ResNets for 32×32 images, batch {rows[0]['batch_size']}")
    return figure


@styled
def confusion_matrix(counts: np.ndarray, classes: Sequence[str], network: str) -> Figure:
    """Heat map of (true, predicted) counts, (classes, classes), in percent of the true class."""
    import seaborn as sns  # brings pandas, which takes a second to import

    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axis = plt.subplots(figsize=(8, 6.6))
    style = {"cmap": "cividis", "annot": True, "fmt": ".0f", "square": True, "linewidths": 0.5}
    sns.heatmap(share, ax=axis, xticklabels=classes, yticklabels=classes, cbar_kws={"label": "% of the class"}, **style)
    axis.set(xlabel="predicted class", ylabel="true class")
    axis.set_xticks(axis.get_xticks(), classes, rotation=40, ha="right", rotation_mode="anchor")
    axis.grid(False)
    title_of(figure, f"{network}: what is taken for what (validation images, %)")
    return figure


@styled
def mistakes(found: Sequence[dict], classes: Sequence[str], network: str) -> Figure:
    """The most confident mistakes (``inside.mistakes``): image, prediction with its probability, truth."""
    columns = 6
    rows = max(1, -(-len(found) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(10, 2.2 * rows + 0.6), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, one in zip(axes.flat, found, strict=False):
        axis.imshow(one["image"].permute(1, 2, 0).numpy())
        title = f"{classes[one['predicted']]} {one['probability']:.0%}\ntruth: {classes[one['true']]}"
        axis.set_title(title, fontsize=10)
    title_of(figure, f"{network}: wrong and sure of it (validation images)")
    return figure


@styled
def toy_curves(found: dict) -> Figure:
    """Validation accuracy by epoch, variant → ``inside.toys.accuracies``; every seed thin, their median thick."""
    figure, axis = plt.subplots(figsize=(8, 4.4))
    for number, (name, seeds) in enumerate(found.items()):
        style = {"color": COLOURS[number], "linestyle": DASHES[number % len(DASHES)]}
        epochs = np.arange(1, len(seeds[0]) + 1)
        for values in seeds:
            axis.plot(epochs, 100 * np.asarray(values), **style | {"linewidth": 0.7, "alpha": 0.5})
        median = 100 * np.median(seeds, axis=0)
        axis.plot(epochs, median, **style, marker=MARKERS[number], ms=4 if len(epochs) > 1 else 8, label=name)
    axis.set(xlabel="epoch", ylabel="validation accuracy (%)", xlim=(0, None))
    axis.locator_params(axis="x", integer=True)
    figure.legend(loc="outside lower center", ncols=3, fontsize=11)
    title_of(figure, "Small networks on drawn points: activation, depth, initialisation, rate")
    return figure
