"""What a training step takes in memory, estimated beforehand: what would not fit is refused with both numbers."""

import contextlib
import functools
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks

from .. import models
from ..env import CourseError
from .build import build_model
from .config import RunConfig

FLOAT = 4  # bytes
SPREAD = 1.4  # of what a step holds: an allocator's gaps, and the gradients of activations on their way


def step_bytes(config: RunConfig) -> int:
    """About how many bytes one training step of a run takes beside the images; 0 where the reader's own network fails.

    Weights, gradients, two moments of the optimizer and the gradients that the recorder keeps, then what the forward
    pass keeps for the backward one, as a pass of two images shows it.
    """
    with contextlib.suppress(Exception):  # whatever a reader's forward does: its run will say what is wrong
        untrained = RunConfig(config.model, config.model_args)
        parameters, of_one = _kept(getattr(models, config.model), untrained.to_json())
        copies = 4 + (1 + max(config.gaps) if config.gradients else 0)
        return round(copies * parameters + SPREAD * of_one * config.batch_size)
    return 0


@functools.lru_cache(maxsize=256)
def _kept(network_class: type, config: str) -> tuple[int, int]:
    """Bytes of the parameters, and bytes that a forward pass keeps for each image; a changed class is asked again."""
    network = build_model(RunConfig.from_json(config)).train()
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    held: dict[int, tuple] = {}  # storage → itself, so that none is freed and its number taken again

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            held[storage._cdata] = storage, storage.nbytes()
        return tensor

    images = 2  # batch norm cannot normalise one by itself
    with torch.random.fork_rng(devices=[]), saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.zeros(images, 3, 32, 32))
    parameters = FLOAT * sum(parameter.numel() for parameter in network.parameters())
    return parameters, sum(size for _, size in held.values()) // images


def free_bytes(device: torch.device) -> int | None:
    """Bytes that a process may still take on this device; None where the system does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for this process
        return torch.cuda.mem_get_info(device)[0] + unused
    found = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))))
    with contextlib.suppress(OSError, ValueError):  # a container's or a batch job's own limit
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        found.append(max(0, limit - used))
    return min(found, default=None)


def check(config: RunConfig, device: torch.device) -> None:
    """Refuse a run whose step does not fit the memory that is free.

    Raises:
        CourseError: with what it would take and what there is.
    """
    needed, free = step_bytes(config), free_bytes(device)
    if free is not None and needed > free:
        raise CourseError(
            f"{config.describe()}: a step takes about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on "
            f"{device}. A smaller batch_size, a narrower network or closing other programs helps."
        )
