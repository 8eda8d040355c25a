"""The course's map: what was done is counted from what the checks, the predictions and the notebooks left."""

import json
import re

import pytest
from scipy import stats

from cifar_helpers.data.images import channel_statistics
from cifar_helpers.env import ROOT, figures_dir
from cifar_helpers.teach import checks, progress, quiz


@pytest.fixture(autouse=True)
def scratch(monkeypatch, tmp_path):
    monkeypatch.setenv("CIFAR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CIFAR_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setenv("JPY_SESSION_NAME", "01_data.ipynb")


def row(number: str) -> list[str]:
    return next(line.split() for line in progress.course_map().text.splitlines() if line.split()[0] == number)


def test_what_is_done_is_counted():
    before = row("01")
    assert before[-3] == before[-6] == "0" and before[-7] == "–"
    figures_dir("quick").mkdir(parents=True)
    (figures_dir("quick") / "01_sizes.json").write_text("{}")
    checks.channel_statistics(lambda images: channel_statistics(images)[::-1])  # wrong: it does not count
    assert row("01")[-3:] == before[-3:]
    checks.channel_statistics(channel_statistics)
    quiz.put("predictions", "01-classes", "cat")
    after = row("01")
    assert after[-3] == after[-6] == "1" and after[-7] == "✓" and row("02")[-7] == "–"


def test_outside_of_a_live_notebook_nothing_is_kept(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME")
    checks.channel_statistics(channel_statistics)
    assert not quiz.file("solved").exists()


def test_every_notebook_is_on_the_map_with_a_link_and_minutes():
    shown, books = progress.course_map(), progress.notebooks()
    assert [book["number"] for book in books] == sorted(book["number"] for book in books) and len(books) >= 10
    for book in books:
        assert f'href="{book["path"].name}"' in shown.html and 5 < book["minutes"] < 90
        assert book["needs"] != "–" and book["needs"] in shown.html
    assert sum(len(book["asked"]) for book in books) == len(quiz.load()[1])


def test_an_opening_and_the_readme_say_the_same_minutes():
    words = {"half an hour": 30, "fifteen minutes": 15, "twenty-five minutes": 25, "thirty-five minutes": 35}
    words |= {"ten minutes": 10, "twenty minutes": 20, "forty-five minutes": 45}
    for book in progress.notebooks():
        opening = "".join(json.loads(book["path"].read_text(encoding="utf-8"))["cells"][0]["source"])
        assert words[re.search(r"\*\*Takes\*\* ([\w -]+?) to read", opening)[1]] == book["minutes"], book["number"]


def test_the_cheat_sheets_factors_are_those_of_t():
    text = (ROOT / "docs/cheatsheet.md").read_text(encoding="utf-8")
    seeds, factors, widths = (
        [float(each) for each in re.search(rf"^\| {start}.*?\|(.*)\|$", text, re.MULTILINE)[1].split("|")]
        for start in ("seeds", r"\$t_n", "half width")
    )
    for n, factor, width in zip(seeds, factors, widths, strict=True):
        exact = stats.t.ppf(0.975, n - 1)
        assert factor == pytest.approx(exact, rel=3e-3) and width == pytest.approx(exact / n**0.5, abs=0.005)
