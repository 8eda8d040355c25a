"""What a ``RunConfig`` asks for, built: model, optimizer, schedule, loss, batches."""

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F

from .. import models
from ..data.batches import Batches, normalise
from ..data.images import HALF, ImageData, channel_statistics
from ..env import CourseError, usual_torch
from ..models import owncode
from . import optim
from .config import RunConfig

PREPARATION_ITEMS = 5000  # training images that a network may look at before training


@usual_torch()
def build_model(config: RunConfig) -> torch.nn.Module:
    """Build the config's model on the CPU; the seed alone decides its weights.

    Raises:
        CourseError: no such class, or arguments it does not take.
    """
    known = models.known()
    if config.model not in known:
        own = (
            "A network of your own needs @models.register above its class, in the same notebook or script. Is it there "
            "already? Then run that cell again: a restart, or %autoreload, forgets what was registered."
        )
        raise CourseError(f"Unknown model {config.model!r}; models has {', '.join(known)}. {own}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            model = getattr(models, config.model)(**config.model_args)
        except (TypeError, ValueError) as error:
            raise CourseError(f"{config.model}: {error}") from error
        if owncode.is_registered(type(model)):
            _check_shape(model, config)
        return model


def _check_shape(model: torch.nn.Module, config: RunConfig) -> None:
    """Whether a network of the reader's own maps images to ten logits, in both modes; the course's are tested."""
    wanted = f"{config.model} has to map images (N, 3, 32, 32) to logits (N, 10)"
    for mode in ("eval", "train"):
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()} if mode == "train" else None
        try:
            with torch.no_grad():
                found = model.train(mode == "train")(torch.zeros(2, 3, 32, 32))
        except Exception as error:
            raise CourseError(f"{wanted}; its forward fails in {mode} mode: {error}") from error
        if state:
            model.load_state_dict(state)  # running statistics have moved
        if isinstance(found, tuple | list | dict):
            raise CourseError(f"{wanted}; in {mode} mode it gives a {type(found).__name__}. Return the logits alone.")
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        if shape != (2, 10):
            raise CourseError(f"{wanted}; for two images it gives {shape}. Does forward return its result?")


def move(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Put the model on the device, channels last in memory where that is faster (CPU and CUDA)."""
    return model.to(device) if device.type == "mps" else model.to(device, memory_format=torch.channels_last)


def build_optimizer(config: RunConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Build the config's optimizer over all parameters of the model.

    Raises:
        CourseError: no such optimizer, or arguments it does not take.
    """
    theirs, ours = _optimizers(torch.optim), {f"course.{n}": c for n, c in _optimizers(optim).items()}
    known = sorted(set(theirs) - {"Optimizer", "LBFGS", "SparseAdam"})  # these two need another loop
    if config.optimizer not in (*known, *ours):
        names = f"torch.optim has {', '.join(known)}; the course's own are {', '.join(sorted(ours))}"
        raise CourseError(f"Unknown optimizer {config.optimizer!r}; {names}.")
    arguments = dict(config.optimizer_args)
    if arguments.get("nesterov") and config.optimizer in theirs:
        arguments.setdefault("foreach", False)  # its foreach form writes into the gradients that the recorder keeps
    parameters = model.parameters()
    if config.optimizer.endswith("MuonAndAdamW"):
        parameters = optim.hidden_matrices_apart(model, models.output_layer(model))
    try:
        return (theirs | ours)[config.optimizer](parameters, lr=config.lr, **arguments)
    except (TypeError, ValueError) as error:
        raise CourseError(f"{config.optimizer}: {error}") from error


def _optimizers(module) -> dict[str, type]:
    return {n: c for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)}


def build_schedule(config: RunConfig, optimizer: torch.optim.Optimizer) -> Callable[[int], None]:
    """What sets the rates of the optimizer's groups before a step; those that they have now are the full ones.

    It needs nothing but the step's number, so a resumed run goes on as if nothing had happened.

    Raises:
        CourseError: no such schedule, or arguments it does not take.
    """
    if config.schedule not in optim.SCHEDULES:
        raise CourseError(f"Unknown schedule {config.schedule!r}; choose one of {', '.join(optim.SCHEDULES)}.")
    try:
        factor = optim.SCHEDULES[config.schedule](config.steps, **config.schedule_args)
    except (TypeError, ValueError) as error:
        raise CourseError(f"schedule {config.schedule!r}: {error}") from error
    rates = [group["lr"] for group in optimizer.param_groups]

    def set_rates(step: int) -> None:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor(step)

    return set_rates


def weights_hash(model: torch.nn.Module) -> str:
    """SHA-256 over names and values of the model's state, and the code of a network of the reader's own."""
    kind = type(model)
    digest = hashlib.sha256((owncode.digest(kind) if owncode.is_registered(kind) else "").encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def host_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The model's state in main memory, ready to be written."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def normalisation_of(config: RunConfig, data: ImageData):
    """(mean, std) per channel that the config asks for."""
    return HALF if config.normalisation == "half" else channel_statistics(data.split(config.split)[0])


def training_batches(config: RunConfig, data: ImageData, device) -> Batches:
    """The config's training batches: those that its run sees, in the same order."""
    images, labels = data.split(config.split, config.n_items)
    normalisation = normalisation_of(config, data)
    sizes = [(share * config.steps, side) for share, side in config.sizes]
    return Batches(images, labels, config.batch_size, config.seed, device, config.augmentation, normalisation, sizes)


def forward_context(precision: str, device: torch.device):
    """Return a function that makes the context of a forward pass in ``fp32`` or ``bf16``."""
    if precision == "fp32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


def prepare(model: torch.nn.Module, config: RunConfig, data: ImageData) -> None:
    """Let a network that has a ``prepare`` method set its first layer from training images."""
    if hasattr(model, "prepare"):
        images, _ = data.split(config.split, config.n_items)
        model.prepare(normalise(images[:PREPARATION_ITEMS], *normalisation_of(config, data)))


def _against_one_hot(function: Callable) -> Callable:
    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return function(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype))

    return loss


# Every one is a mean over the images; those against a one-hot target are a mean over the classes too.
LOSSES: dict[str, Callable] = {
    "cross_entropy": F.cross_entropy,
    "nll": lambda logits, labels: F.nll_loss(F.log_softmax(logits, 1), labels),
    "mse": _against_one_hot(F.mse_loss),
    "smooth_l1": _against_one_hot(F.smooth_l1_loss),
    "bce_with_logits": _against_one_hot(F.binary_cross_entropy_with_logits),
}


def build_criterion(config: RunConfig) -> Callable:
    """The config's loss: (logits (N, C), labels (N,)) → mean loss.

    Raises:
        CourseError: no such loss, or label smoothing for another one than cross-entropy.
    """
    if config.loss not in LOSSES:
        raise CourseError(f"Unknown loss {config.loss!r}; choose one of {', '.join(LOSSES)}.")
    if not config.label_smoothing:
        return LOSSES[config.loss]
    if config.loss != "cross_entropy":
        raise CourseError(f"label_smoothing goes with cross_entropy, not with {config.loss}.")
    return functools.partial(F.cross_entropy, label_smoothing=config.label_smoothing)


def l1_penalty(parameters: Iterable[torch.Tensor]) -> torch.Tensor:
    """Sum of the absolute values of all weights with two dimensions or more (biases and normalisation left alone)."""
    return sum(p.abs().sum() for p in parameters if p.dim() > 1)
