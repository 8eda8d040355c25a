"""What every notebook trains: one function each, called by the notebook and by the plan of a whole report.

Nothing here imports torch, so ``report --plan`` prints at once on a login node.
"""

import contextlib
import importlib.metadata
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..env import CourseError, number_of
from ..training import probes
from ..training.config import RunConfig
from ..training.probes import ProbeConfig
from ..training.store import RunRecord, Store, failure
from . import batchnorm, landscape, recipes, sweeps
from .profiles import only_shows

Reader = Callable[[RunConfig], RunRecord | None]
MUON = (2, 9)  # the first torch that has it


@dataclass(frozen=True)
class Job:
    """One training run that a report needs, once, however many notebooks share it.

    Attributes:
        config: the run.
        probes: what is measured along it.
        notebooks: numbers of those that need it.
    """

    config: RunConfig
    probes: tuple[ProbeConfig, ...] = ()
    notebooks: tuple[str, ...] = ()

    def to_json(self) -> dict:
        """JSON-ready."""
        measured = [json.loads(probe.to_json()) for probe in self.probes]
        return {"config": json.loads(self.config.to_json()), "probes": measured, "notebooks": list(self.notebooks)}

    @classmethod
    def from_json(cls, values: Mapping) -> "Job":
        """Read what ``to_json`` gave; ``CourseError`` for anything else."""
        try:
            measured = tuple(ProbeConfig(**each) for each in values["probes"])
            return cls(RunConfig.from_json(json.dumps(values["config"])), measured, tuple(values["notebooks"]))
        except (KeyError, TypeError) as error:
            raise CourseError(f"Not a run of a plan: {error!r}.") from error


# --- One function per notebook -------------------------------------------------------------------------------------


def simple_net(profile: str, seed: int = 0) -> list[Job]:
    """02: the sweeps over small networks that answer its questions."""
    makes = (sweeps.activations, sweeps.losses_and_optimizers, sweeps.initialisations)
    makes += (sweeps.lenet_changes, sweeps.lenet_long, sweeps.batch_sizes, sweeps.penalties)
    own = sweeps.own_optimizers(profile, seed, muon=has_muon())
    return _jobs(config for sweep in (own, *(make(profile, seed) for make in makes)) for config in sweep.configs)


def small_sweeps(profile: str, seed: int = 0) -> list[Job]:
    """02b: the other sweeps over small networks, and two of 02 whose weights and mistakes it looks at."""
    makes = (sweeps.nll_identity, sweeps.structure, sweeps.filters, sweeps.bn_at_high_rate, sweeps.rates, sweeps.l2)
    makes += (sweeps.penalties, sweeps.convnet_lengths, sweeps.dropout, sweeps.high_rate, sweeps.lenet_long)
    return _jobs(config for make in makes for config in make(profile, seed).configs)


def resnet_vgg(profile: str, seed: int = 0, fast: bool = False, read: Reader = lambda config: None) -> list[Job]:
    """03: large networks, the greedy tuning as far as its choices are known, and the two recipes.

    Args:
        fast: with the fast recipe.
        read: config → record; what the greedy tuning trains next depends on it.
    """
    makes = (sweeps.resnet_and_vgg, sweeps.resnets, sweeps.own_on_vgg)
    configs = [config for make in makes for config in make(profile, seed).configs]
    configs += recipes.greedy_so_far(read, profile, seed)
    if fast or profile == "smoke":
        configs += [*recipes.fast(profile, seed, seeds=1), *recipes.fast(profile, seed, split="all")]
    if profile in ("smoke", "full"):
        configs += [recipes.best(profile, seed, split) for split in ("train", "all")]
    return _jobs(configs)


def bn_comparison(profile: str, seed: int = 0, n_items: int | None = None) -> list[Job]:
    """04: the sweep over rates, a long run of narrow networks, the rest of the VGG-A family, hard settings."""
    rest = landscape.narrow_long(profile, seed, n_items) + landscape.bn_family(profile, seed, n_items=n_items)
    rest += landscape.bn_hard_settings(profile, seed, n_items=n_items)
    return _swept(profile, seed, n_items=n_items) + _jobs(rest)


def loss_landscape(profile: str, seed: int = 0, rates: Sequence[float] | None = None) -> list[Job]:
    """05: the sweep over rates at two widths, and the runs along which the direct probe is taken."""
    narrow = [Job(config) for config in landscape.narrow_sweep(profile, seed)]
    return _swept(profile, seed, rates=rates) + _direct(profile, seed) + narrow


def gradient_predictiveness(profile: str, seed: int = 0) -> list[Job]:
    """06: as 05."""
    return _swept(profile, seed) + _direct(profile, seed)


def beta_smoothness(profile: str, seed: int = 0) -> list[Job]:
    """07: as 06."""
    return gradient_predictiveness(profile, seed)


def insight(profile: str, seed: int = 0) -> list[Job]:
    """08: the two networks it looks into, each at another rate too."""
    return _jobs(c for rate in batchnorm.INSIDE_RATES for c in batchnorm.looked_into(profile, seed, rate).values())


def fair(profile: str, seed: int = 0) -> list[Job]:
    """02 where it only shows published runs: two networks stand beside them."""
    return _jobs(sweeps.fair(profile, seed))


def autograd(profile: str, seed: int = 0) -> list[Job]:
    """09: VGG-A + BN under the hand-written Adam and torch's."""
    variants = sweeps.own_on_vgg(profile, seed).variants
    return _jobs(config for name in ("Adam (course)", "Adam (torch)") for config in variants[(name,)])


def why_batchnorm(profile: str, seed: int = 0) -> list[Job]:
    """10: the norms and their controls, weight decay, batch sizes, the map of rates and scales."""
    configs = [*batchnorm.controls(profile, seed).configs, *batchnorm.weight_decay(profile, seed).values()]
    configs += [config for mine in batchnorm.batch_sizes(profile, seed).values() for config in mine]
    return _jobs([*configs, *batchnorm.tolerance_map(profile, seed).values()])


NOTEBOOKS: dict[str, Callable[..., list[Job]]] = {
    "02_simple_net": simple_net,
    "02b_sweeps": small_sweeps,
    "03_resnet_vgg": resnet_vgg,
    "04_bn_comparison": bn_comparison,
    "05_loss_landscape": loss_landscape,
    "06_gradient_predictiveness": gradient_predictiveness,
    "07_beta_smoothness": beta_smoothness,
    "08_insight": insight,
    "09_autograd": autograd,
    "10_why_batchnorm": why_batchnorm,
}
# What is trained of a notebook where the profile only shows its published runs.
TRAINED_BESIDE: dict[str, Callable[..., list[Job]]] = {"02_simple_net": fair}


def has_muon() -> bool:
    """Whether the installed torch has ``torch.optim.Muon``, by its version."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
        return tuple(int(part) for part in importlib.metadata.version("torch").split(".")[:2]) >= MUON
    return False


def _jobs(configs: Iterable[RunConfig]) -> list[Job]:
    return [Job(config) for config in dict.fromkeys(configs)]


def _swept(profile: str, seed: int, **changes) -> list[Job]:
    measured = landscape.sweep_probes(profile, seed)
    return [Job(config, tuple(measured(config))) for config in landscape.bn_sweep(profile, seed, **changes)]


def _direct(profile: str, seed: int) -> list[Job]:
    measured, narrow = tuple(landscape.direct_probes(profile)), tuple(landscape.narrow_probes(profile))
    return [
        *(Job(config, measured) for config in landscape.direct_runs(profile, seed)),
        *(Job(config, narrow) for config in landscape.narrow_runs(profile, seed)),
    ]


# --- The plan of several notebooks ---------------------------------------------------------------------------------


def plan(notebooks: Sequence[str], parameters: Mapping[str, object], read: Reader = lambda config: None) -> list[Job]:
    """The runs that these notebooks need, each once, with every probe that any of them wants.

    Of a notebook that only shows what is published in this profile, only ``TRAINED_BESIDE``.

    Args:
        notebooks: stems, such as ``04_bn_comparison``; those that train nothing are left out.
        parameters: ``profile`` and whatever else a notebook's function takes; the rest is ignored.
        read: config → record, for runs that depend on others.
    """
    merged: dict[RunConfig, Job] = {}
    for name in notebooks:
        declare = (TRAINED_BESIDE if only_shows(parameters["profile"], name) else NOTEBOOKS).get(name)
        if declare is None:
            continue
        known = inspect.signature(declare).parameters
        given = {n: value for n, value in {**parameters, "read": read}.items() if n in known}
        for job in declare(**given):
            seen = merged.get(job.config, Job(job.config))
            wanted = tuple(dict.fromkeys(seen.probes + job.probes))
            merged[job.config] = Job(job.config, wanted, tuple(dict.fromkeys((*seen.notebooks, number_of(name)))))
    return list(merged.values())


def complete(record: RunRecord, job: Job) -> bool:
    """Whether a record has every probe that the plan wants."""
    return len(probes.read_all(record.folder, job.probes)) == len(set(job.probes))


def state(job: Job, fingerprint: str, store: Store) -> str:
    """How far a run is.

    Returns:
        ``recorded``, ``training``, ``probes missing``, ``damaged`` (trained again when its turn comes), ``failed``,
        ``unfinished`` (a checkpoint lies there) or ``missing``.
    """
    record = store.get(job.config, fingerprint)
    if record and complete(record, job):
        return "recorded"
    if store.is_held(job.config.key(fingerprint)):
        return "training"
    if record:
        return "probes missing"
    if (store.root / job.config.folder_name(fingerprint)).is_dir():
        return "damaged"
    if failure(store, job.config, fingerprint):
        return "failed"
    return "unfinished" if store.checkpoint_path(job.config, fingerprint).exists() else "missing"
