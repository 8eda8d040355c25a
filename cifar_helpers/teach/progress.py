"""What a reader has done so far: predictions kept, exercises solved, notebooks run, on a map of the course."""

import json
import re
from pathlib import Path

from ..env import NUMBERED, ROOT, figures_dir, number_of
from ..words import plain
from .checks import EXERCISES
from .quiz import Shown, kept, live

NEEDS = re.compile(r"\*\*Needs\*\* (.+?)[.;] ")  # in a notebook's opening
SOLUTION = re.compile("### BEGIN SOLUTION.*?### END SOLUTION", re.DOTALL)
WORDS_A_MINUTE, SECONDS_A_LINE = 180, 5  # of text; of code


def notebooks(root: Path = ROOT) -> list[dict]:
    """Every notebook's ``number``, ``path``, ``question``, what it ``needs``, and the ``minutes`` it takes to read."""
    found = []
    for path in sorted((root / "notebooks").glob(f"{NUMBERED}.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = {kind: ["".join(c["source"]) for c in cells if c["cell_type"] == kind] for kind in ("markdown", "code")}
        title = texts["markdown"][0].splitlines()[0].lstrip("# ")
        length = len(plain(" ".join(texts["markdown"])).split())
        asked_for = (SOLUTION.sub("answer", code) for code in texts["code"])  # as long in a student's edition
        lines = sum(len(code.splitlines()) for code in asked_for)
        minutes = max(5, 5 * round((length / WORDS_A_MINUTE + lines * SECONDS_A_LINE / 60) / 5))
        asked = set(re.findall(r'quiz\.predict\("([^"]+)"', "\n".join(texts["code"])))
        question = title.partition(" · ")[2] or title
        book = {"number": number_of(path.stem), "path": path, "question": question, "minutes": minutes, "asked": asked}
        found.append(book | {"needs": (NEEDS.search(texts["markdown"][0]) or ["", "–"])[1]})
    return found


def course_map() -> Shown:
    """The notebooks, what each needs, and how far you are: run, predictions kept, exercises solved."""
    import pandas as pd

    predicted, solved = kept("predictions")[0], kept("solved")[0]
    rows = []
    for book in notebooks():
        number, asked = book["number"], book["asked"]
        exercises = {name for name, exercise in EXERCISES.items() if exercise.notebook == number}
        row = {"": number, "question": book["question"], "needs": book["needs"], "minutes to read": book["minutes"]}
        row |= {"run": "✓" if any(figures_dir(".").glob(f"*/{number}_*.json")) else "–"}
        row |= {"predictions": f"{len(asked & set(predicted))} of {len(asked)}" if asked else "–"}
        row |= {"exercises": f"{len(exercises & set(solved))} of {len(exercises)}" if exercises else "–"}
        rows.append(row | {"file": book["path"].name})
    table = pd.DataFrame(rows)
    linked = table.assign(**{"": [f'<a href="{row["file"]}">{row[""]}</a>' for row in rows]}) if live() else table
    show = {"index": False, "columns": list(rows[0])[:-1]}
    return Shown(table.to_string(**show), linked.to_html(escape=False, border=0, **show))
