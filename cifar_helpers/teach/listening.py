"""What follows a live notebook's cells: one that cannot be run here is skipped, a text with other numbers said again.

A skipped cell needs what is not published, and says so. What it would have made is taken away, so that the cells that
build on it say so too, and none of them goes on with an earlier section's values.

A notebook's text has the numbers of the published runs, each with the expression that it comes from (``words.NUMBER``).
Where a cell computes others, with another profile, seed or data, what stands below it is shown again with them.
"""

import ast
import json
import os
from collections import Counter
from collections.abc import Mapping
from html import unescape
from pathlib import Path

from IPython import get_ipython
from IPython.display import Markdown, display

from .. import words
from ..env import NUMBERED, ROOT
from ..measure import ranking
from ..training.published import NotPublishedError
from . import why
from .checks.graded import is_graded

SCOPE = {"words": words, "ranking": ranking, "why": why}  # what an expression may use beside the notebook's names
HERE = "**As computed here:** "
NOT_HERE = "*The numbers below are those of the published runs; they cannot be made from what was run here.*"


# --- skipping


def names_made(source: str) -> set[str]:
    """The names that a cell gives a value to, or adds to; those inside its functions left out."""
    found, below = set(), list(ast.parse(source).body)
    while below:
        node = below.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            below += ast.iter_child_nodes(node)
    return found


class Skipping:
    """Listens to a notebook's cells.

    Args:
        shell: the kernel's ``InteractiveShell``.
    """

    def __init__(self, shell):
        self.missing: set[str] = set()  # names that skipped cells would have made
        self.cell = ""  # the source of the one that runs
        shell.set_custom_exc((NotPublishedError, NameError), lambda *given, **more: self.say(*given, **more))
        shell.events.register("pre_run_cell", self.before)
        shell.events.register("post_run_cell", self.after)
        self.shell = shell

    def before(self, info) -> None:
        """Note what runs."""
        self.cell = info.raw_cell

    def is_skipped(self, error: BaseException | None) -> bool:
        """Whether the cell ended for want of a published record, its own or that of a cell above.

        A check never counts as skipped while it is graded: without an error it would count as passed.
        """
        if is_graded() and "checks." in self.cell:
            return False
        return isinstance(error, NotPublishedError) or (isinstance(error, NameError) and error.name in self.missing)

    def say(self, shell, kind, error, traceback, tb_offset=None) -> None:
        """Say why a cell is skipped; any other error is shown as usual."""
        if not self.is_skipped(error):
            shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
        elif isinstance(error, NameError):
            print(f"Skipped: it needs {error.name}, of a cell above that was skipped.")
        else:
            print(f"Skipped: {error}")

    def after(self, result) -> None:
        """Let a skipped cell count as done, and take away what it would have made."""
        if self.is_skipped(result.error_in_exec):
            result.error_in_exec = None
            made = names_made(self.shell.transform_cell(self.cell))
            self.missing |= made
            for name in made:
                self.shell.user_ns.pop(name, None)
        elif result.success and self.missing:
            self.missing -= names_made(self.shell.transform_cell(self.cell))


# --- numbers


def filled(text: str, names: Mapping) -> str:
    """A text with its numbers made from these names, as it is read."""

    def value(found) -> str:
        return words.number(eval(f"f'''{{{unescape(found[1])}}}'''", {**SCOPE, **names}))

    return words.NUMBER.sub(value, text)


def texts_below(notebook: Path) -> dict[str, list[str]]:
    """Source of a cell of code → the paragraphs with numbers that follow it; none where the file is damaged."""
    found, source = {}, ""
    try:
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(notebook.read_bytes())["cells"]]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    for kind, text in cells:
        if kind == "code":
            source = text.strip()
            found.setdefault(source, [])
        elif source:
            found[source] += [part for part in text.split("\n\n") if words.NUMBER.search(part)]
    return found


class Sentences:
    """Listens to a notebook's cells, and says again what differs from its text.

    Args:
        shell: the kernel's ``InteractiveShell``; folder: of the notebooks. Which one runs, its cells tell.
    """

    def __init__(self, shell, folder: Path):
        self.shell, self.ran = shell, Counter()
        self.below = {path: texts_below(path) for path in sorted(folder.glob(f"{NUMBERED}.ipynb"))}
        for source in shell.user_ns.get("In", []):
            self.note(source.strip())
        shell.events.register("post_run_cell", self.after)

    def note(self, source: str) -> None:
        """Count a cell for every notebook that has it."""
        self.ran.update(path for path, texts in self.below.items() if source in texts)

    def after(self, result) -> None:
        """Show what stands below the cell, where its numbers are others here."""
        source = (result.info.raw_cell or "").strip()
        self.note(source)
        candidates = [path for path, texts in self.below.items() if source in texts]
        if not result.success or not candidates:
            return
        for text in self.below[max(candidates, key=self.ran.__getitem__)][source]:
            try:
                here = filled(text, self.shell.user_ns)
            except Exception:  # such as a cell that was skipped, or a profile that does not train this
                display(Markdown(NOT_HERE))
                return
            if here != words.plain(text):
                display(Markdown(HERE + words.run_on(here)))


# --- both


def listen(skips: bool = False) -> None:
    """Listen to the cells of this kernel, once; outside a notebook nothing happens, and what is missing is an error.

    Args:
        skips: whether cells that need what is not published are skipped.
    """
    shell = get_ipython()
    if shell is None or getattr(shell, "_course_listens", None):
        return
    shell._course_listens = [Skipping(shell)] if skips else []
    if not os.environ.get(words.FILLED):  # else the text itself is filled in
        shell._course_listens.append(Sentences(shell, ROOT / "notebooks"))
