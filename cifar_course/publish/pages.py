"""The executed notebooks as Markdown pages, ``docs/read/NN_name.md``, which GitHub and the site show as they are.

A page holds what its notebook says, prints and tabulates. Pictures are those of the published report; what is not
published there, since it reproduces images of the data set, is left out.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output

from cifar_helpers.env import NUMBERED, number_of, write_atomically
from cifar_helpers.figures import file_of
from cifar_helpers.teach import progress
from cifar_helpers.words import plain

from .site import WIDGET, saved_in

FOLDER = Path("docs", "read")
SILENT = re.compile(r"^ {2}train .*\n?", re.MULTILINE)  # progress
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s]+)\)")
DRAWN_OVER = re.compile(r"[^\n]*\r(?!\n)")  # a line that a later one replaced
NOT_SHOWN = re.compile(r"<(style|script)\b.*?</\1>|<img\b[^>]*>", re.DOTALL)
CELL = re.compile(r"<(/?)(table|thead|tbody|tr|th|td|caption)\b[^>]*>")
MATH = re.compile(r"(```.*?```|`[^`\n]+`)|\$\$(.+?)\$\$|\$([^$]+?)\$", re.DOTALL)


def write(root: Path, executed: Path, figures: Path, entries: Sequence[Mapping], made_from: str) -> list[Path]:
    """Write the page of every executed notebook, and remove the pages of notebooks that are gone; the pages.

    Args:
        root: the course; executed: folder of the executed notebooks; figures: that of the published figures.
        entries: what ``figures.save`` kept, the private ones too; made_from: one sentence on every page.
    """
    folder, stems = root / FOLDER, [path.stem for path in sorted(executed.glob(f"{NUMBERED}.ipynb"))]
    link = Path(os.path.relpath(figures, folder)).as_posix()
    written = []
    for place, stem in enumerate(stems):
        ways = [f"[{name}]({stems[other]}.md)" for name, other in (("before", place - 1), ("next", place + 1))
                if 0 <= other < len(stems)]  # fmt: skip
        ways += [f"[run it](../../notebooks/{stem}.ipynb)", f"[the report]({link}/REPORT.md)"]
        notebook = nbformat.read(executed / f"{stem}.ipynb", as_version=4)
        mine = [e for e in entries if e["kind"] == "figure" and number_of(e["name"]) == number_of(stem)]
        text = page(notebook, mine, link, f"*{made_from}* {' · '.join(ways)}")
        written.append(write_atomically(folder / f"{stem}.md", text))
    for old in set(folder.glob("*.md")) - set(written):
        old.unlink()
    return written


def page(notebook: NotebookNode, figures: Sequence[Mapping], link: str, note: str) -> str:
    """An executed notebook as a Markdown page.

    Args:
        figures: what ``figures.save`` kept of this notebook's.
        link: the folder of the published ones, as the page names it; note: stands below the first heading.
    """
    from nbconvert import MarkdownExporter

    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(_moved, as_github_math(plain(cell.source)))
        elif cell.cell_type == "code":
            saved = iter(saved_in(cell, figures))
            shown = (_shown(each, next(saved, None) if _is_picture(each) else None, link) for each in cell.outputs)
            shown = dict.fromkeys(filter(None, shown))
            cell.outputs = [new_output("display_data", data={"text/markdown": text}) for text in shown]
    notebook.cells.insert(1, new_markdown_cell(note))
    notebook.metadata["language_info"] = {"name": "python"}
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _is_picture(output: NotebookNode) -> bool:
    return any(kind.startswith("image/") for kind in output.get("data", {}))


def _shown(output: NotebookNode, figure: Mapping | None, link: str) -> str:
    """An output as Markdown; nothing where it is noise, or a picture that is not published."""
    from nbconvert.filters import strip_ansi

    if output.output_type == "stream":
        text = SILENT.sub("", DRAWN_OVER.sub("", strip_ansi(output.text))).strip("\n")
        return f"```text\n{text}\n```" if text.strip() and output.name == "stdout" else ""
    data = output.get("data", {})
    if _is_picture(output):
        return _picture(figure, link) if figure else ""
    if "text/markdown" in data:  # what ``words.say`` says
        return LINK.sub(_moved, as_github_math(data["text/markdown"].strip()))
    if "text/html" in data:
        html = CELL.sub(r"<\1\2>", NOT_SHOWN.sub("", data["text/html"]))
        return "\n".join(line.strip() for line in html.splitlines() if line.strip())
    text = strip_ansi(data.get("text/plain", "")).strip("\n")
    if WIDGET in data:
        return f"*{text.strip('[]')}.*" if text.startswith("[") else ""
    return f"```text\n{text}\n```" if text else ""


def _picture(figure: Mapping, link: str) -> str:
    caption = re.sub(r"[][]", "", figure["caption"])
    if figure["private"]:
        return f"*{caption} This figure reproduces images of the data set: it is made where the notebook is run.*"
    return f"![{caption}]({link}/{file_of(figure)})"


def _moved(link: re.Match) -> str:
    """A notebook's link as its page names it: another notebook's leads to that one's page."""
    path, mark, anchor = link[1].partition("#")
    if "/" not in path and path.endswith(".ipynb"):
        return f"]({path.removesuffix('.ipynb')}.md{mark}{anchor})"
    return f"]({Path(os.path.relpath(Path('notebooks', path), FOLDER)).as_posix()}{mark}{anchor})"


def as_github_math(text: str) -> str:
    r"""``$x$`` and ``$$x$$`` as ``$`x`$`` and a block: else GitHub takes ``\,`` and ``\{`` for escapes of Markdown."""

    def put(found: re.Match) -> str:
        code, block, inline = found.groups()
        if code:
            return code
        return f"\n\n```math\n{block.strip()}\n```\n\n" if block else f"$`{inline}`$"

    return MATH.sub(put, text)


def contents(root: Path) -> list[dict]:
    """Rows of the README's table of notebooks: the question, minutes to read, its page if there is one, what to run."""
    rows = []
    for book in progress.notebooks(root):
        row = {"notebook": book["number"], "question": book["question"], "minutes to read": book["minutes"]}
        read = (FOLDER / f"{book['path'].stem}.md").as_posix()
        row |= {"read": f"[read]({read})" if (root / read).exists() else "–"} if (root / FOLDER).exists() else {}
        rows.append(row | {"run": f"[run](notebooks/{book['path'].name})"})
    return rows
