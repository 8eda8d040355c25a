"""The profiles: how much notebooks 04 to 07 train under each."""

from dataclasses import dataclass

from ..env import CourseError
from .budgets import EPOCH


@dataclass(frozen=True)
class Profile:
    """Budgets of one profile.

    Attributes:
        data: what ``data=None`` in a notebook means.
        minutes: what the whole report is planned to take, on the machine the profile is for (``full``: a guess).
        steps: per run of the sweep over rates (and of the VGG-A family).
        seeds: number of seeds at ``BASE_RATE``; ``rate_seeds`` at the other rates.
        hard_steps, hard_settings: steps per run at the hard settings, and how many of these are tried.
        test: whether runs whose test accuracy is reported read the test split; ``smoke`` reports none.
        precision_steps: steps at which bf16 is compared with fp32.
        same_batch_every: steps between two same-batch measurements along the sweep.
        same_batch_seeds: which of the seeds (the first is 0) are measured so.
        direct_steps, direct_seeds: of the runs along which the direct probe is taken.
        probe_every, probe_points: steps between two probes, and step lengths of each.
        control_steps: steps at which the probe's controls are taken; multiples of ``probe_every``.
        control_batches: other batches of the noise floor.
        family_steps, family_seeds: of the VGG-A family at the base rate.
        narrow_steps, narrow_seeds: of the direct probe on narrow nets, probed every so many steps up to a step, and
            every so many after it (``narrow_often``), with controls at ``narrow_controls``.
        narrow_sweep_steps, narrow_sweep_seeds: of the sweep over rates on narrow nets.
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
    same_batch_every: int = 10
    same_batch_seeds: tuple[int, ...] = (0,)
    direct_steps: int = 600
    direct_seeds: int = 3
    probe_every: int = 12
    probe_points: int = 7
    control_steps: tuple[int, ...] = (12, 300, 588)
    control_batches: int = 4
    family_steps: int = EPOCH
    family_seeds: int = 1
    narrow_steps: int = 15_000
    narrow_seeds: int = 5
    narrow_often: tuple[int, int, int] = (20, 1000, 100)
    narrow_controls: tuple[int, ...] = (300, 7500, 14_900)
    narrow_sweep_steps: int = 3 * EPOCH
    narrow_sweep_seeds: int = 5


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "synthetic",
            6,
            steps=8,
            seeds=2,
            rate_seeds=1,
            hard_steps=6,
            hard_settings=1,
            batch_size=16,
            n_items=160,
            eval_every=8,
            eval_items=60,
            test=False,
            precision_steps=(0, 2),
            same_batch_every=2,
            direct_steps=10,
            direct_seeds=2,
            probe_every=3,
            probe_points=3,
            control_steps=(6,),
            control_batches=1,
            family_steps=8,
            narrow_steps=10,
            narrow_seeds=2,
            narrow_often=(2, 4, 3),
            narrow_controls=(4,),
            narrow_sweep_steps=8,
            narrow_sweep_seeds=1,
        ),
        Profile(
            "quick",
            "auto",
            22,
            steps=60,
            seeds=1,
            rate_seeds=1,
            hard_steps=50,
            hard_settings=2,
            eval_every=30,
            eval_items=1000,
            precision_steps=(0, 10),
            same_batch_every=10,
            direct_steps=61,
            direct_seeds=1,
            probe_every=10,
            control_steps=(60,),
            control_batches=2,
            family_steps=60,
            narrow_steps=1200,
            narrow_seeds=3,
            narrow_often=(20, 1200, 100),
            narrow_controls=(100, 600, 1180),
            narrow_sweep_steps=60,
            narrow_sweep_seeds=1,
        ),
        # 351 steps: one epoch. With SGD the plain net leaves its plateau after 150 to 200 steps.
        Profile(
            "laptop",
            "auto",
            250,
            steps=351,
            seeds=3,
            rate_seeds=3,
            hard_steps=150,
            hard_settings=4,
            eval_every=117,
            eval_items=2000,
            same_batch_seeds=(2,),  # one, for time
        ),
        # 20 epochs, the sample code's; 15 000 steps, the paper's.
        Profile(
            "full",
            "auto",
            3000,
            steps=7020,
            seeds=5,
            rate_seeds=5,
            hard_steps=1404,
            hard_settings=4,
            eval_every=351,
            same_batch_every=20,
            same_batch_seeds=(0, 1, 2, 3, 4),
            direct_steps=15_000,
            direct_seeds=5,
            probe_every=50,
            control_steps=(300, 7500, 14_950),
        ),
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
