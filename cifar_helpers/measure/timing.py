"""What a network costs: its layers, its operations, its file for netron, and the minutes a list of runs will take."""

import contextlib
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from ..data.images import ImageData
from ..env import CourseError, choose_device, keep_freed_memory, machine_card, resolve_precision, true_fp32
from ..models.tables import forward_flops
from ..training import memory
from ..training.build import build_criterion, build_model, build_optimizer, forward_context, move, training_batches
from ..training.config import RunConfig
from ..training.published import NotPublishedError
from ..training.store import Store

TIMED_STEPS, WARM_UP = 10, 2
TIMED_BYTES = 5e8  # of a step that is timed on a CPU; a batch that takes more is timed in part


def seconds_per_step(
    config: RunConfig, data: ImageData, device="auto", steps: int = TIMED_STEPS, patience: float = float("inf")
) -> float:
    """Time of one training step as the config asks for it, its batch included: the median of a few.

    Evaluation is not part of it. The model is thrown away. No further step begins after ``patience`` seconds. Where a
    step would take more than ``TIMED_BYTES`` of main memory, one on a part of the batch is timed, and the time of the
    whole taken in proportion. The errors are those of ``run.get_run``.
    """
    device = choose_device(device)
    whole = config.batch_size
    while device.type == "cpu" and config.batch_size > 2 and memory.step_bytes(config) > TIMED_BYTES:
        config = replace(config, batch_size=config.batch_size // 2)
    memory.check(config, device)
    if device.type == "cpu":
        keep_freed_memory()
    model, precision = move(build_model(config), device).train(), resolve_precision(config.precision, device)
    optimizer, criterion = build_optimizer(config, model), build_criterion(config)
    batches, context, times = training_batches(config, data, device), forward_context(precision, device), []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), true_fp32(device):
        for step in range(WARM_UP + steps):
            began = time.perf_counter()
            images, labels = batches[step]
            with context():
                loss = criterion(model(images).float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss.item()  # waits for the device
            times.append(time.perf_counter() - began)
            if sum(times) > patience:
                break
    times = times[min(WARM_UP, len(times) - 1) :]
    return sorted(times)[len(times) // 2] * whole / config.batch_size


def step_times(
    kinds: Mapping[tuple, RunConfig], data: ImageData, device, workers: int, threads: int, seconds: float = 10.0
) -> Mapping[tuple, float]:
    """Seconds per step of one run of every kind with as many at a time as will train; altogether about ``seconds``.

    Args:
        kinds: the dearest first; once twice the time has passed, those that are left are not timed.

    Returns:
        Kind → seconds; a run that fails is left out too, and its training will say why.
    """
    began, before = time.monotonic(), torch.get_num_threads()

    def time_one(config: RunConfig) -> float:
        torch.set_num_threads(threads)
        return seconds_per_step(config, data, device, patience=seconds / len(kinds))

    found = {}
    with ThreadPoolExecutor(workers) as pool:
        for name, config in kinds.items():
            if time.monotonic() - began > 2 * seconds:
                break
            with contextlib.suppress(CourseError, RuntimeError):
                found[name] = statistics.mean(pool.map(time_one, [config] * workers))
    torch.set_num_threads(before)
    return found


def predict(configs: Sequence[RunConfig], data: ImageData, device="auto", store: Store | None = None) -> list[dict]:
    """What the runs that have no record yet will take, from ten timed steps of every kind of run.

    Runs are of one kind if model, its arguments, optimizer and batch size are the same.

    Returns:
        One dict per kind: ``what``, ``runs``, ``steps`` of all of them, ``seconds_per_step`` and ``minutes``.

    Raises:
        NotPublishedError: nothing is timed under ``published``.
    """
    store = store or Store()
    if not store.trains:
        raise NotPublishedError("What is left to train is timed by the profiles that train.")
    kinds: dict[str, list[RunConfig]] = {}
    for config in dict.fromkeys(configs):
        if store.get(config, data.fingerprint) is None:
            arguments = "".join(f" {name}={value}" for name, value in config.model_args.items() if name != "init")
            kinds.setdefault(f"{config.model}{arguments}, {config.optimizer}, {config.batch_size}", []).append(config)
    rows = []
    for what, mine in kinds.items():
        seconds = seconds_per_step(mine[0], data, device, min(TIMED_STEPS, mine[0].steps))
        steps = sum(config.steps for config in mine)
        row = {"what": what, "runs": len(mine), "steps": steps, "seconds_per_step": seconds}
        rows.append(row | {"minutes": seconds * steps / 60})
    return rows


def prediction_table(rows: Sequence[dict]) -> list[dict[str, str]]:
    """The eight dearest kinds of run, and the sum over all; one row that says so where nothing is left to train."""
    if not rows:
        return [{"runs of": "nothing: all runs are recorded", "runs": "0", "steps": "0", "s per step": "–", "min": "0"}]
    dearest = sorted(rows, key=lambda row: -row["minutes"])[:8]
    total = {key: sum(row[key] for row in rows) for key in ("runs", "steps", "minutes")}
    each = [(row["what"], row, f"{row['seconds_per_step']:.3g}") for row in dearest]
    return [
        {"runs of": what, "runs": str(row["runs"]), "steps": f"{row['steps']:,}", "s per step": seconds}
        | {"min": f"{row['minutes']:.1f}"}
        for what, row, seconds in [*each, (f"all {len(rows)} kinds", total, "")]
    ]


def depth_times(names: Sequence[str], data: ImageData, batch_size: int, steps: int, device, store: Store) -> list[dict]:
    """Parameters, operations and seconds per training step of several networks, measured once per device and stored.

    Args:
        names: of networks in ``models``; steps: timed for each.

    Returns:
        One dict per network: ``model``, ``parameters``, ``flops`` (one image, forward), ``seconds_per_step``,
        ``card`` (what it was measured on).
    """
    device = choose_device(device)

    def compute() -> dict:
        rows = []
        for name in names:
            config = RunConfig(name, optimizer="SGD", lr=0.01, batch_size=batch_size)
            model = build_model(config)
            row = {"model": name, "parameters": sum(p.numel() for p in model.parameters())}
            row |= {"flops": forward_flops(model), "batch_size": batch_size}
            rows.append(row | {"seconds_per_step": seconds_per_step(config, data, device, steps)})
        card = machine_card(device)
        return {"rows": [row | {"card": card.get("gpu") or card["cpu"]} for row in rows]}

    inputs = {"data": data.fingerprint, "models": list(names), "batch": batch_size, "steps": steps}
    return store.measurement("depth_times", inputs | {"device": device.type}, compute)["rows"]


def device_card(device) -> list[dict[str, str]]:
    """Whether a network is on the GPU, answered by the device: name, memory in use and in all, utilisation."""
    device = torch.device(device)
    if device.type != "cuda":
        return [{"device": str(device), "memory in use": "main memory", "utilisation": "–"}]
    free, total = torch.cuda.mem_get_info(device)
    try:
        busy = f"{torch.cuda.utilization(device)} %"
    except Exception:  # without NVIDIA's library, or where it is not allowed to look (MIG, containers)
        busy = "install nvidia-ml-py to see it, or run nvidia-smi"
    used = f"{(total - free) / 2**30:.1f} of {total / 2**30:.1f} GiB"
    name = torch.cuda.get_device_properties(device).name
    return [{"device": f"{device} ({name})", "memory in use": used, "utilisation": busy}]
