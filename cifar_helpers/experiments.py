"""What each notebook trains under each profile: plain lists of ``RunConfig``, and the one place with budgets.

Nothing here imports torch, so a plan can be printed anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .env import CourseError
from .record import RunConfig

RATES = (1e-3, 2e-3, 1e-4, 5e-4)  # the handout's
BASE_RATE = 1e-3  # the rate that gets several seeds
PLAIN, BATCH_NORM = "VGG_A", "VGG_A_BatchNorm"
NETWORKS = (PLAIN, BATCH_NORM)
FAMILY = ("VGG_A_Light", "VGG_A_Dropout", "VGG_A_BatchNorm_Dropout")
GAPS = (1, 4)
# (optimizer, rate) at which plain VGG-A is expected to struggle; source 004 saw SGD fail but names no rate.
HARD_SETTINGS = (("Adam", 5e-3), ("Adam", 1e-2), ("SGD", 1e-2), ("SGD", 1e-1))


@dataclass(frozen=True)
class Profile:
    """Budgets of one profile.

    Attributes:
        data: what ``data=None`` in a notebook means.
        minutes: what the part built so far is planned to take, on the machine the profile is for.
        steps: per run of the sweep over rates (and of the VGG-A family).
        seeds: number of seeds at ``BASE_RATE``; ``rate_seeds`` at the other rates.
        hard_steps, hard_settings: steps per run at the hard settings, and how many of these are tried.
        test: whether runs whose test accuracy is reported read the test split; ``smoke`` reports none.
        precision_steps: steps at which bf16 is compared with fp32.
    """

    name: str
    data: str
    minutes: float
    steps: int
    seeds: int
    rate_seeds: int
    hard_steps: int
    hard_settings: int
    batch_size: int = 128
    n_items: int | None = None
    eval_every: int = 100
    eval_items: int | None = None
    test: bool = True
    precision_steps: tuple[int, ...] = (0, 10, 40)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "synthetic",
            3,
            8,
            2,
            1,
            6,
            1,
            batch_size=16,
            n_items=160,
            eval_every=8,
            eval_items=60,
            test=False,
            precision_steps=(0, 2),
        ),
        Profile("quick", "auto", 10, 60, 1, 1, 50, 2, eval_every=30, eval_items=1000, precision_steps=(0, 10)),
        Profile("laptop", "auto", 60, 351, 3, 1, 150, 4, eval_every=117, eval_items=2000),  # 351 steps: one epoch
        Profile("full", "auto", 60, 7020, 5, 5, 1404, 4, eval_every=351),  # 20 epochs, the sample code's
    )
}


def get_profile(name: str) -> Profile:
    """Return the profile of this name.

    Raises:
        CourseError: there is none.
    """
    if name not in PROFILES:
        raise CourseError(f"Unknown profile {name!r}; choose one of {', '.join(PROFILES)}.")
    return PROFILES[name]


def bn_sweep(
    profile: str,
    seed: int = 0,
    rates: Sequence[float] | None = None,
    steps: int | None = None,
    n_items: int | None = None,
) -> list[RunConfig]:
    """VGG-A without and with batch norm at every rate, all runs of a seed from the same weights and batches.

    Shared by notebooks 04 to 07: whichever comes first trains them. The protocol is that of the course's sample code
    (SPEC §6): Adam, batch 128, normalisation ½, no augmentation. Recorded in fp32: bf16 gradients are too far off.

    Args:
        profile: name in ``PROFILES``.
        seed: the first seed.
        rates, steps, n_items: None takes the profile's.

    Raises:
        CourseError: an unknown profile or an unusable value.
    """
    budget = get_profile(profile)
    return [
        _config(
            budget,
            network,
            seed + offset,
            lr=rate,
            steps=steps,
            n_items=n_items,
            test=budget.test and rate == BASE_RATE,
        )
        for network in NETWORKS
        for rate in rates or RATES
        for offset in range(budget.seeds if rate == BASE_RATE else budget.rate_seeds)
    ]


def bn_family(profile: str, seed: int = 0, steps: int | None = None, n_items: int | None = None) -> list[RunConfig]:
    """The rest of the VGG-A family at the base rate: Light, Dropout, BN + Dropout (SPEC §5)."""
    budget = get_profile(profile)
    return [
        _config(budget, network, seed, steps=steps, n_items=n_items, gradients=False, test=budget.test)
        for network in FAMILY
    ]


def bn_hard_settings(profile: str, seed: int = 0, n_items: int | None = None) -> list[RunConfig]:
    """Both networks at optimizers and rates where plain VGG-A is expected to struggle (SPEC §5)."""
    budget = get_profile(profile)
    settings = HARD_SETTINGS[-budget.hard_settings :]
    return [
        _config(
            budget,
            network,
            seed,
            lr=rate,
            optimizer=optimizer,
            steps=budget.hard_steps,
            n_items=n_items,
            gradients=False,
            test=False,
        )
        for optimizer, rate in settings
        for network in NETWORKS
    ]


def _config(budget: Profile, model: str, seed: int, steps=None, n_items=None, gradients=True, **settings) -> RunConfig:
    return RunConfig(
        model,
        seed=seed,
        steps=budget.steps if steps is None else steps,
        n_items=budget.n_items if n_items is None else n_items,
        batch_size=budget.batch_size,
        precision="fp32",
        gradients=gradients,
        gaps=GAPS,
        eval_every=budget.eval_every,
        eval_items=budget.eval_items,
        **settings,
    )
