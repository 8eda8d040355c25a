"""A source's result and ours in one row: numbers with their interval, both lengths, and a verdict of one word.

The verdict is ``agrees``, ``contradicts`` or ``undecided``, decided by the interval over our seeds. Accuracies, losses
and rankings at the end of a training are ``not comparable`` where ours was clearly shorter or longer than the source's;
what was not trained is ``not run``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import intervals
from ..intervals import Number, Paired
from ..measure import ranking
from ..measure.ranking import AHEAD, CHANCE, EQUAL_LENGTH, Outcome, Ranked
from ..words import Cell, accuracy_text, difference_text, length_text
from .reported import REPORTED

AGREES, CONTRADICTS, UNDECIDED = "agrees", "contradicts", "undecided"
NOT_COMPARABLE, NOT_RUN = "not comparable", "not run"
VERDICTS = (AGREES, CONTRADICTS, UNDECIDED, NOT_COMPARABLE, NOT_RUN)


@dataclass(frozen=True)
class Length:
    """How long ours trained and how long the source did.

    Attributes:
        trained, theirs: in ``unit``, ``epochs`` or ``steps``; None where nothing is trained or said.
        width: of our networks, as a share of the source's.
    """

    trained: float | None = None
    theirs: float | None = None
    unit: str = "epochs"
    width: float = 1.0

    @property
    def differs(self) -> bool:
        """Whether ours is shorter or longer than the source's by more than a fifth; False if it is unknown."""
        known = self.trained is not None and self.theirs
        return bool(known) and abs(self.trained / self.theirs - 1) > EQUAL_LENGTH


@dataclass(frozen=True)
class Row:
    """Our result, in words, beside that of ``name``, a key of ``REPORTED``: one of ``VERDICTS``, and a remark.

    ``n`` seeds are behind it, ``numbers`` are what the verdict rests on.
    """

    name: str
    ours: str
    verdict: str
    n: int = 1
    length: Length = Length()
    remark: str = ""
    numbers: tuple[Number, ...] = ()


def table(rows: Iterable[Row]) -> list[dict]:
    """The rows of a table, numbers kept."""
    made = []
    for row in rows:
        source, lengths = REPORTED[row.name], row.length
        numbers = {"name": row.name, "values": [number.as_json() for number in row.numbers]}
        wide = "" if lengths.width == 1 else f"; networks {lengths.width:g} as wide"
        made.append(
            {"source": source.source, "quantity": source.what, "source's result": source.reported}
            | {"ours": Cell(row.ours, numbers), "seeds": str(row.n) if row.verdict != NOT_RUN else "–"}
            | {"length": Cell(f"{length_text(lengths.trained, lengths.theirs, lengths.unit)}{wide}", vars(lengths))}
            | {"verdict": row.verdict, "remark": row.remark}
        )
    return made


def length(name: str, trained: Sequence | float = ()) -> Length:
    """How long ours (records, of which the longest counts, or epochs) and the source trained, in its own unit."""
    theirs, width = REPORTED[name], 1.0
    if isinstance(trained, Sequence):
        width = min((run.config.model_args.get("width", 1.0) for run in trained), default=1.0)
        how_long = (lambda run: len(run.steps["loss"])) if theirs.steps else ranking.epochs_trained
        trained = max(map(how_long, trained), default=None)
    return Length(trained, theirs.steps or theirs.epochs, "steps" if theirs.steps else "epochs", width)


def judge(found: Paired, sign: int) -> str:
    """What our interval says to a claimed direction.

    Args:
        found: measured difference, paired by seed; sign: +1 where the claim is that it is positive (or not negative),
            −1 where that it is negative (or not positive), 0 where that there is none, which seeds can only contradict.
    """
    if not found.decided:
        return UNDECIDED
    return AGREES if found.mean * sign > 0 else CONTRADICTS


def together(verdicts: Iterable[str]) -> str:
    """The verdict on a claim of several parts: one that is contradicted contradicts it, and it agrees if all do."""
    verdicts = list(verdicts)
    if CONTRADICTS in verdicts:
        return CONTRADICTS
    return AGREES if verdicts and set(verdicts) == {AGREES} else UNDECIDED


def counted(verdicts: Iterable[str]) -> str:
    """How many rows can be compared, and what they say."""
    count = Counter(verdicts)
    comparable = sum(count[verdict] for verdict in (AGREES, CONTRADICTS, UNDECIDED))
    text = f"{comparable} of {count.total()} rows are comparable; of these {count[AGREES]} agree, "
    text += f"{count[CONTRADICTS]} contradict, {count[UNDECIDED]} are undecided. "
    return f"{text}{count[NOT_COMPARABLE]} are not comparable (trained shorter or longer), {count[NOT_RUN]} not run."


def _why(found: Paired) -> str:
    """Why a difference has no finite interval, in words; empty where it has one."""
    if not np.isfinite(found.values).all():
        return "a run diverged"
    return "one seed" if found.interval is None else ""


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def not_run(name: str, ours: str = "not run in this profile", remark: str = "") -> Row:
    """Row of what was not trained."""
    return said(name, ours, NOT_RUN, 0, remark)


def said(
    name: str,
    ours: str,
    verdict: str,
    n: int = 1,
    remark: str = "",
    trained: Sequence | float = (),
    at_end: bool = False,
    numbers: Sequence[Number] = (),
) -> Row:
    """Row whose words, verdict and numbers are the caller's.

    Args:
        trained: for the length, as in ``length``; at_end: whether it is about the end of a training, which is not
            comparable where the lengths differ.
    """
    lengths = length(name, trained)
    if at_end and lengths.differs:
        verdict, remark = NOT_COMPARABLE, _joined(f"here: {verdict}", remark)
    return Row(name, ours, verdict, n, lengths, remark, tuple(numbers))


def _part(name: str, runs: Sequence) -> str:
    """The images our accuracies are of: the source's where these runs read test images."""
    return REPORTED[name].images if all(run.config.test for run in runs) else "validation"


def accuracy(name: str, runs: Sequence | None) -> Row:
    """Row of accuracies, on the same kind of images as the source's where this profile reads test images.

    Args:
        name: key of ``REPORTED`` whose ``value`` is an accuracy in percent; runs: one record per seed; None or empty
            where there are none. Seeds at chance are counted and shown; the mean is of the others.
    """
    if not runs:
        return not_run(name)
    part = _part(name, runs)
    values = np.array([ranking.accuracy(run, part) for run in runs])
    lengths, stuck = length(name, runs), values <= CHANCE
    ours = f"{accuracy_text(values, stuck)} %" + {"validation": " (validation)"}.get(part, "")
    if REPORTED[name].best_on_test:
        best = [max((e["validation_accuracy"] for e in run.epochs), default=np.nan) for run in runs]
        ours = f"at the end {ours}; best on validation {accuracy_text(best, np.array(best) <= CHANCE)} %"
    found, theirs = intervals.level(100 * (values if stuck.all() else values[~stuck]), "%"), REPORTED[name].value
    if not np.isfinite(values).all():
        verdict, remark = UNDECIDED, f"{int((~np.isfinite(values)).sum())} of {len(values)} seeds diverged"
    elif found.low is None:
        verdict, remark = UNDECIDED, f"{found.value - theirs:+.1f} points, one seed: no interval"
    else:
        verdict = AGREES if found.low <= theirs <= found.high else CONTRADICTS
        remark = f"{found.value - theirs:+.1f} points (± {(found.high - found.low) / 2:.1f})"
    return Row(name, ours, NOT_COMPARABLE if lengths.differs else verdict, len(runs), lengths, remark, (found,))


def order(name: str, found: Ranked | None, claimed: Sequence[str], remark: str = "") -> Row:
    """Row of a ranking: a sweep with one factor, None where it was not trained; claimed: whom the source has ahead."""
    if found is None or not any(outcome.runs for outcome in found):
        return not_run(name)
    runs, best = next(outcome.runs for outcome in found if outcome.runs), found.best
    if best is None:
        text = _joined("nothing at chance is ranked", remark)
        return said(name, "no variant above chance", UNDECIDED, len(runs), text, runs, at_end=True)
    ahead = [o.variant[0] for o in found if o.verdict in AHEAD]
    rivals = [variant for variant in ahead if variant != best.variant[0]]
    ours = f"best: {best.variant[0]}" + (f"; not told apart from it: {', '.join(rivals)}" if rivals else "")
    n = len(best.runs)
    verdict = AGREES if set(ahead) <= set(claimed) else UNDECIDED if set(claimed) & set(ahead) else CONTRADICTS
    remark = _joined("one seed" * (n < 2), remark)
    numbers = [intervals.difference(o.behind, "points") for o in found if o.behind]
    return said(name, ours, verdict if n > 1 else UNDECIDED, n, remark, best.runs, True, numbers)


def equal(name: str, found: Ranked | None, claimed: Sequence[str], note: str = "") -> Row:
    """Row for a source that saw no difference between these variants: seeds can contradict it, and never agree."""
    if not found or any(found.get(value) is None for value in claimed):
        return not_run(name)
    mine = found.among(claimed).outcomes
    ours, n = "; ".join(f"{o.variant[0]} {accuracy_text(o.scores, o.stuck)} %" for o in mine), len(mine[0].runs)
    apart = [o.variant[0] for o in mine if o.verdict not in AHEAD]
    verdict = CONTRADICTS if apart and n > 1 else UNDECIDED
    seen = "one seed" if n < 2 else f"{', '.join(apart)} apart" if apart else "no difference seen"
    numbers = [intervals.difference(o.behind, "points") for o in mine if o.behind]
    return said(name, ours, verdict, n, _joined(seen, note), mine[0].runs, True, numbers)


def difference(name: str, before: Outcome | None, after: Outcome | None) -> Row:
    """Row of the paired difference, in points, between two variants, over the seeds at which both train."""
    if before is None or after is None:
        return not_run(name)
    n, runs, part = len(after.runs), after.runs, _part(name, (*before.runs, *after.runs))
    scores = [[ranking.accuracy(run, part) for run in side.runs] for side in (before, after)]
    found = ranking.points_behind(*scores)
    if found is None or not np.isfinite(scores).all():
        return said(name, f"{before.verdict} → {after.verdict}", UNDECIDED, n, "nothing to compare", runs, True)
    left_out = f"{n - len(found.values)} of {n} seeds at chance" if len(found.values) < n else ""
    verdict, numbers = judge(found, 1 if REPORTED[name].value > 0 else -1), [intervals.difference(found, "points")]
    images = f"ours on {part} images" if part != REPORTED[name].images else ""
    remark = _joined("direction", images, _why(found), left_out)
    return said(name, f"{difference_text(found)} points", verdict, n, remark, runs, True, numbers)


def claim(
    name: str,
    ours: str,
    parts: Mapping[str, tuple[Paired, int]],
    trained: Sequence | float = (),
    at_end: bool = False,
    note: str = "",
) -> Row:
    """Row of a claim in words.

    Args:
        parts: each part of the claim in words → the measured difference and the claimed sign, as in ``judge``.
        trained: for the length, as in ``length``; at_end: whether it is about the end of a training.
    """
    verdicts = {words: judge(*part) for words, part in parts.items()}
    whys = {words: _why(found) for words, (found, _) in parts.items()}
    each = [f"{words}: {verdict}" + (f" ({whys[words]})" if whys[words] else "") for words, verdict in verdicts.items()]
    remark = _joined(note, *(each if len(each) > 1 or any(whys.values()) else ()))
    numbers = [intervals.difference(found, "") for found, _ in parts.values()]
    seeds = {run.config.seed for run in trained} if isinstance(trained, Sequence) else ()
    n = len(seeds) or max((len(found.values) for found, _ in parts.values()), default=0)
    return said(name, ours, together(verdicts.values()), n, remark, trained, at_end, numbers)


def ratio(name: str, where: str, row: Mapping, sign: int, runs: Sequence, note: str = "") -> Row:
    """Row of a ratio BN / no BN.

    Args:
        where: at what it was compared; row: of ``compare.ratio_rows`` or ``compare.matched_rows``; sign: +1 where the
            source has it larger with BN, −1 where smaller; note: first in the remark.
    """
    found, n = row["paired"], len({run.config.seed for run in runs})
    ours = f"{where}: BN / no BN {row['in_words']}"
    if found is None:
        return said(name, ours, UNDECIDED, n, "not compared", runs)
    verdict, remark = judge(found, sign), _joined(note, _why(found))
    if not row["trains"]:
        verdict, remark = UNDECIDED, "not judged: no seed at which both networks train"
    return said(name, ours, verdict, n, remark, runs, numbers=[intervals.ratio(found)])


def time(name: str, variants: Sequence[Sequence], among: Sequence = ()) -> Row:
    """Row of the times of an epoch, upper bounds, for each machine and thread count by itself.

    Another machine's seconds decide nothing, so the verdict is ``undecided``.

    Args:
        variants: runs of each variant that the source timed; among: other runs; those with the same work count.
    """
    variants = [runs for runs in variants if runs]
    if not variants:
        return not_run(name)
    found = [ranking.seconds_per_epoch(runs, among) for runs in variants]
    if not any(found):
        return not_run(name, "not timed: trained on more than one machine")
    ours = []
    for machine in sorted({name for each in found for name in each}):
        seconds = ", ".join(f"{each[machine]:.1f}" if machine in each else "–" for each in found)
        ours.append(f"{seconds} s per epoch ({machine})")
    remark = "at most: the least of all runs with the same work on the same machine; other hardware than the source's"
    return said(name, "; ".join(ours), UNDECIDED, len(variants[0]), remark, variants[0])
