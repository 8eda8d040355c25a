"""The course's question answered in three sentences, with the numbers of the direct probe's tables."""

import re
from collections.abc import Mapping, Sequence

from cifar_helpers.plans.landscape import direct_runs
from cifar_helpers.words import rounded

from .digest import QUANTITIES, WAYS, table_rows

# How a table published before its rows carried numbers writes a ratio.
_WRITTEN = re.compile(r"([\d.,]+) \(95 % interval ([\d.,]+) to ([\d.,]+)")


def nine(entries: Sequence[dict]) -> dict[tuple[str, str], dict]:
    """(quantity, way of comparing) → ``value``, ``low`` and ``high`` of BN over no BN; what has no interval is absent.

    Args:
        entries: saved figures and tables.
    """
    found = {}
    for number, quantity in QUANTITIES:
        for row, numbers in table_rows(entries, f"{number}_probe_table"):
            ratio = numbers.get("BN / no BN") or _written(str(row["BN / no BN"]))
            if row["compared at"] in WAYS and ratio.get("low") is not None:
                found[quantity, row["compared at"]] = ratio
    return found


def _written(text: str) -> dict:
    read = _WRITTEN.match(text)
    return (
        dict(zip(("value", "low", "high"), (float(each.replace(",", "")) for each in read.groups()), strict=True))
        if read
        else {}
    )


def side(ratio: Mapping) -> str:
    """Which side of no effect an interval is on."""
    return "smaller" if ratio["high"] < 1 else "larger" if ratio["low"] > 1 else "undecided"


def sentences(entries: Sequence[dict], profile: str, published: Sequence[dict] = ()) -> list[str]:
    """Does batch norm smooth the landscape, how far is that decided, and does the published report agree?

    Args:
        entries: the report's figures and tables; profile: its profile.
        published: those of the published report; empty leaves the third sentence out.
    """
    ours = nine(entries)
    if not ours:
        return []
    said, parts = [], [f"the {q} by {_text(ours[q, WAYS[1]])}" for _, q in QUANTITIES if (q, WAYS[1]) in ours]
    if parts:
        said.append(
            f"Along the gradient and at the same training loss, batch norm multiplies {', '.join(parts)} "
            f"(95 % intervals; {_networks(profile)})."
        )
    sides = {place: side(ratio) for place, ratio in ours.items()}
    counts = {name: list(sides.values()).count(name) for name in ("smaller", "larger", "undecided")}
    larger = [f"{q} at {way}, {_text(ours[q, way])}" for (q, way), where in sides.items() if where == "larger"]
    named = f" ({'; '.join(larger)})" if larger else ""
    said.append(
        f"Of {len(ours)} comparisons (at {', at '.join(WAYS)}) {counts['smaller']} are decided as smaller with batch "
        f"norm, {counts['larger']} as larger{named}, and "
        f"{counts['undecided']} are undecided."
    )
    theirs = nine(published)
    both = [place for place in ours if place in theirs]
    if both:
        said.append(_beside(ours, theirs, both, profile, published))
    return said


def _beside(ours: Mapping, theirs: Mapping, both: Sequence[tuple], profile: str, published: Sequence[dict]) -> str:
    """Whether the published report agrees: on which side of 1 the ratios are, and whether the intervals meet."""
    other = [place for place in both if (ours[place]["value"] < 1) != (theirs[place]["value"] < 1)]
    meet = sum(ours[p]["low"] <= theirs[p]["high"] and theirs[p]["low"] <= ours[p]["high"] for p in both)
    source = next(e["profile"] for e in published if e["name"].endswith("_probe_table"))
    text = (
        f"The published report ({_networks(source)}) has the same sign in {len(both) - len(other)} of {len(both)}, and "
        f"its intervals meet these in {meet}"
    )
    named = [f"{q} at {way}: {_text(ours[q, way])} here, {_text(theirs[q, way])} there" for q, way in other]
    why = f"; other sign: {'; '.join(named)}; the networks differ in width, the runs in length" if other else ""
    return f"{text}{why}."


def _networks(profile: str) -> str:
    runs = direct_runs(profile)
    width = runs[0].model_args.get("width", 1)
    wide = "at full width" if width == 1 else f"at 1/{1 / width:.0f} of its width"
    return f"VGG-A {wide}, {runs[0].steps:,} steps, {len(runs) // 2} seeds"


def _text(ratio: Mapping) -> str:
    return f"{rounded(ratio['value'])} [{rounded(ratio['low'])}, {rounded(ratio['high'])}]"
