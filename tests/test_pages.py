"""The front door: the README, the guides and their links, and the pages that the executed notebooks become."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cifar_course.hand import edition
from cifar_course.publish import pages, readme, site

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/read").glob("*.md"))]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FIGURES = [
    {"name": "05_a", "caption": "A [bold] figure.", "kind": "figure", "private": False, "made": "2026-01-01T00:00:01Z"},
    {"name": "05_b", "caption": "Images.", "kind": "figure", "private": True, "made": "2026-01-01T00:00:02Z"},
]


def data(kind: str, content, plain: str = "") -> nbformat.NotebookNode:
    return new_output("display_data", data={kind: content} | ({"text/plain": plain} if plain else {}))


def stream(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    return new_output("stream", name=name, text=text)


def code(source: str, *outputs, seconds: str = "08") -> nbformat.NotebookNode:
    """A cell that was executed from so many of the minute's seconds on, for half a second."""
    times = {f"{name}_time": f"2026-01-01T00:00:{seconds}{part}Z" for name, part in (("start", ".0"), ("end", ".5"))}
    return new_code_cell(source, outputs=list(outputs), metadata={"papermill": times})


def made(*cells) -> str:
    notebook = new_notebook(cells=[new_markdown_cell("# 5 · Why?"), *cells])
    return pages.page(notebook, FIGURES, "../../figures", "*As published.*")


# --- the pages


def test_a_page_shows_published_figures_alone():
    figure = data("image/png", PNG, "<Figure>")
    text = made(
        code('page.figure(figure, "05_a", caption, runs)', figure, seconds="01"),
        code('page.figure(figure, "05_b", caption, private=True)', figure, seconds="02"),
        code("plt.imshow(image)", figure),
        code("explore()", data("text/html", f'<p><img src="data:image/png;base64,{PNG}">A form.</p>')),
    )
    assert text.startswith("# 5 · Why?\n\n*As published.*\n")
    assert text.count("![") == 1 and "![A bold figure.](../../figures/05_a.png)" in text
    assert "*Images. This figure reproduces images of the data set" in text
    assert PNG not in text and "<img" not in text and "<p>A form.</p>" in text and "<Figure>" not in text


def test_what_a_cell_says_stands_on_its_page():
    said = data("text/markdown", "The loss is $a\\,b$; see [2](02_b.ipynb).", "<IPython.core.display.Markdown object>")
    text = made(code("words.say(text)", said))
    assert "The loss is $`a\\,b`$; see [2](02_b.md)." in text and "IPython" not in text


def test_a_cells_pictures_are_the_figures_saved_while_it_ran():
    """A call such as ``study.controls()`` names no figure; papermill's times and the figures' own do."""
    later = {"name": "05_c", "caption": "Later.", "private": False, "made": "2026-01-01T00:01:00+00:00"}
    picture = data("image/png", PNG, "<Figure>")
    cell = code("study.both()", picture, stream("said"), picture)
    cell.metadata["papermill"] = {"start_time": "2026-01-01T00:00:00+00:00", "end_time": "2026-01-01T00:00:09+00:00"}
    injected = code("# Parameters\nreuse = False")
    injected.metadata["tags"] = ["injected-parameters"]
    notebook = new_notebook(cells=[new_markdown_cell("# 5"), injected, cell])
    text = pages.page(notebook, [later, *reversed(FIGURES)], "../../figures", "*As published.*")
    assert text.index("05_a.png") < text.index("said") < text.index("*Images. This figure reproduces")
    assert "Later" not in text and "# Parameters" not in text
    cell.outputs = [data("image/gif", PNG, "<>")]
    notebook = new_notebook(cells=[new_markdown_cell("# 5"), cell])
    film = FIGURES[0] | {"suffix": ".gif"}
    assert "(../../figures/05_a.gif)" in pages.page(notebook, [film], "../../figures", "*As published.*")


def test_a_page_has_no_noise():
    view = {site.WIDGET: {"model_id": "a"}, "text/plain": "[A walk: run this cell in JupyterLab to move the controls]"}
    text = made(
        code(
            "go()", stream("  train VGG · step 1/2\n\x1b[31mred\x1b[0m\n10 %\r20 %\rdone\n"), stream("warn", "stderr")
        ),
        code("walk()", new_output("execute_result", data=view), new_output("execute_result", data={site.WIDGET: {}})),
        code("x", new_output("execute_result", data={"text/plain": "tensor([1])"})),
    )
    assert "```python\ngo()\n```\n\n```text\nred\ndone\n```" in text
    assert "*A walk: run this cell in JupyterLab to move the controls.*" in text
    assert "```text\ntensor([1])\n```" in text
    assert not re.search("train VGG|\x1b|warn|%|VBox|model_id", text)


def test_a_pages_tables_are_plain():
    html = '<style>#T th {}</style>\n<table id="T">\n<tr>\n  <th class="col0" >a</th>\n\n</tr>\n</table>'
    assert "\n<table>\n<tr>\n<th>a</th>\n</tr>\n</table>\n" in made(code("table", data("text/html", html, "<Styler>")))


def test_a_page_links_pages_and_files():
    said = "[5](05_loss.ipynb#the-idea) [up](../docs/data.md) [web](https://a.invalid/x) [here](#why)"
    text = made(new_markdown_cell(said))
    assert "[5](05_loss.md#the-idea) [up](../data.md) [web](https://a.invalid/x) [here](#why)" in text


def test_formulas_are_githubs_and_come_back():
    said = r"Take $\{a\,b\}$ and `$HOME`: $$ x_t = \eta\, g_t . $$ Then $L$."
    there = pages.as_github_math(said)
    assert there == "Take $`\\{a\\,b\\}`$ and `$HOME`: \n\n```math\nx_t = \\eta\\, g_t .\n```\n\n Then $`L`$."
    assert site.as_plain_math(there).replace("\n", "") == said.replace("$$ x", "$$x").replace(" . $$", " .$$")


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "read").glob("*.md")), ids=lambda path: path.stem)
def test_a_published_page_shows_no_object_as_python_writes_it(path):
    """A record shown by mistake, such as by a call that returns one on a cell's last line, fills a hundred screens."""
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"^(?:\w+\(\w+=|<[\w.]+ object(?: at 0x|>)|\[?namespace\().{0,60}", text, re.MULTILINE)
    assert max(map(len, re.findall(r"^```text\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)), default=0) < 6000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_becomes_a_page(path):
    """All its formulas are found, and its links lead on."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            bare = re.sub(r"```.*?```|\$`[^`]+`\$|`[^`]*`", "", pages.as_github_math(cell.source), flags=re.DOTALL)
            assert "$" not in bare, cell.id
    text = pages.page(notebook, [], "../../figures", "*As published.*")
    for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        there = os.path.normpath(ROOT / pages.FOLDER / link)
        source = Path(there.replace("docs/read", "notebooks")).with_suffix(".ipynb")
        assert Path(there).exists() or source.exists(), link


def test_pages_are_written_and_old_ones_go(tmp_path):
    executed, folder = tmp_path / "runs", tmp_path / pages.FOLDER
    executed.mkdir()
    folder.mkdir(parents=True)
    (folder / "09_old.md").write_text("gone")
    for name in ("01_a", "02_b"):
        nbformat.write(new_notebook(cells=[new_markdown_cell("# 1 · A?"), code("1")]), executed / f"{name}.ipynb")
    found = pages.write(tmp_path, executed, tmp_path / "figures", FIGURES, "As published.")
    assert [path.name for path in found] == sorted(path.name for path in folder.iterdir()) == ["01_a.md", "02_b.md"]
    text = found[0].read_text()
    ways = "[next](02_b.md) · [run it](../../notebooks/01_a.ipynb) · [the report](../../figures/REPORT.md)"
    assert f"*As published.* {ways}\n" in text
    (tmp_path / "notebooks").mkdir()
    for name in ("01_a", "03_c"):
        nbformat.write(nbformat.read(executed / "01_a.ipynb", 4), tmp_path / f"notebooks/{name}.ipynb")
    rows = pages.contents(tmp_path)
    assert [row["read"] for row in rows] == ["[read](docs/read/01_a.md)", "–"] and rows[0]["question"] == "A?"


def test_a_page_in_the_student_edition_has_no_solution(tmp_path):
    source = f"def f(x):\n    {edition.BEGIN}\n    return x + 1\n    {edition.END}"
    for name, text in (("docs/read/01_a.md", made(code(source))), ("notebooks/01_a.ipynb", '{"cells": []}')):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "notebooks/01_a.ipynb").write_text(nbformat.writes(new_notebook()))
    text = edition.edition_files(tmp_path)["docs/read/01_a.md"].decode()
    assert "raise NotImplementedError()\n```" in text and "x + 1" not in text and text.startswith("# 5 · Why?")


# --- the README and the guides


def test_the_readme_is_short():
    text = re.sub(r"<!--.*?-->", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    words = " ".join(line for line in text.splitlines() if not line.startswith("|")).split()
    assert len(words) <= 600, len(words)
    assert len(re.findall(r"!\[", text)) == 1


def test_the_readmes_tables_are_the_generated_ones(tmp_path, monkeypatch):
    before = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(before, encoding="utf-8")
    for name in ("notebooks", "figures", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setenv("CIFAR_FIGURES", str(ROOT / "figures"))
    readme.fill_readme()
    after = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert after == before, "write them: python -c 'from cifar_course.publish import readme; readme.fill_readme()'"


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives a text's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_every_link_leads_somewhere(guide):
    text = re.sub(r"```.*?```", "", guide.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = (guide.parent / path).resolve() if path else guide
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


def test_every_guide_is_one_click_from_the_sites_front_and_from_the_readme():
    names = {path.stem for path in (ROOT / "docs").glob("*.md")}
    index = (ROOT / "docs/site/index.md").read_text(encoding="utf-8")
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in names - {"report_template"}:
        assert f"docs/{name}.md" in index and f"docs/{name}.md" in front, name
