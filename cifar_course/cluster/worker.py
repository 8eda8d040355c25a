"""A batch worker: trains those runs of a plan that no other worker is training, until none is left.

python -m cifar_course.cluster.worker PLAN.json --device auto

Several workers, on one machine or on many that share ``runs/``, may be given the same plan. What a run prints goes to
``runs/logs/``; the worker itself prints one line when a run begins and one when it ends.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cifar_helpers import signals
from cifar_helpers.env import CourseError, command_line, read_json
from cifar_helpers.plans.jobs import Job, complete
from cifar_helpers.training.store import BusyError, Store, failure, give_up, log_path

from .slurm import ask

POLL_SECONDS = 2.0  # between two looks at runs that others are training
SOME_FAILED = 4  # exit status of a worker that came to its end, but not with every run
SQUEUE_TRIES, SQUEUE_SECONDS = 4, 3.0  # until its silence is believed, and between them
SQUEUE_PATIENCE = 10.0  # seconds for one answer; the time limit is two minutes away
REQUEUE_HELP = "put this Slurm job (or ARRAY_TASK) back when stopped; batch/*.sbatch name their own"
TRAIN, DONE, FAILED = "train", "done", "failed"  # first words of a worker's lines


def read_plan(path: Path) -> dict:
    """Read a plan: ``data``, ``fingerprint``, ``device``, ``jobs``, and ``tasks`` (indices of jobs) for an array.

    Raises:
        CourseError: there is none, or it is something else.
    """
    plan = read_json(path)
    try:
        plan = dict(plan)
        text = all(isinstance(plan[name], str) for name in ("data", "fingerprint", "device"))
        indices = [i for task in plan.setdefault("tasks", []) for i in task]
        if not text or not all(type(i) is int and 0 <= i < len(plan["jobs"]) for i in indices):
            raise ValueError
        return plan | {"jobs": [Job.from_json(each) for each in plan["jobs"]]}
    except (KeyError, TypeError, ValueError, CourseError) as error:
        reason = f" ({error})" if isinstance(error, CourseError) else ""
        raise CourseError(f"{path} is no plan{reason}. Plans are written by python -m cifar_course.report.") from error


def work(jobs: Sequence[Job], data, device, store: Store, say: Callable[[str], None], wait: bool = True) -> None:
    """Train what is not recorded; what fails is written down and left.

    Args:
        data: ``ImageData``.
        say: is given a line when a run begins, ends or fails.
        wait: stay until runs that others are training are recorded too; else end when there is nothing to begin.

    Raises:
        Stopped: a signal asked for the end.
    """
    left = list(jobs)
    while left:
        busy = []
        for job in left:
            if signals.asked():
                raise signals.Stopped
            try:
                _attempt(job, data, device, store, say)
            except BusyError:
                busy.append(job)
        if busy and not wait:
            say(f"{len(busy)} runs are being trained by others")
            return
        if len(busy) == len(left):
            time.sleep(POLL_SECONDS)
        left = busy


def _attempt(job: Job, data, device, store: Store, say: Callable[[str], None]) -> None:
    """One run: its record, or a failure that says why there is none."""
    from cifar_helpers.training.run import get_run

    config, name = job.config, job.config.folder_name(data.fingerprint)
    record = store.get(config, data.fingerprint)
    if failure(store, config, data.fingerprint) or (record and complete(record, job)):
        return
    log, began = log_path(store, config, data.fingerprint), time.monotonic()
    try:
        with store.lock(config, data.fingerprint, wait=False):
            pass  # before the log of the one who trains it is touched
        say(f"{TRAIN} {name} {config.describe()}")
        with _into(log):
            get_run(config, data, device, store, job.probes, wait=False)
        say(f"{DONE} {name} in {time.monotonic() - began:.1f} s")
    except BusyError:
        raise
    except Exception as error:
        known = isinstance(error, CourseError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        with _into(log):
            print(text if known else traceback.format_exc())
        give_up(store, config, data.fingerprint, text)
        say(f"{FAILED} {name} {text}")


@contextlib.contextmanager
def _into(log: Path) -> Iterator[None]:
    """Send everything that is printed, by C libraries too, to the end of a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    try:
        with open(log, "a", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
    finally:
        for number, handle in enumerate(kept, 1):
            os.dup2(handle, number)
            os.close(handle)


def requeue(job: str | None) -> tuple[bool, str]:
    """Ask Slurm to start this process's own job again, unless a person has cancelled it; whether it will, and a line.

    Args:
        job: the number, or ``ARRAY_TASK``, that the script in ``batch/`` passes; None, for a job that the course did
            not submit, does nothing and says nothing.
    """
    if job is None:
        return False, ""
    why = _why_not(job)
    if not why:
        done = ask("scontrol", "requeue", job)
        if done.returncode == 0:
            return True, f"Job {job} was put back into the queue.\n"
        why = done.stderr.strip() or done.stdout.strip() or f"scontrol ended with status {done.returncode}"
    return False, f"Job {job} was not put back into the queue: {why}. The same command goes on from here.\n"


def _why_not(job: str) -> str:
    """Why a job is not for this process to put back into the queue; empty where it is."""
    if not _is_own(job):
        return "this process is not that job's own task"
    if not shutil.which("scontrol"):
        return "there is no scontrol here"
    state = _slurm_state(job)
    if state == "RUNNING":
        return ""
    return f"Slurm calls it {state}" if state else "squeue says nothing about it"


def _is_own(job: str) -> bool:
    """Whether this process is what Slurm started for this job, not something that runs inside it or beside it."""
    given = os.environ.get
    number = given("SLURM_JOB_ID")
    if given("SLURM_ARRAY_JOB_ID"):  # one task has the whole array's number as its own
        number = f"{given('SLURM_ARRAY_JOB_ID')}_{given('SLURM_ARRAY_TASK_ID')}"
    whole = re.fullmatch(r"\d+(_\d+)?", job) is not None  # also where a variable is missing or empty
    return whole and job == number and given("SLURM_TASK_PID", str(os.getpid())) == str(os.getpid())


def _slurm_state(job: str) -> str:
    """What squeue calls a job's state; empty where it says nothing several times, as it may once on a busy cluster."""
    for attempt in range(SQUEUE_TRIES):
        time.sleep(SQUEUE_SECONDS if attempt else 0)
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            found = ask("squeue", "-h", "-j", job, "-o", "%T", timeout=SQUEUE_PATIENCE)
            if found.stdout.strip():
                return found.stdout.strip()
    return ""


@command_line()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of one worker."""
    parser = argparse.ArgumentParser(
        prog="python -m cifar_course.cluster.worker", description="Train the runs of a plan."
    )
    parser.add_argument("plan", type=Path, help="JSON file written by python -m cifar_course.report")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:N or mps (default: the plan's)")
    parser.add_argument("--task", type=int, help="only the runs of this task of the plan (Slurm's array index)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--driven", action="store_true", help="end when standard input closes, wait for other workers")
    whose.add_argument("--requeue", metavar="JOB", help=REQUEUE_HELP)
    options = parser.parse_args(arguments)
    with signals.listening():
        if options.driven:
            signals.end_with_parent()
        try:
            return _run(options)
        except signals.Stopped:
            asked = signals.asked()
            _say(f"Stopped by {asked.name}; finished runs are kept, the others go on from here.\n")
            queued, line = requeue(options.requeue)
            _say(line)
            return 0 if queued else 128 + asked


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # who drove it may be gone
        print(text, end="", flush=True)


def _run(options: argparse.Namespace) -> int:
    import torch

    from cifar_helpers.data.images import load_cifar10
    from cifar_helpers.env import choose_device

    if options.threads:
        torch.set_num_threads(options.threads)
    plan, store = read_plan(options.plan), Store()
    jobs = plan["jobs"]
    if options.task is not None:
        if not 0 <= options.task < len(plan["tasks"]):
            raise CourseError(f"{options.plan} has no task {options.task}; it has {len(plan['tasks'])}.")
        jobs = [jobs[i] for i in plan["tasks"][options.task]]
    device = choose_device(options.device or plan["device"])
    data = load_cifar10(plan["data"])
    if data.fingerprint != plan["fingerprint"]:
        raise CourseError("The images are not those that the plan was made for. Make the plan again.")
    work(jobs, data, device, store, lambda line: print(line, flush=True), wait=options.driven)
    failed = sum(failure(store, job.config, data.fingerprint) is not None for job in jobs)
    return SOME_FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
