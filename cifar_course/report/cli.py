"""Train what the notebooks need, run them headless with papermill, judge each, and write the report.

python -m cifar_course.report --profile quick --data auto --device auto --only 05 06
python -m cifar_course.report --profile full --plan
python -m cifar_course.report --profile full --executor slurm --partition gpu --time 02:00:00

Nothing here imports torch before something is trained, so that plan and status print at once on a login node.
"""

import argparse
import contextlib
import functools
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cifar_helpers import plans, signals
from cifar_helpers.data.source import NAMES, SYNTHETIC, already_read
from cifar_helpers.env import (
    CourseError,
    choose_device,
    command_line,
    figures_dir,
    runs_dir,
    write_atomically,
)
from cifar_helpers.plans.forecast import Forecast
from cifar_helpers.plans.jobs import Job
from cifar_helpers.plans.profiles import PROFILES, PUBLISHED, get_profile, only_shows
from cifar_helpers.training.store import Store, try_again

from ..cluster import slurm
from ..cluster.pool import threads_each, visible_devices, write_plan
from ..cluster.worker import REQUEUE_HELP, requeue
from ..hand import pdf
from . import status
from .execute import Group, check_parameters, choose, execute, notebook_parameters, parse_parameter, several
from .status import tidy
from .training import announce, train_missing

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def _absolute(path: str) -> str:
    """An existing path as the kernels, which run in another folder, can use it."""
    found = Path(path).expanduser()
    return str(found.resolve()) if found.exists() else path


class Report:
    """What one call of the command is about: which notebooks, with which parameters, on which images.

    ``CourseError`` at a name or a value that does not exist, or nothing at a path.
    """

    def __init__(self, options: argparse.Namespace):
        self.options, self.chosen = options, choose(options.only)
        self.profile, self.device = options.profile, options.device
        self.extra = {name: parse_parameter(value) for name, value in options.parameter}
        taken = sorted(set(self.extra) & {"profile", "data", "device"})
        if taken:
            raise CourseError(f"Use --{taken[0]} instead of -p {taken[0]}.")
        if "reuse" in self.extra:
            raise CourseError("A report is made from runs trained here; --profile published shows the published ones.")
        given = options.data
        self.data = given if given in (None, *NAMES) else _absolute(given)
        self.parameters = {"profile": self.profile, "data": self.data, "device": self.device, "reuse": False}
        self.parameters |= self.extra
        check_parameters(self.chosen, self.parameters)
        plans.settings.check(self.parameters)
        if os.environ.get("CIFAR10_ROOT"):
            os.environ["CIFAR10_ROOT"] = _absolute(os.environ["CIFAR10_ROOT"])
        self.store, self.label, self.fingerprint = Store(), "", None
        self.source = self.data or get_profile(self.profile).data

    def arguments(self) -> list[str]:
        """The command line that makes this report on the machine it is run on."""
        options, given = self.options, ["--profile", self.profile, "--device", self.device]
        given += ["--jobs-per-gpu", str(options.jobs_per_gpu)] if options.jobs_per_gpu else []
        given += ["--data", self.data] if self.data else []
        given += ["--only", *options.only] if options.only else []
        given += [text for name, value in options.parameter for text in ("-p", name, value)]
        given += ["--cell-minutes", str(options.cell_minutes)] if options.cell_minutes else []
        return given + ["--pdf"] * options.pdf + ["--publish"] * options.publish

    def look_up_images(self) -> None:
        """What is known of the images from an earlier reading, without reading them."""
        found = already_read(self.source)
        if found:
            self.label, self.fingerprint = found["label"], found["fingerprint"]

    def read_images(self) -> None:
        """Read the images, or download them, once for all that follows; ``CourseError`` says what to do without any."""
        from cifar_helpers.data.images import load_cifar10

        images = load_cifar10(self.source)
        self.label, self.fingerprint = images.label, images.fingerprint
        if self.label == SYNTHETIC:
            if self.data is None and self.source == "auto":  # minutes of training that say nothing
                raise CourseError(
                    "No report without CIFAR-10: there is no local copy, and the download failed (above). Name a copy, "
                    "CIFAR10_ROOT=/path make report; PROFILE=published needs none, DATA=synthetic takes drawn shapes."
                )
            self.source = "synthetic"  # what was found once is what all use
        self.parameters["data"] = "synthetic" if self.label == SYNTHETIC else self.data

    def jobs(self) -> list[Job]:
        """Every training run that the notebooks need, as far as the records decide it."""
        if self.profile == PUBLISHED:
            return []

        def read(config):
            return self.store.get(config, self.fingerprint) if self.fingerprint else None

        return plans.jobs.plan([path.stem for path in self.chosen], self.parameters, read)

    def missing(self) -> list[Job]:
        """Those that are not recorded with all their probes."""
        return [job for job in self.jobs() if plans.jobs.state(job, self.fingerprint, self.store) != "recorded"]


def run_report(report: Report) -> int:
    """Train what is missing, execute the notebooks, print the table, write the local report; 0 if all is well.

    ``CourseError`` if something is wrong before anything runs.
    """
    target = choose_device(report.device)
    report.read_images()
    if report.options.publish and report.label == SYNTHETIC:
        raise CourseError(
            "A report on synthetic data is not published: name a copy of CIFAR-10 (--data), or leave --publish out."
        )
    for folder in (runs_dir(), figures_dir(report.profile)):
        write_atomically(folder / ".writable", "")
    devices = visible_devices(target) if report.device in ("auto", "cuda") else [str(target)]
    small = target.type == "cpu" and report.profile == "quick"  # its networks train best one on every core
    usual = min(4, threads_each(1)) if small else 1
    per_device = report.options.jobs_per_gpu or usual
    began = datetime.now(UTC).isoformat(timespec="seconds")
    forecast = announce(report, devices, per_device)
    unfinished = train_missing(report, devices, per_device, forecast)
    two = target.type == "cpu" and threads_each(1) > 1  # notebooks at a time, each with half the cores
    tasks = [
        functools.partial(_execute, report, notebook, threads_each(2) if two else None, forecast)
        for notebook in report.chosen
    ]
    results = several(tasks, 2 if two else 1)
    return _conclude(report, results, began, target, unfinished, forecast)


def _execute(report: Report, notebook: Path, threads: int | None, forecast: Forecast, group: Group) -> dict:
    title = f"[{report.chosen.index(notebook) + 1}/{len(report.chosen)}] {notebook.stem}"
    print(f"{title} …", flush=True)
    output = status.verdict_path(report.store, report.profile, notebook.stem).with_suffix(".ipynb")
    mine = notebook_parameters(notebook)
    given = {name: value for name, value in report.parameters.items() if name in mine}
    shown = only_shows(report.profile, notebook.stem)
    if shown:
        given["profile"] = PUBLISHED
    result = execute(notebook, output, given, report.options.cell_minutes, threads, group) | {"shown": shown}
    forecast.to_execute -= 1 / len(report.chosen)
    status.keep_verdict(result, report.profile, report.fingerprint, report.store)
    print(f"{title}: {result['verdict']} ({result['minutes']:.1f} min) · {forecast.left_in_words()}", flush=True)
    if result["verdict"] != "ok" and output.exists():
        print(f"    the executed copy with the full error: {output}", flush=True)
    return result


def _conclude(
    report: Report, results: list[dict], began: str, target, unfinished: Mapping[Job, str], forecast: Forecast
) -> int:
    from . import summary

    width = max(len(r["notebook"]) for r in results)
    print(f"\n{'notebook':{width}}  minutes  verdict")
    for r in results:
        print(f"{r['notebook']:{width}}  {r['minutes']:7.1f}  {r['verdict']}")
    time_told = {"announced": forecast.announced, "took": forecast.elapsed(), "workers": forecast.workers}
    print(f"\nAnnounced: {forecast.announced:.0f} min; taken: {forecast.elapsed():.0f} min.")
    path = summary.write_local(report.profile, results, began, target, report.extra, time_told)
    print(f"Report: {path}", flush=True)
    failed = [r["notebook"] for r in results if r["verdict"] != "ok"]
    unfinished = [job for job in unfinished if plans.jobs.state(job, report.fingerprint, report.store) != "recorded"]
    if unfinished:
        print(f"Not trained: {len(unfinished)} runs; --status lists them with their logs.", file=sys.stderr)
    if failed:
        print(
            f"Failed: {', '.join(failed)}. The rest is done; run the same command again after mending.", file=sys.stderr
        )
    return 1 if failed or unfinished else 0


def show_plan(report: Report) -> None:
    """Print what the notebooks need, what of it is recorded, the predicted minutes, and what Slurm would be given."""
    report.look_up_images()
    options, jobs, notes = report.options, report.jobs(), []
    if report.fingerprint is None:
        notes.append(status.NOT_READ)
    if any("03" in job.notebooks and job.config.model == "AlexNet" for job in jobs):
        notes.append("03's greedy tuning of AlexNet goes on from each choice: its next runs join as it decides.")
    if options.device not in ("auto", "cpu"):
        try:
            choose_device(options.device)
        except CourseError:
            notes.append(f"Planned for {options.device}, which this machine does not have: train where there is one.")
    if report.profile == "full":
        hours = get_profile("full").minutes / 60
        notes.append(f"All of full from nothing: about {hours:.0f} hours on one large GPU. This is a guess.")
    if options.executor == "slurm":
        tasks = len(_shares(report, report.missing() if report.fingerprint else jobs))
        count = f"{tasks} array task{'s' * (tasks != 1)}"
        notes.append(f"--executor slurm would submit {count}, and after them the job for the notebooks.")
    for_gpu = options.profile == "full" or options.executor == "slurm"
    gpu = options.device.startswith("cuda") or (options.device == "auto" and for_gpu)
    print("\n".join(plans.forecast.lines(jobs, report.fingerprint, report.store, notes, gpu)))


def _shares(report: Report, todo: Sequence[Job]) -> list[list[int]]:
    return slurm.split(todo, report.store, report.options.tasks, report.device != "cpu") if todo else []


def submit(report: Report) -> None:
    """Write the plan of what is missing and hand it to Slurm, with the report after it."""
    report.look_up_images()
    if report.fingerprint is None:
        report.read_images()
    options, todo, after = report.options, report.missing(), report.arguments()
    shares = _shares(report, todo)
    path = report.store.root / ".batch" / f"slurm-{time.time_ns()}.json"  # it stays: requeued tasks read it again
    if not options.again:
        slurm.refuse_to_repeat(report.store, todo, report.fingerprint, after)
    write_plan(path, todo, report.source, report.fingerprint, report.device, tasks=shares, report=after)
    passed = {name: getattr(options, name.replace("-", "_")) for name in slurm.PASSED}
    given = ["--gpus-per-node=1"] * (report.device != "cpu")
    given += [f"--{name}={value}" for name, value in passed.items() if value] + options.sbatch
    try:
        jobs = slurm.submit(path, len(shares), given, after, options.at_most)
    except CourseError:
        if path not in slurm.submissions(report.store):  # else its tasks will read it
            path.unlink()
        raise
    for job in todo:
        try_again(report.store, job.config, report.fingerprint)
    if todo:
        print(f"{len(todo)} runs in {len(shares)} tasks: job {jobs['train']}")
        print(f"notebooks and report after them: job {jobs['report']}")
    else:
        print(f"Every run is recorded, nothing is left to train. Notebooks and report: job {jobs['report']}")
    print("Follow it with:", shlex.join(["python", "-m", "cifar_course.report", *after, "--status"]))


def _usual_profile(options: argparse.Namespace) -> tuple[str, str]:
    """The profile where none is given, and why: ``full`` with Slurm and on a CUDA GPU, else ``quick``."""
    submitted = slurm.last_profile(Store()) if options.status else None
    if submitted:
        return submitted, "submitted last"
    if options.executor == "slurm":
        return "full", "on a cluster"
    if options.device.startswith("cuda"):  # it may be planned where there is none
        return "full", f"usual on {options.device}"
    if choose_device(options.device).type == "cuda":
        return "full", "on a GPU"
    return "quick", "on a machine without a CUDA GPU"


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def _minutes(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"must be a positive number of minutes, not {text!r}")


def _refuse_unusable(options: argparse.Namespace) -> None:
    """Raise ``CourseError`` where an option would be ignored without a word, or cannot mean anything."""
    cluster = ("tasks", "at-most", "again", "sbatch", *slurm.PASSED)
    given = [name for name in cluster if getattr(options, name.replace("-", "_")) not in (None, False, [])]
    if given and options.executor == "local":
        raise CourseError(f"--{given[0]} is for a cluster: add --executor slurm.")
    if options.yes and not options.prune:
        raise CourseError("--yes belongs to --prune.")
    if options.jobs_per_gpu and options.executor == "slurm":
        raise CourseError(
            "--jobs-per-gpu is for a machine of your own; under Slurm ask for more --tasks, each of which has a GPU."
        )
    if options.requeue is not None and options.executor == "slurm":
        raise CourseError("--requeue is for the job that trains, not for the command that submits it.")
    bare = [each for each in options.sbatch if not re.match("--[a-z]", each)]
    if bare:
        raise CourseError(
            f"--sbatch takes an option with its dashes, as in --sbatch=--reservation=ai; {bare[0]!r} has none."
        )
    if not DEVICE.fullmatch(options.device):
        raise CourseError(f"Unknown device {options.device!r}; choose auto, cpu, cuda, cuda:N (such as cuda:1) or mps.")
    if options.executor == "slurm" and ":" in options.device:
        raise CourseError(
            f"--device {options.device} means nothing under Slurm: it gives each task one GPU, and the task sees no "
            "other. Write --device cuda."
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m cifar_course.report", description="Train what is missing, run the notebooks, write the report."
    )
    made.add_argument(
        "--profile", help=f"{', '.join((PUBLISHED, *PROFILES))} (default: full on a GPU or with Slurm, else quick)"
    )
    made.add_argument("--data", help="auto, local, cifar10, synthetic, or a path (default: the profile's)")
    made.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    made.add_argument("--only", nargs="+", default=[], metavar="NN", help="notebooks by number or name (default: all)")
    made.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a further parameter"
    )
    made.add_argument("--publish", action="store_true", help="replace the committed report and docs/read/ by this one")
    made.add_argument("--pdf", action="store_true", help="also make REPORT.pdf")
    usual = "1; for quick on a CPU one a core, 4 at most"
    made.add_argument("--jobs-per-gpu", type=_whole, metavar="N", help=f"runs at a time on each device ({usual})")
    made.add_argument("--cell-minutes", type=_minutes, metavar="M", help="end a notebook whose cell takes longer")
    instead = made.add_argument_group("instead of running").add_mutually_exclusive_group()
    instead.add_argument("--plan", action="store_true", help="list the training runs, what is recorded, the minutes")
    instead.add_argument("--status", action="store_true", help="what ran, failed, is missing")
    instead.add_argument("--prune", action="store_true", help="what weights and checkpoints nothing needs")
    made.add_argument("--yes", action="store_true", help="with --prune: delete them")
    cluster = made.add_argument_group("on a cluster")
    cluster.add_argument("--executor", choices=("local", "slurm"), default="local", help="where it runs (local)")
    cluster.add_argument(
        "--tasks",
        type=_whole,
        metavar="N",
        help=f"tasks of the array, {slurm.MOST_TASKS} at most (default: half an hour each)",
    )
    cluster.add_argument("--at-most", type=_whole, metavar="N", help="tasks at a time")
    cluster.add_argument("--again", action="store_true", help="submit what is in the queue already a second time")
    cluster.add_argument("--requeue", metavar="JOB", help=REQUEUE_HELP)
    for name in slurm.PASSED:
        cluster.add_argument(f"--{name}", help="as sbatch takes it")
    cluster.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION", help="a further one, as in --sbatch=--reservation=ai"
    )
    return made


@command_line("Stopped. Finished runs are kept; the same command goes on from here.")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the report."""
    options = parser().parse_args(arguments)
    try:
        _refuse_unusable(options)
        if options.pdf:
            pdf.require()
        if options.prune:
            tidy(options)
            return 0
        if options.profile is None:
            options.profile, why = _usual_profile(options)
            print(f"No profile given: {options.profile}, as {why}.")
        get_profile(options.profile)
        report = Report(options)
        if options.plan:
            show_plan(report)
            return 0
        if options.status:
            report.look_up_images()
            stems = [path.stem for path in report.chosen]
            return status.show(stems, report.profile, report.jobs(), report.fingerprint, report.store)
        if options.executor == "slurm":
            submit(report)
            return 0
        with signals.interrupting():
            return _run(report)
    except BrokenPipeError:  # | head
        return 0


def _run(report: Report) -> int:
    try:
        code = run_report(report)
    except signals.Stopped:
        print(requeue(report.options.requeue)[1], end="", file=sys.stderr)
        raise
    if report.options.pdf:
        print(f"PDF: {pdf.make(figures_dir(report.profile) / 'REPORT.md')}")
    if report.options.publish and code == 0:
        from ..publish.publish import publish

        print(f"Published: {publish(report.profile, report.store)}")
    return code
