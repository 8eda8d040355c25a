"""Structure diagrams: networks as chains of boxes, and the residual block beside the plain one."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import COLOURS, styled, title_of

KINDS = {  # part of a layer's class name → (legend, colour)
    "Conv": ("convolution", COLOURS[0]),
    "Linear": ("linear", COLOURS[2]),
    "Norm": ("normalisation", COLOURS[4]),
    "Pool": ("pooling", COLOURS[6]),
}
WIDE, NARROW = ("Conv", "Linear"), 0.22  # layers with weights are boxes, the others strips as wide as this


@styled
def chains(networks: Mapping[str, Sequence[Mapping[str, str]]], title: str) -> Figure:
    """Networks (name → ``models.tables.layer_table``), one below the other: a box per layer with weights, else a strip.

    A box is as high as the maps it gives are wide (on a logarithmic scale); below it stand kernel and channels.
    Activations are not drawn.
    """
    figure, axes = plt.subplots(len(networks), 1, figsize=(11, 0.6 + 2.3 * len(networks)), squeeze=False, sharex=True)
    ends, seen = [], set()
    for axis, (name, rows) in zip(axes[:, 0], networks.items(), strict=True):
        x = 0.0
        for row in rows:
            if kind := next((kind for kind in KINDS if kind in row["layer"]), None):
                seen.add(kind)
                x = _draw_layer(axis, row, kind, x)
        axis.text(-0.4, 0, name, ha="right", va="center", fontsize=12)
        axis.set_ylim(-1.9, 1.3)
        axis.set_axis_off()
        ends.append(x)
    axes[0, 0].set_xlim(-0.5, max(ends))
    handles = [Rectangle((0, 0), 1, 1, facecolor=KINDS[kind][1]) for kind in KINDS if kind in seen]
    names = [KINDS[kind][0] for kind in KINDS if kind in seen]
    figure.legend(handles, names, loc="lower center", ncols=len(names), frameon=False, bbox_to_anchor=(0.5, -0.04))
    title_of(figure, title)
    return figure


def _draw_layer(axis: Axes, row: Mapping[str, str], kind: str, x: float) -> float:
    """Draw one layer at x; where the next one begins."""
    channels, *sides = (int(n) for n in row["output"].split("×"))
    height = 0.35 + 0.3 * np.log2(sides[0]) if sides else 0.5
    width = 0.8 if kind in WIDE else NARROW
    style = {"facecolor": KINDS[kind][1], "edgecolor": "white", "linewidth": 1}
    axis.add_patch(Rectangle((x, -height / 2), width, height, **style))
    if kind in WIDE:
        kernel = f"{row['kernel']}\n" if row["kernel"] != "–" else ""
        size = 9.5 if channels < 1000 else 8.5  # four digits are as wide as the box
        axis.text(x + width / 2, -1.05, f"{kernel}{channels}", ha="center", va="top", fontsize=size)
        shape = f"{sides[0]}²" if sides and sides[0] > 1 else ""
        axis.text(x + width / 2, height / 2 + 0.06, shape, ha="center", va="bottom", fontsize=9, color="#555555")
    return x + width + 0.08


@styled
def residual_block(title: str = "Two layers without and with a shortcut") -> Figure:
    """Two layers without and with a shortcut: what is learned is what is *added* to the input."""
    steps = ("conv 3×3", "BN", "ReLU", "conv 3×3", "BN")
    figure, axes = plt.subplots(2, 1, figsize=(10, 4.6))
    for axis, name, shortcut in zip(axes, ("plain", "residual"), (False, True), strict=True):
        places = np.arange(len(steps) + 3)
        texts = ["x", *steps, "+", "ReLU"] if shortcut else ["x", *steps, "ReLU", ""]
        boxes = []
        for place, text in zip(places, texts, strict=True):
            if not text:
                continue
            colour = KINDS["Conv"][1] if "conv" in text else KINDS["Norm"][1] if text == "BN" else "#FFFFFF"
            plain = text in ("x", "+")
            style = {"boxstyle": "circle,pad=0.35" if plain else "square,pad=0.5", "facecolor": colour, "alpha": 0.85}
            dark = "white" if "conv" in text else "black"
            boxes.append(axis.text(place, 0, text, ha="center", va="center", fontsize=11, color=dark, bbox=style))
        for left, right in zip(boxes, boxes[1:], strict=False):
            ends = {"patchA": left.get_bbox_patch(), "patchB": right.get_bbox_patch()}
            arrow = {"arrowstyle": "-|>", "mutation_scale": 14, "color": "#333333", "linewidth": 1.4} | ends
            axis.annotate("", right.get_position(), left.get_position(), arrowprops=arrow)
        if shortcut:
            arrow = {"arrowstyle": "-|>", "mutation_scale": 16, "color": COLOURS[1], "linewidth": 2}
            arrow |= {"connectionstyle": "arc3,rad=-0.35", "shrinkA": 14, "shrinkB": 14}
            axis.annotate("", (len(steps) + 1, 0.05), (0, 0.05), arrowprops=arrow)
            axis.text((len(steps) + 1) / 2, 0.72, "the input, unchanged", ha="center", color=COLOURS[1], fontsize=11)
        axis.text(-0.8, 0, name, ha="right", va="center", fontsize=12)
        axis.set(xlim=(-1.4, len(texts) - 0.5), ylim=(-0.6, 1.5 if shortcut else 0.6))
        axis.set_axis_off()
    title_of(figure, title)
    return figure
