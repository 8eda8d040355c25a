"""Part one: the lists of runs, their ranking, their training with other losses and schedules, and what they cost."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch

from cifar_helpers import figures, inside, intervals, models, notebook, plans, words
from cifar_helpers.env import ROOT, CourseError, figures_dir, number_of
from cifar_helpers.measure import ranking, timing
from cifar_helpers.models.tables import forward_flops, layer_table, save_onnx, size_table
from cifar_helpers.sources import autograd, beside, landscape, networks, reported, small, tables
from cifar_helpers.training import build, run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.probes import ProbeConfig
from cifar_helpers.training.store import prune

SWEEPS = (
    plans.sweeps.losses_and_optimizers,
    plans.sweeps.nll_identity,
    plans.sweeps.activations,
    plans.sweeps.structure,
    plans.sweeps.filters,
    plans.sweeps.own_optimizers,
    plans.sweeps.lenet_changes,
    plans.sweeps.lenet_long,
    plans.sweeps.initialisations,
    plans.sweeps.bn_at_high_rate,
    plans.sweeps.rates,
    plans.sweeps.l2,
    plans.sweeps.penalties,
    plans.sweeps.convnet_lengths,
    plans.sweeps.batch_sizes,
    plans.sweeps.dropout,
    plans.sweeps.high_rate,
    plans.sweeps.resnet_and_vgg,
    plans.sweeps.resnets,
    plans.sweeps.own_on_vgg,
)
OWN_LENGTHS = (
    plans.sweeps.convnet_lengths,
    plans.sweeps.high_rate,
    plans.sweeps.resnet_and_vgg,
    plans.sweeps.resnets,
)  # by variant
TINY = RunConfig("LeNet5", optimizer="SGD", lr=0.05, steps=8, batch_size=16, eval_every=4, precision="fp32", test=False)


@pytest.mark.parametrize("make", SWEEPS, ids=lambda make: make.__name__)
def test_a_sweep_changes_only_what_it_says_and_pairs_its_seeds(make):
    for profile in plans.profiles.PROFILES:
        sweep = make(profile, seed=5)
        seeds = [[config.seed for config in configs] for configs in sweep.variants.values()]
        assert all(mine == seeds[0] for mine in seeds) and seeds[0][0] == 5
        assert len(set(sweep.configs)) == len(sweep.configs)
        assert all(len(variant) == len(sweep.factors) for variant in sweep.variants)
        images = {c.steps * c.batch_size for c in sweep.configs}
        assert make in OWN_LENGTHS or max(images) - min(images) < max(c.batch_size for c in sweep.configs)
        torch_models = models.known()
        assert all(c.model in torch_models for c in sweep.configs)
    assert number_of(sweep.name) in ("02", "02b", "03")


def tuned(profile):
    """Every option of the greedy tuning on its own."""
    options = [option for _, mine in plans.recipes.GREEDY for option in mine.values()]
    return [plans.recipes.alexnet(profile, **option) for option in options]


def epochs(config):
    """Passes over the 45 000 training images."""
    return config.steps * config.batch_size / 45_000


@pytest.mark.parametrize("profile", ["laptop", "full"])
def test_every_run_beside_a_source_has_its_length_and_settings(profile):
    fifty = (
        plans.sweeps.nll_identity,
        plans.sweeps.activations,
        plans.sweeps.structure,
        plans.sweeps.lenet_changes,
        plans.sweeps.lenet_long,
    )
    fifty += (plans.sweeps.initialisations, plans.sweeps.bn_at_high_rate, plans.sweeps.rates, plans.sweeps.l2)
    for make in fifty:
        assert {round(epochs(c), 1) for c in make(profile).configs} == {49.9}, make.__name__  # whole batches alone
    sizes = {v[0]: (c[0].batch_size, epochs(c[0])) for v, c in plans.sweeps.convnet_lengths(profile).variants.items()}
    expected = {"batch 4": (4, 6), "batch 128": (128, 20), "batch 256": (256, 50), "batch 128, short": (128, 6)}
    assert {name: (size, round(length)) for name, (size, length) in sizes.items()} == expected
    assert {(c.lr, c.batch_size, round(epochs(c))) for c in plans.sweeps.dropout(profile).configs} == {(1e-3, 4, 6)}
    assert {c.batch_size for c in plans.sweeps.high_rate(profile).configs} == {4, 128}
    lengths = {v[0]: round(epochs(c[0])) for v, c in plans.sweeps.resnet_and_vgg(profile).variants.items()}
    assert lengths == {"ResNet": 100, "VGGNet": 100}
    assert {(c.model, round(epochs(c))) for c in tuned(profile)} == {("AlexNet", 10)}
    as_in = {v[0]: c[0] for v, c in plans.sweeps.resnets(profile).variants.items()}
    assert round(epochs(as_in["rate 0.05"])) == 20 and round(epochs(as_in["rate 0.2, falling"])) == 105
    down = as_in["rate 0.2, falling"]
    assert down.lr == 0.2 and down.optimizer_args["weight_decay"] == 1e-5 and down.schedule == "step_down"


def test_the_sources_settings_are_in_the_sweeps():
    def is_improved(config):
        return config.augmentation == plans.sweeps.AUGMENTED and config.model_args["activation"] == "swish"

    rates = plans.sweeps.rates("full")
    assert {c.lr for c in rates.configs} == {1.0, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001}
    assert all(is_improved(c) for c in rates.configs)
    assert all(c.model_args["batch_norm"] for c in rates.configs if "batch_norm" in c.model_args)
    l2 = plans.sweeps.l2("full").configs
    assert {c.optimizer_args.get("weight_decay", 0) for c in l2} == {0.01, 1e-3, 1e-4, 1e-5, 0}
    assert all(is_improved(c) and c.model_args["batch_norm"] and c.lr == 0.05 for c in l2)
    swish = [
        c
        for c in plans.sweeps.lenet_changes("full").configs
        if c.model_args.get("activation") == "swish" and c.augmentation
    ]
    assert {c.model_args.get("batch_norm", False) for c in swish} == {False, True}  # both readings of source 002
    assert {"4", "128", "256"} <= {v[0] for v in plans.sweeps.batch_sizes("laptop").variants}
    assert len(plans.sweeps.losses_and_optimizers("laptop").variants) == 16
    with pytest.raises(CourseError, match="laptop"):
        plans.sweeps.activations("huge")


def test_runs_at_the_sources_lengths_are_shared_by_laptop_and_full():
    for make in (
        plans.sweeps.nll_identity,
        plans.sweeps.rates,
        plans.sweeps.convnet_lengths,
        plans.sweeps.dropout,
        plans.sweeps.resnet_and_vgg,
    ):
        assert make("laptop").configs == make("full").configs
    assert tuned("laptop") == tuned("full")
    assert set(plans.landscape.narrow_runs("laptop")) <= set(plans.landscape.narrow_runs("full"))


def test_the_paper_s_measurement_on_narrow_nets_is_as_long_as_the_paper_s():
    runs, probe = plans.landscape.narrow_runs("full"), plans.landscape.narrow_probe("laptop")
    assert {(c.steps, c.lr, c.optimizer, c.batch_size, c.model_args["width"]) for c in runs} == {
        (15_000, 0.1, "SGD", 128, 0.125)
    }
    assert {(c.model, c.seed) for c in runs} == {(name, seed) for name in plans.landscape.NETWORKS for seed in range(5)}
    assert probe.at == (*range(0, 1000, 20), *range(1000, 15_000, 100)) and len(probe.etas) == 7
    for profile in plans.profiles.PROFILES:  # a control is compared with the probe at the same step
        first, *rest = plans.landscape.narrow_probes(profile)
        steps = first.at or range(0, plans.profiles.get_profile(profile).narrow_steps, first.every)
        assert all(set(control.at) <= set(steps) for control in rest), profile


def test_matched_l1_is_as_strong_as_l2_at_the_initial_weights():
    torch.manual_seed(0)
    nets = [models.LeNet5() for _ in range(5)]
    weights = [p.detach() for net in nets for p in net.parameters() if p.dim() > 1]
    l2 = 0.5 * 0.01 * sum(w.square().sum() for w in weights)
    l1 = plans.sweeps.matched_l1(0.01) * sum(w.abs().sum() for w in weights)
    assert (l1 / l2).item() == pytest.approx(1, rel=0.02)


def fake(accuracy, seed=0, diverged=None, test=True, part="validation", epoch=2.0, seconds=0.5, threads=1, **settings):
    epochs = [] if diverged is not None else [{"step": 10, "epoch": epoch, f"{part}_accuracy": accuracy}]
    config = {"seed": seed, "test": test, "model": "LeNet5", "model_args": {}, "optimizer": "SGD", "batch_size": 16}
    config |= {"loss": "cross_entropy", "augmentation": (), "test_flips": False} | settings
    return SimpleNamespace(
        epochs=epochs,
        diverged_at=diverged,
        config=SimpleNamespace(**config),
        seconds_per_step=seconds,
        card="a CPU",
        provenance={"precision": "fp32", "machine": {"cpu": "a CPU", "threads": threads}},
    )


def untested(outcome):
    return replace(outcome, runs=tuple(map(replace_test, outcome.runs)))


def ranked(**scores):
    found = {(name,): [fake(s, i) for i, s in enumerate(values)] for name, values in scores.items()}
    return ranking.Ranked("Title", ("thing",), ranking.judged(found))


def test_the_gap_between_two_variants_is_over_the_seeds_at_which_both_train():
    found = ranked(a=[0.60, 0.62, 0.1], b=[0.70, 0.74, 0.72], c=[0.1, 0.1, 0.1], d=[float("nan"), 0.5, 0.5])
    assert found.gap("a", "b").values == pytest.approx([10, 12]) and found.gap("b", "a").mean == pytest.approx(-11)
    assert found.gap("a", "c") is None and found.gap("b", "d").values == pytest.approx([-24, -22])


def test_ranks_and_ties_follow_the_paired_interval():
    found = ranked(a=[0.60, 0.62, 0.61], b=[0.599, 0.622, 0.609], c=[0.50, 0.52, 0.51], d=[0.1, 0.1, 0.1])
    assert [o.verdict for o in found] == ["best", "undecided", "behind", "at chance"]
    assert found["c"].behind.mean == pytest.approx(-10)
    assert (
        ranked(a=[0.6], b=[0.5])["b"].verdict == "lower, one seed" and ranked(a=[0.6], b=[0.6])["b"].verdict == "tied"
    )
    assert [o.verdict for o in ranked(a=[0.6, 0.5], b=[0.6, 0.5])] == ["best", "tied"], (
        "tied is equal, and nothing else"
    )
    assert found.best is found["a"] and "undecided against it: b" in ranking.in_words(found)
    with pytest.raises(KeyError, match="'d'"):
        found["z"]


def test_variants_have_names_for_a_sentence():
    said = {"none": "no penalty", "without": "without penalty", "default": "default penalty", "4": "penalty 4"}
    said |= {"1e-05": "penalty 1e-05", "L2 0.01": "L2 0.01", "leaky_relu": "LeakyReLU", "+ Swish": "+ Swish"}
    assert {value: figures.sweeps.phrase("penalty", value) for value in said} == said
    found = figures.sweeps.phrased(ranked(**{"4": [0.6, 0.62], "none": [0.1, 0.1]}))
    assert "“thing 4” is best with" in ranking.in_words(found) and "at chance: “no thing”" in ranking.in_words(found)
    crossed = ranking.judged({("0.1", "with BN"): [fake(0.5)]})
    both = figures.sweeps.phrased(ranking.Ranked("T", ("learning rate", "network"), crossed))
    assert both.best.variant == ("“learning rate 0.1 · with BN”",)


def test_divergence_is_a_cell_in_the_table_and_no_crash():
    runs = {("a",): [fake(0.5), fake(0.5, 1)], ("b",): [fake(0.6), fake(None, 1, diverged=7)]}
    found = ranking.Ranked("Title", ("thing",), ranking.judged(runs))
    assert found["b"].verdict == "diverged at step 7, 1 of 2 seeds" and found.best is found["a"]
    rows = ranking.table(found)
    assert rows[1]["validation accuracy (%)"] == "60.0" and list(rows[0]) == list(rows[1])
    nothing = ranking.Ranked("T", ("thing",), ranking.judged({("a",): [fake(None, diverged=3)]}))
    assert nothing.best is None and "no variant is above chance" in ranking.in_words(nothing)


def test_a_crossed_sweep_is_ranked_anew_along_one_factor():
    runs = {("x", "1"): [fake(0.3)], ("x", "2"): [fake(0.5)], ("y", "1"): [fake(0.9)], ("y", "2"): [fake(0.2)]}
    found = ranking.Ranked("Title", ("letter", "digit"), ranking.judged(runs))
    assert found.best.variant == ("y", "1") and found["x", "2"].verdict == "lower, one seed"
    assert found.where("letter", "x").best.variant == ("2",)


@pytest.mark.parametrize(
    ("values", "epochs", "verdict", "remark"),
    [
        ([0.62, 0.63, 0.625], 50, "agrees", r"^-0\.1 points \(± \d\.\d\)$"),
        ([0.62, 0.63, 0.625], 41, "agrees", "points"),
        ([0.62, 0.63, 0.625], 39, "not comparable", r"^-0\.1 points"),
        ([0.62, 0.63, 0.625], 61, "not comparable", r"^-0\.1 points"),
        ([0.50, 0.51, 0.52], 2, "not comparable", r"^-11\.6 points \(± \d\.\d\)$"),
        ([0.70, 0.71, 0.72], 50, "contradicts", r"^\+8\.4 points \(± \d\.\d\)$"),
        ([0.60], 1, "not comparable", "one seed: no interval$"),
        ([0.60], 50, "undecided", "^-2.6 points, one seed: no interval$"),
        ([float("nan"), 0.6], 50, "undecided", "1 of 2 seeds diverged"),
        ([0.62, 0.63, 0.1], 50, "agrees", "points"),
    ],
)
def test_an_accuracy_is_judged_by_the_seeds_that_train_and_by_the_length(values, epochs, verdict, remark):
    runs = [fake(v, i, part="test", epoch=float(epochs)) for i, v in enumerate(values)]
    row = beside.accuracy("mynet_sgd_ce", runs)
    assert row.verdict == verdict and re.search(remark, row.remark) and row.n == len(values)
    shown = beside.table([row])[0]
    assert str(shown["length"]) == f"{epochs}.0 of 50 epochs" and shown["verdict"] == verdict
    number = shown["ours"].numbers["values"][0]
    assert number["n"] == len([v for v in values if v != 0.1]) and number["unit"] == "%"


def test_a_stuck_seed_is_counted_and_enters_no_mean():
    rows = beside.table(
        [beside.accuracy("vgg_a_accuracy", [fake(v, i, part="test") for i, v in enumerate((0.39, 0.41, 0.1))])]
    )
    assert str(rows[0]["ours"]) == "40.0 (39.0, 41.0); 1 of 3 seeds at chance: 10.0 %"
    found = ranked(a=[0.39, 0.41, 0.1], b=[0.36, 0.35, 0.34], c=[0.1, 0.1, 0.1])
    assert found["a"].mean == pytest.approx(0.40) and found["a"].stuck == (False, False, True)
    assert found.best is found["b"], "a variant that always trains goes before one that does not"
    assert len(found["a"].behind.values) == 2 and found["c"].behind is None and found["c"].verdict == "at chance"
    assert ranking.table(found)[0]["validation accuracy (%)"] == "40.0 (39.0, 41.0); 1 of 3 seeds at chance: 10.0"


def test_where_the_source_chose_on_test_images_the_end_and_the_best_validation_epoch_are_shown():
    run = fake(0.60, part="test", epoch=6.0)
    run.epochs[-1]["validation_accuracy"] = 0.58
    run.epochs.insert(0, {"step": 5, "epoch": 3.0, "validation_accuracy": 0.66})
    row = beside.accuracy("convnet", [run])
    assert (
        row.ours == "at the end 60.0 %; best on validation 66.0 %"
        and "best epoch on test" in beside.table([row])[0]["quantity"]
    )


@pytest.mark.parametrize(
    ("values", "sign", "expected", "why"),
    [
        ([0.3, 0.5, 0.4], 1, "agrees", ""),
        ([0.3, 0.5, 0.4], -1, "contradicts", ""),
        ([0.3, 0.5, 0.4], 0, "contradicts", ""),
        ([-0.3, -0.5, -0.4], -1, "agrees", ""),
        ([-0.3, 0.5, 0.4], 1, "undecided", ""),
        ([-0.3, 0.5, 0.4], 0, "undecided", ""),
        ([0.3], 1, "undecided", "claim: undecided (one seed)"),
        ([0.3, float("nan")], 1, "undecided", "claim: undecided (a run diverged)"),
    ],
)
def test_a_claim_is_judged_by_the_interval_and_the_claimed_direction(values, sign, expected, why):
    found = intervals.paired([0.0] * len(values), values)
    assert beside.judge(found, sign) == expected
    row = beside.claim("dropout", "ours", {"claim": (found, sign)})
    assert (row.verdict, row.remark, row.n) == (expected, why, len(values))


def test_every_part_of_a_claim_is_judged_and_the_whole_is_one_word():
    up, unsure = intervals.paired([0, 0, 0], [3, 5, 4]), intervals.paired([0, 0, 0], [-3, 5, 4])
    row = beside.claim("noisy_bn", "ours", {"no worse": (up, -1), "better": (unsure, 1)})
    assert row.verdict == "contradicts" and row.remark == "no worse: contradicts; better: undecided"
    agrees, undecided, contradicts = beside.AGREES, beside.UNDECIDED, beside.CONTRADICTS
    assert beside.together([agrees, agrees]) == agrees and beside.together([agrees, undecided]) == undecided
    assert beside.together([agrees, undecided, contradicts]) == contradicts and beside.together([]) == undecided
    found = ranked(a=[0.6, 0.6], b=[0.1, 0.1])
    assert [ranking.fails(o) for o in found] == [False, True]


@pytest.mark.parametrize(
    ("diverged", "verdict"), [((None, None), "undecided"), ((7, None), "undecided"), ((7, 9), "agrees")]
)
def test_a_nan_that_has_not_come_yet_is_not_contradicted(diverged, verdict):
    runs = {
        ("mse", str(size)): [fake(0.1, diverged=at, steps=100)] for size, at in zip((4, 128), diverged, strict=True)
    }
    found = ranking.Ranked("Title", ("loss", "batch size"), ranking.judged(runs))
    (row,) = small.high_rate(SimpleNamespace(found={"02b_high_rate": found}), 0)
    assert row.verdict == verdict and ("within 100 steps" in row.remark) == (verdict == "undecided")


def test_only_claims_about_the_end_of_a_training_need_the_sources_length():
    parts = {"worse": (intervals.paired([0, 0, 0], [-3, -5, -4]), -1)}
    for epoch, at_end, verdict in ((50.0, True, "agrees"), (2.0, True, "not comparable"), (2.0, False, "agrees")):
        row = beside.claim("lenet_l2", "ours", parts, [fake(0.5, epoch=epoch)], at_end=at_end)
        assert row.verdict == verdict and row.length == beside.Length(epoch, 50, "epochs")


def test_a_ratio_is_judged_only_where_both_networks_train():
    runs = [SimpleNamespace(config=RunConfig("VGG_A", seed=s), steps={"loss": np.zeros(600)}) for s in range(3)]
    row = {"paired": intervals.paired([0, 0, 0], [-0.5, -0.6, -0.4]), "in_words": "0.6", "trains": True}
    found = beside.ratio("probe_loss", "at the same step", row, -1, runs)
    assert found.verdict == "agrees" and str(beside.table([found])[0]["length"]) == "600 of 15,000 steps"
    assert beside.ratio("grad_dist_all", "rate 1", row, +1, [fake(0.5)]).verdict == "contradicts"
    stuck = beside.ratio("probe_loss", "at the same step", row | {"trains": False}, -1, runs)
    assert stuck.verdict == "undecided" and "not judged" in stuck.remark
    assert beside.ratio("probe_loss", "x", row | {"paired": None}, -1, runs).verdict == "undecided"


def test_what_was_not_trained_is_not_run_and_no_error():
    found = {"02_x": ranked(a=[0.6, 0.62])}
    assert ranking.runs_of(found, "02_x", "b") == () == ranking.runs_of(found, "02_y", "a")
    assert ranking.part(found, "02_x", "another", "value") is None
    rows = [
        beside.accuracy("mynet_sgd_ce", ranking.runs_of(found, "02_y", "a")),
        beside.order("losses", ranking.part(found, "02_y", "optimizer", "SGD"), ["a"]),
        beside.equal("lenet_init", found["02_x"], ["a", "b"]),
        beside.difference(
            "mynet_tanh_effect", ranking.reached(found, "02_x", "a"), ranking.reached(found, "02_x", "b")
        ),
        beside.time("mynet_times", [()]),
    ]
    assert {row.verdict for row in rows} == {"not run"}
    assert beside.table(rows)[0]["length"].text == "– of 50 epochs"


def test_times_are_the_least_of_the_same_work_on_each_machine_by_itself():
    runs = {("a",): [fake(0.5, seconds=0.5)], ("b",): [fake(0.4, seconds=0.2, model_args={"init": "xavier_normal"})]}
    runs |= {("c",): [fake(0.3, seconds=0.1, model="MyNet")], ("d",): [fake(0.3, seconds=0.3, threads=2)]}
    rows = ranking.table(ranking.Ranked("T", ("x",), ranking.judged(runs)))
    one, two = "s per epoch, at most (a CPU, 1 thread)", "s per epoch, at most (a CPU, 2 threads)"
    assert [row[one] for row in rows] == ["1.0", "1.0", "0.5", "1.0"]
    assert [row[two] for row in rows] == ["1.5", "1.5", "–", "1.5"], "never a minimum over both"
    moved = fake(0.3, seconds=0.01)
    moved.provenance["earlier_machines"] = [{"cpu": "another"}]
    every = [run for mine in runs.values() for run in mine] + [moved]
    row = beside.time("mynet_times", [runs["a",], runs["c",]], every)
    assert row.ours == "1.0, 0.5 s per epoch (a CPU, 1 thread); 1.5, – s per epoch (a CPU, 2 threads)"
    assert row.verdict == "undecided" and "at most" in row.remark


def test_one_algorithm_written_twice_is_a_tie():
    found = ranked(
        **{"SGD (torch)": [0.60, 0.62, 0.61], "SGD (course)": [0.599, 0.622, 0.609], "Adam (torch)": [0.5] * 3}
    )
    assert [o.verdict for o in found] == ["best", "tied", "behind"]


def test_the_noise_floor_is_the_gap_of_one_algorithm_written_twice():
    found = ranked(**{"SGD (torch)": [0.50, 0.52], "SGD (course)": [0.53, 0.51], "Adam (torch)": [0.6, 0.6]})
    text = ranking.rounding_floor(found)
    assert "SGD 3.0, 1.0." in text and "up to 3.0 points" in text and "Adam" not in text
    assert ranking.rounding_floor(ranked(a=[0.5])) == ""


def test_rows_beside_a_source_have_the_same_columns_and_the_test_accuracy_where_it_was_read():
    found = ranked(a=[0.60, 0.62], b=[0.50, 0.52])
    tested = [fake(0.6, 0, part="test"), fake(0.62, 1, part="test")]
    rows = beside.table(
        [
            beside.accuracy("mynet_sgd_ce", tested),
            beside.accuracy("mynet_sgd_ce", [replace_test(r) for r in found["a"].runs]),
            beside.order("activations", found, ["a"]),
            beside.difference("mynet_tanh_effect", *(untested(found[name]) for name in "ab")),
            beside.said("losses_nan", "none", beside.CONTRADICTS),
        ]
    )
    assert len({tuple(row) for row in rows}) == 1 and {row["verdict"] for row in rows} <= set(beside.VERDICTS)
    assert str(rows[0]["ours"]) == "61.0 (60.0, 62.0) %" and str(rows[1]["ours"]).endswith("(validation)")
    assert rows[2]["verdict"] == rows[3]["verdict"] == "not comparable"
    assert rows[3]["remark"] == "here: agrees; direction; ours on validation images"
    json.dumps(words.numbers(rows), allow_nan=False)


def test_a_difference_is_of_the_images_that_the_source_used_where_they_were_read():
    """Validation says +10 points, test −5: source 001 counts test images, source 002 validation images."""
    runs = {
        name: [fake(validation, seed, epoch=50.0) for seed in range(3)]
        for name, validation in (("before", 0.5), ("after", 0.6))
    }
    for name, test in (("before", 0.55), ("after", 0.5)):
        for each in runs[name]:
            each.epochs[-1]["test_accuracy"] = test
    before, after = ranking.judged({(name,): mine for name, mine in runs.items()})
    read = beside.difference("mynet_h500_effect", before, after)
    assert (read.numbers[0].value, read.verdict) == (pytest.approx(-5), "contradicts")
    assert "validation" not in read.remark
    theirs = beside.difference("lenet_bn_effect", before, after)
    assert (theirs.numbers[0].value, theirs.verdict) == (pytest.approx(10), "agrees")
    unread = beside.difference("mynet_h500_effect", untested(before), untested(after))
    assert unread.numbers[0].value == pytest.approx(10) and "ours on validation images" in unread.remark


def test_a_claim_about_some_variants_is_not_decided_by_others():
    """Source 004 did not try Swish, and source 002's “both” are the two initialisations it switched to."""
    found = {
        "02_activations": ranked(**dict.fromkeys(small.THEIR_ACTIVATIONS, [0.5, 0.52]) | {"swish": [0.9, 0.92]}),
        "02_initialisation": ranked(default=[0.3, 0.32], kaiming_normal=[0.6, 0.62], xavier_normal=[0.6, 0.62]),
    }
    rows = {row.name: row for row in small.rankings(SimpleNamespace(found=found), 0)}
    assert "swish" not in rows["activations"].ours and "leaky_relu" in rows["activations"].ours
    assert rows["lenet_init"].verdict != "contradicts" and "default 31.0" in rows["lenet_init"].remark


def test_an_order_agrees_only_where_nothing_else_could_be_in_front():
    clear, close = ranked(a=[0.60, 0.62], b=[0.50, 0.52]), ranked(a=[0.60, 0.62, 0.61], b=[0.599, 0.622, 0.609])
    assert beside.order("vgg_family", clear, ["a"]).verdict == "agrees"
    assert beside.order("vgg_family", clear, ["b"]).verdict == "contradicts"
    assert beside.order("vgg_family", close, ["b"]).verdict == "undecided"
    assert beside.order("vgg_family", close, ["a", "b"]).verdict == "agrees"
    one = beside.order("vgg_family", ranked(a=[0.6], b=[0.5]), ["a"])
    assert (one.verdict, one.remark) == ("undecided", "one seed")
    chance = beside.order("vgg_family", ranked(a=[0.1, 0.1]), ["a"])
    assert chance.verdict == "undecided" and chance.ours == "no variant above chance"
    long = {
        (name,): [fake(s, i, epoch=50.0) for i, s in enumerate(v)]
        for name, v in {"a": [0.6, 0.62], "b": [0.5, 0.52]}.items()
    }
    apart = ranking.Ranked("T", ("x",), ranking.judged(long))
    row = beside.equal("lenet_init", apart, ["a", "b"])
    assert (row.verdict, row.remark) == ("contradicts", "b apart")
    row = beside.equal("lenet_init", close, ["a", "b"])
    assert (row.verdict, row.remark) == ("not comparable", "here: undecided; no difference seen")


def test_every_result_of_the_sources_has_a_row_where_nothing_is_recorded(small_data, store):
    page = notebook.Page(small_data, "smoke", "cpu", reuse=False, trains=False)
    made = tables.Tables(page, seed=0)
    shown = [made.part(name, name).data for name in reported.PARTS]
    rows = [row for found in made.rows.values() for row in found]
    assert [row.name for row in rows] == list(reported.REPORTED) and sum(map(len, shown)) == len(rows)
    ran = {row.name for row in rows if row.verdict != beside.NOT_RUN}
    assert ran <= {"lenet_untrained", "toy_sigmoid", "toy_deep", "toy_he", "autograd_rates"}, "drawn or untrained"
    assert not list(store.root.glob("*-*/config.json")), "nothing is trained"
    assert made.verdicts().endswith(f"{len(rows) - len(ran)} not run.")


def test_where_a_sweep_is_recorded_its_rows_are_made(small_data, store, capsys):
    trains = notebook.Page(small_data, "smoke", "cpu", reuse=False)
    trains.runs(plans.sweeps.nll_identity("smoke").configs)
    capsys.readouterr()
    made = tables.Tables(notebook.Page(small_data, "smoke", "cpu", reuse=False, trains=False), seed=0)
    made.part("small", "small")
    rows = {row.name: row for row in made.rows["small"]}
    assert rows["mynet_sgd_ce"].n == 1 and rows["mynet_h500"].verdict == beside.NOT_RUN and not capsys.readouterr().out
    assert rows["mynet_identity"].ours.endswith("nats apart") and "s per epoch" in rows["mynet_seconds"].ours


def test_a_fault_in_a_row_is_not_taken_for_a_run_that_is_missing(small_data, store, monkeypatch):
    page = notebook.Page(small_data, "smoke", "cpu", reuse=False, trains=False)
    monkeypatch.setitem(tables.ALONE, "why", (lambda page, seed: iter([{}["x"]]),))
    with pytest.raises(KeyError, match="x"):
        tables.Tables(page, seed=0).part("why", "why")


@pytest.mark.parametrize(("gap", "verdict"), [("2e-17", "agrees"), ("3e-05", "contradicts")])
def test_the_derivations_are_judged_by_the_gaps_that_09_measured(scratch, gap, verdict):
    row = {"operation": "X / Y", "gap to torch.autograd": gap, "gap to finite differences": "2e-10"}
    folder = figures_dir("smoke")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "09_checks_table.json").write_text(json.dumps({"rows": [row]}), encoding="utf-8")
    first = next(autograd.operations(SimpleNamespace(profile="smoke"), 0))
    assert (first.name, first.verdict) == ("autograd_ops", verdict) and first.ours.startswith("1 operations, at most")


def test_networks_that_are_narrow_everywhere_stand_beside_the_paper_once(monkeypatch):
    walks = SimpleNamespace(runs=[fake(0.5)])
    study = SimpleNamespace(narrow=walks, wide=walks, what=SimpleNamespace(name="loss"))
    study.ways = lambda walks: [SimpleNamespace(way="step", row={})]
    monkeypatch.setattr(landscape, "Landscape", lambda *given: study)
    monkeypatch.setattr(landscape.beside, "ratio", lambda *given: given)
    page = SimpleNamespace(profile="quick")
    assert len(list(landscape.probe("05", page, 0))) == 1
    study.wide = SimpleNamespace(runs=[fake(0.5, model="VGG_A")])
    assert len(list(landscape.probe("05", page, 0))) == 2


def test_no_row_that_was_not_comparable_is_lost():
    """The 32 rows marked so in the report of revision 64c8392: each is still asked for."""
    rows = json.loads((ROOT / "tests/fixtures/not_comparable.json").read_text(encoding="utf-8"))
    assert len(rows) == 32
    asked = [name for names in reported.PARTS.values() for name in names]  # a row each, as the test above shows
    for row in rows:
        assert row["name"] in asked and reported.REPORTED[row["name"]].source == row["source"]


def test_the_sources_are_named_in_their_appendix_alone():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        text = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        found = re.search(r"[Ss]ources? 00\d|beside the sources|z_sources", text)
        assert bool(found) == (path.stem == "11_sources"), path.stem


def replace_test(run):
    run.config.test = False
    return run


def test_greedy_keeps_the_winner_on_validation_and_survives_divergence():
    asked = []

    def train(configs):
        asked.append(configs)
        good = {"SGD": 0.5, "Adam": 0.4}
        return [
            fake(good[c.optimizer] - abs(c.lr - 1e-4) - c.batch_size / 1e4, diverged=3 if c.lr > 5e-3 else None)
            for c in configs
        ]

    rows = plans.recipes.greedy(train, "laptop")
    kept = [row["option"] for row in rows if row["chosen"]]
    assert kept == ["without", "SGD", "1e-4", "10"]
    assert [row["option"] for row in rows if row["tied"]] == ["without", "with"], "batch norm does not enter this score"
    texts = [text.get_text() for text in figures.sweeps.greedy_steps(rows).axes[0].texts]
    assert "without: 38.9\ntied: with: 38.9" in texts and len(texts) == len(rows) - 1, "every option stands by itself"
    assert {c.lr for c in asked[-1]} == {1e-4} and {c.optimizer for c in asked[-1]} == {"SGD"}
    assert len({c.steps * c.batch_size for c in asked[-1]}) == 1 or max(c.batch_size for c in asked[-1]) == 500
    with pytest.raises(CourseError, match="diverged"):
        plans.recipes.greedy(lambda configs: [fake(None, diverged=1) for _ in configs], "laptop")


# --- Training with the new settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "mse"},
        {"l1": 1e-3},
        {"label_smoothing": 0.1},
        {"schedule": "one_cycle"},
        {"optimizer": "course.SGD", "optimizer_args": {"momentum": 0.9}},
        {"optimizer": "course.Adam"},
        {"test_flips": True},
        {"split": "all"},
    ],
    ids=lambda settings: next(iter(settings)) + str(next(iter(settings.values()))),
)
def test_every_setting_has_its_own_record_and_changes_the_run(small_data, store, settings):
    base = run.get_run(TINY, small_data, "cpu", store)
    other = run.get_run(replace(TINY, **settings), small_data, "cpu", store)
    assert other.key != base.key and other.diverged_at is None
    if "test_flips" in settings:
        assert other.epochs[-1]["train_loss"] != base.epochs[-1]["train_loss"]
    else:
        assert not np.array_equal(other.steps["loss"][1:], base.steps["loss"][1:])
    assert ("validation_accuracy" in other.epochs[-1]) == (settings.get("split") != "all")


def test_nll_is_cross_entropy_to_the_bit_and_l1_is_not_in_the_recorded_loss(small_data, store):
    base = run.get_run(TINY, small_data, "cpu", store)
    nll = run.get_run(replace(TINY, loss="nll"), small_data, "cpu", store)
    assert np.abs(base.steps["loss"] - nll.steps["loss"]).max() < 1e-6
    strong = run.get_run(replace(TINY, l1=0.1), small_data, "cpu", store)
    assert strong.steps["loss"][0] == base.steps["loss"][0]


def test_l1_moves_weights_as_its_formula_says(small_data, store):
    plain = run.get_run(replace(TINY, steps=1, keep_weights=True), small_data, "cpu", store).weights
    pulled = run.get_run(replace(TINY, steps=1, keep_weights=True, l1=0.01), small_data, "cpu", store).weights
    start = build.build_model(TINY).state_dict()
    for name, w in start.items():
        expected = plain[name] - 0.05 * 0.01 * w.sign() * (w.dim() > 1)
        assert torch.allclose(pulled[name], expected, atol=1e-7), name


def test_a_scheduled_run_resumes_to_the_same_bits(small_data, store, monkeypatch):
    config = replace(TINY, schedule="one_cycle", optimizer="course.Adam", lr=1e-3, steps=12, eval_every=3)
    whole = run.get_run(config, small_data, "cpu", store)
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    other = type(store)(store.root.parent / "again")
    flush = run._Run.on_flush

    def killed(self, step):
        done = flush(self, step)
        if step == 6:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(run._Run, "on_flush", killed)
    with pytest.raises(KeyboardInterrupt):
        run.get_run(config, small_data, "cpu", other)
    monkeypatch.setattr(run._Run, "on_flush", flush)
    resumed = run.get_run(config, small_data, "cpu", other)
    assert resumed.provenance["resumed"] == 1
    assert np.array_equal(resumed.steps["loss"], whole.steps["loss"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hinge"}, "Unknown loss 'hinge'; choose one of cross_entropy, nll"),
        ({"optimizer": "SDG"}, r"torch\.optim has .*SGD.*the course's own are course\.Adam"),
        ({"model_args": {"activation": "rleu"}}, "Unknown activation 'rleu'; choose one of relu, leaky_relu"),
        ({"schedule": "cosine"}, "choose one of constant, one_cycle"),
        ({"batch_size": 5000}, "batch of 5000 cannot be taken from"),
        ({"loss": "mse", "label_smoothing": 0.1}, "label_smoothing goes with cross_entropy"),
    ],
)
def test_bad_settings_list_what_is_known(small_data, store, settings, message):
    with pytest.raises(CourseError, match=message):
        run.get_run(replace(TINY, **settings), small_data, "cpu", store)


@pytest.mark.parametrize("settings", [{"lr": 0}, {"lr": -1.0}, {"l1": -0.1}, {"split": "test"}])
def test_bad_numbers_are_refused_at_once(settings):
    with pytest.raises(CourseError):
        replace(TINY, **settings)


def test_probes_are_refused_for_another_loss(small_data, store):
    probe = ProbeConfig("along_gradient", every=2, etas=(0.1,))
    with pytest.raises(CourseError, match="cross-entropy"):
        run.get_run(replace(TINY, loss="mse"), small_data, "cpu", store, [probe])


def test_the_fast_recipe_trains_in_miniature(small_data, store):
    config = replace(plans.recipes.fast("smoke")[0], n_items=None, model_args={"widths": [8, 8, 8]}, steps=6)
    record = run.get_run(config, small_data, "cpu", store)
    assert np.isfinite(record.steps["loss"]).all() and record.epochs[-1]["validation_accuracy"] >= 0
    final = plans.recipes.fast("laptop", split="all")
    assert all(c.test and c.split == "all" and c.test_flips for c in final) and len(final) == 2
    assert not any(c.test for c in plans.recipes.fast("laptop"))
    assert plans.recipes.fast("quick", split="all") == final


def test_the_best_recipe_has_the_compute_of_a_resnet18_for_200_epochs():
    assert not plans.recipes.best("full").test and plans.recipes.best("full").split == "train"
    config = plans.recipes.best("full", split="all")
    assert config.model == "resnet18" and config.split == "all" and config.test
    assert config.steps * config.batch_size / 50_000 == pytest.approx(200, rel=0.01)


# --- Costs and insight ---------------------------------------------------------------------------------------------


def test_forward_flops_are_those_counted_by_hand():
    first, second = 2 * 28 * 28 * 6 * 75, 2 * 10 * 10 * 16 * 150
    linear = 2 * (400 * 120 + 120 * 84 + 84 * 10)
    assert forward_flops(models.LeNet5()) == first + second + linear


def test_the_table_of_sizes_has_what_a_source_says_beside_ours():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 1000))
    reported, other = size_table({"one": (net, 3_073_001), "two": (net, None)})
    assert reported["parameters"] == "3,073,000" and reported["operations per image"] == "6.1 M"  # 2 · 3072 · 1000
    assert (reported["source"], other["source"]) == ("3,073,001", "–")


def test_the_layer_table_adds_up():
    rows = layer_table(models.AlexNet(batch_norm=True))
    total = sum(int(row["parameters"].replace(",", "")) for row in rows)
    assert total == models.parameter_count(models.AlexNet(batch_norm=True))
    assert rows[-1]["output"] == "10"


def test_an_onnx_file_holds_the_network(tmp_path):
    import onnx

    path = save_onnx(models.LeNet5(), tmp_path / "net.onnx")
    graph = onnx.load(path).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Conv") == 2 and kinds.count("Relu") == 4


def test_a_prediction_counts_only_what_is_left(small_data, store):
    configs = [TINY, replace(TINY, seed=1), replace(TINY, model="MyNet")]
    run.get_run(TINY, small_data, "cpu", store)
    rows = timing.predict(configs, small_data, "cpu", store)
    assert [(row["what"].split(",")[0], row["runs"]) for row in rows] == [("LeNet5", 1), ("MyNet", 1)]
    assert all(row["minutes"] == pytest.approx(row["seconds_per_step"] * 8 / 60) for row in rows)
    assert timing.prediction_table(rows)[-1]["runs"] == "2"
    assert "nothing" in timing.prediction_table([])[0]["runs of"]


def test_skewness_is_read_off_the_histogram():
    from scipy import stats

    drawn = np.random.default_rng(0)
    for w in (drawn.normal(0, 0.05, 50_000), drawn.gamma(2, 0.03, 50_000) - 0.1, 0.15 - drawn.gamma(4, 0.02, 50_000)):
        counts, _ = np.histogram(w.clip(-0.3, 0.3), bins=inside.features.BINS, range=(-0.3, 0.3))
        expected = stats.skew(w.clip(-0.3, 0.3))
        assert inside.features.skewness({"counts": counts.tolist()}) == pytest.approx(expected, abs=0.02)
    assert np.isnan(inside.features.skewness({"counts": [7] + [0] * (inside.features.BINS - 1)}))


def test_weights_and_confusion_are_computed_once_and_read_without_weights(small_data, store):
    record = run.get_run(replace(TINY, keep_weights=True), small_data, "cpu", store)
    rows = inside.features.weight_summary(record, store)
    assert sum(row["size"] for row in rows) == 61_770 and all(sum(r["counts"]) == r["size"] for r in rows)
    counts = inside.mistakes.confusion(record, small_data, store, "cpu")
    assert counts.sum() == len(small_data.split("validation")[1])
    assert np.trace(counts) / counts.sum() == pytest.approx(record.epochs[-1]["validation_accuracy"])
    wrong = inside.mistakes.confident_mistakes(record, small_data, 5, "cpu")
    assert all(w["true"] != w["predicted"] for w in wrong)
    assert [w["probability"] for w in wrong] == sorted((w["probability"] for w in wrong), reverse=True)
    prune(store)
    record = store.get(record.config, small_data.fingerprint)
    assert inside.features.weight_summary(record, store) == rows
    assert np.array_equal(inside.mistakes.confusion(record, small_data, store, "cpu"), counts)


def test_the_result_is_chosen_on_validation_and_reports_the_test_error(small_data, store):
    small = run.get_run(replace(TINY, test=True), small_data, "cpu", store)
    other = run.get_run(replace(TINY, model="MyNet", steps=4, test=True), small_data, "cpu", store)
    winner = max((small, other), key=ranking.accuracy)
    rows = {row["what"]: row["value"] for row in networks.final([small, other], [])}
    assert rows["network"].startswith(winner.config.model)
    assert str(rows["test error (%)"]) == f"{100 * (1 - winner.epochs[-1]['test_accuracy']):.1f}"
    assert rows["test error (%)"].numbers["n"] == 1
    assert len(networks.candidates([small, other])) == 2
    assert rows["chosen by"].startswith("validation accuracy"), "one seed has no mean"
    assert "not at equal budget" in rows["chosen by"]
    assert networks.budget_text([small]) == "equal numbers of epochs"
    flipped = run.get_run(replace(TINY, test=True, test_flips=True), small_data, "cpu", store)
    rows = {row["what"]: row["value"] for row in networks.final([flipped], [])}
    assert str(rows["test error (%)"]).endswith("(with test-time flips)")
    assert "(with test-time flips)" in networks.candidates([flipped])[0]["validation accuracy (%)"]
    assert "test error" in networks.in_words([small, other], [])
    assert networks.in_words([], []) == "Result: no candidate above chance."


def test_small_images_are_counted_small(small_data, store):
    config = RunConfig("FastNet", steps=500, batch_size=1000, sizes=((0.5, 24),))
    model = build.build_model(config)
    large, small = (forward_flops(model, (3, side, side)) for side in (32, 24))
    assert networks._training_flops(model, config) == 3 * 500 * 1000 * (large + small) / 2 < 1.5e6 * large
    assert networks._training_flops(model, replace(config, sizes=())) == 1.5e6 * large


def test_charts_show_every_seed(small_data, store):
    sweep = plans.sweeps._sweep("02_x", "Title", "rate", {"1": TINY, "2": replace(TINY, lr=0.1)}, 0, 2)
    found = ranking.rank(sweep, run.get_runs(sweep.configs, small_data, "cpu", store))
    axis = figures.sweeps.sweep_dots(found).axes[0]
    marks = [line.get_color() for line in axis.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert len(marks) == 4 and marks.count("#999999") == sum(map(sum, (o.stuck for o in found)))
    curves = figures.sweeps.sweep_curves(found, 3, lambda values, span: values)
    assert len([line for line in curves.axes[0].lines if len(line.get_xdata()) == TINY.steps]) == 2 * 2 + 2
    assert curves.legends[0].texts[-1].get_text() == "ln 10: guessing", "beside its line a curve may run"
    assert len(curves.axes) == 1 and "validation images:" in curves.legends[0].texts[0].get_text(), "no lone dots"
    axis = figures.sweeps.sweep_over_scale(found).axes[0]
    assert axis.get_xscale() == "log" and axis.lines[0].get_xdata().tolist() == [1, 2]
    assert axis.lines[0].get_ydata().tolist() == [100 * outcome.mean for outcome in found]
    json.dumps(ranking.table(found))


def test_points_are_classed_by_a_quadratic_form_and_a_small_network_learns_it(store):
    x, y = inside.toys.points(500, 0)
    by_hand = [a * a + (-0.05 + 1.0) * a * b + 0.4 * b * b > 0.6 for a, b in x.tolist()]
    assert y.tolist() == [int(value) for value in by_hand] and 100 < y.sum() < 400
    toy = replace(inside.toys.VARIANTS["ReLU, rate 0.5"], steps=400)
    found = inside.toys.accuracies(toy, store)
    majority = max(y.float().mean().item(), 1 - y.float().mean().item())
    assert len(found) == 1 and found[0] > majority + 0.1
    assert inside.toys.accuracies(toy, store) == found  # read, not measured again
    assert [type(layer).__name__ for layer in inside.toys.build(inside.toys.VARIANTS["ReLU and sigmoid"])][1::2] == [
        "ReLU",
        "Sigmoid",
    ]
    assert inside.toys.table({"a": [found, found]})[0]["seeds"] == "2"
    with pytest.raises(ValueError, match="relu"):
        inside.toys.build(inside.toys.Toy(("rleu",)))


def test_a_changed_network_of_the_readers_own_is_trained_again(small_data, store):
    def network(activation):
        class Own(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.output = torch.nn.Linear(3072, 10)

            if activation == "relu":

                def forward(self, images):
                    return self.output(images.flatten(1).relu())

            else:

                def forward(self, images):
                    return self.output(images.flatten(1).tanh())

        return models.register(Own)

    config = replace(TINY, model="Own")
    try:
        network("relu")
        first = run.get_run(config, small_data, "cpu", store)
        network("relu")
        assert (
            run.get_run(config, small_data, "cpu", store).provenance["finished_unix"]
            == first.provenance["finished_unix"]
        )
        network("tanh")
        changed = run.get_run(config, small_data, "cpu", store)
        assert not np.array_equal(changed.steps["loss"], first.steps["loss"])
    finally:
        del models.Own
    with pytest.raises(CourseError, match="Unknown model 'Own'"):
        run.get_run(config, small_data, "cpu", store)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, images: None, "gives NoneType. Does forward return"),
        (lambda self, images: images.flatten(1)[:, :5], r"gives \(2, 5\)"),
        (lambda self, images: images @ torch.zeros(7, 7), "its forward fails"),
        (lambda self, images: (images.flatten(1)[:, :10], images), "gives a tuple. Return the logits alone"),
        (
            lambda self, images: (images.flatten(1)[:, :10], images)[: 2 if self.training else 1][-1],
            r"for two images it gives \(2, 3, 32, 32\)",
        ),
    ],
)
def test_a_network_of_the_readers_own_that_does_not_fit_says_why(small_data, store, forward, message):
    models.register(type("Own", (torch.nn.Module,), {"forward": forward}))
    try:
        with pytest.raises(CourseError, match=message):
            run.get_run(replace(TINY, model="Own"), small_data, "cpu", store)
    finally:
        del models.Own


# --- Notebooks 08 and 10 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", plans.profiles.PROFILES)
def test_the_studies_differ_only_in_what_they_compare(profile):
    plan = plans.profiles.get_profile(profile)
    sweep = plans.batchnorm.controls(profile)
    assert len(sweep.variants) == 8 and len(sweep.configs) == 8 * plan.norm_seeds == len(set(sweep.configs))
    for configs in sweep.variants.values():
        for seed, config in enumerate(configs):
            reference = sweep.variants["batch norm",][seed]
            assert replace(config, model_args=reference.model_args, snapshots=reference.snapshots) == reference
            assert max(config.snapshots, default=0) < config.steps and not config.optimizer_args  # plain SGD: the shift
    assert [bool(configs[0].snapshots) for configs in sweep.variants.values()] == [True] * 3 + [False] * 5
    cells = plans.batchnorm.tolerance_map(profile)
    assert len(set(cells.values())) == len(cells) == 2 * plan.map_rates * plan.map_scales
    seen = {c.steps * c.batch_size for mine in plans.batchnorm.batch_sizes(profile).values() for c in mine}
    assert max(seen) - min(seen) < max(plan.norm_batches)
    slow, fast = (plans.batchnorm.looked_into(profile, 0, rate) for rate in plans.batchnorm.INSIDE_RATES)
    assert slow == plans.batchnorm.looked_into(profile) and all(c.keep_weights and c.snapshots for c in slow.values())
    assert fast == {name: replace(config, lr=4 * config.lr) for name, config in slow.items()}
    planned = {job.config for job in plans.jobs.insight(profile)}
    assert planned == {*slow.values(), *fast.values()}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("profil", "synthetic", 0, "cpu"), "Unknown profile 'profil'; choose one of published, smoke"),
        (("smoke", None, "zwei", "cpu"), "seed must be a whole number from 0, not 'zwei'"),
        (("smoke", None, -1, "cpu"), "not -1"),
        (("smoke", None, True, "cpu"), "not True"),
        (("smoke", None, 0, "gpu"), "Device 'gpu' is not available here"),
    ],
)
def test_a_mistake_in_the_settings_is_said_before_the_images_are_read(given, message):
    assert plans.settings.image_source("smoke", None, 3, "cpu") == "synthetic"
    assert plans.settings.image_source("laptop", "my/copy", 0, "auto") == "my/copy"
    with pytest.raises(CourseError, match=message):
        plans.settings.image_source(*given)


def test_an_unknown_profile_of_the_studies_lists_those_known():
    with pytest.raises(CourseError, match="smoke, quick, laptop, full"):
        plans.profiles.get_profile("fast")
