"""What the sources and the paper say about batch norm, beside our records: the tables of notebooks 04 and 10."""

from collections.abc import Mapping, Sequence

from ..figures import network_name
from ..intervals import paired
from ..measure import ahead, compare
from ..measure.walks import Pair
from ..plans.landscape import BATCH_NORM, PLAIN
from ..words import difference_text
from . import beside


def comparison(base: Sequence, family: Sequence, hard: Sequence, compared: Sequence[Mapping], runs: Sequence) -> list:
    """The table of 04: accuracies, times, the family's order, SGD, and who is ahead at every rate.

    Args:
        base: both networks at the base rate; family: one run of each relative; hard: at the hard settings.
        compared: ``compare.same_step_rows`` of ``runs``.
    """
    sides = Pair(base).both
    rows = [
        beside.accuracy(name, mine) for name, mine in zip(("vgg_a_accuracy", "vgg_bn_accuracy"), sides, strict=True)
    ]
    names = ("vgg_a_seconds", "vgg_bn_seconds")
    rows += [beside.time(name, [mine], base) for name, mine in zip(names, sides, strict=True)]
    whole = ahead.by_validation_loss(family)
    order = "by validation loss: " + ", then ".join(network_name(run.config.model) for run in whole)
    remark = "one seed: the order may be luck"
    rows.append(beside.said("vgg_family", order, beside.UNDECIDED, 1, remark, whole, at_end=True))
    rows.append(_sgd(hard))
    for row in compared:
        parts = {"lower": (row["paired"], -1)} if row["paired"] else {}
        ours = f"rate {row['rate']:g}: {row['verdict']}"
        rows.append(beside.claim("loss_ahead", ours, parts, runs, note=row["note"]))
    return beside.table(rows)


def _sgd(hard: Sequence) -> beside.Row:
    """The row of a source whose VGG-A did not train with SGD, and did with batch norm."""
    said, as_claimed = [], []
    for model, name, claimed in ((PLAIN, "no BN", False), (BATCH_NORM, "BN", True)):
        mine = [run for run in hard if (run.config.model, run.config.optimizer) == (model, "SGD")]
        said.append(f"{name}: " + ", ".join(f"rate {run.config.lr:g}: {ahead.outcome(run)}" for run in mine))
        as_claimed += [bool(compare.is_training(run)) == claimed for run in mine]
    verdict = beside.AGREES if all(as_claimed) else beside.UNDECIDED if any(as_claimed) else beside.CONTRADICTS
    remark = "one seed; it holds at some rates only" * (not all(as_claimed))
    return beside.said("vgg_sgd", "; ".join(said), verdict, 1, remark, hard)


def statements(networks: Mapping[str, Sequence], shifts: Mapping, note: str) -> list:
    """The table of 10: the paper's three statements.

    Args:
        networks: norm → runs, one per seed; shifts: quantity → ``Paired``, BN − no norm; note: on runs that do not
            train.
    """
    loss = {name: ahead.end_losses(mine) for name, mine in networks.items()}
    last = {name: ahead.at_end(mine) for name, mine in networks.items()}
    runs = [run for mine in networks.values() for run in mine]
    behind = paired(loss["batch norm"], loss["noisy batch norm"])
    better = paired(loss["noisy batch norm"], loss["no norm"])
    evaluated = paired(last["batch norm"], last["noisy batch norm"])
    ours = f"training loss: noisy − BN {difference_text(behind, 3)} nats; no norm − noisy {difference_text(better, 3)}"
    ours += f"; validation loss, eval mode: noisy − BN {difference_text(evaluated, 3)}"
    parts = {"better than none": (better, 1), "nearer to BN than to none": (paired(behind.values, better.values), 1)}
    rows = [beside.claim("noisy_bn", ours, parts, runs)]
    ours = "BN − no norm: " + "; ".join(f"{name} {difference_text(found, 3)}" for name, found in shifts.items())
    parts = {"ℓ2 no smaller": (shifts["l2"], 1), "relative no smaller": (shifts["relative"], 1)}
    parts |= {"cosine no larger": (shifts["cosine"], -1)}
    shifted = [*networks["no norm"], *networks["batch norm"]]
    rows.append(beside.claim("covariate_shift", ours, parts, shifted, note=note))
    powers = {name: paired(last["batch norm"], last[name]) for name in networks if name.startswith("ℓ")}
    ours = "; ".join(f"{name} − BN {difference_text(found, 3)}" for name, found in powers.items())
    parts = {f"{name} no worse": (found, -1) for name, found in powers.items()}
    rows.append(beside.claim("lp_norms", f"validation loss, {ours}", parts, runs))
    return beside.table(rows)
