import pytest
import torch

from cifar_helpers import env
from cifar_helpers.env import CourseError


def test_devices_of_this_machine():
    assert env.choose_device("cpu") == torch.device("cpu")
    assert env.choose_device(None) == env.choose_device("auto")
    with pytest.raises(CourseError, match="This machine has: cpu"):
        env.choose_device("cuda:99")


def test_precision_follows_the_processor(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(env, "cpu_flags", lambda: frozenset({"avx2"}))
    assert env.resolve_precision("auto", cpu) == "fp32"
    for flag, vendor, expected in (
        ("avx512_bf16", "AuthenticAMD", "bf16"),
        ("avx512_bf16", "GenuineIntel", "fp32"),  # without AMX slower than fp32
        ("amx_bf16", "GenuineIntel", "bf16"),
    ):
        monkeypatch.setattr(env, "cpu_flags", lambda flag=flag: frozenset({flag}))
        monkeypatch.setattr(env, "cpu_vendor", lambda vendor=vendor: vendor)
        assert env.resolve_precision("auto", cpu) == expected
    assert env.resolve_precision("fp32", cpu) == "fp32"
    with pytest.raises(CourseError, match="auto, fp32, bf16"):
        env.resolve_precision("fp64", cpu)


def test_machine_card_says_what_a_result_was_made_on():
    card = env.machine_card()
    assert card["torch"] == torch.__version__ and card["threads"] == torch.get_num_threads()
    assert {"cpu", "cores", "python", "git_revision", "device"} <= set(card)
    assert "cpu" in env.describe_machine("cpu")


def test_folders_follow_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR_RUNS", str(tmp_path / "elsewhere"))
    assert env.runs_dir() == tmp_path / "elsewhere"
    monkeypatch.delenv("CIFAR_RUNS")
    assert env.runs_dir() == env.ROOT / "runs" and (env.ROOT / "pyproject.toml").exists()
