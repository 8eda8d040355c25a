"""Budgets of the first part (notebooks 02 and 03) under each profile. Nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..env import CourseError

EPOCH = 351  # steps of batch 128 in an epoch of the 45 000 training images

FAST_STEPS = 384  # of the fast recipe while choosing, in every profile but smoke


@dataclass(frozen=True)
class Budget:
    """Budgets of the first part under one profile; steps are of batch 128.

    Attributes:
        seeds, large_seeds: of small networks (MyNet, LeNet-5, the ConvNet), and of all others.
        mynet, lenet: steps of a run in the sweeps that stand beside a source; ``long``: of LeNet-5 until it overfits.
        grid, penalties: steps of MyNet under losses, optimizers and filters, and of LeNet-5 under L1 and L2, where no
            source gives a length.
        convnet: batch size → steps of the ConvNet at source 004's three lengths; ``convnet_early``: at batch 128 as
            long as at its shortest.
        alexnet_items: images that a run of the greedy tuning sees, whatever its batch.
        resnet001, vggnet, resnet_004, resnet_002: steps of source 001's two networks and of ResNet-18 as two sources
            trained theirs.
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
    grid: int
    penalties: int
    convnet: Mapping[int, int]
    convnet_early: int
    alexnet_items: int
    resnet001: int
    vggnet: int
    resnet_004: int
    resnet_002: int
    own: int
    sgd_items: int
    fast: int
    best: int
    timed: int
    toy: int
    every: int = EPOCH
    eval_items: int | None = None
    test: bool = True
    n_items: int | None = None
    batch_size: int = 128


CONVNET = {4: 67_500, 128: 20 * EPOCH, 256: 8750}  # 6, 20 and 50 epochs: 45 000 images make 11 250, 351, 175 steps

# `laptop` and `full` train as long as the sources did and so share their runs; a GPU also takes more seeds and grids.
BUDGETS = {
    "smoke": Budget(
        seeds=1,
        large_seeds=1,
        mynet=3,
        lenet=3,
        long=6,
        grid=3,
        penalties=3,
        convnet={4: 6, 16: 3},
        convnet_early=2,
        alexnet_items=48,
        resnet001=2,
        vggnet=1,
        resnet_004=1,
        resnet_002=1,
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
        grid=60,
        penalties=120,
        convnet={4: 640, 128: 60},
        convnet_early=30,
        alexnet_items=2560,
        resnet001=30,
        vggnet=10,
        resnet_004=6,
        resnet_002=6,
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
        mynet=50 * EPOCH,
        lenet=50 * EPOCH,
        long=50 * EPOCH,
        grid=234,
        penalties=468,
        convnet=CONVNET,
        convnet_early=6 * EPOCH,
        alexnet_items=450_000,
        resnet001=100 * EPOCH,
        vggnet=100 * EPOCH,
        resnet_004=20 * EPOCH,
        resnet_002=105 * EPOCH,
        own=60,
        sgd_items=22_528,
        fast=FAST_STEPS,
        best=6,
        timed=3,
        toy=9360,
    ),
    "full": Budget(
        seeds=3,
        large_seeds=1,
        mynet=50 * EPOCH,
        lenet=50 * EPOCH,
        long=50 * EPOCH,
        grid=50 * EPOCH,
        penalties=50 * EPOCH,
        convnet=CONVNET,
        convnet_early=6 * EPOCH,
        alexnet_items=450_000,
        resnet001=100 * EPOCH,
        vggnet=100 * EPOCH,
        resnet_004=20 * EPOCH,
        resnet_002=105 * EPOCH,
        own=1755,
        sgd_items=900_000,
        fast=FAST_STEPS,
        best=19_500,
        timed=30,
        toy=9360,
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
