"""Networks of the course, each with an explicit switch for what the course varies of it.

Every network can be built without arguments and then is that of the source that named it (``VGG``: VGG-A). The
exact parameter counts are in the tests. The residual networks are in ``resnets``, the fast recipe's network in
``fast``; a config finds all of them here by name.
"""

from torch import nn

from .classic import AlexNet, ConvNet, LeNet5, MyNet
from .fast import FastNet
from .layers import ACTIVATIONS, INITS, Swish, initialise, output_layer, parameter_count
from .norms import NORMS
from .owncode import REGISTERED
from .resnets import ResNet, ResNet001, resnet18, resnet34, resnet50, resnet101, resnet152
from .vgg import VGG, VGG_A, VGG_A_BatchNorm, VGG_A_BatchNorm_Dropout, VGG_A_Dropout, VGG_A_Light, VGG_BatchNorm, VGGNet


def known() -> list[str]:
    """Names that a config may give as its model: the networks of this room and those added by ``register``."""
    kinds = {n for n, value in globals().items() if isinstance(value, type) and issubclass(value, nn.Module)}
    builders = (resnet18, resnet34, resnet50, resnet101, resnet152)
    return sorted(kinds - {"Swish"} | {build.__name__ for build in builders})


def register(network: type[nn.Module]) -> type[nn.Module]:
    """Class decorator that lets a config name a network of the reader's own, in this process.

    Changed code is noticed: everything of the reader's that the class runs is part of what a record's initial weights
    are compared by (``owncode.digest``).

    Raises:
        ValueError: the course has a network of this name.
    """
    name = network.__name__
    if name in globals() and name not in REGISTERED:
        raise ValueError(f"The course has a {name} already; give your network another name.")
    REGISTERED[name] = globals()[name] = network
    return network


globals().update(REGISTERED)  # this room may have been reloaded
