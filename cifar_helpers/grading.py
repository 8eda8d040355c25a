"""Grading a folder of submissions: read each one, run every check in a sandbox, write a table and a page per student.

The originals are only read. The checks teach and do not guard an exam: they run in the same process as what they
check, the package holds a reference for each, and who wants to can beat them. A course that counts points keeps
private checks.
"""

import gzip
import json
import re
import shutil
import stat
import tarfile
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from . import sandbox
from .env import ROOT, CourseError
from .gradebook import Graded, row_of, write_results
from .sandbox import Breach, Limits, Sandbox

MOST_BYTES = 200 * 2**20  # of a submission, unpacked
MOST_FILES = 5000
ARCHIVES = (".zip", ".tar.gz", ".tgz")
MOST_NOTEBOOK = 50 * 2**20
SKIPPED = {".git", ".venv", "venv", "__pycache__", ".ipynb_checkpoints", "__MACOSX", "runs", "data", ".cache"}
KINDS = ".zip, .tar.gz or .ipynb"
UNPACKING = (  # what a damaged or forged archive raises, odd names (ValueError) included
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError),
)
IDENTITY = re.compile(r"Project2-([A-Za-z0-9-]{1,40})_")  # in the name that `student pack` gives
NOT_CONTAINED = (
    "Submissions are NOT contained: {why}. The limits on time, memory and output hold, and each runs on a copy; but it "
    "can use the network, read and change whatever you can, and end your other processes. Grade strangers' code where "
    "bubblewrap works, or in a container or a virtual machine of its own."
)


class UnreadableError(Exception):
    """A submission that cannot be read; the message says why, to the student."""


# --- reading submissions --------------------------------------------------------------------------------------------


def find_submissions(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Student → folder, archive or notebook; and sentences on what else lies there.

    Raises:
        CourseError: there is no such folder, no submission in it, or it is one itself.
    """
    if not folder.is_dir():
        raise CourseError(f"No folder {folder}. Name the one that holds a subfolder, {KINDS} for each student.")
    if alone := _is_one(folder):
        raise CourseError(
            f"{folder} looks like one submission: it holds {alone}. Name the folder that holds the submissions; to "
            "grade this one alone, put it into a new folder and name that."
        )
    found, remarks = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_symlink() and (path.is_dir() or _ending(path)):
            found.append(path)
        else:
            remarks.append(f"{path.name} is no submission: left out. Only folders, {KINDS} count.")
    if not found:
        raise CourseError(f"No submissions in {folder}. Each student's is a subfolder, {KINDS}.")
    stems = [path.name if path.is_dir() else path.name.removesuffix(_ending(path)) for path in found]
    for stem in dict.fromkeys(stem for stem in stems if stems.count(stem) > 1):
        twins = " and ".join(path.name for path, its in zip(found, stems, strict=True) if its == stem)
        remarks.append(f"{twins} count as students of their own. If they are one student's, leave only one there.")
    return {
        stem if stems.count(stem) == 1 else path.name: path for stem, path in zip(stems, found, strict=True)
    }, remarks


def _is_one(folder: Path) -> str:
    """A notebook by which a folder is one student's: named as the course's, in it or in its notebooks/; else empty."""
    ours = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    places = [name for own in ours for name in (own, f"notebooks/{own}")]
    return next((name for name in places if (folder / name).is_file()), "")


def _ending(path: Path) -> str:
    """The ending by which a file is a submission, as it is written; empty for others."""
    known = next((ending for ending in (*ARCHIVES, ".ipynb") if path.name.lower().endswith(ending)), "")
    return path.name[len(path.name) - len(known) :]


def copy_in(source: Path, target: Path) -> None:
    """Copy a submission's files to a scratch folder; links, hidden folders, data and caches stay out.

    Raises:
        UnreadableError: it is no readable archive, wants to be unpacked elsewhere, or is too large.
    """
    target.mkdir()
    try:
        if source.is_dir():
            _copy_files(_files_below(source), target)
        elif source.suffix.lower() == ".ipynb":
            _copy_files([(source.name, source)], target)
        elif source.suffix.lower() == ".zip":
            _unzip(source, target)
        else:
            _untar(source, target)
    except UNPACKING as error:
        raise UnreadableError(f"{source.name} cannot be unpacked: {error}.") from error
    except OSError as error:
        raise UnreadableError(f"{source.name} cannot be read: {error.strerror or error}.") from error


def _files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            if path.is_symlink() or path.name in SKIPPED or path.name.startswith("._"):
                continue
            if path.is_dir():
                waiting.append(path)
            elif path.is_file():  # no sockets, no pipes
                yield path.relative_to(folder).as_posix(), path


def _copy_files(files, target: Path) -> None:
    total = 0
    for number, (name, path) in enumerate(files, 1):
        total += path.stat().st_size
        _refuse_large(number, total)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)


def _refuse_large(files: int, size: int) -> None:
    if files > MOST_FILES or size > MOST_BYTES:
        raise UnreadableError(
            f"The submission holds more than {MOST_FILES} files or {MOST_BYTES / 2**20:.0f} MB. "
            "Hand in notebooks, report and changed code, not data, weights or an environment."
        )


def _unzip(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        _refuse_large(len(entries), sum(entry.file_size for entry in entries))
        for entry in entries:
            place = _place(source, entry.filename, target)
            if place and not stat.S_ISLNK(entry.external_attr >> 16):
                with archive.open(entry) as packed, open(place, "wb") as file:  # never more than file_size
                    shutil.copyfileobj(packed, file)


def _place(source: Path, entry: str, target: Path) -> Path | None:
    """Where an entry of an archive is unpacked, its folder made; None for what stays out."""
    name = PurePosixPath(entry.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in entry:
        raise UnreadableError(f"{source.name} holds {entry!r}, a path outside its own folder.")
    if SKIPPED & set(name.parts) or name.name.startswith("._"):  # macOS: a file's attributes
        return None
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    return target / name


def _untar(source: Path, target: Path) -> None:
    total = 0
    with gzip.open(source) as packed, tarfile.open(fileobj=_Bounded(packed), mode="r|") as archive:
        for number, entry in enumerate(archive, 1):
            total += max(entry.size, 0)
            _refuse_large(number, total)
            place = _place(source, entry.name, target)
            if place and entry.isfile():  # no folders, links or devices
                with open(place, "wb") as file:
                    shutil.copyfileobj(archive.extractfile(entry), file)


class _Bounded:
    """A stream that ends in ``UnreadableError`` where it unpacks to more than a submission may: headers count too."""

    def __init__(self, packed):
        self.packed, self.left = packed, MOST_BYTES + 4096 * MOST_FILES

    def read(self, size: int) -> bytes:
        found = self.packed.read(size)
        self.left -= len(found)
        if self.left < 0:
            _refuse_large(0, MOST_BYTES + 1)
        return found


def open_inner(folder: Path) -> tuple[Path, list[str]]:
    """The folder itself, or where it holds no notebook but one archive, that one unpacked beside it; with remarks.

    A learning platform's download is a folder for each student, with the zip in it.

    Raises:
        UnreadableError: it holds several archives and no notebook, or one that cannot be read.
    """
    archives = sorted(path for path in folder.rglob("*") if path.is_file() and path.name.lower().endswith(ARCHIVES))
    names = ", ".join(path.name for path in archives)
    if any(folder.rglob("*.ipynb")):
        return folder, [f"Not opened, as there are notebooks beside it: {names}."] if archives else []
    if len(archives) > 1:
        raise UnreadableError(f"The submission holds several archives and no notebook: {names}. Leave one of them.")
    if not archives:
        return folder, []
    inside = folder.with_name("inside")
    copy_in(archives[0], inside)
    return inside, []


def identity_in(source: Path, scratch: Path) -> str:
    """The ID in ``Project2-<id>_<name>``: of the submission's own name, else the only one among its files' names."""
    own = IDENTITY.match(source.name)
    inner = {found[1] for found in (IDENTITY.match(path.name) for path in scratch.rglob("Project2-*")) if found}
    return own[1] if own else inner.pop() if len(inner) == 1 else ""


def read_notebooks(folder: Path) -> tuple[list[dict], list[str]]:
    """``path`` and code ``cells`` of every notebook below a folder, and sentences on those that cannot be read."""
    notebooks, remarks = [], []
    for path in sorted(path for path in folder.rglob("*.ipynb") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        try:
            if path.stat().st_size > MOST_NOTEBOOK:
                raise ValueError(f"it is larger than {MOST_NOTEBOOK / 2**20:.0f} MB: clear its outputs")
            notebooks.append({"path": name, "cells": _code_cells(json.loads(path.read_bytes()))})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            remarks.append(f"{name} is not a readable notebook ({str(error)[:120]}).")
    if not notebooks:
        remarks.append("There is no readable notebook in the submission.")
    return notebooks, remarks


def _code_cells(document: dict) -> list[dict]:
    cells = []
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            tagged = cell.get("metadata", {}).get("nbgrader", {})
            cells.append({"source": "".join(cell["source"]), "grade_id": tagged.get("grade_id")})
    return cells


# --- grading --------------------------------------------------------------------------------------------------------


def name_absent(rows: list[dict], notebooks: list[dict], copy: Path) -> list[str]:
    """Shorten the reasons of notebooks that were not handed in, and say in one sentence which these are.

    A notebook counts as handed in where a file is named by its number, or any of its answers stands in another file.
    """
    ids = {cell["grade_id"] for notebook in notebooks for cell in notebook["cells"]}
    here = {row["notebook"] for row in rows if row["state"] != "missing" or row["exercise"] in ids}
    here |= {path.name[:2] for path in copy.rglob("*.ipynb")}
    absent = [row for row in rows if row["notebook"] not in here]
    for row in absent:
        row["reason"] = "not handed in."
    numbers = list(dict.fromkeys(row["notebook"] for row in absent))
    if not numbers:
        return []
    first, last = ("Notebooks", "were") if len(numbers) > 1 else ("Notebook", "was")
    return [f"{first} {', '.join(numbers)} {last} not handed in."]


@dataclass(frozen=True)
class Grader:
    """How submissions are graded.

    Attributes:
        limits: of each exercise; private: source of private checks, or None; contained: whether bubblewrap works.
        exercises: ``name``, ``notebook`` and ``answer`` of each.
    """

    limits: Limits
    private: str | None
    contained: bool
    exercises: list[dict]

    def grade(self, student: str, source: Path) -> Graded:
        """Grade one submission; never raises because of what it holds."""
        graded = Graded(student)
        with tempfile.TemporaryDirectory(prefix="submission-", ignore_cleanup_errors=True) as scratch:
            copy = Path(scratch) / "copy"
            try:
                copy_in(source, copy)
                copy, remarks = open_inner(copy)
                notebooks, unread = read_notebooks(copy)
                graded.remarks = unread + remarks
            except UnreadableError as error:
                notebooks, graded.remarks = [], [str(error)]
            graded.identity = identity_in(source, Path(scratch))
            if notebooks:
                graded.rows = self._rows(notebooks, copy)
                graded.remarks += name_absent(graded.rows, notebooks, copy)
            else:
                reason = graded.remarks[0]
                graded.rows = [row_of(exercise, "missing", reason) for exercise in self.exercises]
        return graded

    def _rows(self, notebooks: list[dict], copy: Path) -> list[dict]:
        """One exercise after the other in one box, and in a new one where an exercise broke it."""
        rows, box = [], None
        try:
            for exercise in self.exercises:
                intact = True
                try:
                    box = box or Sandbox(notebooks, self.private, self.contained)
                    verdict = box.grade(exercise["name"], copy, self.limits)
                except Breach as breach:
                    verdict, intact = {"state": "breach", "reason": str(breach)}, False
                except CourseError as error:  # this machine's fault, such as no memory for one more process
                    rows.append(row_of(exercise, "grader", f"NOT GRADED, run the grader again: {error}"))
                    continue
                if intact and not box.clean():
                    verdict, intact = (
                        {"state": "breach", "reason": "It leaves processes running, or its folder locked."},
                        False,
                    )
                rows.append(row_of(exercise, verdict["state"], verdict["reason"]))
                if not intact:
                    box.close()
                    box = None
        finally:
            if box:
                box.close()
        return rows


def check_place(out: Path, folder: Path) -> None:
    """Raise ``CourseError`` where the grades would lie among the submissions."""
    if out == folder or folder in out.parents:
        raise CourseError(f"{out} lies among the submissions. Name another folder with --out.")
    if out.exists() and not out.is_dir():
        raise CourseError(f"{out} is a file. Name a folder with --out.")


def make_place(out: Path) -> None:
    """Make the folder of the grades before hours of grading, not after; ``CourseError`` where it cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise CourseError(f"Cannot write to {out}: {error.strerror}. Name another folder with --out.") from error


def chosen(exercises: list[dict], only: Sequence[str] | None) -> list[dict]:
    """The exercises of the notebooks named by number; all where none is.

    Raises:
        CourseError: a notebook has no exercise.
    """
    known = list(dict.fromkeys(exercise["notebook"] for exercise in exercises))
    wanted = [number.zfill(2) for number in only or known]
    wrong = [number for number in wanted if number not in known]
    if wrong:
        raise CourseError(f"--only {' '.join(wrong)}: no such notebook has exercises. These have: {' '.join(known)}.")
    return [exercise for exercise in exercises if exercise["notebook"] in wanted]


def grade_folder(
    folder: Path,
    out: Path | None = None,
    jobs: int = 1,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    checks: Path | None = None,
    say: Callable[[str], None] = print,
    only: Sequence[str] | None = None,
) -> list[Graded]:
    """Grade every submission in a folder; write ``grades.csv``, ``summary.csv`` and a page for each student.

    Args:
        folder: a subfolder, .zip, .tar.gz or .ipynb for each student.
        out: where the results go; ``grades`` beside ``folder`` unless given.
        jobs: submissions at a time; limits: of each exercise.
        checks: a Python file with further checks, kept from the students.
        say: is told what happens.
        only: numbers of the notebooks whose exercises count; all unless given.

    Raises:
        CourseError: there are no submissions, or a single one's files; the place does not fit, the checks do not start,
            or ``only`` names a notebook without an exercise.
    """
    folder = Path(folder).expanduser().resolve()
    out = Path(out).expanduser().resolve() if out else folder.parent / "grades"
    check_place(out, folder)
    submissions, remarks = find_submissions(folder)
    private = _read_checks(checks)
    exercises, contained, why = sandbox.containment(private)
    exercises = chosen(sorted(exercises, key=lambda exercise: exercise["notebook"]), only)
    make_place(out)
    for remark in remarks if contained else [*remarks, NOT_CONTAINED.format(why=why)]:
        say(remark)
    grader = Grader(limits, private, contained, exercises)
    started, counted = threading.Lock(), iter(range(1, len(submissions) + 1))

    def one(item: tuple[str, Path]) -> Graded:
        began = time.monotonic()
        graded = grader.grade(*item)
        with started:
            number, seconds = next(counted), time.monotonic() - began
            points = f"{graded.points} of {len(graded.rows)} points"
            say(f"{number}/{len(submissions)} {graded.student}: {points} ({seconds:.0f} s)")
        return graded

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        results = list(pool.map(one, submissions.items()))
    write_results(results, out)
    say(f"{out / 'grades.csv'}, {out / 'summary.csv'}, and a page for each student in {out / 'pages'}.")
    return results


def _read_checks(path: Path | None) -> str | None:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8") if path else None
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"Cannot read the checks in {path}: {error}.") from error
