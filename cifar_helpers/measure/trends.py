"""How a comparison goes along the run, and whether it depends on how wide the networks are."""

from collections.abc import Callable, Mapping, Sequence

from . import compare

PARTS = 15  # equal parts of a run over which a ratio is averaged: 1 000 steps each of the paper's 15 000
# A quantity of a probe along the gradient → as a figure names it.
QUANTITIES = {"loss": "variation of the loss", "distance": "gradient distance", "beta": "effective β"}


def over_time(plain: Sequence, other: Sequence, quantity: Callable, parts: int = PARTS) -> list[dict]:
    """Rows of ``compare.ratio_rows`` for one part of the run after the other, with ``step``, the middle of the part.

    Args:
        plain, other: runs of the two networks at one rate, with equal seeds.
        quantity: gives the ``Band`` of a list of runs. A part in which nothing was measured is left out.
    """
    total, rows = plain[0].config.steps, []
    for i in range(parts):
        window = (i / parts, (i + 1) / parts)
        if compare.in_window(quantity([plain[0]]).steps, total, window).any():
            row = compare.ratio_rows(plain, other, quantity, window)[0]
            rows.append(row | {"step": (i + 0.5) / parts * total})
    return rows


def width_table(found: Mapping[str, tuple], unit: str) -> list[dict]:
    """Rows of ``compare.comparison_table`` for networks of several widths, sorted by what is held equal.

    Args:
        found: width in words → (runs of the plain network, ``compare.three_ways`` of both). Where a profile's networks
            are narrow everywhere, the same runs come twice, and the last name is theirs.
    """
    configs = [[run.config for run in plain] for plain, _ in found.values()]
    columns = [each for i, each in enumerate(found.items()) if configs[i] not in configs[i + 1 :]]
    rows = []
    for i in range(len(compare.WAYS)):
        for width, (plain, ways) in columns:
            first = {"width": width, "steps": f"{plain[0].config.steps:,}", "seeds": str(len(plain))}
            rows += [first | row for row in compare.comparison_table(ways[i : i + 1], unit)]
    return rows


def nine_answers(found: Mapping[str, Sequence]) -> list[dict]:
    """A row for each quantity (→ ``compare.three_ways``) and way: ratio, interval, what it decides, how many seeds."""
    rows = []
    for name, ways in found.items():
        for each in ways:
            outcome = each.row["paired"]
            row = {"quantity": QUANTITIES[name], "compared at": compare.WAYS[each.way], "BN / no BN": each.ratio}
            if outcome is None:
                rows.append(row | {"n": "0", "smaller with BN": "–", "the interval says": "not compared"})
                continue
            side = "smaller" if outcome.mean < 0 else "larger"
            says = f"{side} with BN" if outcome.decided else "undecided"
            n = len(outcome.values)
            row |= {"n": str(n), "smaller with BN": f"{(outcome.values < 0).sum()} of {n} seeds"}
            rows.append(row | {"the interval says": says})
    return rows


def in_words(found: Mapping[str, Sequence]) -> str:
    """How many of the nine are decided, and which way, in a sentence."""
    said = [row["the interval says"] for row in nine_answers(found)]
    less, more = (said.count(f"{side} with BN") for side in ("smaller", "larger"))
    less, more, neither = (count or "none" for count in (less, more, len(said) - less - more))
    return f"Of {len(said)} comparisons, {less} came out smaller with BN, {more} larger, {neither} undecided."
