"""The static pages: what they show, that they need no network, and that the guides speak of what exists."""

import importlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cifar_course.publish import pages, site
from cifar_helpers.env import number_of

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {number_of(path.stem): path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
GUIDES = sorted(path for path in (ROOT / "docs").glob("*.md") if path.stem != "report_template")
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TIMES = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T00:00:09Z"}  # papermill's, of a cell
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
ENTRY = re.compile(r"^- \*\*(.+?)\*\* \(\[(\d\d[a-z]?)\]\((\S+)\)\): \S", re.MULTILINE)


def picture():
    return new_output("display_data", data={"image/png": PNG, "text/plain": "<Figure>"})


def widget(**data):
    return new_output("display_data", data={site.WIDGET: {"model_id": "a"}, "text/plain": "Box()"} | data)


def code(source: str, *outputs):
    return new_code_cell(source, outputs=list(outputs))


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A report of the smoke profile in which notebook 01 was executed, with every kind of output."""
    monkeypatch.setenv("CIFAR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CIFAR_FIGURES", str(tmp_path / "figures"))
    local, executed = tmp_path / "figures/local/smoke", tmp_path / "runs/notebooks/smoke"
    local.mkdir(parents=True)
    executed.mkdir(parents=True)
    for path in [*(ROOT / "figures").glob("[0-9]*.[pg][ni][gf]"), ROOT / "figures/REPORT.md"]:  # the guides link some
        (tmp_path / "figures" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    (tmp_path / "docs").mkdir()
    for path in (path for pattern in site.PAGES for path in ROOT.glob(pattern)):
        (tmp_path / path.relative_to(ROOT)).write_bytes(path.read_bytes())
    monkeypatch.setattr(site, "ROOT", tmp_path)
    (local / "REPORT.md").write_text("# The report\n\n![A picture.](01_pixel_values.png)\n")
    shutil.copy(ROOT / "figures" / "01_pixel_values.png", local)
    entry = {"kind": "figure", "name": "01_pixel_values", "caption": "Pixel values.", "made": "2026-01-01T00:00:01Z"}
    (local / "01_pixel_values.json").write_text(json.dumps(entry))
    notebook = nbformat.read(NOTEBOOKS["01"], as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [picture()] if "page.figure(" in cell.source else [new_output("stream", text="one line\n")]
            if "01_pixel_values" in cell.source:
                cell.metadata["papermill"] = TIMES
    table = "<style></style><table><tr><td>1</td></tr></table>"
    notebook.cells.append(code("table", new_output("execute_result", data={"text/html": table, "text/plain": "1"})))
    notebook.cells.append(code("explore()", widget(), picture()))
    nbformat.write(notebook, executed / NOTEBOOKS["01"].name)
    everything = tmp_path / "everything"  # a report is published whole
    shutil.copytree(ROOT / "notebooks", everything)
    shutil.copy(executed / NOTEBOOKS["01"].name, everything)
    pages.write(tmp_path, everything, tmp_path / "figures", [entry | {"private": False}], "As published.")
    return tmp_path


class Loaded(HTMLParser):
    """What a page loads when it is opened, and its pictures' alternative texts."""

    def __init__(self, page: Path):
        super().__init__()
        self.urls, self.texts = [], []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.urls += [known["src"]] if "src" in known else []
        if tag == "link" and known.get("rel") not in ("canonical", "author", "next", "prev", "search", "index"):
            self.urls.append(known["href"])
        if tag == "img":
            self.texts.append(known.get("alt", ""))


def test_the_pages_stand_alone(world, capfd):
    """Without a warning; nothing comes from another host, everything asked for is there, every picture has a text."""
    pytest.importorskip("sphinx", reason="`make site-tools` installs Sphinx")
    pytest.importorskip("myst_nb", reason="`make site-tools` installs myst-nb")
    out = world / "pages"
    out.mkdir()
    (out / "searchindex.js").write_text("of an earlier site")
    (out / "old.html").write_text("<p>gone</p>")
    home = site.build(None, out)
    said = capfd.readouterr()
    assert "WARNING" not in said.err + said.out and "ERROR" not in said.err + said.out
    pages = sorted(out.rglob("*.html"))
    named = {str(page.relative_to(out)) for page in pages}
    assert home == out / "index.html" and "old.html" not in named
    assert named >= {"index.html", "search.html", "figures/REPORT.html", "report/REPORT.html"}
    assert named >= {f"notebooks/{path.stem}.html" for path in NOTEBOOKS.values()}
    assert named >= {f"docs/{path.stem}.html" for path in GUIDES}
    texts = []
    for page in pages:
        loaded = Loaded(page)
        for url in loaded.urls:
            assert not re.match(r"(\w+:)?//", url), f"{page.name} loads {url}"
            if not url.startswith("data:"):
                assert (page.parent / url.partition("?")[0]).exists(), f"{page.name} misses {url}"
        assert all(loaded.texts), f"{page.name} has a picture without a text"
        texts += loaded.texts
    assert "Pixel values." in texts
    for sheet in out.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text()), sheet.name
    formula = (out / "notebooks/01_data.html").read_text()
    assert "mathjax/tex-chtml.js" in formula and r"\sigma_c" in formula
    read = (out / "docs/read/01_data.html").read_text()
    assert r"\sigma_c" in read and "math notranslate" in read and "$`" not in read and "01_pixel_values" in read
    assert '<a class="reference internal" href="docs/read/01_data.html">' in home.read_text()
    assert site.NOT_RUN.strip("*") in (out / "notebooks/02_simple_net.html").read_text()
    assert site.NOT_RUN.strip("*") not in formula


def test_every_picture_gets_its_text():
    shown = code("study.both()", picture(), picture())
    shown.metadata["papermill"] = TIMES
    cells = [new_markdown_cell("# One\n\n## Two"), shown, code("%matplotlib inline", picture())]
    figures = [{"caption": f"At {i}.", "made": f"2026-01-01T00:00:0{i}.000+00:00"} for i in (2, 1)]
    notebook = site.readable(new_notebook(cells=cells), figures)
    texts = [cell.metadata.mystnb.image.alt for cell in notebook.cells[1:]]
    assert texts == ["At 1. At 2.", "Figure under the heading “Two”"]


def test_a_widget_leaves_its_static_form():
    forms = {"text/html": "<p>$a_1$?</p>"}, {"text/plain": "[A walk: run this cell]"}, {"text/plain": "interactive(…)"}
    notebook = new_notebook(cells=[code("explore()", widget(**form)) for form in forms])
    notebook.metadata["widgets"] = {"state": {}}
    shown = [cell.outputs[0].data for cell in site.readable(notebook, []).cells]
    assert shown[0]["text/html"] == r'<p><span class="math">\(a_1\)</span>?</p>'
    assert shown[1:] == [forms[1], {"text/plain": site.MOVED}]
    assert not any(site.WIDGET in form for form in shown)
    assert "widgets" not in notebook.metadata


def test_what_is_missing_is_said(world, monkeypatch, capsys):
    monkeypatch.setattr(site.importlib.util, "find_spec", lambda name: None)
    assert site.main([]) == 2 and "`make site` installs it" in capsys.readouterr().err
    monkeypatch.setattr(site.importlib.util, "find_spec", lambda name: name)
    (world / "mine").mkdir()
    (world / "mine/thesis.md").write_text("kept")
    assert site.main(["--output", str(world / "mine")]) == 2 and "not an earlier site" in capsys.readouterr().err
    assert (world / "mine/thesis.md").read_text() == "kept"
    assert site.main(["--profile", "full"]) == 2 and "make report PROFILE=full" in capsys.readouterr().err
    (world / "figures/local/smoke/REPORT.md").unlink()
    assert site.main([]) == 2 and "make report" in capsys.readouterr().err


def test_the_newest_report_is_shown(world):
    import os

    other = world / "figures/local/quick/REPORT.md"
    other.parent.mkdir()
    other.write_text("# Newer\n")
    os.utime(world / "figures/local/smoke/REPORT.md", (1, 1))
    assert site.newest_profile() == "quick"


# --- the guides


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_guides_speak_of_what_exists(guide):
    text = guide.read_text()
    for link in LINK.findall(text):
        assert re.match(r"https?:", link) or (guide.parent / link).exists(), link
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"[`\n]make ([a-z-]+)", text)) <= targets
    for name in re.findall(r"`((?:cifar_helpers|tests|batch)/[\w./]+)`", text):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("guide", [ROOT / "docs/student.md", ROOT / "docs/instructor.md"], ids=lambda path: path.stem)
def test_the_guides_commands_are_understood(guide):
    """The commands of the package's own programs, by these programs' own parsers."""
    found = re.findall(r"^\s*\.venv/bin/python -m cifar_course\.([\w.]+) ?([^#\n]*)", guide.read_text(), re.MULTILINE)
    assert len(found) >= 3
    for module, arguments in found:
        folder = (ROOT / "cifar_course" / module.replace(".", "/")).is_dir()
        parser = importlib.import_module(f"cifar_course.{module}{'.cli' * folder}").parser()
        parser.parse_args(arguments.split())


def test_the_private_check_works():
    import torch

    from cifar_helpers.data.images import channel_statistics
    from cifar_helpers.teach import checks

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/instructor.md").read_text(), re.DOTALL)
    hidden = blocks[0].partition("### BEGIN HIDDEN TESTS\n")[2].partition("### END HIDDEN TESTS")[0]
    names = {"checks": checks, "torch": torch}
    exec(compile(hidden, "instructor.md", "exec"), names | {"my_channel_statistics": channel_statistics})
    for wrong in (lambda x: channel_statistics(x // 2), lambda x: channel_statistics(x)[::-1]):
        with pytest.raises(AssertionError, match="one grey image"):
            exec(compile(hidden, "instructor.md", "exec"), names | {"my_channel_statistics": wrong})


def test_the_marks_point_to_sections_that_exist():
    table = (ROOT / "docs/instructor.md").read_text().partition("## Plan 3")[2].partition("\n## ")[0]
    named = [name for line in table.splitlines() if line.startswith("|") for name in re.findall(r"\*([^*]+)\*", line)]
    headings = set()
    for path in NOTEBOOKS.values():
        text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        headings |= set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    assert len(named) > 10 and set(named) <= headings, set(named) - headings
    marks = [line.split("|")[1] for line in table.splitlines() if re.match(r"\| \d", line)]
    assert sum(int(re.search(r"\d+", mark)[0]) for mark in marks) == 100


def test_the_glossary_is_in_order_and_its_words_are_used():
    text = (ROOT / "docs/glossary.md").read_text()
    entries = ENTRY.findall(text)
    assert len(entries) == text.count("\n- ") > 50
    terms = [re.sub(r"[ ,-]", "", term.lower().replace("β", "beta")) for term, _, _ in entries]
    assert terms == sorted(set(terms))
    for term, number, link in entries:
        assert Path(link).name == NOTEBOOKS[number].name
        cells = nbformat.read(NOTEBOOKS[number], as_version=4).cells
        used = " ".join(cell.source for cell in cells).lower().replace("\n", " ")
        assert term.partition(",")[0].lower() in used, f"{term} does not stand in notebook {number}"
