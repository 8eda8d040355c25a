"""Notebook 03's result: candidates ranked on validation images, the winner's test error; rows beside the sources."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from .. import intervals, models
from ..measure import timing
from ..measure.ranking import CHANCE, EQUAL_LENGTH, accuracy, epochs_trained, machine
from ..models.tables import SHAPE, forward_flops
from ..plans import recipes, sweeps
from ..training.build import build_model
from ..words import Cell, percent
from . import beside

SWEEPS = (sweeps.resnet_and_vgg, sweeps.resnets)  # what stands beside the sources


def network_of(run) -> str:
    """A network by its class and arguments."""
    arguments = ", ".join(f"{name}={value}" for name, value in run.config.model_args.items())
    return f"{run.config.model}({arguments})" if arguments else run.config.model


def with_flips(runs: Sequence) -> str:
    """What to say behind an accuracy or error of these runs: whether it is the mean over an image and its mirror."""
    return " (with test-time flips)" if all(run.config.test_flips for run in runs) else ""


def caption(runs: Sequence) -> str:
    """The caption of the table of candidates."""
    return f"Candidates by validation accuracy, each network at its best setting; {budget_text(runs)}."


def budget_text(runs: Sequence) -> str:
    """Whether the networks that compete trained for equally many epochs, each at its best setting."""
    epochs = [epochs_trained(mine[0]) for mine in competing(runs)]
    if len(epochs) < 2 or max(epochs) <= (1 + EQUAL_LENGTH) * min(epochs):
        return "equal numbers of epochs"
    return f"not at equal budget: {min(epochs):.1f} to {max(epochs):.1f} epochs"


def competing(runs: Sequence) -> list[list]:
    """The best setting of every network class as its runs, one per seed, by mean validation accuracy, best first."""
    settings: dict = {}
    for run in {run.key: run for run in runs}.values():
        settings.setdefault(replace(run.config, seed=0), []).append(run)
    whole = [mine for mine in settings.values() if np.isfinite([accuracy(run) for run in mine]).all()]
    best: dict[str, list] = {}
    for mine in sorted(whole, key=lambda mine: -_mean(mine)):
        best.setdefault(mine[0].config.model, mine)
    return list(best.values())


def _mean(runs: Sequence) -> float:
    return float(np.mean([accuracy(run) for run in runs]))


def candidates(runs: Sequence) -> list[dict[str, str]]:
    """One row per network class at its best setting, chosen on validation images alone; what is at chance says so."""
    rows = []
    for mine in competing(runs):
        scores = percent([accuracy(run) for run in mine]) + with_flips(mine)
        scores += "" if _mean(mine) > CHANCE else ", at chance: not ranked"
        row = {"network": network_of(mine[0]), "validation accuracy (%)": scores}
        row |= {"seeds": str(len(mine)), "parameters": f"{mine[0].provenance['parameters']:,}"}
        row |= {"epochs trained": f"{epochs_trained(mine[0]):.1f}"}
        rows.append(row | {"training": _seconds_text(mine)})
    return rows


def _seconds_text(runs: Sequence) -> str:
    """Median training time and images a second, each machine and thread count by itself."""
    found: dict[str, list] = {}
    for run in runs:
        found.setdefault(machine(run), []).append(run)
    parts = []
    for name, mine in sorted(found.items()):
        seconds = [run.provenance["train_seconds"] for run in mine]
        images = [run.config.steps * run.config.batch_size / each for run, each in zip(mine, seconds, strict=True)]
        parts.append(f"{np.median(seconds):,.0f} s, {np.median(images):,.0f} images/s on {name}")
    return "; ".join(parts)


def final(candidates: Sequence, finals: Sequence) -> list[dict[str, str]]:
    """The winner on validation images, with its test error, that of its ``finals``, on all training images, if any."""
    order = competing(candidates)
    if not order or _mean(order[0]) <= CHANCE:
        return [{"what": "result", "value": "no candidate above chance"}]
    winner = order[0]
    runs = [run for run in finals if run.config.model == winner[0].config.model] or winner
    errors = [1 - accuracy(run, "test") for run in runs]
    number, read = intervals.level([100 * each for each in errors], "%"), np.isfinite(errors).all()
    error = Cell(percent(errors) + with_flips(runs), number.as_json()) if read else "not read in this profile"
    config = runs[0].config
    model = build_model(config)
    mean = "mean " if len(winner) > 1 else ""
    chosen = f"{mean}validation accuracy {100 * np.mean([accuracy(run) for run in winner]):.1f} %{with_flips(winner)}"
    values = {
        "network": f"{network_of(runs[0])}, {models.parameter_count(model):,} parameters",
        "chosen by": f"{chosen} among {len(order)} networks, each at its best setting; " + budget_text(candidates),
        "test error (%)": error,
        "seeds": str(len(runs)),
        "operations": f"{forward_flops(model) / 1e6:,.0f} M per image forward, "
        f"{_training_flops(model, config) / 1e12:,.0f} T in all",
        "training": _seconds_text(runs),
        "epochs": f"{epochs_trained(runs[0]):.1f}, on the split {config.split!r}",
    }
    return [{"what": name, "value": value} for name, value in values.items()]


def _training_flops(model, config) -> float:
    """Operations of a whole training run, three forward passes an image, with small images where the run has them."""
    begun = total = 0.0
    for share, side in (*config.sizes, (1.0, SHAPE[-1])):
        total += (share - begun) * forward_flops(model, (3, side, side))
        begun = share
    return 3 * total * config.steps * config.batch_size


def in_words(candidates: Sequence, finals: Sequence) -> str:
    """The result in a sentence."""
    values = {row["what"]: row["value"] for row in final(candidates, finals)}
    if "network" not in values:
        return "Result: no candidate above chance."
    return f"Result: {values['network']}; test error (%) {values['test error (%)']}; {values['training']}."


def recipe_runs(page, seed: int, train: bool) -> tuple[list, list]:
    """Runs of the fast recipe and of the best one: those that compete, and those on all images that are reported.

    Args:
        page: the notebook's; train: train what is missing of the fast recipe, as ``smoke`` always does. The best recipe
            is trained in ``smoke`` and in ``full``.
    """
    wanted = [*recipes.fast(page.profile, seed, seeds=1), *recipes.fast(page.profile, seed, split="all")]
    best = [recipes.best(page.profile, seed, split) for split in ("train", "all")]
    if train or page.profile == "smoke":
        found = page.runs(wanted)
    else:
        found = [run for run in (page.store.get(each, page.images.fingerprint) for each in wanted) if run]
    found += page.runs(best) if page.profile in ("smoke", "full") else []
    return tuple([run for run in found if run.config.split == split] for split in ("train", "all"))


# --- Beside the sources ----------------------------------------------------------------------------------------------


def tuning(page, seed: int) -> Iterator[beside.Row]:
    """The best network of the greedy tuning, and the settings that it kept."""
    tried = recipes.greedy(page.runs, page.profile, seed)
    runs, names = [row["run"] for row in tried], {row["step"]: row["option"] for row in tried if row["chosen"]}
    winner = max((run for run in runs if run.diverged_at is None), key=accuracy)
    ours = f"{names['batch norm']} BN, {names['optimizer']}, {names['learning rate']}, batch {names['batch size']}"
    same = ours == "without BN, Adam, 1e-3, batch 100"
    ties = [f"{row['step']}: tie, the first listed is kept" for row in tried if row["chosen"] and row["tied"]]
    remark = "; ".join(["the same choices" if same else "other choices", *ties, "one seed"])
    yield beside.accuracy("alexnet", [winner])
    yield beside.said("alexnet_greedy", ours, beside.UNDECIDED, 1, remark, runs, at_end=True)


def depths(page, seed: int) -> Iterator[beside.Row]:
    """Time by depth, and ResNet-18 for 200 epochs, or what it would take."""
    plan, names = page.plan, sweeps.DEPTHS[: page.plan.depths]
    timed = timing.depth_times(names, page.images, plan.batch_size, plan.timed, page.device, page.store)
    ratios = ", ".join(f"{row['seconds_per_step'] / timed[0]['seconds_per_step']:.1f}" for row in timed[1:])
    remark = f"a forecast from a few steps, on {timed[0]['card']}; other hardware than the source's"
    yield beside.said("depth_seconds", ratios, beside.UNDECIDED, remark=remark)
    tested = [run for run in recipe_runs(page, seed, train=False)[1] if run.config.test]
    if best := [run for run in tested if run.config.model == "resnet18"]:
        yield beside.accuracy("resnet18_best", best)
        return
    recipe = recipes.best("full", seed, "all")
    hours = timed[0]["seconds_per_step"] / timed[0]["batch_size"] * recipe.batch_size * recipe.steps / 3600
    instead = f"a forecast from a few steps: {hours:.0f} hours on {timed[0]['card']}"
    if tested:
        instead += f". FastNet instead: {percent([accuracy(run, 'test') for run in tested])} %{with_flips(tested)}"
    yield beside.not_run("resnet18_best", "not run in this profile (one GPU)", instead)
