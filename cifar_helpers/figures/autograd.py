"""Figures of automatic differentiation and of the small networks on drawn points."""

from collections.abc import Collection, Mapping, Sequence

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
from matplotlib.figure import Figure

from .style import COLOURS, DASHES, MARKERS, legend, styled, title_of


@styled
def computation_graph(nodes: Mapping, arrows: Sequence[tuple], operations: Collection, title: str) -> Figure:
    """A computation graph from left to right: tensors as boxes, operations as circles.

    Args:
        nodes: identity → label; arrows: (from, to); operations: which of the nodes are operations.
    """
    graph = nx.DiGraph(list(arrows))
    columns = {node: c for c, members in enumerate(nx.topological_generations(graph)) for node in members}
    for node in graph:  # an input stands just before its only use, not in the first column
        if not graph.in_degree(node):
            columns[node] = min(columns[user] for user in graph.successors(node)) - 1
    layers = {c: [node for node in reversed(nodes) if columns[node] == c] for c in sorted(set(columns.values()))}
    place = nx.multipartite_layout(graph, subset_key=layers, scale=1)  # lists: sets are ordered anew in each process
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


def bookkeeping() -> Figure:
    """The graph of loss = (x + y) / z with numbers: values from left to right, slopes from right to left."""
    nodes = {"x": "x = 2\nslope 1/3", "y": "y = 4\nslope 1/3", "+": "+", "s": "6\nslope 1/3", "z": "z = 3\nslope −2/3"}
    nodes |= {"/": "÷", "l": "loss = 2\nslope 1"}
    arrows = [("x", "+"), ("y", "+"), ("+", "s"), ("s", "/"), ("z", "/"), ("/", "l")]
    return computation_graph(nodes, arrows, {"+", "/"}, "Values go with the arrows, slopes against them")


def graph_of(tensors: Sequence, named: Mapping) -> Figure:
    """The graph behind a loss: tensors of 09's library in topological order; ``named``: name → those that have one."""
    called, nodes, arrows, operations = {id(tensor): name for name, tensor in named.items()}, {}, [], set()
    for tensor in tensors:
        shape = " × ".join(map(str, tensor.value.shape)) or "number"
        nodes[id(tensor)] = "\n".join(filter(None, (called.get(id(tensor)), shape)))
        if node := tensor.source:
            nodes[id(node)] = node.op.__name__
            operations.add(id(node))
            arrows += [(id(node), id(tensor)), *((id(x), id(node)) for x in node.inputs)]
    return computation_graph(nodes, arrows, operations, "The graph of one layer and its loss")


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
def plane(points, labels, grid, says) -> Figure:
    """Points of two classes in the plane, and what a network says of a square of points.

    Args:
        points, labels: (n, 2) and (n,) 0 or 1; grid, says: (m², 2) points in rows, and the class given to each.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.2), sharex=True, sharey=True)
    for number in (0, 1):
        style = {"color": COLOURS[number], "ms": 4, "alpha": 0.7, "label": f"class {number}"}
        axes[0].plot(*points[labels == number].T, MARKERS[number], mew=0, **style)
    side = round(len(grid) ** 0.5)
    axes[1].contourf(*(grid[:, i].reshape(side, side) for i in (0, 1)), says.reshape(side, side), 1, colors=COLOURS)
    axes[0].set(title="the points", xlabel="first number", ylabel="second number", xlim=(-3, 3), ylim=(-3, 3))
    axes[1].set(title="what our network says", xlabel="first number")
    figure.legend(loc="outside lower left", ncols=2, fontsize=11, markerscale=2)
    title_of(figure, "Two classes of points, and the border that our own library learned")
    return figure


@styled
def toy_rates(rates: Sequence[float], found: Mapping[str, Sequence], dead: Sequence) -> Figure:
    """Final accuracy (activation → every seed's, per rate) over rates, and the share of dead ReLU units (likewise)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    many = max(len(seeds) for values in found.values() for seeds in values) > 1
    median = " (line: median)" if many else ""
    lines = [(left, n, values, f"{name}{median}") for n, (name, values) in enumerate(found.items())]
    for axis, number, values, label in [*lines, (right, 1, dead, None)]:
        colour = COLOURS[number]
        for rate, seeds in zip(rates, values, strict=True):
            axis.plot([rate] * len(seeds), 100 * np.asarray(seeds), MARKERS[number], mfc="white", color=colour)
        middle = [100 * np.median(seeds) for seeds in values]
        axis.plot(rates, middle, color=colour, linestyle=DASHES[number], label=label)
    left.set(ylabel="accuracy on other points (%)", title=f"after the last step, {'every' if many else 'one'} seed")
    right.set(ylabel="dead units (% of the layer)", ylim=(-4, 104), title="ReLU units that are 0 for every point")
    for axis in (left, right):
        axis.set(xscale="log", xlabel="learning rate (log)")
    figure.legend(loc="outside lower center", ncols=2, fontsize=11)
    title_of(figure, "Sigmoid and ReLU over learning rates")
    return figure


@styled
def own_adam(small: Sequence, large: Sequence) -> Figure:
    """Training loss under the course's Adam and torch's; small, large: (ours, torch's), one value per step."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2))
    titles = "the numpy library's network, and torch's", "VGG-A + BN on images"
    for axis, pair, title in zip(axes, (small, large), titles, strict=True):
        for number, (losses, name) in enumerate(zip(pair, ("the course's Adam", "torch's Adam"), strict=True)):
            style = {"color": COLOURS[1 - number], "linestyle": DASHES[number], "linewidth": 3 - 1.4 * number}
            axis.plot(losses, **style, label=name if axis is axes[0] else None)
        axis.set(xlabel="step", title=title)
    axes[0].set_ylabel("training loss (nats)")
    figure.legend(loc="outside lower center", ncols=2, fontsize=11)
    title_of(figure, "The course's Adam beside torch's, in two libraries")
    return figure
