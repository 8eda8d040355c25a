"""Fixtures: small data, a scratch course folder, one thread so that results repeat bit for bit."""

import io
import tarfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from cifar_course.hand import edition
from cifar_helpers.data import synthetic
from cifar_helpers.data.decode import CLASSES
from cifar_helpers.data.images import ImageData
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.store import Store

APPENDICES = {"02b", "11"}  # notebooks of tables: no exercises, no measure of how much text they have
LONG = (
    "test_train",
    "test_report",
    "test_faults",
    "test_batch",
    "test_rehearsal",
    "test_student",
    "test_sweeps",
)


def pytest_collection_modifyitems(items):
    """The modules that take longest first: two workers then end at nearly the same time."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Every test has runs, cache and figures of its own."""
    for name in ("runs", "cache", "figures"):
        monkeypatch.setenv(f"CIFAR_{name.upper()}", str(tmp_path / name))
    monkeypatch.delenv("CIFAR10_ROOT", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def small_data() -> ImageData:
    """600 + 100 drawn images."""
    (train, train_labels), (test, test_labels) = synthetic.draw(600, 0), synthetic.draw(100, 1)
    tensors = [torch.from_numpy(a) for a in (train, train_labels, test, test_labels)]
    return ImageData(*tensors, synthetic.CLASSES, "SYNTHETIC", "f" * 64)


@pytest.fixture
def store(scratch) -> Store:
    return Store(scratch / "runs")


@pytest.fixture
def light() -> RunConfig:
    """A run of a few seconds with everything recorded."""
    return RunConfig(
        "VGG_A_Light", steps=12, batch_size=32, eval_every=6, gradients=True, gaps=(1, 3), precision="fp32"
    )


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def image_files() -> dict[str, bytes]:
    """An image folder as {path: bytes}: ten classes, three training images and one test image each."""
    rng = np.random.default_rng(0)
    files = {}
    for part, n in (("train", 3), ("test", 1)):
        for name in CLASSES:
            for i in range(n):
                files[f"{part}/{name}/{i:04d}.png"] = encoded(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    return files


def write_folder(files: dict[str, bytes], folder):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_tar(files: dict[str, bytes], path, mode: str = "w:xz"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def notebook_text(*sources, **metadata) -> str:
    """A notebook of code cells ``c0``, ``c1`` and so on, as it is stored."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for number, cell in enumerate(cells):
        cell.id = f"c{number}"
    made = nbformat.v4.new_notebook(cells=cells)
    made.metadata.update(metadata)
    return nbformat.writes(made)


@pytest.fixture(scope="session")
def real() -> dict[str, bytes]:
    """The student edition of this course: path → content."""
    return edition.edition_files(Path(__file__).resolve().parents[1])
