"""The face of the package in a notebook: one page holds images, profile and records, and keeps the books.

What is being taught stands in the notebook's cells; what is the same in all of them is one call here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import Image, display
from matplotlib.figure import Figure

from . import figures, plans
from .data.decode import CLASSES
from .data.images import ImageData, load_cifar10
from .env import NO_IMAGES
from .measure import compare, ranking
from .measure.ranking import Ranked
from .plans.jobs import Job
from .plans.profiles import PUBLISHED, published_from
from .teach import checks, listening
from .training.config import RunConfig
from .training.published import NotPublishedError, PublishedStore, ReadingStore, whose
from .training.run import get_runs
from .training.store import RunRecord, Store


class Page:
    """What every cell of a notebook needs, and what it leaves behind.

    Args:
        images: ``ImageData``; profile, device: the notebook's settings.
        reuse: read the published records where they fit; trains: False where nothing is to be trained.

    Attributes:
        plan: the profile's budgets.
        store: where records are read and written.
        images: those that runs and measurements are looked up with; ``at_hand``: those that were read.
        found: the sweeps ranked so far, by name.
    """

    def __init__(self, images: ImageData, profile: str, device: str, reuse: bool, trains: bool = True):
        self.profile, self.device, self.plan = profile, device, plans.profiles.get_profile(profile)
        self.images = self.at_hand = images
        self.found = _Found()
        self.store = (Store if trains else ReadingStore)(published=reuse)

    def announce(self, jobs: Sequence[Job]) -> None:
        """Say whose images these are, how many of the runs are recorded, and how long the others may take."""
        print(self.images.label)
        print(plans.forecast.outlook(jobs, self.images.fingerprint, self.store))
        print("Numbers in the text are the published runs'; where yours differ, the text is said again below its cell.")

    def runs(
        self, configs: Sequence[RunConfig], probes: Callable[[RunConfig], Sequence] | Sequence = ()
    ) -> list[RunRecord]:
        """The records of these runs, in their order; what is missing is trained. As ``training.run.get_runs``."""
        return get_runs(configs, self.images, self.device, self.store, probes=probes)

    def rank(self, sweep: plans.sweeps.Sweep) -> Ranked:
        """Train a sweep's runs and rank its variants; ``found`` has the ranking too."""
        self.found[sweep.name] = ranking.rank(sweep, self.runs(sweep.configs))
        return self.found[sweep.name]

    def sweep(self, sweep: plans.sweeps.Sweep, span: int | None = None) -> None:
        """Rank a sweep, then show and keep its table and its figure.

        With ``span`` the figure is the training curves, averaged over so many steps, and not a dot for every run.
        """
        found = self.rank(sweep)
        runs = found.runs
        display(self.table(ranking.table(found), f"{sweep.name}_table", f"{sweep.title}.", runs))
        if span:
            drawn = figures.sweeps.sweep_curves(found, span, compare.smooth)
        elif found.factors[0] == "learning rate":
            drawn = figures.sweeps.sweep_over_scale(found)
        else:
            drawn = figures.sweeps.sweep_dots(found)
        self.figure(drawn, sweep.name, f"{sweep.title}.", runs)

    def figure(
        self, figure: Figure, name: str, caption: str, runs: Sequence = (), data=None, private: bool = False
    ) -> None:
        """Keep a figure as ``figures.save`` does, and show it; ``data``: images other than its runs', or at hand."""
        data = data or (self.measured if runs else self.at_hand)
        figures.save(figure, name, caption, data, self.profile, runs, private)
        if get_ipython():
            plt.show()  # now, not at the cell's end, behind the tables

    def film(self, film: bytes, name: str, caption: str, runs: Sequence = ()) -> None:
        """Keep a GIF, such as ``Explorer.film`` makes, and show it; else as ``figure``."""
        figures.save_film(film, name, caption, self.measured if runs else self.at_hand, self.profile, runs)
        display(Image(film, format="gif", alt=caption))

    def table(self, rows: Sequence[Mapping], name: str, caption: str, runs: Sequence = (), data=None):
        """Keep a table as ``figures.save_table`` does, and return it; ``data`` as in ``figure``, without runs none."""
        data = data or (self.measured if runs else self.drawing)
        return figures.save_table(rows, name, caption, data, self.profile, runs)

    @property
    def measured(self) -> ImageData:
        """The images behind runs and measurements."""
        return self.at_hand

    @property
    def drawing(self) -> ImageData:
        """What a drawing is made of, or a table about networks: no images."""
        return replace(self.images, label=NO_IMAGES)


class PublishedPage(Page):
    """The page of the profile ``published``: it shows what is published, whatever images are at hand, and trains none.

    A cell that asks for something else is skipped (``teach.listening``).
    """

    def __init__(self, images: ImageData):
        super().__init__(images, PUBLISHED, "cpu", reuse=False)
        self.store = PublishedStore()
        self.images = replace(images, fingerprint=self.store.fingerprint)

    def announce(self, jobs: Sequence[Job]) -> None:
        """Say whose runs these are, and how many are not published yet."""
        records = [record for job in jobs if (record := self.store.get(job.config))]
        print(f"Published: {whose(records)}. Nothing is trained here." if records else "None of its runs is published.")
        if len(records) < len(jobs):
            print(f"Not published yet: {len(jobs) - len(records)} of {len(jobs)} runs; their cells say so.")
        print(f"Pictures of single images are made from: {self.at_hand.label}.")

    def runs(
        self, configs: Sequence[RunConfig], probes: Callable[[RunConfig], Sequence] | Sequence = ()
    ) -> list[RunRecord]:
        """The published records of these runs, in their order.

        Raises:
            NotPublishedError: one is not; with what trains it, and for how long.
        """
        missing = [config for config in configs if self.store.get(config) is None]
        if missing:
            minutes = plans.forecast.usual_minutes([Job(config) for config in missing], self.store)
            raise NotPublishedError(
                f"{len(missing)} of these {len(configs)} runs are not published, such as {missing[0].describe()}. "
                f'profile = "{published_from()}" in the settings trains them ({minutes}); "quick" trains shorter ones.'
            )
        return super().runs(configs, probes)

    def rank(self, sweep: plans.sweeps.Sweep) -> Ranked:
        """As ``Page.rank``, of the variants that are published, with the seeds that all of these have."""
        return super().rank(self._recorded(sweep))

    def _recorded(self, sweep: plans.sweeps.Sweep) -> plans.sweeps.Sweep:
        """The variants of a sweep that are published, with their common seeds; the whole if fewer than two."""
        there = {
            variant: tuple(config for config in configs if self.store.get(config))
            for variant, configs in sweep.variants.items()
        }
        known = [{config.seed for config in configs} for configs in there.values() if configs]
        seeds = set.intersection(*known) if known else set()
        kept = {variant: tuple(c for c in configs if c.seed in seeds) for variant, configs in there.items() if configs}
        if not seeds or len(kept) < 2:
            return sweep
        left = [" ".join(variant) for variant in there if variant not in kept]
        if left:
            print(f"Not published yet: {', '.join(left)}.")
        return replace(sweep, variants=kept)

    @property
    def measured(self) -> ImageData:
        """The images of the published records, by name: the pixels are those at hand."""
        return replace(self.images, label=self.store.label, classes=CLASSES)


class _Found(dict[str, Ranked]):
    """Sweeps by name; in the profile ``published`` one that is missing is not an error of the reader's."""

    def __missing__(self, name: str):
        raise NotPublishedError(f"The sweep {name} is not recorded.")


def open_page(
    profile: str, data: str | None, device: str, seed: int, reuse: bool, trains: bool = True, **settings
) -> Page:
    """The page of a notebook with these settings, images read; while nbgrader executes it, with those of grading.

    Args:
        trains: whether what is not recorded is trained.
        settings: of this notebook alone: ``fast``, ``n_items``, ``rates``, ``gap``, ``layer``.

    Raises:
        CourseError: a setting that is not what it must be, or images that cannot be read; the message says what to do.
    """
    profile, data, device = checks.when_graded(profile, data, device)
    source = plans.settings.image_source(profile, data, seed, device, reuse, **settings)
    images = load_cifar10(source)
    listening.listen(skips=profile == PUBLISHED)
    return PublishedPage(images) if profile == PUBLISHED else Page(images, profile, device, reuse, trains)
