"""How long runs will take, from recorded ones or from timed steps, and the plan as text."""

import contextlib
import functools
import json
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..env import CourseError, read_json
from ..training.config import RunConfig
from ..training.store import Store
from .jobs import Job, state

EVALUATED = 1000, 5000, 10_000  # training, validation and test images of an evaluation
FORWARD = 1 / 3  # of a step's time
SCREEN = 20  # runs; a longer plan's sums are said again at its end


def outlook(jobs: Sequence[Job], fingerprint: str, store: Store) -> str:
    """One line for the top of a notebook: how many of its runs are recorded, and how long the others may take."""
    left = [job for job in jobs if state(job, fingerprint, store) != "recorded"]
    line = f"{len(jobs)} training runs, {len(jobs) - len(left)} of them recorded"
    if not left:
        return f"{line}: nothing is left to train."
    return f"{line}; the other {len(left)}: {usual_minutes(left, store)}."


def usual_minutes(jobs: Sequence[Job], store: Store) -> str:
    """How long these runs take, on every device where runs like each of them are recorded."""
    took = ", ".join(f"{minutes:.0f} min on {card}" for card, minutes in Speeds(store).minutes(jobs).items())
    return f"about {took}" if took else "no time known yet"


# --- How long it will take -----------------------------------------------------------------------------------------


class Speeds:
    """Seconds per step of the runs recorded in this store or published, by device and kind of run."""

    def __init__(self, store: Store):
        self.known: dict[tuple, list[float]] = {}
        published = Store(published=True).published
        timed = dict(_published(published)) if published else {}
        timed |= _timed(store.root)
        for card, kinds, seconds in timed.values():
            for kind in kinds:
                self.known.setdefault((card, kind), []).append(seconds)
        runs = Counter(card for card, _, _ in timed.values())
        self.cards = [card for card, _ in runs.most_common()]
        self.gpus = [card for card in self.cards if "thread" not in card]

    def seconds(self, job: Job, card: str) -> float | None:
        """Seconds that a run will take on a device, as the most similar recorded ones took; None without any."""
        images = job.config.steps * job.config.batch_size
        for kind in _kinds(job.config):
            if (card, kind) in self.known:
                return images * statistics.median(self.known[card, kind])
        return None

    def minutes(self, jobs: Sequence[Job]) -> dict[str, float]:
        """Device → minutes that all these runs will take one after the other; only devices with a time for each."""
        times = {card: [self.seconds(job, card) for job in jobs] for card in self.cards}
        return {card: sum(seconds) / 60 for card, seconds in times.items() if None not in seconds}


def _timed(root: Path) -> dict[str, tuple[str, list[tuple], float]]:
    """Record → its device, the kinds of run that it is, and seconds per image; none for what cannot be read."""
    found = {}
    for path in sorted(root.glob("*/provenance.json")):
        with contextlib.suppress(CourseError, OSError, KeyError, TypeError, ValueError):
            made = read_json(path)
            config = RunConfig.from_json((path.parent / "config.json").read_text(encoding="utf-8"))
            steps = config.steps if made["diverged_at"] is None else made["diverged_at"] + 1
            machine = made["machine"]
            card = machine.get("gpu") or _threads(machine)
            seconds = made["wall_seconds"] / (steps * config.batch_size)
            found[path.parent.name] = card, _kinds(config), seconds
    return found


def _threads(machine: Mapping) -> str:
    return f"{machine['cpu']}, {machine['threads']} thread{'s' * (machine['threads'] > 1)}"


_published = functools.cache(_timed)  # hundreds of records, which no process changes that asks how long a run takes


def _kinds(config: RunConfig) -> list[tuple]:
    """What a run's time depends on, the most telling first: the whole config but its seed … the network alone."""
    arguments = json.dumps({n: v for n, v in config.model_args.items() if n not in ("init", "init_scale")})
    network = (config.model, arguments)
    usual = (*network, config.optimizer, config.batch_size, config.gradients, config.steps)
    return [usual, (*network, config.batch_size, config.gradients), (*network, config.batch_size), network]


# --- From timed steps ----------------------------------------------------------------------------------------------


def kind(config: RunConfig) -> tuple:
    """What the time of one step depends on."""
    return _kinds(config)[2]


def steps_worth(job: Job) -> float:
    """What a run costs, in training steps: its own, its evaluations, and every gradient that its probes take."""
    config = job.config
    train, validation, test = (min(count, config.n_items or count) for count in EVALUATED)
    looks = -(-config.steps // config.eval_every)
    images = looks * (train + min(config.eval_items or validation, validation)) + config.test * test
    worth = config.steps + FORWARD * images / config.batch_size
    for probe in job.probes:
        measured = len(probe.at) or -(-config.steps // probe.every)
        worth += measured * (len(probe.etas) or probe.batches or 1)
    return worth


class Forecast:
    """How long a report takes: said before it begins, corrected by every run that ends.

    Args:
        jobs: what is left to train.
        seconds: of one step on this machine, by ``kind``; one that could not be timed counts as the mean of the others.
        workers: how many train at a time.
        notebooks: minutes of executing the notebooks afterwards.
    """

    def __init__(self, jobs: Sequence[Job], seconds: Mapping[tuple, float], workers: int, notebooks: float):
        usual = statistics.mean(seconds.values()) if seconds else 0.0
        self.expected = {job.config: seconds.get(kind(job.config), usual) * steps_worth(job) for job in jobs}
        self.workers, self.notebooks, self.began = workers, notebooks, time.monotonic()
        self.to_train, self.to_execute = set(self.expected), 1.0  # what is left: runs, and a share of the notebooks
        self.told = self.took = 0.0  # seconds of the runs that have ended: expected, and real
        longest = max(self.expected.values(), default=0)
        self.training = max(longest, sum(self.expected.values()) / workers) / 60
        self.announced = self.training + notebooks  # minutes

    def ended(self, config: RunConfig, seconds: float) -> None:
        """A run has taken so long."""
        self.to_train.discard(config)
        self.told, self.took = self.told + self.expected.get(config, 0.0), self.took + seconds

    def left(self) -> float:
        """Minutes that are left of the whole, as fast as it has been going."""
        pace = self.took / self.told if self.told else 1.0
        training = max(0.0, self.training * pace - self.elapsed()) if self.to_train else 0.0
        return training + self.notebooks * self.to_execute

    def left_in_words(self) -> str:
        return f"{max(0.0, self.left()):.0f} min left of the whole"

    def elapsed(self) -> float:
        """Minutes since it was made."""
        return (time.monotonic() - self.began) / 60


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
    four = sorted(found.cards, key=lambda card: card not in found.gpus)[:4]  # GPUs, then those with most runs
    names = dict(zip(four, "ABCD", strict=False))
    times = {card: [found.seconds(job, card) for job in jobs] for card in names}

    def minutes(indices: Sequence[int]) -> str:
        return "".join(f"{_sum([times[card][i] for i in indices], short=True):>12}" for card in names)

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
        missing = [i for i in mine if i in left]
        shown.append(f"{number:9} {len(mine):5} {len(mine) - len(missing):9}{minutes(missing)}")
    shown += ["", f"{'state':14}  {'notebooks':11} {'steps':>7}{head}  run"]
    for i, job in enumerate(jobs):
        key = f" [{job.config.key(fingerprint)[:6]}]" if fingerprint else ""
        about = f"{states[i]:14}  {' '.join(job.notebooks):11} {job.config.steps:7}"
        shown.append(f"{about}{minutes([i])}  {job.config.describe()}{key}")
    return [*shown, "", *sums] if len(jobs) > SCREEN else shown


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
