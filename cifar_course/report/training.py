"""Says how long a report will take, and trains what its notebooks need."""

import math
import os
import sys
from collections.abc import Mapping, Sequence

from cifar_helpers.env import CourseError, number_of
from cifar_helpers.plans.forecast import Forecast, kind
from cifar_helpers.plans.jobs import Job
from cifar_helpers.plans.profiles import get_profile, only_shows

from ..cluster import pool
from ..cluster.pool import threads_each
from .execute import choose


def announce(report, devices: Sequence[str], per_device: int) -> Forecast:
    """Time a step of each kind of run that a ``cli.Report`` misses, and say how long all will take on these devices."""
    from cifar_helpers.data.images import load_cifar10
    from cifar_helpers.measure.timing import step_times

    todo, workers = report.missing(), len(devices) * per_device
    seconds, load = {}, os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # none on Windows
    if todo:
        print(f"Timing a step of each kind of run, {per_device} at a time …", flush=True)
        dearest = sorted(todo, key=lambda job: -job.config.steps * job.config.batch_size)
        kinds, threads = {kind(job.config): job.config for job in dearest}, threads_each(workers)
        seconds = step_times(kinds, load_cifar10(report.source), devices[0], per_device, threads)
    notebooks = get_profile(report.profile).notebook_minutes * len(report.chosen) / len(choose())
    forecast = Forecast(todo, seconds, workers, notebooks)
    print(
        f"Profile {report.profile} on {report.label}, device {report.device}: about {forecast.announced:.0f} min, "
        f"{forecast.training:.0f} of them for {len(todo)} runs ({workers} at a time).",
        flush=True,
    )
    if todo and load > 1:
        print(f"This machine is busy (load {load:.1f} on {os.cpu_count()} cores): when it is not, all this is faster.")
    shown = [number_of(path.stem) for path in report.chosen if only_shows(report.profile, path.stem)]
    if shown:
        print(f"{report.profile} cannot answer {', '.join(shown)}: there the published results are shown.")
    return forecast


def train_missing(report, devices: Sequence[str], per_device: int, forecast: Forecast) -> Mapping[Job, str]:
    """Train what is not recorded, in as many rounds as choices depend on records; what failed, and why."""
    failed: dict[Job, str] = {}
    before: list[Job] = []
    while todo := [job for job in report.missing() if job not in failed]:
        if todo == before:
            raise CourseError(f"{len(todo)} runs stay without a record, the first: {todo[0].config.describe()}.")
        before = todo
        workers = len(devices) * per_device
        how = f"by {workers} workers on {', '.join(devices)}" if workers > 1 else f"on {devices[0]}"
        print(f"Recorded runs: {len(report.jobs()) - len(todo)}; to train: {len(todo)}, {how}.", flush=True)
        todo = sorted(todo, key=lambda job: -forecast.expected.get(job.config, math.inf)) if workers > 1 else todo
        failed |= pool.train(
            todo, report.source, report.fingerprint, devices, per_device, report.store, forecast=forecast
        )
    for job, reason in failed.items():
        print(f"  failed: {job.config.describe()} (for {', '.join(job.notebooks)}): {reason}", file=sys.stderr)
    return failed
