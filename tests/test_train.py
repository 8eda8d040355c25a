import gc
import json
import os
import signal
import subprocess
import sys
import time
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cifar_helpers import models
from cifar_helpers.data import synthetic
from cifar_helpers.data.batches import evaluation_batches, normalise
from cifar_helpers.data.images import HALF, ImageData, load_cifar10
from cifar_helpers.env import CourseError
from cifar_helpers.measure import quantities
from cifar_helpers.training import build, loop, run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.probes import ProbeConfig
from cifar_helpers.training.store import Store


class TinyNet(nn.Module):
    """Small, with batch norm and dropout: everything that makes resuming hard."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(),
            nn.Dropout(0.3), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10),
        )  # fmt: skip

    def forward(self, images):
        return self.net(images)


@pytest.fixture(autouse=True)
def tiny_net(monkeypatch):
    monkeypatch.setattr(models, "TinyNet", TinyNet, raising=False)


TINY = RunConfig(
    "TinyNet", steps=60, batch_size=32, eval_every=20, gradients=True, gaps=(1, 3), precision="fp32", keep_weights=True
)


def same(a, b):
    assert a.steps.keys() == b.steps.keys()
    for name in a.steps:
        assert np.array_equal(a.steps[name], b.steps[name], equal_nan=True), name
    strip = [{k: v for k, v in e.items() if k != "seconds"} for e in a.epochs]
    assert strip == [{k: v for k, v in e.items() if k != "seconds"} for e in b.epochs]
    assert all(torch.equal(t, b.weights[name]) for name, t in a.weights.items())


# --- recordings against brute force --------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["all", "output"])
def test_gradient_distance_and_beta_equal_a_recomputation_from_saved_weights(small_data, store, layer, monkeypatch):
    monkeypatch.setattr(run, "FLUSH_EVERY", 5)
    config = RunConfig("VGG_A_Light", steps=12, batch_size=32, lr=2e-3, gradients=True, gaps=(1, 3), precision="fp32")
    record = run.get_run(config, small_data, "cpu", store)

    # Train again the plain way, keep every step's weights, and recompute each gradient in float64 from them.
    model = build.build_model(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    batches = build.training_batches(config, small_data, "cpu")
    weights, gradients = [], []
    double = build.build_model(config).double()
    watched = models.output_layer(double) if layer == "output" else double
    for step in range(config.steps):
        images, labels = batches[step]
        double.load_state_dict(model.state_dict())
        loss = F.cross_entropy(double(images.double()), labels)
        assert record.steps["loss"][step] == pytest.approx(loss.item(), rel=1e-5)
        grads = torch.autograd.grad(loss, list(watched.parameters()))
        gradients.append(torch.cat([g.flatten() for g in grads]))
        weights.append(torch.cat([p.detach().flatten().clone() for p in watched.parameters()]))
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    for gap in (1, 3):
        expected = [(gradients[t] - gradients[t - gap]).norm().item() for t in range(gap, config.steps)]
        band = quantities.VGG_Grad_Pred([record], gap, layer)
        np.testing.assert_allclose(band.curves[0, gap:], expected, rtol=2e-4)
        assert np.isnan(band.curves[0, :gap]).all()
    moved = [(weights[t] - weights[t - 1]).norm().item() for t in range(1, config.steps)]
    beta = [(gradients[t + 1] - gradients[t]).norm().item() / moved[t] for t in range(config.steps - 1)]
    np.testing.assert_allclose(quantities.VGG_Beta_Smooth([record], layer).curves[0, 1:], beta, rtol=3e-4)
    relative = [m / w.norm().item() for m, w in zip(moved, weights[1:], strict=True)]
    np.testing.assert_allclose(quantities.relative_move([record], layer).curves[0, 1:], relative, rtol=1e-4)


def test_recording_does_not_change_training(small_data, store):
    bare = RunConfig(**{**vars(TINY), "gradients": False})
    a, b = run.get_run(TINY, small_data, "cpu", store), run.get_run(bare, small_data, "cpu", store)
    assert np.array_equal(a.steps["loss"], b.steps["loss"])
    assert all(torch.equal(t, b.weights[name]) for name, t in a.weights.items())
    assert set(b.steps) == {"loss"}


def test_the_loop_is_short_enough_to_print():
    import inspect

    assert len(inspect.getsource(loop.train).splitlines()) <= 40


def test_the_loop_equals_plain_pytorch(small_data):
    torch.manual_seed(0)
    model, twin = TinyNet().eval(), TinyNet().eval()  # eval: without dropout the two need no common random state
    twin.load_state_dict(model.state_dict())
    batches = build.training_batches(TINY, small_data, "cpu")
    recorder = loop.Recorder(model, model.net[-1], gradients=False)
    loop.train(model, batches, torch.optim.SGD(model.parameters(), lr=0.1), 8, recorder)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for step in range(8):
        images, labels = batches[step]
        optimizer.zero_grad()
        F.cross_entropy(twin(images), labels).backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_evaluation_weighs_every_image_the_same_and_leaves_the_mode(small_data):
    model = TinyNet().train()
    images, labels = small_data.split("validation")
    loss, accuracy = loop.evaluate(model, evaluation_batches(images, labels, "cpu", batch_size=47))
    assert model.training
    logits = model.eval()(normalise(images, *HALF))
    assert loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    with pytest.raises(ValueError, match="no image"):
        loop.evaluate(model, [])


# --- seeds, resuming, sharing --------------------------------------------------------------------------------------


def test_two_runs_from_one_seed_are_identical_and_another_seed_is_not(small_data, tmp_path):
    a, b = (run.get_run(TINY, small_data, "cpu", Store(tmp_path / name)) for name in "ab")
    same(a, b)
    other = run.get_run(RunConfig(**{**vars(TINY), "seed": 1}), small_data, "cpu", Store(tmp_path / "a"))
    assert not np.array_equal(a.steps["loss"], other.steps["loss"])


def test_both_networks_of_a_seed_start_from_the_same_convolutions():
    plain, normed = (build.build_model(RunConfig(name, seed=3)) for name in ("VGG_A", "VGG_A_BatchNorm"))
    weights = [[m.weight for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)] for net in (plain, normed)]
    assert len(weights[0]) == 11 and all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_damaged_checkpoint_is_said_and_the_run_starts_over(small_data, store, monkeypatch, capsys):
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    original = run._Run.on_flush

    def interrupt(self, step):
        original(self, step)
        raise KeyboardInterrupt

    monkeypatch.setattr(run._Run, "on_flush", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.get_run(TINY, small_data, "cpu", store)
    monkeypatch.setattr(run._Run, "on_flush", original)
    path = store.checkpoint_path(TINY, small_data.fingerprint)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    (path.parent / f".{path.name}-left").write_bytes(b"half")
    assert run.get_run(TINY, small_data, "cpu", store).provenance["resumed"] == 0
    assert "cannot be used" in capsys.readouterr().out and not list(path.parent.iterdir())


def test_rates_of_a_sweep_share_initial_weights_and_batches(small_data):
    one, two = (RunConfig("TinyNet", lr=lr, batch_size=32) for lr in (1e-3, 1e-4))
    assert build.weights_hash(build.build_model(one)) == build.weights_hash(build.build_model(two))
    a, b = (build.training_batches(c, small_data, "cpu")[5] for c in (one, two))
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_an_interrupted_run_goes_on_to_the_same_bits(small_data, tmp_path, monkeypatch, optimizer):
    arguments = {"momentum": 0.9} if optimizer == "SGD" else {}
    config = RunConfig(**{**vars(TINY), "optimizer": optimizer, "optimizer_args": arguments, "lr": 1e-2})
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(run, "FLUSH_EVERY", 7)
    whole = run.get_run(config, small_data, "cpu", Store(tmp_path / "whole"))

    store, original = Store(tmp_path / "broken"), run._Run.on_flush
    for stop in (14, 35):

        def interrupt(self, step, stop=stop):
            original(self, step)
            if step >= stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(run._Run, "on_flush", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run.get_run(config, small_data, "cpu", store)
    monkeypatch.setattr(run._Run, "on_flush", original)
    resumed = run.get_run(config, small_data, "cpu", store)
    assert resumed.provenance["resumed"] == 2
    same(whole, resumed)
    assert not store.checkpoint_path(config, small_data.fingerprint).exists()


WORKER = """
import json, sys, torch
from cifar_helpers.training import run
torch.set_num_threads(1)
run.CHECKPOINT_SECONDS, run.FLUSH_EVERY = 0.0, 5
sys.exit(run.main(sys.argv[1:]))
"""


def worker(config, tmp_path, runs):
    file = tmp_path / "config.json"
    file.write_text(config.to_json())
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(file), "--data", "synthetic", "--device", "cpu"],
        env=os.environ | {"CIFAR_RUNS": str(runs), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


LONG = RunConfig(
    "VGG_A_Light", steps=100, batch_size=32, eval_every=50, gradients=True, precision="fp32", keep_weights=True
)


@pytest.fixture
def one_thread():
    """As many as a worker takes, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# 20 s on a slow machine: two processes import torch and train; SIGKILL cannot be tried inside one.
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, one_thread):
    images = load_cifar10("synthetic")
    whole = run.get_run(LONG, images, "cpu", Store(tmp_path / "whole"))
    process = worker(LONG, tmp_path, tmp_path / "broken")
    checkpoints = tmp_path / "broken" / ".checkpoints"
    deadline = time.monotonic() + 600
    while not any(checkpoints.glob("VGG*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert any(checkpoints.glob("VGG*.safetensors"))

    again = worker(LONG, tmp_path, tmp_path / "broken")
    output = again.communicate(timeout=600)[0]
    assert again.returncode == 0 and "goes on from step" in output
    resumed = Store(tmp_path / "broken").get(LONG, images.fingerprint)
    assert resumed.provenance["resumed"] == 1
    same(whole, resumed)


# 15 s on a slow machine: a lock between processes shows only between processes.
def test_two_processes_that_want_one_run_train_it_once(tmp_path):
    workers = [worker(LONG, tmp_path, tmp_path / "shared") for _ in range(2)]
    outputs = [w.communicate(timeout=600)[0] for w in workers]
    assert [w.returncode for w in workers] == [0, 0]
    assert sum("step 100/100" in output for output in outputs) == 1
    assert sum("another process is training it" in output for output in outputs) == 1


def test_changed_model_code_is_noticed(small_data, store, monkeypatch, capsys):
    first = run.get_run(TINY, small_data, "cpu", store)

    class Changed(TinyNet):
        def __init__(self):
            super().__init__()
            nn.init.zeros_(self.net[-1].weight)

    monkeypatch.setattr(models, "TinyNet", Changed)
    again = run.get_run(TINY, small_data, "cpu", store)
    assert "other model code" in capsys.readouterr().out
    assert again.provenance["initial_weights"] != first.provenance["initial_weights"]


# --- what can go wrong ---------------------------------------------------------------------------------------------


def test_divergence_is_an_outcome_with_its_step(small_data, store):
    config = RunConfig("VGG_A_Light", optimizer="SGD", lr=1e4, steps=40, batch_size=32, precision="fp32")
    record = run.get_run(config, small_data, "cpu", store)
    assert 0 < record.diverged_at < 40 and len(record.steps["loss"]) == record.diverged_at + 1
    assert not np.isfinite(record.steps["loss"][-1]) and np.isfinite(record.steps["loss"][:-1]).all()
    assert run.get_run(config, small_data, "cpu", store).provenance == record.provenance
    band = quantities.loss_band(
        [record, run.get_run(RunConfig(**{**vars(config), "lr": 0.01}), small_data, "cpu", store)]
    )
    assert np.isfinite(band.max_curve[record.diverged_at + 1 :]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "VGG_B"}, "models has .*VGG_A"),
        ({"model": "VGG_A", "model_args": {"depth": 3}}, "depth"),
        ({"model": "VGG_A", "model_args": {"activation": "rleu"}}, "relu"),
        ({"model": "VGG_A_Light", "optimizer": "Adma"}, "torch.optim has .*Adam"),
        ({"model": "VGG_A_Light", "optimizer_args": {"speed": 1}}, "speed"),
        ({"model": "VGG_A_Light", "n_items": 0}, "1 to 540"),
        ({"model": "VGG_A_Light", "batch_size": 5000}, "5000"),
        ({"model": "VGG_A_Light", "precision": "fp8"}, "fp32"),
    ],
)
def test_an_impossible_config_says_what_is_possible(small_data, store, settings, message):
    with pytest.raises(CourseError, match=message):
        run.get_run(RunConfig(**{"steps": 2} | settings), small_data, "cpu", store)


def test_out_of_memory_names_the_knob(small_data, store, monkeypatch):
    def out_of_memory(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(run, "train", out_of_memory)
    with pytest.raises(CourseError, match="batch_size"):
        run.get_run(TINY, small_data, "cpu", store)


def test_the_worker_prints_errors_without_a_traceback(tmp_path, capsys):
    assert run.main([str(tmp_path / "none.json")]) == 2
    (tmp_path / "bad.json").write_text(json.dumps({"model": "VGG_A", "lr": -1}))
    assert run.main([str(tmp_path / "bad.json"), "--data", "synthetic"]) == 2
    (tmp_path / "odd.json").write_text('{"model": "VGG_A", "speed": 3}')
    assert run.main([str(tmp_path / "odd.json"), "--data", "synthetic"]) == 2
    errors = capsys.readouterr().err
    (tmp_path / "text.json").write_text("not json")
    assert run.main([str(tmp_path / "text.json"), "--data", "synthetic"]) == 2
    assert "Traceback" not in errors and "positive number" in errors and "speed" in errors


# --- the whole line on the stand-in --------------------------------------------------------------------------------


# 20 s on a slow machine: the one test that a network of the course learns; a quarter of the width is a sixteenth of the
# work, and harder to train.
def test_a_narrow_vgg_a_with_batch_norm_passes_90_percent_on_the_synthetic_images_within_200_steps(store):
    (train_set, train_labels), (test, test_labels) = synthetic.draw(6000, 0), synthetic.draw(500, 1)
    tensors = [torch.from_numpy(a) for a in (train_set, train_labels, test, test_labels)]
    stand_in = ImageData(*tensors, synthetic.CLASSES, "SYNTHETIC", "s" * 64)
    narrow = RunConfig("VGG_A_BatchNorm", {"width": 0.25}, steps=200, eval_every=200)
    record = run.get_run(narrow, stand_in, "cpu", store)
    assert record.epochs[-1]["test_accuracy"] > 0.9


@pytest.mark.parametrize("settings", [{}, {"optimizer": "SGD", "schedule": "one_cycle"}, {"optimizer": "course.AdamW"}])
def test_a_run_leaves_nothing_behind_even_before_python_looks_for_cycles(settings, small_data, monkeypatch):
    seen, init = [], run._Run.__init__

    def watched(self, *arguments):
        init(self, *arguments)
        seen.extend(weakref.ref(each) for each in (self, self.model, self.optimizer, self.recorder))

    monkeypatch.setattr(run._Run, "__init__", watched)
    config = RunConfig("LeNet5", steps=4, batch_size=16, gradients=True, test=False, **settings)
    gc.collect()
    gc.disable()
    try:
        run.get_run(config, small_data, "cpu", probes=(ProbeConfig("same_batch", every=2),))
        left = [each() for each in seen]
    finally:
        gc.enable()
    assert left == [None] * 4
