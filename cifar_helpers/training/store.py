"""The run record: what happened when a ``RunConfig`` was trained (``RunRecord``), and where it is kept (``Store``).

A run is trained once and then read. Its key is a hash of everything that decides the outcome, so a changed setting can
never reuse an old record. Files are JSON, npz and safetensors only.
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from ..env import (
    ROOT,
    CourseError,
    disk_error,
    figures_dir,
    read_json,
    runs_dir,
    unix_lines,
    write_atomically,
    write_tensors,
)
from .config import FORMAT, RunConfig

DRAWN = "drawn points"  # label of what is measured on no image
SMALL_FILES = ("config.json", "steps.npz", "epochs.json", "provenance.json")
WEIGHTS = "weights.safetensors"


class BusyError(CourseError):
    """Another process is training the run."""


@dataclass(frozen=True)
class RunRecord:
    """What one run left behind.

    Attributes:
        config: what was asked.
        steps: one array per quantity, each with a value per step: ``loss`` (of the batch, before the update),
            ``grad_norm`` ‖g_t‖₂, ``grad_dist_<gap>`` ‖g_t − g_{t−gap}‖₂, ``moved`` ‖w_t − w_{t−1}‖₂, ``weight_norm``
            ‖w_t‖₂; with ``_out`` appended, the same over the output layer alone. A distance begins with NaN.
        epochs: one dict per evaluation: step, train and validation loss and accuracy (eval mode), seconds.
        provenance: key, data, outcome, device, resolved precision, versions, time.
        folder: where it lies.
        probes: its attachments that were asked for, ``ProbeConfig`` → ``ProbeRecord``.
    """

    config: RunConfig
    steps: dict[str, np.ndarray]
    epochs: list[dict]
    provenance: dict
    folder: Path
    probes: Mapping = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.provenance["key"]

    @property
    def card(self) -> str:
        """What it was trained on."""
        return self.provenance["machine"].get("gpu") or self.provenance["machine"]["cpu"]

    @property
    def diverged_at(self) -> int | None:
        """Step whose loss was not finite, which ended the run; None for a run that went to its end."""
        return self.provenance["diverged_at"]

    @property
    def seconds_per_step(self) -> float:
        """Training time per step, recording included, evaluation left out."""
        return self.provenance["train_seconds"] / max(1, len(self.steps["loss"]))

    @property
    def has_weights(self) -> bool:
        """Whether the final weights are at hand: published records have none."""
        return (self.folder / WEIGHTS).exists()

    @functools.cached_property
    def weights(self) -> dict:
        """Final state of the model, name → tensor; ``CourseError`` where it was not kept, or the file is damaged."""
        return self._load(WEIGHTS, "keep_weights=True")

    def snapshot(self, step: int) -> dict:
        """State of the model after ``step`` steps, name → tensor; the errors are those of ``weights``."""
        return self._load(snapshot_name(step), f"snapshots=({step},)")

    def _load(self, name: str, setting: str) -> dict:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.folder / name
        try:
            if file_hash(path) != self.provenance["files"].get(name):
                raise OSError("the file is damaged")
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise CourseError(
                f"No {name} for {self.config.describe()} ({error}). Set {setting} in its config, or delete "
                f"{self.folder} and train again."
            ) from error


def snapshot_name(step: int) -> str:
    """File that holds the weights after ``step`` steps."""
    return f"weights-{step}.safetensors"


def file_hash(path: Path) -> str:
    """SHA-256 of a file; of a JSON file whatever its line ends, which a checkout may have changed."""
    if path.suffix == ".json":
        return hashlib.sha256(unix_lines(path.read_bytes())).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(provenance: dict) -> str:
    """SHA-256 over a provenance without its own digest."""
    rest = {name: value for name, value in provenance.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_record(folder: Path) -> RunRecord:
    """Read a record's small files; ``ValueError`` where one is missing or is not what was written, by its hash."""
    provenance = read_json(folder / "provenance.json")
    try:
        if digest(provenance) != provenance["digest"]:
            raise ValueError("provenance.json is not what was written")
        for name in SMALL_FILES[:-1]:
            if file_hash(folder / name) != provenance["files"][name]:
                raise ValueError(f"{name} is not what was written")
        config = RunConfig.from_json((folder / "config.json").read_text(encoding="utf-8"))
        if config.key(provenance["data_fingerprint"]) != provenance["key"]:
            raise ValueError("provenance.json does not belong to config.json")
        with np.load(folder / "steps.npz", allow_pickle=False) as arrays:
            steps = {name: arrays[name] for name in arrays.files}
        epochs = json.loads((folder / "epochs.json").read_text(encoding="utf-8"))
        return RunRecord(config, steps, epochs, provenance, folder)
    except (OSError, KeyError, TypeError, AttributeError, CourseError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _held_by_another(path: Path) -> bool:
    """Whether somebody holds a lock that may only be read: another user's."""
    try:
        import fcntl

        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # nobody can be asked
        return False
    return False


@functools.cache  # a notebook asks for hundreds of records: one line says it for all
def say_unreadable(folder: Path) -> None:
    """Say how many records of a folder cannot be read, and name one of them."""
    folders, reasons = [path for path in sorted(folder.glob("*-*")) if path.is_dir()], {}
    for path in folders:
        try:
            read_record(path)
        except ValueError as error:
            reasons[path.name] = error
    example = ", ".join(f"{name}: {error}" for name, error in list(reasons.items())[:1])
    print(
        f"{len(reasons)} of the {len(folders)} published records cannot be read and count as not there ({example}). "
        f"Bring {folder} back as the course has it: with `git restore`, or as a fresh copy.",
        flush=True,
    )


class Store:
    """The folder of run records.

    Args:
        root: the folder; ``runs/`` by default.
        published: also read the records behind the published report (they have no weights).

    Attributes:
        trains: whether what it lacks may be trained and timed.
    """

    trains = True

    def __init__(self, root: Path | None = None, published: bool = False):
        self.root = Path(root) if root else runs_dir()
        folders = (figures_dir() / "records", ROOT / "figures/records")  # the course's own, wherever figures go
        self.published = next(filter(Path.is_dir, folders), None) if published else None

    def get(self, config: RunConfig, fingerprint: str, discard_damaged: bool = False) -> RunRecord | None:
        """The record of this run, or None where it has to be trained.

        The holder of the run's ``lock`` alone may discard a damaged one: it is moved aside, and that is said.
        """
        folder = self.root / config.folder_name(fingerprint)
        if folder.is_dir():
            try:
                return read_record(folder)
            except ValueError as error:
                if discard_damaged:
                    self.discard(folder, f"is damaged ({error})")
        return self._read_published(folder.name) if self.published else None

    def _read_published(self, name: str) -> RunRecord | None:
        """A published record by its folder's name; None where there is none, or none that can be read."""
        try:
            return read_record(self.published / name) if (self.published / name).is_dir() else None
        except ValueError:
            say_unreadable(self.published)
            return None

    def discard(self, folder: Path, reason: str) -> None:
        """Move a record that cannot be used to ``.damaged/`` and say so."""
        aside = self.root / ".damaged" / f"{folder.name}-{time.time_ns()}"
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, aside)
        except OSError as error:
            raise disk_error(aside, error) from error
        print(f"The record {folder.name} {reason}. It is kept in {aside.parent}; the run is trained again.", flush=True)

    @contextlib.contextmanager
    def lock(self, config: RunConfig, fingerprint: str, wait: bool = True) -> Iterator[None]:
        """Hold the right to train this run; wait, and say so, while another process holds it.

        Raises:
            BusyError: another process holds it, and ``wait`` is false.
        """
        folder = self.root / ".locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{config.key(fingerprint)}.lock")
            try:
                lock.acquire(timeout=0.1)
            except Timeout:
                if not wait:
                    raise BusyError(f"{config.describe()}: another process is training it.") from None
                print(f"{config.describe()}: another process is training it; waiting for its record.", flush=True)
                lock.acquire()
        except OSError as error:
            raise disk_error(folder, error) from error
        try:
            yield
        finally:
            lock.release()

    def is_held(self, key: str) -> bool:
        """Whether a process holds the right to train the run with this key."""
        path = self.root / ".locks" / f"{key}.lock"
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return _held_by_another(path)

    def checkpoint_path(self, config: RunConfig, fingerprint: str) -> Path:
        """File that holds an unfinished run's state."""
        return self.root / ".checkpoints" / f"{config.folder_name(fingerprint)}.safetensors"

    def snapshot_path(self, config: RunConfig, fingerprint: str, step: int) -> Path:
        """File that holds a snapshot until its run is finished."""
        return self.checkpoint_path(config, fingerprint).with_suffix(f".{snapshot_name(step)}")

    def save(
        self,
        config: RunConfig,
        fingerprint: str,
        steps: dict,
        epochs: list,
        provenance: dict,
        weights=None,
        attach=None,
    ) -> RunRecord:
        """Write a record under a temporary name, rename it into place, and drop its checkpoint.

        ``attach`` is called with the record's folder before the renaming, to put attachments into it.

        Raises:
            CourseError: no space, or no permission; nothing half-written stays.
        """
        key, folder = config.key(fingerprint), self.root / config.folder_name(fingerprint)
        temporary = self.root / f".writing-{folder.name}"
        try:
            shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process; the lock makes it ours
            temporary.mkdir(parents=True)
            (temporary / "config.json").write_text(config.to_json(), encoding="utf-8")
            np.savez_compressed(temporary / "steps.npz", **steps)
            (temporary / "epochs.json").write_text(json.dumps(epochs, indent=1), encoding="utf-8")
            if weights is not None:
                write_tensors(temporary / WEIGHTS, weights)
            for step in config.snapshots:
                if (kept := self.snapshot_path(config, fingerprint, step)).exists():  # a diverged run has fewer
                    shutil.copy(kept, temporary / snapshot_name(step))
            files = {path.name: file_hash(path) for path in sorted(temporary.iterdir())}
            provenance = provenance | {"key": key, "data_fingerprint": fingerprint, "files": files}
            provenance["digest"] = digest(provenance)
            (temporary / "provenance.json").write_text(json.dumps(provenance, indent=1), encoding="utf-8")
            if attach:
                attach(temporary)
            os.replace(temporary, folder)
        except OSError as error:
            raise disk_error(folder, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self.drop_checkpoint(config, fingerprint)
        return read_record(folder)

    def drop_checkpoint(self, config: RunConfig, fingerprint: str) -> None:
        """Remove what an unfinished run has kept."""
        kept = [self.snapshot_path(config, fingerprint, step) for step in config.snapshots]
        for path in [self.checkpoint_path(config, fingerprint), *kept]:
            path.unlink(missing_ok=True)

    def measurement(self, name: str, inputs: dict, compute) -> dict:
        """A small JSON-ready result, computed once for this name and these JSON-ready inputs, and then read."""
        key = hashlib.sha256(json.dumps([FORMAT, name, inputs], sort_keys=True).encode()).hexdigest()[:16]
        file = f"measurements/{name}-{key}.json"
        for folder in filter(None, (self.root, self.published)):
            stored = read_json(folder / file)
            if isinstance(stored, dict) and "result" in stored:
                return stored["result"]
        result = compute()
        write_atomically(self.root / file, json.dumps({"name": name, "inputs": inputs, "result": result}, indent=1))
        return result


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
    """(path, bytes) of files that can go: weights and checkpoints of runs not needed, what was damaged or left behind.

    A record's small files, which figures are made of, always stay; so do checkpoints of needed runs that are not
    finished, and of runs that are being trained. ``needed``: folder names of runs still wanted.
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
