"""Checks of the exercises on the loss landscape, its gradients and β (notebooks 05, 06 and 07)."""

import copy
import itertools
import math
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ...measure import quantities
from ...measure.probe import Probe, probe_along_gradient
from .engine import Mistake, call, compare, exercise, same

# --- 05: the proxy's band, and the probe ---------------------------------------------------------------------------


@exercise("05", "my_curves")
def min_max_curve(student) -> None:
    """``min_curve`` and ``max_curve`` over runs of different length (oracle: ``quantities.Band``)."""
    rng = np.random.default_rng(0)
    even = [rng.normal(2, 1, 5) for _ in range(3)]
    uneven = [rng.normal(2, 1, length) for length in (6, 3, 8)]
    diverged = [loss.copy() for loss in uneven]
    diverged[0][-1] = diverged[2][-1] = np.nan  # the last step has no value at all
    for losses in (even, uneven, diverged):
        table = _padded(losses)
        band = quantities.Band(np.arange(table.shape[1]), table)
        with warnings.catch_warnings():  # np.nanmin warns of a step without any value, and gives the NaN that is wanted
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            got = call(student, losses)
        compare(got, (band.min_curve, band.max_curve), _wrong_curves(losses, band))


def _wrong_curves(losses, band) -> dict[str, object]:
    """What the usual mistakes give; ``band``: the right curves."""
    table = band.curves
    held = np.stack([np.pad(loss, (0, table.shape[1] - len(loss)), "edge") for loss in losses])
    known = np.ma.masked_invalid(table)
    mean, spread = known.mean(0).filled(np.nan), known.std(0).filled(np.nan)
    return {
        "swapped": (band.max_curve, band.min_curve),
        "per-run": (np.fmin.reduce(table, axis=1), np.fmax.reduce(table, axis=1)),
        "single": (np.nanmin(table), np.nanmax(table)),
        "shortest": _extremes(table[:, : min(map(len, losses))]),
        "nan-spreads": (table.min(0), table.max(0)),
        "ended-zero": _extremes(_padded(losses, 0.0)),
        "ended-infinite": _extremes(_padded(losses, np.inf)),
        "min-of-nan": _compared(losses),
        "nan-zero": _extremes(_padded([np.nan_to_num(loss) for loss in losses])),
        "empty-zero": (np.nan_to_num(band.min_curve), np.nan_to_num(band.max_curve)),
        "held": _extremes(held),
        "left-out": _extremes(_padded([loss for loss in losses if not np.isnan(loss).any()])),
        "empty-infinite": (np.nan_to_num(band.min_curve, nan=np.inf), np.nan_to_num(band.max_curve, nan=-np.inf)),
        "mean-deviation": (mean - spread, mean + spread),
    }


def _padded(losses, value: float = np.nan) -> np.ndarray:
    return np.array([*itertools.zip_longest(*losses, fillvalue=value)]).T


def _extremes(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.fmin.reduce(table), np.fmax.reduce(table)


def _compared(losses) -> tuple[np.ndarray, np.ndarray]:
    """The extremes by Python's ``min`` and ``max``, whose result with NaN depends on the order."""
    steps = [[loss[t] for loss in losses if t < len(loss)] for t in range(max(map(len, losses)))]
    return np.array(list(map(min, steps))), np.array(list(map(max, steps)))


@exercise("05", "my_probe")
def direct_probe(student) -> None:
    """L(w − η g) on one batch for every η, the model restored (oracle: ``probe.probe_along_gradient``)."""
    batch = (torch.randn(8, 3, dtype=torch.float64), torch.arange(8) % 4)
    deep = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    normed = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4)).double()
    for model, etas in ((normed, (0.1, 0.4, 0.2, 0.8)), (deep, (0.5, 2.0, 1.0))):
        given = copy.deepcopy(model)
        stale = [torch.randn_like(p) for p in given.parameters()]
        for p, old in zip(given.parameters(), stale, strict=True):
            p.grad = old.clone()  # as after an earlier batch
        found = call(student, given, batch, etas)
        _judge_probe(found, model, batch, etas, stale)
        if not all(same(p, q, 1e-12) for p, q in zip(given.parameters(), model.parameters(), strict=True)):
            raise Mistake("The losses are right, but the weights are not where they were. The training has to go on.")
        if not all(module.training for module in given.modules()):
            raise Mistake("The losses are right, but the model is left in evaluation mode.")
        if not all(map(same, given.buffers(), model.buffers())):
            raise Mistake("running-moved")
        if not all(same(p.grad, old, 1e-12) for p, old in zip(given.parameters(), stale, strict=True)):
            raise Mistake("gradient-lost")


def _judge_probe(found, model, batch, etas, stale) -> None:
    def probe(mode: str = "train") -> Probe:
        return probe_along_gradient(model.train(), batch, etas, mode=mode, precision="fp64")

    right, eta, weights = probe(), np.array(etas), [p.detach() for p in model.parameters()]
    start = [w.clone().requires_grad_() for w in weights]
    g = torch.autograd.grad(_loss(model, batch, start), start)

    def along(direction, lengths) -> list[float]:
        moved = ([w - s * d for w, d in zip(weights, direction, strict=True)] for s in lengths)
        return [_loss(model, batch, point).item() for point in moved]

    descent, point = [], weights
    for each in etas:
        point = [p.detach().requires_grad_() for p in point]
        there = torch.autograd.grad(_loss(model, batch, point), point)
        point = [p - each * d for p, d in zip(point, there, strict=True)]
        descent.append(_loss(model, batch, point).item())
    mistakes = {
        "uphill": along(g, -eta),
        "cumulative": along(g, eta.cumsum()),
        "descent": descent,
        "unit": along(g, eta / right.gradient_norm),
        "accumulated": along([a + b for a, b in zip(g, stale, strict=True)], eta),
        "stale": along(stale, eta),
        "evaluation": probe("eval").loss,
        "change": right.loss - right.start_loss,
        "slope": right.start_loss - eta * right.gradient_norm**2,
        "unmoved": [right.start_loss] * len(etas),
        "before": along(g, np.concatenate([[0], eta[:-1]])),
    }
    compare(found, right.loss, mistakes)


def _loss(model: nn.Module, batch, weights) -> torch.Tensor:
    """Loss in training mode at other weights; the model stays as it is."""
    names = [name for name, _ in model.named_parameters()]
    values = {name: buffer.clone() for name, buffer in model.named_buffers()} | dict(zip(names, weights, strict=True))
    return F.cross_entropy(torch.func.functional_call(model.train(), values, (batch[0],)), batch[1])


# --- 06: how far one gradient is from another ----------------------------------------------------------------------


def _walk(steps: int, scale: float = 1.0) -> list[list[torch.Tensor]]:
    """A random walk of a small network's parameters: per step a matrix and a vector."""
    moves = [(scale * torch.randn(steps, *shape, dtype=torch.float64)).cumsum(0) for shape in ((3, 2), (4,))]
    return [list(tensors) for tensors in zip(*moves, strict=True)]


def _flat(tensors) -> np.ndarray:
    return torch.cat([t.flatten() for t in tensors]).numpy()


def _rows(steps) -> np.ndarray:
    """(n, parameters) of every step."""
    return np.stack([_flat(tensors) for tensors in steps])


def _differences(rows: np.ndarray, gap: int) -> np.ndarray:
    """Every row minus the one ``gap`` before; NaN where there is none."""
    before = np.full_like(rows, np.nan)
    before[gap:] = rows[:-gap]
    return rows - before


def _norms(rows) -> np.ndarray:
    return np.linalg.norm(rows, axis=-1)


@exercise("06", "my_grad_pred")
def gradient_predictiveness(student) -> None:
    """‖g_t − g_{t−gap}‖₂ of every step (handout: ``VGG_Grad_Pred``; oracle: the definition, in numpy)."""
    for steps, gap in ((5, 1), (6, 2), (7, 4)):
        gradients = _walk(steps)
        rows = _rows(gradients)
        changes = _differences(rows, gap)
        right = _norms(changes)
        parts = _norms(changes[:, :6]), _norms(changes[:, 6:])  # of the matrix and of the vector
        mistakes = {
            "lengths": abs(_differences(_norms(rows), gap)),
            "parts-added": sum(parts),
            "last-tensor": parts[1],
            "first-tensor": parts[0],
            "l1": abs(changes).sum(1),
            "squared": right**2,
            "averaged": right / math.sqrt(changes.shape[1]),
            "no-gap": _norms(_differences(rows, 1)),
            "wrapped": _norms(rows - np.roll(rows, gap, axis=0)),
            "ahead": np.roll(right, -gap),
            "shortened": right[gap:],
            "zero": np.nan_to_num(right),
            "single": np.nanmean(right),
        }
        compare(call(student, gradients, gap), right, mistakes)


@exercise("06", "my_cosine")
def gradient_cosine(student) -> None:
    """Cosine of the angle between two gradients (oracle: ``F.cosine_similarity``; NaN where one is zero)."""
    turned, before = _walk(2)
    after = [0.6 * a - 2 * b for a, b in zip(turned, before, strict=True)]
    for first, second in ((before, turned), (before, after)):
        a, b = torch.from_numpy(_flat(first)), torch.from_numpy(_flat(second))
        right = F.cosine_similarity(a, b, dim=0).item()
        each = [F.cosine_similarity(p.flatten(), q.flatten(), dim=0) for p, q in zip(first, second, strict=True)]
        dot = (a @ b).item()
        mistakes = {
            "dot": dot,
            "second-length": dot / a.norm(),
            "first-length": dot / b.norm(),
            "first-twice": dot / a.norm() ** 2,
            "second-twice": dot / b.norm() ** 2,
            "averaged": sum(each) / len(each),
            "last-tensor": each[-1],
            "absolute": abs(right),
            "distance": 1 - right,
            "angle": math.acos(right),
        }
        compare(call(student, first, second), right, mistakes)
    zero = [torch.zeros_like(t) for t in before]
    for pair in ((before, zero), (zero, before)):
        if not same(call(student, *pair), np.nan):
            raise Mistake("A gradient of zero has no direction, so there is no angle: NaN, neither 0 nor an error.")


# --- 07: change of the gradient per distance moved -----------------------------------------------------------------


@exercise("07", "my_beta_smooth")
def beta_smoothness(student) -> None:
    """β_t = ‖g_t − g_{t−1}‖₂ / ‖w_t − w_{t−1}‖₂ of every step (handout: ``VGG_Beta_Smooth``; oracle: numpy)."""
    weights = _walk(6, 0.1)
    bowl = [[6 * t for t in tensors] for tensors in weights]  # ½·6·‖w‖²: β is 6 everywhere
    still = [*weights[:3], weights[2], *weights[3:]]
    for w, g in ((weights, _walk(6)), (weights, bowl), (still, _walk(7))):
        moved, changed = (_norms(_differences(_rows(steps), 1)) for steps in (w, g))
        right = np.divide(changed, moved, out=np.full_like(moved, np.nan), where=moved > 0)
        compare(call(student, w, g), right, _wrong_quotients(w, g, right))


def _wrong_quotients(w, g, right: np.ndarray) -> dict[str, object]:
    """What the usual mistakes give; ``right``: β of every step."""
    rows = {"w": _rows(w), "g": _rows(g)}
    to_w, to_g = (_differences(values, 1) for values in rows.values())
    moved, changed = _norms(to_w), _norms(to_g)
    parts = [(_norms(to_g[:, part]), _norms(to_w[:, part])) for part in (slice(6), slice(6, None))]
    tensors, sums = [of_g / of_w for of_g, of_w in parts], [sum(lengths) for lengths in zip(*parts, strict=True)]
    size = {name: _norms(values) for name, values in rows.items()}
    longer = {name: abs(np.diff(values, prepend=np.nan)) for name, values in size.items()}
    return {
        "numerator": changed,
        "denominator": moved,
        "upside-down": moved / changed,
        "by-weights": changed / size["w"],
        "by-gradient": changed / size["g"],
        "by-gradient-before": changed / np.concatenate([[np.nan], size["g"][:-1]]),
        "next-move": changed / np.concatenate([moved[1:], [np.nan]]),
        "last-move": changed / np.concatenate([[np.nan], moved[:-1]]),
        "squared": right**2,
        "averaged": sum(tensors) / 2,
        "largest": np.maximum(*tensors),
        "summed": sum(tensors),
        "lengths-added": sums[0] / sums[1],
        "lengths": longer["g"] / longer["w"],
        "gradient-lengths": longer["g"] / moved,
        "weight-lengths": changed / longer["w"],
        "early": np.append(right[1:], np.nan),
        "late": np.append(np.nan, right[:-1]),
        "infinity": changed / moved,
        "epsilon": changed / (moved + 1e-8),
        "zero": np.where(moved == 0, 0, right),
        "shortened": right[1:],
        "first-zero": np.concatenate([[0], right[1:]]),
        "single": np.nanmax(right),
    }


class _Valley(nn.Module):
    """A loss of a few weights, as a module: the probe takes any."""

    def __init__(self, loss, w: torch.Tensor):
        super().__init__()
        self.loss, self.w = loss, nn.Parameter(w.clone())

    def forward(self, _):
        return self.loss(self.w)


LOSSES = (  # of three weights, and the η to go to
    (lambda w: (w[0] ** 2 + 6 * w[1] ** 2 + 3 * w[2] ** 2) / 2, (0.1, 0.2, 0.4)),  # a bowl: β is the same at every η
    (lambda w: (6 * w).cosh().log().sum(), (0.1, 0.05, 0.15, 0.12)),  # curved at the bottom, straight further out
    (lambda w: (1 - w[0]) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2 + w[2] ** 4, (0.1, 0.05, 0.2, 0.15)),  # a bent valley
)


@exercise("07", "my_effective_beta")
def effective_beta(student) -> None:
    """max over η of ‖∇L(w − ηg) − g‖ / (η‖g‖) (oracle: ``probe.probe_along_gradient``)."""
    w = torch.tensor([0.8, 0.5, -0.3], dtype=torch.float64)
    batch = torch.ones(1), torch.ones(1)
    for loss, etas in LOSSES:
        probe = probe_along_gradient(_Valley(loss, w), batch, etas, lambda out, _: out, precision="fp64")
        compare(call(student, torch.func.grad(loss), w, etas), probe.beta, _wrong_betas(loss, w, probe))


def _wrong_betas(loss, w: torch.Tensor, probe: Probe) -> dict[str, object]:
    gradient, etas, distance = torch.func.grad(loss), probe.etas, probe.gradient_distance
    g, length = gradient(w), probe.gradient_norm
    uphill = np.array([(gradient(w + eta * g) - g).norm() for eta in etas])
    ends, starts, point = [], [], w
    for eta in etas:
        starts.append(gradient(point))
        point = point - eta * starts[-1]
        ends.append(gradient(point))
    descent = [(b - a).norm().item() / (eta * a.norm().item()) for a, b, eta in zip(starts, ends, etas, strict=True)]
    return {
        "per-eta": probe.betas,
        "distance": distance.max(),
        "by-eta": (distance / etas).max(),
        "by-gradient": (distance / length).max(),
        "power": (distance / (etas * length**2)).max(),
        "uphill": (uphill / (etas * length)).max(),
        "training": max(descent),
        "averaged": probe.betas.mean(),
        "smallest": probe.betas.min(),
        "longest": probe.betas[etas.argmax()],
        "first": probe.betas[0],
        "last": probe.betas[-1],
        "lengths": max(abs(gradient(w - eta * g).norm().item() - length) / (eta * length) for eta in etas),
    }
