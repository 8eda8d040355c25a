"""Reading a sweep: what each variant reached, which are tied, and how that compares with a source.

Records enter with ``config``, ``epochs`` and ``provenance``. Ranks and remarks are decided here, by code: variants
whose paired difference from the best has an interval that includes zero are tied with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .compare import Paired, paired
from .sources import REPORTED, beside

CHANCE = 0.13  # accuracy up to which a network counts as guessing among ten classes


@dataclass(frozen=True)
class Outcome:
    """What one variant of a sweep reached.

    Attributes:
        variant: its values, one per factor.
        runs: its records, one per seed.
        scores: accuracy on the validation split at the end, one per run, 0 to 1; NaN where the run diverged.
        behind: paired difference from the best variant, in points; None for the best itself, or where a run diverged.
        verdict: ``best``, ``tied``, ``behind``, ``at chance``, ``diverged …``, or ``lower, one seed``, which decides
            nothing.
    """

    variant: tuple[str, ...]
    runs: tuple
    scores: tuple[float, ...]
    behind: Paired | None
    verdict: str

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds; NaN where one diverged."""
        return float(np.mean(self.scores))


def accuracy(run, part: str = "validation") -> float:
    """Accuracy at the end of a run, 0 to 1; NaN where it diverged or did not look at this part."""
    if run.diverged_at is not None or not run.epochs:
        return float("nan")
    return run.epochs[-1].get(f"{part}_accuracy", float("nan"))


def epochs_trained(run) -> float:
    """Passes over the training images, as far as the run came."""
    return run.epochs[-1]["epoch"] if run.epochs else 0.0


def seconds_per_epoch(runs: Sequence) -> float:
    """Training time of a pass over the training images, evaluation left out; NaN where no run has an end.

    That of the fastest seed: whatever else runs on a machine only slows a run down.
    """
    per_epoch = [run.seconds_per_step * run.epochs[-1]["step"] / run.epochs[-1]["epoch"] for run in runs if run.epochs]
    return float(min(per_epoch)) if per_epoch else float("nan")


@dataclass(frozen=True)
class Ranked:
    """The outcomes of a sweep, in its order.

    Attributes:
        title, factors: the sweep's.
        outcomes: one per variant.
    """

    title: str
    factors: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __getitem__(self, variant: str | tuple[str, ...]) -> Outcome:
        """The outcome of a variant, named by its value or by both of its values.

        Raises:
            KeyError: the sweep has no such variant.
        """
        wanted = variant if isinstance(variant, tuple) else (variant,)
        for outcome in self.outcomes:
            if outcome.variant == wanted:
                return outcome
        raise KeyError(f"{self.title} has no {wanted}; it has {', '.join(str(o.variant) for o in self.outcomes)}.")

    @property
    def best(self) -> Outcome | None:
        """The variant with the highest mean; None where none trained."""
        return next((outcome for outcome in self.outcomes if outcome.verdict == "best"), None)

    def where(self, factor: str, value: str) -> "Ranked":
        """The part of a crossed sweep in which one factor has this value, ranked anew."""
        fixed = self.factors.index(factor)
        found = {o.variant[1 - fixed]: o.runs for o in self.outcomes if o.variant[fixed] == value}
        rest = (self.factors[1 - fixed],)
        return Ranked(f"{self.title}, {value}", rest, judged({(name,): runs for name, runs in found.items()}))


def rank(sweep, runs: Sequence) -> Ranked:
    """Judge the variants of a sweep by validation accuracy.

    Args:
        sweep: a ``sweeps.Sweep``; runs: the records of ``sweep.configs``, in their order.
    """
    found, position = {}, 0
    for variant, configs in sweep.variants.items():
        found[variant] = tuple(runs[position : position + len(configs)])
        position += len(configs)
    return Ranked(sweep.title, sweep.factors, judged(found))


def judged(found: Mapping[tuple[str, ...], Sequence]) -> tuple[Outcome, ...]:
    """Outcomes of variant → records, one per seed and in the same order of seeds."""
    scores = {variant: tuple(accuracy(run) for run in mine) for variant, mine in found.items()}
    whole = {variant: values for variant, values in scores.items() if np.isfinite(values).all()}
    best = max(whole, key=lambda variant: np.mean(whole[variant]), default=None)
    if best is not None and np.mean(whole[best]) <= CHANCE:
        best = None
    result = []
    for variant, mine in found.items():
        behind = None
        if best is not None and variant in whole and variant != best:
            behind = paired([100 * s for s in whole[best]], [100 * s for s in whole[variant]])
        verdict = _verdict(mine, scores[variant], variant == best, behind)
        result.append(Outcome(variant, tuple(mine), scores[variant], behind, verdict))
    return tuple(result)


def _verdict(runs: Sequence, scores: Sequence[float], is_best: bool, behind: Paired | None) -> str:
    bad = [run.diverged_at for run in runs if run.diverged_at is not None]
    if bad:
        which = "" if len(bad) == len(runs) else f", {len(bad)} of {len(runs)} seeds"
        return f"diverged at step {min(bad)}{which}"
    if np.mean(scores) <= CHANCE:
        return "at chance"
    if is_best:
        return "best"
    if behind.interval is None and behind.mean:
        return "lower, one seed"
    return "behind" if behind.decided and behind.mean < 0 else "tied"


def table(found: Ranked) -> list[dict[str, str]]:
    """One row per variant: accuracy of every seed, the difference from the best with its interval, the verdict."""
    rows = []
    for outcome in found:
        row = dict(zip(found.factors, outcome.variant, strict=True))
        row["seeds"] = str(len(outcome.runs))
        row["validation accuracy (%)"] = percent(outcome.scores)
        tested = [accuracy(run, "test") for run in outcome.runs]
        if any(run.config.test for o in found for run in o.runs):
            row["test accuracy (%)"] = percent(tested)
        row["from the best (points)"] = difference_text(outcome.behind)
        row["verdict"] = outcome.verdict
        row["s per epoch"] = f"{seconds_per_epoch(outcome.runs):.1f}" if outcome.runs[0].epochs else "–"
        rows.append(row)
    return rows


def percent(values: Sequence[float]) -> str:
    """Accuracies as text: their mean and, where there are several, every one of them."""
    known = [100 * value for value in values if np.isfinite(value)]
    if not known:
        return "–"
    each = f" ({', '.join(f'{value:.1f}' for value in known)})" if len(known) > 1 else ""
    return f"{np.mean(known):.1f}{each}"


def difference_text(difference: Paired | None, digits: int = 1) -> str:
    """A difference with its 95 % interval where there is one; one digit suits points, nats want three."""
    if difference is None:
        return "–"
    lost = int((~np.isfinite(difference.values)).sum())
    if lost:
        return f"not a number in {lost} of {len(difference.values)} seeds"
    interval = "" if difference.interval is None else " [{:+.{d}f}, {:+.{d}f}]".format(*difference.interval, d=digits)
    return f"{difference.mean:+.{digits}f}{interval}"


def decided_text(difference: Paired) -> str:
    """Whether the seeds decide about a paired difference."""
    if difference.interval is None:
        return "one seed: no interval"
    if not np.isfinite(difference.values).all():
        return "a run diverged: no interval"
    return "decided by our interval" if difference.decided else "undecided: our interval includes no effect"


def in_words(found: Ranked) -> str:
    """One sentence: the best, what is tied with it, what failed."""
    named = {word: [" · ".join(o.variant) for o in found if o.verdict.startswith(word)] for word in _WORDS}
    best = found.best
    if best is None:
        return f"{found.title}: no variant is above chance."
    n = len(best.runs)
    text = f"{found.title}: {' · '.join(best.variant)} is best with {percent(best.scores)} % on validation"
    text += f" after {epochs_trained(best.runs[0]):.1f} epochs, n = {n}"
    if n == 1:
        text += " (one seed: the order may be luck)"
    for word, said in _WORDS.items():
        if named[word]:
            text += f"; {said}: {', '.join(named[word])}"
    return text + "."


_WORDS = {"tied": "within the spread of it", "at chance": "at chance", "diverged": "diverged"}


# --- Beside the sources --------------------------------------------------------------------------------------------


def beside_accuracy(name: str, runs: Sequence) -> dict[str, str]:
    """Row that puts accuracies beside a source's, on the same kind of images, with a remark.

    Where this profile reads no test images, those on validation images stand in.

    Args:
        name: key of ``REPORTED`` whose ``value`` is an accuracy in percent; runs: one record per seed.
    """
    part = REPORTED[name].part if all(run.config.test for run in runs) else "validation"
    values = [accuracy(run, part) for run in runs]
    ours = f"{percent(values)} %" + ("" if part == "test" else " (validation)")
    return _row(name, ours, len(runs), accuracy_remark(REPORTED[name], values, epochs_trained(runs[0])))


def accuracy_remark(reported, values: Sequence[float], epochs: float) -> str:
    """Whether our accuracies (0 to 1) agree with a source's, as far as the seeds can tell, and what differs."""
    if not np.isfinite(values).all():
        return "diverged here"
    ours, n = 100 * np.asarray(values), len(values)
    gap = ours.mean() - reported.value
    length = ""
    if reported.epochs and abs(epochs / reported.epochs - 1) > 0.05:
        length = f"; trained {epochs:.1f} epochs, the source {reported.epochs:g}"
    if n < 2:
        return f"{gap:+.1f} points, one seed: no interval{length}"
    half = stats.t.ppf(0.975, n - 1) * ours.std(ddof=1) / np.sqrt(n)
    if abs(gap) <= half:
        return f"agrees within our interval (± {half:.1f} points){length}"
    return f"disagrees beyond the spread: {gap:+.1f} points (± {half:.1f}){length}"


def beside_order(name: str, found: Ranked, claimed: Sequence[str]) -> dict[str, str]:
    """Row that puts a ranking beside a source's.

    Args:
        found: a sweep with one factor; claimed: variants the source has ahead.
    """
    best = found.best
    if best is None:
        return _row(name, "no variant above chance", len(found.outcomes[0].runs), "cannot be compared")
    ahead = [o.variant[0] for o in found if o.verdict in ("best", "tied")]
    ours = f"best: {best.variant[0]}"
    ties = [variant for variant in ahead if variant != best.variant[0]]
    ours += f"; within the spread: {', '.join(ties)}" if ties else ""
    n = len(best.runs)
    if n < 2:
        remark = "the same in front" if best.variant[0] in claimed else "another in front"
        return _row(name, ours, n, f"{remark}, one seed: may be luck")
    agrees = set(claimed) & set(ahead)
    remark = "not contradicted: a variant it has ahead is best or tied" if agrees else "disagrees beyond the spread"
    return _row(name, ours, n, remark)


def beside_equal(name: str, found: Ranked, claimed: Sequence[str]) -> dict[str, str]:
    """Row for a source that saw no difference between these variants."""
    mine = judged({(value,): found[value].runs for value in claimed})
    ours, n = "; ".join(f"{o.variant[0]} {percent(o.scores)} %" for o in mine), len(mine[0].runs)
    apart = [o.variant[0] for o in mine if o.verdict not in ("best", "tied")]
    if n < 2:
        return _row(name, ours, n, "one seed: no interval")
    remark = f"disagrees beyond the spread: {', '.join(apart)} apart" if apart else "agrees: all within the spread"
    return _row(name, ours, n, remark)


def beside_difference(name: str, before: Outcome, after: Outcome) -> dict[str, str]:
    """Row that puts the paired difference between two variants beside a source's, whose ``value`` is in points."""
    reported = REPORTED[name]
    if not np.isfinite([*before.scores, *after.scores]).all():
        return _row(name, f"{before.verdict} → {after.verdict}", len(after.runs), "cannot be compared")
    difference = paired([100 * s for s in before.scores], [100 * s for s in after.scores])
    ours, n = f"{difference_text(difference)} points", len(after.runs)
    if difference.interval is None:
        return _row(name, ours, n, "one seed: no interval")
    if not difference.decided:
        return _row(name, ours, n, "undecided: our interval includes no effect")
    same = difference.mean * reported.value > 0
    return _row(name, ours, n, "same direction" if same else "disagrees beyond the spread: the other direction")


def beside_text(name: str, ours: str, remark: str = "", n: int = 1) -> dict[str, str]:
    """Row with our result and remark as they are written by the caller from measured values."""
    return _row(name, ours, n, remark)


def _row(name: str, ours: str, n: int, remark: str) -> dict[str, str]:
    return beside([(name, ours)], n, remark)[0]
