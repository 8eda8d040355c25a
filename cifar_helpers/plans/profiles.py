"""The one table of budgets: how much every notebook trains under each profile.

Steps are of batch 128 unless a row says otherwise. ``laptop`` and ``full`` train as long as the sources did and so
share their runs; a GPU also takes more seeds and finer grids. Nothing here imports torch.
"""

from dataclasses import make_dataclass, replace

from ..env import ROOT, CourseError, figures_dir, number_of, read_json

EPOCH = 351  # steps of batch 128 in an epoch of the 45 000 training images
FAST_STEPS = 384  # of the fast recipe while choosing, in every profile but smoke
CONVNET = {4: 67_500, 128: 20 * EPOCH, 256: 8750}  # 6, 20 and 50 epochs
BATCHES = (2, 8, 32, 128)
NARROW = 0.125  # of VGG-A's width: the paper's 15 000 steps then fit a laptop
LOOKS = (0, 10, 25, 50, 100, 150, 200, 250, 300, 350, 399)

# fmt: off
_TABLE = {
    # quantity: (smoke, quick, laptop, full)
    # The whole course
    "data": ("synthetic", "auto", "auto", "auto"),  # what ``data=None`` in a notebook means
    # the whole report is planned to take, on the machine it is for (``full``: a guess), and its notebooks alone
    "minutes": (6, 15, 6300, 3000),
    "notebook_minutes": (4, 5, 10, 10),
    # the notebooks that a report trains nothing for: they show the published records
    "shows": ((), ("02", "02b", "03", "08", "09", "10", "11"), (), ()),
    "n_items": (160, None, None, None),  # size of the training set; None takes all of it
    "batch_size": (16, 128, 128, 128),  # images per step, where a sweep does not vary it
    # 02 and 03
    "small_seeds": (1, 1, 3, 3),  # seeds of MyNet, LeNet-5, the ConvNet
    "large_seeds": (1, 1, 1, 1),  # of all other networks in 02 and 03
    "mynet": (3, 60, 50 * EPOCH, 50 * EPOCH),  # steps in the sweeps that stand beside a source
    "lenet": (3, 120, 50 * EPOCH, 50 * EPOCH),  # the same
    "overfit": (6, 360, 50 * EPOCH, 50 * EPOCH),  # LeNet-5 until it overfits
    "grid": (3, 60, 234, 50 * EPOCH),  # MyNet where no source gives a length
    "penalties": (3, 120, 468, 50 * EPOCH),  # LeNet-5 under L1 and L2, the same
    "convnet": ({4: 6, 16: 3}, {4: 640, 128: 60}, CONVNET, CONVNET),  # batch size → steps, source 004's lengths
    "convnet_early": (2, 30, 6 * EPOCH, 6 * EPOCH),  # at batch 128 as long as at its shortest
    "alexnet_images": (48, 2560, 450_000, 450_000),  # images that a run of the greedy tuning sees
    "resnet001": (2, 30, 100 * EPOCH, 100 * EPOCH),  # source 001's networks
    "vggnet": (1, 10, 100 * EPOCH, 100 * EPOCH),
    "resnet_004": (1, 6, 20 * EPOCH, 20 * EPOCH),  # ResNet-18 as 004 trained it
    "resnet_002": (1, 6, 105 * EPOCH, 105 * EPOCH),  # and as 002 did
    "own_vgg": (2, 12, 60, 1755),  # VGG-A + BN under the course's own optimizers
    "batch_images": (96, 2560, 22_528, 900_000),  # images that a run of the batch-size sweep sees
    "fast": (2, FAST_STEPS, FAST_STEPS, FAST_STEPS),  # the fast recipe
    "best": (2, 6, 6, 19_500),  # the best one
    "depths": (2, 2, 5, 5),  # how many depths of ResNet are timed; the third takes more than 3 GB
    "timed": (1, 1, 3, 30),  # steps timed for each
    "toy": (40, 468, 9360, 9360),  # small networks on drawn points
    "own_toy": (40, 468, 9360, 9360),  # the same, by the library that 09 writes
    "own_toy_seeds": (1, 1, 3, 3),
    "sweep_every": (3, EPOCH, EPOCH, EPOCH),  # steps between two evaluations in 02 and 03
    "sweep_eval_items": (60, 1000, None, None),  # validation images of an evaluation; None takes all
    "sweep_test": (False, False, True, True),  # whether the test split is read beside a source
    # 04 to 07. In ``quick`` all are the narrow networks' runs, long enough for an answer
    "width": (0.25, NARROW, 1, 1),  # of VGG-A and its family
    "bn_steps": (8, 117, EPOCH, 20 * EPOCH),  # the sweep over rates
    "bn_seeds": (2, 3, 3, 5),  # at the base rate
    "rate_seeds": (1, 3, 3, 5),  # at the other rates
    "bn_every": (8, 78, 117, EPOCH),  # steps between two evaluations in 04 to 07
    "bn_eval_items": (60, 1000, 2000, None),
    "bn_test": (False, False, True, True),
    "family_steps": (8, 117, EPOCH, EPOCH),  # the rest of the VGG-A family
    "family_seeds": (1, 1, 1, 1),
    "hard_steps": (6, 100, 150, 4 * EPOCH),  # hard settings
    "hard_settings": (1, 1, 4, 4),  # how many of them
    "precision_steps": ((0, 2), (0, 10), (0, 10, 40), (0, 10, 40)),  # where bf16 is compared with fp32
    "same_batch_every": (2, 10, 10, 20),  # steps between two same-batch measurements
    "same_batch_seeds": ((0,), (0,), (2,), (0, 1, 2, 3, 4)),  # which seeds are measured so
    "direct_steps": (10, 1200, 600, 15_000),  # the direct probe; in ``quick`` as long as 15 minutes allow
    "direct_seeds": (2, 4, 3, 5),
    "probe_every": (3, 20, 12, 50),  # steps between two probes
    "probe_points": (3, 7, 7, 7),  # step lengths of each
    # where its controls are taken; multiples of ``probe_every``
    "control_steps": ((6,), (100, 580, 1180), (12, 300, 588), (300, 7500, 14_950)),
    "control_batches": (1, 2, 4, 4),  # other batches of the noise floor
    "narrow_steps": (10, 1200, 15_000, 15_000),  # the direct probe on narrow nets
    "narrow_seeds": (2, 4, 5, 5),
    # probed every so many steps up to a step, and every so many after
    "narrow_often": ((2, 4, 2), (20, 1200, 100), (20, 1000, 100), (20, 1000, 100)),
    "narrow_controls": ((4,), (100, 580, 1180), (300, 7500, 14_900), (300, 7500, 14_900)),
    "narrow_sweep_steps": (8, 117, 3 * EPOCH, 3 * EPOCH),  # the sweep over rates on narrow nets
    "narrow_sweep_seeds": (1, 3, 5, 5),
    "narrow_long_steps": (8, 117, 20 * EPOCH, 20 * EPOCH),  # narrow nets at the base rate, as long as the handout's
    "narrow_long_seeds": (1, 3, 3, 5),
    "narrow_every": (EPOCH, 78, EPOCH, EPOCH),  # steps between two evaluations of narrow nets
    "narrow_eval_items": (None, 1000, None, None),
    # 08 and 10
    "norm_seeds": (1, 1, 3, 5),  # seeds of every comparison in 10; grids have one
    "inside_steps": (4, 100, 2 * EPOCH, 20 * EPOCH),  # the networks that 08 looks into
    "path": (2, 3, 8, 20),  # snapshots along them
    "norm_steps": (3, 40, 400, 20 * EPOCH),  # networks that differ in their norm
    # steps at which they are looked into
    "norm_snapshots": ((0, 2), (0, 20, 39), LOOKS, (0, 10, 50, 100, 200, 400, 800, 1600, 3200, 6400, 7019)),
    "map_steps": (1, 10, 300, 4 * EPOCH),  # a cell of the tolerance map
    "map_rates": (2, 4, 7, 7),  # how many rates
    "map_scales": (1, 2, 5, 5),  # and scales of it
    "decay_steps": (2, 40, 300, 20 * EPOCH),  # runs with weight decay
    "norm_images": (32, 1280, 6400, 450_000),  # images that a run of the batch-size study sees
    "norm_batches": ((2, 8), (8, 128), BATCHES, BATCHES),  # its batch sizes
    "surface": (3, 5, 41, 41),  # points along each side of the loss surface
    # images of each of its losses, the same at every point: with 500 a laptop would take an hour, with 50 six minutes
    "surface_images": (32, 500, 50, 5000),
    "eigenvalues": (1, 1, 2, 3),  # of the Hessian, the largest
    "curvature_images": (8, 40, 256, 5000),  # images of that Hessian
    "tolerance": (0.5, 0.01, 0.001, 0.001),  # relative, of the eigenvalues
    "norm_every": (4, 40, 100, EPOCH),  # steps between two evaluations in 08 and 10
    "norm_eval_items": (60, 1000, 2000, None),
}
# fmt: on
Profile = make_dataclass("Profile", ["name", *_TABLE], frozen=True)
Profile.__doc__ = "Budgets of one profile: its name, and a column of the table above."
PROFILES = {
    name: Profile(name, *(row[column] for row in _TABLE.values()))
    for column, name in enumerate(("smoke", "quick", "laptop", "full"))
}
PUBLISHED, USUALLY = "published", "laptop"  # the profile that trains nothing, and whose runs it shows if none is named
# Where the course's own published records are shorter than ``laptop`` so far; a sweep whose runs have come is not.
_SHORTER = {
    "mynet": 234,
    "lenet": 468,
    "overfit": 5265,
    "alexnet_images": 12_800,
    "resnet001": 351,
    "vggnet": 150,
    "resnet_004": 40,
    "resnet_002": 40,
}
_LIVE = {"own_toy": 4 * 468, "own_toy_seeds": 1}  # what is computed while one reads


def published_from() -> str:
    """The profile whose runs are published."""
    folder = figures_dir() if (figures_dir() / "records").is_dir() else ROOT / "figures"
    name = (read_json(folder / "published.json") or {}).get("profile")
    return name if name in PROFILES else USUALLY


def get_profile(name: str | Profile, come: bool = False) -> Profile:
    """Return the profile of this name: one of ``PROFILES``, or ``published``; what is one is returned as it is.

    Args:
        come: ``published`` as it will be once all of its runs have come.

    Raises:
        CourseError: there is none.
    """
    if isinstance(name, Profile):
        return name
    if name == PUBLISHED:
        source = published_from()
        shorter = _SHORTER if source == USUALLY and not come else {}
        return replace(PROFILES[source], name=PUBLISHED, data="local", minutes=8, **shorter, **_LIVE)
    if name not in PROFILES:
        raise CourseError(f"Unknown profile {name!r}; choose one of {', '.join((PUBLISHED, *PROFILES))}.")
    return PROFILES[name]


def only_shows(profile: str, notebook: str) -> bool:
    """Whether a report of this profile trains nothing for a notebook (its stem) and shows what is published there."""
    return number_of(notebook) in get_profile(profile).shows
