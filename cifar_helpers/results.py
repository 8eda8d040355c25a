"""The course's own result: candidates ranked on validation images, the winner's test error with all that it cost."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from . import costs, models
from .build import build_model
from .ranking import EQUAL_LENGTH, accuracy, epochs_trained, percent

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
    epochs = [epochs_trained(mine[0]) for mine in ranked(runs)]
    if len(epochs) < 2 or max(epochs) <= (1 + EQUAL_LENGTH) * min(epochs):
        return "equal numbers of epochs"
    return f"not at equal budget: {min(epochs):.1f} to {max(epochs):.1f} epochs"


def ranked(runs: Sequence) -> list[list]:
    """The best setting of every network class as its runs, one per seed, by mean validation accuracy, best first."""
    settings: dict = {}
    for run in {run.key: run for run in runs}.values():
        settings.setdefault(replace(run.config, seed=0), []).append(run)
    whole = [mine for mine in settings.values() if np.isfinite([accuracy(run) for run in mine]).all()]
    best: dict[str, list] = {}
    for mine in sorted(whole, key=lambda mine: -np.mean([accuracy(run) for run in mine])):
        best.setdefault(mine[0].config.model, mine)
    return list(best.values())


def candidates(runs: Sequence) -> list[dict[str, str]]:
    """One row per network class at its best setting, chosen on validation images alone."""
    rows = []
    for mine in ranked(runs):
        scores = percent([accuracy(run) for run in mine]) + with_flips(mine)
        row = {"network": network_of(mine[0]), "validation accuracy (%)": scores}
        row |= {"seeds": str(len(mine)), "parameters": f"{mine[0].provenance['parameters']:,}"}
        row |= {"epochs trained": f"{epochs_trained(mine[0]):.1f}"}
        row |= {"training": f"{np.median([run.provenance['train_seconds'] for run in mine]):.0f} s"}
        rows.append(row | {"on": mine[0].card})
    return rows


def final(candidates: Sequence, finals: Sequence) -> list[dict[str, str]]:
    """The winner on validation images, with its test error.

    Args:
        candidates: runs that competed.
        finals: runs on all training images; those of the winning network are reported in place of its own.
    """
    order = ranked(candidates)
    if not order:
        return [{"what": "result", "value": "no candidate trained"}]
    winner = order[0]
    runs = [run for run in finals if run.config.model == winner[0].config.model] or winner
    errors = [1 - accuracy(run, "test") for run in runs]
    model, config = build_model(runs[0].config), runs[0].config
    seconds = [run.provenance["train_seconds"] for run in runs]
    images = [run.config.steps * run.config.batch_size / s for run, s in zip(runs, seconds, strict=True)]
    flops = costs.forward_flops(model)
    mean = "mean " if len(winner) > 1 else ""
    chosen = f"{mean}validation accuracy {100 * np.mean([accuracy(run) for run in winner]):.1f} %{with_flips(winner)}"
    values = {
        "network": f"{network_of(runs[0])}, {models.parameter_count(model):,} parameters",
        "chosen by": f"{chosen} among {len(order)} networks, each at its best setting; {budget_text(candidates)}",
        "test error (%)": percent(errors) + with_flips(runs) if np.isfinite(errors).all() else NOT_READ,
        "seeds": str(len(runs)),
        "operations": f"{flops / 1e6:,.0f} M per image forward, "
        f"{3 * flops * config.steps * config.batch_size / 1e12:,.0f} T in all",
        "training": f"{np.median(seconds):,.0f} s, {np.median(images):,.0f} images/s",
        "epochs": f"{epochs_trained(runs[0]):.1f}, on the split {config.split!r}",
        "trained on": ", ".join(sorted({run.card for run in runs})),
    }
    return [{"what": name, "value": value} for name, value in values.items()]


def in_words(candidates: Sequence, finals: Sequence) -> str:
    """The result in a sentence."""
    values = {row["what"]: row["value"] for row in final(candidates, finals)}
    if "network" not in values:
        return "Result: no candidate trained."
    return f"Result: {values['network']}; test error (%) {values['test error (%)']}; {values['training']}."
