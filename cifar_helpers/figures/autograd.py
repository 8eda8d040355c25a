"""Figures of automatic differentiation and of the small networks on drawn points."""

from collections.abc import Collection, Mapping, Sequence

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
from matplotlib.figure import Figure

from .style import COLOURS, DASHES, MARKERS, legend, styled, title_of

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
