"""The course's own optimizers, losses and schedules, with PyTorch as the oracle."""

import math
from copy import deepcopy as copy_of

import pytest
import torch
import torch.nn.functional as F

from cifar_helpers import models
from cifar_helpers.env import CourseError
from cifar_helpers.training import optim
from cifar_helpers.training.build import LOSSES, build_criterion, build_schedule, l1_penalty
from cifar_helpers.training.config import RunConfig

PAIRS = [
    (torch.optim.SGD, optim.SGD, {"lr": 0.05}),
    (torch.optim.SGD, optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}),
    (torch.optim.SGD, optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
    (torch.optim.Adam, optim.Adam, {"lr": 1e-3}),
    (torch.optim.Adam, optim.Adam, {"lr": 1e-3, "betas": (0.8, 0.99), "weight_decay": 1e-3}),
    (torch.optim.AdamW, optim.AdamW, {"lr": 1e-3}),
]


def names(pair) -> str:
    return f"{pair[1].__name__}-{len(pair[2])}"


@pytest.mark.parametrize("pair", [PAIRS[2], PAIRS[3], PAIRS[5]], ids=names)
def test_equal_to_torch_over_200_steps_of_a_narrow_vgg_in_double_precision(pair):
    theirs, ours, arguments = pair
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(models.VGG_A_BatchNorm(width=0.125).double())
    optimizers = [kind(net.parameters(), **arguments) for kind, net in zip((theirs, ours), nets, strict=True)]
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        x = torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.double)
        y = torch.randint(10, (4,), generator=generator)
        for net, optimizer in zip(nets, optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    for a, b in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("pair", PAIRS, ids=names)
def test_equal_to_torch_in_single_precision_when_fed_the_same_gradients(pair):
    theirs, ours, arguments = pair
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((40, 30), (16, 3, 3, 3), (7,))]
    sides = [[torch.nn.Parameter(w.clone()) for w in start] for _ in range(2)]
    optimizers = [kind(side, **arguments) for kind, side in zip((theirs, ours), sides, strict=True)]
    for _ in range(200):
        gradients = [torch.randn(w.shape, generator=generator) for w in start]
        for side, optimizer in zip(sides, optimizers, strict=True):
            for w, g in zip(side, gradients, strict=True):
                w.grad = g.clone()
            optimizer.step()
    for a, b in zip(*sides, strict=True):
        assert (a - b).norm() <= 1e-6 * a.norm()


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW, optim.FilterMuon])
def test_they_are_real_optimizers(kind):
    net = models.LeNet5()
    optimizer = kind(net.parameters())
    assert isinstance(optimizer, torch.optim.Optimizer)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(net(torch.ones(2, 3, 32, 32)), torch.tensor([1, 2]))
        loss.backward()
        return loss

    assert optimizer.step(closure).item() > 0
    state = optimizer.state_dict()
    again = kind(net.parameters())
    again.load_state_dict(state)
    assert again.state_dict()["param_groups"] == state["param_groups"]
    with pytest.raises(ValueError, match="positive"):
        kind(net.parameters(), lr=0.0)


def test_orthogonalised_keeps_the_directions_and_evens_out_their_lengths():
    torch.manual_seed(0)
    for shape in ((30, 50), (50, 30)):
        matrix = torch.randn(shape)
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        found = optim.orthogonalised(matrix)
        inner = u.T @ found @ vh.T
        assert torch.allclose(inner, torch.diag(inner.diagonal()), atol=1e-3)
        assert inner.diagonal().min() > 0.6 and inner.diagonal().max() < 1.3


def test_filter_muon_turns_filters_and_leaves_their_norm():
    net = models.FastNet((8, 8, 8))
    optimizer = optim.FilterMuon(net.parameters(), lr=0.1)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    F.cross_entropy(net(torch.randn(8, 3, 32, 32)), torch.arange(8)).backward()
    optimizer.step()
    assert torch.equal(net.whiten.weight, before["whiten.weight"])
    for module in net.stages:
        if isinstance(module, torch.nn.Conv2d):
            filters = len(module.weight)
            # Kept at √filters, then moved by 0.1 times a matrix whose singular values are near one.
            assert module.weight.norm().item() == pytest.approx(filters**0.5, rel=0.15)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_and_adamw_share_the_work_and_resume():
    torch.manual_seed(0)
    net = models.MyNet()
    groups = optim.hidden_matrices_apart(net, models.output_layer(net))
    assert [tuple(p.shape) for p in groups[0]["params"]] == [(100, 1250)]
    assert sum(p.numel() for g in groups for p in g["params"]) == 152_820
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8)

    def steps(net, optimizer, n):
        for _ in range(n):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()

    optimizer = optim.MuonAndAdamW(groups)
    steps(net, optimizer, 2)
    copy = models.MyNet()
    copy.load_state_dict(net.state_dict())
    resumed = optim.MuonAndAdamW(optim.hidden_matrices_apart(copy, models.output_layer(copy)))
    resumed.load_state_dict(copy_of(optimizer.state_dict()))  # torch would share the tensors
    steps(net, optimizer, 2)
    steps(copy, resumed, 2)
    for a, b in zip(net.parameters(), copy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_one_cycle_is_torchs_linear_one():
    w = torch.nn.Parameter(torch.zeros(1))
    steps, start = 50, 0.2
    optimizer = torch.optim.SGD([w], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=steps + 1,
        pct_start=(20 + 1) / (steps + 1),
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=1 / start,
        final_div_factor=1e12,
    )
    factor = optim.SCHEDULES["one_cycle"](steps, warmup=0.4, start=start)
    for step in range(steps):
        assert factor(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        theirs.step()
    assert factor(steps) == pytest.approx(0)


def test_step_down_and_constant():
    factor = optim.SCHEDULES["step_down"](105, every=25 / 105)
    assert [factor(step) for step in (0, 24, 25, 50)] == pytest.approx([1, 1, 0.1, 0.01])
    assert optim.SCHEDULES["constant"](10)(7) == 1.0
    for name, arguments in (("cosine", {}), ("one_cycle", {"warmup": 1.5}), ("step_down", {"every": 0})):
        with pytest.raises(CourseError, match="choose one of constant, one_cycle|share"):
            build_schedule(RunConfig("LeNet5", schedule=name, schedule_args=arguments), None)


def test_scheduled_scales_every_group():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 2.0)]
    optimizer = torch.optim.SGD(groups)
    falling = {"schedule": "one_cycle", "schedule_args": {"warmup": 0.0}}
    set_rate = build_schedule(RunConfig("LeNet5", steps=10, **falling), optimizer)
    set_rate(5)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.05, 1.0])
    set_rate(0)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1, 2.0])


# --- Losses --------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_their_formulas():
    torch.manual_seed(0)
    z, y = torch.randn(5, 10, dtype=torch.double), torch.tensor([3, 1, 4, 1, 5])
    target = torch.zeros(5, 10, dtype=torch.double).scatter_(1, y[:, None], 1.0)
    difference = (z - target).abs()
    expected = {
        "cross_entropy": -(z.softmax(1)[torch.arange(5), y]).log().mean(),
        "nll": -(z.softmax(1)[torch.arange(5), y]).log().mean(),
        "mse": difference.square().mean(),
        "smooth_l1": torch.where(difference < 1, difference.square() / 2, difference - 0.5).mean(),
        "bce_with_logits": -(target * z.sigmoid().log() + (1 - target) * (1 - z.sigmoid()).log()).mean(),
    }
    assert set(expected) == set(LOSSES)
    for name, value in expected.items():
        assert build_criterion(RunConfig("LeNet5", loss=name))(z, y).item() == pytest.approx(value.item(), rel=1e-12), (
            name
        )


def test_label_smoothing_spreads_the_target():
    z, y = torch.randn(4, 10), torch.tensor([0, 1, 2, 3])
    target = torch.full((4, 10), 0.02).scatter_(1, y[:, None], 0.82)
    smoothed = build_criterion(RunConfig("LeNet5", label_smoothing=0.2))
    assert smoothed(z, y).item() == pytest.approx(-(target * z.log_softmax(1)).sum(1).mean().item())
    with pytest.raises(CourseError, match="cross_entropy"):
        build_criterion(RunConfig("LeNet5", loss="mse", label_smoothing=0.1))
    with pytest.raises(CourseError, match="smooth_l1"):
        build_criterion(RunConfig("LeNet5", loss="hinge"))


def test_l1_leaves_biases_and_normalisation_alone():
    net = models.LeNet5(batch_norm=True)
    expected = sum(m.weight.abs().sum() for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear))
    assert l1_penalty(net.parameters()).item() == pytest.approx(expected.item())
    assert math.isfinite(expected.item())
