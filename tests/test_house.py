"""The house: floors, sizes, no circle; every recorded run keeps its key."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifar_helpers.training.config import RunConfig

ROOT = Path(__file__).resolve().parents[1]
# From the ground up: a room stands above what it imports, and folders of one floor do not import one another.
FLOORS = (
    ("moved",),
    ("gpus", "signals"),
    ("env",),
    ("intervals",),
    ("words",),
    ("data", "figures", "models"),
    ("training",),
    ("measure", "plans"),
    ("inside",),
    ("teach",),
    ("sources",),
    ("notebook",),
    ("cifar_course",),
)
LINES, ROOMS = 450, 10  # of a room, in a folder


def rooms() -> dict[str, Path]:
    """Dotted name → file of every room; a folder's own name is its ``__init__``."""
    paths = [path for top in ("cifar_helpers", "cifar_course") for path in sorted((ROOT / top).rglob("*.py"))]
    return {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}


ALL = rooms()


def arrows(name: str) -> Iterator[str]:
    """The rooms that a room imports, inside functions too."""
    package = name if ALL[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(ALL[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(a.name.split(".")[0] in ("cifar_helpers", "cifar_course") for a in node.names), name
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            for alias in node.names:
                found = f"{base}.{alias.name}" if f"{base}.{alias.name}" in ALL else base
                if found in ALL and found != name:
                    yield found


def subject(name: str) -> str:
    """The folder that decides a room's floor."""
    top, *rest = name.split(".")
    return top if top == "cifar_course" or not rest else rest[0]


def test_no_arrow_runs_up_and_no_folder_imports_its_neighbour():
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    assert {subject(name) for name in ALL} == {*floor, "cifar_helpers"}
    floor["cifar_helpers"] = 1  # above the table of what has moved, and below all else
    for name in ALL:
        for other in arrows(name):
            mine, below = subject(name), subject(other)
            assert mine == below or floor[below] < floor[mine], f"{name} imports {other}"


def test_no_circle():
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in arrows(name):
                visit(other, (*way, name))
            done.add(name)

    for name in ALL:
        visit(name, ())


def test_the_map_draws_the_floors_as_they_are():
    text = (ROOT / "docs/inside.md").read_text(encoding="utf-8").partition("## The map")[2].split("```")[1]
    drawn = [line[:16].strip() for line in text.strip().splitlines()]
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    assert drawn[-1] == "" and set(drawn[:-1]) == {
        name for name in floor if (ROOT / "cifar_helpers" / name).is_dir()
    } | {"cifar_course", "notebook"}
    heights = [floor[name] for name in drawn[:-1]]
    assert heights == sorted(heights, reverse=True)
    for line in (line for line in text.strip().splitlines() if not line.startswith("notebook")):
        folder = ROOT / ("cifar_course" if line.startswith("cifar_course") else f"cifar_helpers/{line[:16].strip()}")
        for room in line[16:60].replace("…", "").split("  ")[0].split("·"):
            assert (folder / f"{room.strip()}.py").exists() or (folder / room.strip()).is_dir(), room


def test_rooms_and_folders_stay_small():
    for name, path in ALL.items():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES, f"{name} has more than {LINES} lines"
    for folder in {path.parent for path in ALL.values()}:
        found = [path for path in folder.glob("*.py") if path.stem not in ("__init__", "__main__")]
        assert len(found) <= ROOMS, f"{folder.name} has {len(found)} rooms"


@pytest.mark.parametrize("name", [name for name in ALL if name.count(".") == 1 or name.startswith("cifar_course.")])
def test_every_room_says_what_it_is_for(name):
    text = ast.get_docstring(ast.parse(ALL[name].read_text(encoding="utf-8")))
    assert text and len(text.splitlines()[0]) > 10


def test_the_key_of_every_published_run_is_what_it_was():
    found = sorted((ROOT / "figures" / "records").glob("*/config.json"))
    assert len(found) > 400
    for path in found:
        config = RunConfig.from_json(path.read_text(encoding="utf-8"))
        made = json.loads((path.parent / "provenance.json").read_text(encoding="utf-8"))
        assert config.folder_name(made["data_fingerprint"]) == path.parent.name


@pytest.mark.parametrize(
    "name",
    [
        "cifar_helpers.env",
        "cifar_helpers.training.store",
        "cifar_helpers.plans",
        "cifar_course.report.cli",
        "cifar_course.hand.cli",
    ],
)
def test_a_plan_needs_no_torch(name):
    code = f"import sys, {name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=600, cwd=ROOT).returncode == 0
