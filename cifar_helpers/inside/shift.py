"""What batch norm does to a network, measured at chosen steps of a run (Santurkar et al. 2018, sections 2 and 3).

Internal covariate shift in the paper's sense, distributions of activations, and what the scale of a layer's weights
means. Everything is measured from a run's snapshots and stored, so a published record needs no weights.
"""

import contextlib
import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..data.batches import evaluation_batches
from ..data.images import ImageData
from ..env import CourseError, choose_device, true_fp32
from ..training.build import build_model, move, normalisation_of, training_batches
from ..training.config import RunConfig
from ..training.loop import evaluate
from ..training.store import RunRecord, Store

QUANTILES = 101  # of a channel's values, from the smallest to the largest


def weight_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and linear layers by name, in the order of the forward pass."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def named(config: RunConfig, labels: Sequence[str]) -> dict[str, str]:
    """Labels such as ``conv 2`` or ``linear 1`` → names of these layers in a config's network.

    The same layer has another name once normalisation layers stand before it.

    Raises:
        CourseError: a label that no layer has; the message lists those known.
    """
    counts, known = {"conv": 0, "linear": 0}, {}
    for name, layer in weight_layers(build_model(config)).items():
        kind = "conv" if isinstance(layer, nn.Conv2d) else "linear"
        counts[kind] += 1
        known[f"{kind} {counts[kind]}"] = name
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise CourseError(f"There is no layer {', '.join(unknown)}; this network has {', '.join(known)}.")
    return {label: known[label] for label in labels}


def _chosen(model: nn.Module, names: Sequence[str] | None) -> list[str]:
    known = weight_layers(model)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        how = "shift.named translates labels such as 'conv 4'"
        raise CourseError(f"There is no layer {', '.join(unknown)}; this network has {', '.join(known)} ({how}).")
    return list(known) if names is None else [name for name in known if name in names]


def _groups(model: nn.Module) -> list[tuple[str, list[nn.Parameter]]]:
    """Trained parameters of each weight layer with those of the normalisation after it, in order."""
    groups: list[tuple[str, list[nn.Parameter]]] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            groups.append((name, []))
        own = [p for p in module.parameters(recurse=False) if p.requires_grad]
        if own and groups:
            groups[-1][1].extend(own)
    return groups


@contextlib.contextmanager
def _kept(model: nn.Module) -> Iterator[None]:
    """Give back weights, statistics, mode and gradients afterwards, and the place in the random numbers."""
    state, mode = copy.deepcopy(model.state_dict()), model.training
    gradients, device = [p.grad for p in model.parameters()], next(model.parameters()).device
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        model.load_state_dict(state)
        model.train(mode)
        for p, gradient in zip(model.parameters(), gradients, strict=True):
            p.grad = gradient


def covariate_shift(model, batch, lr: float, layers: Sequence[str] | None = None, seed: int = 0) -> list[dict]:
    """How the gradient of a layer changes when the layers below it take their step (the paper's Definition 2.1).

    G is the gradient of the layer's weights with all layers as they are; G′ the same on the same batch after one step
    of SGD on the layers below. Train mode, fp32. Noise in the network is drawn alike for both, so it is the layers' own
    shift that is measured, not that of the noise. The model is left as it was.

    Args:
        batch: (images, labels); lr: rate of the step; layers: names, None takes all; seed: of noise and dropout.

    Returns:
        One dict per layer: ``layer``, ``l2`` ‖G − G′‖₂, ``relative`` ‖G − G′‖₂ / ‖G‖₂, ``cosine`` of their angle (1
        where nothing changed, NaN where a gradient is zero).

    Raises:
        CourseError: a layer that the network does not have; the message lists those it has.
    """
    wanted, modules, rows = _chosen(model, layers), weight_layers(model), []
    images, labels = batch

    def gradients() -> list[torch.Tensor | None]:
        torch.manual_seed(seed)  # the same noise and dropout on both sides
        with true_fp32(images.device):
            loss = F.cross_entropy(model(images), labels)
            return list(torch.autograd.grad(loss, trained, allow_unused=True))

    with _kept(model):
        model.train()
        groups = _groups(model)
        trained = [p for _, group in groups for p in group]
        place = {id(p): i for i, p in enumerate(trained)}
        before = gradients()
        for name, group in groups:
            weight = modules[name].weight
            if name in wanted and weight.requires_grad:
                rows.append({"layer": name} | _change(before[place[id(weight)]], gradients()[place[id(weight)]]))
            with torch.no_grad():
                for p in group:
                    p.sub_(lr * before[place[id(p)]])
    return rows


def _change(before: torch.Tensor, after: torch.Tensor) -> dict[str, float]:
    a, b = (t.cpu().double().flatten() for t in (before, after))
    moved, sizes = (a - b).norm(), a.norm() * b.norm()
    same = torch.equal(a, b)
    cosine = 1.0 if same and sizes > 0 else (a @ b / sizes).item() if sizes > 0 else float("nan")
    relative = (moved / a.norm()).item() if a.norm() > 0 else float("nan")
    return {"l2": moved.item(), "relative": relative, "cosine": cosine}


@torch.no_grad()
def activations(model, images: torch.Tensor, layers: Sequence[str] | None = None, seed: int = 0) -> list[dict]:
    """Distribution of what goes into the activation after each convolution, on a batch in train mode.

    Noise in the network is drawn from ``seed``.

    Returns:
        One dict per layer: ``layer``; ``mean`` and ``std`` over all values; ``channel``, 101 quantiles of the first
        channel's; and lists ``channels_mean`` and ``channels_std``, one value per channel.

    Raises:
        CourseError: a layer that the network does not have.
    """
    wanted, found, hooks = _chosen(model, layers), {}, []
    names = list(model.named_modules())
    for i, (name, module) in enumerate(names):
        if name in wanted and isinstance(module, nn.Conv2d):
            after = names[i + 1][1]
            source = module if next(after.parameters(recurse=False), None) is None else after  # a norm, if there is one
            hooks.append(source.register_forward_hook(lambda _, __, out, name=name: found.update({name: out.detach()})))
    try:
        with _kept(model):
            torch.manual_seed(seed)
            model.train()
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    rows = []
    for name, out in found.items():
        values = out.float().transpose(0, 1).flatten(1)
        row = {"layer": name, "mean": values.mean().item(), "std": values.std().item()}
        spread = np.quantile(values[0].cpu().numpy(), np.linspace(0, 1, QUANTILES))
        row["channel"] = [float(f"{value:.4g}") for value in spread]
        channels = {"channels_mean": values.mean(1).tolist(), "channels_std": values.std(1).tolist()}
        rows.append(row | channels)
    return rows


def at_snapshots(name: str, run: RunRecord, data: ImageData, store: Store, measure, device="auto", **inputs) -> dict:
    """Measure a run at its snapshots, once, and store it.

    Args:
        name: of the measurement; inputs: JSON-ready arguments that decide it.
        measure: called as ``measure(model, batches, step, seed)`` with the model after that many steps, the batches by
            step (the one it sees next is ``batches[step]``) and a seed for noise in the network, another at every step.

    Returns:
        Step → what ``measure`` returned.

    Raises:
        CourseError: neither the measurement nor the snapshots are at hand.
    """

    def compute() -> dict:
        target = choose_device(device)
        model, batches = move(build_model(run.config), target), training_batches(run.config, data, target)
        found = {}
        for step in run.config.snapshots:
            if run.diverged_at is None or step <= run.diverged_at:
                model.load_state_dict(run.snapshot(step))
                found[step] = measure(model, batches, step, run.config.seed * 1_000_003 + step)
        return {"steps": list(found), "found": list(found.values())}

    stored = store.measurement(name, {"run": run.key, "data": data.fingerprint} | inputs, compute)
    return dict(zip(stored["steps"], stored["found"], strict=True))


def shift_along(run: RunRecord, data: ImageData, store: Store, layers: Sequence[str], device="auto") -> dict:
    """``covariate_shift`` at every snapshot of a run of plain SGD, by its own step.

    Raises:
        CourseError: the run was not trained by SGD without momentum, whose step is −rate · gradient.
    """
    config = run.config
    if config.optimizer.removeprefix("course.") != "SGD" or config.optimizer_args or config.schedule != "constant":
        raise CourseError("Internal covariate shift is measured along plain SGD: its step is known from the gradient.")

    def measure(model, batches, step: int, seed: int) -> list[dict]:
        return covariate_shift(model, batches[step], config.lr, layers, seed)

    return at_snapshots("covariate_shift", run, data, store, measure, device, layers=list(layers))


def activations_along(run: RunRecord, data: ImageData, store: Store, layers: Sequence[str], device="auto") -> dict:
    """``activations`` at every snapshot of a run, on the batch it sees next; and again at the same weights.

    Returns:
        Step → rows of ``activations``, each with ``again_mean`` and ``again_std``, per channel, on the batch after that
        and under another draw of noise.
    """

    def measure(model, batches, step: int, seed: int) -> list[dict]:
        rows = activations(model, batches[step][0], layers, seed)
        again = activations(model, batches[step + 1][0], layers, seed + 500_009)
        return [
            row | {"again_mean": other["channels_mean"], "again_std": other["channels_std"]}
            for row, other in zip(rows, again, strict=True)
        ]

    return at_snapshots("activations", run, data, store, measure, device, layers=list(layers), version=2)


def series(found: Mapping[str, Sequence[Mapping]], labels: Sequence[str], quantity: str) -> dict:
    """A quantity of ``shift_along`` as a figure wants it: label → network → (steps, values) of every seed.

    ``found``: network → what ``shift_along`` gave for every seed; ``labels``: of the layers, in their order.
    """
    return {
        label: {
            name: [(list(run), [rows[place][quantity] for rows in run.values()]) for run in seeds]
            for name, seeds in found.items()
        }
        for place, label in enumerate(labels)
    }


def late(found: Sequence[Mapping], quantity: str, layers: slice = slice(None)) -> list[float]:
    """Mean of a quantity over layers and over the last half of the measured steps, for every seed."""
    halves = [list(run.values())[len(run) // 2 :] for run in found]
    return [float(np.nanmean([row[quantity] for rows in half for row in rows[layers]])) for half in halves]


def quantiles(by_step: Mapping[int, Sequence[dict]], labels: Sequence[str]) -> dict:
    """``activations_along`` of a run as a figure of ridges wants it: label → (step, quantiles) pairs."""
    return {
        label: [(step, rows[place]["channel"]) for step, rows in by_step.items()] for place, label in enumerate(labels)
    }


def drift(by_step: Mapping[int, Sequence[dict]]) -> list[float]:
    """How far the distributions before the activations move between neighbouring steps of ``activations_along``.

    For every channel the change of its mean and of its deviation, both in units of the deviation it had; the root of
    their mean square over channels and layers.
    """
    return [_move(before, after, "channels") for before, after in itertools.pairwise(by_step.values())]


def still(by_step: Mapping[int, Sequence[dict]]) -> list[float]:
    """What ``drift`` shows at each step where no weight has moved: another batch, another draw of noise."""
    return [_move(rows, rows, "again") for rows in by_step.values()]


def _move(before: Sequence[dict], after: Sequence[dict], kind: str) -> float:
    moves = []
    for a, b in zip(before, after, strict=True):
        spread = np.maximum(a["channels_std"], 1e-12)
        for quantity in ("mean", "std"):
            moves.append((np.asarray(b[f"{kind}_{quantity}"]) - np.asarray(a[f"channels_{quantity}"])) / spread)
    return float(np.sqrt(np.mean(np.concatenate(moves) ** 2)))


def filter_norms(run: RunRecord, data: ImageData, store: Store) -> dict[int, float]:
    """‖w‖₂ over all convolutions of a run at its snapshots: weights whose size means nothing before batch norm."""

    def measure(model, batches, step: int, seed: int) -> float:
        found = [m.weight for m in weight_layers(model).values() if isinstance(m, nn.Conv2d)]
        return torch.stack(torch._foreach_norm(found)).norm().item()

    return at_snapshots("filter_norms", run, data, store, measure, "cpu")


def mode_gap(run: RunRecord, data: ImageData, store: Store, device="auto") -> Mapping[str, float]:
    """Validation loss of a finished run with its running statistics, and with those of each batch of training size.

    Returns:
        ``eval`` and ``train``: losses in nats; accuracies with ``_accuracy`` appended.

    Raises:
        CourseError: neither the measurement nor the weights are at hand.
    """

    def compute() -> dict:
        target = choose_device(device)
        model = build_model(run.config)
        model.load_state_dict(run.weights)
        model, (images, labels) = move(model, target), data.shuffled("validation", run.config.eval_items)
        whole = len(labels) // run.config.batch_size * run.config.batch_size  # a rest would be a smaller batch
        args = (images[:whole], labels[:whole], target, normalisation_of(run.config, data), run.config.batch_size)
        loss, accuracy = evaluate(model, evaluation_batches(*args))
        own = _by_batch(model, evaluation_batches(*args))
        return {"eval": loss, "eval_accuracy": accuracy} | own

    inputs = {"run": run.key, "data": data.fingerprint, "images": "shuffled"}
    return store.measurement("mode_gap", inputs, compute)


@torch.no_grad()
def _by_batch(model: nn.Module, batches) -> dict[str, float]:
    with _kept(model):
        model.train()
        losses, hits = [], []
        for images, labels in batches:
            logits = model(images).float()
            losses.append(F.cross_entropy(logits, labels).item())
            hits.append((logits.argmax(1) == labels).float().mean().item())
    return {"train": float(np.mean(losses)), "train_accuracy": float(np.mean(hits))}
