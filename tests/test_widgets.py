"""Explorers: every control moves the picture, quickly, the same way each time, and an error reaches the reader."""

import base64
import io
import re
import statistics
import time
from types import SimpleNamespace

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from cifar_course.report.execute import verdict
from cifar_helpers.env import CourseError
from cifar_helpers.measure import quantities
from cifar_helpers.measure.probe import probe_along_gradient
from cifar_helpers.plans.landscape import BATCH_NORM, PLAIN
from cifar_helpers.teach import replays, scenes, widgets
from cifar_helpers.training.probes import ProbeConfig

RATES = (1e-3, 2e-3, 1e-4, 5e-4)
PROBE = ProbeConfig("along_gradient", every=10, etas=(0.05, 0.1, 0.4))


def recorded(model=PLAIN, lr=0.1, seed=0, steps=40, probes=(PROBE,)):
    """What a run's record has, with made-up numbers."""
    rng = np.random.default_rng((seed, round(1e6 * lr), len(model)))
    at = np.arange(0, steps, 10)
    values = {"step": at, "start_loss": rng.uniform(1, 2, len(at)), "loss": rng.uniform(1, 3, (len(at), 3))}
    values["gradient_norm"] = rng.uniform(0.5, 2, len(at))
    config = SimpleNamespace(model=model, lr=lr, seed=seed, describe=lambda: f"{model} at {lr:g}")
    return SimpleNamespace(
        config=config, steps={"loss": rng.uniform(0.5, 2.5, steps)}, probes=dict.fromkeys(probes, values)
    )


def curves(lengths=(40, 40)):
    rng = np.random.default_rng(0)
    rates = (0.001, 0.1, 1.0)
    return {name: {r: [rng.uniform(0, 2.5, n) for n in lengths] for r in rates} for name in ("without BN", "with BN")}


def plane(seed=0):
    rng = np.random.default_rng(seed)
    paths = [np.cumsum(rng.normal(size=(count, 2)), 0) for count in (5, 3)]
    seen = np.concatenate(paths)
    axes = [np.linspace(seen[:, i].min() - 1, seen[:, i].max() + 1, 9) for i in (0, 1)]
    losses = np.exp(rng.normal(size=(9, 9)))
    found = {"across": axes[0], "up": axes[1], "losses": losses, "paths": paths, "shares": (0.7, 0.2)}
    return found | {"steps": ((0, 5, 10, 20, 40), (0, 20, 40)), "labels": ("slow", "fast")}


def bands():
    return {
        model: quantities.loss_band([recorded(model, rate, steps=9000) for rate in RATES])
        for model in (PLAIN, BATCH_NORM)
    }


MAKERS = {
    "augmentation": lambda images: widgets.explore_augmentation(images),
    "convolution": lambda images: widgets.explore_convolution(images),
    "batch norm": lambda images: widgets.explore_batch_norm(images, channel()),
    "rates": lambda images: widgets.explore_rates(images, curves()),
    "band": lambda images: widgets.explore_band(images, bands(), RATES),
    "walk": lambda images: widgets.explore_walk(
        images, [recorded(m, seed=s) for s in (0, 1) for m in (PLAIN, BATCH_NORM)], PROBE
    ),
    "path": lambda images: widgets.explore_paths(images, {"no norm": plane(0), "batch norm": plane(1)}),
}


def activations():
    return (
        torch.randn(40, 8, 8, generator=torch.Generator().manual_seed(0)).double() * 2
        + torch.arange(40)[:, None, None] / 9
    )


def channel():
    return scenes.Channel.of(activations())


@pytest.fixture(params=MAKERS)
def explorer(request, small_data):
    return MAKERS[request.param](small_data)


def settings(control):
    """Every value of a small control, the ends and the middle of a slider."""
    if hasattr(control, "options"):
        return [value for _, value in control._options_full]
    if isinstance(control, ipywidgets.Checkbox):
        return [False, True]
    return [control.min, type(control.value)((control.min + control.max) / 2), control.max]


def test_a_film_plays_one_control(small_data):
    explorer = MAKERS["batch norm"](small_data)
    film = Image.open(io.BytesIO(explorer.film("batch size", backwards=True)))
    sizes = [value for _, value in explorer.controls[2].options]
    assert film.n_frames == len(sizes) and film.info["loop"] == 2
    first, last = [], []
    for frame, size, kept in ((0, sizes[-1], first), (film.n_frames - 1, sizes[0], last)):
        film.seek(frame)
        png = Image.open(io.BytesIO(explorer.render(1.0, 0.0, size)[0])).convert("RGB")
        kept.append(np.abs(np.asarray(film.convert("RGB")).astype(int) - np.asarray(png)).mean())
    assert max(first + last) < 1, "the picture of the state that its frame is of, but for the colours"
    assert Image.open(io.BytesIO(MAKERS["path"](small_data).film("step"))).n_frames <= widgets.FRAMES
    with pytest.raises(CourseError, match="no control 'size' to play, but γ"):
        explorer.film("size")


def test_every_control_moves_the_picture(explorer):
    assert explorer.controls and not explorer.problem.value
    for control in explorer.controls:
        before = control.value
        seen = set()
        for value in settings(control):
            control.value = value
            seen.add(explorer.picture.value)
            assert not explorer.problem.value
        assert len(seen) == len(settings(control)), f"{control.description} at two settings gives the same picture"
        control.value = before


def test_a_state_has_one_picture_whatever_came_before(explorer):
    first, words = explorer.picture.value, explorer.sentence.value
    start = [control.value for control in explorer.controls]
    for control in explorer.controls:
        control.value = settings(control)[-1]
    for control, value in zip(explorer.controls, start, strict=True):
        control.value = value
    assert (explorer.picture.value, explorer.sentence.value) == (first, words)


def test_a_change_is_answered_in_a_tenth_of_a_second(explorer):
    """In processor time: others may be using this machine."""
    taken = []
    for control in explorer.controls:
        for value in settings(control):
            began = time.process_time()
            control.value = value
            taken.append(time.process_time() - began)
    assert statistics.median(taken) < 0.1


def test_pictures_fit_the_page_and_say_what_they_show(explorer):
    image = re.fullmatch(r'<img alt="([^"]+)".* src="data:image/png;base64,(.+)">', explorer.picture.value)
    words, source = image.groups()
    assert Image.open(io.BytesIO(base64.b64decode(source))).size == (840, 380)
    assert "max-width: 100%" in explorer.picture.value
    assert len(words) > 30 and words[-1] == "."
    assert all(control.description for control in explorer.controls)


def test_nothing_is_left_open_and_a_static_view_has_a_line(small_data):
    before = plt.get_fignums()
    for make in MAKERS.values():
        text = make(small_data)._repr_mimebundle_()["text/plain"]
        assert text.endswith("JupyterLab to move the controls]")
    assert plt.get_fignums() == before


def test_an_error_takes_the_picture_s_place_and_goes_with_it():
    def render(broken):
        if broken:
            raise ZeroDivisionError("<nothing> to divide by")
        return b"png", "A picture."

    tick = ipywidgets.Checkbox()
    explorer = widgets.Explorer("Test", render, [tick])
    tick.value = True
    assert "ZeroDivisionError: &lt;nothing&gt; to divide by" in explorer.problem.value
    assert explorer.picture.layout.display == "none" and not explorer.sentence.value
    state = {"x": {"state": {"outputs": list(explorer.output.outputs)}}}
    notebook = SimpleNamespace(
        cells=[], metadata={"widgets": {"application/vnd.jupyter.widget-state+json": {"state": state}}}
    )
    assert verdict(notebook) == "widget: ZeroDivisionError: <nothing> to divide by"
    tick.value = False
    assert (explorer.problem.value, explorer.output.outputs, explorer.picture.layout.display) == ("", (), None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: widgets.explore_walk(d, [recorded(probes=())], PROBE), "without its probe"),
        (lambda d: widgets.explore_walk(d, [], PROBE), "No step was probed"),
        (
            lambda d: widgets.explore_walk(d, [recorded(seed=0), recorded(BATCH_NORM, seed=1)], PROBE),
            "in every network",
        ),
        (lambda d: widgets.explore_rates(d, {}), "No run at any rate"),
        (lambda d: widgets.explore_band(d, {}, RATES), "No step is recorded"),
        (lambda d: widgets.explore_paths(d, {}), "No training path"),
    ],
)
def test_what_a_record_lacks_is_said_and_fails_nothing(small_data, make, message):
    explorer = make(small_data)
    assert message in explorer.problem.value and explorer.output.outputs == ()


def test_a_rate_that_one_network_lacks_is_said(small_data):
    found = curves()
    del found["with BN"][0.1]
    explorer = widgets.explore_rates(small_data, found)
    assert "with BN: no run at rate 0.1" in explorer.problem.value


def test_a_diverged_run_is_named(small_data):
    explorer = widgets.explore_rates(small_data, curves(lengths=(40, 12)))
    assert "diverged at step 11" in explorer.sentence.value


def test_synthetic_images_are_stamped(small_data):
    from dataclasses import replace

    stamped, plain = (widgets.explore_convolution(replace(small_data, label=x)) for x in ("SYNTHETIC", "CIFAR-10"))
    assert stamped.picture.value != plain.picture.value


@pytest.mark.parametrize("name", scenes.KERNELS)
def test_the_kernel_is_applied_as_convolution_layers_do(name, small_data):
    """Against shifted sums by hand; strength 0 is the image itself."""
    image = small_data.train_images[:1]
    grey, weights = image[0].double().mean(0).numpy() / 255, scenes.mixed_kernel(name, 0.7)
    by_hand = sum(weights[i, j] * grey[i : i + 30, j : j + 30] for i in range(3) for j in range(3))
    figure = scenes.still(scenes.convolution, (image,), (1, name, 0.7, False))
    np.testing.assert_allclose(figure.axes[2].images[0].get_array(), by_hand, atol=1e-12)
    plt.close(figure)
    assert scenes.mixed_kernel(name, 0).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_an_unknown_kernel_is_refused():
    with pytest.raises(CourseError, match="choose from vertical edges"):
        scenes.mixed_kernel("sideways", 1)


def test_the_histogram_is_that_of_batch_norm():
    """The statistics are those of torch's batch norm on the batch that is drawn."""
    values = activations()
    batch = np.random.default_rng(0).permutation(40)[:8]
    layer = torch.nn.BatchNorm2d(1).double()
    with torch.no_grad():
        layer.weight.fill_(1.5), layer.bias.fill_(-0.5)
        out = layer(values[batch][:, None])
    mean, deviation = channel().statistics(batch)
    np.testing.assert_allclose((values[batch] - mean) / deviation * 1.5 - 0.5, out[:, 0], atol=1e-9)
    figure = scenes.still(scenes.batch_norm, (channel(),), (1.5, -0.5, 8))
    drawn = figure.axes[1].patches[0]
    middles = (drawn.get_data().edges[1:] + drawn.get_data().edges[:-1]) / 2
    assert (drawn.get_data().values * middles).sum() / 100 == pytest.approx(float(out.mean()), abs=0.1)
    plt.close(figure)


def test_small_batches_scatter_one_value_more(small_data):
    def spread(size):
        figure = scenes.still(scenes.batch_norm, (channel(),), (1, 0, size))
        ends = next(line.get_xdata() for line in figure.axes[1].lines if len(line.get_xdata()) == scenes.BATCHES)
        plt.close(figure)
        return np.ptp(ends)

    assert spread(2) > spread(8) > spread(32) > 0 == round(spread(40), 9)
    with pytest.raises(CourseError, match="batch of 41"):
        scenes.still(scenes.batch_norm, (channel(),), (1, 0, 41))
    plt.close()


def test_the_promise_is_the_tangent(small_data):
    """On a network of its own: for a small η the measured loss is what the gradient promised."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10)).double()
    batch = small_data.train_images[:16].double() / 255, small_data.train_labels[:16]
    etas = (1e-5, 1e-2)
    probe = probe_along_gradient(model, batch, etas)
    start = F.cross_entropy(model(batch[0]), batch[1]).item()
    found = {"step": np.array([0]), "start_loss": [start], "loss": [probe.loss], "gradient_norm": [probe.gradient_norm]}
    config = ProbeConfig("along_gradient", every=1, etas=etas)
    walk = replays.Walk.of(SimpleNamespace(config=recorded().config, probes={config: found}), config)
    fallen = walk.losses[0, 0] - walk.losses[0, 1]
    assert fallen == pytest.approx(etas[0] * walk.slope[0], rel=0.03)


def test_the_loss_on_the_path_is_the_surface_s_where_they_meet():
    found = plane()
    across, up = found["across"], found["up"]
    paths = [[(across[2], up[3]), (across[6], up[3])], [(across[2], up[3]), (across[2], up[7])]]
    row, column = replays.Path.all_of(found | {"paths": paths, "steps": [(0, 4), (0, 4)]})
    np.testing.assert_allclose(row.loss(np.arange(5)), found["losses"][3, 2:7], rtol=1e-9)
    np.testing.assert_allclose(column.loss(np.arange(5)), found["losses"][3:8, 2], rtol=1e-9)
    with pytest.raises(CourseError, match="batch norm: the paths go from step 0 to 40"):
        scenes.still(replays.paths_on_surface, ({"batch norm": found},), (41,))
    plt.close()


def test_curves_by_rate_keeps_every_seed_and_rate():
    runs = [recorded(seed=s) for s in (0, 1)]
    outcomes = [
        SimpleNamespace(variant=("0.1", "with BN"), runs=runs),
        SimpleNamespace(variant=("1", "with BN"), runs=runs[:1]),
    ]
    found = replays.curves_by_rate(outcomes, 1)
    assert {rate: len(seeds) for rate, seeds in found["with BN"].items()} == {0.1: 2, 1.0: 1}
    np.testing.assert_array_equal(found["with BN"][0.1][1], runs[1].steps["loss"])


def test_thinning_keeps_the_ends():
    assert replays.cuts(3).tolist() == [0, 1, 2]
    assert len(replays.cuts(9000)) == replays.POINTS and replays.cuts(9000)[[0, -1]].tolist() == [0, 8999]
