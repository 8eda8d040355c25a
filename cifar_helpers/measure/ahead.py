"""Networks side by side after training (two in notebook 04, more in 10): rows of tables, from records alone."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..figures import network_name
from ..intervals import Paired, paired
from ..words import Cell, ahead_text, by_side, difference_cell, difference_text, percent
from . import compare, ranking


def outcome(run) -> str:
    """What became of a run, in words."""
    if run.diverged_at is not None:
        return f"diverged at step {run.diverged_at}"
    loss = compare.window_mean(run.steps["loss"])
    return f"{'training' if compare.is_training(run) else 'not training'}, loss {loss:.2f}"


def test_accuracies(runs: Sequence) -> str:
    """Test accuracy of every run in percent; a run that diverged or did not read the test set has none."""
    values = [100 * run.epochs[-1]["test_accuracy"] for run in runs if run.epochs and "test_accuracy" in run.epochs[-1]]
    return ", ".join(f"{value:.1f}" for value in values) + " %" if values else "not read"


def training_rows(runs: Sequence) -> list[dict]:
    """Network by network: parameters, epochs, test accuracy of every seed, seeds that do not train, time."""
    rows = []
    for model in dict.fromkeys(run.config.model for run in runs):
        mine = [run for run in runs if run.config.model == model]
        row = {"network": network_name(model), "parameters": f"{mine[0].provenance['parameters']:,}"}
        row |= {"epochs": f"{ranking.epochs_trained(mine[0]):.2f}", "test accuracy, each seed": test_accuracies(mine)}
        row |= {"seeds not training": f"{sum(not compare.is_training(run) for run in mine)} of {len(mine)}"}
        seconds = [f"{each:.1f} s per epoch ({where})" for where, each in ranking.seconds_per_epoch(mine).items()]
        rows.append(row | {"time, fastest run": "; ".join(seconds) or "–"})
    return rows


def rate_rows(compared: Sequence[Mapping]) -> list[dict]:
    """``compare.same_step_rows`` as rows of a table: every seed's loss, who is ahead where both train and over all."""

    def cell(found: Paired | None, otherwise: str) -> Cell | str:
        if not found or not found.interval:
            return difference_cell(found, "nats", ahead_text(found) if found else otherwise)
        text = f"{by_side(found, 'BN ahead', 'no BN ahead', 'undecided')}: {difference_text(found, 3)}"
        return difference_cell(found, "nats", f"{text}, {found.same_sign} of {len(found.values)} seeds")

    def each(row: Mapping, side: int) -> str:
        return ", ".join(f"{pair[side]:.3f}" for pair in row["pairs"])

    return [
        {"rate": f"{row['rate']:g}", "no BN, each seed": each(row, 0), "BN, each seed": each(row, 1)}
        | {"where both train": cell(both, "at no seed" if every else row["verdict"])}
        | {"over all seeds": "the same" if both is every else cell(every, ""), "note": row["note"]}
        for row in compared
        for both, every in [row["by_seeds"]]
    ]


def by_validation_loss(runs: Sequence) -> list:
    """The runs that did not diverge, the lowest validation loss at the end first."""
    whole = [run for run in runs if run.diverged_at is None]
    return sorted(whole, key=lambda run: run.epochs[-1]["validation_loss"])


def family_rows(runs: Sequence) -> list[dict]:
    """The last evaluation of every run, best validation loss first."""
    rows = []
    for run in by_validation_loss(runs):
        last = run.epochs[-1]
        row = {"network": network_name(run.config.model), "parameters": f"{run.provenance['parameters']:,}"}
        row |= {"training loss": f"{last['train_loss']:.3f}", "validation loss": f"{last['validation_loss']:.3f}"}
        row |= {"validation accuracy": f"{100 * last['validation_accuracy']:.1f} %"}
        rows.append(row | {"test accuracy": test_accuracies([run])})
    return rows


def settings_of(runs: Sequence) -> list[tuple[str, float]]:
    """(optimizer, rate) of these runs, each once, in their order."""
    return list(dict.fromkeys((run.config.optimizer, run.config.lr) for run in runs))


def hard_rows(runs: Sequence) -> list[dict]:
    """What became of every network at every (optimizer, rate)."""
    rows, names = [], {model: network_name(model) for model in dict.fromkeys(run.config.model for run in runs)}
    for optimizer, rate in settings_of(runs):
        here = {run.config.model: run for run in runs if (run.config.optimizer, run.config.lr) == (optimizer, rate)}
        row = {"optimizer": optimizer, "rate": f"{rate:g}"}
        rows.append(row | {name: outcome(here[model]) for model, name in names.items()})
    return rows


def end_losses(runs: Sequence) -> list[float]:
    """Mean training loss over the last fifth of the steps, nats; NaN where a run diverged."""
    return [compare.window_mean(run.steps["loss"]) if run.diverged_at is None else float("nan") for run in runs]


def at_end(runs: Sequence, quantity: str = "validation_loss") -> list[float]:
    """The last evaluation of every seed; NaN where a run diverged."""
    return [run.epochs[-1][quantity] if run.diverged_at is None else float("nan") for run in runs]


def grid(tried: Mapping[tuple[str, float, float], object]) -> tuple[list[float], list[float], dict[str, np.ndarray]]:
    """(network, rate, scale) → run as rates, scales, network → (scales, rates) accuracies; NaN where one diverged."""
    names, rates, scales = (list(dict.fromkeys(sorted(key[i] for key in tried))) for i in range(3))
    found = {key: at_end([run], "validation_accuracy")[0] for key, run in tried.items()}
    by_name = {name: np.array([[found[name, r, s] for r in rates] for s in scales]) for name in reversed(names)}
    return rates, scales, by_name


def norm_rows(networks: Mapping[str, Sequence]) -> list[dict]:
    """Training loss, validation loss and accuracy under every norm, and both losses minus those of batch norm."""
    rows, base = [], "batch norm"
    for name, runs in networks.items():
        row = {"norm": name, "seeds": str(len(runs))}
        for words, of in (("training loss", end_losses), ("validation loss, eval mode", at_end)):
            gap = None if name == base else paired(of(networks[base]), of(runs))
            row |= {words: ", ".join(f"{value:.3f}" for value in of(runs))}
            row |= {f"{words}, minus {base}'s": difference_cell(gap, "nats")}
        rows.append(row | {"validation accuracy (%)": percent(at_end(runs, "validation_accuracy"))})
    return rows
