"""Which pixels a prediction rests on: Grad-CAM, integrated gradients and occlusion, through captum."""

import copy
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion
from torch import nn

from ..data.batches import normalise
from ..data.images import ImageData
from ..env import CourseError, choose_device
from ..training.build import normalisation_of
from ..training.store import RunRecord, Store
from .features import activation_after, find_layer, fresh, trained
from .mistakes import predictions
from .shift import named
from .surface import recompute_statistics

WINDOW, STRIDE, STEPS = 8, 4, 32  # of occlusion in pixels; of the path of integrated gradients


def grad_cam(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, layer: str) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017) of a layer, enlarged to the image: where evidence *for* the class lies.

    Args:
        images: (n, 3, h, w) normalised; labels: (n,) the class to explain; layer: name of a convolution.

    Returns:
        (n, h, w), not negative.

    Raises:
        CourseError: no such layer, or one whose output has no places.
    """
    where = find_layer(model, layer)
    if isinstance(where, nn.Linear | nn.Flatten) or layer.startswith("classifier"):
        raise CourseError(f"{layer} has no places to light up; take a convolution, or what stands behind one.")
    found = LayerGradCam(model, where).attribute(images, target=labels, relu_attributions=True)
    return F.interpolate(found, images.shape[-2:], mode="bilinear").squeeze(1).detach()


def integrated_gradients(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Integrated gradients (Sundararajan et al. 2017) from the mean-grey image, summed over the colours: (n, h, w)."""
    found = IntegratedGradients(model).attribute(images, target=labels, n_steps=STEPS, internal_batch_size=64)
    return found.sum(1).detach().float()


def occlusion(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How much the class's score falls when an 8×8 window is greyed out, (n, h, w)."""
    window, stride = (3, WINDOW, WINDOW), (3, STRIDE, STRIDE)
    with torch.no_grad():
        found = Occlusion(model).attribute(images, window, strides=stride, target=labels, perturbations_per_eval=16)
    return found.sum(1).detach()


def methods(layer: str) -> dict[str, Callable]:
    """The three methods by name, each a function of (model, images, labels)."""
    return {
        "Grad-CAM": lambda model, images, labels: grad_cam(model, images, labels, layer),
        "integrated gradients": integrated_gradients,
        "occlusion": occlusion,
    }


def randomised(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """A copy of the model with the weights of each tensor shuffled: what an explanation must not survive.

    Shuffled weights have the trained ones' distribution, so signals keep their size; batch norm's statistics are taken
    again on the images.
    """
    twin, generator = copy.deepcopy(model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in twin.parameters():
            p.copy_(p.flatten()[torch.randperm(p.numel(), generator=generator).to(p.device)].view_as(p))
    recompute_statistics(twin, [(images, None)])
    return twin


def similarity(one: torch.Tensor, other: torch.Tensor) -> list[float]:
    """Rank correlation of the sizes of two sets of maps, image by image (Adebayo et al. 2018).

    1 for the same order of pixels by |value|, 0 for unrelated ones; a map without any contrast gives NaN.
    """
    from scipy.stats import spearmanr  # takes a second to import

    found = []
    for a, b in zip(one.cpu().numpy(), other.cpu().numpy(), strict=True):
        flat = np.ptp(a) == 0 or np.ptp(b) == 0
        found.append(float("nan") if flat else float(spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic))
    return found


def sanity(run: RunRecord, data: ImageData, store: Store, device="auto") -> dict:
    """How far explanations of a network depend on its weights, on 24 validation images of all classes; stored.

    The maps of the trained network are compared with those of ``randomised`` weights and, as a yardstick, with those of
    the next image. Grad-CAM looks at what the fourth convolution passes on.

    Returns:
        Method → ``shuffled weights`` and ``the next image`` → one ``similarity`` per image.

    Raises:
        CourseError: neither the measurement nor the weights are at hand.
    """
    layer = activation_after(fresh(run, "cpu"), named(run.config, ["conv 4"])["conv 4"])

    def compute() -> dict:
        target, network = choose_device(device), trained(run, device)
        pixels, labels = data.split("validation")
        chosen = torch.linspace(0, len(labels) - 1, 24).long()
        images = normalise(pixels[chosen].to(target), *normalisation_of(run.config, data))
        twin, found = randomised(network, images), {}
        classes = predictions(run, data, device=device)[chosen].argmax(1).to(target)
        for name, explain in methods(layer).items():
            ours, random = (explain(model, images, classes) for model in (network, twin))
            found[name] = {"shuffled weights": similarity(ours, random)}
            found[name]["the next image"] = similarity(ours, ours.roll(1, 0))
        return found

    inputs = {"run": run.key, "data": data.fingerprint, "layer": layer, "images": "spread"}
    return store.measurement("attribution_sanity", inputs, compute)
