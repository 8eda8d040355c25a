"""Comparisons along a run and over widths, on runs whose ratios are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from cifar_helpers import figures, intervals
from cifar_helpers.measure import compare, quantities, trends

UNEVEN = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 40, 60, 80, 90])  # often at first, as the narrow probe is


def runs(model, values, seeds=3):
    """Runs of 100 steps, recorded at ``UNEVEN``, whose quantity is ``values(step)`` times one factor per seed."""
    loss = np.linspace(2, 0.5, 100)
    return [
        SimpleNamespace(
            config=SimpleNamespace(model=model, lr=0.1, seed=seed, steps=100),
            steps={"loss": loss},
            diverged_at=None,
            values=values(UNEVEN) * (1 + 0.05 * seed),
        )
        for seed in range(seeds)
    ]


def quantity(found):
    return quantities.Band(UNEVEN, np.stack([run.values for run in found]), ("",) * len(found))


def test_the_window_is_a_share_of_the_run_however_often_it_was_measured():
    plain, other = runs("VGG_A", lambda t: 1.0 + 0 * t), runs("VGG_A_BatchNorm", lambda t: np.where(t >= 80, 0.5, 4.0))
    row = compare.ratio_rows(plain, other, quantity)[0]
    assert np.exp(row["paired"].mean) == pytest.approx(0.5)  # steps 80 to 99 alone, not the last fifth of the values


def test_over_time_gives_the_ratio_of_every_part_that_was_measured():
    plain = runs("VGG_A", lambda t: 1.0 + 0 * t)
    other = runs("VGG_A_BatchNorm", lambda t: np.where(t < 50, 2.0, 0.25))
    rows = trends.over_time(plain, other, quantity, parts=10)
    assert [row["step"] for row in rows] == [5, 25, 45, 65, 85, 95]
    assert [np.exp(row["paired"].mean) for row in rows] == pytest.approx([2, 2, 2, 0.25, 0.25, 0.25])
    figure = figures.landscape.over_time({"β": rows}, "A title")
    assert any(np.allclose(line.get_ydata(), [2, 2, 2, 0.25, 0.25, 0.25]) for line in figure.axes[0].lines)


def fake_way(way, logs):
    outcome = intervals.paired(np.zeros(len(logs)), logs) if len(logs) else None
    return compare.Comparison(
        way, {}, {"paired": outcome, "plain": 1.0, "other": 1.0, "ratio": "", "note": ""}, "", None
    )


def test_nine_answers_say_what_the_intervals_say():
    ways = [fake_way("step", [-1, -1.1, -0.9]), fake_way("loss", [1, 1.1, 0.9]), fake_way("distance", [-1, 1, 0.5])]
    rows = trends.nine_answers({"loss": ways, "beta": [fake_way("step", [])]})
    assert [row["the interval says"] for row in rows] == [
        "smaller with BN",
        "larger with BN",
        "undecided",
        "not compared",
    ]
    assert [row["smaller with BN"] for row in rows] == ["3 of 3 seeds", "0 of 3 seeds", "1 of 3 seeds", "–"]
    words = trends.in_words({"loss": ways, "beta": [fake_way("step", [])]})
    assert words == "Of 4 comparisons 1 came out smaller with BN, 1 larger; 2 are open."


def test_the_table_of_widths_puts_equal_ways_under_one_another():
    ways = [fake_way(way, [-1, -1.1]) for way in compare.WAYS]
    wide, narrow = runs("VGG_A", lambda t: t), runs("VGG_A", lambda t: t, 5)
    rows = trends.width_table({"1": (wide, ways), "⅛": (narrow, ways)}, "nats")
    assert [(row["width"], row["seeds"], row["compared at"]) for row in rows[:3]] == [
        ("1", "3", "the same step"),
        ("⅛", "5", "the same step"),
        ("1", "3", "the same training loss"),
    ]


def test_runs_that_are_narrow_in_both_columns_stand_once_in_the_table_of_widths():
    ways = [fake_way(way, [-1, -1.1]) for way in compare.WAYS]
    narrow = runs("VGG_A", lambda t: t)
    rows = trends.width_table({"1": (narrow, ways), "⅛": (narrow, ways)}, "nats")
    assert [row["width"] for row in rows] == ["⅛"] * 3
