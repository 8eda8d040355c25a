"""Write-up and report as PDF: what is wide stays on the page, and what is missing is said."""

import io
import shutil
from pathlib import Path

import pytest

from cifar_course.hand import cli, handin, pdf
from cifar_course.report import cli as report_cli
from cifar_helpers.env import ROOT, CourseError

LONG = "0.419 (95 % interval 0.212 to 0.830, n = 3, includes 1; 3 of 3 seeds on this side, sign test p = 0.25)"


def table(columns: int, rows: int, cell: str) -> str:
    lines = [[f"compared_at_{i}" for i in range(columns)], ["---"] * columns, *[[cell] * columns] * rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@pytest.fixture
def write_up(tmp_path, monkeypatch):
    from PIL import Image

    pytest.importorskip("pypandoc", reason="`make pdf-tools` installs pandoc")
    pytest.importorskip("typst", reason="`make pdf-tools` installs typst")
    Image.new("RGB", (2400, 500), "grey").save(tmp_path / "wide.png", dpi=(150, 150))
    text = "# Ours\n\nOn $\\beta\\,x$ and β ≥ η.\n\n![Wide.](wide.png)\n\n*Wide.* Data.\n"
    for name, rows in (("Few", table(4, 2, "x")), ("Wide", table(8, 14, LONG)), ("Long", table(4, 3, LONG))):
        text += f"\n**{name}.**\n\n{rows}\n\n<!-- not shown -->\n"
    (tmp_path / "report.md").write_text(text, encoding="utf-8")
    monkeypatch.setattr(handin, "ROOT", tmp_path)
    return tmp_path / "report.md"


def test_nothing_runs_off_the_page(write_up):
    """Rendered: margins are white, the wide table is on pages in landscape, the others are not."""
    import numpy as np
    import typst
    from PIL import Image

    source = pdf.typeset(write_up)
    pages = [Image.open(io.BytesIO(png)) for png in typst.compile(source.encode(), root="/", format="png", ppi=40)]
    sizes = [page.width > page.height for page in pages]
    assert not sizes[0] and not sizes[-1] and sum(sizes) >= 2
    for page in pages:
        margin = round(15 / 25.4 * 40)
        ink = np.asarray(page.convert("L")) < 160
        assert not ink[:, :margin].any() and not ink[:, -margin:].any() and ink.any()


def test_one_command_makes_it(write_up, capsys):
    before = write_up.read_bytes()
    assert cli.main(["report", "--pdf"]) == 0
    assert capsys.readouterr().out == f"Wrote {write_up.with_suffix('.pdf')}.\n"
    assert write_up.with_suffix(".pdf").read_bytes().startswith(b"%PDF") and write_up.read_bytes() == before


def test_the_cheat_sheet_is_one_page(write_up, capsys):
    import typst

    sheet = shutil.copy(ROOT / "docs/cheatsheet.md", write_up.parent)
    assert cli.main(["pdf", str(sheet)]) == 0 and "cheatsheet.pdf" in capsys.readouterr().out
    pages = typst.compile(pdf.typeset(Path(sheet)).encode(), root="/", format="png", ppi=20)
    assert isinstance(pages, bytes)  # of several pages it gives a list
    assert cli.main(["pdf", "no.md"]) == 2 and "no.md" in capsys.readouterr().err


def test_what_is_missing_is_said(write_up, monkeypatch, capsys):
    write_up.write_text("![Gone.](gone.png)\n")
    with pytest.raises(CourseError, match=r"no picture .*gone.png: run the notebook"):
        pdf.make(write_up)
    monkeypatch.setattr(pdf.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["report", "--pdf"]) == 2
    assert "'.[pdf]' installs them" in capsys.readouterr().err
    assert report_cli.main(["--pdf", "--profile", "smoke"]) == 2  # before anything is trained
    assert "'.[pdf]' installs them" in capsys.readouterr().err
