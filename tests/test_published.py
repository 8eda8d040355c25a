"""The profile ``published``: it reads what is published, trains nothing, and goes on where something is missing."""

import json
import shutil
from dataclasses import replace

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from cifar_helpers import env, notebook, plans
from cifar_helpers.env import CourseError, figures_dir
from cifar_helpers.measure import timing
from cifar_helpers.plans.profiles import PROFILES, PUBLISHED, get_profile, published_from
from cifar_helpers.teach import listening
from cifar_helpers.training import run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.published import NotPublishedError, PublishedStore, whose
from cifar_helpers.training.store import DRAWN, Store

TINY = RunConfig("LeNet5", optimizer="SGD", lr=0.05, steps=2, batch_size=16, eval_every=2, precision="fp32", test=False)


@pytest.fixture
def published(small_data, scratch):
    """Two seeds of a tiny run, published; the images at hand are others."""
    records = Store(scratch / "figures" / "records")
    made = replace(small_data, fingerprint="a" * 64, label="CIFAR-10 (JPEG copy)")
    return [run.get_run(replace(TINY, seed=seed), made, "cpu", records) for seed in (0, 1)]


@pytest.fixture
def page(published, small_data, monkeypatch):
    monkeypatch.setattr(notebook, "display", lambda shown: None)
    return notebook.PublishedPage(small_data)


def test_published_runs_are_read_whatever_images_are_at_hand(page, published, capsys):
    assert [record.key for record in page.runs([TINY, replace(TINY, seed=1)])] == [r.key for r in published]
    page.announce([plans.jobs.Job(TINY), plans.jobs.Job(replace(TINY, seed=5))])
    said = capsys.readouterr().out
    assert "0 trained now" in said and "1 runs on CIFAR-10 (JPEG copy), trained 2" in said and "seeds 0" in said
    assert "Not published yet: 1 of 2 runs" in said and page.at_hand.label in said
    assert not list(page.store.root.glob("*-*")), "nothing is written"


def test_what_is_not_published_is_not_trained_and_the_profile_that_would_is_named(page):
    wanted = [TINY, replace(TINY, seed=7)]
    with pytest.raises(NotPublishedError, match="1 of these 2 runs are not published.*laptop.*trains them .about"):
        page.runs(wanted)
    with pytest.raises(NotPublishedError, match="with all that this cell needs"):
        run.get_run(TINY, page.images, "cpu", page.store, [plans.landscape.same_batch("smoke")])
    with pytest.raises(NotPublishedError, match="timed by the profiles that train"):
        timing.predict(wanted, page.images, "cpu", page.store)
    with pytest.raises(NotPublishedError, match="02_x"):
        page.found["02_x"]


def test_a_sweep_shows_the_variants_that_are_published(page, published, capsys):
    with pytest.raises(NotPublishedError, match="2 of these 2 runs"):
        page.sweep(plans.sweeps._sweep("02_y", "T", "rate", {"1": replace(TINY, lr=1.0)}, 0, 2))
    alone = plans.sweeps._sweep("02_w", "T", "rate", {"1": TINY, "2": replace(TINY, lr=0.1)}, 0, 2)
    with pytest.raises(NotPublishedError, match="2 of these 4 runs"):
        page.sweep(alone)  # one variant of two compares nothing
    run.get_run(replace(TINY, lr=0.2), replace(page.images), "cpu", Store(page.store.published))
    variants = {"1": TINY, "2": replace(TINY, lr=0.2), "3": replace(TINY, lr=0.1)}
    page.sweep(plans.sweeps._sweep("02_x", "Three rates", "rate", variants, 0, 3))
    found = page.found["02_x"]
    assert [record.config for record in found.runs] == [TINY, replace(TINY, lr=0.2)]
    assert "Not published yet: 3." in capsys.readouterr().out
    kept = json.loads((figures_dir(PUBLISHED) / "02_x.json").read_text(encoding="utf-8"))
    assert kept["data_label"] == "CIFAR-10 (JPEG copy)" and kept["data_fingerprint"] == "a" * 64
    page.figure(plt.figure(), "02_y", "Of the images at hand.")
    page.figure(plt.figure(), "02_z", "Drawn.", data=page.drawing)
    assert json.loads((figures_dir(PUBLISHED) / "02_z.json").read_text(encoding="utf-8"))["data_label"] == "no images"
    assert page.measured.classes[3] == "cat" and page.at_hand.classes[3] == "triangle"
    kept = json.loads((figures_dir(PUBLISHED) / "02_y.json").read_text(encoding="utf-8"))
    assert kept["data_label"] == page.at_hand.label and kept["data_fingerprint"] == page.at_hand.fingerprint
    plt.close("all")


def test_seeds_that_not_all_variants_have_are_left_out(page, published, small_data):
    other = replace(TINY, lr=0.1)
    records = Store(published[0].folder.parent)
    run.get_run(other, replace(small_data, fingerprint="a" * 64), "cpu", records)
    sweep = plans.sweeps._sweep("02_x", "Two rates", "rate", {"1": TINY, "2": other}, 0, 2)
    assert page._recorded(sweep).configs == [TINY, other]
    assert page._recorded(plans.sweeps._sweep("02_y", "T", "rate", {"1": replace(TINY, lr=1.0)}, 0, 1)).configs


def test_measurements_are_read_and_never_made_on_other_images(page):
    with pytest.raises(NotPublishedError, match="confusion"):
        page.store.measurement("confusion", {"run": "x", "data": page.images.fingerprint}, dict)
    assert page.store.measurement("toy", {"data": DRAWN}, lambda: {"a": 1}) == {"a": 1}
    assert PublishedStore().measurement("toy", {"data": DRAWN}, pytest.fail) == {"a": 1}


def test_a_course_without_records_says_so(scratch, monkeypatch):
    monkeypatch.setattr(env, "ROOT", scratch)
    monkeypatch.setattr("cifar_helpers.training.store.ROOT", scratch)
    with pytest.raises(CourseError, match="no figures/records"):
        PublishedStore()


def test_a_damaged_published_record_counts_as_missing_and_is_named(page, published, capsys):
    (published[0].folder / "epochs.json").write_text("[]", encoding="utf-8")
    assert page.store.get(TINY) is None and "1 of the 2 published records cannot be read" in capsys.readouterr().out


def test_it_shows_the_plan_of_one_profile_and_no_more_than_its_records_hold():
    shown, source = get_profile(PUBLISHED), PROFILES[published_from()]
    assert shown.narrow_seeds == source.narrow_seeds and shown.data == "local"
    store = PublishedStore()
    for name in ("04_bn_comparison", "06_gradient_predictiveness", "08_insight", "10_why_batchnorm"):
        jobs = plans.jobs.plan([name], {"profile": PUBLISHED})
        assert jobs and all(store.get(job.config) for job in jobs), name
    records = [store.get(job.config) for job in plans.jobs.plan(["04_bn_comparison"], {"profile": PUBLISHED})]
    assert {record.provenance["data_fingerprint"] for record in records} == {store.fingerprint}
    assert f"{len(records)} runs on {store.label}" in whose(records)


def test_a_sweep_is_published_at_its_source_s_length_once_seed_0_of_every_variant_has_come(published):
    records, long = published[0].folder.parent, plans.sweeps.nll_identity("laptop")
    *first, last = [records / configs[0].folder_name("a" * 64) for configs in long.variants.values()]
    for folder in first:
        folder.mkdir()
    assert {c.steps for c in plans.sweeps.nll_identity(PUBLISHED).configs} == {get_profile(PUBLISHED).mynet}
    last.mkdir()
    assert plans.sweeps.nll_identity(PUBLISHED, 3).configs == plans.sweeps.nll_identity("laptop", 3).configs
    assert {c.steps for c in plans.sweeps.structure(PUBLISHED).configs} == {get_profile(PUBLISHED).mynet}
    assert get_profile(PUBLISHED).mynet < PROFILES["laptop"].mynet


def test_who_publishes_another_profile_shows_that_one(scratch, published):
    assert published_from() == "laptop" and get_profile(PUBLISHED).lenet < PROFILES["laptop"].lenet
    (scratch / "figures" / "published.json").write_text('{"profile": "full"}', encoding="utf-8")
    assert published_from() == "full" and get_profile(PUBLISHED).lenet == PROFILES["full"].lenet


def test_every_published_record_is_of_the_same_images():
    paths = sorted((env.ROOT / "figures" / "records").glob("*-*/provenance.json"))
    made = {json.loads(path.read_text(encoding="utf-8"))["data_fingerprint"] for path in paths}
    assert made == {PublishedStore().fingerprint}


# --- cells that are skipped -----------------------------------------------------------------------------------------


def test_the_names_a_cell_makes():
    source = "a, (b, *c) = 1, (2, 3)\nfor d in a:\n    e = [f for f in d]\ng += 1\ndef h(i):\n    j = i\nk['l'] = m.n"
    assert listening.names_made(source) == {"a", "b", "c", "d", "e", "g", "h"}
    assert listening.names_made("with open(a) as b:\n    import c\nclass D:\n    e = 1") == {"b", "D"}


def executed(*sources: str) -> list[str]:
    """What each of these cells prints, executed in a fresh kernel."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(book, timeout=60, kernel_name="python3").execute()
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in book.cells]


SETTING_UP = """from cifar_helpers.teach import listening
from cifar_helpers.training.published import NotPublishedError
listening.listen(skips=True)
listening.listen(skips=True)
def missing():
    raise NotPublishedError("This run is not published.")
value = other = 1"""


def test_a_skipped_cell_says_why_and_the_notebook_goes_on_without_its_names():
    said = executed(
        SETTING_UP,
        "value = missing()",
        "print(value + 1)",
        "print(other)",
        "value = 5",
        "print(value)",
        "def use():\n    return gone\ngone = missing()",
        "print(other)\nuse()",
    )
    assert said[1] == "Skipped: This run is not published.\n"
    assert said[2] == "Skipped: it needs value, of a cell above that was skipped.\n"
    assert said[3] == "1\n" and said[5] == "5\n"
    assert said[7] == "1\nSkipped: it needs use, of a cell above that was skipped.\n"


@pytest.mark.parametrize(("source", "error"), [("print(never_made)", "NameError"), ("1 / 0", "ZeroDivisionError")])
def test_any_other_error_is_an_error(source, error):
    with pytest.raises(CellExecutionError, match=error):
        executed(SETTING_UP, "value = missing()", source)


def test_a_graded_check_is_never_skipped(monkeypatch):
    """nbgrader counts a cell without an error as passed."""
    cells = (SETTING_UP, "answer = missing()", "check = 'checks.swish('\nprint(answer)")
    assert executed(*cells)[2].startswith("Skipped: it needs answer")
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(CellExecutionError, match="NameError"):
        executed(*cells)


def test_the_published_records_are_found_from_another_folder(scratch, published, small_data):
    shutil.rmtree(scratch / "figures")
    assert PublishedStore().published == env.ROOT / "figures" / "records"
