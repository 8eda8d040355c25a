"""Kill campaigns: processes are killed at random moments, and a plain repetition must give the bits of an unbroken run.

Used by test_faults.py (six kills) and by soak.py (a hundred).
"""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
from nbformat.v4 import new_code_cell, new_notebook

from cifar_course.cluster import pool
from cifar_helpers.data.images import load_cifar10
from cifar_helpers.plans.jobs import Job
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.probes import ProbeConfig, read_all
from cifar_helpers.training.store import Store

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("training", "kernel", "driver")
SETTINGS = {"batch_size": 16, "n_items": 320, "eval_every": 40, "eval_items": 60, "test": False, "keep_weights": True}
PROBE = ProbeConfig("same_batch", every=7)
JOBS = (
    Job(RunConfig("VGG_A_Light", steps=40, gradients=True, gaps=(1, 4), precision="fp32", **SETTINGS), (PROBE,)),
    Job(RunConfig("LeNet5", steps=200, augmentation=("crop", "flip"), optimizer="SGD", lr=0.01, **SETTINGS)),
    Job(RunConfig("ConvNet", {"dropout": 0.5}, steps=150, snapshots=(0, 75), **SETTINGS)),
)

DRIVER = """
import sys
from pathlib import Path
from cifar_course.cluster import pool, worker
plan = worker.read_plan(Path(sys.argv[1]))
failed = pool.train(plan["jobs"], plan["data"], plan["fingerprint"], ["cpu"], threads=1)
sys.exit(bool(failed))
"""
CELL = """
import torch
from cifar_course.cluster import worker
from cifar_helpers.data.images import load_cifar10
from cifar_helpers.training import run
torch.set_num_threads(1)
plan, images = worker.read_plan(worker.Path("PLAN")), load_cifar10("synthetic")
for job in plan["jobs"]:
    run.get_run(job.config, images, "cpu", probes=job.probes)
"""
NOTEBOOK = """
import sys
from pathlib import Path
from cifar_course.report import execute
sys.exit(execute.execute(Path(sys.argv[1]), Path(sys.argv[2]), {})["verdict"] != "ok")
"""


@dataclasses.dataclass
class Outcome:
    """What a campaign counts; all but ``kills`` and ``seconds`` must be 0."""

    kills: int = 0
    lost: int = 0
    corrupted: int = 0
    retrained: int = 0
    different: int = 0
    seconds: float = 0.0


def bits(store: Store, fingerprint: str, job: Job) -> dict[str, np.ndarray] | None:
    """Everything a run leaves behind that training decides; None where there is no sound record of it."""
    record = store.get(job.config, fingerprint)
    if record is None:
        return None
    found = {f"step {name}": values for name, values in record.steps.items()}
    found |= {f"weight {name}": tensor.numpy() for name, tensor in record.weights.items()}
    found |= {f"snapshot {s} {n}": t.numpy() for s in job.config.snapshots for n, t in record.snapshot(s).items()}
    for probe, values in read_all(record.folder, job.probes).items():
        found |= {f"{probe.name} {name}": array for name, array in values.values.items()}
    return found


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[n], b[n], equal_nan=a[n].dtype.kind == "f") for n in a)


class Campaign:
    """One folder of runs, killed again and again.

    Args:
        folder: scratch; its ``cache`` and ``whole`` are shared by all campaigns.
        kind: what is killed: the process that trains, a notebook's kernel that trains, or the driver of a worker.
    """

    def __init__(self, folder: Path, kind: str, seed: int):
        self.kind, self.random, self.outcome = kind, random.Random(f"{kind}{seed}"), Outcome()
        self.root = folder / f"{kind}-{seed}"
        self.store, self.whole = Store(self.root / "runs"), Store(folder / "whole")
        self.store.root.mkdir(parents=True)
        self.environment = os.environ | {
            "CIFAR_CACHE": str(folder / "cache"),
            "CIFAR_RUNS": str(self.store.root),
            "CIFAR_CHECKPOINT_SECONDS": "0.2",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        self.fingerprint = load_cifar10("synthetic").fingerprint
        self.plan = pool.write_plan(self.root / "plan.json", JOBS, "synthetic", self.fingerprint, "cpu")

    def start(self) -> subprocess.Popen:
        """Begin, or go on, as the plain command would."""
        command = ["-m", "cifar_course.cluster.worker", str(self.plan), "--threads", "1"]
        if self.kind == "driver":
            command = ["-c", DRIVER, str(self.plan)]
        elif self.kind == "kernel":
            path = self.root / "notebook.ipynb"
            nbformat.write(new_notebook(cells=[new_code_cell(CELL.replace("PLAN", str(self.plan)))]), path)
            command = ["-c", NOTEBOOK, str(path), str(self.root / "out.ipynb")]
        return subprocess.Popen(
            [sys.executable, *command],
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def target(self, process: subprocess.Popen) -> int | None:
        """Process to be killed: the one started, or the kernel below it."""
        if self.kind != "kernel":
            return process.pid
        return kernel_below(process.pid)

    def kill_once(self, longest: float) -> None:
        """Start, kill at a random moment, and look at what is left."""
        before = self.finished()
        process = self.start()
        while not self.target(process) and process.poll() is None:  # a kernel takes its time to start
            time.sleep(0.1)
        until = time.monotonic() + self.random.uniform(0.5, longest)
        while time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
        target = self.target(process)
        if target:
            try:
                os.kill(target, signal.SIGKILL)
                self.outcome.kills += 1
            except ProcessLookupError:
                pass
        process.wait(600)
        self.settle()
        after = self.finished()
        self.outcome.lost += len(set(before) - set(after))
        self.outcome.retrained += sum(after[name] != before[name] for name in set(before) & set(after))
        self.outcome.corrupted += len(list(self.store.root.glob(".damaged/*")))

    def settle(self) -> None:
        """Wait until nothing of it is left: a worker whose driver was killed ends after its step."""
        until = time.monotonic() + 600
        while subprocess.run(["pgrep", "-f", f"{self.root}/"], capture_output=True, check=False).returncode == 0:
            assert time.monotonic() < until, "a process outlives the one that drives it"
            time.sleep(0.1)

    def finished(self) -> dict[str, str]:
        """Digest of every finished record."""
        return {
            path.parent.name: json.loads(path.read_text())["digest"]
            for path in self.store.root.glob("*-*/provenance.json")
        }

    def complete(self) -> None:
        """The plain repetition: it ends well, keeps what was finished, and gives the unbroken runs' bits."""
        before = self.finished()
        process = self.start()
        assert process.wait(600) == 0, f"{self.kind}: the repetition failed"
        after = self.finished()
        self.outcome.retrained += sum(after[name] != digest for name, digest in before.items())
        for job in JOBS:
            found, expected = bits(self.store, self.fingerprint, job), bits(self.whole, self.fingerprint, job)
            self.outcome.different += found is None or not same(found, expected)


def kernel_below(pid: int) -> int | None:
    """The kernel that a process has started, through however many processes between."""
    children: dict[int, list[int]] = {}
    commands = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                commands[int(folder.name)] = (folder / "cmdline").read_text()
                children.setdefault(parent, []).append(int(folder.name))
            except OSError:
                continue
    below = [pid]
    for each in below:
        below += children.get(each, [])
    return next((each for each in below if "ipykernel_launcher" in commands.get(each, "")), None)


def reference(folder: Path) -> float:
    """Train the unbroken runs in ``folder/whole``; seconds that a fresh process takes for all."""
    campaign = Campaign(folder, "training", -1)
    campaign.environment["CIFAR_RUNS"] = str(folder / "whole")
    began = time.monotonic()
    assert campaign.start().wait(600) == 0
    return time.monotonic() - began


def run(folder: Path, kind: str, kills: int, longest: float, seed: int = 0, per_chain: int = 4) -> Outcome:
    """Kill ``kills`` times, at most ``per_chain`` times before the runs are let come to their end."""
    total, began, chain = Outcome(), time.monotonic(), 0
    while total.kills < kills:
        campaign = Campaign(folder, kind, 1000 * seed + chain)
        for _ in range(per_chain):
            campaign.kill_once(longest)
        campaign.complete()
        if not campaign.outcome.kills:  # all ended first: the machine is quicker than when ``longest`` was measured
            longest /= 2
        for name in ("kills", "lost", "corrupted", "retrained", "different"):
            setattr(total, name, getattr(total, name) + getattr(campaign.outcome, name))
        chain += 1
    total.seconds = time.monotonic() - began
    return total
