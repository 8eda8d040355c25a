"""What breaks in a batch, with real processes: afterwards the same command gives the bits of an unbroken run."""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import campaigns
import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

from cifar_course.cluster import worker
from cifar_course.report import execute
from cifar_helpers import plans
from cifar_helpers.data.images import load_cifar10
from cifar_helpers.env import CourseError
from cifar_helpers.plans.jobs import Job
from cifar_helpers.training import loop, run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.store import Store, try_again

ROOT = Path(__file__).resolve().parents[1]
SMALL = RunConfig(
    "LeNet5", steps=6, batch_size=16, n_items=160, eval_every=6, eval_items=60, test=False, keep_weights=True
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """Where campaigns take place: cached images, the unbroken runs, and how long these took."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIFAR_CACHE", str(folder / "cache"))
        load_cifar10("synthetic")
        yield folder, campaigns.reference(folder)


# Half a minute each on a slow machine: processes start, train and are killed. `make soak` kills a hundred times.
@pytest.mark.parametrize("kind", campaigns.KINDS)
def test_two_kills_lose_nothing_and_change_no_bit(kind, ground, monkeypatch):
    folder, seconds = ground
    monkeypatch.setenv("CIFAR_CACHE", str(folder / "cache"))
    outcome = campaigns.run(folder, kind, 2, seconds, seed=int(time.time()), per_chain=2)
    assert outcome.kills >= 2
    assert (outcome.lost, outcome.corrupted, outcome.retrained, outcome.different) == (0, 0, 0, 0)


def test_a_campaign_notices_other_bits(ground, monkeypatch):
    folder, _ = ground
    monkeypatch.setenv("CIFAR_CACHE", str(folder / "cache"))
    fingerprint = load_cifar10("synthetic").fingerprint
    whole = campaigns.bits(Store(folder / "whole"), fingerprint, campaigns.JOBS[0])
    assert campaigns.same(whole, whole) and any(name.startswith("probe-") for name in whole)
    for name in ("step loss", next(n for n in whole if n.startswith("weight"))):
        other = whole | {name: whole[name].copy()}
        other[name].reshape(-1)[0] += 1
        assert not campaigns.same(whole, other)


# 14 s on a slow machine: two drivers and their workers.
def test_two_drivers_at_once_train_every_run_once(ground, monkeypatch):
    folder, _ = ground
    monkeypatch.setenv("CIFAR_CACHE", str(folder / "cache"))
    campaign = campaigns.Campaign(folder, "driver", 77)
    first, second = campaign.start(), campaign.start()
    assert (first.wait(600), second.wait(600)) == (0, 0)
    made = campaign.finished()
    campaign.complete()
    assert campaign.finished() == made and campaign.outcome == campaigns.Outcome()
    logs = [path.read_text() for path in (campaign.store.root / "logs").glob("[A-Z]*.log")]
    assert len(logs) == len(campaigns.JOBS) and not any("trained again" in log for log in logs)


@pytest.mark.parametrize(("number", "damage"), list(enumerate(("truncated", "one bit", "weights"), 100)))
def test_a_damaged_record_is_set_aside_and_made_again(number, damage, ground, monkeypatch):
    folder, _ = ground
    monkeypatch.setenv("CIFAR_CACHE", str(folder / "cache"))
    campaign = campaigns.Campaign(folder, "training", number)
    shutil.rmtree(campaign.store.root)
    shutil.copytree(folder / "whole", campaign.store.root)
    record = campaign.store.get(campaigns.JOBS[1].config, campaign.fingerprint)
    path = record.folder / ("weights.safetensors" if damage == "weights" else "steps.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    if damage == "weights":  # they are read only when asked for; then it is said what to do
        with pytest.raises(CourseError, match="the file is damaged.*delete"):
            _ = record.weights
        return
    assert campaign.start().wait(600) == 0
    assert len(list(campaign.store.root.glob(".damaged/*"))) == 1
    for job in campaigns.JOBS:
        found = campaigns.bits(campaign.store, campaign.fingerprint, job)
        assert campaigns.same(found, campaigns.bits(campaign.whole, campaign.fingerprint, job))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], check=False).returncode == 0
    if not mounted:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_loses_nothing_and_the_rest_goes_on_once_there_is_space(small_disk, ground, monkeypatch):
    folder, _ = ground
    monkeypatch.setenv("CIFAR_CACHE", str(folder / "cache"))
    images, store = load_cifar10("synthetic"), Store(small_disk / "runs")
    jobs = [Job(dataclasses.replace(SMALL, seed=seed)) for seed in range(12)]
    said = []
    worker.work(jobs, images, "cpu", store, said.append)
    failed = [line for line in said if line.startswith("failed")]
    finished = {path.parent.name: path.read_bytes() for path in store.root.glob("*-*/provenance.json")}
    assert finished and failed and len(finished) + len(failed) == len(jobs)
    assert all("No space to write" in line and "CIFAR_RUNS" in line for line in failed), failed
    assert not list(store.root.glob(".writing-*"))
    subprocess.run(["mount", "-o", "remount,size=40m", small_disk], check=True)
    for job in jobs:
        try_again(store, job.config, images.fingerprint)
    worker.work(jobs, images, "cpu", store, said.append)
    assert all(plans.jobs.state(job, images.fingerprint, store) == "recorded" for job in jobs)
    assert all((store.root / name / "provenance.json").read_bytes() == content for name, content in finished.items())


def test_a_notebook_that_hangs_is_ended(tmp_path):
    path = tmp_path / "hangs.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("import time\ntime.sleep(600)"), new_code_cell("1")]), path)
    began = time.monotonic()
    result = execute.execute(path, tmp_path / "out.ipynb", {}, cell_minutes=2 / 60)
    assert time.monotonic() - began < 500 and result["verdict"] != "ok"
    assert "cell 0" in result["verdict"] and "--cell-minutes" in result["verdict"]


def test_a_stopped_report_takes_its_notebook_and_kernel_along(tmp_path):
    path = tmp_path / "long.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("import time\ntime.sleep(600)")]), path)
    call = f"execute.execute(Path({str(path)!r}), Path({str(tmp_path / 'out.ipynb')!r}), {{}})"
    code = "from pathlib import Path; from cifar_course.report import execute; from cifar_helpers import signals\n"
    code += f"with signals.interrupting(): {call}"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, cwd=ROOT)
    until = time.monotonic() + 600
    while not (kernel := campaigns.kernel_below(process.pid)):
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(1)
    process.terminate()
    process.wait(600)
    until = time.monotonic() + 300
    while Path(f"/proc/{kernel}").exists():
        assert time.monotonic() < until, "the kernel lives on"
        time.sleep(0.1)


def test_out_of_memory_fails_one_run_names_the_knob_and_spares_the_others(store, small_data, monkeypatch):
    original = loop.train

    def greedy(model, *args, **kwargs):
        if type(model).__name__ == "LeNet5":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(model, *args, **kwargs)

    monkeypatch.setattr(run, "train", greedy)
    other = dataclasses.replace(SMALL, model="MyNet")
    said = []
    worker.work([Job(SMALL), Job(other)], small_data, "cpu", store, said.append)
    assert any(line.startswith("failed LeNet5") and "--jobs-per-gpu" in line and "batch_size" in line for line in said)
    assert store.get(other, small_data.fingerprint)


@pytest.mark.parametrize("skew", [-86_400.0, 86_400.0])
def test_clocks_that_differ_decide_nothing(skew, store, small_data, monkeypatch):
    real = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + skew)
        there = run.get_run(SMALL, small_data, "cpu", store)
    here = run.get_run(SMALL, small_data, "cpu", store)
    assert here.provenance == there.provenance
    jobs = [Job(SMALL)]
    said = []
    worker.work(jobs, small_data, "cpu", store, said.append)
    assert not said and plans.jobs.state(jobs[0], small_data.fingerprint, store) == "recorded"
    assert np.array_equal(here.steps["loss"], there.steps["loss"])
