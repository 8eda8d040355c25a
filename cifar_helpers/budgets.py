"""Budgets of the first part (notebooks 02 and 03) under each profile. Nothing here imports torch."""

from dataclasses import dataclass

from .env import CourseError

FAST_STEPS = 384  # of the fast recipe while choosing, in every profile but smoke


@dataclass(frozen=True)
class Budget:
    """Budgets of the first part under one profile; steps are of batch 128.

    Attributes:
        seeds, large_seeds: of small networks (MyNet, LeNet-5, the ConvNet), and of all others.
        mynet, lenet, convnet: steps of a run in their sweeps; ``long``: of LeNet-5 until it overfits.
        alexnet_items: images that a run of the greedy tuning sees, whatever its batch.
        resnet001, vggnet, resnet: steps of source 001's two networks and of ResNet-18.
        own: steps of VGG-A + BN under the course's own optimizers.
        sgd_items: images that a run of the batch-size sweep sees.
        fast: steps of the fast recipe; ``best``: of the best one.
        timed: steps timed for each depth of ResNet; ``toy``: steps of the small networks on drawn points.
        every: steps between two evaluations.
        eval_items: validation images of an evaluation; None takes all.
        test: whether the test split is read at the end of runs that stand beside a source.
        n_items, batch_size: another size of set and batch, for ``smoke``.
    """

    seeds: int
    large_seeds: int
    mynet: int
    lenet: int
    long: int
    convnet: int
    alexnet_items: int
    resnet001: int
    vggnet: int
    resnet: int
    own: int
    sgd_items: int
    fast: int
    best: int
    timed: int
    toy: int
    every: int = 351
    eval_items: int | None = None
    test: bool = True
    n_items: int | None = None
    batch_size: int = 128


BUDGETS = {
    "smoke": Budget(
        seeds=1,
        large_seeds=1,
        mynet=3,
        lenet=3,
        long=6,
        convnet=3,
        alexnet_items=48,
        resnet001=2,
        vggnet=1,
        resnet=1,
        own=2,
        sgd_items=96,
        fast=2,
        best=2,
        timed=1,
        toy=40,
        every=3,
        eval_items=60,
        test=False,
        n_items=160,
        batch_size=16,
    ),
    "quick": Budget(
        seeds=1,
        large_seeds=1,
        mynet=60,
        lenet=120,
        long=360,
        convnet=60,
        alexnet_items=2560,
        resnet001=30,
        vggnet=10,
        resnet=6,
        own=12,
        sgd_items=2560,
        fast=FAST_STEPS,
        best=6,
        timed=1,
        toy=468,
        eval_items=1000,
        test=False,
    ),
    "laptop": Budget(
        seeds=3,
        large_seeds=1,
        mynet=234,
        lenet=468,
        long=5265,
        convnet=468,
        alexnet_items=12_800,
        resnet001=351,
        vggnet=150,
        resnet=40,
        own=60,
        sgd_items=22_528,
        fast=FAST_STEPS,
        best=6,
        timed=3,
        toy=9360,
    ),
    # 50 epochs for the small networks, 100 for 001's, 105 for ResNet-18, 200 for the best.
    "full": Budget(
        seeds=3,
        large_seeds=1,
        mynet=17_550,
        lenet=17_550,
        long=17_550,
        convnet=17_550,
        alexnet_items=450_000,
        resnet001=35_100,
        vggnet=35_100,
        resnet=36_855,
        own=1755,
        sgd_items=900_000,
        fast=FAST_STEPS,
        best=19_500,
        timed=30,
        toy=9360,
        every=1755,
    ),
}


def budget(profile: str) -> Budget:
    """The first part's budget under a profile.

    Raises:
        CourseError: an unknown profile.
    """
    if profile not in BUDGETS:
        raise CourseError(f"Unknown profile {profile!r}; choose one of {', '.join(BUDGETS)}.")
    return BUDGETS[profile]
