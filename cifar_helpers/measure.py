"""The handout's proxy for the loss landscape, from recorded arrays (SPEC §7), and paired comparisons.

The proxy compares separately trained models, one per learning rate, at the same step. Runs enter as records that have a
``config`` and ``steps``; arrays come out, so that what a figure shows can be computed again by hand.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats

from .env import CourseError

WINDOW = (0.8, 1.0)  # share of a run over which networks are compared, declared before looking


@dataclass(frozen=True)
class Band:
    """One curve per run and their envelope at each step.

    Attributes:
        steps: (n,) step numbers.
        curves: (runs, n); NaN where a run has no value (before its first, or after it diverged).
        min_curve, max_curve: (n,) smallest and largest value over the runs at the same step.
        labels: one per curve.
    """

    steps: np.ndarray
    curves: np.ndarray
    labels: tuple[str, ...]

    @property
    def min_curve(self) -> np.ndarray:
        return _envelope(np.fmin, self.curves)

    @property
    def max_curve(self) -> np.ndarray:
        return _envelope(np.fmax, self.curves)


def _envelope(extreme: np.ufunc, curves: np.ndarray) -> np.ndarray:
    return extreme.reduce(curves, axis=0)  # fmin and fmax pass over NaN, and give NaN where there is nothing else


def _band(runs: Sequence, values: Callable) -> Band:
    if not runs:
        raise CourseError("No runs to compare: give at least one record.")
    curves = [np.asarray(values(run), dtype=np.float64) for run in runs]
    length = max(map(len, curves))
    padded = np.full((len(runs), length), np.nan)
    for row, curve in zip(padded, curves, strict=True):
        row[: len(curve)] = curve
    labels = tuple(f"lr {run.config.lr:g}, seed {run.config.seed}" for run in runs)
    return Band(np.arange(length), padded, labels)


def _column(run, name: str, layer: str) -> np.ndarray:
    if layer not in ("all", "output"):
        raise CourseError(f"Unknown layer {layer!r}; choose 'all' (every parameter) or 'output'.")
    name += "_out" if layer == "output" else ""
    if name not in run.steps:
        known = ", ".join(sorted(run.steps))
        raise CourseError(
            f"{run.config.describe()} has no {name}; it has {known}. Record it with gradients=True and gaps."
        )
    return run.steps[name]


def loss_band(runs: Sequence) -> Band:
    """Loss landscape of the handout (§2.3.1): training loss of every run at the same step, with its envelope."""
    return _band(runs, lambda run: run.steps["loss"])


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
    return _band(runs, lambda run: _column(run, f"grad_dist_{gap}", layer))


def VGG_Beta_Smooth(runs: Sequence, layer: str = "all") -> Band:
    """Effective β-smoothness of the handout (§2.4.2): β_t = ‖g_t − g_{t−1}‖₂ / ‖w_t − w_{t−1}‖₂ at every step.

    Numerator and denominator are over the same parameters and the same two steps. The handout's maximum over rates is
    ``max_curve``. A step that did not move the weights has no β (NaN).

    The arguments and errors are those of ``VGG_Grad_Pred``.
    """

    def beta(run) -> np.ndarray:
        moved = _column(run, "moved", layer)
        return np.divide(_column(run, "grad_dist_1", layer), moved, out=np.full_like(moved, np.nan), where=moved > 0)

    return _band(runs, beta)


def relative_move(runs: Sequence, layer: str = "all") -> Band:
    """‖w_t − w_{t−1}‖₂ / ‖w_t‖₂: how far a step went, in units of where it went from."""
    return _band(runs, lambda run: _column(run, "moved", layer) / _column(run, "weight_norm", layer))


# --- Paired comparison ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paired:
    """Difference of paired values.

    Attributes:
        values: (n,) one difference per pair.
        mean: their mean.
        interval: 95 % confidence interval of the mean (Student's t over pairs); None for fewer than two pairs.
    """

    values: np.ndarray
    mean: float
    interval: tuple[float, float] | None

    @property
    def decided(self) -> bool:
        """Whether there is a finite interval and it leaves out zero."""
        finite = self.interval is not None and np.isfinite(self.interval).all()
        return bool(finite) and not self.interval[0] <= 0 <= self.interval[1]


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """Compare ``b`` with ``a`` pair by pair: mean of b − a, and its 95 % t interval where n ≥ 2.

    Raises:
        CourseError: nothing to compare, or the lengths differ.
    """
    difference = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    if len(a) != len(b) or not len(difference):
        raise CourseError(f"A paired comparison needs equally many values on both sides, not {len(a)} and {len(b)}.")
    mean, n = float(difference.mean()), len(difference)
    if n < 2:
        return Paired(difference, mean, None)
    half = float(stats.t.ppf(0.975, n - 1) * difference.std(ddof=1) / np.sqrt(n))
    return Paired(difference, mean, (mean - half, mean + half))


NOT_TRAINING = 0.05  # nats: a training loss this close to ln 10 is that of guessing


def is_training(run, window: tuple[float, float] = WINDOW) -> bool:
    """Whether the mean training loss over the window is below that of guessing, ln 10, by more than 0.05 nats.

    The gradient quantities of a stuck net look smooth because nothing happens; a table has to say so.
    """
    return not _diverged(run) and window_mean(run.steps["loss"], window) < np.log(10) - NOT_TRAINING


def stuck_runs(runs: Sequence) -> str:
    """The runs that do not train, in words, for a caption; empty where all do."""
    stuck = [f"{r.config.model} at rate {r.config.lr:g}, seed {r.config.seed}" for r in runs if not is_training(r)]
    return f"Not training at the end: {'; '.join(stuck)}." if stuck else ""


def _pairs(plain: Sequence, other: Sequence):
    """Yield (rate, plain runs, other runs), paired by seed, for every rate in the order of ``plain``."""
    for rate in dict.fromkeys(run.config.lr for run in plain):
        sides = [{r.config.seed: r for r in runs if r.config.lr == rate} for runs in (plain, other)]
        seeds = sorted(set(sides[0]) & set(sides[1]))
        if not seeds:
            raise CourseError(f"At rate {rate:g} no seed was run with both networks.")
        yield rate, [sides[0][seed] for seed in seeds], [sides[1][seed] for seed in seeds]


def same_step_rows(plain: Sequence, other: Sequence, window: tuple[float, float] = WINDOW) -> list[dict]:
    """Who is ahead in training loss at the same step, for every rate, paired by seed.

    Args:
        plain, other: records of the two networks at the same rates and seeds.
        window: share of the run whose mean loss is compared.

    Returns:
        One dict per rate: ``rate``, ``plain`` and ``other`` (mean loss over seeds, nats), ``paired`` (``Paired``, other
        minus plain; pairs with a diverged run are left out, and None if none is left), ``verdict`` in words, whatever
        the sign, and ``note`` where a network diverged or does not train.

    Raises:
        CourseError: a rate has no pair of equal seeds.
    """

    def loss(run) -> float:
        return window_mean(run.steps["loss"], window)

    rows = []
    for rate, *sides in _pairs(plain, other):
        row = {"rate": rate} | _compare(sides, loss)
        rows.append(row | {"verdict": _in_words(_ahead, sides, loss, window), "note": _stuck_note(sides, window)})
    return rows


def _compare(sides: Sequence[Sequence], value: Callable) -> dict:
    """Mean value of each side and their paired difference, over the pairs in which neither run diverged."""
    whole = [pair for pair in zip(*sides, strict=True) if not any(map(_diverged, pair))]
    if not whole:
        return {"plain": float("nan"), "other": float("nan"), "paired": None}
    a, b = ([value(run) for run in side] for side in zip(*whole, strict=True))
    return {"plain": float(np.mean(a)), "other": float(np.mean(b)), "paired": paired(a, b)}


def _stuck_note(sides: Sequence[Sequence], window: tuple[float, float]) -> str:
    notes = []
    for name, runs in zip(("no BN", "BN"), sides, strict=True):
        gone = sum(map(_diverged, runs))
        stuck = sum(not is_training(run, window) for run in runs) - gone
        for count, what in ((gone, "diverged"), (stuck, "not training")):
            of_seeds = f" ({count} of {len(runs)} seeds)" if len(runs) > 1 else ""
            notes += [f"{name} {what}{of_seeds}"] if count else []
    return "; ".join(notes)


def _ahead(result: Paired) -> str:
    if result.mean == 0:
        return f"equal (n = {len(result.values)})"
    n, leader = len(result.values), "BN" if result.mean < 0 else "no BN"
    ahead = sum(np.sign(result.values) == np.sign(result.mean))
    if result.interval is None:
        return f"{leader} ahead by {abs(result.mean):.3f} nats (n = {n}, no interval)"
    interval = f"95 % interval of BN − no BN {result.interval[0]:+.3f} to {result.interval[1]:+.3f}, n = {n}"
    if not result.decided:
        return f"not decided: BN − no BN {result.mean:+.3f} nats ({interval}; {leader} ahead in {ahead} of {n} seeds)"
    return f"{leader} ahead by {abs(result.mean):.3f} nats ({interval})"


def ratio_rows(
    plain: Sequence, other: Sequence, quantity: Callable, window: tuple[float, float] = WINDOW
) -> list[dict]:
    """Ratio of a per-step quantity between the two networks at the same steps, for every rate, paired by seed.

    Args:
        quantity: gives the ``Band`` of a list of runs, for instance ``VGG_Beta_Smooth``.
        window: share of the run over which the quantity is averaged.

    Returns:
        One dict per rate: ``rate``, ``plain`` and ``other`` (geometric means over seeds), ``paired`` (of logarithms),
        ``ratio`` in words with its 95 % interval (paired t on log-ratios), ``note`` where a network does not
        train, and both as ``in_words``.

    Raises:
        CourseError: a rate has no pair of equal seeds, or the quantity was not recorded.
    """

    def log(run) -> float:
        return np.log(window_mean(quantity([run]).curves[0], window))

    rows = []
    for rate, *sides in _pairs(plain, other):
        logs = _compare(sides, log)
        row = {"rate": rate, "plain": np.exp(logs["plain"]), "other": np.exp(logs["other"]), "paired": logs["paired"]}
        ratio, note = _in_words(ratio_text, sides, log, window), _stuck_note(sides, window)
        rows.append(row | {"ratio": ratio, "note": note, "in_words": f"{ratio} — {note}" if note else ratio})
    return rows


def _in_words(say: Callable, sides: Sequence[Sequence], value: Callable, window: tuple[float, float]) -> str:
    """The comparison over all seeds, and where some but not all train with both networks, over those as well."""
    result = _compare(sides, value)["paired"]
    text = say(result) if result else "not compared: no pair of seeds without divergence"
    both = [pair for pair in zip(*sides, strict=True) if all(is_training(run, window) for run in pair)]
    if both and len(both) < len(sides[0]):
        text += f"; where both train: {say(_compare(list(zip(*both, strict=True)), value)['paired'])}"
    return text


def ratio_text(result: Paired) -> str:
    """A ratio with its interval in words, from differences of logarithms."""
    n, ratio = len(result.values), f"{np.exp(result.mean):.2f}"
    if result.interval is None:
        return f"{ratio} (n = {n}, no interval)"
    low, high = np.exp(result.interval)
    undecided = "" if result.decided else ", includes 1"
    return f"{ratio} (95 % interval {low:.3g} to {high:.3g}, n = {n}{undecided})"


def window_mean(curve: np.ndarray, window: tuple[float, float] = WINDOW) -> float:
    """Mean of a curve over a share of its length, (0.8, 1.0) being the last fifth.

    NaN, a step without a value, is left out; the mean of nothing is NaN.
    """
    start, stop = (round(share * len(curve)) for share in window)
    part = np.asarray(curve[min(start, stop - 1) : stop], dtype=np.float64)
    part = part[~np.isnan(part)]
    return float(part.mean()) if len(part) else float("nan")


def _diverged(run) -> bool:
    return getattr(run, "diverged_at", None) is not None


def smooth(curve: np.ndarray, span: int) -> np.ndarray:
    """Centred moving average over ``span`` values, shorter at the ends; NaN is left out of the average."""
    curve = np.asarray(curve, dtype=np.float64)
    known = np.isfinite(curve)
    ones = np.ones(min(span, len(curve)))
    total = np.convolve(np.where(known, curve, 0.0), ones, "same")
    count = np.convolve(known.astype(float), ones, "same")
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


# --- bf16 against fp32 ---------------------------------------------------------------------------------------------


def precision_gap(model, first, second, lr: float, contexts: dict) -> dict:
    """How far bf16 recordings are from fp32 ones at identical weights and batches.

    From the model's weights, one signed step of size ``lr`` (what Adam's first step does) leads to a second point. At
    both points the gradient is taken in each precision. The model's weights are put back.

    Args:
        model: in training mode; its weights are the first point.
        first, second: the two points' batches, (images, labels).
        lr: size of the step.
        contexts: ``{"fp32": make_context, "bf16": make_context}`` of the forward pass.

    Returns:
        Relative gaps |bf16 / fp32 − 1| of ``loss``, ``grad_norm`` and ``grad_dist_1`` (β has the same gap, as both
        precisions move equally far), and ``gradient``: ‖g_bf16 − g_fp32‖₂ / ‖g_fp32‖₂.
    """
    parameters = list(model.parameters())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def gradient(batch, context):
        with context():
            loss = F.cross_entropy(model(batch[0]).float(), batch[1])
        return loss.item(), [g.detach() for g in torch.autograd.grad(loss, parameters)]

    def norm(tensors) -> float:
        return math.sqrt(sum(value**2 for value in torch.stack([t.norm() for t in tensors]).tolist()))

    here = {name: gradient(first, context) for name, context in contexts.items()}
    with torch.no_grad():
        for parameter, g in zip(parameters, here["fp32"][1], strict=True):
            parameter.sub_(lr * g.sign())
    there = {name: gradient(second, context) for name, context in contexts.items()}
    model.load_state_dict(state)
    values = {
        name: (here[name][0], norm(here[name][1]), norm(torch._foreach_sub(there[name][1], here[name][1])))
        for name in contexts
    }
    gaps = [abs(low / full - 1) for low, full in zip(values["bf16"], values["fp32"], strict=True)]
    apart = norm(torch._foreach_sub(here["bf16"][1], here["fp32"][1])) / norm(here["fp32"][1])
    return dict(zip(("loss", "grad_norm", "grad_dist_1"), gaps, strict=True)) | {"gradient": apart}
