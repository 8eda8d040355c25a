"""Looking into trained networks: their weights and their mistakes, stored as small measurements.

Published records have no weights, so what a figure needs is computed where they are at hand and read everywhere else.
"""

import numpy as np
import torch

from .build import build_model, forward_context, move, normalisation_of
from .data import ImageData, evaluation_batches
from .env import choose_device, resolve_precision
from .record import RunRecord, Store

NEAR_ZERO = 1e-3  # a weight below this in size counts as near zero
BINS = 61
RANGE = 0.3  # of the histograms, in units of the weights; what lies outside is counted in the outermost bins


def weight_summary(run: RunRecord, store: Store) -> list[dict]:
    """Histogram, share near zero, norms and kurtosis of every weight tensor of a run with kept weights.

    Returns:
        One dict per tensor with two dimensions or more: ``layer``, ``counts`` (61 bins over ±0.3), ``near_zero`` (share
        with |w| < 1e-3), ``l1`` (sum of sizes), ``l2`` (root of the sum of squares), ``kurtosis`` (0 for a normal
        distribution), ``size``.

    Raises:
        CourseError: neither the measurement nor the weights are at hand.
    """

    def compute() -> dict:
        rows = []
        for name in build_model(run.config).state_dict():  # in the order of the layers
            tensor = run.weights[name]
            if tensor.dim() > 1:
                w = tensor.double().flatten().numpy()
                counts, _ = np.histogram(w.clip(-RANGE, RANGE), bins=BINS, range=(-RANGE, RANGE))
                spread = w.std()
                kurtosis = float(((w - w.mean()) ** 4).mean() / spread**4 - 3) if spread > 0 else 0.0
                row = {"layer": name.removesuffix(".weight"), "counts": counts.tolist(), "size": len(w)}
                row |= {"near_zero": float((np.abs(w) < NEAR_ZERO).mean()), "kurtosis": kurtosis}
                rows.append(row | {"l1": float(np.abs(w).sum()), "l2": float(np.sqrt((w**2).sum()))})
        return {"rows": rows}

    inputs = {"run": run.key, "data": run.provenance["data_fingerprint"]}
    return store.measurement("weight_summary", inputs, compute)["rows"]


@torch.no_grad()
def predictions(run: RunRecord, data: ImageData, split: str = "validation", device="auto") -> torch.Tensor:
    """Class probabilities of a trained network, (n, 10) float32 on the CPU, in the order of the split.

    Raises:
        CourseError: the run's weights were not kept.
    """
    device = choose_device(device)
    model = build_model(run.config)
    model.load_state_dict(run.weights)
    model = move(model, device).eval()
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

    Raises:
        CourseError: neither the measurement nor the weights are at hand.
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
