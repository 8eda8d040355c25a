"""Plans, workers, drivers and what Slurm is told: with real processes on small runs."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from cifar_course.cluster import pool, slurm, worker
from cifar_course.report import cli, status
from cifar_helpers import plans, signals
from cifar_helpers.data.images import load_cifar10
from cifar_helpers.env import CourseError
from cifar_helpers.plans.jobs import Job
from cifar_helpers.plans.profiles import PROFILES
from cifar_helpers.training import loop, probes, run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.probes import ProbeConfig
from cifar_helpers.training.store import BusyError, Store, failure, give_up, log_path, try_again

ROOT = Path(__file__).resolve().parents[1]
SMALL = RunConfig("LeNet5", steps=6, batch_size=16, n_items=160, eval_every=6, eval_items=60, test=False)
LONG = dataclasses.replace(SMALL, steps=20_000, eval_every=20_000)


def wait_for(what, seconds: float = 600):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIFAR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load_cifar10("synthetic")


# --- the plan ------------------------------------------------------------------------------------------------------


def test_every_notebook_that_trains_declares_its_runs():
    import nbformat

    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]*_*.ipynb")):
        code = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
        assert bool(re.search(r"page\.(runs|sweep)\(|(Landscape|Bench)\(page", code)) == (
            path.stem in plans.jobs.NOTEBOOKS
        )
        if path.stem in plans.jobs.NOTEBOOKS:
            name = plans.jobs.NOTEBOOKS[path.stem].__name__
            assert re.search(rf"plans\.jobs\.{name}\((page\.)?profile, seed", code)


def test_a_plan_holds_every_run_once_with_the_probes_of_all_who_share_it():
    stems = list(plans.jobs.NOTEBOOKS)
    for profile in PROFILES:
        jobs = plans.jobs.plan(stems, {"profile": profile, "seed": 0, "gap": 4})
        assert len({job.config for job in jobs}) == len(jobs)
        shared = [job for job in jobs if {"04", "05", "06", "07"} <= set(job.notebooks)]
        assert len(shared) == sum(len(job.notebooks) >= 4 for job in jobs) > 0
        assert any(job.probes for job in shared)
    alone = plans.jobs.plan(["04_bn_comparison"], {"profile": "smoke", "n_items": 100})
    assert {job.config.n_items for job in alone} == {100} and {n for j in alone for n in j.notebooks} == {"04"}


def test_the_appendix_of_02_reads_some_of_its_runs_and_trains_more():
    jobs = {n: plans.jobs.plan([n], {"profile": "laptop"}) for n in ("02_simple_net", "02b_sweeps")}
    mine, more = ({job.config for job in found} for found in jobs.values())
    assert mine & more and more - mine and {job.notebooks for job in jobs["02b_sweeps"]} == {("02b",)}
    shown = [plans.profiles.only_shows("quick", name) for name in ("02b_sweeps", "05_loss_landscape")]
    assert shown == [True, False]


def test_jobs_survive_json_and_refuse_anything_else():
    job = Job(SMALL, (ProbeConfig("same_batch", every=2),), ("04", "05"))
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job
    for wrong in (
        {},
        {"config": {}, "probes": [{"x": 1}], "notebooks": []},
        {"config": 3, "probes": [], "notebooks": []},
    ):
        with pytest.raises(CourseError, match="Not a run"):
            Job.from_json(wrong)


def test_the_greedy_tuning_joins_the_plan_choice_by_choice():
    from cifar_helpers import plans

    class Known:
        diverged_at = None

        def __init__(self, config):
            self.epochs = [{"validation_accuracy": config.lr + config.batch_size / 1e6}]

    certain = plans.recipes.greedy_so_far(lambda config: None, "quick")
    assert certain == list(dict.fromkeys(plans.recipes.alexnet("quick", batch_norm=b) for b in (False, True)))
    whole = plans.recipes.greedy_so_far(Known, "quick")
    assert [row["run"].epochs for row in plans.recipes.greedy(lambda cs: [Known(c) for c in cs], "quick")]
    assert len(whole) > len(certain) and set(certain) <= set(whole)


def test_the_state_of_a_job(images, store):
    probe = ProbeConfig("same_batch", every=2)
    job, wanting = Job(SMALL), Job(SMALL, (probe,))
    assert plans.jobs.state(job, images.fingerprint, store) == "missing"
    give_up(store, SMALL, images.fingerprint, "no luck")
    assert plans.jobs.state(job, images.fingerprint, store) == "failed"
    try_again(store, SMALL, images.fingerprint)
    store.checkpoint_path(SMALL, images.fingerprint).parent.mkdir(parents=True)
    store.checkpoint_path(SMALL, images.fingerprint).write_bytes(b"")
    assert plans.jobs.state(job, images.fingerprint, store) == "unfinished"
    run.get_run(SMALL, images, "cpu", store)
    assert plans.jobs.state(job, images.fingerprint, store) == "recorded"
    assert plans.jobs.state(wanting, images.fingerprint, store) == "probes missing"
    assert "nothing is left" in plans.forecast.outlook([job], images.fingerprint, store)
    assert "the other 1" in plans.forecast.outlook([job, Job(LONG)], images.fingerprint, store)


def test_times_are_predicted_from_the_most_similar_runs(images, store, tmp_path, monkeypatch):
    monkeypatch.setattr("cifar_helpers.training.store.ROOT", tmp_path)  # where nothing is published
    record = run.get_run(SMALL, images, "cpu", store)
    found = plans.forecast.Speeds(store)
    took = record.provenance["wall_seconds"]
    (card,) = found.cards
    assert found.seconds(Job(SMALL), card) == pytest.approx(took)
    twice = dataclasses.replace(SMALL, steps=12)
    assert found.seconds(Job(twice), card) == pytest.approx(2 * took)
    assert found.seconds(Job(dataclasses.replace(SMALL, batch_size=32)), card) == pytest.approx(2 * took)
    assert found.seconds(Job(RunConfig("MyNet")), card) is None
    text = "\n".join(plans.forecast.lines([Job(SMALL), Job(twice), Job(RunConfig("MyNet"))], images.fingerprint, store))
    assert "3 runs: 1 recorded, 2 missing" in text and "1 runs of no known time" in text and "at least" in text


def test_a_plan_says_where_no_run_is_recorded_on_a_gpu(images, store):
    run.get_run(SMALL, images, "cpu", store)
    more = Job(dataclasses.replace(SMALL, seed=1))

    def said(jobs, gpu=True):
        return "No run is recorded on a GPU" in "\n".join(
            plans.forecast.lines(jobs, images.fingerprint, store, gpu=gpu)
        )

    assert said([more]) and not said([more], gpu=False) and not said([Job(SMALL)])
    path = store.get(SMALL, images.fingerprint).folder / "provenance.json"
    made = json.loads(path.read_text())
    for number in range(5):  # the GPU has the fewest runs, and is shown all the same
        folder = store.root / f"other-{number}"
        folder.mkdir()
        (folder / "config.json").write_text((path.parent / "config.json").read_text())
        made["machine"] |= {"threads": 2 + number, "gpu": "H200" if number == 4 else None}
        (folder / "provenance.json").write_text(json.dumps(made))
        made["machine"]["cpu"] = f"cpu {number % 4}"
    assert not said([more])
    assert "  A: H200: " in "\n".join(plans.forecast.lines([more], images.fingerprint, store, gpu=True))


def test_the_plan_of_the_whole_course_prints_without_torch(tmp_path):
    call = "main(['--profile', 'full', '--plan', '--data', 'synthetic'])"
    code = f"import sys; from cifar_course.report.cli import main; {call}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0 and "VGG_A_BatchNorm" in done.stdout, done.stderr
    lines = done.stdout.strip().splitlines()
    sums = lines[: lines.index("")]
    assert sums[0].endswith(" missing.") and "nothing counts as recorded" in done.stdout
    assert lines[-len(sums) :] == sums and len(lines) > 100


# --- workers -------------------------------------------------------------------------------------------------------


def test_a_worker_trains_what_is_missing_and_writes_down_what_fails(images, store, monkeypatch):
    broken = dataclasses.replace(SMALL, model_args={"no_such": 1})
    probed = Job(SMALL, (ProbeConfig("same_batch", every=2),))
    said = []
    worker.work([Job(broken), probed], images, "cpu", store, said.append)
    assert [line.split()[0] for line in said] == ["train", "failed", "train", "done"]
    assert plans.jobs.state(probed, images.fingerprint, store) == "recorded"
    noted = failure(store, broken, images.fingerprint)
    assert "no_such" in noted["error"] and "no_such" in Path(noted["log"]).read_text(encoding="utf-8")
    worker.work([Job(broken), probed], images, "cpu", store, said.append)
    assert len(said) == 4  # neither is begun again


def test_a_worker_leaves_alone_what_another_trains(images, store):
    other = dataclasses.replace(SMALL, seed=1)
    said = []
    with store.lock(SMALL, images.fingerprint):
        with pytest.raises(BusyError):
            run.get_run(SMALL, images, "cpu", store, wait=False)
        worker.work([Job(SMALL), Job(other)], images, "cpu", store, said.append, wait=False)
    assert said[-1] == "1 runs are being trained by others" and store.get(other, images.fingerprint)
    assert store.get(SMALL, images.fingerprint) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_ends_training_with_a_checkpoint_and_the_run_goes_on_to_the_same_bits(number, images, store, light):
    whole = run.get_run(light, images, "cpu", Store(store.root / "whole"))
    seen = []

    class Sending(loop.Recorder):
        def before_update(self, loss):
            super().before_update(loss)
            seen.append(1)
            if len(seen) == 5:
                os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(signals.Stopped), signals.listening():
        patch.setattr(run, "Recorder", Sending)
        run.get_run(light, images, "cpu", store)
    assert store.checkpoint_path(light, images.fingerprint).exists() and signals.asked() is None
    again = run.get_run(light, images, "cpu", store)
    assert again.provenance["resumed"] == 1
    assert all(np.array_equal(again.steps[n], whole.steps[n], equal_nan=True) for n in whole.steps)


def start_worker(plan: Path, *arguments: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "cifar_course.cluster.worker", str(plan), "--threads", "1", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def synthetic_plan(store: Store, images, configs, **more) -> Path:
    jobs = [Job(config) for config in configs]
    return pool.write_plan(store.root / "plan.json", jobs, "synthetic", images.fingerprint, "cpu", **more)


def test_a_worker_ends_when_its_driver_is_gone(images, store):
    process = start_worker(synthetic_plan(store, images, [LONG]), "--driven", stdin=subprocess.PIPE)
    log = log_path(store, LONG, images.fingerprint)
    wait_for(log.exists)
    process.stdin.close()
    assert process.wait(600) == 128 + signal.SIGTERM
    assert "Stopped by SIGTERM" in process.stdout.read()


@pytest.mark.parametrize(
    ("plan", "arguments", "message"),
    [
        (None, [], "is no plan"),
        ({"tasks": [[0]]}, ["--task", "3"], "has no task 3; it has 1"),
        ({"fingerprint": "0" * 64}, [], "not those that the plan was made for"),
    ],
)
def test_a_worker_refuses_what_it_cannot_use(plan, arguments, message, images, store):
    path = synthetic_plan(store, images, [SMALL])
    path.write_text("[" if plan is None else json.dumps(json.loads(path.read_text()) | plan))
    process = start_worker(path, *arguments)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 2 and message in error and "Traceback" not in error


# --- the driver ----------------------------------------------------------------------------------------------------


def test_two_workers_share_a_plan_and_train_nothing_twice(images, store, capfd):
    configs = [dataclasses.replace(SMALL, seed=seed) for seed in range(5)]
    jobs = [Job(config) for config in configs]
    assert pool.train(jobs, "synthetic", images.fingerprint, ["cpu"], 2, store) == {}
    made = [store.get(config, images.fingerprint).provenance["finished_unix"] for config in configs]
    assert pool.train(jobs, "synthetic", images.fingerprint, ["cpu"], 2, store) == {}
    assert [store.get(config, images.fingerprint).provenance["finished_unix"] for config in configs] == made
    assert "[5/5] done LeNet5" in capfd.readouterr().out
    assert not list((store.root / ".batch").glob("plan-*"))


# 12 s on a slow machine: two workers are killed, each after it has imported torch and begun to train.
def test_a_worker_that_dies_is_replaced_and_a_run_that_kills_two_is_given_up(images, store, capfd):
    killed = []

    def killer():
        log = log_path(store, LONG, images.fingerprint)
        for _ in range(pool.DEATHS):
            wait_for(log.exists)
            time.sleep(0.3)
            (found,) = subprocess.run(
                ["pgrep", "-f", f"cifar_course.cluster.worker {store.root}"], capture_output=True, text=True, check=True
            ).stdout.split()
            log.unlink()
            os.kill(int(found), signal.SIGKILL)
            killed.append(found)

    thread = threading.Thread(target=killer)
    thread.start()
    failed = pool.train([Job(LONG), Job(SMALL)], "synthetic", images.fingerprint, ["cpu"], 1, store)
    thread.join()
    assert len(set(killed)) == pool.DEATHS
    assert list(failed) == [Job(LONG)] and "killed by SIGKILL (often: out of memory), 2 of 2 times" in failed[Job(LONG)]
    assert store.get(SMALL, images.fingerprint)


def test_a_worker_that_cannot_begin_says_why(images, store):
    with pytest.raises(CourseError, match="cuda:7' is not available"):
        pool.train([Job(SMALL)], "synthetic", images.fingerprint, ["cuda:7"], 1, store)


def test_a_worker_has_a_thread():
    assert pool.threads_each(1000) == 1


def test_a_verdict_is_that_of_these_runs_and_says_when_they_are_newer(images, store):
    record = run.get_run(SMALL, images, "cpu", store)
    made, stem = record.provenance["finished_unix"], "09_autograd"
    jobs = [Job(SMALL, notebooks=("09",))]

    def line(fingerprint=images.fingerprint, jobs=jobs, store=store):
        return status.on_notebook(stem, "smoke", jobs, fingerprint, store)[0]

    assert line() == f"notebook {stem}: not run yet"
    status.keep_verdict({"notebook": stem, "verdict": "ok", "ended": made + 90}, "smoke", images.fingerprint, store)
    ended = datetime.fromtimestamp(made + 90).astimezone()
    assert line() == f"notebook {stem}: ok, ended {ended:%Y-%m-%d %H:%M %Z}"
    assert line(store=Store(store.root / "other")) == line("0" * 64) == line(None) == f"notebook {stem}: not run yet"
    status.keep_verdict({"notebook": stem, "verdict": "ok", "ended": made - 90}, "smoke", images.fingerprint, store)
    assert line().endswith(", older than its runs")
    assert not line(jobs=[Job(SMALL, notebooks=("02",))]).endswith("runs")  # another notebook's


# --- Slurm, as far as it goes without one --------------------------------------------------------------------------


def test_an_array_is_shared_out_evenly(images, store):
    run.get_run(SMALL, images, "cpu", store)
    jobs = [Job(dataclasses.replace(SMALL, seed=seed, steps=6 * (1 + seed))) for seed in range(6)]
    shares = slurm.split(jobs, store, 3)
    assert sorted(i for share in shares for i in share) == list(range(6)) and len(shares) == 3
    assert len(slurm.split(jobs, store, 99)) == 6
    assert len(slurm.split(jobs, store)) == 6 and len(slurm.split(jobs, store, gpu=False)) == 1  # no GPU's times known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "3"], "add --executor slurm"),
        (["--partition", "gpu"], "add --executor slurm"),
        (["--yes"], "belongs to --prune"),
        (["--jobs-per-gpu", "0"], "at least 1"),
        (["--executor", "slurm", "--tasks", "0"], "at least 1"),
        (["--executor", "slurm", "--jobs-per-gpu", "2"], "ask for more --tasks"),
        (["--again"], "add --executor slurm"),
        (["--executor", "slurm", "--device", "cuda:1"], "Write --device cuda."),
        (["--executor", "slurm", "--sbatch", "reservation=ai"], "'reservation=ai' has none"),
        (["--executor", "slurm", "--sbatch", "batch/evil.sh"], "with its dashes, as in --sbatch=--reservation=ai"),
        (["--cell-minutes", "nan"], "positive number of minutes"),
        (["--plan", "--status"], "not allowed with"),
        (["--executor", "slurm", "--requeue", "17"], "not for the command that submits it"),
    ],
)
def test_options_that_contradict_or_make_no_sense_are_refused(arguments, message, capsys):
    try:
        assert cli.main(["--profile", "smoke", "--data", "synthetic", *arguments]) == 2
    except SystemExit as end:  # argparse
        assert end.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is the device that must be absent")
def test_a_plan_may_be_made_for_a_device_that_is_not_here(images, capsys):
    load_cifar10("synthetic")
    arguments = ["--data", "synthetic", "--only", "09", "--device", "cuda", "--plan"]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "No profile given: full, as usual on cuda." in shown
    assert "Planned for cuda, which this machine does not have" in shown
    assert cli.main([*arguments, "--executor", "slurm", "--tasks", "7"]) == 0
    assert "would submit 2 array tasks" in capsys.readouterr().out  # one run each
    assert cli.main([*arguments[:-3], "--device", "auto", "--profile", "smoke", "--plan"]) == 0
    assert "Planned for" not in capsys.readouterr().out


def fake(folder: Path, name: str, script: str) -> Path:
    """A program of the given name, as a shell script."""
    path = folder / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def slurm_job(tmp_path, monkeypatch):
    """This process as a job of a Slurm whose programs are set by the test."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setattr(worker, "SQUEUE_SECONDS", 0.01)
    fake(tmp_path, "scontrol", f'echo "$@" >> {tmp_path}/asked')
    return tmp_path


def test_squeue_is_asked_again_before_its_silence_is_believed(slurm_job, monkeypatch):
    count = f"echo . >> {slurm_job}/tries; "
    fake(slurm_job, "squeue", f"{count}[ $(wc -l < {slurm_job}/tries) -ge 3 ] && echo RUNNING")
    assert worker.requeue("17") == (True, "Job 17 was put back into the queue.\n")
    assert (slurm_job / "asked").read_text() == "requeue 17\n" and (slurm_job / "tries").read_text() == ".\n" * 3
    fake(slurm_job, "squeue", f"{count}exit 1")
    done, line = worker.requeue("17")
    assert not done and "Job 17 was not put back into the queue: squeue says nothing about it" in line
    assert (slurm_job / "tries").read_text() == ".\n" * (3 + worker.SQUEUE_TRIES)
    (slurm_job / "bin/squeue").unlink()
    monkeypatch.setenv("PATH", str(slurm_job / "bin"))
    assert "squeue says nothing" in worker.requeue("17")[1]
    (slurm_job / "bin/scontrol").unlink()
    assert "there is no scontrol here" in worker.requeue("17")[1]


@pytest.mark.parametrize(
    ("job", "environment"),
    [
        (None, {}),  # somebody's own salloc or JupyterHub job
        ("18", {}),
        ("17", {"SLURM_TASK_PID": "1"}),  # started inside the job, not by Slurm
        ("17", {"SLURM_JOB_ID": None}),
        ("17", {"SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "3"}),  # one task has the whole array's number
        ("11_3", {}),
        ("11_3", {"SLURM_ARRAY_JOB_ID": "11"}),  # half set
        ("11_3", {"SLURM_ARRAY_TASK_ID": "3"}),
        ("11_", {"SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": ""}),
        ("11_None", {"SLURM_ARRAY_JOB_ID": "11"}),
        ("", {"SLURM_JOB_ID": ""}),
    ],
)
def test_nothing_is_put_back_into_the_queue_but_the_processs_own_job(job, environment, slurm_job, monkeypatch):
    fake(slurm_job, "squeue", "echo RUNNING")
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name)
    done, line = worker.requeue(job)
    assert not done and not (slurm_job / "asked").exists() and ("not that job's own task" in line) == (job is not None)


def test_an_arrays_task_puts_itself_back(slurm_job, monkeypatch):
    fake(slurm_job, "squeue", "echo RUNNING")
    for name, value in (("ARRAY_JOB_ID", 11), ("ARRAY_TASK_ID", 3), ("JOB_ID", 11), ("TASK_PID", os.getpid())):
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert worker.requeue("11_3")[0] and (slurm_job / "asked").read_text() == "requeue 11_3\n"


def test_a_driven_worker_and_a_report_of_ones_own_leave_the_job_alone(slurm_job, images, store):
    fake(slurm_job, "squeue", "echo RUNNING")
    driven = start_worker(synthetic_plan(store, images, [LONG]), "--driven", stdin=subprocess.PIPE)
    wait_for(log_path(store, LONG, images.fingerprint).exists)
    driven.send_signal(signal.SIGTERM)  # as a driver does after a Ctrl-C
    assert driven.wait(600) == 128 + signal.SIGTERM
    both = start_worker(synthetic_plan(store, images, [LONG]), "--driven", "--requeue", "17")
    assert both.wait(600) == 2 and "not allowed with" in both.stderr.read()
    assert not (slurm_job / "asked").exists()


def stop_at_once(*arguments, **options):
    raise signals.Stopped


@pytest.mark.parametrize(("arguments", "asked"), [([], False), (["--requeue", "17"], True)])
def test_a_stopped_report_goes_back_only_where_it_is_told_its_job(arguments, asked, slurm_job, monkeypatch, capsys):
    fake(slurm_job, "squeue", "echo RUNNING")
    monkeypatch.setattr(cli, "run_report", stop_at_once)
    assert cli.main(["--profile", "smoke", "--data", "synthetic", *arguments]) == 130
    assert (slurm_job / "asked").exists() == asked and ("Job 17" in capsys.readouterr().err) == asked


def submitted(script: str, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    """What one of the submitted scripts starts, as words in ``stdout``."""
    python = fake(folder, "python", 'echo "$@"')
    environment = {"PATH": os.environ["PATH"], "COURSE_PYTHON": str(python), "COURSE_PLAN": "p.json"} | environment
    command = ["bash", str(ROOT / "batch" / script), *words]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)


def test_the_submitted_scripts_name_their_own_job(tmp_path):
    array = {"SLURM_JOB_ID": "19", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "2"}
    said = submitted("train.sbatch", tmp_path, **array).stdout
    assert said == "-m cifar_course.cluster.worker p.json --task 2 --requeue 17_2\n"
    said = submitted("notebooks.sbatch", tmp_path, "--profile", "smoke", SLURM_JOB_ID="18").stdout
    assert said == "-m cifar_course.report --profile smoke --requeue 18\n"
    for name in array:
        rest = {other: value for other, value in array.items() if other != name}
        ended = submitted("train.sbatch", tmp_path, **rest)
        assert bool(ended.stdout) == (name == "SLURM_JOB_ID") and ("is set by Slurm" in ended.stderr) != bool(
            ended.stdout
        )


# 9 s each on a slow machine: a worker as Slurm starts it, from its first import to its last words.
@pytest.mark.parametrize(
    ("squeue", "scontrol", "why"),
    [("echo COMPLETING", "exit 0", "Slurm calls it COMPLETING"), ("echo RUNNING", "echo Held >&2; exit 1", "Held")],
)
def test_a_task_says_why_it_was_not_put_back(squeue, scontrol, why, slurm_job, images, store):
    fake(slurm_job, "squeue", squeue)
    fake(slurm_job, "scontrol", scontrol)
    process = start_worker(synthetic_plan(store, images, [LONG]), "--requeue", "17")
    wait_for(log_path(store, LONG, images.fingerprint).exists)
    process.send_signal(signal.SIGUSR1)
    shown, _ = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGUSR1
    assert "Stopped by SIGUSR1; finished runs are kept, the others go on from here.\n" in shown
    assert f"\nJob 17 was not put back into the queue: {why}. The same command goes on from here.\n" in shown


# --- The script for papermill alone --------------------------------------------------------------------------------


def papermill_job(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """``report.sbatch`` in a course of three notebooks, with a Python that writes down what it is asked to do."""
    (folder / "cifar_helpers").symlink_to(ROOT / "cifar_helpers")
    (folder / "notebooks").mkdir()
    for name in ("01_a", "02_b", "03_c"):
        (folder / "notebooks" / f"{name}.ipynb").write_text("")
    stand_in = fake(folder, "python", f'[ "$1" = -c ] && exit; echo "$*" >> {folder}/done; exec sleep "${{NAP:-0}}"')
    environment = os.environ | {"COURSE_PYTHON": str(stand_in), "SLURM_SUBMIT_DIR": str(folder)} | environment
    command = ["bash", str(ROOT / "batch" / "report.sbatch"), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        (["full"], "cifar10"),
        (["smoke"], "synthetic"),
        (["quick"], "cifar10"),
        (["quick", "auto"], "auto"),
        (["smoke", "synthetic", "cpu"], "synthetic"),
    ],
)
def test_the_script_takes_the_profiles_data_which_is_never_drawn_by_surprise(arguments, data, tmp_path):
    process = papermill_job(tmp_path, *arguments)
    assert process.wait(600) == 0, process.stderr.read()
    calls = (tmp_path / "done").read_text().splitlines()
    assert len(calls) == 3 and all(f"-p profile {arguments[0]} -p data {data} " in call for call in calls)
    device = arguments[2] if len(arguments) > 2 else "auto"
    assert all(f" -p device {device} -p reuse False" in call for call in calls)


def test_the_script_does_not_begin_days_of_training_outside_slurm_by_surprise(tmp_path):
    process = papermill_job(tmp_path)
    assert process.wait(600) == 2 and "Name a profile" in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "python", "message"),
    [
        (["huge"], None, f"Unknown profile 'huge'; choose one of {', '.join(('published', *PROFILES))}."),
        (["quick"], "/no/such/python", "set COURSE_PYTHON"),
        (["quick", "/no/such/images"], sys.executable, "No data at /no/such/images"),
        (["smoke", "synthetic", "gpu"], sys.executable, "Device 'gpu' is not available here"),
    ],
)
def test_the_script_refuses_once_what_it_cannot_use(arguments, python, message, tmp_path):
    process = papermill_job(tmp_path, *arguments, **({"COURSE_PYTHON": python} if python else {}))
    _, error = process.communicate(timeout=600)
    assert process.returncode == 2 and error.count(message) == 1 and not (tmp_path / "done").exists()


@pytest.mark.parametrize(("answer", "status", "said"), [(0, 0, "was put back"), (1, 138, "was not put back")])
def test_near_its_limit_the_script_ends_its_notebook_and_goes_back_into_the_queue(answer, status, said, slurm_job):
    fake(slurm_job, "scontrol", f'echo "$@" >> {slurm_job}/asked; kill -TERM $PPID; exit {answer}')  # as Slurm does
    process = papermill_job(slurm_job, "smoke", NAP="60")
    wait_for((slurm_job / "done").exists)
    process.send_signal(signal.SIGUSR1)
    shown = "".join(process.communicate(timeout=600))
    assert process.returncode == status and f"01_a.ipynb stopped; the job {said} into the queue" in shown
    assert "failed" not in shown and len((slurm_job / "done").read_text().splitlines()) == 1
    assert (slurm_job / "asked").read_text() == "requeue 17\n"


def test_the_script_run_by_hand_inside_a_job_leaves_that_job_alone(slurm_job):
    process = papermill_job(slurm_job, "smoke", NAP="60", SLURM_TASK_PID="1")
    wait_for((slurm_job / "done").exists)
    process.send_signal(signal.SIGUSR1)
    assert "the job was not put back into the queue" in process.communicate(timeout=600)[1]
    assert process.returncode == 138 and not (slurm_job / "asked").exists()


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A Slurm that numbers jobs from 17 and knows those in the file ``queued``: a folder with ``calls`` of sbatch."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    fake(
        tmp_path,
        "sbatch",
        f"exec {sys.executable} - \"$@\" <<'END'\nimport json, os, pathlib, sys\n"
        f"log = pathlib.Path({str(tmp_path / 'calls')!r})\n"
        "before = log.read_text() if log.exists() else ''\n"
        "log.write_text(before + json.dumps([sys.argv[1:], os.environ['COURSE_PLAN']]) + '\\n')\n"
        "print(f'{17 + len(before.splitlines())};cluster')\nEND",
    )
    (tmp_path / "queued").write_text("")
    asked = f'for jobs; do :; done; echo "$*" >> {tmp_path}/asked\n'
    fake(tmp_path, "squeue", f'{asked}grep -E "^ *(${{jobs//,/|}})[_ ]" {tmp_path}/queued || exit 0')
    return tmp_path


SUBMIT = ["--profile", "smoke", "--data", "synthetic", "--only", "04", "--executor", "slurm", "--tasks", "3"]


def calls_of(cluster: Path) -> list:
    return [json.loads(line) for line in (cluster / "calls").read_text().splitlines()]


def test_what_the_user_gives_reaches_sbatch_as_arguments_and_never_a_shell(cluster, images, capsys):
    nasty = "gpu; touch /tmp/owned $(id)"
    assert cli.main([*SUBMIT, "--partition", nasty, "--at-most", "2"]) == 0
    train, after = calls_of(cluster)
    assert f"--partition={nasty}" in train[0] and "--array=0-2%2" in train[0] and "--gpus-per-node=1" in train[0]
    assert "--dependency=afterany:17" in after[0] and train[1] == after[1]
    plan = json.loads(Path(train[1]).read_text(encoding="utf-8"))
    assert train[0][-1].endswith("/train.sbatch")
    assert after[0][-1 - len(plan["report"])].endswith("/notebooks.sbatch")
    assert after[0][-len(plan["report"]) :] == plan["report"]
    assert plan["report"][:2] == ["--profile", "smoke"] and "--executor" not in plan["report"]
    assert sorted(i for share in plan["tasks"] for i in share) == list(range(len(plan["jobs"])))
    shown = capsys.readouterr().out
    assert "runs in 3 tasks: job 17\nnotebooks and report after them: job 18\n" in shown
    assert cli.main([*SUBMIT, "--device", "cpu"]) == 0
    assert "--gpus-per-node=1" not in calls_of(cluster)[-1][0]


def test_what_is_in_the_queue_is_not_submitted_again(cluster, images, capsys):
    assert cli.main(SUBMIT) == 0
    (cluster / "queued").write_text("17 RUNNING\n17 PENDING\n17 PENDING\n18 PENDING\n99 RUNNING\n")
    for more in ([], ["--partition", "other"], ["--device", "cuda"]):  # with another device it is another report
        assert cli.main([*SUBMIT, *more]) == 2
        said = capsys.readouterr().err
        assert "job 17: 1 running, 2 pending\n  job 18: 1 pending\n" in said and "scancel 17 18\n" in said
        assert "--again" in said and "99" not in said
    assert len(calls_of(cluster)) == 2
    assert cli.main([*SUBMIT[:5], "09", *SUBMIT[6:]]) == 0  # other runs
    assert cli.main([*SUBMIT, "--again"]) == 0 and len(calls_of(cluster)) == 6
    (cluster / "queued").write_text("")
    assert cli.main(SUBMIT) == 0 and len(calls_of(cluster)) == 8

    fake(cluster, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")  # one that ended
    assert cli.main(SUBMIT) == 0 and "not known" not in capsys.readouterr().out
    fake(cluster, "squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    assert cli.main(SUBMIT) == 0 and len(calls_of(cluster)) == 12
    assert "still in the queue is not known: squeue fails: Unable to contact" in capsys.readouterr().out


def test_notebooks_alone_are_not_queued_twice_either(cluster, images, capsys, monkeypatch):
    monkeypatch.setattr(cli.Report, "missing", lambda self: [])
    assert cli.main(SUBMIT) == 0
    said = capsys.readouterr().out
    assert "Every run is recorded" in said and "Notebooks and report: job 17\n" in said and "after them" not in said
    (cluster / "queued").write_text("17 PENDING\n")
    assert cli.main(SUBMIT) == 2 and "scancel 17\n" in capsys.readouterr().err


def test_status_asks_about_every_submission(cluster, images, capsys):
    for number in ("04", "09", "04"):
        assert cli.main([*SUBMIT[:5], number, *SUBMIT[6:]]) == 0
    (cluster / "queued").write_text("  17_2 PENDING\n    18 PENDING\n  21_0 RUNNING\n")
    cli.main([*SUBMIT[:6], "--status"])
    shown = capsys.readouterr().out
    assert "JOBID" in shown and all(line in shown for line in ("  17_2 PENDING", "    18 PENDING", "  21_0 RUNNING"))
    earlier, last = (cluster / "asked").read_text().splitlines()[-2:]
    assert earlier.endswith("-j 17,18,19,20") and "-t all" not in earlier  # ended ones are history
    assert last.endswith("-j 21,22") and "-t all" in last
    fake(cluster, "squeue", "exit 3")
    cli.main([*SUBMIT[:6], "--status"])
    assert "is not shown: squeue fails: status 3." in capsys.readouterr().out


def test_an_array_without_its_report_is_remembered(cluster, images, capsys):
    script = (cluster / "bin/sbatch").read_text().replace("#!/bin/bash", "")
    fake(cluster, "sbatch", f'[[ "$*" == *notebooks.sbatch* ]] && {{ echo "too many jobs" >&2; exit 1; }}{script}')
    assert cli.main(SUBMIT) == 2
    said = capsys.readouterr().err
    assert "sbatch refused: too many jobs" in said and "job 17, stays in the queue" in said
    assert Path(calls_of(cluster)[0][1]).is_file()  # its tasks read it
    (cluster / "queued").write_text("17 PENDING\n")
    assert cli.main(SUBMIT) == 2 and "scancel 17\n" in capsys.readouterr().err


def test_a_refusal_where_nothing_is_left_to_train_is_sbatch_s_own_words(cluster, tmp_path):
    fake(cluster, "sbatch", 'echo "invalid partition" >&2; exit 1')
    plan = tmp_path / "runs" / ".batch" / "plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_text("{}", encoding="utf-8")
    with pytest.raises(CourseError, match="sbatch refused: invalid partition$"):
        slurm.submit(plan, 0, [], [])


def test_without_sbatch_it_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["--profile", "smoke", "--data", "synthetic", "--executor", "slurm"]) == 2
    assert "There is no sbatch here" in capsys.readouterr().err


# --- status and pruning --------------------------------------------------------------------------------------------


def test_status_names_what_failed_and_what_is_missing(images, capsys, monkeypatch):
    arguments = ["--profile", "smoke", "--data", "synthetic", "--only", "09"]
    jobs = plans.jobs.plan(["09_autograd"], {"profile": "smoke"})
    load_cifar10("synthetic")
    give_up(Store(), jobs[0].config, images.fingerprint, "the reason")
    run.get_run(jobs[1].config, images, "cpu")
    assert cli.main([*arguments, "--status"]) == 1
    shown = capsys.readouterr().out
    assert "the reason" in shown and f"2 training runs in {Store().root}: 1 failed, 1 recorded." in shown
    assert "notebook 09_autograd: not run yet" in shown
    for job in jobs:
        run.get_run(job.config, images, "cpu")
    assert cli.main([*arguments, "--status"]) == 1, "all is recorded, and the notebook was not run"
    (Store().root / jobs[1].config.folder_name(images.fingerprint) / "config.json").unlink()
    cli.main([*arguments, "--status"])
    assert "1 recorded, 1 damaged." in capsys.readouterr().out.splitlines()[-3]


def test_prune_frees_only_what_no_notebook_needs_and_asks_first(images, capsys):
    load_cifar10("synthetic")
    needed = next(j.config for j in plans.jobs.plan(["08_insight"], {"profile": "smoke"}) if j.config.keep_weights)
    other = dataclasses.replace(SMALL, keep_weights=True)
    kept, freed = (run.get_run(config, images, "cpu") for config in (needed, other))
    assert cli.main(["--prune"]) == 0
    assert "would be freed; add --yes" in capsys.readouterr().out and freed.has_weights
    assert cli.main(["--prune", "--yes"]) == 0
    assert kept.has_weights and not freed.has_weights and Store().get(other, images.fingerprint)


def test_probe_records_are_complete(images, store):
    probe = ProbeConfig("same_batch", every=2)
    record = run.get_run(SMALL, images, "cpu", store)
    assert not plans.jobs.complete(record, Job(SMALL, (probe,)))
    record = run.get_run(SMALL, images, "cpu", store, [probe])
    assert plans.jobs.complete(record, Job(SMALL, (probe,))) and probes.read_all(record.folder, [probe])


def test_a_forecast_reads_the_published_records_once(store, monkeypatch):
    forecast, read = plans.forecast, []
    known = forecast.read_json
    monkeypatch.setattr(forecast, "read_json", lambda path: read.append(path) or known(path))
    forecast._published.cache_clear()
    first = forecast.Speeds(store)
    once = len(read)
    again = forecast.Speeds(store)
    assert once > 100 and len(read) == once and again.known == first.known
