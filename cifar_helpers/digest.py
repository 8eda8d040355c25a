"""What the report says before its notebooks: the answers in short, the sources' results, the landscape in one table.

Every sentence and row is made from the tables that the notebooks saved; what a table is missing for is left out.
"""

import re
from collections.abc import Mapping, Sequence

from .benchmarks import table

QUANTITIES = (("05", "variation of the loss"), ("06", "gradient distance"), ("07", "effective β"))
WAYS = ("the same step", "the same training loss", "the same relative distance")
INTERVAL = re.compile(r"95 % interval ([+−-]?[\d.,e+-]+) to ([+−-]?[\d.,e+-]+)")


def in_short(entries: Sequence[dict]) -> list[str]:
    """The answers in a few sentences, each worded by the interval in its table."""
    tables = _tables(entries)
    sentences = [_ahead(tables), *_landscape(tables), _result(tables), _not_run(tables)]
    said = [f"- {sentence}" for sentence in sentences if sentence]
    return ["## In short", "", *said, ""] if said else []


def _tables(entries: Sequence[dict]) -> dict[str, list[dict]]:
    return {entry["name"]: entry["rows"] for entry in entries if entry["kind"] == "table"}


def side(text: str) -> str | None:
    """Which side of 1, no effect, the first 95 % interval of a ratio in a text is on.

    Returns:
        ``above``, ``below``, or ``undecided`` where the interval includes 1; None where the text has none.
    """
    found = INTERVAL.search(text)
    if not found:
        return None
    low, high = (float(end.replace("−", "-").rstrip(",").replace(",", "")) for end in found.groups())
    return "below" if high < 1 else "above" if low > 1 else "undecided"


def leader(text: str) -> str | None:
    """The same of a verdict of ``compare.same_step_rows``: ``below`` where batch norm is ahead."""
    first = text.split("; where both train")[0]
    if "no interval" in first:
        return None
    starts = {"BN ahead": "below", "no BN ahead": "above"}
    return next((where for start, where in starts.items() if first.startswith(start)), "undecided")


def _ahead(tables: Mapping) -> str:
    """Whose training loss is lower at the same step, rate by rate."""
    rates: dict[str | None, list[str]] = {}
    for row in tables.get("04_same_step_table", ()):
        rates.setdefault(leader(row["who is ahead"]), []).append(row["rate"])
    words = {"below": "lower with BN", "above": "higher with BN", "undecided": "undecided", None: "without an interval"}
    parts = [f"{words[where]} at rate {' and '.join(rates[where])}" for where in words if where in rates]
    return f"Training loss at the same step, VGG-A: {'; '.join(parts)}." if parts else ""


def _landscape(tables: Mapping) -> list[str]:
    """BN over no BN along the gradient, one sentence for each quantity."""
    sentences = []
    words = {"below": "decided, smaller with BN", "above": "decided, larger with BN", "undecided": "undecided"}
    for number, quantity in QUANTITIES:
        found = {row["compared at"]: row["BN / no BN"] for row in tables.get(f"{number}_probe_table", ())}
        parts = [
            f"{found[way].split(' ')[0]} at {way} ({words.get(side(found[way]), 'no interval')})"
            for way in WAYS
            if found.get(way, "not compared")[0].isdigit()
        ]
        if parts:
            sentences.append(f"Along the gradient, {quantity}, BN over no BN: {', '.join(parts)}.")
    return sentences


def _result(tables: Mapping) -> str:
    """The test error of the network that validation images chose."""
    values = {row["what"]: row["value"] for row in tables.get("03_result", ())}
    error = values.get("test error (%)", "")
    if not error[:1].isdigit():
        return ""
    text = f"Test error (%): {error}, by {values['network']}, chosen by {values['chosen by']}. "
    return f"{text}Epochs: {values['epochs']}; seeds: {values['seeds']}."


def _not_run(tables: Mapping) -> str:
    """What the sources did and this profile did not."""
    rows = [row for name, rows in tables.items() if name.endswith("_z_sources") for row in rows]
    left = [f"{row['quantity']} (source {row['source']})" for row in rows if row["ours"].startswith("not run")]
    return f"Not run: {'; '.join(left)}." if left else ""


def beside_sources(entries: Sequence[dict], profile: str) -> list[str]:
    """Every result of the sources beside ours in one table, from the notebooks' own."""
    rows = [
        {"notebook": entry["name"][:2]} | row | {"profile": profile}
        for entry in entries
        if entry["name"].endswith("_z_sources")
        for row in entry["rows"]
    ]
    text = (
        "Every result of the sources that the course repeats, its own beside it. Where ours trained for clearly fewer "
        "or more epochs than the source says it did, the remark begins with *not comparable* and judges nothing. Else "
        "the 95 % interval over our seeds decides: it agrees with a number or disagrees; it agrees with a claim, or "
        "with one half of it, contradicts it, or leaves it undecided. One seed has no interval. Times of an epoch are "
        "upper bounds: whatever else a machine does only slows a run down."
    )
    return ["## The sources' results and ours", "", text, "", *table(rows)] if rows else []


def glance(entries: Sequence[dict]) -> list[str]:
    """The landscape in one table: BN over no BN for every quantity and way of measuring, from the notebooks' tables."""
    tables, rows = _tables(entries), []

    def add(quantity: str, measured: str, found: dict, note: str = "") -> None:
        rows.append({"quantity": quantity, "measured by": measured} | {way: found.get(way, "–") for way in WAYS})
        rows[-1]["note"] = note

    for number, quantity in QUANTITIES:
        for name, measured in (("probe", "direct probe, SGD 0.1"), ("proxy", "proxy, all rates")):
            found = [row for row in tables.get(f"{number}_{name}_table", ()) if "rate" not in row]
            notes = "; ".join(dict.fromkeys(row["note"] for row in found if row["note"]))
            if found:
                add(quantity, measured, {row["compared at"]: row["BN / no BN"] for row in found}, notes)
        for name, measured in (("proxy", "proxy"), ("same_batch", "proxy on one batch")):
            for row in tables.get(f"{number}_{name}_table", ()):
                if "rate" in row:
                    values = (row["BN / no BN at the same step"], row["at the same training loss"])
                    found = dict(zip(WAYS, values, strict=False))
                    add(quantity, f"{measured}, rate {row['rate']}", found, row["note"])
    if not rows:
        return []
    text = "BN over no BN, paired by seed. Below 1, batch norm's value is the smaller one. An interval that includes 1 "
    return ["## The landscape in one table", "", text + "decides nothing.", "", *table(rows)]
