"""Reading a sweep: what each variant reached, and which are tied.

Records enter with ``config``, ``epochs`` and ``provenance``. Ranks are decided here, by code: a variant whose paired
difference from the best has an interval that includes zero is undecided; tied means equal values. What is at chance is
not ranked, and a seed at chance enters no mean.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..intervals import Paired, paired
from ..words import accuracy_text, difference_text

CHANCE = 0.13  # accuracy up to which a network counts as guessing among ten classes
EQUAL_LENGTH = 0.2  # share by which a training may be shorter or longer than a source's and still be compared with it
AHEAD = ("best", "tied", "undecided")  # verdicts of the variants that nothing puts behind another


class MissingVariantError(KeyError):
    """A sweep has no such variant, or it is not recorded."""


@dataclass(frozen=True)
class Outcome:
    """What one variant of a sweep reached.

    Attributes:
        variant: its values, one per factor.
        runs: its records, one per seed.
        scores: accuracy on the validation split at the end, one per run, 0 to 1; NaN where the run diverged.
        behind: paired difference from the best variant, in points, over the seeds at which both train; None for the
            best itself, at chance, or where a run diverged.
        verdict: ``best``, ``tied`` (equal to it in every seed, or the same algorithm written twice and not behind),
            ``behind``, ``undecided`` (the interval includes zero), ``at chance``, ``diverged …``, or ``lower, one
            seed``, which decides nothing.
    """

    variant: tuple[str, ...]
    runs: tuple
    scores: tuple[float, ...]
    behind: Paired | None
    verdict: str

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds that train; NaN where one diverged."""
        return _mean(self.scores)

    @property
    def stuck(self) -> tuple[bool, ...]:
        """Which of the seeds are at chance."""
        return tuple(score <= CHANCE for score in self.scores)


def _mean(scores: Sequence[float]) -> float:
    """Mean over the seeds above chance, or over all where there are none."""
    return float(np.mean([score for score in scores if not score <= CHANCE] or scores))


def accuracy(run, part: str = "validation") -> float:
    """Accuracy at the end of a run, 0 to 1; NaN where it diverged or did not look at this part."""
    if run.diverged_at is not None or not run.epochs:
        return float("nan")
    return run.epochs[-1].get(f"{part}_accuracy", float("nan"))


def epochs_trained(run) -> float:
    """Passes over the training images, as far as the run came."""
    return run.epochs[-1]["epoch"] if run.epochs else 0.0


def machine(run) -> str:
    """What a time of this run holds for: its GPU, or its processor and the number of threads."""
    made = run.provenance["machine"]
    threads = made["threads"]
    return made.get("gpu") or f"{made['cpu']}, {threads} thread{'s' * (threads > 1)}"


def seconds_per_epoch(runs: Sequence, among: Sequence = ()) -> dict[str, float]:
    """Training time of a pass over the training images, evaluation left out: ``machine`` → seconds.

    An upper bound, the least over all runs that do the same work on the same machine with as many threads: whatever
    else runs there only slows a run down. Runs that went from one machine to another are left out.

    Args:
        runs: those of one variant, one per seed; among: other runs, of which those with the same work count as well.
    """
    known = [*runs, *(run for run in among if runs and _work(run) == _work(runs[0]))]
    found: dict[str, float] = {}
    for run in known:
        if run.epochs and not run.provenance.get("earlier_machines"):
            seconds = float(run.seconds_per_step * run.epochs[-1]["step"] / run.epochs[-1]["epoch"])
            found[machine(run)] = min(seconds, found.get(machine(run), seconds))
    return dict(sorted(found.items()))


def _work(run) -> tuple:
    """What a step's time depends on: initial weights, seed and rate do not enter."""
    config = run.config
    built = {name: value for name, value in config.model_args.items() if name not in ("init", "init_scale")}
    settings = (config.model, built, config.optimizer, config.batch_size, config.loss, config.augmentation)
    return *map(repr, settings), run.provenance["precision"]


@dataclass(frozen=True)
class Ranked:
    """The outcomes of a sweep, one per variant, in its order; title and factors are the sweep's."""

    title: str
    factors: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __getitem__(self, variant: str | tuple[str, ...]) -> Outcome:
        """The outcome of a variant, named by its value or by both of its values.

        Raises:
            MissingVariantError: the sweep has no such variant.
        """
        found = self.get(variant)
        if found is None:
            known = ", ".join(str(outcome.variant) for outcome in self.outcomes)
            raise MissingVariantError(f"{self.title} has no {variant}; it has {known}.")
        return found

    def get(self, variant: str | tuple[str, ...]) -> Outcome | None:
        """The outcome of a variant; None where the sweep has none of this name."""
        wanted = variant if isinstance(variant, tuple) else (variant,)
        return next((outcome for outcome in self.outcomes if outcome.variant == wanted), None)

    def gap(self, before: str | tuple[str, ...], after: str | tuple[str, ...]) -> Paired | None:
        """Paired difference of two variants in points, over the seeds at which both train; None without such a seed."""
        return points_behind(self[before].scores, self[after].scores)

    @property
    def runs(self) -> list:
        """All runs, variant by variant."""
        return [run for outcome in self.outcomes for run in outcome.runs]

    @property
    def best(self) -> Outcome | None:
        """The variant with the highest mean; None where none trained."""
        return next((outcome for outcome in self.outcomes if outcome.verdict == "best"), None)

    def among(self, variants: Sequence[str]) -> "Ranked":
        """Some variants of a sweep with one factor, ranked again without the others."""
        return Ranked(self.title, self.factors, judged({self[name].variant: self[name].runs for name in variants}))

    def where(self, factor: str, value: str) -> "Ranked":
        """The part of a crossed sweep in which one factor has this value, ranked again."""
        fixed = self.factors.index(factor)
        found = {o.variant[1 - fixed]: o.runs for o in self.outcomes if o.variant[fixed] == value}
        rest = (self.factors[1 - fixed],)
        return Ranked(f"{self.title}, {value}", rest, judged({(name,): runs for name, runs in found.items()}))


def rank(sweep, runs: Sequence) -> Ranked:
    """Judge the variants of a ``plans.sweeps.Sweep`` by validation accuracy; runs: of ``sweep.configs``, in order."""
    every = iter(runs)
    found = {variant: tuple(itertools.islice(every, len(configs))) for variant, configs in sweep.variants.items()}
    return Ranked(sweep.title, sweep.factors, judged(found))


def reached(found: Mapping[str, Ranked], sweep: str, *variant: str) -> Outcome | None:
    """The outcome of a variant of one of several sweeps; None where the sweep or the variant was not trained."""
    return found[sweep].get(variant) if sweep in found else None


def runs_of(found: Mapping[str, Ranked], sweep: str, *variant: str) -> tuple:
    """The records of a variant of one of several sweeps, one per seed; empty where it was not trained."""
    outcome = reached(found, sweep, *variant)
    return outcome.runs if outcome else ()


def part(found: Mapping[str, Ranked], sweep: str, factor: str, value: str) -> Ranked | None:
    """The part of a sweep in which a factor has this value; None where it was not trained or is not crossed so."""
    known = sweep in found and factor in found[sweep].factors
    return found[sweep].where(factor, value) if known else None


def judged(found: Mapping[tuple[str, ...], Sequence]) -> tuple[Outcome, ...]:
    """Outcomes of variant → records, one per seed and in the same order of seeds.

    The best has the highest mean over its seeds that train, among the variants of which every seed trains where there
    are any.
    """
    scores = {variant: tuple(accuracy(run) for run in mine) for variant, mine in found.items()}
    whole = {variant: values for variant, values in scores.items() if np.isfinite(values).all()}
    able = {variant: values for variant, values in whole.items() if np.mean(values) > CHANCE}
    sure = {variant: values for variant, values in able.items() if min(values) > CHANCE}
    best = max(sure or able, key=lambda variant: _mean(able[variant]), default=None)
    result = []
    for variant, mine in found.items():
        behind = points_behind(able[best], able[variant]) if variant in able and variant != best else None
        verdict = _verdict(mine, scores[variant], variant == best, behind, best is not None and _twins(best, variant))
        result.append(Outcome(variant, tuple(mine), scores[variant], behind, verdict))
    return tuple(result)


def points_behind(best: Sequence[float], mine: Sequence[float]) -> Paired | None:
    """Paired difference in points over the seeds at which both are above chance; None where there is no such seed."""
    pairs = [pair for pair in zip(best, mine, strict=True) if all(score > CHANCE for score in pair)]
    return paired(*(100 * np.array(side) for side in zip(*pairs, strict=True))) if pairs else None


def _twins(variant: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two variants are one algorithm, the course's and torch's: between them, rounding alone decides."""
    names = {name.removesuffix(" (course)").removesuffix(" (torch)") for name in (variant[0], other[0])}
    return len(names) == 1 and variant[0] != other[0]


def _verdict(runs: Sequence, scores: Sequence[float], is_best: bool, behind: Paired | None, twin: bool) -> str:
    bad = [run.diverged_at for run in runs if run.diverged_at is not None]
    if bad:
        which = "" if len(bad) == len(runs) else f", {len(bad)} of {len(runs)} seeds"
        return f"diverged at step {min(bad)}{which}"
    if np.mean(scores) <= CHANCE:
        return "at chance"
    if is_best:
        return "best"
    if behind is None:
        return "undecided"
    if not behind.values.any() or (twin and not behind.decided):
        return "tied"
    if behind.interval is None:
        return "lower, one seed"
    return "behind" if behind.decided and behind.mean < 0 else "undecided"


def fails(outcome: Outcome) -> bool:
    """Whether a variant diverged or is at chance."""
    return outcome.verdict.startswith(("at chance", "diverged"))


def table(found: Ranked) -> list[dict[str, str]]:
    """One row per variant: accuracy of every seed, the difference from the best with its interval, the verdict, times.

    A column of times for each machine and thread count.
    """
    rows, every = [], found.runs
    seconds = [seconds_per_epoch(outcome.runs, every) for outcome in found]
    machines = sorted({name for each in seconds for name in each})
    for outcome, each in zip(found, seconds, strict=True):
        row = dict(zip(found.factors, outcome.variant, strict=True)) | {"seeds": str(len(outcome.runs))}
        row["validation accuracy (%)"] = accuracy_text(outcome.scores, outcome.stuck)
        if any(run.config.test for run in every):
            tested = [accuracy(run, "test") for run in outcome.runs]
            row["test accuracy (%)"] = accuracy_text(tested, outcome.stuck)
        row |= {"from the best (points)": difference_text(outcome.behind), "verdict": outcome.verdict}
        for name in machines:
            row[f"s per epoch, at most ({name})"] = f"{each[name]:.1f}" if name in each else "–"
        rows.append(row)
    return rows


def in_words(found: Ranked) -> str:
    """One sentence: the best, what is tied with it, what failed."""
    named = {word: [" · ".join(o.variant) for o in found if o.verdict.startswith(word)] for word in _WORDS}
    best = found.best
    if best is None:
        return f"{found.title}: no variant is above chance."
    n, scores = len(best.runs), accuracy_text(best.scores, best.stuck)
    text = f"{found.title}: {' · '.join(best.variant)} is best with {scores} % on validation"
    text += f" after {epochs_trained(best.runs[0]):.1f} epochs, n = {n}"
    if n == 1:
        text += " (one seed: the order may be luck)"
    for word, said in _WORDS.items():
        if named[word]:
            text += f"; {said}: {', '.join(named[word])}"
    return text + "."


_WORDS = {"tied": "tied with it", "undecided": "undecided against it", "at chance": "at chance", "diverged": "diverged"}


def rounding_floor(found: Ranked) -> str:
    """What rounding alone did: the gap, in points, between the course's and torch's version of one algorithm.

    Both start from the same weights and see the same batches, so no smaller gap between other rows means anything.
    Empty where the sweep has no such pair that ended.
    """
    whole = {o.variant[0]: np.array(o.scores) for o in found if np.isfinite(o.scores).all()}
    names = [name.removesuffix(" (torch)") for name in whole if name.endswith(" (torch)")]
    known = [name for name in names if f"{name} (course)" in whole]
    pairs = {name: 100 * np.abs(whole[f"{name} (course)"] - whole[f"{name} (torch)"]) for name in known}
    if not pairs:
        return ""
    each = "; ".join(f"{name} {', '.join(f'{gap:.1f}' for gap in gaps)}" for name, gaps in pairs.items())
    largest = max(gaps.max() for gaps in pairs.values())
    return (
        f"The two versions of an algorithm end apart by (points, each seed) {each}. "
        f"So between other rows a gap of up to {largest:.1f} points in one seed says nothing."
    )
