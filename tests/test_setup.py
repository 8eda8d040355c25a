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
from cifar_helpers.words import NUMBER

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "seaborn": "seaborn-base"}


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
    assert {"profile", "data", "device", "seed", "reuse"} <= set(values)
    mock = parameters[0].metadata["nbmake"]["mock"]
    assert mock["profile"] == "smoke" and mock["data"] == "synthetic"
    for cell in notebook.cells:  # the report finds a part of a notebook by the cell that its heading begins
        lines = cell.source.splitlines() if cell.cell_type == "markdown" else []
        assert not any(re.match("#+ ", line) for line in lines[1:]), f"{cell.id}: a heading begins a cell of its own"
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for part in ("**Goals.**", "**Needs**", "**Takes**", "**Makes**", "## What we saw", "**What it does not show.**"):
        assert part in text, part
    assert "## Exercises" in text and "**Next:**" in text
    assert not re.search(r"\d+\.\d+ ?%", NUMBER.sub("", text)), "a measured number names its expression"


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
    from cifar_helpers import plans

    for profile in plans.profiles.PROFILES:
        sweep = plans.landscape.bn_sweep(profile)
        assert {run.lr for run in sweep} == {1e-3, 2e-3, 1e-4, 5e-4}
        assert {run.model for run in sweep} == {"VGG_A", "VGG_A_BatchNorm"} and {run.optimizer for run in sweep} == {
            "Adam"
        }
        assert len(set(sweep)) == len(sweep)
        plain, normed = ([run for run in sweep if run.model == m] for m in plans.landscape.NETWORKS)
        assert [(run.lr, run.seed) for run in plain] == [(run.lr, run.seed) for run in normed]
    with pytest.raises(CourseError, match="learning rate"):
        plans.landscape.bn_sweep("smoke", rates=[0.0])
    assert {run.n_items for run in plans.landscape.bn_sweep("smoke", n_items=0)} == {
        0
    }  # refused where the data is known
    at_base = [run for run in plans.landscape.bn_sweep("laptop") if run.lr == plans.landscape.BASE_RATE]
    assert len({run.seed for run in at_base}) >= 3


def test_no_link_is_committed():
    """A link to one machine's environment would replace another's when it is pulled."""

    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if line.startswith("120000")]
