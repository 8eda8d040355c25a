"""Text files are UTF-8 whatever the locale, and a terminal that cannot show a sign stops nothing."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from cifar_course.cluster import pool
from cifar_course.report import execute
from cifar_helpers.data.images import load_cifar10
from cifar_helpers.plans.jobs import Job
from cifar_helpers.training.config import RunConfig

ROOT = Path(__file__).resolve().parents[1]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def text_mode(call: ast.Call, place: int) -> bool:
    """Whether an ``open`` is of text: its mode, given by name or at this place, is a constant without ``b``."""
    given = [word.value for word in call.keywords if word.arg == "mode"] or call.args[place : place + 1]
    return not given or (isinstance(given[0], ast.Constant) and "b" not in str(given[0].value))


def unspecified(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding that the locale happens to have.

    More than ruff's PLW1514 sees: methods of whatever may be a path, pipes of other programs, temporary files.
    """
    named = {word.arg for word in call.keywords}
    if "encoding" in named:
        return False
    if any(word.arg in ("text", "universal_newlines") and ast.unparse(word.value) == "True" for word in call.keywords):
        return True
    method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if method else getattr(call.func, "id", "")
    if name in ("read_text", "write_text"):
        return len(call.args) <= (name == "write_text")
    if name in ("TextIOWrapper", "getoutput", "getstatusoutput", "popen", "FileHandler"):
        return True
    if name == "fdopen" or (name == "open" and not method):
        return text_mode(call, 1)
    if name == "open":  # of a path: of archives and images the first argument is no mode
        modes = [each.value for each in call.args[:1] if isinstance(each, ast.Constant)]
        path = not call.args or (modes and set(str(modes[0])) <= set("rwaxbt+"))
        return bool(path) and named <= {"mode", "buffering", "errors", "newline"} and text_mode(call, 0)
    if name in ("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile"):
        return bool(call.args or "mode" in named) and text_mode(call, name.startswith("Spooled"))
    return False


def calls(source: str) -> list[str]:
    """The calls in a program that leave the encoding open."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and unspecified(node)]
    return [ast.unparse(call) for call in found]


def programs():
    folders = ("cifar_helpers", "benchmarks", "docs")
    for path in sorted(path for folder in folders for path in ROOT.glob(f"{folder}/**/*.py")):
        yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
            if cell.cell_type == "code":
                yield f"{path.name}, cell {number}", cell.source


def test_every_text_file_of_ours_is_utf8():
    assert [(str(where), call) for where, source in programs() for call in calls(source)] == []


@pytest.mark.parametrize(
    "call",
    [
        *("p.read_text()", "p.read_text(errors='replace')", "p.write_text(x)", "p.open()", "p.open('w')", "open(p)"),
        *("open(p, 'a')", "open(p, mode='w')", "os.fdopen(1)", "os.fdopen(1, 'w')", "run(c, text=True)", "os.popen(c)"),
        *("NamedTemporaryFile('w')", "NamedTemporaryFile(mode='w+')", "io.TextIOWrapper(b)", "p.open(mode='w')"),
    ],
)
def test_a_call_that_leaves_the_encoding_open_is_found(call):
    assert calls(call)


@pytest.mark.parametrize(
    "call",
    [
        *("p.read_text('utf-8')", "p.write_text(x, 'utf-8')", "p.read_text(encoding='utf-8')", "p.read_bytes()"),
        *("open(p, 'rb')", "open(p, 'w', encoding='utf-8')", "p.open('rb')", "p.open('w', encoding='utf-8')"),
        *(
            "Image.open(p)",
            "tarfile.open(p, 'r|*')",
            "tarfile.open(fileobj=p)",
            "archive.open(entry)",
            "gzip.open(p)",
            "axes.set(text=x)",
        ),
        *("run(c, encoding='utf-8')", "run(c)", "NamedTemporaryFile()", "os.fdopen(1, 'wb')", "os.open(p, 0)"),
    ],
)
def test_a_call_that_names_its_encoding_or_is_of_bytes_passes(call):
    assert not calls(call)


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """A Python whose locale and terminal know ASCII alone."""
    command = [sys.executable, *arguments]
    given = os.environ | ASCII | environment
    return subprocess.run(command, env=given, cwd=ROOT, capture_output=True, encoding="ascii", check=False, timeout=600)


@pytest.mark.parametrize(("option", "status"), [("--plan", 0), ("--status", 1), ("--help", 0)])
def test_a_terminal_of_ascii_stops_no_command(option, status):
    done = python("-m", "cifar_course.report", "--profile", "smoke", "--data", "synthetic", "--only", "09", option)
    assert done.returncode == status and done.stdout and not done.stderr, done.stderr
    assert option == "--help" or "\\xb7" in done.stdout, "a middle dot is spelt out"


def test_a_write_up_is_utf8_under_any_locale_and_not_taken_for_edited(tmp_path):
    figures = tmp_path / "figures" / "local" / "quick"
    figures.mkdir(parents=True)
    (figures / "04_loss.json").write_text('{"caption": "β", "profile": "quick"}', encoding="utf-8")
    template = tmp_path / "docs" / "report_template.md"
    template.parent.mkdir()
    template.write_text("# Größe ≥ η\n", encoding="utf-8")
    write = "import sys, pathlib; from cifar_course.hand import handin; root = pathlib.Path(sys.argv[1])\n"
    write += "handin.write_report('quick', root); assert not handin.is_edited(root / 'report.md')"
    done = python("-c", write, str(tmp_path), CIFAR_FIGURES=str(tmp_path / "figures"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("# Größe ≥ η\n")


def test_what_workers_and_notebooks_say_reaches_a_driver_whose_terminal_is_ascii(store, monkeypatch, capsys, tmp_path):
    for name, value in ASCII.items():
        monkeypatch.setenv(name, value)
    config = RunConfig("LeNet5", steps=2, batch_size=16, n_items=160, eval_every=2, eval_items=60, test=False)
    fingerprint = load_cifar10("synthetic").fingerprint
    assert pool.train([Job(config)], "synthetic", fingerprint, ["cpu"], 1, store) == {}
    assert config.describe() in capsys.readouterr().out and "·" in config.describe()
    notebook = tmp_path / "01_says.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("print('  train LeNet5 · η ≥ 1')")]), notebook)
    assert execute.execute(notebook, tmp_path / "out.ipynb", {})["verdict"] == "ok"
    assert "01 train LeNet5 · η ≥ 1" in capsys.readouterr().out
