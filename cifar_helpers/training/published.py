"""Stores that only read; the published records under their own fingerprint, whatever images are at hand."""

import contextlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from ..env import CourseError, read_json
from .config import RunConfig
from .store import DRAWN, RunRecord, Store


class NotPublishedError(CourseError):
    """What was asked for is not among the records, and here nothing is trained or measured."""


class ReadingStore(Store):
    """A store that reads records and makes none: what is not there is an error."""

    trains = False

    def lock(self, config: RunConfig, fingerprint: str, wait: bool = True):
        """``NotPublishedError``: nothing is trained here."""
        raise NotPublishedError(f"{config.describe()} is not recorded with all that this cell needs.")

    def measurement(self, name: str, inputs: dict, compute: Callable[[], dict]) -> dict:
        """A stored measurement; what is measured on drawn points, which are the same everywhere, is computed here.

        What would have to be measured on the images is a ``NotPublishedError``.
        """

        def refuse() -> dict:
            raise NotPublishedError(f"The measurement {name} is not recorded.")

        return super().measurement(name, inputs, compute if inputs.get("data") == DRAWN else refuse)


class PublishedStore(ReadingStore):
    """A store that reads the published records alone and makes none.

    Attributes:
        fingerprint, label: of the images that the records were trained on.

    Raises:
        CourseError: the course folder has no published records.
    """

    def __init__(self):
        super().__init__(published=True)
        first = next(iter(sorted(self.published.glob("*-*/provenance.json"))), None) if self.published else None
        if first is None:
            raise CourseError("The course folder has no figures/records, which profile 'published' shows.")
        made = read_json(first)
        self.fingerprint, self.label = made["data_fingerprint"], made["data_label"]
        self._read: dict[str, RunRecord | None] = {}

    def get(self, config: RunConfig, fingerprint: str = "", discard_damaged: bool = False) -> RunRecord | None:
        """The published record of this run, read once; None where there is none. ``fingerprint`` does not matter."""
        name = config.folder_name(self.fingerprint)
        if name not in self._read:
            self._read[name] = self._read_published(name)
        return self._read[name]


def recorded(configs: Iterable[RunConfig]) -> bool:
    """Whether all of these runs are among the published records."""
    with contextlib.suppress(CourseError):  # there are none at all
        store = PublishedStore()
        return all((store.published / config.folder_name(store.fingerprint)).is_dir() for config in configs)
    return False


def whose(records: list[RunRecord]) -> str:
    """Whose runs these are: images, days, machines, seeds."""
    made = [record.provenance for record in records]
    days = sorted({datetime.fromtimestamp(each["finished_unix"], UTC).date().isoformat() for each in made})
    seeds = ", ".join(map(str, sorted({record.config.seed for record in records})))
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    labels = ", ".join(sorted({each["data_label"] for each in made}))
    cards = ", ".join(sorted({record.card for record in records}))
    return f"{len(records)} runs on {labels}, trained {when} on {cards}, seeds {seeds}"
