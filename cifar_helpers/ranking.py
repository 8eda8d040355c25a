"""Reading a sweep: what each variant reached, which are tied, and how that compares with a source.

Records enter with ``config``, ``epochs`` and ``provenance``. Ranks and remarks are decided here, by code: a variant
whose paired difference from the best has an interval that includes zero is undecided; tied means equal values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .compare import Paired, paired
from .sources import REPORTED, beside

CHANCE = 0.13  # accuracy up to which a network counts as guessing among ten classes
EQUAL_LENGTH = 0.2  # share by which a training may be shorter or longer than a source's and still be compared with it
AHEAD = ("best", "tied", "undecided")  # verdicts of the variants that nothing puts behind another


@dataclass(frozen=True)
class Outcome:
    """What one variant of a sweep reached.

    Attributes:
        variant: its values, one per factor.
        runs: its records, one per seed.
        scores: accuracy on the validation split at the end, one per run, 0 to 1; NaN where the run diverged.
        behind: paired difference from the best variant, in points; None for the best itself, or where a run diverged.
        verdict: ``best``, ``tied`` (equal to it in every seed), ``behind``, ``undecided`` (the interval includes zero),
            ``at chance``, ``diverged …``, or ``lower, one seed``, which decides nothing.
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


def seconds_per_epoch(runs: Sequence, among: Sequence = ()) -> float:
    """Training time of a pass over the training images, evaluation left out; NaN where no run has an end.

    It is an upper bound, the least over all runs that do the same work on the same processor: whatever else runs on a
    machine only slows a run down.

    Args:
        runs: those of one variant, one per seed; among: other runs, of which those with the same work count as well.
    """
    known = [*runs, *(run for run in among if runs and _work(run) == _work(runs[0]))]
    per_epoch = [run.seconds_per_step * run.epochs[-1]["step"] / run.epochs[-1]["epoch"] for run in known if run.epochs]
    return float(min(per_epoch)) if per_epoch else float("nan")


def _work(run) -> tuple:
    """What a step's time depends on: initial weights, seed and rate do not enter."""
    config = run.config
    built = {name: value for name, value in config.model_args.items() if name not in ("init", "init_scale")}
    settings = (config.model, built, config.optimizer, config.batch_size, config.loss, config.augmentation)
    return *map(repr, settings), run.card, run.provenance["precision"]


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
    if not behind.values.any():
        return "tied"
    return "behind" if behind.decided and behind.mean < 0 else "undecided"


def table(found: Ranked) -> list[dict[str, str]]:
    """One row per variant: accuracy of every seed, the difference from the best with its interval, the verdict."""
    rows, every = [], [run for outcome in found for run in outcome.runs]
    for outcome in found:
        row = dict(zip(found.factors, outcome.variant, strict=True))
        row["seeds"] = str(len(outcome.runs))
        row["validation accuracy (%)"] = percent(outcome.scores)
        tested = [accuracy(run, "test") for run in outcome.runs]
        if any(run.config.test for run in every):
            row["test accuracy (%)"] = percent(tested)
        row["from the best (points)"] = difference_text(outcome.behind)
        row["verdict"] = outcome.verdict
        seconds = seconds_per_epoch(outcome.runs, every)
        row["s per epoch, at most"] = f"{seconds:.1f}" if np.isfinite(seconds) else "–"
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
    if not difference.decided:
        return "undecided: our interval includes no effect"
    return f"decided: our interval is {'above' if difference.mean > 0 else 'below'} zero"


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


_WORDS = {"tied": "tied with it", "undecided": "undecided against it", "at chance": "at chance", "diverged": "diverged"}


def rounding_floor(found: Ranked) -> str:
    """What rounding alone did: the gap, in points, between the course's and torch's version of one algorithm.

    Both start from the same weights and see the same batches, so no smaller gap between other rows means anything.
    Empty where the sweep has no such pair that ended.
    """
    pairs, whole = {}, {o.variant[0]: o.scores for o in found if np.isfinite(o.scores).all()}
    for name in whole:
        algorithm = name.removesuffix(" (torch)")
        if algorithm != name and f"{algorithm} (course)" in whole:
            mine = paired(whole[name], whole[f"{algorithm} (course)"])
            pairs[algorithm] = 100 * np.abs(mine.values)
    if not pairs:
        return ""
    each = "; ".join(f"{name} {', '.join(f'{gap:.1f}' for gap in gaps)}" for name, gaps in pairs.items())
    largest = max(gaps.max() for gaps in pairs.values())
    text = (
        f"Noise floor of {found.title}: one algorithm written twice, from the same weights on the same batches, ends "
    )
    text += f"apart by (points, each seed) {each}. What separates them began as rounding, so between other rows a gap "
    return f"{text}of up to {largest:.1f} points in one seed says nothing."


# --- Beside the sources --------------------------------------------------------------------------------------------


def claim(difference: Paired, sign: int) -> str:
    """What our interval says to a claimed direction: ``agrees``, ``contradicts`` or ``undecided``.

    Args:
        difference: measured, paired by seed; sign: +1 where the claim is that it is positive (or not negative), −1
            where that it is negative (or not positive), 0 where that there is none, which seeds can only contradict.
    """
    if not np.isfinite(difference.values).all():
        return "undecided (a run diverged)"
    if difference.interval is None:
        return "undecided (one seed)"
    if not difference.decided:
        return "undecided"
    return "agrees" if difference.mean * sign > 0 else "contradicts"


def claims(halves: Mapping[str, tuple[Paired, int]]) -> str:
    """A remark that judges every part of a claim: its words → the measured difference and the claimed sign."""
    return "; ".join(f"{words}: {claim(*half)}" for words, half in halves.items())


def fails(outcome: Outcome) -> bool:
    """Whether a variant diverged or is at chance."""
    return outcome.verdict.startswith(("at chance", "diverged"))


def length_remark(name: str, epochs: float) -> str:
    """``not comparable: …`` where ours trained for clearly fewer or more epochs than the source; else empty."""
    theirs = REPORTED[name].epochs
    if not theirs or abs(epochs / theirs - 1) <= EQUAL_LENGTH:
        return ""
    return f"not comparable: trained {epochs:.1f} {'of' if epochs < theirs else 'epochs, the source'} {theirs:g} epochs"


def _remark(name: str, runs: Sequence, judged_so: str, seen: str) -> str:
    """The judgement where ours trained as long as the source; else that it did not, and what was seen here."""
    unequal = length_remark(name, epochs_trained(runs[0]))
    return f"{unequal}; {seen}" if unequal else judged_so


def beside_accuracy(name: str, runs: Sequence) -> dict[str, str]:
    """Row that puts accuracies beside a source's, on the same kind of images, with a remark.

    Where this profile reads no test images, those on validation images stand in.

    Args:
        name: key of ``REPORTED`` whose ``value`` is an accuracy in percent; runs: one record per seed.
    """
    part = REPORTED[name].part if all(run.config.test for run in runs) else "validation"
    values = [accuracy(run, part) for run in runs]
    ours = f"{percent(values)} %" + ("" if part == "test" else " (validation)")
    return _row(name, ours, len(runs), accuracy_remark(name, values, epochs_trained(runs[0])))


def accuracy_remark(name: str, values: Sequence[float], epochs: float) -> str:
    """Whether our accuracies (0 to 1) agree with a source's, as far as seeds and length of training can tell."""
    if not np.isfinite(values).all():
        return "diverged here"
    ours, n, unequal = 100 * np.asarray(values), len(values), length_remark(name, epochs)
    gap = ours.mean() - REPORTED[name].value
    if n < 2:
        text = f"{gap:+.1f} points, one seed: no interval"
        return f"{unequal}; {text}" if unequal else text
    half = stats.t.ppf(0.975, n - 1) * ours.std(ddof=1) / np.sqrt(n)
    text = f"{gap:+.1f} points (± {half:.1f})"
    if unequal:
        return f"{unequal}; {text}"
    return f"agrees within our interval: {text}" if abs(gap) <= half else f"disagrees beyond our interval: {text}"


def beside_order(name: str, found: Ranked, claimed: Sequence[str]) -> dict[str, str]:
    """Row that puts a ranking beside a source's.

    Args:
        found: a sweep with one factor; claimed: variants the source has ahead.
    """
    best = found.best
    if best is None:
        return _row(name, "no variant above chance", len(found.outcomes[0].runs), "cannot be compared")
    ahead = [o.variant[0] for o in found if o.verdict in AHEAD]
    ours, n, first = f"best: {best.variant[0]}", len(best.runs), best.variant[0]
    rivals = [variant for variant in ahead if variant != first]
    ours += f"; undecided against it: {', '.join(rivals)}" if rivals else ""
    if n < 2:
        judged_so = "undecided (one seed)"
    elif not set(claimed) & set(ahead):
        judged_so = "contradicts"
    else:
        judged_so = "agrees" if set(ahead) <= set(claimed) else "undecided"
    doubt = ", one seed" if n < 2 else ", undecided" if rivals else ""
    seen = f"{'the same' if first in claimed else 'another'} in front here{doubt}"
    return _row(name, ours, n, _remark(name, best.runs, judged_so, seen))


def beside_equal(name: str, found: Ranked, claimed: Sequence[str]) -> dict[str, str]:
    """Row for a source that saw no difference between these variants."""
    mine = judged({(value,): found[value].runs for value in claimed})
    ours, n = "; ".join(f"{o.variant[0]} {percent(o.scores)} %" for o in mine), len(mine[0].runs)
    apart = [o.variant[0] for o in mine if o.verdict not in AHEAD]
    if n < 2:
        judged_so = seen = "undecided (one seed)"
    else:
        seen = f"a difference here: {', '.join(apart)} apart" if apart else "undecided here: no difference seen"
        judged_so = f"contradicts: {', '.join(apart)} apart" if apart else "undecided: no difference seen"
    return _row(name, ours, n, _remark(name, mine[0].runs, judged_so, seen))


def beside_difference(name: str, before: Outcome, after: Outcome) -> dict[str, str]:
    """Row that puts the paired difference between two variants beside a source's, whose ``value`` is in points."""
    if not np.isfinite([*before.scores, *after.scores]).all():
        return _row(name, f"{before.verdict} → {after.verdict}", len(after.runs), "cannot be compared")
    difference = paired([100 * s for s in before.scores], [100 * s for s in after.scores])
    sign = 1 if REPORTED[name].value > 0 else -1
    verdict = claim(difference, sign)
    seen = {"agrees": "the same direction here", "contradicts": "the other direction here"}.get(
        verdict, f"{verdict} here"
    )
    remark = _remark(name, after.runs, f"direction: {verdict}", seen)
    return _row(name, f"{difference_text(difference)} points", len(after.runs), remark)


def beside_claim(name: str, ours: str, runs: Sequence, verdict: str) -> dict[str, str]:
    """Row with a verdict of ``claim`` or ``claims``, which is one for runs as long as the source's."""
    seen = f"here: {verdict.replace('agrees', 'yes').replace('contradicts', 'no')}"
    return _row(name, ours, len(runs), _remark(name, runs, verdict, seen))


def beside_time(name: str, variants: Sequence[Sequence], among: Sequence) -> dict[str, str]:
    """Row with the times of an epoch, upper bounds: ``seconds_per_epoch`` of each variant's runs among the others."""
    ours = ", ".join(f"{seconds_per_epoch(runs, among):.1f}" for runs in variants) + " s per epoch"
    cards = ", ".join(sorted({run.card for runs in variants for run in runs}))
    return _row(name, ours, len(variants[0]), f"at most: the least of all runs with the same work; on {cards}")


def beside_text(name: str, ours: str, remark: str = "", n: int = 1) -> dict[str, str]:
    """Row with our result and remark as they are written by the caller from measured values."""
    return _row(name, ours, n, remark)


def _row(name: str, ours: str, n: int, remark: str) -> dict[str, str]:
    return beside([(name, ours)], n, remark)[0]
