"""The student edition and its hand-in: nothing leaks, nothing of a student's is lost."""

import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import nbformat
import pytest
from conftest import notebook_text as notebook

from cifar_course.hand import cli, edition, grade, handin
from cifar_helpers import env
from cifar_helpers.env import CourseError

ROOT = Path(__file__).resolve().parents[1]
STUB = "    # your code here\n    raise NotImplementedError()"
SOLVED = f"def f(x):\n    {edition.BEGIN}\n    return x + 12345678901234567890\n    {edition.END}"


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
    assert not {Path(name).parts[0] for name in real} & {"tests", "benchmarks", ".ci", "CHANGELOG.md"}
    assert "docs/student.md" in real and "docs/instructor.md" not in real and "cifar_course/hand/grade.py" not in real
    guides = " ".join(text[name] for name in text if name.endswith(".md"))
    assert "instructor.md" not in guides and "For instructors" not in guides


def test_the_edition_works_by_itself(real):
    """Every notebook is there, valid, without outputs, as long as before; the package, too."""
    assert {".gitattributes", "README.md", "Makefile", "pyproject.toml", "constraints.txt", "environment.yml"} <= set(
        real
    )
    assert "cifar_helpers/teach/checks/engine.py" in real and "figures/REPORT.md" in real
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        ours = nbformat.reads(real[f"notebooks/{path.name}"].decode(), as_version=4)
        nbformat.validate(ours)
        source = nbformat.read(path, as_version=4)
        assert [cell.id for cell in ours.cells] == [cell.id for cell in source.cells]
        for cell, before in zip(ours.cells, source.cells, strict=True):
            assert cell.source == before.source or edition.BEGIN in before.source
            assert cell.metadata == before.metadata
    made = real["Makefile"].decode()
    assert {"lab", "report", "clean"} <= set(re.findall(r"^([a-z-]+):", made, re.MULTILINE))
    assert "pytest" not in made.replace(".pytest_cache", "") and "ruff " not in made


def test_its_guides_speak_of_what_it_has(real):
    targets = set(re.findall(r"^([a-z-]+):", real["Makefile"].decode(), re.MULTILINE))
    assert {"lab", "report", "site"} <= targets
    guides = [name for name in real if Path(name).match("docs/*.md") and Path(name).parent.name == "docs"]
    assert len(guides) >= 8
    for name in ["README.md", "figures/REPORT.md", *guides]:
        text = real[name].decode()
        named = set(re.findall(r"\bmake ([a-z-]+)", "".join(re.findall(r"`[^`]+`|^make .*$", text, re.MULTILINE))))
        assert named <= targets, f"{name}: {named - targets}"
        gone = re.findall(r"pytest|tests/|benchmarks/|<!-- course only", text)
        assert not gone, f"{name}: {gone}"
        links = set(re.findall(r"\]\(([^)#:]+)[^):]*\)", text))
        missing = {link for link in links if os.path.normpath(Path(name).parent / link) not in real}
        assert not missing, f"{name}: {missing}"
    assert "`make test`" in (ROOT / "README.md").read_text()


CUT_BEGIN, CUT_END = "<!-- course only: begin -->", "<!-- course only: end -->"


def test_text_for_the_course_only_is_cut():
    block = f"A.\n\n{CUT_BEGIN}\nmake test\n{CUT_END}\n\nB: {CUT_BEGIN}x, {CUT_END}y.\n"
    assert edition.student_text(block, "a.md") == "A.\n\nB: y.\n"
    begin, end = CUT_BEGIN, CUT_END
    for wrong in (begin, end, begin + begin + end, end + begin, begin + end + begin, "<!--course-only: begin-->"):
        with pytest.raises(CourseError, match="docs/a.md: write"):
            edition.student_text(f"A {wrong} B", "docs/a.md")


def with_windows_line_ends(folder: Path) -> None:
    """Every text below the folder as a checkout with core.autocrlf has it."""
    for path in (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def test_an_edition_made_from_windows_line_ends_is_the_same(course):
    (course / ".gitattributes").write_text("* text=auto eol=lf\n")
    made = edition.edition_files(course)
    with_windows_line_ends(course)
    assert edition.edition_files(course) == made
    assert b"jupyter lab" in made["Makefile"] and b"eol=lf" in made[".gitattributes"]


def test_other_line_ends_are_no_edit(course):
    out = course.parent / "out"
    edition.build(out, course)
    with_windows_line_ends(out)
    assert handin.changed_code(out) == []
    assert not any("edited" in line for line in edition.build(out, course))
    (out / "cifar_helpers/core.py").write_bytes(b"x = 3\r\n")
    assert handin.changed_code(out) == ["cifar_helpers/core.py"]


def test_a_new_edition_is_a_git_repository(course, tmp_path, monkeypatch):
    home, out = tmp_path / "home", course.parent / "out"
    hook = home / "hooks/pre-commit"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    mine = f"[commit]\n\tgpgSign = true\n[core]\n\thooksPath = {hook.parent}\n[user]\n\tname = Ada\n"
    (home / ".gitconfig").write_text(mine)
    (course / ".gitignore").write_text("runs/\n*.png\n")
    (course / "figures").mkdir()
    (course / "figures/a.png").write_text("kept though ignored")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert "one commit" in edition.build(out, course)[-1] and (home / ".gitconfig").read_text() == mine
    monkeypatch.delenv("GIT_DIR")
    assert not (tmp_path / "elsewhere").exists() and not list(out.glob(".git-*"))

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=out, capture_output=True, text=True, check=True).stdout

    assert git("log", "--format=%an %s") == "CIFAR-10 course The course, as it was handed out\n"
    assert set(git("ls-files").split()) == {*edition.edition_files(course), edition.MANIFEST}
    assert git("status", "--porcelain") == ""
    path = out / "cifar_helpers/core.py"
    path.write_text("x = 3\n")
    assert "+x = 3" in git("diff") and git("restore", "cifar_helpers/core.py") == "" and path.read_text() == "x = 1\n"

    (course / "cifar_helpers/core.py").write_text("x = 2\n")
    assert "left alone" in edition.build(out, course)[-1]
    assert git("rev-list", "--count", "HEAD") == "1\n" and " M cifar_helpers/core.py" in git("status", "--porcelain")


def test_an_edition_without_a_repository_says_why(course, tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path / "around"], check=True)
    inside = tmp_path / "around/out"
    assert f"lies in the git repository {tmp_path / 'around'}" in edition.build(inside, course)[-1]
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("out", "edited"):
        assert "git is not installed" in edition.build(tmp_path / name, course)[-1]
    monkeypatch.undo()
    (tmp_path / "edited/cifar_helpers/core.py").write_text("x = 3\n")
    assert "as files were edited" in edition.build(tmp_path / "edited", course)[-1]
    assert not (tmp_path / "edited/.git").exists()  # it would call the student's version the course's
    assert "one commit" in edition.build(tmp_path / "out", course)[-1]


def test_a_solution_gives_way_to_nbgraders_stub():
    source, blocks = edition.without_solutions("a = 1\n" + SOLVED, "here")
    assert (source, blocks) == ("a = 1\ndef f(x):\n" + STUB, 1)
    spaced, _ = edition.without_solutions(SOLVED.replace(f"    {edition.BEGIN}", f"\n    {edition.BEGIN}"), "here")
    assert spaced == "def f(x):\n" + STUB  # ruff's blank line before an inner function goes too


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


def test_a_kept_notebook_is_told_which_imports_changed(course):
    """The answers stay, and what they stand on moves."""
    out, source = course.parent / "out", course / "notebooks/01_data.ipynb"
    (course / "cifar_helpers/core.py").write_text("def load(): ...\n\n\ndef save(): ...\n")
    source.write_text(notebook("import torch\nfrom cifar_helpers.core import load, save", SOLVED))
    edition.build(out, course)
    mine = out / "notebooks/01_data.ipynb"
    mine.write_text(mine.read_text().replace(edition.STUB[1], "return 7").replace("import torch", "%time 1"))
    (out / "my_net.py").write_text("from cifar_helpers.core import load")  # not the course's: none of its business
    assert edition.build(out, course)[1:] == ["notebooks/01_data.ipynb was edited: kept."]

    (course / "cifar_helpers/core.py").write_text("def save(): ...\n")
    (course / "cifar_helpers/files.py").write_text("def load(): ...\n")
    source.write_text(notebook("from cifar_helpers.core import save\nfrom cifar_helpers.files import load", SOLVED))
    said = edition.build(out, course)
    assert said[2] == (
        "notebooks/01_data.ipynb imports what the course no longer has: `from cifar_helpers.core import load`. "
        "The new version imports `from cifar_helpers.files import load`."
    )
    assert "return 7" in mine.read_text()


def test_a_version_beside_an_edited_file_goes_when_the_course_takes_it_back(course):
    out = course.parent / "out"
    edition.build(out, course)
    mine, beside = out / "cifar_helpers/core.py", out / "cifar_helpers/core.new.py"
    mine.write_text("x = 3\n")
    for text in ("x = 2\n", "x = 4\n"):
        (course / "cifar_helpers/core.py").write_text(text)
        edition.build(out, course)
        assert beside.read_text() == text
    (course / "cifar_helpers/core.py").write_text("x = 1\n")
    said = edition.build(out, course)
    assert "cifar_helpers/core.new.py is out of date: removed, as it was not edited." in said
    assert not beside.exists() and mine.read_text() == "x = 3\n"
    assert edition.build(out, course)[1:] == ["cifar_helpers/core.py was edited: kept."]

    (course / "cifar_helpers/core.py").write_text("x = 2\n")
    edition.build(out, course)
    beside.write_text("my merge")
    (course / "cifar_helpers/core.py").write_text("x = 1\n")
    edition.build(out, course)
    assert beside.read_text() == "my merge" and mine.read_text() == "x = 3\n"
    beside.write_text("x = 2\n")
    (course / "cifar_helpers/core.py").write_text("x = 2\n")
    mine.write_text("x = 2\n")  # the student takes the new version over
    edition.build(out, course)
    assert not beside.exists() and mine.read_text() == "x = 2\n"


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
    out, write, count = course.parent / "out", env.write_atomically, iter(range(100))

    def breaks(path, content):
        if next(count) == 2:
            raise KeyboardInterrupt
        return write(path, content)

    monkeypatch.setattr(edition, "write_atomically", breaks)
    with pytest.raises(KeyboardInterrupt):
        edition.build(out, course)
    monkeypatch.undo()
    assert len(edition.build(out, course)) == 2 and (out / ".git").is_dir()
    assert {name: (out / name).read_bytes() for name in edition.edition_files(course)} == edition.edition_files(course)


def test_a_wrong_place_is_refused(course, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("years")
    for out, message in ((course, "course folder"), (course / "x", "course folder"), (tmp_path / "full", "no student")):
        with pytest.raises(CourseError, match=message):
            edition.build(out, course)
    with pytest.raises(CourseError, match="notebooks"):
        edition.build(tmp_path / "new", tmp_path / "full")


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
    run(desk)
    said = handin.pack("123", "Ada-Lovelace", desk)
    assert packed(desk) == {"notebooks/01_data.ipynb", "report.pdf", "cifar_helpers/core.py", "my_net.py"}
    assert said[0] == "Nothing is open." and not any("Still open" in line for line in said)


def run(desk: Path, change=lambda cells: None) -> None:
    """Store the notebook as if it had been run from top to bottom, with an answer in its second cell."""
    path = desk / "notebooks/01_data.ipynb"
    made = nbformat.read(path, as_version=4)
    for number, cell in enumerate(made.cells, 1):
        cell.execution_count = number
    made.cells[1].metadata["nbgrader"] = {"solution": True, "grade_id": "adds"}
    made.cells[2].metadata["nbgrader"] = {"grade": True, "grade_id": "check_adds"}
    made.cells[1].source = "def f(x):\n    return x"
    made.cells[2].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "✓ adds: right."})]
    change(made.cells)
    nbformat.write(made, path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cells: [cell.update(execution_count=None) for cell in cells], "has not been run here"),
        (lambda cells: cells[2].update(execution_count=None), "was not run from top to bottom"),
        (lambda cells: cells[0].update(execution_count=9), "was not run from top to bottom"),
        (lambda cells: cells[2].update(outputs=[nbformat.v4.new_output("error", ename="E")]), "ends with an error."),
        (lambda cells: cells[1].update(source=STUB), "not solved yet: adds"),
        (lambda cells: cells[1].update(source="def f(x:"), "does not parse: adds."),
        (lambda cells: cells[2].outputs[0].data.update({"text/plain": "✗ adds: wrong axis."}), "says ✗: adds."),
        (lambda cells: None, None),
    ],
)
def test_pack_names_what_does_not_count_as_done(desk, change, said):
    run(desk, change)
    lines = [line for line in handin.pack(root=desk) if "Still open: notebooks/01_data.ipynb:" in line]
    assert said in lines[0] if said else not lines
    assert not list(desk.glob("*.zip"))  # without id and name it only says


def test_pack_names_what_is_missing_of_the_write_up(desk):
    run(desk)
    missing = [line for line in handin.pack(root=desk) if line.startswith("Still open")]
    assert len(missing) == 2 and "report.pdf is missing" in missing[0] and "no write-up yet: `python" in missing[1]
    (desk / "report.pdf").write_bytes(b"")
    assert "Still open: report.pdf is empty." in handin.pack(root=desk)
    (desk / "report.pdf").write_text("hello")
    assert any("Still open: report.pdf is no PDF" in line for line in handin.pack(root=desk))
    (desk / "report.pdf").write_bytes(b"%PDF-1.7")
    assert handin.pack(root=desk)[0] == "Nothing is open."
    template = (ROOT / "docs/report_template.md").read_text()
    (desk / "report.md").write_text("Done.")
    os.utime(desk / "report.pdf", (0, 0))
    assert any("Still open: report.pdf is older than report.md" in line for line in handin.pack(root=desk))
    os.utime(desk / "report.pdf")
    (desk / "report.md").write_text(handin.filled(template, desk, "."))
    said = " ".join(handin.pack(root=desk))
    blanks = re.sub("<!--.*?-->", "", template, flags=re.DOTALL).count("…")  # the comment explains them
    assert f"report.md: {blanks} × …" in said
    assert f"report.md: {template.count('{{')} × a figure or table not made yet" in said
    (desk / "report.md").write_text("Scaled to 0…1, and so … on.\n")
    os.utime(desk / "report.pdf")
    assert handin.pack(root=desk)[0] == "Nothing is open."


def test_pack_says_first_what_is_open_and_makes_the_zip_all_the_same(desk):
    said = handin.pack("123", "Ada-Lovelace", desk)
    named = next(i for i, line in enumerate(said) if "Project2-123" in line)
    open_points = [i for i, line in enumerate(said) if line.startswith("Still open: ")]
    assert said[0] == f"NOT COMPLETE: {len(open_points)} still open." and max(open_points) < named
    assert packed(desk) == {"notebooks/01_data.ipynb"}


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ("12/3", "Ada"),
        ("12_3", "Ada"),
        ("abc", "Ada"),
        ("12-3", "Ada"),
        ("１２", "Ada"),
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
    assert (
        '*(No figure `05_band` yet: run notebook 05 with `profile = "quick"`.)*' in text and "1 are not made" in said[1]
    )
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


def test_other_profiles_and_drawn_images_are_named(desk):
    run(desk)
    (desk / "report.pdf").write_bytes(b"%PDF")
    for profile, label in (("smoke", "CIFAR-10"), ("quick", "SYNTHETIC")):
        folder = desk / "figures/local" / profile
        folder.mkdir(parents=True)
        made = {"caption": "c", "profile": profile, "data_label": label, "rows": [{"a": 1}]}
        (folder / "04_table.json").write_text(json.dumps(made))
        os.utime(folder, (2000, 1000 + len(list(folder.parent.iterdir()))))  # the second is the newer one
    said = " ".join(handin.write_report(root=desk))
    assert "of profile quick." in said and "figures of smoke too" in said and "1 of them are of SYNTHETIC DATA" in said
    assert "Still open: report.md: 1 × a figure or table of SYNTHETIC DATA, not of CIFAR-10." in handin.pack(root=desk)
    said = " ".join(handin.write_report("smoke", desk))
    assert "figures of quick too" in said and "SYNTHETIC" not in said
    assert not any("SYNTHETIC" in line for line in handin.pack(root=desk))


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
    assert cli.main(["build", str(out)]) == 0 and "files written" in capsys.readouterr().out
    assert cli.main(["build", str(course)]) == 2 and "course folder" in capsys.readouterr().err


def test_where_build_cannot_help_it_says_what_matters(course, monkeypatch, capsys):
    monkeypatch.setattr(edition, "ROOT", course)
    monkeypatch.setattr(edition.build, "__defaults__", (course,))
    assert cli.main(["build", "/proc/x"]) == 2
    said = capsys.readouterr().err
    assert "Cannot write the student edition to /proc/x" in said and "another OUT" in said and "CIFAR_" not in said
    out = course.parent / "out"
    edition.build(out, course)
    monkeypatch.setattr(edition, "ROOT", out)
    assert cli.main(["build", str(course.parent / "again")]) == 2
    assert "is already a student edition" in capsys.readouterr().err


def test_what_holds_no_notebook_of_an_assignment_is_named_before_grading(tmp_path):
    (tmp_path / "ada" / "notebooks").mkdir(parents=True)
    (tmp_path / "ada" / "notebooks" / "01_data.ipynb").touch()
    for name, member in (("bob.zip", "notebooks\\01_data.ipynb"), ("cyd.zip", "notebooks/01_data-Copy1.ipynb")):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            file.writestr(member, "{}")
    with zipfile.ZipFile(tmp_path / "moodle.zip", "w") as file:
        file.writestr("Project2-123_Ada.zip", "")
    (tmp_path / "eve").mkdir()
    assert grade.without_notebook(tmp_path, ["01_data"]) == [
        "Left out: cyd.zip, which holds 01_data-Copy1.ipynb.",
        "Left out: eve, which holds no notebook.",
    ]
    (tmp_path / "dee.zip").write_bytes(b"half a download")
    with pytest.raises(CourseError, match=r"No readable archive: dee\.zip"):
        grade.without_notebook(tmp_path, ["01_data"])
