"""Figures of notebook 8: filters, activations, attributions, feature maps, loss surfaces."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure

from .style import COLOURS, DASHES, MARKERS, path_style, styled, title_of

DIVERGING = "RdBu_r"
TEN_MARKERS = "osD^v<>P*X"  # one per class


def _tile(axis, image, **options) -> None:
    axis.imshow(image, interpolation="nearest", **options)
    axis.set_axis_off()


@styled
def filters(found: Mapping, network: str) -> Figure:
    """Filters (of ``inside.features.filters``): the first layer's as colours, some deeper kernels as red and blue."""
    first, deeper = np.asarray(found["first"]), np.asarray(found["deeper"])
    columns = 8
    rows = [-(-len(part) // columns) for part in (first, deeper)]
    figure = plt.figure(figsize=(9, 1.1 * sum(rows) + 1.4))
    panels = figure.subfigures(2, 1, height_ratios=rows)
    panels[0].suptitle(f"first layer: {len(first)} filters, each to its own largest weight", fontsize=11)
    panels[1].suptitle(f"{found['layer']}: the {len(deeper)} strongest kernels (red: positive)", fontsize=11)
    axes = [panel.subplots(count, columns, squeeze=False) for panel, count in zip(panels, rows, strict=True)]
    for axis in (*axes[0].flat, *axes[1].flat):
        axis.set_axis_off()
    reach = np.abs(first).max(axis=(1, 2, 3), keepdims=True)
    for axis, image in zip(axes[0].flat, (0.5 + 0.5 * first / reach).transpose(0, 2, 3, 1), strict=False):
        _tile(axis, image)
    for axis, kernel in zip(axes[1].flat, deeper, strict=False):
        size = np.abs(kernel).max()
        _tile(axis, kernel, cmap=DIVERGING, vmin=-size, vmax=size)
    title_of(figure, f"Filters of {network}")
    return figure


@styled
def one_image(image: np.ndarray, outputs: Mapping[str, np.ndarray]) -> Figure:
    """One image, (h, w, 3) in 0 to 1, and what the first 8 units of each layer, (units, h, w), answer to it."""
    figure, axes = plt.subplots(len(outputs), 9, figsize=(10.35, 1.25 * len(outputs) + 0.6))
    for row, (layer, values) in zip(axes, outputs.items(), strict=True):
        _tile(row[0], image)
        row[0].set_title(layer, loc="left", fontsize=9)
        for axis, unit in zip(row[1:], values, strict=False):
            _tile(axis, unit, cmap="cividis")
    title_of(figure, "One image through the network: the first units of each convolution")
    return figure


@styled
def strongest(found: Mapping[int, Sequence[np.ndarray]], layer: str) -> Figure:
    """The images to which units of a layer answer most, one unit per row: unit → (h, w, 3) images in 0 to 1."""
    width = len(next(iter(found.values())))
    figure, axes = plt.subplots(len(found), width, figsize=(1.1 * width, 1.2 * len(found) + 0.6), squeeze=False)
    for row, (unit, images) in zip(axes, found.items(), strict=True):
        for axis, image in zip(row, images, strict=True):
            _tile(axis, image)
        row[0].set_title(f"unit {unit}", loc="left", fontsize=9)
    title_of(figure, f"Validation images that excite units of {layer} most")
    return figure


@styled
def attributions(images: Sequence[np.ndarray], titles: Sequence[str], maps: Mapping[str, Sequence]) -> Figure:
    """Images, (h, w, 3) in 0 to 1, each with its title, and below them the maps: method → (n, h, w)."""
    figure, axes = plt.subplots(1 + len(maps), len(images), figsize=(1.35 * len(images), 1.5 * (1 + len(maps)) + 0.6))
    for axis, image, title in zip(axes[0], images, titles, strict=True):
        _tile(axis, image)
        axis.set_title(title, fontsize=8)
    for row, (method, values) in zip(axes[1:], maps.items(), strict=True):
        for axis, value in zip(row, np.asarray(values), strict=True):
            size = max(np.abs(value).max(), 1e-12)
            _tile(axis, value, cmap=DIVERGING, vmin=-size, vmax=size)
        row[0].set_title(method, loc="left", fontsize=9)
    title_of(figure, "Which pixels the predictions rest on (red: for the class, blue: against)")
    return figure


@styled
def sanity(found: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Rank correlation of explanations with those of other networks: method → comparison → one value per image."""
    figure, axis = plt.subplots(figsize=(8, 0.55 * sum(map(len, found.values())) + 1.8))
    places, labels, names = [], [], list(next(iter(found.values())))
    for method, by_name in found.items():
        for name, values in by_name.items():
            y, number = len(places), names.index(name)
            axis.plot(values, [y] * len(values), MARKERS[number], mfc="none", color=COLOURS[number], alpha=0.7)
            axis.plot([np.nanmedian(values)] * 2, [y - 0.35, y + 0.35], color=COLOURS[number], linewidth=3)
            places.append(y)
            labels.append(f"{method}: {name}")
    axis.axvline(0, color="#777777", linestyle=":", linewidth=1)
    axis.set_yticks(places, labels)
    axis.invert_yaxis()
    axis.set(xlabel="rank correlation with the trained network's map (bar: median)", xlim=(-1, 1.02))
    axis.set_ylabel("method")
    title_of(figure, "Does an explanation change when the weights do?")
    return figure


@styled
def feature_maps(found: Mapping, classes: Sequence[str]) -> Figure:
    """Principal components and t-SNE of ``inside.features.features``, a colour and a marker per class."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.4))
    labels = np.asarray(found["labels"])
    titles = {"pca": f"principal components ({100 * found['explained']:.0f} % of the variance)", "tsne": "t-SNE"}
    for axis, (kind, title) in zip(axes, titles.items(), strict=True):
        points = np.asarray(found[kind])
        for c, name in enumerate(classes):
            mine = points[labels == c]
            style = {"ms": 3.5, "alpha": 0.6, "color": plt.get_cmap("tab10")(c), "mew": 0}
            axis.plot(*mine.T, TEN_MARKERS[c % len(TEN_MARKERS)], **style, label=name if kind == "pca" else None)
            if kind == "tsne":  # in the other map they would lie on top of each other
                edge = [patheffects.withStroke(linewidth=2.5, foreground="white")]
                middle = np.median(mine, axis=0)
                axis.annotate(name, middle, ha="center", size=10, weight="bold", path_effects=edge)
        axis.set_title(f"{title}; trustworthiness {found['trustworthiness'][kind]:.2f}", fontsize=11)
        axis.set(xticks=[], yticks=[], xlabel="first axis (no unit)", ylabel="second axis (no unit)")
    figure.legend(loc="outside lower center", ncols=5, fontsize=10, markerscale=2)
    title_of(figure, "Features before the output layer, flattened two ways (validation images)")
    return figure


def _levels(found: Mapping[str, np.ndarray]) -> np.ndarray:
    values = np.concatenate([losses[np.isfinite(losses)] for losses in found.values()])
    low, high = max(values.min(), 1e-3), max(np.percentile(values, 95), values.min() * 1.5)
    return np.geomspace(low * 0.98, high, 14)


def _round_ticks(levels: np.ndarray) -> list[float]:
    """The losses 1, 2 and 5, and their tens and tenths, between the first and the last level."""
    around = (digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5))
    return [tick for tick in around if levels[0] <= tick <= levels[-1]]


@styled
def surfaces(found: Mapping[str, np.ndarray], across: Sequence[float]) -> Figure:
    """Contours of several loss surfaces on one scale of colours and of axes.

    Args:
        found: panel title → (y, x) losses.
    """
    figure, axes = plt.subplots(1, len(found), figsize=(3.9 * len(found) + 0.8, 4.4), sharey=True, squeeze=False)
    levels = _levels(found)
    for axis, (title, losses) in zip(axes[0], found.items(), strict=True):
        shown = np.nan_to_num(np.maximum(losses, levels[0]), nan=2 * levels[-1], posinf=2 * levels[-1])
        filled = axis.contourf(across, across, shown, levels=levels, cmap="cividis", norm="log", extend="max")
        axis.contour(across, across, shown, levels=levels, colors="white", linewidths=0.5, norm="log")
        axis.plot(0, 0, "+", color="#D55E00", ms=12, mew=2.5)
        axis.set(title=title, xlabel="along d₁ (filter norms)")
        axis.set_aspect("equal")
    axes[0][0].set_ylabel("along d₂ (filter norms)")
    bar = figure.colorbar(filled, ax=axes, label="loss (nats, log)")
    ticks = _round_ticks(levels)
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    title_of(figure, "Loss around trained weights, filter-normalised, on one scale")
    return figure


@styled
def surfaces_3d(found: Mapping[str, np.ndarray], across: Sequence[float]) -> Figure:
    """The same surfaces as landscapes, on one scale."""
    figure = plt.figure(figsize=(4.2 * len(found), 4.8))
    levels = _levels(found)
    x, y = np.meshgrid(across, across)
    smooth = {"linewidth": 0, "antialiased": False, "rasterized": True}  # else each facet has an edge, in SVG by itself
    for number, (title, losses) in enumerate(found.items(), 1):
        axis = figure.add_subplot(1, len(found), number, projection="3d")
        height = np.log10(np.clip(np.nan_to_num(losses, nan=levels[-1]), levels[0], levels[-1]))
        low, high = np.log10(levels[0]), np.log10(levels[-1])
        axis.plot_surface(x, y, height, cmap="cividis", vmin=low, vmax=high, rstride=1, cstride=1, **smooth)
        axis.set(xlabel="d₁", ylabel="d₂", zlabel="loss (nats, log)", zlim=(low, high))
        for side in (axis.xaxis, axis.yaxis, axis.zaxis):  # else labels and numbers lie on one another
            side.labelpad = 9
        axis.locator_params(nbins=3)
        axis.set_zticks(np.log10(_round_ticks(levels)), labels=[f"{tick:g}" for tick in _round_ticks(levels)])
        axis.set_title(title, fontsize=11, y=0.96)
        axis.set_box_aspect(None, zoom=0.8)  # else its labels are cut off
    cut = f", cut at {levels[-1]:.2g} nats" * any(np.nanmax(losses) > levels[-1] for losses in found.values())
    title_of(figure, f"Loss around trained weights as landscapes, on one scale{cut}")
    return figure


@styled
def paths(found: Mapping[str, Mapping]) -> Figure:
    """Loss in the plane of each network's training paths, with the paths.

    Args:
        found: network → what ``inside.surface.along_paths`` returns.
    """
    figure, axes = plt.subplots(1, len(found), figsize=(5.4 * len(found), 5.2), squeeze=False)
    levels = _levels({name: np.asarray(each["losses"]) for name, each in found.items()})
    for axis, (name, each) in zip(axes[0], found.items(), strict=True):
        shown = np.maximum(np.nan_to_num(each["losses"], nan=2 * levels[-1]), levels[0])
        filled = axis.contourf(
            each["across"], each["up"], shown, levels=levels, cmap="cividis", norm="log", extend="max"
        )
        for number, (label, path) in enumerate(zip(each["labels"], map(np.asarray, each["paths"]), strict=True)):
            axis.plot(*path.T, **path_style(number), label=label)
            wanted = [(0, "start")] if number == 0 else []  # both paths begin there
            for i, word in (*wanted, (len(path) - 1, f"step {each['steps'][number][-1]}")):
                inward = -1 if path[i, 0] > np.mean(axis.get_xlim()) else 1
                above = path[i, 1] >= path[i - 1 if i else 1, 1]  # where the path does not come from
                place = {"xytext": (9 * inward, 9 if above else -17), "textcoords": "offset points"}
                box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
                axis.annotate(word, path[i], **place, ha="right" if inward < 0 else "left", size=10, bbox=box)
        one, two = (100 * share for share in each["shares"])
        axis.set(title=name, xlabel=f"first component ({one:.0f} %)", ylabel=f"second component ({two:.0f} %)")
    bar = figure.colorbar(filled, ax=axes, label="loss (nats, log)")
    ticks = _round_ticks(levels)
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=11)
    title_of(figure, "Two training paths on one surface, from the same start (share of squared distance)")
    return figure


@styled
def eigenvalues(found: Mapping[str, tuple[Sequence[int], Sequence[Sequence[float]]]], bound: float | None) -> Figure:
    """Largest Hessian eigenvalues: network → (steps, those of each step, the largest first); bound: 2 / rate."""
    figure, axis = plt.subplots(figsize=(7.5, 4.4))
    for number, (name, (steps, values)) in enumerate(found.items()):
        style = {"color": COLOURS[1 - number % 2], "linestyle": DASHES[number]}
        for rank, each in enumerate(np.transpose(values)):
            label = name if rank == 0 else None
            axis.plot(steps, each, **style, marker=MARKERS[number], ms=5, alpha=1 if rank == 0 else 0.4, label=label)
    if bound:
        axis.axhline(bound, color="#777777", linestyle=":", linewidth=1, label=f"2 / rate = {bound:g}")
    axis.set(xlabel="step", ylabel="eigenvalue (nats per weight unit²)", yscale="log")
    figure.legend(loc="outside lower center", ncols=3, fontsize=11)
    title_of(figure, "Largest eigenvalues of the Hessian along training (strong: the first)")
    return figure
