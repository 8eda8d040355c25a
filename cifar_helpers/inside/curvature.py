"""The largest eigenvalues of the loss's Hessian, by Lanczos iteration on Hessian-vector products."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from ..data.batches import evaluation_batches
from ..data.images import ImageData
from ..env import CourseError, choose_device, true_fp32
from ..measure.probe import hessian_products
from ..training.build import build_model, move, normalisation_of
from ..training.store import RunRecord, Store

TOLERANCE = 1e-3  # relative, of an eigenvalue


def top_eigenvalues(
    model: torch.nn.Module,
    batch,
    count: int = 1,
    loss_function: Callable = F.cross_entropy,
    tolerance: float = TOLERANCE,
) -> list[float]:
    """The ``count`` largest eigenvalues of the Hessian of the loss on a batch, largest first.

    ARPACK's Lanczos iteration (scipy) with products by double backward; the model is used in the mode it is in and left
    as it was but for what a forward pass changes.

    Args:
        batch: (images, labels); tolerance: relative, of an eigenvalue.

    Raises:
        CourseError: as many eigenvalues as parameters or none asked for, or no convergence.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    size = sum(p.numel() for p in parameters)
    if not 1 <= count < size:
        raise CourseError(f"Ask for 1 to {size - 1} eigenvalues of {size} parameters, not {count}.")

    products = hessian_products(model, batch, loss_function)

    def times(vector: np.ndarray) -> np.ndarray:
        flat = torch.as_tensor(vector.reshape(-1)).to(parameters[0]).split([p.numel() for p in parameters])
        parts = [part.view_as(p) for part, p in zip(flat, parameters, strict=True)]
        return torch.cat([t.flatten() for t in products(parts)]).cpu().double().numpy()

    start = np.random.default_rng(0).normal(size=size)
    operator = LinearOperator((size, size), matvec=times, dtype=np.float64)
    try:
        few = None  # how many vectors are kept: products are dear, so the fewer, the coarser the answer may be
        if tolerance > TOLERANCE and count < 4:
            few = min(size, 8 if tolerance < 0.1 else count + 3)
        found = eigsh(operator, k=count, which="LA", v0=start, tol=tolerance, ncv=few, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        raise CourseError(f"The Hessian's eigenvalues did not converge ({error}); take a larger batch.") from error
    return sorted((float(value) for value in found), reverse=True)


def along(
    run: RunRecord, data: ImageData, store: Store, count: int, items: int, device="auto", tolerance: float = TOLERANCE
) -> dict:
    """``top_eigenvalues`` at a run's snapshots and its end, on the same training images in train mode; stored.

    Returns:
        ``steps`` and ``values`` (one list per step, largest first).

    Raises:
        CourseError: neither the measurement nor the weights are at hand, or no convergence.
    """

    def compute() -> dict:
        target, model = choose_device(device), build_model(run.config)
        images, labels = (part[:items] for part in data.shuffled("train", run.config.n_items))
        normalisation = normalisation_of(run.config, data)
        (batch,) = evaluation_batches(images, labels, target, normalisation, batch_size=items)
        states = {step: run.snapshot(step) for step in run.config.snapshots} | {run.config.steps: run.weights}
        values = []
        for state in states.values():
            model.load_state_dict(state)
            model = move(model, target).train()
            with true_fp32(target):
                values.append(top_eigenvalues(model, batch, count, tolerance=tolerance))
        return {"steps": list(states), "values": values}

    inputs = {"run": run.key, "data": data.fingerprint, "count": count, "items": items, "images": "shuffled"}
    inputs |= {} if tolerance == TOLERANCE else {"tolerance": tolerance}
    return store.measurement("eigenvalues", inputs, compute)
