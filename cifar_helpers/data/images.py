"""CIFAR-10 as uint8 tensors from wherever it lies.

Sources: torchvision's download (checksum verified), a local copy in any form that docs/data.md lists, or the synthetic
stand-in.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import socket
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open

from ..env import CourseError, cache_dir, disk_error, usual_torch, write_atomically, write_tensors
from . import synthetic
from .decode import Parts
from .files import read_path
from .forms import BATCHES
from .source import (
    NAMES,
    SYNTHETIC,
    SYNTHETIC_IDENTITY,
    download_folder,
    identity,
    index,
    index_file,
    local_copy,
    resolved,
)

SPLIT_SEED, VALIDATION_SHARE = 2020, 0.1
AUGMENTATIONS = ("crop", "flip", "cutout", "shift", "alternating_flip")
CROP_PADDING, SHIFT_PADDING, CUTOUT_SIZE = 4, 2, 16
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # the handout's normalisation
PARTS = ("train_images", "train_labels", "test_images", "test_labels")
MIRROR_VARIABLE = "CIFAR10_MIRROR"


@dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Attributes:
        train_images, test_images: (n, 3, 32, 32) uint8.
        train_labels, test_labels: (n,) int64, an index into ``classes``.
        classes: the ten class names.
        label: what tables and figures call it; everything but ``CIFAR-10`` says how it differs.
        fingerprint: SHA-256 over images, labels and class names.
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: tuple[str, ...]
    label: str
    fingerprint: str

    @cached_property
    def _indices(self) -> dict[str, torch.Tensor]:
        held_out = stratified_indices(self.train_labels, round(VALIDATION_SHARE * len(self.train_labels)), SPLIT_SEED)
        keep = torch.ones(len(self.train_labels), dtype=torch.bool)
        keep[held_out] = False
        return {"train": keep.nonzero().squeeze(1), "validation": held_out}

    @usual_torch()
    def split(self, name: str, n_items: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels of ``train`` (90 %), ``validation`` (10 % of the training images), ``all`` or ``test``.

        ``all`` is train and validation together, for a last training once everything is chosen.

        Args:
            n_items: take a random subset of this size, stratified by class and the same every time.

        Raises:
            CourseError: ``n_items`` is not between 1 and the size of the split.
            ValueError: an unknown split.
        """
        if name not in ("train", "validation", "all", "test"):
            raise ValueError(f"Unknown split {name!r}; choose train, validation, all or test.")
        part = "test" if name == "test" else "train"
        images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
        index = self._indices.get(name)
        if n_items is not None:
            available = labels if index is None else labels[index]
            if not 1 <= n_items <= len(available):
                raise CourseError(
                    f"n_items is {n_items}, but the {name} split has 1 to {len(available)} images to choose from."
                )
            chosen = stratified_indices(available, n_items, SPLIT_SEED)
            index = chosen if index is None else index[chosen]
        return (images, labels) if index is None else (images[index], labels[index])

    @usual_torch()
    def shuffled(self, name: str, n_items: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """``split`` in a random order, the same every time: image folders come class by class.

        For code that takes the first few images, or batches whose statistics matter.
        """
        images, labels = self.split(name, n_items)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
        return images[order], labels[order]


def stratified_indices(labels: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """Sorted indices of ``n`` random ones of these labels (N,), every class with its share, to within one image."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    shuffled = labels[order]
    # Rank every image within its class as a fraction of the class, and take the n smallest ranks.
    rank = torch.empty(len(labels), dtype=torch.float64)
    for label in shuffled.unique():
        members = (shuffled == label).nonzero().squeeze(1)
        rank[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return order[rank.argsort(stable=True)[:n]].sort().values


def channel_statistics(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each colour channel of uint8 images (n, 3, h, w), on the [0, 1] scale.

    Two float64 tensors (3,), exact: the sums are taken over integer counts of the 256 values.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack([images[:, c].flatten().bincount(minlength=256) for c in range(3)]).double()
    share = counts / counts.sum(1, keepdim=True)
    mean = share @ values
    return mean, (share @ values.square() - mean.square()).sqrt()


# --- Finding and reading -------------------------------------------------------------------------------------------


@usual_torch()
def load_cifar10(source: str = "auto") -> ImageData:
    """Return the data set that ``source`` names.

    Args:
        source: ``auto`` (a local copy, else the download, else the synthetic stand-in with a notice), ``local`` (as
            ``auto``, but nothing is downloaded), ``cifar10`` (never the stand-in), ``synthetic``, or the path of a
            local copy. A local copy is the one that ``CIFAR10_ROOT`` names, or without that variable the one in
            ``data/`` of the course folder.

    Raises:
        CourseError: nothing usable was found; the message says what to do.
    """
    if source == "synthetic":
        return _load_synthetic()
    if source not in NAMES:
        return _load_path(Path(source).expanduser())
    local = local_copy()
    if local:
        return _load_path(local)
    if (download_folder() / BATCHES).is_dir():
        with contextlib.suppress(CourseError):  # an interrupted download counts as none, and is completed below
            return _load_path(download_folder())
    if source == "local":
        return _load_synthetic()
    try:
        return _download()
    except CourseError as error:
        if source == "cifar10":
            raise
        bar = "=" * 100
        print(
            f"{bar}\nSYNTHETIC DATA: no local copy of CIFAR-10 was found and the download failed.\n{error}\n"
            'Set data = "/path/of/your/copy" in the settings cell, or CIFAR10_ROOT before you start.\n'
            f"Everything below is made from drawn shapes and says nothing about CIFAR-10.\n{bar}",
            flush=True,
        )
        return _load_synthetic()


def _load_path(path: Path) -> ImageData:
    path = resolved(path)
    return _cached(identity(path), lambda: read_path(path))


def _download() -> ImageData:
    """Download through torchvision (checksum verified); ``CIFAR10_MIRROR`` names a further address to try."""
    from torchvision.datasets import CIFAR10

    root = download_folder()
    timeout = socket.getdefaulttimeout()
    problems = []
    for url in filter(None, [os.environ.get(MIRROR_VARIABLE), CIFAR10.url]):
        source = type("CIFAR10", (CIFAR10,), {"url": url})
        try:
            socket.setdefaulttimeout(30)
            with _cache_lock(), contextlib.redirect_stdout(io.StringIO()):
                source(root, train=True, download=True)
            return _load_path(root)
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            problems.append(f"{url}: {error}")
        finally:
            socket.setdefaulttimeout(timeout)
    raise CourseError(
        "CIFAR-10 could not be downloaded (" + "; ".join(problems) + "). Without a network, copy "
        "cifar-10-python.tar.gz, or an image folder, to this machine and set CIFAR10_ROOT to it; "
        f"{MIRROR_VARIABLE} names another address to try."
    )


def _load_synthetic() -> ImageData:
    def read() -> Parts:
        arrays = {}
        for seed, (part, n) in enumerate((("train", synthetic.TRAIN_ITEMS), ("test", synthetic.TEST_ITEMS))):
            arrays[f"{part}_images"], arrays[f"{part}_labels"] = synthetic.draw(n, seed)
        return arrays, synthetic.CLASSES, SYNTHETIC

    return _cached(SYNTHETIC_IDENTITY, read)


# --- The cache -----------------------------------------------------------------------------------------------------


def _fingerprint(tensors: dict[str, torch.Tensor], classes: tuple[str, ...]) -> str:
    digest = hashlib.sha256(json.dumps(classes).encode())
    for part in PARTS:
        digest.update(tensors[part].contiguous().numpy())
    return digest.hexdigest()


@contextlib.contextmanager
def _cache_lock() -> Iterator[None]:
    """Several processes that read the same data for the first time do it one after the other."""
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache_dir() / ".lock").acquire()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise CourseError(
                f"These images are not in the cache {cache_dir()} yet, and you may not write there. Ask its owner to "
                "load them once, or set CIFAR_CACHE to a folder of your own."
            ) from error
        raise disk_error(cache_dir(), error) from error
    with lock:
        yield


def _cached(name: str, read: Callable[[], Parts]) -> ImageData:
    """Return what was read from this source before, or read it and keep it.

    What is complete needs no lock: a cache may be another user's, and only readable.
    """
    if found := _stored(name):
        return found
    with _cache_lock():
        return _stored(name) or _read_and_keep(name, read)


def _stored(name: str) -> ImageData | None:
    """What the cache holds of this source, if that has the fingerprint it was written with."""
    if entry := index().get(name):
        file = index_file().parent / f"{entry['fingerprint'][:16]}.safetensors"
        with contextlib.suppress(OSError, SafetensorError, KeyError):
            with safe_open(file, framework="pt") as stored:
                tensors = {part: stored.get_tensor(part) for part in PARTS}
            if _fingerprint(tensors, tuple(entry["classes"])) == entry["fingerprint"]:
                return ImageData(**tensors, **entry | {"classes": tuple(entry["classes"])})
    return None


def _read_and_keep(name: str, read: Callable[[], Parts]) -> ImageData:
    if name in index():
        print("The cached copy of the images is missing or damaged; reading the source again.", flush=True)
    arrays, classes, label = read()
    tensors = {part: torch.from_numpy(array) for part, array in arrays.items()}
    entry = {"fingerprint": _fingerprint(tensors, classes), "label": label, "classes": classes}
    write_tensors(index_file().parent / f"{entry['fingerprint'][:16]}.safetensors", tensors)
    write_atomically(index_file(), json.dumps(index() | {name: entry}, indent=1))
    return ImageData(**tensors, **entry)
