"""Notebooks 04 and 10: what is drawn, measured, and said about it follows the numbers, whatever their sign."""

import dataclasses
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cifar_helpers import figures, inside, words
from cifar_helpers.figures import batchnorm_drawings
from cifar_helpers.intervals import paired
from cifar_helpers.measure import ahead, compare
from cifar_helpers.teach import readings, why

LOW, HIGH, BOTH = (paired([0, 0, 0], values) for values in ([-1.0, -1.1, -0.9], [1.0, 1.1, 0.9], [-1.0, 2.0, 0.1]))

NORMS = ("no norm", "batch norm", "noisy batch norm", "group norm", "ℓ1 norm")


def no_store():
    """A page without a record."""
    return SimpleNamespace(store=SimpleNamespace(get=lambda *key: None), images=SimpleNamespace(fingerprint=""))


def run(model="VGG_A", loss=1.0, seed=0, lr=1e-3, optimizer="Adam", accuracy=0.5, diverged=None):
    """What a reading looks at of a record."""
    config = SimpleNamespace(model=model, seed=seed, lr=lr, optimizer=optimizer, steps=40, batch_size=8, model_args={})
    steps = {"loss": np.r_[np.full(8, 2.3), np.full(32, loss)]}
    last = {"validation_loss": loss, "validation_accuracy": accuracy, "train_loss": loss, "step": 40}
    return SimpleNamespace(config=config, steps=steps, epochs=[last], diverged_at=diverged, provenance={})


def test_a_half_width_is_that_of_the_intervals_we_report():
    values = [0.3, -1.2, 2.0]
    low, high = paired([0, 0, 0], values).interval
    assert batchnorm_drawings.t_factor(3) * np.std(values, ddof=1) == pytest.approx((high - low) / 2)


def test_a_text_goes_by_the_interval_and_not_by_the_mean():
    said = [words.by_side(found, "below", "above", "open") for found in (LOW, HIGH, BOTH, None)]
    assert said == ["below", "above", "open", "open"]
    assert words.by_side(paired([0], [-5]), "below", "above", "open") == "open", "one seed decides nothing"
    assert [words.counted(k, 3, "seeds") for k in (0, 2, 3)] == ["none of 3 seeds", "2 of 3 seeds", "all 3 seeds"]
    assert words.listed(["a"]) == "a" and words.listed(["a", "b", "c"]) == "a, b and c"


def test_a_line_speaks_for_its_claim_only_where_the_interval_does():
    found = (LOW, HIGH, BOTH, None, paired([0], [-5]))
    wants_less, wants_more = ([why.Line("c", "m", each, sign, "s").says for each in found] for sign in (-1, 1))
    lacking = ["not tested: not recorded here", "not tested: one seed"]
    assert wants_less == ["for", "against", "undecided", *lacking]
    assert wants_more == ["against", "for", "undecided", *lacking]
    assert why.Line("c", "m", LOW, -1, "s", missing="no control").says == "not tested: no control"
    assert why.Line("c", "m", None, -1, "s").row()["number"] == "not recorded here"
    row = why.Line("c", "m", LOW, -1, "s", "05", logs=True).row()
    assert str(row["number"]) == "0.368 [0.287, 0.472]" and row["number"].numbers["decided"]
    assert (row["setting"], row["notebook"], row["our records"]) == ("s", "05", "for")


def test_every_line_of_both_tables_has_a_setting_and_one_of_the_four_words():
    page, nets = no_store(), {name: [run(loss=2.0 - i / 9, seed=s) for s in range(3)] for i, name in enumerate(NORMS)}
    shifts = {"l2": HIGH, "relative": BOTH, "cosine": BOTH}
    moves = {"no norm": [3.0, 3.1, 2.9], "noisy batch norm": [1.0, 1.1, 0.9]}
    lines = why.evidence(page, "quick", 0, nets, shifts, moves)
    assert lines["noisy batch norm"].says.startswith("not tested: the noise is not shown"), "it puts no shift back"
    more = why.evidence(page, "quick", 0, nets, shifts, moves | {"no norm": [0.1, 0.1, 0.12]})
    assert more["noisy batch norm"].says in ("for", "against", "undecided")
    growth = {"no norm": [[1.0, 2.0]] * 3, "batch norm": [[3.0, 4.0], [3.1, 4.0], [3.0, 4.1]]}
    sharp = {name: [{"rate": 0.1, "values": [40, 2], "steps": [0, 6], "losses": [2]}] for name in growth}
    depth = {"no norm": {2: [1.0, 1.1]}, "batch norm": {2: [5.0, 5.2]}}
    found = growth, sharp, dict.fromkeys(growth, [0.1]), depth, (run(), {0: 2.0, 9: 2.2})
    later = why.explanations(page, "quick", 0, *found)
    assert [line.says for line in later if "Bjorck" in line.claim] == ["against"]
    assert [line.says for line in later if "‖w‖ grows" in line.claim] == ["not tested: one seed"]
    for line in [*lines.values(), *later]:
        assert line.setting and line.says.split(":")[0] in ("for", "against", "undecided", "not tested")


def test_rates_at_which_a_network_is_stuck_are_counted_and_left_out_beside(monkeypatch):
    sweep = [run(loss=1 + rate, seed=s, lr=rate) for s in range(3) for rate in (0.1, 0.2, 0.3)]
    sweep += [run("VGG_A_BatchNorm", 0.5 + rate + s / 99, s, rate) for s in range(3) for rate in (0.1, 0.2, 0.3)]
    sweep[0].steps["loss"][:] = 2.3
    monkeypatch.setattr(why, "recorded", lambda *args: sweep)
    (note, every, where), (beside, trains, _) = why.over_rates(no_store(), "quick", 0, np.mean)
    assert note == "; 1 of 18 runs do not train and are counted" and beside == "; where both train"
    assert every.values[0] == pytest.approx(-0.5 - (2.3 - 1.1) / 3) and trains.values[0] == pytest.approx(-0.5)
    assert every.values[1] == trains.values[1] and where == "full width, 40 steps, 3 seeds"
    monkeypatch.setattr(why, "recorded", lambda *args: sweep[1:3] + sweep[10:12])
    assert [note for note, *_ in why.over_rates(no_store(), "quick", 0, np.mean)] == [""]


def test_the_answer_has_the_sides_of_its_lines():
    def line(found, sign=-1, logs=False):
        return why.Line("c", "m", found, sign, "s", logs=logs)

    lines = {
        f"loss {way} {width}": line(LOW, logs=True) for way in ("loss", "distance") for width in ("wide", "narrow")
    }
    lines |= {"sgd": line(LOW), "l2": line(HIGH), "relative": line(BOTH), "cosine": line(BOTH, 1)}
    lines |= {f"ℓ{p} norm": dataclasses.replace(line(LOW, 1), claim="it helps by fixing distributions") for p in "12"}
    lines["group norm"] = dataclasses.replace(line(BOTH, 1), claim="it helps by averaging over the batch")
    said = why.answer(lines)
    assert "speak against *fixing distributions*, and neither way on *averaging over the batch*" in said
    assert said.startswith("Batch norm trains faster") and "speak for a *smoother landscape*" in said
    assert "0.37 [0.29, 0.47] times as much (s)" in said and "finds no support (‖G − G′‖ is larger" in said
    lines |= {"sgd": line(HIGH), "l2": line(LOW), "loss loss narrow": line(BOTH, logs=True)}
    lines["ℓ1 norm"] = dataclasses.replace(lines["ℓ1 norm"], found=HIGH)
    lines["group norm"] = dataclasses.replace(lines["group norm"], found=HIGH)
    said = why.answer(lines)
    assert "speak neither way on *fixing distributions*, and for *averaging over the batch*" in said
    assert said.startswith("Batch norm trains more slowly") and "speak neither way on" in said
    assert "finds some support (‖G − G′‖ is smaller" in said


def test_who_is_ahead_is_said_with_the_sign():
    def row(found, with_stuck=None):
        return {"rate": 0.1, "by_seeds": (found, with_stuck or found)}

    assert readings.ahead([row(LOW)]) == "Batch norm is ahead by 1.00 nats at rate 0.1."
    assert "The plain network is ahead by 1.00 nats" in readings.ahead([row(HIGH)])
    assert readings.ahead([row(BOTH), row(None)]) == "Nothing is decided at rates 0.1 and 0.1."
    text = readings.ahead([row(paired([0, 0], [-1, -1.01]), BOTH)])
    assert "Where both train, batch norm is ahead" in text and "Over all seeds, nothing is decided" in text
    assert text.endswith("(stuck: 1 of 3 pairs).")
    two = {"rate": 0.2, "by_seeds": (paired([0, 0], [-3, -3.2]),) * 2}
    assert readings.ahead([row(LOW), two]) == "Batch norm is ahead by 1.00 and 3.10 nats at rates 0.1 and 0.2."
    titles = [("at 1 of 2 rates where both train,\nat 0 of 2 over all seeds", [row(LOW, BOTH), row(None)])]
    titles += [("at 1 of 2 (behind at 1) rates", [row(LOW), row(HIGH)])]
    for said, rows in titles:
        figure = figures.training.loss_gap(rows, "steps 32 to 40")
        assert figure._suptitle.get_text() == f"Batch norm is ahead {said}"
        plt.close(figure)


def test_the_answer_counts_the_stuck_runs_and_every_pair():
    runs = [run(loss=2.3), run(seed=1), run("VGG_A_BatchNorm", 0.5), run("VGG_A_BatchNorm", 0.5, seed=1)]
    for each, accuracy in zip(runs, (0.1, 0.5, 0.6, 0.7), strict=True):
        each.epochs[-1]["test_accuracy"] = accuracy
    compared = compare.same_step_rows(runs[:2], runs[2:])
    text = readings.answer(compared, runs)
    assert "in all 2 pairs of runs; 1 of 2 plain runs and none of 2 with batch norm fail to train" in text
    assert text.startswith("over all seeds, nothing is decided at rate 0.001.")
    assert [ahead.test_accuracies(mine) for mine in (runs[2:], runs[:2])] == ["60.0, 70.0 %", "10.0, 50.0 %"]
    never = compare.same_step_rows(runs[:1], runs[2:3])
    assert readings.ahead(never).startswith("Where both train, nothing is decided"), "there is no such seed"
    assert ahead.rate_rows(never)[0]["where both train"] == "at no seed"
    (row,) = ahead.rate_rows(compared)
    assert "1 of 1" not in str(row["over all seeds"]) and str(row["over all seeds"]).startswith("undecided: -1.150")


def test_whether_a_lead_lasts_is_said_of_loss_and_accuracy():
    both = [run("VGG_A", 1.5, seed=0), run("VGG_A", 1.6, seed=1)]
    both += [run("VGG_A_BatchNorm", 1.0, seed=0), run("VGG_A_BatchNorm", 1.1, seed=1)]
    for each, accuracy in zip(both, (0.6, 0.61, 0.65, 0.66), strict=True):
        each.epochs[-1]["validation_accuracy"] = accuracy
    text = readings.lasts(both)
    assert "batch norm is ahead by 0.50 nats at rate" in text and text.endswith(
        "it is ahead: 65.5 % with it, 60.5 % without (means)."
    )
    for each, accuracy in zip(both, (0.6, 0.7, 0.7, 0.6), strict=True):
        each.epochs[-1]["validation_accuracy"] = accuracy
    assert "On validation images nothing is decided" in readings.lasts(both)


def test_of_the_family_no_more_is_said_than_one_seed_allows():
    names = ("VGG_A", "VGG_A_BatchNorm", "VGG_A_Light", "VGG_A_Dropout", "VGG_A_BatchNorm_Dropout")
    text = readings.family([run(name, loss) for name, loss in zip(names, (1.6, 1.2, 1.3, 1.5, 1.4), strict=True)])
    order = "VGG-A + BN has the lowest validation loss, VGG-A the highest."
    assert text.startswith(f"{order} The light net ends 0.30 nats below plain VGG-A")
    assert text.endswith("raises that of VGG-A + BN by 0.20 nats. With one seed, all of this may be luck.")
    text = readings.family([run(name, loss) for name, loss in zip(names, (1.6, 1.2, 1.7, 1.7, 1.4), strict=True)])
    assert "light" not in text and "raises that of VGG-A + BN by 0.20 nats." in text


def test_a_loss_that_jumps_off_the_figure_is_written_into_it():
    runs = [run(loss=2.3, optimizer="SGD"), run("VGG_A_BatchNorm", optimizer="SGD")]
    said = f"One seed each and {runs[0].config.steps} steps: this is what can happen, not how often."
    assert readings.hard(runs) == f"No run diverged. {said}"
    runs[0].steps["loss"][1] = 411
    figure = figures.training.hard_settings(runs, compare.smooth, 5, "A claim")
    assert [text.get_text() for text in figure.axes[0].texts] == ["up to 411"]
    assert max(figure.axes[0].lines[0].get_ydata()) == figures.training.CUT
    plt.close(figure)


def test_a_network_that_does_not_train_is_counted():
    runs = [run(loss=2.3), run(seed=1), run("VGG_A_BatchNorm"), run("VGG_A_BatchNorm", seed=1)]
    assert "1 of 2 plain networks never gets there" in readings.training(runs)
    assert "never" not in readings.training(runs[1:])
    assert readings.hard_title(runs[:1] + runs[2:3]).endswith("batch norm trains at 1 and plain VGG-A at 0")


def test_the_shift_is_reduced_only_where_the_relative_one_is():
    for relative, said in ((LOW, "does reduce"), (HIGH, "None of this"), (BOTH, "None of this")):
        assert said in readings.shift({"l2": HIGH, "relative": relative, "cosine": BOTH}, {"conv 2": LOW})


def test_the_map_and_the_late_half_are_those_of_the_records():
    tried = {(name, rate, 1.0): run(accuracy=rate) for name in ("no norm", "batch norm") for rate in (0.1, 0.3)}
    tried["no norm", 0.3, 1.0] = run(diverged=7)
    rates, scales, grid = ahead.grid(tried)
    assert (rates, scales, list(grid)) == ([0.1, 0.3], [1.0], ["no norm", "batch norm"])
    assert grid["batch norm"].tolist() == [[0.1, 0.3]] and np.isnan(grid["no norm"][0, 1])
    found = [{0: [{"l2": 9.0}], 5: [{"l2": 1.0}], 9: [{"l2": 3.0}]}]
    assert inside.shift.late(found, "l2") == [2.0]
    assert inside.shift.late([{0: [{"l2": 1.0}, {"l2": 5.0}]}], "l2", slice(1, 2)) == [5.0]
    assert inside.shift.series({"no norm": found}, ["conv 2"], "l2") == {
        "conv 2": {"no norm": [([0, 5, 9], [9.0, 1.0, 3.0])]}
    }


def test_behind_batch_norm_the_gradient_is_at_a_right_angle(small_data, store):
    found = {
        norm: inside.explanations.large_steps(small_data, store, norm, 0, 8, steps=1) for norm in ("batch", "none")
    }
    assert found["batch"]["cosine"] < 1e-4 < found["none"]["cosine"]
    assert len(found["none"]["growth"]) == 8 and all(value > 0 for value in found["none"]["growth"])
    assert inside.explanations.large_steps(small_data, store, "none", 0, 8, steps=1) == found["none"], "stored"


def test_sharpness_is_the_largest_eigenvalue_where_it_starts(small_data, store):
    found = inside.explanations.sharpness(small_data, store, "none", 0, 4, steps=1, looks=2, device="cpu")
    model, batch = (
        inside.explanations.small("none", 0),
        inside.explanations.batch_of(small_data, 4, torch.device("cpu")),
    )
    assert found["steps"] == [0, 1] and len(found["losses"]) == 1
    assert found["values"][0] == pytest.approx(inside.curvature.top_eigenvalues(model, batch)[0], rel=0.02)
