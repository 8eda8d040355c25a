"""A GPU that torch cannot use is named: on machines made up of an environment and a program called nvidia-smi."""

import json
import os
from pathlib import Path

import pytest
import torch

from cifar_course.cluster import worker
from cifar_course.report import cli
from cifar_helpers import env, gpus
from cifar_helpers.env import CourseError
from cifar_helpers.training import run

H100 = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11aa-22)"
TWO = f"{H100}\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-33bb-44)"
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading"
)
NO_MATCH = (
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that "
    "might have already set an error? Error 803: system has unsupported display driver / cuda driver combination"
)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Make up a machine: what nvidia-smi prints, its status, the environment, torch's CUDA and what its driver says."""
    env._say_once.cache_clear()
    env.git_revision()  # while git is on the path
    for name in (*gpus.LISTS, *gpus.COUNTS, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(env, "_devices", lambda: ["cpu"])

    def make_up(
        smi: str | None = None, status: int = 0, cuda: str | None = "13.2", driver: str = "no", **variables: str
    ):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        if smi is not None:
            program = tmp_path / "bin" / "nvidia-smi"
            program.parent.mkdir()
            program.write_text(f"#!/bin/sh\n[ $1 = -L ] || exit 9\necho '{smi}'\nexit {status}\n", encoding="utf-8")
            program.chmod(0o755)

        def init():
            raise RuntimeError(driver)

        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch.cuda, "init", init)

    return make_up


@pytest.mark.parametrize(
    ("given", "seen", "reason"),
    [
        ({"smi": H100, "cuda": None}, "nvidia-smi: NVIDIA H100 80GB HBM3", "is built for the CPU"),
        ({"smi": TWO, "driver": TOO_OLD}, "2 × NVIDIA H100 80GB HBM3", "system is too old (found version 11040)"),
        (
            {"smi": H100, "driver": NO_MATCH},
            "H100",
            "Error 803: system has unsupported display driver / cuda driver comb",
        ),
        ({"smi": TWO, "CUDA_VISIBLE_DEVICES": "2"}, "CUDA_VISIBLE_DEVICES=2", "='2' names no card that is here"),
        ({"smi": TWO, "CUDA_VISIBLE_DEVICES": ""}, "H100 80GB HBM3; CUDA_VISIBLE_DEVICES=)", "='' names no card"),
        ({"smi": TWO, "CUDA_VISIBLE_DEVICES": "-1,0"}, "=-1,0)", "names no card"),
        ({"smi": TWO, "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, "=NoDevFiles)", "names no card"),
        ({"smi": TWO, "CUDA_VISIBLE_DEVICES": "GPU-99"}, "=GPU-99)", "names no card"),
        ({"smi": TWO, "CUDA_VISIBLE_DEVICES": "GPU-33", "driver": "Odd. Very"}, "=GPU-33)", "says: Odd."),
        (
            {"CUDA_VISIBLE_DEVICES": "0", "driver": "Found no NVIDIA driver on your system. Check"},
            "=0)",
            "Found no NVIDIA",
        ),
        (
            {"smi": "Driver/library version mismatch", "status": 18, "driver": "x"},
            "smi: Driver/library version",
            "says: x",
        ),
    ],
)
def test_auto_says_once_and_in_one_line_what_was_seen_and_why_it_is_not_used(given, seen, reason, machine, capsys):
    machine(**given)
    assert env.choose_device("auto").type == env.choose_device(None).type == "cpu"
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and seen in said and reason in said and said.endswith(" The CPU is taken.\n")
    assert env.choose_device("cpu").type == "cpu" and "cpu" in env.describe_machine() and not capsys.readouterr().out
    with pytest.raises(CourseError, match="This machine has: cpu.*Signs of a GPU"):
        env.choose_device("cuda")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"cuda": None},
        {"smi": "No devices were found", "status": 6},
        {"CUDA_VISIBLE_DEVICES": ""},
        {"CUDA_VISIBLE_DEVICES": "-1"},
        {"SLURM_GPUS_ON_NODE": "0", "SLURM_JOB_GPUS": "", "SLURM_GPUS": "gpu:0"},
    ],
)
def test_where_there_is_no_sign_of_a_gpu_nothing_is_said(given, machine, capsys):
    machine(**given)
    assert env.choose_device("auto").type == "cpu" and not capsys.readouterr().out


@pytest.mark.parametrize(
    "variable",
    [
        {"SLURM_JOB_GPUS": "0"},
        {"SLURM_STEP_GPUS": "3"},
        {"SLURM_GPUS_ON_NODE": "1"},
        {"SLURM_GPUS_PER_NODE": "gpu:h100:2"},
        {"SLURM_GPUS": "h100"},
    ],
)
@pytest.mark.parametrize(
    "given", [{"smi": H100, "cuda": None}, {"driver": TOO_OLD}, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}]
)
def test_a_gpu_that_slurm_gave_is_not_passed_over(given, variable, machine, capsys):
    machine(**given, **variable)
    ((name, value),) = variable.items()
    for asked in ("auto", None):
        with pytest.raises(CourseError, match="was given a GPU") as refused:
            env.choose_device(asked)
        assert f"{name}={value}" in str(refused.value) and "(device cpu)" in str(refused.value)
    assert env.choose_device("cpu").type == "cpu" and "cpu" in env.describe_machine()
    assert not capsys.readouterr().out


def test_a_gpu_that_torch_uses_is_not_asked_about(machine, monkeypatch):
    machine(SLURM_JOB_GPUS="0")
    monkeypatch.setattr(env, "_devices", lambda: ["cpu", "cuda:0"])
    monkeypatch.setattr(gpus, "unused", lambda: pytest.fail("it is used"))
    assert env.choose_device("auto") == torch.device("cuda:0")


def test_the_commands_say_it_without_a_traceback(machine, capsys, tmp_path):
    machine(H100, cuda=None, SLURM_JOB_GPUS="0")
    made = ["--profile", "smoke", "--data", "synthetic", "--only", "09"]
    config, plan = tmp_path / "config.json", tmp_path / "plan.json"
    config.write_text(json.dumps({"model": "LeNet5", "steps": 1}), encoding="utf-8")
    plan.write_text(
        json.dumps({"data": "synthetic", "fingerprint": "f", "device": "auto", "jobs": []}), encoding="utf-8"
    )
    for main, arguments in (
        (cli.main, made),
        (cli.main, made[2:]),  # the profile goes by the device
        (run.main, [str(config), "--data", "synthetic"]),
        (worker.main, [str(plan)]),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.count("Signs of a GPU (nvidia-smi: NVIDIA H100") == 1 and error.count("\n") == 1
    assert cli.main([*made[2:], "--device", "cpu", "--plan"]) == 0
    assert not (Path(os.environ["CIFAR_RUNS"]) / "notebooks").exists()
