"""What notebooks 08 and 10 train: small VGG-As looked into, and batch norm against its controls.

Nothing here imports torch. All networks are VGG-A at a quarter of its width, so that grids fit a laptop.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..env import CourseError
from ..training.config import RunConfig
from .landscape import PAPER_RATE
from .sweeps import Sweep, seeded

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
BATCHES = (2, 8, 32, 128)


@dataclass(frozen=True)
class Budget:
    """Budgets of notebooks 08 and 10 under one profile; steps are of batch 128.

    Attributes:
        seeds: of every comparison; the grids have one.
        inside: steps of the networks that notebook 08 looks into; ``path`` snapshots along them.
        steps: of the networks that differ in their norm; ``snapshots``: steps at which they are looked into.
        map_steps, rates, scales: steps per cell of the tolerance map, and how many of its rates and scales are tried.
        decay_steps: of the runs with weight decay.
        items: images that each run of the batch-size study sees; ``batches``: which sizes.
        surface: points along each side of the loss surface; ``surface_items``: images each point is evaluated on.
        eigenvalues: how many of the largest Hessian eigenvalues; ``curvature_items``: images of that Hessian;
            ``tolerance``: relative, of these eigenvalues.
        every, eval_items, n_items, batch_size: as in ``RunConfig``.
    """

    seeds: int
    inside: int
    path: int
    steps: int
    snapshots: tuple[int, ...]
    map_steps: int
    rates: int
    scales: int
    decay_steps: int
    items: int
    batches: tuple[int, ...]
    surface: int
    surface_items: int
    eigenvalues: int
    curvature_items: int
    tolerance: float = 1e-3
    every: int = 100
    eval_items: int | None = 2000
    n_items: int | None = None
    batch_size: int = 128


BUDGETS = {
    "smoke": Budget(
        seeds=1,
        inside=4,
        path=2,
        steps=3,
        snapshots=(0, 2),
        map_steps=1,
        rates=2,
        scales=1,
        decay_steps=2,
        items=32,
        batches=(2, 8),
        surface=3,
        surface_items=32,
        eigenvalues=1,
        curvature_items=8,
        tolerance=0.5,
        every=4,
        eval_items=60,
        n_items=160,
        batch_size=16,
    ),
    "quick": Budget(
        seeds=1,
        inside=100,
        path=3,
        steps=40,
        snapshots=(0, 20, 39),
        map_steps=10,
        rates=4,
        scales=2,
        decay_steps=40,
        items=1280,
        batches=(8, 128),
        surface=5,
        surface_items=500,
        eigenvalues=1,
        curvature_items=40,
        tolerance=0.01,
        every=40,
        eval_items=1000,
    ),
    "laptop": Budget(
        seeds=3,
        inside=702,
        path=8,
        steps=400,
        snapshots=(0, 10, 25, 50, 100, 150, 200, 250, 300, 350, 399),
        map_steps=60,
        rates=7,
        scales=5,
        decay_steps=300,
        items=6400,
        batches=BATCHES,
        surface=11,
        surface_items=500,
        eigenvalues=2,
        curvature_items=256,
    ),
    "full": Budget(
        seeds=5,
        inside=7020,
        path=20,
        steps=7020,
        snapshots=(0, 10, 50, 100, 200, 400, 800, 1600, 3200, 6400, 7019),
        map_steps=1404,
        rates=7,
        scales=5,
        decay_steps=7020,
        items=450_000,
        batches=BATCHES,
        surface=31,
        surface_items=5000,
        eigenvalues=3,
        curvature_items=5000,
        every=351,
        eval_items=None,
    ),
}


def budget(profile: str) -> Budget:
    """Budget of notebooks 08 and 10 under a profile.

    Raises:
        CourseError: an unknown profile.
    """
    if profile not in BUDGETS:
        raise CourseError(f"Unknown profile {profile!r}; choose one of {', '.join(BUDGETS)}.")
    return BUDGETS[profile]


def small_vgg(profile: str, norm: str, steps: int, seed: int = 0, model_args: Mapping | None = None, **settings):
    """VGG-A at a quarter of its width with this norm; plain SGD at the paper's rate unless settings differ."""
    plan = budget(profile)
    arguments = {"width": WIDTH} | ({"norm": norm} if norm != "none" else {}) | dict(model_args or {})
    usual = {"optimizer": "SGD", "lr": PAPER_RATE, "batch_size": plan.batch_size, "n_items": plan.n_items}
    usual |= {"eval_every": plan.every, "eval_items": plan.eval_items, "test": False, "precision": "fp32"}
    return RunConfig("VGG_A", arguments, steps=steps, seed=seed, **usual | settings)


def looked_into(profile: str, seed: int = 0) -> dict[str, RunConfig]:
    """The networks of notebook 08, without and with batch norm: Adam at 1e-3, weights and snapshots kept."""
    plan = budget(profile)
    path = tuple(round(plan.inside * i / plan.path) for i in range(plan.path))  # the end is among the weights
    kept = {"optimizer": "Adam", "lr": 1e-3, "keep_weights": True, "snapshots": path}
    return {name: small_vgg(profile, CONTROLS[name], plan.inside, seed, **kept) for name in ("no norm", "batch norm")}


def controls(profile: str, seed: int = 0) -> Sweep:
    """No norm, batch norm, noisy batch norm and its controls, under plain SGD as in the paper (SPEC §8)."""
    plan = budget(profile)
    kept = {name: {"snapshots": plan.snapshots} if name in WATCHED else {} for name in CONTROLS}
    variants = {
        (name,): seeded(small_vgg(profile, norm, plan.steps, seed, **kept[name]), seed, plan.seeds)
        for name, norm in CONTROLS.items()
    }
    return Sweep("10_controls", "VGG-A, a quarter as wide, under eight normalisations", ("norm",), variants)


def tolerance_map(profile: str, seed: int = 0) -> dict[tuple[str, float, float], RunConfig]:
    """(network, rate, scale of the initial weights) → run: which settings train at all?"""
    plan = budget(profile)
    middle = (len(MAP_RATES) - plan.rates) // 2, (len(MAP_SCALES) - plan.scales) // 2
    rates = MAP_RATES[middle[0] : middle[0] + plan.rates]
    scales = MAP_SCALES[middle[1] : middle[1] + plan.scales]
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
    plan = budget(profile)
    looks = min(11, plan.decay_steps + 1)
    kept = tuple(sorted({round(plan.decay_steps * i / (looks - 1)) for i in range(looks)}))
    return {
        decay: small_vgg(
            *(profile, "batch", plan.decay_steps, seed),
            optimizer_args={"weight_decay": decay} if decay else {},
            snapshots=kept,
        )
        for decay in DECAYS
    }


def batch_sizes(profile: str, seed: int = 0) -> dict[tuple[str, int], tuple[RunConfig, ...]]:
    """(norm, batch size) → runs of every seed, all on the same number of images; the rate grows with the batch."""
    plan, found = budget(profile), {}
    for name in ("batch norm", "group norm"):
        for size in plan.batches:
            rate = PAPER_RATE * min(1.0, size / 128)
            settings = {"batch_size": size, "lr": rate, "keep_weights": True, "eval_every": plan.items // size}
            config = small_vgg(profile, CONTROLS[name], plan.items // size, seed, **settings)
            found[name, size] = seeded(config, seed, plan.seeds)
    return found
