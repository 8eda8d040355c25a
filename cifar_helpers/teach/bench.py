"""What notebook 10 trains, draws and tabulates, one call each; every figure is followed by what it shows, in words."""

import functools
from collections.abc import Mapping

import numpy as np

from .. import figures, inside, plans
from ..intervals import Paired, paired
from ..measure import ahead, compare, ranking
from ..words import say
from . import readings, why

LABELS = ("conv 2", "conv 5", "conv 8", "linear 1")  # the layers whose shift is measured
SHIFTS = {"l2": ("10_shift", ""), "relative": ("10_shift_relative", ", relative"), "cosine": ("10_angle", ", cosine")}


class Bench:
    """The runs of notebook 10, trained or read when they are first asked for, and what is made of them.

    Args:
        page: the notebook's ``Page``; profile, seed: as in its settings.
    """

    def __init__(self, page, profile: str, seed: int):
        self.page, self.profile, self.seed, self.plan = page, profile, seed, page.plan
        self.at = page.images, page.store  # what a measurement is looked up with
        self.span = max(1, page.plan.norm_steps // 25)
        self.norms = plans.batchnorm.controls(profile, seed)

    # --- eight norms

    @functools.cached_property
    def networks(self) -> dict[str, tuple]:
        """Norm → its runs, one per seed."""
        found = ranking.rank(self.norms, self.page.runs(self.norms.configs))
        return {outcome.variant[0]: outcome.runs for outcome in found}

    @property
    def runs(self) -> list:
        """The runs of all norms."""
        return [run for mine in self.networks.values() for run in mine]

    def controls(self) -> None:
        """Training and validation loss under every norm."""
        title = readings.controls_title(self.networks)
        figure = figures.batchnorm.norm_curves(self.networks, compare.smooth, self.span, title)
        self.page.figure(figure, "10_controls", f"{self.norms.title}.", self.runs)
        say(readings.controls(self.networks))

    def controls_table(self):
        """The same at the end, as a table."""
        rows, caption = ahead.norm_rows(self.networks), f"{self.norms.title}, at the end."
        return self.page.table(rows, "10_controls_table", caption, self.runs)

    # --- internal covariate shift along training

    @functools.cached_property
    def watched(self) -> dict[str, tuple]:
        """The networks along which the shift is measured."""
        return {name: self.networks[name] for name in plans.batchnorm.WATCHED}

    def along(self, measure, labels) -> dict[str, list]:
        """A measurement of ``inside.shift`` along every watched run: network → one result per seed."""
        found = {}
        for name, mine in self.watched.items():
            layers = list(inside.shift.named(mine[0].config, labels).values())
            found[name] = [measure(run, *self.at, layers, self.page.device) for run in mine]
        return found

    @functools.cached_property
    def shifts(self) -> dict[str, list]:
        """Network → the shift along each of its runs."""
        return self.along(inside.shift.shift_along, LABELS)

    @functools.cached_property
    def gaps(self) -> dict[str, Paired]:
        """Quantity → batch norm minus no norm, by seed: means over the layers and the last half of the steps."""
        return {quantity: self.gap(quantity) for quantity in SHIFTS}

    def gap(self, quantity: str, layers: slice = slice(None)) -> Paired:
        """One of the gaps; layers: which of ``LABELS`` it is the mean over."""
        return paired(*(inside.shift.late(self.shifts[name], quantity, layers) for name in ("no norm", "batch norm")))

    @property
    def turns(self) -> dict[str, Paired]:
        """Layer → the gap of its cosine alone."""
        return {label: self.gap("cosine", slice(i, i + 1)) for i, label in enumerate(LABELS)}

    def shift(self, quantity: str) -> None:
        """The shift by layer and step: ``l2``, ``relative`` to the gradient, or the ``cosine``."""
        name, what = SHIFTS[quantity]
        figure = figures.batchnorm.covariate_shift(inside.shift.series(self.shifts, LABELS, quantity), quantity)
        runs = [run for mine in self.watched.values() for run in mine]
        caption = f"Internal covariate shift by layer and step{what}. {compare.stuck_runs(runs)}".strip()
        self.page.figure(figure, name, caption, runs)

    @functools.cached_property
    def distributions(self) -> dict[str, list]:
        """Network → the distributions before the activations along each of its runs."""
        return self.along(inside.shift.activations_along, LABELS[:3])

    @property
    def moves(self) -> dict[str, list[float]]:
        """Network → how far they move between two measured steps, of every seed."""
        return {name: [np.mean(inside.shift.drift(run)) for run in mine] for name, mine in self.distributions.items()}

    def ridges(self) -> None:
        """The distribution before one channel's activation along training, and how far it moves."""
        along = self.distributions
        shown = {name: inside.shift.quantiles(found[0], LABELS[:3]) for name, found in along.items()}
        caption = "Values before one channel's activation along training, one seed."
        first = [mine[0] for mine in self.watched.values()]
        self.page.figure(figures.batchnorm.ridges(shown), "10_activations", caption, first)
        still = {name: [np.mean(inside.shift.still(found)) for found in mine] for name, mine in along.items()}
        say(readings.drift(self.moves, still))

    # --- weight decay, batch sizes, rates and scales

    @functools.cached_property
    def sized(self) -> dict[float, tuple]:
        """Strength of weight decay → the run, and step → ‖w‖ of the filters before batch norm."""
        decays = plans.batchnorm.weight_decay(self.profile, self.seed)
        runs = self.page.runs(list(decays.values()))
        return {each: (run, inside.shift.filter_norms(run, *self.at)) for each, run in zip(decays, runs, strict=True)}

    def decay(self) -> None:
        """Loss, size of the filters and effective rate under three strengths of weight decay."""
        figure = figures.batchnorm.weight_decay(self.sized, compare.smooth, self.span)
        caption, runs = "Batch norm under three strengths of weight decay.", [run for run, _ in self.sized.values()]
        self.page.figure(figure, "10_weight_decay", caption, runs)
        say(readings.decay(self.sized))

    def batches(self) -> None:
        """Batch norm and group norm over the batch size, in both modes."""
        sizes = plans.batchnorm.batch_sizes(self.profile, self.seed)
        every = iter(self.page.runs([config for configs in sizes.values() for config in configs]))
        runs = {key: [next(every) for _ in configs] for key, configs in sizes.items()}
        device = self.page.device
        modes = {key: [inside.shift.mode_gap(run, *self.at, device) for run in mine] for key, mine in runs.items()}
        steps = {size: self.plan.norm_images // size for size in self.plan.norm_batches}
        figure = figures.batchnorm.batch_sizes(modes, steps, readings.batches_title(modes))
        caption = "Accuracy and the cost of evaluation mode over the batch size."
        self.page.figure(figure, "10_batch_size", caption, [run for mine in runs.values() for run in mine])
        say(readings.batches(modes))

    def tolerance(self) -> None:
        """The map: which rates and initial scales train, without and with batch norm."""
        cells, steps = plans.batchnorm.tolerance_map(self.profile, self.seed), self.plan.map_steps
        runs = self.page.runs(list(cells.values()))
        rates, scales, grid = ahead.grid(dict(zip(cells, runs, strict=True)))
        figure = figures.batchnorm.tolerance(grid, rates, scales, steps)
        caption = f"Accuracy after {steps} steps over learning rate and initial scale, without and with batch norm."
        self.page.figure(figure, "10_tolerance", caption, runs)
        say(readings.tolerance(grid, steps))

    # --- the answer

    @functools.cached_property
    def measured(self) -> tuple[dict, dict]:
        """What later papers ask for: large steps, and sharpness along training; ``inside.explanations.measured``."""
        return inside.explanations.measured(*self.at, self.profile, self.seed, self.page.device)

    @property
    def growth(self) -> dict[str, list]:
        """Norm → by how much large steps make each layer's output grow, one list per seed."""
        return {name: [found["growth"] for found in mine] for name, mine in self.measured[0].items()}

    def later(self) -> None:
        """Growth of the outputs after large steps, and sharpness times rate along training."""
        title = "Large steps by depth, and sharpness along training"
        figure = figures.batchnorm.later_explanations(self.growth, self.measured[1], title)
        caption = "Growth of outputs after large steps, by depth; sharpness times rate along training."
        self.page.figure(figure, "10_later", caption, data=self.page.measured)
        say(readings.later(self.growth, self.measured[1]))

    @functools.cached_property
    def evidence(self) -> dict[str, why.Line]:
        """A line per old claim and measurement; ``why.evidence``."""
        return why.evidence(self.page, self.profile, self.seed, self.networks, self.gaps, self.moves)

    def why(self):
        """The old answers, each line with its number."""
        caption = "Why batch norm helps: what our records say, for, against and undecided."
        return self.page.table([line.row() for line in self.evidence.values()], "10_why", caption, self.runs)

    def since(self, depth: Mapping[str, Mapping[int, list[float]]]):
        """The answers given since, each with what it predicts; depth: as in ``why.explanations``."""
        cosines = {name: [found["cosine"] for found in mine] for name, mine in self.measured[0].items()}
        found = self.growth, self.measured[1], cosines, depth, self.sized[0.0]
        rows = [line.row() for line in why.explanations(self.page, self.profile, self.seed, *found)]
        caption = "Explanations since 2018: what each predicts, and what our records say."
        return self.page.table(rows, "10_since", caption, self.runs)
