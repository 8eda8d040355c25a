"""What the first part trains (notebooks 02 and 03): every sweep as a list of variants.

Nothing here imports torch. A sweep changes one thing (or two, crossed) and keeps the rest; a seed gives all of its
variants the same images in the same order and, where the networks are the same, the same weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..training import published
from ..training.config import RunConfig
from .profiles import EPOCH, PUBLISHED, Profile, get_profile

# Optimizer → (class, rate, arguments). Rates are torch's defaults; SGD has none, so it gets the customary pair.
OPTIMIZERS = {
    "SGD": ("SGD", 0.01, {"momentum": 0.9}),
    "Adagrad": ("Adagrad", 0.01, {}),
    "Adadelta": ("Adadelta", 1.0, {}),
    "Adam": ("Adam", 1e-3, {}),
}
LOSSES = ("cross_entropy", "mse", "smooth_l1", "bce_with_logits")
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid", "softplus", "swish")
LENET_RATES = (1.0, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)  # source 002's
CARRIED_RATE = 0.05  # which it carried on with
L2_STRENGTHS = (0.01, 1e-3, 1e-4, 1e-5, 0.0)  # source 002's
BATCH_SIZES = (4, 32, 128, 256, 500)
INITS = ("default", "kaiming_normal", "xavier_normal", "xavier_uniform")
DEPTHS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
AUGMENTED = ("crop", "flip")
LENET_LAYERS = ((450, 75), (2400, 150), (48_000, 400), (10_080, 120), (840, 84))  # weights, fan-in


@dataclass(frozen=True)
class Sweep:
    """Variants that differ in one thing, each with its runs.

    Attributes:
        name: of its table and its figure; begins with the notebook's number.
        title: what is compared, for the figure.
        factors: what is varied: one name, or two for a crossed sweep.
        variants: (value,) or (value, value) as the figure writes them → one config per seed.
    """

    name: str
    title: str
    factors: tuple[str, ...]
    variants: Mapping[tuple[str, ...], tuple[RunConfig, ...]]

    @property
    def configs(self) -> list[RunConfig]:
        """All runs of the sweep, in order."""
        return [config for configs in self.variants.values() for config in configs]


def configured(profile: str | Profile, model: str, steps: int, **settings) -> RunConfig:
    """A run of so many steps with the profile's batch, evaluations and use of the test split, where not given."""
    plan = get_profile(profile)
    given = {"batch_size": plan.batch_size, "n_items": plan.n_items, "eval_every": plan.sweep_every} | settings
    given = {"eval_items": plan.sweep_eval_items, "test": plan.sweep_test} | given
    return RunConfig(model, steps=steps, **given)


def sgd(lr: float = 0.01, **arguments) -> dict:
    """Settings of SGD with momentum 0.9."""
    return {"optimizer": "SGD", "lr": lr, "optimizer_args": {"momentum": 0.9} | arguments}


def optimizer_settings(name: str) -> dict:
    """Settings of an optimizer in ``OPTIMIZERS``."""
    kind, lr, arguments = OPTIMIZERS[name]
    return {"optimizer": kind, "lr": lr, "optimizer_args": arguments}


def seeded(config: RunConfig, seed: int, count: int) -> tuple[RunConfig, ...]:
    """The same run under ``count`` seeds, the first of them given."""
    return tuple(replace(config, seed=seed + offset) for offset in range(count))


def _sweep(name: str, title: str, factors: str, variants: Mapping, seed: int, count: int) -> Sweep:
    """A sweep from one config per variant; ``factors`` separated by ``|``."""
    keyed = {key if isinstance(key, tuple) else (key,): seeded(c, seed, count) for key, c in variants.items()}
    return Sweep(name, title, tuple(factors.split("|")), keyed)


def sweep(name: str, title: str, factors: str, seeds: str = "small_seeds"):
    """Make a function from the profile's budgets to one run per variant the ``Sweep`` of a profile and a first seed.

    Under ``published`` its runs are as long as a source's once seed 0 of every variant is recorded so.

    Args:
        factors: what is varied, or two such names with ``|`` between them.
        seeds: which of the budgets says how many seeds every variant has.
    """

    def decorate(variants: Callable[..., Mapping]) -> Callable[..., Sweep]:
        def made(profile: str, seed: int = 0, **settings) -> Sweep:
            plan = get_profile(profile)
            if profile == PUBLISHED:
                come = get_profile(profile, come=True)
                plan = come if published.recorded(variants(come, **settings).values()) else plan
            return _sweep(name, title, factors, variants(plan, **settings), seed, getattr(plan, seeds))

        made.__name__, made.__doc__ = variants.__name__, variants.__doc__
        return made

    return decorate


# --- 02 and 02b: small networks -------------------------------------------------------------------------------------


def mynet(profile: str | Profile, steps: int | None = None, **settings) -> RunConfig:
    """MyNet as the sweeps start from it: SGD with momentum 0.9 at rate 0.01, cross-entropy."""
    steps = get_profile(profile).mynet if steps is None else steps
    return configured(profile, "MyNet", steps, **(sgd() | settings))


@sweep("02_losses", "MyNet under four losses and four optimizers", "optimizer|loss")
def losses_and_optimizers(plan: Profile) -> Mapping:
    """Four losses crossed with four optimizers on MyNet, each from the same fresh weights."""
    return {
        (optimizer, loss): mynet(plan, steps=plan.grid, loss=loss, **optimizer_settings(optimizer))
        for optimizer in OPTIMIZERS
        for loss in LOSSES
    }


@sweep("02b_nll", "MyNet under three pairs of optimizer and loss", "optimizer and loss")
def nll_identity(plan: Profile) -> Mapping:
    """Source 001's three pairs of optimizer and loss: cross-entropy is NLL after a log-softmax."""
    return {
        "SGD, cross-entropy": mynet(plan),
        "SGD, NLL": mynet(plan, loss="nll"),
        "Adagrad, NLL": mynet(plan, loss="nll", **optimizer_settings("Adagrad")),
    }


@sweep("02_activations", "MyNet under six activations", "activation")
def activations(plan: Profile) -> Mapping:
    """Six activations on MyNet."""
    return {name: mynet(plan, model_args={} if name == "relu" else {"activation": name}) for name in ACTIVATIONS}


@sweep("02b_structure", "MyNet with other hidden sizes, filter sizes and activations", "change")
def structure(plan: Profile) -> Mapping:
    """Hidden units, filter size and activation of MyNet, as source 001 changed them."""
    return {
        "h = 100 (default)": mynet(plan),
        "h = 500": mynet(plan, model_args={"hidden": 500}),
        "h = 500, second filters 3×3": mynet(plan, model_args={"hidden": 500, "kernel2": 3}),
        "h = 500, tanh": mynet(plan, model_args={"hidden": 500, "activation": "tanh"}),
    }


@sweep("02b_filters", "MyNet with three numbers of filters", "filters")
def filters(plan: Profile) -> Mapping:
    """Number of filters of MyNet's two convolutions."""
    changed = {"10 and 25": {"filters": [10, 25]}, "20 and 50": {}, "40 and 100": {"filters": [40, 100]}}
    return {name: mynet(plan, steps=plan.grid, model_args=arguments) for name, arguments in changed.items()}


@sweep("02_own_optimizers", "MyNet under the course's own optimizers and torch's", "optimizer")
def own_optimizers(plan: Profile, muon: bool = True) -> Mapping:
    """The course's own optimizers beside torch's, a one-cycle schedule and, where torch has it, Muon, on MyNet."""
    adam = optimizer_settings("Adam")
    settings = {
        "SGD (torch)": {},
        "SGD (course)": {"optimizer": "course.SGD"},
        "Adam (torch)": adam,
        "Adam (course)": adam | {"optimizer": "course.Adam"},
        "AdamW (course)": adam | {"optimizer": "course.AdamW"},
        "SGD, one cycle": sgd(0.05) | {"schedule": "one_cycle"},
    }
    if muon:
        settings["Muon and AdamW"] = {"optimizer": "course.MuonAndAdamW", "lr": 0.02, "optimizer_args": {}}
    return {name: mynet(plan, steps=plan.grid, **mine) for name, mine in settings.items()}


def lenet(profile: str | Profile, lr: float = 0.01, steps: int | None = None, **settings) -> RunConfig:
    """LeNet-5 as the sweeps start from it: SGD with momentum 0.9 (source 002 does not give its settings)."""
    steps = get_profile(profile).lenet if steps is None else steps
    return configured(profile, "LeNet5", steps, **(sgd(lr) | settings))


def improved(profile: str | Profile, lr: float, batch_norm: bool = True, **settings) -> RunConfig:
    """Source 002's improved LeNet-5: augmentation, Swish and, if not left out, batch norm."""
    arguments = {"activation": "swish"} | ({"batch_norm": True} if batch_norm else {})
    return lenet(profile, lr, augmentation=AUGMENTED, model_args=arguments, **settings)


@sweep("02_lenet", "LeNet-5 with batch norm, Swish and augmentation", "change")
def lenet_changes(plan: Profile) -> Mapping:
    """Batch norm, augmentation and Swish on LeNet-5, Swish in both readings of source 002."""
    return {
        "LeNet-5": lenet(plan),
        "+ batch norm": lenet(plan, model_args={"batch_norm": True}),
        "+ Swish": lenet(plan, model_args={"activation": "swish"}),
        "+ batch norm, Swish": lenet(plan, model_args={"activation": "swish", "batch_norm": True}),
        "+ augmentation": lenet(plan, augmentation=AUGMENTED),
        "+ augmentation, batch norm": lenet(plan, augmentation=AUGMENTED, model_args={"batch_norm": True}),
        "+ augmentation, Swish": improved(plan, 0.01, batch_norm=False),
        "+ all three": improved(plan, 0.01),
    }


@sweep("02_overfitting", "LeNet-5 trained for long, as it is and with a remedy", "change")
def lenet_long(plan: Profile) -> Mapping:
    """LeNet-5 until it overfits, and two remedies: augmentation and a lower rate."""
    every = min(EPOCH, plan.sweep_every)  # an epoch, to see where it turns
    return {
        "LeNet-5": lenet(plan, steps=plan.overfit, eval_every=every),
        "+ augmentation": lenet(plan, steps=plan.overfit, augmentation=AUGMENTED, keep_weights=True, eval_every=every),
        "rate 0.002": lenet(plan, 0.002, steps=plan.overfit, eval_every=every),
    }


@sweep("02_initialisation", "LeNet-5 from four initialisations", "initialisation")
def initialisations(plan: Profile) -> Mapping:
    """Four initialisations of LeNet-5."""
    return {name: lenet(plan, model_args={} if name == "default" else {"init": name}) for name in INITS}


@sweep(
    "02b_rates", "The improved LeNet-5 at eight learning rates, with and without batch norm", "learning rate|network"
)
def rates(plan: Profile) -> Mapping:
    """Eight learning rates of the improved LeNet-5, and of the same net without batch norm."""
    return {
        (f"{lr:g}", name): improved(plan, lr, batch_norm)
        for lr in LENET_RATES
        for name, batch_norm in (("without BN", False), ("with BN", True))
    }


@sweep("02b_bn_at_high_rate", "LeNet-5 at rate 0.1 with and without batch norm", "network")
def bn_at_high_rate(plan: Profile) -> Mapping:
    """LeNet-5 with and without batch norm at rate 0.1, augmented, with ReLU: source 002's reason for it."""
    changed = {"without BN": {}, "with BN": {"batch_norm": True}}
    return {name: lenet(plan, 0.1, augmentation=AUGMENTED, model_args=arguments) for name, arguments in changed.items()}


@sweep("02b_l2", "The improved LeNet-5 under five strengths of L2", "L2 strength")
def l2(plan: Profile) -> Mapping:
    """Five strengths of L2 (weight decay) on the improved LeNet-5 at the rate that 002 carried on with."""
    decays = {f"{strength:g}": {"weight_decay": strength} if strength else {} for strength in L2_STRENGTHS}
    return {
        name: improved(plan, CARRIED_RATE, optimizer_args={"momentum": 0.9} | decay) for name, decay in decays.items()
    }


def matched_l1(l2_strength: float) -> float:
    """Strength λ₁ at which λ₁‖w‖₁ equals ½ λ₂‖w‖² for LeNet-5's expected initial weights, U(−b, b), b = 1/√fan-in.

    With E|w| = b/2 and E w² = b²/3 per weight.
    """
    squares = sum(n / fan_in / 3 for n, fan_in in LENET_LAYERS)
    absolutes = sum(n / fan_in**0.5 / 2 for n, fan_in in LENET_LAYERS)
    return float(f"{l2_strength * squares / 2 / absolutes:.3g}")


@sweep("02_penalties", "LeNet-5 under L2 and under L1", "penalty")
def penalties(plan: Profile) -> Mapping:
    """L1 in the loss against L2: at the source's strengths and where both penalties begin equal."""
    kept = {"steps": plan.penalties, "keep_weights": True}
    return {
        "none": lenet(plan, **kept),
        "L2 0.01": lenet(plan, **sgd(weight_decay=0.01), **kept),
        f"L1 {matched_l1(0.01):g} (as strong)": lenet(plan, l1=matched_l1(0.01), **kept),
        "L2 0.001": lenet(plan, **sgd(weight_decay=1e-3), **kept),
        f"L1 {matched_l1(1e-3):g} (as strong)": lenet(plan, l1=matched_l1(1e-3), **kept),
        "L1 1": lenet(plan, l1=1.0, **kept),
    }


@sweep("02_batch_size", "The basic ConvNet over batch sizes, the same images and rate", "batch size")
def batch_sizes(plan: Profile) -> Mapping:
    """Batch sizes 4 to 500 on the basic ConvNet at one rate, all for the same number of images."""
    lengths = {size: plan.batch_images // size for size in BATCH_SIZES if size <= plan.batch_images // 2}
    return {str(size): convnet(plan, size, steps, eval_every=steps) for size, steps in lengths.items()}


def convnet(profile: str | Profile, batch_size: int, steps: int, lr: float = 1e-3, **settings) -> RunConfig:
    """The basic ConvNet as source 004 trained it: SGD with momentum 0.9, rate 1e-3; evaluated once an epoch."""
    plan = get_profile(profile)
    every = max(1, plan.sweep_every * plan.batch_size // batch_size)
    return configured(profile, "ConvNet", steps, batch_size=batch_size, **sgd(lr), **({"eval_every": every} | settings))


@sweep("02b_convnet", "The basic ConvNet: batch sizes, each at its source's length", "batch size")
def convnet_lengths(plan: Profile) -> Mapping:
    """The ConvNet at three batch sizes, each at source 004's length, and one as short as at batch 4."""
    variants = {f"batch {size}": convnet(plan, size, steps) for size, steps in plan.convnet.items()}
    middle = min(128, plan.batch_size)
    variants[f"batch {middle}, short"] = convnet(plan, middle, plan.convnet_early)
    return variants


@sweep("02b_dropout", "The basic ConvNet with and without dropout", "dropout")
def dropout(plan: Profile) -> Mapping:
    """Dropout after each hidden linear layer of the basic ConvNet, at source 004's batch and rate."""
    changed = {"without": {}, "dropout 0.5": {"dropout": 0.5}}
    return {name: convnet(plan, 4, plan.convnet[4], model_args=arguments) for name, arguments in changed.items()}


@sweep("02b_high_rate", "The basic ConvNet at rate 0.1 under four losses and two batch sizes", "loss|batch size")
def high_rate(plan: Profile) -> Mapping:
    """The ConvNet at rate 0.1 under four losses, at source 004's batch and a larger one: it saw NaN."""
    return {
        (loss, str(size)): convnet(plan, size, min(100, plan.grid), 0.1, loss=loss, test=False)
        for loss in LOSSES
        for size in (4, plan.batch_size)
    }


def fair(profile: str, seed: int = 0) -> list[RunConfig]:
    """MyNet and LeNet-5 for two epochs each, as their long runs begin: what ``quick`` trains of 02."""
    usual = {"steps": 2 * EPOCH, "eval_items": None}
    return [make(profile, seed=seed, **usual) for make in (mynet, lenet)]


# --- 03: large networks --------------------------------------------------------------------------------------------


@sweep(
    "03_large", "A small ResNet and a wide VGG from two initialisations", "network|initialisation", seeds="large_seeds"
)
def resnet_and_vgg(plan: Profile) -> Mapping:
    """A small ResNet and a wide VGG (source 001's), from PyTorch's default and from Xavier-uniform."""
    return {
        (name, init): configured(plan, model, steps, model_args={} if init == "default" else {"init": init}, **sgd())
        for name, model, steps in (("ResNet", "ResNet001", plan.resnet001), ("VGGNet", "VGGNet", plan.vggnet))
        for init in ("default", "xavier_uniform")
    }


@sweep("03_resnet18", "ResNet-18 under two recipes", "recipe", seeds="large_seeds")
def resnets(plan: Profile) -> Mapping:
    """ResNet-18 as 004 (the constant rate) and as 002 trained theirs, as far as they say how."""
    falling = {"schedule": "step_down", "schedule_args": {"every": 25 / 105, "drops": 1}, "augmentation": AUGMENTED}
    return {
        "rate 0.05": configured(plan, "resnet18", plan.resnet_004, **sgd(0.05)),
        "rate 0.2, falling": configured(plan, "resnet18", plan.resnet_002, **sgd(0.2, weight_decay=1e-5), **falling),
    }


@sweep(
    "03_own_optimizers", "VGG-A + BN under the course's own optimizers and torch's", "optimizer", seeds="large_seeds"
)
def own_on_vgg(plan: Profile) -> Mapping:
    """The course's own optimizers beside torch's on the full VGG-A + BN."""
    return {
        f"{name} ({house})": configured(
            plan, "VGG_A_BatchNorm", plan.own_vgg, test=False, **optimizer_settings(name) | {"optimizer": prefix + name}
        )
        for name in ("SGD", "Adam")
        for house, prefix in (("torch", ""), ("course", "course."))
    }
