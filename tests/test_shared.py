"""Folders that another user filled: what is complete is read, and the rest is said."""

import contextlib
import os
import shutil
import stat
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from cifar_helpers.data.images import load_cifar10
from cifar_helpers.env import CourseError, write_atomically
from cifar_helpers.training import run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.store import Store

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions of another kind")
NOBODY = 65534
TINY = RunConfig("LeNet5", steps=2, batch_size=8, n_items=20, eval_every=2, eval_items=10, test=False, precision="fp32")


@pytest.fixture
def shared(monkeypatch):
    """A folder in the open, with the cache in it (a test's own folder is closed to other users)."""
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    folder.chmod(0o755)
    monkeypatch.setenv("CIFAR_CACHE", str(folder / "cache"))
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def may_only_read(folder: Path):
    """Be another user where that can be had, as root; else take one's own right to write away."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
        return
    modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def test_a_cache_that_another_user_filled_is_read(shared):
    written = load_cifar10("synthetic")
    with may_only_read(shared):
        assert load_cifar10("synthetic").fingerprint == written.fingerprint


def test_images_that_are_not_in_a_cache_of_another_user_are_a_message(shared):
    (shared / "cache").mkdir()
    (shared / "cache/.lock").touch()
    for _ in ("with its lock", "without"):
        with may_only_read(shared), pytest.raises(CourseError, match="not in the cache .* CIFAR_CACHE"):
            load_cifar10("synthetic")
        (shared / "cache/.lock").unlink(missing_ok=True)


def test_records_of_another_user_are_read_and_a_missing_one_is_a_message(shared, small_data):
    store = Store(shared / "runs")
    made = run.get_run(replace(TINY, keep_weights=True), small_data, "cpu", store)
    with may_only_read(shared):
        found = run.get_run(replace(TINY, keep_weights=True), small_data, "cpu", store)
        assert found.provenance == made.provenance and found.weights
        with pytest.raises(CourseError, match="Cannot write .* CIFAR_RUNS"):
            run.get_run(TINY, small_data, "cpu", store)


def test_a_lock_that_may_only_be_read_is_held_by_its_holder_alone(shared, small_data):
    store, key = Store(shared / "runs"), TINY.key(small_data.fingerprint)
    run.get_run(TINY, small_data, "cpu", store)
    path = shared / f"runs/.locks/{key}.lock"
    path.touch()
    with may_only_read(shared):
        assert not store.is_held(key)
    with FileLock(path), may_only_read(shared):
        assert store.is_held(key)


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_new_files_follow_the_umask(umask, shared, small_data):
    before = os.umask(umask)
    try:
        write_atomically(shared / "text.txt", "text")
        load_cifar10("synthetic")
        run.get_run(replace(TINY, keep_weights=True, snapshots=(0,)), small_data, "cpu", Store(shared / "runs"))
    finally:
        os.umask(before)
    files = [path for path in shared.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".txt", ".safetensors", ".json", ".npz"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}
