"""The handout's proxy for the loss landscape, from recorded arrays, and the paper's direct probe.

The proxy compares separately trained models, one per learning rate, at the same step. Runs enter as records that have a
``config`` and ``steps``; arrays come out, so that what a figure shows can be computed again by hand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..env import CourseError


@dataclass(frozen=True)
class Band:
    """One curve per run and their envelope at each step.

    Attributes:
        steps: (n,) step numbers.
        curves: (runs, n); NaN where a run has no value (before its first, or after it diverged).
        min_curve, max_curve: (n,) smallest and largest value over the runs at the same step.
    """

    steps: np.ndarray
    curves: np.ndarray

    @property
    def min_curve(self) -> np.ndarray:
        return _envelope(np.fmin, self.curves)

    @property
    def max_curve(self) -> np.ndarray:
        return _envelope(np.fmax, self.curves)


def _envelope(extreme: np.ufunc, curves: np.ndarray) -> np.ndarray:
    return extreme.reduce(curves, axis=0)  # fmin and fmax pass over NaN, and give NaN where there is nothing else


def _band(curves: Sequence) -> Band:
    if not curves:
        raise CourseError("No runs to compare: give at least one record.")
    length = max(map(len, curves))
    padded = np.full((len(curves), length), np.nan)
    for row, curve in zip(padded, curves, strict=True):
        row[: len(curve)] = curve
    return Band(np.arange(length), padded)


def _column(run, name: str, layer: str) -> np.ndarray:
    name += _layer_suffix(layer)
    if name not in run.steps:
        known = ", ".join(sorted(run.steps))
        raise CourseError(
            f"{run.config.describe()} has no {name}; it has {known}. Record it with gradients=True and gaps."
        )
    return run.steps[name]


def loss_band(runs: Sequence, smooth: Callable = lambda loss: loss) -> Band:
    """Loss landscape of the handout (§2.3.1): every run's training loss, first ``smooth``ed, at the same step."""
    return _band([smooth(run.steps["loss"]) for run in runs])


@dataclass(frozen=True)
class Sweep:
    """The models of one network and one seed over the rates, seen as one: what a band of the proxy is made of.

    Attributes:
        config: that of the first model; its seed pairs sweeps.
        steps: ``loss``, the mean over the rates, and ``width``, largest − smallest loss, at every step.
        diverged_at: the first step at which a model diverged; None if none did.
    """

    config: object
    steps: dict[str, np.ndarray]
    diverged_at: int | None


def seeds_at_every_rate(runs: Sequence) -> list[int]:
    """Seeds that were run at all rates with every network: those that have a whole band.

    Raises:
        CourseError: fewer than two rates.
    """
    settings = {(run.config.model, run.config.lr) for run in runs}
    if len({lr for _, lr in settings}) < 2:
        raise CourseError("A band over learning rates needs at least two of them.")
    seeds = {run.config.seed for run in runs}
    return [seed for seed in sorted(seeds) if sum(run.config.seed == seed for run in runs) == len(settings)]


def sweeps(runs: Sequence) -> list[Sweep]:
    """One ``Sweep`` per seed from the runs of one network, over all their rates; the errors are those of the bands."""
    found = []
    for seed in seeds_at_every_rate(runs):
        mine = [run for run in runs if run.config.seed == seed]
        band = loss_band(mine)
        steps = {"loss": np.nanmean(band.curves, axis=0), "width": band.max_curve - band.min_curve}
        ends = [run.diverged_at for run in mine if getattr(run, "diverged_at", None) is not None]
        found.append(Sweep(mine[0].config, steps, min(ends, default=None)))
    return found


def sweep_width(found: Sequence[Sweep]) -> Band:
    """Width of the band over the rates at every step, a curve per sweep."""
    return _band([sweep.steps["width"] for sweep in found])


def VGG_Grad_Pred(runs: Sequence, gap: int = 1, layer: str = "all") -> Band:
    """Gradient predictiveness of the handout (§2.4.1): ‖g_t − g_{t−gap}‖₂ of every run at every step.

    Args:
        runs: records of one network at several rates.
        gap: distance in steps; must have been recorded.
        layer: ``all`` parameters, or the ``output`` layer alone.

    Raises:
        CourseError: no runs, or the quantity was not recorded.
    """
    if runs and (recorded := runs[0].config.gaps) and gap not in recorded and f"grad_dist_{gap}" not in runs[0].steps:
        raise CourseError(f"A gap of {gap} was not recorded; choose one of {', '.join(map(str, recorded))}.")
    return _band([_column(run, f"grad_dist_{gap}", layer) for run in runs])


def direction(runs: Sequence) -> Band:
    """Cosine of the angle between the gradients of successive steps, of every run at every step.

    1 is the same direction. Recorded are lengths and distance, and the law of cosines gives the angle:
    ‖g_t − g_{t−1}‖² = ‖g_t‖² + ‖g_{t−1}‖² − 2 ‖g_t‖ ‖g_{t−1}‖ cos. NaN at the first step, and where a gradient is zero.

    Raises:
        CourseError: no runs, or the quantity was not recorded.
    """

    def cosine(run) -> np.ndarray:
        norm, distance = _column(run, "grad_norm", "all"), _column(run, "grad_dist_1", "all")
        before = np.concatenate([[np.nan], norm[:-1]])
        return _over(norm**2 + before**2 - distance**2, 2 * norm * before)

    return _band([cosine(run) for run in runs])


def VGG_Beta_Smooth(runs: Sequence, layer: str = "all") -> Band:
    """Effective β-smoothness of the handout (§2.4.2): β_t = ‖g_t − g_{t−1}‖₂ / ‖w_t − w_{t−1}‖₂ at every step.

    Numerator and denominator are over the same parameters and the same two steps. The handout's maximum over rates is
    ``max_curve``. A step that did not move the weights has no β (NaN).

    The arguments and errors are those of ``VGG_Grad_Pred``.
    """

    def beta(run) -> np.ndarray:
        moved = _column(run, "moved", layer)
        return np.divide(_column(run, "grad_dist_1", layer), moved, out=np.full_like(moved, np.nan), where=moved > 0)

    return _band([beta(run) for run in runs])


def relative_move(runs: Sequence, layer: str = "all") -> Band:
    """‖w_t − w_{t−1}‖₂ / ‖w_t‖₂: how far a step went, in units of where it went from."""
    return _band([_column(run, "moved", layer) / _column(run, "weight_norm", layer) for run in runs])


def _over(numerator, denominator) -> np.ndarray:
    """Quotient, NaN where the denominator is zero or not a number."""
    numerator, denominator = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (numerator, denominator)))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def probe_values(found, quantity: str, layer: str = "all") -> np.ndarray:
    """What a recorded probe found at every η: (n, m), by step and step length; NaN where the loss is not finite.

    Args:
        found: the ``ProbeRecord`` of a probe along the gradient.
        quantity: ``loss`` L(w(η)), ``change`` |L(w(η)) − L(w)|, ``distance`` ‖∇L(w(η)) − g‖₂, or ``beta``, that
            distance over η‖g‖₂.
        layer: ``all`` parameters or the ``output`` layer: of ``distance`` and ``beta``, numerator and denominator. The
            way itself is always along all parameters.

    Raises:
        CourseError: an unknown quantity or layer.
    """
    part = _layer_suffix(layer)
    loss = np.where(np.isfinite(found["loss"]), found["loss"], np.nan).astype(np.float64)
    if quantity == "loss":
        return loss
    if quantity == "change":  # free of the scale of the weights, as is the loss itself
        return np.abs(loss - found["start_loss"][:, None])
    if quantity == "distance":
        return found[f"gradient_distance{part}"].astype(np.float64)
    if quantity == "beta":
        moved = np.asarray(found.config.etas) * found[f"gradient_norm{part}"][:, None]
        return _over(found[f"gradient_distance{part}"], moved)
    raise CourseError(f"Unknown quantity {quantity!r} of a probe; choose loss, change, distance or beta.")


def at_shortest(found) -> float:
    """Share of the probes in a ``ProbeRecord`` whose largest β is that of the shortest step; NaN without any.

    If that step uses the gradient up, ‖Δg‖ ≈ ‖g‖, such a β is one over the step, whatever the curvature.
    """
    beta = probe_values(found, "beta")
    beta = beta[np.isfinite(beta).any(axis=1)]
    return float(np.mean(np.nanargmax(beta, axis=1) == np.argmin(found.config.etas))) if len(beta) else float("nan")


def relative_distance(found) -> np.ndarray:
    """η‖g‖₂ / ‖w‖₂ of a recorded probe, (n, m): how far it went, in units of where it went from."""
    return np.asarray(found.config.etas) * (found["gradient_norm"] / found["weight_norm"])[:, None]


def probe_cloud(run, probe, quantity: str, scale_free: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps (n,), relative distances (n, m) and values (n, m) of a run's probe, for a comparison over distance.

    Args:
        quantity: as in ``probe_values``; for ``loss`` the values are those of ``change``.
        scale_free: multiply a gradient distance by ‖w‖ and β by ‖w‖²: both are then in nats, and stay the same when
            weights to whose scale the network is indifferent are scaled.
    """
    found = _probe(run, probe)
    values = probe_values(found, "change" if quantity == "loss" else quantity)
    power = {"distance": 1, "beta": 2}.get(quantity, 0) if scale_free else 0
    return found["step"], relative_distance(found), values * found["weight_norm"][:, None].astype(np.float64) ** power


def probe_band(run, probe, quantity: str, layer: str = "all") -> Band:
    """One run's quantity along its probe, one curve per η: the paper's band is ``min_curve`` to ``max_curve``.

    The arguments are those of ``probe_values``, with the run and the ``ProbeConfig`` that was recorded.
    """
    found = _probe(run, probe)
    return Band(found["step"], probe_values(found, quantity, layer).T)


def probe_summary(runs: Sequence, probe, quantity: str, layer: str = "all") -> Band:
    """The one number per probe that stands for it in every comparison, fixed beforehand; one curve per run.

    For the loss it is the width of its band, max − min over η; for the gradient distance and for β, the largest over η
    (the paper's effective β).
    """

    found = [probe_band(run, probe, quantity, layer) for run in runs]
    curves = [band.max_curve - band.min_curve if quantity == "loss" else band.max_curve for band in found]
    return _at_steps([band.steps for band in found], curves)


def same_batch(runs: Sequence, probe, quantity: str, layer: str = "all") -> Band:
    """The handout's proxy with both gradients on the *same* batch, at the steps where it was taken; one curve per run.

    Args:
        probe: the ``same_batch`` probe of the runs.
        quantity: ``distance`` ‖∇L(w_t; B) − ∇L(w_{t−1}; B)‖₂ with B = B_{t−1}, or ``beta``, that over ‖w_t − w_{t−1}‖₂.
    """
    part, steps, curves = _layer_suffix(layer), [], []
    for run in runs:
        found = _probe(run, probe)
        inside = found["step"] < len(run.steps["loss"])  # the last move has no step after it
        distance = found[f"gradient_distance{part}"].astype(np.float64)
        curve = _over(distance, found[f"moved{part}"]) if quantity == "beta" else distance
        steps.append(found["step"][inside])
        curves.append(curve[inside])
    return _at_steps(steps, curves)


def at_steps(band: Band, steps: np.ndarray) -> Band:
    """The part of a band at some of its steps."""
    where = np.searchsorted(band.steps, steps)
    return Band(band.steps[where], band.curves[:, where])


def _at_steps(steps: Sequence[np.ndarray], curves: Sequence[np.ndarray]) -> Band:
    padded = _band(curves).curves
    return Band(max(steps, key=len), padded)


def _probe(run, probe):
    if probe not in run.probes:
        raise CourseError(f"{run.config.describe()} was read without this probe: name it in get_runs(…, probes=[…]).")
    return run.probes[probe]


def _layer_suffix(layer: str) -> str:
    if layer not in ("all", "output"):
        raise CourseError(f"Unknown layer {layer!r}; choose 'all' (every parameter) or 'output'.")
    return "_out" if layer == "output" else ""


# --- What notebooks 05 to 07 call them --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantity:
    """How one of the paper's three quantities is called in the figures and tables of notebooks 05 to 07.

    Attributes:
        name: of ``probe_values``; unit: of it.
        axis, summary, cloud: labels of its band, of the one number per probe, and of it over relative distance.
        less, more: titles of what an interval may decide.
        proxy: the handout's measurement, from runs to a ``Band``; its label.
    """

    name: str
    unit: str
    axis: str
    summary: str
    cloud: str
    less: str
    more: str
    noun: str
    proxy: Callable = loss_band
    proxy_axis: str = "loss (nats)"

    @property
    def heading(self) -> str:
        """Its name at the head of a sentence."""
        return self.noun[0].upper() + self.noun[1:]


QUANTITIES = {  # number of the notebook → what it measures
    "05": Quantity(
        *("loss", "nats", "L(w − ηg), same batch (nats)", "max − min of L over η (nats)", "|L(w − ηg) − L(w)| (nats)"),
        *("Along the gradient the loss varies less with batch norm", "Along the gradient the loss varies more with BN"),
        "the loss along the gradient",
    ),
    "06": Quantity(
        *("distance", "nats per weight unit", "‖∇L(w − ηg) − g‖₂\n(nats per weight unit)"),
        *("max over η of ‖∇L(w − ηg) − g‖₂", "‖∇L(w − ηg) − g‖₂"),
        *("Along its own way the gradient changes less with BN", "Along its own way the gradient changes more with BN"),
        "the change of the gradient along its own way",
        *(VGG_Grad_Pred, "gradient distance ‖Δg‖₂\n(nats per weight unit)"),
    ),
    "07": Quantity(
        *("beta", "nats per weight unit²", "β(η) = ‖∇L(w − ηg) − g‖₂ / η‖g‖₂\n(nats per weight unit²)"),
        *("max over η of β (nats per weight unit²)", "β(η)"),
        *("β along the gradient is smaller with batch norm", "β along the gradient is larger with batch norm"),
        "the effective β along the gradient",
        *(VGG_Beta_Smooth, "β(t) = ‖Δg‖₂ / ‖Δw‖₂\n(nats per weight unit²)"),
    ),
}
