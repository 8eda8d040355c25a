"""The tables of notebook 11: every result of the sources, ours beside it, from what is recorded."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ..measure import ranking
from ..measure.ranking import MissingVariantError, Ranked
from ..training.published import NotPublishedError
from ..training.store import DRAWN
from . import autograd, batchnorm, beside, landscape, networks, small
from .beside import Row
from .reported import PARTS, REPORTED

MISSING = (NotPublishedError, MissingVariantError)  # raised where a run, a sweep or a variant of it is not recorded
SWEEPS = {"small": small.SWEEPS, "large": networks.SWEEPS}  # part of the course → what ``Reported.ours`` names
ALONE: dict[str, tuple[Callable[..., Iterator[Row]], ...]] = {  # part → what makes its other rows
    "small": small.ROWS,
    "large": (networks.tuning, networks.depths),
    "batch_norm": (batchnorm.rates, batchnorm.family, batchnorm.sgd),
    "landscape": (landscape.band, landscape.gradients, landscape.smoothness)
    + tuple(functools.partial(landscape.probe, number) for number in ("05", "06", "07")),
    "autograd": (autograd.operations, autograd.rates),
    "why": (batchnorm.norms,),
}


class Tables:
    """The tables of a ``Page`` that trains nothing, one after the other, and how their verdicts add up."""

    def __init__(self, page, seed: int):
        self.page, self.seed = page, seed
        self.rows: dict[str, list[Row]] = {}

    def part(self, name: str, title: str):
        """The table of a part of the course, a key of ``PARTS``, by title; what is not recorded is ``not run``."""
        page, made = self.page, []
        with contextlib.redirect_stdout(None):  # how many runs each of them read
            for make in SWEEPS.get(name, ()):
                with contextlib.suppress(*MISSING):
                    page.rank(make(page.profile, self.seed))
            made += _variants(name, page.found)
            for make in ALONE[name]:
                with contextlib.suppress(*MISSING):
                    for row in make(page, self.seed):
                        made.append(row)
        rows = {key: [row for row in made if row.name == key] for key in PARTS[name]}
        self.rows[name] = [row for key, found in rows.items() for row in found or [beside.not_run(key)]]
        data = replace(page.images, label=DRAWN) if name == "autograd" else page.measured
        caption = f"The sources' results beside ours: {title}."
        return page.table(beside.table(self.rows[name]), f"11_{name}_z_sources", caption, data=data)

    def verdicts(self) -> str:
        """How the verdicts of the tables made so far add up, in a sentence."""
        return beside.counted([row.verdict for rows in self.rows.values() for row in rows])


def _variants(part: str, found: Mapping[str, Ranked]) -> Iterator[Row]:
    """The rows of a single variant, and of the difference of two, where ``reported.toml`` names them."""
    every = [run for ranked in found.values() for run in ranked.runs]
    for name in PARTS[part]:
        if REPORTED[name].ours:
            sweep, *variants = REPORTED[name].ours
            runs = ranking.runs_of(found, sweep, *variants)
            if REPORTED[name].is_accuracy:
                yield beside.accuracy(name, runs)
            elif REPORTED[name].value is None:
                yield beside.time(name, [runs], every)
            else:
                yield beside.difference(name, *(ranking.reached(found, sweep, each) for each in variants))
