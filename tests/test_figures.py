import dataclasses
import json
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cifar_helpers import env, figures, intervals, models, words
from cifar_helpers.data.images import channel_statistics
from cifar_helpers.env import figures_dir
from cifar_helpers.measure import compare, quantities
from cifar_helpers.models.tables import layer_table
from cifar_helpers.sources import beside
from cifar_helpers.training.config import RunConfig


def fake(model, lr=1e-3, seed=0, steps=40, diverged=None):
    rng = np.random.default_rng(seed)
    loss = np.exp(-np.arange(steps) / 20) * 2.3 + rng.uniform(0, 0.2, steps)
    columns = {name: rng.uniform(1, 2, steps) for name in ("grad_dist_1", "moved", "weight_norm")}
    columns |= {f"{name}_out": values / 3 for name, values in columns.items()}
    epochs = [
        {"step": s, "train_loss": 2.0, "validation_loss": 2.1, "validation_accuracy": 0.3} for s in (steps // 2, steps)
    ]
    card = {"cpu": "some processor", "torch": "2.15.0", "git_revision": "abc"}
    provenance = {"key": f"{hash((model, lr, seed)) & 0xFFFFFFFF:08x}", "precision": "fp32", "machine": card}
    config = RunConfig(model, lr=lr, seed=seed, steps=steps)
    steps_ = {"loss": loss} | columns
    return SimpleNamespace(
        config=config, steps=steps_, epochs=epochs, provenance=provenance, diverged_at=diverged, probes={}
    )


PLAIN = [fake("VGG_A", lr, seed) for lr in (1e-3, 1e-4) for seed in (0, 1)]
NORMED = [fake("VGG_A_BatchNorm", lr, seed) for lr in (1e-3, 1e-4) for seed in (0, 1)]


def all_figures(small_data):
    images, labels = small_data.train_images, small_data.train_labels
    mean, std = channel_statistics(images)
    both = {"VGG_A": quantities.loss_band(PLAIN), "VGG_A_BatchNorm": quantities.loss_band(NORMED)}
    yield figures.training.sample_grid(images, labels, small_data.classes)
    yield figures.training.channel_histograms(images, mean, std)
    yield figures.training.augmentation_grid({"none": images[:4] / 255, "flip": images[:4].flip(3) / 255})
    yield figures.training.training_curves(PLAIN[:2] + NORMED[:2], compare.smooth)
    yield figures.training.family_curves([fake(model) for model in figures.NETWORKS])
    yield figures.training.hard_settings(
        [PLAIN[0], NORMED[0], fake("VGG_A", 1e-2, diverged=7)], compare.smooth, 5, "A claim"
    )
    yield figures.landscape.bands({"all": both, "output": both}, "β", "Title", 3, compare.smooth)
    yield figures.landscape.loss_landscape(both, [1e-3, 1e-4], compare.smooth, 3, "Title")
    yield figures.training.loss_gap(compare.same_step_rows(PLAIN, NORMED), "steps 32 to 40")


def test_every_figure_draws_without_touching_the_readers_settings(small_data):
    before = dict(mpl.rcParams)
    for figure in all_figures(small_data):
        figure.canvas.draw()
        assert figure._suptitle.get_text()
        for axis in figure.axes:
            if axis.has_data() and axis.get_legend_handles_labels()[0] and axis.get_xlabel():
                assert axis.get_subplotspec().colspan.start > 0 or axis.get_ylabel()
        mpl.pyplot.close(figure)
    assert dict(mpl.rcParams) == before


def test_a_network_has_one_colour_and_one_dash():
    colours, dashes = ([entry[i] for entry in figures.NETWORKS.values()] for i in (1, 2))
    assert len(set(colours)) == len(colours) and len(set(map(str, dashes))) == len(dashes)


@pytest.mark.parametrize(("label", "stamped"), [("SYNTHETIC", True), ("CIFAR-10 (JPEG copy)", False)])
def test_synthetic_figures_are_stamped_and_every_foot_says_the_data(small_data, label, stamped):
    named = dataclasses.replace(small_data, label=label)
    figure = figures.training.training_curves(PLAIN[:2], compare.smooth)
    for profile in ("smoke", "quick", "laptop"):
        figures.save(figure, "04_x", "A caption.", named, profile, PLAIN[:2])
    texts = [text.get_text() for text in figure.texts]
    assert ("SYNTHETIC" in texts) == stamped
    assert any(label in text and "2 runs, 2 seeds" in text and "fp32" in text for text in texts)
    assert {p.suffix for p in figures_dir("laptop").glob("04_x.*")} == {".png", ".svg", ".json"}
    for never_published in ("smoke", "quick"):
        assert {p.suffix for p in figures_dir(never_published).glob("04_x.*")} == {".png", ".json"}
    mpl.pyplot.close(figure)


def test_who_is_ahead_is_said_by_sign_and_interval():
    def at(loss, seed=0):
        steps = {"loss": np.full(10, loss)}
        return SimpleNamespace(config=RunConfig("VGG_A", seed=seed), steps=steps)

    one = compare.same_step_rows([at(1.0)], [at(0.5)])[0]
    assert one["verdict"] == "BN ahead by 0.500 nats (n = 1, no interval)"
    plain = [at(1.0 + s / 100, s) for s in range(3)]
    clear = compare.same_step_rows(plain, [at(1.3 + s / 50, s) for s in range(3)])[0]
    assert clear["verdict"].startswith("no BN ahead by 0.310 nats (95 % interval") and "n = 3" in clear["verdict"]
    unclear = compare.same_step_rows(plain, [at(1.0 + d, s) for s, d in enumerate((-0.3, 0.3, 0.1))])[0]
    assert unclear["verdict"].startswith("not decided") and "no BN ahead in 2 of 3 seeds" in unclear["verdict"]
    assert unclear["note"] == "" and compare.same_step_rows([at(2.3)], [at(1.0)])[0]["note"] == "no BN not training"


def test_rates_ascend_and_every_seed_is_shown():
    def at(rate, seed, loss):
        return SimpleNamespace(config=RunConfig("VGG_A", lr=rate, seed=seed), steps={"loss": np.full(10, loss)})

    plain = [at(rate, seed, rate + seed) for rate in (0.3, 0.1, 0.2) for seed in range(2)]
    rows = compare.same_step_rows(plain, plain)
    assert [row["rate"] for row in rows] == [0.1, 0.2, 0.3]
    assert rows[0]["pairs"] == [(0.1, 0.1), (pytest.approx(1.1), pytest.approx(1.1))]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.309, "0.309"), (2.855, "2.85"), (46, "46.0"), (21_413, "21,400"), (0.9996, "1.00"), (3e-5, "3e-05"), (0, "0")]
    + [(float("nan"), "nan"), (2e9, "2e+09"), (float("inf"), "inf")],
)
def test_numbers_have_three_digits_and_rarely_an_exponent(value, text):
    assert words.rounded(value) == text


def test_ratios_name_networks_that_do_not_train():
    def at(loss, beta, seed=0):
        steps = {"loss": np.full(10, loss), "moved": np.ones(10), "grad_dist_1": np.full(10, beta)}
        return SimpleNamespace(config=RunConfig("VGG_A", seed=seed), steps=steps)

    row = compare.ratio_rows([at(2.30, 2.0)], [at(1.0, 6.0)], quantities.VGG_Beta_Smooth)[0]
    assert row["ratio"] == "3.00 (n = 1, no interval)" and row["note"] == "no BN not training"
    rows = compare.ratio_rows([at(1, 2.0, s) for s in range(3)], [at(1, 1 + s / 100, s) for s in range(3)],
                              quantities.VGG_Beta_Smooth)  # fmt: skip
    assert compare.stuck_runs([at(2.3, 1), at(1, 1)]) == "Not training at the end: VGG_A at rate 0.001, seed 0."
    assert compare.stuck_runs([at(1, 1)]) == ""
    mixed = compare.ratio_rows([at(2.3, 1.0), at(1, 1.0, 1)], [at(1, 4.0), at(1, 2.0, 1)], quantities.VGG_Beta_Smooth)[
        0
    ]
    assert mixed["ratio"].startswith("2.00 (n = 1, no interval); with the seeds that do not train: 2.83 (95 %")
    assert len(mixed["paired"].values) == 1 and mixed["trains"] and not row["trains"], "a stuck seed is no mean"
    assert mixed["note"] == "no BN not training (1 of 2 seeds)"
    assert rows[0]["note"] == "" and rows[0]["paired"].decided and "95 % interval 0.493 to 0.518" in rows[0]["ratio"]


def test_rows_beside_the_sources_keep_the_sources_words():
    row = beside.table([beside.said("vgg_a_accuracy", "50 %", beside.UNDECIDED)])[0]
    assert {name: str(value) for name, value in row.items()} == {
        "source": "001",
        "quantity": "VGG-A (its “valid accuracy”, read as on test; epochs read off an axis), 20 epochs",
        "source's result": "77.52 %",
        "ours": "50 %",
        "seeds": "1",
        "length": "– of 20 epochs",
        "verdict": "undecided",
        "remark": "",
    }
    with pytest.raises(KeyError):
        beside.table([beside.said("unknown", "1", beside.UNDECIDED)])


def test_a_table_shows_words_and_keeps_their_numbers(small_data):
    cell = words.ratio_cell(intervals.paired([0, 0, 0], [-0.5, -0.6, -0.4]), "0.61 (…)")
    figures.save_table([{"way": "a", "ratio": cell}, {"way": "b", "ratio": "–"}], "05_t", "T.", small_data, "smoke")
    entry = json.loads((figures_dir("smoke") / "05_t.json").read_text(encoding="utf-8"))
    assert entry["rows"] == [{"way": "a", "ratio": "0.61 (…)"}, {"way": "b", "ratio": "–"}]
    number = entry["numbers"][0]["ratio"]
    assert number["side"] == "below" and number["decided"] and number["n"] == 3 and entry["numbers"][1] == {}
    assert number["value"] == pytest.approx(np.exp(-0.5))
    assert number["low"] < number["value"] < number["high"] < 1
    figures.save_table([{"way": "a"}], "05_u", "T.", small_data, "smoke")
    assert "numbers" not in json.loads((figures_dir("smoke") / "05_u.json").read_text(encoding="utf-8"))


def test_sample_grid_shows_the_images_of_its_class(small_data):
    figure = figures.training.sample_grid(small_data.train_images, small_data.train_labels, small_data.classes)
    shown = figure.axes[10 * 3 + 1].images[0].get_array()
    second = (small_data.train_labels == 3).nonzero()[1]
    assert torch.equal(torch.as_tensor(np.array(shown)), small_data.train_images[second][0].permute(1, 2, 0))
    mpl.pyplot.close(figure)


def test_a_legend_outside_the_axes_stays_outside_when_saved(tmp_path, monkeypatch, small_data):
    monkeypatch.setenv("CIFAR_FIGURES", str(tmp_path))
    found = {name: [[0.5, 0.6, 0.7]] for name in ("sigmoid", "ReLU", "ReLU and sigmoid")}
    figure = figures.sweeps.toy_curves(found)
    figures.save(figure, "02_toys", "Small networks.", small_data, "smoke")
    figure.draw_without_rendering()
    room = min(axis.get_tightbbox().y0 for axis in figure.axes) - figure.legends[0].get_window_extent().y1
    assert room > -5  # pixels; the legend's own padding may reach into the label's


def cell_of(notebook: str, name: str) -> dict:
    """What the code of a notebook's cell defines, run up to its first figure."""
    cells = json.loads((env.ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    (source,) = ["".join(cell["source"]) for cell in cells if f"def {name}(" in "".join(cell["source"])]
    made = {"np": np, "torch": torch}
    exec(source.partition("\nfigure = ")[0], made)
    return made


def test_the_ravine_is_that_of_gradient_descent():
    made = cell_of("02_simple_net", "descend")
    curvature, path = made["curvature"].numpy(), made["paths"]["SGD"]
    closed = path[0] * (1 - 0.074 * curvature) ** np.arange(len(path))[:, None]
    np.testing.assert_allclose(path, closed, rtol=1e-3, atol=1e-6)
    drawn = figures.intuition.ravine(made["paths"], curvature)
    for axis, (name, way) in zip(drawn.axes, made["paths"].items(), strict=True):
        np.testing.assert_allclose(axis.lines[0].get_xydata(), way)
        assert name in axis.get_title() and f"{np.linalg.norm(way[-1]):.2g} from the bottom" in axis.get_title()
    ends = {name: np.linalg.norm(way[-1]) for name, way in made["paths"].items()}
    assert max(ends, key=ends.get) == "SGD", "the text says that it is slowest"


def test_ten_layers_keep_the_signal_with_he_and_halve_its_squares_with_xavier():
    torch.manual_seed(0)
    made = cell_of("02_simple_net", "signal")
    found = {name: sizes[-1] for name, sizes in made["signals"].items()}
    assert found["He: variance 2/n"] == pytest.approx(1, rel=0.4)
    assert found["Xavier: variance 1/n"] == pytest.approx(2**-5, rel=0.4)
    axis = figures.intuition.ten_layers(made["signals"]).axes[0]
    for line, sizes in zip(axis.lines, made["signals"].values(), strict=False):
        assert line.get_ydata().tolist() == [1, *sizes]


def test_a_chain_draws_every_layer_that_is_not_an_activation():
    from matplotlib.patches import Rectangle

    rows = layer_table(models.VGG_A_BatchNorm())
    figure = figures.diagrams.chains({"VGG-A + BN": rows}, "A title")
    drawn = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert len(drawn) == sum(row["layer"] != "ReLU" for row in rows) == 8 + 8 + 5 + 3
    colours = [patch.get_facecolor() for patch in drawn]
    assert sorted(map(colours.count, set(colours))) == [3, 5, 8, 8]
    heights = [patch.get_height() for patch in drawn]
    assert heights[0] == max(heights)  # the largest maps


def test_the_residual_block_alone_has_a_shortcut():
    texts = [[text.get_text() for text in axis.texts] for axis in figures.diagrams.residual_block("A title").axes]
    assert "+" not in texts[0] and "+" in texts[1] and "the input, unchanged" in texts[1]


def test_the_strip_is_the_share_at_every_step_with_a_corner_only_where_it_changes():
    share = np.repeat([0.0, 1.0, 0.5, 0.0], [3, 5000, 2, 9995])
    _, axis = plt.subplots()
    figures.landscape.mark_idle(axis, {"VGG_A": share})
    heights, edges, bottom = axis.patches[0].get_data()
    assert np.repeat((heights - bottom) / 0.03, np.diff(edges).astype(int)) == pytest.approx(share)
    assert edges[0] == -0.5 and len(heights) == 4, "15 000 corners made a file of 3 MB"
    plt.close("all")


def in_view(figure) -> dict:
    """The texts that stand about level or upright, and their places; ticks beyond an axis are not drawn."""
    figure.draw_without_rendering()
    texts = [*figure.texts, *(text for drawn in figure.legends for text in drawn.texts)]
    for axis in figure.axes:
        shown = getattr(axis, "_axis3don", axis.axison)
        sides = [getattr(axis, f"{name}axis") for name in axis._axis_names] if shown else []
        texts += [axis.title, axis._left_title, *axis.texts, *(side.label for side in sides)]
        ticks = ((tick, sorted(side.get_view_interval())) for side in sides for tick in side.get_major_ticks())
        texts += [tick.label1 for tick, (low, high) in ticks if low <= tick.get_loc() <= high]
    straight = (text for text in texts if text.get_text() and (text.get_rotation() + 10) % 90 < 20)
    return {text: text.get_window_extent() for text in straight}


COVARIANCE, MADE_UP = np.eye(12), np.linspace(0.1, 20, 25).reshape(5, 5)
PLANE = {"across": np.arange(5), "up": np.arange(5), "losses": MADE_UP, "shares": (0.8, 0.1), "labels": ("a", "b")}
PLANE |= {"paths": [[(1, 3), (2, 1), (3, 1)], [(1, 3), (3.5, 3)]], "steps": [(0, 5, 9), (0, 9)]}
DRAWN = {
    "walk": lambda: figures.intuition.walk([0, 0.1], [2, 1], [2, 1], (0, 0.1)),
    "ball": lambda: figures.intuition.ball({"η = 0.5 / β": [1, 0.5], "η = 2 / β": [1, -1]}, 1),
    "bowl": lambda: figures.intuition.bowl((1, 6), [0, 90], [1, 6]),
    "whitening": lambda: figures.intuition.whitening(COVARIANCE, COVARIANCE, torch.ones(12, 3, 2, 2)),
    "depths": lambda: figures.sweeps.depth_costs(
        [{"model": f"resnet{n}", "parameters": n, "seconds_per_step": n, "flops": n, "batch_size": 8} for n in (9, 99)]
    ),
    "families": lambda: figures.diagrams.chains({"AlexNet": layer_table(models.AlexNet())}, "A title"),
    "landscapes": lambda: figures.inside.surfaces_3d(dict.fromkeys("abc", MADE_UP), np.linspace(-1, 1, 5)),
    "paths": lambda: figures.inside.paths({"no norm": PLANE, "batch norm": PLANE}),
    "angle": lambda: figures.batchnorm.covariate_shift(dict.fromkeys("abcd", {"no norm": [([0], [1])]}), "cosine"),
} | {name: getattr(figures.intuition, name) for name in ("overshoot", "cone", "shadows")}


@pytest.mark.parametrize("name", DRAWN)
def test_no_text_is_small_or_lies_on_another_or_is_longer_than_its_axis(name):
    figure = DRAWN[name]()
    found = list(in_view(figure).items())
    assert min(text.get_size() for text, _ in found) >= 8.4, "at half size it could not be read"
    for number, (text, place) in enumerate(found):
        for other, there in found[:number]:
            width = min(place.x1, there.x1) - max(place.x0, there.x0)
            height = min(place.y1, there.y1) - max(place.y0, there.y0)
            assert width < 1.5 or height < 3, f"{text.get_text()} on {other.get_text()}"
    for axis in figure.axes:
        assert axis.yaxis.label.get_window_extent().height <= axis.get_window_extent().height
    plt.close("all")


def test_names_below_a_heat_map_end_at_their_column():
    axis = figures.sweeps.confusion_matrix(np.eye(2), ["airplane", "automobile"], "LeNet-5").axes[0]
    axis.figure.draw_without_rendering()
    columns = axis.transData.transform([(place, 0) for place in axis.get_xticks()])[:, 0]
    for label, column in zip(axis.get_xticklabels(), columns, strict=True):
        assert abs(label.get_window_extent().x1 - column) < 12, label.get_text()
    plt.close("all")


def test_no_legend_hides_what_is_drawn():
    class_0 = torch.tensor([[-2.8, 2.7], [0, 0]])
    grid = np.stack(np.meshgrid([-3, 3], [-3, 3]), -1).reshape(-1, 2)
    edges = {"VGG_A": (1, 19), "VGG_A_BatchNorm": (1, 2)}
    bands = {m: [quantities.Band(np.arange(9), np.outer(ends, np.ones(9)))] for m, ends in edges.items()}
    for figure in (
        figures.autograd.plane(class_0, torch.tensor([0, 1]), grid, np.array([0, 1, 0, 1])),
        figures.landscape.probe_bands(bands, "β", "A title", level=(3, "2/η = 3")),
        figures.intuition.walk(np.arange(9), 9.0 - np.arange(9), 9.0 - np.arange(9), (1, 2)),
    ):
        figure.draw_without_rendering()
        for axis in (axis for axis in figure.axes if axis.get_legend()):
            box = axis.get_legend().get_window_extent()
            drawn = [line for line in axis.lines if line.get_transform() == axis.transData]  # not those across
            points = np.concatenate([axis.transData.transform(line.get_xydata()) for line in drawn])
            assert not any(box.contains(*point) for point in points)
    plt.close("all")


def test_a_graph_is_drawn_alike_in_every_process(monkeypatch):
    order = []
    layout = figures.autograd.nx.multipartite_layout
    monkeypatch.setattr(figures.autograd.nx, "multipartite_layout", lambda *a, **k: order.append(k) or layout(*a, **k))
    figure = figures.autograd.bookkeeping()
    heights = {text.get_text()[0]: text.get_position()[1] for text in figure.axes[0].texts if text.get_text()}
    assert heights["x"] > heights["y"] and heights["6"] > heights["z"], "as they are named, from above"
    assert all(isinstance(members, list) for members in order[0]["subset_key"].values())
    plt.close(figure)
