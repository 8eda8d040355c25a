"""A cell that needs what is not published says so, and Run All goes on.

What such a cell would have made is taken away, so that the cells that build on it say so too, and none of them goes on
with an earlier section's values.
"""

import ast

from IPython import get_ipython

from ..training.published import NotPublishedError
from .checks.graded import is_graded


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


def listen() -> None:
    """Listen to the cells of this kernel, once; outside a notebook nothing happens, and what is missing is an error."""
    shell = get_ipython()
    if shell is not None and not getattr(shell, "_course_skipping", None):
        shell._course_skipping = Skipping(shell)
