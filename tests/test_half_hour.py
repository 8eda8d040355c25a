"""Half an hour on one GPU: its steps in order, limited, resumable, with a summary."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cifar_course.cluster import half_hour, half_hour_parts, pool
from cifar_helpers import models, plans
from cifar_helpers.training import run

ROOT = Path(__file__).resolve().parents[1]
CALL = '{"profile": "smoke", "data": "synthetic", "device": "cpu", "jobs": 1}'


@pytest.fixture
def call(monkeypatch) -> half_hour.Call:
    """Steps that are one line of Python each: ``said`` by its name."""
    given = half_hour.Call("smoke", "synthetic", "cpu", 1)
    monkeypatch.setattr(half_hour, "STEPS", {"good": 60, "bad": 60, "slow": 1, "last": 60})
    monkeypatch.setattr(half_hour, "LEAST", 0.5)
    lines = {"good": "print(1)", "bad": "exit(3)", "slow": "import time; time.sleep(30)", "last": "print(2)"}
    monkeypatch.setattr(half_hour.Call, "command", lambda self, step: [sys.executable, "-c", lines[step]])
    given.folder.mkdir(parents=True)
    return given


def states(call) -> dict[str, str]:
    return {step: s["ended"] for step, s in json.loads((call.folder / "states.json").read_text()).items()}


def test_every_step_has_a_limit_and_a_line_in_the_summary(call, capfd):
    assert not half_hour.go(call, list(half_hour.STEPS), 300)
    ended = {"good": "done", "bad": "failed (status 3)", "slow": "cut at its limit", "last": "done"}
    assert states(call) == ended
    summary = (call.folder / "SUMMARY.md").read_text()
    assert all(f"| {step} | {how} |" in summary for step, how in ended.items())
    assert summary.strip() in capfd.readouterr().out


def test_a_second_call_skips_what_is_done_and_what_has_had_its_time(call, capfd):
    half_hour.go(call, list(half_hour.STEPS), 300)
    capfd.readouterr()
    half_hour.go(call, list(half_hour.STEPS), 300)
    said = capfd.readouterr().out
    assert [line.split()[1] for line in said.splitlines() if line.startswith("===")] == ["bad:"]


def test_a_short_call_leaves_the_rest_to_the_next(call, monkeypatch):
    monkeypatch.setattr(half_hour, "STEPS", {"slow": 60, "last": 60})
    assert half_hour.go(call, ["slow", "last"], half_hour.GRACE + 1)
    assert states(call) == {"slow": "cut with the call"}
    assert "| last | not begun | 0 | 60 |" in (call.folder / "SUMMARY.md").read_text()
    half_hour.go(call, ["last"], 300)
    assert states(call) == {"slow": "cut with the call", "last": "done"}


def test_a_signal_ends_the_step_and_the_summary_is_written(scratch):
    command = [sys.executable, "-m", "cifar_course.cluster.half_hour", "--profile", "smoke", "--device", "cpu"]
    with subprocess.Popen([*command, "--only", "tests"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert any(line.startswith("=== tests") for line in process.stdout)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()
    assert process.returncode == 130 and "| tests | cut at its limit |" in said


def test_the_script_passes_its_variables_and_options_on(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    given = {"COURSE_PYTHON": str(python), "PROFILE": "smoke", "DEVICE": "cpu", "DATA": "/a copy", "JOBS": "2"}
    command = ["bash", str(ROOT / "batch/half_hour.sh"), "--only", "times", "vgg"]
    found = subprocess.run(command, env=os.environ | given, capture_output=True, text=True, check=True)
    wanted = ["-m", "cifar_course.cluster.half_hour", "--profile", "smoke", "--data", "/a copy", "--device", "cpu"]
    assert found.stdout.splitlines() == [*wanted, "--jobs", "2", "--only", "times", "vgg"]
    given["COURSE_PYTHON"] = str(tmp_path / "none")
    found = subprocess.run(command, env=os.environ | given, capture_output=True, text=True, check=False)
    assert found.returncode == 2 and "COURSE_PYTHON" in found.stderr


@pytest.fixture
def in_process(monkeypatch, small_data):
    """Parts on small data, their runs trained here instead of by workers."""
    monkeypatch.setattr(half_hour_parts, "load_cifar10", lambda source: small_data)

    def trained(jobs, source, fingerprint, devices, per_device, store, threads=None) -> dict:
        for job in jobs:
            run.get_run(job.config, small_data, devices[0], store, job.probes)
        return {}

    monkeypatch.setattr(pool, "train", trained)

    def call(step: str) -> dict:
        assert half_hour_parts.main([step, CALL]) == 0
        return json.loads((half_hour.Call(**json.loads(CALL)).folder / f"{step}.json").read_text())

    return call


def light(config):
    return replace(config, model="LeNet5", model_args={}, n_items=None, steps=4)


def test_times_go_on_with_the_networks_that_are_missing(in_process, monkeypatch):
    monkeypatch.setattr(models, "known", lambda: ["LeNet5", "VGG"])
    first = in_process("times")
    assert [row["network"] for row in first["rows"]] == ["LeNet5"] and min(first["raw"].values()) > 0
    monkeypatch.setattr(models, "known", lambda: ["LeNet5", "MyNet"])
    second = in_process("times")
    assert [row["network"] for row in second["rows"]] == ["LeNet5", "MyNet"]
    assert first["raw"].items() <= second["raw"].items()


def test_runs_are_counted_also_where_the_time_was_not_enough(in_process, monkeypatch):
    configs = [light(config) for config in plans.landscape.direct_runs("smoke")]
    monkeypatch.setattr(plans.landscape, "direct_runs", lambda profile: list(dict.fromkeys(configs)))
    train = pool.train

    def cut(jobs, *rest):
        train(jobs[:1], *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool, "train", cut)
        assert half_hour_parts.main(["direct", CALL]) == 130
    folder = half_hour.Call("smoke", "synthetic", "cpu", 1).folder
    (row,) = json.loads((folder / "direct.json").read_text())["rows"]
    assert row["runs recorded"] == "1 of 2" and row["seeds"] == "0"
    (row,) = in_process("direct")["rows"]
    assert row["runs recorded"] == "2 of 2" and row["seeds"] == "0, 1"


def test_the_fast_recipe_is_held_against_its_goals(in_process, monkeypatch):
    monkeypatch.setattr(half_hour_parts, "FAST_SEEDS", 2)
    rows = in_process("fast")["rows"]
    assert [row["reached"] for row in rows] == ["0 of 2 ≥ 94%", "0 of 2 ≥ 96%"]


def test_packing_is_timed_for_every_number_of_workers(in_process):
    assert [row["jobs at a time"] for row in in_process("packing")["rows"]] == ["1", "2"]
