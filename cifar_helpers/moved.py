"""Where the rooms of the flat package went: an old import, or a queued job that names one, is told in a sentence."""

import sys

MOVED = {  # room of the flat package → where what it held is now, for the most part
    "attribution": "cifar_helpers.inside.attribution",
    "batch": "cifar_course.cluster.pool",
    "benchmarks": "cifar_course.report.benchmarks",
    "budgets": "cifar_helpers.plans.profiles",
    "build": "cifar_helpers.training.build",
    "charts": "cifar_helpers.figures.sweeps",
    "compare": "cifar_helpers.measure.compare",
    "config": "cifar_helpers.training.config",
    "costs": "cifar_helpers.measure.timing",
    "curvature": "cifar_helpers.inside.curvature",
    "data": "cifar_helpers.data.images",
    "datafiles": "cifar_helpers.data.files",
    "digest": "cifar_course.report.digest",
    "edition": "cifar_course.hand.edition",
    "evidence": "cifar_helpers.measure.evidence",
    "experiments": "cifar_helpers.plans.landscape",
    "explorers": "cifar_helpers.teach.scenes",
    "fast": "cifar_helpers.models.fast",
    "figures": "cifar_helpers.figures.training",
    "gradebook": "cifar_course.hand.grade",
    "grading": "cifar_course.hand.grade",
    "grading_child": "cifar_course.hand.grade",
    "handin": "cifar_course.hand.handin",
    "insight": "cifar_helpers.inside.features",
    "landscape": "cifar_helpers.figures.landscape",
    "layers": "cifar_helpers.models.layers",
    "locate": "cifar_helpers.data.source",
    "losses": "cifar_helpers.training.build",
    "measure": "cifar_helpers.measure.quantities",
    "models": "cifar_helpers.models.classic",
    "norms": "cifar_helpers.models.norms",
    "notebooks": "cifar_course.report.execute",
    "optim": "cifar_helpers.training.optim",
    "planning": "cifar_helpers.plans.jobs",
    "portraits": "cifar_helpers.figures.inside",
    "prober": "cifar_helpers.training.prober",
    "probes": "cifar_helpers.training.probes",
    "quiz": "cifar_helpers.teach.quiz",
    "ranking": "cifar_helpers.measure.ranking",
    "recipes": "cifar_helpers.plans.recipes",
    "record": "cifar_helpers.training.store",
    "replays": "cifar_helpers.teach.replays",
    "report": "cifar_course.report",
    "resnets": "cifar_helpers.models.resnets",
    "results": "cifar_helpers.sources.networks",
    "run": "cifar_helpers.training.run",
    "sandbox": "cifar_course.hand.grade",
    "shift": "cifar_helpers.inside.shift",
    "site": "cifar_course.publish.site",
    "slurm": "cifar_course.cluster.slurm",
    "sources": "cifar_helpers.sources.reported",
    "status": "cifar_course.report.status",
    "stopping": "cifar_helpers.signals",
    "student": "cifar_course.hand",
    "studies": "cifar_helpers.plans.batchnorm",
    "summary": "cifar_course.report.summary",
    "surface": "cifar_helpers.inside.surface",
    "sweeps": "cifar_helpers.plans.sweeps",
    "synthetic": "cifar_helpers.data.synthetic",
    "toys": "cifar_helpers.inside.toys",
    "train": "cifar_helpers.training.loop",
    "upkeep": "cifar_helpers.training.store",
    "views": "cifar_helpers.figures.batchnorm",
    "widgets": "cifar_helpers.teach.widgets",
    "worker": "cifar_course.cluster.worker",
    "checks": "cifar_helpers.teach.checks",
}


def sentence(name: str) -> str:
    """What to do where a room of the flat package is asked for."""
    return (
        f"cifar_helpers.{name} is now {MOVED[name]}. In a notebook, take the import cell of the course's present one; "
        "a job that is still queued has to be submitted again."
    )


class Finder:
    """Asked last for a module that nobody has found."""

    @staticmethod
    def find_spec(fullname: str, path=None, target=None) -> None:
        """Raise ``ImportError`` with the sentence for a room that has moved."""
        package, _, name = fullname.rpartition(".")
        if package == "cifar_helpers" and name in MOVED:
            raise ImportError(sentence(name), name=fullname)


def announce() -> None:
    """Let the interpreter ask ``Finder``, once."""
    if Finder not in sys.meta_path:
        sys.meta_path.append(Finder)
