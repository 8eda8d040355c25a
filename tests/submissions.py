"""Submissions as students hand them in, and what nbgrader makes of them: for test_grading.py and `make soak`."""

import csv
import html
import importlib
from pathlib import Path

import nbformat
from conftest import APPENDICES

from cifar_course.hand import edition
from cifar_helpers.teach import checks

ROOT = Path(__file__).resolve().parents[1]
EVERY = [path.stem for path in (ROOT / "notebooks").glob("*.ipynb")]
NAMES = sorted(name for name in EVERY if name.partition("_")[0] not in APPENDICES)


def solved(name: str):
    """A notebook with the reference solutions."""
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def unsolved(name: str):
    """A notebook as the student edition has it."""
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    return nbformat.reads(edition.student_notebook(text, name), as_version=4)


def answer_cells(notebook) -> dict:
    """Exercise → the cell of its answer."""
    graded = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("solution")]
    return {cell.metadata.nbgrader.grade_id: cell for cell in graded}


def hand_in(course: Path, student: str, name: str, notebook) -> Path:
    """Write a notebook to where nbgrader looks for it; its path."""
    path = course / "submitted" / student / name / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def wrong(name: str, variant: int) -> tuple[nbformat.NotebookNode, list[str]]:
    """A notebook whose every answer is a wrong one of ``answers/``, and a part of each check's message to it."""
    notebook, module, parts = unsolved(name), f"answers.n{name}", []
    given = importlib.import_module(module).WRONG
    for exercise, cell in answer_cells(notebook).items():
        cell.source = f"import sys\n\nsys.path.insert(0, {str(ROOT / 'tests')!r})\nfrom {module} import WRONG\n"
        cell.source += f"\n{checks.EXERCISES[exercise].answer} = WRONG[{exercise!r}][{variant}][0]"
        parts.append(given[exercise][variant][1])
    return notebook, parts


def marks(course: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """(student, assignment) → points and most points, from nbgrader's CSV."""
    with (course / "grades.csv").open(encoding="utf-8", newline="") as file:
        return {
            (row["student_id"], row["assignment"]): (float(row["score"]), float(row["max_score"]))
            for row in csv.DictReader(file)
        }


def feedback(course: Path, student: str, name: str) -> str:
    """The text of a student's feedback page."""
    return html.unescape((course / "feedback" / student / name / f"{name}.html").read_text(encoding="utf-8"))
