"""The table of points: one row per student and exercise, one per student, and a page for each."""

import csv
import io
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from .env import write_atomically

SIGNS = {"solved": "✓", "unsolved": "○", "missing": "○"}
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse}"
    "td,th{padding:.3rem .8rem;text-align:left;vertical-align:top;border-bottom:1px solid #8888}"
)


@dataclass
class Graded:
    """What became of one submission.

    Attributes:
        student: name of the folder or file, without its ending.
        rows: ``notebook``, ``exercise``, ``points`` (0 or 1), ``state`` and ``reason`` of each exercise.
        remarks: sentences on what could not be read.
        identity: the student's ID, where a file name tells it.
    """

    student: str
    rows: list[dict] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    identity: str = ""

    @property
    def points(self) -> int:
        return sum(row["points"] for row in self.rows)


def row_of(exercise: dict, state: str, reason: str) -> dict:
    """A row of the table; the reason on one line, without control characters."""
    reason = " ".join("".join(c if c.isprintable() else " " for c in reason).split())
    named = {"notebook": exercise["notebook"], "exercise": exercise["name"]}
    return {**named, "points": int(state == "solved"), "state": state, "reason": reason}


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
    named = [({"student": graded.student, "id": graded.identity}, graded) for graded in results]
    grades = [name | {key: row[key] for key in columns} for name, graded in named for row in graded.rows]
    totals = [name | {"points": g.points, "of": len(g.rows), "remarks": " ".join(g.remarks)} for name, g in named]
    for graded in results:
        write_atomically(out / "pages" / f"{graded.student}.html", page(graded))
    write_atomically(out / "grades.csv", as_csv(grades))
    write_atomically(out / "summary.csv", as_csv(totals))
