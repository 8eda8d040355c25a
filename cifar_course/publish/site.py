"""The course as static pages that need no network: executed notebooks, report and guides, built with Sphinx.

python -m cifar_course.publish.site --profile quick --output site
"""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from cifar_helpers.env import (
    NUMBERED,
    ROOT,
    CourseError,
    command_line,
    figures_dir,
    number_of,
    runs_dir,
    write_atomically,
)

from ..report.summary import load_entries

SETTINGS = ROOT / "docs" / "site"
PAGES = ("README.md", "CITATION.cff", "docs/*.md")
WIDGET = "application/vnd.jupyter.widget-view+json"
FORMULA = re.compile(r"\$([^$<>\n]+)\$")  # in HTML, as HTMLMath reads it
MOVED = "[run this cell in JupyterLab to move the controls]"
TABLE_OF_PAGES = "```{toctree}\n:caption: As published\n:glob:\n:maxdepth: 1\n\ndocs/read/*\n```"
NOT_RUN = "*This notebook was not executed for these pages: it is shown without results.*"


def build(profile: str | None, output: Path) -> Path:
    """Build the site of a profile's report, or of the newest, in place of an earlier site; the path of its home page.

    Raises:
        CourseError: nothing has been executed, Sphinx is missing or fails, or ``output`` holds something else.
    """
    if missing := [name for name in ("sphinx", "myst_nb", "furo") if importlib.util.find_spec(name) is None]:
        raise CourseError(
            f"The site needs {', '.join(missing)}: `make site` installs it, or "
            "python -m pip install -c constraints.txt -e '.[site]'"
        )
    if output.exists() and not (output / "searchindex.js").exists() and (output.is_file() or any(output.iterdir())):
        raise CourseError(f"{output} holds something that is not an earlier site; name another folder with --output.")
    profile = profile or newest_profile()
    with tempfile.TemporaryDirectory() as scratch:
        sources, pages = Path(scratch, "sources"), Path(scratch, "pages")
        stage(profile, sources)
        command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", str(SETTINGS)]
        command += ["-d", str(pages.parent / "doctrees"), str(sources), str(pages)]
        if subprocess.run(command, check=False).returncode:
            raise CourseError("Sphinx could not build the pages; its message stands above.")
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(pages, output)
    return output / "index.html"


def newest_profile() -> str:
    """The profile whose report was written last; ``CourseError`` where there is none."""
    reports = sorted(figures_dir("x").parent.glob("*/REPORT.md"), key=lambda path: path.stat().st_mtime)
    if not reports:
        raise CourseError(
            "No notebook has been executed here, so there is nothing to show. `make report` executes them (on drawn "
            "images in a few minutes: `make report PROFILE=smoke`); then run `make site` again."
        )
    return reports[-1].parent.name


def stage(profile: str, folder: Path) -> None:
    """Copy what the site is made of into an empty folder, laid out like the project, so that links lead the same way.

    ``CourseError`` if the profile has no report.
    """
    local = figures_dir(profile)
    if not (local / "REPORT.md").exists():
        raise CourseError(f"There is no report of profile {profile!r}: `make report PROFILE={profile}` writes it.")
    for path in (path for pattern in PAGES for path in ROOT.glob(pattern)):
        _copy(path, folder / path.relative_to(ROOT))
    for source, target in ((figures_dir(), folder / "figures"), (local, folder / "report")):
        for path in [*source.glob("[0-9]*.png"), *source.glob("[0-9]*.gif"), source / "REPORT.md"]:
            _copy(path, target / path.name)
    figures = [entry for entry in load_entries(local) if entry["kind"] == "figure"]
    (folder / "notebooks").mkdir()
    for source in sorted((ROOT / "notebooks").glob(f"{NUMBERED}.ipynb")):
        executed = runs_dir() / "notebooks" / profile / source.name
        notebook = nbformat.read(executed if executed.exists() else source, as_version=4)
        if not executed.exists():
            notebook.cells.insert(1, new_markdown_cell(NOT_RUN))
        mine = [figure for figure in figures if number_of(figure["name"]) == number_of(source.stem)]
        nbformat.write(readable(notebook, mine), folder / "notebooks" / source.name)
    text = f"Executed with profile `{profile}`; [the report](report/REPORT.md) says what was trained, on what and when."
    page = (SETTINGS / "index.md").read_text(encoding="utf-8").replace("{{ made_from }}", text)
    published = list((ROOT / "docs" / "read").glob("*.md"))
    for path in published:
        write_atomically(folder / "docs" / "read" / path.name, as_plain_math(path.read_text(encoding="utf-8")))
    page = page.replace("{{ published }}", TABLE_OF_PAGES * bool(published))
    (folder / "index.md").write_text(page, encoding="utf-8")


def as_plain_math(text: str) -> str:
    """GitHub's form of a formula, which ``pages`` writes, as Sphinx reads it."""
    return re.sub(r"```math\n(.*?)\n```", r"$$\n\1\n$$", re.sub(r"\$`([^`]+)`\$", r"$\1$", text), flags=re.DOTALL)


def readable(notebook: NotebookNode, figures: Iterable[Mapping]) -> NotebookNode:
    """Give every picture its caption as alternative text, and take out what only a live widget would show."""
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.*)$", cell.source, re.MULTILINE) or [heading])[-1]
        elif cell.cell_type == "code":
            captions = " ".join(figure["caption"] for figure in saved_in(cell, figures))
            text = captions or f"Figure under the heading “{heading}”"
            cell.metadata["mystnb"] = {"image": {"alt": text}}
            cell.outputs = [_static(output) for output in cell.outputs]
    notebook.metadata.pop("widgets", None)
    return notebook


def saved_in(cell: NotebookNode, figures: Iterable[Mapping]) -> list[Mapping]:
    """Those of a notebook's figures that were saved while papermill executed a cell, in their order."""
    times = cell.metadata.get("papermill", {})
    if not times.get("start_time") or not times.get("end_time"):
        return []
    begin, end = (datetime.fromisoformat(times[name]) for name in ("start_time", "end_time"))
    found = [figure for figure in figures if begin <= datetime.fromisoformat(figure["made"]) <= end]
    return sorted(found, key=lambda figure: figure["made"])


def _static(output: NotebookNode) -> NotebookNode:
    """The output without its widget, as a viewer that has none shows it; formulas in HTML as MathJax finds them."""
    data = output.get("data", {})
    if data.pop(WIDGET, None) and not data.get("text/plain", "").startswith("["):  # an explorer's own form does
        data["text/plain"] = MOVED
    if "text/html" in data:
        data["text/html"] = FORMULA.sub(r'<span class="math">\\(\1\\)</span>', data["text/html"])
    return output


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


@command_line("Stopped.")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the site."""
    made = argparse.ArgumentParser(prog="python -m cifar_course.publish.site", description=__doc__.splitlines()[0])
    made.add_argument("--profile", help="whose executed notebooks are shown; else the last report's")
    made.add_argument("--output", type=Path, default=ROOT / "site", help="folder of the pages (site/)")
    options = made.parse_args(arguments)
    print(f"Open {build(options.profile, options.output)} in a browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
