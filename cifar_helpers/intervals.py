"""What seeds decide: paired differences with their interval, the sign test beside it, Holm's correction for many.

A ``Number`` is what a row of a table carries: value, ends of the interval, how many seeds, unit. ``words`` says it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from .env import CourseError

LEVEL = 0.05  # of every test; intervals cover 95 %


@dataclass(frozen=True)
class Paired:
    """The (n,) differences of paired values, their mean, and its 95 % interval: Student's t, None for n < 2."""

    values: np.ndarray
    mean: float
    interval: tuple[float, float] | None

    @property
    def decided(self) -> bool:
        """Whether there is a finite interval and it leaves out zero."""
        finite = self.interval is not None and np.isfinite(self.interval).all()
        return bool(finite) and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def p(self) -> float | None:
        """Two-sided p value of the paired t test that belongs to the interval; None where there is none."""
        if self.interval is None or not np.isfinite(self.interval).all():
            return None
        error = (self.interval[1] - self.interval[0]) / 2 / t_quantile(len(self.values))
        if error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * special.stdtr(len(self.values) - 1, -abs(self.mean) / error))

    @property
    def same_sign(self) -> int:
        """How many pairs have the sign of the mean."""
        return int((np.sign(self.values) == np.sign(self.mean)).sum())

    @property
    def sign_p(self) -> float | None:
        """Two-sided p value of the sign test over the pairs that differ; None for fewer than two pairs.

        It asks nothing of the size of the differences: n seeds of one sign give 2^(1 − n), at best 0.25 for three seeds
        and 0.06 for five.
        """
        if self.interval is None or not np.isfinite(self.values).all():
            return None
        above, below = int((self.values > 0).sum()), int((self.values < 0).sum())
        n, most = above + below, max(above, below)
        return float(min(1.0, 2 * special.bdtrc(most - 1, n, 0.5))) if n else 1.0


def t_quantile(n: int) -> float:
    """0.975 quantile of Student's t with n − 1 degrees of freedom: half a 95 % interval in standard errors."""
    return float(special.stdtrit(n - 1, 0.975))  # as scipy.stats has it, which takes a second to import


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """Compare ``b`` with ``a`` pair by pair: mean of b − a, and its 95 % t interval where n ≥ 2.

    Raises:
        CourseError: nothing to compare, or the lengths differ.
    """
    difference = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    if len(a) != len(b) or not len(difference):
        raise CourseError(f"A paired comparison needs equally many values on both sides, not {len(a)} and {len(b)}.")
    mean, n = float(difference.mean()), len(difference)
    if n < 2:
        return Paired(difference, mean, None)
    half = float(t_quantile(n) * difference.std(ddof=1) / np.sqrt(n))
    return Paired(difference, mean, (mean - half, mean + half))


@dataclass(frozen=True)
class Number:
    """A measured number as a row carries it.

    Attributes:
        value, low, high: the number and the ends of its 95 % interval; None where there is none or it is not finite.
        n: seeds (or pairs of runs) behind it.
        unit: in words; empty for a ratio.
        neutral: the value that means no effect: 1 for a ratio, 0 for a difference; None for a level.
        p, sign_p: of the t test and of the sign test against ``neutral``.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str = ""
    neutral: float | None = None
    p: float | None = None
    sign_p: float | None = None

    @property
    def side(self) -> str | None:
        """On which side of no effect the interval is: ``above``, ``below`` or ``undecided``; None without one."""
        if self.neutral is None or self.low is None:
            return None
        return "below" if self.high < self.neutral else "above" if self.low > self.neutral else "undecided"

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out no effect."""
        return self.side in ("above", "below")

    def as_json(self) -> dict:
        """All of it, with ``side`` and ``decided``, for the JSON beside a table."""
        return vars(self) | {"side": self.side, "decided": self.decided}


def _number(found: Paired, scale: Callable, unit: str, neutral: float | None) -> Number:
    ends = (None, None) if found.interval is None else scale(found.interval)
    tests = (None, None) if neutral is None else (found.p, found.sign_p)
    known = [None if x is None or not np.isfinite(x) else float(x) for x in (scale(found.mean), *ends, *tests)]
    return Number(*known[:3], len(found.values), unit, neutral, *known[3:])


def difference(found: Paired, unit: str) -> Number:
    """The mean difference of a paired comparison."""
    return _number(found, np.asarray, unit, 0.0)


def ratio(found: Paired) -> Number:
    """The ratio that a paired comparison of logarithms stands for."""
    return _number(found, np.exp, "", 1.0)


def level(values: Sequence[float], unit: str) -> Number:
    """The mean of one value per seed, with its 95 % t interval where n ≥ 2."""
    return _number(paired(np.zeros(len(values)), values), np.asarray, unit, None)


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of many tests are decided at 5 % for all of them together, by Holm's correction.

    The smallest p value must be below 0.05 / m, the next below 0.05 / (m − 1), and so on; the first that is not
    ends it.
    """
    decided, m = [False] * len(p_values), len(p_values)
    for rank, index in enumerate(np.argsort(p_values)):
        if p_values[index] > LEVEL / (m - rank):
            break
        decided[index] = True
    return decided
