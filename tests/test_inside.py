"""Loss surfaces, Hessian eigenvalues and attributions, where the answer is known."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cifar_helpers import models
from cifar_helpers.env import CourseError
from cifar_helpers.inside import attribution, curvature, surface
from cifar_helpers.training import run
from cifar_helpers.training.config import RunConfig


def trained_like(norm="batch"):
    """A small VGG-A whose running statistics have seen a few batches."""
    torch.manual_seed(0)
    model = models.VGG_A(norm=norm, width=0.125)
    for _ in range(3):
        model(torch.randn(16, 3, 32, 32))
    return model.eval()


def some_batches(count=2, n=16):
    torch.manual_seed(1)
    return [(torch.randn(n, 3, 32, 32), torch.arange(n) % 10) for _ in range(count)]


# --- Surface -------------------------------------------------------------------------------------------------------


def test_the_centre_of_a_surface_is_the_trained_loss_and_the_model_stays():
    model, batches = trained_like(), some_batches()
    before = copy.deepcopy(model.state_dict())
    directions = surface.filter_normalised(model, 0), surface.filter_normalised(model, 1)
    losses = surface.surface(model, batches, directions, surface.grid(3), surface.grid(5))
    expected = np.mean([F.cross_entropy(model(x), y).item() for x, y in batches])
    assert losses.shape == (5, 3) and losses[2, 1] == pytest.approx(expected, rel=1e-6)
    assert len(np.unique(losses)) > 10
    assert all(torch.equal(a, before[name]) for name, a in model.state_dict().items()) and not model.training


def test_filters_of_a_direction_are_as_long_as_the_models():
    model = trained_like()
    for name, direction in surface.filter_normalised(model, 3).items():
        p = model.get_parameter(name).detach()
        if p.dim() > 1:
            torch.testing.assert_close(direction.flatten(1).norm(dim=1), p.flatten(1).norm(dim=1))
        else:
            assert not direction.any()
    again, other = (surface.filter_normalised(model, seed)["features.0.weight"] for seed in (3, 4))
    assert torch.equal(again, surface.filter_normalised(model, 3)["features.0.weight"]) and not torch.equal(
        again, other
    )


def test_recomputed_statistics_are_those_of_the_batches():
    model, (batch, *_) = trained_like(), some_batches(1)
    surface.recompute_statistics(model, [batch])
    seen = model.features[0](batch[0])
    torch.testing.assert_close(model.features[1].running_mean, seen.mean((0, 2, 3)).detach())
    torch.testing.assert_close(model.features[1].running_var, seen.var((0, 2, 3)).detach())
    assert not model.training and model.features[1].momentum == 0.1


def test_recomputing_matters_away_from_the_centre_and_only_with_batch_norm():
    for norm, matters in (("batch", True), ("none", False)):
        model, batches = trained_like(norm), some_batches()
        directions = surface.filter_normalised(model, 0), surface.filter_normalised(model, 1)
        stale, fresh = (
            surface.surface(model, batches, directions, surface.grid(3), recompute=r) for r in (False, True)
        )
        assert (np.abs(stale - fresh).max() > 1e-3) == matters


def test_a_path_in_a_plane_is_found_again():
    names, states = ["w", "b"], []
    for x, y in ((0, 0), (1, 3), (2, 1), (4, -1)):
        states.append({"w": torch.tensor([[1.0 + 3 * x, 4.0 * x], [0.0, 0.0]]), "b": torch.tensor([2.0 * y])})
    directions, coordinates, shares = surface.path_plane(states, names)
    assert shares.sum() == pytest.approx(1) and shares[0] >= shares[1] > 0
    rebuilt = [
        {n: states[-1][n] + sum(c * d[n] for c, d in zip(point, directions, strict=True)) for n in names}
        for point in coordinates
    ]
    for state, back in zip(states, rebuilt, strict=True):
        for name in names:
            torch.testing.assert_close(back[name].float(), state[name], atol=1e-5, rtol=1e-5)
    assert coordinates[-1] == pytest.approx([0, 0])


def test_two_straight_paths_span_their_plane_which_goes_through_the_end_of_the_first():
    corner = {"w": torch.tensor([[5.0, 1.0], [2.0, 7.0]])}
    along = {"first": torch.tensor([[4.0, 0.0], [0.0, 0.0]]), "second": torch.tensor([[0.0, 0.0], [1.0, 0.0]])}
    states = [{"w": corner["w"] + t * way} for way in along.values() for t in (0, 0.5, 1)]
    directions, coordinates, shares = surface.path_plane(states, ["w"], centre=2)
    assert coordinates[2] == pytest.approx([0, 0]) and shares.sum() == pytest.approx(1)
    assert coordinates[0] == pytest.approx(coordinates[3]), "they start together"
    lengths = np.linalg.norm(coordinates[[0, 5]] - coordinates[[2, 3]], axis=1)
    assert lengths == pytest.approx([4, 1]), "as long in the plane as they are"
    first, second = coordinates[2] - coordinates[0], coordinates[5] - coordinates[3]
    assert first @ second == pytest.approx(0, abs=1e-6), "and at a right angle"
    for point, state in zip(coordinates, states, strict=True):
        back = states[2]["w"] + sum(c * d["w"] for c, d in zip(point, directions, strict=True))
        torch.testing.assert_close(back.float(), state["w"])


def test_a_network_without_batch_norm_has_no_statistics_to_take_again():
    model, seen = trained_like("none"), []
    model.register_forward_hook(lambda *given: seen.append(given))
    surface.recompute_statistics(model.train(), some_batches())
    assert not seen and not model.training


@pytest.mark.parametrize("points", [0, 1, 2])
def test_a_surface_needs_three_points_a_side(points):
    with pytest.raises(CourseError, match=f"at least 3 points along each side, not {points}"):
        surface.grid(points)
    with pytest.raises(CourseError, match="at least 3 states"):
        surface.path_plane([{}] * points, [])


# --- Curvature -----------------------------------------------------------------------------------------------------


class Quadratic(nn.Module):
    """½ wᵀAw, whatever the images."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix, self.w = matrix, nn.Parameter(torch.ones(len(matrix), dtype=matrix.dtype))

    def forward(self, images):
        return 0.5 * self.w @ self.matrix @ self.w


def test_the_eigenvalues_of_a_quadratic_are_exact():
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(12, 12, dtype=torch.double))
    values = torch.tensor([9.0, 4.0, 1.0, *([0.1] * 8), -20.0], dtype=torch.double)  # largest, not largest in size
    model = Quadratic(basis @ torch.diag(values) @ basis.T)
    batch = torch.zeros(1), torch.zeros(1)
    found = curvature.top_eigenvalues(model, batch, 3, lambda loss, _: loss, tolerance=1e-12)
    assert found == pytest.approx([9.0, 4.0, 1.0], rel=1e-10)


def test_the_eigenvalue_of_a_network_is_that_of_its_whole_hessian():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = torch.randn(20, 3, dtype=torch.double), torch.arange(20) % 2
    shapes = [p.shape for p in model.parameters()]
    names = [n for n, _ in model.named_parameters()]

    def loss(flat):
        parts = [part.view(shape) for part, shape in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)]
        return F.cross_entropy(torch.func.functional_call(model, dict(zip(names, parts, strict=True)), x), y)

    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    expected = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    found = curvature.top_eigenvalues(model, (x, y), 2, tolerance=1e-10)
    assert found == pytest.approx(expected.flip(0)[:2].tolist(), rel=1e-8)


@pytest.mark.parametrize("count", [0, 12])
def test_impossible_numbers_of_eigenvalues_say_what_is_possible(count):
    model = Quadratic(torch.eye(12, dtype=torch.double))
    with pytest.raises(CourseError, match="1 to 11"):
        curvature.top_eigenvalues(model, (torch.zeros(1), torch.zeros(1)), count, lambda loss, _: loss)


# --- Attribution ---------------------------------------------------------------------------------------------------


class Corner(nn.Module):
    """Scores class 1 by the brightness of the upper left quadrant, and sees nothing else."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)
        self.register_buffer("seen", torch.zeros(32, 32))
        self.seen[:16, :16] = 1

    def forward(self, images):
        seen = self.conv(images * self.seen).sum((1, 2, 3))
        return torch.stack([-seen, seen], 1)


@pytest.mark.parametrize("method", ["Grad-CAM", "integrated gradients", "occlusion"])
def test_a_network_that_looks_at_one_quadrant_lights_that_quadrant(method):
    torch.manual_seed(0)
    images, labels = torch.rand(3, 3, 32, 32) + 0.5, torch.ones(3, dtype=torch.long)
    maps = attribution.methods("conv")[method](Corner(), images, labels)
    inside = maps[:, :16, :16].sum()
    assert maps.shape == (3, 32, 32) and maps.min() >= 0
    share = inside / maps.sum()
    assert share > (0.7 if method == "occlusion" else 0.999)  # an 8×8 window may reach across the border


def test_integrated_gradients_add_up_to_the_change_of_the_score():
    model, (batch, *_) = trained_like("none"), some_batches(1, 4)
    images, labels = batch
    maps = attribution.integrated_gradients(model, images, labels)
    with torch.no_grad():
        change = (model(images) - model(torch.zeros_like(images)))[torch.arange(4), labels]
    torch.testing.assert_close(maps.sum((1, 2)), change, rtol=0.1, atol=0.02)


def test_randomised_weights_are_other_weights_and_the_model_keeps_its_own():
    model = trained_like()
    before = copy.deepcopy(model.state_dict())
    images = some_batches(1)[0][0]
    twin = attribution.randomised(model, images)
    assert all(torch.equal(a, before[name]) for name, a in model.state_dict().items())
    shuffled, kept = twin.features[0].weight.flatten(), model.features[0].weight.flatten()
    assert not torch.equal(shuffled, kept) and torch.equal(shuffled.sort().values, kept.sort().values)
    torch.testing.assert_close(twin.features[1].running_mean, twin.features[0](images).mean((0, 2, 3)).detach())


def test_similarity_is_a_rank_correlation():
    maps = torch.rand(2, 8, 8)
    assert attribution.similarity(maps, 3 * maps) == pytest.approx([1, 1])
    assert attribution.similarity(maps, 1 - maps) == pytest.approx([-1, -1])
    assert np.abs(attribution.similarity(torch.rand(1, 100, 100), torch.rand(1, 100, 100))) < 0.1
    assert np.isnan(attribution.similarity(maps, torch.zeros(2, 8, 8))).all()


def test_an_unknown_layer_lists_those_known():
    with pytest.raises(CourseError, match="'features.99'.*features.0, features.4"):
        attribution.grad_cam(trained_like(), torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long), "features.99")


def test_images_of_a_surface_and_of_curvature_are_of_every_class_though_folders_are_sorted(small_data, store):
    order = small_data.train_labels.argsort(stable=True)
    by_class = dataclasses.replace(
        small_data, train_images=small_data.train_images[order], train_labels=small_data.train_labels[order]
    )
    record = run.get_run(RunConfig("LeNet5", steps=1, batch_size=16, test=False), by_class, "cpu", store)
    labels = torch.cat([y for _, y in surface._training_images(record, by_class, 100, "cpu")])
    assert len(labels) == 100 and len(labels.unique()) == 10
