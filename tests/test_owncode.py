"""A network of the reader's own is trained again when anything that it runs has changed, and only then."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cifar_helpers import models
from cifar_helpers.models import owncode
from cifar_helpers.training import run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.store import Store

ROOT = Path(__file__).resolve().parents[1]
SOURCE = '''
import collections, contextlib, enum, functools, torch
from dataclasses import dataclass, field
from torch import nn
import torch.nn.functional as F

SCALE = 1.5
TABLE = {"width": 7, "names": {"one", "two", "three"}}
MATRIX = torch.arange(9.0).view(3, 3)
SHARED = nn.Dropout(0.25)
Kind = enum.Enum("Kind", "LEFT RIGHT")

def helper(x):
    return deeper(x) + 11

def deeper(x):
    return helper(x) if x is None else x * 12

def wraps(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args) * 13
    return inner

def with_setting(setting):
    return lambda function: functools.partialmethod(function, setting)

class Wrapper:
    def __init__(self, function):
        self.function, self.factor = function, 14
    def __call__(self, x):
        return self.function(x) * self.factor

@Wrapper
def wrapped(x):
    return x - 15

@dataclass
class Settings:
    depth: int = 16
    widths: list = field(default_factory=lambda: [17])

class Base(nn.Module):
    slope = 18
    def tail(self, x):
        return x + 19

class Own(Base):
    """A network."""
    names = frozenset({"alpha", "beta", "gamma", "delta"})
    layers = (3, 4, 5)
    kind = Kind.LEFT
    sampler = functools.partial(F.dropout, p=0.26)

    def __init__(self, dropout=0.27, *, width=28, act=nn.LeakyReLU(0.29), **more):
        super().__init__()
        self.settings = Settings()
        self.output = nn.Linear(3072, 10)
        self.values = list(x * 30 for x in range(3))
        class Inner(nn.Module):
            size = 31
            def forward(self, x):
                return x + 32
        self.inner = Inner()

    def forward(self, images):
        if torch.rand(1) in {0.5, 33.0}:
            images = images + (lambda: 34)()
        try:
            return self.output(images.flatten(1).relu()) + self.bias + self.late + self.fixed(1) + self.made()
        except ZeroDivisionError:
            return helper(images) * SCALE + TABLE["width"] + MATRIX.sum() + wrapped(images) + SHARED(images)

    @property
    def bias(self):
        return 35

    @bias.setter
    def bias(self, value):
        self.kept = value + 36

    @functools.cached_property
    def late(self):
        return 37

    @staticmethod
    def fixed(x):
        return 38 + x

    @classmethod
    def made(cls):
        return 39

    @functools.lru_cache
    def remembered(self):
        return 40

    @torch.no_grad()
    def quiet(self):
        return 41

    @wraps
    def doubled(self):
        return 42

    @with_setting(43)
    def given(self, setting):
        return setting

    @functools.singledispatchmethod
    def kinds(self, x):
        return 44

    @contextlib.contextmanager
    def around(self):
        yield 45
'''  # fmt: skip
NUMBERS = (0.25, 0.26, 0.27, 0.29, 33.0, 7, 1.5, 28, *range(11, 20), *range(30, 33), *range(34, 46))


def digest_of(source: str) -> str:
    values = {"__name__": "__main__"}
    exec(compile(source, "<cell>", "exec"), values)
    return owncode.digest(values["Own"])


@pytest.mark.parametrize("number", NUMBERS)
def test_every_value_that_the_class_runs_counts(number):
    other = number / 2 if number < 1 else number + 60
    changed, count = re.subn(rf"(?<![\d.]){re.escape(str(number))}(?![\d.])", str(other), SOURCE)
    assert count == 1 and digest_of(changed) != digest_of(SOURCE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"delta"', '"epsilon"'),
        ('"three"', '"four"'),
        ("(3, 4, 5)", "(3, 4, 6)"),
        ("Kind.LEFT", "Kind.RIGHT"),
        ("images.flatten(1).relu()", "images.flatten(1).tanh()"),
        ("class Own(Base)", "class Own(nn.Module)"),
        ("torch.arange(9.0)", "torch.arange(1.0, 10.0)"),
        ("dropout=0.27", "dropout=False"),
        ("    @functools.cached_property\n    def late", "    def late"),
        ("@torch.no_grad()", "@torch.enable_grad()"),
        ("    @staticmethod\n    def fixed(x)", "    def fixed(self, x)"),
        ("nn.LeakyReLU(0.29)", "nn.ELU(0.29)"),
        ("except ZeroDivisionError", "except ValueError"),
        ("def helper(x):", "def helper(x):\n    x = x + 1"),
    ],
)
def test_other_code_counts(before, after):
    assert SOURCE.count(before) >= 1 and digest_of(SOURCE.replace(before, after, 1)) != digest_of(SOURCE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SCALE = 1.5", "\n\n# another line\nSCALE = 1.5\nUNUSED = 3\nbias = late = output = 5"),
        ('"""A network."""', '"""A network of mine."""'),
        ('frozenset({"alpha", "beta", "gamma", "delta"})', 'frozenset({"delta", "gamma", "beta", "alpha"})'),
        ("dropout=0.27", "dropout=0.270"),
    ],
)
def test_what_the_class_does_not_run_counts_for_nothing(before, after):
    assert SOURCE.count(before) == 1 and digest_of(SOURCE.replace(before, after)) == digest_of(SOURCE)


def test_the_digest_is_the_same_in_every_process(tmp_path):
    """Whatever the order of sets, and read from a source or from compiled files, in any folder."""
    code = "import sys; sys.path.insert(0, sys.argv[1])\nimport mine\nfrom cifar_helpers.models import owncode\n"
    code += "mine.Own()\nprint(owncode.digest(mine.Own))\n"
    found = set()
    for number, seed in enumerate("012"):
        folder = tmp_path / str(number // 2)
        folder.mkdir(exist_ok=True)
        (folder / "mine.py").write_text(SOURCE if number < 2 else "\n" * number + SOURCE, encoding="utf-8")
        surroundings = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code, folder], env=surroundings, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_values_that_lie_at_other_addresses_are_the_same_values():
    source = "import numpy as np\nfrom torch import nn\nclass Own(nn.Module):\n"
    source += "    table = np.array([lambda x: x + 1, {2.5, 'a'}, object()], dtype=object)\n"
    assert digest_of(source) == digest_of(source) != digest_of(source.replace("x + 1", "x + 2"))


def test_circles_end():
    source = "from torch import nn\nclass Own(nn.Module):\n    kept = {}\n"
    source += "Own.kept['me'] = [Own, Own.kept]\nOwn.all = {Own}\n"
    assert digest_of(source) == digest_of(source) != digest_of(source.replace("'me'", "'you'"))


NETWORK = """
from torch import nn
from cifar_helpers import models

def head(width):
    return nn.Linear(3072, 10)

@models.register
class Own(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        self.drop, self.output = nn.Dropout(dropout), head(3)

    @property
    def parts(self):
        return sum(x for x in (1, 2))

    @staticmethod
    def scaled(images):
        return images * 1.0

    def forward(self, images):
        return self.output(self.drop(self.scaled(images).flatten(1)))
"""


@pytest.fixture
def cell():
    """A function that runs a cell of a notebook; the network that it registers is gone afterwards."""
    values = {"__name__": "__main__"}
    yield lambda source: exec(source, values)
    owncode.REGISTERED.pop("Own", None)
    vars(models).pop("Own", None)


TINY = RunConfig("Own", steps=2, batch_size=8, n_items=20, eval_every=2, eval_items=10, test=False, precision="fp32")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("dropout=0.0", "dropout=0.9"),
        ("x for x in (1, 2)", "x for x in (1, 3)"),
        ("images * 1.0", "images * 0.5"),
        ("return sum", "return max"),
    ],
)
def test_a_changed_network_is_trained_again_and_an_unchanged_one_is_not(cell, before, after, small_data, store, capsys):
    def get() -> float:
        return run.get_run(TINY, small_data, "cpu", store).provenance["finished_unix"]

    cell(NETWORK)
    first = get()
    cell(NETWORK)
    assert get() == first
    cell(NETWORK.replace(before, after))
    assert get() > first and "was made by other model code" in capsys.readouterr().out


def test_a_helper_redefined_in_its_own_cell_is_noticed(cell, small_data, store):
    cell(NETWORK)
    first = run.get_run(TINY, small_data, "cpu", store)
    cell("def head(width):\n    return nn.Sequential(nn.Tanh(), nn.Linear(3072, 10))")
    changed = run.get_run(replace(TINY), small_data, "cpu", store)
    assert changed.provenance["initial_weights"] != first.provenance["initial_weights"]


def test_a_new_kernel_reads_the_record(tmp_path, cell, small_data):
    """Another process, with sets in another order, finds the record of a class with a property its own."""
    code = NETWORK + (
        "import sys\nfrom cifar_helpers.data.images import load_cifar10\n"
        "from cifar_helpers.training import run, store\nfrom cifar_helpers.training.config import RunConfig\n"
        f"config = RunConfig.from_json({TINY.to_json()!r})\n"
        "images = load_cifar10('synthetic')\n"
        "run.get_runs([config], images, 'cpu', store.Store(sys.argv[1]))\n"
    )
    for seed, said in (("1", "1 trained now"), ("2", "0 trained now, 1 read")):
        surroundings = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code, tmp_path / "runs"]
        assert said in subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True).stdout
    assert not (Store(tmp_path / "runs").root / ".damaged").exists()


def test_a_registered_network_survives_a_reload_of_models():
    """As ``%autoreload`` does it, in a process of its own."""
    code = NETWORK + (
        "import importlib, sys\nfrom IPython.extensions.autoreload import superreload\n"
        "from cifar_helpers.training import build\nfrom cifar_helpers.training.config import RunConfig\n"
        "superreload(models, importlib.reload, {})\n"
        "build.build_model(RunConfig('Own'))\n"
        "assert models.Own is Own and 'Own' in models.known()\n"
        "models.register(Own)\n"
    )
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
