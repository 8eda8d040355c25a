"""Part one: the lists of runs, their ranking, their training with other losses and schedules, and what they cost."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cifar_helpers import (
    budgets,
    charts,
    compare,
    costs,
    experiments,
    insight,
    models,
    ranking,
    recipes,
    results,
    run,
    settings,
    studies,
    sweeps,
    toys,
    upkeep,
)
from cifar_helpers.env import CourseError
from cifar_helpers.probes import ProbeConfig
from cifar_helpers.record import RunConfig

SWEEPS = (
    sweeps.losses_and_optimizers,
    sweeps.nll_identity,
    sweeps.activations,
    sweeps.structure,
    sweeps.filters,
    sweeps.own_optimizers,
    sweeps.lenet_changes,
    sweeps.lenet_long,
    sweeps.initialisations,
    sweeps.bn_at_high_rate,
    sweeps.rates,
    sweeps.l2,
    sweeps.penalties,
    sweeps.convnet_lengths,
    sweeps.batch_sizes,
    sweeps.dropout,
    sweeps.high_rate,
    sweeps.source_001,
    sweeps.resnets,
    sweeps.own_on_vgg,
)
OWN_LENGTHS = (sweeps.convnet_lengths, sweeps.high_rate, sweeps.source_001, sweeps.resnets)  # by variant
TINY = RunConfig("LeNet5", optimizer="SGD", lr=0.05, steps=8, batch_size=16, eval_every=4, precision="fp32", test=False)


@pytest.mark.parametrize("make", SWEEPS, ids=lambda make: make.__name__)
def test_a_sweep_changes_only_what_it_says_and_pairs_its_seeds(make):
    for profile in budgets.BUDGETS:
        sweep = make(profile, seed=5)
        seeds = [[config.seed for config in configs] for configs in sweep.variants.values()]
        assert all(mine == seeds[0] for mine in seeds) and seeds[0][0] == 5
        assert len(set(sweep.configs)) == len(sweep.configs)
        assert all(len(variant) == len(sweep.factors) for variant in sweep.variants)
        images = {c.steps * c.batch_size for c in sweep.configs}
        assert make in OWN_LENGTHS or max(images) - min(images) < max(c.batch_size for c in sweep.configs)
        torch_models = models.known()
        assert all(c.model in torch_models for c in sweep.configs)
    assert len(sweep.name.split("_")[0]) == 2


def epochs(config):
    """Passes over the 45 000 training images."""
    return config.steps * config.batch_size / 45_000


@pytest.mark.parametrize("profile", ["laptop", "full"])
def test_every_run_beside_a_source_has_its_length_and_settings(profile):
    fifty = (sweeps.nll_identity, sweeps.activations, sweeps.structure, sweeps.lenet_changes, sweeps.lenet_long)
    fifty += (sweeps.initialisations, sweeps.bn_at_high_rate, sweeps.rates, sweeps.l2)
    for make in fifty:
        assert {round(epochs(c), 1) for c in make(profile).configs} == {49.9}, make.__name__  # whole batches alone
    sizes = {v[0]: (c[0].batch_size, epochs(c[0])) for v, c in sweeps.convnet_lengths(profile).variants.items()}
    expected = {"batch 4": (4, 6), "batch 128": (128, 20), "batch 256": (256, 50), "batch 128, short": (128, 6)}
    assert {name: (size, round(length)) for name, (size, length) in sizes.items()} == expected
    assert {(c.lr, c.batch_size, round(epochs(c))) for c in sweeps.dropout(profile).configs} == {(1e-3, 4, 6)}
    assert {c.batch_size for c in sweeps.high_rate(profile).configs} == {4, 128}
    lengths = {v[0]: round(epochs(c[0])) for v, c in sweeps.source_001(profile).variants.items()}
    assert lengths == {"ResNet": 100, "VGGNet": 100}
    tuned = recipes.every_greedy(profile)
    assert {(c.model, round(epochs(c))) for c in tuned} == {("AlexNet", 10)}
    as_in = {v[0]: c[0] for v, c in sweeps.resnets(profile).variants.items()}
    assert round(epochs(as_in["as in 004"])) == 20 and round(epochs(as_in["as in 002"])) == 105
    down = as_in["as in 002"]
    assert down.lr == 0.2 and down.optimizer_args["weight_decay"] == 1e-5 and down.schedule == "step_down"


def test_the_sources_settings_are_in_the_sweeps():
    def is_improved(config):
        return config.augmentation == sweeps.AUGMENTED and config.model_args["activation"] == "swish"

    rates = sweeps.rates("full")
    assert {c.lr for c in rates.configs} == {1.0, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001}
    assert all(is_improved(c) for c in rates.configs)
    assert all(c.model_args["batch_norm"] for c in rates.configs if "batch_norm" in c.model_args)
    l2 = sweeps.l2("full").configs
    assert {c.optimizer_args.get("weight_decay", 0) for c in l2} == {0.01, 1e-3, 1e-4, 1e-5, 0}
    assert all(is_improved(c) and c.model_args["batch_norm"] and c.lr == 0.05 for c in l2)
    swish = [
        c for c in sweeps.lenet_changes("full").configs if c.model_args.get("activation") == "swish" and c.augmentation
    ]
    assert {c.model_args.get("batch_norm", False) for c in swish} == {False, True}  # both readings of source 002
    assert {"4", "128", "256"} <= {v[0] for v in sweeps.batch_sizes("laptop").variants}
    assert len(sweeps.losses_and_optimizers("laptop").variants) == 16
    with pytest.raises(CourseError, match="laptop"):
        sweeps.activations("huge")


def test_runs_at_the_sources_lengths_are_shared_by_laptop_and_full():
    for make in (sweeps.nll_identity, sweeps.rates, sweeps.convnet_lengths, sweeps.dropout, sweeps.source_001):
        assert make("laptop").configs == make("full").configs
    assert recipes.every_greedy("laptop") == recipes.every_greedy("full")
    assert experiments.narrow_runs("laptop") == experiments.narrow_runs("full")


def test_the_paper_s_measurement_on_narrow_nets_is_as_long_as_the_paper_s():
    runs, probe = experiments.narrow_runs("laptop"), experiments.narrow_probe("laptop")
    assert {(c.steps, c.lr, c.optimizer, c.batch_size, c.model_args["width"]) for c in runs} == {
        (15_000, 0.1, "SGD", 128, 0.125)
    }
    assert {(c.model, c.seed) for c in runs} == {(name, seed) for name in experiments.NETWORKS for seed in range(5)}
    assert probe.at == (*range(0, 1000, 20), *range(1000, 15_000, 100)) and len(probe.etas) == 7
    for profile in experiments.PROFILES:  # a control is compared with the probe at the same step
        first, *rest = experiments.narrow_probes(profile)
        assert all(set(control.at) <= set(first.at) for control in rest), profile


def test_matched_l1_is_as_strong_as_l2_at_the_initial_weights():
    torch.manual_seed(0)
    nets = [models.LeNet5() for _ in range(5)]
    weights = [p.detach() for net in nets for p in net.parameters() if p.dim() > 1]
    l2 = 0.5 * 0.01 * sum(w.square().sum() for w in weights)
    l1 = sweeps.matched_l1(0.01) * sum(w.abs().sum() for w in weights)
    assert (l1 / l2).item() == pytest.approx(1, rel=0.02)


def fake(accuracy, seed=0, diverged=None, test=True, part="validation", epoch=2.0, seconds=0.5, **settings):
    epochs = [] if diverged is not None else [{"step": 10, "epoch": epoch, f"{part}_accuracy": accuracy}]
    config = {"seed": seed, "test": test, "model": "LeNet5", "model_args": {}, "optimizer": "SGD", "batch_size": 16}
    config |= {"loss": "cross_entropy", "augmentation": (), "test_flips": False} | settings
    return SimpleNamespace(
        epochs=epochs,
        diverged_at=diverged,
        config=SimpleNamespace(**config),
        seconds_per_step=seconds,
        card="a CPU",
        provenance={"precision": "fp32"},
    )


def ranked(**scores):
    found = {(name,): [fake(s, i) for i, s in enumerate(values)] for name, values in scores.items()}
    return ranking.Ranked("Title", ("thing",), ranking.judged(found))


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
    assert {value: charts.phrase("penalty", value) for value in said} == said
    found = charts.phrased(ranked(**{"4": [0.6, 0.62], "none": [0.1, 0.1]}))
    assert "“thing 4” is best with" in ranking.in_words(found) and "at chance: “no thing”" in ranking.in_words(found)
    crossed = ranking.judged({("0.1", "with BN"): [fake(0.5)]})
    both = charts.phrased(ranking.Ranked("T", ("learning rate", "network"), crossed))
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
    ("values", "epochs", "expected"),
    [
        ([0.62, 0.63, 0.625], 50, "^agrees within our interval"),
        ([0.62, 0.63, 0.625], 41, "^agrees within our interval"),
        ([0.62, 0.63, 0.625], 39, r"^not comparable: trained 39\.0 of 50 epochs; -0\.1 points"),
        ([0.62, 0.63, 0.625], 61, r"^not comparable: trained 61\.0 epochs, the source 50 epochs; -0\.1 points"),
        ([0.50, 0.51, 0.52], 2, r"^not comparable: trained 2\.0 of 50 epochs; -11\.6 points \(± \d\.\d\)$"),
        ([0.70, 0.71, 0.72], 50, r"^disagrees beyond our interval: \+8\.4 points \(± \d\.\d\)$"),
        ([0.60], 1, "^not comparable: .*one seed: no interval"),
        ([0.60], 50, "^-2.6 points, one seed: no interval$"),
        ([float("nan"), 0.6], 1, "diverged"),
    ],
)
def test_remarks_say_whether_the_seeds_can_tell(values, epochs, expected):
    assert re.search(expected, ranking.accuracy_remark("mynet_sgd_ce", values, epochs))


@pytest.mark.parametrize(
    ("values", "sign", "expected"),
    [
        ([0.3, 0.5, 0.4], 1, "agrees"),
        ([0.3, 0.5, 0.4], -1, "contradicts"),
        ([0.3, 0.5, 0.4], 0, "contradicts"),
        ([-0.3, -0.5, -0.4], -1, "agrees"),
        ([-0.3, 0.5, 0.4], 1, "undecided"),
        ([-0.3, 0.5, 0.4], 0, "undecided"),
        ([0.3], 1, "undecided (one seed)"),
        ([0.3, float("nan")], 1, "undecided (a run diverged)"),
    ],
)
def test_a_claim_is_judged_by_the_interval_and_the_claimed_direction(values, sign, expected):
    assert ranking.claim(compare.paired([0.0] * len(values), values), sign) == expected


def test_every_half_of_a_claim_is_judged():
    up, unsure = compare.paired([0, 0, 0], [3, 5, 4]), compare.paired([0, 0, 0], [-3, 5, 4])
    assert ranking.claims({"no worse": (up, -1), "better": (unsure, 1)}) == "no worse: contradicts; better: undecided"
    found = ranked(a=[0.6, 0.6], b=[0.1, 0.1])
    assert [ranking.fails(o) for o in found] == [False, True]


def test_only_runs_as_long_as_the_sources_agree_with_it_or_contradict_it():
    for epoch, expected in ((50.0, "a: agrees; b: contradicts"), (2.0, "not comparable: .*; here: a: yes; b: no")):
        row = ranking.beside_claim("lenet_l2", "ours", [fake(0.5, epoch=epoch)], "a: agrees; b: contradicts")
        assert re.fullmatch(expected, row["remark"])


def test_the_seconds_of_a_network_are_the_least_of_all_runs_with_the_same_work():
    runs = {("a",): [fake(0.5, seconds=0.5)], ("b",): [fake(0.4, seconds=0.2, model_args={"init": "xavier_normal"})]}
    runs |= {("c",): [fake(0.3, seconds=0.1, model="MyNet")], ("d",): [fake(0.3, seconds=0.3, optimizer="Adam")]}
    rows = ranking.table(ranking.Ranked("T", ("x",), ranking.judged(runs)))
    assert [row["s per epoch, at most"] for row in rows] == ["1.0", "1.0", "0.5", "1.5"]
    every = [run for mine in runs.values() for run in mine]
    row = ranking.beside_time("mynet_times", [runs["a",], runs["d",]], every)
    assert row["ours"] == "1.0, 1.5 s per epoch" and row["remark"].startswith("at most") and "a CPU" in row["remark"]


def test_the_noise_floor_is_the_gap_of_one_algorithm_written_twice():
    found = ranked(**{"SGD (torch)": [0.50, 0.52], "SGD (course)": [0.53, 0.51], "Adam (torch)": [0.6, 0.6]})
    text = ranking.rounding_floor(found)
    assert "SGD 3.0, 1.0." in text and "up to 3.0 points" in text and "Adam" not in text
    assert ranking.rounding_floor(ranked(a=[0.5])) == ""


def test_rows_beside_a_source_have_the_same_columns_and_the_test_accuracy_where_it_was_read():
    found = ranked(a=[0.60, 0.62], b=[0.50, 0.52])
    tested = [fake(0.6, 0, part="test"), fake(0.62, 1, part="test")]
    rows = [
        ranking.beside_accuracy("mynet_sgd_ce", tested),
        ranking.beside_accuracy("mynet_sgd_ce", [replace_test(r) for r in found["a"].runs]),
        ranking.beside_order("activations", found, ["a"]),
        ranking.beside_difference("mynet_tanh_effect", found["a"], found["b"]),
        ranking.beside_text("losses_nan", "none"),
    ]
    assert len({tuple(row) for row in rows}) == 1
    assert rows[0]["ours"] == "61.0 (60.0, 62.0) %" and rows[1]["ours"].endswith("(validation)")
    assert rows[2]["remark"] == "not comparable: trained 2.0 of 50 epochs; the same in front here"
    assert rows[3]["remark"] == "not comparable: trained 2.0 of 50 epochs; the same direction here"


def test_an_order_agrees_only_where_nothing_else_could_be_in_front():
    clear, close = ranked(a=[0.60, 0.62], b=[0.50, 0.52]), ranked(a=[0.60, 0.62, 0.61], b=[0.599, 0.622, 0.609])
    assert ranking.beside_order("optimizers", clear, ["a"])["remark"] == "agrees"
    assert ranking.beside_order("optimizers", clear, ["b"])["remark"] == "contradicts"
    assert ranking.beside_order("optimizers", close, ["b"])["remark"] == "undecided"
    assert ranking.beside_order("optimizers", close, ["a", "b"])["remark"] == "agrees"
    assert ranking.beside_order("optimizers", ranked(a=[0.6], b=[0.5]), ["a"])["remark"] == "undecided (one seed)"
    long = {
        (name,): [fake(s, i, epoch=50.0) for i, s in enumerate(v)]
        for name, v in {"a": [0.6, 0.62], "b": [0.5, 0.52]}.items()
    }
    apart = ranking.Ranked("T", ("x",), ranking.judged(long))
    assert ranking.beside_equal("lenet_init", apart, ["a", "b"])["remark"] == "contradicts: b apart"
    remark = ranking.beside_equal("lenet_init", close, ["a", "b"])["remark"]
    assert remark == "not comparable: trained 2.0 of 50 epochs; undecided here: no difference seen"


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

    rows = recipes.greedy(train, "laptop")
    kept = [row["option"] for row in rows if row["chosen"]]
    assert kept == ["without", "SGD", "1e-4", "10"]
    assert [row["option"] for row in rows if row["tied"]] == ["without", "with"], "batch norm does not enter this score"
    texts = [text.get_text() for text in charts.greedy_steps(rows).axes[0].texts]
    assert "without: 38.9\ntied: with: 38.9" in texts and len(texts) == len(rows) - 1, "every option stands by itself"
    assert {c.lr for c in asked[-1]} == {1e-4} and {c.optimizer for c in asked[-1]} == {"SGD"}
    assert len({c.steps * c.batch_size for c in asked[-1]}) == 1 or max(c.batch_size for c in asked[-1]) == 500
    with pytest.raises(CourseError, match="diverged"):
        recipes.greedy(lambda configs: [fake(None, diverged=1) for _ in configs], "laptop")


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
    start = run.build_model(TINY).state_dict()
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
    config = replace(recipes.fast("smoke")[0], n_items=None, model_args={"widths": [8, 8, 8]}, steps=6)
    record = run.get_run(config, small_data, "cpu", store)
    assert np.isfinite(record.steps["loss"]).all() and record.epochs[-1]["validation_accuracy"] >= 0
    final = recipes.fast("laptop", split="all")
    assert all(c.test and c.split == "all" and c.test_flips for c in final) and len(final) == 2
    assert not any(c.test for c in recipes.fast("laptop"))
    assert recipes.fast("quick", split="all") == final


def test_the_best_recipe_has_the_compute_of_a_resnet18_for_200_epochs():
    assert not recipes.best("full").test and recipes.best("full").split == "train"
    config = recipes.best("full", split="all")
    assert config.model == "resnet18" and config.split == "all" and config.test
    assert config.steps * config.batch_size / 50_000 == pytest.approx(200, rel=0.01)


# --- Costs and insight ---------------------------------------------------------------------------------------------


def test_forward_flops_are_those_counted_by_hand():
    first, second = 2 * 28 * 28 * 6 * 75, 2 * 10 * 10 * 16 * 150
    linear = 2 * (400 * 120 + 120 * 84 + 84 * 10)
    assert costs.forward_flops(models.LeNet5()) == first + second + linear


def test_the_layer_table_adds_up():
    rows = costs.layer_table(models.AlexNet(batch_norm=True))
    total = sum(int(row["parameters"].replace(",", "")) for row in rows)
    assert total == models.parameter_count(models.AlexNet(batch_norm=True))
    assert rows[-1]["output"] == "10"


def test_an_onnx_file_holds_the_network(tmp_path):
    import onnx

    path = costs.save_onnx(models.LeNet5(), tmp_path / "net.onnx")
    graph = onnx.load(path).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Conv") == 2 and kinds.count("Relu") == 4


def test_a_prediction_counts_only_what_is_left(small_data, store):
    configs = [TINY, replace(TINY, seed=1), replace(TINY, model="MyNet")]
    run.get_run(TINY, small_data, "cpu", store)
    rows = costs.predict(configs, small_data, "cpu", store)
    assert [(row["what"].split(",")[0], row["runs"]) for row in rows] == [("LeNet5", 1), ("MyNet", 1)]
    assert all(row["minutes"] == pytest.approx(row["seconds_per_step"] * 8 / 60) for row in rows)
    assert costs.prediction_table(rows)[-1]["runs"] == "2"
    assert "nothing" in costs.prediction_table([])[0]["runs of"]


def test_weights_and_confusion_are_computed_once_and_read_without_weights(small_data, store):
    record = run.get_run(replace(TINY, keep_weights=True), small_data, "cpu", store)
    rows = insight.weight_summary(record, store)
    assert sum(row["size"] for row in rows) == 61_770 and all(sum(r["counts"]) == r["size"] for r in rows)
    counts = insight.confusion(record, small_data, store, "cpu")
    assert counts.sum() == len(small_data.split("validation")[1])
    assert np.trace(counts) / counts.sum() == pytest.approx(record.epochs[-1]["validation_accuracy"])
    wrong = insight.confident_mistakes(record, small_data, 5, "cpu")
    assert all(w["true"] != w["predicted"] for w in wrong)
    assert [w["probability"] for w in wrong] == sorted((w["probability"] for w in wrong), reverse=True)
    upkeep.prune(store)
    record = store.get(record.config, small_data.fingerprint)
    assert insight.weight_summary(record, store) == rows
    assert np.array_equal(insight.confusion(record, small_data, store, "cpu"), counts)


def test_the_result_is_chosen_on_validation_and_reports_the_test_error(small_data, store):
    small = run.get_run(replace(TINY, test=True), small_data, "cpu", store)
    other = run.get_run(replace(TINY, model="MyNet", steps=4, test=True), small_data, "cpu", store)
    winner = max((small, other), key=ranking.accuracy)
    rows = {row["what"]: row["value"] for row in results.final([small, other], [])}
    assert rows["network"].startswith(winner.config.model)
    assert rows["test error (%)"] == f"{100 * (1 - winner.epochs[-1]['test_accuracy']):.1f}"
    assert len(results.candidates([small, other])) == 2
    assert rows["chosen by"].startswith("validation accuracy"), "one seed has no mean"
    assert "not at equal budget" in rows["chosen by"]
    assert results.budget_text([small]) == "equal numbers of epochs"
    flipped = run.get_run(replace(TINY, test=True, test_flips=True), small_data, "cpu", store)
    rows = {row["what"]: row["value"] for row in results.final([flipped], [])}
    assert rows["test error (%)"].endswith("(with test-time flips)")
    assert "(with test-time flips)" in results.candidates([flipped])[0]["validation accuracy (%)"]
    assert "test error" in results.in_words([small, other], [])
    assert results.in_words([], []) == "Result: no candidate trained."


def test_charts_show_every_seed(small_data, store):
    sweep = sweeps._sweep("02_x", "Title", "rate", {"1": TINY, "2": replace(TINY, lr=0.1)}, 0, 2)
    found = ranking.rank(sweep, run.get_runs(sweep.configs, small_data, "cpu", store))
    axis = charts.sweep_dots(found, {"1": 50}).axes[0]
    assert sum(len(line.get_xdata()) == 2 and line.get_marker() == "o" for line in axis.lines) == 2
    curves = charts.sweep_curves(found, 3, lambda values, span: values)
    assert len([line for line in curves.axes[0].lines if len(line.get_xdata()) == TINY.steps]) == 2 * 2 + 2
    json.dumps(ranking.table(found))


def test_points_are_classed_by_a_quadratic_form_and_a_small_network_learns_it(store):
    x, y = toys.points(500, 0)
    by_hand = [a * a + (-0.05 + 1.0) * a * b + 0.4 * b * b > 0.6 for a, b in x.tolist()]
    assert y.tolist() == [int(value) for value in by_hand] and 100 < y.sum() < 400
    toy = replace(toys.VARIANTS["ReLU, rate 0.5"], steps=400)
    found = toys.accuracies(toy, store)
    majority = max(y.float().mean().item(), 1 - y.float().mean().item())
    assert len(found) == 1 and found[0] > majority + 0.1
    assert toys.accuracies(toy, store) == found  # read, not measured again
    assert [type(layer).__name__ for layer in toys.build(toys.VARIANTS["ReLU and sigmoid"])][1::2] == [
        "ReLU",
        "Sigmoid",
    ]
    assert toys.table({"a": [found, found]})[0]["seeds"] == "2"
    with pytest.raises(ValueError, match="relu"):
        toys.build(toys.Toy(("rleu",)))


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


@pytest.mark.parametrize("profile", studies.BUDGETS)
def test_the_studies_differ_only_in_what_they_compare(profile):
    plan = studies.budget(profile)
    sweep = studies.controls(profile)
    assert len(sweep.variants) == 8 and len(sweep.configs) == 8 * plan.seeds == len(set(sweep.configs))
    for configs in sweep.variants.values():
        for seed, config in enumerate(configs):
            reference = sweep.variants["batch norm",][seed]
            assert replace(config, model_args=reference.model_args, snapshots=reference.snapshots) == reference
            assert max(config.snapshots, default=0) < config.steps and not config.optimizer_args  # plain SGD: the shift
    assert [bool(configs[0].snapshots) for configs in sweep.variants.values()] == [True] * 3 + [False] * 5
    cells = studies.tolerance_map(profile)
    assert len(set(cells.values())) == len(cells) == 2 * plan.rates * plan.scales
    seen = {c.steps * c.batch_size for mine in studies.batch_sizes(profile).values() for c in mine}
    assert max(seen) - min(seen) < max(plan.batches)
    assert all(config.keep_weights for config in studies.looked_into(profile).values())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("profil", "synthetic", 0, "cpu"), "Unknown profile 'profil'; choose one of smoke"),
        (("smoke", None, "zwei", "cpu"), "seed must be a whole number from 0, not 'zwei'"),
        (("smoke", None, -1, "cpu"), "not -1"),
        (("smoke", None, True, "cpu"), "not True"),
        (("smoke", None, 0, "gpu"), "Device 'gpu' is not available here"),
    ],
)
def test_a_mistake_in_the_settings_is_said_before_the_images_are_read(given, message):
    assert settings.image_source("smoke", None, 3, "cpu") == "synthetic"
    assert settings.image_source("laptop", "my/copy", 0, "auto") == "my/copy"
    with pytest.raises(CourseError, match=message):
        settings.image_source(*given)


def test_an_unknown_profile_of_the_studies_lists_those_known():
    with pytest.raises(CourseError, match="smoke, quick, laptop, full"):
        studies.budget("fast")
