"""Evaluates a model's loss and gradient elsewhere than where it stands, without touching it.

The machinery under ``probe.probe_along_gradient`` and the probes of a run.
"""

import contextlib
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch.func import functional_call

from ..env import CourseError, send, true_fp32


class Prober:
    """Evaluates a model's loss and gradient at other weights or on other batches, without touching the model.

    Results stay on the device: nothing here waits for it.

    Args:
        model, loss_function, mode, precision: as in ``probe_along_gradient``.
        output: a module of the model over whose parameters distances are taken as well (``…_out``).

    Raises:
        CourseError: an unknown mode or precision.
    """

    def __init__(self, model, loss_function=F.cross_entropy, output=None, mode="train", precision="fp32"):
        for what, name, known in (("mode", mode, ("train", "eval")), ("precision", precision, ("fp32", "fp64"))):
            if name not in known:
                raise CourseError(f"Unknown {what} {name!r} of a probe; choose '{known[0]}' or '{known[1]}'.")
        self.model, self.loss_function, self.mode = model, loss_function, mode
        self.dtype = torch.float64 if precision == "fp64" else torch.float32
        watched = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.names, self.parameters = list(watched), list(watched.values())
        if not self.parameters:
            raise CourseError("A probe needs a model with parameters that require a gradient.")
        of_output = {id(p) for p in output.parameters()} if output is not None else set()
        self.in_output = [i for i, p in enumerate(self.parameters) if id(p) in of_output]

    def along(self, batch, etas, start=None, random=None, direction_seed=None) -> dict[str, torch.Tensor]:
        """Loss and gradient distance at w − η d for every η, where d is the gradient g.

        Args:
            batch, etas, start, random: as in ``probe_along_gradient``.
            direction_seed: d is instead a random direction (normal in every weight), as long as g.

        Returns:
            ``loss`` and ``gradient_distance`` (m,), ``start_loss``, ``gradient_norm`` and ``weight_norm`` (), and
            with ``_out`` appended the same over the output layer.
        """
        etas = [float(eta) for eta in etas]
        if not etas or not all(math.isfinite(eta) and eta > 0 for eta in etas):
            raise CourseError(f"A probe needs at least one step length η, all of them positive numbers, not {etas}.")
        with self._evaluating(batch, random) as evaluate:
            weights = self._weights()
            start_loss, gradient = self._start(evaluate, weights, start)
            direction = gradient if direction_seed is None else self._random_like(gradient, direction_seed)
            moving = [i for i, d in enumerate(direction) if d is not None]
            way = [direction[i] for i in moving]
            losses, distances = [], []
            for eta in etas:
                with torch.no_grad():
                    torch._foreach_copy_(weights, self.parameters)
                    torch._foreach_add_([weights[i] for i in moving], way, alpha=-eta)
                loss, distance = self._distance(evaluate, weights, gradient)
                losses.append(loss)
                distances.append(distance)
        found = {"loss": torch.stack(losses), "start_loss": start_loss} | self.norms("gradient_norm", gradient)
        found |= self.norms("weight_norm", [p.detach() for p in self.parameters])
        for name in distances[0]:
            distance = torch.stack([each[name] for each in distances])
            found[name] = torch.where(torch.isfinite(found["loss"]), distance, torch.nan)
        return found

    def change(self, batch, gradient: Sequence, random=None) -> dict[str, torch.Tensor]:
        """Loss and distance of the present gradient on this batch from a gradient taken elsewhere.

        ``gradient``: one tensor (or None for zero) per parameter that requires a gradient.

        Returns:
            ``loss`` (), ``gradient_distance`` (), and ``gradient_distance_out`` with an output layer.
        """
        with self._evaluating(batch, random) as evaluate:
            loss, distance = self._distance(evaluate, self._weights(), gradient)
        return {"loss": loss} | distance

    def start(self, batch, known=None, random=None) -> tuple[torch.Tensor, list]:
        """Loss and gradient at the present weights on this batch: those ``known`` if they fit, else computed."""
        with self._evaluating(batch, random) as evaluate:
            return self._start(evaluate, self._weights(), known)

    def norms(self, name: str, tensors: Sequence) -> dict[str, torch.Tensor]:
        """ℓ2 norm over one tensor (or None for zero) per parameter; ``<name>_out`` is over the output layer."""
        return self._total(name, [self._norm(tensor) for tensor in tensors])

    def _weights(self) -> list[torch.Tensor]:
        return [p.detach().to(self.dtype, copy=True).requires_grad_() for p in self.parameters]

    @contextlib.contextmanager
    def _evaluating(self, batch, random):
        """Give a function from weights to the loss, while mode and random state are looked after."""
        images, labels = batch
        if not len(images):
            raise CourseError("A probe needs a batch with at least one image.")
        device = images.device
        images = images.to(self.dtype) if images.is_floating_point() else images
        random = random or random_state(device)
        before, modes = random_state(device), [(module, module.training) for module in self.model.modules()]
        # In-place updates of running statistics go to these copies.
        watched = {id(p) for p in self.parameters}
        fixed = dict(self.model.named_buffers()) | dict(self.model.named_parameters())
        fixed = {name: self._copy(t) for name, t in fixed.items() if id(t) not in watched}

        def evaluate(weights) -> torch.Tensor:
            set_random_state(random, device)
            with torch.autocast(device.type, enabled=False), true_fp32(device):
                values = dict(zip(self.names, weights, strict=True)) | fixed
                output = None
                try:
                    output = functional_call(self.model, values, (images,))
                    return self.loss_function(output, labels)
                except (RuntimeError, TypeError, ValueError) as error:
                    if why := self._mistake(images, labels, output, error):
                        raise CourseError(why) from error
                    raise

        try:
            if self.mode == "eval":
                self.model.eval()
            with torch.enable_grad():  # it needs gradients, whether or not the reader does at the moment
                yield evaluate
        finally:
            for module, training in modes:
                module.training = training
            set_random_state(before, device)

    def _mistake(self, images, labels, output, error: Exception) -> str:
        """What is usually wrong where the model or the loss refuses a batch; empty where nothing is found."""
        if images.dtype == torch.uint8:
            return "The images are uint8, as they are stored: a network takes what data.normalise makes of them."
        if isinstance(output, tuple | list | dict):
            return (
                f"The model gives a {type(output).__name__}; the loss takes its logits alone, one tensor (N, classes)."
            )
        if not labels.is_floating_point() and labels.dtype != torch.int64:
            return f"The labels are {str(labels.dtype).removeprefix('torch.')}; the loss takes int64: labels.long()."
        if len(images) == 1 and "more than 1 value per channel" in str(error):
            return (
                "Batch norm cannot normalise one image by itself: give at least 2 images, or measure with mode='eval'."
            )
        return ""

    def _copy(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to(self.dtype if tensor.is_floating_point() else tensor.dtype, copy=True)

    def _start(self, evaluate, weights, start) -> tuple[torch.Tensor, list]:
        if start is not None and start[0].dtype == self.dtype and self.mode == "train":
            loss, gradient = start[0].detach(), [None if g is None else g.detach() for g in start[1]]
            if all(g is None or g.dtype == self.dtype for g in gradient):
                return loss, gradient
        loss = evaluate(weights)
        return loss.detach(), list(torch.autograd.grad(loss, weights, allow_unused=True))

    def _distance(self, evaluate, weights, gradient) -> tuple[torch.Tensor, dict]:
        """Loss, and distance of its gradient from ``gradient``; each part of the new gradient is freed at once."""
        norms: dict[int, torch.Tensor] = {}

        def compare_with(index: int, old):
            def compare(weight) -> None:
                norms[index] = (weight.grad if old is None else weight.grad.sub_(old)).norm()
                weight.grad = None

            return compare

        hooks = [
            weight.register_post_accumulate_grad_hook(compare_with(index, old))
            for index, (weight, old) in enumerate(zip(weights, gradient, strict=True))
        ]
        loss = evaluate(weights)
        loss.backward()
        for hook in hooks:
            hook.remove()
        # A weight that the loss does not depend on has no new gradient: its distance is that of zero.
        all_norms = [norms[i] if i in norms else self._norm(old) for i, old in enumerate(gradient)]
        return loss.detach(), self._total("gradient_distance", all_norms)

    def _norm(self, tensor) -> torch.Tensor:
        return self.parameters[0].new_zeros((), dtype=self.dtype) if tensor is None else tensor.to(self.dtype).norm()

    def _total(self, name: str, norms: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        norms = torch.stack([norm.detach() for norm in norms])
        parts = {name: torch.linalg.vector_norm(norms)}
        if self.in_output:
            parts[f"{name}_out"] = torch.linalg.vector_norm(torch.stack([norms[i] for i in self.in_output]))
        return parts

    def _random_like(self, gradient: Sequence, seed: int) -> list:
        """A random direction as long as the gradient, the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        drawn = [torch.randn(p.shape, generator=generator, dtype=torch.float32, device="cpu") for p in self.parameters]
        drawn = [send(d, p.device).to(self.dtype) for d, p in zip(drawn, self.parameters, strict=True)]
        scale = self.norms("n", gradient)["n"] / self.norms("n", drawn)["n"]
        torch._foreach_mul_(drawn, scale)
        return drawn


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of the generators that a forward pass on this device draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put the generators back to a ``random_state``."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    elif "mps" in state:
        torch.mps.set_rng_state(state["mps"])
