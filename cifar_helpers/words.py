"""Where a number becomes words: every ratio, difference, accuracy, length and count that a table or a sentence states.

Numbers come in as ``intervals`` makes them. Nothing reads the words again: a cell of a table keeps its numbers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape

import numpy as np

from . import intervals
from .intervals import Paired

NUMBER = re.compile(r"<span title='([^']*)'>(.*?)</span>", re.DOTALL)  # in a notebook's text: where from, and what
FILLED = "CIFAR_TEXT_IS_FILLED"  # set in a kernel whose executor writes the numbers into the text itself


@dataclass(frozen=True)
class Cell:
    """A cell of a table: text that is shown, and its numbers, JSON-ready (often ``Number.as_json()``), saved beside."""

    text: str
    numbers: Mapping

    def __str__(self) -> str:
        return self.text


def shown(rows: Sequence[Mapping]) -> list[dict]:
    """The rows of a table with every cell as its words."""
    return [{name: str(value) if isinstance(value, Cell) else value for name, value in row.items()} for row in rows]


def numbers(rows: Sequence[Mapping]) -> list[dict]:
    """Row by row, column → the numbers of the cells that have any; empty if none has."""
    found = [{name: dict(cell.numbers) for name, cell in row.items() if isinstance(cell, Cell)} for row in rows]
    return found if any(found) else []


def rounded(value: float, digits: int = 3) -> str:
    """So many significant digits, without an exponent where that can be read: 0.0309, 2.86, 46.0, 21,400."""
    short = float(f"{value:.{digits}g}")
    if not 1e-4 <= abs(short) < 1e7:
        return f"{value:.{digits}g}"
    return f"{short:,.{max(0, digits - 1 - int(np.floor(np.log10(abs(short)))))}f}"


def sign_text(found: Paired) -> str:
    """The sign test of a paired comparison: how many seeds have the sign of the mean, and its p value."""
    return f"{found.same_sign} of {len(found.values)} seeds on this side, sign test p = {found.sign_p:.2g}"


def ratio_text(found: Paired) -> str:
    """A ratio with its interval, from differences of logarithms."""
    n, ratio = len(found.values), rounded(np.exp(found.mean))
    if found.interval is None:
        return f"{ratio} (n = {n}, no interval)"
    low, high = np.exp(found.interval)
    undecided = ", includes 1" if low <= 1 <= high else ""
    return f"{ratio} (95 % interval {rounded(low)} to {rounded(high)}, n = {n}{undecided}; {sign_text(found)})"


def ratio_cell(found: Paired | None, text: str) -> Cell | str:
    """A ratio as a cell of a table, in the given words; these alone where nothing was compared."""
    return Cell(text, intervals.ratio(found).as_json()) if found else text


def difference_cell(found: Paired | None, unit: str, text: str = "") -> Cell | str:
    """A difference as a cell of a table, in the given words or those of ``difference_text``."""
    if found is None:
        return text or "–"
    return Cell(text or difference_text(found, 3), intervals.difference(found, unit).as_json())


def ahead_text(found: Paired) -> str:
    """Which network's loss is lower, from differences BN − no BN in nats."""
    n, leader = len(found.values), "BN" if found.mean < 0 else "no BN"
    if found.mean == 0:
        return f"equal (n = {n})"
    if found.interval is None:
        return f"{leader} ahead by {abs(found.mean):.3f} nats (n = {n}, no interval)"
    if not found.decided:
        interval = "95 % interval {:+.3f} to {:+.3f}".format(*found.interval)
        counted = f"n = {n}; {leader} ahead in {found.same_sign} of {n} seeds, sign test p = {found.sign_p:.2g}"
        return f"not decided: BN − no BN {found.mean:+.3f} nats ({interval}, {counted})"
    low, high = sorted(map(abs, found.interval))
    interval = f"95 % interval {low:.3f} to {high:.3f}"
    return f"{leader} ahead by {abs(found.mean):.3f} nats ({interval}, n = {n}; {sign_text(found)})"


def difference_text(found: Paired | None, digits: int = 1) -> str:
    """A difference with its 95 % interval where there is one; one digit suits points, nats want three."""
    if found is None:
        return "–"
    lost = int((~np.isfinite(found.values)).sum())
    if lost:
        return f"not a number in {lost} of {len(found.values)} seeds"
    interval = "" if found.interval is None else " [{:+.{d}f}, {:+.{d}f}]".format(*found.interval, d=digits)
    return f"{found.mean:+.{digits}f}{interval}"


def by_side(found: Paired | None, below: str, above: str, undecided: str) -> str:
    """One of three texts, by where the interval lies: below zero, above it, or neither (or there is none)."""
    if found is None or not found.decided:
        return undecided
    return below if found.mean < 0 else above


def counted(number: int, of: int, what: str = "") -> str:
    """A count as a sentence says it: ``none of 3 seeds``, ``2 of 3 seeds``, ``all 3 seeds``."""
    many = f"all {of}" if number == of and of > 1 else f"{number or 'none'} of {of}"
    return f"{many} {what}".rstrip()


def listed(parts: Sequence[str]) -> str:
    """Parts as a sentence lists them: ``a, b and c``."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def percent(values: Sequence[float]) -> str:
    """Accuracies as text: their mean and, where there are several, every one of them."""
    known = [100 * value for value in values if np.isfinite(value)]
    if not known:
        return "–"
    each = f" ({', '.join(f'{value:.1f}' for value in known)})" if len(known) > 1 else ""
    return f"{np.mean(known):.1f}{each}"


def accuracy_text(values: Sequence[float], stuck: Sequence[bool]) -> str:
    """Accuracies of the seeds that train as ``percent``; those at chance are counted and shown behind it."""
    training = [value for value, idle in zip(values, stuck, strict=True) if not idle]
    at_chance = [f"{100 * value:.1f}" for value, idle in zip(values, stuck, strict=True) if idle]
    if not training or not at_chance:
        return percent(values)
    return f"{percent(training)}; {len(at_chance)} of {len(values)} seeds at chance: {', '.join(at_chance)}"


def length_text(trained: float | None, theirs: float | None, unit: str) -> str:
    """How long ours trained and the source did: ``0.7 of 50 epochs``, ``600 of 15,000 steps``."""
    if trained is None:
        return f"– of {theirs:,g} {unit}" if theirs else "–"
    ours = f"{trained:,.0f}" if unit == "steps" else f"{trained:.1f}"
    return f"{ours} of {theirs:,.0f} {unit}" if theirs else f"{ours} {unit}; the source's not given"


def plain(text: str) -> str:
    """A notebook's text as it is read: its numbers without the expressions that they come from."""
    return NUMBER.sub(r"\2", text)


def origins(text: str) -> list[str]:
    """The expressions behind the numbers of a notebook's text, in order, each with its format: ``loss.min():.2f``."""
    return [unescape(expression) for expression, _ in NUMBER.findall(text)]


def run_on(text: str) -> str:
    """Sentences as one line; a line that begins with a dash stays one, as an item of a list."""
    return re.sub(r"\s+(?!\s*- )", " ", text.strip())


def number(value: str) -> str:
    """A value as a text has it: on one line, and with a space before a percent sign."""
    return re.sub("(?<=[0-9])%", " %", run_on(value))


def say(text: str) -> None:
    """Show Markdown below a cell, after its figures: sentences whose numbers the cell reads from the records.

    They run on over the ends of lines; a line that begins with a dash is an item of a list.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Markdown, display

    plt.show()  # a notebook shows a cell's figures at its end, else
    display(Markdown(run_on(text)))


def factor(found: Paired | None) -> str:
    """A ratio as a sentence has it, from differences of logarithms, with its 95 % interval: ``0.42 (0.09–2.0)``."""
    if found is None:
        return "not compared"
    ends = found.interval and "–".join(map(_beside_one, np.exp(found.interval)))
    return f"{rounded(np.exp(found.mean), 2)} ({ends or 'one seed'})"


def _beside_one(end: float) -> str:
    """Two significant digits, or as many as show on which side of 1 the end of an interval lies."""
    texts = (rounded(end, digits) for digits in range(2, 7))
    return next((text for text in texts if float(text.replace(",", "")) != 1), "1.0")


def side(found: Paired | None, below: str, above: str, trains: bool = True) -> str:
    """Which way a paired difference points, in the caller's words, with the doubt that the seeds leave.

    Args:
        below, above: what a negative and a positive difference mean, such as ``narrower`` and ``wider``.
        trains: whether it is from seeds at which both networks train; else it is not judged.
    """
    if found is None or not np.isfinite(found.mean):
        return "not compared"
    if not trains:
        return "not judged, since a network is not training"
    way = below if found.mean < 0 else above
    if found.interval is None:
        return f"{way} in the one seed"
    return way if found.decided else f"{way} on average, though the seeds do not decide it"
