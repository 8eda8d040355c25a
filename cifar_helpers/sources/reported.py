"""What four reports and the paper say, so that a table can put this run's number beside theirs: ``reported.toml``."""

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reported:
    """One number or finding of a source.

    Attributes:
        source: number of the source document.
        what: the quantity, with its settings as far as the source gives them.
        reported: the source's value in its own unit.
        value: the same as a number where a remark is to be made by it: an accuracy in percent, a difference in points.
        epochs, steps: what the source trained for, where it says so, in its own unit.
        ours: the sweep and the variant that stand beside it, or the sweep and both variants of a difference; empty
            where ours takes more than that.
        is_accuracy: whether it is the accuracy of one variant.
        best_on_test: whether the source chose the epoch by its accuracy on the test images.
    """

    source: str
    what: str
    reported: str
    value: float | None = None
    epochs: float | None = None
    steps: int | None = None
    ours: tuple[str, ...] = ()
    is_accuracy: bool = False
    best_on_test: bool = False

    @property
    def images(self) -> str:
        """The images that this source's accuracies are of, ``test`` or ``validation``."""
        return "validation" if self.source == "002" else "test"


def _read(entry: dict) -> Reported:
    """A line of the file; an accuracy says its epochs and images."""
    given = entry | {"ours": (*entry.get("ours", ()),)}
    if "accuracy" not in entry:
        return Reported(**given)
    value, best, about = given.pop("accuracy"), given.pop("best", ""), given.pop("about", False)
    length = f"{entry['epochs']:g} epochs" if "epochs" in entry else ""
    given["what"] = ", ".join(
        filter(None, (entry["what"], length, best, "validation images" * (entry["source"] == "002")))
    )
    reported = f"{'≈ ' * about}{value:g} %"
    return Reported(**given, reported=reported, value=value, is_accuracy=True, best_on_test=bool(best))


_known = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
DOCUMENTS: dict[str, str] = _known.pop("documents")
PARTS = {part: tuple(entries) for part, entries in _known.items()}  # part of the course → names, in their order
REPORTED = {name: _read(entry) for entries in _known.values() for name, entry in entries.items()}
