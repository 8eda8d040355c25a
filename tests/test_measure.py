from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from cifar_helpers import compare, measure
from cifar_helpers.env import CourseError
from cifar_helpers.record import RunConfig


def record(lr, **steps):
    return SimpleNamespace(config=RunConfig("VGG_A", lr=lr), steps={n: np.array(v, float) for n, v in steps.items()})


def test_band_is_the_envelope_over_rates_at_the_same_step():
    band = measure.loss_band(
        [record(1e-3, loss=[3, 1, 2]), record(1e-4, loss=[2, 2, 2]), record(2e-3, loss=[4, np.nan])]
    )
    assert band.min_curve.tolist() == [2, 1, 2] and band.max_curve.tolist() == [4, 2, 2]
    assert band.labels[0] == "lr 0.001, seed 0" and band.curves.shape == (3, 3)


def test_beta_divides_distance_by_move_of_the_same_step_and_skips_steps_without_a_move():
    run = record(1e-3, grad_dist_1=[np.nan, 6, 3, 1], moved=[np.nan, 2, 0, 4])
    np.testing.assert_array_equal(measure.VGG_Beta_Smooth([run]).curves[0], [np.nan, 3, np.nan, 0.25])


def test_a_quantity_that_was_not_recorded_is_named():
    with pytest.raises(CourseError, match="gap of 5 was not recorded; choose one of 1"):
        measure.VGG_Grad_Pred([record(1e-3, loss=[1.0])], gap=5)
    with pytest.raises(CourseError, match="no moved; it has loss"):
        measure.VGG_Beta_Smooth([record(1e-3, loss=[1.0])])
    with pytest.raises(CourseError, match="'output'"):
        measure.VGG_Grad_Pred([record(1e-3, loss=[1.0])], layer="last")
    with pytest.raises(CourseError, match="at least one"):
        measure.loss_band([])


def test_paired_interval_equals_scipys_paired_t_test():
    a, b = [1.0, 2.0, 4.0, 3.0], [1.5, 2.1, 5.0, 3.2]
    result, oracle = compare.paired(a, b), stats.ttest_rel(b, a).confidence_interval(0.95)
    assert result.interval == pytest.approx((oracle.low, oracle.high)) and result.mean == pytest.approx(0.45)
    assert result.decided == (not oracle.low <= 0 <= oracle.high)


def test_one_pair_has_no_interval_and_decides_nothing():
    single = compare.paired([1.0], [0.5])
    assert single.interval is None and not single.decided and single.mean == -0.5
    with pytest.raises(CourseError):
        compare.paired([1.0], [0.5, 0.2])
    with pytest.raises(CourseError):
        compare.paired([], [])


def test_diverged_runs_are_named_and_never_compared():
    def at(loss, seed, diverged=None):
        run = record(1e-3, loss=np.full(10, loss), grad_dist_1=np.ones(10), moved=np.ones(10))
        return SimpleNamespace(config=RunConfig("VGG_A", seed=seed), steps=run.steps, diverged_at=diverged)

    gone = [at(np.nan, seed, 3) for seed in range(3)]
    fine = [at(1.0, seed) for seed in range(3)]
    row = compare.same_step_rows(gone, fine)[0]
    assert row["verdict"].startswith("not compared") and row["note"] == "no BN diverged (3 of 3 seeds)"
    assert compare.ratio_rows(gone, fine, measure.VGG_Beta_Smooth)[0]["ratio"].startswith("not compared")
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
    gaps = measure.precision_gap(model, *batches, 1e-3, {"fp32": lambda: plain, "bf16": lambda: plain})
    assert gaps == {"loss": 0, "grad_norm": 0, "grad_dist_1": 0, "gradient": 0}
    low = lambda: torch.autocast("cpu", torch.bfloat16)  # noqa: E731
    gaps = measure.precision_gap(model, *batches, 1e-3, {"fp32": lambda: plain, "bf16": low})
    assert 0 < gaps["gradient"] < 0.1 and all(value < 0.05 for value in gaps.values())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
