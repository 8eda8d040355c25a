"""One style, one function per figure, one ``save``.

A figure function takes records or arrays and returns the figure; it trains nothing and measures nothing.
"""

import functools
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import words
from .env import figures_dir, git_revision, write_atomically

STYLE = {
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "cifar-helpers",
    "svg.fonttype": "none",
}
# Okabe–Ito colours; every network keeps its colour, dash and place in the legend in all figures.
NETWORKS = {
    "VGG_A": ("VGG-A", "#D55E00", "-"),
    "VGG_A_BatchNorm": ("VGG-A + BN", "#0072B2", (0, (6, 1.5))),
    "VGG_A_Dropout": ("VGG-A + dropout", "#CC79A7", (0, (3, 1))),
    "VGG_A_BatchNorm_Dropout": ("VGG-A + BN + dropout", "#009E73", (0, (5, 1, 1, 1))),
    "VGG_A_Light": ("VGG-A Light", "#7F7F7F", (0, (1, 1))),
}
CHANNELS = (("red", "#D55E00", "-"), ("green", "#009E73", (0, (5, 1.5))), ("blue", "#0072B2", (0, (1, 1))))
LN10 = float(np.log(10))


def styled(function):
    """Draw in the course's style without changing the reader's own matplotlib settings."""

    @functools.wraps(function)
    def styled(*args, **kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            figure = function(*args, **kwargs)
            interactive = mpl.is_interactive()
        # A notebook's backend switches this on at the first figure; the context would take it back, and with it the
        # display of every later figure.
        mpl.interactive(interactive)
        return figure

    return styled


def network_name(model: str) -> str:
    """Name of a model class as the figures write it."""
    return NETWORKS[model][0] if model in NETWORKS else model


def line_style(model: str) -> dict:
    """Label, colour and dash of a network, for a matplotlib line."""
    name, colour, dash = NETWORKS.get(model, (model, "#000000", "-"))
    return {"label": name, "color": colour, "linestyle": dash}


def in_order(models) -> list[str]:
    """Model classes in the order of every legend."""
    known = list(NETWORKS)
    return sorted(set(models), key=lambda m: (known.index(m) if m in known else len(known), m))


def title_of(figure: Figure, text: str) -> None:
    """Write a figure's title: what is compared."""
    figure.suptitle(text, fontsize=14, fontweight="bold", x=0.01, ha="left")


def steps_axis(*axes) -> None:
    """Label x axes that count training steps."""
    for axis in axes:
        axis.set_xlabel("training step")
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def legend(axis, **options) -> None:
    """Add a legend that stays readable over curves."""
    axis.legend(**{"loc": "best", "frameon": True, "framealpha": 0.85, "edgecolor": "none"} | options)


# --- Saving --------------------------------------------------------------------------------------------------------


def save(figure: Figure, name: str, caption: str, data, profile: str, runs: Sequence = (), private: bool = False):
    """Write PNG, SVG and a JSON of provenance to the profile's local figures, with a foot that says what it is made of.

    The profile ``smoke``, which is never published, goes without SVG.

    Args:
        name: file name without suffix; begins with the notebook's number.
        caption: one sentence for the report, also the alternative text.
        data: the ``ImageData`` used.
        profile: the profile that was run.
        runs: records shown.
        private: the figure reproduces images of the data set: it stays local and is never published.

    Raises:
        CourseError: the folder cannot be written.
    """
    made_from = provenance(data, profile, runs)
    _fix_legends(figure)
    figure.text(0.995, -0.01, foot(made_from), ha="right", va="top", fontsize=9, color="#444444")
    if data.label == "SYNTHETIC":
        stamp(figure)
    folder = figures_dir(profile)
    options = {"bbox_inches": "tight", "pad_inches": 0.12}
    with mpl.rc_context(STYLE):
        write_atomically(folder / f"{name}.png", lambda path: figure.savefig(path, dpi=150, **options))
        if not private and profile != "smoke":  # which is never published
            write_atomically(
                folder / f"{name}.svg", lambda path: figure.savefig(path, metadata={"Date": None}, **options)
            )
    entry = {"kind": "figure", "name": name, "caption": caption, "private": private} | made_from
    write_atomically(folder / f"{name}.json", json.dumps(entry, indent=1))


def stamp(figure: Figure) -> None:
    """Mark a figure that is made from the synthetic stand-in."""
    style = {"rotation": 22, "ha": "center", "va": "center", "color": "#B00020", "alpha": 0.22}
    figure.text(0.5, 0.5, "SYNTHETIC", fontsize=64, fontweight="bold", zorder=10, **style)


def _fix_legends(figure: Figure) -> None:
    """Keep a figure's own legends where they are: a tight bounding box would move them onto the foot."""
    if figure.legends:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it would give the legend's room to the axes
        for legend in figure.legends:
            place = legend.get_window_extent().transformed(figure.transFigure.inverted())
            legend.set_loc("lower left")
            legend.set_bbox_to_anchor((place.x0, place.y0, place.width, place.height), figure.transFigure)


def save_table(rows: list[dict], name: str, caption: str, data, profile: str, runs: Sequence = ()):
    """Write a table with its provenance beside the figures, for the report.

    Args:
        rows: one dict per row, all with the same columns. The numbers of ``words.Cell``s are saved too, as ``numbers``:
            row by row, column → numbers. The other arguments are those of ``save``.

    Returns:
        The table as a ``pandas.DataFrame``, for the notebook to show.
    """
    import pandas as pd

    if data.label != "CIFAR-10":
        caption = f"{caption} [{data.label}]"
    found, rows = words.numbers(rows), words.shown(rows)
    entry = {"kind": "table", "name": name, "caption": caption, "rows": rows, "private": False}
    entry |= {"numbers": found} if found else {}
    entry |= provenance(data, profile, runs)
    write_atomically(figures_dir(profile) / f"{name}.json", json.dumps(entry, indent=1))
    left = [{"selector": "th, td", "props": "text-align: left; vertical-align: top"}]
    return pd.DataFrame(rows).style.hide(axis="index").set_caption(caption).set_table_styles(left)


def provenance(data, profile: str, runs: Sequence) -> dict:
    """What a figure is made of, JSON-ready: run keys, data, devices, precisions, versions, revisions, time."""
    made = [run.provenance for run in runs]
    machines = [p["machine"] for p in made]
    return {
        "profile": profile,
        "data_label": data.label,
        "data_fingerprint": data.fingerprint,
        "runs": {p["key"]: run.config.describe() for p, run in zip(made, runs, strict=True)},
        "probes": sorted({probe.name for run in runs for probe in run.probes}),
        "seeds": sorted({run.config.seed for run in runs}),
        "devices": sorted({m.get("gpu") or m["cpu"] for m in machines}),
        "precision": sorted({p["precision"] for p in made}),
        "torch": sorted({m["torch"] for m in machines}),
        "run_revisions": sorted({m["git_revision"] for m in machines}),
        "git_revision": git_revision(),
        "made": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def foot(made_from: dict) -> str:
    """The line under a figure: data, profile, runs and seeds, precision, a key to find the records by."""
    parts = [made_from["data_label"], f"profile {made_from['profile']}"]
    if made_from["runs"]:
        runs, seeds = len(made_from["runs"]), len(made_from["seeds"])
        parts.append(f"{runs} run{'s' * (runs > 1)}, {seeds} seed{'s' * (seeds > 1)}")
        parts.append("/".join(made_from["precision"]))
        parts.append("key " + min(made_from["runs"])[:8] + (f" and {runs - 1} more" if runs > 1 else ""))
    return " · ".join(parts)


# --- 01: data ------------------------------------------------------------------------------------------------------


@styled
def sample_grid(images, labels, classes: Sequence[str], per_class: int = 10) -> Figure:
    """Ten random-looking but fixed images of each class, one class per row.

    Args:
        images, labels: (n, 3, 32, 32) uint8 and (n,) tensors.
    """
    figure, axes = plt.subplots(len(classes), per_class, figsize=(8, 8.4))
    for row, name in enumerate(classes):
        members = (labels == row).nonzero().squeeze(1)[:per_class]
        for column in range(per_class):
            axis = axes[row, column]
            axis.axis("off")
            if column < len(members):
                axis.imshow(images[members[column]].permute(1, 2, 0).numpy())
        axes[row, 0].text(-6, 16, name, ha="right", va="center", fontsize=12)
    title_of(figure, f"{per_class} training images of each class")
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
    axis.set_ylim(0, 1.6 * top)  # the peaks at 0 and 1 (clipped pixels) would flatten the rest
    axis.legend(loc="upper right")
    title_of(figure, "Pixel values of the training images, by colour channel")
    return figure


@styled
def class_counts(splits: dict, classes: Sequence[str]) -> Figure:
    """Number of images of each class in each split.

    Args:
        splits: name → labels tensor.
    """
    figure, axis = plt.subplots(figsize=(8, 3.6))
    width = 0.8 / len(splits)
    colours = sns.color_palette("colorblind", len(splits))
    for i, (name, labels) in enumerate(splits.items()):
        counts = labels.bincount(minlength=len(classes)).numpy()
        position = np.arange(len(classes)) + (i - (len(splits) - 1) / 2) * width
        axis.bar(position, counts, width, label=f"{name}: {len(labels)}", color=colours[i])
    axis.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    axis.grid(axis="x", visible=False)
    axis.set(ylabel="images")
    axis.set_ylim(0, axis.get_ylim()[1] * 1.2)
    axis.legend(ncols=len(splits), loc="upper right")
    title_of(figure, "Images per class in the three splits")
    return figure


@styled
def augmentation_grid(rows: dict) -> Figure:
    """The same images under several augmentations, one augmentation per row.

    Args:
        rows: name → images (n, 3, 32, 32) float in [0, 1].
    """
    n = min(len(images) for images in rows.values())
    figure, axes = plt.subplots(len(rows), n, figsize=(8, 1.05 * len(rows) + 0.5), squeeze=False)
    for axis_row, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(axis_row, images[:n], strict=True):
            axis.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
            axis.axis("off")
        axis_row[0].text(-4, 16, name, ha="right", va="center", fontsize=12)
    title_of(figure, "The same images under each augmentation")
    return figure


# --- 04: comparison ------------------------------------------------------------------------------------------------


@styled
def training_curves(runs: Sequence, smooth, span: int) -> Figure:
    """Training loss per step and validation accuracy of several networks; every seed thin, their median thick.

    Args:
        runs: records at one rate.
        smooth: ``compare.smooth``; span: steps averaged in the left panel.
    """
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
    rate, seeds = runs[0].config.lr, len({run.config.seed for run in runs})
    thin = f"; thin: {seeds} seeds, thick: median" if seeds > 1 else "; one seed"
    title_of(figure, f"VGG-A with and without batch norm, {runs[0].config.optimizer} at rate {rate:g}{thin}")
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
def hard_settings(runs: Sequence, smooth, span: int) -> Figure:
    """Training loss of both networks at each hard setting, against the loss of guessing.

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
            curve = smooth(run.steps["loss"], span)
            axis.plot(np.where(curve > 4, np.nan, curve), **line_style(run.config.model))
            if run.diverged_at is not None:
                axis.plot(run.diverged_at, 4.0, "x", color=line_style(run.config.model)["color"], ms=9, mew=2.5)
        axis.axhline(LN10, color="#777777", linewidth=1, linestyle=":", label="ln 10: guessing")
        axis.set(title=f"{setting[0]}, rate {setting[1]:g}", ylim=(0, 4.15))
    steps_axis(*axes[-1])
    for unused in list(axes.flat)[len(settings) :]:
        unused.axis("off")
    for axis in axes[:, 0]:
        axis.set_ylabel("training loss (nats, up to 4)")
    legend(axes.flat[0], fontsize=11)
    title_of(figure, "Settings at which plain VGG-A may fail: does batch norm help?")
    return figure


@styled
def loss_gap(rows: list[dict], window: str) -> Figure:
    """Difference in training loss at the same step, with BN minus without, at every rate.

    Args:
        rows: as ``compare.same_step_rows`` returns them; window: the steps compared, in words.
    """
    figure, axis = plt.subplots(figsize=(8, 0.75 * len(rows) + 1.9))
    colour = NETWORKS["VGG_A_BatchNorm"][1]
    for y, row in enumerate(rows):
        result = row["paired"]
        if result is None:
            axis.text(0, y, "  diverged: not compared", va="center")
            continue
        axis.plot(result.values, [y] * len(result.values), "o", color=colour, ms=8, mfc="white", mew=1.8)
        if result.interval:
            axis.plot(result.interval, [y, y], color=colour, linewidth=2.5)
            axis.plot(result.mean, y, "|", color=colour, ms=20, mew=3)
    axis.axvline(0, color="#444444", linewidth=1.2)
    low, high = axis.get_xlim()
    axis.set_xlim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    axis.set_yticks(
        range(len(rows)),
        [f"rate {row['rate']:g} (n = {len(row['paired'].values) if row['paired'] else 0})" for row in rows],
    )
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlabel("training loss with BN − without BN (nats); left of 0: BN is ahead")
    axis.set_title(f"{window}; circle: one seed, bar: mean with 95 % t interval", loc="left", fontsize=11)
    title_of(figure, "Who is ahead in training loss at the same step?")
    return figure
