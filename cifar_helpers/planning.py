"""What every notebook trains: one function each, called by the notebook and by the plan of a whole report.

Nothing here imports torch, so ``report --plan`` prints at once on a login node.
"""

import contextlib
import importlib.metadata
import inspect
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import experiments, probes, recipes, studies, sweeps
from .env import CourseError, figures_dir, read_json
from .probes import ProbeConfig
from .record import RunConfig, RunRecord, Store
from .upkeep import failure

Reader = Callable[[RunConfig], RunRecord | None]
MUON = (2, 9)  # the first torch that has it
SCREEN = 20  # runs; a longer plan's sums are said again at its end


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
        """Read what ``to_json`` gave.

        Raises:
            CourseError: something else.
        """
        try:
            measured = tuple(ProbeConfig(**each) for each in values["probes"])
            return cls(RunConfig.from_json(json.dumps(values["config"])), measured, tuple(values["notebooks"]))
        except (KeyError, TypeError) as error:
            raise CourseError(f"Not a run of a plan: {error!r}.") from error


# --- One function per notebook -------------------------------------------------------------------------------------


def simple_net(profile: str, seed: int = 0) -> list[Job]:
    """02: every sweep over small networks."""
    makes = (sweeps.nll_identity, sweeps.losses_and_optimizers, sweeps.activations, sweeps.structure, sweeps.filters)
    makes += (sweeps.lenet_changes, sweeps.lenet_long, sweeps.initialisations, sweeps.bn_at_high_rate, sweeps.rates)
    makes += (sweeps.l2, sweeps.penalties, sweeps.convnet_lengths, sweeps.batch_sizes, sweeps.dropout, sweeps.high_rate)
    own = sweeps.own_optimizers(profile, seed, muon=has_muon())
    return _jobs(config for sweep in (own, *(make(profile, seed) for make in makes)) for config in sweep.configs)


def resnet_vgg(profile: str, seed: int = 0, fast: bool = False, read: Reader = lambda config: None) -> list[Job]:
    """03: large networks, the greedy tuning as far as its choices are known, and the two recipes.

    Args:
        fast: with the fast recipe.
        read: config → record; what the greedy tuning trains next depends on it.
    """
    makes = (sweeps.source_001, sweeps.resnets, sweeps.own_on_vgg)
    configs = [config for make in makes for config in make(profile, seed).configs]
    configs += recipes.greedy_so_far(read, profile, seed)
    if fast or profile == "smoke":
        configs += [*recipes.fast(profile, seed, seeds=1), *recipes.fast(profile, seed, split="all")]
    if profile in ("smoke", "full"):
        configs += [recipes.best(profile, seed, split) for split in ("train", "all")]
    return _jobs(configs)


def bn_comparison(profile: str, seed: int = 0, n_items: int | None = None) -> list[Job]:
    """04: the sweep over rates, the rest of the VGG-A family, hard settings."""
    rest = experiments.bn_family(profile, seed, n_items=n_items)
    rest += experiments.bn_hard_settings(profile, seed, n_items=n_items)
    return _swept(profile, seed, n_items=n_items) + _jobs(rest)


def loss_landscape(profile: str, seed: int = 0, rates: Sequence[float] | None = None) -> list[Job]:
    """05: the sweep over rates at two widths, and the runs along which the direct probe is taken."""
    narrow = [Job(config) for config in experiments.narrow_sweep(profile, seed)]
    return _swept(profile, seed, rates=rates) + _direct(profile, seed) + narrow


def gradient_predictiveness(profile: str, seed: int = 0) -> list[Job]:
    """06: as 05."""
    return _swept(profile, seed) + _direct(profile, seed)


def beta_smoothness(profile: str, seed: int = 0) -> list[Job]:
    """07: as 05."""
    return _swept(profile, seed) + _direct(profile, seed)


def insight(profile: str, seed: int = 0) -> list[Job]:
    """08: the two networks it looks into, and LeNet-5 under each penalty."""
    penalised = [configs[0] for configs in sweeps.penalties(profile, seed).variants.values()]
    return _jobs([*studies.looked_into(profile, seed).values(), *penalised])


def autograd(profile: str, seed: int = 0) -> list[Job]:
    """09: VGG-A + BN under the hand-written Adam and torch's."""
    variants = sweeps.own_on_vgg(profile, seed).variants
    return _jobs(config for name in ("Adam (course)", "Adam (torch)") for config in variants[(name,)])


def why_batchnorm(profile: str, seed: int = 0) -> list[Job]:
    """10: the norms and their controls, weight decay, batch sizes, the map of rates and scales."""
    configs = [*studies.controls(profile, seed).configs, *studies.weight_decay(profile, seed).values()]
    configs += [config for mine in studies.batch_sizes(profile, seed).values() for config in mine]
    return _jobs([*configs, *studies.tolerance_map(profile, seed).values()])


NOTEBOOKS: dict[str, Callable[..., list[Job]]] = {
    "02_simple_net": simple_net,
    "03_resnet_vgg": resnet_vgg,
    "04_bn_comparison": bn_comparison,
    "05_loss_landscape": loss_landscape,
    "06_gradient_predictiveness": gradient_predictiveness,
    "07_beta_smoothness": beta_smoothness,
    "08_insight": insight,
    "09_autograd": autograd,
    "10_why_batchnorm": why_batchnorm,
}


def has_muon() -> bool:
    """Whether the installed torch has ``torch.optim.Muon``, by its version."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
        return tuple(int(part) for part in importlib.metadata.version("torch").split(".")[:2]) >= MUON
    return False


def _jobs(configs: Iterable[RunConfig]) -> list[Job]:
    return [Job(config) for config in dict.fromkeys(configs)]


def _swept(profile: str, seed: int, **changes) -> list[Job]:
    measured = experiments.sweep_probes(profile, seed)
    return [Job(config, tuple(measured(config))) for config in experiments.bn_sweep(profile, seed, **changes)]


def _direct(profile: str, seed: int) -> list[Job]:
    measured, narrow = tuple(experiments.direct_probes(profile)), tuple(experiments.narrow_probes(profile))
    return [
        *(Job(config, measured) for config in experiments.direct_runs(profile, seed)),
        *(Job(config, narrow) for config in experiments.narrow_runs(profile, seed)),
    ]


# --- The plan of several notebooks ---------------------------------------------------------------------------------


def plan(notebooks: Sequence[str], parameters: Mapping[str, object], read: Reader = lambda config: None) -> list[Job]:
    """The runs that these notebooks need, each once, with every probe that any of them wants.

    Args:
        notebooks: stems, such as ``04_bn_comparison``; those that train nothing are left out.
        parameters: ``profile`` and whatever else a notebook's function takes; the rest is ignored.
        read: config → record, for runs that depend on others.
    """
    merged: dict[RunConfig, Job] = {}
    for name in notebooks:
        declare = NOTEBOOKS.get(name)
        known = inspect.signature(declare).parameters if declare else {}
        given = {n: value for n, value in {**parameters, "read": read}.items() if n in known}
        for job in declare(**given) if declare else ():
            seen = merged.get(job.config, Job(job.config))
            wanted = tuple(dict.fromkeys(seen.probes + job.probes))
            merged[job.config] = Job(job.config, wanted, tuple(dict.fromkeys((*seen.notebooks, name[:2]))))
    return list(merged.values())


def complete(record: RunRecord, job: Job) -> bool:
    """Whether a record has every probe that the plan wants."""
    return len(probes.read_all(record.folder, job.probes)) == len(set(job.probes))


def state(job: Job, fingerprint: str, store: Store) -> str:
    """How far a run is.

    Returns:
        ``recorded``, ``training``, ``probes missing``, ``failed``, ``unfinished`` (a checkpoint lies there) or
        ``missing``.
    """
    record = store.get(job.config, fingerprint)
    if record and complete(record, job):
        return "recorded"
    if store.is_held(job.config.key(fingerprint)):
        return "training"
    if record:
        return "probes missing"
    if failure(store, job.config, fingerprint):
        return "failed"
    return "unfinished" if store.checkpoint_path(job.config, fingerprint).exists() else "missing"


def outlook(jobs: Sequence[Job], fingerprint: str, store: Store) -> str:
    """One line for the top of a notebook: how many of its runs are recorded, and how long the others may take."""
    left = [job for job in jobs if state(job, fingerprint, store) != "recorded"]
    line = f"{len(jobs)} training runs, {len(jobs) - len(left)} of them recorded"
    if not left:
        return f"{line}: nothing is left to train."
    found = Speeds(store)
    known = {card: [found.seconds(job, card) for job in left] for card in found.cards}
    known = {card: sum(times) / 60 for card, times in known.items() if None not in times}
    took = ", ".join(f"{minutes:.0f} min on {card}" for card, minutes in known.items())
    return f"{line}; the other {len(left)}: {f'about {took}' if took else 'no time known yet'}."


# --- How long it will take -----------------------------------------------------------------------------------------


class Speeds:
    """Seconds per step of the runs recorded here or published, by device and kind of run.

    Args:
        store: whose records are looked at, besides the published ones.
    """

    def __init__(self, store: Store):
        self.known: dict[tuple, list[float]] = {}
        cards: dict[str, int] = {}
        seen: set[str] = set()
        for root in (store.root, figures_dir() / "records"):
            for path in sorted(root.glob("*/provenance.json")):
                if path.parent.name in seen:
                    continue
                seen.add(path.parent.name)
                with contextlib.suppress(CourseError, OSError, KeyError, TypeError, ValueError):
                    card = self._add(path.parent)
                    cards[card] = cards.get(card, 0) + 1
        self.cards = sorted(cards, key=lambda card: -cards[card])
        self.gpus = [card for card in self.cards if "thread" not in card]

    def _add(self, folder: Path) -> str:
        made = read_json(folder / "provenance.json")
        config = RunConfig.from_json((folder / "config.json").read_text(encoding="utf-8"))
        steps = config.steps if made["diverged_at"] is None else made["diverged_at"] + 1
        machine = made["machine"]
        card = machine.get("gpu") or f"{machine['cpu']}, {machine['threads']} thread{'s' * (machine['threads'] > 1)}"
        images = steps * config.batch_size
        for kind in _kinds(config):
            self.known.setdefault((card, kind), []).append(made["wall_seconds"] / images)
        return card

    def seconds(self, job: Job, card: str) -> float | None:
        """Seconds that a run will take on a device, as the most similar recorded ones took; None without any."""
        images = job.config.steps * job.config.batch_size
        for kind in _kinds(job.config):
            if (card, kind) in self.known:
                return images * statistics.median(self.known[card, kind])
        return None


def _kinds(config: RunConfig) -> list[tuple]:
    """What a run's time depends on, the most telling first: the whole config but its seed … the network alone."""
    arguments = json.dumps({n: v for n, v in config.model_args.items() if n not in ("init", "init_scale")})
    network = (config.model, arguments)
    usual = (*network, config.optimizer, config.batch_size, config.gradients, config.steps)
    return [usual, (*network, config.batch_size, config.gradients), (*network, config.batch_size), network]


# --- Showing it ----------------------------------------------------------------------------------------------------


def lines(
    jobs: Sequence[Job], fingerprint: str | None, store: Store, notes: Sequence[str] = (), gpu: bool = False
) -> list[str]:
    """The plan as text: sums and the minutes left on every known device, per notebook, then every run with its state.

    A run that several notebooks share counts for the first of them. Where the runs fill more than a screen, the sums
    are the last lines too.

    Args:
        fingerprint: of the data; None where it has not been read yet, so that nothing is known to be recorded.
        notes: lines to stand below the sums.
        gpu: whether it is to be trained on one, so that a line says where no time on a GPU is known.
    """
    found = Speeds(store)
    states = [state(job, fingerprint, store) if fingerprint else "missing" for job in jobs]
    names = {card: chr(ord("A") + i) for i, card in enumerate(_shown(found))}
    times = {card: [found.seconds(job, card) for job in jobs] for card in names}
    left = [i for i, s in enumerate(states) if s != "recorded"]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    shown = [f"{len(jobs)} runs: {counts}." if jobs else "Nothing to train."]
    for card, name in names.items():
        shown.append(f"  {name}: {card}: {_sum([times[card][i] for i in left])} left for one worker")
    if gpu and left and not found.gpus:
        shown.append(
            "  No run is recorded on a GPU, so its minutes are unknown. Train a few there first (--only 09): the plan "
            "then counts with what they took."
        )
    elif not names:
        shown.append("  No run is recorded on any device yet, so no time is predicted.")
    head = "".join(f"{f'min on {name}':>12}" for name in names.values())
    sums = [*shown, *notes]
    shown = [*sums, "", f"{'notebook':9} {'runs':>5} {'recorded':>9}{head}"]
    first = [job.notebooks[0] if job.notebooks else "" for job in jobs]
    for number in dict.fromkeys(first):
        mine = [i for i, name in enumerate(first) if name == number]
        minutes = "".join(f"{_sum([times[c][i] for i in mine if i in left], short=True):>12}" for c in names)
        shown.append(f"{number:9} {len(mine):5} {sum(states[i] == 'recorded' for i in mine):9}{minutes}")
    shown += ["", f"{'state':14}  {'notebooks':11} {'steps':>7}{head}  run"]
    for i, job in enumerate(jobs):
        minutes = "".join(f"{_sum([times[card][i]], short=True):>12}" for card in names)
        key = f" [{job.config.key(fingerprint)[:6]}]" if fingerprint else ""
        shown.append(
            f"{states[i]:14}  {' '.join(job.notebooks):11} {job.config.steps:7}{minutes}  {job.config.describe()}{key}"
        )
    return [*shown, "", *sums] if len(jobs) > SCREEN else shown


def _shown(found: Speeds) -> list[str]:
    """At most four devices: GPUs first, then those with most runs."""
    return sorted(found.cards, key=lambda card: card not in found.gpus)[:4]


def _sum(seconds: Sequence[float | None], short: bool = False) -> str:
    """A sum of times in minutes, with what is not known of it."""
    known = [each for each in seconds if each is not None]
    minutes = sum(known) / 60
    text = f"{minutes:,.1f}" if minutes < 10 else f"{minutes:,.0f}"
    if len(known) == len(seconds):
        return text if short else f"{text} min"
    if short:
        return f"≥ {text}" if known else "–"
    return f"at least {text} min ({len(seconds) - len(known)} runs of no known time)"
