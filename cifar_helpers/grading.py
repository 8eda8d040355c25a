"""Grading a folder of submissions: read each one, run every check in a sandbox, write a table and a page per student.

The originals are only read. The checks teach and do not guard an exam: they run in the same process as what they
check, the package holds a reference for each, and who wants to can beat them. A course that counts points keeps
private checks.
"""

import csv
import gzip
import io
import json
import shutil
import stat
import tarfile
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import escape
from pathlib import Path, PurePosixPath

from . import sandbox
from .env import CourseError, write_atomically
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
SIGNS = {"solved": "✓", "unsolved": "○", "missing": "○"}
NOT_CONTAINED = (
    "Submissions are NOT contained: {why}. The limits on time, memory and output hold, and each runs on a copy; but it "
    "can use the network, read and change whatever you can, and end your other processes. Grade strangers' code where "
    "bubblewrap works, or in a container or a virtual machine of its own."
)
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse}"
    "td,th{padding:.3rem .8rem;text-align:left;vertical-align:top;border-bottom:1px solid #8888}"
)


class UnreadableError(Exception):
    """A submission that cannot be read; the message says why, to the student."""


@dataclass
class Graded:
    """What became of one submission.

    Attributes:
        student: name of the folder or file, without its ending.
        rows: ``notebook``, ``exercise``, ``points`` (0 or 1), ``state`` and ``reason`` of each exercise.
        remarks: sentences on what could not be read.
    """

    student: str
    rows: list[dict] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def points(self) -> int:
        return sum(row["points"] for row in self.rows)


# --- reading submissions --------------------------------------------------------------------------------------------


def find_submissions(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Student → folder, archive or notebook; and sentences on what else lies there.

    Raises:
        CourseError: there is no such folder, or no submission in it.
    """
    if not folder.is_dir():
        raise CourseError(f"No folder {folder}. Name the one that holds a subfolder, {KINDS} for each student.")
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
    return {
        stem if stems.count(stem) == 1 else path.name: path for stem, path in zip(stems, found, strict=True)
    }, remarks


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
            if path.is_symlink() or path.name in SKIPPED:
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


def read_notebooks(folder: Path) -> tuple[list[dict], list[str]]:
    """``path`` and code ``cells`` of every notebook below a folder, and sentences on those that cannot be read."""
    notebooks, remarks = [], []
    for path in sorted(folder.rglob("*.ipynb")):
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


def row_of(exercise: dict, state: str, reason: str) -> dict:
    """A row of the table; the reason on one line, without control characters."""
    reason = " ".join("".join(c if c.isprintable() else " " for c in reason).split())
    named = {"notebook": exercise["notebook"], "exercise": exercise["name"]}
    return {**named, "points": int(state == "solved"), "state": state, "reason": reason}


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
                notebooks, graded.remarks = read_notebooks(copy)
            except UnreadableError as error:
                notebooks, graded.remarks = [], [str(error)]
            if notebooks:
                graded.rows = self._rows(notebooks, copy)
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


def grade_folder(
    folder: Path,
    out: Path | None = None,
    jobs: int = 1,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    checks: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Graded]:
    """Grade every submission in a folder; write ``grades.csv``, ``summary.csv`` and a page for each student.

    Args:
        folder: a subfolder, .zip, .tar.gz or .ipynb for each student.
        out: where the results go; ``grades`` beside ``folder`` unless given.
        jobs: submissions at a time; limits: of each exercise.
        checks: a Python file with further checks, kept from the students.
        say: is told what happens.

    Raises:
        CourseError: there are no submissions, the place does not fit, or the checks do not start.
    """
    folder = Path(folder).expanduser().resolve()
    out = Path(out).expanduser().resolve() if out else folder.parent / "grades"
    check_place(out, folder)
    submissions, remarks = find_submissions(folder)
    private = _read_checks(checks)
    exercises, contained, why = sandbox.containment(private)
    exercises = sorted(exercises, key=lambda exercise: exercise["notebook"])
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
        return Path(path).expanduser().read_text() if path else None
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"Cannot read the checks in {path}: {error}.") from error


# --- results --------------------------------------------------------------------------------------------------------


def as_cell(value) -> str:
    """A value for a CSV: a spreadsheet must not take a student's text for a formula."""
    text = str(value)
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def as_csv(rows: list[dict]) -> str:
    """Rows as the text of a CSV."""
    made = io.StringIO()
    writer = csv.DictWriter(made, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: as_cell(value) for key, value in row.items()} for row in rows)
    return made.getvalue()


def page(graded: Graded) -> str:
    """A student's page: HTML in which everything the student wrote is escaped."""
    columns = ("notebook", "exercise", "points", "reason")
    rows = "".join(
        f"<tr><td>{SIGNS.get(row['state'], '✗')}</td>"
        + "".join(f"<td>{escape(str(row[column]))}</td>" for column in columns)
        + "</tr>\n"
        for row in graded.rows
    )
    remarks = "".join(f"<p>{escape(remark)}</p>\n" for remark in graded.remarks)
    title = escape(f"{graded.student}: {graded.points} of {len(graded.rows)} points")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{remarks}<table>\n"
        "<tr><th></th><th>notebook</th><th>exercise</th><th>points</th><th>what the check says</th></tr>\n"
        f"{rows}</table></body></html>\n"
    )


def write_results(results: list[Graded], out: Path) -> None:
    """Write ``grades.csv`` (a line for each student and exercise), ``summary.csv`` and ``pages/<student>.html``."""
    columns = ("notebook", "exercise", "points", "reason")
    grades = [{"student": g.student} | {key: row[key] for key in columns} for g in results for row in g.rows]
    totals = [
        {"student": g.student, "points": g.points, "of": len(g.rows), "remarks": " ".join(g.remarks)} for g in results
    ]
    for graded in results:
        write_atomically(out / "pages" / f"{graded.student}.html", page(graded))
    write_atomically(out / "grades.csv", as_csv(grades))
    write_atomically(out / "summary.csv", as_csv(totals))
