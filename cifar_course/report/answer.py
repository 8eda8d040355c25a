"""What a report says first: the course's question answered in three sentences, and what is shown and not trained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cifar_helpers.env import figures_dir, read_json
from cifar_helpers.plans import sweeps
from cifar_helpers.plans.landscape import direct_runs
from cifar_helpers.plans.profiles import get_profile
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.store import Store
from cifar_helpers.words import rounded

from .digest import QUANTITIES, WAYS, table_rows


def nine(entries: Sequence[dict]) -> dict[tuple[str, str], dict]:
    """(quantity, way of comparing) → ``value``, ``low`` and ``high`` of BN over no BN; what has no interval is absent.

    They are those of the narrow networks, trained as long as the paper's, where all have intervals, else the others'.

    Args:
        entries: saved figures and tables.
    """
    narrow = {(q, row["compared at"]): ratio for q, row, ratio in _narrow(entries)}
    if len(narrow) == len(QUANTITIES) * len(WAYS):
        return narrow
    found = {}
    for number, quantity in QUANTITIES:
        for row, numbers in table_rows(entries, f"{number}_probe_table"):
            ratio = numbers.get("BN / no BN", {})
            if row["compared at"] in WAYS and ratio.get("low") is not None:
                found[quantity, row["compared at"]] = ratio
    return found


def _narrow(entries: Sequence[dict]) -> list[tuple[str, dict, dict]]:
    """(quantity, row, ratio) of the networks of another width than 1, where there is an interval."""
    return [
        (quantity, row, numbers["BN / no BN"])
        for number, quantity in QUANTITIES
        for row, numbers in table_rows(entries, f"{number}_width_table")
        if row["width"] != "1" and numbers.get("BN / no BN", {}).get("low") is not None
    ]


def fair(profile: str, fingerprint: str) -> list[dict]:
    """Rows of MyNet and LeNet-5 where a profile trains them beside the published runs of 02: here, and published."""
    rows = []
    for config in sweeps.fair(profile):
        record = Store().get(config, fingerprint)
        if record and record.epochs:
            row = {"network": config.model, "steps": str(config.steps)}
            row["validation accuracy here (%)"] = f"{100 * record.epochs[-1]['validation_accuracy']:.1f}"
            rows.append(row | {"published (%)": _published_accuracy(config)})
    return rows


def what_is_shown(profile: str) -> list[str]:
    """A line of the protocol: where the profile shows published runs, and what it trains of 02 all the same."""
    shows = get_profile(profile).shows
    if not shows:
        return []
    nets = " and ".join(f"{config.model} {config.steps} steps" for config in sweeps.fair(profile))
    return [
        f"- **Published runs are shown in {', '.join(shows)}**: they take too long here. Of 02 are trained: {nets}."
    ]


def _published_accuracy(config: RunConfig) -> str:
    """Of the published run that differs in its length alone, at the evaluation nearest to this one's end."""
    found, records = [], figures_dir() / "records"
    for path in records.glob("*/config.json"):
        other = RunConfig.from_json(path.read_text(encoding="utf-8"))
        alike = {name: getattr(config, name) for name in ("steps", "test", "eval_every", "eval_items", "keep_weights")}
        if replace(other, **alike) == config:
            made = read_json(path.with_name("provenance.json")) or {}
            record = Store(records).get(other, made.get("data_fingerprint", ""))
            found += record.epochs if record else []
    if not found:
        return "–"
    nearest = min(found, key=lambda each: abs(each["step"] - config.steps))
    return f"{100 * nearest['validation_accuracy']:.1f} after {nearest['step']} steps"


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
    said, parts = [], [f"the {q} {_text(ours[q, WAYS[1]])}" for _, q in QUANTITIES if (q, WAYS[1]) in ours]
    if parts:
        said.append(
            f"Along the gradient, where both networks have the same training loss, with batch norm over without: "
            f"{', '.join(parts)} (95 % intervals, each by itself; {_networks(entries, profile)})."
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
        f"The published report ({_networks(published, source)}) has the same sign in "
        f"{len(both) - len(other)} of {len(both)}, and its intervals meet these in {meet}"
    )
    named = [f"{q} at {way}: {_text(ours[q, way])} here, {_text(theirs[q, way])} there" for q, way in other]
    why = f"; other sign: {'; '.join(named)}; the two differ in width or in length" if other else ""
    return f"{text}{why}."


def _networks(entries: Sequence[dict], profile: str) -> str:
    """Which networks the nine answers are of."""
    if len(narrow := _narrow(entries)) == len(QUANTITIES) * len(WAYS):
        row = narrow[0][1]
        return f"VGG-A at {row['width']} of its width, {row['steps']} steps, {row['seeds']} seeds"
    runs = direct_runs(profile)
    width = runs[0].model_args.get("width", 1)
    wide = "at full width" if width == 1 else f"at 1/{1 / width:.0f} of its width"
    return f"VGG-A {wide}, {runs[0].steps:,} steps, {len(runs) // 2} seeds"


def _text(ratio: Mapping) -> str:
    return f"{rounded(ratio['value'])} [{rounded(ratio['low'])}, {rounded(ratio['high'])}]"
