"""The paper's direct probe, computed: a walk along the gradient that leaves no trace; Hessian products."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..env import CourseError
from ..training.prober import Prober
from .quantities import _envelope, _over


@dataclass(frozen=True)
class Probe:
    """Loss and gradient along the way −g from one point, on one batch (Santurkar et al. 2018, Fig. 4).

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
    beside one layer's gradient at a time. Every evaluation draws the same random numbers, so the dropout mask is the
    same at every η.

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
