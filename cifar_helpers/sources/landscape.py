"""What the sources and the paper say about the landscape, beside our records: rows from the runs of 05 to 07."""

from collections.abc import Iterator

import numpy as np

from ..measure import compare, evidence, quantities
from ..teach.landscape import Landscape, band_widths
from ..words import difference_text
from . import beside


def probe(number: str, page, seed: int) -> Iterator[beside.Row]:
    """The paper's three comparisons of a notebook's quantity: narrow networks at its length, and at full width."""
    study = Landscape(page, number, page.profile, seed)
    again = [run.config for run in study.wide.runs] == [run.config for run in study.narrow.runs]  # all are narrow
    for walks in (study.narrow, study.wide)[: 1 if again else 2]:
        for each in study.ways(walks):
            where = f"at {compare.WAYS[each.way]}"
            yield beside.ratio(f"probe_{study.what.name}", where, each.row, -1, walks.runs, _spent(study, walks))


def _spent(study: Landscape, walks) -> str:
    """In what share of all probes β is that of the shortest step, which is no curvature where the gradient is gone."""
    if study.what.name != "beta":
        return ""
    shares = [np.mean([quantities.at_shortest(run.probes[walks.grid]) for run in side]) for side in walks.both]
    return "β is that of the shortest step in {:.0%} of the probes without BN, {:.0%} with it".format(*shares)


def band(page, seed: int) -> Iterator[beside.Row]:
    """The width of the handout's band over all of its rates."""
    study = Landscape(page, "05", page.profile, seed)
    for way, row in band_widths(study.sweep).items():
        yield beside.ratio("loss_band", way, row, -1, study.sweep.runs)


def gradients(page, seed: int) -> Iterator[beside.Row]:
    """How far the gradient moves from step to step, and whether it keeps its direction, rate by rate."""
    study = Landscape(page, "06", page.profile, seed)
    for rate in sorted({run.config.lr for run in study.sweep.runs}):
        pair = study.sweep.where(lambda run, rate=rate: run.config.lr == rate)
        found = compare.paired_by_seed(*pair.both, _late_cosine, compare.is_training)
        ours = f"rate {rate:g}: BN − no BN {difference_text(found, 3)}"
        parts = {"the cosine is larger": (found, +1)} if found else {}
        yield beside.claim("grad_direction", ours, parts, study.sweep.runs)
    yield from _by_rate(study, "grad_dist_all", "all", +1)
    yield from _by_rate(study, "grad_dist_output", "output", -1)


def smoothness(page, seed: int) -> Iterator[beside.Row]:
    """The handout's effective β: its maximum over the rates, and rate by rate."""
    study = Landscape(page, "07", page.profile, seed)
    peak = evidence.peak_row(*study.sweep.both, study.what.proxy)
    yield beside.ratio("beta", "maximum over the rates", peak, -1, study.sweep.runs)
    yield from _by_rate(study, "beta", "all", -1)


def _by_rate(study: Landscape, name: str, layer: str, sign: int) -> Iterator[beside.Row]:
    for row in compare.ratio_rows(*study.sweep.both, lambda runs: study.what.proxy(runs, layer=layer)):
        yield beside.ratio(name, f"rate {row['rate']:g}", row, sign, study.sweep.runs)


def _late_cosine(run) -> float:
    return compare.window_mean(quantities.direction([run]).curves[0])
