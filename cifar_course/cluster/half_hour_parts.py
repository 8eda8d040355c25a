"""What each step of ``half_hour`` trains or times. Every result is kept as soon as it is there, so a step can be cut.

python -m cifar_course.cluster.half_hour_parts direct '{"profile": "full", "data": "auto", "device": "cuda", "jobs": 4}'
"""

import contextlib
import dataclasses
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import torch

from cifar_helpers import models, signals
from cifar_helpers.data.images import load_cifar10
from cifar_helpers.env import CourseError, choose_device, command_line, machine_card, read_json, write_atomically
from cifar_helpers.intervals import paired
from cifar_helpers.measure import ranking, timing
from cifar_helpers.plans import jobs as planned
from cifar_helpers.plans import landscape, recipes
from cifar_helpers.plans.jobs import Job
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.run import get_run
from cifar_helpers.training.store import Store

from . import pool
from .half_hour import Call

SECOND_NAMES = ("VGG", "ResNet", "VGG_BatchNorm")  # general classes, and the handout's name for another one
FAST_SEEDS = 5
# airbench96 (Jordan 2024) widens and lengthens airbench94, and adds cutout; so does this.
WIDER = {"model_args": {"widths": [128, 384, 512]}, "augmentation": ("alternating_flip", "cutout", "shift")}
WIDER_LONGER = 3.6
PACKED_RUNS, PACKINGS = 8, (1, 2, 4, 8)


class Room:
    """What every step works with: images, device, records, and its result as it grows."""

    def __init__(self, call: Call, step: str):
        self.call, self.step, self.store, self.device = call, step, Store(), choose_device(call.device)
        self.smoke = call.profile == "smoke"
        self.raw: dict = (read_json(self.path) or {}).get("raw", {})

    @property
    def path(self) -> Path:
        return self.call.folder / f"{self.step}.json"

    @cached_property
    def images(self):
        return load_cifar10(self.call.data)

    def keep(self, rows: Sequence[dict]) -> None:
        """Write the result as it is by now, in the form of ``benchmarks/results.json``."""
        made = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine_card(self.device)}
        found = made | {"data": self.images.label, "rows": list(rows), "raw": self.raw}
        write_atomically(self.path, json.dumps(found, indent=1))

    def record(self, job: Job):
        """The job's record with all its probes, or None."""
        record = self.store.get(job.config, self.images.fingerprint)
        return record if record and planned.complete(record, job) else None

    def train(self, jobs: Sequence[Job]) -> list:
        """Train what is missing, seed by seed, several at a time; all records. ``CourseError`` where a run failed."""
        jobs = sorted(jobs, key=lambda job: job.config.seed)
        todo = [job for job in jobs if self.record(job) is None]
        if todo:
            devices, source = [str(self.device)], self.call.data
            failed = pool.train(todo, source, self.images.fingerprint, devices, self.call.jobs, self.store)
            if failed:
                raise CourseError("; ".join(f"{job.config.describe()}: {why}" for job, why in failed.items()))
        return [self.record(job) for job in jobs]


def data(room: Room) -> None:
    """Read the images once, so that no later step pays for it."""
    label = room.images.label
    room.keep([{"data": label, "training images": f"{len(room.images.train_labels):,}"}])


def times(room: Room) -> None:
    """Seconds per training step of every network in fp32 and bf16, its batch included, nothing recorded."""
    for name in models.known():
        for precision in ("fp32", "bf16"):
            key = f"{name} {precision}"
            if name in SECOND_NAMES or key in room.raw:
                continue
            size, steps = (4, 1) if room.smoke else (128, 100)
            config = RunConfig(name, optimizer="SGD", lr=0.01, batch_size=size, precision=precision)
            room.raw[key] = timing.seconds_per_step(config, room.images, room.device, steps)
            room.keep(_time_rows(room))
            print(f"  {key}: {room.raw[key]:.4g} s", flush=True)


def _time_rows(room: Room) -> list[dict]:
    rows = []
    for name in dict.fromkeys(key.split()[0] for key in room.raw):
        fp32, bf16 = (room.raw.get(f"{name} {precision}") for precision in ("fp32", "bf16"))
        row = {"network": name, "fp32, ms per step": f"{1000 * fp32:.2f}"}
        row |= {"bf16, ms per step": f"{1000 * bf16:.2f}" if bf16 else "–"}
        rows.append(row | {"bf16 quicker by": f"{fp32 / bf16:.2f}×" if bf16 else "–"})
    return rows


def _campaign(room: Room, configs: Sequence[RunConfig], probes: Callable) -> None:
    """Train the runs with their probes, and count what is recorded, also where the time was not enough."""
    jobs = [Job(config, tuple(probes(config))) for config in configs]
    try:
        room.train(jobs)
    finally:
        runs = [(job.config, room.record(job)) for job in jobs]
        rows = []
        for network in dict.fromkeys(config.model for config, _ in runs):
            mine = [run for config, run in runs if config.model == network]
            there = [run for run in mine if run]
            seeds = ", ".join(map(str, sorted({run.config.seed for run in there}))) or "–"
            row = {"network": network, "runs recorded": f"{len(there)} of {len(mine)}", "seeds": seeds}
            seconds = f"{statistics.median(r.seconds_per_step for r in there):.4f}" if there else "–"
            row |= {f"s per step, {room.call.jobs} at a time": seconds}
            tested = [ranking.accuracy(run, "test") for run in there if run.config.test]
            rows.append(row | {"test accuracy": _mean(tested)})
        room.keep(rows)


def _mean(accuracies: Sequence[float]) -> str:
    if not accuracies:
        return "–"
    found = paired([0.0] * len(accuracies), accuracies)
    interval = " [{:.2%}, {:.2%}]".format(*found.interval) if found.interval else ""
    return f"{found.mean:.2%}{interval} (n = {len(accuracies)})"


def direct(room: Room) -> None:
    """The direct probe of both networks; in ``full`` at the paper's 15 000 steps."""
    probes = landscape.direct_probes(room.call.profile)
    _campaign(room, landscape.direct_runs(room.call.profile), lambda config: probes)


def sweep(room: Room) -> None:
    """The handout's sweep over rates, with its same-batch probe."""
    _campaign(room, landscape.bn_sweep(room.call.profile), landscape.sweep_probes(room.call.profile))


def vgg(room: Room) -> None:
    """VGG-A without and with batch norm at the usual rate, every seed; in ``full`` for 20 epochs."""
    configs = landscape.bn_sweep(room.call.profile, rates=[landscape.BASE_RATE])
    _campaign(room, configs, landscape.sweep_probes(room.call.profile))


def fast(room: Room) -> None:
    """The fast recipe against 94 %, and wider and longer against 96 %: one run at a time, so that its time counts."""
    short = recipes.fast(room.call.profile, split="all", seeds=FAST_SEEDS)
    narrow = {"model_args": {"widths": [8, 8, 8]}} if room.smoke else {}
    steps, part = round(WIDER_LONGER * short[0].steps), "test" if short[0].test else "train"
    longer = [dataclasses.replace(c, steps=steps, eval_every=steps, **WIDER | narrow) for c in short]
    rows = []
    for what, goal, configs in (("fast recipe", 0.94, short), ("wider and longer", 0.96, longer)):
        runs = []
        for config in configs:
            runs.append(get_run(config, room.images, room.device, room.store))
            values = [ranking.accuracy(run, part) for run in runs]
            seconds = statistics.median(run.provenance["train_seconds"] for run in runs)
            row = {"recipe": f"{what}, {config.steps} steps of {config.batch_size}", f"{part} accuracy": _mean(values)}
            row |= {"reached": f"{sum(v >= goal for v in values)} of {len(values)} ≥ {goal:.0%}"}
            room.keep([*rows, row | {"training, s": f"{seconds:.1f}"}])
        rows.append(row | {"training, s": f"{seconds:.1f}"})


def packing(room: Room) -> None:
    """Small runs by 1, 2, 4 and 8 workers on the device (``--jobs-per-gpu``), start of the workers included."""
    count, steps = (2, 3) if room.smoke else (PACKED_RUNS, 1404)
    settings = {"steps": steps, "batch_size": 16 if room.smoke else 128, "eval_every": steps, "test": False}
    jobs = [Job(RunConfig("LeNet5", seed=seed, **settings)) for seed in range(count)]
    for workers in PACKINGS[:2] if room.smoke else PACKINGS:
        if str(workers) in room.raw:
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            store = Store(Path(folder))
            failed = pool.train(
                jobs, room.call.data, room.images.fingerprint, [str(room.device)], workers, store, threads=1
            )
        if failed:
            raise CourseError(next(iter(failed.values())))
        room.raw[str(workers)] = time.perf_counter() - began
        what = f"{count} runs of LeNet-5, {steps} steps, s"
        first = room.raw["1"]
        room.keep(
            [{"jobs at a time": n, what: f"{s:.1f}", "quicker": f"{first / s:.2f}×"} for n, s in room.raw.items()]
        )


PARTS = {part.__name__: part for part in (data, times, direct, sweep, vgg, fast, packing)}


@command_line()
def main(arguments: Sequence[str] | None = None) -> int:
    """Body of the child: one step of a ``Call``."""
    step, call = sys.argv[1:] if arguments is None else arguments
    # A run of this process ends with its checkpoint; a driver ends its workers, and they do the same.
    stopping = signals.listening() if step == "fast" else signals.interrupting()
    try:
        with stopping:
            PARTS[step](Room(Call(**json.loads(call)), step))
    except torch.OutOfMemoryError as error:
        raise CourseError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
