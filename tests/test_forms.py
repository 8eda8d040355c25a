"""One data set is read, whole and unchanged, in every form that it comes in; or the message says what is there."""

import hashlib
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from conftest import encoded, write_folder, write_tar
from PIL import Image

from cifar_helpers.data import decode, forms, source
from cifar_helpers.data.decode import CLASSES, TEST_START, TRAIN_STARTS
from cifar_helpers.data.images import load_cifar10
from cifar_helpers.data.source import READING, identity
from cifar_helpers.env import CourseError


def load(path):
    return load_cifar10(str(path))


def write_zip(files, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write(form, files, path):
    """The files as a folder, a tar or a zip."""
    writers = {"folder": write_folder, "tar": write_tar, "zip": write_zip}
    return writers[form](files, path / {"folder": "set", "tar": "set.tar.xz", "zip": "set.zip"}[form])


def refusal(path) -> str:
    with pytest.raises(CourseError) as refused:
        load(path)
    return str(refused.value)


@pytest.fixture
def expected(image_files, tmp_path):
    """Fingerprint of the plain image folder."""
    return load(write_folder(image_files, tmp_path / "plain")).fingerprint


# --- one set, once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("old/{}", True),
        ("set/{}", True),
        (".Trash-1000/files/{}", False),
        ("__MACOSX/{}", False),
        (".ipynb_checkpoints/{}", False),
        ("$RECYCLE.BIN/{}", False),
    ],
)
def test_a_copy_beside_the_set_or_in_the_bin_is_not_read_with_it(
    form, extra, said, image_files, expected, tmp_path, capsys
):
    changed = {extra.format(name): encoded(np.zeros((32, 32, 3), np.uint8)) for name in image_files}
    found = load(write(form, image_files | changed, tmp_path))
    assert (len(found.train_images), len(found.test_images)) == (30, 10) and found.fingerprint == expected
    assert ("not read" in capsys.readouterr().out) == said


def test_an_older_train_beside_train_is_not_read_with_it_and_is_named(image_files, expected, tmp_path, capsys):
    old = {f"old/{name}": content for name, content in image_files.items() if name.startswith("train")}
    assert load(write("folder", image_files | old, tmp_path)).fingerprint == expected
    assert "not read, since it lies beside the data: old/ (image folder)" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_two_equally_good_sets_are_both_named(form, image_files, tmp_path):
    files = {f"{folder}/{name}": content for folder in ("mine", "yours") for name, content in image_files.items()}
    message = refusal(write(form, files, tmp_path))
    assert "2 data sets: mine/ (image folder) and yours/ (image folder)" in message


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_train_in_two_spellings_is_named(form, image_files, tmp_path):
    message = refusal(write(form, image_files | {"Train/cat/9.png": image_files["train/cat/0000.png"]}, tmp_path))
    assert "Train/ and train/" in message


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_file_that_an_archive_holds_twice_is_refused(form, image_files, tmp_path):
    path = tmp_path / f"twice.{form}"
    if form == "tar":
        write_tar(image_files, path, "w")
        with tarfile.open(path, "a") as archive:
            archive.addfile(tarfile.TarInfo("train/cat/0000.png"), io.BytesIO())
    else:
        write_zip(image_files, path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("train/cat/0000.png", b"other")
    assert "train/cat/0000.png twice" in refusal(path)


def test_of_two_archives_in_the_data_folder_none_is_taken_by_chance(image_files, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "ROOT", tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("a.tar.xz", "b.tar.xz"):
        write_tar(image_files, tmp_path / "data" / name)
    with pytest.raises(CourseError, match="2 archives: a.tar.xz, b.tar.xz"):
        load_cifar10("auto")


def test_what_an_earlier_version_read_from_the_same_files_is_read_again(image_files, tmp_path, monkeypatch):
    folder = write_folder(image_files, tmp_path / "set")
    before = identity(folder)
    monkeypatch.setattr(source, "READING", READING + 1)
    assert identity(folder) != before


# --- nothing left out, nothing changed -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("train/cat/more/{}.png", "2 lie deeper than <class>/<image> (for instance train/cat/more/0.png)"),
        ("train/{}.png", "2 lie in no class folder (for instance train/0.png)"),
        ("test/dog/{}.gif", "2 are no PNG, JPEG or BMP (for instance test/dog/0.gif)"),
        ("test/dog/{}.npy", "2 are no PNG, JPEG or BMP (for instance test/dog/0.npy)"),
        ("test/dog/{}", "2 are no PNG, JPEG or BMP (for instance test/dog/0)"),
    ],
)
def test_what_would_be_left_out_is_refused_with_count_and_example(form, extra, said, image_files, tmp_path):
    content = image_files["train/cat/0000.png"]
    assert said in refusal(write(form, image_files | {extra.format(i): content for i in (0, 1)}, tmp_path))


def test_notes_and_hidden_files_among_the_images_are_no_images(image_files, expected, tmp_path):
    notes = dict.fromkeys(
        ("train/cat/.DS_Store", "train/cat/._0000.png", "train/labels.csv", "test/dog/Thumbs.db"), b"x"
    )
    assert load(write("folder", image_files | notes | {"readme.md": b"x"}, tmp_path)).fingerprint == expected


def test_bmp_is_read_and_the_label_says_what_the_images_are_whatever_their_names(image_files, expected, tmp_path):
    name = "train/cat/0000.png"
    pixels = np.asarray(Image.open(io.BytesIO(image_files[name])))
    files = {n: content for n, content in image_files.items() if n != name}
    found = load(write_folder(files | {"train/cat/0000.bmp": encoded(pixels, "BMP")}, tmp_path / "b"))
    assert found.fingerprint == expected and found.label == "CIFAR-10 (BMP and PNG copy)"
    found = load(write_folder(files | {name: encoded(pixels, "JPEG")}, tmp_path / "j"))
    assert found.label == "CIFAR-10 (JPEG and PNG copy)"


def deep_colour() -> bytes:
    """A PNG with 16 bits per channel in colour, which Pillow cannot write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes(32 * 6) for _ in range(32))
    parts = (b"IHDR", struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    "content", [encoded(np.full((32, 32), 3000, np.uint16)), deep_colour()], ids=["grey", "colour"]
)
def test_16_bit_images_are_refused_with_their_number(content, image_files, tmp_path):
    files = image_files | {"train/cat/0001.png": content, "test/dog/0000.png": content}
    message = refusal(write("folder", files, tmp_path))
    assert "2 images" in message and "16 bits per channel (for instance" in message


def test_grey_palette_rgba_and_cmyk_are_converted_and_said_in_one_line(image_files, tmp_path, capsys):
    original = Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    images = {"L": original.convert("L"), "P": original.quantize(16), "RGBA": original.convert("RGBA")}
    files = dict(image_files)
    for i, (mode, image) in enumerate(images.items()):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        files[f"train/airplane/000{i}.png"] = buffer.getvalue()
        assert image.mode == mode
    buffer = io.BytesIO()
    original.convert("CMYK").save(buffer, "JPEG")
    files["test/airplane/0001.jpg"] = buffer.getvalue()
    found = load(write("folder", files, tmp_path))
    for i, image in enumerate(images.values()):
        assert np.array_equal(found.train_images[i].permute(1, 2, 0).numpy(), np.asarray(image.convert("RGB")))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "converted" in line]
    for said in ("1 grey", "1 palette", "1 RGBA", "1 CMYK (for instance test/airplane/0001.jpg)"):
        assert said in line


def test_a_tar_whose_list_ends_too_soon_is_refused(image_files, tmp_path):
    path = write_tar(image_files, tmp_path / "cut.tar", "w")
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        member = archive.getmembers()[-3]
    path.write_bytes(whole[: member.offset])  # cut between two members: tarfile ends there without an error
    assert "truncated or corrupt" in refusal(path)
    damaged = bytearray(whole)
    damaged[member.offset + 148 : member.offset + 156] = b"garbage!"  # its header's checksum
    path.write_bytes(damaged)
    assert "truncated or corrupt" in refusal(path)


# --- links, spellings, places --------------------------------------------------------------------------------------


def test_links_to_class_folders_parts_and_files_are_followed_and_circles_are_not(image_files, expected, tmp_path):
    plain, linked = tmp_path / "plain", tmp_path / "linked"
    (linked / "train").mkdir(parents=True)
    (linked / "test").symlink_to(plain / "test")
    for folder in (plain / "train").iterdir():
        (linked / "train" / folder.name).symlink_to(folder)
    (linked / "train" / "cat").unlink()
    (linked / "train" / "cat").mkdir()
    for file in (plain / "train" / "cat").iterdir():
        (linked / "train" / "cat" / file.name).symlink_to(file)
    (linked / "around").symlink_to(linked)
    assert load(linked).fingerprint == expected
    before = identity(linked)
    os.utime(plain / "test" / "dog" / "0000.png", (1, 1))
    assert identity(linked) != before, "a change behind a link is a change"
    (linked / "train" / "cat" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    assert "lost.png" in refusal(linked)


def test_a_class_folder_that_cannot_be_read_is_named(image_files, tmp_path, monkeypatch):
    folder, scandir = write_folder(image_files, tmp_path / "set"), os.scandir

    def closed(path):  # as for whoever is not root
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert "train/cat" in refusal(folder)


def test_a_zip_written_with_backslashes_is_read(image_files, expected, tmp_path):
    files = {"cifar\\" + name.replace("/", "\\"): content for name, content in image_files.items()}
    assert load(write("zip", {"cifar\\train\\": b""} | files, tmp_path)).fingerprint == expected
    assert load(write("folder", files, tmp_path)).fingerprint == expected  # what Python unpacks of it on Linux


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_train_and_test_in_capitals_and_the_folder_above_are_read(form, image_files, expected, tmp_path):
    files = {f"a/b/{name.replace('t', 'T', 1)}": content for name, content in image_files.items()}
    assert load(write(form, files, tmp_path)).fingerprint == expected


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_val_in_place_of_test_is_named(name, image_files, tmp_path):
    files = {n.replace("test/", f"{name}/"): content for n, content in image_files.items()}
    for form in ("folder", "zip"):
        assert f"train/ and {name}/, but no test/" in refusal(write(form, files, tmp_path))


def test_val_beside_test_is_said_and_train_alone_is_refused(image_files, expected, tmp_path, capsys):
    files = image_files | {"val/cat/0.png": image_files["test/cat/0000.png"]}
    assert load(write("folder", files, tmp_path)).fingerprint == expected
    assert "not read, since it lies beside the data: val/" in capsys.readouterr().out
    only = {name: content for name, content in image_files.items() if name.startswith("train")}
    assert "30 images in train/, but none in a test/" in refusal(write_folder(only, tmp_path / "only"))


def test_a_class_may_be_called_train(image_files, tmp_path, capsys):
    files = {name.replace("/truck/", "/train/"): content for name, content in image_files.items()}
    found = load(write("folder", files, tmp_path))
    assert "train" in found.classes and len(found.train_images) == 30 and "not read" not in capsys.readouterr().out


def test_an_incomplete_set_in_the_data_folder_is_not_passed_over(image_files, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "ROOT", tmp_path)
    write_folder({n.replace("test/", "val/"): c for n, c in image_files.items()}, tmp_path / "data")
    with pytest.raises(CourseError, match="train/ and val/, but no test/"):
        load_cifar10("auto")


@pytest.mark.parametrize("files", [("train/1.png", "test/1.png"), ("train.7z", "test.7z"), ("train/1.png",)])
def test_kaggles_set_is_named_and_refused(files, image_files, tmp_path):
    content = image_files["train/cat/0000.png"]
    files = dict.fromkeys(files, content) | {"trainLabels.csv": b"id,label\n1,frog\n"}
    for form in ("folder", "zip"):
        assert "Kaggle's CIFAR-10" in refusal(write(form, files, tmp_path))


def test_what_holds_no_set_is_answered_with_what_it_holds(tmp_path):
    assert "Found: notes.txt, src." in refusal(write("folder", {"notes.txt": b"", "src/a.py": b""}, tmp_path))
    assert "Found: notes.txt, src." in refusal(write("zip", {"notes.txt": b"", "src/a.py": b""}, tmp_path))
    assert "one file of the binary version" in refusal(
        write_folder({"test_batch.bin": b""}, tmp_path) / "test_batch.bin"
    )


# --- the official forms --------------------------------------------------------------------------------------------

ROWS = 30  # in place of 10 000: the set in miniature has five training batches and a test batch of 30 images


class Official:
    """The official set in miniature, and its files in every form."""

    def __init__(self):
        rng = np.random.default_rng(0)
        starts = np.array([[int(c) for c in start] for start in TRAIN_STARTS])
        rest = np.repeat(np.arange(10), 15 - np.bincount(starts.ravel(), minlength=10))
        train = np.concatenate([starts, rng.permutation(rest).reshape(5, ROWS - 10)], axis=1)
        start = np.array([int(c) for c in TEST_START])
        test = np.concatenate([start, np.repeat(np.arange(10), 3 - np.bincount(start, minlength=10).clip(max=3))])
        self.labels = [*train, test]
        self.pixels = [rng.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8) for labels in self.labels]
        self.names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]

    def python(self, folder="cifar-10-batches-py"):
        files = {"batches.meta": pickle.dumps({"label_names": list(CLASSES)})}
        for name, labels, pixels in zip(self.names, self.labels, self.pixels, strict=True):
            files[name] = pickle.dumps({"data": pixels.reshape(-1, 3072), "labels": labels.tolist()})
        return {f"{folder}/{name}": content for name, content in files.items()}

    def binary(self, folder="cifar-10-batches-bin"):
        files = {f"{folder}/batches.meta.txt": "\n".join(CLASSES).encode() + b"\n\n"}
        for name, labels, pixels in zip(self.names, self.labels, self.pixels, strict=True):
            rows = np.concatenate([labels[:, None].astype(np.uint8), pixels.reshape(-1, 3072)], axis=1)
            files[f"{folder}/{name}.bin"] = rows.tobytes()
        return files

    def parquet(self, column="img", shards=1, kind="PNG", order=(3, 2, 1, 4, 0), named=True):
        """As the hub has it: the training batches in the archive's order."""
        parts = {"train": order, "test": (5,)}
        files = {}
        for part, batches in parts.items():
            labels = np.concatenate([self.labels[i] for i in batches])
            pixels = np.concatenate([self.pixels[i] for i in batches])
            images = [{"bytes": encoded(p.transpose(1, 2, 0), kind), "path": None} for p in pixels]
            for i in range(shards):
                piece = slice(i * len(labels) // shards, (i + 1) * len(labels) // shards)
                name = f"plain_text/{part}-{i:05d}-of-{shards:05d}.parquet"
                files[name] = parquet_file({column: images[piece], "label": labels[piece].tolist()}, named)
        return files


def parquet_file(columns, named=True) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    features = {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if named else None
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), buffer)
    return buffer.getvalue()


@pytest.fixture
def official(monkeypatch):
    made = Official()
    monkeypatch.setattr(decode, "BATCH_SIZE", ROWS)
    sums = {name.split("/")[1]: hashlib.md5(content).hexdigest() for name, content in made.python().items()}
    monkeypatch.setattr("torchvision.datasets.CIFAR10.train_list", [(n, sums[n]) for n in made.names[:5]])
    monkeypatch.setattr("torchvision.datasets.CIFAR10.test_list", [("test_batch", sums["test_batch"])])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr("torchvision.datasets.CIFAR10.meta", meta)
    return made


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_every_official_form_gives_the_same_bytes_and_the_same_fingerprint(form, official, tmp_path):
    sets = {
        "python": official.python(),
        "another name": official.python("my-cifar"),
        "binary": official.binary(),
        "parquet": official.parquet(),
        "image column, shards": official.parquet("image", shards=3, named=False),
        "in order": official.parquet(order=range(5)),
        "converted": {n.replace("-00000-of-00001", "/0000"): c for n, c in official.parquet().items()},
    }
    loaded = {}
    for kind, files in sets.items():
        (tmp_path / kind).mkdir()
        loaded[kind] = load(write(form, files, tmp_path / kind))
    assert np.array_equal(loaded["python"].train_images.numpy(), np.concatenate(official.pixels[:5]))
    assert np.array_equal(loaded["python"].test_labels.numpy(), official.labels[5])
    assert {each.fingerprint for each in loaded.values()} == {loaded["python"].fingerprint}
    assert {each.label for each in loaded.values()} == {"CIFAR-10"}
    assert loaded["python"].classes == CLASSES


def test_the_folder_of_an_official_form_itself_is_read(official, tmp_path):
    files = official.python("renamed") | official.binary("bin") | official.parquet()
    folder = write_folder(files, tmp_path / "all")
    found = [load(folder / name) for name in ("renamed", "bin", "plain_text")]
    assert len({each.fingerprint for each in found}) == 1
    message = refusal(folder)
    for said in ("renamed/ (Python version)", "bin/ (binary version)", "plain_text/ (parquet files)"):
        assert said in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda files: {n: c for n, c in files.items() if "batch_3" not in n},
            "lacks cifar-10-batches-bin/data_batch_3",
        ),
        (lambda files: {n: c for n, c in files.items() if "test" not in n}, "binary version without its test part"),
        (
            lambda files: {n: c[:-3073] if "batch_2" in n else c for n, c in files.items()},
            "89117 bytes instead of 92190",
        ),
        (lambda files: {n: b"\x0b" + c[1:] if "batch_2" in n else c for n, c in files.items()}, "labels above 9"),
        (lambda files: files | {"cifar-10-batches-bin/batches.meta.txt": b"a\nb\n"}, "has 2 classes"),
    ],
)
def test_a_binary_version_that_is_not_whole_is_refused(change, said, official, tmp_path):
    assert said in refusal(write_folder(change(official.binary()), tmp_path / "set"))


def test_a_set_that_is_not_the_official_one_is_not_called_so(official, tmp_path):
    binary = official.binary()
    name = "cifar-10-batches-bin/data_batch_1.bin"
    swapped = binary[name][3073 * 2 :] + binary[name][: 3073 * 2]
    found = {
        "binary": load(write_folder(binary | {name: swapped}, tmp_path / "b")),
        "parquet": load(write_folder(official.parquet(order=(0, 0, 1, 2, 3)), tmp_path / "p")),
        "JPEG": load(write_folder(official.parquet(kind="JPEG"), tmp_path / "j")),
    }
    assert {kind: each.label for kind, each in found.items()} == {k: f"CIFAR-10 ({k} copy)" for k in found}


IMAGE = {"bytes": encoded(np.zeros((32, 32, 3), np.uint8)), "path": None}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image": [IMAGE] * 10, "fine_label": list(range(10))}, "columns image, fine_label, but no label"),
        ({"picture": [IMAGE] * 10, "label": list(range(10))}, "columns picture, label, but no img or image"),
        ({"img": [IMAGE] * 10, "label": list(range(1, 11))}, "labels from 1 to 10"),
        ({"img": [IMAGE] * 10, "label": ["cat"] * 10}, "no whole numbers"),
        ({"img": [IMAGE] * 10, "label": [None, *range(9)]}, "some are missing"),
        ({"img": [IMAGE] * 9, "label": list(range(9))}, "no images of truck"),
        ({"img": [{"bytes": None, "path": "a.png"}] * 10, "label": list(range(10))}, "Row 0 of train.parquet holds no"),
        ({"img": [{"bytes": b"x"}] * 10, "label": list(range(10))}, "row 0 of train.parquet in set is not a readable"),
    ],
)
def test_parquet_files_that_hold_something_else_are_refused(columns, said, tmp_path):
    content = parquet_file(columns)
    assert said in refusal(write_folder({"train.parquet": content, "test.parquet": content}, tmp_path / "set"))


def test_parquet_files_that_are_not_whole_are_refused(official, tmp_path):
    files = official.parquet(shards=3)
    some = {name: content for name, content in files.items() if "train-00001" not in name}
    assert "2 files like" in refusal(write_folder(some, tmp_path / "shards"))
    train = {name: content for name, content in files.items() if "train" in name}
    assert "parquet files without its test part" in refusal(write_folder(train, tmp_path / "train"))
    pointer = dict.fromkeys(official.parquet(), b"version https://git-lfs.github.com/spec/v1\n")
    assert "cannot be read" in refusal(write_folder(pointer, tmp_path / "pointer"))


def test_without_pyarrow_the_line_that_installs_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    files = {"train-00000-of-00001.parquet": b"", "test-00000-of-00001.parquet": b""}
    assert "pip install -c constraints.txt -e '.[parquet]'" in refusal(write("folder", files, tmp_path))


def test_the_python_version_is_checked_before_it_is_opened(official, tmp_path):
    files = official.python()
    files["cifar-10-batches-py/data_batch_2"] = pickle.dumps({"data": [], "labels": []})
    for form in ("folder", "tar"):
        assert "wrong checksum" in refusal(write(form, files, tmp_path))


def test_the_shallowest_set_is_chosen_by_names_alone():
    names = ["a/b/train/cat/1.png", "a/b/test/cat/1.png", "c/train/cat/1.png", "c/Test/cat/1.png", "c/train/n.txt"]
    found = forms.choose(names, "here")
    assert (found.form, found.root) == (forms.IMAGES, "c") and found.parts["test"] == ("c/Test/cat/1.png",)
    assert found.aside == ("a/b/ (image folder)",) and forms.choose(["readme.md"], "here") is None
