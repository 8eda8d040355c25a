"""Figures of the notebooks that look inside (8 to 10). Each takes what was measured, and draws."""

from collections.abc import Collection, Mapping, Sequence

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
from matplotlib.figure import Figure

from .charts import COLOURS, DASHES, MARKERS
from .figures import legend, styled, title_of

# --- 09: automatic differentiation ---------------------------------------------------------------------------------


@styled
def computation_graph(nodes: Mapping, arrows: Sequence[tuple], operations: Collection, title: str) -> Figure:
    """A computation graph from left to right: tensors as boxes, operations as circles.

    Args:
        nodes: identity → label; arrows: (from, to); operations: which of the nodes are operations.
    """
    graph = nx.DiGraph(list(arrows))
    for column, members in enumerate(nx.topological_generations(graph)):
        for node in members:
            graph.nodes[node]["column"] = column
    columns = nx.get_node_attributes(graph, "column")
    for node in graph:  # an input stands just before its only use, not in the first column
        if not graph.in_degree(node):
            graph.nodes[node]["column"] = min(columns[user] for user in graph.successors(node)) - 1
    place = nx.multipartite_layout(graph, subset_key="column", scale=1)
    figure, axis = plt.subplots(figsize=(11, 3.8))
    boxes = {}
    for node, label in nodes.items():
        is_operation = node in operations
        shape = {"boxstyle": "circle,pad=0.3" if is_operation else "square,pad=0.4", "linewidth": 1.5}
        colours = {"facecolor": "#FBE3D6" if is_operation else "#DCEBF5", "edgecolor": COLOURS[1 - (not is_operation)]}
        text = label.replace("CrossEntropy", "cross-\nentropy")
        drawn = axis.text(*place[node], text, ha="center", va="center", size=11, bbox=shape | colours, zorder=1)
        boxes[node] = drawn.get_bbox_patch()
    for tail, head in arrows:  # after the boxes, whose edges they end at are known only once drawn
        ends = {"patchA": boxes[tail], "patchB": boxes[head], "shrinkA": 0, "shrinkB": 1}
        arrow = {"arrowstyle": "-|>", "mutation_scale": 20, "color": "#333333", "linewidth": 1.8}
        axis.annotate("", place[head], place[tail], arrowprops=arrow | ends, zorder=2)
    across, down = np.transpose(list(place.values()))
    axis.set_xlim(across.min() - 0.1, across.max() + 0.1)
    axis.set_ylim(down.min() - 0.15, down.max() + 0.15)
    axis.set_axis_off()
    title_of(figure, title)
    return figure


@styled
def visits(depths: Sequence[int], found: Mapping[str, Sequence[int]]) -> Figure:
    """How often two backward walks visit a tensor, over the length of a chain of sums x + x."""
    figure, axis = plt.subplots(figsize=(7.5, 4.2))
    for number, (name, counts) in enumerate(found.items()):
        style = {"color": COLOURS[1 - number], "linestyle": DASHES[number], "marker": MARKERS[number]}
        axis.plot(depths, counts, **style, ms=5, label=name)
    axis.set(yscale="log", xlabel="sums in the chain", ylabel="visits of a tensor (log)")
    legend(axis)
    title_of(figure, "Backward along every path, or through every tensor once")
    return figure


@styled
def toy_networks(ours: Mapping, torchs: Mapping) -> Figure:
    """Validation accuracy of small networks by epoch: the notebook's library as lines, torch as markers.

    Args:
        ours, torchs: variant → accuracy after every epoch, one list per seed.
    """
    figure, axis = plt.subplots(figsize=(8, 4.6))
    for number, (name, seeds) in enumerate(ours.items()):
        style = {"color": COLOURS[number], "linestyle": DASHES[number % len(DASHES)]}
        for mine, theirs in zip(seeds, torchs[name], strict=True):
            epochs = np.arange(1, len(mine) + 1)
            style |= {"marker": "_" if len(mine) == 1 else None, "ms": 16}
            axis.plot(epochs, 100 * np.asarray(mine), **style, linewidth=1.1, label=name if mine is seeds[0] else None)
            marks = {"marker": MARKERS[number], "mfc": "none", "ms": 5 if len(mine) > 1 else 9, "alpha": 0.7}
            axis.plot(epochs, 100 * np.asarray(theirs), color=COLOURS[number], linestyle="none", **marks)
    axis.plot([], [], "ko", mfc="none", label="markers: torch")
    axis.set(xlabel="epoch", ylabel="accuracy on other points (%)", xlim=(0, None))
    figure.legend(loc="outside lower center", ncols=3, fontsize=11)
    title_of(figure, "Small networks: this notebook's library (lines) and torch (markers), every seed")
    return figure


@styled
def toy_rates(rates: Sequence[float], found: Mapping[str, Sequence], dead: Sequence) -> Figure:
    """Final accuracy over learning rates, and the share of dead ReLU units.

    Args:
        found: activation → accuracies of every seed, per rate; dead: shares of every seed, per rate.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    for number, (name, values) in enumerate(found.items()):
        style = {"color": COLOURS[number], "linestyle": DASHES[number]}
        for rate, seeds in zip(rates, values, strict=True):
            left.plot([rate] * len(seeds), 100 * np.asarray(seeds), MARKERS[number], mfc="white", color=COLOURS[number])
        left.plot(rates, [100 * np.median(seeds) for seeds in values], **style, label=f"{name} (line: median)")
    for rate, seeds in zip(rates, dead, strict=True):
        right.plot([rate] * len(seeds), 100 * np.asarray(seeds), MARKERS[1], mfc="white", color=COLOURS[1])
    right.plot(rates, [100 * np.median(seeds) for seeds in dead], color=COLOURS[1], linestyle=DASHES[1])
    left.set(ylabel="accuracy on other points (%)", title="after the last step, every seed")
    right.set(ylabel="dead units (% of the layer)", ylim=(-4, 104), title="ReLU units that are 0 for every point")
    for axis in (left, right):
        axis.set(xscale="log", xlabel="learning rate (log)")
    figure.legend(loc="outside lower center", ncols=2, fontsize=11)
    title_of(figure, "Sigmoid and ReLU over learning rates")
    return figure


@styled
def own_adam(small: Sequence, large: Sequence) -> Figure:
    """Training loss under the course's Adam and torch's.

    Args:
        small, large: (ours, torch's) losses, one value per step.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2))
    titles = "the numpy library's network, and torch's", "VGG-A + BN on images"
    for axis, pair, title in zip(axes, (small, large), titles, strict=True):
        for number, (losses, name) in enumerate(zip(pair, ("the course's Adam", "torch's Adam"), strict=True)):
            style = {"color": COLOURS[1 - number], "linestyle": DASHES[number], "linewidth": 3 - 1.4 * number}
            axis.plot(losses, **style, label=name if axis is axes[0] else None)
        axis.set(xlabel="step", title=title)
    axes[0].set_ylabel("training loss (nats)")
    figure.legend(loc="outside lower center", ncols=2, fontsize=11)
    title_of(figure, "One hand-written Adam, two libraries")
    return figure


# --- 10: why batch norm helps --------------------------------------------------------------------------------------

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


def _style(name: str) -> dict:
    colour, dash = NORM_STYLES[name]
    return {"color": colour, "linestyle": dash}


@styled
def norm_curves(found: Mapping[str, Sequence], smooth, span: int) -> Figure:
    """Training loss of each batch, and eval-mode loss on validation images, under several normalisations.

    Args:
        found: norm → runs, one per seed; smooth: ``compare.smooth``, over ``span`` steps.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), sharex=True)
    for name, runs in found.items():
        whole = [run for run in runs if run.diverged_at is None]
        for run in whole:
            left.plot(smooth(run.steps["loss"], span), **_style(name), linewidth=0.6, alpha=0.4)
        label = name if whole else f"{name} (diverged)"
        curves = [smooth(run.steps["loss"], span) for run in whole] or [[np.nan]]
        left.plot(np.median(curves, axis=0), **_style(name), label=label)
        for run in whole:
            points = np.transpose([(e["step"], e["validation_loss"]) for e in run.epochs])
            right.plot(*points, **_style(name), linewidth=1.2, marker="o", ms=4, mfc="white")
    left.set(xlabel="step", ylabel="training loss (nats)", title=f"each batch, mean over {span} steps; thick: median")
    right.set(xlabel="step", ylabel="validation loss (nats)", title="evaluation mode: no noise; every seed")
    figure.legend(loc="outside lower center", ncols=4, fontsize=11)
    title_of(figure, "VGG-A, a quarter as wide, under eight normalisations")
    return figure


@styled
def covariate_shift(found: Mapping[str, Mapping[str, Sequence]], quantity: str, label: str, title: str) -> Figure:
    """A quantity of internal covariate shift along training, one panel per layer.

    Args:
        found: layer → norm → one (steps, values) per seed; quantity: ``l2``, ``relative`` or ``cosine``.
    """
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
        found: network → (scales, rates) accuracies, 0 to 1; NaN where a run diverged.
    """
    import seaborn as sns

    figure, axes = plt.subplots(1, len(found), figsize=(5.6 * len(found), 4.4), sharey=True, squeeze=False)
    top = max(0.11, *(np.nan_to_num(values).max() for values in found.values()))
    for axis, (name, values) in zip(axes[0], found.items(), strict=True):
        shown = np.where(np.isnan(values), "×", np.char.mod("%.0f", 100 * np.nan_to_num(values)))
        last = axis is axes[0][-1]
        sns.heatmap(
            100 * np.nan_to_num(values),
            annot=shown,
            fmt="",
            cmap="cividis",
            vmin=10,
            vmax=100 * top,
            ax=axis,
            xticklabels=[f"{rate:g}" for rate in rates],
            yticklabels=[f"{scale:g}" for scale in scales],
            cbar=last,
            cbar_kws={"label": "validation accuracy (%)"} if last else None,
            annot_kws={"size": 10},
        )
        axis.invert_yaxis()
        axis.grid(False)
        axis.tick_params(axis="y", labelrotation=0)
        axis.set(xlabel="learning rate", title=name)
    axes[0][0].set_ylabel("factor of the initial weights")
    title_of(figure, f"Which rates and initial scales train within {steps} steps? SGD (×: diverged)")
    return figure


@styled
def weight_decay(found: Mapping[float, tuple[object, Mapping[int, float]]], smooth, span: int) -> Figure:
    """Norm of the filters, effective rate and loss of batch-norm networks under several weight decays.

    Args:
        found: strength → (run, {step: ‖w‖₂ over all convolutions}).
    """
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
    title_of(figure, "Weight decay behind batch norm: filters, effective rate, loss")
    return figure


@styled
def batch_sizes(found: Mapping[tuple[str, int], Sequence[Mapping]]) -> Figure:
    """Accuracy and train/eval gap over the batch size, each seed a marker.

    Args:
        found: (norm, batch size) → ``shift.mode_gap`` of every seed.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), sharex=True)
    for number, name in enumerate(dict.fromkeys(name for name, _ in found)):
        sizes = [size for norm, size in found if norm == name]
        for axis, value in (
            (left, lambda gap: 100 * gap["eval_accuracy"]),
            (right, lambda gap: gap["eval"] - gap["train"]),
        ):
            for size in sizes:
                values = [value(gap) for gap in found[name, size]]
                axis.plot([size] * len(values), values, MARKERS[number], mfc="white", color=_style(name)["color"])
            middle = [np.median([value(gap) for gap in found[name, size]]) for size in sizes]
            axis.plot(sizes, middle, **_style(name), label=name if axis is left else None)
    left.set(ylabel="validation accuracy (%)", title="the same images in other batches; evaluation mode")
    right.set(ylabel="difference of losses (nats)", title="running − batch statistics, validation images")
    right.axhline(0, color="#777777", linestyle=":", linewidth=1)
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.set_xlabel("batch size")
    figure.legend(loc="outside lower center", ncols=2, fontsize=11)
    title_of(figure, "Batch norm and group norm over the batch size (rate in proportion to it)")
    return figure
