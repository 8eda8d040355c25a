"""The student edition, its grader, its hand-in: nothing leaks, nothing of a student's is lost, hostile code gets 0."""

import csv
import io
import json
import shutil
import socket
import zipfile
from pathlib import Path

import nbformat
import pytest

from cifar_helpers import checks, edition, grading, grading_child, handin, sandbox, student
from cifar_helpers.env import CourseError

ROOT = Path(__file__).resolve().parents[1]
STUB = "    # your code here\n    raise NotImplementedError()"
SOLVED = f"def f(x):\n    {edition.BEGIN}\n    return x + 12345678901234567890\n    {edition.END}"


def notebook(*sources, **metadata) -> str:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for number, cell in enumerate(cells):
        cell.id = f"c{number}"
    made = nbformat.v4.new_notebook(cells=cells)
    made.metadata.update(metadata)
    return nbformat.writes(made)


def tree(folder: Path) -> dict[str, str]:
    """Path → hash of every file below a folder."""
    return {str(p.relative_to(folder)): edition.hash_of(p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def course(tmp_path) -> Path:
    """A small course, not under git."""
    files = {
        "notebooks/01_data.ipynb": notebook("import torch", SOLVED, "print(f(1))"),
        "cifar_helpers/core.py": "x = 1\n",
        "tests/answers/n01.py": "secret = 1\n",
        "Makefile": ".PHONY: lab test\n\nlab:\n\tjupyter lab\n\ntest:\n\tpython -m pytest\n",
        "docs/report_template.md": "# Ours\n\n{{figure 04_loss}}\n\n{{table 04_table}}\n\n{{figure 05_band}}\n",
        "runs/big.npz": "record",
        ".cache/images": "images",
    }
    for name, text in files.items():
        path = tmp_path / "course" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "course"


# --- the edition ----------------------------------------------------------------------------------------------------


def solution_lines() -> tuple[set[str], set[str]]:
    """Lines of all notebooks inside solution blocks, and those outside."""
    inside, outside = set(), set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            here = outside
            for line in cell.source.splitlines():
                here = {edition.BEGIN: inside, edition.END: outside}.get(line.strip(), here)
                here.add(line.strip())
    return inside, outside


@pytest.fixture(scope="module")
def real() -> dict[str, bytes]:
    return edition.edition_files(ROOT)


def test_no_solution_stands_in_the_edition(real):
    inside, outside = solution_lines()
    text = {name: content.decode() for name, content in real.items() if not name.startswith("figures/")}
    elsewhere = "\n".join(t for name, t in text.items() if not name.endswith(".ipynb"))
    secret = {line for line in inside - outside if len(line) > 20 and line not in elsewhere}
    assert len(secret) >= 5, "no solution to look for"
    for name, content in text.items():
        found = [line for line in secret if json.dumps(line)[1:-1] in content]
        assert not found, f"{name}: {found}"
        assert not name.endswith(".ipynb") or edition.BEGIN not in content
    assert not {Path(name).parts[0] for name in real} & {"tests", "benchmarks", ".ci"}


def test_the_edition_works_by_itself(real):
    """Every notebook is there, valid, without outputs, as long as before; the package, too."""
    assert {"README.md", "Makefile", "pyproject.toml", "constraints.txt", "environment.yml"} <= set(real)
    assert "cifar_helpers/checks/engine.py" in real and "figures/REPORT.md" in real
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        ours = nbformat.reads(real[f"notebooks/{path.name}"].decode(), as_version=4)
        nbformat.validate(ours)
        source = nbformat.read(path, as_version=4)
        assert [cell.id for cell in ours.cells] == [cell.id for cell in source.cells]
        for cell, before in zip(ours.cells, source.cells, strict=True):
            assert cell.source == before.source or edition.BEGIN in before.source
            assert cell.metadata == before.metadata
    made = real["Makefile"].decode()
    assert "\nlab:" in made and "\nreport:" in made and "pytest" not in made.replace(".pytest_cache", "")


def test_a_solution_gives_way_to_nbgraders_stub():
    source, blocks = edition.without_solutions("a = 1\n" + SOLVED, "here")
    assert (source, blocks) == ("a = 1\ndef f(x):\n" + STUB, 1)


def test_metadata_and_outputs_tell_nothing(course):
    made = nbformat.reads(notebook(SOLVED, solution="return x + 1"), as_version=4)
    made.cells[0].metadata["backup"] = "return x + 1"
    made.cells[0].outputs = [nbformat.v4.new_output("stream", text="x + 1")]
    text = edition.student_notebook(nbformat.writes(made), "n.ipynb")
    assert "x + 1" not in text and "NotImplementedError" in text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (SOLVED.replace(edition.END, "# end"), "line 2: the solution that begins here has no"),
        (SOLVED.replace("return", f"{edition.BEGIN}\n    return"), "begins inside the one of line 2"),
        (SOLVED.replace(edition.BEGIN, "# begin"), "without a"),
        (SOLVED.replace(edition.BEGIN, "###BEGIN SOLUTION"), "looks like a marker"),
        (SOLVED.replace(edition.END, "### End solution"), "looks like a marker"),
        (f"{edition.BEGIN}\nx = 1\n{edition.END}", "as soon as the cell runs"),
        (f"def f(\n    {edition.BEGIN}\n    x):\n    return x\n    {edition.END}", "no valid Python"),
    ],
)
def test_wrong_markers_are_refused_by_notebook_and_cell(course, source, message):
    (course / "notebooks/01_data.ipynb").write_text(notebook("x = 1", source))
    out = course.parent / "out"
    with pytest.raises(CourseError, match=r"notebooks/01_data.ipynb, cell 2 \(c1\)") as caught:
        edition.build(out, course)
    assert message in str(caught.value) and not out.exists()


def test_what_a_student_edited_is_never_overwritten(course):
    out = course.parent / "out"
    assert "3 of 4" not in edition.build(out, course)[0] and (out / "Makefile").is_file()
    assert not (out / "tests").exists() and not (out / "runs").exists() and not (out / ".cache").exists()
    assert edition.build(out, course) == [f"Student edition in {out}: nothing new."]

    mine = (out / "notebooks/01_data.ipynb").read_text().replace("# your code here", "# mine")
    (out / "notebooks/01_data.ipynb").write_text(mine)
    assert edition.build(out, course)[1:] == ["notebooks/01_data.ipynb was edited: kept."]

    (course / "notebooks/01_data.ipynb").write_text(notebook("import numpy", SOLVED))
    (course / "cifar_helpers/core.py").write_text("x = 2\n")
    lines = edition.build(out, course)
    assert "lies beside it as notebooks/01_data.new.ipynb" in lines[1]
    assert (out / "notebooks/01_data.ipynb").read_text() == mine
    assert "import numpy" in (out / "notebooks/01_data.new.ipynb").read_text()
    assert (out / "cifar_helpers/core.py").read_text() == "x = 2\n"  # not edited, so brought up to date

    (out / "notebooks/01_data.new.ipynb").write_text("my merge")
    (course / "notebooks/01_data.ipynb").write_text(notebook("import scipy", SOLVED))
    assert "both kept" in edition.build(out, course)[1]
    assert (out / "notebooks/01_data.new.ipynb").read_text() == "my merge"


def test_a_file_that_left_the_course_goes_unless_it_was_edited(course):
    out = course.parent / "out"
    (course / "cifar_helpers/old.py").write_text("1\n")
    (course / "cifar_helpers/edited.py").write_text("1\n")
    edition.build(out, course)
    (out / "cifar_helpers/edited.py").write_text("mine\n")
    (course / "cifar_helpers/old.py").unlink()
    (course / "cifar_helpers/edited.py").unlink()
    assert "old.py is no longer part" in edition.build(out, course)[1]
    assert not (out / "cifar_helpers/old.py").exists() and (out / "cifar_helpers/edited.py").exists()


def test_an_interrupted_build_goes_on(course, monkeypatch):
    out, write, count = course.parent / "out", edition.write_atomically, iter(range(100))

    def breaks(path, content):
        if next(count) == 2:
            raise KeyboardInterrupt
        return write(path, content)

    monkeypatch.setattr(edition, "write_atomically", breaks)
    with pytest.raises(KeyboardInterrupt):
        edition.build(out, course)
    monkeypatch.undo()
    assert len(edition.build(out, course)) == 1
    assert {name: (out / name).read_bytes() for name in edition.edition_files(course)} == edition.edition_files(course)


def test_a_wrong_place_is_refused(course, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("years")
    for out, message in ((course, "course folder"), (course / "x", "course folder"), (tmp_path / "full", "no student")):
        with pytest.raises(CourseError, match=message):
            edition.build(out, course)
    with pytest.raises(CourseError, match="notebooks"):
        edition.build(tmp_path / "new", tmp_path / "full")


# --- grading: hostile submissions -----------------------------------------------------------------------------------

RIGHT = "    return 2 * x"
HOSTILE = {  # exercise → body of the student's function, part of the reason
    "loops": ("    while True: pass", "more than 4 s"),
    "exits": ("    raise SystemExit(0)", "SystemExit"),
    "vanishes": ("    import os; os._exit(0)", "ended the program itself"),
    "crashes": ("    import ctypes; ctypes.string_at(0)", "signal 11"),
    "prints": ("    while True: print('x' * 100_000)", "printed more than 1 MB"),
    "fills_memory": ("    return [bytearray(10**8) for _ in range(10**4)]", "emory"),
    "deletes": (f"    import shutil; shutil.rmtree('.', ignore_errors=True)\n{RIGHT}", "its own files: data.csv"),
    "edits": (f"    open('notebook.ipynb', 'a').write(' ')\n{RIGHT}", "its own files: notebook.ipynb"),
    "forks": (
        f"    import os, time\n    for _ in range(3):\n        if not os.fork(): os.setsid(); time.sleep(99)\n{RIGHT}",
        "leaves processes",
    ),
    "kills_the_grader": ("    import os; os.kill(os.getppid(), 9); import time; time.sleep(99)", "ended the grader"),
    "stops_the_grader": ("    import os; os.kill(os.getppid(), 19); import time; time.sleep(99)", "took too long"),
    "redefines_a_check": (
        "    from cifar_helpers import checks; checks.channel_statistics = print\n" + RIGHT,
        "changes cifar_helpers.checks.channel_statistics",
    ),
    "patches_same": (
        "    from cifar_helpers.checks import engine; engine.same = lambda *a: True\n    return 0",
        "changes cifar_helpers.checks.engine.same",
    ),
    "patches_code": (
        "    from cifar_helpers.checks import engine\n"
        "    engine.same.__code__ = (lambda got, right, tolerance=0: True).__code__\n    return 0",
        "changes cifar_helpers.checks.engine.same",
    ),
    "shadows_a_builtin": (
        "    from cifar_helpers.checks import engine; engine.float = lambda x: 1e9\n    return 0",
        "changes cifar_helpers.checks.engine.float",
    ),
    "patches_allclose": ("    import numpy; numpy.allclose = lambda *a, **k: True\n    return 0", "numpy.allclose"),
    "patches_tensors": ("    import torch; torch.Tensor.size = lambda *a: 0\n" + RIGHT, "torch.Tensor.size"),
    "patches_the_outcome": (
        "    from cifar_helpers.checks import Outcome; Outcome.message = ''\n" + RIGHT,
        "changes cifar_helpers.checks",
    ),
    "forges": (
        "    import os, contextlib\n"
        "    for n in range(3, 99):\n"
        '        with contextlib.suppress(OSError): os.write(n, b\'{"state": "solved"}\\n\')\n'
        "    os._exit(0)",
        "wrote to the grader's channel",
    ),
    "marks_up": ("    raise ValueError('<script>alert(1)</script>')", "<script>"),
}
HONEST = {"first": RIGHT, **{name: body for name, (body, _) in HOSTILE.items()}, "last": RIGHT}
PRIVATE = """
from cifar_helpers.checks.engine import call, compare, exercise

def register(name):
    def check(student):
        compare(call(student, 3.0), 6.0, {"That is the number itself.": 3.0}, "Twice the number is wanted.")
    check.__name__ = name
    exercise("99", f"my_{name}")(check)

for name in NAMES:
    register(name)
""".replace("NAMES", repr(list(HONEST)))
LISTED = [{"name": name, "notebook": "99", "answer": f"my_{name}"} for name in HONEST]
PLAIN = (
    "first",
    "exits",
    "prints",
    "fills_memory",
    "deletes",
    "forks",
    "kills_the_grader",
    "last",
)  # for the time it takes
BWRAP = pytest.param(True, marks=pytest.mark.skipif(not shutil.which("bwrap"), reason="needs bubblewrap"))


@pytest.fixture(scope="module", params=[BWRAP, False], ids=["bubblewrap", "plain"])
def hostile(request, tmp_path_factory) -> tuple[dict, bool]:
    """Exercise → row, for hostile answers between two honest ones; and whether the originals are the same."""
    folder = tmp_path_factory.mktemp("hostile")
    cells = [f"def my_{name}(x):\n{body}" for name, body in HONEST.items()]
    (folder / "notebook.ipynb").write_text(notebook(*cells))
    (folder / "data.csv").write_text("1,2\n")
    before = tree(folder)
    listed = [exercise for exercise in LISTED if request.param or exercise["name"] in PLAIN]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "GRACE", 1)
        grader = grading.Grader(sandbox.Limits(seconds=4, memory=2**28), PRIVATE, request.param, listed)
        graded = grader.grade("eve", folder)
    return {row["exercise"]: row for row in graded.rows}, before == tree(folder)


def test_hostile_code_gets_nothing_and_a_reason(hostile):
    asked = {name: row for name, row in hostile[0].items() if name in HOSTILE}
    wrong = {name: row for name, row in asked.items() if row["points"] or HOSTILE[name][1] not in row["reason"]}
    assert asked and not wrong


def test_the_others_and_the_originals_are_untouched(hostile):
    rows, same = hostile
    assert rows["first"]["points"] == rows["last"]["points"] == 1
    assert same


def test_no_process_is_left(hostile):
    import os

    mine = sandbox.below(os.getpid())
    names = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in mine if Path(f"/proc/{pid}").exists()]
    assert not [name for name in names if b"grading_child" in name]


@pytest.mark.skipif(not shutil.which("bwrap"), reason="needs bubblewrap")
def test_bubblewrap_hides_the_network_and_other_files(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        cells = {
            "first": f"    import socket; socket.create_connection(('127.0.0.1', {port}))\n" + RIGHT,
            "last": f"    open({str(tmp_path / 'secret')!r}).read()\n" + RIGHT,
            "loops": f"    open({str(ROOT / 'README.md')!r}).read()\n" + RIGHT,
            "exits": "    open('/usr/mine', 'w')\n" + RIGHT,
            "forks": "    open('/mine', 'w')\n" + RIGHT,
            "prints": "    import tempfile; tempfile.TemporaryFile().write(b'x')\n" + RIGHT,
        }
        (tmp_path / "secret").write_text("1")
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub/a.ipynb").write_text(notebook(*[f"def my_{n}(x):\n{body}" for n, body in cells.items()]))
        listed = [exercise for exercise in LISTED if exercise["name"] in cells]
        rows = grading.Grader(sandbox.Limits(5, 2**30), PRIVATE, True, listed).grade("eve", tmp_path / "sub").rows
    said = {row["exercise"]: row["reason"] for row in rows}
    assert "Connection" in said["first"] or "unreachable" in said["first"], said
    assert all("FileNotFoundError" in said[name] for name in ("last", "loops")), said
    assert all("Read-only" in said[name] for name in ("exits", "forks")), said
    assert said["prints"] == "right."


# --- grading: what is run -------------------------------------------------------------------------------------------


def test_only_what_the_answer_needs_is_run():
    cells = [
        "import numpy as np, os\nfrom math import *\nimport absent_module",
        "images = load_cifar10('auto')\nscale, depth = 2.0, 3\nfactor = 2\nprint(factor)",
        "%matplotlib inline\ndef helper(x):\n    return other(x)",
        "def other(x):\n    return x * factor\ndef unused():\n    pass",
        "def answer(x):\n    return 'the earlier version'",
        "this is no Python",
    ]
    import ast

    solution = ast.parse("def answer(x):\n    return helper(np.array(x))")
    nodes = grading_child.preparation(cells, "answer", solution.body)
    assert [ast.unparse(node).splitlines()[0] for node in nodes] == [
        *("import numpy as np, os", "from math import *", "factor = 2", "def helper(x):", "def other(x):")
    ]


def test_an_answer_is_found_by_id_else_by_name():
    exercise = {"name": "swish", "notebook": "02", "answer": "Swish"}
    here = {"path": "02_net.ipynb", "cells": [{"source": "class Swish: old = 1", "grade_id": None}]}
    here["cells"].append({"source": "class Swish: new = 1", "grade_id": None})
    copied = {"path": "copy.ipynb", "cells": [{"source": "class Swish: tagged = 1", "grade_id": "swish"}]}
    assert grading_child.find_cell(exercise, [copied, here])[1] == "class Swish: tagged = 1"
    assert grading_child.find_cell(exercise, [here])[1] == "class Swish: new = 1"
    with pytest.raises(grading_child.NotFoundError, match="No cell defines Swish"):
        grading_child.find_cell(exercise, [])


# --- grading: a folder of submissions -------------------------------------------------------------------------------


def zipped(path: Path, **files) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)


@pytest.fixture(scope="module")
def graded(real, tmp_path_factory) -> dict:
    """The unsolved edition, the solved course, an answer in a zip, and everything that can be wrong with one."""
    base = tmp_path_factory.mktemp("course")
    folder = base / "submissions"
    for name, content in real.items():
        if name.startswith("notebooks/"):
            (folder / "=unsolved" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "=unsolved" / name).write_bytes(content)
    shutil.copytree(ROOT / "notebooks", folder / "solved", ignore=shutil.ignore_patterns(".*"))
    (folder / "empty").mkdir()
    (folder / "notjson.ipynb").write_text("{'cells': ")
    (folder / "list.ipynb").write_text("[1, 2]")
    (folder / "deep.ipynb").write_text("[" * 100_000)
    (folder / "torn.zip").write_bytes(b"PK\x03\x04 and no more")
    zipped(folder / "escape.zip", **{"..__..__evil.ipynb": notebook()})
    zipped(folder / "bomb.zip", **{"zeros.ipynb": b"0" * (grading.MOST_BYTES + 1)})
    code = "def my_secret(x):\n    return 2 * x\ndef my_wrong(x):\n    raise ValueError('<script>')"
    zipped(folder / "ada.zip", **{"Project2__notebooks__mine.ipynb": notebook(code), "broken.ipynb": "{"})
    (folder / "notes.txt").write_text("mine")
    (base / "private.py").write_text(PRIVATE[: PRIVATE.index("for name")] + "register('secret')\nregister('wrong')\n")
    before, said = tree(folder), []
    limits = sandbox.Limits(20, 2**30)
    results = grading.grade_folder(folder, None, 2, limits, base / "private.py", said.append)
    rows = list(csv.DictReader(io.StringIO((base / "grades/grades.csv").read_text())))
    return {"base": base, "said": said, "rows": rows, "results": results, "same": before == tree(folder)}


def rows_of(graded: dict, student: str) -> list[dict]:
    return [row for row in graded["rows"] if row["student"] == student]


def test_an_unsolved_edition_is_unsolved_everywhere(graded):
    rows = [row for row in rows_of(graded, "'=unsolved") if row["notebook"] != "99"]
    assert {row["exercise"] for row in rows} == set(checks.EXERCISES)
    assert all(row["points"] == "0" and "not solved yet" in row["reason"] for row in rows), rows


def test_the_reference_solutions_have_all_points(graded):
    rows = [row for row in rows_of(graded, "solved") if row["notebook"] != "99"]
    assert len(rows) == len(checks.EXERCISES) and all(row["points"] == "1" for row in rows), rows


def test_private_checks_are_graded_too(graded):
    rows = {row["exercise"]: row for row in rows_of(graded, "ada")}
    assert rows["secret"]["points"] == "1"
    assert rows["wrong"]["points"] == "0" and 'ValueError at "raise ValueError' in rows["wrong"]["reason"]
    assert "No cell defines my_channel_statistics" in rows["channel_statistics"]["reason"]


@pytest.mark.parametrize(
    ("student", "reason"),
    [
        ("empty", "no readable notebook"),
        ("notjson", "not a readable notebook"),
        ("list", "not a readable notebook"),
        ("deep", "not a readable notebook"),
        ("torn", "cannot be unpacked"),
        ("escape", "a path outside its own folder"),
        ("bomb", "more than 5000 files or 200 MB"),
    ],
)
def test_an_unreadable_submission_has_a_reason(graded, student, reason):
    rows = rows_of(graded, student)
    assert len(rows) == len(checks.EXERCISES) + 2
    assert all(row["points"] == "0" and reason in row["reason"] for row in rows), rows[0]


def test_tables_and_pages(graded):
    base = graded["base"]
    assert graded["same"] and not (base / "evil.ipynb").exists()
    assert set(graded["rows"][0]) == {"student", "notebook", "exercise", "points", "reason"}
    totals = {row["student"]: row for row in csv.DictReader(io.StringIO((base / "grades/summary.csv").read_text()))}
    assert totals["ada"]["points"] == "1" and "broken.ipynb is not a readable" in totals["ada"]["remarks"]
    assert "'=unsolved" in totals  # no spreadsheet takes it for a formula
    assert {p.stem for p in (base / "grades/pages").iterdir()} == {g.student for g in graded["results"]}
    page = (base / "grades/pages/ada.html").read_text()
    assert "&lt;script&gt;" in page and "<script>" not in page
    assert any("notes.txt is no submission" in line for line in graded["said"])


def test_without_bubblewrap_it_says_what_is_not_contained(tmp_path, monkeypatch):
    (tmp_path / "s/empty").mkdir(parents=True)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    said = []
    grading.grade_folder(tmp_path / "s", say=said.append)
    assert "NOT contained: bubblewrap is not installed" in said[0] and "network" in said[0]


def test_input_that_cannot_be_graded(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "s/ada").mkdir(parents=True)
    (tmp_path / "wrong.py").write_text("import nothing_of_that_name")
    cases = [
        (["grade", tmp_path / "nowhere"], "No folder"),
        (["grade", tmp_path / "empty"], "No submissions"),
        (["grade", tmp_path / "s", "--out", tmp_path / "s/grades"], "among the submissions"),
        (["grade", tmp_path / "s", "--jobs", "0"], "--jobs must be at least 1"),
        (["grade", tmp_path / "s", "--seconds", "nan"], "--seconds must be"),
        (["grade", tmp_path / "s", "--checks", tmp_path / "absent.py"], "Cannot read the checks"),
        (["grade", tmp_path / "s", "--checks", tmp_path / "wrong.py"], "nothing_of_that_name"),
    ]
    for arguments, message in cases:
        assert student.main([str(argument) for argument in arguments]) == 2
        assert message in capsys.readouterr().err


def test_two_submissions_of_one_name_keep_apart(tmp_path):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada.zip").write_bytes(b"")
    assert set(grading.find_submissions(tmp_path)[0]) == {"ada", "ada.zip"}


# --- handing in -----------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(course, monkeypatch) -> Path:
    """A student's folder, with own code, data, weights and caches in it."""
    out = course.parent / "desk"
    edition.build(out, course)
    for name in ("data/cifar.tar.gz", "runs/a/weights.safetensors", ".cache/x.npy", "best.pt", "__pycache__/a.pyc"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("x")
    monkeypatch.setenv("CIFAR_FIGURES", str(out / "figures"))
    return out


def packed(desk: Path) -> set[str]:
    with zipfile.ZipFile(desk / "Project2-123_Ada-Lovelace.zip") as archive:
        assert archive.testzip() is None
        return {name.removeprefix("Project2-123_Ada-Lovelace/") for name in archive.namelist()}


def test_pack_takes_notebooks_report_and_changed_code(desk):
    said = handin.pack("123", "Ada-Lovelace", desk)
    assert packed(desk) == {"notebooks/01_data.ipynb"}
    assert any("report.pdf is missing" in line for line in said)
    (desk / "report.pdf").write_bytes(b"%PDF")
    (desk / "cifar_helpers/core.py").write_text("x = 3\n")
    (desk / "my_net.py").write_text("net = 1\n")
    said = handin.pack("123", "Ada-Lovelace", desk)
    assert packed(desk) == {"notebooks/01_data.ipynb", "report.pdf", "cifar_helpers/core.py", "my_net.py"}
    assert not any("Missing" in line for line in said)


def test_pack_names_what_is_not_solved(desk):
    cells = nbformat.read(desk / "notebooks/01_data.ipynb", as_version=4)
    cells.cells[1].metadata["nbgrader"] = {"solution": True, "grade_id": "adds"}
    nbformat.write(cells, desk / "notebooks/01_data.ipynb")
    assert any("01_data.ipynb: not solved yet: adds." in line for line in handin.pack(root=desk))
    assert not list(desk.glob("*.zip"))  # without id and name it only says


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ("12/3", "Ada"),
        ("12_3", "Ada"),
        ("", "Ada"),
        ("123", "Ada Lovelace"),
        ("123", "../Ada"),
        ("123", "-Ada"),
        ("1", None),
    ],
)
def test_odd_names_are_refused(desk, identity, name):
    with pytest.raises(CourseError, match="--name|--id"):
        handin.pack(identity, name, desk)


def test_names_of_any_alphabet_are_fine():
    assert handin.check_names("20300180001", "王小明") == "Project2-20300180001_王小明.zip"


def test_the_write_up_takes_own_figures_and_keeps_edits(desk):
    folder = desk / "figures/local/quick"
    folder.mkdir(parents=True)
    with pytest.raises(CourseError, match="No figures"):
        handin.write_report(root=desk)
    kept = {"caption": "Loss [mine].", "profile": "quick", "data_label": "CIFAR-10"}
    (folder / "04_loss.json").write_text(json.dumps(kept))
    (folder / "04_loss.png").write_bytes(b"png")
    (folder / "04_table.json").write_text(json.dumps(kept | {"rows": [{"rate": "0.1", "a|b": 1}, {"rate": "0.2"}]}))
    said = handin.write_report(root=desk)
    text = (desk / "report.md").read_text()
    assert "![Loss mine.](figures/local/quick/04_loss.png)" in text
    assert "| rate | a\\|b |\n| --- | --- |\n| 0.1 | 1 |\n| 0.2 |  |" in text
    assert "*(No figure `05_band` yet: run notebook 05.)*" in text and "1 are not made" in said[1]
    handin.write_report(root=desk)  # not edited: written again
    (desk / "report.md").write_text(text + "My words.\n")
    assert "kept" in handin.write_report("quick", desk)[-1]
    assert "My words." in (desk / "report.md").read_text() and (desk / "report.new.md").is_file()
    (desk / "report.new.md").write_text("also mine")
    with pytest.raises(CourseError, match="both edited"):
        handin.write_report(root=desk)
    with pytest.raises(CourseError, match="There are figures of: quick"):
        handin.write_report("full", desk)
    handin.pack("123", "Ada-Lovelace", desk)
    assert {"report.md", "figures/local/quick/04_loss.png"} <= packed(desk)


def test_the_templates_figures_exist():
    text = (ROOT / "docs/report_template.md").read_text()
    fields = handin.FIELD.findall(text)
    assert len(fields) >= 10 and text.count("{{") == len(fields)
    for kind, name in fields:
        assert json.loads((ROOT / f"figures/{name}.json").read_text())["kind"] == kind, name


def test_the_command_line(course, monkeypatch, capsys):
    monkeypatch.setattr(edition, "ROOT", course)
    monkeypatch.setattr(edition.build, "__defaults__", (course,))
    out = course.parent / "out"
    assert student.main(["build", str(out)]) == 0 and "files written" in capsys.readouterr().out
    assert student.main(["build", str(course)]) == 2 and "course folder" in capsys.readouterr().err
