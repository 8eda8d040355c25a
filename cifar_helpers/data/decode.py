"""From the files of a data set to uint8 arrays: one reader for each form.

Every reader takes the set that was found, its files (a ``Folder``, ``Zip`` or ``Tar`` of ``files``) and their path, and
returns (arrays by part, class names, label). Images are decoded right into the array they end in.
"""

import contextlib
import io
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..env import CourseError
from .forms import BATCHES, BINARY, IMAGES, PARQUET, PYTHON, Found, class_of

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
OFFICIAL = "CIFAR-10"
PIXELS = 3 * 32 * 32
BATCH_SIZE = 10_000  # images in each of the five official training files, and in the test file
# The first ten labels of each: they tell the official batches, and their order, where there is no checksum.
TRAIN_STARTS = ("6994112783", "1668834606", "8506928362", "0602721241", "1851574382")
TEST_START = "3880661631"
MODES = {"1": "black and white", "L": "grey", "LA": "grey", "P": "palette", "PA": "palette"}
Parts = tuple[dict[str, np.ndarray], tuple[str, ...], str]


class Pictures:
    """Decodes images to (3, 32, 32) uint8 and keeps account of what is not 8-bit RGB.

    Attributes:
        formats: ``PNG``, ``JPEG``, ``BMP``: what the images really are, whatever their names say.
        converted, deep: names of the images by colour mode, and of those with 16 bits per channel.
    """

    def __init__(self, where: str):
        self.where, self.formats = where, set()
        self.converted: dict[str, list[str]] = {}
        self.deep: list[str] = []

    def __call__(self, name: str, content: bytes) -> np.ndarray:
        """(3, 32, 32) uint8 from an image's bytes; ``CourseError`` where they are none, or not 32×32 pixels."""
        try:
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "BMP")) as image:
                if image.size != (32, 32):
                    raise CourseError(
                        f"{name} in {self.where} is {image.width}×{image.height} pixels; the course needs 32×32. "
                        "Resize the images."
                    )
                # Pillow would clip 16-bit grey to white, and cut 16-bit colour to its upper byte.
                if image.mode.startswith(("I", "F")) or (image.format == "PNG" and content[24] == 16):
                    self.deep.append(name)
                elif image.mode != "RGB":
                    self.converted.setdefault(MODES.get(image.mode, image.mode), []).append(name)
                self.formats.add(image.format)
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
            unknown = isinstance(error, UnidentifiedImageError)  # whose text names a buffer in memory
            reason = "no PNG, JPEG or BMP" if unknown else error
            raise CourseError(
                f"{name} in {self.where} is not a readable image ({reason}). Copy the data again."
            ) from error

    def finish(self) -> None:
        """Say in one line what was converted.

        Raises:
            CourseError: images with 16 bits per channel.
        """
        if self.deep:
            raise CourseError(
                f"{len(self.deep)} images in {self.where} have 16 bits per channel (for instance {self.deep[0]}); the "
                "course reads 8. How dark and light are to be scaled is yours to say: convert them."
            )
        said = [f"{len(names)} {mode} (for instance {names[0]})" for mode, names in sorted(self.converted.items())]
        if said:
            print(f"{self.where}: images converted to RGB, without their transparency: {', '.join(said)}", flush=True)


def _check_classes(part: str, present: set[str], classes: tuple[str, ...], where: str) -> None:
    """Raise a CourseError unless there are ten classes and the part has images of each."""
    missing = sorted(set(CLASSES if set(classes) <= set(CLASSES) else classes) - present)
    if missing or len(classes) != 10:
        problem = f"has no images of {', '.join(missing)}" if missing else f"has {len(classes)} classes"
        raise CourseError(f"{part}/ in {where} {problem}; the course needs the same ten classes in train/ and test/.")


def read_images(found: Found, files, path: Path) -> Parts:
    """An image folder: the classes are the folder names, sorted, and the images come class by class."""
    classes = tuple(sorted({class_of(name) for names in found.parts.values() for name in names}))
    arrays, places = {}, {}
    for part, names in found.parts.items():
        _check_classes(part, {class_of(name) for name in names}, classes, path.name)
        arrays[f"{part}_images"] = np.empty((len(names), 3, 32, 32), np.uint8)
        arrays[f"{part}_labels"] = np.array([classes.index(class_of(name)) for name in names])
        places |= {name: (f"{part}_images", i) for i, name in enumerate(names)}
    decoded = Pictures(path.name)
    for name, content in files.read(places):
        part, i = places[name]
        arrays[part][i] = decoded(name, content)
    decoded.finish()
    kind = f"{' and '.join(sorted(decoded.formats))} copy"
    return arrays, classes, f"CIFAR-10 ({kind})" if set(classes) == set(CLASSES) else _own(path)


def _own(path: Path) -> str:
    return f"own images ({path.stem})"


def read_python(found: Found, files, path: Path) -> Parts:
    """The Python version, through torchvision, which compares every checksum before it opens a pickle."""
    from torchvision.datasets import CIFAR10

    with contextlib.ExitStack() as stack:
        if files.path:
            folder = files.path / found.root
        else:  # torchvision reads files, so these six and their index are unpacked, elsewhere and for a moment
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / BATCHES
            folder.mkdir()
            pieces = [
                n for n in files.names if re.fullmatch(re.escape(found.prefix) + r"(\w+_batch\w*|batches\.meta)", n)
            ]
            for name, content in files.read(pieces):
                (folder / name.rpartition("/")[2]).write_bytes(content)
        source = type("CIFAR10", (CIFAR10,), {"base_folder": folder.name})
        try:
            train, test = source(folder.parent, train=True), source(folder.parent, train=False)
        except RuntimeError as error:
            raise CourseError(
                f"The files of the {PYTHON} in {path.name} are incomplete or have the wrong checksum. "
                "Delete them and download CIFAR-10 again (data 'cifar10')."
            ) from error
    arrays = {}
    for part, dataset in (("train", train), ("test", test)):
        arrays[f"{part}_images"] = np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2))
        arrays[f"{part}_labels"] = np.array(dataset.targets)
    return arrays, tuple(train.classes), OFFICIAL


# --- Without checksums: the binary version and the parquet files ----------------------------------------------------


def batch_order(labels: np.ndarray) -> list[int] | None:
    """Which official batch (0 to 4) each stretch of 10 000 training labels is; None where they are not those five."""
    starts = ["".join(map(str, labels[i : i + 10])) for i in range(0, len(labels), BATCH_SIZE)]
    return [TRAIN_STARTS.index(start) for start in starts] if sorted(starts) == sorted(TRAIN_STARTS) else None


def _label(arrays: dict[str, np.ndarray], classes: tuple[str, ...], kind: str, path: Path) -> str:
    """``CIFAR-10`` where the numbers of images and the order of the labels are official; else what kind of copy."""
    if classes != CLASSES:
        return _own(path)
    train, test = arrays["train_labels"], arrays["test_labels"]
    fits = all(
        (np.bincount(labels, minlength=10) == n * BATCH_SIZE // 10).all() for labels, n in ((train, 5), (test, 1))
    )
    official = fits and batch_order(train) == [0, 1, 2, 3, 4] and "".join(map(str, test[:10])) == TEST_START
    return OFFICIAL if official else f"CIFAR-10 ({kind} copy)"


def read_binary(found: Found, files, path: Path) -> Parts:
    """The binary version: 3073 bytes an image, its label and then its pixels, plane by plane."""
    where, size = path.name, BATCH_SIZE * (1 + PIXELS)
    wanted = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    wanted = {part: [found.prefix + name for name in names] for part, names in wanted.items()}
    missing = [name for names in wanted.values() for name in names if name not in files.names]
    if missing:
        raise CourseError(f"The {BINARY} in {where} lacks {', '.join(missing)}. Copy it whole.")
    classes, arrays = CLASSES, {}
    for part, names in wanted.items():
        arrays[f"{part}_images"] = np.empty((len(names) * BATCH_SIZE, 3, 32, 32), np.uint8)
        arrays[f"{part}_labels"] = np.empty(len(names) * BATCH_SIZE, np.int64)
        for name, content in files.read(names):
            if len(content) != size:
                raise CourseError(f"{name} in {where} has {len(content)} bytes instead of {size}. Copy it again.")
            rows = np.frombuffer(content, np.uint8).reshape(BATCH_SIZE, 1 + PIXELS)
            if rows[:, 0].max() > 9:
                raise CourseError(f"{name} in {where} has labels above 9: it is damaged, or not CIFAR-10.")
            stretch = slice(names.index(name) * BATCH_SIZE, (names.index(name) + 1) * BATCH_SIZE)
            arrays[f"{part}_images"][stretch] = rows[:, 1:].reshape(-1, 3, 32, 32)
            arrays[f"{part}_labels"][stretch] = rows[:, 0]
    meta = f"{found.prefix}batches.meta.txt"
    for _, content in files.read([meta] if meta in files.names else []):
        classes = tuple(content.decode("utf-8", "replace").split())
    for part in wanted:
        _check_classes(part, {classes[i] for i in set(arrays[f"{part}_labels"]) if i < len(classes)}, classes, where)
    return arrays, classes, _label(arrays, classes, "binary", path)


def read_parquet(found: Found, files, path: Path) -> Parts:
    """The files of the Hugging Face hub: a column ``img`` or ``image`` of encoded images, and ``label``.

    The hub has the training batches in the order in which they lie in the official archive (4, 3, 2, 5, 1). They are
    put in order, so that the data are those of the Python version.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise CourseError(
            f"{path.name} holds parquet files, which pyarrow reads, and it is not installed. In the course folder: "
            "pip install -c constraints.txt -e '.[parquet]'"
        ) from error
    arrays, decoded, classes = {}, Pictures(path.name), CLASSES
    try:
        for part, names in found.parts.items():
            _check_shards(names, path.name)
            contents = dict(files.read(names))
            shards = [(name, parquet.ParquetFile(pyarrow.BufferReader(contents[name]))) for name in names]
            classes = _class_names(shards[0][1].schema_arrow.metadata, path.name)
            labels = np.concatenate([_labels(shard, name, pyarrow) for name, shard in shards])
            places = np.arange(len(labels))
            if part == "train" and (order := batch_order(labels)):
                places = np.concatenate([np.arange(BATCH_SIZE) + i * BATCH_SIZE for i in order])
            images = np.empty((len(labels), 3, 32, 32), np.uint8)
            rows = (row for name, shard in shards for row in _encoded(shard, name))
            for place, (name, content) in zip(places, rows, strict=True):
                images[place] = decoded(name, content)
            arrays[f"{part}_images"], arrays[f"{part}_labels"] = images, np.empty_like(labels)
            arrays[f"{part}_labels"][places] = labels
            _check_classes(part, {classes[i] for i in set(labels)}, classes, path.name)
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise CourseError(f"The parquet files in {path.name} cannot be read ({error}). Copy them again.") from error
    decoded.finish()
    label = _label(arrays, classes, "parquet", path)
    lossy = label == OFFICIAL and (decoded.converted or "JPEG" in decoded.formats)
    return arrays, classes, f"CIFAR-10 ({' and '.join(sorted(decoded.formats))} copy)" if lossy else label


def _check_shards(names: tuple[str, ...], where: str) -> None:
    """Raise a CourseError where ``train-00000-of-00002.parquet`` is there without the other one."""
    for name in names:
        match = re.search(r"-of-(\d+)[-.]", name)
        if match and int(match[1]) != len(names):
            raise CourseError(f"{where} has {len(names)} files like {name}, which says {int(match[1])}. Copy it whole.")


def _class_names(metadata: dict | None, where: str) -> tuple[str, ...]:
    """The class names that the hub writes into a file; those of CIFAR-10 where it has none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return CLASSES
    if not isinstance(names, list) or len(names) != 10 or not all(isinstance(name, str) for name in names):
        raise CourseError(f"The parquet files in {where} name other than ten classes; the course needs ten.")
    return tuple(names)


def _column(shard, known: tuple[str, ...], name: str) -> str:
    columns = shard.schema_arrow.names
    for column in known:
        if columns.count(column) == 1:
            return column
    raise CourseError(f"{name} has the columns {', '.join(columns)}, but no {' or '.join(known)}.")


def _labels(shard, name: str, pyarrow) -> np.ndarray:
    """The labels of one file: (n,) int64, each 0 to 9."""
    column = _column(shard, ("label",), name)
    labels = shard.read(columns=[column]).column(0)
    if not pyarrow.types.is_integer(labels.type) or labels.null_count:
        raise CourseError(f"The labels in {name} are no whole numbers, or some are missing.")
    labels = labels.to_numpy().astype(np.int64)
    if len(labels) and not 0 <= labels.min() <= labels.max() <= 9:
        raise CourseError(f"{name} has labels from {labels.min()} to {labels.max()}; the course needs 0 to 9.")
    return labels


def _encoded(shard, name: str) -> Iterator[tuple[str, bytes]]:
    """(where it stands, encoded image) of every row; a few hundred rows are in memory at a time."""
    column, row = _column(shard, ("img", "image"), name), 0
    for batch in shard.iter_batches(batch_size=500, columns=[column]):
        for value in batch.column(0).to_pylist():
            content = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(content, bytes):
                raise CourseError(f"Row {row} of {name} holds no image. Export the set with its images in it.")
            yield f"row {row} of {name}", content
            row += 1


READERS = {IMAGES: read_images, PYTHON: read_python, BINARY: read_binary, PARQUET: read_parquet}
