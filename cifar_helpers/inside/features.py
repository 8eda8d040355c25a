"""Looking into trained networks: their weights and their mistakes, stored as small measurements.

Published records have no weights, so what a figure needs is computed where they are at hand and read everywhere else.
"""

import numpy as np
import torch
from torch import nn

from ..data.batches import evaluation_batches
from ..data.images import ImageData
from ..env import CourseError, choose_device
from ..models import ACTIVATIONS
from ..training.build import build_model, move, normalisation_of
from ..training.store import RunRecord, Store

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


def skewness(row: dict) -> float:
    """Skewness of a layer's weights from its histogram (a row of ``weight_summary``): 0 where left and right are alike.

    Weights outside the histogram count at its ends; NaN where all lie in one bin.
    """
    edges = np.linspace(-RANGE, RANGE, BINS + 1)
    middles, share = (edges[1:] + edges[:-1]) / 2, np.asarray(row["counts"]) / sum(row["counts"])
    away = middles - (share * middles).sum()
    variance = (share * away**2).sum()
    return float((share * away**3).sum() / variance**1.5) if variance > 0 else float("nan")


def fresh(run: RunRecord, device="auto") -> nn.Module:
    """An untrained network like the run's, for its names and shapes."""
    return move(build_model(run.config), choose_device(device)).eval()


def trained(run: RunRecord, device="auto") -> nn.Module:
    """The network of a run with its final weights, in evaluation mode; ``CourseError`` where they were not kept."""
    model = build_model(run.config)
    model.load_state_dict(run.weights)
    return move(model, choose_device(device)).eval()


def filters(run: RunRecord, store: Store, deeper: int = 16) -> dict:
    """The first layer's filters and some kernels of a deeper convolution, as numbers for a picture.

    Returns:
        ``first``: (filters, 3, k, k) nested lists; ``deeper``: (``deeper``, k, k), the strongest kernels of the fourth
        convolution; ``layer``: its name.

    Raises:
        CourseError: neither the measurement nor the weights are at hand.
    """

    def compute() -> dict:
        model = trained(run, "cpu")
        convolutions = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
        name, layer = convolutions[min(3, len(convolutions) - 1)]
        kernels = layer.weight.detach().flatten(0, 1)
        strongest = kernels.flatten(1).norm(dim=1).argsort(descending=True)[:deeper]
        first = convolutions[0][1].weight.detach()
        return {"first": first.tolist(), "deeper": kernels[strongest].tolist(), "layer": name}

    inputs = {"run": run.key, "data": run.provenance["data_fingerprint"], "deeper": deeper}
    return store.measurement("filters", inputs, compute)


def activation_after(model: nn.Module, name: str) -> str:
    """Name of the activation that follows a layer: what the network goes on with.

    Raises:
        CourseError: no such layer, or no activation after it.
    """
    layer, layers = find_layer(model, name), list(model.named_modules())
    for later, module in layers[layers.index((name, layer)) + 1 :]:
        if isinstance(module, tuple(ACTIVATIONS.values())):
            return later
    raise CourseError(f"No activation follows {name!r}.")


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of this name; ``CourseError`` with those that there are, where it is none of them."""
    layers = dict(model.named_modules())
    if not name or name not in layers:
        known = ", ".join(n for n, m in layers.items() if isinstance(m, nn.Conv2d | nn.Linear))
        how = "shift.named translates labels such as 'conv 4'"
        raise CourseError(f"There is no layer {name!r}; this network has {known} ({how}).")
    return layers[name]


def features(
    run: RunRecord, data: ImageData, store: Store, count: int = 1500, perplexity: float = 30, device="auto"
) -> dict:
    """Two flat maps of what goes into the output layer: principal components and t-SNE of validation images.

    Args:
        count: how many images, the same number of each class; perplexity: of t-SNE, about how many neighbours count.

    Returns:
        ``pca``, ``tsne``: (count, 2) nested lists; ``labels``; ``explained``: the share of variance in the two
        components; ``trustworthiness``: of each map, 1 where neighbours in the map are neighbours in the features.

    Raises:
        CourseError: neither the measurement nor the weights are at hand.
    """

    def compute() -> dict:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE, trustworthiness

        model, target = trained(run, device), choose_device(device)
        images, labels = data.split("validation")
        chosen = torch.cat([(labels == c).nonzero().squeeze(1)[: count // 10] for c in range(len(data.classes))])
        taken: list[torch.Tensor] = []
        last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
        hook = last.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0].float().cpu()))
        for x, _ in evaluation_batches(images[chosen], labels[chosen], target, normalisation_of(run.config, data)):
            with torch.no_grad():
                model(x)
        hook.remove()
        values = torch.cat(taken).numpy()
        pca = PCA(2, random_state=0).fit(values)
        maps = {"pca": pca.transform(values)}
        possible = min(perplexity, (len(values) - 1) / 3)
        maps["tsne"] = TSNE(2, init="pca", perplexity=possible, random_state=0).fit_transform(values)
        neighbours = min(12, len(values) // 2 - 1)
        trust = {name: float(trustworthiness(values, flat, n_neighbors=neighbours)) for name, flat in maps.items()}
        flat = {name: np.round(np.asarray(found, float), 3).tolist() for name, found in maps.items()}
        shares = float(pca.explained_variance_ratio_.sum())
        return flat | {"labels": labels[chosen].tolist(), "explained": shares, "trustworthiness": trust}

    inputs = {"run": run.key, "data": data.fingerprint, "count": count, "perplexity": perplexity}
    return store.measurement("features", inputs, compute)
