"""Internal covariate shift, activations and scale invariance, where the answer is known."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cifar_helpers import inside, models
from cifar_helpers.env import CourseError
from cifar_helpers.training import build, run
from cifar_helpers.training.config import RunConfig


def small(norm="batch", dtype=torch.float32):
    torch.manual_seed(0)
    return models.VGG_A(norm=norm, width=0.125).to(dtype)


def a_batch(n=8, dtype=torch.float32):
    torch.manual_seed(1)
    return torch.randn(n, 3, 32, 32, dtype=dtype), torch.arange(n) % 10


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_shift_is_the_change_of_a_gradient_by_definition(norm):
    model, (images, labels), lr = small(norm, torch.double), a_batch(dtype=torch.double), 0.3
    rows = {row["layer"]: row for row in inside.shift.covariate_shift(model, (images, labels), lr)}
    names = list(inside.shift.weight_layers(model))
    wanted = names[4]
    loss = F.cross_entropy(model(images), labels)
    gradients = dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, model.parameters()), strict=True))
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for name, p in moved.named_parameters():
            if name.startswith(f"{wanted}."):
                break  # the parameters stand in the order of the layers, a norm's after its convolution's
            p.sub_(lr * gradients[name])
    after = torch.autograd.grad(F.cross_entropy(moved(images), labels), moved.get_parameter(f"{wanted}.weight"))[0]
    before = gradients[f"{wanted}.weight"]
    assert rows[wanted]["l2"] == pytest.approx((after - before).norm().item(), rel=1e-6)
    cosine = F.cosine_similarity(after.flatten(), before.flatten(), dim=0).item()
    assert rows[wanted]["cosine"] == pytest.approx(cosine, rel=1e-6)
    assert rows[names[0]] == {"layer": names[0], "l2": 0.0, "relative": 0.0, "cosine": 1.0}  # nothing lies below


@pytest.mark.parametrize("norm", ["none", "batch", "noisy_batch"])
def test_frozen_lower_layers_shift_nothing(norm):
    model = small(norm)
    names = list(inside.shift.weight_layers(model))
    top = model.get_submodule(names[-1])
    for p in model.parameters():
        p.requires_grad_(False)
    for p in top.parameters():
        p.requires_grad_(True)
    rows = inside.shift.covariate_shift(model, a_batch(), 1.0)
    assert rows == [{"layer": names[-1], "l2": 0.0, "relative": 0.0, "cosine": 1.0}]


def test_above_a_frozen_half_the_shift_begins_with_the_second_layer():
    model = small()
    names = list(inside.shift.weight_layers(model))
    for name, p in model.named_parameters():
        p.requires_grad_(not name.startswith("features.") or int(name.split(".")[1]) >= int(names[4].split(".")[1]))
    rows = inside.shift.covariate_shift(model, a_batch(), 0.5)
    assert [row["layer"] for row in rows] == names[4:]
    assert rows[0]["l2"] == 0 and all(row["l2"] > 0 for row in rows[1:])


def test_noise_is_another_at_another_seed_and_the_same_at_the_same():
    model, images = small("noisy_batch"), a_batch()[0]
    one, again, other = (inside.shift.activations(model, images, ["features.0"], seed)[0] for seed in (1, 1, 2))
    assert one == again and np.abs(np.subtract(one["channels_mean"], other["channels_mean"])).mean() > 0.1


def test_drift_is_measured_in_the_deviation_before():
    def row(mean, std):
        return [{"layer": "conv", "channels_mean": [mean, mean], "channels_std": [std, std]}]

    moved = inside.shift.drift({0: row(0.0, 2.0), 5: row(1.0, 2.0), 9: row(1.0, 3.0)})
    assert moved == pytest.approx([0.5 / 2**0.5, 0.5 / 2**0.5])


@pytest.mark.parametrize("norm", ["none", "batch", "noisy_batch", "l1"])
def test_measuring_leaves_model_and_random_state_alone(norm):
    model, batch = small(norm).eval(), a_batch()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    inside.shift.covariate_shift(model, batch, 0.1)
    assert all(torch.equal(a, before[name]) for name, a in model.state_dict().items()) and not model.training
    assert all(p.grad is None for p in model.parameters())
    inside.shift.activations(model, batch[0])
    assert all(torch.equal(a, before[name]) for name, a in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_unknown_layers_are_refused_and_those_known_listed():
    for measure in (
        lambda m: inside.shift.covariate_shift(m, a_batch(), 0.1, ["conv9"]),
        lambda m: inside.shift.activations(m, a_batch()[0], ["conv9"]),
    ):
        with pytest.raises(CourseError, match="no layer conv9.*features.0, .*classifier.0"):
            measure(small())


def test_activations_behind_batch_norm_are_standardised():
    rows = inside.shift.activations(small("batch"), 5 * a_batch(64)[0])
    assert len(rows) == 8
    for row in rows:
        assert np.abs(row["channels_mean"]).max() < 1e-4 and np.allclose(row["channels_std"], 1, atol=0.05)
        assert len(row["channel"]) == inside.shift.QUANTILES and row["channel"] == sorted(row["channel"])
    first = inside.shift.activations(small("none"), a_batch()[0], ["features.0"])[0]
    conv = small("none").features[0](a_batch()[0])
    assert first["mean"] == pytest.approx(conv.mean().item(), abs=1e-6)


TINY = RunConfig(
    "VGG_A",
    {"width": 0.125, "norm": "batch"},
    optimizer="SGD",
    lr=0.1,
    batch_size=16,
    steps=4,
    eval_every=4,
    eval_items=32,
    snapshots=(0, 3),
    keep_weights=True,
    test=False,
    precision="fp32",
)


def test_along_a_run_snapshots_are_measured_once_and_read_after(small_data, store):
    record = run.get_run(TINY, small_data, "cpu", store)
    layers = ["features.0", "features.4"]
    found = inside.shift.shift_along(record, small_data, store, layers, "cpu")
    assert list(found) == [0, 3] and [row["layer"] for row in found[3]] == layers
    for path in record.folder.glob("weights*"):
        path.unlink()
    assert inside.shift.shift_along(record, small_data, store, layers, "cpu") == found
    with pytest.raises(CourseError, match="snapshots"):
        inside.shift.activations_along(record, small_data, store, layers, "cpu")


def test_the_step_of_another_optimizer_is_not_known(small_data, store):
    config = dataclasses.replace(TINY, optimizer_args={"momentum": 0.9})
    with pytest.raises(CourseError, match="plain SGD"):
        inside.shift.shift_along(
            run.get_run(config, small_data, "cpu", store), small_data, store, ["features.0"], "cpu"
        )


def test_mode_gap_compares_running_with_batch_statistics(small_data, store):
    record = run.get_run(TINY, small_data, "cpu", store)
    found = inside.shift.mode_gap(record, small_data, store, "cpu")
    assert {"eval", "train", "eval_accuracy", "train_accuracy"} == set(found)
    assert found["eval"] == pytest.approx(record.epochs[-1]["validation_loss"], rel=1e-4)
    assert found["eval_accuracy"] == pytest.approx(record.epochs[-1]["validation_accuracy"], abs=1e-6)
    assert abs(found["eval"] - found["train"]) > 1e-3  # four steps: the running averages are far behind
    grouped = dataclasses.replace(TINY, model_args={"width": 0.125, "norm": "group"})
    same = inside.shift.mode_gap(run.get_run(grouped, small_data, "cpu", store), small_data, store, "cpu")
    assert same["eval"] == pytest.approx(same["train"], rel=1e-5)


def test_another_batch_at_the_same_weights_moves_nothing_behind_batch_norm(small_data, store):
    moved = {}
    for norm in ("none", "batch", "noisy_batch"):
        config = RunConfig(
            "VGG_A", {"width": 0.125, "norm": norm}, steps=2, batch_size=32, snapshots=(0, 2), test=False
        )
        record = run.get_run(config, small_data, "cpu", store)
        layer = inside.shift.named(config, ["conv 2"])["conv 2"]
        by_step = inside.shift.activations_along(record, small_data, store, [layer], "cpu")
        assert (
            list(by_step) == [0, 2] and len(inside.shift.still(by_step)) == 2 and len(inside.shift.drift(by_step)) == 1
        )
        moved[norm] = inside.shift.still(by_step)[0]
    assert moved["batch"] < 1e-3 < moved["none"] and moved["noisy_batch"] > 0.1


def test_filter_norms_are_those_of_the_convolutions_alone(small_data, store):
    config = RunConfig("VGG_A", {"width": 0.125, "norm": "batch"}, steps=1, batch_size=8, snapshots=(0,), test=False)
    record = run.get_run(config, small_data, "cpu", store)
    model = build.build_model(config)
    squares = sum(m.weight.square().sum().item() for m in model.modules() if isinstance(m, nn.Conv2d))
    assert inside.shift.filter_norms(record, small_data, store)[0] == pytest.approx(squares**0.5, rel=1e-5)
