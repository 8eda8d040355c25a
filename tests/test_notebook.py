"""The face: a page trains, ranks, keeps and reads as the rooms below it do."""

import json
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest

from cifar_helpers import notebook, plans
from cifar_helpers.env import figures_dir
from cifar_helpers.figures import file_of
from cifar_helpers.measure import ranking
from cifar_helpers.training.config import RunConfig

TINY = RunConfig("LeNet5", optimizer="SGD", lr=0.05, steps=4, batch_size=16, eval_every=2, precision="fp32", test=False)


@pytest.fixture
def page(small_data, scratch, monkeypatch):
    monkeypatch.setattr(notebook, "display", lambda shown: None)
    return notebook.Page(small_data, "smoke", "cpu", reuse=False)


def test_a_page_trains_once_and_reads_afterwards(page, capsys):
    first = page.runs([TINY])
    assert "1 trained now" in capsys.readouterr().out
    assert page.runs([TINY])[0].key == first[0].key and "0 trained now, 1 read" in capsys.readouterr().out
    page.announce([plans.jobs.Job(TINY), plans.jobs.Job(replace(TINY, seed=1))])
    said = capsys.readouterr().out
    assert said.startswith(page.images.label) and "2 training runs, 1 of them recorded" in said


@pytest.mark.parametrize("span", [None, 2])
def test_a_sweep_is_trained_ranked_and_kept(page, span):
    sweep = plans.sweeps._sweep("02_x", "Two rates", "rate", {"1": TINY, "2": replace(TINY, lr=0.1)}, 0, 2)
    assert page.sweep(sweep, span) is None, "it is a cell's last line: what it returned would be shown"
    found = page.found["02_x"]
    assert [run.config for run in found.runs] == sweep.configs
    rows = json.loads((figures_dir("smoke") / "02_x_table.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == len(ranking.table(found)) == 2
    kept = json.loads((figures_dir("smoke") / "02_x.json").read_text(encoding="utf-8"))
    assert kept["caption"] == "Two rates." and (figures_dir("smoke") / "02_x.png").exists()
    plt.close("all")


def test_a_film_is_a_figure_of_another_kind_of_file(page):
    page.film(b"GIF89a", "05_film", "It moves.")
    entry = json.loads((figures_dir("smoke") / "05_film.json").read_text(encoding="utf-8"))
    assert entry["kind"] == "figure" and entry["data_label"] == page.images.label
    assert (figures_dir("smoke") / file_of(entry)).read_bytes() == b"GIF89a" and file_of({"name": "a"}) == "a.png"


def test_what_is_drawn_on_other_images_says_so(page, small_data):
    figure = plt.figure()
    page.figure(figure, "02_y", "Drawn.", data=replace(small_data, label="drawn points"))
    assert "drawn points" in (figures_dir("smoke") / "02_y.json").read_text(encoding="utf-8")
    assert page.table([{"a": 1}], "02_z", "A table.").data["a"].tolist() == [1]
    plt.close("all")
