"""The first quarter of an hour: what ``quick`` trains and shows, its forecast, its memory, its answer."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from test_report import SAVE, saved, write_notebook

from cifar_course.cluster import pool
from cifar_course.publish import publish
from cifar_course.report import answer, cli, execute, summary, training
from cifar_helpers import intervals, models, plans, words
from cifar_helpers.env import CourseError, figures_dir
from cifar_helpers.measure import timing
from cifar_helpers.plans.forecast import Forecast, kind, steps_worth
from cifar_helpers.plans.jobs import Job
from cifar_helpers.training import memory, run
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.probes import ProbeConfig

L = plans.landscape
TINY = RunConfig("LeNet5", optimizer="SGD", lr=0.05, steps=4, batch_size=16, eval_every=2, eval_items=60, test=False)


# --- What it trains ------------------------------------------------------------------------------------------------


def test_quick_trains_the_narrow_networks_once_and_of_02_two_nets_alone():
    assert set(L.direct_runs("quick")) == set(L.narrow_runs("quick"))
    assert L.direct_probes("quick") == L.narrow_probes("quick")
    assert set(L.bn_sweep("quick")) == set(L.narrow_sweep("quick"))
    jobs = plans.jobs.plan(list(plans.jobs.NOTEBOOKS), {"profile": "quick"})
    assert {number for job in jobs for number in job.notebooks} == {"02", "04", "05", "06", "07"}
    fair = [job.config for job in jobs if "02" in job.notebooks]
    assert [(config.model, config.steps) for config in fair] == [("MyNet", 702), ("LeNet5", 702)]
    long = plans.sweeps.mynet("laptop")
    assert dataclasses.replace(long, steps=fair[0].steps, test=False) == fair[0], "as the long run begins"
    assert {config.model_args["width"] for config in L.direct_runs("quick") + L.bn_sweep("quick")} == {0.125}
    assert len({config.seed for config in L.direct_runs("quick")}) == 4
    assert sum(map(steps_worth, jobs)) < 20_000, "ten minutes of two slow cores, at 60 ms a step"


@pytest.mark.parametrize("name", ["VGG_A_Dropout", "VGG_A_BatchNorm_Dropout"])
def test_the_family_is_as_narrow_as_it_is_told(name):
    narrow, wide = (models.parameter_count(getattr(models, name)(width=width)) for width in (0.125, 1.0))
    assert wide == models.parameter_count(getattr(models, name)()) and 50 < wide / narrow < 70


# --- The notebooks that show what is published ---------------------------------------------------------------------


def test_a_shown_notebook_gets_the_published_profile_and_its_section_says_so(tmp_path, monkeypatch, capsys):
    for name in ("02_shows", "05_trains"):
        write_notebook(tmp_path / "notebooks", name, SAVE.replace("NN", name[:2]))
    for module in (execute, summary):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(cli.Report, "jobs", lambda self: [])
    assert cli.main(["--profile", "quick", "--data", "synthetic"]) == 0
    said = capsys.readouterr().out
    assert "quick cannot answer 02: there the published results are shown." in said and "min left of the whole" in said
    assert (figures_dir("published") / "02_table.json").exists() and not (
        figures_dir("quick") / "02_table.json"
    ).exists()
    text = (figures_dir("quick") / "REPORT.md").read_text(encoding="utf-8")
    assert "| 02_shows (published runs) | ok |" in text and "| 05_trains | ok |" in text
    shows, trains = text.split("## 02_shows")[1].split("## 05_trains")
    assert "**Published runs.**" in shows and "A table." in shows
    assert "Published runs" not in trains and "A table." in trains
    assert "- the last command announced" in text
    with pytest.raises(CourseError, match="only shows published runs in 02_shows"):
        publish._refuse_unpublishable(json.loads((figures_dir("quick") / "report.json").read_text()), [{}])


def test_notebooks_end_with_the_one_that_executes_them(tmp_path):
    slow = write_notebook(tmp_path, "02_slow", "import time; time.sleep(60)")
    groups = []

    def fails(group):
        groups.append(group)
        while not group.children:
            pass
        raise KeyboardInterrupt

    tasks = [fails, lambda group: execute.execute(slow, tmp_path / "out.ipynb", {}, group=group)]
    with pytest.raises(KeyboardInterrupt):
        execute.several(tasks, 2)
    assert not groups[0].children and not (tmp_path / "out.ipynb").exists()
    with pytest.raises(KeyboardInterrupt):  # what begins too late to be asked does not begin
        execute.execute(slow, tmp_path / "out.ipynb", {}, group=groups[0])
    assert not groups[0].children and not list(tmp_path.glob("*out.ipynb"))
    after = write_notebook(tmp_path, "03_after", "1")  # what ended these does not end the next
    assert execute.execute(after, tmp_path / "after.ipynb", {})["verdict"] == "ok"


# --- Forecast ------------------------------------------------------------------------------------------------------


def test_a_run_is_worth_its_steps_its_evaluations_and_the_gradients_of_its_probes():
    assert steps_worth(Job(TINY)) == pytest.approx(4 + 2 * (1000 + 60) / 3 / 16)
    whole = dataclasses.replace(TINY, eval_items=None, test=True, steps=3, batch_size=100)
    assert steps_worth(Job(whole)) == pytest.approx(3 + (2 * 6000 + 10_000) / 300)
    probes = (
        ProbeConfig("along_gradient", every=2, etas=(0.1, 0.2, 0.4)),
        ProbeConfig("noise", at=(1,), batches=5),
        ProbeConfig("same_batch", every=1),
    )
    assert steps_worth(Job(TINY, probes)) == pytest.approx(steps_worth(Job(TINY)) + 2 * 3 + 5 + 4)


def test_a_forecast_is_corrected_by_what_has_ended(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(plans.forecast.time, "monotonic", lambda: now[0])
    jobs = [Job(dataclasses.replace(TINY, seed=seed)) for seed in range(4)]
    second = 60 / steps_worth(jobs[0])  # a minute a run
    made = Forecast(jobs, {kind(TINY): second}, 2, notebooks=3.0)
    assert made.announced == pytest.approx(5.0) and made.left() == pytest.approx(5.0)
    now[0] = 120.0
    made.ended(jobs[0].config, 120.0)  # twice as slow
    assert made.left() == pytest.approx(4 - 2 + 3)
    for job in jobs[1:]:
        made.ended(job.config, 120.0)
    made.to_execute = 0.5
    assert made.left() == pytest.approx(1.5)
    alone = Forecast(jobs[:1], {kind(TINY): second}, 8, notebooks=0.0)
    assert alone.announced == pytest.approx(1.0), "no sooner than its longest run"
    assert Forecast([], {}, 1, 2.0).announced == 2.0
    other = Job(dataclasses.replace(TINY, model="MyNet"))
    assert Forecast([jobs[0], other], {kind(TINY): second}, 1, 0.0).announced == pytest.approx(2.0)


def test_some_notebooks_take_their_share_of_the_minutes(monkeypatch, capsys):
    options = cli.parser().parse_args(["--profile", "smoke", "--only", "05", "06", "--data", "synthetic"])
    monkeypatch.setattr(cli.Report, "missing", lambda self: [])
    made = training.announce(cli.Report(options), ["cpu"], 1)
    assert made.announced == pytest.approx(plans.profiles.get_profile("smoke").notebook_minutes * 2 / 12)
    assert "about 1 min, 0 of them for 0 runs" in capsys.readouterr().out


def test_steps_are_timed_beside_one_another_and_a_broken_run_stops_nothing(small_data):
    kinds = {"good": TINY, "broken": dataclasses.replace(TINY, batch_size=100_000)}
    threads = torch.get_num_threads()
    found = timing.step_times(kinds, small_data, "cpu", workers=2, threads=1, seconds=0.2)
    assert set(found) == {"good"} and 0 < found["good"] < 5 and torch.get_num_threads() == threads


def test_the_line_of_a_run_carries_the_minutes_of_the_whole(small_data, store, capfd):
    from cifar_helpers.data.images import load_cifar10

    fingerprint, job = load_cifar10("synthetic").fingerprint, Job(TINY)
    made = Forecast([job], {kind(TINY): 1e-3}, 1, notebooks=7.0)
    assert pool.train([job], "synthetic", fingerprint, ["cpu"], 1, store, forecast=made) == {}
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "done" in line]
    assert line.strip().startswith("[1/1] done LeNet5") and line.endswith(" · 7 min left of the whole")
    assert made.took > 0 and not made.to_train


# --- Memory --------------------------------------------------------------------------------------------------------


def test_what_a_step_keeps_is_counted_by_hand():
    """LeNet-5's images, its two convolutions' and two poolings' outputs, with their indices, and its linear layers'."""
    config = dataclasses.replace(TINY, batch_size=100)
    more = memory.step_bytes(dataclasses.replace(config, batch_size=200)) - memory.step_bytes(config)
    floats = 3 * 32**2 + 6 * 28**2 + 6 * 14**2 + 16 * 10**2 + 400 + 120 + 84 + 10
    indices = 2 * (6 * 14**2 + 400)  # 8 bytes each
    assert more / memory.SPREAD / 100 / 4 == pytest.approx(floats + indices, rel=0.1)
    wider = memory.step_bytes(dataclasses.replace(config, gradients=True, gaps=(1, 4))) - memory.step_bytes(config)
    assert wider == pytest.approx(5 * 4 * models.parameter_count(models.LeNet5()), rel=0.01)


def test_a_run_that_does_not_fit_is_refused_with_both_numbers(small_data, store, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2e6)
    with pytest.raises(CourseError, match=r"a step takes about 0\.0 GB, and 0\.0 GB are free on cpu"):
        run.get_run(dataclasses.replace(TINY, batch_size=64), small_data, "cpu", store)
    with pytest.raises(CourseError, match=r"a step takes about .* GB"):
        timing.seconds_per_step(dataclasses.replace(TINY, batch_size=64), small_data, "cpu", 1)
    assert not list(store.root.glob("*-*"))
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)  # a system that does not say
    memory.check(dataclasses.replace(TINY, batch_size=64), torch.device("cpu"))


def test_free_memory_is_what_the_system_says(monkeypatch):
    assert 1e8 < memory.free_bytes(torch.device("cpu")) < 1e14
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 4)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1)
    assert memory.free_bytes(torch.device("cuda:0")) == 8


def test_a_deep_network_at_a_large_batch_is_timed_in_little_memory():
    """The whole batch took 5.6 GB; ResNet-152 at 128, as notebook 03 times it, 13.4."""
    code = """if True:
        import resource, torch
        from cifar_helpers.data import images, synthetic
        from cifar_helpers.measure import timing
        from cifar_helpers.training.store import Store
        (drawn, labels), names = synthetic.draw(600, 0), synthetic.CLASSES
        tensors = [torch.from_numpy(each) for each in (drawn, labels, drawn, labels)]
        data = images.ImageData(*tensors, names, "SYNTHETIC", "f" * 64)
        (row,) = timing.depth_times(["resnet18"], data, 600, 1, "cpu", Store())
        assert row["batch_size"] == 600 and row["seconds_per_step"] > 0
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 3.0


# --- The answer ----------------------------------------------------------------------------------------------------


def measured(*ratios: float) -> list[dict]:
    """Rows of a probe's table at the three ways; a negative ratio stands for one whose seeds do not agree."""
    rows = []
    for way, ratio in zip(answer.WAYS, ratios, strict=True):
        spread = np.array([-0.01, 0, 0.01]) if ratio > 0 else np.array([-1.0, 0, 1.0])
        found = intervals.paired([0, 0, 0], np.log(abs(ratio)) + spread)
        rows.append({"compared at": way, "BN / no BN": words.ratio_cell(found, words.ratio_text(found))})
    return rows


def test_the_answer_is_three_sentences_and_says_where_the_published_report_differs():
    ours = [
        saved("05_probe_table", *measured(0.21, 0.45, 1.2)),
        saved("06_probe_table", *measured(0.31, 0.41, 0.7)),
        saved("07_probe_table", *measured(0.58, 0.72, -0.9)),
    ]
    theirs = [saved("05_probe_table", *measured(0.42, 0.45, 0.8)) | {"profile": "laptop"}]
    first, second, third = answer.sentences(ours, "quick", theirs)
    assert "3 of 3 measures of roughness" in first and "of the loss 0.450 [0.439, 0.461]; the" in first
    assert "VGG-A at 1/8 of its width, 1,200 steps, 4 seeds" in first
    assert "Of 9 comparisons" in second and "7 are decided as smaller" in second and "1 are undecided" in second
    assert "variation of the loss at the same relative distance: 1.20 [1.17, 1.23], larger; effective β at" in second
    assert second.endswith("undecided); with Holm's correction 8 are decided.")
    assert (
        "(VGG-A at full width, 600 steps, 3 seeds) has the same sign in 2 of 3, and its intervals meet these in 1"
        in third
    )
    assert "other sign: variation of the loss at the same relative distance: 1.20 [1.17, 1.23] here, 0.800" in third
    assert third.endswith("the two differ in width and length.")
    longer = {"width": "⅛", "steps": "15,000", "seeds": "3"}
    narrow = [
        saved(f"{number}_width_table", *[row | {"width": "1"} for row in rows], *[row | longer for row in rows])
        for number, rows in (
            ("05", measured(0.1, 0.3, 0.4)),
            ("06", measured(0.5, 0.6, 0.7)),
            ("07", measured(1, 1, 2)),
        )
    ]
    for row in (row for table in narrow for row in table["rows"][:3]):
        row["BN / no BN"] = "another"
    first, second = answer.sentences(ours + narrow, "laptop")
    assert "loss 0.300 [" in first and "VGG-A at ⅛ of its width, 15,000 steps, 3 seeds" in first
    assert "6 are decided as smaller" in second and "effective β at the same relative distance: 2" in second
    assert len(answer.sentences(ours, "quick")) == 2 and answer.sentences([], "quick", theirs) == []


def test_two_fair_runs_stand_beside_the_published_ones_that_begin_as_they_do(small_data, store, scratch, monkeypatch):
    records = type(store)(scratch / "figures" / "records")
    long = dataclasses.replace(TINY, steps=6, eval_every=2, test=True)
    known = run.get_run(long, dataclasses.replace(small_data, fingerprint="a" * 64), "cpu", records)
    short = dataclasses.replace(TINY, eval_every=4, steps=5)
    mine = run.get_run(short, small_data, "cpu", store)
    other = dataclasses.replace(TINY, lr=0.1)
    run.get_run(other, small_data, "cpu", store)
    monkeypatch.setattr(plans.sweeps, "fair", lambda profile: [short, other, dataclasses.replace(TINY, seed=9)])
    first, second = answer.fair("quick", small_data.fingerprint)
    assert first["validation accuracy here (%)"] == f"{100 * mine.epochs[-1]['validation_accuracy']:.1f}"
    assert first["published (%)"] == f"{100 * known.epochs[1]['validation_accuracy']:.1f} after 4 steps"
    assert second["published (%)"] == "–"
