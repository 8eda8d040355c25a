"""Scenes of recorded runs, as ``scenes`` explains them: rates, bands, walks along the gradient, paths on a surface.

They read records and arrays made from records; they train nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.interpolate import RegularGridInterpolator

from ..env import CourseError
from ..figures.style import FIXED, LN10, in_order, legend, line_style, network_name, path_style, title_of
from ..measure.compare import smooth
from .scenes import PANELS, Show

POINTS = 400  # vertices of a curve: more than that the pixels do not show
GREY = "#8A8A8A"
UNNAMED = {"label": "_"}  # not in the legend
GUESSING = {"color": "#777777", "linewidth": 1, "linestyle": ":"}


def cuts(n: int) -> np.ndarray:
    """Indices at which to draw ``n`` values, at most ``POINTS`` of them, evenly spaced from 0 on."""
    return np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(int))


def _note(axis) -> Text:
    """Room for the state at the top of a panel."""
    return axis.text(0.97, 1.025, "", ha="right", weight="bold", transform=axis.transAxes, animated=True)


def curves_by_rate(outcomes: Iterable, span: int) -> dict[str, dict[float, list[np.ndarray]]]:
    """Training losses of a sweep, each a mean of ``span`` steps: network → rate → one array per seed.

    Args:
        outcomes: ``ranking.Outcome``, whose variant is (rate, network).
    """
    found = {}
    for outcome in outcomes:
        rate, network = outcome.variant
        losses = [smooth(run.steps["loss"], span) for run in outcome.runs]
        found.setdefault(network, {})[float(rate)] = losses
    return found


def rate_curves(figure: Figure, curves: Mapping[str, Mapping[float, Sequence]]) -> Show:
    """Training loss at every rate in grey, at one in colour (``show(rate)``), a panel per network.

    Args:
        curves: what ``curves_by_rate`` returns; an array that ends before the longest belongs to a run that diverged.
    """
    every = [curve for found in curves.values() for seeds in found.values() for curve in seeds]
    length, most = max(map(len, every)), max(len(seeds) for found in curves.values() for seeds in found.values())
    axes = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(**PANELS)
    lines, texts = {}, {}
    for axis, (network, found) in zip(axes, curves.items(), strict=True):
        for seeds in found.values():
            for curve in seeds:
                axis.plot(cuts(len(curve)), curve[cuts(len(curve))], color=GREY, linewidth=0.6, alpha=0.6)
        axis.axhline(LN10, **GUESSING)
        axis.set(title=network, xlabel="training step", xlim=(-0.01 * length, 1.02 * length), ylim=(0, 3))
        style = {"color": FIXED.get(network, "black"), "animated": True}
        lines[network] = [axis.plot([], [], linewidth=2, ms=9, mew=2.5, **style)[0] for _ in range(most)]
        texts[network] = axis.text(0.97, 0.9, "", ha="right", weight="bold", size=12, transform=axis.transAxes, **style)
    axes[0].set_ylabel("training loss (nats)")
    axes[-1].text(0.97, LN10 + 0.04, "ln 10: guessing", ha="right", transform=axes[-1].get_yaxis_transform(), size=9)
    title_of(figure, "One of the recorded rates in colour, every seed; the others grey")

    def show(rate: float) -> str:
        sentences = []
        for network, found in curves.items():
            if rate not in found:
                raise CourseError(f"{network}: no run at rate {rate:g} is recorded, only {', '.join(map(str, found))}.")
            ends = []
            for line, curve in zip(lines[network], [*found[rate], *[[]] * (most - len(found[rate]))], strict=True):
                at, ended = cuts(len(curve)) if len(curve) else [], 0 < len(curve) < length
                line.set(data=(at, np.asarray(curve)[at]), marker="x" if ended else "", markevery=[-1])
                ends += [f"diverged at step {len(curve) - 1}"] if ended else [f"{v:.2f}" for v in curve[-1:]]
            texts[network].set_text(f"rate {rate:g}")
            sentences.append(f"{network} ends at {', '.join(ends)}")
        return f"Rate {rate:g}: {'; '.join(sentences)} (nats, one number per seed; {LN10:.2f} is guessing)."

    return show


def band_at_step(figure: Figure, networks: Mapping, rates: Sequence[float]) -> Show:
    """The band of the loss over the rates, and the loss of every rate's model at one step: ``show(step)``.

    Args:
        networks: model → ``quantities.Band`` of the loss, a curve per rate, in the order of ``rates``.
    """
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    figure.subplots_adjust(**PANELS)
    order, ranges, models = np.argsort(rates), {}, {}
    for number, model in enumerate(in_order(networks)):
        band, style = networks[model], line_style(model)
        low, high, at = band.min_curve, band.max_curve, cuts(len(band.steps))
        edges = np.fmin.reduceat(low, at), np.fmax.reduceat(high, at)
        left.fill_between(at, *edges, color=style["color"], alpha=0.28, linewidth=0)
        moving = {"color": style["color"], "animated": True, "zorder": 3}
        ranges[model] = left.plot([], [], linewidth=8 - 4 * number, solid_capstyle="butt", **moving)[0], low, high
        right.plot([], [], **style, marker="os"[number % 2], ms=7)
        models[model] = right.plot([], [], **style | moving | UNNAMED, marker="os"[number % 2], ms=7)[0]
    where, note = left.axvline(0, color="black", linewidth=1, animated=True), _note(left)
    left.set(xlabel="training step", ylabel="training loss (nats)")
    left.set_title("smallest to largest loss over the rates", loc="left")
    left.set_xlim(-1, max(len(band.steps) for band in networks.values()))
    left.set_ylim(0, min(6, 1.05 * max(np.nanmax(band.max_curve) for band in networks.values())))
    right.axhline(LN10, **GUESSING)
    right.set(xscale="log", xlabel="learning rate (log)", title="the models there; dotted: ln 10")
    right.set_xlim(min(rates) / 1.3, max(rates) * 1.3)
    right.set_xticks(rates, [f"{rate:g}" for rate in rates])
    right.minorticks_off()
    legend(right, loc="upper left", fontsize=9)
    title_of(figure, "The band, step by step: one model per rate")

    def show(step: int) -> str:
        sentences = []
        for model, (line, low, high) in ranges.items():
            if not 0 <= step < len(low):
                raise CourseError(f"{network_name(model)} has steps 0 to {len(low) - 1}, so none numbered {step}.")
            line.set_data([step] * 2, [low[step], high[step]])
            models[model].set_data(np.asarray(rates)[order], networks[model].curves[order, step])
            width = f"({high[step] - low[step]:.2f} wide)"
            sentences.append(f"{network_name(model)} {low[step]:.2f} to {high[step]:.2f} {width}")
        where.set_xdata([step] * 2)
        note.set_text(f"step {step}")
        return f"Step {step}: {'; '.join(sentences)}, in nats."

    return show


# --- Along the gradient --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Walk:
    """What a run's probe along the gradient measured.

    Attributes:
        etas: (m,) step lengths, 0 the first; steps: (n,) where it was measured.
        losses: (n, m); slope: (n,) ‖g‖², by which the loss falls at first per unit of η.
        rate: the run's learning rate.
    """

    etas: np.ndarray
    steps: np.ndarray
    losses: np.ndarray
    slope: np.ndarray
    rate: float

    @classmethod
    def of(cls, run, probe) -> "Walk":
        """Read it from a record.

        Raises:
            CourseError: the record has no such probe.
        """
        if probe not in run.probes:
            raise CourseError(f"{run.config.describe()} was read without its probe along the gradient.")
        found = run.probes[probe]
        start, losses, norm = (np.asarray(found[n], dtype=np.float64) for n in ("start_loss", "loss", "gradient_norm"))
        losses = np.column_stack([start, losses])
        steps = np.asarray(found["step"])
        return cls(np.array([0, *probe.etas]), steps, losses, norm**2, run.config.lr)


def along_gradient(figure: Figure, walks: Mapping[int, Mapping[str, Walk]]) -> Show:
    """Loss along the gradient from one step's weights, and what the gradient promised: ``show(step, seed)``.

    Args:
        walks: seed → model → ``Walk``.
    """
    every = [walk for found in walks.values() for walk in found.values()]
    names = in_order(next(iter(walks.values())))
    axes = dict(zip(names, figure.subplots(1, len(names), sharey=True, squeeze=False)[0], strict=True))
    figure.subplots_adjust(**PANELS)
    moving, reach = {}, max(walk.etas[-1] for walk in every)
    for model, axis in axes.items():
        style = line_style(model)
        measured, promised = {"marker": "o", "ms": 5} | style, {"color": "black", "linewidth": 1.3, "linestyle": ":"}
        axis.plot([], [], **measured | {"label": "measured on the way"})
        axis.plot([], [], **promised, label="promised: L − η‖g‖²")
        axis.axvline(every[0].rate, color="#777777", linewidth=1, linestyle=(0, (6, 3)))
        span = axis.axhspan(0, 0, color=style["color"], alpha=0.18, linewidth=0, animated=True)
        lines = [axis.plot([], [], **kind | UNNAMED | {"animated": True})[0] for kind in (promised, measured)]
        moving[model] = span, *lines, _note(axis)
        axis.set_title(style["label"], loc="left")
        axis.set(xlabel="rate η (dashed: the run's own)")
        axis.set_xlim(-0.02 * reach, 1.02 * reach)
        legend(axis, loc="upper right", fontsize=9)
    heights = np.concatenate([walk.losses.ravel() for walk in every])
    first = axes[names[0]]
    first.set(ylim=(0, min(8, 1.5 * np.percentile(heights[np.isfinite(heights)], 90))))
    first.set_ylabel("L(w(η)) on the same batch (nats)")
    title_of(figure, "From one step's weights along the gradient, on the same batch")

    def show(step: int, seed: int) -> str:
        sentences = []
        for model, (span, promised, measured, note) in moving.items():
            walk = walks[seed][model]
            if step not in walk.steps:
                raise CourseError(f"{network_name(model)} was not measured at step {step}.")
            row = int(np.searchsorted(walk.steps, step))
            losses = np.where(np.isfinite(walk.losses[row]), walk.losses[row], np.nan)
            low, high = np.fmin.reduce(losses[1:]), np.fmax.reduce(losses[1:])
            measured.set_data(walk.etas, losses)
            promised.set_data(walk.etas, losses[0] - walk.etas * walk.slope[row])
            note.set_text(f"step {step}")
            span.set(y=low, height=high - low)
            sentences.append(f"{network_name(model)} from {losses[0]:.2f} to between {low:.2f} and {high:.2f}")
        return f"Step {step}, seed {seed}: the loss goes {'; '.join(sentences)} (nats; shaded: that band)."

    return show


# --- The path on the surface ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """A training path in its plane, the loss along it read from the surface; straight between two snapshots.

    Attributes:
        label: whose it is; steps: (n,) of the snapshots and the end; points: (n, 2) coordinates.
        losses: (y, x), all finite, over ``up`` and ``across``.
    """

    label: str
    steps: np.ndarray
    points: np.ndarray
    losses: np.ndarray
    up: np.ndarray
    across: np.ndarray

    @classmethod
    def all_of(cls, plane: Mapping) -> "list[Path]":
        """Read them from what ``inside.surface.along_paths`` returns."""
        losses, up, across = (np.asarray(plane[name], dtype=np.float64) for name in ("losses", "up", "across"))
        highest = np.max(losses, where=np.isfinite(losses), initial=1e-3)
        losses = np.clip(np.nan_to_num(losses, nan=highest, posinf=highest), 1e-3, None)
        walked = zip(plane["labels"], plane["steps"], plane["paths"], strict=True)
        return [cls(label, np.asarray(steps), np.asarray(path), losses, up, across) for label, steps, path in walked]

    def at(self, step) -> np.ndarray:
        """(…, 2) coordinates at steps."""
        return np.stack([np.interp(step, self.steps, self.points[:, axis]) for axis in (0, 1)], axis=-1)

    def loss(self, step) -> np.ndarray:
        """Loss at steps, between the points of the surface on a logarithmic scale."""
        return np.exp(RegularGridInterpolator((self.up, self.across), np.log(self.losses))(self.at(step)[..., ::-1]))


def paths_on_surface(figure: Figure, planes: Mapping[str, Mapping]) -> Show:
    """Loss in the plane of each network's training paths, one position along each, and the loss along them.

    Args:
        planes: network → what ``inside.surface.along_paths`` returns.

    Returns:
        ``show(step)``.
    """
    found = {name: Path.all_of(plane) for name, plane in planes.items()}
    values = np.concatenate([paths[0].losses.ravel() for paths in found.values()])
    levels = np.geomspace(0.98 * values.min(), max(np.percentile(values, 95), 1.5 * values.min()), 12)
    room = PANELS | {"left": 0.085, "right": 0.57, "top": 0.78, "wspace": 0.26}
    axes = figure.subplots(1, len(found), gridspec_kw=room, squeeze=False)[0]
    scale = figure.add_axes((0.585, 0.14, 0.012, 0.64))
    room = room | {"left": 0.725, "right": 0.985, "hspace": 0.3}
    sides = figure.subplots(len(found), 1, sharex=True, sharey=True, gridspec_kw=room, squeeze=False)[:, 0]
    stars: dict[tuple[str, str], list] = {}
    for axis, side, (name, paths) in zip(axes, sides, found.items(), strict=True):
        options = {"levels": levels, "cmap": "cividis", "norm": "log", "extend": "max"}
        filled = axis.contourf(paths[0].across, paths[0].up, paths[0].losses, **options)
        axis.set(title=name, xlabel="first component")
        for number, path in enumerate(paths):
            style = path_style(number)
            axis.plot(*path.points.T, **style | {"ms": 4, "linewidth": 1.5}, label=path.label)
            steps, moving = np.linspace(path.steps[0], path.steps[-1], 200), {"animated": True, "zorder": 4}
            side.plot(steps, path.loss(steps), color=style["color"], linestyle=style["linestyle"])
            moving |= {"color": style["color"], "mec": "white", "mew": 1.2, "ms": 15}
            stars[name, path.label] = [part.plot([], [], "*P"[number % 2], **moving)[0] for part in (axis, side)]
        side.set_title(name, loc="left")
    axes[0].set_ylabel("second component")
    bar = figure.colorbar(filled, cax=scale)
    bar.ax.set_title("nats", fontsize=9)
    bar.set_ticks(levels[::3], labels=[f"{level:.2g}" for level in levels[::3]])
    sides[-1].set(xlabel="training step", ylim=(0, None))
    figure.supylabel("loss under them (nats)", x=0.655, y=0.46, fontsize=10)
    note = _note(sides[0])
    figure.legend(*axes[0].get_legend_handles_labels(), loc=(0.08, 0.865), ncols=2, fontsize=9)
    title_of(figure, "Two training paths on one surface, and the loss under them")

    def show(step: int) -> str:
        sentences = []
        for name, paths in found.items():
            losses = []
            for path in paths:
                if not path.steps[0] <= step <= path.steps[-1]:
                    raise CourseError(f"{name}: the paths go from step {path.steps[0]} to {path.steps[-1]}.")
                point, loss = path.at(step), float(path.loss(step)[0])
                stars[name, path.label][0].set_data(*point[:, None])
                stars[name, path.label][1].set_data([step], [loss])
                losses.append(f"{loss:.2f} ({path.label})")
            apart = np.linalg.norm(paths[0].at(step) - paths[-1].at(step))
            sentences.append(f"{name}: loss {' and '.join(losses)} nats, {apart:.2g} apart")
        note.set_text(f"step {step}")
        return f"Step {step}, in the plane. {'; '.join(sentences)}."

    return show
