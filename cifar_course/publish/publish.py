"""Replaces the committed report by a local one: figures, tables, records, pages, the README's tables."""

import json
import shutil
import tempfile
from pathlib import Path

from cifar_helpers.data.source import SYNTHETIC
from cifar_helpers.env import NUMBERED, ROOT, CourseError, disk_error, figures_dir, read_json, write_atomically
from cifar_helpers.plans.profiles import PUBLISHED
from cifar_helpers.training.store import DRAWN, SMALL_FILES, Store

from ..report import numbers
from ..report.summary import in_words, load_entries, markdown
from . import pages, readme


def publish(profile: str, store: Store) -> Path:
    """Replace the committed report by the profile's local one, with the small record files behind it.

    The report of the profile ``published`` is made from the published records, which stay as they are.

    Raises:
        CourseError: the local report is incomplete, failed, or made from synthetic data.
    """
    local, target = figures_dir(profile), figures_dir()
    report, entries = read_json(local / "report.json"), load_entries(local)
    _refuse_unpublishable(report, entries)
    try:
        with tempfile.TemporaryDirectory(dir=target, prefix=".publishing-") as scratch:
            folder = Path(scratch)
            for entry in entries:
                if not entry["private"]:
                    for path in local.glob(f"{entry['name']}.*"):
                        shutil.copy(path, folder)
            write_atomically(folder / "REPORT.md", markdown(report, entries, published=True))
            if profile == PUBLISHED:
                shutil.copytree(target / "records", folder / "records")
            else:
                _copy_records(folder / "records", entries, report["data_fingerprint"], store)
                write_atomically(target / "published.json", json.dumps({"profile": profile}))
            for old in [*target.glob(NUMBERED), target / "REPORT.md", target / "records"]:
                shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
            for new in folder.iterdir():
                new.rename(target / new.name)
    except OSError as error:
        raise disk_error(target, error) from error
    made_from = (
        f"As published: runs of profile {in_words(profile)}, {report['data_label']}, executed {report['made'][:10]}."
    )
    executed = store.root / "notebooks" / profile
    for notebook in sorted((ROOT / "notebooks").glob(f"{NUMBERED}.ipynb")):
        if (executed / notebook.name).exists():
            numbers.keep(notebook, executed / notebook.name)
    pages.write(ROOT, executed, target, entries, made_from)
    readme.write_profiles()
    return target / "REPORT.md"


def _refuse_unpublishable(report: dict | None, entries: list[dict]) -> None:
    if not report or not entries:
        raise CourseError("There is no local report to publish; run it first.")
    shown = [name for name, result in report["results"].items() if result.get("shown")]
    if shown:
        raise CourseError(
            f"Not published: this profile only shows published runs in {', '.join(shown)}. Train another (--profile)."
        )
    bad = readme.not_ok(report)
    if bad:
        raise CourseError(
            f"Not published: {', '.join(bad)} did not end well or was not run. Run the whole report first."
        )
    if SYNTHETIC in {e["data_label"] for e in entries}:
        raise CourseError(
            "Not published: it is made from synthetic data. Run it on CIFAR-10 (--data cifar10 or a path)."
        )
    if len({e["data_fingerprint"] for e in entries}) > 1:
        raise CourseError("Not published: its figures are made from different data. Run the whole report again.")


def _copy_records(target: Path, entries: list[dict], fingerprint: str, store: Store) -> None:
    for key in sorted({key for entry in entries for key in entry["runs"]}):
        for source in store.root.glob(f"*-{key}"):
            (target / source.name).mkdir(parents=True)
            for path in [*(source / name for name in SMALL_FILES), *source.glob("probe-*")]:
                shutil.copy(path, target / source.name)
    for source in (store.root / "measurements").glob("*.json"):
        if (read_json(source) or {}).get("inputs", {}).get("data") in (fingerprint, DRAWN):
            (target / "measurements").mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / "measurements")
