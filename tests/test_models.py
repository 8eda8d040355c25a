import math

import pytest
import torch

from cifar_helpers import models
from cifar_helpers.models import fast, resnets


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (models.VGG_A, 9_750_922),
        (models.VGG_A_Dropout, 9_750_922),
        (models.VGG_A_BatchNorm, 9_756_426),
        (models.VGG_A_BatchNorm_Dropout, 9_756_426),
        (lambda: models.VGG_A_BatchNorm(norm_hidden=True), 9_758_474),
        (models.VGG_A_Light, 285_162),
        (models.MyNet, 152_820),
        (lambda: models.MyNet(hidden=500), 657_220),
        (lambda: models.MyNet(hidden=500, kernel2=3), 916_220),
        (models.LeNet5, 62_006),
        (lambda: models.LeNet5(batch_norm=True), 62_458),
        (models.ConvNet, 576_778),
        (models.AlexNet, 23_272_266),
        (models.ResNet001, 4_737_098),
        (models.VGGNet, 14_777_162),
        (models.resnet18, 11_173_962),
        (models.resnet34, 21_282_122),
        (models.resnet50, 23_520_842),
        (models.resnet101, 42_512_970),
        (models.resnet152, 58_156_618),
    ],
)
def test_parameter_counts(model, count):
    net = model().eval()
    assert sum(p.numel() for p in net.parameters()) == count
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_handouts_name_is_the_same_class():
    assert models.VGG_BatchNorm is models.VGG_A_BatchNorm


def test_xavier_normal_has_the_sample_codes_scale_and_zero_biases():
    torch.manual_seed(0)
    net = models.VGG_A()
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            assert not layer.bias.any()
            fan_out, fan_in = layer.weight.shape[0], layer.weight[0].numel()
            receptive = layer.weight[0, 0].numel() if layer.weight.dim() == 4 else 1
            expected = math.sqrt(2 / (fan_in + fan_out * receptive))
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.06)


def test_batch_norm_stands_between_every_convolution_and_its_activation():
    kinds = [type(layer).__name__ for layer in models.VGG_A_BatchNorm().features]
    for i, kind in enumerate(kinds):
        if kind == "Conv2d":
            assert kinds[i + 1 : i + 3] == ["BatchNorm2d", "ReLU"]
    hidden = [type(layer).__name__ for layer in models.VGG_A_BatchNorm(norm_hidden=True).classifier]
    assert hidden == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]


@pytest.mark.parametrize("where", [False, True])
def test_output_layer_is_the_last_linear_layer_wherever_batch_norm_goes(where):
    net = models.VGG_A_BatchNorm(norm_hidden=where)
    assert models.output_layer(net) is net.classifier[-1]
    assert models.output_layer(net).out_features == 10


def test_dropout_drops_in_training_only():
    net, images = models.VGG_A_Dropout(), torch.randn(4, 3, 32, 32)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


@pytest.mark.parametrize("wrong", [{"activation": "rleu"}, {"init": "glorot"}])
def test_an_unknown_name_lists_the_known_ones(wrong):
    with pytest.raises(ValueError, match="relu|xavier_normal"):
        models.VGG_A(**wrong)


@pytest.mark.parametrize("name", [n for n in models.known() if n != "VGG"])
def test_every_network_works_with_defaults_alone_and_reaches_every_parameter(name):
    if name in ("resnet50", "resnet101", "resnet152"):
        pytest.skip("as ResNet-18 and -34, and slow")
    net = getattr(models, name)()
    net(torch.randn(4, 3, 32, 32)).logsumexp(1).sum().backward()
    for label, p in net.named_parameters():
        assert (p.grad is not None) == p.requires_grad, label
    assert models.output_layer(net).out_features == 10


def test_swish_is_pytorchs_silu():
    x = torch.linspace(-20, 20, 101, dtype=torch.double)
    assert torch.allclose(models.Swish()(x), torch.nn.functional.silu(x), atol=1e-14)


@pytest.mark.parametrize(("init", "variance"), [("kaiming_normal", "in"), ("xavier_uniform", "both")])
def test_initialisations_have_the_variance_of_their_papers(init, variance):
    torch.manual_seed(0)
    layer = models.LeNet5(init=init).classifier[0]
    fan_out, fan_in = layer.weight.shape
    expected = 2 / fan_in if variance == "in" else 2 / (fan_in + fan_out)
    assert layer.weight.var().item() == pytest.approx(expected, rel=0.02) and not layer.bias.any()
    if init == "xavier_uniform":
        assert layer.weight.abs().max().item() <= math.sqrt(6 / (fan_in + fan_out))


def test_zero_padded_shortcut_has_no_parameters_and_keeps_what_it_gets():
    block = resnets.BasicBlock(4, 8, stride=2, projection=False)
    assert not list(block.shortcut.parameters())
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block.shortcut(x)[:, :4], x[:, :, ::2, ::2]) and not block.shortcut(x)[:, 4:].any()


def test_the_first_layer_of_the_fast_network_whitens():
    torch.manual_seed(0)
    images = torch.nn.functional.avg_pool2d(torch.randn(300, 3, 34, 34), 3, stride=1)  # neighbours are alike
    filters = fast.whitening_filters(images, eps=0.0)
    out = torch.nn.functional.conv2d(images, filters[:12]).transpose(0, 1).flatten(1).double()
    assert torch.allclose(out @ out.T / out.shape[1], torch.eye(12, dtype=torch.double), atol=1e-3)
    assert torch.equal(filters[12:], -filters[:12])


def test_a_network_of_the_readers_own_can_be_named_by_a_config():
    class Mine(torch.nn.Module):
        pass

    assert "Mine" not in models.known()
    models.register(Mine)
    try:
        assert "Mine" in models.known() and models.Mine is Mine
        with pytest.raises(ValueError, match="another name"):
            models.register(type("LeNet5", (torch.nn.Module,), {}))
    finally:
        del models.Mine
