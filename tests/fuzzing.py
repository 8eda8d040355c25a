"""Fuzzing of everything that reads a file or a value from outside; used by test_fuzz.py and, at length, by soak.py.

A reader may refuse its input with the documented error, or answer as if nothing were there; anything else is a crash.
"""

import contextlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import hypothesis.strategies as st
from conftest import encoded, write_folder
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from cifar_course.cluster import worker
from cifar_course.report import execute
from cifar_helpers import models, plans
from cifar_helpers.data import decode, forms
from cifar_helpers.data.decode import CLASSES, Pictures
from cifar_helpers.data.files import read_path
from cifar_helpers.data.source import SYNTHETIC_IDENTITY, already_read
from cifar_helpers.env import CourseError, cache_dir
from cifar_helpers.plans.jobs import Job
from cifar_helpers.training import build, probes, run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.loop import Recorder, load_checkpoint, save_checkpoint
from cifar_helpers.training.probes import ProbeConfig
from cifar_helpers.training.store import Store, read_record

CONFIG = RunConfig("LeNet5", steps=2, batch_size=16, n_items=60, eval_every=2, eval_items=20, test=False)
PROBE = ProbeConfig("same_batch", every=1)

edits = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(("set", "insert", "delete", "cut")), st.binary(min_size=1, max_size=9)),
    min_size=1,
    max_size=6,
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
words = st.text(max_size=6)
steps = st.sampled_from(
    ("train", "Test", "val", "cat", "..", ".git", "a\\b", "C:", "trainLabels.csv", "0.png", "1.gif")
)
steps |= st.sampled_from(("data_batch_1", "test_batch", "test_batch.bin", "train-0-of-2.parquet", "n.txt")) | words
paths = st.lists(steps, min_size=1, max_size=5).map("/".join)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))


def edited(content: bytes, changes) -> bytes:
    """The content with bytes set, inserted, deleted, or cut off."""
    data = bytearray(content)
    for where, kind, piece in changes:
        i = int(where * len(data))
        if kind == "cut":
            del data[i:]
        elif kind == "insert":
            data[i:i] = piece
        else:
            data[i : i + len(piece)] = piece if kind == "set" else b""
    return bytes(data)


def fields(known: dict):
    """A JSON object with some of these fields, right or wrong, and others."""
    changed = st.dictionaries(st.sampled_from(sorted(known)), values, max_size=4)
    added = st.dictionaries(words, values, max_size=1)
    return st.tuples(changed, added).map(lambda pair: {**known, **pair[0], **pair[1]})


def _pictures() -> list[bytes]:
    """The smallest images of each format and colour mode."""
    import numpy as np
    from PIL import Image

    grey = Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32))
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    kinds = [
        ("PNG", "RGB"),
        ("PNG", "P"),
        ("PNG", "LA"),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("BMP", "RGB"),
        ("BMP", "P"),
    ]
    found = []
    for image, kind in [(grey, "PNG"), *((colour.convert(mode), kind) for kind, mode in kinds)]:
        buffer = io.BytesIO()
        image.save(buffer, kind)
        found.append(buffer.getvalue())
    return found


def _official() -> dict[str, bytes]:
    """The binary version with ten images a file, and parquet files where pyarrow is there."""
    import numpy as np

    rows = np.random.default_rng(0).integers(0, 256, (10, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(10)
    files = {f"bin/{name}.bin": rows.tobytes() for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")}
    files["bin/batches.meta.txt"] = "\n".join(CLASSES).encode()
    with contextlib.suppress(ImportError):
        import pyarrow
        from pyarrow import parquet

        images = [{"bytes": encoded(row[1:].reshape(32, 32, 3)), "path": None} for row in rows]
        table = pyarrow.table({"img": images, "label": list(range(10))})
        info = {"info": {"features": {"label": {"names": list(CLASSES)}}}}
        buffer = io.BytesIO()
        parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), buffer)
        files |= {f"hub/{part}-00000-of-00001.parquet": buffer.getvalue() for part in ("train", "test")}
    return files


class Readers:
    """One reader per name: a strategy for its input, and a call that may raise the documented errors only.

    Args:
        folder: scratch.
    """

    def __init__(self, folder: Path, data):
        self.folder, self.store = folder, Store(folder / "runs")
        made = run.get_run(CONFIG, data, "cpu", self.store, [PROBE])
        self.record, self.kept = made, {p.name: p.read_bytes() for p in made.folder.iterdir()}
        self.fingerprint = data.fingerprint
        self.model = build.build_model(CONFIG)
        self.parts = (build.build_optimizer(CONFIG, self.model), Recorder(self.model, models.output_layer(self.model)))
        self.checkpoint = folder / "checkpoint.safetensors"
        save_checkpoint(self.checkpoint, 1, self.model, *self.parts, {"initial_weights": "x"})
        self.saved = self.checkpoint.read_bytes()
        self.archives, self.pictures, self.official = self._archives(), _pictures(), _official()
        write_folder(self.official, folder / "official")
        self.notebook = next((Path(__file__).parents[1] / "notebooks").glob("01_*"))
        config, probe = json.loads(CONFIG.to_json()), json.loads(PROBE.to_json())
        job = Job(CONFIG, (PROBE,), ("04",)).to_json()
        plan = {"data": "synthetic", "fingerprint": "f", "device": "cpu", "jobs": [job], "tasks": [[0]]}
        known = execute.notebook_parameters(self.notebook)
        self.all: dict[str, tuple[st.SearchStrategy, Callable]] = {
            "archive": (st.tuples(st.sampled_from(sorted(self.archives)), edits), self.archive),
            "file names": (st.lists(paths, max_size=12), self.names),
            "picture": (st.tuples(st.sampled_from(self.pictures), edits), self.picture),
            "official files": (st.tuples(st.sampled_from(sorted(self.official)), edits), self.official_file),
            "record": (st.tuples(st.sampled_from(sorted(self.kept)), edits), self.read_record),
            "checkpoint": (edits, self.read_checkpoint),
            "config": (fields(config).map(json.dumps) | st.text() | values.map(json.dumps), self.config),
            "probe": (fields(probe), self.probe),
            "plan": (
                fields(plan).map(json.dumps) | fields(job).map(lambda j: json.dumps(plan | {"jobs": [j]})),
                self.plan,
            ),
            "parameters": (st.dictionaries(st.sampled_from(sorted(known)) | st.text(), st.text()), self.parameters),
            "stored values": (edits, self.stored),
        }

    def _archives(self) -> dict[str, bytes]:
        import numpy as np

        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        files = {f"{part}/{name}/0.png": encoded(pixels) for part in ("train", "test") for name in CLASSES}
        found = {}
        for mode in ("w", "w:gz", "w:xz"):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode=mode) as archive:
                for name, content in files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
            found[f"images.tar{mode[1:].replace(':', '.')}"] = buffer.getvalue()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return found | {"images.zip": buffer.getvalue()}

    def archive(self, given) -> None:
        name, changes = given
        path = self.folder / name
        path.write_bytes(edited(self.archives[name], changes))
        with contextlib.suppress(CourseError):
            read_path(path)

    def names(self, given) -> None:
        """Whatever is chosen has both parts, and every file of it is one of those given."""
        with contextlib.suppress(CourseError):
            listed = forms.listed(((name, None) for name in given), "here")
            found = forms.choose(listed, "here")
            if found and found.form != forms.PYTHON:
                assert all(found.parts.values()) and set().union(*found.parts.values()) <= set(listed)

    def picture(self, given) -> None:
        content, changes = given
        decoded = Pictures("here")
        with contextlib.suppress(CourseError), contextlib.redirect_stdout(io.StringIO()):
            pixels = decoded("0.png", edited(content, changes))
            assert pixels.shape == (3, 32, 32) and pixels.dtype == "uint8"
            decoded.finish()

    def official_file(self, given) -> None:
        name, changes = given
        path = self.folder / "official" / name
        path.write_bytes(edited(self.official[name], changes))
        with (
            contextlib.suppress(CourseError),
            contextlib.redirect_stdout(io.StringIO()),
            mock.patch.object(decode, "BATCH_SIZE", 10),
        ):
            read_path(path.parent)
        path.write_bytes(self.official[name])

    def read_record(self, given) -> None:
        name, changes = given
        path = self.record.folder / name
        path.write_bytes(edited(self.kept[name], changes))
        try:
            with contextlib.suppress(ValueError):
                read_record(self.record.folder)
            probes.read(self.record.folder, PROBE)
            plans.jobs.state(Job(CONFIG, (PROBE,)), self.fingerprint, self.store)
            plans.forecast.Speeds(self.store)
        finally:
            path.write_bytes(self.kept[name])

    def read_checkpoint(self, changes) -> None:
        self.checkpoint.write_bytes(edited(self.saved, changes))
        with contextlib.redirect_stdout(io.StringIO()):
            load_checkpoint(self.checkpoint, self.model, *self.parts, {"initial_weights": "x"})

    def config(self, text: str) -> None:
        with contextlib.suppress(CourseError):
            RunConfig.from_json(text).key("f")

    def probe(self, given: dict) -> None:
        job = {"config": json.loads(CONFIG.to_json()), "probes": [given], "notebooks": []}
        with contextlib.suppress(CourseError):
            assert Job.from_json(job).probes[0].name

    def plan(self, text: str) -> None:
        path = self.folder / "plan.json"
        path.write_text(text)
        with contextlib.suppress(CourseError):
            worker.read_plan(path)

    def parameters(self, given: dict) -> None:
        with contextlib.suppress(CourseError):
            execute.check_parameters([self.notebook], {n: execute.parse_parameter(v) for n, v in given.items()})

    def stored(self, changes) -> None:
        index = cache_dir() / "data" / "index.json"
        index.parent.mkdir(parents=True, exist_ok=True)
        entry = {"fingerprint": "f" * 64, "label": "l", "classes": ["a"]}
        index.write_bytes(edited(json.dumps({SYNTHETIC_IDENTITY: entry}).encode(), changes))
        already_read("synthetic")
        assert self.store.measurement("m", {"a": 1}, lambda: {"value": 1}) == {"value": 1}
        (path,) = self.store.root.glob("measurements/m-*.json")
        path.write_bytes(edited(path.read_bytes(), changes))
        self.store.measurement("m", {"a": 1}, lambda: {"value": 1})
        path.unlink()

    def fuzz(self, name: str, examples: int, seed: int = 0) -> int:
        """Give a reader so many inputs; returns how many it got.

        Raises:
            Exception: whatever a reader let escape, with the smallest input that makes it.
        """
        strategy, call = self.all[name]
        count = 0

        @seeded(seed)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def feed(value) -> None:
            nonlocal count
            count += 1
            call(value)

        feed()
        return count
