import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from cifar_helpers import env
from cifar_helpers.env import CourseError
from cifar_helpers.training import run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.probes import ProbeConfig
from cifar_helpers.training.store import Store


def test_devices_of_this_machine():
    assert env.choose_device("cpu") == torch.device("cpu")
    assert env.choose_device(None) == env.choose_device("auto")
    with pytest.raises(CourseError, match="This machine has: cpu"):
        env.choose_device("cuda:99")


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [(None, 7, ""), (CourseError("No 4 ≥ 5."), 2, "No 4 ≥ 5.\n"), (KeyboardInterrupt(), 130, "\nStopped here.\n")],
)
def test_a_command_line_ends_without_a_traceback(raised, status, said, capsys):
    @env.command_line("Stopped here.")
    def main(arguments=None):
        if raised:
            raise raised
        return arguments[0]

    assert main([7]) == status and capsys.readouterr().err == said


@pytest.mark.parametrize("arguments", [["cifar_course.report", "--help"], ["cifar_course.hand", "build"]])
def test_a_python_without_the_packages_is_told_which_one_has_them(arguments, tmp_path):
    command = [sys.executable, "-S", "-m", *arguments, *[str(tmp_path / "out")] * ("build" in arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=env.ROOT, env=environment, capture_output=True, text=True)  # -S: none installed
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "has no package" in done.stderr and ".venv" in done.stderr


def test_precision_follows_the_processor(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(env, "_cpuinfo", {"flags": "avx2", "vendor_id": ""}.get)
    assert env.resolve_precision("auto", cpu) == "fp32"
    for flag, vendor, expected in (
        ("avx512_bf16", "AuthenticAMD", "bf16"),
        ("avx512_bf16", "GenuineIntel", "fp32"),  # without AMX slower than fp32
        ("amx_bf16", "GenuineIntel", "bf16"),
    ):
        monkeypatch.setattr(env, "_cpuinfo", {"flags": f"sse2 {flag}", "vendor_id": vendor}.get)
        assert env.resolve_precision("auto", cpu) == expected
    assert env.resolve_precision("fp32", cpu) == "fp32"
    with pytest.raises(CourseError, match="auto, fp32, bf16"):
        env.resolve_precision("fp64", cpu)


def test_machine_card_says_what_a_result_was_made_on():
    card = env.machine_card()
    assert card["torch"] == torch.__version__ and card["threads"] == torch.get_num_threads()
    assert {"cpu", "cores", "python", "git_revision", "device"} <= set(card)
    assert "cpu" in env.describe_machine("cpu")


def test_a_copy_inside_another_repository_has_no_revision(tmp_path, monkeypatch):
    def git(*words):
        author = ("-c", "user.name=a", "-c", "user.email=a@b.invalid")
        subprocess.run(["git", "-C", tmp_path, *author, *words], check=True, capture_output=True)

    def revision(folder):
        monkeypatch.setattr(env, "ROOT", folder)
        return env.git_revision.__wrapped__()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "the parent's")
    (tmp_path / "course").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    assert revision(tmp_path / "course") == "unknown"
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert revision(tmp_path / "course") == "unknown"
    monkeypatch.delenv("GIT_DIR")
    assert re.fullmatch("[0-9a-f]{10}", revision(tmp_path)) and revision(tmp_path / "link") == revision(tmp_path)


@pytest.mark.parametrize("left", ["dtype", "device", "gradients"])
def test_what_a_notebook_has_set_in_torch_does_not_matter(left, tmp_path, small_data):
    config = RunConfig("LeNet5", steps=3, batch_size=8, n_items=20, eval_every=3, eval_items=10, test=False)
    probe = ProbeConfig("along_gradient", at=(1,), etas=(0.1, 0.2), direction="random")
    usual = run.get_run(config, small_data, "cpu", Store(tmp_path / "usual"), [probe])
    fresh = replace(small_data)  # without the split that the first run has drawn
    set_to = {"dtype": (torch.float64, "cpu", True), "device": (torch.float32, "meta", True)}
    dtype, device, gradients = set_to.get(left, (torch.float32, "cpu", False))
    try:
        torch.set_default_dtype(dtype)
        with torch.device(device), torch.set_grad_enabled(gradients):
            found = run.get_run(config, fresh, "cpu", Store(tmp_path / "found"), [probe])
            images, _ = fresh.shuffled("train", 4)
            after = torch.get_default_dtype(), torch.get_default_device().type, torch.is_grad_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
    assert after == (dtype, device, gradients) and images.device.type == "cpu"
    assert found.provenance["initial_weights"] == usual.provenance["initial_weights"]
    assert np.array_equal(found.steps["loss"], usual.steps["loss"]) and found.epochs[0].keys() == usual.epochs[0].keys()
    assert np.array_equal(found.probes[probe]["gradient_distance"], usual.probes[probe]["gradient_distance"])


def test_folders_follow_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR_RUNS", str(tmp_path / "elsewhere"))
    assert env.runs_dir() == tmp_path / "elsewhere"
    monkeypatch.delenv("CIFAR_RUNS")
    assert env.runs_dir() == env.ROOT / "runs" and (env.ROOT / "pyproject.toml").exists()
