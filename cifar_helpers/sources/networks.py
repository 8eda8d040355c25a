"""The course's own result: candidates ranked on validation images, the winner's test error with all that it cost."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .. import intervals, models
from ..measure.ranking import CHANCE, EQUAL_LENGTH, accuracy, epochs_trained, machine
from ..models.tables import forward_flops
from ..training.build import build_model
from ..words import Cell, percent

NOT_READ = "not read in this profile"  # stands in place of a test error


def network_of(run) -> str:
    """A network by its class and arguments."""
    arguments = ", ".join(f"{name}={value}" for name, value in run.config.model_args.items())
    return f"{run.config.model}({arguments})" if arguments else run.config.model


def with_flips(runs: Sequence) -> str:
    """What to say behind an accuracy or error of these runs: whether it is the mean over an image and its mirror."""
    return " (with test-time flips)" if all(run.config.test_flips for run in runs) else ""


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


def ranked(runs: Sequence) -> list[list]:
    """``competing`` without what is at chance, among which nothing is chosen."""
    return [mine for mine in competing(runs) if _mean(mine) > CHANCE]


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
    """The winner on validation images, with its test error.

    Args:
        candidates: runs that competed.
        finals: runs on all training images; those of the winning network are reported in place of its own.
    """
    order = ranked(candidates)
    if not order:
        return [{"what": "result", "value": "no candidate above chance"}]
    winner = order[0]
    runs = [run for run in finals if run.config.model == winner[0].config.model] or winner
    errors = [1 - accuracy(run, "test") for run in runs]
    model, config = build_model(runs[0].config), runs[0].config
    flops = forward_flops(model)
    mean = "mean " if len(winner) > 1 else ""
    chosen = f"{mean}validation accuracy {100 * np.mean([accuracy(run) for run in winner]):.1f} %{with_flips(winner)}"
    values = {
        "network": f"{network_of(runs[0])}, {models.parameter_count(model):,} parameters",
        "chosen by": f"{chosen} among {len(competing(candidates))} networks, each at its best setting; "
        + budget_text(candidates),
        "test error (%)": _error(errors, with_flips(runs)),
        "seeds": str(len(runs)),
        "operations": f"{flops / 1e6:,.0f} M per image forward, "
        f"{3 * flops * config.steps * config.batch_size / 1e12:,.0f} T in all",
        "training": _seconds_text(runs),
        "epochs": f"{epochs_trained(runs[0]):.1f}, on the split {config.split!r}",
    }
    return [{"what": name, "value": value} for name, value in values.items()]


def _error(errors: Sequence[float], how: str) -> Cell | str:
    """A test error as a cell with its number; words alone where it was not read."""
    if not np.isfinite(errors).all():
        return NOT_READ
    return Cell(percent(errors) + how, intervals.level([100 * error for error in errors], "%").as_json())


def in_words(candidates: Sequence, finals: Sequence) -> str:
    """The result in a sentence."""
    values = {row["what"]: row["value"] for row in final(candidates, finals)}
    if "network" not in values:
        return "Result: no candidate above chance."
    return f"Result: {values['network']}; test error (%) {values['test error (%)']}; {values['training']}."
