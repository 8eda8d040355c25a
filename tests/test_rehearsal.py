"""The CUDA path rehearsed without a GPU: whole runs on a device on which nothing is computed.

The host computes as usual. The device ``gpu`` knows only shapes: its tensors are fakes, a copy to the host is zeros. An
operation on tensors of both raises ``MixError``. Waiting for the device raises ``WaitError`` inside the training loop,
and is counted in an evaluation: ``.item()`` and its like, shapes that depend on values, every copy to the host, and a
copy to the device unless it is queued from pinned memory.
"""

import contextlib
import inspect
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch._subclasses import fake_tensor
from torch.utils import _python_dispatch, _pytree, backend_registration

from cifar_helpers import models
from cifar_helpers.data import synthetic
from cifar_helpers.data.images import AUGMENTATIONS, ImageData
from cifar_helpers.training import build, optim, run
from cifar_helpers.training import loop as train
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.probes import ProbeConfig
from cifar_helpers.training.store import Store

SETUP = "_setup_privateuseone_for_python_backend"
pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, SETUP), reason=f"torch {torch.__version__} has no {SETUP} to make a device with"
)
DEVICE = "gpu"
GAPS = {  # what a rehearsal cannot show
    "values": "a copy to the host is zeros: losses, accuracies and checkpoints have their right shapes and no more",
    "bf16": "autocast has no kernels for such a device, so every run is in fp32",
    "CUDA's generator": "random_state and checkpoints keep it for devices of type cuda alone",
    "CUDA's clock": "a probe's seconds are taken after torch.cuda.synchronize, for devices of type cuda alone",
    "cuDNN": "its algorithms, and true_fp32 that chooses among them",
    "memory": "nothing is allocated, so nothing runs out",
}


class WaitError(Exception):
    """The host waited for the device inside the training loop."""


class MixError(Exception):
    """An operation was given tensors of the device and of the host."""


# --- The device, in a process of its own: a backend must be registered before the first backward pass -----------------


class Device(_python_dispatch.TorchDispatchMode):
    """Sends every operation to the host or to the fakes, and watches for waiting and mixing.

    Attributes:
        waits: how often the host waited for the device; forbidden: whether that raises ``WaitError``.
    """

    def __init__(self):
        super().__init__()
        self.fakes = fake_tensor.FakeTensorMode(allow_non_fake_inputs=True)
        self.waits, self.forbidden = 0, False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [t for t in _pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        on_host = [t for t in tensors if not isinstance(t, fake_tensor.FakeTensor)]
        target = kwargs.get("device")
        if func is torch.ops.aten._pin_memory.default:
            pinned = args[0].clone()
            pinned.is_queued = True
            return pinned
        if len(on_host) == len(tensors) and (target is None or torch.device(target).type != DEVICE):
            return func(*args, **kwargs)
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            return self._copy(func, args, kwargs)
        if any(t.dim() for t in on_host):
            raise MixError(f"{func} of {[tuple(t.shape) for t in on_host]} on the host")
        try:
            return self._pretend(func, args, kwargs, on_host)
        except fake_tensor.FakeTensorDeviceMismatchError as error:
            raise MixError(f"{func}: {error}") from error
        except (fake_tensor.DataDependentOutputException, fake_tensor.DynamicOutputShapeException):
            self._wait(func)
            return torch.zeros((), dtype=tensors[0].dtype).item()

    def _copy(self, func, args, kwargs):
        into = args[0] if func is torch.ops.aten.copy_.default else None
        source = args[1] if into is not None else args[0]
        target = into.device if into is not None else torch.device(kwargs.get("device") or source.device)
        if isinstance(source, fake_tensor.FakeTensor) and target.type != DEVICE:
            self._wait(f"copy to the host of {tuple(source.shape)}")
            dtype = kwargs.get("dtype") or source.dtype
            return torch.zeros(source.shape, dtype=dtype) if into is None else into.zero_()
        queued = kwargs.get("non_blocking") or (into is not None and len(args) > 2 and args[2])
        if not isinstance(source, fake_tensor.FakeTensor) and not (queued and hasattr(source, "is_queued")):
            self._wait(f"copy to the device of {tuple(source.shape)}, not from pinned memory")
        return self._pretend(func, args, kwargs, some_on_host=True)

    def _pretend(self, func, args, kwargs, some_on_host):
        """On fakes alone: a small host tensor would be taken for a constant, and computed with."""

        def faked(value):
            real = isinstance(value, torch.Tensor) and not isinstance(value, fake_tensor.FakeTensor)
            return self.fakes.from_tensor(value) if real else value

        if some_on_host:
            args, kwargs = _pytree.tree_map(faked, (args, kwargs))
        with self.fakes:
            return func(*args, **kwargs)

    def _wait(self, what) -> None:
        self.waits += 1
        if self.forbidden:
            raise WaitError(str(what))

    @contextlib.contextmanager
    def watching(self, forbidden: bool):
        before, self.forbidden = self.forbidden, forbidden
        try:
            yield
        finally:
            self.forbidden = before


class Constructors(torch.overrides.TorchFunctionMode):
    """``torch.tensor`` and the like go past the dispatcher with a device: made on the host, then copied."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        made_from_numbers = func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor)
        device = kwargs.pop("device", None) if made_from_numbers else None
        made = func(*args, **kwargs)
        return made if device is None else made.to(device)


def start_device() -> None:
    """What the process of the device does first."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # where there is a GPU, this process has none
    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]  # a probe switches autocast off, which has to know it
    getattr(backend_registration, SETUP)(DEVICE, module)


def whole_run(config: RunConfig, probed=(), loop=None, folder=None, interrupt_at=None) -> dict:
    """``run.get_run`` on the device; nothing may wait between two flushes.

    Args:
        probed: probes to take; loop: source of another ``loop.train``.
        folder: of the records; interrupt_at: a Ctrl-C after this many steps.

    Returns:
        ``steps`` and ``probes`` (arrays), ``waits`` of every evaluation, and ``resumed`` and ``device`` of the record.
    """
    device, waits = Device(), []
    parts = [torch.from_numpy(array) for seed, n in ((0, 40), (1, 6)) for array in synthetic.draw(n, seed)]
    images = ImageData(*parts, synthetic.CLASSES, "SYNTHETIC", "f" * 64)
    names = dict(vars(train))
    if loop:
        exec(loop, names)

    def watched_train(*args):
        with device.watching(forbidden=True):
            names["train"](*args)

    def at_a_flush(self, step, on_flush=run._Run.on_flush):
        with device.watching(forbidden=False):
            ended = on_flush(self, step)
            if step == interrupt_at:
                raise KeyboardInterrupt
            return ended

    def counted_evaluation(*args):
        before = device.waits
        found = train.evaluate(*args)
        waits.append(device.waits - before)
        return found

    with contextlib.ExitStack() as stack:
        for module, name, value in (
            (run, "choose_device", lambda name: torch.device(DEVICE, 0)),
            (run, "train", watched_train),
            (run, "evaluate", counted_evaluation),
            (run, "CHECKPOINT_SECONDS", -1.0),
            (run._Run, "on_flush", at_a_flush),
        ):
            stack.enter_context(mock.patch.object(module, name, value))
        folder = folder or stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(device)
        stack.enter_context(Constructors())
        record = run.get_run(config, images, DEVICE, Store(Path(folder)), probed)
    found = {"steps": record.steps, "probes": [dict(record.probes[probe].values) for probe in probed], "waits": waits}
    made = record.provenance
    return found | {"resumed": made["resumed"], "device": made["machine"]["device"]}


@pytest.fixture(scope="module")
def rehearse():
    """``whole_run`` in the process of the device."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), start_device) as pool:

        def call(*args, **settings) -> dict:
            return pool.submit(whole_run, *args, **settings).result()

        yield call


# --- What is rehearsed ------------------------------------------------------------------------------------------------

PROBES = [
    ProbeConfig("along_gradient", at=(1,), etas=(0.1,)),
    ProbeConfig("same_batch", every=1),
    ProbeConfig("noise", at=(1,), batches=1),
]
MODES = [
    ProbeConfig("along_gradient", at=(1,), etas=(0.1, 0.2), mode="eval"),
    ProbeConfig("along_gradient", at=(1,), etas=(0.1, 0.2), direction="random"),
]
# The five depths are one class; its two kinds of block stand for them.
NETWORKS = [(name, {}) for name in models.known() if name not in ("VGG", "ResNet") and not name.startswith("resnet")]
NETWORKS += [("ResNet", {"blocks": [1, 1, 1, 1], "bottleneck": bottleneck}) for bottleneck in (False, True)]
NETWORKS += [("VGG", {"stages": [[8], [8, 8]], "hidden": [8], "dropout": 0.5}), ("MyNet", {"activation": "swish"})]
NETWORKS += [("VGG", {"stages": [[8]], "hidden": [8], "norm": norm}) for norm in models.NORMS]
NETWORKS += [("LeNet5", {"batch_norm": True, "activation": name}) for name in models.ACTIVATIONS if name != "relu"]
APART = {"Optimizer", "LBFGS", "SparseAdam", "Muon"}  # build_optimizer refuses these, and Muon alone refuses filters
THEIRS = sorted(set(build._optimizers(torch.optim)) - APART)
OURS = [f"course.{name}" for name in build._optimizers(optim)]
OPTIMIZER_ARGS = {  # the forms that CUDA takes by default
    name: {"foreach": True} for name in THEIRS if "foreach" in inspect.signature(getattr(torch.optim, name)).parameters
}
WAITING = {  # torch's own that wait at every step; none of the course's runs takes them
    "ASGD": "makes its averaging factors on the host",
    "Adafactor": "reads the norm of every weight",
}
MORE = {
    "crop, flip, cutout": {"augmentation": ("crop", "flip", "cutout")},
    "shift, alternating flip": {"augmentation": ("shift", "alternating_flip")},
    "sizes": {"model": "FastNet", "sizes": ((0.5, 24),)},
    "l1": {"l1": 0.01},
    "label smoothing": {"label_smoothing": 0.1},
    "channel normalisation": {"normalisation": "channel"},
    "all images, test with flips": {"split": "all", "test": True, "test_flips": True},
    "weights kept": {"keep_weights": True, "snapshots": (0, 2)},
    **{name: {"augmentation": (name,)} for name in AUGMENTATIONS},
    **{name: {"schedule": name} for name in optim.SCHEDULES},
    **{name: {"loss": name} for name in build.LOSSES},
}


def small(model: str = "LeNet5", model_args=None, **settings) -> RunConfig:
    """Three steps of batch 4 on 8 images: an epoch and a half, evaluated twice."""
    usual = {"steps": 3, "batch_size": 4, "n_items": 8, "eval_every": 2, "test": False, "gaps": (1, 2)}
    return RunConfig(model, model_args or {}, **usual | settings)


def check(found: dict, steps: int = 3) -> None:
    assert found["device"] == f"{DEVICE}:0" and len(found["steps"]["loss"]) == steps
    assert set(found["waits"]) == {1}, "an evaluation waits once"


@pytest.mark.parametrize(("name", "arguments"), NETWORKS, ids=lambda value: str(value))
def test_every_network_with_recorder_and_probes(rehearse, name, arguments):
    found = rehearse(small(name, arguments, steps=2, gradients=True), PROBES)
    check(found, 2)
    assert [len(values["step"]) for values in found["probes"]] == [1, 2, 1]


def test_a_probe_in_eval_mode_and_one_in_a_random_direction(rehearse):
    found = rehearse(small("VGG_A_BatchNorm_Dropout", steps=2), MODES)
    check(found, 2)
    assert [values["loss"].shape for values in found["probes"]] == [(1, 2), (1, 2)]


@pytest.mark.parametrize("name", [*THEIRS, *OURS])
def test_every_optimizer(rehearse, name):
    config = small(optimizer=name, optimizer_args=OPTIMIZER_ARGS.get(name, {}))
    with pytest.raises(WaitError) if name in WAITING else contextlib.nullcontext():
        check(rehearse(config))


@pytest.mark.parametrize("settings", MORE.values(), ids=MORE)
def test_every_augmentation_schedule_size_loss_and_penalty(rehearse, settings):
    check(rehearse(small(**settings)))


def test_a_run_goes_on_from_its_checkpoint(rehearse, tmp_path):
    config = small("VGG_A", {"width": 0.125, "norm": "batch"}, gradients=True)
    with pytest.raises(KeyboardInterrupt):
        rehearse(config, PROBES, folder=tmp_path, interrupt_at=2)
    found = rehearse(config, PROBES, folder=tmp_path)
    check(found)
    assert found["resumed"] == 1 and len(found["probes"][1]["step"]) == 3


LOOP = inspect.getsource(train.train)


@pytest.mark.parametrize(
    ("line", "instead", "error"),
    [
        ("recorder.before_update(loss)", "recorder.before_update(loss); loss.item()", WaitError),
        ("recorder.before_update(loss)", "recorder.before_update(loss); print(float(loss))", WaitError),
        ("recorder.before_update(loss)", "recorder.before_update(loss.cpu())", WaitError),
        ("optimizer.step()", "loss.isnan().nonzero(); optimizer.step()", WaitError),
        ("optimizer.step()", "if loss < 10: optimizer.step()", WaitError),
        ("model(images).float()", "model(images).float() * torch.tensor([1.0], device=images.device)", WaitError),
        ("model(images).float()", "model(images).float() + torch.zeros(10)", MixError),
        ("loss = criterion(", "labels = labels.new_zeros(len(labels), device='cpu'); loss = criterion(", MixError),
    ],
)
def test_a_wait_or_a_mix_in_the_loop_is_found(rehearse, line, instead, error):
    assert LOOP.count(line) == 1
    with pytest.raises(error):
        rehearse(small(), loop=LOOP.replace(line, instead))


def test_the_loop_as_it_is_passes(rehearse):
    check(rehearse(small(), loop=LOOP))
