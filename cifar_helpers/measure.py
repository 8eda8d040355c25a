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
    model is evaluated at a second set of weights, which together with g is all the memory taken. Every evaluation
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

    Raises:
        CourseError: an η that is not positive, an empty batch, an unknown mode or precision, or a model in eval mode
            where the mode is ``train``.

    A loss that is not finite at some η is recorded as such; the other η stand.
    """
    if mode == "train" and not all(module.training for module in model.modules()):
        raise CourseError(
            "The probe measures in training mode, but (a part of) the model is in eval mode: call model.train(), or "
            "ask for mode='eval' to measure with running statistics."
        )
    values = Prober(model, loss_function, mode=mode, precision=precision).along(batch, etas, start, random)
    arrays = {name: value.double().cpu().numpy() for name, value in values.items() if not name.endswith("_out")}
    scalars = {name: float(arrays.pop(name)) for name in ("start_loss", "gradient_norm", "weight_norm")}
    return Probe(np.asarray(etas, dtype=np.float64), **arrays, **scalars)


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
