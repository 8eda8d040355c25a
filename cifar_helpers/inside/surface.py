"""Two-dimensional pictures of the loss around trained weights (Li et al. 2018), and the path that led there."""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..data.batches import evaluation_batches
from ..data.images import ImageData
from ..env import CourseError, choose_device
from ..training.build import normalisation_of
from ..training.store import RunRecord, Store
from .features import trained

Direction = Mapping[str, torch.Tensor]


def filter_normalised(model: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """A random direction in which every filter is as long as the model's (Li et al. 2018, section 4).

    A filter is one row of a weight tensor: the weights into one unit. Biases and the scales and shifts of normalisation
    layers do not move.

    Returns:
        Name of a parameter → tensor of its shape.
    """
    generator, found = torch.Generator().manual_seed(seed), {}
    for name, p in model.named_parameters():
        direction = torch.zeros_like(p, memory_format=torch.contiguous_format)
        if p.dim() > 1:
            drawn = torch.randn(p.shape, generator=generator).to(p)
            shape = (-1, *[1] * (p.dim() - 1))
            lengths = (t.detach().flatten(1).norm(dim=1).view(shape) for t in (p, drawn))
            direction = drawn * next(lengths) / next(lengths).clamp_min(1e-12)
        found[name] = direction
    return found


def grid(points: int, reach: float = 1.0) -> np.ndarray:
    """Coordinates along one side of a surface, evenly spaced, 0 among them where ``points`` is odd.

    Raises:
        CourseError: fewer than three points make no surface.
    """
    if points < 3:
        raise CourseError(f"A surface needs at least 3 points along each side, not {points}.")
    return np.linspace(-reach, reach, points)


@contextlib.contextmanager
def _restored(model: nn.Module) -> Iterator[dict]:
    state, mode = copy.deepcopy(model.state_dict()), model.training
    try:
        yield state
    finally:
        model.load_state_dict(state)
        model.train(mode)


@torch.no_grad()
def recompute_statistics(model: nn.Module, batches: Sequence) -> None:
    """Replace the running averages of batch norm by means over these batches, at the weights as they are.

    Returns the model in evaluation mode.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [layer.momentum for layer in layers]
    batches = batches if layers else ()  # without batch norm there is nothing to take again
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over all batches
    model.train()
    for images, _ in batches:
        model(images)
    for layer, momentum in zip(layers, kept, strict=True):
        layer.momentum = momentum
    model.eval()


@torch.no_grad()
def loss_on(model: nn.Module, batches: Sequence) -> float:
    """Mean cross-entropy per image over some batches, in the mode the model is in."""
    total = sum(F.cross_entropy(model(images).float(), labels, reduction="sum").item() for images, labels in batches)
    return total / sum(len(labels) for _, labels in batches)


@torch.no_grad()
def surface(
    model: nn.Module,
    batches: Sequence,
    directions: tuple[Direction, Direction],
    across: Sequence[float],
    up: Sequence[float] | None = None,
    recompute: bool = False,
) -> np.ndarray:
    """Loss at w + x·d₁ + y·d₂ for x in ``across`` and y in ``up``, in evaluation mode.

    Args:
        batches: (images, labels) pairs on the model's device.
        recompute: take batch norm's statistics again at every point; otherwise the trained ones go along, which belong
            to other weights.

    Returns:
        (len(up), len(across)) losses in nats per image; the model is left as it was.

    Raises:
        CourseError: fewer than three points along a side.
    """
    up = across if up is None else up
    for side in (across, up):
        grid(len(side))
    found = np.empty((len(up), len(across)))
    with _restored(model) as state:
        model.eval()
        for row, y in enumerate(up):
            for column, x in enumerate(across):
                for name, p in model.named_parameters():
                    p.copy_(state[name] + x * directions[0][name] + y * directions[1][name])
                if recompute:
                    recompute_statistics(model, batches)
                found[row, column] = loss_on(model, batches)
    return found


def path_plane(states: Sequence[Mapping[str, torch.Tensor]], names: Sequence[str], centre: int = -1):
    """The plane through one of some states that shows most of the others: principal components of the ways to them.

    Args:
        states: weights along training, of one run or of several after one another; names: the parameters that count.
        centre: number of the state at the origin; the last one unless told otherwise.

    Returns:
        ((d₁, d₂), (n, 2) coordinates of the states, (2,) shares of the squared distances from the centre along each),
        the directions of length 1.

    Raises:
        CourseError: fewer than three states.
    """
    if len(states) < 3:
        raise CourseError(f"A path needs at least 3 states to span a plane, not {len(states)}.")
    flat = torch.stack([torch.cat([state[name].flatten().double() for name in names]) for state in states])
    away = flat - flat[centre]
    _, sizes, axes = torch.linalg.svd(away, full_matrices=False)
    shares = (sizes**2 / (sizes**2).sum())[:2]
    directions, coordinates = [], away @ axes[:2].T
    for axis in axes[:2]:
        pieces = axis.split([states[0][name].numel() for name in names])
        found = {name: torch.zeros_like(value) for name, value in states[0].items()}
        found |= {n: piece.view_as(states[0][n]).to(states[0][n]) for n, piece in zip(names, pieces, strict=True)}
        directions.append(found)
    return tuple(directions), coordinates.numpy(), shares.numpy()


def _training_images(run: RunRecord, data: ImageData, items: int, device) -> list:
    if items < 1:
        raise CourseError(f"A loss needs at least one image, not {items}.")
    images, labels = (part[:items] for part in data.shuffled("train", run.config.n_items))
    return list(evaluation_batches(images, labels, choose_device(device), normalisation_of(run.config, data)))


def around(
    run: RunRecord,
    data: ImageData,
    store: Store,
    points: int,
    items: int,
    recompute: bool = False,
    device="auto",
    seeds: tuple[int, int] = (0, 1),
) -> np.ndarray:
    """``surface`` around a run's final weights in two filter-normalised random directions, measured once and stored.

    Args:
        points: along each side, from −1 to 1; items: training images each loss is over; recompute: see ``surface``.
        seeds: of the two directions.

    Returns:
        (points, points) losses.

    Raises:
        CourseError: fewer than three points, or neither the measurement nor the weights are at hand.
    """
    across = grid(points)

    def compute() -> dict:
        model = trained(run, device)
        directions = tuple(filter_normalised(model, seed) for seed in seeds)
        batches = _training_images(run, data, items, device)
        return {"losses": surface(model, batches, directions, across, recompute=recompute).tolist()}

    inputs = {"run": run.key, "data": data.fingerprint, "points": points, "items": items, "recompute": recompute}
    inputs |= {"seeds": list(seeds), "images": "shuffled"}
    return np.asarray(store.measurement("surface", inputs, compute)["losses"])


def along_paths(
    runs: Sequence[RunRecord], data: ImageData, store: Store, points: int, items: int, device="auto"
) -> dict:
    """The loss in the plane of the snapshots and ends of runs of one network, which goes through the end of the first.

    Batch norm's statistics are taken again at every point.

    Args:
        runs: one path each; points, items: see ``around``.

    Returns:
        ``across``, ``up`` (coordinates), ``losses`` (points × points), ``shares`` (of the squared distances from the
        first end, along the two axes), and for each run its ``paths`` ((n, 2) coordinates), ``steps`` (n) and
        ``labels`` (optimizer and rate).

    Raises:
        CourseError: as for ``around``, or fewer than three states, or the runs are not of one network.
    """
    grid(points)
    networks = [(run.config.model, dict(run.config.model_args)) for run in runs]
    if any(network != networks[0] for network in networks):
        names = dict.fromkeys(run.config.describe().split(" · ")[0] for run in runs)
        raise CourseError(f"Paths on one surface are of one network, not of {' and '.join(names)}.")
    steps = [[*run.config.snapshots, run.config.steps] for run in runs]

    def compute() -> dict:
        model = trained(runs[0], device)
        names = [name for name, _ in model.named_parameters()]
        states = [state for run in runs for state in (*map(run.snapshot, run.config.snapshots), run.weights)]
        directions, found, shares = path_plane(states, names, len(steps[0]) - 1)
        low, high = found.min(0), found.max(0)
        middle, reach = (low + high) / 2, 0.65 * max(high - low)
        across, up = (np.linspace(centre - reach, centre + reach, points) for centre in middle)
        device_of = next(model.parameters()).device
        there = [{name: t.to(device_of) for name, t in direction.items()} for direction in directions]
        batches = _training_images(runs[0], data, items, device)
        losses = surface(model, batches, tuple(there), across, up, recompute=True)
        sides = {"across": across.tolist(), "up": up.tolist(), "losses": losses.tolist()}
        paths = [path.tolist() for path in np.split(found, np.cumsum([len(each) for each in steps])[:-1])]
        return sides | {"paths": paths, "steps": steps, "shares": shares.tolist()}

    inputs = {"runs": [run.key for run in runs], "data": data.fingerprint, "points": points, "items": items}
    labels = [f"{run.config.optimizer} at {run.config.lr:g}" for run in runs]
    return store.measurement("path_plane", inputs | {"images": "shuffled"}, compute) | {"labels": labels}
