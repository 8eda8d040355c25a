"""Comparisons along a run and over widths, on runs whose ratios are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from cifar_helpers import figures, intervals
from cifar_helpers.measure import compare, quantities, trends
from cifar_helpers.measure.walks import Pair
from cifar_helpers.teach.landscape import Landscape

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
    return quantities.Band(UNEVEN, np.stack([run.values for run in found]))


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
    assert words == "Of 4 comparisons, 1 came out smaller with BN, 1 larger, 2 undecided."


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


def study_of(narrow, wide, monkeypatch):
    """A ``Landscape`` whose two widths have these comparisons, by way."""
    study = Landscape(None, "05", "laptop", 0)
    study.narrow, study.wide = (SimpleNamespace(plain=[1, 2, 3]) for _ in range(2))
    found = {
        id(walks): [fake_way(way, logs) for way, logs in zip(compare.WAYS, ways, strict=True)]
        for walks, ways in ((study.narrow, narrow), (study.wide, wide))
    }
    for way in (way for ways in found.values() for way in ways):
        way.row["trains"] = True
    monkeypatch.setattr(study, "ways", lambda walks: found[id(walks)])
    return study


def test_a_sentence_names_the_three_ways_and_puts_those_that_agree_together(monkeypatch):
    less, open_, more = [-1, -1.1, -0.9], [-1, 1.2, 0.5], [1, 1.1, 0.9]
    study = study_of([less] * 3, [open_, less, more], monkeypatch)
    assert study.answers() == (
        "0.37 (0.29–0.47) at the same step, 0.37 (0.29–0.47) at the same loss and 0.37 (0.29–0.47) at the same distance"
    )
    assert study.decided("less", "more") == "less each time"
    wide = study.decided("less", "more", study.wide)
    assert wide == "undecided at the same step, less at the same loss, more at the same distance"
    assert study.widths_differ() == "at the same distance they do not overlap"
    assert study_of([less] * 3, [less] * 3, monkeypatch).widths_differ() == "they overlap each time"


def test_a_band_is_also_compared_over_the_seeds_whose_runs_all_train():
    def sweep(model, levels):
        found = []
        for seed in range(3):
            for lr, level in zip((1e-4, 1e-3), levels, strict=True):
                run = SimpleNamespace(config=SimpleNamespace(model=model, lr=lr, seed=seed, steps=100))
                run.steps, run.diverged_at = {"loss": np.full(100, level)}, None
                found.append(run)
        return found

    study = Landscape(None, "05", "laptop", 0)
    study.sweep = Pair([*sweep("VGG_A", (1.0, 1.5)), *sweep("VGG_A_BatchNorm", (0.5, 1.5))])
    assert study.width("seeds") is None  # where all train there is no such row
    study = Landscape(None, "05", "laptop", 0)
    study.sweep = Pair([*sweep("VGG_A", (1.0, 1.5)), *sweep("VGG_A_BatchNorm", (0.5, 1.5))])
    for run in study.sweep.plain[1::2][:2]:  # at the larger rate, seeds 0 and 1
        run.steps["loss"] = np.full(100, np.log(10))
    (note,) = (row["note"] for way, row in study.widths.items() if "seeds" in way)
    assert np.exp(study.width("seeds").values) == pytest.approx([2]) and note.endswith("does not train: 0, 1")
    assert np.exp(study.width("the same step").mean) == pytest.approx((1 / (np.log(10) - 1)) ** (2 / 3) * 2 ** (1 / 3))


def test_a_panel_of_the_controls_has_its_own_scale_and_hides_no_line():
    etas = np.array([0.05, 0.1, 0.2, 0.4])
    panels = []
    for step, level in ((1, 2.0), (9, 0.01)):
        flat = np.full((2, 4), level)
        conditions = {"dense": (etas, flat * [1, 1, 2, 9]), "random": (etas, flat), "start": (etas, flat)}
        panels += [{"model": model, "step": step, "stuck": "", "conditions": conditions} for model in ("VGG_A",)]
    figure = figures.landscape.controls(panels, "L", "Controls")
    figure.canvas.draw()
    first, second = figure.axes[:2]
    assert first.get_ylim()[0] > 1 and second.get_ylim()[1] < 1 and figure.axes[-1].get_xlabel() == "rate η"
    drawn = {line.get_label(): line.get_linestyle() for line in first.lines}
    assert drawn["random direction"] == "None" and drawn["L(w), at η = 0"] != "None"
    assert not any("e" in tick.get_text() for axis in figure.axes for tick in axis.get_yticklabels(minor=True))
