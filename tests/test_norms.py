"""Normalisation layers against PyTorch, finite differences and closed forms."""

import pytest
import torch
from torch import nn

from cifar_helpers import models
from cifar_helpers.models import norms


def draw(*shape):
    return 3 * torch.randn(*shape, dtype=torch.double) + 2


@pytest.mark.parametrize("p", [1, 2, float("inf")])
def test_lp_norm_centres_and_divides_by_the_norm_before_centring(p):
    layer, x = norms.LpBatchNorm(4, p, eps=1e-12).double(), draw(6, 4, 3, 3)
    y = layer(x)
    values = x.transpose(0, 1).flatten(1)
    expected = values.abs().amax(1) if p == float("inf") else values.abs().pow(p).mean(1).pow(1 / p)
    torch.testing.assert_close(layer.norm(x), expected)
    back = y.transpose(0, 1).flatten(1) * expected[:, None] + values.mean(1, keepdim=True)
    torch.testing.assert_close(back, values)
    torch.testing.assert_close(layer.running_norm, 0.9 + 0.1 * expected.detach())
    assert y.mean((0, 2, 3)).abs().max() < 1e-12


def test_lp_norm_evaluates_with_its_running_averages():
    layer = norms.LpBatchNorm(3, 1, eps=0.0, momentum=1.0)
    seen, x = torch.randn(8, 3, 2, 2) + 1, torch.randn(4, 3, 2, 2)
    layer(seen)
    mean, size = seen.mean((0, 2, 3)), seen.abs().mean((0, 2, 3))
    expected = (x - mean.view(1, -1, 1, 1)) / size.view(1, -1, 1, 1)
    torch.testing.assert_close(layer.eval()(x), expected)


def test_lp_norm_of_a_dead_channel_has_a_finite_gradient():
    for p in (1, 2, float("inf")):
        x = torch.zeros(4, 2, 3, 3, requires_grad=True)
        norms.LpBatchNorm(2, p)(x).sum().backward()
        assert torch.isfinite(x.grad).all()


def test_noise_has_the_papers_constants_and_only_while_training():
    torch.manual_seed(0)
    layer, x = norms.NoisyBatchNorm(2000), torch.randn(40, 2000, 2, 2)
    clean = nn.BatchNorm2d(2000)
    y, base = layer(x).detach(), clean(x).detach()
    scale = (y[:, :, 0, 0] - y[:, :, 1, 1]) / (base[:, :, 0, 0] - base[:, :, 1, 1])
    shift = y[:, :, 0, 0] - scale * base[:, :, 0, 0]
    for values, low, high, spread in ((scale, 1.0, 1.25, 0.1), (shift, -0.5, 0.5, 0.2 / 12**0.5)):
        centre = values.median(0).values  # per channel; the median forgives ratios of small differences
        assert centre.mean() == pytest.approx((low + high) / 2, abs=0.02)
        assert centre.std() == pytest.approx((high - low) / 12**0.5, rel=0.1)
        inside = (values - centre).abs().quantile(0.5, 0)
        expected = spread * 0.6745 if values is scale else 0.05
        assert inside.mean() == pytest.approx(expected, rel=0.15)
    clean.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer.eval()(x), clean.eval()(x))


@pytest.mark.parametrize("norm", models.NORMS)
def test_every_norm_trains_a_small_vgg(norm):
    torch.manual_seed(0)
    model = models.VGG_A(norm=norm, width=0.125)
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    convolutions = sum(isinstance(m, nn.Conv2d) for m in model.modules())
    plain = models.parameter_count(models.VGG_A(width=0.125))
    filters = sum(m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    assert convolutions == 8 and models.parameter_count(model) - plain == (0 if norm == "none" else 2 * filters)


def test_layer_norm_ignores_the_other_images_and_batch_norm_does_not():
    x = torch.randn(6, 8, 4, 4)
    for norm, alone in (("layer", True), ("group", True), ("batch", False), ("l2", False)):
        layer = models.NORMS[norm](8)
        assert torch.allclose(layer(x)[:2], layer(x[:2]), atol=1e-5) == alone


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": "spectral"}, "none, batch, noisy_batch"),
        ({"width": 0.001}, "no filter"),
        ({"init_scale": 0.0}, "positive"),
    ],
)
def test_bad_arguments_of_vgg_a_say_what_is_possible(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.VGG_A(**arguments)


def test_the_initial_scale_multiplies_the_weights_and_nothing_else():
    for arguments in ({"norm": "batch"}, {"norm": "batch", "init": "default"}):
        networks = []
        for scale in (1.0, 3.0):
            torch.manual_seed(0)
            networks.append(models.VGG_A(width=0.125, init_scale=scale, **arguments))
        for (name, a), b in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
            factor = 3.0 if a.dim() > 1 else 1.0
            torch.testing.assert_close(factor * a, b, msg=name)
