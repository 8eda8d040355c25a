"""What notebooks 04 to 07 train and probe under each profile: plain lists of ``RunConfig``.

Nothing here imports torch, so a plan can be printed anywhere.
"""

from collections.abc import Callable, Sequence

from ..env import CourseError
from ..training.config import RunConfig
from ..training.probes import ProbeConfig, eta_grid
from .profiles import NARROW, Profile, get_profile

RATES = (1e-3, 2e-3, 1e-4, 5e-4)  # the handout's
BASE_RATE = 1e-3  # the rate that gets several seeds
PLAIN, BATCH_NORM = "VGG_A", "VGG_A_BatchNorm"
NETWORKS = (PLAIN, BATCH_NORM)
FAMILY = ("VGG_A_Light", "VGG_A_Dropout", "VGG_A_BatchNorm_Dropout")
GAPS = (1, 4)
PAPER_RATE = 0.1  # of SGD, in the paper's own measurement
DENSE = 29  # points of the denser grid of step lengths
# (optimizer, rate) at which plain VGG-A is expected to struggle; source 004 saw SGD fail but names no rate.
HARD_SETTINGS = (("Adam", 5e-3), ("Adam", 1e-2), ("SGD", 1e-2), ("SGD", 1e-1))


def bn_sweep(
    profile: str, seed: int = 0, rates: Sequence[float] | None = None, n_items: int | None = None
) -> list[RunConfig]:
    """VGG-A without and with batch norm at every rate, all runs of a seed from the same weights and batches.

    Shared by notebooks 04 to 07: whichever comes first trains them. The protocol is that of the course's sample
    code: Adam, batch 128, normalisation ½, no augmentation. Recorded in fp32: bf16 gradients are too far off.
    Where rates or n_items are None, they are the profile's.

    Raises:
        CourseError: an unknown profile or an unusable value.
    """
    budget = get_profile(profile)
    if rates is not None and not isinstance(rates, list | tuple):
        raise CourseError(f"rates must be a list of learning rates, not {rates!r}.")
    return [
        _config(budget, network, seed + offset, n_items, lr=rate, test=budget.bn_test and rate == BASE_RATE)
        for network in NETWORKS
        for rate in rates or RATES
        for offset in range(budget.bn_seeds if rate == BASE_RATE else budget.rate_seeds)
    ]


def bn_family(profile: str, seed: int = 0, n_items: int | None = None) -> list[RunConfig]:
    """The rest of the VGG-A family at the base rate: Light, Dropout, BN + Dropout."""
    budget = get_profile(profile)
    settings = {"steps": budget.family_steps, "gradients": False, "test": budget.bn_test}
    return [
        _config(budget, network, seed + offset, n_items, **settings)
        for network in FAMILY
        for offset in range(budget.family_seeds)
    ]


def bn_hard_settings(profile: str, seed: int = 0, n_items: int | None = None) -> list[RunConfig]:
    """Both networks at optimizers and rates where plain VGG-A is expected to struggle."""
    budget = get_profile(profile)
    settings = {"steps": budget.hard_steps, "gradients": False, "test": False}
    return [
        _config(budget, network, seed, n_items, optimizer=optimizer, lr=rate, **settings)
        for optimizer, rate in HARD_SETTINGS[-budget.hard_settings :]
        for network in NETWORKS
    ]


def same_batch(profile: str) -> ProbeConfig:
    """The second gradient of the handout's proxy on the first one's batch, every few steps."""
    return ProbeConfig("same_batch", every=get_profile(profile).same_batch_every)


def sweep_probes(profile: str, seed: int = 0) -> Callable[[RunConfig], list[ProbeConfig]]:
    """Which probes each run of ``bn_sweep`` gets: ``same_batch``, at every rate, for some of the seeds."""
    measured = {seed + offset for offset in get_profile(profile).same_batch_seeds}
    return lambda config: [same_batch(profile)] if config.seed in measured else []


def direct_runs(profile: str, seed: int = 0) -> list[RunConfig]:
    """Both networks as in the paper: SGD, batch 128, Xavier-normal, no augmentation; several seeds."""
    budget = get_profile(profile)
    settings = {"optimizer": "SGD", "lr": PAPER_RATE, "steps": budget.direct_steps, "test": False}
    return [
        _config(budget, network, seed + offset, **settings)
        for network in NETWORKS
        for offset in range(budget.direct_seeds)
    ]


def direct_probe(profile: str) -> ProbeConfig:
    """The paper's measurement along ``direct_runs``: η from ½ to 4 times the rate, every few steps."""
    budget = get_profile(profile)
    return ProbeConfig("along_gradient", every=budget.probe_every, etas=eta_grid(PAPER_RATE, budget.probe_points))


def direct_controls(profile: str) -> dict[str, ProbeConfig]:
    """What decides whether the probe's outcome stands, at a few steps of ``direct_runs``.

    Returns:
        ``dense``: 29 step lengths; ``eval``: batch norm with its running statistics; ``random``: a random direction
        as long as the gradient; ``noise``: the gradient on other batches at the same weights.
    """
    budget = get_profile(profile)
    return _controls(budget, budget.control_steps)


def _controls(budget: Profile, at: tuple[int, ...]) -> dict[str, ProbeConfig]:
    etas = eta_grid(PAPER_RATE, budget.probe_points)
    return {
        "dense": ProbeConfig("along_gradient", at=at, etas=eta_grid(PAPER_RATE, DENSE)),
        "eval": ProbeConfig("along_gradient", at=at, etas=etas, mode="eval"),
        "random": ProbeConfig("along_gradient", at=at, etas=etas, direction="random"),
        "noise": ProbeConfig("noise", at=at, batches=budget.control_batches),
    }


def direct_probes(profile: str) -> list[ProbeConfig]:
    """All probes of ``direct_runs``, taken in one training; shared by notebooks 05 to 07."""
    return [direct_probe(profile), *direct_controls(profile).values()]


def narrow_runs(profile: str, seed: int = 0) -> list[RunConfig]:
    """``direct_runs`` on networks an eighth as wide, as long as the paper's: 15 000 steps."""
    budget = get_profile(profile)
    return [
        _narrow(budget, network, seed + offset, optimizer="SGD", lr=PAPER_RATE, steps=budget.narrow_steps)
        for offset in range(budget.narrow_seeds)
        for network in NETWORKS
    ]


def narrow_probe(profile: str) -> ProbeConfig:
    """The paper's measurement along ``narrow_runs``, often at first, then less often."""
    budget = get_profile(profile)
    often, until, seldom = budget.narrow_often
    at = (*range(0, until, often), *range(until, budget.narrow_steps, seldom))
    when = {"every": often} if until >= budget.narrow_steps else {"at": at}
    return ProbeConfig("along_gradient", etas=eta_grid(PAPER_RATE, budget.probe_points), **when)


def narrow_probes(profile: str) -> list[ProbeConfig]:
    """All probes of ``narrow_runs``: the paper's, then its controls in the order of ``direct_controls``."""
    budget = get_profile(profile)
    return [narrow_probe(profile), *_controls(budget, budget.narrow_controls).values()]


def narrow_sweep(profile: str, seed: int = 0) -> list[RunConfig]:
    """``bn_sweep`` on networks an eighth as wide: all four rates with as many seeds as ``narrow_runs``."""
    budget = get_profile(profile)
    return [
        _narrow(budget, network, seed + offset, lr=rate, steps=budget.narrow_sweep_steps)
        for offset in range(budget.narrow_sweep_seeds)
        for network in NETWORKS
        for rate in RATES
    ]


def narrow_long(profile: str, seed: int = 0, n_items: int | None = None) -> list[RunConfig]:
    """Both narrow networks at the sweep's base rate for the handout's 20 epochs: does a lead last?"""
    budget = get_profile(profile)
    return [
        _narrow(budget, network, seed + offset, n_items=n_items, lr=BASE_RATE, steps=budget.narrow_long_steps)
        for offset in range(budget.narrow_long_seeds)
        for network in NETWORKS
    ]


def _narrow(budget: Profile, network: str, seed: int, **settings) -> RunConfig:
    """Evaluated as often in every profile that trains as long, so that they share the run."""
    usual = {"eval_every": budget.narrow_every, "eval_items": budget.narrow_eval_items, "test": False}
    return _config(budget, network, seed, model_args={"width": NARROW}, **usual | settings)


def _config(budget: Profile, model: str, seed: int, n_items: int | None = None, **settings) -> RunConfig:
    scaled = budget.width != 1 and model != "VGG_A_Light"  # which is small as it is
    usual = {"model_args": {"width": budget.width} if scaled else {}, "batch_size": budget.batch_size}
    usual |= {"steps": budget.bn_steps, "n_items": budget.n_items if n_items is None else n_items}
    usual |= {"eval_every": budget.bn_every, "eval_items": budget.bn_eval_items}
    usual |= {"precision": "fp32", "gradients": True, "gaps": GAPS}
    return RunConfig(model, seed=seed, **usual | settings)
