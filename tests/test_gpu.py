"""What only a GPU can show; the rest of its path is rehearsed without one in ``test_rehearsal``."""

import contextlib

import numpy as np
import pytest
import torch

from cifar_helpers.training import loop, run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.probes import ProbeConfig
from cifar_helpers.training.store import Store

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
PROBES = (
    ProbeConfig("along_gradient", every=2, etas=(0.1, 0.2)),
    ProbeConfig("along_gradient", at=(2,), etas=(0.1,), direction="random"),
    ProbeConfig("same_batch", every=2),
    ProbeConfig("noise", at=(2,), batches=2),
)


def config(**settings) -> RunConfig:
    usual = {"steps": 8, "batch_size": 32, "eval_every": 4, "gradients": True, "gaps": (1, 3), "precision": "fp32"}
    usual |= {"optimizer": "SGD", "lr": 0.05, "model_args": {"width": 0.125, "norm": "batch"}}
    return RunConfig("VGG_A", **usual | settings)


@contextlib.contextmanager
def waiting(mode: str):
    """What torch does where the host waits for the GPU: ``default`` nothing, ``error`` raises."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "course.SGD"])
def test_the_loop_waits_at_a_flush_alone(small_data, store, monkeypatch, precision, optimizer):
    on_flush = run._Run.on_flush
    given = config(precision=precision, optimizer=optimizer, augmentation=("crop", "flip", "cutout"), batch_size=200)
    run.get_run(given, small_data, "cuda", Store(store.root / "first"), PROBES)  # libraries are loaded on first use

    def watched(*args):
        with waiting("error"):
            loop.train(*args)

    def at_a_flush(self, step):
        with waiting("default"):
            return on_flush(self, step)

    monkeypatch.setattr(run, "train", watched)
    monkeypatch.setattr(run._Run, "on_flush", at_a_flush)
    record = run.get_run(given, small_data, "cuda", store, PROBES)
    assert np.isfinite(record.steps["loss"]).all() and len(record.probes) == len(PROBES)


def test_a_run_on_the_gpu_follows_that_on_the_cpu(small_data, store):
    on_cpu = run.get_run(config(), small_data, "cpu", Store(store.root / "cpu"), PROBES)
    on_gpu = run.get_run(config(), small_data, "cuda", store, PROBES)
    for name in ("loss", "grad_norm", "grad_dist_1", "moved"):
        np.testing.assert_allclose(on_gpu.steps[name][:4], on_cpu.steps[name][:4], rtol=0.01, err_msg=name)
    for probe in PROBES[:3]:
        mine, theirs = on_gpu.probes[probe]["gradient_distance"], on_cpu.probes[probe]["gradient_distance"]
        np.testing.assert_allclose(mine[:2], theirs[:2], rtol=0.02, err_msg=probe.kind)


def test_bf16_on_the_gpu_stays_near_fp32(small_data, store):
    losses = [
        run.get_run(config(precision=name), small_data, "cuda", store).steps["loss"][:4] for name in ("fp32", "bf16")
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)


def test_a_run_on_the_gpu_goes_on_from_its_checkpoint(small_data, store, monkeypatch):
    given = config(model_args={"width": 0.125}, optimizer="Adam", lr=1e-3)
    unbroken = run.get_run(given, small_data, "cuda", Store(store.root / "unbroken"), PROBES)
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", -1.0)
    on_flush = run._Run.on_flush

    def interrupted(self, step):
        on_flush(self, step)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run._Run, "on_flush", interrupted)
        run.get_run(given, small_data, "cuda", store, PROBES)
    record = run.get_run(given, small_data, "cuda", store, PROBES)
    assert record.provenance["resumed"] == 1
    np.testing.assert_allclose(record.steps["loss"], unbroken.steps["loss"], rtol=0.01)
