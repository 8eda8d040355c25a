"""The set-up holds together: dependency lists, the table of rooms, the anatomy of notebooks."""

import ast
import re
import shutil
import statistics
import subprocess
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from cifar_helpers.env import CourseError

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CONDA_NAMES = {"torch": "pytorch-gpu", "matplotlib": "matplotlib-base", "seaborn": "seaborn-base"}
# Which rooms a room may import (DESIGN): the line stays straight.
ROOMS = {
    "env": {"gpus"},
    "synthetic": set(),
    "sources": set(),
    "layers": set(),
    "resnets": {"layers"},
    "fast": set(),
    "norms": set(),
    "owncode": set(),
    "models": {"owncode", "layers", "resnets", "fast", "norms"},
    "optim": set(),
    "losses": set(),
    "gpus": set(),
    "forms": {"env"},
    "locate": {"env", "forms"},
    "stopping": set(),
    "decode": {"env", "forms"},
    "datafiles": {"decode", "env", "forms", "locate"},
    "data": {"env", "datafiles", "locate", "synthetic"},
    "config": {"env"},
    "record": {"config", "env"},
    "train": {"env", "prober"},
    "prober": {"env"},
    "measure": {"env", "prober"},
    "intervals": {"env"},
    "words": {"intervals"},
    "compare": {"env", "intervals", "words"},
    "evidence": {"compare", "measure", "words"},
    "ranking": {"intervals", "words"},
    "beside": {"intervals", "ranking", "sources", "words"},
    "probes": {"env", "record"},
    "experiments": {"budgets", "env", "record", "probes"},
    "settings": {"env", "experiments"},
    "budgets": {"env"},
    "sweeps": {"budgets", "record"},
    "recipes": {"budgets", "env", "record", "sweeps"},
    "studies": {"env", "experiments", "record", "sweeps"},
    "toys": {"layers", "record"},
    "build": {"env", "data", "models", "optim", "losses", "owncode", "record"},
    "run": {"owncode", "env", "build", "data", "models", "losses", "record", "probes", "stopping", "train", "measure"},
    "figures": {"env", "words"},
    "landscape": {"figures"},
    "charts": {"figures"},
    "views": {"charts", "figures"},
    "portraits": {"charts", "figures"},
    "explorers": {"data", "env", "figures"},
    "replays": {"charts", "compare", "env", "explorers", "figures"},
    "widgets": {"data", "env", "explorers", "figures", "replays"},
    "trends": {"compare"},
    "results": {"build", "costs", "intervals", "models", "ranking", "words"},
    "costs": {"build", "data", "env", "record"},
    "insight": {"build", "data", "env", "layers", "record"},
    "shift": {"build", "data", "env", "record", "train"},
    "surface": {"build", "data", "env", "insight", "record"},
    "curvature": {"build", "data", "env", "measure", "record"},
    "attribution": {"env", "surface"},
    "benchmarks": {"env"},
    "digest": {"benchmarks", "beside", "intervals", "words"},
    "summary": {
        *(
            "benchmarks",
            "env",
            "budgets",
            "record",
            "experiments",
            "compare",
            "digest",
            "recipes",
            "sources",
            "studies",
        ),
    },
    "upkeep": {"env", "record"},
    "planning": {"env", "experiments", "probes", "recipes", "record", "studies", "sweeps", "upkeep"},
    "worker": {"env", "data", "planning", "probes", "record", "run", "stopping", "upkeep"},
    "batch": {"env", "planning", "record", "upkeep", "worker"},
    "half_hour": {"benchmarks", "budgets", "env", "stopping"},
    "half_hour_parts": {
        *("batch", "build", "compare", "data", "env", "experiments", "half_hour", "models", "planning", "ranking"),
        *("recipes", "record", "run", "stopping", "train"),
    },
    "slurm": {"env", "planning", "record"},
    "after": {"env", "report", "worker"},
    "status": {"env", "planning", "probes", "record", "slurm", "upkeep"},
    "notebooks": {"env", "stopping"},
    "quiz": {"env"},
    "site": {"env"},
    "checks": {"env", "data", "layers", "losses", "measure", "models", "norms", "optim", "prober"},
    "edition": {"env"},
    "handin": {"edition", "env"},
    "grade": {"env", "notebooks"},
    "student": {"edition", "env", "handin"},
    "report": {
        *("batch", "data", "env", "experiments", "locate", "notebooks", "planning", "record"),
        *("settings", "slurm", "status", "stopping", "summary", "upkeep", "worker"),
    },
}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pip_requirements() -> list[Requirement]:
    return [Requirement(r) for r in project()["dependencies"] + project()["optional-dependencies"]["test"]]


def test_conda_and_pip_ask_for_the_same():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = {}
    for entry in entries:
        if isinstance(entry, str):
            match = re.fullmatch(r"([a-z0-9_.-]+)((?:[<>=!]=?[0-9][0-9a-z.*]*,?)*)", entry)
            assert match, f"not a conda spec: {entry!r}"
            conda[match[1]] = SpecifierSet(match[2])
        else:
            assert entry == {"pip": ["-e ."]}, (
                "conda hands these lines to pip -r, which takes no options such as --no-deps"
            )
    assert conda.pop("python") == SpecifierSet(project()["requires-python"])
    assert conda.pop("pip") == SpecifierSet("")
    assert conda == {CONDA_NAMES.get(r.name, r.name): r.specifier for r in pip_requirements()}


def test_every_dependency_has_its_reason():
    text = (ROOT / "pyproject.toml").read_text()
    for requirement in pip_requirements():
        assert re.search(rf'^    "{re.escape(requirement.name)}[^"]*", +# \w', text, re.MULTILINE), requirement.name


def test_pins_satisfy_the_requirements():
    lines = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if x and not x.startswith("#")]
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in (x.split("==") for x in lines)}
    for requirement in pip_requirements():
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement.name


def test_rooms_import_only_what_the_design_allows():
    package = ROOT / "cifar_helpers"
    rooms = [(path.stem, path, 1) for path in package.glob("*.py") if path.stem != "__init__"]
    rooms += [(path.parent.name, path, 2) for path in package.glob("*/*.py")]  # a room that is a folder
    assert {name for name, _, _ in rooms} == set(ROOMS)
    for name, path, level in rooms:
        source = path.read_text()
        imported = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.level == level:
                imported |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert not any(module.split(".")[0] == "cifar_helpers" for module in names), f"{name}: import it relatively"
        assert imported <= ROOMS[name], f"{name} imports {imported - ROOMS[name]}"
        assert len(source.splitlines()) <= 450, f"{name} has more than 450 lines"


@pytest.mark.parametrize("name", ["env", "record", "experiments", "planning", "report", "student"])
def test_a_plan_needs_no_torch(name):
    import sys

    code = f"import sys, cifar_helpers.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_anatomy(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code), "outputs are never committed"
    lengths = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    assert max(lengths) <= 25 and statistics.median(lengths) <= 6
    parameters = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(parameters) == 1
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(parameters[0].source).body}
    assert {"profile", "data", "device", "seed", "published"} <= set(values)
    mock = parameters[0].metadata["nbmake"]["mock"]
    assert mock["profile"] == "smoke" and mock["data"] == "synthetic"
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for part in ("**Goals.**", "**Needs**", "**Takes**", "**Makes**", "## What we saw", "**What it does not show.**"):
        assert part in text, part
    assert "## Exercises" in text and "**Next:**" in text
    assert not re.search(r"\d+\.\d+ ?%", text), "a measured number belongs in a cell"


def test_a_checkout_on_windows_keeps_the_line_ends(tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "core.autocrlf=true", *words], check=True, capture_output=True)

    source, copy = tmp_path / "course", tmp_path / "copy"
    names = [".gitattributes", ".ci/run", "batch/train.sbatch", "Makefile", "notebooks/01_data.ipynb"]
    names += ["figures/01_statistics.json", "figures/01_pixel_values.png", "figures/01_pixel_values.svg"]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    git("init", "-q", source)
    git("-C", source, "add", ".")
    git("-C", source, "-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-qm", "all")
    git("clone", "-q", source, copy)
    for name in names:
        assert (copy / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_no_name_of_this_machine_in_the_project():

    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert "README.md" in files
    for name in files:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yml", ".json", ".ipynb", ".cff", ""):
            assert str(Path.home()) + "/" not in path.read_text(errors="ignore"), name


def test_the_experiments_are_the_handouts():
    from cifar_helpers import experiments

    for profile in experiments.PROFILES:
        sweep = experiments.bn_sweep(profile)
        assert {run.lr for run in sweep} == {1e-3, 2e-3, 1e-4, 5e-4}
        assert {run.model for run in sweep} == {"VGG_A", "VGG_A_BatchNorm"} and {run.optimizer for run in sweep} == {
            "Adam"
        }
        assert len(set(sweep)) == len(sweep)
        plain, normed = ([run for run in sweep if run.model == m] for m in experiments.NETWORKS)
        assert [(run.lr, run.seed) for run in plain] == [(run.lr, run.seed) for run in normed]
    with pytest.raises(CourseError, match="steps"):
        experiments.bn_sweep("smoke", steps=0)
    assert {run.n_items for run in experiments.bn_sweep("smoke", n_items=0)} == {0}  # refused where the data is known
    at_base = [run for run in experiments.bn_sweep("laptop") if run.lr == experiments.BASE_RATE]
    assert len({run.seed for run in at_base}) >= 3


def test_no_link_is_committed():
    """A link to one machine's environment would replace another's when it is pulled."""

    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if line.startswith("120000")]
