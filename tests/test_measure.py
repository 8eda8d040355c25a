import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from cifar_helpers import figures, intervals, words
from cifar_helpers.env import CourseError
from cifar_helpers.measure import compare, evidence, quantities
from cifar_helpers.measure.precision import precision_gap
from cifar_helpers.measure.walks import Pair, Walks
from cifar_helpers.training import probes
from cifar_helpers.training.config import RunConfig


def record(lr, **steps):
    return SimpleNamespace(config=RunConfig("VGG_A", lr=lr), steps={n: np.array(v, float) for n, v in steps.items()})


def test_band_is_the_envelope_over_rates_at_the_same_step():
    band = quantities.loss_band(
        [record(1e-3, loss=[3, 1, 2]), record(1e-4, loss=[2, 2, 2]), record(2e-3, loss=[4, np.nan])]
    )
    assert band.min_curve.tolist() == [2, 1, 2] and band.max_curve.tolist() == [4, 2, 2]
    assert band.curves.shape == (3, 3)


def test_beta_divides_distance_by_move_of_the_same_step_and_skips_steps_without_a_move():
    run = record(1e-3, grad_dist_1=[np.nan, 6, 3, 1], moved=[np.nan, 2, 0, 4])
    np.testing.assert_array_equal(quantities.VGG_Beta_Smooth([run]).curves[0], [np.nan, 3, np.nan, 0.25])


def test_a_quantity_that_was_not_recorded_is_named():
    with pytest.raises(CourseError, match="gap of 5 was not recorded; choose one of 1"):
        quantities.VGG_Grad_Pred([record(1e-3, loss=[1.0])], gap=5)
    with pytest.raises(CourseError, match="no moved; it has loss"):
        quantities.VGG_Beta_Smooth([record(1e-3, loss=[1.0])])
    with pytest.raises(CourseError, match="'output'"):
        quantities.VGG_Grad_Pred([record(1e-3, loss=[1.0])], layer="last")
    with pytest.raises(CourseError, match="at least one"):
        quantities.loss_band([])


def test_paired_interval_equals_scipys_paired_t_test():
    a, b = [1.0, 2.0, 4.0, 3.0], [1.5, 2.1, 5.0, 3.2]
    result, oracle = intervals.paired(a, b), stats.ttest_rel(b, a).confidence_interval(0.95)
    assert result.interval == pytest.approx((oracle.low, oracle.high)) and result.mean == pytest.approx(0.45)
    assert result.decided == (not oracle.low <= 0 <= oracle.high)


def test_one_pair_has_no_interval_and_decides_nothing():
    single = intervals.paired([1.0], [0.5])
    assert single.interval is None and not single.decided and single.mean == -0.5
    with pytest.raises(CourseError):
        intervals.paired([1.0], [0.5, 0.2])
    with pytest.raises(CourseError):
        intervals.paired([], [])


def test_diverged_runs_are_named_and_never_compared():
    def at(loss, seed, diverged=None):
        run = record(1e-3, loss=np.full(10, loss), grad_dist_1=np.ones(10), moved=np.ones(10))
        return SimpleNamespace(config=RunConfig("VGG_A", seed=seed), steps=run.steps, diverged_at=diverged)

    gone = [at(np.nan, seed, 3) for seed in range(3)]
    fine = [at(1.0, seed) for seed in range(3)]
    row = compare.same_step_rows(gone, fine)[0]
    assert row["verdict"].startswith("not compared") and row["note"] == "no BN diverged (3 of 3 seeds)"
    assert compare.ratio_rows(gone, fine, quantities.VGG_Beta_Smooth)[0]["ratio"].startswith("not compared")
    partly = compare.same_step_rows([at(np.nan, 0, 3), at(2.0, 1), at(2.0, 2)], fine)[0]
    assert partly["plain"] == 2.0 and len(partly["paired"].values) == 2
    assert partly["note"] == "no BN diverged (1 of 3 seeds)"
    assert compare.same_step_rows(fine, fine)[0]["verdict"] == "equal (n = 3)"


def test_window_mean_and_smoothing():
    assert compare.window_mean(np.arange(10.0)) == 8.5
    assert compare.window_mean(np.array([1, 1, 1, 1, 5, 2, np.nan, 2, np.nan, 4])) == 4
    assert compare.window_mean(np.array([3.0, 7.0])) == 7
    assert np.isnan(compare.window_mean(np.array([np.nan])))
    np.testing.assert_allclose(compare.smooth(np.array([0.0, 3, 6, 9]), 3), [1.5, 3, 6, 7.5])
    np.testing.assert_allclose(compare.smooth(np.array([np.nan, 2, 4]), 3), [2, 3, 3])


def test_precision_gap_is_zero_between_equal_precisions_and_leaves_the_model_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batches = [(torch.randn(8, 3, 8, 8), torch.randint(0, 10, (8,))) for _ in range(2)]
    plain = torch.autocast("cpu", enabled=False)
    gaps = precision_gap(model, *batches, 1e-3, {"fp32": lambda: plain, "bf16": lambda: plain})
    assert gaps == {"loss": 0, "grad_norm": 0, "grad_dist_1": 0, "gradient": 0}
    low = lambda: torch.autocast("cpu", torch.bfloat16)  # noqa: E731
    gaps = precision_gap(model, *batches, 1e-3, {"fp32": lambda: plain, "bf16": low})
    assert 0 < gaps["gradient"] < 0.1 and all(value < 0.05 for value in gaps.values())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


# --- three ways to compare, and what the proxy is made of -----------------------------------------------------------


def sgd_run(model, seed, speed, factor, plateau=0, steps=200):
    """A run whose loss falls with a speed and whose probed gradient distance is factor × η × its gradient norm."""
    t = np.arange(steps)
    loss = np.where(t < plateau, np.log(10), 0.3 + 1.9 * np.exp(-speed * np.maximum(t - plateau, 0)))
    at = t[::5]
    etas = np.array(GRID.etas)
    norm = 2 * loss[at] * np.where(at < plateau, 0.1, 1)
    distance = factor * norm[:, None] * etas * (1 + 0.01 * seed)
    values = {"step": at, "start_loss": loss[at], "loss": loss[at][:, None] + factor * etas * loss[at][:, None]}
    values |= {"gradient_norm": norm, "weight_norm": np.full(len(at), 50.0), "gradient_distance": distance}
    values |= {f"{n}_out": v / 3 for n, v in values.items() if n in ("gradient_norm", "gradient_distance")}
    found = probes.ProbeRecord(GRID, values, {})
    steps_ = {"loss": loss, "moved": 0.1 * norm.mean() * np.ones(steps), "weight_norm": np.full(steps, 50.0)}
    steps_ |= {"grad_dist_1": np.full(steps, 5.0), "grad_dist_1_out": np.full(steps, 2.0), "moved_out": steps_["moved"]}
    config = RunConfig(model, optimizer="SGD", lr=0.1, steps=steps, seed=seed)
    return SimpleNamespace(config=config, steps=steps_, probes={GRID: found}, diverged_at=None)


GRID = probes.ProbeConfig("along_gradient", every=5, etas=probes.eta_grid(0.1, 7))
SLOW = [sgd_run("VGG_A", seed, 0.005, 4.0, plateau=60) for seed in (0, 1, 2)]
FAST = [sgd_run("VGG_A_BatchNorm", seed, 0.012, 2.0) for seed in (0, 1, 2)]


def three(quantity):
    return compare.three_ways(
        SLOW,
        FAST,
        lambda runs: quantities.probe_summary(runs, GRID, quantity),
        lambda run: quantities.probe_cloud(run, GRID, quantity),
    )


def test_a_probes_summary_is_the_width_of_the_loss_and_the_largest_of_the_others():
    run, etas = SLOW[0], np.array(GRID.etas)
    found = run.probes[GRID]
    width = quantities.probe_summary([run], GRID, "loss").curves[0]
    np.testing.assert_allclose(width, found["loss"][:, -1] - found["loss"][:, 0])
    np.testing.assert_allclose(
        quantities.probe_summary([run], GRID, "distance").curves[0], found["gradient_distance"][:, -1]
    )
    beta = quantities.probe_summary([run], GRID, "beta", "output")
    np.testing.assert_allclose(beta.curves[0], 4.0, rtol=1e-6)
    np.testing.assert_allclose(quantities.relative_distance(found)[3], etas * found["gradient_norm"][3] / 50)
    spent = found.values | {"gradient_distance": np.repeat(found["gradient_norm"][:, None], len(etas), axis=1)}
    gone, steep = (probes.ProbeRecord(GRID, values, {}) for values in (spent, dict(spent)))
    steep.values["gradient_distance"] = spent["gradient_distance"] * etas**2
    assert (quantities.at_shortest(gone), quantities.at_shortest(steep)) == (1, 0)
    np.testing.assert_allclose(np.nanmax(quantities.probe_values(gone, "beta"), axis=1), 1 / etas[0])
    with pytest.raises(CourseError, match="loss, change, distance or beta"):
        quantities.probe_values(found, "slope")
    with pytest.raises(CourseError, match="probes="):
        quantities.probe_summary([run], probes.ProbeConfig("along_gradient", every=7, etas=(0.1,)), "loss")


def test_at_the_same_loss_a_difference_in_progress_drops_out():
    step, loss, distance = (each.row for each in three("distance"))
    assert np.exp(loss["paired"].mean) == pytest.approx(0.5, rel=0.05)  # half the distance wherever the loss is equal
    assert np.exp(step["paired"].mean) < 0.3  # and far less at the same step, since BN's loss is lower
    assert np.exp(distance["paired"].mean) == pytest.approx(0.5, rel=0.05)
    assert loss["paired"].decided and len(loss["paired"].values) == 3
    again = three("beta")
    assert all(np.exp(each.row["paired"].mean) == pytest.approx(0.5, rel=1e-6) for each in again)


def test_matching_uses_only_the_steps_that_train_and_says_where_nothing_is_shared():
    assert compare.not_training(SLOW[0])[:50].all() and not compare.not_training(SLOW[0])[-50:].any()
    loss = three("distance")[1]
    assert all((x < np.log(10) - compare.NOT_TRAINING).all() for x, _ in loss.points["VGG_A"])
    stuck = [sgd_run("VGG_A", seed, 0.005, 4.0, plateau=200) for seed in (0, 1, 2)]
    rows = compare.loss_rows(stuck, FAST, lambda runs: quantities.probe_summary(runs, GRID, "distance"))
    assert rows[0]["paired"] is None and "3 of 3 seeds share no range" in rows[0]["in_words"]
    mixed = compare.loss_rows(stuck[:1] + SLOW[1:], FAST, lambda runs: quantities.probe_summary(runs, GRID, "distance"))
    assert len(mixed[0]["paired"].values) == 2 and "1 of 3" in mixed[0]["note"]
    np.testing.assert_array_equal(compare.share_not_training([stuck[0], SLOW[0]])[[100, 10]], [0.5, 1.0])


def test_one_seed_has_no_interval_and_an_interval_with_1_is_not_decided():
    rows = compare.loss_rows(SLOW[:1], FAST[:1], lambda runs: quantities.probe_summary(runs, GRID, "distance"))
    assert "n = 1, no interval" in rows[0]["ratio"]
    odd = [sgd_run("VGG_A_BatchNorm", seed, 0.03, factor) for seed, factor in ((0, 2.0), (1, 8.0), (2, 3.0))]
    row = compare.ratio_rows(SLOW, odd, lambda runs: quantities.probe_summary(runs, GRID, "beta"))[0]
    assert "includes 1" in row["ratio"]
    assert words.side(row["paired"], "smaller", "larger", row["trains"]).endswith("the seeds do not decide it")
    assert words.side(row["paired"], "smaller", "larger", False).startswith("not judged")


def test_the_sign_test_and_holms_correction_equal_their_definitions():
    result = intervals.paired([0] * 5, [1, 2, 3, 4, 5])
    assert result.sign_p == pytest.approx(2 / 2**5) and result.same_sign == 5
    assert result.p == pytest.approx(stats.ttest_1samp([1, 2, 3, 4, 5], 0).pvalue)
    mixed = intervals.paired([0] * 4, [1, -2, 3, 0])
    assert mixed.sign_p == pytest.approx(stats.binomtest(2, 3).pvalue) and mixed.same_sign == 2
    assert intervals.paired([0], [1]).sign_p is None is intervals.paired([0], [1]).p
    assert intervals.holm([0.04, 0.001, 0.02, 0.03]) == [False, True, False, False]  # 0.02 > 0.05 / 3
    assert intervals.holm([0.01, 0.02, 0.04]) == [True, True, True] and intervals.holm([]) == []
    number = intervals.ratio(result)
    assert number.side == "above" and number.decided and intervals.level([1, 2], "%").side is None


def test_the_largest_over_the_rates_is_paired_over_all_seeds():
    def runs(model, factor):
        made = []
        for seed in range(3):
            for lr in (1e-3, 1e-4):
                run = record(lr, loss=[1.0] * 20)
                level = factor * (1 + seed / 100) * (2 if lr == 1e-4 else 1)
                steps = run.steps | {"grad_dist_1": np.full(20, level), "moved": np.ones(20)}
                run.config, run.steps = dataclasses.replace(run.config, model=model, seed=seed), steps
                run.diverged_at = None
                made.append(run)
        return made

    row = evidence.peak_row(runs("VGG_A", 1.0), runs("VGG_A_BatchNorm", 3.0), quantities.VGG_Beta_Smooth)
    assert (
        row["ratio"].startswith("3.00")
        and len(row["paired"].values) == 3
        and row["plain"] == pytest.approx(2.02, rel=1e-3)
    )
    assert evidence.rates_that_train(runs("VGG_A", 1.0)) == [1e-4, 1e-3]


def test_batch_noise_is_what_one_batch_takes_away():
    probe = probes.ProbeConfig("same_batch", every=5)
    run = sgd_run("VGG_A", 0, 0.01, 1.0)
    at = np.arange(1, 201, 5)
    values = {"step": at, "gradient_distance": np.full(40, 3.0), "moved": np.full(40, 0.5)}
    run.probes[probe] = probes.ProbeRecord(probe, values, {})
    assert evidence.noise_share(run, probe) == pytest.approx(1 - 9 / 25)
    np.testing.assert_allclose(quantities.same_batch([run], probe, "beta").curves[0], 6.0)


def test_controls_are_ratios_at_one_step_and_a_turned_sign_is_named():
    noise = probes.ProbeConfig("noise", at=(100,), batches=2)
    dense = probes.ProbeConfig("along_gradient", at=(100,), etas=(0.05, 0.2, 0.4))
    controls = {"dense": dense, "eval": dataclasses.replace(dense, mode="eval"), "noise": noise}
    controls["random"] = dataclasses.replace(dense, direction="random")
    for sides, eval_factor in ((SLOW, 1.0), (FAST, 7.0)):
        for run in sides:
            base = {n: v[20:21] for n, v in run.probes[GRID].values.items()}
            three_etas = {n: v[:, [0, 4, 6]] if v.ndim == 2 else v for n, v in base.items()}
            for name, factor in (("dense", 1.0), ("eval", eval_factor), ("random", 0.1)):
                scaled = three_etas | {"gradient_distance": three_etas["gradient_distance"] * factor}
                run.probes[controls[name]] = probes.ProbeRecord(controls[name], scaled, {})
            floor = {"step": np.array([100]), "gradient_distance": base["gradient_distance"][:, -1:] / 4}
            floor |= {"loss": base["start_loss"][:, None], "gradient_norm": base["gradient_norm"]}
            run.probes[noise] = probes.ProbeRecord(noise, floor, {})
    rows = evidence.control_rows(SLOW, FAST, GRID, controls, "beta")
    ratios = {row["condition"].split(" (")[0]: np.exp(row["ratios"][100].mean) for row in rows}
    assert ratios["7 step lengths"] == pytest.approx(0.5) and ratios["batch norm in eval mode"] == pytest.approx(3.5)
    said = evidence.survives(rows, 100)
    assert "with batch norm in eval mode it goes the other way at step 100: 3.5" in said and "random" not in said
    early = {50: intervals.paired([0.0, 0.0], [1.0, 1.1]), **rows[0]["ratios"]}
    turned = [rows[0] | {"ratios": early, "stuck": {50: "", 100: "no BN: 1 of 3 not training"}}, *rows[1:]]
    more = evidence.survives(turned, 100)
    assert more.startswith("0.50 (") and " at step 100 (no BN: 1 of 3 not training); at step 50" in more
    assert "; at step 50 it is larger with batch norm; with batch norm in eval mode it goes the other way" in more
    assert "it is larger" not in said
    for pair in ([0.0], [0.1]), ([0.1], [0.0]):  # one seed decides nothing, whichever way it points
        by_one = [rows[0], rows[1] | {"ratios": {100: intervals.paired(*pair)}}]
        assert "no control decides the other way" in evidence.survives(by_one, 100)
    undecided = [rows[0] | {"ratios": {100: intervals.paired([0.0], [0.1])}}, rows[1] | {"ratios": {100: None}}]
    said = evidence.survives(undecided, 100)
    assert (
        "where these seeds decide nothing; nor do the controls" in said
        and f"not compared: {rows[1]['condition']}" in said
    )
    assert not np.isfinite(evidence.at_step(SLOW[0], dense, "beta", 7)).any()  # a step that was not measured
    assert evidence.not_finite([SLOW, FAST], GRID) == ""
    assert list(evidence.control_table(rows)[0])[1] == "BN / no BN at step 100"
    assert evidence.floor_rows(SLOW, GRID, noise, "distance")[0]["step 100"].startswith("4.00")
    figure = figures.landscape.controls(evidence.control_panels(SLOW + FAST, GRID, controls, "beta"), "β", "Controls")
    figure.canvas.draw()


def test_the_band_of_a_sweep_is_paired_by_seed():
    runs = [record(lr, loss=[level] * 20) for seed in (0, 1) for lr, level in ((1e-3, 1.0), (1e-4, 1.5 + seed / 2))]
    for run, seed in zip(runs, (0, 0, 1, 1), strict=True):
        run.config, run.diverged_at = dataclasses.replace(run.config, seed=seed), None
    found = quantities.sweeps(runs)
    assert [sweep.steps["width"][0] for sweep in found] == [0.5, 1.0] and found[1].steps["loss"][0] == 1.5
    direct = [sgd_run("VGG_A", 0, 0.01, 1.0)]
    half = {
        "whole": quantities.loss_band,
        "half": lambda r: quantities.at_steps(quantities.loss_band(r), np.array([0, 19])),
    }
    parts = evidence.band_parts(runs, half, direct, GRID, "loss")
    with pytest.raises(CourseError, match="two"):
        quantities.sweeps(runs[:1])
    assert len(quantities.sweeps(runs[:3])) == 1  # a seed without all rates has no band
    assert parts[0]["whole"] == "0.750 (n = 2)" and parts[0]["half"].startswith("0.750 (100% of it, n = 2")
    runs[-1].steps["loss"][:] = 2.3
    parts = evidence.band_parts(runs, half, direct, GRID, "loss")
    assert parts[0]["whole"] == "0.500 (n = 1)" and "n = 1" in parts[0]["half"], "a seed with a stuck run is left out"


def test_the_three_ways_are_drawn():
    ways = three("distance")
    idle = {runs[0].config.model: compare.share_not_training(runs) for runs in (SLOW, FAST)}
    bands = {r[0].config.model: [quantities.probe_band(run, GRID, "distance") for run in r] for r in (SLOW, FAST)}
    for figure in (
        figures.landscape.three_ways(ways, "distance", "Three ways", idle),
        figures.landscape.probe_bands(bands, "distance", "Bands", idle),
        figures.landscape.bands({"one": {"VGG_A": bands["VGG_A"][0]}}, "d", "T", 1, compare.smooth, idle={"one": idle}),
    ):
        figure.canvas.draw()
        assert any("not training" in text.get_text() for axis in figure.axes for text in axis.texts)


def test_a_pair_knows_whose_its_runs_are_and_walks_compare_them():
    walks = Walks([FAST[1], *SLOW, FAST[0], FAST[2]], GRID)
    assert walks.plain == SLOW and walks.normed == [FAST[1], FAST[0], FAST[2]] and walks.length == "200 steps, 3 seeds"
    assert {name: len(bands) for name, bands in walks.along("beta").items()} == {"VGG_A": 3, "VGG_A_BatchNorm": 3}
    assert walks.level("beta") == pytest.approx((4.0 * 1.01, 2.0 * 1.01))  # the factors of the runs, seeds 0 to 2
    ours, theirs = (found[0].row["paired"].mean for found in (walks.ways("beta"), three("beta")))
    assert ours == pytest.approx(theirs)
    one = walks.where(lambda run: run.config.seed == 1)
    assert one.plain == [SLOW[1]] and one.length == "200 steps, 1 seed"
    assert one.idle["VGG_A"].sum() == 59  # its mean of 11 steps is 0.05 nats lower one step before the plateau's 60 end
    assert Pair(SLOW).where(lambda run: False).training.runs == [] and walks.training.normed == walks.normed


def test_the_direction_is_the_cosine_of_the_gradients_themselves():
    drawn = np.random.default_rng(0).normal(size=(6, 40)) + 1  # six gradients
    drawn[3] = 2 * drawn[2]  # longer, and not turned
    lengths = np.linalg.norm(drawn, axis=1)
    distances = np.r_[np.nan, np.linalg.norm(np.diff(drawn, axis=0), axis=1)]
    found = quantities.direction([SimpleNamespace(steps={"grad_norm": lengths, "grad_dist_1": distances})]).curves[0]
    unit = drawn / lengths[:, None]
    assert np.isnan(found[0]) and found[1:] == pytest.approx((unit[1:] * unit[:-1]).sum(axis=1))
    assert found[3] == pytest.approx(1)
