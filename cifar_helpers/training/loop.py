"""The training loop, what it records at every step, and evaluation.

The loop waits for the device only at a flush: per-step values stay on the device until then.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open

from ..env import write_tensors
from .prober import Prober, random_state


def train(
    model,
    batches,
    optimizer,
    steps,
    recorder,
    start=0,
    autocast=contextlib.nullcontext,
    on_flush=None,
    probes=(),
    criterion=F.cross_entropy,
    penalty=None,
    schedule=lambda step: None,
):
    """Train in place from step ``start`` to ``steps``: the loop that every run of the course goes through.

    Args:
        batches: has ``steps(start, stop)``, an iterator of (step, images, labels) on the model's device.
        on_flush: called with the number of finished steps when the recorder is due; a true answer ends training.
        probes: ``ProbeRecorder``s; those that want a step see it before and after the update, and change nothing.
        criterion: (logits, labels) → loss, the value that is recorded.
        penalty: called without arguments; its value joins the loss before the gradient is taken.
        schedule: called with the step before each update, to set the optimizer's rate.
    """
    for step, images, labels in batches.steps(start, steps):
        asked = [probe for probe in probes if probe.wants(step)]
        random = random_state(images.device) if asked else None
        with autocast():
            loss = criterion(model(images).float(), labels)
        optimizer.zero_grad(set_to_none=True)
        (loss + penalty() if penalty else loss).backward()
        schedule(step)
        recorder.before_update(loss)
        for probe in asked:
            probe.before_update(step, (images, labels), loss, random)
        optimizer.step()
        for probe in asked:
            probe.after_update(step, (images, labels), random)
        if on_flush and recorder.due(step + 1) and on_flush(step + 1):
            break


class Recorder:
    """Keeps what a run's figures need, one value per step, on the device until ``flush``.

    Gradient distances and moved distance are taken in fp32 over all parameters and over the output layer. Earlier
    gradients are kept by reference (``zero_grad(set_to_none=True)`` leaves them alone), so only the weights are copied.

    Args:
        model: whose parameters are watched.
        output: the output layer, a module of ``model``.
        gradients: without it only the loss is kept.
        gaps: gradient distances ‖g_t − g_{t−gap}‖₂ to keep.
        is_due: whether to flush after this many steps.
    """

    def __init__(self, model, output, gradients=True, gaps=(1,), is_due: Callable[[int], bool] = lambda step: False):
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        of_output = {id(p) for p in output.parameters()}
        where = [i for i, p in enumerate(self.parameters) if id(p) in of_output]
        self.in_output = torch.tensor(where, device=self.parameters[0].device)  # a list would wait for the device
        self.gradients, self.gaps, self.due = gradients, tuple(gaps), is_due
        self.earlier: deque[list[torch.Tensor]] = deque(maxlen=max(gaps))
        self.last_weights: list[torch.Tensor] | None = None
        self.pending: dict[str, list[torch.Tensor]] = {}
        self.steps: dict[str, np.ndarray] = {}

    @torch.no_grad()
    def before_update(self, loss: torch.Tensor) -> None:
        """Record the step whose gradients lie in the parameters, before the optimizer uses them."""
        self._keep("loss", loss.detach())
        if not self.gradients:
            return
        gradient = [p.grad for p in self.parameters]
        self._keep_norm("grad_norm", gradient)
        self._keep_norm("weight_norm", self.parameters)
        for gap in sorted(self.gaps):
            past = self.earlier[-gap] if gap <= len(self.earlier) else None
            # The oldest gradient leaves the queue below, so its memory may hold the difference.
            last_use = gap == self.earlier.maxlen
            self._keep_distance(f"grad_dist_{gap}", past, gradient, overwrite=last_use)
        self._keep_distance("moved", self.last_weights, self.parameters, overwrite=True)
        self.earlier.append(gradient)
        if self.last_weights is None:
            self.last_weights = [p.detach().clone() for p in self.parameters]
        else:
            torch._foreach_copy_(self.last_weights, self.parameters)

    def _keep(self, name: str, value: torch.Tensor) -> None:
        self.pending.setdefault(name, []).append(value)

    def _keep_norm(self, name: str, tensors: list[torch.Tensor]) -> None:
        norms = torch.stack(torch._foreach_norm(tensors)).float()
        self._keep(name, torch.linalg.vector_norm(norms))
        self._keep(f"{name}_out", torch.linalg.vector_norm(norms[self.in_output]))

    def _keep_distance(self, name: str, past: list[torch.Tensor] | None, now, overwrite: bool) -> None:
        if past is None:
            unknown = torch.full((), torch.nan, device=now[0].device)
            self._keep(name, unknown)
            self._keep(f"{name}_out", unknown)
        elif overwrite:
            torch._foreach_sub_(past, now)
            self._keep_norm(name, past)
        else:
            self._keep_norm(name, torch._foreach_sub(past, now))

    def flush(self) -> None:
        """Move the pending values to the host: the one place where training waits for the device."""
        for name, values in self.pending.items():
            fresh = torch.stack(values).float().cpu().numpy()
            self.steps[name] = np.concatenate([self.steps.get(name, fresh[:0]), fresh])
        self.pending = {}

    def first_bad_step(self) -> int | None:
        """First flushed step whose loss is not finite."""
        bad = np.flatnonzero(~np.isfinite(self.steps["loss"]))
        return int(bad[0]) if len(bad) else None

    def state(self) -> dict[str, torch.Tensor]:
        """Flushed values and the tensors that the next step's distances need."""
        state = {f"steps.{name}": torch.from_numpy(values) for name, values in self.steps.items()}
        for age, gradient in enumerate(self.earlier):
            state |= {f"earlier.{age}.{i}": g for i, g in enumerate(gradient)}
        return state | {f"last_weights.{i}": w for i, w in enumerate(self.last_weights or [])}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take up where ``state`` was taken, in the parameters' memory layout."""
        self.steps = {n.removeprefix("steps."): t.cpu().numpy() for n, t in state.items() if n.startswith("steps.")}
        ages = sorted({int(n.split(".")[1]) for n in state if n.startswith("earlier.")})
        for age in ages:
            self.earlier.append([_like(p, state[f"earlier.{age}.{i}"]) for i, p in enumerate(self.parameters)])
        if "last_weights.0" in state:
            self.last_weights = [_like(p, state[f"last_weights.{i}"]) for i, p in enumerate(self.parameters)]


def _like(model_tensor: torch.Tensor, stored: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(model_tensor, requires_grad=False).copy_(stored)


class ProbeRecorder:
    """Measures one probe along a run and keeps the values, on the device until ``flush``.

    Args:
        config: a ``probes.ProbeConfig``.
        model, output: as for ``Recorder``.
        other_batch: gives, for a step and i = 0, 1 …, the i-th other batch of a ``noise`` probe.
        reuse: whether the step's own gradient is as precise as the probe's.
    """

    def __init__(self, config, model, output, other_batch: Callable, reuse: bool):
        self.config, self.other_batch, self.reuse = config, other_batch, reuse
        self.prober = Prober(model, output=output, mode=config.mode)
        self.parameters = self.prober.parameters
        self.before: tuple[list, list] | None = None
        self.pending: list[dict] = []
        self.values: dict[str, np.ndarray] = {}
        self.seconds = 0.0

    def wants(self, step: int) -> bool:
        return self.config.wants(step)

    def before_update(self, step: int, batch, loss: torch.Tensor, random: dict) -> None:
        """Measure at the weights of the step, whose gradients lie in the parameters."""
        began = self._clock()
        known = (loss, [p.grad for p in self.parameters]) if self.reuse else None
        if self.config.kind == "along_gradient":
            seed = step if self.config.direction == "random" else None
            self._keep(step, self.prober.along(batch, self.config.etas, known, random, seed))
        else:
            loss, gradient = self.prober.start(batch, known, random)
            if self.config.kind == "same_batch":
                self.before = (gradient, [p.detach().clone() for p in self.parameters])
            else:
                others = [self.other_batch(step, i) for i in range(self.config.batches)]
                found = [self.prober.change(other, gradient, random) for other in others]
                stacked = {name: torch.stack([each[name] for each in found]) for name in found[0]}
                norms = self.prober.norms("gradient_norm", gradient)
                self._keep(step, stacked | {"start_loss": loss} | norms)
        self.seconds += self._clock() - began

    def after_update(self, step: int, batch, random: dict) -> None:
        """Measure at the weights after the step, on the batch of before it."""
        if self.before is None:
            return
        began, (gradient, weights) = self._clock(), self.before
        moved = self.prober.norms("moved", torch._foreach_sub([p.detach() for p in self.parameters], weights))
        self._keep(step + 1, self.prober.change(batch, gradient, random) | moved)
        self.before = None
        self.seconds += self._clock() - began

    def _clock(self) -> float:
        if self.parameters[0].device.type == "cuda":
            torch.cuda.synchronize(self.parameters[0].device)  # a probe is rare; training time is reported without it
        return time.monotonic()

    def _keep(self, step: int, found: dict) -> None:
        self.pending.append({name: value.detach() for name, value in found.items()} | {"step": torch.tensor(step)})

    def flush(self) -> None:
        """Move the pending values to the host."""
        for found in self.pending:
            for name, value in found.items():
                row = value.cpu().reshape(1, *value.shape).numpy().copy()  # two probes may share a value
                self.values[name] = np.concatenate([self.values[name], row]) if name in self.values else row
        self.pending = []

    def keep_until(self, step: int) -> None:
        """Drop what was measured after this step."""
        known = self.values.get("step", np.empty(0)) <= step
        self.values = {name: values[known] for name, values in self.values.items()}

    def state(self) -> dict[str, torch.Tensor]:
        """Flushed values, for a checkpoint."""
        return {name: torch.from_numpy(values) for name, values in self.values.items()}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take up where ``state`` was taken."""
        self.values = {name: tensor.numpy() for name, tensor in state.items()}


@torch.no_grad()
def evaluate(model, batches: Iterable, autocast=contextlib.nullcontext, flips: bool = False) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy (0 to 1) in eval mode, each image weighing the same.

    Args:
        batches: (images, labels) pairs; their sizes may differ.
        flips: judge by the mean logits of each image and its mirror image.

    Raises:
        ValueError: there is no image.
    """
    was_training = model.training
    model.eval()
    losses, hits, count = [], [], 0
    for images, labels in batches:
        with autocast():
            logits = model(images).float()
            if flips:
                logits = (logits + model(images.flip(3)).float()) / 2
        losses.append(F.cross_entropy(logits, labels, reduction="sum"))
        hits.append((logits.argmax(1) == labels).sum())
        count += len(labels)
    model.train(was_training)
    if not count:
        raise ValueError("Nothing to evaluate: there is no image.")
    # One copy, so one wait: the few hits of a batch are whole numbers as floats too.
    loss, right = torch.stack([torch.stack(losses), torch.stack(hits).float()]).cpu().double().sum(1).tolist()
    return loss / count, right / count


# --- Checkpoints ---------------------------------------------------------------------------------------------------


def save_checkpoint(path, step: int, model, optimizer, recorder: Recorder, extra: dict, probes=()) -> None:
    """Write everything the next step depends on to one file, atomically.

    Raises:
        CourseError: the disk is full or the folder cannot be written; the previous checkpoint stays.
    """
    tensors = {f"model.{name}": t for name, t in model.state_dict().items()}
    optimizer_state = optimizer.state_dict()
    for index, values in optimizer_state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(t) for name, t in values.items() if t is not None}
    tensors |= {f"recorder.{name}": t for name, t in recorder.state().items()}
    for probe in probes:
        tensors |= {f"{probe.config.name}.{name}": t for name, t in probe.state().items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    device = next(model.parameters()).device
    if device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    meta = {"step": step, "groups": optimizer_state["param_groups"], "extra": extra, "digest": _digest(tensors)}
    meta["probes"] = [probe.config.name for probe in probes]
    write_tensors(path, tensors, {"meta": json.dumps(meta)})


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def load_checkpoint(path, model, optimizer, recorder: Recorder, expected: dict, probes=()) -> tuple[int, dict] | None:
    """Restore what ``save_checkpoint`` wrote; None, and nothing touched, where there is no checkpoint to go on from.

    Its ``extra`` must have what is ``expected`` (the hash of the untrained weights): other model code does not go on.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            meta = json.loads(stored.metadata()["meta"])
            if any(meta["extra"].get(name, False) != value for name, value in expected.items()):
                return None
            if not {probe.config.name for probe in probes} <= set(meta.get("probes", ())):
                print(f"The checkpoint {path.name} has not the probes asked for; the run starts over.", flush=True)
                return None
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
        if _digest(tensors) != meta["digest"]:
            raise ValueError("its content is not what was written")
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        print(f"The checkpoint {path.name} cannot be used ({error}); the run starts from its beginning.", flush=True)
        return None

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

    model.load_state_dict(part("model."))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in part("optimizer.").items():
        index, entry = name.split(".")
        like_parameter = tensor.shape == parameters[int(index)].shape
        tensor = _like(parameters[int(index)], tensor) if like_parameter else tensor
        state.setdefault(int(index), {})[entry] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": meta["groups"]})
    recorder.load_state(part("recorder."))
    for probe in probes:
        probe.load_state(part(f"{probe.config.name}."))
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"], next(model.parameters()).device)
    return meta["step"], meta["extra"]


# --- Progress ------------------------------------------------------------------------------------------------------


def shown_accuracy(evaluation: dict) -> str:
    """The accuracy of an evaluation, in words; a run on all images has no validation images left."""
    part = next(part for part in ("validation", "test", "train") if f"{part}_accuracy" in evaluation)
    return f"{part} {evaluation[f'{part}_accuracy']:.1%}"


class Progress:
    """A live bar in JupyterLab; elsewhere one printed line per evaluation."""

    def __init__(self, title: str, total: int, start: int = 0):
        self.title, self.total, self.first, self.began, self.bar = title, total, start, time.monotonic(), None
        if os.environ.get("JPY_SESSION_NAME") and "ipykernel" in sys.modules:
            with contextlib.suppress(ImportError), contextlib.redirect_stderr(io.StringIO()):
                from tqdm.notebook import tqdm

                self.bar = tqdm(total=total, initial=start, desc=title, leave=False)

    def update(self, step: int, evaluation: dict | None) -> None:
        """Show that ``step`` steps are done."""
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
            if evaluation:
                self.bar.set_postfix_str(shown_accuracy(evaluation))
        elif evaluation:
            left = (time.monotonic() - self.began) / (step - self.first) * (self.total - step)
            print(
                f"  train {self.title} · step {step}/{self.total} · loss {evaluation['train_loss']:.3f} · "
                f"{shown_accuracy(evaluation)} · {left / 60:.1f} min left",
                flush=True,
            )

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
