"""Comparing two networks: paired by seed, over one window declared beforehand, with intervals and in words.

Runs enter as records with ``config`` and ``steps``. What is written about a comparison is decided here, by code: an
interval that includes no effect is said to be undecided.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..env import CourseError
from ..intervals import Paired, paired
from ..words import ahead_text, ratio_cell, ratio_text, rounded

WINDOW = (0.8, 1.0)  # share of a run over which networks are compared, declared before looking
NOT_TRAINING = 0.05  # nats: a training loss this close to ln 10 is that of guessing
SPAN = 11  # steps over which a training loss is averaged before two nets are matched by it or called not training
BINS = 5  # into which the range that two nets share is cut when they are matched
WAYS = {"step": "the same step", "loss": "the same training loss", "distance": "the same relative distance"}


def training_loss(run) -> np.ndarray:
    """Training loss at every step as a centred mean of 11 batches, nats."""
    return smooth(run.steps["loss"], SPAN)


def not_training(run) -> np.ndarray:
    """At which steps a run is not training: its training loss is not more than 0.05 nats below ln 10.

    There the gradients of a plain net are tiny, so every raw measure of its landscape looks smooth.
    """
    loss = training_loss(run)
    return ~(loss < np.log(10) - NOT_TRAINING)


def is_training(run, window: tuple[float, float] = WINDOW) -> bool:
    """Whether the mean training loss over the window is below that of guessing, ln 10, by more than 0.05 nats."""
    return not _diverged(run) and window_mean(run.steps["loss"], window) < np.log(10) - NOT_TRAINING


def stuck_runs(runs: Sequence) -> str:
    """The runs that do not train, in words, for a caption; empty where all do."""
    stuck = [f"{r.config.model} at rate {r.config.lr:g}, seed {r.config.seed}" for r in runs if not is_training(r)]
    return f"Not training at the end: {'; '.join(stuck)}." if stuck else ""


def _pairs(plain: Sequence, other: Sequence):
    """Yield (rate, plain runs, other runs), paired by seed, from the lowest rate to the highest."""
    for rate in sorted({run.config.lr for run in plain}):
        sides = [{r.config.seed: r for r in runs if r.config.lr == rate} for runs in (plain, other)]
        seeds = sorted(set(sides[0]) & set(sides[1]))
        if not seeds:
            raise CourseError(f"At rate {rate:g} no seed was run with both networks.")
        yield rate, [sides[0][seed] for seed in seeds], [sides[1][seed] for seed in seeds]


def same_step_rows(plain: Sequence, other: Sequence, window: tuple[float, float] = WINDOW) -> list[dict]:
    """Who is ahead in training loss at the same step, for every rate, paired by seed.

    Args:
        plain, other: records of the two networks at the same rates and seeds.
        window: share of the run whose mean loss is compared.

    Returns:
        One dict per rate: ``rate``, ``plain`` and ``other`` (mean loss, nats), ``pairs`` (both losses of every seed),
        ``paired`` (``Paired``, other minus plain; None if every pair has a diverged run), ``trains``, ``verdict`` in
        words, whatever the sign, and ``note`` where a network diverged or does not train. Means and ``paired`` are over
        the seeds at which both networks train (``trains``), or over all where there is no such seed; ``by_seeds`` has
        both: over those at which both train (None without one), and over all, the same object where all train.

    Raises:
        CourseError: a rate has no pair of equal seeds.
    """

    def loss(run) -> float:
        return window_mean(run.steps["loss"], window)

    rows = []
    for rate, *sides in _pairs(plain, other):
        found, every = _training(sides, loss, window), _compare(sides, loss)
        row = {"rate": rate} | found | {"pairs": every["pairs"], "verdict": _in_words(ahead_text, found)}
        row["by_seeds"] = found["paired"] if found["trains"] else None, found["with_stuck"] or found["paired"]
        rows.append(row | {"note": _stuck_note(sides, window)})
    return rows


def _compare(sides: Sequence[Sequence], value: Callable) -> dict:
    """Values of each pair that is finite and did not diverge, mean of each side, and their paired difference."""
    whole = [pair for pair in zip(*sides, strict=True) if not any(map(_diverged, pair))]
    values = [tuple(value(run) for run in pair) for pair in whole]
    known = [pair for pair in values if np.isfinite(pair).all()]
    if not known:
        return {"plain": float("nan"), "other": float("nan"), "pairs": [], "paired": None}
    a, b = zip(*known, strict=True)
    return {"plain": float(np.mean(a)), "other": float(np.mean(b)), "pairs": known, "paired": paired(a, b)}


def _training(sides: Sequence[Sequence], value: Callable, window: tuple[float, float]) -> dict:
    """``_compare`` over the seeds at which both networks train, or over all where there is none (not ``trains``).

    ``with_stuck``: ``Paired`` over all seeds where some but not all are such; else None.
    """
    both = [pair for pair in zip(*sides, strict=True) if all(is_training(run, window) for run in pair)]
    every = _compare(sides, value)
    if not both or len(both) == len(sides[0]):
        return every | {"trains": bool(both), "with_stuck": None}
    return _compare(list(zip(*both, strict=True)), value) | {"trains": True, "with_stuck": every["paired"]}


def paired_by_seed(plain: Sequence, other: Sequence, value: Callable, keep: Callable) -> Paired | None:
    """Paired comparison of one number per run, over the seeds at which both are finite; None without any.

    Args:
        keep: whether a run counts; where no pair has two such runs, all count.
    """
    (_, *sides), *_ = _pairs(plain, other)
    kept = [pair for pair in zip(*sides, strict=True) if all(map(keep, pair))]
    return _compare(list(zip(*kept, strict=True)) or sides, value)["paired"]


def _stuck_note(sides: Sequence[Sequence], window: tuple[float, float]) -> str:
    notes = []
    for name, runs in zip(("no BN", "BN"), sides, strict=True):
        gone = sum(map(_diverged, runs))
        stuck = sum(not is_training(run, window) for run in runs) - gone
        for count, what in ((gone, "diverged"), (stuck, "not training")):
            of_seeds = f" ({count} of {len(runs)} seeds)" if len(runs) > 1 else ""
            notes += [f"{name} {what}{of_seeds}"] if count else []
    return "; ".join(notes)


def ratio_rows(
    plain: Sequence, other: Sequence, quantity: Callable, window: tuple[float, float] = WINDOW
) -> list[dict]:
    """Ratio of a per-step quantity between the two networks at the same steps, for every rate, paired by seed.

    Args:
        quantity: gives the ``Band`` of a list of runs, for instance ``VGG_Beta_Smooth``.
        window: share of the run over which the quantity is averaged.

    Returns:
        One dict per rate: ``rate``, ``plain`` and ``other`` (geometric means), ``paired`` (of logarithms), ``trains``,
        ``ratio`` in words with its 95 % interval (paired t on log-ratios), ``note`` where a network does not train, and
        both as ``in_words``. Over which seeds: as in ``same_step_rows``.

    Raises:
        CourseError: a rate has no pair of equal seeds, or the quantity was not recorded.
    """

    def log(run) -> float:
        band, total = quantity([run]), len(run.steps["loss"])  # measured at some of the run's steps, perhaps unevenly
        return np.log(window_mean(band.curves[0][in_window(band.steps, total, window)], (0, 1)))

    rows = []
    for rate, *sides in _pairs(plain, other):
        logs = _training(sides, log, window)
        row = {"rate": rate, "plain": np.exp(logs["plain"]), "other": np.exp(logs["other"]), "paired": logs["paired"]}
        row |= {"trains": logs["trains"]}
        rows.append(_noted(row, _in_words(ratio_text, logs), _stuck_note(sides, window)))
    return rows


def _noted(row: dict, ratio: str, note: str) -> dict:
    return row | {"ratio": ratio, "note": note, "in_words": f"{ratio} — {note}" if note else ratio}


def matched_rows(plain: Sequence, other: Sequence, points: Callable) -> list[dict]:
    """Ratio of a quantity between two networks where some x is equal, for every rate, paired by seed.

    For each pair the range of x that both reach is cut into equal bins; a bin in which both were measured gives one
    log-ratio of the two means, and the pair's value is the mean over these bins.

    Args:
        points: gives for a run the arrays (x, y), both (k,); y is positive.

    Returns:
        Rows like those of ``ratio_rows``, with ``over``: the shared range of x, from the lowest to the highest of any
        pair. A pair that shares no range, or in which a run diverged, is left out and counted in ``note``; with no pair
        left ``paired`` is None.

    Raises:
        CourseError: a rate has no pair of equal seeds.
    """
    rows = []
    for rate, *sides in _pairs(plain, other):
        pairs = [pair for pair in zip(*sides, strict=True) if not any(map(_diverged, pair))]
        whole = [each for each in (_matched(*map(points, pair)) for pair in pairs) if each]
        seeds, gone = len(sides[0]), len(pairs) - len(whole)
        note = f"{gone} of {seeds} seeds share no range" if gone else ""
        note += f"{'; ' if note else ''}{seeds - len(pairs)} of {seeds} diverged" if len(pairs) < seeds else ""
        row = {"rate": rate, "plain": np.nan, "other": np.nan, "paired": None, "over": None, "trains": bool(whole)}
        ratio = "not compared"
        if whole:
            logs = np.array([each[:2] for each in whole])
            row |= {"plain": np.exp(logs[:, 0].mean()), "other": np.exp(logs[:, 1].mean())}
            row |= {"paired": paired(logs[:, 0], logs[:, 1])}
            row |= {"over": (min(each[2] for each in whole), max(each[3] for each in whole))}
            ratio = ratio_text(row["paired"])
        rows.append(_noted(row, ratio, note))
    return rows


def _matched(plain: tuple, other: tuple) -> tuple[float, float, float, float] | None:
    """Mean log of y over the shared bins for either side, and the ends of the shared range; None without one."""
    sides = [np.array([x, y])[:, np.isfinite(x) & np.isfinite(y)] for x, y in (plain, other)]
    if not all(x.size for x, _ in sides):
        return None
    low, high = max(x.min() for x, _ in sides), min(x.max() for x, _ in sides)
    if not low < high:
        return None
    means = np.array([stats.binned_statistic(x, y, "mean", BINS, (low, high)).statistic for x, y in sides])
    logs = np.log(means[:, (means > 0).all(axis=0)])  # an empty bin's mean is NaN
    return (*logs.mean(axis=1), float(low), float(high)) if logs.size else None


def at_loss(run, steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (training loss, value) of the given steps at which the run is training, for ``matched_rows``."""
    training = ~not_training(run)[steps]
    return training_loss(run)[steps][training], np.asarray(values)[training]


def loss_rows(plain: Sequence, other: Sequence, quantity: Callable) -> list[dict]:
    """``matched_rows`` of a quantity at the same training loss; the arguments are those of ``ratio_rows``."""

    def points(run) -> tuple[np.ndarray, np.ndarray]:
        band = quantity([run])
        return at_loss(run, band.steps, band.curves[0])

    return matched_rows(plain, other, points)


def share_not_training(runs: Sequence) -> np.ndarray:
    """Share of the runs that are not training, at every step; a run that has ended counts as it ended."""
    masks = [not_training(run) for run in runs]
    n = max(map(len, masks))
    return np.mean([np.pad(mask, (0, n - len(mask)), mode="edge") for mask in masks], axis=0)


@dataclass(frozen=True)
class Comparison:
    """One of the three ways to compare two networks along their own trajectories.

    Attributes:
        way: ``step``, ``loss`` or ``distance``: what is held equal.
        points: model → one (x, y) per seed, for a figure.
        row: outcome, as of ``ratio_rows``.
        where: over what it was compared, in words.
        window: ends of the compared range of x; None where there is none.
    """

    way: str
    points: dict
    row: dict
    where: str
    window: tuple[float, float] | None

    @property
    def ratio(self) -> str:
        """The outcome, short enough for a title."""
        outcome = self.row["paired"]
        if not outcome:
            return "not compared"
        ends = outcome.interval and " to ".join(map(rounded, np.exp(outcome.interval)))
        return rounded(np.exp(outcome.mean)) + (f" (95 %: {ends})" if ends else " (n = 1)")


def distance_row(plain: Sequence, other: Sequence, cloud: Callable) -> dict:
    """``matched_rows`` at the same relative distance, over the training steps of the window; for runs at one rate.

    The arguments are those of ``three_ways``.
    """

    def logged(run) -> tuple[np.ndarray, np.ndarray]:
        x, y = _near(run, cloud)
        return np.log(x), y

    row = matched_rows(plain, other, logged)[0]
    (_, *sides), *_ = _pairs(plain, other)
    return _noted(row, row["ratio"], "; ".join(filter(None, (row["note"], _stuck_note(sides, WINDOW)))))


def _near(run, cloud: Callable) -> tuple[np.ndarray, np.ndarray]:
    steps, x, y = cloud(run)
    inside = in_window(steps, run.config.steps) & ~not_training(run)[steps]
    return x[inside].ravel(), y[inside].ravel()


def window_steps(total: int) -> str:
    """The window of a run of so many steps, in words."""
    start, stop = (round(share * total) for share in WINDOW)
    return f"steps {start} to {stop - 1}"


def three_ways(plain: Sequence, other: Sequence, series: Callable, cloud: Callable) -> list[Comparison]:
    """Compare a probed quantity at the same step, at the same training loss, and at the same relative distance.

    Each answers another question. Same step: what does an optimiser meet that has run equally long? Same loss: is the
    difference more than that one net is further on? Same relative distance: is it more than that the same η takes one
    net further, in units of its own weights? The last two use only steps at which a net is training, the last
    those of the window.

    Args:
        plain, other: runs of the two networks at one rate, with equal seeds.
        series: gives the ``Band`` of a list of runs, a curve per run.
        cloud: gives for a run (steps (n,), relative distances (n, m), values (n, m)).

    Raises:
        CourseError: no pair of equal seeds.
    """

    def curve(run) -> tuple[np.ndarray, np.ndarray]:
        band = series([run])
        return band.steps, band.curves[0]

    def both(points: Callable) -> dict:
        return {runs[0].config.model: [points(run) for run in runs] for runs in (plain, other)}

    total = plain[0].config.steps
    window, steps = tuple(round(share * total) for share in WINDOW), window_steps(total)
    at_equal_loss, at_distance = loss_rows(plain, other, series)[0], distance_row(plain, other, cloud)
    ends = at_equal_loss["over"]
    loss = f"training loss {ends[0]:.2f} to {ends[1]:.2f} nats" if ends else "no shared training loss"
    reach = at_distance["over"] and tuple(np.exp(at_distance["over"]))
    far = f"η‖g‖/‖w‖ {reach[0]:.2g} to {reach[1]:.2g}, {steps}" if reach else f"no shared distance, {steps}"
    return [
        Comparison("step", both(curve), ratio_rows(plain, other, series)[0], steps, window),
        Comparison("loss", both(lambda run: at_loss(run, *curve(run))), at_equal_loss, loss, ends),
        Comparison("distance", both(lambda run: _near(run, cloud)), at_distance, far, reach),
    ]


def comparison_table(found: Sequence[Comparison], unit: str) -> list[dict]:
    """Rows of a table that states the outcome of ``three_ways``."""
    return [as_row(each.row, WAYS[each.way], unit) | {"over": each.where} for each in found]


def as_row(row: dict, way: str, unit: str, own: str = "") -> dict:
    """One row of ``comparison_table``, without what it was compared over; ``own``: a unit that only its values have."""
    values = [rounded(row[side]) + own if np.isfinite(row[side]) else "–" for side in ("plain", "other")]
    levels = {f"no BN ({unit})": values[0], f"BN ({unit})": values[1]}
    found = {"BN / no BN": ratio_cell(row["paired"], row["ratio"]), "note": row["note"]}
    return {"compared at": way} | levels | found


def in_window(steps: np.ndarray, total: int, window: tuple[float, float] = WINDOW) -> np.ndarray:
    """Which of the steps lie in the window of a run of ``total`` steps."""
    return (steps >= round(window[0] * total)) & (steps < round(window[1] * total))


def _in_words(say: Callable, found: Mapping) -> str:
    """The outcome of ``_training``, and behind it that over all seeds where some of them do not train."""
    text = say(found["paired"]) if found["paired"] else "not compared: no pair of seeds without divergence"
    return f"{text}; with the seeds that do not train: {say(found['with_stuck'])}" if found["with_stuck"] else text


def window_mean(curve: np.ndarray, window: tuple[float, float] = WINDOW) -> float:
    """Mean of a curve over a share of its length, (0.8, 1.0) being the last fifth.

    NaN, a step without a value, is left out; the mean of nothing is NaN.
    """
    start, stop = (round(share * len(curve)) for share in window)
    part = np.asarray(curve[min(start, stop - 1) : stop], dtype=np.float64)
    part = part[~np.isnan(part)]
    return float(part.mean()) if len(part) else float("nan")


def _diverged(run) -> bool:
    return getattr(run, "diverged_at", None) is not None


def smooth(curve: np.ndarray, span: int) -> np.ndarray:
    """Centred moving average over ``span`` values, shorter at the ends; NaN is left out of the average."""
    curve = np.asarray(curve, dtype=np.float64)
    known = np.isfinite(curve)
    ones = np.ones(min(span, len(curve)))
    total = np.convolve(np.where(known, curve, 0.0), ones, "same")
    count = np.convolve(known.astype(float), ones, "same")
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
