"""The measured minutes of every profile, and the README's tables."""

import json
import os
import re
from pathlib import Path

from cifar_helpers.env import NUMBERED, ROOT, figures_dir, read_json, write_atomically
from cifar_helpers.plans.profiles import PROFILES

from ..report.benchmarks import table
from ..report.digest import why
from ..report.summary import load_entries
from . import pages

DISK = {
    ".venv": "the environment, CUDA libraries of torch included",
    ".cache": "decoded images, and the download if there was one",
    "runs": "records and executed notebooks (while a run trains, its checkpoint adds up to 0.3 GB)",
    "figures": "the published report and its records",
    "figures/local": "reports of your own: figures, tables, every network as an ONNX file",
}


def not_ok(report: dict) -> list[str]:
    """Notebooks of the course that this report has not executed to a good end."""
    stems = {p.stem for p in (ROOT / "notebooks").glob(f"{NUMBERED}.ipynb")}
    return sorted(stems - {n for n, r in report["results"].items() if r["verdict"] == "ok"})


def write_profiles() -> None:
    """Collect the measured minutes of every profile run here into profiles.json and the README's table."""
    file = figures_dir() / "profiles.json"
    profiles = read_json(file) or {}
    for name in PROFILES:
        report = read_json(figures_dir(name) / "report.json")
        if report and not not_ok(report):
            machine = report["machine"]
            hardware = machine.get("gpu") or f"{machine['cores']} CPU cores"
            values = {"minutes": round(report["minutes"], 1), "machine": hardware, "data": report["data_label"]}
            profiles[name] = values | {"notebooks": len(report["results"]), "made": report["made"]}
    if seconds := read_json(ROOT / ".venv" / ".seconds"):  # make wrote it, where it began with nothing
        profiles["install"] = {"minutes": round(seconds / 60, 1), "machine": f"{os.cpu_count()} CPU cores"}
    known = {row["folder"]: row for row in profiles.get("disk", [])}  # of what is not here, such as .venv in a clone
    for folder, what in DISK.items():
        if (ROOT / folder).is_dir():
            known[f"`{folder}`"] = {"folder": f"`{folder}`", "what": what, "size": _size(ROOT / folder)}
    profiles["disk"] = [known[f"`{folder}`"] for folder in DISK if f"`{folder}`" in known]
    write_atomically(file, json.dumps(profiles, indent=1))
    fill_readme()


def fill_readme() -> None:
    """Write what the README shows between the comments that name it: the answer, notebooks, profiles, folders."""
    readme, profiles = ROOT / "README.md", read_json(figures_dir() / "profiles.json") or {}
    if not readme.exists():
        return
    text = readme.read_text(encoding="utf-8")
    measured = [*table(profile_rows(profiles)), *table(disk_rows(profiles))]
    found = [
        why(load_entries(figures_dir())),
        "([notebook 10](docs/read/10_why_batchnorm.md))",
        "",
    ]
    for name, lines in (("notebooks", table(pages.contents(ROOT))), ("measured", measured), ("answer", found)):
        begin, end = re.search(f"<!-- {name}: begin.*-->\n", text), f"<!-- {name}: end -->"
        if begin and end in text:
            text = text[: begin.end()] + "\n".join(lines) + text[text.index(end) :]
    write_atomically(readme, text)


def _size(folder: Path) -> str:
    """Of a folder, in words; ``local`` in it counts by itself."""
    files = (path for path in folder.rglob("*") if not path.is_relative_to(folder / "local"))
    megabytes = sum(path.lstat().st_size for path in files) / 1e6
    return f"{megabytes / 1000:.1f} GB" if megabytes > 1000 else f"{megabytes:.0f} MB"


def profile_rows(profiles: dict) -> list[dict]:
    """Rows of the README's table of profiles."""
    rows = []
    for name, budget in PROFILES.items():
        measured = profiles.get(name)
        plan = f"{budget.minutes:g} min" if budget.minutes < 120 else f"{budget.minutes / 60:.0f} hours"
        planned = f"a guess: {plan} on one large GPU" if name == "full" else f"planned for {plan}"
        took = f"{measured['minutes']:g} min on {measured['machine']}" if measured else planned
        seeds = f"{budget.bn_seeds} seeds" if budget.bn_seeds > 1 else "one seed"
        wide = "" if budget.width == 1 else f" at {budget.width:g} of its width"
        size = "" if budget.shows else f"MyNet × {budget.mynet} steps, "
        size += (
            f"VGG-A{wide}: four rates × {budget.bn_steps} steps, {seeds}, probes along {budget.direct_steps} steps, "
        )
        size += f"{budget.direct_seeds} seeds, batch {budget.batch_size}"
        size += f"; {', '.join(budget.shows)} show published runs" if budget.shows else ""
        data = "synthetic" if budget.data == "synthetic" else "CIFAR-10"
        rows.append({"profile": f"`{name}`", "data": data, "what you get": size, "takes": took})
    return rows


def disk_rows(profiles: dict) -> list[dict]:
    """Rows of the README's table of folders; how long the environment took beside its size."""
    installed = profiles.get("install")
    took = f", set up in {installed['minutes']:g} min on {installed['machine']} and a fast line" if installed else ""
    return [row | {"what": row["what"] + took * (row["folder"] == "`.venv`")} for row in profiles.get("disk", [])]
