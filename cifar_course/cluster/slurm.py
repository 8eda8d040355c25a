"""The runs of a plan as a Slurm array, and a job after it for the notebooks and the report.

Plain ``sbatch`` with two fixed scripts in ``batch/``: what the user gives becomes arguments of sbatch and environment
variables, never text of a shell. (submitit would pickle functions, and nothing here is read from pickles.) Nothing here
imports torch, so it runs on a login node.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from cifar_helpers.env import ROOT, CourseError, read_json, write_atomically
from cifar_helpers.plans import forecast
from cifar_helpers.plans.jobs import Job
from cifar_helpers.training.store import Store

PASSED = ("partition", "account", "qos", "time", "constraint", "cpus-per-task", "mem")  # on to sbatch as they are
TASK_MINUTES = 30.0  # predicted training of one task, where times are known
UNKNOWN_TASKS = 32
MOST_TASKS = 500  # of an array; Slurm's usual limit is 1000
SQUEUE_SECONDS = 60.0  # for an answer
COLUMNS = "%.14i %.20j %.10T %.10M %R"
HEADER = f"{'JOBID':>14} {'NAME':>20} {'STATE':>10} {'TIME':>10} NODELIST(REASON)"


def split(jobs: Sequence[Job], store: Store, tasks: int | None = None, gpu: bool = True) -> list[list[int]]:
    """Indices of the jobs of each of an array's tasks, the longest first, shared out evenly by time.

    Args:
        tasks: how many; None takes as many as give each about half an hour, 32 where no time is known.
        gpu: whether they run on GPUs, whose recorded times then count.
    """
    found = forecast.Speeds(store)
    alike = [card for card in found.cards if (card in found.gpus) == gpu]
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


def submit(plan: Path, tasks: int, options: Sequence[str], report: Sequence[str], at_most: int | None = None) -> dict:
    """Submit the array (unless there is nothing to train) and the report after it; keep their numbers beside the plan.

    Args:
        plan: file of ``pool.write_plan``; tasks: length of the array, of which ``at_most`` may run at a time.
        options: of sbatch, for both; report: arguments of the report's command.

    Returns:
        Numbers of the jobs: ``train`` (where there is one) and ``report``.

    Raises:
        CourseError: there is no sbatch here, or it refuses: its own words, and what is in the queue all the same.
    """
    logs = plan.parent.parent / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    jobs = {}
    if tasks:
        span = f"--array=0-{tasks - 1}" + (f"%{at_most}" if at_most else "")
        jobs["train"] = _sbatch(plan, [*options, span, f"--output={logs}/slurm-%A_%a.log"], "train.sbatch")
        _remember(plan, jobs)
    after = [f"--dependency=afterany:{jobs['train']}"] if jobs else []
    try:
        options = [*options, *after, f"--output={logs}/slurm-%j.log"]
        jobs["report"] = _sbatch(plan, options, "notebooks.sbatch", report)
    except CourseError as error:
        train = jobs.get("train")  # nothing is trained where all is recorded
        stays = f"\nThe training, job {train}, stays in the queue: scancel it before you submit again." if train else ""
        raise CourseError(f"{error}{stays}") from error
    _remember(plan, jobs)
    return jobs


def ask(*command: str, **how) -> subprocess.CompletedProcess:
    """Run one of Slurm's commands; what it prints is text, whatever its encoding."""
    return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False, **how)


def _sbatch(plan: Path, options: Sequence[str], script: str, arguments: Sequence[str] = ()) -> str:
    """Number of the submitted job."""
    common = ("--parsable", "--export=ALL", f"--chdir={ROOT}")
    environment = os.environ | {"COURSE_PYTHON": sys.executable, "COURSE_PLAN": str(plan)}
    try:
        done = ask("sbatch", *common, *options, str(ROOT / "batch" / script), *arguments, env=environment)
    except OSError as error:
        raise CourseError(
            "There is no sbatch here: --executor slurm is for the login node of a Slurm cluster."
        ) from error
    if done.returncode:
        raise CourseError(f"sbatch refused: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip().split(";")[0]


def _remember(plan: Path, jobs: Mapping[str, str]) -> None:
    write_atomically(plan.with_suffix(".jobs"), json.dumps(dict(jobs)))


def submissions(store: Store) -> list[Path]:
    """Plans of all that was submitted for this folder of runs, the first first; their jobs lie beside them."""
    return [path.with_suffix(".json") for path in sorted(store.root.glob(".batch/slurm-*.jobs"))]


def _jobs_of(plan: Path) -> list[str]:
    return list((read_json(plan.with_suffix(".jobs")) or {}).values())


def last_profile(store: Store) -> str | None:
    """Profile of the last submission; None where there is none."""
    given = (read_json(submissions(store)[-1]) or {}).get("report", []) if submissions(store) else []
    return given[given.index("--profile") + 1] if "--profile" in given[:-1] else None


def _squeue(jobs: Sequence[str], *options: str) -> list[str]:
    """Lines of squeue on these jobs, a task each, none on those it no longer knows; ``CourseError`` if it is silent."""
    if not jobs:
        return []
    try:
        done = ask("squeue", "-h", "-r", *options, "-j", ",".join(jobs), timeout=SQUEUE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise CourseError(f"squeue says nothing within {SQUEUE_SECONDS:.0f} s") from error
    except OSError as error:
        raise CourseError("there is no squeue here") from error
    if done.returncode and "invalid job id" not in done.stderr.lower():  # what it says of one job that ended long ago
        raise CourseError(f"squeue fails: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout.splitlines()


def queue(store: Store) -> list[str]:
    """What squeue says of the last submission, ended jobs too, and of earlier ones as long as they are in the queue."""
    plans = submissions(store)
    earlier = [number for plan in plans[:-1] for number in _jobs_of(plan)]
    try:
        found = _squeue(earlier, "-o", COLUMNS)
        found += _squeue(_jobs_of(plans[-1]), "-t", "all", "-o", COLUMNS) if plans else []
    except CourseError as error:
        return [f"What was submitted to Slurm is not shown: {error}."]
    return [HEADER, *found] if found else []


def refuse_to_repeat(store: Store, todo: Sequence[Job], fingerprint: str, after: Sequence[str]) -> None:
    """Stop before work that an earlier submission still has in the queue; where squeue cannot be asked, say so.

    Raises:
        CourseError: one with some of these runs, or with the same report (its arguments, ``after``), is there.
    """
    same = [plan for plan in submissions(store) if _shares_work(plan, todo, fingerprint, after)]
    waiting = {number: Counter() for plan in same for number in _jobs_of(plan)}
    try:
        for line in _squeue(list(waiting), "-o", "%F %T"):
            number, state = line.split()
            waiting[number][state.lower()] += 1
    except CourseError as error:
        print(f"Whether an earlier submission of these runs is still in the queue is not known: {error}.")
    waiting = {number: states for number, states in waiting.items() if states}
    if waiting:
        found = [f"  job {n}: {', '.join(f'{k} {s}' for s, k in states.items())}" for n, states in waiting.items()]
        raise CourseError(
            "Nothing was submitted: an earlier submission of these runs or notebooks is in the queue.\n"
            + "\n".join(found)
            + f"\nWait for it (--status shows it), or take it out: scancel {' '.join(waiting)}\n"
            "--again submits them a second time; each run is trained once even so."
        )


def _shares_work(plan: Path, todo: Sequence[Job], fingerprint: str, after: Sequence[str]) -> bool:
    """Whether an earlier plan has one of these runs, or the same report."""
    earlier = read_json(plan) or {}
    if earlier.get("fingerprint") != fingerprint:
        return False
    wanted = [job.to_json()["config"] for job in todo]
    return earlier.get("report") == list(after) or any(job["config"] in wanted for job in earlier.get("jobs", []))
