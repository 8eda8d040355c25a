"""Reading CIFAR-10 from a folder or an archive: checksummed batches through torchvision, or an image folder.

Every reader returns (tensors by part, class names, label). Archives are read member by member; nothing is unpacked
beside them.
"""

import contextlib
import io
import lzma
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from .env import CourseError
from .locate import BATCHES, find_local, is_image_folder

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
OFFICIAL = "CIFAR-10"
Parts = tuple[dict[str, torch.Tensor], tuple[str, ...], str]


def read_path(path: Path) -> Parts:
    """Read ``cifar-10-batches-py/``, an image folder, a folder of either, or an archive of either.

    Returns:
        ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` (uint8 (n, 3, 32, 32), int64 (n,)), the ten
        class names, and the label of the data.

    Raises:
        CourseError: nothing usable, unsafe, truncated, incomplete or of another size; the message says what to do.
    """
    if path.is_dir():
        if path.name == BATCHES:
            return _read_batches(path.parent)
        if (path / BATCHES).is_dir():
            return _read_batches(path)
        if is_image_folder(path):
            files = {str(p.relative_to(path)): p for p in path.rglob("*") if p.is_file()}
            try:
                return _from_images(((name, files[name].read_bytes()) for name in sorted(files)), path)
            except OSError as error:
                raise CourseError(
                    f"Cannot read {path}: {error}. Check that its files are whole and readable."
                ) from error
        archive = find_local(path)
        advice = f"It holds an archive: give its path, {archive}." if archive else "Give the folder that contains them."
        raise CourseError(f"{path} is a folder without {BATCHES}/ and without train/ and test/. {advice}")
    return _read_archive(path)


def _read_archive(path: Path) -> Parts:
    """Read an archive member by member; only the checksummed batches are ever unpacked, into a folder of their own."""
    broken = (
        tarfile.TarError,
        zipfile.BadZipFile,
        lzma.LZMAError,
        EOFError,
        zlib.error,
        RuntimeError,
    )  # RuntimeError: encrypted
    try:
        with contextlib.ExitStack() as stack:
            if zipfile.is_zipfile(path):
                archive = stack.enter_context(zipfile.ZipFile(path))
                members = ((i.filename, lambda i=i: archive.read(i)) for i in archive.infolist() if not i.is_dir())
            else:
                archive = stack.enter_context(_open_tar(path))
                members = _tar_files(archive, path)
            return _from_members(members, path)
    except broken as error:
        raise CourseError(
            f"{path.name} is truncated or corrupt, encrypted, or no archive ({error or type(error).__name__}). "
            "Download or copy it again and compare its size and checksum with the original's."
        ) from error
    except OSError as error:
        raise CourseError(f"Cannot read {path}: {error}. Check that the file is whole and readable.") from error


def _open_tar(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r|*")
    except TypeError as error:  # what tarfile makes of a gzip header that ends too soon
        raise tarfile.ReadError("its header is cut off") from error


def _tar_files(archive: tarfile.TarFile, path: Path) -> Iterator:
    for member in archive:
        if member.issym() or member.islnk():
            raise CourseError(
                f"{path.name} contains a link ({member.name!r}); refusing it. Use an archive of plain files."
            )
        if member.isfile():
            yield member.name, lambda member=member: archive.extractfile(member).read()


def _from_members(members: Iterator, path: Path) -> Parts:
    images: list[tuple[str, bytes]] = []
    with tempfile.TemporaryDirectory() as scratch:
        batches = Path(scratch) / BATCHES
        for name, read in members:
            parts = PurePosixPath(name.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts or re.match(r"^[A-Za-z]:", name):
                raise CourseError(
                    f"{path.name} contains an unsafe path ({name!r}); refusing it. Get it from a trusted place."
                )
            if batches.name in parts.parts:
                batches.mkdir(exist_ok=True)
                (batches / parts.name).write_bytes(read())
            elif re.search(r"(^|/)(train|test)/[^/.][^/]*/[^/.][^/]*\.(png|jpe?g)$", name, re.IGNORECASE):
                images.append((name, read()))
        if batches.is_dir():
            return _read_batches(batches.parent)
    if not images:
        raise CourseError(f"{path.name} holds neither {BATCHES}/ nor train/<class>/*.png|jpg and test/<class>/.")
    return _from_images(sorted(images), path)


def _from_images(files: Iterator[tuple[str, bytes]], path: Path) -> Parts:
    """Build the data set from (name, bytes) pairs, sorted by name; the classes are the folder names, sorted."""
    found: dict[str, dict[str, list[np.ndarray]]] = {"train": {}, "test": {}}
    kinds = set()
    for name, content in files:
        match = re.search(r"(?:^|[/\\])(train|test)[/\\]([^/\\.][^/\\]*)[/\\][^/\\.][^/\\]*\.(png|jpe?g)$", name, re.I)
        if not match:
            continue
        part, label, suffix = match[1].lower(), match[2], match[3]
        try:
            with Image.open(io.BytesIO(content)) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
            raise CourseError(
                f"{name} in {path.name} is not a readable image ({error}). Copy the data again."
            ) from error
        if pixels.shape != (32, 32, 3):
            height, width = pixels.shape[:2]
            raise CourseError(
                f"{name} in {path.name} is {width}×{height} pixels; the course needs 32×32. Resize the images."
            )
        found[part].setdefault(label, []).append(pixels)
        kinds.add("PNG" if suffix.lower() == "png" else "JPEG")
    classes = sorted(set(found["train"]) | set(found["test"]))
    for part, groups in found.items():
        missing = sorted(set(CLASSES if set(classes) <= set(CLASSES) else classes) - set(groups))
        if missing or len(classes) != 10:
            problem = f"has no images of {', '.join(missing)}" if missing else f"has {len(classes)} classes"
            raise CourseError(
                f"{part}/ in {path.name} {problem}; the course needs the same ten classes in train/ and test/."
            )
    stacked = {}
    for part, groups in found.items():
        pixels = np.concatenate([np.stack(groups[label]) for label in classes])
        stacked[f"{part}_images"] = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        stacked[f"{part}_labels"] = torch.from_numpy(
            np.repeat(np.arange(10), [len(groups[label]) for label in classes])
        )
    kind = f"{' and '.join(sorted(kinds))} copy"
    label = f"CIFAR-10 ({kind})" if set(classes) == set(CLASSES) else f"own images ({path.stem})"
    return stacked, tuple(classes), label


def _read_batches(root: Path) -> Parts:
    """Read ``root/cifar-10-batches-py`` through torchvision, which compares every checksum before it opens a file."""
    from torchvision.datasets import CIFAR10

    try:
        train, test = CIFAR10(root, train=True), CIFAR10(root, train=False)
    except RuntimeError as error:
        raise CourseError(
            f"The files in {root.name}/{BATCHES} are incomplete or have the wrong checksum. "
            "Delete them and download CIFAR-10 again (data 'cifar10')."
        ) from error
    tensors = {}
    for part, dataset in (("train", train), ("test", test)):
        tensors[f"{part}_images"] = torch.from_numpy(np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2)))
        tensors[f"{part}_labels"] = torch.tensor(dataset.targets)
    return tensors, tuple(train.classes), OFFICIAL
