"""The runs of a plan as a Slurm array, and a job after it for the notebooks and the report.

Plain ``sbatch`` with two fixed scripts in ``batch/``: what the user gives becomes arguments of sbatch and environment
variables, never text of a shell. (submitit would pickle functions, and nothing here is read from pickles.) Nothing here
imports torch, so it runs on a login node.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import planning
from .env import ROOT, CourseError, read_json, write_atomically
from .planning import Job
from .record import Store

PASSED = ("partition", "account", "qos", "time", "constraint", "cpus-per-task", "mem")  # on to sbatch as they are
TASK_MINUTES = 30.0  # predicted training of one task, where times are known
UNKNOWN_TASKS = 32
MOST_TASKS = 500  # of an array; Slurm's usual limit is 1000


def split(jobs: Sequence[Job], store: Store, tasks: int | None = None, gpu: bool = True) -> list[list[int]]:
    """Share the jobs out to the tasks of an array: indices of the jobs of each, the longest first, evenly by time.

    Args:
        tasks: how many; None takes as many as give each about half an hour, 32 where no time is known.
        gpu: whether they run on GPUs, whose recorded times then count.
    """
    found = planning.Speeds(store)
    alike = [card for card in found.cards if ("thread" not in card) == gpu]
    times = [found.seconds(job, alike[0]) if alike else None for job in jobs]
    known = [seconds for seconds in times if seconds is not None]
    usual = sum(known) / len(known) if known else 1.0
    guessed = [usual if seconds is None else seconds for seconds in times]
    if tasks is None:
        tasks = round(sum(guessed) / 60 / TASK_MINUTES) + 1 if known else UNKNOWN_TASKS
    shares: list[list[int]] = [[] for _ in range(min(tasks, MOST_TASKS, len(jobs)))]
    load = [0.0] * len(shares)
    for i in sorted(range(len(jobs)), key=lambda i: -guessed[i]):
        lightest = load.index(min(load))
        shares[lightest].append(i)
        load[lightest] += guessed[i]
    return shares


def submit(plan: Path, tasks: int, passed: Sequence[str], gpu: bool, at_most: int | None = None) -> dict[str, str]:
    """Submit the array (unless there is nothing to train) and the job after it.

    Args:
        plan: file with ``jobs``, ``tasks`` and ``report``, the arguments of the report that follows.
        tasks: length of the array.
        passed: options of sbatch, each one argument.
        gpu: whether every job asks for one.
        at_most: tasks that may run at a time.

    Returns:
        Numbers of the jobs: ``train`` (where there is one) and ``report``.

    Raises:
        CourseError: there is no sbatch here, or it refuses; its own words are in the message.
    """
    common = (["--gpus-per-node=1"] if gpu else []) + list(passed)
    logs = plan.parent.parent / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    jobs = {}
    if tasks:
        span = f"--array=0-{tasks - 1}" + (f"%{at_most}" if at_most else "")
        jobs["train"] = _sbatch(plan, "train.sbatch", [*common, span, f"--output={logs}/slurm-%A_%a.log"])
    after = [f"--dependency=afterany:{jobs['train']}"] if jobs else []
    jobs["report"] = _sbatch(plan, "notebooks.sbatch", [*common, *after, f"--output={logs}/slurm-%j.log"])
    return jobs


def _sbatch(plan: Path, script: str, arguments: Sequence[str]) -> str:
    command = ["sbatch", "--parsable", "--export=ALL", f"--chdir={ROOT}", *arguments, str(ROOT / "batch" / script)]
    environment = os.environ | {"COURSE_PYTHON": sys.executable, "COURSE_PLAN": str(plan)}
    if not shutil.which("sbatch"):
        raise CourseError("There is no sbatch here: --executor slurm is for the login node of a Slurm cluster.")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CourseError(f"sbatch refused: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip().split(";")[0]


def plan_path(store: Store) -> Path:
    """A new file for a submitted plan; it stays, since requeued tasks read it again."""
    return store.root / ".batch" / f"slurm-{time.time_ns()}.json"


def remember(plan: Path, jobs: Mapping[str, str]) -> None:
    """Keep the numbers of the submitted jobs beside their plan."""
    write_atomically(plan.with_suffix(".jobs"), json.dumps(dict(jobs)))


def _last(store: Store) -> Path | None:
    return max(store.root.glob(".batch/slurm-*.jobs"), default=None)


def last_profile(store: Store) -> str | None:
    """Profile of the last submission; None where there is none."""
    last = _last(store)
    given = (read_json(last.with_suffix(".json")) or {}).get("report", []) if last else []
    return given[given.index("--profile") + 1] if "--profile" in given[:-1] else None


def queue(store: Store) -> list[str]:
    """Lines of squeue for the last submission, ended jobs too; empty where there is none, or no Slurm."""
    last = _last(store)
    jobs = read_json(last, {}) if last else {}
    if not jobs or not shutil.which("squeue"):
        return []
    command = ["squeue", "-r", "-t", "all", "-o", "%.14i %.20j %.10T %.10M %R", "-j", ",".join(jobs.values())]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return found if len(found) > 1 else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Body of the job after the array: the report that its plan names."""
    from . import report

    arguments = sys.argv[1:] if arguments is None else arguments
    plan = read_json(Path(arguments[0])) if arguments else None
    if not isinstance(plan, dict) or "report" not in plan:
        print("usage: python -m cifar_helpers.slurm PLAN.json (written by report --executor slurm)", file=sys.stderr)
        return 2
    return report.main(plan["report"])


if __name__ == "__main__":
    sys.exit(main())
