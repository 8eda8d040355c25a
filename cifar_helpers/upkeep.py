"""Upkeep of the folder of runs: notes on runs that failed in a batch, and what can be deleted. No torch."""

import contextlib
import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from .env import CourseError, read_json, write_atomically
from .record import SMALL_FILES, RunConfig, Store


def log_path(store: Store, config: RunConfig, fingerprint: str) -> Path:
    """File that a batch worker prints into while it trains this run."""
    return store.root / "logs" / f"{config.folder_name(fingerprint)}.log"


def failure_path(store: Store, config: RunConfig, fingerprint: str) -> Path:
    """File that says why a batch worker could not train this run."""
    return store.root / ".failed" / f"{config.folder_name(fingerprint)}.json"


def failure(store: Store, config: RunConfig, fingerprint: str) -> dict | None:
    """A batch worker's note on this run's failure: ``error``, ``log``, ``time``; None where there is none."""
    found = read_json(failure_path(store, config, fingerprint))
    return found if isinstance(found, dict) and {"error", "log"} <= set(found) else None


def give_up(store: Store, config: RunConfig, fingerprint: str, error: str) -> None:
    """Write down that a run failed, so that no worker of this round tries it again."""
    time, log = datetime.now(UTC).isoformat(timespec="seconds"), log_path(store, config, fingerprint)
    entry = {"error": error, "log": str(log), "time": time}
    with contextlib.suppress(CourseError, OSError):  # on a full disk the worker's line has said it
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8") as file:
            print(f"{time} {error}", file=file)
        write_atomically(failure_path(store, config, fingerprint), json.dumps(entry, indent=1))


def try_again(store: Store, config: RunConfig, fingerprint: str) -> None:
    """Forget that a run failed."""
    failure_path(store, config, fingerprint).unlink(missing_ok=True)


def prunable(store: Store, needed: Collection[str] = ()) -> list[tuple[Path, int]]:
    """Files that can go: weights and checkpoints of runs that are not needed, and what was damaged or left behind.

    A record's small files, which figures are made of, always stay; so do checkpoints of needed runs that are not
    finished, and of runs that are being trained.

    Args:
        needed: folder names of the runs whose weights, or unfinished training, are still wanted.

    Returns:
        (path, bytes) of every file.
    """
    found = [path for path in store.root.glob(".damaged/**/*") if path.is_file()]
    found += [path for path in store.root.glob("*-*/weights*.safetensors") if path.parent.name not in needed]
    for path in store.root.glob(".checkpoints/*.safetensors"):
        run = path.name.split(".")[0]
        finished = (store.root / run / SMALL_FILES[-1]).exists()
        if (finished or run not in needed) and not store.is_held(run.rpartition("-")[2]):
            found.append(path)
    return [(path, path.stat().st_size) for path in sorted(found)]


def prune(store: Store, needed: Collection[str] = ()) -> list[tuple[Path, int]]:
    """Delete what is ``prunable``; the arguments and the answer are the same."""
    found = prunable(store, needed)
    for path, _ in found:
        path.unlink(missing_ok=True)
    return found
