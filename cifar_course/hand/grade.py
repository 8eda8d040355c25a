"""Grading with nbgrader: ``python -m cifar_course.hand.grade prepare|collect|run COURSE``.

nbgrader executes whole notebooks, which are programs written by others: where bubblewrap is allowed, each runs without
network and home folder and writes nothing but its own results. COURSE is a folder as nbgrader wants it, with an
assignment for each notebook.
"""

import argparse
import contextlib
import csv
import glob
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cifar_helpers.env import ROOT, CourseError, command_line, number_of, read_json, write_atomically

from ..report.execute import choose

CONFIG = "nbgrader_config.py"
GRADED = "graded.json"  # submission → SHA-256 of the notebook that its marks are for
PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
MOST_KILOBYTES = 8 * 2**20  # memory of a process of a submission
MOST_BLOCKS = 2**21  # of 512 bytes, of a file that it writes
SCRATCH_BYTES = 2**30  # of its temporary files, which are kept in memory
PROGRAM = f"""ulimit -d {MOST_KILOBYTES} -f {MOST_BLOCKS}
"$0" -m nbgrader autograde "$@" && "$0" -m nbgrader generate_feedback "$@"
"""
NOT_CONTAINED = (
    "Submissions are NOT contained: {why}. Time, memory and output have their limits; but they can use the network, "
    "and read and change whatever you can. Grade strangers' code where bubblewrap works, or in an account or a machine "
    "that holds nothing you would miss."
)


@dataclass(frozen=True)
class Submission:
    """A student's notebook, handed in for the assignment of that name."""

    course: Path
    student: str
    assignment: str

    def __str__(self) -> str:
        return f"{self.student} {self.assignment}"

    def folder(self, step: str) -> Path:
        """Its folder in nbgrader's ``submitted``, ``autograded`` or ``feedback``."""
        return self.course / step / self.student / self.assignment

    def digest(self) -> str:
        """SHA-256 of the notebook; empty where there is none."""
        path = self.folder("submitted") / f"{self.assignment}.ipynb"
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


# --- what contains a submission -------------------------------------------------------------------------------------


def why_not_contained() -> str:
    """Why bubblewrap does not work here; empty where it does."""
    if not shutil.which("bwrap"):
        return "there is no bubblewrap here (`apt install bubblewrap`)"
    tried = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all", "true"]
    done = subprocess.run(tried, capture_output=True, text=True, timeout=60)
    return f"bubblewrap is not allowed here ({done.stderr.strip()})" if done.returncode else ""


def contained(submission: Submission) -> list[str]:
    """The beginning of a command that hides network, home folder and others' work, and writes only what is its own."""
    command = ["bwrap", "--die-with-parent", "--new-session", "--unshare-all", "--cap-drop", "ALL"]
    command += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for hidden in {"/tmp", "/run", os.path.realpath(Path.home())} - {"/"}:
        command += ["--size", str(SCRATCH_BYTES), "--tmpfs", hidden]
    for shown in (sys.base_prefix, sys.prefix, ROOT, submission.course):  # they may lie in the home folder
        command += ["--ro-bind", str(shown), str(shown)]
    for step in ("submitted", "autograded", "feedback", "source"):
        command += ["--tmpfs", str(submission.course / step)]
    handed_in = str(submission.folder("submitted"))
    command += ["--ro-bind", handed_in, handed_in]
    results = [submission.folder(step).parent for step in ("autograded", "feedback")]
    for written in (*results, submission.course / "gradebook"):
        command += ["--bind", str(written), str(written)]
    return [*command, "--chdir", str(submission.course), "--"]


def environment(scratch: str) -> dict[str, str]:
    """What nbgrader's process knows: nothing of the instructor's own but the search path. No GPU."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
    names = ("TMPDIR", "CIFAR_RUNS", "CIFAR_CACHE", "CIFAR_FIGURES", "MPLCONFIGDIR", "IPYTHONDIR")
    fixed = {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))}
    fixed |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}
    fixed |= {"JUPYTER_PREFER_ENV_PATH": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return kept | dict.fromkeys(names, scratch) | fixed


# --- nbgrader's commands --------------------------------------------------------------------------------------------


def nbgrader(course: Path, *arguments: str) -> None:
    """Run one of nbgrader's commands that execute nothing of a student's; ``CourseError`` with its last words."""
    with tempfile.TemporaryDirectory(prefix="nbgrader-") as scratch:
        command = [sys.executable, "-m", "nbgrader", *arguments]
        done = subprocess.run(command, cwd=course, env=environment(scratch), capture_output=True, text=True)
    if done.returncode:
        if importlib.util.find_spec("nbgrader") is None:
            raise CourseError("nbgrader is not installed in this environment: make grading-tools")
        raise CourseError(f"nbgrader {' '.join(arguments)}: {last_words(done.stdout + done.stderr)}")


def last_words(log: str) -> str:
    """The error in one of nbgrader's logs: the last line that names an exception, else the last two lines."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return raised[-1] if raised else " ".join(lines[-2:]) or "it says nothing"


def prepare(course: Path, root: Path = ROOT) -> list[str]:
    """Make the course folder, or bring it up to date; sentences on it. ``CourseError`` if nbgrader refuses.

    A source that was changed there, say by hidden tests, stays.
    """
    said = []
    for folder in ("source", "submitted", "autograded", "feedback", "gradebook", "downloaded/archive"):
        (course / folder).mkdir(parents=True, exist_ok=True)
    if not (course / CONFIG).exists():
        shutil.copyfile(root / "docs" / CONFIG, course / CONFIG)
    for path in choose():
        if '"nbgrader"' not in path.read_text(encoding="utf-8"):  # an appendix has no exercise
            continue
        source = course / "source" / path.stem / path.name
        if not source.exists():
            source.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, source)
        elif source.read_bytes() != path.read_bytes():
            said.append(f"{source.relative_to(course)} differs from the course's: kept. Delete it to take that.")
    release = course / "release"
    pairs = [(path, release / path.parent.name / path.name) for path in (course / "source").glob("*/*.ipynb")]
    if any(not made.exists() or made.stat().st_mtime < path.stat().st_mtime for path, made in pairs):
        nbgrader(course, "generate_assignment", "*", "--force")
    return [f"{len(assignments(course))} assignments in {course}.", *said]


def assignments(course: Path, only: Sequence[str] = ()) -> list[str]:
    """Names of the course's assignments, or of those named by number or name; ``CourseError`` where one is missing."""
    every = sorted(path.parent.name for path in (course / "release").glob("*/*.ipynb"))
    if not every or not (course / CONFIG).is_file():
        raise CourseError(f"{course} is no course folder yet: python -m cifar_course.hand.grade prepare {course}")
    for name in only:
        if not any(name in (one, number_of(one)) for one in every):
            raise CourseError(f"No assignment {name} in {course}; there are {', '.join(every)}.")
    return [one for one in every if not only or one in only or number_of(one) in only]


def collect(course: Path, only: Sequence[str] = ()) -> list[str]:
    """Bring what lies in ``downloaded/archive`` into ``submitted``, by nbgrader's ``zip_collect``."""
    archive, names = course / "downloaded" / "archive", assignments(course, only)
    if not any(archive.glob("*")):
        raise CourseError(f"Nothing in {archive}: put the platform's download there.")
    left_out = without_notebook(archive, names)
    for name in names:
        nbgrader(course, "zip_collect", name, "--force")
    found = submissions(course, only)
    return [*left_out, f"{len(found)} notebooks of {len(students(course))} students in {course / 'submitted'}."]


def without_notebook(archive: Path, names: Sequence[str]) -> list[str]:
    """A line on each thing in a folder that holds no notebook of these names, packed or not.

    Raises:
        CourseError: archives that cannot be read.
    """
    wanted, lines, broken = {f"{name}.ipynb" for name in names}, [], []
    for item in sorted(archive.glob("[!.]*")):
        if item.is_dir():
            inside = [str(path) for path in item.rglob("*")]
        elif zipfile.is_zipfile(item):
            with zipfile.ZipFile(item) as file:
                inside = file.namelist()
        elif tarfile.is_tarfile(item):
            with tarfile.open(item) as file:
                inside = file.getnames()
        elif item.suffix in PACKED:
            broken.append(item.name)
            continue
        else:
            inside = [item.name]
        held = {name.replace("\\", "/").rsplit("/", 1)[-1] for name in inside}
        if wanted.isdisjoint(held) and not any(name.endswith(PACKED) for name in held):  # not a platform's own archive
            other = sorted(name for name in held if name.endswith(".ipynb"))
            lines.append(f"Left out: {item.name}, which holds {', '.join(other) or 'no notebook'}.")
    if broken:
        raise CourseError(
            f"No readable archive: {', '.join(broken)} in {archive}. Move it out, and collect the others."
        )
    return lines


# --- grading --------------------------------------------------------------------------------------------------------


def students(course: Path) -> list[str]:
    """The folders in ``submitted``."""
    return sorted(p.name for p in (course / "submitted").glob("[!.]*") if p.is_dir() and not p.is_symlink())


def submissions(course: Path, only: Sequence[str] = ()) -> list[Submission]:
    """What was handed in: a folder ``submitted/<student>/<assignment>`` each."""
    names = assignments(course, only)
    every = [Submission(course, student, name) for student in students(course) for name in names]
    return [one for one in every if one.folder("submitted").is_dir()]


def enrol(course: Path, names: Sequence[str]) -> None:
    """Make students known to the gradebook: of a new one, two submissions graded at a time would both do it."""
    with tempfile.TemporaryDirectory(prefix="students-") as scratch:
        path = Path(scratch, "students.csv")
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["id"], *([name] for name in names)])
        nbgrader(course, "db", "student", "import", str(path))


def grade(submission: Submission, contain: bool, minutes: float, running: set[int]) -> str:
    """Autograde a submission and write its feedback; why that could not be done, or empty.

    It may take so many minutes; ``running`` gets its group of processes, for a Ctrl-C.
    """
    if not submission.digest():
        return f"there is no {submission.assignment}.ipynb in it"
    for step in ("autograded", "feedback"):
        submission.folder(step).parent.mkdir(parents=True, exist_ok=True)
    names = [f"--assignment={submission.assignment}", f"--student={glob.escape(submission.student)}", "--force"]
    with tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as scratch:
        command = [*(contained(submission) if contain else ()), "sh", "-c", PROGRAM, sys.executable, *names]
        log, status = run(command, submission.course, environment("/tmp" if contain else scratch), minutes, running)
    if status is None:
        return f"it took longer than {minutes:g} minutes"
    return last_words(log) if status else ""


def run(
    command: list[str], folder: Path, variables: dict[str, str], minutes: float, running: set[int]
) -> tuple[str, int | None]:
    """What a command printed and its status, None where it was ended for its time; nothing of it is left running."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as child:
        running.add(child.pid)
        try:
            return child.communicate(timeout=minutes * 60)[0], child.returncode
        except subprocess.TimeoutExpired:
            return "", None
        finally:
            end(child.pid)
            running.discard(child.pid)


def end(group: int) -> None:
    """End a group of processes, with bubblewrap everything that was started in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def grade_all(course: Path, only: Sequence[str], jobs: int, force: bool, minutes: float) -> int:
    """Grade what is new or was changed, and export the marks; how many could not be graded."""
    every = submissions(course, only)
    known = read_json(course / GRADED, {})
    due = [one for one in every if force or known.get(str(one)) != one.digest() or not one.folder("feedback").exists()]
    print(f"{len(due)} of {len(every)} submissions to grade, {jobs} at a time.")
    if not every:
        print(f"{course / 'submitted'} holds none of these assignments: collect fills it.")
    why = why_not_contained()
    if why and due:
        print(NOT_CONTAINED.format(why=why))

    if due:
        enrol(course, sorted({one.student for one in due}))
    running: set[int] = set()

    def timed(submission: Submission) -> bool:
        began, digest = time.monotonic(), submission.digest()
        failure = grade(submission, not why, minutes, running)
        if not failure:
            known[str(submission)] = digest
        said = f"NOT GRADED: {failure}" if failure else f"graded in {time.monotonic() - began:.0f} s"
        print(f"  {submission}: {said}", flush=True)
        return bool(failure)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            failed = sum(pool.map(timed, due))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for group in list(running):
                end(group)
            raise
        finally:
            write_atomically(course / GRADED, json.dumps(known, indent=1, sort_keys=True) + "\n")
    nbgrader(course, "export", "--to", "grades.csv")
    print(f"Marks: {course / 'grades.csv'}. What each student is told: {course / 'feedback'}.")
    return failed


# --- the command line -----------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    prog, text = "python -m cifar_course.hand.grade", __doc__.partition(":")[0] + "."
    made = argparse.ArgumentParser(prog=prog, description=text)
    commands = made.add_subparsers(dest="command", required=True)
    for name, text in (
        ("prepare", "make the course folder from the solved notebooks"),
        ("collect", "bring what a learning platform delivered into submitted/"),
        ("run", "grade what is new in submitted/; marks and feedback"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("course", type=Path, metavar="COURSE", help="nbgrader's course folder")
        if name != "prepare":
            command.add_argument("--only", nargs="+", default=(), metavar="NN", help="these notebooks, such as 01 02")
    command.add_argument("--jobs", type=int, default=1, metavar="N", help="submissions at a time, one per core (1)")
    command.add_argument("--force", action="store_true", help="grade again what was graded")
    command.add_argument("--minutes", type=float, default=10, metavar="M", help="for one submission (10)")
    return made


@command_line("Stopped.")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when all is well, 1 where something could not be graded, 2 where the input was wrong."""
    options = parser().parse_args(arguments)
    course = options.course.expanduser().resolve()
    if course == ROOT or ROOT in course.parents or course in ROOT.parents:
        raise CourseError(f"{course} is, holds or lies in the course's own folder. Choose another: ../grading.")
    if options.command != "run":
        lines = prepare(course) if options.command == "prepare" else collect(course, options.only)
        print("\n".join(lines))
        return 0
    if options.jobs < 1 or not 0 < options.minutes < 1e4:
        raise CourseError("--jobs must be at least 1, --minutes above 0.")
    return int(bool(grade_all(course, options.only, options.jobs, options.force, options.minutes)))


if __name__ == "__main__":
    sys.exit(main())
