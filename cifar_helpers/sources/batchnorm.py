"""What the sources and the paper say about batch norm, beside our records: rows from the runs of 04 and 10."""

from collections.abc import Iterator

from ..figures import network_name
from ..intervals import paired
from ..measure import ahead, compare
from ..measure.walks import Pair
from ..plans import landscape
from ..plans.landscape import BASE_RATE, BATCH_NORM, PLAIN
from ..teach.bench import Bench
from ..words import difference_text
from . import beside


def rates(page, seed: int) -> Iterator[beside.Row]:
    """Accuracies and times at the base rate, and who is ahead at every rate."""
    pair = Pair(page.runs(landscape.bn_sweep(page.profile, seed)))
    base = pair.where(lambda run: run.config.lr == BASE_RATE)
    for name, mine in zip(("vgg_a", "vgg_bn"), base.both, strict=True):
        yield beside.accuracy(f"{name}_accuracy", mine)
        yield beside.time(f"{name}_seconds", [mine], base.runs)
    for row in compare.same_step_rows(*pair.both):
        parts = {"lower": (row["paired"], -1)} if row["paired"] else {}
        yield beside.claim("loss_ahead", f"rate {row['rate']:g}: {row['verdict']}", parts, pair.runs, note=row["note"])


def family(page, seed: int) -> Iterator[beside.Row]:
    """The order of VGG-A's relatives."""
    base = [c for c in landscape.bn_sweep(page.profile, seed) if (c.lr, c.seed) == (BASE_RATE, seed)]
    whole = ahead.by_validation_loss(page.runs([*base, *landscape.bn_family(page.profile, seed)]))
    order = "by validation loss: " + ", then ".join(network_name(run.config.model) for run in whole)
    remark = "one seed: the order may be luck"
    yield beside.said("vgg_family", order, beside.UNDECIDED, 1, remark, whole, at_end=True)


def sgd(page, seed: int) -> Iterator[beside.Row]:
    """A source's VGG-A did not train with SGD, and did with batch norm."""
    hard = page.runs(landscape.bn_hard_settings(page.profile, seed))
    said, as_claimed = [], []
    for model, name, claimed in ((PLAIN, "no BN", False), (BATCH_NORM, "BN", True)):
        mine = [run for run in hard if (run.config.model, run.config.optimizer) == (model, "SGD")]
        said.append(f"{name}: " + ", ".join(f"rate {run.config.lr:g}: {ahead.outcome(run)}" for run in mine))
        as_claimed += [bool(compare.is_training(run)) == claimed for run in mine]
    verdict = beside.AGREES if all(as_claimed) else beside.UNDECIDED if any(as_claimed) else beside.CONTRADICTS
    remark = "one seed; it holds at some rates only" * (not all(as_claimed))
    yield beside.said("vgg_sgd", "; ".join(said), verdict, 1, remark, hard)


def norms(page, seed: int) -> Iterator[beside.Row]:
    """The paper's statements about noise, other norms and internal covariate shift."""
    bench = Bench(page, page.profile, seed)
    networks = bench.networks
    loss = {name: ahead.end_losses(mine) for name, mine in networks.items()}
    last = {name: ahead.at_end(mine) for name, mine in networks.items()}
    runs = [run for mine in networks.values() for run in mine]
    behind = paired(loss["batch norm"], loss["noisy batch norm"])
    better = paired(loss["noisy batch norm"], loss["no norm"])
    evaluated = paired(last["batch norm"], last["noisy batch norm"])
    ours = f"training loss: noisy − BN {difference_text(behind, 3)} nats; no norm − noisy {difference_text(better, 3)}"
    ours += f"; validation loss, eval mode: noisy − BN {difference_text(evaluated, 3)}"
    parts = {"better than none": (better, 1), "nearer to BN than to none": (paired(behind.values, better.values), 1)}
    yield beside.claim("noisy_bn", ours, parts, runs)
    powers = {name: paired(last["batch norm"], last[name]) for name in networks if name.startswith("ℓ")}
    ours = "; ".join(f"{name} − BN {difference_text(found, 3)}" for name, found in powers.items())
    parts = {f"{name} no worse": (found, -1) for name, found in powers.items()}
    yield beside.claim("lp_norms", f"validation loss, {ours}", parts, runs)
    watched = [run for runs in bench.watched.values() for run in runs]
    shifts, note = bench.gaps, compare.stuck_runs(watched).strip(" .")
    ours = "BN − no norm: " + "; ".join(f"{name} {difference_text(found, 3)}" for name, found in shifts.items())
    parts = {"ℓ2 no smaller": (shifts["l2"], 1), "relative no smaller": (shifts["relative"], 1)}
    parts |= {"cosine no larger": (shifts["cosine"], -1)}
    shifted = [*networks["no norm"], *networks["batch norm"]]
    yield beside.claim("covariate_shift", ours, parts, shifted, note=note)
