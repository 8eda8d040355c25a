"""What four reports and the paper say, so that a table can put this run's number beside theirs.

Where a source does not say how it got a number, how we read it stands in ``what``.
"""

from dataclasses import dataclass

DOCUMENTS = {
    "001": "a student's report on the handout's project",
    "002": "a student's answers to a course assignment on LeNet-5 and ResNet, September 2020",
    "003": "a report on AlexNet for CIFAR-10 and on automatic differentiation",
    "004": "a report, “Exploration on CIFAR10 and Batch Normalization”, 2023",
    "paper": "Santurkar, Tsipras, Ilyas, Mądry: How Does Batch Normalization Help Optimization?, NeurIPS 2018 "
    "(arXiv 1805.11604), sections 2.1, 2.2, 3.3 and Fig. 4",
}


@dataclass(frozen=True)
class Reported:
    """One number or finding of a source.

    Attributes:
        source: number of the source document.
        what: the quantity, with its settings as far as the source gives them.
        reported: the source's value in its own unit.
        value: the same as a number where a remark is to be made by it: an accuracy in percent, a difference in points.
        epochs, steps: what the source trained for, where it says so, in its own unit.
        part: the images an accuracy is of, ``test`` or ``validation``.
        best_on_test: whether the source chose the epoch by its accuracy on the test images.
    """

    source: str
    what: str
    reported: str
    value: float | None = None
    epochs: float | None = None
    part: str = "test"
    steps: int | None = None
    best_on_test: bool = False


def _accuracy(
    source: str, what: str, value: float, epochs: float | None = None, digits: int = 2, best: str = "", about: str = ""
) -> Reported:
    """An accuracy in percent; the number of epochs is named with it.

    Args:
        best: what the source calls the accuracy where it chose the epoch on the test images.
        about: put before the number where the source says "approximately".
    """
    part = "validation" if source == "002" else "test"
    named = [what, f"{epochs:g} epochs" if epochs else "", "validation images" if part == "validation" else best]
    text = f"{about}{value:.{digits}f} %"
    return Reported(source, ", ".join(filter(None, named)), text, value, epochs, part, best_on_test=bool(best))


REPORTED = {
    # 001, MyNet
    "mynet_sgd_ce": _accuracy("001", "MyNet, SGD and cross-entropy", 62.57, 50),
    "mynet_sgd_nll": _accuracy("001", "MyNet, SGD and NLL", 67.55, 50),
    "mynet_adagrad_nll": _accuracy("001", "MyNet, Adagrad and NLL", 52.27, 50),
    "mynet_identity": Reported("001", "NLL against cross-entropy, the same network and optimizer", "5.0 points better"),
    "mynet_seconds": Reported(
        "001", "MyNet, SGD and cross-entropy, training time", "206.2 s for 50 epochs (4.1 s each)", epochs=50
    ),
    "mynet_times": Reported(
        "001",
        "MyNet, 50 epochs: SGD NLL, Adagrad NLL, h = 500, 3×3, tanh",
        "202.2, 212.9, 192.9, 191.8, 205.2 s (4.0, 4.3, 3.9, 3.8, 4.1 s per epoch)",
        epochs=50,
    ),
    "mynet_h500": _accuracy("001", "MyNet, hidden size 500 (657 220 parameters)", 70.13, 50),
    "mynet_h500_effect": Reported("001", "MyNet, hidden size 100 → 500", "+2.6 points", 2.58, 50),
    "mynet_k3": _accuracy(
        "001", "MyNet, h = 500, 3×3 filters (read as the second; 916 220 parameters in ours)", 69.34, 50
    ),
    "mynet_k3_effect": Reported("001", "MyNet, second filters 5×5 → 3×3", "−0.8 points", -0.79, 50),
    "mynet_tanh": _accuracy("001", "MyNet, h = 500, tanh", 61.15, 50),
    "mynet_tanh_effect": Reported("001", "MyNet, ReLU → tanh", "−9.0 points", -8.98, 50),
    # 001, large networks
    "resnet001": _accuracy("001", "its ResNet (4 737 098 parameters, structure reconstructed)", 75.51, 100),
    "resnet001_xavier": _accuracy("001", "its ResNet, Xavier-uniform (read as for as long)", 75.29, 100),
    "resnet001_seconds": Reported(
        "001", "its ResNet, training time", "815.0 s for 100 epochs (8.2 s each)", epochs=100
    ),
    "resnet001_xavier_seconds": Reported(
        "001", "its ResNet, Xavier-uniform, time", "815.6 s for 100 epochs (8.2 s each)", epochs=100
    ),
    "vggnet": _accuracy("001", "its VGGNet (14 777 162 parameters, structure reconstructed)", 80.34, 100),
    "vggnet_xavier": _accuracy("001", "its VGGNet, Xavier-uniform (read as for as long)", 80.87, 100),
    "vggnet_seconds": Reported("001", "its VGGNet, training time", "1387.3 s for 100 epochs (13.9 s each)", epochs=100),
    "vggnet_xavier_seconds": Reported(
        "001", "its VGGNet, Xavier-uniform, time", "1333.1 s for 100 epochs (13.3 s each)", epochs=100
    ),
    # 002, LeNet-5
    "lenet_untrained": Reported("002", "LeNet-5, loss before any training", "≈ 2.30 = ln 10"),
    "lenet_overfits": Reported("002", "LeNet-5, epoch after which validation loss rises", "22", 22),
    "lenet_init": Reported(
        "002",
        "LeNet-5: default, Kaiming-normal, Xavier-normal, highest validation accuracy (50 epochs as we read it)",
        "≈ 64 % for “both”, no difference",
        None,
        50,
    ),
    "lenet_augmented": _accuracy("002", "LeNet-5, crop with padding 4 and flip", 70, 50, 0),
    "lenet_bn": _accuracy("002", "LeNet-5 + BN (as we read it, with augmentation)", 73, 50, 0, about="≈ "),
    "lenet_bn_effect": Reported("002", "LeNet-5 with augmentation, adding BN", "≈ 70 % → ≈ 73 %", 3, 50),
    # Its 70 % for ReLU is the augmented net without BN, its best net has BN: it can be read in two ways.
    "lenet_swish": _accuracy("002", "LeNet-5, Swish (read as with augmentation alone)", 73.5, 50, 1),
    "lenet_swish_bn": _accuracy("002", "LeNet-5, Swish (read as with augmentation and BN)", 73.5, 50, 1),
    "lenet_swish_effect": Reported("002", "LeNet-5, ReLU → Swish (augmentation alone)", "+3.5 points", 3.5, 50),
    "lenet_swish_bn_effect": Reported("002", "LeNet-5, ReLU → Swish (augmentation and BN)", "+0.5 points", 0.5, 50),
    "lenet_rate_bn": _accuracy(
        "002", "LeNet-5 + BN at rate 0.1 (as we read it, with augmentation)", 68, 50, 0, about="≈ "
    ),
    "lenet_rate_plain": _accuracy(
        "002", "LeNet-5 at rate 0.1 (as we read it, with augmentation)", 35, 50, 0, about="≈ "
    ),
    "lenet_rates": Reported(
        "002",
        "improved LeNet-5: learning rates 1.0 … 0.001 (50 epochs as we read it)",
        "0.05 or 0.02 best; 1.0 fails",
        None,
        50,
    ),
    "lenet_l2": Reported(
        "002",
        "improved LeNet-5 at rate 0.05, L2 strength 0.01 (50 epochs as we read it), validation images",
        "≈ 50 %, worse than smaller strengths",
        None,
        50,
    ),
    "lenet_l1": Reported(
        "002",
        "L1 of strength 1 in the loss against L2 of 0.01",
        "expected sparser, saw smaller and more skewed weights",
    ),
    "resnet002": _accuracy(
        "002", "ResNet (depth not named), rate 0.2, ×0.1 after 25 epochs (read as once), L2 1e-5", 90.66, 105
    ),
    # 003
    "alexnet": _accuracy(
        "003", "AlexNet (23 272 266 parameters) after the greedy tuning", 70, 10, 0, "best as we read it"
    ),
    "alexnet_greedy": Reported("003", "AlexNet, greedy tuning", "without BN, Adam, 1e-3, batch 100", epochs=10),
    "toy_sigmoid": Reported(
        "003", "small network on drawn points: sigmoid against ReLU", "sigmoid faster, then equal", epochs=20
    ),
    "toy_deep": Reported(
        "003", "the same with three linear layers, ReLU and sigmoid", "better than two layers", epochs=20
    ),
    "autograd_ops": Reported("003", "gradients of X/Y, f(X), the matrix product, copies and the sum", "derivations"),
    "autograd_copy": Reported("003", "gradient of sixteen copies (as we read its question)", "X∇ = C∇"),
    "autograd_rates": Reported(
        "003", "activation at a high learning rate", "ReLU fails (of sigmoid it reports no failure)", epochs=20
    ),
    "toy_he": Reported(
        "003",
        "small network from He instead of Glorot weights (it used the output size), best on validation",
        "99.64 %",
        epochs=20,
    ),
    # 004
    "convnet": _accuracy(
        "004", "basic ConvNet, batch 4 (its Table 1 says 42 epochs)", 71, 6, 0, "best epoch on test as we read it"
    ),
    "batch_128": _accuracy("004", "basic ConvNet, batch 128", 73, 20, 0, "best epoch on test as we read it"),
    "batch_128_early": _accuracy("004", "basic ConvNet, batch 128", 64, 6, 0),
    "batch_256": _accuracy("004", "basic ConvNet, batch 256", 73, 50, 0, "best epoch on test as we read it"),
    "batch_seconds": Reported("004", "basic ConvNet, time of an epoch at batch 4, 128, 256", "68.9, 32.3, 30.7 s"),
    "dropout": Reported("004", "basic ConvNet, dropout after each linear layer", "slower descent"),
    "losses": Reported(
        "004", "MSE, cross-entropy, SmoothL1, BCE with logits, train and test accuracy", "cross-entropy best"
    ),
    "losses_nan": Reported("004", "the same losses at rate 0.1", "NaN"),
    "activations": Reported("004", "ReLU, sigmoid, LeakyReLU, tanh, softplus", "ReLU and LeakyReLU best", None, 50),
    "optimizers": Reported("004", "SGD, Adagrad, Adadelta, Adam (one network reused for all)", "Adadelta best"),
    "resnet18": _accuracy("004", "ResNet (read as ResNet-18)", 83.31, 20, best="best epoch on test"),
    "resnet18_best": _accuracy("004", "ResNet (read as ResNet-18), its best", 96.68, 200, best="best epoch on test"),
    "depth_seconds": Reported(
        "004", "time of an epoch relative to ResNet-18: ResNet-34, 50, 101, 152", "3.2, 3.7, 5.9, 10.8"
    ),
    # 001 and 004, VGG-A
    "vgg_a_accuracy": _accuracy("001", "VGG-A (its “valid accuracy”; epochs read off an axis)", 77.52, 20),
    "vgg_a_seconds": Reported("001", "VGG-A, training time", "7.33 s per epoch", epochs=20),
    "vgg_bn_accuracy": _accuracy("001", "VGG-A + BN (its “valid accuracy”; epochs read off an axis)", 82.88, 20),
    "vgg_bn_seconds": Reported("001", "VGG-A + BN, training time", "8.05 s per epoch", epochs=20),
    "vgg_family": Reported("004", "best of VGG-A, Light, Dropout, BN, BN + Dropout", "the two with BN"),
    "vgg_sgd": Reported("004", "VGG-A with SGD (rate not given)", "did not train; with BN it did"),
    "loss_ahead": Reported("001", "training loss at the same step", "falls faster, and lower, with BN"),
    "loss_band": Reported("004", "band of the loss over the four rates, 25 epochs", "narrower with BN", epochs=25),
    "grad_dist_all": Reported("001", "gradient distance between steps", "larger with BN (“drastic”)"),
    "grad_direction": Reported(
        "001", "direction of the gradient from step to step", "kept with BN (“not much different”)"
    ),
    "grad_dist_output": Reported("004", "gradient distance between steps, output layer", "smaller with BN"),
    "probe_loss": Reported(
        "paper", "variation of the loss along the gradient (VGG, 15 000 steps)", "smaller with BN", steps=15_000
    ),
    "probe_distance": Reported(
        "paper", "gradient predictiveness along the gradient", "better (distance smaller) with BN", steps=15_000
    ),
    "probe_beta": Reported("paper", "effective β-smoothness along the gradient", "smaller with BN", steps=15_000),
    "beta": Reported("004", "effective β, maximum (read as over the rates)", "greatly smaller with BN"),
    # the paper
    "noisy_bn": Reported(
        "paper", "batch norm with added noise (section 2.1)", "trains nearly as well, better than none"
    ),
    "covariate_shift": Reported(
        "paper", "internal covariate shift with batch norm (section 2.2)", "no smaller, often larger"
    ),
    "lp_norms": Reported("paper", "ℓ1, ℓ2 and ℓ∞ normalisation (section 3.3)", "comparable to batch norm, or better"),
}
