"""So why does batch norm help? The last page of the course: what speaks for which explanation, each with its number.

Numbers come from records: those that notebook 10 hands in, and those of 04 to 07 where they are recorded. Nothing is
trained for this page; what no record says is said to be open.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from .. import plans
from ..intervals import Paired, paired
from ..measure import compare, quantities
from ..measure.ahead import end_losses
from ..measure.walks import Pair, Walks
from ..plans.jobs import Job
from ..plans.landscape import BATCH_NORM, PLAIN
from ..training import probes
from ..training.store import RunRecord, Store
from ..words import by_side, difference_cell, listed, ratio_cell, ratio_text, rounded
from .readings import depth_growth

FOR, AGAINST, OPEN = "for", "against", "undecided"


def recorded(store: Store, fingerprint: str, jobs: Iterable[Job]) -> list[RunRecord]:
    """The records of these runs with their probes; none at all where one of them is missing."""
    found = []
    for job in jobs:
        record = store.get(job.config, fingerprint)
        if record is None:
            return []
        found.append(replace(record, probes=probes.read_all(record.folder, job.probes)))
    return found


def _line(claim: str, measured: str, found: Paired | None, notebook: str, sign: int, logs: bool = False) -> dict:
    """A row. ``sign``: −1 where the claim wants the difference negative, +1 positive; ``logs``: it is a log-ratio."""
    number = ratio_cell(found, ratio_text(found)) if logs and found else difference_cell(found, "")
    sides = (FOR, AGAINST) if sign < 0 else (AGAINST, FOR)
    row = {"claim": claim, "measured": measured, "number": number if found else "not recorded here"}
    return row | {"notebook": notebook, "speaks": by_side(found, *sides, OPEN)}


def evidence(
    page, profile: str, seed: int, losses: Mapping[str, Sequence[float]], shifts: Mapping[str, Paired]
) -> list:
    """What our records say about the old explanations: a row per claim and measurement.

    Args:
        page: the notebook's, with ``store`` and ``images``; losses: norm → training loss of every seed.
        shifts: quantity of internal covariate shift → ``Paired``, batch norm minus no norm.
    """
    store, fingerprint = page.store, page.images.fingerprint
    sweep = recorded(store, fingerprint, map(Job, plans.landscape.bn_sweep(profile, seed)))
    rows = [
        _line(
            "it trains faster",
            f"training loss over four rates, BN − no BN (nats){_stuck(sweep)}",
            _lead(sweep),
            "04",
            -1,
        )
    ]
    less = paired(losses["no norm"], losses["batch norm"])
    rows.append(_line("it trains faster", "training loss with SGD, BN − no norm (nats)", less, "10", -1))
    rows += _landscape(store, fingerprint, profile, seed)
    shift = "less internal covariate shift"
    rows.append(_line(shift, "‖G − G′‖/‖G‖, BN − no norm", shifts["relative"], "10", -1))
    rows.append(_line(shift, "cosine of G and G′, BN − no norm", shifts["cosine"], "10", 1))
    noisy = paired(losses["noisy batch norm"], losses["no norm"])
    behind = paired(losses["batch norm"], losses["noisy batch norm"])
    nearer = paired(behind.values, noisy.values)
    said = "noise put back: is its loss nearer to no norm's than to BN's? (nats)"
    rows.append(_line(shift, said, nearer, "10", -1))
    for name in ("ℓ2 norm", "group norm"):
        gap = paired(losses["batch norm"], losses[name])
        rows.append(_line(f"{name} does less well", f"training loss, {name} − BN (nats)", gap, "10", 1))
    return rows


def _stuck(sweep: Sequence) -> str:
    """How many of the runs do not train; here they count, since not to train is what is asked about."""
    stuck = sum(not compare.is_training(run) for run in sweep)
    return f"; {stuck} of {len(sweep)} runs do not train and are counted" if stuck else ""


def _lead(sweep: Sequence) -> Paired | None:
    """Difference in training loss, BN − no BN, by seed: the mean over the rates."""
    if not sweep:
        return None
    losses = {(run.config.model, run.config.seed, run.config.lr): end_losses([run])[0] for run in sweep}
    seeds = quantities.seeds_at_every_rate(sweep)
    rates = {rate for _, _, rate in losses}
    sides = [[float(np.mean([losses[m, s, r] for r in rates])) for s in seeds] for m in (PLAIN, BATCH_NORM)]
    return paired(*sides)


def _landscape(store: Store, fingerprint: str, profile: str, seed: int) -> list[dict]:
    """Three quantities of the direct probe, each at the same training loss and at the same relative distance."""
    grid = plans.landscape.direct_probe(profile)
    runs = recorded(store, fingerprint, (Job(c, (grid,)) for c in plans.landscape.direct_runs(profile, seed)))
    rows, probed = [], bool(runs) and all(grid in run.probes for run in runs)
    for notebook, quantity in quantities.QUANTITIES.items():
        ways = Walks(runs, grid).ways(quantity.name) if probed else ()
        found = {each.way: each.row["paired"] for each in ways}
        for way in ("loss", "distance"):
            measured = f"{quantity.noun}, BN / no BN at {compare.WAYS[way]}"
            rows.append(_line("a smoother landscape", measured, found.get(way), notebook, -1, logs=True))
    return rows


# --- What has been said since --------------------------------------------------------------------------------------


def explanations(
    page, profile: str, seed: int, growth: Mapping, sharp: Mapping, cosines: Mapping, depth: Mapping, sizes: Mapping
) -> list[dict]:
    """The explanations since the paper: what each predicts, and what the records say.

    Args:
        growth, sharp: as in ``figures.batchnorm.later_explanations``; cosines: norm → one per seed, as of
            ``inside.explanations.large_steps``; depth: number of layers → gradient of the first over that of the last
            layer, with batch norm; sizes: step → ‖w‖ of all filters behind batch norm, without weight decay.
    """
    sweep = recorded(page.store, page.images.fingerprint, map(Job, plans.landscape.bn_sweep(profile, seed)))
    spread = _spread(sweep)
    first, *_, last = sizes.values()
    deepest, shallow = max(depth), min(depth)
    sides = {name: [np.array(one["values"]) * one["rate"] for one in seeds] for name, seeds in sharp.items()}
    way = "; ".join(
        f"{name} {listed([f'{rounded(v.max())} → {rounded(v[-1])}' for v in seeds])}" for name, seeds in sides.items()
    )
    grown = depth_growth(growth)
    steeper = depth[deepest] > depth[shallow] > 1
    parts = {  # explanation, what it predicts → what the records say, which side that is
        ("larger rates (Bjorck et al. 2018)", "large steps make outputs grow with depth, unless BN stands there"): (
            f"growth, last layer over first, BN / no norm: {ratio_text(grown)}",
            by_side(grown, FOR, AGAINST, OPEN),
        ),
        ("scale-free weights (van Laarhoven 2017; Arora et al. 2019)", "‖w‖ grows, so steps turn the filters less"): (
            f"‖w‖ {rounded(first)} → {rounded(last)}, effective rate × {rounded((first / last) ** 2)}",
            _one(last > first),
        ),
        ("the same", "the final loss depends less on the rate"): (
            f"range over four rates, BN / no BN: {ratio_text(spread)}" if spread else "not recorded here",
            by_side(spread, FOR, AGAINST, OPEN),
        ),
        ("length and direction apart (Kohler et al. 2019)", "behind BN the gradient is at a right angle to w"): (
            f"largest |cosine|: BN {max(cosines['batch norm']):.0e}, no norm {max(cosines['no norm']):.0e}",
            FOR if max(cosines["batch norm"]) < 1e-4 else AGAINST,
        ),
        ("sharpness at 2/η (Cohen et al. 2021; Lyu et al. 2022)", "sharpness · η goes to about 2 and stays"): (
            f"largest → at the end: {way}",
            _one(all(1.5 < values[-1] < 2.5 for values in sides["batch norm"])),
        ),
        ("growing gradients (Yang et al. 2019)", "BN makes gradients grow towards the first layer, with depth"): (
            f"first over last layer: {shallow} layers {rounded(depth[shallow])}, {deepest} {rounded(depth[deepest])}",
            _one(steeper),
        ),
    }
    rows = [(*asked, *found) for asked, found in parts.items()]
    columns = ("explanation", "it predicts", "our records", "speaks")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _one(holds: bool) -> str:
    return f"{FOR if holds else AGAINST} (no interval)"


def _spread(sweep: Sequence) -> Paired | None:
    """Range of the training loss over the rates, BN / no BN by seed: logarithms."""
    if not sweep:
        return None
    swept = map(quantities.sweeps, Pair(sweep).both)
    return paired(*([float(np.log(compare.window_mean(each.steps["width"]))) for each in found] for found in swept))


def answer(rows: Sequence[Mapping]) -> str:
    """The evidence in short, a list: claim by claim, how many of its lines speak for it and how many against."""
    parts = []
    for claim in dict.fromkeys(row["claim"] for row in rows):
        mine = [row["speaks"] for row in rows if row["claim"] == claim]
        counts = [f"{mine.count(side)} {side}" for side in (FOR, AGAINST, OPEN) if side in mine]
        parts.append(f"- **{claim}**: {listed(counts)}.")
    return "\n".join(parts)
