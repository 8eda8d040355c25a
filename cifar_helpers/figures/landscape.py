"""Figures of the loss landscape: bands of the handout's proxy and of the direct probe, comparisons, controls.

A function takes records or arrays and returns the figure; it trains nothing and measures nothing.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, StrMethodFormatter

from .style import NETWORKS, cut_at, in_order, key_below, legend, line_style, steps_axis, styled, title_of

CONTROLS = {  # condition → (legend, colour, line style, marker)
    "dense": ("dense grid", None, "-", ""),
    "grid": ("the conclusions' grid", "#000000", None, "o"),
    "noise": ("another batch, same weights", "#666666", (0, (8, 2)), ""),
    "start": ("L(w), at η = 0", "#E69F00", (0, (1, 2)), ""),
    "eval": ("eval mode", "#009E73", (0, (4, 2)), "s"),
    "random": ("random direction", "#CC79A7", None, "^"),  # no line: it would hide L(w)
}


def mark_idle(axis, idle: Mapping | None) -> None:
    """Mark above a panel where networks are not training: model → (n,) share of its runs, the height of its strip."""
    shares = {model: np.asarray(idle[model]) for model in in_order(idle or {}) if np.any(idle[model])}
    for row, (model, share) in enumerate(shares.items()):
        bottom = 1.01 + 0.035 * row
        begins = np.r_[0, np.flatnonzero(np.diff(share)) + 1]  # not a corner for each of 15 000 steps
        edges, heights = np.r_[begins, len(share)] - 0.5, bottom + 0.03 * share[begins]
        patch = {"transform": axis.get_xaxis_transform(), "color": line_style(model)["color"], "linewidth": 0}
        axis.stairs(heights, edges, baseline=bottom, fill=True, clip_on=False, **patch)
    if shares:
        note = {"transform": axis.transAxes, "ha": "right", "va": "bottom", "fontsize": 8.5, "color": "#444444"}
        axis.text(1, 1.01 + 0.035 * len(shares), "strip: not training", **note)
        axis.set_title(axis.get_title(), pad=15 + 9 * len(shares), fontsize=axis.title.get_fontsize())


class _Plain(LogFormatter):
    def __call__(self, x, pos=None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""  # 0.6, not 6e-01


def _log_y(axis) -> None:
    """Logarithmic y axis with plain numbers."""
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(_Plain(minor_thresholds=(1.3, 0.6)))


def _draw_band(axis, band, style: dict, span: int, smooth, thin: bool = True) -> None:
    low, high = smooth(band.min_curve, span), smooth(band.max_curve, span)
    axis.fill_between(band.steps, low, high, color=style["color"], alpha=0.28, linewidth=0, label=style["label"])
    for edge in (low, high):
        axis.plot(band.steps, edge, color=style["color"], linestyle=style["linestyle"], linewidth=1.4)
    if thin:
        for curve in band.curves:
            axis.plot(band.steps, smooth(curve, span), color=style["color"], linewidth=0.7, alpha=0.7)


@styled
def bands(
    panels: Mapping,
    ylabel: str,
    title: str,
    span: int | Mapping[str, int],
    smooth,
    sharey: bool = False,
    sharex: bool = True,
    idle: Mapping | None = None,
    log: bool = True,
    top: float | None = None,
) -> Figure:
    """Band of a quantity over several runs for several networks, one panel per choice.

    The envelope is taken at every step and then averaged; thin lines are the runs.

    Args:
        panels: panel title → {model: ``quantities.Band``}; more than three panels stand in two rows.
        span: values averaged (1 draws everything raw), one number or one per panel; smooth: ``compare.smooth``.
        sharey, sharex: the same scale in all panels.
        idle: panel title → {model: share of its runs that are not training, at every step}.
        log: logarithmic y axis; top: its upper end.
    """
    rows = 1 if len(panels) < 4 else 2
    columns = -(-len(panels) // rows)
    size = ((0, 8, 10, 11.5)[columns], 4.4 if rows == 1 else 3.3 * rows)  # at half size three panels can be read
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=sharex, sharey=sharey, squeeze=False)
    for axis, (panel, networks) in zip(axes.flat, panels.items(), strict=False):
        for model in in_order(networks):
            averaged = span[panel] if isinstance(span, Mapping) else span
            _draw_band(axis, networks[model], line_style(model), averaged, smooth, thin=len(panels) < 3)
        axis.set_title(panel, fontsize=11 if columns > 2 else 12)
        if log:
            _log_y(axis)
    first = axes.flat[0]
    low, high = first.get_ylim()
    room = high * (3 if rows == 1 else 6) if log else high + 0.25 * (high - low)
    if top:
        cut_at(first, top)
    else:
        first.set_ylim(top=room)  # for the legend above the bands
    for axis, panel in zip(axes.flat, panels, strict=False):
        mark_idle(axis, (idle or {}).get(panel))
    for axis in axes.flat if not sharex else axes[-1]:
        steps_axis(axis)
    for axis in axes[:, 0]:
        axis.set_ylabel(ylabel)
    legend(first, loc="upper right", ncols=2)
    title_of(figure, title)
    return figure


@styled
def loss_landscape(networks: Mapping, rates: Sequence[float], smooth, span: int, title: str, idle=None) -> Figure:
    """The handout's loss landscape: band of the training loss over the rates, and the width of that band.

    Args:
        networks: model → ``quantities.Band`` of the loss, one curve per rate, one seed.
        rates: the rates of the band; smooth, span: averaging of all lines; the filled band is every step's.
        idle: model → share of its runs that are not training, at every step.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), width_ratios=(3, 2))
    for model in in_order(networks):
        band, style = networks[model], line_style(model)
        left.fill_between(band.steps, band.min_curve, band.max_curve, color=style["color"], alpha=0.22, linewidth=0)
        for edge, label in ((band.min_curve, style["label"]), (band.max_curve, "")):
            left.plot(band.steps, smooth(edge, span), **style | {"label": label, "linewidth": 1.6})
        right.plot(band.steps, smooth(band.max_curve - band.min_curve, span), **style)
    steps_axis(left, right)
    shown = ", ".join(f"{rate:g}" for rate in rates)
    left.set(ylabel="training loss (nats)", title=f"lowest to highest loss over Adam at {shown}")
    right.set(ylabel="max − min (nats)", title=f"width of the band, mean over {span} steps", ylim=(0, None))
    cut_at(left, 4)
    for axis in (left, right):
        mark_idle(axis, idle)
        axis.title.set_fontsize(11)
    legend(left, loc="lower left")
    key_below(figure, f"filled: every step; lines: its edges, mean over {span} steps")
    title_of(figure, title)
    return figure


@styled
def probe_bands(
    networks: Mapping,
    ylabel: str,
    title: str,
    idle: Mapping | None = None,
    log: bool = True,
    level: tuple = (),
    top: float | None = None,
) -> Figure:
    """The paper's figure: along one trajectory, the band of a quantity over the step lengths η.

    Filled: from the lowest edge to the highest, each averaged over the seeds. Thin: the edges of every seed.

    Args:
        networks: model → list of ``quantities.Band``, one per seed, whose curves are the step lengths.
        idle: model → share of its seeds that are not training, at every step.
        log: logarithmic y axis; level: (value, label) of a line across; top: upper end of y where it is lower.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), sharex=True, sharey=True)
    for axis, model in zip(axes, in_order(networks), strict=True):
        style, found = line_style(model), networks[model]
        n = min(len(band.steps) for band in found)
        steps = found[0].steps[:n]
        each = np.array([[getattr(band, name)[:n] for band in found] for name in ("min_curve", "max_curve")])
        for curve in np.concatenate(each):
            axis.plot(steps, curve, color=style["color"], linewidth=0.7, alpha=0.7)
        edges = np.exp(np.mean(np.log(each), axis=1)) if log else np.mean(each, axis=1)
        axis.fill_between(steps, *edges, color=style["color"], alpha=0.28, linewidth=0)
        for edge in edges:
            axis.plot(steps, edge, color=style["color"], linestyle=style["linestyle"], linewidth=1.8)
        if level:
            axis.axhline(level[0], color="#000000", linestyle=":", linewidth=1.6, label=level[1])
        axis.set_title(style["label"])
        if log:
            _log_y(axis)
    for axis, model in zip(axes, in_order(networks), strict=True):
        mark_idle(axis, {model: idle[model]} if idle else None)
    if level:
        legend(axes[1], loc="upper right")  # plain VGG-A's curves rise to where it would stand
    if top:
        cut_at(axes[0], top)
    steps_axis(*axes)
    axes[0].set_ylabel(ylabel)
    key_below(figure, "filled: lowest to highest over η, mean of the seeds; thin: every seed")
    title_of(figure, title)
    return figure


@styled
def three_ways(found: Sequence, ylabel: str, title: str, idle: Mapping | None = None, cloud: str = "") -> Figure:
    """One quantity compared at the same step, at the same training loss, and at the same relative distance.

    Thin lines and dots: every seed. Thick: geometric mean over the seeds, or the mean of the dots around an x. Shaded:
    the range that is compared.

    Args:
        found: what ``compare.three_ways`` returns.
        idle: model → share of its seeds that are not training, at every step.
        cloud: label of y in the panel over relative distance, where it differs.
    """
    labels = {
        "step": ("at the same step", "training step"),
        "loss": ("at the same training loss", "training loss (nats), falling"),
        "distance": ("at the same relative distance", "relative distance η‖g‖₂ / ‖w‖₂"),
    }
    figure, axes = plt.subplots(1, len(found), figsize=(4.1 * len(found), 4.6))
    for axis, each in zip(axes, found, strict=True):
        panel, xlabel = labels[each.way]
        for model in in_order(each.points):
            _draw_points(axis, each.points[model], line_style(model), each.way)
        if axis.has_data():
            _log_y(axis)
        else:
            axis.text(0.5, 0.5, "nothing to draw:\nno training step", ha="center", transform=axis.transAxes)
            axis.set(xticks=[], yticks=[])
        axis.set_title(f"{panel}\nBN / no BN: {each.ratio}", fontsize=11)
        label = cloud if cloud and each.way == "distance" else ylabel
        axis.set(xlabel=xlabel, ylabel=label.replace(" (nats per", "\n(nats per"))  # in one line longer than the axis
        if each.window:
            axis.axvspan(*each.window, color="#999999", alpha=0.15, linewidth=0)
    axes[1].invert_xaxis()
    mark_idle(axes[0], idle)
    legend(axes[0], loc="best", fontsize=10)
    key_below(figure, "thin lines and dots: every seed; thick: their mean; grey: the range that is compared")
    title_of(figure, title)
    return figure


def _draw_points(axis, seeds: Sequence, style: Mapping, way: str) -> None:
    if not any(len(x) for x, _ in seeds):
        return
    for x, y in seeds:
        if way == "step":
            axis.plot(x, y, linewidth=0.8, alpha=0.6, color=style["color"])
        else:
            axis.plot(x, y, ".", ms=4, mew=0, alpha=0.5, color=style["color"])
    if way == "step":
        n = min(len(x) for x, _ in seeds)
        axis.plot(seeds[0][0][:n], np.exp(np.mean([np.log(y[:n]) for _, y in seeds], axis=0)), **style)
        return
    x, y = (np.concatenate(parts) for parts in zip(*seeds, strict=True))
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if not len(x):
        return
    if way == "distance":
        axis.set_xscale("log")
    scaled = np.log(x) if way == "distance" else x
    edges = np.linspace(scaled.min(), scaled.max(), 9)
    which = np.clip(np.digitize(scaled, edges) - 1, 0, len(edges) - 2)
    bins = [which == i for i in np.unique(which)]
    axis.plot([x[b].mean() for b in bins], [y[b].mean() for b in bins], **style)


@styled
def over_time(found: Mapping[str, Sequence[Mapping]], title: str) -> Figure:
    """How a ratio BN / no BN goes along the run: quantity in words → ``trends.over_time``, a panel for each.

    Thin: every seed. Thick: their geometric mean. Shaded: its 95 % interval. Below the line at 1: smaller with BN.
    """
    size = (4.6 * len(found), 4.4)
    figure, axes = plt.subplots(1, len(found), figsize=size, sharex=True, sharey=True, squeeze=False)
    colour = line_style("VGG_A_BatchNorm")["color"]
    for axis, (quantity, rows) in zip(axes[0], found.items(), strict=True):
        known = [row for row in rows if row["paired"]]
        steps, means = [row["step"] for row in known], [np.exp(row["paired"].mean) for row in known]
        count = max((len(row["paired"].values) for row in known), default=0)
        whole = [row for row in known if len(row["paired"].values) == count]
        seeds = np.exp([row["paired"].values for row in whole]).T if whole else []
        for values in seeds:
            axis.plot([row["step"] for row in whole], values, color=colour, linewidth=0.8, alpha=0.6)
        if known and all(row["paired"].interval for row in known):
            axis.fill_between(steps, *np.exp([row["paired"].interval for row in known]).T, color=colour, alpha=0.25)
        axis.plot(steps, means, color=colour, linewidth=2)
        axis.axhline(1, color="#444444", linestyle=":", linewidth=1)
        axis.set_title(quantity)
        _log_y(axis)
    steps_axis(*axes[0])
    axes[0][0].set_ylabel("BN / no BN at the same step")
    key_below(
        figure, "thin: every seed; thick: their geometric mean; shaded: its 95 % interval; below 1: smaller with BN"
    )
    title_of(figure, title)
    return figure


@styled
def controls(panels: Sequence[Mapping], ylabel: str, title: str) -> Figure:
    """A quantity against η at a few steps of the trajectory, under every control; one row per network.

    Batch norm in eval mode leaves the others' range by decades: it has a row for itself, beside the dense grid.

    Args:
        panels: one mapping per panel: ``model``, ``step``, and ``conditions`` {name in ``CONTROLS``: (etas (m,), values
            (seeds, m))}, ``stuck`` (what to say about seeds that are not training), as of ``evidence.control_panels``.
    """
    models = in_order(panel["model"] for panel in panels)
    steps = sorted({panel["step"] for panel in panels})
    rows = [(model, False) for model in models] + [(models[-1], True)]  # that of batch norm in eval mode
    size = (3.9 * len(steps) if len(steps) > 1 else 7.5, 2.9 * len(rows) + 1.1)
    figure = plt.figure(figsize=size)
    top, below = figure.subfigures(2, 1, height_ratios=(1.1, 2.9 * len(rows)))
    axes = below.subplots(len(rows), len(steps), sharex=True, squeeze=False)  # one panel may be far off
    for row, (model, evaluated) in zip(axes, rows, strict=True):
        for panel in (panel for panel in panels if panel["model"] == model):
            axis = row[steps.index(panel["step"])]
            _draw_conditions(axis, panel, ("dense", "eval") if evaluated else [c for c in CONTROLS if c != "eval"])
            stuck = f" ({panel['stuck']})" if panel["stuck"] else ""
            mode = "eval mode, " if evaluated else ""
            axis.set_title(f"{NETWORKS[model][0]}, {mode}step {panel['step']}{stuck}", fontsize=11)
            _log_y(axis)
        row[0].set_ylabel(ylabel)
    for axis in axes[-1]:
        axis.set_xlabel("rate η")
    drawn = [axis.get_legend_handles_labels() for axis in axes[:, 0]]
    handles = {label: handle for found in drawn for handle, label in zip(*found, strict=True)}
    columns = 4 if len(steps) > 1 else 3
    top.legend(handles.values(), handles, loc="center", ncols=columns, fontsize=10, frameon=False)
    key_below(below, "thin: every seed; thick: their mean")
    title_of(figure, title)
    return figure


def _draw_conditions(axis, panel: Mapping, names: Sequence[str]) -> None:
    for name in (name for name in names if name in panel["conditions"]):
        etas, values = panel["conditions"][name]
        label, colour, dash, marker = CONTROLS[name]
        if colour is None:  # the network's own
            label, colour = f"{label}, {NETWORKS[panel['model']][0]}", line_style(panel["model"])["color"]
        for seed in values:
            axis.plot(etas, seed, color=colour, linewidth=0.6, alpha=0.5, linestyle="" if name == "grid" else "-")
        look = {"linestyle": dash or "", "marker": marker, "ms": 5, "mfc": "white", "label": label}
        axis.plot(etas, np.nanmean(values, axis=0), color=colour, linewidth=1.8, **look)
    axis.set_xscale("log")
    ticks = min(etas) * 2.0 ** np.arange(4)
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.set_xticks([], minor=True)
