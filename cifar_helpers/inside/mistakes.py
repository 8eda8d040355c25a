"""What a network gets wrong: predictions, confusion, confident mistakes."""

import numpy as np
import torch

from ..data.batches import evaluation_batches
from ..data.images import ImageData
from ..env import choose_device, resolve_precision
from ..training.build import forward_context, normalisation_of
from ..training.store import RunRecord, Store
from .features import trained


@torch.no_grad()
def predictions(run: RunRecord, data: ImageData, split: str = "validation", device="auto") -> torch.Tensor:
    """Class probabilities of a trained network, (n, 10) float32 on the CPU, in the order of the split.

    ``CourseError`` where the run's weights were not kept.
    """
    device, model = choose_device(device), trained(run, device)
    context = forward_context(resolve_precision(run.config.precision, device), device)
    found = []
    for images, _ in evaluation_batches(*data.split(split), device, normalisation_of(run.config, data)):
        with context():
            logits = model(images).float()
            if run.config.test_flips:
                logits = (logits + model(images.flip(3)).float()) / 2
        found.append(logits.softmax(1).cpu())
    return torch.cat(found)


def confusion(run: RunRecord, data: ImageData, store: Store, device="auto") -> np.ndarray:
    """Counts of (true class, predicted class) on the validation split, (10, 10), computed once and stored.

    ``CourseError`` where neither the measurement nor the weights are at hand.
    """

    def compute() -> dict:
        _, labels = data.split("validation")
        predicted = predictions(run, data, "validation", device).argmax(1)
        classes = len(data.classes)
        counts = (labels * classes + predicted).bincount(minlength=classes**2).reshape(classes, classes)
        return {"counts": counts.tolist()}

    inputs = {"run": run.key, "data": data.fingerprint, "split": "validation"}
    return np.asarray(store.measurement("confusion", inputs, compute)["counts"])


def confident_mistakes(run: RunRecord, data: ImageData, count: int = 12, device="auto") -> list[dict]:
    """The validation images that a network gets wrong with the highest probability.

    Returns:
        One dict per image: ``image`` ((3, 32, 32) uint8), ``true``, ``predicted`` (class indices), ``probability``.
    """
    images, labels = data.split("validation")
    probabilities, predicted = predictions(run, data, "validation", device).max(1)
    order = torch.where(predicted != labels, probabilities, torch.zeros(())).argsort(descending=True)[:count]
    return [
        {
            "image": images[i],
            "true": int(labels[i]),
            "predicted": int(predicted[i]),
            "probability": float(probabilities[i]),
        }
        for i in order
        if predicted[i] != labels[i]
    ]
