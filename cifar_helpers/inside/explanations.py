"""What later papers say batch norm does, measured on networks an eighth as wide (SPEC §8).

One large step and what it does to the activations of every layer (Bjorck et al. 2018), the angle between a filter and
its gradient (Kohler et al. 2018), and sharpness along plain gradient descent (Cohen et al. 2021; Lyu et al. 2022).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..data.batches import normalise
from ..data.images import HALF, ImageData
from ..env import choose_device, true_fp32
from ..models import VGG_A
from ..plans.landscape import NARROW, PAPER_RATE
from ..plans.profiles import get_profile
from ..training.store import Store
from .curvature import top_eigenvalues
from .shift import weight_layers

NETWORKS = {"no norm": "none", "batch norm": "batch"}
GOES_WITH = 0.01  # relative tolerance of a sharpness
LOST = 1e30  # written where a value is not finite, which JSON does not know


def small(norm: str, seed: int) -> nn.Module:
    """VGG-A an eighth as wide, in training mode, as it is before training."""
    torch.manual_seed(seed)
    return VGG_A(norm=norm, width=NARROW).train()


def batch_of(data: ImageData, items: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The first training images of the shuffled split, normalised, with their labels."""
    images, labels = (part[:items].to(device) for part in data.shuffled("train"))
    return normalise(images, *HALF), labels


def _gradients(model: nn.Module, batch) -> list[torch.Tensor]:
    return list(torch.autograd.grad(F.cross_entropy(model(batch[0]), batch[1]), list(model.parameters())))


@torch.no_grad()
def _step(model: nn.Module, gradients: Sequence[torch.Tensor], rate: float) -> None:
    for p, g in zip(model.parameters(), gradients, strict=True):
        p.sub_(rate * g)


def _spreads(model: nn.Module, images: torch.Tensor) -> list[float]:
    """Standard deviation of what each convolution's activation gets, before a normalisation if there is one."""
    found, hooks = [], []
    for layer in weight_layers(model).values():
        if isinstance(layer, nn.Conv2d):
            hooks.append(layer.register_forward_hook(lambda _, __, out: found.append(out.detach().std().item())))
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [value if value < LOST else LOST for value in found]  # NaN too


def large_steps(data: ImageData, store: Store, norm: str, seed: int, items: int, rate: float = 1.0, steps: int = 6):
    """A few steps of plain gradient descent at ten times the paper's rate, from the untrained network; stored.

    Args:
        norm: as in ``models.VGG``; items: training images, all in one batch.

    Returns:
        ``growth``: for each convolution, the deviation of its output after the steps over that before; ``cosine``: the
        largest |cosine| between a convolution's weights and their gradient, at the start; ``losses``, nats.
    """

    def compute() -> dict:
        device = torch.device("cpu")
        model, batch = small(norm, seed), batch_of(data, items, device)
        gradients = _gradients(model, batch)
        filters = [(p, g) for p, g in zip(model.parameters(), gradients, strict=True) if p.dim() == 4]
        cosine = max(abs(F.cosine_similarity(p.flatten(), g.flatten(), dim=0).item()) for p, g in filters)
        before, losses = _spreads(model, batch[0]), []
        for _ in range(steps):
            losses.append(min(F.cross_entropy(model(batch[0]), batch[1]).item(), LOST))
            _step(model, _gradients(model, batch), rate)
        growth = [b / a for a, b in zip(before, _spreads(model, batch[0]), strict=True)]
        return {"growth": growth, "cosine": cosine, "losses": losses}

    inputs = {"data": data.fingerprint, "norm": norm, "seed": seed, "items": items, "rate": rate, "steps": steps}
    return store.measurement("large_steps", inputs | {"width": NARROW}, compute)


def sharpness(
    data: ImageData, store: Store, norm: str, seed: int, items: int, steps: int, looks: int = 9, device="auto"
) -> dict:
    """The largest eigenvalue of the Hessian along plain gradient descent on a fixed set of images; stored.

    Every step uses the same images, so nothing but the step itself can keep the sharpness down.

    Args:
        norm: as in ``models.VGG``; items: training images; steps: at the paper's rate; looks: eigenvalues taken.

    Returns:
        ``rate``; ``losses`` of every step; ``steps`` and ``values``: where the eigenvalue was taken, and what it was.
    """

    def compute() -> dict:
        target = choose_device(device)
        model, batch = small(norm, seed).to(target), batch_of(data, items, target)
        at = sorted({round(steps * i / (looks - 1)) for i in range(looks)})
        losses, values = [], []
        with true_fp32(target):
            for step in range(steps + 1):
                if step in at:
                    values.append(top_eigenvalues(model, batch, tolerance=GOES_WITH)[0])
                if step < steps:
                    losses.append(F.cross_entropy(model(batch[0]), batch[1]).item())
                    _step(model, _gradients(model, batch), PAPER_RATE)
        return {"rate": PAPER_RATE, "losses": losses, "steps": at, "values": values}

    inputs = {"data": data.fingerprint, "norm": norm, "seed": seed, "items": items, "steps": steps, "looks": looks}
    return store.measurement("sharpness_along", inputs | {"rate": PAPER_RATE, "width": NARROW}, compute)


def measured(data: ImageData, store: Store, profile: str, seed: int, device="auto") -> tuple[dict, dict]:
    """``large_steps`` (every seed of the profile) and ``sharpness`` (the first seed) of both networks, in lists."""
    plan = get_profile(profile)
    items, steps, seeds = min(128, plan.curvature_images), min(60, plan.norm_steps), range(seed, seed + plan.norm_seeds)
    large, sharp = {}, {}
    for name, norm in NETWORKS.items():
        large[name] = [large_steps(data, store, norm, each, items) for each in seeds]
        sharp[name] = [sharpness(data, store, norm, seed, items, steps, device=device)]
    return large, sharp
