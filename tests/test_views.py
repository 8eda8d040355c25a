"""Figures of notebooks 08 to 10 on made-up numbers, and what is looked up in a small trained network."""

import dataclasses
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
import torch

from cifar_helpers import figures, inside
from cifar_helpers.env import CourseError
from cifar_helpers.measure import compare
from cifar_helpers.training import run
from cifar_helpers.training.config import RunConfig

RANDOM = np.random.default_rng(0)
TINY = RunConfig(
    "VGG_A",
    {"width": 0.125, "norm": "batch"},
    batch_size=16,
    steps=3,
    eval_every=3,
    eval_items=32,
    keep_weights=True,
    test=False,
    precision="fp32",
)


def fake(diverged=False):
    epochs = [{"step": step, "validation_loss": 2.0 - step / 100} for step in (20, 40)]
    steps = {"loss": np.linspace(2.3, 1.5, 40), "weight_norm": np.linspace(40, 38, 40)}
    return SimpleNamespace(steps=steps, epochs=epochs, diverged_at=7 if diverged else None, config=RunConfig("VGG_A"))


def all_figures():
    norms, image = list(figures.batchnorm.NORM_STYLES), RANDOM.uniform(size=(32, 32, 3))
    yield figures.autograd.computation_graph({1: "x\n2 × 3", 2: "Sum", 3: "loss"}, [(1, 2), (2, 3)], {2}, "A graph")
    yield figures.autograd.visits([1, 2, 3], {"every path": [3, 7, 15], "every tensor once": [2, 3, 4]})
    yield figures.autograd.bookkeeping()
    leaf = SimpleNamespace(value=np.ones(2), source=None)
    used = SimpleNamespace(op=np.ndarray, inputs=[leaf])
    yield figures.autograd.graph_of([leaf, SimpleNamespace(value=np.ones(()), source=used)], {"x": leaf})
    square = np.stack(np.meshgrid([-3, 0, 3], [-3, 0, 3]), -1).reshape(-1, 2)
    yield figures.autograd.plane(square, np.array([0, 1] * 4 + [0]), square, np.array([0, 1] * 4 + [0]))
    yield figures.autograd.toy_rates([0.1, 1.0], {"ReLU": [[0.5], [np.nan]]}, [[0.0], [1.0]])
    yield figures.autograd.own_adam(([1, 2], [1, 2]), ([2, 1], [2, 1]))
    yield figures.batchnorm.norm_curves(
        {name: [fake(), fake(name == "ℓ1 norm")] for name in norms}, compare.smooth, 3, "A claim"
    )
    yield figures.batchnorm.norm_curves({"no norm": [fake(True)]}, compare.smooth, 3, "A claim")
    seeds = [([0, 5], [1.0, np.nan]), ([0], [1.0])]  # the second diverged
    series = {"conv 2": {"no norm": [([0, 5], [0.1, 0.2])], "batch norm": seeds}}
    yield figures.batchnorm.covariate_shift(series, "relative")
    yield figures.batchnorm.covariate_shift(series, "cosine")
    yield figures.batchnorm.ridges({"no norm": {"conv 2": [(0, [-1, 0, 1]), (5, [0.5, 0.5, 2])]}})
    yield figures.batchnorm.ridges({"no norm": {"conv 2": [(0, [0, 0, 0])]}})  # a dead channel
    yield figures.batchnorm.tolerance(
        {"no norm": np.array([[0.1, np.nan]]), "batch norm": np.array([[0.3, 0.2]])}, [0.1, 1], [1], 9
    )
    yield figures.batchnorm.tolerance({"no norm": np.full((1, 2), np.nan)}, [0.1, 1], [1], 9)
    yield figures.batchnorm.weight_decay({0.0: (fake(), {0: 3.0, 9: 4.0}), 0.1: (fake(), {0: 3.0})}, compare.smooth, 3)
    gap = {"eval": 2.0, "train": 1.9, "eval_accuracy": 0.3, "train_accuracy": 0.3}
    modes = {("batch norm", 2): [gap], ("batch norm", 8): [gap], ("group norm", 8): [gap]}
    yield figures.batchnorm.batch_sizes(modes, {2: 16, 8: 4}, "A claim")
    sharp = {"rate": 0.1, "steps": [0, 5], "values": [4.0, 20.0]}
    yield figures.batchnorm.later_explanations({"no norm": [[1.0, 2.0]] * 2}, {"batch norm": [sharp] * 2}, "A claim")
    yield figures.batchnorm_drawings.four_numbers([1, 3, 9, 19], 2, 1)
    yield figures.batchnorm_drawings.intervals_of_seeds()
    yield figures.batchnorm_drawings.moving_target()
    yield figures.batchnorm_drawings.growing_circle()
    yield figures.intuition.shadows()
    yield figures.intuition.pixels(np.full((3, 2, 2), 200))
    yield figures.intuition.turning([[1, 0.2], [0.5, 1]], (1, 4))
    kernels = {"first": RANDOM.normal(size=(20, 3, 3, 3)), "deeper": RANDOM.normal(size=(16, 3, 3)), "layer": "conv"}
    yield figures.inside.filters(kernels, "a network")
    yield figures.inside.one_image(
        image, {"conv 1": RANDOM.uniform(size=(8, 9, 9)), "conv 2": RANDOM.uniform(size=(4, 5, 5))}
    )
    yield figures.inside.strongest({0: [image, image], 3: [image, image]}, "conv 1")
    yield figures.inside.attributions([image, image], ["cat → dog"] * 2, {"Grad-CAM": np.zeros((2, 32, 32))})
    yield figures.inside.sanity({"Grad-CAM": {"randomised weights": [0.1, np.nan], "the next image": [0.2, 0.3]}})
    points = {"labels": [0, 1] * 5, "pca": RANDOM.normal(size=(10, 2)), "tsne": RANDOM.normal(size=(10, 2))}
    points |= {"explained": 0.6, "trustworthiness": {"pca": 0.8, "tsne": 0.9}}
    yield figures.inside.feature_maps(points, ["cat", "dog"])
    losses = RANDOM.uniform(0.1, 5, size=(5, 5))
    losses[0, 0] = np.nan
    yield figures.inside.surfaces({"no norm": losses, "BN": losses}, np.linspace(-1, 1, 5))
    yield figures.inside.surfaces_3d({"no norm": losses}, np.linspace(-1, 1, 5))
    plane = {"across": np.arange(5), "up": np.arange(5), "losses": losses.tolist(), "shares": [0.8, 0.1]}
    plane |= {"paths": [[[0, 0], [2, 3], [4, 4]], [[0, 0], [3, 1]]], "steps": [[0, 5, 9], [0, 9]], "labels": ["a", "b"]}
    yield figures.inside.paths({"no norm": plane})
    yield figures.inside.eigenvalues({"no norm": ([0, 5], [[2.0, 1.0], [3.0, 1.0]])}, 20.0)


def outline(patch) -> np.ndarray:
    """Points along the edge of a drawn patch, in pixels."""
    (polygon,) = patch.get_transform().transform_path(patch.get_path()).to_polygons()[:1]
    return mpl.path.Path(polygon).interpolated(50).vertices


def test_an_arrow_of_a_graph_goes_from_edge_to_edge():
    nodes = {1: "x\n2 × 3", 2: "MatMul", 3: "weights\n3 × 4", 4: "2 × 4", 5: "Sum", 6: "loss"}
    arrows = [(1, 2), (3, 2), (2, 4), (4, 5), (5, 6)]
    figure = figures.autograd.computation_graph(nodes, arrows, {2, 5}, "A graph")
    figure.canvas.draw()
    texts = figure.axes[0].texts
    boxes = {node: next(t.get_bbox_patch() for t in texts if t.get_text() == label) for node, label in nodes.items()}
    drawn = [text.arrow_patch for text in texts if not text.get_text()]
    for ends, arrow in zip(arrows, drawn, strict=True):
        path = arrow.get_transform().transform_path(arrow.get_path())
        points = path.vertices[path.codes != mpl.path.Path.CLOSEPOLY]
        assert np.ptp(points, axis=0).max() > 20  # pixels
        for node in ends:
            apart = np.linalg.norm(outline(boxes[node])[:, None] - points, axis=-1)
            assert apart.min() < 6
            assert not any(boxes[node].contains_point(point, radius=-4) for point in points)


def test_every_figure_draws_and_says_what_it_compares():
    before = dict(mpl.rcParams)
    for figure in all_figures():
        figure.canvas.draw()
        assert figure._suptitle.get_text()
        mpl.pyplot.close(figure)
    assert dict(mpl.rcParams) == before


@pytest.fixture
def trained_run(small_data, store):
    return run.get_run(TINY, small_data, "cpu", store)


def test_filters_are_the_networks_own_and_survive_its_weights(trained_run, store):
    found = inside.features.filters(trained_run, store)
    assert torch.equal(torch.tensor(found["first"]), trained_run.weights["features.0.weight"])
    norms = torch.tensor(found["deeper"]).flatten(1).norm(dim=1)
    assert found["layer"] == "features.11" and (norms.diff() <= 0).all()
    (trained_run.folder / "weights.safetensors").unlink()
    assert inside.features.filters(trained_run, store) == found and not trained_run.has_weights


def test_explanations_are_compared_with_those_of_shuffled_weights_once(trained_run, small_data, store):
    found = inside.attribution.sanity(trained_run, small_data, store, "cpu")
    assert list(found) == list(inside.attribution.methods(""))
    assert all(len(values) == 24 for by_name in found.values() for values in by_name.values())
    (trained_run.folder / "weights.safetensors").unlink()
    again = inside.attribution.sanity(trained_run, small_data, store, "cpu")
    assert again["occlusion"]["the next image"] == pytest.approx(found["occlusion"]["the next image"], nan_ok=True)


def test_features_are_flattened_and_stored(trained_run, small_data, store):
    found = inside.features.features(trained_run, small_data, store, count=40, device="cpu")
    assert len(found["pca"]) == len(found["tsne"]) == len(found["labels"]) >= 20
    assert 0 < found["explained"] <= 1.0 and all(0 <= v <= 1 for v in found["trustworthiness"].values())
    (trained_run.folder / "weights.safetensors").unlink()
    assert inside.features.features(trained_run, small_data, store, count=40, device="cpu") == found


def test_surface_path_and_curvature_of_a_run_are_measured_once(small_data, store):
    config = dataclasses.replace(TINY, snapshots=(0, 2))
    record = run.get_run(config, small_data, "cpu", store)
    other = run.get_run(dataclasses.replace(config, lr=0.01, snapshots=(0,)), small_data, "cpu", store)

    def measured():
        losses = inside.surface.around(record, small_data, store, 3, 32, device="cpu")
        plane = inside.surface.along_paths([record, other], small_data, store, 3, 32, "cpu")
        return losses.tolist(), plane, inside.curvature.along(record, small_data, store, 1, 32, "cpu")

    first = losses, plane, curved = measured()
    assert np.shape(losses) == np.shape(plane["losses"]) == (3, 3) and plane["steps"] == [[0, 2, 3], [0, 3]]
    slow, fast = map(np.array, plane["paths"])
    assert plane["labels"] == ["Adam at 0.001", "Adam at 0.01"]
    assert slow.shape == (3, 2) and fast.shape == (2, 2), "each path its own snapshots and its end"
    assert slow[-1] == pytest.approx([0, 0]) and slow[0] == pytest.approx(fast[0]), "centred; one start"
    assert 0.9 < sum(plane["shares"]) <= 1 + 1e-9 and curved["steps"] == [0, 2, 3]
    for folder in (record.folder, other.folder):
        for path in folder.glob("weights*"):
            path.unlink()
    assert measured() == first


def test_the_ends_of_both_paths_lie_where_the_weights_say_and_a_mixture_is_refused(small_data, store):
    """Two runs whose weights lie on known lines: their ends are as far apart in the plane as the weights are."""
    config = dataclasses.replace(TINY, snapshots=(0,))
    pair = [run.get_run(dataclasses.replace(config, lr=lr), small_data, "cpu", store) for lr in (0.05, 0.02)]
    plane = inside.surface.along_paths(pair, small_data, store, 3, 32, "cpu")
    names = [name for name, _ in inside.features.fresh(pair[0], "cpu").named_parameters()]

    def flat(state):
        return torch.cat([state[name].flatten().double() for name in names])

    ways = [flat(pair[0].snapshot(0)) - flat(pair[0].weights), flat(pair[1].weights) - flat(pair[0].weights)]
    for way, point in zip(ways, (plane["paths"][0][0], plane["paths"][1][-1]), strict=True):
        assert np.linalg.norm(point) == pytest.approx(way.norm().item(), rel=1e-6), "three points lie in one plane"
    middle = [(side[0] + side[-1]) / 2 for side in (plane["across"], plane["up"])]
    seen = np.concatenate(plane["paths"])
    assert middle == pytest.approx((seen.min(0) + seen.max(0)) / 2)
    other = run.get_run(dataclasses.replace(config, model_args={"width": 0.125}), small_data, "cpu", store)
    with pytest.raises(CourseError, match=r"of one network, not of .*norm=batch.* and VGG_A\(width=0.125\)"):
        inside.surface.along_paths([pair[0], other], small_data, store, 3, 32, "cpu")


def test_an_unknown_layer_lists_those_known(trained_run):
    with pytest.raises(CourseError, match="'conv9'.*features.0"):
        inside.features.activation_after(inside.features.fresh(trained_run, "cpu"), "conv9")
