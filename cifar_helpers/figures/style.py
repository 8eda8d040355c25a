"""What all figures share: colours, markers, names of networks, and how a figure or a table is kept."""

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import words
from ..env import NO_IMAGES, figures_dir, git_revision, write_atomically

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
BLUE, ORANGE, GREEN = COLOURS[:3]
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", (0, (6, 1.5)), (0, (3, 1)), (0, (5, 1, 1, 1)), (0, (1, 1)), (0, (8, 2, 2, 2)))
FIXED = {"without BN": "#D55E00", "with BN": "#0072B2"}  # the colours of the two networks in all figures
NAMES = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "swish": "Swish",
    "kaiming_normal": "Kaiming normal",
    "xavier_normal": "Xavier normal",
    "xavier_uniform": "Xavier uniform",
    "cross_entropy": "cross-entropy",
    "mse": "MSE",
    "smooth_l1": "SmoothL1",
    "bce_with_logits": "BCE with logits",
}


def label_of(value: str) -> str:
    """A variant's value as figures write it."""
    return NAMES.get(value, value)


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
NETWORKS = {  # model class → name, Okabe–Ito colour and dash, the same in all figures, in the order of every legend
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


def path_style(number: int) -> dict:
    """How a training path is drawn on a loss surface: the first, or the second beside it; readable on every colour."""
    style = {"color": (ORANGE, "black")[number % 2], "linestyle": DASHES[number], "marker": MARKERS[number]}
    edge = patheffects.withStroke(linewidth=3.5, foreground="white")
    return style | {"mfc": "white", "ms": 5, "linewidth": 1.7, "path_effects": [edge]}


def in_order(models) -> list[str]:
    """Model classes in the order of every legend."""
    known = list(NETWORKS)
    return sorted(set(models), key=lambda m: (known.index(m) if m in known else len(known), m))


def title_of(figure: Figure, text: str) -> None:
    """Write a figure's title: what is compared."""
    figure.suptitle(text, fontsize=14, fontweight="bold", x=0.01, ha="left")


def key_below(figure: Figure, text: str) -> None:
    """Say below a figure what its thin and thick lines are."""
    figure.supxlabel(text, fontsize=10, color="#444444", x=0.01, ha="left")


def cut_at(axis, top: float) -> None:
    """End a y axis at zero and at ``top``, and say so where something is higher."""
    if axis.get_ylim()[1] > top:
        axis.annotate(f"cut at {top:g}", (0.01, 0.99), xycoords="axes fraction", va="top", fontsize=9, color="#444444")
    axis.set_ylim(0, min(top, axis.get_ylim()[1]))


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

    Args:
        name: file name without suffix; begins with the notebook's number.
        caption: one sentence for the report, also the alternative text.
        data: the ``ImageData`` used; profile: the one that was run; runs: records shown.
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
        if not private and profile not in ("smoke", "quick"):  # which are never published
            options["metadata"] = {"Date": None}
            write_atomically(folder / f"{name}.svg", lambda path: figure.savefig(path, **options))
    _keep({"kind": "figure", "name": name, "caption": caption, "private": private} | made_from, profile)


def save_film(film: bytes, name: str, caption: str, data, profile: str, runs: Sequence = ()) -> None:
    """Write a GIF with its provenance beside the figures. Arguments and errors are those of ``save``."""
    entry = {"kind": "figure", "name": name, "caption": caption, "private": False, "suffix": ".gif"}
    write_atomically(figures_dir(profile) / f"{name}.gif", film)
    _keep(entry | provenance(data, profile, runs), profile)


def _keep(entry: Mapping, profile: str) -> None:
    write_atomically(figures_dir(profile) / f"{entry['name']}.json", json.dumps(entry, indent=1))


def file_of(entry: Mapping) -> str:
    """The file name of a saved figure's picture."""
    return entry["name"] + entry.get("suffix", ".png")


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

    if data.label not in ("CIFAR-10", NO_IMAGES):
        caption = f"{caption} [{data.label}]"
    found, rows = words.numbers(rows), words.shown(rows)
    entry = {"kind": "table", "name": name, "caption": caption, "rows": rows, "private": False}
    entry |= {"numbers": found} if found else {}
    _keep(entry | provenance(data, profile, runs), profile)
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
    """The line under a figure: data, profile, runs and seeds, precision; its JSON has the keys of the runs."""
    parts = [made_from["data_label"], f"profile {made_from['profile']}"]
    if made_from["runs"]:
        runs, seeds = len(made_from["runs"]), len(made_from["seeds"])
        parts.append(f"{runs} run{'s' * (runs > 1)}, {seeds} seed{'s' * (seeds > 1)}")
        parts.append("/".join(made_from["precision"]))
    return " · ".join(parts)
