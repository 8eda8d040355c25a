"""What the sources found with small networks, beside ours: rows from the sweeps of notebooks 2 and 2b.

Each function yields rows, and ends with one of ``tables.MISSING`` where a sweep or a variant is not recorded.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from .. import figures, inside, words
from ..data.batches import normalise
from ..data.images import HALF
from ..intervals import paired
from ..measure import compare, ranking
from ..models import LeNet5
from ..plans import sweeps
from . import beside
from .beside import AGREES, CONTRADICTS, UNDECIDED, Row

SWEEPS = (sweeps.nll_identity, sweeps.structure, sweeps.filters, sweeps.bn_at_high_rate, sweeps.rates, sweeps.l2)
SWEEPS += (sweeps.penalties, sweeps.convnet_lengths, sweeps.dropout, sweeps.high_rate, sweeps.lenet_long)
SWEEPS += (sweeps.activations, sweeps.losses_and_optimizers, sweeps.lenet_changes, sweeps.initialisations)
THEIR_ACTIVATIONS = ("relu", "sigmoid", "leaky_relu", "tanh", "softplus")  # ours has one more
TOYS = {  # name → before, after, each part of the claim with its epoch and its sign
    "toy_sigmoid": ("ReLU", "sigmoid", {"faster, after the first epoch": (0, 1), "then equal": (-1, 0)}),
    "toy_deep": ("sigmoid", "ReLU and sigmoid", {"better": (-1, 1)}),
    "toy_he": ("ReLU and sigmoid", "ReLU and sigmoid, He", {"better than from Glorot": (-1, 1)}),
}


def rankings(page, seed: int) -> Iterator[Row]:
    """Which variants a source has ahead, and which it finds alike."""
    found = page.found
    yield beside.order("losses", ranking.part(found, "02_losses", "optimizer", "SGD"), ["cross_entropy"])
    tried = found.get("02_activations")
    theirs = tried and tried.among(THEIR_ACTIVATIONS)
    yield beside.order("activations", theirs, ["relu", "leaky_relu"])
    normed = ranking.part(found, "02b_rates", "network", "with BN") or found.get("02b_rates")
    at_one = normed and normed.get("1")
    remark = f"at 1.0: {words.percent(at_one.scores)} % ({at_one.verdict})" if at_one else ""
    yield beside.order("lenet_rates", normed, ["0.05", "0.02"], remark)
    drawn = found.get("02_initialisation")
    default = drawn and drawn.get("default")
    note = f"PyTorch's default {words.accuracy_text(default.scores, default.stuck)} %" if default else ""
    yield beside.equal("lenet_init", drawn, ["kaiming_normal", "xavier_normal"], note)


def optimizers(page, seed: int) -> Iterator[Row]:
    """Whether Adadelta is ahead in training loss, and whether SGD and Adam are steadier from epoch to epoch."""
    ranked = ranking.part(page.found, "02_losses", "loss", "cross_entropy")
    if not ranked:
        return
    names = ["Adadelta", *(outcome.variant[0] for outcome in ranked if outcome.variant[0] != "Adadelta")]
    runs = {name: ranked[name].runs for name in names}
    loss = {name: [compare.window_mean(run.steps["loss"]) for run in mine] for name, mine in runs.items()}
    gaps = {name: paired(loss[name], loss["Adadelta"]) for name in names[1:]}
    ours = "; ".join(f"{words.difference_text(gap, 2)} nats against {name}" for name, gap in gaps.items())
    parts = {f"lower than {name}": (gap, -1) for name, gap in gaps.items()}
    text = f"training loss of Adadelta over the last fifth of the steps: {ours}"
    yield beside.claim("optimizers", text, parts, runs["Adadelta"], at_end=True)
    late = {
        name: [[epoch["validation_accuracy"] for epoch in run.epochs[len(run.epochs) // 2 :]] for run in mine]
        for name, mine in runs.items()
    }
    if min(len(accuracies) for mine in late.values() for accuracies in mine) > 2:
        spread = {name: [100 * np.std(accuracies, ddof=1) for accuracies in mine] for name, mine in late.items()}
        steady = {name: (paired(spread["Adadelta"], spread[name]), -1) for name in ("SGD", "Adam")}
        ours = "; ".join(f"{name} {words.difference_text(gap, 2)} points" for name, (gap, _) in steady.items())
        text = f"standard deviation of the accuracy over the second half, against Adadelta's: {ours}"
        yield beside.claim("optimizers_steady", text, steady, runs["Adadelta"], at_end=True)


def penalty(page, seed: int) -> Iterator[Row]:
    """LeNet-5 under the strongest L2."""
    strong = page.found["02b_l2"]["0.01"]
    ours = f"{words.accuracy_text(strong.scores, strong.stuck)} % (validation)"
    ours += f"; from the best {words.difference_text(strong.behind)} points"
    weaker = {f"worse than {o.variant[0]}": o for o in page.found["02b_l2"] if o is not strong}
    parts = {claim: (paired(o.scores, strong.scores), -1) for claim, o in weaker.items()}
    yield beside.claim("lenet_l2", ours, parts, strong.runs, at_end=True)


def dropout(page, seed: int) -> Iterator[Row]:
    """Whether dropout slows the descent."""
    sides = [page.found["02b_dropout"][name].runs for name in ("without", "dropout 0.5")]
    slower = paired(*([compare.window_mean(run.steps["loss"]) for run in mine] for mine in sides))
    ours = f"training loss {words.difference_text(slower, 2)} nats with dropout (mean over the last fifth of the steps)"
    yield beside.claim("dropout", ours, {"slower": (slower, 1)}, sides[1])


def one_loss(page, seed: int) -> Iterator[Row]:
    """Cross-entropy and NLL, which are one function."""
    first, second = (page.found["02b_nll"][name].runs for name in ("SGD, cross-entropy", "SGD, NLL"))
    gap = max(abs(a.steps["loss"] - b.steps["loss"]).max() for a, b in zip(first, second, strict=True))
    verdict, remark = CONTRADICTS, "one function: the source's gap is noise or a bug"
    if gap >= 1e-3:
        verdict, remark = UNDECIDED, "rounding has grown"
    yield beside.said("mynet_identity", f"{words.rounded(gap)} nats apart", verdict, len(first), remark, first)


def times(page, seed: int) -> Iterator[Row]:
    """Times of an epoch of several variants."""
    every = [run for ranked in page.found.values() for run in ranked.runs]
    timed = [("02b_nll", "SGD, NLL"), ("02b_nll", "Adagrad, NLL")]
    timed += [("02b_structure", name) for name in ("h = 500", "h = 500, second filters 3×3", "h = 500, tanh")]
    sizes = [("02b_convnet", f"batch {size}") for size in (4, 128, 256)]
    for name, variants in (("mynet_times", timed), ("batch_seconds", sizes)):
        yield beside.time(name, [ranking.runs_of(page.found, *each) for each in variants], every)


def untrained(page, seed: int) -> Iterator[Row]:
    """LeNet-5's loss before any training."""
    torch.manual_seed(seed)
    pixels, labels = page.images.split("validation", 50 if page.profile == "smoke" else 100)
    loss = F.cross_entropy(LeNet5()(normalise(pixels, *HALF)), labels).item()
    verdict = AGREES if abs(loss - figures.LN10) < 0.05 else CONTRADICTS
    ours = f"{loss:.3f}; ln 10 = {figures.LN10:.3f}"
    yield beside.said("lenet_untrained", ours, verdict, remark="not trained")


def overfitting(page, seed: int) -> Iterator[Row]:
    """From when on LeNet-5's validation loss rises."""
    runs = [run for run in page.found["02_overfitting"]["LeNet-5"].runs if run.epochs]
    lowest = [min(run.epochs, key=lambda epoch: epoch["validation_loss"]) for run in runs]
    turned = [low["epoch"] for low, run in zip(lowest, runs, strict=True) if low is not run.epochs[-1]]
    parts = [f"rises after epoch {', '.join(f'{epoch:.2g}' for epoch in turned)}"] if turned else []
    if len(turned) < len(runs):
        still = f"{len(runs) - len(turned)} of {len(runs)} seeds"
        parts.append(f"does not rise within {runs[0].epochs[-1]['epoch']:.2g} epochs ({still})")
    ours = f"validation loss {'; '.join(parts) or 'unknown: every run diverged'}"
    remark = "it hangs on the rate, which the source does not give"
    yield beside.said("lenet_overfits", ours, UNDECIDED, len(runs), remark, runs)


def high_rate(page, seed: int) -> Iterator[Row]:
    """Which losses are no longer a number at a high rate; the source does not say after how many steps."""
    named = {f"{figures.label_of(o.variant[0])}, batch {o.variant[1]}": o for o in page.found["02b_high_rate"]}
    ours, runs = "; ".join(f"{name}: {o.verdict}" for name, o in named.items()), next(iter(named.values())).runs
    all_nan = all(run.diverged_at is not None for o in named.values() for run in o.runs)
    remark = "" if all_nan else f"not all within {runs[0].config.steps} steps; the source does not say when"
    yield beside.said("losses_nan", ours, AGREES if all_nan else UNDECIDED, len(runs), remark, runs)


def sparsity(page, seed: int) -> Iterator[Row]:
    """LeNet-5's weights under L1 and L2."""
    shares = []
    for outcome in page.found["02_penalties"]:
        layers = inside.features.weight_summary(outcome.runs[0], page.store)
        total, near = sum(row["size"] for row in layers), sum(row["near_zero"] * row["size"] for row in layers)
        skewed = " ".join(f"{inside.features.skewness(row):+.2f}" for row in layers)
        weights = f"mean size {sum(row['l1'] for row in layers) / total:.4f}, skewness {skewed}"
        shares.append(f"{outcome.variant[0]}: {100 * near / total:.1f} % near zero, {weights}")
    remark, runs = "first seed; L1 and L2 as strong stand side by side", page.found["02_penalties"]["none"].runs
    yield beside.said("lenet_l1", "; ".join(shares), UNDECIDED, 1, remark, runs)


def toys(page, seed: int) -> Iterator[Row]:
    """Networks of eight hidden units on drawn points."""
    plan, every = page.plan, range(seed, seed + page.plan.small_seeds)
    for name, (*names, halves) in TOYS.items():
        toys = [[replace(inside.toys.VARIANTS[each], steps=plan.toy, seed=s) for s in every] for each in names]
        seeds = [[inside.toys.accuracies(toy, page.store) for toy in side] for side in toys]
        ends = {epoch: [[100 * values[epoch] for values in side] for side in seeds] for epoch in (0, -1)}
        gaps = {epoch: paired(*sides) for epoch, sides in ends.items()}
        ours = f"{names[1]}: {', '.join(f'{value:.2f}' for value in ends[-1][1])} %"
        ours += f"; against {names[0]} {words.difference_text(gaps[-1])} points"
        parts = {claim: (gaps[epoch], sign) for claim, (epoch, sign) in halves.items()}
        trained = plan.toy / inside.toys.EPOCH
        yield beside.claim(name, ours, parts, trained, at_end=True, note="points drawn by us")


ROWS = (rankings, optimizers, penalty, dropout, one_loss, times, untrained, overfitting, high_rate, sparsity, toys)
