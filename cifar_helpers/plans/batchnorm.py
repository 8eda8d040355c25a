"""What notebooks 08 and 10 train: small VGG-As looked into, and batch norm against its controls.

Nothing here imports torch. All networks are VGG-A at a quarter of its width, so that grids fit a laptop.
"""

from collections.abc import Mapping

from ..training.config import RunConfig
from .landscape import PAPER_RATE
from .profiles import Profile, get_profile
from .sweeps import seeded, sweep

WIDTH = 0.25
# name → ``norm`` of ``models.VGG``; the order of all tables and figures
CONTROLS = {
    "no norm": "none",
    "batch norm": "batch",
    "noisy batch norm": "noisy_batch",
    "group norm": "group",
    "layer norm": "layer",
    "ℓ1 norm": "l1",
    "ℓ2 norm": "l2",
    "ℓ∞ norm": "linf",
}
WATCHED = ("no norm", "batch norm", "noisy batch norm")  # those whose shift is measured
MAP_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
MAP_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
DECAYS = (0.0, 5e-3, 5e-2)
INSIDE_RATES = (1e-3, 4e-3)  # of Adam: the networks looked into, and the second training path on their surface


def small_vgg(
    profile: str | Profile, norm: str, steps: int, seed: int = 0, model_args: Mapping | None = None, **settings
) -> RunConfig:
    """VGG-A at a quarter of its width with this norm; plain SGD at the paper's rate unless settings differ."""
    plan = get_profile(profile)
    arguments = {"width": WIDTH} | ({"norm": norm} if norm != "none" else {}) | dict(model_args or {})
    usual = {"optimizer": "SGD", "lr": PAPER_RATE, "batch_size": plan.batch_size, "n_items": plan.n_items}
    usual |= {"eval_every": plan.norm_every, "eval_items": plan.norm_eval_items, "test": False, "precision": "fp32"}
    return RunConfig("VGG_A", arguments, steps=steps, seed=seed, **usual | settings)


def looked_into(profile: str, seed: int = 0, rate: float = INSIDE_RATES[0]) -> dict[str, RunConfig]:
    """The networks of notebook 08, without and with batch norm: Adam at this rate, weights and snapshots kept."""
    plan = get_profile(profile)
    path = tuple(round(plan.inside_steps * i / plan.path) for i in range(plan.path))  # the end is among the weights
    kept = {"optimizer": "Adam", "lr": rate, "keep_weights": True, "snapshots": path}
    return {
        name: small_vgg(profile, CONTROLS[name], plan.inside_steps, seed, **kept) for name in ("no norm", "batch norm")
    }


@sweep("10_controls", "VGG-A, a quarter as wide, under eight normalisations", "norm", seeds="norm_seeds")
def controls(plan: Profile) -> Mapping:
    """No norm, batch norm, noisy batch norm and its controls, under plain SGD as in the paper."""
    kept = {name: {"snapshots": plan.norm_snapshots} if name in WATCHED else {} for name in CONTROLS}
    return {name: small_vgg(plan, norm, plan.norm_steps, **kept[name]) for name, norm in CONTROLS.items()}


def tolerance_map(profile: str, seed: int = 0) -> dict[tuple[str, float, float], RunConfig]:
    """(network, rate, scale of the initial weights) → run: which settings train at all?"""
    plan = get_profile(profile)
    middle = (len(MAP_RATES) - plan.map_rates) // 2, (len(MAP_SCALES) - plan.map_scales) // 2
    rates = MAP_RATES[middle[0] : middle[0] + plan.map_rates]
    scales = MAP_SCALES[middle[1] : middle[1] + plan.map_scales]
    found = {}
    for name in ("no norm", "batch norm"):
        for rate in rates:
            for scale in scales:
                arguments = {"init_scale": scale} if scale != 1 else {}
                settings = {"model_args": arguments, "lr": rate, "eval_every": plan.map_steps}
                found[name, rate, scale] = small_vgg(profile, CONTROLS[name], plan.map_steps, seed, **settings)
    return found


def weight_decay(profile: str, seed: int = 0) -> dict[float, RunConfig]:
    """Strength of weight decay → run with batch norm: what does it do to weights whose scale means nothing?

    Weights are kept at eleven steps at most.
    """
    plan = get_profile(profile)
    looks = min(11, plan.decay_steps + 1)
    kept = tuple(sorted({round(plan.decay_steps * i / (looks - 1)) for i in range(looks)}))
    settings = {decay: {"optimizer_args": {"weight_decay": decay} if decay else {}} for decay in DECAYS}
    return {
        decay: small_vgg(profile, "batch", plan.decay_steps, seed, snapshots=kept, **settings[decay])
        for decay in DECAYS
    }


def batch_sizes(profile: str, seed: int = 0) -> dict[tuple[str, int], tuple[RunConfig, ...]]:
    """(norm, batch size) → runs of every seed, all on the same number of images; the rate grows with the batch."""
    plan, found = get_profile(profile), {}
    for name in ("batch norm", "group norm"):
        for size in plan.norm_batches:
            rate = PAPER_RATE * min(1.0, size / 128)
            settings = {"batch_size": size, "lr": rate, "keep_weights": True, "eval_every": plan.norm_images // size}
            config = small_vgg(profile, CONTROLS[name], plan.norm_images // size, seed, **settings)
            found[name, size] = seeded(config, seed, plan.norm_seeds)
    return found
