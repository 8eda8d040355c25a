"""A report on a real Slurm: one node with two pretended GPUs, started by ``.ci/slurm``. `make test-slurm` runs it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cifar_helpers import plans
from cifar_helpers.data.images import load_cifar10
from cifar_helpers.training.store import Store

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ("06_gradient_predictiveness", "10_why_batchnorm")  # 37 runs, none of them defined in a notebook
PATIENCE = 3600.0  # seconds for one step: a slow machine is no fault; a job that fails ends the wait at once
ENDED_BADLY = "BOOT_FAIL,CANCELLED,DEADLINE,FAILED,NODE_FAIL,OUT_OF_MEMORY,TIMEOUT"


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def runs_here() -> bool:
    if not (os.environ.get("SLURM_CONF") or Path("/etc/slurm/slurm.conf").exists()):
        return False
    try:
        return "UP" in slurm("scontrol", "ping")
    except (OSError, subprocess.SubprocessError):
        return False


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not runs_here(), reason="no Slurm runs here; as root, .ci/slurm start FOLDER starts one"),
]


def send(number: str, task: str) -> None:
    """Signal a task's own process; scancel may stay until the task has ended, so it is not waited for."""
    subprocess.Popen(["scancel", f"--signal={number}", "--batch", task])


def wait_for(what, jobs: str = ""):
    """Wait until ``what`` is so; fail as soon as one of these jobs (numbers with commas between) has ended badly."""
    until = time.monotonic() + PATIENCE
    while not (found := what()):
        failed = slurm("squeue", "-h", "-r", "-j", jobs, "-t", ENDED_BADLY, "-o", "%i %T") if jobs else ""
        assert not failed, f"ended badly: {failed}"
        assert time.monotonic() < until, f"waited in vain; squeue says:\n{slurm('squeue')}"
        time.sleep(0.5)
    return found


def report(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "cifar_course.report", "--profile", "smoke", "--data", "synthetic"]
    command += ["--only", *(name[:2] for name in NOTEBOOKS), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=ROOT)


def state(job: str) -> str:
    return slurm("squeue", "-h", "-j", job, "-o", "%T").replace("\n", " ")


def task_log(store: Store, job: str, task: int) -> str:
    path = store.root / "logs" / f"slurm-{job}_{task}.log"
    return path.read_text() if path.exists() else ""


@pytest.mark.timeout(6 * PATIENCE)
def test_a_smoke_report_as_an_array_with_a_task_killed_and_one_at_its_time_limit(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    fingerprint, store = load_cifar10("synthetic").fingerprint, Store()
    # On the CPU: what Slurm gives here are pretended GPUs, and a job that was given one does not pass over it.
    pretended = ("--executor", "slurm", "--device", "cpu", "--sbatch=--gpus-per-node=1")
    submitted = report(*pretended, "--tasks", "4", "--partition", "main", "--time", "01:00:00")
    assert submitted.returncode == 0, submitted.stderr
    jobs = json.loads(next((store.root / ".batch").glob("slurm-*.jobs")).read_text())
    train, after = jobs["train"], jobs["report"]
    assert "Dependency" in slurm("squeue", "-h", "-j", after, "-o", "%r")

    again = report(*pretended, "--tasks", "4", "--partition", "main")
    assert again.returncode == 2 and f"scancel {train} {after}\n" in again.stderr, "it is in the queue already"

    # Kill the first task in the middle of a run, as a node that dies would, and put it back into the queue.
    wait_for(lambda: task_log(store, train, 0).count("train ") > 2, train)
    send("KILL", f"{train}_0")
    wait_for(lambda: "RUNNING" not in state(f"{train}_0"))
    slurm("scontrol", "requeue", f"{train}_0")
    assert "missing" in report("--status").stdout
    # Tell the last what it is told two minutes before its limit: it goes back into the queue by itself. Its own job
    # number is that of the whole array.
    wait_for(lambda: task_log(store, train, 3).count("train ") > 2, train)
    send("USR1", f"{train}_3")
    wait_for(lambda: f"Job {train}_3 was put back into the queue" in task_log(store, train, 3), train)

    wait_for(lambda: not state(after), f"{train},{after}")
    log = (store.root / "logs" / f"slurm-{after}.log").read_text()
    status = report("--status")
    assert status.returncode == 0, status.stdout + log
    assert "Failed" not in log and log.count(": ok") == len(NOTEBOOKS), log
    trained = [line for line in log.splitlines() if "trained now" in line]
    assert trained and all(" 0 trained now" in line for line in trained), "the array has trained all"
    assert "done " in task_log(store, train, 3).partition("Stopped by SIGUSR1")[2], "it did not come back"
    folder = Path(os.environ["CIFAR_FIGURES"]) / "local" / "smoke"
    assert (folder / "REPORT.md").exists() and list(folder.glob("06_gradient_distance.png"))
    planned = plans.jobs.plan(NOTEBOOKS, {"profile": "smoke"}, lambda c: store.get(c, fingerprint))
    done = [
        line.split()[1]
        for task in range(4)
        for line in task_log(store, train, task).splitlines()
        if line.startswith("done")
    ]
    assert len(set(done)) == len(done), "a finished run was trained twice"
    assert set(done) <= {job.config.folder_name(fingerprint) for job in planned}
