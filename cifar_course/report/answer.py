"""What a report says first: the course's question answered in three sentences, and what is shown and not trained."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cifar_helpers.env import figures_dir, read_json
from cifar_helpers.intervals import holm
from cifar_helpers.plans import sweeps
from cifar_helpers.plans.landscape import direct_runs
from cifar_helpers.plans.profiles import get_profile
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.store import Store
from cifar_helpers.words import rounded

from .digest import QUANTITIES, WAYS, table_rows


def nine(entries: Sequence[dict], profile: str) -> tuple[dict[tuple[str, str], dict], str]:
    """(quantity, way of comparing) → ``value``, ``low`` and ``high`` of BN over no BN, and whose they are, in words.

    They are those of the narrow networks, trained as long as the paper's, where all have intervals, else the others'.
    What has no interval is absent.

    Args:
        entries: saved figures and tables; profile: what they were made with.
    """
    narrow = _measured(entries, "width")
    if len(narrow) == len(QUANTITIES) * len(WAYS):
        row = next(iter(narrow.values()))[0]
        whose = f"VGG-A at {row['width']} of its width, {row['steps']} steps, {row['seeds']} seeds"
        return {place: ratio for place, (_, ratio) in narrow.items()}, whose
    runs = direct_runs(profile)
    width = runs[0].model_args.get("width", 1)
    wide = "at full width" if width == 1 else f"at 1/{1 / width:.0f} of its width"
    whose = f"VGG-A {wide}, {runs[0].steps:,} steps, {len(runs) // 2} seeds"
    return {place: ratio for place, (_, ratio) in _measured(entries, "probe").items()}, whose


def _measured(entries: Sequence[dict], table: str) -> dict[tuple[str, str], tuple[dict, dict]]:
    """(quantity, way) → row and ratio, where there is an interval; of several widths those of another than 1."""
    return {
        (quantity, row["compared at"]): (row, numbers["BN / no BN"])
        for number, quantity in QUANTITIES
        for row, numbers in table_rows(entries, f"{number}_{table}_table")
        if row["compared at"] in WAYS and row.get("width") != "1"
        if numbers.get("BN / no BN", {}).get("low") is not None
    }


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


def sentences(entries: Sequence[dict], profile: str, published: Sequence[dict] = ()) -> list[str]:
    """Does batch norm smooth the landscape, how far is that decided, and does the published report agree?

    Args:
        entries: the report's figures and tables; profile: its profile.
        published: those of the published report; empty leaves the third sentence out.
    """
    ours, whose = nine(entries, profile)
    if not ours:
        return []
    sides = {"above": "larger", "undecided": "undecided"}
    alike = [(q, ours[q, WAYS[1]]) for _, q in QUANTITIES if (q, WAYS[1]) in ours]
    parts = [f"the {q} {_text(ratio)}{f', {sides[s]}' if (s := ratio['side']) in sides else ''}" for q, ratio in alike]
    parts = [f"{part} (see notebook 7)" if "effective β" in part else part for part in parts]  # it may be no curvature
    smoother = sum(ratio["side"] == "below" for _, ratio in alike)
    said = []
    if parts:
        said.append(
            f"At the same training loss, {smoother} of {len(parts)} measures of roughness along the gradient are "
            f"smaller with batch norm. Batch norm over none: {'; '.join(parts)} (95 % intervals; {whose})."
        )
    counts = Counter(ratio["side"] for ratio in ours.values())
    rest = [f"{q} at {way}: {_text(r)}, {sides[r['side']]}" for (q, way), r in ours.items() if r["side"] in sides]
    named = f" ({'; '.join(rest)})" if rest else ""
    corrected = sum(holm([ratio["p"] for ratio in ours.values()]))
    said.append(
        f"Of {len(ours)} comparisons of these networks (at {', at '.join(WAYS)}) {counts['below']} are decided as "
        f"smaller with batch norm, {counts['above']} as larger, and {counts['undecided']} are undecided"
        f"{named}; with Holm's correction {corrected} are decided."
    )
    source = next((e["profile"] for e in published if e["name"].endswith("_probe_table")), profile)
    mine, (theirs, whose) = whose, nine(published, source)
    as_wide = mine.split(", ")[0] == whose.split(", ")[0]
    both = [place for place in ours if place in theirs]
    return [*said, _beside(ours, theirs, both, whose, as_wide)] if both else said


def _beside(ours: Mapping, theirs: Mapping, both: Sequence[tuple], whose: str, as_wide: bool) -> str:
    """Whether the published report agrees: on which side of 1 the ratios are, and whether the intervals meet."""
    other = [place for place in both if (ours[place]["value"] < 1) != (theirs[place]["value"] < 1)]
    meet = sum(ours[p]["low"] <= theirs[p]["high"] and theirs[p]["low"] <= ours[p]["high"] for p in both)
    text = (
        f"The published report ({whose}) has the same sign in "
        f"{len(both) - len(other)} of {len(both)}, and its intervals meet these in {meet}"
    )
    named = [f"{q} at {way}: {_text(ours[q, way])} here, {_text(theirs[q, way])} there" for q, way in other]
    why = (
        f"; other sign: {'; '.join(named)}; the two differ in {'' if as_wide else 'width and '}length" if other else ""
    )
    return f"{text}{why}."


def _text(ratio: Mapping) -> str:
    return f"{rounded(ratio['value'])} [{rounded(ratio['low'])}, {rounded(ratio['high'])}]"
