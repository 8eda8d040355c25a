"""The numbers in a notebook's text: each names the expression that it comes from, and an execution fills it in.

``<span title='losses.min():.2f'>0.42</span>``, in a cell of Markdown, reads 0.42; the pointer shows the expression. A
notebook in the repository has the numbers of the published records; its executed copy has its own. An expression may
use the notebook's names, and those of ``listening.SCOPE``.
"""

import ast
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from cifar_helpers.env import CourseError, write_atomically
from cifar_helpers.words import NUMBER, number, origins

TAG, BETWEEN, UNKNOWN = "numbers", "\x1f", "…"
SCOPE = "from cifar_helpers.teach import listening\nglobals().update(listening.SCOPE | globals())\n"  # no name is lost


def _texts(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown" and NUMBER.search(cell.source)]


def ask(notebook: NotebookNode) -> None:
    """Put a cell of code before every text with numbers; executed, it holds them."""
    for text in _texts(notebook):
        values = ", ".join(f"f'''{{{expression}}}'''" for expression in origins(text.source))
        asking = new_code_cell(f"{SCOPE}{BETWEEN!r}.join([{values}])", metadata={"tags": [TAG]})
        notebook.cells.insert(notebook.cells.index(text), asking)


def fill(notebook: NotebookNode) -> None:
    """Write what the cells of ``ask`` hold into the texts, and take them out; one that failed stays."""
    kept, values = [], []
    for cell in notebook.cells:
        if TAG in cell.metadata.get("tags", []):
            values = [output.data["text/plain"] for output in cell.outputs if output.output_type == "execute_result"]
            if any(output.output_type == "error" for output in cell.outputs):
                kept.append(cell)
            continue
        if cell.cell_type == "markdown" and NUMBER.search(cell.source):
            _put(cell, ast.literal_eval(values[0]).split(BETWEEN) if values else None)
        kept.append(cell)
    notebook.cells = kept


def _put(cell: NotebookNode, values: list[str] | None) -> None:
    """Write so many values into a text; without any, that they are not known."""
    rest = iter(values or [UNKNOWN] * len(origins(cell.source)))

    def one(found: re.Match) -> str:
        return f"<span title='{found[1]}'>{number(next(rest))}</span>"

    cell.source = NUMBER.sub(one, cell.source)


def keep(notebook: Path, executed: Path) -> None:
    """Write the numbers of an executed copy into the notebook itself.

    Raises:
        CourseError: the notebook's text has changed since.
    """
    mine, theirs = (nbformat.read(path, as_version=4) for path in (notebook, executed))
    ours, filled = _texts(mine), _texts(theirs)
    if [origins(cell.source) for cell in ours] != [origins(cell.source) for cell in filled]:
        raise CourseError(f"{notebook.name} has changed since it was executed. Run the report again.")
    for cell, source in zip(ours, filled, strict=True):
        _put(cell, [value for _, value in NUMBER.findall(source.source)])
    if ours:
        write_atomically(notebook, nbformat.writes(mine) + "\n")
