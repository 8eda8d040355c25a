"""The long campaigns of `make soak`: a hundred kills, 200 000 fuzzed inputs, three wrong answers to every exercise
graded by nbgrader; the outcome goes to benchmarks/soak.json.

python tests/soak.py [KILLS [INPUTS [VARIANTS]]]
"""

import dataclasses
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import campaigns
import fuzzing
import submissions
import torch

from cifar_course.hand import grade
from cifar_helpers.data import synthetic
from cifar_helpers.data.images import ImageData, load_cifar10
from cifar_helpers.env import machine_card, read_json, write_atomically

TARGET = Path(__file__).resolve().parents[1] / "benchmarks" / "soak.json"
SHARES = {"archive": 0.06, "record": 0.06, "checkpoint": 0.06, "config": 0.2, "probe": 0.14, "plan": 0.14}
SHARES |= {"parameters": 0.1, "stored values": 0.04, "file names": 0.1, "picture": 0.06, "official files": 0.04}
BAD = ("lost", "corrupted", "retrained", "different")  # what a campaign of kills counts besides the kills


def kill(folder: Path, kills: int, seed: int) -> dict[str, dict]:
    """Outcome of each kind of kill."""
    load_cifar10("synthetic")
    seconds, found = campaigns.reference(folder), {}
    for i, kind in enumerate(campaigns.KINDS):
        share = kills // len(campaigns.KINDS) + (i < kills % len(campaigns.KINDS))
        outcome = campaigns.run(folder, kind, share, seconds, seed)
        found[kind] = dataclasses.asdict(outcome)
        print(f"{kind}: {found[kind]}", flush=True)
    return found


def fuzz(folder: Path, inputs: int, seed: int, given: dict[str, int]) -> None:
    """Count in ``given`` the inputs of each reader; a crash ends the campaign with the input that made it."""
    (train, labels), (test, test_labels) = synthetic.draw(600, 0), synthetic.draw(100, 1)
    tensors = [torch.from_numpy(array) for array in (train, labels, test, test_labels)]
    readers = fuzzing.Readers(folder, ImageData(*tensors, synthetic.CLASSES, "SYNTHETIC", "f" * 64))
    for name, share in SHARES.items():
        given[name], part = 0, 0
        while given[name] < share * inputs:  # hypothesis stops early where it has seen all it can think of
            given[name] += readers.fuzz(name, max(1, min(2000, round(share * inputs) - given[name])), seed + part)
            part += 1
        print(f"{name}: {given[name]} inputs", flush=True)


def answers(folder: Path, variants: int) -> dict[str, int]:
    """Grade wrong answers to every exercise; how many read the check's own message, and how many do not or got a point.

    Those of 01 and 04 are left to test_grading.py.
    """
    course, found = folder / "course", {"named": 0, "not named": 0}
    given = [(f"wrong{variant}", name, variant) for name in submissions.NAMES for variant in range(variants)]
    given = [one for one in given if not one[1].startswith(("01", "04"))]
    grade.prepare(course)
    for student, name, variant in given:
        submissions.hand_in(course, student, name, submissions.wrong(name, variant)[0])
    grade.grade_all(course, (), jobs=2, force=False, minutes=10)
    marks = submissions.marks(course)
    for student, name, variant in given:
        text, parts = submissions.feedback(course, student, name), submissions.wrong(name, variant)[1]
        named = sum(part in text for part in parts) if marks[student, name][0] == 0 else 0
        found["named"] += named
        found["not named"] += len(parts) - named
        print(f"{student} {name}: {named} of {len(parts)} messages", flush=True)
    return found


def keep(part: str, found: dict, seed: int, began: float) -> None:
    """Store the outcome of one campaign beside those of the others."""
    found = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_card("cpu"),
        "seed": seed,
    } | found
    found["minutes"] = round((time.monotonic() - began) / 60, 1)
    write_atomically(TARGET, json.dumps((read_json(TARGET) or {}) | {part: found}, indent=1))


def main(kills: int = 100, inputs: int = 200_000, variants: int = 3) -> int:
    """Run the campaigns; 0 if nothing was lost, damaged, trained twice or different, no reader crashed, and every wrong
    answer was named.
    """
    torch.set_num_threads(1)
    seed, bad = int(time.time()), 0
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        os.environ["CIFAR_CACHE"] = str(Path(scratch) / "cache")
        if kills:
            began, found = time.monotonic(), kill(Path(scratch), kills, seed)
            keep("kills", {"by_kind": found}, seed, began)
            bad = sum(each[name] for each in found.values() for name in BAD)
        if inputs:
            began, folder, given, crashes = time.monotonic(), Path(scratch) / "fuzz", {}, 0
            folder.mkdir()
            try:
                fuzz(folder, inputs, seed, given)
            except BaseException:
                crashes = 1
                raise
            finally:
                keep("inputs", {"by_reader": given, "crashes": crashes}, seed, began)
        if variants:
            began, found = time.monotonic(), answers(Path(scratch), variants)
            keep("answers", found, seed, began)
            bad += found["not named"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
