"""What a report needs and how far it is, printed for ``--plan`` and ``--status``. Nothing here imports torch."""

import argparse
import contextlib
import functools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from cifar_helpers import plans
from cifar_helpers.data.source import index
from cifar_helpers.env import CourseError, number_of, read_json, write_atomically
from cifar_helpers.plans.jobs import Job
from cifar_helpers.plans.profiles import PROFILES
from cifar_helpers.training import probes
from cifar_helpers.training.store import Store, failure, prunable, prune

from ..cluster import slurm
from .execute import choose, parse_parameter

NOT_READ = "The images have not been read here yet, so nothing counts as recorded; --only 01 reads them."


def tidy(options: argparse.Namespace) -> None:
    """Print which weights and checkpoints no profile's notebooks need, and delete them if told so.

    ``CourseError`` where no images have been read, so that nobody knows which runs are needed.
    """
    store, known = Store(), [entry["fingerprint"] for entry in index().values()]
    if not known:
        raise CourseError("No images have been read here yet (or CIFAR_CACHE is another), so nothing can be judged.")
    given = {name: parse_parameter(value) for name, value in options.parameter}
    stems, needed = [path.stem for path in choose()], set()
    for fingerprint in known:
        for profile in PROFILES:
            for more in ({}, {"fast": True}, given):
                read = functools.partial(store.get, fingerprint=fingerprint)
                jobs = plans.jobs.plan(stems, {"profile": profile} | more, read)
                needed |= {job.config.folder_name(fingerprint) for job in jobs}
    files = prune(store, needed) if options.yes else prunable(store, needed)
    for path, size in files:
        print(f"{size / 1e6:9.1f} MB  {path.relative_to(store.root)}")
    total = sum(size for _, size in files) / 1e6
    end = "freed" if options.yes else "would be freed; add --yes to do it"
    print(f"{total:9.1f} MB in {len(files)} files {end}. Records, which figures are made of, stay.")
    print(
        "Kept are the weights and unfinished runs of all profiles with default parameters; -p seed 5 keeps those too."
    )


def verdict_path(store: Store, profile: str, notebook: str) -> Path:
    """File with the verdict on the last execution of a notebook, beside its executed copy."""
    return store.root / "notebooks" / profile / f"{notebook}.json"


def keep_verdict(result: Mapping, profile: str, fingerprint: str, store: Store) -> None:
    """Keep what ``execute.execute`` returned, with the fingerprint of the images it was executed on."""
    with contextlib.suppress(CourseError):  # on a full disk the verdict itself says it, and the other notebooks go on
        path = verdict_path(store, profile, result["notebook"])
        write_atomically(path, json.dumps({**result, "fingerprint": fingerprint}, indent=1))


def on_notebook(
    notebook: str, profile: str, jobs: Sequence[Job], fingerprint: str | None, store: Store
) -> tuple[str, bool]:
    """A notebook's verdict on these images and whether a run of its is newer, in words; and whether all is well.

    ``notebook`` is its stem.
    """
    found = read_json(verdict_path(store, profile, notebook)) or {}
    if fingerprint is None or found.get("fingerprint") != fingerprint:
        return f"notebook {notebook}: not run yet", False
    ended = datetime.fromtimestamp(found["ended"]).astimezone()
    line = f"notebook {notebook}: {found['verdict']}, ended {ended:%Y-%m-%d %H:%M %Z}"
    mine = [job for job in jobs if number_of(notebook) in job.notebooks]
    newest = max((finished(job, fingerprint, store) for job in mine), default=0.0)
    if newest > found["ended"]:
        return f"{line}, older than its runs", False
    return line, found["verdict"] == "ok"


def finished(job: Job, fingerprint: str, store: Store) -> float:
    """Unix time in seconds at which a run or the last of its probes was recorded; 0 where there is no record."""
    record = store.get(job.config, fingerprint)
    if record is None:
        return 0.0
    measured = probes.read_all(record.folder, job.probes).values()
    return max(each.provenance["finished_unix"] for each in (record, *measured))


def show(notebooks: Sequence[str], profile: str, jobs: Sequence[Job], fingerprint: str | None, store: Store) -> int:
    """Print how many runs are recorded, each that is not (and why it failed), the notebooks, and Slurm's queue.

    Returns 0 if every run is recorded and every notebook went well on them, else 1. Without a fingerprint, as where
    the images have not been read, nothing is known to be recorded.
    """
    states = {job: plans.jobs.state(job, fingerprint, store) if fingerprint else "missing" for job in jobs}
    counts = ", ".join(f"{list(states.values()).count(s)} {s}" for s in dict.fromkeys(states.values()))
    summary = f"{len(jobs)} training runs in {store.root}: {counts}." if jobs else "No training runs."
    print(summary if fingerprint else f"{summary} {NOT_READ}")
    for job, state in states.items():
        if state != "recorded":
            print(f"{state:14}  {job.config.describe()} (for {', '.join(job.notebooks)})")
        if state == "failed":
            why = failure(store, job.config, fingerprint)
            print(f"{'':14}  {why['error']}\n{'':14}  log: {why['log']}")
    recorded = [job for job, state in states.items() if state == "recorded"]
    said = [on_notebook(notebook, profile, recorded, fingerprint, store) for notebook in notebooks]
    print("\n".join(line for line, _ in said))
    for line in slurm.queue(store):
        print(line)
    if len(jobs) > plans.forecast.SCREEN:
        print(summary)
    return 0 if set(states.values()) <= {"recorded"} and all(well for _, well in said) else 1
