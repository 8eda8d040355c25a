"""The direct probe against closed forms, double backward and brute force; and as an attachment of a run."""

import copy
import gc
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cifar_helpers import models, plans
from cifar_helpers.env import CourseError
from cifar_helpers.measure import quantities
from cifar_helpers.measure.probe import hessian_products, probe_along_gradient
from cifar_helpers.training import build, probes, run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.prober import Prober
from cifar_helpers.training.probes import ProbeConfig
from cifar_helpers.training.store import Store

ETAS = (0.05, 0.1, 0.4)


class Quadratic(nn.Module):
    """½ wᵀHw at a point w, with a second parameter on which it does not depend."""

    def __init__(self, hessian, w):
        super().__init__()
        self.hessian, self.w, self.idle = hessian, nn.Parameter(w), nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, images):
        return 0.5 * self.w @ self.hessian @ self.w


def value(output, labels):
    return output


ANY = (torch.ones(1), torch.zeros(1))


def hessian(n=6, seed=0):
    draw = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draw @ draw.T + 0.1 * torch.eye(n, dtype=torch.float64)


def smooth_net():
    """Batch norm and tanh, no max-pool: smooth everywhere."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Tanh(),
        nn.Flatten(), nn.Linear(64, 10),
    ).train()  # fmt: skip


def kinked_net():
    """Everything that a probe could disturb: batch norm, dropout, max-pool, a frozen and an unused parameter."""
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.4), nn.Flatten(),
        nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip
    net[0].bias.requires_grad_(False)
    net.register_parameter("unused", nn.Parameter(torch.ones(5)))
    return net.train()


def batch(n=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 8, 8, generator=generator), torch.randint(0, 10, (n,), generator=generator)


# --- analytic truth ------------------------------------------------------------------------------------------------


def test_on_a_quadratic_everything_is_exact():
    h = hessian()
    w = torch.arange(1.0, 7, dtype=torch.float64)
    probe = probe_along_gradient(Quadratic(h, w), ANY, ETAS, value, precision="fp64")
    g, etas = h @ w, np.array(ETAS)
    parabola = 0.5 * w @ h @ w - etas * (g @ g).item() + 0.5 * etas**2 * (g @ h @ g).item()
    np.testing.assert_allclose(probe.loss, parabola, rtol=1e-12)
    np.testing.assert_allclose(probe.gradient_distance, etas * (h @ g).norm().item(), rtol=1e-12)
    assert probe.beta == pytest.approx(((h @ g).norm() / g.norm()).item(), rel=1e-12)
    assert probe.gradient_norm == pytest.approx(g.norm().item()) and probe.start_loss == pytest.approx(
        (0.5 * w @ h @ w).item()
    )


@pytest.mark.parametrize("index", range(6))
def test_along_an_eigenvector_beta_is_its_eigenvalue(index):
    h = hessian()
    eigenvalues, vectors = torch.linalg.eigh(h)
    probe = probe_along_gradient(Quadratic(h, vectors[:, index].clone()), ANY, ETAS, value, precision="fp64")
    np.testing.assert_allclose(probe.betas, eigenvalues[index].item(), rtol=1e-10)


def test_a_random_direction_is_as_long_as_the_gradient():
    # Where the Hessian is 3·identity every direction changes the gradient by 3 × its length.
    model = Quadratic(3 * torch.eye(50, dtype=torch.float64), torch.ones(50, dtype=torch.float64))
    model.idle.requires_grad_(False)
    found = Prober(model, value, precision="fp64").along(ANY, ETAS, direction_seed=1)
    expected = 3 * np.array(ETAS) * found["gradient_norm"].item()
    np.testing.assert_allclose(found["gradient_distance"], expected, rtol=1e-12)
    along = Prober(model, value, precision="fp64").along(ANY, ETAS)
    assert not np.allclose(found["loss"], along["loss"])


def test_for_small_steps_a_smooth_batch_norm_net_gives_the_hessian_vector_product():
    model, (images, labels) = smooth_net().double(), batch()
    images = images.double()
    loss = F.cross_entropy(model(images), labels)
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    product = hessian_products(model, (images, labels))(gradient)
    curvature = torch.cat([h.flatten() for h in product]).norm().item()
    etas = (1e-3, 1e-4, 1e-5)
    probe = probe_along_gradient(model, (images, labels), etas, precision="fp64")
    off = np.abs(probe.gradient_distance / (np.array(etas) * curvature) - 1)
    assert off[-1] < 1e-4 and off[0] > off[1] > off[2]  # the error shrinks with η

    # Central differences of the gradient agree with double backward.
    step = 1e-5
    sides = []
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for p, g in zip(moved.parameters(), gradient, strict=True):
                p.add_(sign * step * g)
        sides.append(torch.autograd.grad(F.cross_entropy(moved(images), labels), list(moved.parameters())))
    for up, down, exact in zip(*sides, product, strict=True):
        torch.testing.assert_close((up - down) / (2 * step), exact, rtol=1e-5, atol=1e-7)


# --- against brute force -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_probe_equals_copies_of_the_model(known, mode):
    model, (images, labels) = kinked_net(), batch()
    random = torch.get_rng_state()

    def gradient_at(net):
        torch.set_rng_state(random)
        net.train(mode == "train")
        loss = F.cross_entropy(net(images), labels)
        watched = [p for p in net.parameters() if p.requires_grad]
        return loss.item(), torch.autograd.grad(loss, watched, allow_unused=True)

    start, gradient = gradient_at(copy.deepcopy(model))
    expected = []
    for eta in ETAS:
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for p, g in zip([p for p in moved.parameters() if p.requires_grad], gradient, strict=True):
                if g is not None:
                    p.sub_(eta * g)
        loss, new = gradient_at(moved)
        squares = sum((a - b).double().pow(2).sum() for a, b in zip(new, gradient, strict=True) if a is not None)
        expected.append((loss, squares.sqrt().item()))

    torch.set_rng_state(random)
    own = None
    if known:
        torch.set_rng_state(random)
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        own = (loss, [p.grad for p in model.parameters() if p.requires_grad])
        model.load_state_dict(kinked_net().state_dict())
    probe = probe_along_gradient(model, (images, labels), ETAS, mode=mode, start=own, random={"cpu": random})
    np.testing.assert_allclose(np.stack([probe.loss, probe.gradient_distance], 1), expected, rtol=2e-5)
    assert probe.start_loss == pytest.approx(start, rel=1e-6)


def test_the_dropout_mask_is_the_same_at_every_step_length():
    model = kinked_net().double()
    probe = probe_along_gradient(model, batch(), (1e-9, 2e-9), precision="fp64")
    assert (probe.gradient_distance < 1e-6 * probe.gradient_norm).all()


def test_fp64_and_fp32_agree_where_nothing_is_drawn():
    model = smooth_net()
    double, single = (probe_along_gradient(model, batch(), ETAS, precision=p) for p in ("fp64", "fp32"))
    np.testing.assert_allclose(double.gradient_distance, single.gradient_distance, rtol=1e-4)
    assert next(model.parameters()).dtype == torch.float32


def test_noise_and_same_batch_equal_brute_force():
    model, first, second = smooth_net(), batch(seed=1), batch(seed=2)
    gradients = [
        torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters())) for x, y in (first, second)
    ]
    apart = sum((a - b).pow(2).sum() for a, b in zip(*gradients, strict=True)).sqrt().item()
    prober = Prober(model, output=model[-1])
    loss, gradient = prober.start(first)
    found = prober.change(second, gradient)
    assert found["gradient_distance"].item() == pytest.approx(apart, rel=1e-5)
    output = sum((a - b).pow(2).sum() for a, b in list(zip(*gradients, strict=True))[-2:]).sqrt().item()
    assert found["gradient_distance_out"].item() == pytest.approx(output, rel=1e-5)


# --- nothing is disturbed, nothing is copied -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_a_probe_leaves_every_bit_as_it_was(mode, precision):
    model, data = kinked_net(), batch()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    F.cross_entropy(model(data[0]), data[1]).backward()
    optimizer.step()
    if mode == "eval":
        model[1].eval()  # a part that was in eval mode stays in it
    state = {name: t.clone() for name, t in model.state_dict().items()}
    places = {name: t.data_ptr() for name, t in model.state_dict().items()}
    gradients = [(p.grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    momentum = [copy.deepcopy(entry) for entry in optimizer.state_dict()["state"].values()]
    random, modes = torch.get_rng_state(), [m.training for m in model.modules()]
    probe_along_gradient(model, data, ETAS, mode=mode, precision=precision)
    assert all(torch.equal(t, state[name]) and t.data_ptr() == places[name] for name, t in model.state_dict().items())
    for p, (same, values) in zip(model.parameters(), gradients, strict=True):
        assert p.grad is same and (values is None or torch.equal(p.grad, values))
    now = optimizer.state_dict()["state"].values()
    assert all(torch.equal(a["momentum_buffer"], b["momentum_buffer"]) for a, b in zip(momentum, now, strict=True))
    assert torch.equal(random, torch.get_rng_state()) and modes == [m.training for m in model.modules()]


@pytest.mark.parametrize("known", [False, True])
def test_at_most_two_extra_copies_of_the_weights(known):
    odd = (1237, 613)  # a shape that nothing else has
    model = nn.Sequential(nn.Flatten(), nn.Linear(odd[1], odd[0]))
    images, labels = torch.randn(2, odd[1]), torch.tensor([0, 1])
    start = None
    if known:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        start = (loss.detach(), [p.grad for p in model.parameters()])
        del loss
    most = []

    def counted(output, targets):
        gc.collect()
        alive = {t.data_ptr() for t in gc.get_objects() if isinstance(t, torch.Tensor) and tuple(t.shape) == odd}
        most.append(len(alive))
        return F.cross_entropy(output, targets)

    probe_along_gradient(model, (images, labels), ETAS, counted, start=start)
    assert len(most) == len(ETAS) + (not known)
    assert max(most) <= 3  # the model's own, the weights at η, and the gradient


def test_a_known_gradient_is_reused_and_one_of_other_precision_is_not():
    model, data, calls = smooth_net(), batch(), []

    def counted(output, targets):
        calls.append(output.dtype)
        return F.cross_entropy(output, targets)

    loss = F.cross_entropy(model(data[0]), data[1])
    loss.backward()
    start = (loss, [p.grad for p in model.parameters()])
    for precision, evaluations in (("fp32", 3), ("fp64", 4)):
        calls.clear()
        probe_along_gradient(model, data, ETAS, counted, start=start, precision=precision)
        assert len(calls) == evaluations


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("etas", [(), (0.0,), (0.1, -0.1), (float("nan"),), (float("inf"),)])
def test_a_step_length_must_be_positive(etas):
    with pytest.raises(CourseError, match="positive"):
        probe_along_gradient(smooth_net(), batch(), etas)


def test_unusable_input_is_refused():
    with pytest.raises(CourseError, match="at least one image"):
        probe_along_gradient(smooth_net(), (torch.empty(0, 3, 8, 8), torch.empty(0, dtype=torch.long)), ETAS)
    with pytest.raises(CourseError, match=r"model.train\(\)"):
        probe_along_gradient(smooth_net().eval(), batch(), ETAS)
    half = smooth_net()
    half[1].eval()
    with pytest.raises(CourseError, match="mode='eval'"):
        probe_along_gradient(half, batch(), ETAS)
    for wrong in ({"mode": "test"}, {"precision": "bf16"}):
        with pytest.raises(CourseError, match="Unknown"):
            probe_along_gradient(smooth_net(), batch(), ETAS, **wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images, labels: ((images * 255).to(torch.uint8), labels), "uint8.*data.normalise"),
        (lambda images, labels: (images, labels.int()), r"int32.*labels.long\(\)"),
        (lambda images, labels: (images[:1], labels[:1]), "one image.*mode='eval'"),
    ],
)
def test_a_batch_that_the_model_refuses_says_what_is_wrong_with_it(change, message):
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
    with pytest.raises(CourseError, match=message):
        probe_along_gradient(net, change(*batch()), ETAS)


def test_a_model_that_gives_a_tuple_is_said_and_a_readers_own_mistake_is_left_as_it_is():
    class Two(nn.Linear):
        def forward(self, images):
            return super().forward(images.flatten(1)), images

    with pytest.raises(CourseError, match="gives a tuple; the loss takes its logits alone"):
        probe_along_gradient(Two(192, 10), batch(), ETAS)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        probe_along_gradient(nn.Sequential(nn.Flatten(), nn.Linear(7, 10)), batch(), ETAS)


def test_a_probe_needs_no_gradients_switched_on():
    usual = probe_along_gradient(smooth_net(), batch(), ETAS)
    with torch.no_grad():
        found = probe_along_gradient(smooth_net(), batch(), ETAS)
    assert np.array_equal(found.loss, usual.loss) and np.array_equal(found.betas, usual.betas)


class Cliff(nn.Module):
    """A loss that is not a number once its weight has gone below zero."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))

    def forward(self, images):
        return (self.w + self.w.sqrt()).sum()


def test_a_loss_that_is_not_finite_is_that_step_lengths_outcome_alone():
    probe = probe_along_gradient(Cliff(), ANY, (0.1, 5.0, 0.2), value)
    assert np.isfinite(probe.loss).tolist() == [True, False, True] and np.isnan(probe.gradient_distance[1])
    assert probe.beta == np.nanmax(probe.betas) and np.isfinite(probe.beta)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "sideways", "every": 1}, "along_gradient"),
        ({"kind": "same_batch"}, "every"),
        ({"kind": "same_batch", "every": 2, "at": (3,)}, "every"),
        ({"kind": "along_gradient", "every": 1}, "step lengths"),
        ({"kind": "along_gradient", "every": 1, "etas": (0.1, 0)}, "step lengths"),
        ({"kind": "noise", "every": 1}, "other batches"),
        ({"kind": "same_batch", "every": 1, "mode": "eval"}, "mode"),
    ],
)
def test_an_impossible_probe_says_what_is_wrong(settings, message):
    with pytest.raises(CourseError, match=message):
        ProbeConfig(**settings)


# --- probes of a run -----------------------------------------------------------------------------------------------

CONFIG = RunConfig(
    "VGG_A_Light", optimizer="SGD", lr=0.1, steps=24, batch_size=32, precision="fp32", gradients=True, eval_every=12,
    keep_weights=True,
)  # fmt: skip
PROBES = [
    ProbeConfig("along_gradient", every=5, etas=ETAS),
    ProbeConfig("along_gradient", at=(4,), etas=(0.05, 0.3), direction="random"),
    ProbeConfig("same_batch", every=3),
    ProbeConfig("noise", at=(4,), batches=2),
]


class Dropping(nn.Module):
    """Batch norm and dropout on 32×32 images."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(),
            nn.Dropout(0.3), nn.Linear(512, 10),
        )  # fmt: skip

    def forward(self, images):
        return self.net(images)


@pytest.fixture(params=["VGG_A_Light", "Dropping"])
def config(request, monkeypatch):
    monkeypatch.setattr(models, "Dropping", Dropping, raising=False)
    return RunConfig(**{**vars(CONFIG), "model": request.param})


def files_of(record):
    return {p.name: p.read_bytes() for p in record.folder.iterdir() if not p.name.startswith("probe-")}


def same_values(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name], equal_nan=True), name


def test_a_run_with_probes_equals_the_run_without(config, small_data, tmp_path):
    bare = run.get_run(config, small_data, "cpu", Store(tmp_path / "bare"))
    probed = run.get_run(config, small_data, "cpu", Store(tmp_path / "probed"), PROBES)
    same_values(bare.steps, probed.steps)
    assert all(torch.equal(t, probed.weights[name]) for name, t in bare.weights.items())
    assert bare.key == probed.key and list(probed.probes) == PROBES and not bare.probes
    assert probed.probes[PROBES[0]]["step"].tolist() == [0, 5, 10, 15, 20]
    assert probed.probes[PROBES[0]]["loss"].shape == (5, 3)
    np.testing.assert_array_equal(probed.probes[PROBES[0]]["start_loss"], probed.steps["loss"][::5])


def test_a_probe_added_later_leaves_the_record_alone(config, small_data, tmp_path, capsys):
    store = Store(tmp_path / "later")
    before = files_of(run.get_run(config, small_data, "cpu", store))
    later = run.get_run(config, small_data, "cpu", store, PROBES)
    assert files_of(later) == before and "trained once more" in capsys.readouterr().out
    at_once = run.get_run(config, small_data, "cpu", Store(tmp_path / "once"), PROBES)
    for probe in PROBES:
        same_values(later.probes[probe].values, at_once.probes[probe].values)
        assert later.probes[probe].provenance["repeated"]["largest_loss_difference"] == 0.0
    run.get_run(config, small_data, "cpu", store, PROBES)
    assert "trained once more" not in capsys.readouterr().out


def interrupted(config, data, store, wanted, monkeypatch, stop):
    original = run._Run.on_flush

    def interrupt(self, step):
        original(self, step)
        if step >= stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(run, "FLUSH_EVERY", 3)
        patch.setattr(run._Run, "on_flush", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run.get_run(config, data, "cpu", store, wanted)


def test_probes_survive_an_interruption(config, small_data, tmp_path, monkeypatch):
    whole = run.get_run(config, small_data, "cpu", Store(tmp_path / "whole"), PROBES)
    store = Store(tmp_path / "broken")
    for stop in (6, 15):
        interrupted(config, small_data, store, PROBES, monkeypatch, stop)
    resumed = run.get_run(config, small_data, "cpu", store, PROBES)
    assert resumed.provenance["resumed"] == 2
    same_values(whole.steps, resumed.steps)
    for probe in PROBES:
        same_values(whole.probes[probe].values, resumed.probes[probe].values)


def test_a_checkpoint_without_the_probes_is_not_gone_on_from(small_data, tmp_path, monkeypatch, capsys):
    store = Store(tmp_path)
    interrupted(CONFIG, small_data, store, [], monkeypatch, 6)
    record = run.get_run(CONFIG, small_data, "cpu", store, PROBES[:1])
    assert record.provenance["resumed"] == 0 and "starts over" in capsys.readouterr().out
    assert record.probes[PROBES[0]]["step"][0] == 0


def test_a_repetitions_checkpoint_is_not_taken_for_the_runs_own(small_data, tmp_path, monkeypatch):
    store = Store(tmp_path)
    record = run.get_run(CONFIG, small_data, "cpu", store)
    interrupted(CONFIG, small_data, store, PROBES[:1], monkeypatch, 15)  # past the evaluation at step 12
    for path in record.folder.iterdir():
        path.unlink()
    record.folder.rmdir()
    again = run.get_run(CONFIG, small_data, "cpu", store, PROBES[:1])
    assert [e["step"] for e in again.epochs] == [12, 24] and again.provenance["resumed"] == 0


def test_the_probes_of_a_published_record_come_from_its_own_training(small_data, tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR_FIGURES", str(tmp_path / "figures"))
    published = Store(tmp_path / "figures" / "records")
    record = run.get_run(CONFIG, small_data, "cpu", published, PROBES[:1])
    store = Store(tmp_path / "runs", published=True)
    assert run.get_run(CONFIG, small_data, "cpu", store, PROBES[:1]).folder == record.folder
    trained = run.get_run(CONFIG, small_data, "cpu", store, PROBES[:2])  # one is not published: trained with both
    assert trained.folder.parent == store.root and len(trained.probes) == 2
    assert trained.probes[PROBES[0]].provenance["repeated"] is None


def test_a_damaged_attachment_is_measured_again(small_data, store):
    record = run.get_run(CONFIG, small_data, "cpu", store, PROBES[:1])
    path = record.folder / f"{PROBES[0].name}.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    assert probes.read(record.folder, PROBES[0]) is None
    again = run.get_run(CONFIG, small_data, "cpu", store, PROBES[:1])
    same_values(again.probes[PROBES[0]].values, record.probes[PROBES[0]].values)


def test_a_probes_name_is_a_hash_of_what_it_asks():
    names = {probe.name for probe in PROBES}
    assert len(names) == len(PROBES)
    again = ProbeConfig(**json.loads(PROBES[0].to_json()))
    assert again == PROBES[0] and again.name == PROBES[0].name and hash(again) == hash(PROBES[0])


def test_same_batch_values_equal_a_recomputation(small_data, store):
    record = run.get_run(CONFIG, small_data, "cpu", store, PROBES)
    found = record.probes[PROBES[2]]
    model = build.build_model(CONFIG).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=CONFIG.lr)
    batches = build.training_batches(CONFIG, small_data, "cpu")
    expected = []
    for step in range(CONFIG.steps):
        x, y = batches[step]
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        first = [p.grad.clone() for p in model.parameters()]
        optimizer.step()
        if step % 3 == 0:
            second = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
            expected.append(sum((a - b).pow(2).sum() for a, b in zip(first, second, strict=True)).sqrt().item())
    np.testing.assert_allclose(found["gradient_distance"], expected, rtol=1e-3)
    np.testing.assert_allclose(found["moved"][:-1], record.steps["moved"][found["step"][:-1]], rtol=1e-5)
    band = quantities.same_batch([record], PROBES[2], "beta")
    np.testing.assert_allclose(
        band.curves[0], (found["gradient_distance"] / found["moved"])[: len(band.steps)], rtol=1e-6
    )


def test_a_diverging_run_keeps_the_probes_before_its_end(small_data, store):
    config = RunConfig("VGG_A_Light", optimizer="SGD", lr=1e4, steps=20, batch_size=32, precision="fp32")
    probe = ProbeConfig("along_gradient", every=1, etas=(0.1, 1.0))
    record = run.get_run(config, small_data, "cpu", store, [probe])
    assert record.diverged_at is not None
    assert record.probes[probe]["step"].tolist() == list(range(record.diverged_at + 1))
    assert np.isnan(quantities.probe_values(record.probes[probe], "distance")[-1]).all()


# --- the protocol --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", plans.profiles.PROFILES)
def test_the_protocol_is_the_papers(profile):
    configs, grid = plans.landscape.direct_runs(profile), plans.landscape.direct_probe(profile)
    for config in configs:
        assert (config.optimizer, config.lr, config.augmentation, config.precision) == ("SGD", 0.1, (), "fp32")
        assert config.batch_size == (16 if profile == "smoke" else 128)
        weights = [m.weight for m in build.build_model(config).modules() if isinstance(m, nn.Conv2d)][4]
        fan = weights.shape[0] * 9 + weights.shape[1] * 9
        assert weights.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.02)  # Xavier-normal
    assert grid.etas[0] == pytest.approx(0.05) and grid.etas[-1] == pytest.approx(0.4)
    assert {c.model for c in configs} == {"VGG_A", "VGG_A_BatchNorm"}
    controls = plans.landscape.direct_controls(profile)
    assert len(controls["dense"].etas) == 29 and all(grid.wants(step) for step in controls["dense"].at)
    assert max(controls["dense"].at) < configs[0].steps


def test_seeds_and_lengths_are_what_the_profiles_promise():
    laptop, full = (plans.landscape.direct_runs(name) for name in ("laptop", "full"))
    assert {c.seed for c in laptop} == {0, 1, 2} and laptop[0].steps >= 3 * 200  # well past the plateau
    assert {c.seed for c in full} == set(range(5)) and full[0].steps == 15_000
    assert len(plans.landscape.direct_probe("laptop").etas) == 7
    assert all(
        len({c.seed for c in plans.landscape.bn_sweep("laptop") if c.lr == lr}) == 3 for lr in plans.landscape.RATES
    )
