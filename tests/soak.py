"""The long campaigns of `make soak`: a hundred kills, 200 000 fuzzed inputs; the outcome goes to benchmarks/soak.json.

python tests/soak.py [KILLS [INPUTS]]
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
import torch

from cifar_helpers import synthetic
from cifar_helpers.data import ImageData, load_cifar10
from cifar_helpers.env import machine_card, write_atomically

TARGET = Path(__file__).resolve().parents[1] / "benchmarks" / "soak.json"
SHARES = {"archive": 0.06, "record": 0.06, "checkpoint": 0.06, "config": 0.3, "probe": 0.16, "plan": 0.16}
SHARES |= {"parameters": 0.16, "stored values": 0.04}


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


def fuzz(folder: Path, inputs: int, seed: int) -> dict[str, int]:
    """Inputs given to each reader; a crash ends the campaign with the input that made it."""
    (train, labels), (test, test_labels) = synthetic.draw(600, 0), synthetic.draw(100, 1)
    tensors = [torch.from_numpy(array) for array in (train, labels, test, test_labels)]
    readers = fuzzing.Readers(folder, ImageData(*tensors, synthetic.CLASSES, "SYNTHETIC", "f" * 64))
    given = {}
    for name, share in SHARES.items():
        given[name], part = 0, 0
        while given[name] < share * inputs:  # hypothesis stops early where it has seen all it can think of
            given[name] += readers.fuzz(name, max(1, min(2000, round(share * inputs) - given[name])), seed + part)
            part += 1
        print(f"{name}: {given[name]} inputs", flush=True)
    return given


def main(kills: int = 100, inputs: int = 200_000) -> int:
    """Run both campaigns; 0 if nothing was lost, damaged, trained twice or different, and no reader crashed."""
    torch.set_num_threads(1)
    seed, began = int(time.time()), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        os.environ["CIFAR_CACHE"] = str(Path(scratch) / "cache")
        killed = kill(Path(scratch), kills, seed) if kills else {}
        (Path(scratch) / "fuzz").mkdir()
        given = fuzz(Path(scratch) / "fuzz", inputs, seed) if inputs else {}
    bad = {
        name: sum(each[name] for each in killed.values()) for name in ("lost", "corrupted", "retrained", "different")
    }
    summary = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_card("cpu"),
        "seed": seed,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "kills": sum(each["kills"] for each in killed.values()),
        **bad,
        "fuzzed_inputs": sum(given.values()),
        "crashes": 0,  # a crash would have ended the campaign above
        "by_kind": killed,
        "by_reader": given,
    }
    write_atomically(TARGET, json.dumps(summary, indent=1))
    print(json.dumps({name: value for name, value in summary.items() if not isinstance(value, dict)}, indent=1))
    return 1 if any(bad.values()) else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
