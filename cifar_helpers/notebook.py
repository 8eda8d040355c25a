"""The face of the package in a notebook: one page holds images, profile and records, and keeps the books.

What is being taught stands in the notebook's cells; what is the same in all of them is one call here.
"""

from collections.abc import Callable, Mapping, Sequence

from IPython.display import display
from matplotlib.figure import Figure

from . import figures, plans
from .measure import compare, ranking
from .measure.ranking import Ranked
from .plans.jobs import Job
from .training.config import RunConfig
from .training.run import get_runs
from .training.store import RunRecord, Store


class Page:
    """What every cell of a notebook needs, and what it leaves behind.

    Args:
        images: ``ImageData``; profile, device: the notebook's settings.
        published: read the published records where they fit.

    Attributes:
        store: where records are read and written.
    """

    def __init__(self, images, profile: str, device: str, published: bool):
        self.images, self.profile, self.device = images, profile, device
        self.store = Store(published=published)

    def announce(self, jobs: Sequence[Job]) -> None:
        """Say whose images these are, how many of the runs are recorded, and how long the others may take."""
        print(self.images.label)
        print(plans.forecast.outlook(jobs, self.images.fingerprint, self.store))

    def runs(
        self, configs: Sequence[RunConfig], probes: Callable[[RunConfig], Sequence] | Sequence = ()
    ) -> list[RunRecord]:
        """The records of these runs, in their order; what is missing is trained. As ``training.run.get_runs``."""
        return get_runs(configs, self.images, self.device, self.store, probes=probes)

    def sweep(self, sweep: plans.sweeps.Sweep, span: int | None = None) -> Ranked:
        """Train a sweep's runs, rank its variants, show and keep the table and the figure.

        Args:
            span: draw the training curves, averaged over so many steps, and not a dot for every run.
        """
        runs = self.runs(sweep.configs)
        found = ranking.rank(sweep, runs)
        display(self.table(ranking.table(found), f"{sweep.name}_table", f"{sweep.title}.", runs))
        drawn = figures.sweeps.sweep_curves(found, span, compare.smooth) if span else figures.sweeps.sweep_dots(found)
        self.figure(drawn, sweep.name, f"{sweep.title}.", runs)
        return found

    def figure(
        self, figure: Figure, name: str, caption: str, runs: Sequence = (), data=None, private: bool = False
    ) -> None:
        """Keep a figure with what it is made of. As ``figures.save``; ``data``: other images than the page's."""
        figures.save(figure, name, caption, data or self.images, self.profile, runs, private)

    def table(self, rows: Sequence[Mapping], name: str, caption: str, runs: Sequence = (), data=None):
        """Keep a table with what it is made of, and return it to be shown. As ``figures.save_table``."""
        return figures.save_table(rows, name, caption, data or self.images, self.profile, runs)
