"""REPORT.md from what the notebooks saved. Every number comes from a stored JSON."""

import itertools
import json
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from cifar_helpers import plans, words
from cifar_helpers.data.source import SYNTHETIC
from cifar_helpers.env import (
    NO_IMAGES,
    NUMBERED,
    ROOT,
    figures_dir,
    git_revision,
    machine_card,
    number_of,
    read_json,
    write_atomically,
)
from cifar_helpers.figures import file_of
from cifar_helpers.measure.compare import BINS, NOT_TRAINING, SPAN, window_steps
from cifar_helpers.plans.landscape import BASE_RATE, NETWORKS, PAPER_RATE, bn_sweep, direct_probe, direct_runs
from cifar_helpers.plans.profiles import NARROW, PUBLISHED, get_profile, only_shows, published_from
from cifar_helpers.sources.reported import DOCUMENTS
from cifar_helpers.training.store import DRAWN, Store

from . import answer, benchmarks
from .benchmarks import table
from .digest import beside_sources, glance, in_short

NOT_OF_SHOWN = ("- The sweeps of 02 and 03", "- 08 and 10")  # lines of the protocol, where these notebooks are shown


def load_entries(folder: Path) -> list[dict]:
    """Figures and tables saved in a folder, in the order in which their notebooks make them."""
    found = [read_json(path) for path in folder.glob(f"{NUMBERED}.json")]
    entries = [entry for entry in found if isinstance(entry, dict) and entry.get("kind") in ("figure", "table")]
    return sorted(entries, key=lambda entry: (number_of(entry["name"]), entry["made"]))


def write_local(
    profile: str,
    results: Sequence[dict],
    began: str,
    device="cpu",
    changed: dict | None = None,
    times: dict | None = None,
) -> Path:
    """Write REPORT.md, whose path is returned, and report.json of a profile's local folder.

    Args:
        results: of ``execute.execute``, of the notebooks executed now; earlier results of others are kept.
        began: ISO time at which this execution began; device: what it ran on.
        changed: parameters set by hand, name → value.
        times: of this execution: minutes ``announced`` and ``took``, and how many ``workers`` trained.
    """
    folder = figures_dir(profile)
    executed = {r["notebook"]: r for r in results}
    earlier = (read_json(folder / "report.json") or {}).get("results", {})
    ok = {number_of(name) for name, r in executed.items() if r["verdict"] == "ok"}
    for entry in load_entries(folder):  # what a notebook no longer makes does not stay in its report
        if number_of(entry["name"]) in ok and entry["made"] < began:
            for path in folder.glob(f"{entry['name']}.*"):
                path.unlink()
    entries = load_entries(folder)
    of_images = [e for e in entries or load_shown(earlier | executed) if e["data_label"] not in (DRAWN, NO_IMAGES)]
    nothing = {"data_label": "", "data_fingerprint": ""}
    newest = max(of_images or entries, key=lambda e: e["made"], default=nothing)
    report = {
        "profile": profile,
        "data_label": newest["data_label"],
        "data_fingerprint": newest["data_fingerprint"],
        "results": earlier | executed,
        "minutes": _minutes(profile, earlier | executed, entries, newest["data_fingerprint"]),
        "machine": machine_card(device),
        "changed": changed or {},
        "times": times,
        "git_revision": git_revision(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomically(folder / "report.json", json.dumps(report, indent=1))
    return write_atomically(folder / "REPORT.md", markdown(report, entries, published=False))


def _minutes(profile: str, results: dict, entries: list[dict], fingerprint: str) -> float:
    """Minutes the whole profile takes from nothing, without the fast recipe, which is trained only on request.

    A notebook's own are those on recorded runs, since all are trained before it is executed.
    """
    keys = {key for entry in entries for key in entry["runs"]} - _fast_keys(profile, fingerprint)
    root = records(profile)
    later = [read_json(path) or {} for key in keys for path in root.glob(f"*-{key}/probe-*.json")]
    probing = sum(probe["seconds"] for probe in later if probe.get("repeated"))  # else it is in the run's own time
    return sum(r["minutes"] for r in results.values()) + (_run_seconds(keys, root) + probing) / 60


def _fast_keys(profile: str, fingerprint: str) -> set[str]:
    return {
        config.key(fingerprint) for split in ("train", "all") for config in plans.recipes.fast(profile, split=split)
    }


def records(profile: str) -> Path:
    """The folder that a report of this profile reads its runs from."""
    return Store(published=True).published or figures_dir() if profile == PUBLISHED else Store().root


def _run_seconds(keys: Collection[str], root: Path) -> float:
    """Sum of the wall times of these runs."""
    paths = [path for key in sorted(keys) for path in root.glob(f"*-{key}/provenance.json")]
    return sum((read_json(path) or {"wall_seconds": 0})["wall_seconds"] for path in paths)


def markdown(report: dict, entries: list[dict], published: bool) -> str:
    """The report as Markdown: where it comes from, the verdicts, then every notebook's figures and tables."""
    usable = [e for e in entries if e["data_fingerprint"] == report["data_fingerprint"]]
    devices = sorted({d for e in usable for d in e["devices"]})
    beside = () if published else load_entries(figures_dir())
    times = report["times"]
    told = f"announced {times['announced']:.0f} minutes, took {times['took']:.0f}" if times else ""
    lines = ["# Batch normalisation on CIFAR-10: the report", ""]
    if report["data_label"] == SYNTHETIC:
        lines += ["> **SYNTHETIC DATA.** Made from drawn shapes; it says nothing about CIFAR-10.", ""]
    lines += [
        f"- data: **{report['data_label']}** (fingerprint `{report['data_fingerprint'][:12]}`)",
        f"- profile: **{in_words(report['profile'])}**, trained on {', '.join(devices) or 'nothing'}",
        f"- {_training_line(report, usable)}",
        *(
            [f"- the last command {told}; {times['workers']} run{'s' * (times['workers'] != 1)} at a time"]
            if times
            else []
        ),
        f"- made {report['made']} at revision `{report['git_revision']}`, torch {report['machine']['torch']}",
        "",
        "Written by `python -m cifar_course.report` from stored records; every figure has a JSON of its provenance.",
        "",
        *in_short(usable, answer.sentences(usable, report["profile"], beside)),
    ]
    rows = []
    for name, result in sorted(report["results"].items()):
        name += " (published runs)" * bool(result.get("shown"))
        rows.append({"notebook": name, "execution": result["verdict"], "minutes": f"{result['minutes']:.1f}"})
    lines += table(rows)
    if only_shows(report["profile"], "02"):
        rows = answer.fair(report["profile"], report["data_fingerprint"])
        lines += ["## MyNet and LeNet-5, trained here", "", *table(rows)] if rows else []
    lines += protocol(report) + beside_sources(usable, report["profile"]) + glance(usable)
    stems = sorted(p.stem for p in (ROOT / "notebooks").glob(f"{NUMBERED}.ipynb"))
    missing = [stem for stem in stems if stem not in report["results"]]
    if missing:
        lines += [f"**Missing:** {', '.join(missing)}. Run the report again without `--only`.", ""]
    if len(usable) < len(entries):
        lines += [f"{len(entries) - len(usable)} figures or tables of other data are left out.", ""]
    usable += load_shown(report["results"])
    for stem in stems:
        mine = [e for e in usable if number_of(e["name"]) == number_of(stem)]
        if mine:
            cells = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4).cells
            lines += [f"## {cells[0].source.splitlines()[0].lstrip('# ')}", ""]
            for start in ("## The idea", "## From one and the same point", "## Three ways"):
                lines += _text_of(cells, start)
            if mine[0].get("shown"):
                lines += [f"> **Published runs.** Profile {report['profile']} does not train this notebook.", ""]
            for entry in mine:
                lines += _entry(entry, published)
            lines += _what_we_saw(Store().root / "notebooks" / report["profile"] / f"{stem}.ipynb")
            lines += _text_of(cells, "**What it does not show.**")
    lines += ["## Sources", "", *(f"- {number}: {document}" for number, document in DOCUMENTS.items()), ""]
    return "\n".join([*lines, *benchmarks.timings(ROOT), *benchmarks.faults(ROOT)]).rstrip() + "\n"


def protocol(report: dict) -> list[str]:
    """What was fixed before any outcome was looked at, from the configs that the notebooks ask for."""
    budget, configs = get_profile(report["profile"]), bn_sweep(report["profile"])
    sweep, direct, probe = configs[0], direct_runs(report["profile"])[0], direct_probe(report["profile"])
    text = (Path(__file__).parent / "protocol.md").read_text(encoding="utf-8")
    filled = text.format(
        **{"budget": budget, "sweep": sweep, "direct": direct, "probe": probe},
        **{"BASE_RATE": BASE_RATE, "PAPER_RATE": PAPER_RATE, "BINS": BINS, "SPAN": SPAN, "NOT_TRAINING": NOT_TRAINING},
        networks=" and ".join(NETWORKS),
        wide="" if budget.width == 1 else f", {budget.width:g} of their width,",
        rates=", ".join(f"{rate:g}" for rate in dict.fromkeys(c.lr for c in configs)),
        images=f"{sweep.n_items} training images" if sweep.n_items else "all training images but the validation tenth",
        augmentation=", ".join(sweep.augmentation) or "none",
        **{"lengths": len(probe.etas), "shortest": probe.etas[0], "longest": probe.etas[-1]},
        direct_seeds=f"{budget.direct_seeds} seed{'s' * (budget.direct_seeds > 1)}",
        controls=", ".join(map(str, budget.control_steps)),
        narrow_controls=", ".join(map(str, budget.narrow_controls)),
        narrow_width=NARROW,
        narrow_window=window_steps(budget.narrow_steps),
        come=" (a sweep whose source's length is trained has that, as its caption says)" * (budget.name == PUBLISHED),
        **dict(zip(("often", "until", "seldom"), budget.narrow_often, strict=True)),
        sweep_window=window_steps(sweep.steps),
        direct_window=window_steps(direct.steps),
        convnet=", ".join(f"{steps} at batch {size}" for size, steps in budget.convnet.items()),
        narrow=plans.batchnorm.WIDTH,
        tested="The test split was read once per run, at its end; nothing was chosen by it."
        if budget.bn_test
        else "The test split was not read.",
        norm_seeds=f"{budget.norm_seeds} seed{'s' * (budget.norm_seeds > 1)}",
    )
    lines = [line for line in filled.splitlines() if not (budget.shows and line.startswith(NOT_OF_SHOWN))]
    changed = ", ".join(f"{name} = {value!r}" for name, value in report["changed"].items())
    by_hand = [f"- **Settings changed by hand:** {changed}."] if changed else []
    return ["## Protocol", "", *by_hand, *answer.what_is_shown(report["profile"]), *lines, ""]


def _text_of(cells: Sequence[NotebookNode], start: str) -> list[str]:
    """The paragraphs of a notebook from ``start`` (left out if ``The idea``) to the next heading."""
    for cell in cells:
        if cell.cell_type == "markdown" and start in cell.source:
            text = words.plain(cell.source[cell.source.index(start) :]).removeprefix("## The idea")
            return [re.sub("^## ", "### ", re.split(r"\n## ", text)[0].strip()), ""]
    return []


def _what_we_saw(executed: Path) -> list[str]:
    """What the notebook's closing cells say and print, as a list; of their texts the paragraphs with numbers."""
    try:
        cells = nbformat.read(executed, as_version=4).cells
    except Exception:  # none yet, or cut off where a disk was full
        return []
    closing, said = itertools.dropwhile(lambda cell: not cell.source.startswith("## What we saw"), cells), []
    for cell in closing:
        text, end, _ = cell.source.partition("**What it does not show.**")
        if cell.cell_type == "markdown":
            with_numbers = filter(words.NUMBER.search, text.split("\n\n"))
            said += [words.plain(f"{words.run_on(paragraph)}\n") for paragraph in with_numbers]
        else:
            data = ((output.get("text"), output.get("data", {})) for output in cell.outputs)
            said += [text or f"{more.get('text/markdown', '')}\n" for text, more in data]
        if end:
            break
    printed = "".join(said)  # what is printed comes in pieces, a sentence whole
    lines = [f"- {line.removeprefix('- ')}" for line in printed.splitlines() if line.strip()]
    return ["**What we saw.**", "", *lines, ""] if lines else []


def _training_line(report: dict, entries: list[dict]) -> str:
    """How many runs, how their times add up and what of them the README's minutes are, at which revisions."""
    keys = {key for entry in entries for key in entry["runs"]}
    opted = keys & _fast_keys(report["profile"], report["data_fingerprint"])
    revisions = sorted({r for entry in entries for r in entry["run_revisions"]})
    plus = " (+: with changes that were not committed)" * any(r.endswith("+") for r in revisions)
    root = records(report["profile"])
    line = f"{len(keys)} training runs"
    several = f"{len(revisions)} revisions, named in the figures' JSONs"
    named = f"revision {', '.join(f'`{r}`' for r in revisions)}" if len(revisions) < 4 else several
    line += f" at {named}{plus}" if revisions else ""
    minutes = f"{_run_seconds(keys, root) / 60:.1f} minutes"
    line += f"; their own times add up to {minutes}, a sum over machines and revisions"
    if opted:
        line += f", {_run_seconds(opted, root) / 60:.1f} of them the fast recipe's, which is trained only on request"
    line += f". All of them{' but these' * bool(opted)}, once, and all notebooks take {report['minutes']:.1f} minutes"
    return f"{line}. A notebook's minutes below leave out what was already recorded"


def in_words(profile: str) -> str:
    """The profile whose runs a report shows."""
    return f"{published_from()}, as far as it is trained" if profile == PUBLISHED else profile


def load_shown(results: dict) -> list[dict]:
    """What the notebooks saved that show the published runs, marked so; its files lie in a folder beside."""
    numbers = {number_of(name) for name, result in results.items() if result.get("shown")}
    entries = [entry for entry in load_entries(figures_dir(PUBLISHED)) if number_of(entry["name"]) in numbers]
    return [entry | {"shown": True} for entry in entries]


def _entry(entry: dict, published: bool) -> list[str]:
    if entry["kind"] == "table":
        return [f"**{entry['caption']}**", "", *table(entry["rows"])]
    if entry["private"] and published:
        note = "reproduces images of the data set, so it is made locally and not published"
        return [f"*{entry['caption']}* — `{entry['name']}` {note}.", ""]
    folder = f"../{PUBLISHED}/" if entry.get("shown") else ""
    return [f"![{entry['caption']}]({folder}{file_of(entry)})", "", f"*{entry['caption']}*", ""]
