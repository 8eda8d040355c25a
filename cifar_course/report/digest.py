"""What the report says before its notebooks: the answers in short, the sources' results, the landscape in one table.

Every sentence and row is made from the tables that the notebooks saved, by the numbers saved with their rows; what a
table or its numbers are missing for is left out.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from cifar_helpers.env import number_of
from cifar_helpers.intervals import LEVEL, holm
from cifar_helpers.sources.beside import CONTRADICTS, NOT_RUN, VERDICTS, counted

from .benchmarks import table

QUANTITIES = (("05", "variation of the loss"), ("06", "gradient distance"), ("07", "effective β"))
WAYS = ("the same step", "the same training loss", "the same relative distance")
SOURCES = ("source", "quantity", "source's result", "ours", "seeds", "length", "verdict", "remark")


def in_short(entries: Sequence[dict], answer: Sequence[str] = ()) -> list[str]:
    """The answers in a few sentences, each worded by the interval in its table, after those of ``answer.sentences``."""
    sentences = [
        *answer,
        _full_width(entries),
        _ahead(entries),
        _gradient_change(entries),
        _result(entries),
        _verdicts(entries),
    ]
    said = [f"- {sentence}" for sentence in sentences if sentence]
    plain = [text, ""] if (text := why(entries)) else []
    return ["## In short", "", *plain, *said, ""] if said or plain else []


def table_rows(entries: Sequence[dict], name: str) -> Iterator[tuple[dict, dict]]:
    """(row, column → numbers) of the tables of this name, or ending so; a row saved without numbers has none."""
    for entry in entries:
        if entry.get("kind", "table") == "table" and entry["name"].endswith(name):
            numbers = entry.get("numbers") or [{}] * len(entry["rows"])
            yield from zip(entry["rows"], numbers, strict=True)


def _ahead(entries: Sequence[dict]) -> str:
    """Whose training loss is lower at the same step, rate by rate."""
    rates: dict[str | None, list[str]] = {}
    words = {"below": "lower with BN", "above": "higher with BN", "undecided": "undecided", None: "without an interval"}
    for row, numbers in table_rows(entries, "04_same_step_table"):
        both, every = numbers.get("where both train"), numbers.get("over all seeds")
        if found := both or every:
            some = f" (where both train, n = {found['n']}; over all seeds {words[every['side']]})" if every else ""
            some = some if both else " (at no seed do both train)"
            rates.setdefault(found["side"], []).append(row["rate"] + some)
    parts = [f"{words[where]} at rate {' and '.join(rates[where])}" for where in words if where in rates]
    return f"Training loss at the same step, VGG-A: {'; '.join(parts)}." if parts else ""


def why(entries: Sequence[dict]) -> str:
    """The course's question in plain words, each part as all lines about it in 10's evidence have it."""
    found: dict[str, set] = {}
    for row, _ in table_rows(entries, "10_why"):
        if "relative distance" not in row["measured"]:
            found.setdefault(row["claim"], set()).add(row["our records"])
    if not found:
        return ""

    def said(claim: str, yes: str, no: str) -> str:
        return {frozenset({"for"}): yes, frozenset({"against"}): no}.get(frozenset(found.get(claim, ())), "")

    faster = said("it trains faster", "train faster", "train more slowly") or "train neither faster nor more slowly"
    smooth = said("a smoother landscape", "less", "more")
    shift = "some" if "for" in found.get("less covariate shift", ()) else "no"
    varies = f"vary {smooth} along the gradient" if smooth else "do not vary clearly less or more along the gradient"
    return (
        f"**Why does batch norm help?** Networks with it {faster}. At the same training loss their loss and their "
        f"gradient {varies}. The older explanation, that it lessens covariate shift, finds {shift} support. That "
        "smoothness is the *cause* is not shown: no run changes one of these and nothing else."
    )


def _full_width(entries: Sequence[dict]) -> str:
    """How many of the full networks' comparisons along the gradient are decided; the narrow ones' are the answer."""
    steps = {row["width"]: int(row["steps"].replace(",", "")) for row, _ in table_rows(entries, "_width_table")}
    if "1" not in steps or len(steps) < 2:
        return ""
    fewer = ", for fewer steps," * (steps["1"] < max(steps.values()))
    rows = (found for number, _ in QUANTITIES for found in table_rows(entries, f"{number}_probe_table"))
    sides = [cells["BN / no BN"]["side"] for row, cells in rows if row["compared at"] in WAYS and "BN / no BN" in cells]
    less, more = (sides.count(side) for side in ("below", "above"))
    return (
        f"At full width{fewer} {less} of {len(sides)} such comparisons are decided as smaller with batch "
        f"norm, {more} as larger; {len(sides) - less - more} are undecided."
    )


def _gradient_change(entries: Sequence[dict]) -> str:
    """What two sources say against one another about the gradient from step to step, and what each rate decides."""
    sides: dict[str, Counter] = {}
    for _, numbers in table_rows(entries, "_z_sources"):
        found = numbers.get("ours", {})
        if found.get("name", "").startswith("grad_dist_") and found["values"]:
            sides.setdefault(found["name"], Counter())[found["values"][0]["side"]] += 1
    words = {"above": "larger", "below": "smaller", "undecided": "undecided", None: "without an interval"}
    parts = []
    for name, layer in (("grad_dist_all", "all parameters"), ("grad_dist_output", "the output layer")):
        count = sides.get(name, Counter())
        each = [f"{said} at {count[side]} of {count.total()} rates" for side, said in words.items() if count[side]]
        parts += [f"of {layer} {', '.join(each)}"] if each else []
    if not parts:
        return ""
    text = (
        "Gradient distance from step to step with BN (source 001, as we read it, saw it larger, "
        "source 004 smaller in the output layer)"
    )
    return f"{text}: {'; '.join(parts)}."


def _result(entries: Sequence[dict]) -> str:
    """The test error of the network that validation images chose; nothing where it was not read."""
    rows = list(table_rows(entries, "03_result"))
    values = {row["what"]: row["value"] for row, _ in rows}
    if not any(row["what"] == "test error (%)" and "value" in numbers for row, numbers in rows):
        return ""
    text = f"Test error (%): {values['test error (%)']}, by {values['network']}, chosen by {values['chosen by']}. "
    return f"{text}Epochs: {values['epochs']}; seeds: {values['seeds']}."


def _verdicts(entries: Sequence[dict]) -> str:
    """How many rows beside the sources can be compared, and what they say."""
    verdicts = [row["verdict"] for row, _ in table_rows(entries, "_z_sources") if row.get("verdict") in VERDICTS]
    return f"Beside the sources: {counted(verdicts)}" if verdicts else ""


def _named(entries: Sequence[dict], verdict: str) -> str:
    """What has this verdict beside the sources, row by row."""
    rows = [row for row, _ in table_rows(entries, "_z_sources") if row.get("verdict") == verdict]
    names = Counter(f"{row['quantity']} (source {row['source']})" for row in rows)
    return "; ".join(name + (f", {times} rows" if times > 1 else "") for name, times in names.items())


def beside_sources(entries: Sequence[dict], profile: str) -> list[str]:
    """Every result of the sources beside ours in one table, from the notebooks' own."""
    found = [
        (number_of(entry["name"]), row)
        for entry in entries
        if entry["name"].endswith("_z_sources")
        for row in entry["rows"]
    ]
    columns = [name for name in SOURCES if any(name in row for _, row in found)]
    rows = [
        {"notebook": number} | {name: row.get(name, "–") for name in columns} | {"profile": profile}
        for number, row in found
    ]
    text = (
        "Every result of the sources that the course repeats, its own beside it: how long each trained, and a verdict. "
        "The 95 % interval over our seeds decides: a result *agrees*, *contradicts*, or is *undecided*, as all results "
        "of one seed and all times on another machine are. Of a claim with several parts one that is contradicted "
        "contradicts it, and it agrees if all do. *Not comparable* are accuracies, losses and rankings at the end of a "
        "training that was clearly shorter or longer than the source's. Times of an epoch are upper bounds, each "
        "machine by itself: whatever else a machine does only slows a run down."
    )
    if not rows:
        return []
    lists = {"Contradicted": _named(entries, CONTRADICTS), "Not run": _named(entries, NOT_RUN)}
    named = [f"**{head}:** {names}.\n" for head, names in lists.items() if names]
    return ["## The sources' results and ours", "", text, "", *named, *table(rows)]


def glance(entries: Sequence[dict]) -> list[str]:
    """The landscape in one table: BN over no BN for every quantity and way of measuring, from the notebooks' tables."""
    rows, p_values = [], []

    def add(quantity: str, measured: str, cells: Sequence[tuple], note: str = "") -> None:
        """Add a row of (way, words, numbers)."""
        found = {way: words for way, words, _ in cells}
        rows.append({"quantity": quantity, "measured by": measured} | {way: found.get(way, "–") for way in WAYS})
        rows[-1]["note"] = note
        p_values.extend(numbers["p"] for way, _, numbers in cells if way in WAYS and numbers.get("p") is not None)

    for number, quantity in QUANTITIES:
        for name, measured in (("probe", "direct probe, SGD 0.1"), ("proxy", "proxy, all rates")):
            found = [each for each in table_rows(entries, f"{number}_{name}_table") if "rate" not in each[0]]
            notes = "; ".join(dict.fromkeys(row["note"] for row, _ in found if row["note"]))
            cells = [(row["compared at"], row["BN / no BN"], numbers.get("BN / no BN", {})) for row, numbers in found]
            if found:
                add(quantity, measured, cells, notes)
        for name, measured in (("proxy", "proxy"), ("same_batch", "proxy on one batch")):
            for row, numbers in table_rows(entries, f"{number}_{name}_table"):
                if "rate" in row:
                    columns = zip(WAYS, ("BN / no BN at the same step", "at the same training loss"), strict=False)
                    cells = [(way, row[column], numbers.get(column, {})) for way, column in columns]
                    add(quantity, f"{measured}, rate {row['rate']}", cells, row["note"])
    if not rows:
        return []
    text = "BN over no BN, paired by seed. Below 1, batch norm's value is the smaller one. An interval that includes 1 "
    text += "decides nothing. Beside each interval stands a sign test, which asks only which side each seed is on."
    if p_values:
        alone, all_together = sum(p < LEVEL for p in p_values), sum(holm(p_values))
        text += (
            f" The table holds {len(p_values)} intervals: by themselves {alone} leave out 1; with Holm's correction "
        )
        text += f"for {len(p_values)} tests {all_together} do."
    return ["## The landscape in one table", "", text, "", *table(rows)]
