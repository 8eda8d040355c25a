"""The report's sections on what `make bench` and `make soak` found, from the files in ``benchmarks/``."""

from collections.abc import Sequence
from pathlib import Path

from cifar_helpers.env import read_json


def table(rows: Sequence[dict]) -> list[str]:
    """Lines of a Markdown table with a blank one after it, none without rows; a cell that a row lacks stays empty."""
    if not rows:
        return []
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, ["---"] * len(columns), *([row.get(name, "") for name in columns] for row in rows)]
    text = [[" ".join(str(cell).replace("|", "\\|").split()) for cell in line] for line in cells]
    return [f"| {' | '.join(line)} |" for line in text] + [""]


def timings(root: Path) -> list[str]:
    """Lines of the section on side-by-side timings; none where nothing was timed."""
    results = read_json(root / "benchmarks" / "results.json")
    if not results:
        return []
    lines = ["## Benchmarks", "", "Alternating runs, medians.", ""]
    for part in results["parts"].values():
        threads = f"{part['machine']['threads']} threads, torch {part['machine']['torch']}"
        lines += [*table(part["rows"]), made(part, threads), ""]
    return lines


def faults(root: Path) -> list[str]:
    """Lines of the section on kills, malformed input and wrong answers; none where no campaign has run."""
    found = read_json(root / "benchmarks" / "soak.json")
    if not found:
        return []
    lines = ["## Faults", ""]
    if kills := found.get("kills"):
        columns = {"kills": "kill -9", "lost": "records lost", "corrupted": "records damaged"}
        columns |= {"retrained": "finished runs trained again", "different": "results unlike an unbroken run's"}
        rows = [
            {"killed": kind} | {columns[key]: each[key] for key in columns} for kind, each in kills["by_kind"].items()
        ]
        lines += ["Kills at random moments:", "", *table(rows), made(kills), ""]
    if inputs := found.get("inputs"):
        given = inputs["by_reader"]
        text = f"Malformed input: {sum(given.values()):,} to {len(given)} readers, "
        text += f"{inputs['crashes']} answered otherwise than by a documented error."
        lines += [text, "", made(inputs), ""]
    if answers := found.get("answers"):
        text = f"Wrong answers graded by nbgrader: {answers['named']} got no point and read the check's own message, "
        lines += [f"{text}{answers['not named']} did not.", "", made(answers), ""]
    return lines


def made(part: dict, more: str = "") -> str:
    """On which machine, revision and day."""
    card = part["machine"]
    return ", ".join(
        filter(None, (card.get("gpu") or card["cpu"], more, f"`{card['git_revision']}`", part["made"][:10]))
    )
