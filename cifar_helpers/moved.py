"""Where the rooms of the flat package went: an old import, or a queued job that names one, is told in a sentence."""

import sys
from pathlib import Path

RENAMED = {  # room of the flat package → where what it held is now, for the most part; the others kept their names
    "batch": "cifar_course.cluster.pool",
    "budgets": "cifar_helpers.plans.profiles",
    "charts": "cifar_helpers.figures.sweeps",
    "costs": "cifar_helpers.measure.timing",
    "datafiles": "cifar_helpers.data.files",
    "experiments": "cifar_helpers.plans.landscape",
    "explorers": "cifar_helpers.teach.scenes",
    "gradebook": "cifar_course.hand.grade",
    "grading": "cifar_course.hand.grade",
    "grading_child": "cifar_course.hand.grade",
    "insight": "cifar_helpers.inside.features",
    "landscape": "cifar_helpers.figures.landscape",
    "locate": "cifar_helpers.data.source",
    "losses": "cifar_helpers.training.build",
    "notebooks": "cifar_course.report.execute",
    "planning": "cifar_helpers.plans.jobs",
    "portraits": "cifar_helpers.figures.inside",
    "record": "cifar_helpers.training.store",
    "report": "cifar_course.report",
    "results": "cifar_helpers.sources.networks",
    "sandbox": "cifar_course.hand.grade",
    "stopping": "cifar_helpers.signals",
    "student": "cifar_course.hand",
    "studies": "cifar_helpers.plans.batchnorm",
    "sweeps": "cifar_helpers.plans.sweeps",
    "train": "cifar_helpers.training.loop",
    "upkeep": "cifar_helpers.training.store",
    "views": "cifar_helpers.figures.batchnorm",
}


def place(name: str) -> str | None:
    """Where a room of the flat package is now; None for a name that never was one."""
    course = Path(__file__).resolve().parents[1]
    kept = [path.relative_to(course).with_suffix("") for path in course.glob(f"cifar_*/*/{name}.py")]
    return RENAMED.get(name) or (".".join(kept[0].parts) if kept else None)


class Finder:
    """Asked last for a module that nobody has found."""

    @staticmethod
    def find_spec(fullname: str, path=None, target=None) -> None:
        """Raise ``ImportError`` with what to do where a room of the flat package is asked for."""
        package, _, name = fullname.rpartition(".")
        if package == "cifar_helpers" and (now := place(name)):
            raise ImportError(
                f"{fullname} is now {now}. In a notebook, take the import cell of the course's present one; a job that "
                "is still queued has to be submitted again.",
                name=fullname,
            )


def announce() -> None:
    """Let the interpreter ask ``Finder``, once."""
    if Finder not in sys.meta_path:
        sys.meta_path.append(Finder)
