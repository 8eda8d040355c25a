import math

import pytest
import torch

from cifar_helpers import models


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (models.VGG_A, 9_750_922),
        (models.VGG_A_Dropout, 9_750_922),
        (models.VGG_A_BatchNorm, 9_756_426),
        (models.VGG_A_BatchNorm_Dropout, 9_756_426),
        (lambda: models.VGG_A_BatchNorm(norm_hidden=True), 9_758_474),
        (models.VGG_A_Light, 285_162),
    ],
)
def test_parameter_counts(model, count):
    net = model()
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
