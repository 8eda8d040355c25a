"""The two networks side by side: which runs belong to which, what was probed along them, and levels for a sentence."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from . import compare, quantities
from .compare import Comparison
from .quantities import Band

NETWORKS = ("VGG_A", "VGG_A_BatchNorm")


class Pair:
    """Runs of VGG-A without and with batch norm, records in any order.

    Attributes:
        plain, normed: those of one network, in the order given; both: of these; sides: model → its runs.
    """

    def __init__(self, runs: Sequence):
        self.runs = list(runs)
        self.sides = {name: [run for run in runs if run.config.model == name] for name in NETWORKS}
        self.both = self.plain, self.normed = tuple(self.sides.values())

    @functools.cached_property
    def idle(self) -> dict:
        """Model → share of its runs that are not training, at every step."""
        return {name: compare.share_not_training(side) for name, side in self.sides.items() if side}

    @property
    def length(self) -> str:
        """How long and how many, in words: ``15,000 steps, 5 seeds``."""
        n = len({run.config.seed for run in self.runs})
        return f"{self.runs[0].config.steps:,} steps, {n} seed{'s' * (n > 1)}"

    def where(self, keep: Callable) -> "Pair":
        """The runs for which ``keep`` is true."""
        return Pair([run for run in self.runs if keep(run)])

    @property
    def training(self) -> "Pair":
        """The runs that train at their end; all of them if none does."""
        kept = [run for run in self.runs if compare.is_training(run)]
        return Pair(kept) if kept else self

    def bands(self, quantity: Callable) -> dict[str, Band]:
        """Model → a ``Band`` of its runs, such as ``quantities.VGG_Grad_Pred`` gives it."""
        return {name: quantity(side) for name, side in self.sides.items()}


class Walks(Pair):
    """A pair that was probed along the gradient; ``grid``: the ``ProbeConfig`` of it."""

    def __init__(self, runs: Sequence, grid):
        super().__init__(runs)
        self.grid = grid

    def along(self, quantity: str) -> dict[str, list[Band]]:
        """Model → a ``Band`` for each run, whose curves are the step lengths; ``quantities.probe_band``."""
        return {
            name: [quantities.probe_band(run, self.grid, quantity) for run in side] for name, side in self.sides.items()
        }

    def ways(self, quantity: str) -> list[Comparison]:
        """The quantity compared in three ways, as ``compare.three_ways``."""
        return compare.three_ways(
            self.plain,
            self.normed,
            lambda runs: quantities.probe_summary(runs, self.grid, quantity),
            lambda run: quantities.probe_cloud(run, self.grid, quantity),
        )

    def level(self, quantity: str, edge: str = "max_curve") -> tuple[float, float]:
        """Mean of an edge of the band over the last fifth of the steps and the seeds: without and with batch norm."""
        plain, normed = self.along(quantity).values()
        edges = [[compare.window_mean(getattr(band, edge)) for band in bands] for bands in (plain, normed)]
        return float(np.mean(edges[0])), float(np.mean(edges[1]))
