"""The handout's proxy for the loss landscape, from recorded arrays, and the paper's direct probe (SPEC §7).

The proxy compares separately trained models, one per learning rate, at the same step. Runs enter as records that have a
``config`` and ``steps``; arrays come out, so that what a figure shows can be computed again by hand.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .env import CourseError
from .prober import Prober


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
    name += _layer_suffix(layer)
    if name not in run.steps:
        known = ", ".join(sorted(run.steps))
        raise CourseError(
            f"{run.config.describe()} has no {name}; it has {known}. Record it with gradients=True and gaps."
        )
    return run.steps[name]


def loss_band(runs: Sequence, smooth: Callable = lambda loss: loss) -> Band:
    """Loss landscape of the handout (§2.3.1): training loss of every run at the same step, with its envelope.

    Args:
        smooth: applied to every run's loss first.
    """
    return _band(runs, lambda run: smooth(run.steps["loss"]))


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
    return _band(found, lambda sweep: sweep.steps["width"])


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


# --- The direct probe ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """Loss and gradient along the way −g from one point, on one batch (Santurkar et al. 2018, Fig. 4; SPEC §7).

    ``w(η) = w − η g`` with ``g = ∇L(w; B)``. Everything is over all parameters and on the same batch ``B``.

    Attributes:
        etas: (m,) step lengths η.
        loss: (m,) L(w(η); B), nats.
        gradient_distance: (m,) ‖∇L(w(η); B) − g‖₂, nats per weight unit; NaN where the loss is not finite.
        start_loss: L(w; B), nats.
        gradient_norm, weight_norm: ‖g‖₂ and ‖w‖₂.
    """

    etas: np.ndarray
    loss: np.ndarray
    gradient_distance: np.ndarray
    start_loss: float
    gradient_norm: float
    weight_norm: float

    @property
    def betas(self) -> np.ndarray:
        """(m,) ‖∇L(w(η)) − g‖₂ / (η ‖g‖₂), nats per weight unit²; NaN where there is none (g = 0, or diverged)."""
        return _over(self.gradient_distance, self.etas * self.gradient_norm)

    @property
    def beta(self) -> float:
        """Effective β: the largest of ``betas``; NaN where there is none."""
        return float(_envelope(np.fmax, self.betas))

    @property
    def diverged(self) -> np.ndarray:
        """(m,) whether the loss at this η is not finite."""
        return ~np.isfinite(self.loss)


def _over(numerator, denominator) -> np.ndarray:
    """Quotient, NaN where the denominator is zero or not a number."""
    numerator, denominator = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (numerator, denominator)))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def probe_along_gradient(
    model: torch.nn.Module,
    batch: tuple[torch.Tensor, torch.Tensor],
    etas: Sequence[float],
    loss_function: Callable = F.cross_entropy,
    *,
    mode: str = "train",
    precision: str = "fp32",
    start: tuple[torch.Tensor, Sequence] | None = None,
    random: dict | None = None,
) -> Probe:
    """Measure loss and gradient at w − η g for every η, and leave the model exactly as it was.

    Weights, buffers (running statistics of batch norm), gradients, mode and random state are never written to: the
    model is evaluated at a second set of weights, which together with g (if it is not given) is the memory taken,
    beside one layer's gradient at a time. Every evaluation
    draws the same random numbers, so the dropout mask is the same at every η.

    Args:
        model: any module of floating-point parameters; in training mode, as the paper's protocol has it.
        batch: (images, labels), on the model's device.
        etas: step lengths, positive.
        loss_function: called with (model(images), labels), gives a scalar.
        mode: ``train``, or ``eval`` to measure with the running statistics of batch norm and without dropout.
        precision: ``fp32`` or ``fp64``.
        start: (loss, gradients) at w on this batch if they are known, as after ``loss.backward()``; None among the
            gradients stands for zero. Used where they have this precision, else computed again.
        random: ``random_state`` before the forward pass of ``start``; the present one by default.

    Returns:
        A ``Probe``: ``loss``, ``gradient_distance`` and ``betas`` have a value per η, ``beta`` (the largest of them),
        ``start_loss``, ``gradient_norm`` and ``weight_norm`` are one number each.

    Raises:
        CourseError: an η that is not positive, an unknown mode or precision, a model in eval mode where the mode is
            ``train``, or a batch that is empty, no pair of tensors, or not what the model and the loss take.

    A loss that is not finite at some η is recorded as such; the other η stand.
    """
    still = [name or "the model" for name, module in model.named_modules() if not module.training]
    if mode == "train" and still:
        raise CourseError(
            f"The probe measures in training mode, but {still[0]} is in eval mode: call model.train(), or ask for "
            "mode='eval' to measure with running statistics."
        )
    if isinstance(etas, int | float):
        etas = (etas,)
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(t, torch.Tensor) for t in batch)):
        raise CourseError("A probe needs one batch, (images, labels) as two tensors: next(iter(loader)) gives one.")
    values = Prober(model, loss_function, mode=mode, precision=precision).along(batch, etas, start, random)
    arrays = {name: value.double().cpu().numpy() for name, value in values.items() if not name.endswith("_out")}
    scalars = {name: float(arrays.pop(name)) for name in ("start_loss", "gradient_norm", "weight_norm")}
    return Probe(np.asarray(etas, dtype=np.float64), **arrays, **scalars)


def hessian_products(model, batch, loss_function: Callable = F.cross_entropy) -> Callable[[Sequence], list]:
    """Products of the loss's Hessian with as many vectors as wanted, by double backward through one graph.

    Args:
        model, batch, loss_function: as in ``probe_along_gradient``; running statistics are updated as by any forward.

    Returns:
        A function from a vector, one tensor per parameter, to the product; the weights must not move in between.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = loss_function(model(batch[0]), batch[1])
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)

    curved = [g.requires_grad for g in gradient]  # not those that are constant in the weights

    def times(vector: Sequence) -> list[torch.Tensor]:
        outputs, along = ([t for t, wanted in zip(ts, curved, strict=True) if wanted] for ts in (gradient, vector))
        products = torch.autograd.grad(outputs, parameters, along, allow_unused=True, retain_graph=True)
        return [torch.zeros_like(p) if h is None else h for p, h in zip(parameters, products, strict=True)]

    return times


def hessian_times(model, batch, vector: Sequence, loss_function: Callable = F.cross_entropy) -> list[torch.Tensor]:
    """Product of the loss's Hessian with one vector: the limit that a probe tends to as η → 0."""
    return hessian_products(model, batch, loss_function)(vector)


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
    labels = tuple(f"η = {eta:g}" for eta in probe.etas)
    return Band(found["step"], probe_values(found, quantity, layer).T, labels)


def probe_summary(runs: Sequence, probe, quantity: str, layer: str = "all") -> Band:
    """The one number per probe that stands for it in every comparison, fixed beforehand; one curve per run.

    For the loss it is the width of its band, max − min over η; for the gradient distance and for β, the largest over η
    (the effective β of SPEC §7).
    """

    def values(run) -> tuple[np.ndarray, np.ndarray]:
        band = probe_band(run, probe, quantity, layer)
        return band.steps, band.max_curve - band.min_curve if quantity == "loss" else band.max_curve

    return _at_steps(runs, values)


def same_batch(runs: Sequence, probe, quantity: str, layer: str = "all") -> Band:
    """The handout's proxy with both gradients on the *same* batch, at the steps where it was taken; one curve per run.

    Args:
        probe: the ``same_batch`` probe of the runs.
        quantity: ``distance`` ‖∇L(w_t; B) − ∇L(w_{t−1}; B)‖₂ with B = B_{t−1}, or ``beta``, that over ‖w_t − w_{t−1}‖₂.
    """
    part = _layer_suffix(layer)

    def values(run) -> tuple[np.ndarray, np.ndarray]:
        found = _probe(run, probe)
        inside = found["step"] < len(run.steps["loss"])  # the last move has no step after it
        distance = found[f"gradient_distance{part}"].astype(np.float64)
        curve = _over(distance, found[f"moved{part}"]) if quantity == "beta" else distance
        return found["step"][inside], curve[inside]

    return _at_steps(runs, values)


def at_steps(band: Band, steps: np.ndarray) -> Band:
    """The part of a band at some of its steps."""
    where = np.searchsorted(band.steps, steps)
    return Band(band.steps[where], band.curves[:, where], band.labels)


def _at_steps(runs: Sequence, values: Callable) -> Band:
    found = {id(run): values(run) for run in runs}
    band = _band(runs, lambda run: found[id(run)][1])
    return Band(max((steps for steps, _ in found.values()), key=len), band.curves, band.labels)


def _probe(run, probe):
    if probe not in run.probes:
        raise CourseError(f"{run.config.describe()} was read without this probe: name it in get_runs(…, probes=[…]).")
    return run.probes[probe]


def _layer_suffix(layer: str) -> str:
    if layer not in ("all", "output"):
        raise CourseError(f"Unknown layer {layer!r}; choose 'all' (every parameter) or 'output'.")
    return "_out" if layer == "output" else ""


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
