import dataclasses
import errno
import shutil
from hashlib import sha256

import numpy as np
import pytest
import torch

from cifar_helpers import env
from cifar_helpers.env import CourseError, write_atomically
from cifar_helpers.training import build, run
from cifar_helpers.training import store as record
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.probes import ProbeConfig
from cifar_helpers.training.store import SMALL_FILES, WEIGHTS, Store, prunable, prune, read_record

CHANGES = {
    "model": "VGG_A_BatchNorm",
    "model_args": {"norm_hidden": True},
    "optimizer": "SGD",
    "optimizer_args": {"momentum": 0.9},
    "lr": 2e-3,
    "loss": "mse",
    "label_smoothing": 0.1,
    "l1": 1e-4,
    "schedule": "one_cycle",
    "schedule_args": {"warmup": 0.5},
    "batch_size": 64,
    "steps": 101,
    "seed": 1,
    "n_items": 500,
    "augmentation": ("flip",),
    "sizes": ((0.5, 20),),
    "normalisation": "channel",
    "precision": "fp32",
    "gradients": True,
    "gaps": (1, 2),
    "eval_every": 7,
    "eval_items": 50,
    "test": False,
    "test_flips": True,
    "split": "all",
    "keep_weights": True,
    "snapshots": (0, 5),
}


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(RunConfig)])
def test_changing_any_field_changes_the_key(name):
    base = RunConfig("VGG_A")
    changed = dataclasses.replace(base, **{name: CHANGES[name]})
    assert changed.key("data") != base.key("data") and changed != base
    assert RunConfig.from_json(changed.to_json()) == changed


def test_the_key_depends_on_the_data_and_on_nothing_else():
    config = RunConfig("VGG_A", lr=1)
    assert config.key("a") != config.key("b")
    assert config.key("a") == RunConfig("VGG_A", lr=1.0, model_args={}).key("a")
    assert RunConfig("VGG_A").key("data") == "40523c7ee124af75"  # a new value orphans every stored record


@pytest.mark.parametrize(
    "wrong",
    [
        *({"lr": lr} for lr in (0, -1.0, float("nan"), "1e-3")),
        *({name: 0} for name in ("steps", "batch_size", "eval_every", "eval_items")),
        *({name: "5"} for name in ("steps", "seed", "n_items")),
        {"seed": 0.5},
        *({"seed": seed} for seed in (2**63, 2**64, -(2**63) - 1)),
        {"label_smoothing": 1.1},
        {"steps": True},
        {"gaps": (1.5,)},
        {"gaps": (0,)},
        {"gaps": ()},
        {"normalisation": "none"},
        *({"sizes": sizes} for sizes in (((0.5, 40),), ((0.0, 20),), ((0.5, 20.0),))),
    ],
)
def test_unusable_values_are_refused(wrong):
    with pytest.raises(CourseError):
        RunConfig("VGG_A", **wrong)


def test_sizes_survive_json():
    config = RunConfig("FastNet", sizes=((0.7, 24), (0.5, 20)))
    assert config.sizes == ((0.5, 20), (0.7, 24)) and RunConfig.from_json(config.to_json()) == config
    assert "20 pixels until 50%" in config.describe()


def test_one_spelling_of_a_set_of_augmentations():
    one, two = (RunConfig("VGG_A", augmentation=names) for names in (("flip", "crop"), ("crop", "flip")))
    assert one == two and one.key("data") == two.key("data")


@pytest.mark.parametrize("name", SMALL_FILES)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_record_is_trained_again_and_said_so(small_data, store, light, name, damage, capsys):
    first = run.get_run(light, small_data, "cpu", store)
    file = first.folder / name
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    again = run.get_run(light, small_data, "cpu", store)
    assert np.array_equal(first.steps["loss"], again.steps["loss"])
    assert "is damaged" in capsys.readouterr().out
    assert list((store.root / ".damaged").iterdir())
    assert store.get(light, small_data.fingerprint)


def test_damaged_weights_are_noticed_when_they_are_wanted(small_data, store, light):
    config = dataclasses.replace(light, keep_weights=True)
    kept = run.get_run(config, small_data, "cpu", store)
    assert kept.weights
    file = kept.folder / WEIGHTS
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    with pytest.raises(CourseError, match="train again"):
        _ = store.get(config, small_data.fingerprint).weights
    with pytest.raises(CourseError, match="keep_weights"):
        _ = run.get_run(light, small_data, "cpu", store).weights


def test_snapshots_are_the_weights_along_the_run_and_survive_an_interruption(small_data, store, light, monkeypatch):
    config = dataclasses.replace(light, snapshots=(0, 5, 12), keep_weights=True)
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    original = run._Run.on_flush

    def interrupt(self, step):
        original(self, step)
        if step == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(run._Run, "on_flush", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.get_run(config, small_data, "cpu", store)
    monkeypatch.setattr(run._Run, "on_flush", original)
    kept = run.get_run(config, small_data, "cpu", store)
    untrained = build.build_model(config).state_dict()
    assert all(torch.equal(t, untrained[name]) for name, t in kept.snapshot(0).items())
    assert all(torch.equal(t, kept.weights[name]) for name, t in kept.snapshot(12).items())
    shorter = run.get_run(dataclasses.replace(light, steps=5, keep_weights=True), small_data, "cpu", store)
    assert all(torch.equal(t, kept.snapshot(5)[name]) for name, t in shorter.weights.items())
    with pytest.raises(CourseError, match="snapshots=\\(7,\\)"):
        kept.snapshot(7)
    assert not list((store.root / ".checkpoints").iterdir())


def test_pruning_says_what_it_frees_and_keeps_what_figures_need(small_data, store, light):
    config = dataclasses.replace(light, snapshots=(5,), keep_weights=True)
    kept = run.get_run(config, small_data, "cpu", store)
    name = config.folder_name(small_data.fingerprint)
    unfinished, finished = (store.root / ".checkpoints" / f"{run}.safetensors" for run in ("LeNet5-0", name))
    for path in (unfinished, finished):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert [path for path, _ in prunable(store, {name, "LeNet5-0"})] == [finished]
    finished.unlink()
    planned = prunable(store, {"LeNet5-0"})
    assert {path.name for path, _ in planned} == {"weights.safetensors", "weights-5.safetensors"} and kept.weights
    assert prune(store, {"LeNet5-0"}) == planned and sum(size for _, size in planned) > 2e6
    assert unfinished.exists()
    again = store.get(config, small_data.fingerprint)
    assert np.array_equal(again.steps["loss"], kept.steps["loss"])
    with pytest.raises(CourseError, match="keep_weights"):
        _ = again.weights


def test_a_full_disk_says_so_and_leaves_nothing_half_written(small_data, store, light, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record.np, "savez_compressed", full)
    with pytest.raises(CourseError, match="No space"):
        run.get_run(light, small_data, "cpu", store)
    assert not list(store.root.glob("*VGG*")) and not list(store.root.glob(".writing*"))
    monkeypatch.undo()
    assert run.get_run(light, small_data, "cpu", store)


def test_an_unwritable_runs_folder_says_so(small_data, light, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CourseError, match="Cannot write"):
        run.get_run(light, small_data, "cpu", Store(tmp_path / "file" / "runs"))


def test_writing_is_all_or_nothing(tmp_path):
    target = write_atomically(tmp_path / "a.txt", "old")

    def fails(path):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CourseError, match="No space"):
        write_atomically(target, fails)
    assert target.read_text() == "old" and list(tmp_path.glob(".a*")) == []


def test_another_place_for_figures_does_not_hide_the_published_records():
    assert Store(published=True).published == env.ROOT / "figures/records"


def test_published_records_are_read_where_asked_for(small_data, light, scratch):
    local = run.get_run(light, small_data, "cpu")
    published = scratch / "figures" / "records"
    published.mkdir(parents=True)
    local.folder.rename(published / local.folder.name)
    assert Store().get(light, small_data.fingerprint) is None
    found = Store(published=True).get(light, small_data.fingerprint)
    assert np.array_equal(found.steps["loss"], local.steps["loss"])


def with_windows_line_ends(folder):
    """What a checkout with core.autocrlf makes of a record: its JSON files with other line ends."""
    for path in folder.glob("**/*.json"):
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


def test_a_record_does_not_depend_on_line_ends(small_data, store, light):
    probe = ProbeConfig("same_batch", every=3)
    written = run.get_run(light, small_data, "cpu", store, [probe])
    assert (
        written.provenance["files"]["epochs.json"] == sha256((written.folder / "epochs.json").read_bytes()).hexdigest()
    )
    with_windows_line_ends(written.folder)
    assert b"\r\n" in (written.folder / "epochs.json").read_bytes()
    again = run.get_run(light, small_data, "cpu", store, [probe])
    assert again.provenance == written.provenance and again.epochs == written.epochs and again.probes


def test_published_records_do_not_depend_on_line_ends(tmp_path):
    folder = next((env.ROOT / "figures/records").glob("LeNet5-*"))
    with_windows_line_ends(shutil.copytree(folder, tmp_path / folder.name))
    assert read_record(tmp_path / folder.name).key == read_record(folder).key


def test_published_records_that_cannot_be_read_are_counted_once_and_one_is_named(small_data, light, scratch, capsys):
    made = run.get_run(light, small_data, "cpu").folder
    published = scratch / "figures" / "records"
    for copy in (made.name, "LeNet5-0000", "LeNet5-0001"):
        shutil.copytree(made, published / copy)
    for copy in (made.name, "LeNet5-0001"):
        (published / copy / "epochs.json").write_text("[]")
    capsys.readouterr()
    for _ in range(3):
        assert Store(scratch / "other", published=True).get(light, small_data.fingerprint) is None
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "2 of the 3 published records cannot be read" in said
    assert "LeNet5-0001: epochs.json is not what was written" in said and "git restore" in said


def test_a_measurement_is_computed_once(store):
    calls = []
    for _ in range(2):
        result = store.measurement("gap", {"lr": 1e-3}, lambda: calls.append(1) or {"value": 3.0})
    assert result == {"value": 3.0} and len(calls) == 1
    store.measurement("gap", {"lr": 2e-3}, lambda: calls.append(1) or {"value": 4.0})
    assert len(calls) == 2
