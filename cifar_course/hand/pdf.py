"""Markdown with our own figures and wide tables as a PDF, by pandoc and typst: no LaTeX, no network."""

import importlib.util
import re
from pathlib import Path

from cifar_helpers.env import CourseError, write_atomically

EXTRA = ".venv/bin/python -m pip install -c constraints.txt -e '.[pdf]'"
READER = "markdown-implicit_figures-citations"  # our captions are texts of their own
IMAGE = re.compile(r'#box\(image\("([^"]+)"')
FIGURE = re.compile(r"^#box\(image\(.*\)\)$", re.MULTILINE)
TABLE = re.compile(  # a bold line above it is its caption
    r"(?:^#strong\[([^\n]*)\]\n\n)?^(#figure\(\n  align\(center\)\[#table\(\n    columns: )(\d+|\([^)]*\))"
    r"(,.*?\n  , kind: table\n  \))",
    re.DOTALL | re.MULTILINE,
)
# A4, 174 mm between the margins. Typst gives narrow columns what they need and shares the rest among the wide ones; a
# table of many columns that would have to be folded to half its width gets a page of its own in landscape.
STYLE = """#set page(paper: "a4", margin: 18mm, numbering: "1")
#set text(size: 10pt)
#set image(width: 80%)
#set table(inset: 3pt, stroke: none)
#show table.cell: set text(size: 7.5pt)
#show table.cell: set align(left)
#show figure: set block(breakable: true)
#show heading: set block(above: 1.4em, below: 0.8em)
#let horizontalrule = line(start: (25%, 0%), end: (75%, 0%))
#let captioned(columns, caption, body) = context {
  let whole = block(sticky: true, caption) + body
  if columns > 5 and measure(body).width > 2 * 174mm { page(flipped: true, whole) } else { whole }
}
"""


def require() -> None:
    """Raise ``CourseError`` where the extra ``pdf`` is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("pypandoc", "typst")):
        raise CourseError(
            f"A PDF needs pypandoc_binary and typst: {EXTRA} installs them; `make report PDF=1` does too."
        )


def make(source: Path) -> Path:
    """Make ``NAME.pdf`` beside ``NAME.md``.

    ``CourseError`` if the extra, the file or a picture is missing, or typst refuses the text.
    """
    require()
    if not source.is_file():
        raise CourseError(f"There is no file {source} to make a PDF of.")
    import typst

    try:
        content = typst.compile(typeset(source).encode(), root=source.resolve().anchor)
    except typst.TypstError as error:
        raise CourseError(f"{source.name} does not become a PDF: {error}") from error
    return write_atomically(source.with_suffix(".pdf"), content)


def typeset(source: Path) -> str:
    """A Markdown file in typst's own language; pictures are named from the disk's root."""
    import pypandoc

    text = pypandoc.convert_file(source, "typst", format=READER, extra_args=["--wrap=none"])
    text = FIGURE.sub(r"#block(sticky: true)[\g<0>]", TABLE.sub(_captioned, text))
    return STYLE + IMAGE.sub(lambda found: f'#box(image("{_below_root(source.parent / found[1])}"', text)


def _captioned(table: re.Match) -> str:
    """A table with its caption, its columns as wide as typst sees fit."""
    caption, begin, columns, rest = table.groups(default="")
    count = int(columns) if columns.isdigit() else columns.count("%")
    caption = f"*{caption}*" if caption else ""
    return f"#captioned({count})[{caption}][{begin}{count}{rest}]"


def _below_root(picture: Path) -> str:
    """A picture's path as typst names it."""
    if not picture.is_file():
        raise CourseError(f"There is no picture {picture}: run the notebook that makes it, or take it out of the text.")
    found = picture.resolve()
    return f"/{found.relative_to(found.anchor).as_posix()}"
