"""Grading submissions: hostile code gets 0 and a reason, the others and the originals are untouched."""

import csv
import gzip
import io
import shutil
import socket
import tarfile
import zipfile
from pathlib import Path

import nbformat
import pytest
from conftest import notebook_text as notebook
from conftest import write_tar

from cifar_helpers import checks, edition, gradebook, grading, grading_child, sandbox, student

ROOT = Path(__file__).resolve().parents[1]


def tree(folder: Path) -> dict[str, str]:
    """Path → hash of every file below a folder."""
    return {str(p.relative_to(folder)): edition.hash_of(p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


# --- grading: hostile submissions -----------------------------------------------------------------------------------

RIGHT = "    return 2 * x"
HOSTILE = {  # exercise → body of the student's function, part of the reason
    "loops": ("    while True: pass", "more than 4 s of processor time"),
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
WAITS = "    import time; time.sleep(99)"
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
    write_tar({"./Project2/notebooks/mine.ipynb": notebook(code).encode()}, folder / "bob.tar.gz", "w:gz")
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
    assert [{**row, "student": "ada"} for row in rows_of(graded, "bob")] == rows_of(graded, "ada")  # .zip and .tar.gz
    rows = {row["exercise"]: row for row in rows_of(graded, "ada")}
    assert rows["secret"]["points"] == "1"
    assert rows["wrong"]["points"] == "0" and 'ValueError at "raise ValueError' in rows["wrong"]["reason"]
    assert rows["channel_statistics"]["reason"] == "not handed in."


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


def entry(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, **more: str) -> bytes:
    """A tar's header, and as many zeros as it says."""
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, more.get("linkname", "")
    return made.tobuf(tarfile.GNU_FORMAT) + bytes(max(0, -(-size // 512) * 512))


END = bytes(1024)
TARS = {  # a forged or damaged .tar.gz, unpacked, and what the student is told
    "climbs": (entry("../evil") + END, "a path outside its own folder"),
    "absolute": (entry("/tmp/evil") + END, "a path outside its own folder"),
    "large": (entry("zeros.ipynb", size=300_000) + END, "more than 20 files or 0 MB"),
    "negative": (entry("a", size=-(10**6)) + entry("b", size=300_000) + END, "cannot be unpacked|more than"),
    "many": (b"".join(entry(f"f{i}") for i in range(21)) + END, "more than 20 files"),
    "long_name": (entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, 900_000) + entry("a") + END, "more than 20 files"),
    "long_pax": (entry("pax", tarfile.XHDTYPE, 900_000) + entry("a") + END, "more than 20 files"),
    "noise": (b"no tar" * 1000, "cannot be unpacked"),
}


@pytest.mark.parametrize("name", TARS)
def test_a_hostile_tar_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(grading, "MOST_BYTES", 200_000)
    monkeypatch.setattr(grading, "MOST_FILES", 20)
    content, reason = TARS[name]
    (tmp_path / "eve.tar.gz").write_bytes(gzip.compress(content))
    with pytest.raises(grading.UnreadableError, match=reason):
        grading.copy_in(tmp_path / "eve.tar.gz", tmp_path / "copy")
    assert not list(tmp_path.rglob("*evil*")) and not Path("/tmp/evil").exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK no gzip", gzip.compress(bytes(10_000))[:20]], ids=["empty", "zip", "torn"]
)
def test_a_damaged_tar_is_refused(tmp_path, content):
    (tmp_path / "eve.tgz").write_bytes(content)
    with pytest.raises(grading.UnreadableError, match="cannot be"):
        grading.copy_in(tmp_path / "eve.tgz", tmp_path / "copy")


def test_links_devices_and_caches_of_a_tar_stay_out(tmp_path):
    (tmp_path / "secret").write_text("1")
    content = b"".join(
        entry(name, kind, linkname="../secret")
        for name, kind in [
            *(("hard", tarfile.LNKTYPE), ("soft", tarfile.SYMTYPE), ("pipe", tarfile.FIFOTYPE)),
            *(("device", tarfile.CHRTYPE), ("folder", tarfile.DIRTYPE), ("._a.ipynb", tarfile.REGTYPE)),
            *((".venv/lib.py", tarfile.REGTYPE), ("kept.py", tarfile.REGTYPE)),
        ]
    )
    (tmp_path / "Eve.TAR.GZ").write_bytes(gzip.compress(content + END))
    found, _ = grading.find_submissions(tmp_path)
    assert list(found) == ["Eve"]
    grading.copy_in(found["Eve"], tmp_path / "copy")
    assert set(tree(tmp_path / "copy")) == {"kept.py"}


def test_tables_and_pages(graded):
    base = graded["base"]
    assert graded["same"] and not (base / "evil.ipynb").exists()
    assert set(graded["rows"][0]) == {"student", "id", "notebook", "exercise", "points", "reason"}
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
        (["grade", tmp_path / "s", "--out", "/proc/x"], "Cannot write to /proc/x"),
        (["grade", tmp_path / "s", "--jobs", "0"], "--jobs must be at least 1"),
        (["grade", tmp_path / "s", "--seconds", "nan"], "--seconds must be"),
        (["grade", tmp_path / "s", "--checks", tmp_path / "absent.py"], "Cannot read the checks"),
        (["grade", tmp_path / "s", "--checks", tmp_path / "wrong.py"], "nothing_of_that_name"),
    ]
    for arguments, message in cases:
        assert student.main([str(argument) for argument in arguments]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("place", ["01_data.ipynb", "notebooks/01_data.ipynb"])
def test_a_single_submission_is_not_taken_for_several(place, tmp_path, capsys):
    path = tmp_path / "submissions/ada" / place
    path.parent.mkdir(parents=True)
    path.write_text(notebook("x = 1"))
    before = tree(tmp_path)
    assert student.main(["grade", str(tmp_path / "submissions/ada")]) == 2
    said = capsys.readouterr().err
    assert "ada looks like one submission" in said and place in said and "folder that holds the submissions" in said
    assert tree(tmp_path) == before and not (tmp_path / "submissions/grades").exists()
    assert list(grading.find_submissions(tmp_path / "submissions")[0]) == ["ada"]


def test_two_submissions_of_one_name_keep_apart(tmp_path):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada.zip").write_bytes(b"")
    found, remarks = grading.find_submissions(tmp_path)
    assert set(found) == {"ada", "ada.zip"}
    assert len(remarks) == 1 and "ada and ada.zip count as students of their own" in remarks[0]


# --- grading: how platforms and students lay files out --------------------------------------------------------------


def graded_alone(folder: Path, monkeypatch, states=None) -> gradebook.Graded:
    """A submission's reading and table, with the sandbox's verdicts given: ``missing`` but for ``states``."""
    listed = [{"name": f"e{n}", "notebook": n, "answer": f"f{n}"} for n in ("01", "02", "03")]
    rows = [gradebook.row_of(e, (states or {}).get(e["name"], "missing"), "No cell defines it.") for e in listed]
    monkeypatch.setattr(grading.Grader, "_rows", lambda self, notebooks, copy: rows)
    return grading.Grader(sandbox.Limits(), None, True, listed).grade(folder.name, folder)


def test_a_platforms_folder_with_a_zip_in_it_is_opened(tmp_path, monkeypatch):
    folder = tmp_path / "Ada Lovelace_123_assignsubmission_file"
    folder.mkdir()
    (folder / "onlinetext.html").write_text("Here it is.")
    zipped(folder / "Project2-1_Ada.zip", **{"Project2-1_Ada__notebooks__01_data.ipynb": notebook("x = 1")})
    graded = graded_alone(folder, monkeypatch)
    assert graded.identity == "1" and graded.remarks == ["Notebooks 02, 03 were not handed in."]

    zipped(folder / "Project2-2_Bob.zip", **{"a.ipynb": notebook("x = 1")})
    graded = graded_alone(folder, monkeypatch)
    assert graded.identity == "" and len(graded.rows) == 3 and not graded.points
    assert graded.remarks == [
        "The submission holds several archives and no notebook: Project2-1_Ada.zip, Project2-2_Bob.zip. "
        "Leave one of them."
    ]
    (folder / "01_mine.ipynb").write_text(notebook("x = 1"))
    assert "Not opened, as there are notebooks beside it" in graded_alone(folder, monkeypatch).remarks[0]


def test_an_inner_archive_is_as_limited_as_an_outer_one(tmp_path, monkeypatch):
    inner = tmp_path / "inner.zip"
    for name, content, reason in (
        ("..__..__evil.ipynb", notebook(), "a path outside its own folder"),
        ("zeros.ipynb", b"0" * (grading.MOST_BYTES + 1), "more than 5000 files or 200 MB"),
    ):
        zipped(inner, **{name: content})
        zipped(tmp_path / "eve.zip", **{"inner.zip": inner.read_bytes()})
        graded = graded_alone(tmp_path / "eve.zip", monkeypatch)
        assert reason in graded.remarks[0] and reason in graded.rows[0]["reason"]
    zipped(inner, **{"a.ipynb": notebook()})
    zipped(tmp_path / "middle.zip", **{"inner.zip": inner.read_bytes()})
    zipped(tmp_path / "eve.zip", **{"middle.zip": (tmp_path / "middle.zip").read_bytes()})
    assert "no readable notebook" in graded_alone(tmp_path / "eve.zip", monkeypatch).remarks[0]  # one level


def test_the_id_is_read_from_names(tmp_path, monkeypatch):
    made = {"Project2-7-a_Ada.zip": "x.ipynb", "bob.zip": "Project2-8_Bob__x.ipynb", "Project2-9.zip": "x.ipynb"}
    for name, inside in made.items():
        zipped(tmp_path / name, **{inside: notebook("x = 1")})
    assert [graded_alone(tmp_path / name, monkeypatch).identity for name in made] == ["7-a", "8", ""]


def test_an_absent_notebook_is_one_remark(tmp_path, monkeypatch):
    """Handed in is what has a file of that number, readable or not, or an answer in any file."""
    tagged = nbformat.reads(notebook("def f02(: pass"), as_version=4)
    tagged.cells[0].metadata["nbgrader"] = {"grade_id": "e2"}
    (tmp_path / "01_broken.ipynb").write_text("{")
    (tmp_path / "dir.ipynb").mkdir()
    (tmp_path / "mine.ipynb").write_text(notebook("def f02(): pass"))
    graded = graded_alone(tmp_path, monkeypatch, {"e02": "mistaken"})
    assert [row["reason"] for row in graded.rows] == ["No cell defines it."] * 2 + ["not handed in."]
    assert graded.remarks[1:] == ["Notebook 03 was not handed in."]
    (tmp_path / "mine.ipynb").write_text(nbformat.writes(tagged).replace('"e2"', '"e03"'))
    assert graded_alone(tmp_path, monkeypatch, {"e02": "solved"}).remarks[1:] == []


def test_only_counts_the_notebooks_named(tmp_path, capsys):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/ada.ipynb").write_text(notebook("x = 1"))
    assert student.main(["grade", str(tmp_path / "s"), "--only", "1", "02"]) == 0
    count = sum(exercise.notebook in ("01", "02") for exercise in checks.EXERCISES.values())
    assert f"ada: 0 of {count} points" in capsys.readouterr().out
    assert "Notebooks 01, 02 were not handed in." in (tmp_path / "grades/summary.csv").read_text()
    assert student.main(["grade", str(tmp_path / "s"), "--only", "77"]) == 2
    assert "--only 77: no such notebook has exercises. These have: 01 02" in capsys.readouterr().err


def test_waiting_has_a_limit_by_the_clock_and_work_one_of_processor_time(tmp_path):
    limits = sandbox.Limits(1, 2**30)
    cells = [f"def my_{name}(x):\n{body}" for name, body in {"loops": "    while True: pass", "last": WAITS}.items()]
    read = [{"path": "a.ipynb", "cells": [{"source": cell, "grade_id": None} for cell in cells]}]
    listed = [exercise for exercise in LISTED if exercise["name"] in ("loops", "last")]
    rows = grading.Grader(limits, PRIVATE, False, listed)._rows(read, tmp_path)
    assert [row["reason"] for row in rows] == [
        "It took more than 1 s of processor time.",
        "It took more than 3 s by the clock.",
    ]
