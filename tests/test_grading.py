"""Grading, by the real nbgrader: right answers get every point in whatever shape, hostile ones change nothing."""

import contextlib
import copy
import io
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
import submissions as handed
from conftest import write_tar

from cifar_course.hand import grade
from cifar_course.hand.edition import hash_of

pytestmark = [pytest.mark.grading, pytest.mark.timeout(1800)]
pytest.importorskip("nbgrader")
CONTAINED = not grade.why_not_contained()
NAME = "01_data"
UNSOLVED = handed.NAMES[::3] if os.environ.get("CI") else handed.NAMES  # all are alike, half a minute each
WRONG = [(f"wrong{variant}", name, variant) for name in (NAME, "04_bn_comparison") for variant in range(3)]
RIGHT_STATISTICS = """def my_channel_statistics(images):
    x = images.double() / 255
    return x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3), correction=0)
"""
RIGHT_MIRROR = "    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)\n"


def run(course: Path, *options: str) -> tuple[int, str]:
    """Grade two submissions at a time; the command's status and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = grade.main(["run", str(course), "--jobs", "2", *options])
    return status, said.getvalue()


def seconds(said: str) -> dict[str, int]:
    """``student assignment`` → how long its grading took."""
    return {name: int(took) for name, took in re.findall(r"^  (.+): graded in (\d+) s$", said, re.MULTILINE)}


def tree(folder: Path) -> dict[str, str]:
    """Path → hash of every file below a folder."""
    return {str(p.relative_to(folder)): hash_of(p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A prepared course folder, graded from under a home folder that holds a secret."""
    base = tmp_path_factory.mktemp("grading")
    (base / "home").mkdir()
    (base / "home/secret.txt").write_text("the exam's questions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(base / "home"))
        assert grade.main(["prepare", str(base / "course")]) == 0
        yield base / "course"


# --- right, wrong, and not solved -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def references(place) -> tuple[dict, str, float]:
    """The reference solutions of all notebooks, two at a time: marks, what was said, minutes."""
    for name in handed.NAMES:
        handed.hand_in(place, "solved", name, handed.solved(name))
    began = time.monotonic()
    status, said = run(place)
    assert status == 0, said
    return handed.marks(place), said, (time.monotonic() - began) / 60


def test_the_reference_solutions_get_every_point(references):
    marks = references[0]
    assert {name for _, name in marks} == set(handed.NAMES)
    assert all(points == most > 1 for points, most in marks.values()), marks


@pytest.mark.skipif(bool(os.environ.get("CI")), reason="wall time depends on the machine; `make test-grading` asks")
def test_a_submission_is_graded_in_ninety_seconds_and_all_in_seven_minutes(references):
    _, said, minutes = references
    print(said, f"{minutes:.1f} min")
    took = seconds(said)
    assert len(took) == len(handed.NAMES) and max(took.values()) <= 90, took
    assert minutes <= 7


@pytest.fixture(scope="module")
def graded(place, references) -> str:
    """Unsolved notebooks, wrong answers and right ones in odd shapes, graded; what was said."""
    for name in UNSOLVED:
        handed.hand_in(place, "unsolved", name, handed.unsolved(name))
    for student, name, variant in WRONG:
        handed.hand_in(place, student, name, handed.wrong(name, variant)[0])
    path = handed.hand_in(place, "cells", NAME, of_cells())
    nbformat.write(handed.unsolved(NAME), path.with_name(f"{NAME}-Copy1.ipynb"))
    handed.hand_in(place, "habits", NAME, of_habits())
    status, said = run(place)
    assert status == 0, said
    return said


def of_cells():
    """An answer's cell twice, first unsolved; another split into two of the same id; one from another notebook."""
    notebook, stubs = handed.solved(NAME), handed.answer_cells(handed.unsolved(NAME))
    cells = handed.answer_cells(notebook)
    notebook.cells.insert(notebook.cells.index(cells["channel_statistics"]), stubs["channel_statistics"])
    first = copy.deepcopy(cells["mirror"])
    first.source = "def mirrored(images):\n    return images.flip(3)"
    cells["mirror"].source = cells["mirror"].source.replace("images.flip(3)", "mirrored(images)")
    notebook.cells.insert(notebook.cells.index(cells["mirror"]), first)
    notebook.cells.append(handed.answer_cells(handed.solved("02_simple_net"))["swish"])
    return notebook


def of_habits():
    """Magics, constants from a helper's cell, a warning, and settings that a grader cannot wait for."""
    notebook = handed.unsolved(NAME)
    cells = handed.answer_cells(notebook)
    helper = "LOW, HIGH = 0, 255\nunit = lambda x: (x.double() - LOW) * SCALE\nSCALE = 1 / HIGH"
    notebook.cells.insert(3, nbformat.v4.new_code_cell(helper))
    cells["channel_statistics"].source = "%%time\n" + RIGHT_STATISTICS.replace("images.double() / 255", "unit(images)")
    cells["mirror"].source = (
        "import warnings\n\ndef my_mirror(images, chosen):\n    half = (len(images)\n% 2)\n"
        "    warnings.warn(f'mirrors {half}')\n" + RIGHT_MIRROR
    )
    (settings,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    settings.source = 'profile, data, device, seed, reuse = "laptop", "cifar10", "cuda", 3, False'
    return notebook


def test_students_are_known_before_their_submissions_are_graded(place, references):
    """Else two submissions of a new student, graded at a time, both add the student, and one of them fails."""
    names = ["of, two", 'a "quoted" one', "solved"]
    grade.enrol(place, names)
    with contextlib.closing(sqlite3.connect(place / "gradebook" / "gradebook.db")) as book:
        known = [name for (name,) in book.execute("select id from student")]
    assert len(known) == len(set(known)) and set(known) >= set(names)
    nbgrader = [sys.executable, "-m", "nbgrader", "db", "student", "remove"]
    for name in names[:2]:
        subprocess.run([*nbgrader, name, "--force"], cwd=place, check=True, capture_output=True)


def test_an_unsolved_edition_gets_no_point_and_no_error(place, graded):
    marks = handed.marks(place)
    assert [marks["unsolved", name][0] for name in UNSOLVED] == [0] * len(UNSOLVED)
    assert "NOT GRADED" not in graded
    assert "not solved yet" in handed.feedback(place, "unsolved", NAME)


@pytest.mark.parametrize(("student", "name", "variant"), WRONG)
def test_a_wrong_answer_reads_the_checks_own_message(place, graded, student, name, variant):
    text = handed.feedback(place, student, name)
    parts = handed.wrong(name, variant)[1]
    assert len(parts) == 2 and all(part in text for part in parts), parts
    assert handed.marks(place)[student, name] == (0, 2)


def test_a_cell_that_is_there_twice_or_in_two_parts_counts_as_it_runs(place, graded):
    assert handed.marks(place)["cells", NAME] == (2, 2)


def test_magics_helpers_constants_and_a_warning_cost_no_point(place, graded):
    assert handed.marks(place)["habits", NAME] == (2, 2)


def test_a_graded_notebook_says_that_its_settings_do_not_count(place, graded):
    text = handed.feedback(place, "habits", NAME)
    assert "profile published, whatever the settings cell says" in text and "SYNTHETIC" in text


def test_only_what_is_new_or_was_changed_is_graded(place, graded):
    said = run(place)[1]
    assert said.startswith("0 of ") and "NOT contained" not in said
    assert run(place, "--only", "99")[0] == 2


# --- hostile submissions --------------------------------------------------------------------------------------------

LOOPS = "def my_channel_statistics(images):\n    while True:\n        pass\n"
STUBBORN = """def my_channel_statistics(images):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""
PRINTS = """def my_channel_statistics(images):
    for _ in range(10_000):
        print("x" * 100_000)
"""
READS = """from pathlib import Path

def my_channel_statistics(images):
    for name in ("submitted/solved", "autograded/solved", "source", "release/../submitted/solved"):
        print(name, list((Path.cwd().parents[2] / name).rglob("*.ipynb")))
    raise ValueError((Path.home() / "secret.txt").read_text())
"""
CONNECTS = "import socket\n\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)"
DELETES = """import shutil
from pathlib import Path

def my_mirror(images, chosen):
    course = Path.cwd().parents[2]
    for place in (Path.home(), course, {root!r}):
        try:
            Path(place, "mine.txt").write_text("mine")
        except OSError as error:
            print(type(error).__name__)
    for place in (*course.iterdir(), Path.home()):
        if place.name not in ("gradebook", "autograded"):  # its own: nbgrader could not write the result
            shutil.rmtree(place, ignore_errors=True)
"""


@pytest.fixture(scope="module")
def hostile(place, graded) -> tuple[str, dict, dict]:
    """Hostile submissions, graded: what was said; files before and after, results and the gradebook apart."""
    for student, source in (("loops", LOOPS), ("stubborn", STUBBORN), ("prints", PRINTS)):
        notebook = handed.solved(NAME)
        handed.answer_cells(notebook)["channel_statistics"].source = source
        handed.hand_in(place, student, NAME, notebook)
    if CONTAINED:
        notebook = handed.solved(NAME)
        cells = handed.answer_cells(notebook)
        cells["channel_statistics"].source = READS
        cells["mirror"].source = DELETES.format(root=str(handed.ROOT)) + RIGHT_MIRROR
        handed.hand_in(place, "eve", NAME, notebook)
    before = others(place)
    status, said = run(place)
    assert status == 1, said
    return said, before, others(place)


def others(course: Path) -> dict[str, str]:
    """Every file that a hostile submission has no business with."""
    theirs = {"loops", "stubborn", "prints", "eve"}
    found = tree(course.parent)
    changing = ("course/gradebook/", "course/grades.csv", "course/graded.json")
    kept = {name: hashed for name, hashed in found.items() if not name.startswith(changing)}
    return {
        name: hashed
        for name, hashed in kept.items()
        if not (name.startswith(("course/autograded/", "course/feedback/")) and theirs & set(Path(name).parts))
    }


def test_a_loop_costs_its_own_point(place, hostile):
    assert handed.marks(place)["loops", NAME] == (1, 2)
    assert seconds(hostile[0])["loops 01_data"] <= 90


def test_a_loop_that_cannot_be_interrupted_is_not_graded_and_said(place, hostile):
    assert "stubborn 01_data: NOT GRADED: " in hostile[0]
    assert handed.marks(place)["stubborn", NAME] == (0, 2)


def test_a_gigabyte_printed_leaves_a_short_notebook(place, hostile):
    assert handed.marks(place)["prints", NAME] == (1, 2)
    sizes = [
        path.stat().st_size for step in ("autograded", "feedback") for path in (place / step / "prints").rglob("*.*")
    ]
    assert len(sizes) == 2 and max(sizes) < 2**22
    assert "Output truncated" in handed.feedback(place, "prints", NAME)


@pytest.mark.skipif(not CONTAINED, reason="bubblewrap does not work here")
def test_what_deletes_its_inputs_and_reads_the_home_folder_changes_nothing_outside(place, hostile):
    text = handed.feedback(place, "eve", NAME)
    assert handed.marks(place)["eve", NAME] == (1, 2)
    assert "the exam's questions" not in text and "FileNotFoundError" in text
    assert "submitted/solved []" in text and "autograded/solved []" in text and "source []" in text
    assert not list(place.parent.rglob("mine.txt")) and not (handed.ROOT / "mine.txt").exists()


def test_others_files_and_marks_are_untouched(place, hostile, references):
    _, before, after = hostile
    assert before == after
    marks = handed.marks(place)
    assert {key: mark for key, mark in marks.items() if key[0] == "solved"} == references[0]


# --- what learning platforms deliver --------------------------------------------------------------------------------


def zipped(path: Path, files: dict[str, bytes]) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path.read_bytes()


def test_what_platforms_deliver_is_collected(place, tmp_path):
    course, archive = tmp_path / "course", tmp_path / "course/downloaded/archive"
    for name in ("source", "release", "gradebook", "submitted", grade.CONFIG):
        path = place / name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, course / name)
    shutil.rmtree(course / "submitted")
    content = (handed.ROOT / "notebooks/01_data.ipynb").read_bytes()
    mine = {f"Project2-{{}}/notebooks/{name}": content for name in ("01_data.ipynb", "01_data-Copy1.ipynb")}
    packed = {
        number: zipped(tmp_path / f"{number}.zip", {name.format(f"{number}_Z"): text for name, text in mine.items()})
        for number in (1, 2, 3)
    }
    zipped(archive / "Project2-1_Ada.zip", {"x": b""})
    (archive / "Project2-1_Ada.zip").write_bytes(packed[1])
    moodle = {"Bob_7_assignsubmission_file_/Project2-2_Bob.zip": packed[2], "Zoe_8_file_/report.pdf": b"%PDF"}
    zipped(archive / "moodle.zip", moodle)
    zipped(archive / "canvas.zip", {"curie_12_4567_Project2-3_Marie.zip": packed[3]})
    (archive / "dora/notebooks").mkdir(parents=True)
    (archive / "dora/notebooks/01_data.ipynb").write_bytes(content)
    (archive / "__MACOSX").mkdir()
    (archive / "__MACOSX/._01_data.ipynb").write_bytes(b"\0")
    write_tar({"notebooks/01_data.ipynb": content}, archive / "emmy.tar.gz", "w:gz")
    assert grade.main(["collect", str(course), "--only", "01"]) == 0
    found = {path.relative_to(course / "submitted").as_posix() for path in (course / "submitted").rglob("*.ipynb")}
    assert found == {f"{student}/01_data/01_data.ipynb" for student in ("1", "2", "3", "dora", "emmy")}


def test_a_course_folder_that_is_none_is_refused(tmp_path, capsys):
    for arguments in (
        ["run", str(tmp_path)],
        ["prepare", str(handed.ROOT / "x")],
        ["run", str(tmp_path), "--jobs", "0"],
    ):
        assert grade.main(arguments) == 2
    assert "is no course folder yet" in capsys.readouterr().err


def test_without_bubblewrap_it_says_what_is_not_contained(place, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(grade, "grade", lambda *arguments: "")
    monkeypatch.setattr(grade, "nbgrader", lambda *arguments: None)
    monkeypatch.setattr(grade, "write_atomically", lambda *arguments: None)
    handed.hand_in(place, "plain", NAME, handed.unsolved(NAME))
    assert grade.main(["run", str(place), "--force"]) == 0
    assert "NOT contained: there is no bubblewrap here" in capsys.readouterr().out


def test_a_source_that_was_changed_stays_and_is_released_again(place, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(grade, "nbgrader", lambda course, *arguments: called.append(arguments))
    course = tmp_path / "course"
    shutil.copytree(place / "source", course / "source")
    shutil.copytree(place / "release", course / "release")
    assert len(grade.prepare(course)) == 1 and not called
    source = course / "source" / NAME / f"{NAME}.ipynb"
    source.write_text(source.read_text(encoding="utf-8").replace("toss", "throw"), encoding="utf-8")
    assert "source/01_data/01_data.ipynb differs" in grade.prepare(course)[1] and len(called) == 1
