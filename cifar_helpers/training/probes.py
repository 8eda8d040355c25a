"""Probes of a run: what is measured along the way besides its steps, kept as attachments of its record.

An attachment has a key of its own, so asking for one never changes a run's key or its record: a finished run is trained
once more beside it. Nothing here imports torch, so a plan can be printed anywhere.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..env import CourseError, read_json, write_atomically
from .store import file_hash

FORMAT = 1
KINDS = ("along_gradient", "same_batch", "noise")
RANGE = (0.5, 4.0)  # times the learning rate: the paper's


def eta_grid(lr: float, points: int) -> tuple[float, ...]:
    """Step lengths from ½ to 4 times the rate, evenly spaced in their logarithm; ``CourseError`` for fewer than two."""
    if points < 2:
        raise CourseError(f"A grid of step lengths needs at least 2 points, not {points}.")
    return tuple(float(f"{eta:.6g}") for eta in lr * np.geomspace(*RANGE, points))


@dataclass(frozen=True)
class ProbeConfig:
    """What to measure along a run, and at which steps.

    Attributes:
        kind: ``along_gradient``: loss and gradient along −g from the step's weights, on its batch (the paper's);
            ``same_batch``: the gradient after the step on the batch of before it (what the handout's proxy would be
            without batch noise); ``noise``: the gradient at the same weights on other batches.
        every: measured at steps 0, every, 2 every …
        at: or at these steps alone.
        etas: step lengths of ``along_gradient``.
        mode: ``train`` or ``eval`` (batch norm with its running statistics).
        direction: ``gradient`` or ``random`` (normal in every weight, as long as the gradient).
        batches: how many other batches ``noise`` takes.

    Raises:
        CourseError: a value that nothing can be measured with.
    """

    kind: str
    every: int = 0
    at: tuple[int, ...] = ()
    etas: tuple[float, ...] = ()
    mode: str = "train"
    direction: str = "gradient"
    batches: int = 0

    def __post_init__(self):
        for name, known in (("kind", KINDS), ("mode", ("train", "eval")), ("direction", ("gradient", "random"))):
            if getattr(self, name) not in known:
                raise CourseError(f"Unknown {name} {getattr(self, name)!r} of a probe; choose {' or '.join(known)}.")
        for name in ("at", "etas"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if (self.every >= 1) == bool(self.at) or self.every < 0 or min(self.at, default=0) < 0:
            raise CourseError("A probe is measured every so many steps or at chosen steps: give 'every' or 'at'.")
        along, noise = self.kind == "along_gradient", self.kind == "noise"
        if along != bool(self.etas) or not all(math.isfinite(eta) and eta > 0 for eta in self.etas):
            raise CourseError(
                f"A probe along the gradient, and no other, takes positive step lengths, not {self.etas}."
            )
        if noise != (self.batches >= 1):
            raise CourseError("A probe of noise, and no other, takes a number of other batches of at least 1.")
        if not along and (self.mode, self.direction) != ("train", "gradient"):
            raise CourseError("mode and direction belong to a probe along the gradient.")

    def to_json(self) -> str:
        """Canonical JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @property
    def name(self) -> str:
        """Name of the attachment in its run's folder, with a hash of everything above."""
        digest = hashlib.sha256(f"{FORMAT}|{self.to_json()}".encode()).hexdigest()[:12]
        return f"probe-{self.kind}-{digest}"

    def wants(self, step: int) -> bool:
        """Whether this step is measured."""
        return step in self.at if self.at else step % self.every == 0


@dataclass(frozen=True)
class ProbeRecord:
    """What one probe of one run found.

    Attributes:
        config: what was asked.
        values: one array per quantity, the first axis being the measured steps: ``step``; for ``along_gradient``
            ``loss`` and ``gradient_distance`` (n, m) over η, ``start_loss``, ``gradient_norm``, ``weight_norm`` (n,);
            for ``same_batch`` ``gradient_distance`` and ``moved`` (n,), where ``step`` is the step *after* the move, as
            in the run's own ``grad_dist_1`` and ``moved``; for ``noise`` ``loss`` and ``gradient_distance``
            (n, batches), ``gradient_norm`` (n,). With ``_out`` appended, the same over the output layer.
        provenance: run key, machine, seconds, and whether a finished run was repeated for it.
    """

    config: ProbeConfig
    values: Mapping[str, np.ndarray]
    provenance: dict

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]


def write(folder: Path, config: ProbeConfig, values: Mapping[str, np.ndarray], provenance: dict) -> None:
    """Write an attachment into a run's folder: the arrays first, then the JSON that vouches for them.

    ``CourseError`` where there is no space, or no permission.
    """

    def arrays(path: Path) -> None:
        with open(path, "wb") as file:
            np.savez_compressed(file, **values)

    path = write_atomically(folder / f"{config.name}.npz", arrays)
    entry = {"probe": json.loads(config.to_json()), "sha256": file_hash(path)} | provenance
    write_atomically(folder / f"{config.name}.json", json.dumps(entry, indent=1))


def read(folder: Path, config: ProbeConfig) -> ProbeRecord | None:
    """Read an attachment; None where there is none, or where it is not what was written for this run and probe."""
    entry, path = read_json(folder / f"{config.name}.json"), folder / f"{config.name}.npz"
    try:
        asked = entry is not None and entry["probe"] == json.loads(config.to_json())
        if not asked or not folder.name.endswith(entry["run"]) or entry["sha256"] != file_hash(path):
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return ProbeRecord(config, {name: arrays[name] for name in arrays.files}, entry)
    except (OSError, KeyError, TypeError, ValueError):
        return None


def read_all(folder: Path, configs: Sequence[ProbeConfig]) -> dict[ProbeConfig, ProbeRecord]:
    """Read those of the probes that lie in a run's folder."""
    found = {config: read(folder, config) for config in configs}
    return {config: record for config, record in found.items() if record}


def difference(now: Mapping, before: Mapping) -> dict:
    """How far a repeated run's steps are from the recorded ones: 0 where every loss is the same to the bit."""
    n = min(len(now["loss"]), len(before["loss"]))
    gap = np.abs(now["loss"][:n] - before["loss"][:n])
    same_length = len(now["loss"]) == len(before["loss"])
    return {"steps": n, "same_length": same_length, "largest_loss_difference": float(np.nanmax(gap, initial=0.0))}
