"""So why does batch norm help? The last page of the course: what speaks for which explanation, each with its number.

Numbers come from records: those that notebook 10 hands in, and those of 04 to 07 where they are recorded. Nothing is
trained for this page. All lines of its tables are judged by one rule, ``Line.says``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import plans
from ..intervals import Paired, paired
from ..measure import ahead, compare, quantities
from ..measure.walks import Walks
from ..plans.jobs import Job
from ..plans.landscape import BATCH_NORM, NARROW, PLAIN
from ..training import probes
from ..training.store import RunRecord, Store
from ..words import by_side, difference_cell, ratio_cell, rounded
from .readings import over_layers, sharpness_text

FOR, AGAINST, OPEN, UNTESTED = "for", "against", "undecided", "not tested"
FIXING, AVERAGING = "fixing distributions", "averaging over the batch"
ONE_IMAGE = ("group norm", "layer norm")  # whose statistics are those of one image
WIDTHS = {1: "full width", 0.25: "¼ of the width", NARROW: "⅛ of the width"}


@dataclass(frozen=True)
class Line:
    """A claim, and one number of ours that may speak for or against it.

    Attributes:
        measured: of what the number is; found: it, by seed, or None; sign: −1 where the claim wants it below no effect,
            +1 above; logs: it is of logarithms.
        setting: width, steps and seeds; notebook: where it is measured.
        text: the number where nothing is ``found``; missing: what the test lacks; it is then not judged.
    """

    claim: str
    measured: str
    found: Paired | None
    sign: int
    setting: str
    notebook: str = "10"
    logs: bool = False
    text: str = "not recorded here"
    missing: str = ""

    @property
    def says(self) -> str:
        """``for`` or ``against`` where the whole interval lies on one side of no effect, else ``undecided``."""
        if self.missing or self.found is None or self.found.interval is None:
            return f"{UNTESTED}: {self.missing or ('one seed' if self.found else self.text)}"
        return by_side(self.found, *((FOR, AGAINST) if self.sign < 0 else (AGAINST, FOR)), OPEN)

    def row(self) -> dict:
        """The line as a row of a table, its number a cell."""
        number = self.text
        if self.found:
            number = ratio_cell(self.found, short(self, rounded)) if self.logs else difference_cell(self.found, "")
        row = {"claim": self.claim, "measured": self.measured, "number": number, "setting": self.setting}
        return row | {"notebook": self.notebook, "our records": self.says}


def short(line: Line, digits: Callable[[float], str] = lambda value: f"{value:#.2g}".rstrip(".")) -> str:
    """The number of a line with its interval: ``0.57 [0.34, 0.96]``."""
    if line.found is None:
        return line.text
    value, *ends = (np.exp(x) if line.logs else x for x in (line.found.mean, *(line.found.interval or ())))
    return digits(value) + (f" [{', '.join(map(digits, ends))}]" if ends else "")


def recorded(store: Store, fingerprint: str, jobs: Iterable[Job]) -> list[RunRecord]:
    """The records of these runs with their probes; none at all where one of them, or a probe, is missing."""
    found = []
    for job in jobs:
        record = store.get(job.config, fingerprint)
        read = probes.read_all(record.folder, job.probes) if record else {}
        if record is None or len(read) < len(job.probes):
            return []
        found.append(replace(record, probes=read))
    return found


def setting(runs: Sequence, seeds: int | None = None) -> str:
    """Width, steps and number of seeds of these runs, in words; ``seeds``: where not all of theirs are compared."""
    if not runs:
        return "–"
    config, n = runs[0].config, seeds or len({run.config.seed for run in runs})
    width = config.model_args.get("width", 1)
    return f"{WIDTHS.get(width, f'{width:g} of the width')}, {config.steps:,} steps, {n} seed{'s' * (n > 1)}"


def over_rates(page, profile: str, seed: int, value: Callable) -> Iterator[tuple[str, Paired | None, str]]:
    """A ``value`` of end losses over the rates of 04, BN against no BN by seed: a note, what was found, the setting.

    Where runs do not train it is given twice: with them, and over the rates at which both networks of a seed train.
    """
    sweep = recorded(page.store, page.images.fingerprint, map(Job, plans.landscape.bn_sweep(profile, seed)))
    runs = {(run.config.model, run.config.seed, run.config.lr): run for run in sweep}
    stuck = sum(not compare.is_training(run) for run in sweep)
    ways = {f"; {stuck} of {len(sweep)} runs do not train and are counted": False, "; where both train": True}
    for note, trains in ways.items() if stuck else [("", False)]:
        sides = []
        for each in quantities.seeds_at_every_rate(sweep) if sweep else ():
            pairs = [[runs[name, each, rate] for name in (PLAIN, BATCH_NORM)] for rate in {key[2] for key in runs}]
            kept = [pair for pair in pairs if not trains or all(map(compare.is_training, pair))]
            if len(kept) > 1:
                sides.append([value(ahead.end_losses(side)) for side in zip(*kept, strict=True)])
        yield note, paired(*zip(*sides, strict=True)) if sides else None, setting(sweep, len(sides))


# --- The old explanations ------------------------------------------------------------------------------------------


def evidence(
    page, profile: str, seed: int, networks: Mapping[str, Sequence], shifts: Mapping, moves: Mapping
) -> dict[str, Line]:
    """What our records say about the old explanations: a line per claim and measurement, by name.

    Args:
        page: the notebook's, with ``store`` and ``images``; networks: norm → runs, one per seed.
        shifts: quantity of internal covariate shift → ``Paired``, batch norm minus no norm.
        moves: norm → ``inside.shift.drift`` of every seed.
    """
    here, faster = setting(networks["batch norm"]), "it trains faster"
    losses = {name: np.array(ahead.end_losses(mine)) for name, mine in networks.items()}
    none, normed, lines = losses.pop("no norm"), losses.pop("batch norm"), {}
    for note, found, where in over_rates(page, profile, seed, np.mean):
        said = f"training loss, Adam, mean of the rates, BN − no BN (nats){note}"
        lines[said] = Line(faster, said, found, -1, where, "04")
    lines["sgd"] = Line(faster, "training loss, SGD, BN − no norm (nats)", paired(none, normed), -1, here)
    lines |= _landscape(page.store, page.images.fingerprint, profile, seed)
    wanted = {"l2": ("‖G − G′‖", -1), "relative": ("‖G − G′‖ / ‖G‖", -1), "cosine": ("cosine of G and G′", 1)}
    for name, (said, sign) in wanted.items():
        lines[name] = Line("less covariate shift", f"{said}, BN − no norm", shifts[name], sign, here)
    shaken = paired(moves["no norm"], moves["noisy batch norm"])
    weak = "" if shaken.decided and shaken.mean > 0 else "the noise is not shown to move channels more than training"
    for name, loss in losses.items():  # where what it lacks is what helps, its loss is nearer to no norm's
        said = f"training loss of {name}, minus the middle of BN's and no norm's (nats)"
        claim = f"it helps by {AVERAGING if name in ONE_IMAGE else FIXING}"
        lacks = weak if name == "noisy batch norm" else ""
        lines[name] = Line(claim, said, paired((none + normed) / 2, loss), 1, here, missing=lacks)
    return dict(sorted(lines.items(), key=lambda item: item[0] in ONE_IMAGE))


def _landscape(store: Store, fingerprint: str, profile: str, seed: int) -> dict[str, Line]:
    """Three quantities of the direct probe, at equal loss and at equal relative distance, for both widths."""
    plan, lines = plans.landscape, {}
    for width, configs, grid in (
        ("wide", plan.direct_runs(profile, seed), plan.direct_probe(profile)),
        ("narrow", plan.narrow_runs(profile, seed), plan.narrow_probe(profile)),
    ):
        walks = Walks(recorded(store, fingerprint, (Job(config, (grid,)) for config in configs)), grid)
        for notebook, quantity in quantities.QUANTITIES.items():
            rows = {each.way: each.row for each in walks.ways(quantity.name)} if walks.runs else {}
            for way in ("loss", "distance"):
                found, note = map(rows.get(way, {}).get, ("paired", "note"))
                said = f"{quantity.noun}, BN / no BN at {compare.WAYS[way]}{f' ({note})' * bool(note)}"
                where = setting(walks.runs, found and len(found.values))
                name, claim = f"{quantity.name} {way} {width}", "a smoother landscape"
                lines[name] = Line(claim, said, found, -1, where, notebook, logs=True)
    return dict(sorted(lines.items(), key=lambda item: (item[1].notebook, " distance " in item[0])))


def answer(lines: Mapping[str, Line]) -> str:
    """The evidence in three sentences, whose sides are those of the lines; these are as of ``evidence``."""
    faster, shift = lines["sgd"], [lines[name] for name in ("l2", "relative", "cosine")]
    loss, distance = ([lines[f"loss {way} {width}"] for width in ("wide", "narrow")] for way in ("loss", "distance"))
    trains = by_side(faster.found, "Batch norm trains faster", "Batch norm trains more slowly", "Speed is undecided")
    way = {(FOR, FOR): "for", (AGAINST, AGAINST): "against"}.get(tuple(line.says for line in loss), "neither way on")
    varies = " and ".join(f"{short(line)} times as much ({line.setting})" for line in loss)
    smooth = (
        f"Our records speak {way} a *smoother landscape* at the same training loss, where with batch norm the loss "
        f"along the gradient varies {varies}; at the same relative distance it is {' and '.join(map(short, distance))}."
    )
    support = "some" if FOR in {line.says for line in shift} else "no"
    norms = {how: _way(line.says for line in lines.values() if line.claim.endswith(how)) for how in (FIXING, AVERAGING)}
    size = by_side(shift[0].found, "smaller", "larger", "not told apart")
    return (
        f"{trains}: its training loss minus no norm's is {short(faster)} nats ({faster.setting}). "
        f"{smooth if loss[0].found else 'The runs of 05 to 07 are not recorded.'} *Less covariate shift* finds "
        f"{support} support (‖G − G′‖ is {size} with batch norm, by {short(shift[0])}). As for what "
        f"helps, the other norms speak {norms[FIXING]} *{FIXING}*, and {norms[AVERAGING]} *{AVERAGING}*. No *cause* is "
        "shown, since no run changes one of these and nothing else."
    )


def _way(says: Iterable[str]) -> str:
    """The way that all decided lines point."""
    return {(FOR,): "for", (AGAINST,): "against"}.get(tuple({FOR, AGAINST} & set(says)), "neither way on")


# --- What has been said since --------------------------------------------------------------------------------------

BJORCK = "larger rates (Bjorck et al. 2018): without BN, large steps make outputs grow"
FREE = "scale-free weights (van Laarhoven 2017; Arora et al. 2019): "
KOHLER = "length and direction apart (Kohler et al. 2019): so it trains faster"
COHEN = "sharpness (Cohen et al. 2021; Lyu et al. 2022): it goes to 2/η and stays"
YANG = "growing gradients (Yang et al. 2019), a price of BN: they grow towards the first layer"


def explanations(
    page, profile: str, seed: int, growth: Mapping, sharp: Mapping, cosines: Mapping, depth: Mapping, sized: tuple
) -> list[Line]:
    """The explanations since the paper: what each predicts, and what the records say.

    Args:
        growth, sharp: as in ``figures.batchnorm.later_explanations``; cosines: norm → one per seed, as of
            ``inside.explanations.large_steps``; depth: norm → number of layers → gradient of the first over that of
            the last layer, one per seed; sized: a run without weight decay, and step → ‖w‖ of its filters.
    """
    (first, *_, last), narrow, layers = sized[1].values(), WIDTHS[NARROW], max(depth["no norm"])
    large, new = (f"{narrow}, {what}, n = {len(growth['no norm'])}" for what in ("6 steps at rate 1", "untrained"))
    size = f"{rounded(first)} → {rounded(last)}, effective rate × {rounded((first / last) ** 2)}"
    angles = "; ".join(f"{name} {max(values):.0e}" for name, values in cosines.items())
    edge = "; ".join(f"{name} {sharpness_text(found[0])}" for name, found in sharp.items())
    alone = f"{narrow}, {sharp['batch norm'][0]['steps'][-1]} steps, 1 seed"
    grown = paired(*(np.log(depth[name][layers]) for name in ("no norm", "batch norm")))
    less, range_of = f"{FREE}the rate matters less", "range of the training loss over the rates, BN / no BN"
    ranges = over_rates(page, profile, seed, lambda losses: np.log(np.ptp(losses)))
    stack, back = f"{layers} layers, {len(grown.values)} seeds", "‖∇‖ of the first layer over the last, BN / no norm"
    before, along = "growth before the norm, mean of the layers, BN / no norm", "sharpness · η: largest, and at the end"
    return [
        Line(BJORCK, before, over_layers(growth), -1, large, logs=True),
        Line(f"{FREE}‖w‖ grows", "‖w‖ of the filters", None, 1, setting([sized[0]]), text=size, missing="one seed"),
        *(Line(less, f"{range_of}{note}", found, -1, where, "04", logs=True) for note, found, where in ranges),
        Line(KOHLER, "largest |cosine| of w and ∇", None, -1, new, text=angles, missing="a right angle is arithmetic"),
        Line(COHEN, along, None, 1, alone, text=edge, missing="one seed"),
        Line(YANG, back, grown, 1, stack, logs=True),
    ]
