import dataclasses
import functools
import hashlib
import http.server
import threading
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import encoded, write_folder, write_tar
from torchvision.transforms import functional as tv

from cifar_helpers.data import decode, synthetic
from cifar_helpers.data import images as data
from cifar_helpers.data import source as locate
from cifar_helpers.data.batches import Batches, normalise
from cifar_helpers.data.decode import CLASSES
from cifar_helpers.data.images import HALF, MIRROR_VARIABLE, channel_statistics, load_cifar10
from cifar_helpers.data.source import SYNTHETIC_IDENTITY, already_read, index_file
from cifar_helpers.env import CourseError


def test_split_is_stratified_fixed_and_disjoint(small_data):
    train, validation = small_data.split("train")[1], small_data.split("validation")[1]
    assert (len(train), len(validation)) == (540, 60)
    assert validation.bincount().tolist() == [6] * 10
    everything = torch.cat([small_data.split("train")[0], small_data.split("validation")[0]]).flatten(1)
    assert len(everything.unique(dim=0)) == len(small_data.train_images.flatten(1).unique(dim=0))


@pytest.mark.parametrize("n", [1, 7, 10, 333, 540])
def test_n_items_is_stratified_and_the_same_every_time(small_data, n):
    images, labels = small_data.split("train", n)
    counts = labels.bincount(minlength=10)
    assert len(images) == n and counts.max() - counts.min() <= 1
    assert torch.equal(images, small_data.split("train", n)[0])


@pytest.mark.parametrize("n", [0, -1, 541])
def test_n_items_out_of_range_says_what_is_possible(small_data, n):
    with pytest.raises(CourseError, match="1 to 540"):
        small_data.split("train", n)


def test_channel_statistics_equal_numpy(small_data):
    mean, std = channel_statistics(small_data.train_images)
    pixels = small_data.train_images.numpy() / 255.0
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-10)


# --- sources -------------------------------------------------------------------------------------------------------


def test_folder_tar_and_zip_of_the_same_images_are_the_same_data(image_files, tmp_path):
    folder = write_folder(image_files, tmp_path / "images")
    (folder / "train" / "cat" / ".DS_Store").write_bytes(b"junk")
    prefixed = {f"cifar/{name}": content for name, content in image_files.items()}
    tar = write_tar(prefixed, tmp_path / "images.tar.xz")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name, content in image_files.items():
            archive.writestr(name, content)
    loaded = [load_cifar10(str(p)) for p in (folder, tar, tmp_path / "images.zip")]
    assert len({d.fingerprint for d in loaded}) == 1
    assert loaded[0].label == "CIFAR-10 (PNG copy)" and loaded[0].classes == CLASSES
    pixels = np.asarray(decode.Image.open(folder / "train/bird/0001.png"))
    assert np.array_equal(loaded[1].train_images[2 * 3 + 1].numpy(), pixels.transpose(2, 0, 1))
    assert loaded[1].train_labels.tolist() == sorted(list(range(10)) * 3)


def test_second_read_comes_from_the_cache_and_a_damaged_cache_is_noticed(image_files, tmp_path, monkeypatch, capsys):
    tar = write_tar(image_files, tmp_path / "images.tar.xz")
    first = load_cifar10(str(tar))
    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(data, "read_path", lambda path: pytest.fail("read again"))
        assert load_cifar10(str(tar)).fingerprint == first.fingerprint
    cached = next((tmp_path / "cache" / "data").glob("*.safetensors"))
    content = bytearray(cached.read_bytes())
    content[-5] ^= 1
    cached.write_bytes(content)
    assert load_cifar10(str(tar)).fingerprint == first.fingerprint
    assert "damaged" in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == before  # nothing appears beside the archive


def test_jpeg_copy_is_labelled(image_files, tmp_path):
    jpegs = {
        name.replace(".png", ".jpg"): encoded(np.full((32, 32, 3), i, dtype=np.uint8), "JPEG")
        for i, name in enumerate(image_files)
    }
    assert load_cifar10(str(write_folder(jpegs, tmp_path / "j"))).label == "CIFAR-10 (JPEG copy)"


def test_own_classes_are_labelled_own_images(image_files, tmp_path):
    renamed = {name.replace("truck", "tram"): content for name, content in image_files.items()}
    assert load_cifar10(str(write_folder(renamed, tmp_path / "mine"))).label == "own images (mine)"


def bad_source(kind, files, folder):
    if kind == "missing":
        return folder / "nowhere"
    if kind == "truncated":
        path = write_tar(files, folder / "t.tar.xz")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path
    if kind == "no archive":
        (folder / "t.tar.gz").write_bytes(b"<html>Not found</html>")
        return folder / "t.tar.gz"
    if kind == "truncated zip":
        with zipfile.ZipFile(folder / "t.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        (folder / "t.zip").write_bytes((folder / "t.zip").read_bytes()[:3000])
        return folder / "t.zip"
    if kind == "traversal":
        return write_tar({"../../evil.png": b"x"} | files, folder / "t.tar.xz")
    if kind == "absolute":
        return write_tar({"/tmp/evil.png": b"x"} | files, folder / "t.tar.xz")
    if kind == "missing class":
        return write_folder({n: c for n, c in files.items() if "test/frog" not in n}, folder / "t")
    if kind == "other size":
        return write_folder(files | {"train/cat/big.png": encoded(np.zeros((40, 32, 3), np.uint8))}, folder / "t")
    if kind == "broken image":
        return write_folder(files | {"train/cat/bad.png": b"\x89PNG not really"}, folder / "t")
    if kind == "wrong checksum":
        return write_folder({"cifar-10-batches-py/data_batch_1": b"half"}, folder / "t")
    if kind == "cut gzip header":
        (folder / "t.tar.gz").write_bytes(b"\x1f\x8b\x08\x04" + bytes(6))  # says that more is to come
        return folder / "t.tar.gz"
    if kind == "nothing in it":
        return write_tar({"readme.txt": b"hello"}, folder / "t.tar.xz")
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "written", ["1", "[]", "{", '{"KEY": 5}', '{"KEY": {"fingerprint": "../../x", "label": "l", "classes": ["a"]}}']
)
def test_a_damaged_list_of_what_was_read_counts_as_none(written, monkeypatch):
    monkeypatch.setattr(synthetic, "TRAIN_ITEMS", 100)
    monkeypatch.setattr(synthetic, "TEST_ITEMS", 20)
    index_file().parent.mkdir(parents=True, exist_ok=True)
    index_file().write_text(written.replace("KEY", SYNTHETIC_IDENTITY))
    assert already_read("synthetic") is None
    fingerprint = load_cifar10("synthetic").fingerprint
    assert already_read("synthetic")["fingerprint"] == fingerprint


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "No data at"),
        ("truncated", "truncated or corrupt"),
        ("no archive", r"no archive \(file could not be opened successfully\)\. Download"),
        ("truncated zip", "truncated or corrupt"),
        ("cut gzip header", "truncated or corrupt"),
        ("traversal", "unsafe path"),
        ("absolute", "unsafe path"),
        ("missing class", "no images of frog"),
        ("other size", "32×40 pixels; the course needs 32×32"),
        ("broken image", r"train/cat/bad\.png in t is not a readable image \(no PNG, JPEG or BMP\)"),
        ("wrong checksum", "wrong checksum"),
        ("nothing in it", "neither"),
    ],
)
def test_bad_source_says_what_is_wrong(kind, message, image_files, tmp_path):
    with pytest.raises(CourseError, match=message):
        load_cifar10(str(bad_source(kind, image_files, tmp_path)))
    assert not (tmp_path.parent / "evil.png").exists()


def test_batches_py_is_read_through_torchvision(tmp_path, monkeypatch):
    class Fake:
        classes = list(CLASSES)

        def __init__(self, root, train):
            n = 20 if train else 10
            self.data = np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
            self.targets = [i % 10 for i in range(n)]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Fake)
    (tmp_path / "d" / "cifar-10-batches-py").mkdir(parents=True)
    (tmp_path / "d" / "cifar-10-batches-py" / "data_batch_1").touch()
    for path in (tmp_path / "d", tmp_path / "d" / "cifar-10-batches-py"):
        loaded = load_cifar10(str(path))
        assert loaded.label == "CIFAR-10"
        assert np.array_equal(loaded.train_images.numpy(), Fake(None, True).data.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("written", ["CIFAR10", "Cifar-10", "cifar"])
def test_a_misspelt_name_of_a_source_is_answered_with_the_right_one(written):
    with pytest.raises(CourseError, match="did you mean 'cifar10'"):
        load_cifar10(written)


def no_network(*args, **kwargs):
    raise OSError("no route to host")


def test_without_network_cifar10_stops_and_auto_falls_back_loudly(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr(locate, "ROOT", tmp_path)
    with pytest.raises(CourseError, match="CIFAR10_ROOT"):
        load_cifar10("cifar10")
    loaded = load_cifar10("auto")
    assert loaded.label == "SYNTHETIC"
    assert "SYNTHETIC DATA" in capsys.readouterr().out


def test_a_download_with_the_wrong_checksum_is_refused(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half a file")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
        monkeypatch.setenv(MIRROR_VARIABLE, address)
        monkeypatch.setattr("torchvision.datasets.CIFAR10.url", address)
        monkeypatch.setattr(locate, "ROOT", tmp_path)
        with pytest.raises(CourseError, match="corrupted"):
            load_cifar10("cifar10")
        server.shutdown()


def test_cifar10_root_and_the_data_folder_are_found(image_files, tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "ROOT", tmp_path)
    (tmp_path / "data").mkdir()
    write_tar(image_files, tmp_path / "data" / "mine.tar.gz", "w:gz")
    found = load_cifar10("auto")
    assert found.label == "CIFAR-10 (PNG copy)"
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path / "gone"))
    for source in ("auto", "cifar10"):  # whoever names a copy gets that copy or none, and hears where the name is from
        with pytest.raises(CourseError, match=r"No data at .*gone, which the variable CIFAR10_ROOT names.*unset it"):
            load_cifar10(source)
    monkeypatch.setenv("CIFAR10_ROOT", "data/mine.tar.gz")  # from the course folder, wherever the kernel runs
    assert load_cifar10("cifar10").fingerprint == found.fingerprint
    with pytest.raises(CourseError) as wrong:
        load_cifar10(str(tmp_path / "gone"))
    assert "CIFAR10_ROOT" not in str(wrong.value)


def test_the_folder_of_an_archive_is_answered_with_the_archives_path(image_files, tmp_path):
    archive = write_tar(image_files, tmp_path / "mine.tar.gz", "w:gz")
    with pytest.raises(CourseError, match=f"give its path, {archive}"):
        load_cifar10(str(tmp_path))
    archive.unlink()
    with pytest.raises(CourseError, match="without train/ and test/. Give the folder that contains them"):
        load_cifar10(str(tmp_path))


# --- the synthetic stand-in ----------------------------------------------------------------------------------------


def test_synthetic_images_are_the_same_everywhere():
    images, labels = synthetic.draw(200, 0)
    assert hashlib.sha256(labels.tobytes()).hexdigest()[:12] == "5e026af890c6"
    again, _ = synthetic.draw(200, 0)
    assert np.array_equal(images, again) and images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [20] * 10


def test_a_linear_classifier_stays_under_60_percent_on_the_synthetic_images():
    (train, train_labels), (test, test_labels) = synthetic.draw(6000, 0), synthetic.draw(500, 1)
    x, t = (torch.from_numpy(a).flatten(1).float() / 127.5 - 1 for a in (train, test))
    y = F.one_hot(torch.from_numpy(train_labels), 10).float()
    best = 0.0
    for ridge in (1e2, 1e3, 1e4):  # least squares at several strengths; the best one counts
        weights = torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1]), x.T @ y)
        best = max(best, ((t @ weights).argmax(1).numpy() == test_labels).mean())
    assert 0.1 < best < 0.6


# --- batches -------------------------------------------------------------------------------------------------------


def make(small_data, **settings):
    images, labels = small_data.split("train")
    return Batches(images, labels, **{"batch_size": 50, "seed": 3} | settings)


def test_an_epoch_has_every_image_once_and_the_next_another_order(small_data):
    batches = make(small_data, batch_size=54)
    assert batches.steps_per_epoch == 10
    orders = []
    for epoch in range(2):
        pixels = torch.cat([x for _, x, _ in batches.steps(epoch * 10, epoch * 10 + 10)]).flatten(1)
        assert len(pixels.unique(dim=0)) == 540
        orders.append(pixels)
    assert not torch.equal(*orders)


def test_a_batch_depends_on_seed_and_step_alone(small_data):
    first, second = (make(small_data, augmentation=("crop", "flip", "cutout")) for _ in range(2))
    later = [first[step] for step in range(25)]
    for step in (24, 3, 12):
        assert torch.equal(second[step][0], later[step][0]) and torch.equal(second[step][1], later[step][1])
    assert not torch.equal(make(small_data, seed=4)[0][1], later[0][1])


def test_batches_equal_torchvision_transforms(small_data):
    images, labels = small_data.split("train")
    batches = make(small_data, augmentation=("crop", "flip"))
    x, y = batches[0]
    draws = {name: values[:50] for name, values in batches._draws.items()}
    for i in range(50):
        index, (top, left) = draws["order"][i], draws["crop"][i].tolist()
        expected = tv.crop(tv.pad(images[index], 4), top, left, 32, 32)
        expected = tv.hflip(expected) if draws["flip"][i] else expected
        expected = tv.normalize(tv.convert_image_dtype(expected), [0.5] * 3, [0.5] * 3)
        torch.testing.assert_close(x[i], expected, atol=1e-6, rtol=0)
        assert y[i] == labels[index]
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert draws["crop"].min() == 0 and draws["crop"].max() == 8 and 10 < draws["flip"].sum() < 40


def test_cutout_greys_one_square_and_leaves_the_rest(small_data):
    plain, cut = make(small_data)[0][0], make(small_data, augmentation=("cutout",))[0][0]
    changed = (plain != cut).any(1)
    assert (cut.permute(0, 2, 3, 1)[changed] == 0).all()
    rows, columns = changed.any(2).sum(1), changed.any(1).sum(1)
    assert rows.max() <= 16 and columns.max() <= 16 and (rows * columns >= changed.flatten(1).sum(1)).all()
    assert changed.flatten(1).sum(1).float().mean() > 64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 541}, "541"),
        ({"batch_size": 0}, "1 to 540"),
        ({"augmentation": ("rotate",)}, "crop, flip, cutout"),
    ],
)
def test_impossible_batches_say_what_is_possible(small_data, settings, message):
    with pytest.raises(CourseError, match=message):
        make(small_data, **settings)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_on_the_gpu_equal_those_on_the_cpu(small_data):
    on_cpu, on_gpu = (make(small_data, augmentation=("crop", "flip", "cutout"), device=d) for d in ("cpu", "cuda"))
    torch.testing.assert_close(on_gpu[7][0].cpu(), on_cpu[7][0])


def test_images_are_small_until_their_share_of_the_run(small_data):
    images, labels = small_data.split("train")
    whole = Batches(images, labels, 8, 0, augmentation=("flip",))
    grown = Batches(images, labels, 8, 0, augmentation=("flip",), sizes=((2, 16), (3.5, 20)))
    sides = [grown[step][0].shape[-2:] for step in range(6)]
    assert sides == [(16, 16)] * 2 + [(20, 20)] * 2 + [(32, 32)] * 2
    assert torch.equal(grown[5][0], whole[5][0]) and torch.equal(grown[0][1], whole[0][1])
    for step, side in ((0, 16), (3, 20)):
        torch.testing.assert_close(grown[step][0], tv.resize(whole[step][0], [side, side], antialias=True))


def test_shift_equals_a_window_of_the_image_with_its_border_mirrored(small_data):
    batches = make(small_data, augmentation=("shift",))
    draws = batches._draw(0)
    images, _ = batches[0]
    for i in range(5):
        index, (top, left) = draws["order"][i], draws["shift"][i].tolist()
        padded = torch.nn.functional.pad(small_data.split("train")[0][index].float(), (2,) * 4, mode="reflect")
        expected = normalise(padded[None, :, top : top + 32, left : left + 32].to(torch.uint8), *HALF)[0]
        assert torch.allclose(images[i], expected)
    assert draws["shift"].min() == 0 and draws["shift"].max() == 4


def test_alternating_flip_shows_every_image_both_ways_in_two_epochs(small_data):
    plain, flipped = make(small_data), make(small_data, augmentation=("alternating_flip",))
    seen = {0: {}, 1: {}}
    for epoch in (0, 1):
        for step in range(epoch * plain.steps_per_epoch, (epoch + 1) * plain.steps_per_epoch):
            position = step % plain.steps_per_epoch
            part = slice(position * plain.batch_size, (position + 1) * plain.batch_size)
            order = plain._draw(epoch)["order"][part]
            for i, index in enumerate(order.tolist()):
                as_is = torch.equal(flipped[step][0][i], plain[step][0][i])
                assert as_is or torch.equal(flipped[step][0][i], plain[step][0][i].flip(2))
                seen[epoch][index] = as_is
    both = set(seen[0]) & set(seen[1])
    assert len(both) > 100 and all(seen[0][index] != seen[1][index] for index in both)
    assert 0.3 < sum(seen[0].values()) / len(seen[0]) < 0.7


@pytest.mark.parametrize("pair", [("crop", "shift"), ("flip", "alternating_flip")])
def test_augmentations_that_exclude_each_other(small_data, pair):
    with pytest.raises(CourseError, match="not both"):
        make(small_data, augmentation=pair)


def test_the_split_all_is_train_and_validation(small_data):
    whole = small_data.split("all")
    assert len(whole[1]) == len(small_data.split("train")[1]) + len(small_data.split("validation")[1])
    assert torch.equal(whole[0], small_data.train_images)


def test_shuffled_is_the_split_in_an_order_that_mixes_classes_however_the_files_lie(small_data):
    order = small_data.train_labels.argsort(stable=True)
    by_class = dataclasses.replace(
        small_data, train_images=small_data.train_images[order], train_labels=small_data.train_labels[order]
    )
    images, labels = by_class.shuffled("train")
    plain_images, plain_labels = by_class.split("train")
    assert torch.equal(labels.sort().values, plain_labels.sort().values) and len(plain_labels[:40].unique()) == 1
    assert len(labels[:40].unique()) == 10 and torch.equal(by_class.shuffled("train")[1], labels)
    assert torch.equal(images.double().sum(), plain_images.double().sum())
    where = (plain_images == images[0]).flatten(1).all(1).nonzero()[0, 0]
    assert plain_labels[where] == labels[0]
