"""Recipes that are more than one sweep: the greedy tuning of AlexNet, the fast recipe and the best one (notebook 03).

Nothing here imports torch.
"""

import contextlib
import math
from collections.abc import Callable, Sequence

from ..env import CourseError
from ..training.config import RunConfig
from .profiles import get_profile
from .sweeps import configured, seeded, sgd

FAST_BATCH, FAST_SEEDS = 1000, 2
FAST_LONGER = 1.3  # with all images: what 0.6 of airbench94's time allows
FAST_SIZES = ((0.5, 24),)  # small images first: what they teach carries over, at 0.57 of the operations


GREEDY = (  # what is chosen, and the options: name → settings changed; in source 003's order
    ("batch norm", {"without": {"batch_norm": False}, "with": {"batch_norm": True}}),
    ("optimizer", {"Adam": {"optimizer": "Adam"}, "SGD": {"optimizer": "SGD"}}),
    ("learning rate", {"1e-3": {"lr": 1e-3}, "1e-4": {"lr": 1e-4}, "1e-5": {"lr": 1e-5}}),
    ("batch size", {"10": {"batch_size": 10}, "100": {"batch_size": 100}, "500": {"batch_size": 500}}),
)


def alexnet(profile: str, seed: int = 0, batch_norm=False, optimizer="Adam", lr=1e-3, batch_size=100) -> RunConfig:
    """AlexNet with the settings that the greedy tuning chooses among; every run sees the same number of images."""
    plan = get_profile(profile)
    batch_size = min(batch_size, plan.alexnet_images)
    steps = max(1, plan.alexnet_images // batch_size)
    settings = {"optimizer": optimizer, "lr": lr, "model_args": {"batch_norm": True} if batch_norm else {}}
    settings |= {"optimizer_args": {"momentum": 0.9}} if optimizer == "SGD" else {}
    return configured(profile, "AlexNet", steps, seed=seed, batch_size=batch_size, **settings | {"eval_every": steps})


def greedy(train: Callable[[Sequence[RunConfig]], Sequence], profile: str, seed: int = 0) -> list[dict]:
    """Source 003's tuning of AlexNet: one setting after the other, each step keeping the winner so far.

    Args:
        train: configs → records; the winner has the best accuracy on the **validation** split.

    Returns:
        One dict per option tried: ``step``, ``option``, ``accuracy`` (0 to 1, None where it diverged), ``chosen``,
        ``tied`` (as good as another best one, of which the first listed is chosen), ``run``.
    """
    kept: dict[str, object] = {}
    rows = []
    for question, options in GREEDY:
        runs = train([alexnet(profile, seed, **kept | option) for option in options.values()])
        scores = [run.epochs[-1]["validation_accuracy"] if run.diverged_at is None else None for run in runs]
        if all(score is None for score in scores):
            raise CourseError(f"Every choice of {question} diverged; there is nothing to go on with.")
        best = max(range(len(scores)), key=lambda i: -1 if scores[i] is None else scores[i])
        kept |= list(options.values())[best]
        for i, (name, run) in enumerate(zip(options, runs, strict=True)):
            row = {"step": question, "option": name, "accuracy": scores[i], "chosen": i == best}
            rows.append(row | {"tied": scores[i] == scores[best] and scores.count(scores[best]) > 1, "run": run})
    return rows


def greedy_so_far(read: Callable[[RunConfig], object | None], profile: str, seed: int = 0) -> list[RunConfig]:
    """The runs of the greedy tuning that are certain: those up to the first choice that still waits for a record.

    ``read``: config → record, or None where there is none yet.
    """
    certain: list[RunConfig] = []

    def look(configs: Sequence[RunConfig]) -> list:
        certain.extend(configs)
        found = [read(config) for config in configs]
        if None in found:
            raise LookupError
        return found

    with contextlib.suppress(LookupError, CourseError):  # CourseError: every option diverged, so it ends there
        greedy(look, profile, seed)
    return list(dict.fromkeys(certain))


def fast(profile: str, seed: int = 0, split: str = "train", seeds: int = FAST_SEEDS) -> list[RunConfig]:
    """The fast recipe, in the airbench family: whitened first layer, Muon, a rate that falls, label smoothing, flips.

    Its first half is trained on images of 24×24 pixels (progressive resizing, Howard 2018), the rest on whole ones.
    It is the same in every profile but ``smoke``, so that its runs are read wherever they are recorded.

    Args:
        split: ``train`` while choosing; ``all`` for the run whose test accuracy is reported, ``FAST_LONGER`` times the
            steps.
    """
    plan = get_profile(profile)
    steps = plan.fast if split == "train" else math.ceil(FAST_LONGER * plan.fast)
    config = configured(
        profile,
        "FastNet",
        steps,
        optimizer="course.FilterMuon",
        optimizer_args={"sgd_lr": 53.0, "head_lr": 670.0},
        lr=0.24,
        schedule="one_cycle",
        schedule_args={"warmup": 0.0},
        label_smoothing=0.2,
        batch_size=plan.batch_size if plan.n_items else FAST_BATCH,
        augmentation=("alternating_flip", "shift"),
        sizes=FAST_SIZES,
        normalisation="channel",
        test=split == "all" and not plan.n_items,
        test_flips=True,
        split=split,
        eval_every=steps,
        eval_items=None,
    )
    return list(seeded(config, seed, seeds))


def best(profile: str, seed: int = 0, split: str = "train") -> RunConfig:
    """The best recipe: ResNet-18 for 200 epochs, one cycle, label smoothing, crop, flip and cutout, test-time flips.

    It competes on the split ``train``; on ``all`` it is the run whose test accuracy is reported.
    """
    plan = get_profile(profile)
    batch = plan.batch_size if plan.n_items else 512
    return configured(
        profile,
        "resnet18",
        plan.best,
        seed=seed,
        **sgd(0.4, weight_decay=5e-4, nesterov=True),
        schedule="one_cycle",
        label_smoothing=0.1,
        batch_size=batch,
        augmentation=("crop", "flip", "cutout"),
        normalisation="channel",
        test=split == "all" and not plan.n_items,
        test_flips=True,
        split=split,
    )
