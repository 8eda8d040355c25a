"""Numbers in a notebook's text: an execution fills them in, a publication keeps them, and every one can be computed."""

import ast
import builtins
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from cifar_course.report import execute, numbers
from cifar_helpers import words
from cifar_helpers.env import CourseError
from cifar_helpers.teach import listening

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LOSS = "The loss is <span title='loss:.2f'>0.10</span>, <span title='\"less\" if loss < 1 else \"more\"'>less</span>."


def written(path, *cells):
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def texts(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]


def test_an_execution_fills_the_numbers_in_and_leaves_the_notebook(tmp_path):
    cells = [new_code_cell("loss = 2"), new_markdown_cell(LOSS), new_code_cell("loss = 0.5"), new_markdown_cell(LOSS)]
    path = written(tmp_path / "01_a.ipynb", *cells)
    result = execute.execute(path, tmp_path / "out.ipynb", {})
    assert result["verdict"] == "ok", result
    assert [words.plain(text) for text in texts(tmp_path / "out.ipynb")] == [
        "The loss is 2.00, more.",
        "The loss is 0.50, less.",
    ]
    assert len(nbformat.read(tmp_path / "out.ipynb", as_version=4).cells) == 4 and texts(path) == [LOSS, LOSS]
    numbers.keep(path, tmp_path / "out.ipynb")
    assert texts(path) == texts(tmp_path / "out.ipynb")


def test_a_number_that_cannot_be_computed_is_an_error(tmp_path):
    path = written(tmp_path / "01_a.ipynb", new_markdown_cell(LOSS))
    assert "NameError: name 'loss'" in execute.execute(path, tmp_path / "out.ipynb", {})["verdict"]


def test_a_text_that_was_rewritten_since_is_not_filled_in(tmp_path):
    executed = written(tmp_path / "out.ipynb", new_markdown_cell(LOSS))
    changed = LOSS.replace("loss:.2f", "loss:.3f")
    path = written(tmp_path / "01_a.ipynb", new_markdown_cell(changed))
    with pytest.raises(CourseError, match=r"01_a\.ipynb has changed since it was executed"):
        numbers.keep(path, executed)
    assert texts(path) == [changed]


def test_what_is_not_recorded_is_not_known():
    notebook = new_notebook(cells=[new_markdown_cell(LOSS)])
    numbers.ask(notebook)
    assert [cell.cell_type for cell in notebook.cells] == ["code", "markdown"]
    numbers.fill(notebook)  # its cell was skipped
    assert [words.plain(cell.source) for cell in notebook.cells] == ["The loss is …, …."]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_number_is_known_and_comes_from_names_above_it(path):
    known = {*dir(builtins), *listening.SCOPE}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            for expression in words.origins(cell.source):
                tree = list(ast.walk(ast.parse(f"f'''{{{expression}}}'''")))
                names = {kind: {n.id for n in tree if isinstance(getattr(n, "ctx", None), kind)
                                and isinstance(n, ast.Name)} for kind in (ast.Load, ast.Store)}  # fmt: skip
                assert names[ast.Load] <= known | names[ast.Store], expression
            assert numbers.UNKNOWN not in [value for _, value in words.NUMBER.findall(cell.source)], cell.source
            assert cell.source.count("<span") == len(words.origins(cell.source)), cell.source
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                known.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                known |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                known.add(node.id)


def test_a_live_notebook_says_again_what_differs_from_its_text(tmp_path):
    """Through a real kernel: the text says 0.10 and less; the first cell makes these, the second others."""
    cells = [new_code_cell("loss = 0.1"), new_markdown_cell(LOSS), new_code_cell("loss = 2.0"), new_markdown_cell(LOSS)]
    cells += [new_code_cell("del loss"), new_markdown_cell(f"{LOSS}\n\nWords.")]
    path = written(tmp_path / "01_a.ipynb", *cells)
    written(tmp_path / "02_b.ipynb", new_code_cell("loss = 2.0"), new_markdown_cell(LOSS.replace("loss:.2f", "9")))
    (tmp_path / "03_half_written.ipynb").write_text('{"cells": [')
    listen = f"from pathlib import Path\nSentences(get_ipython(), Path({str(tmp_path)!r}))"
    live = nbformat.read(path, as_version=4)
    live.cells.insert(0, new_code_cell(f"from cifar_helpers.teach.listening import Sentences\n{listen};"))
    NotebookClient(live, kernel_name="python3").execute()
    shown = [[out.data["text/markdown"] for out in cell.outputs if "text/markdown" in out.get("data", {})]
             for cell in live.cells[1:] if cell.cell_type == "code"]  # fmt: skip
    assert shown == [[], ["**As computed here:** The loss is 2.00, more."], [listening.NOT_HERE]]
