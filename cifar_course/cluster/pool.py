"""Training the runs of a plan on every device of this machine: one worker process per slot, driven from here."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cifar_helpers.env import UTF8_OUTPUT, CourseError, write_atomically
from cifar_helpers.plans.forecast import Forecast
from cifar_helpers.plans.jobs import Job
from cifar_helpers.training.store import Store, failure, give_up, log_path, try_again

from .worker import DONE, FAILED, SOME_FAILED, TRAIN

STATUS_SECONDS = 30.0  # between two status lines of a worker, where no terminal redraws them
STOP_SECONDS = 60.0  # a worker's time to write its checkpoint
DEATHS = 2  # of workers over one run, until it is given up
CAME_TO_ITS_END = (0, SOME_FAILED)  # a worker's exit status


def visible_devices(device) -> list[str]:
    """All CUDA devices this process may use where ``device`` is one of them by default, else the one device."""
    import torch

    if device.type == "cuda":
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [str(device)]


def threads_each(workers: int) -> int:
    """CPU threads of one of several workers, from the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // workers)


def write_plan(path: Path, jobs: Sequence[Job], data: str, fingerprint: str, device: str, **more) -> Path:
    """Write a plan for ``worker.read_plan``."""
    plan = {"data": data, "fingerprint": fingerprint, "device": device, "jobs": [job.to_json() for job in jobs]}
    return write_atomically(path, json.dumps(plan | more, indent=1))


class Worker:
    """One worker process and what it has said last."""

    def __init__(self, number: int, device: str, plan: Path, store: Store, threads: int | None, say: Callable):
        self.number, self.device, self.say, self.store = number, device, say, store
        self.current: str | None = None
        self.title = ""
        self.shown = self.began = time.monotonic()  # its last status line; its run
        command = [sys.executable, "-m", "cifar_course.cluster.worker", str(plan), "--device", device, "--driven"]
        environment = os.environ | UTF8_OUTPUT | {"CIFAR_RUNS": str(store.root.resolve())}
        if threads:
            command += ["--threads", str(threads)]
            environment |= {"OMP_NUM_THREADS": str(threads)}
        self.log = store.root / "logs" / f"worker-{number}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # kept open: when this process is gone it closes, and the worker ends
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,  # a Ctrl-C is ours alone; workers are asked to end
                encoding="utf-8",
                errors="replace",
            )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            name, _, text = rest.partition(" ")
            if word == TRAIN:
                self.current, self.title, self.shown, self.began = name, text, time.monotonic(), time.monotonic()
            elif word in (DONE, FAILED):
                took = time.monotonic() - self.began
                line = f"{word} {self.title} {'' if word == DONE else '· '}{text} [{self.device}]"
                self.say(line, name, took if word == DONE else None)
                self.current = None

    def status(self) -> str:
        """Its current run and the last line of that run's log."""
        if not self.current:
            return f"worker {self.number} ({self.device}): starting"
        last, log = "", self.store.root / "logs" / f"{self.current}.log"
        with contextlib.suppress(OSError, IndexError), open(log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 400))
            last = file.read().decode(errors="replace").strip().splitlines()[-1]
        step = last.partition(" · step ")[2].partition(" · ")[0]
        return f"worker {self.number} ({self.device}): {f'step {step} · ' if step else ''}{self.title}"


class Board:
    """What is shown meanwhile: finished runs as lines, and a status line per worker, redrawn on a terminal."""

    def __init__(self, jobs: Mapping[str, Job], forecast: Forecast | None):
        self.jobs, self.forecast, self.done, self.drawn = jobs, forecast, 0, 0
        self.lock, self.live = threading.Lock(), sys.stdout.isatty()

    def say(self, line: str, name: str = "", seconds: float | None = None) -> None:
        """Print a line; with ``seconds`` it says that the run of this name has ended well, after so many."""
        with self.lock:
            if seconds is not None:
                self.done += 1
                if self.forecast and name in self.jobs:
                    self.forecast.ended(self.jobs[name].config, seconds)
                line = f"[{self.done}/{len(self.jobs)}] {line}{self._left()}"
            self._wipe()
            print(f"    {line}", flush=True)

    def _left(self) -> str:
        return f" · {self.forecast.left_in_words()}" if self.forecast else ""

    def show(self, workers: Sequence[Worker]) -> None:
        now = time.monotonic()
        with self.lock:
            if self.live:
                self._wipe()
                lines = [worker.status() for worker in workers]
                lines += [self.forecast.left_in_words()] if self.forecast else []
                for line in lines:
                    print(f"    {line}"[: os.get_terminal_size().columns - 1])
                self.drawn = len(lines)
                sys.stdout.flush()
                return
            for worker in workers:
                if now - worker.shown > STATUS_SECONDS:
                    worker.shown = now
                    print(f"    {worker.status()}{self._left()}", flush=True)

    def _wipe(self) -> None:
        if self.drawn:
            print(f"\x1b[{self.drawn}A\x1b[J", end="")
            self.drawn = 0


def train(
    jobs: Sequence[Job],
    data: str,
    fingerprint: str,
    devices: Sequence[str],
    per_device: int = 1,
    store: Store | None = None,
    threads: int | None = None,
    forecast: Forecast | None = None,
) -> Mapping[Job, str]:
    """Train every run of a plan on these devices and wait for the last.

    A worker that dies is replaced; a run over which two died is given up. Runs that failed in an earlier call are tried
    again.

    Args:
        data: as for ``images.load_cifar10``; fingerprint: of what lies there.
        devices: names for ``env.choose_device``; per_device: workers on each.
        threads: CPU threads of a worker; None gives one worker torch's default, and shares the cores among several.

    Returns:
        The runs that could not be trained, with the reason.

    Raises:
        KeyboardInterrupt: was asked for; every worker has written a checkpoint.
    """
    store = store or Store()
    for job in jobs:
        try_again(store, job.config, fingerprint)
    by_name = {job.config.folder_name(fingerprint): job for job in jobs}
    places = [device for device in devices for _ in range(per_device)][: max(1, len(jobs))]
    if threads is None and len(places) > 1:
        threads = threads_each(len(places))
    plan = write_plan(store.root / ".batch" / f"plan-{os.getpid()}.json", jobs, data, fingerprint, devices[0])
    board, deaths = Board(by_name, forecast), Counter()

    def start(number: int, place: str) -> Worker:
        return Worker(number, place, plan, store, threads, board.say)

    workers = [start(number, place) for number, place in enumerate(places, 1)]
    try:
        while unfinished := [worker for worker in workers if worker.process.poll() not in CAME_TO_ITS_END]:
            board.show(unfinished)
            with contextlib.suppress(subprocess.TimeoutExpired):
                unfinished[0].process.wait(1.0)
            for worker in unfinished:
                if worker.process.poll() not in (None, *CAME_TO_ITS_END):
                    _bury(worker, by_name, deaths, DEATHS * len(workers), fingerprint)
                    workers[worker.number - 1] = start(worker.number, worker.device)
    except KeyboardInterrupt:
        board.say("Stopping: every worker writes a checkpoint after its step, which may take a minute.")
        raise
    finally:
        _end(workers)
        plan.unlink(missing_ok=True)
    failures = {job: failure(store, job.config, fingerprint) for job in jobs}
    return {job: failure["error"] for job, failure in failures.items() if failure}


def _bury(worker: Worker, jobs: Mapping[str, Job], deaths: Counter, at_most: int, fingerprint: str) -> None:
    """Say why a worker is no more; give the run up over which ``DEATHS`` died.

    ``CourseError`` if it ended by itself before it began a run, or workers keep being killed there: another would too.
    """
    worker.reader.join(5)
    job, code = jobs.get(worker.current), worker.process.returncode
    deaths[job] += 1
    reason = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    reason += " (often: out of memory)" if code == -signal.SIGKILL else ""
    if job is None:
        if code > 0 or deaths[job] > at_most:
            last = worker.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise CourseError("\n".join(last) or f"A worker {reason} before it began a run.")
        return
    reason = f"its worker {reason}, {deaths[job]} of {DEATHS} times"
    worker.say(f"{job.config.describe()}: {reason}; its log: {log_path(worker.store, job.config, fingerprint)}")
    if deaths[job] >= DEATHS:
        give_up(worker.store, job.config, fingerprint, reason)


def _end(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.process.terminate()  # it writes a checkpoint after the step it is at
    until = time.monotonic() + STOP_SECONDS
    for worker in workers:
        try:
            worker.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        worker.process.stdin.close()
        worker.reader.join(5)
