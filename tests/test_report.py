import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import write_folder
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cifar_course.publish import publish, readme
from cifar_course.report import answer, cli, digest, execute, summary
from cifar_helpers import env, intervals, words
from cifar_helpers.env import CourseError, figures_dir
from cifar_helpers.sources import beside
from cifar_helpers.training.store import Store

ROOT = Path(__file__).resolve().parents[1]
REAL = os.environ.get("CIFAR10_ROOT")  # read before the fixtures hide it

PARAMETERS = 'profile = "quick"\ndata = None\ndevice = "auto"\nseed = 0\nreuse = True\nrate = 0.1'
SAVE = """from cifar_helpers import figures
from cifar_helpers.data.images import load_cifar10
figures.save_table([{"a": 1}], "NN_table", "A table.", load_cifar10(data), profile)"""


def write_notebook(folder: Path, name: str, *sources: str) -> Path:
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell(f"# {name}: a question?"), parameters, *map(new_code_cell, sources)]
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of two small notebooks, the first of which fails."""
    folder = tmp_path / "notebooks"
    write_notebook(folder, "01_fails", "1 / 0", SAVE.replace("NN", "01"))
    write_notebook(folder, "02_works", SAVE.replace("NN", "02"), 'print("  train fake run · step 1/1")')
    for module in (execute, summary, publish, readme):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


# --- before anything runs ------------------------------------------------------------------------------------------


def test_parameters_are_checked_by_name_and_type(tmp_path):
    notebook = write_notebook(tmp_path, "01_x")
    execute.check_parameters([notebook], {"seed": 3, "data": "synthetic", "rate": 1})
    with pytest.raises(CourseError, match=r"no parameter 'sed'; did you mean seed\? Known .*: profile"):
        execute.check_parameters([notebook], {"sed": 3})
    for wrong in ({"seed": "3"}, {"seed": 0.5}, {"profile": 3}, {"reuse": "no"}, {"seed": True}, {"rate": "1e-3"}):
        with pytest.raises(CourseError, match="must be of type"):
            execute.check_parameters([notebook], wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("[1, 2]", [1, 2]), ("None", None), ("smoke", "smoke"), ("a b; rm -rf", "a b; rm -rf")],
)
def test_command_line_values_are_literals_or_text(text, value):
    assert execute.parse_parameter(text) == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "huge"], "Unknown profile 'huge'; choose one of published, smoke"),
        (["--profile", "smoke", "--only", "42"], "Unknown notebook 42; there are 01_"),
        (["--profile", "smoke", "--device", "tpu"], "Unknown device 'tpu'; choose auto, cpu, cuda, cuda:N"),
        (["--profile", "smoke", "--device", "banana", "--plan"], "Unknown device 'banana'"),
        (["--profile", "smoke", "-p", "speed", "3"], "no parameter 'speed'"),
        (
            ["--profile", "smoke", "-p", "fats", "True"],
            "no parameter 'fats'; did you mean fast?",
        ),
        (["--profile", "smoke", "-p", "profile", "full"], "Use --profile"),
        (["--profile", "smoke", "-p", "seed", "x"], "must be of type int"),
        (["--profile", "smoke", "-p", "seed", "-1"], "seed must be a whole number from 0, not -1"),
        (["--profile", "smoke", "-p", "rates", "1e-3"], "rates must be None or a list of positive numbers"),
        (["--profile", "smoke", "-p", "rates", "['1e-3']"], "such as [0.001, 0.002], not ['1e-3']"),
        (["--profile", "smoke", "-p", "n_items", "many"], "n_items must be None or a whole number from 1, not 'many'"),
        (["--profile", "smoke", "-p", "gap", "3"], "gap must be 1 or 4, not 3"),
        (["--profile", "smoke", "-p", "layer", "last"], "layer must be 'all' or 'output', not 'last'"),
        (["--profile", "smoke", "--data", "/no/such/place"], "No data at"),
        (["--profile", "smoke", "--data", "synthetic", "--publish"], "is not published"),
    ],
)
def test_bad_input_stops_before_anything_runs_without_a_traceback(arguments, message, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_misspelt_parameter_is_answered_with_those_of_all_chosen_notebooks(course):
    write_notebook(course / "notebooks", "03_more")
    more = course / "notebooks" / "03_more.ipynb"
    more.write_text(more.read_text().replace("rate = 0.1", "own = 1"))
    both = [course / "notebooks" / "02_works.ipynb", more]
    execute.check_parameters(both, {"own": 2, "rate": 0.2, "seed": 1})
    with pytest.raises(CourseError, match=r"'rats'; did you mean rate\? .*profile, .* rate, own\."):
        execute.check_parameters(both, {"rats": 2})
    with pytest.raises(CourseError, match="03_more: own must be of type int"):
        execute.check_parameters(both, {"own": "x"})


def test_an_unwritable_runs_folder_stops_before_anything_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    for name in ("CIFAR_RUNS", "CIFAR_FIGURES"):
        with monkeypatch.context() as patch:
            patch.setenv(name, str(tmp_path / "file" / "inside"))
            assert cli.main(["--profile", "smoke", "--data", "synthetic"]) == 2
        captured = capsys.readouterr()
        assert "Cannot write" in captured.err and "01_data" not in captured.out


def test_notebooks_are_found_by_number_and_by_name():
    assert [p.stem for p in execute.choose(["7", "05_loss_landscape"])] == [
        "05_loss_landscape",
        "07_beta_smoothness",
    ]
    assert [p.stem for p in execute.choose(["02"])] == ["02_simple_net"]
    assert [p.stem for p in execute.choose(["02b"])] == ["02b_sweeps"]


def test_an_appendix_has_a_number_of_its_own(tmp_path):
    for made, name in enumerate(("03_a", "02b_b", "02_c", "02b_a", "report")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name, "kind": "table", "made": str(made)}))
    assert [entry["name"] for entry in summary.load_entries(tmp_path)] == ["02_c", "02b_b", "02b_a", "03_a"]
    assert [env.number_of(name) for name in ("02_simple_net", "02b_sweeps", "02b_z_sources")] == ["02", "02b", "02b"]


# --- the verdict ---------------------------------------------------------------------------------------------------


def executed(**changes):
    cell = new_code_cell("1 + 1", execution_count=1)
    notebook = new_notebook(cells=[new_markdown_cell("# x"), cell])
    notebook.metadata["papermill"] = {"end_time": "2026-01-01T00:00:00"}
    for name, value in changes.items():
        if name == "widgets":
            notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": value}}
        elif name == "papermill":
            notebook.metadata["papermill"] = value
        else:
            cell[name] = value
    return notebook


def test_verdicts():
    error = new_output("error", ename="ValueError", evalue="bad\nmore", traceback=[])
    assert execute.verdict(executed()) == "ok"
    assert execute.verdict(executed(outputs=[error])) == "cell 1: ValueError: bad"
    assert execute.verdict(executed(execution_count=None)) == "cell 1 was not executed"
    assert execute.verdict(executed(papermill={"end_time": None, "exception": None})) == "did not end"
    inside = {"w1": {"state": {"outputs": [dict(error)]}}}
    assert execute.verdict(executed(widgets=inside)) == "widget: ValueError: bad"


# --- the driver ----------------------------------------------------------------------------------------------------


# 26 s on a slow machine: three kernels start, two reports are written.
def test_a_failing_notebook_does_not_stop_the_others(course, capsys):
    assert cli.main(["--profile", "smoke", "--data", "synthetic"]) == 1
    captured = capsys.readouterr()
    assert "ZeroDivisionError" in captured.out and "02_works: ok" in captured.out
    assert "train fake run" in captured.out and "Failed: 01_fails" in captured.err
    text = (figures_dir("smoke") / "REPORT.md").read_text()
    assert "SYNTHETIC DATA" in text and "A table." in text and "02_works" in text
    assert not (figures_dir() / "REPORT.md").exists()
    executed_copy = course / "runs" / "notebooks" / "smoke" / "02_works.ipynb"
    assert nbformat.read(executed_copy, as_version=4).metadata.papermill.parameters["profile"] == "smoke"

    # Mended, the notebook is run alone and the report is whole; what it no longer makes has gone.
    write_notebook(course / "notebooks", "01_fails", SAVE.replace("NN_table", "01_other"))
    (figures_dir("smoke") / "01_old.json").write_text(
        json.dumps(
            json.loads((figures_dir("smoke") / "02_table.json").read_text()) | {"name": "01_old", "made": "2000"}
        )
    )
    assert cli.main(["--profile", "smoke", "--data", "synthetic", "--only", "01"]) == 0
    assert not (figures_dir("smoke") / "01_old.json").exists()
    assert set(json.loads((figures_dir("smoke") / "report.json").read_text())["results"]) == {"01_fails", "02_works"}


# 10 s on a slow machine: only a kernel in another folder shows what its relative paths mean.
def test_relative_places_mean_the_same_to_the_driver_and_to_the_notebooks(course, image_files, monkeypatch):
    write_folder(image_files, course / "elsewhere" / "images")
    monkeypatch.chdir(course / "elsewhere")
    monkeypatch.setattr(env, "ROOT", course)
    monkeypatch.setenv("CIFAR_COURSE_ROOT", str(course))
    monkeypatch.setenv("CIFAR_FIGURES", "my-figures")
    assert cli.main(["--profile", "laptop", "--data", "images", "--only", "02"]) == 0
    text = (course / "my-figures" / "local" / "laptop" / "REPORT.md").read_text()
    assert "A table." in text and "CIFAR-10 (PNG copy)" in text
    assert not (course / "notebooks" / "my-figures").exists()
    assert {p.suffix for p in (course / "notebooks").iterdir()} == {".ipynb"}  # no socket left behind


def test_a_dead_kernel_is_a_verdict(course):
    write_notebook(course / "notebooks", "01_fails", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "1")
    notebook = course / "notebooks" / "01_fails.ipynb"
    result = execute.execute(notebook, course / "out.ipynb", {"profile": "smoke"})
    assert "Kernel died" in result["verdict"] or "not executed" in result["verdict"]


def test_the_kernel_is_this_environments(course):
    write_notebook(course / "notebooks", "03_where", "import sys; print(sys.executable)")
    output = course / "out.ipynb"
    assert execute.execute(course / "notebooks" / "03_where.ipynb", output, {})["verdict"] == "ok"
    assert nbformat.read(output, as_version=4).cells[-1].outputs[0].text.strip() == sys.executable


# --- publishing ----------------------------------------------------------------------------------------------------


@pytest.fixture
def local_report(course, small_data, light):
    """A local quick report: one figure, one private figure, one table, behind them one run."""
    from cifar_helpers import figures
    from cifar_helpers.measure import compare
    from cifar_helpers.training import run

    real = dataclasses.replace(small_data, label="CIFAR-10 (JPEG copy)")
    record = run.get_run(light, real, "cpu")
    drawn = figures.training.training_curves([record], compare.smooth)
    began = "2026-01-01T00:00:00"
    figures.save(drawn, "01_curve", "A curve.", real, "quick", [record])
    figures.save(drawn, "01_images", "Images.", real, "quick", private=True)
    figures.save_table([{"rate": "a|b", "loss": 1.0}], "02_table", "A table.", real, "quick", [record])
    Store().measurement("gap", {"data": real.fingerprint}, lambda: {"value": 1})
    results = [{"notebook": n, "verdict": "ok", "minutes": 1.0} for n in ("01_fails", "02_works")]
    summary.write_local("quick", results, began)
    return record


def test_publishing_replaces_the_report_and_brings_the_small_records(local_report, course):
    figures = figures_dir()
    (figures / "01_stale.png").write_text("old")
    elsewhere = {"disk": [{"folder": "`.venv`", "what": "measured elsewhere", "size": "6 GB"}]}
    (figures / "profiles.json").write_text(json.dumps(elsewhere))
    blocks = (
        "<!-- notebooks: begin -->\n<!-- notebooks: end -->\n<!-- measured: begin -->\nSTALE\n<!-- measured: end -->\n"
    )
    (course / "README.md").write_text(f"a\n{blocks}b\n")
    executed = nbformat.read(course / "notebooks/02_works.ipynb", as_version=4)
    executed.cells.append(new_code_cell('page.figure(figure, "01_curve")', outputs=[new_output("stream", text="said")]))
    write_at = Store().root / "notebooks/quick/02_works.ipynb"
    write_at.parent.mkdir(parents=True)
    nbformat.write(executed, write_at)
    publish.publish("quick", Store())
    page = (course / "docs/read/02_works.md").read_text()
    assert (
        "As published: runs of profile quick, CIFAR-10 (JPEG copy), executed 20" in page
        and "```text\nsaid\n```" in page
    )
    assert {p.name for p in figures.glob("01_*")} == {"01_curve.png", "01_curve.json"}
    records = figures / "records" / local_report.folder.name
    assert {p.name for p in records.iterdir()} == {"config.json", "steps.npz", "epochs.json", "provenance.json"}
    assert list((figures / "records" / "measurements").iterdir())
    text = (figures / "REPORT.md").read_text()
    assert "![A curve.](01_curve.png)" in text and "not published" in text and r"a\|b" in text
    readme = (course / "README.md").read_text()
    assert "| `.venv` | measured elsewhere | 6 GB |" in readme
    assert "[read](docs/read/02_works.md) | [run](notebooks/02_works.ipynb) |" in readme
    assert "`quick`" in readme and "STALE" not in readme and readme.startswith("a\n") and readme.endswith("b\n")
    assert Store(published=True).get(local_report.config, "f" * 64)


def test_the_report_shows_what_the_soak_found(local_report, course):
    (course / "benchmarks").mkdir()
    counts = {"kills": 7, "lost": 0, "corrupted": 3, "retrained": 0, "different": 0}
    made = {"made": "2026-01-02T03:04:05", "machine": {"cpu": "a CPU", "git_revision": "abc"}, "seed": 5}
    found = {"kills": made | {"by_kind": {"kernel": counts}}}
    found["inputs"] = made | {"by_reader": {"record": 1000, "plan": 234}, "crashes": 0}
    found["answers"] = made | {"named": 63, "not named": 0}
    (course / "benchmarks" / "soak.json").write_text(json.dumps(found))
    publish.publish("quick", Store())
    text = (figures_dir() / "REPORT.md").read_text()
    assert "| kernel | 7 | 0 | 3 | 0 | 0 |" in text and "1,234 to 2 readers, 0 answered otherwise" in text
    assert "63 got no point and read the check's own message, 0 did not." in text
    assert text.count("a CPU, `abc`, 2026-01-02") == 3


def test_a_figure_carries_its_provenance(local_report):
    entry = json.loads((figures_dir("quick") / "01_curve.json").read_text())
    assert list(entry["runs"]) == [local_report.key] and entry["data_label"] == "CIFAR-10 (JPEG copy)"
    needed = {"data_fingerprint", "devices", "precision", "torch", "git_revision", "made", "profile", "seeds"}
    assert needed <= set(entry) and entry["precision"] == ["fp32"]
    assert not (figures_dir("quick") / "01_images.svg").exists()


def test_incomplete_failed_or_synthetic_reports_are_not_published(local_report, small_data, course):
    from cifar_helpers import figures

    write_notebook(course / "notebooks", "03_new")
    with pytest.raises(CourseError, match="03_new did not end well or was not run"):
        publish.publish("quick", Store())
    (course / "notebooks" / "03_new.ipynb").unlink()
    figures.save_table([{"a": 1}], "02_other", "Drawn.", small_data, "quick")
    with pytest.raises(CourseError, match="synthetic"):
        publish.publish("quick", Store())
    with pytest.raises(CourseError, match="no local report"):
        publish.publish("laptop", Store())
    assert not (figures_dir() / "REPORT.md").exists()


# --- the whole line ------------------------------------------------------------------------------------------------


# 20 s on a slow machine: the one test of the command that the README names for papermill alone.
def test_plain_papermill_works_from_another_directory(tmp_path):
    command = [Path(sys.executable).with_name("papermill"), ROOT / "notebooks" / "01_data.ipynb", "out.ipynb"]
    command += ["-p", "profile", "smoke"]
    environment = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert execute.verdict(notebook) == "ok"
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4  # every figure is seen, not only saved
    assert (figures_dir("smoke") / "01_pixel_values.png").exists()


# A minute on a slow machine, half of it to decode the real images, where they are at hand: the one test from images to
# report in which every part is the real one. `make notebooks-test` runs the other notebooks.
def test_a_report_trains_what_its_notebook_declares_and_the_notebook_reads_it(monkeypatch, capfd):
    if REAL:
        monkeypatch.setenv("CIFAR10_ROOT", str(Path(REAL).resolve()))
    arguments = ["--profile", "smoke", "--data", "cifar10" if REAL else "synthetic", "--only", "09", "--device", "cpu"]
    assert cli.main(arguments) == 0
    shown = capfd.readouterr().out
    assert "to train: 2, on cpu" in shown and "2 runs: 0 trained now, 2 read" in shown
    assert set(re.findall(r"(\d+) trained now", shown)) == {"0"}
    text = (figures_dir("smoke") / "REPORT.md").read_text()
    assert "09_networks.png" in text and ("SYNTHETIC" in text) == (not REAL)
    assert cli.main([*arguments, "--status"]) == 0
    assert "notebook 09_autograd: ok, ended 20" in capfd.readouterr().out


def test_the_one_table_of_the_landscape_takes_every_ratio_and_nothing_else():
    def table(name, *rows):
        return {"kind": "table", "name": name, "rows": list(rows)}

    proxy = {"rate": "0.001", "BN / no BN at the same step": "1.1", "at the same training loss": "1.2", "note": "stuck"}
    entries = [
        table("05_proxy_table", {"compared at": "the same step", "BN / no BN": "0.7", "note": ""}),
        table("05_move_table", {"rate": "0.001", "BN / no BN": "9.9", "note": ""}),
        table("05_probe_table", {"compared at": "the same step", "BN / no BN": "0.8", "note": ""}),
        table("06_proxy_table", proxy, proxy | {"rate": "0.0001", "BN / no BN at the same step": "9.8"}),
        table(
            "07_same_batch_table", proxy | {"BN / no BN at the same step": "1.3", "at the same training loss": "1.4"}
        ),
    ]
    lines = [line.split(" | ")[1:] for line in digest.glance(entries) if line.startswith("| ")][2:]
    assert lines[0] == ["direct probe, SGD 0.1", "0.8", "–", "–", " |"]
    assert lines[1][:2] == ["proxy, all rates", "0.7"]
    assert lines[2] == ["proxy, rate 0.001", "1.1", "1.2", "–", "stuck |"]
    assert lines[3][:2] == ["proxy, rate 0.0001", "9.8"] and lines[4][:3] == [
        "proxy on one batch, rate 0.001",
        "1.3",
        "1.4",
    ]
    assert len(lines) == 5 and digest.glance([]) == []  # and not the relative moves


@pytest.mark.parametrize(
    ("values", "where"), [([1, 2, 1.5], "above"), ([-1, -2, -1.5], "below"), ([-1, 2, 0.5], "undecided"), ([1], None)]
)
def test_the_side_of_an_interval_is_a_number_of_its_cell(values, where):
    result = intervals.paired([0] * len(values), values)
    assert words.ratio_cell(result, "any words").numbers["side"] == where
    assert words.difference_cell(result, "nats", "any words").numbers["side"] == where
    large = intervals.paired([0, 0], [9.9, 10.1])  # a ratio of 22 000 has a comma
    assert intervals.ratio(large).side == "above" and "," in words.rounded(float(np.exp(10)))


def saved(name, *rows):
    """A table as ``figures.save_table`` writes it."""
    entry = {"kind": "table", "name": name, "rows": words.shown(rows)}
    return entry | ({"numbers": words.numbers(rows)} if words.numbers(rows) else {})


def test_what_was_not_compared_is_left_out_of_the_answers_in_short():
    two = words.ratio_cell(intervals.paired([0], [np.log(2)]), "2.00 (n = 1, no interval)")
    rows = [
        {"compared at": digest.WAYS[0], "BN / no BN": "not compared"},
        {"compared at": digest.WAYS[1], "BN / no BN": two},
    ]
    decided = words.ratio_cell(intervals.paired([0] * 3, [-1, -2, -1.5]), "0.22")
    entries = [
        saved("05_probe_table", *rows),
        saved("06_probe_table", {"compared at": digest.WAYS[2], "BN / no BN": decided}),
    ]
    assert digest.in_short(entries) == [], "the answer speaks of these networks"
    narrow = {"width": "⅛", "steps": "15,000"}
    assert digest.in_short([*entries, saved("05_width_table", narrow)]) == []
    alike = saved("05_width_table", narrow, narrow | {"width": "1"})
    assert "At full width 1 of 2 such" in digest.in_short([*entries, alike])[2]
    widths = saved("05_width_table", narrow, {"width": "1", "steps": "600"})
    (line,) = [line for line in digest.in_short([*entries, widths]) if line.startswith("- ")]
    assert "At full width, for fewer steps, 1 of 2 such comparisons are decided as smaller" in line
    assert line.endswith("0 as larger; 1 are undecided.")


def test_the_report_begins_with_notebook_10s_answer_in_plain_words():
    lines = [
        ("it trains faster", "SGD"),
        ("a smoother landscape", "at the same training loss"),
        ("less covariate shift", "x"),
    ]

    def said(*verdicts, also=()):
        rows = [{"claim": c, "measured": m, "our records": v} for (c, m), v in zip(lines, verdicts, strict=True)]
        return digest.in_short([saved("10_why", *rows, *also)])[2]

    assert "Networks with it train faster." in (text := said("for", "for", "against"))
    assert "vary less along the gradient" in text and "finds no support" in text
    text = said("undecided", "against", "for")
    assert "train neither faster nor more slowly" in text and "vary more along" in text and "finds some support" in text
    split = {"claim": "a smoother landscape", "measured": "β at the same training loss", "our records": "undecided"}
    assert "do not vary clearly less or more" in said("for", "for", "against", also=[split])
    afar = split | {"measured": "at the same relative distance"}
    assert "vary less along" in said("for", "for", "against", also=[afar])


def test_the_answers_in_short_are_worded_by_the_numbers_and_absent_where_a_table_is():
    def loss(rate, *values):
        return {
            "rate": rate,
            "where both train": words.difference_cell(intervals.paired([0] * len(values), values), "nats"),
        }

    def ratio(way, *values):
        return {
            "compared at": way,
            "BN / no BN": words.ratio_cell(intervals.paired([0] * len(values), values), "words"),
        }

    result = {
        "network": "Net, 5 parameters",
        "test error (%)": words.Cell("9.3 (with test-time flips)", {"value": 9.3}),
        "seeds": "1",
        "epochs": "2",
        "chosen by": "validation accuracy 90 %; not at equal budget",
    }
    left = {"source": "004", "quantity": "ResNet-18", "ours": "–", "verdict": "not run"}
    verdicts = ["agrees", "agrees", "contradicts", "undecided", "not comparable"]
    entries = [
        saved("04_same_step_table", loss("0.1", -1, -2, -1.5), loss("0.2", -1, 2, 0), loss("0.3", 1, 2, 1.5)),
        saved("05_probe_table", ratio("the same step", -1, 2, 0.5), ratio("the same training loss", -1, -2, -1.5)),
        saved("07_probe_table", ratio("the same step", 1, 2, 1.5), ratio("another", 0, 0)),
        saved("03_result", *({"what": what, "value": value} for what, value in result.items())),
        saved("03_z_sources", left, *(left | {"ours": "70 %", "verdict": verdict} for verdict in verdicts)),
    ]
    lines = digest.in_short(entries)
    assert lines[0] == "## In short" and len(lines) == 6
    assert "lower with BN at rate 0.1; higher with BN at rate 0.3; undecided at rate 0.2." in lines[2]
    assert "9.3 (with test-time flips), by Net, 5 parameters, chosen by validation" in lines[3]
    assert "not at equal budget. Epochs: 2; seeds: 1." in lines[3]
    assert "4 of 6 rows are comparable; of these 2 agree, 1 contradict, 1 are undecided. 1 are not" in lines[4]
    beneath = "\n".join(digest.beside_sources(entries, "laptop"))
    assert "**Contradicted:** ResNet-18 (source 004).\n\n**Not run:** ResNet-18 (source 004).\n" in beneath
    both = loss("0.4", -1, -1.1) | {"over all seeds": loss("0.4", -1, 2, 0)["where both train"]}
    (line,) = [line for line in digest.in_short([saved("04_same_step_table", both)]) if "same step" in line]
    assert "lower with BN at rate 0.4 (where both train, n = 2; over all seeds undecided)." in line
    never = {"rate": "0.5", "over all seeds": loss("0.5", -1, -1.1)["where both train"]}
    assert (
        "lower with BN at rate 0.5 (at no seed do both train)."
        in digest.in_short([saved("04_same_step_table", never)])[2]
    )
    assert digest.in_short([]) == []
    unread = saved("03_result", {"what": "network", "value": "Net"}, {"what": "test error (%)", "value": "not read"})
    assert digest.in_short([unread]) == []


def test_two_sources_that_contradict_one_another_are_set_against_the_rates():
    def row(name, *values):
        found = intervals.paired([0] * len(values), values)
        ratio = {"paired": found, "in_words": "x", "trains": True}
        return beside.table([beside.ratio(name, "rate", ratio, 1, ())])[0]

    rows = [row("grad_dist_all", 1, 1.1, 1.2), row("grad_dist_all", -1, 1, 0), row("grad_dist_output", -1, -1.1, -1.2)]
    (line,) = [line for line in digest.in_short([saved("06_z_sources", *rows)]) if "source 001, as we read it" in line]
    assert line.endswith("of all parameters larger at 1 of 2 rates, undecided at 1 of 2 rates; "
                         "of the output layer smaller at 1 of 1 rates.")  # fmt: skip


def test_the_published_tables_carry_the_numbers_of_the_answers():
    entries = summary.load_entries(ROOT / "figures")
    assert len(answer.nine(entries, "laptop")[0]) == 9
    assert 180 < len(" ".join(digest.in_short(entries, answer.sentences(entries, "laptop"))).split()) < 360
    assert len([line for line in digest.beside_sources(entries, "laptop") if line.startswith("| 11")]) > 70
    assert any("direct probe" in line for line in digest.glance(entries))


def test_the_readmes_answer_is_that_of_the_published_records():
    answer_given = digest.why(summary.load_entries(ROOT / "figures"))
    assert answer_given and answer_given in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_landscape_says_once_how_many_intervals_stand_together():
    cells = [
        words.ratio_cell(intervals.paired([0] * 3, values), "x") for values in ([1, 1.01, 0.99], [1, 2, 3], [-1, 2, 0])
    ]
    rows = [{"compared at": way, "BN / no BN": cell, "note": ""} for way, cell in zip(digest.WAYS, cells, strict=True)]
    text = digest.glance([saved("05_probe_table", *rows)])[2]
    assert "holds 3 intervals: by themselves 1 leave out 1; with Holm's correction for 3 tests 1 do" in text


def test_what_we_saw_is_all_that_the_closing_cells_printed(tmp_path):
    def printing(text):
        return new_code_cell("print()", outputs=[new_output("stream", text=text)])

    closing = [new_markdown_cell("## What we saw\n\nWords."), printing("one\n"), new_code_cell("x = 1")]
    closing += [
        new_markdown_cell("And:"),
        printing("two\n\nthree\n"),
        new_code_cell("words.say()", outputs=[new_output("display_data", {"text/markdown": "Four *words*."})]),
        new_markdown_cell("**What it does not show.** M."),
    ]
    path = tmp_path / "executed.ipynb"
    nbformat.write(new_notebook(cells=[printing("before"), *closing, printing("after")]), path)
    assert summary._what_we_saw(path) == ["**What we saw.**", "", "- one", "- two", "- three", "- Four *words*.", ""]
    assert summary._what_we_saw(tmp_path / "none.ipynb") == []


def test_the_sources_results_stand_in_one_table():
    rows = [{"source": "001", "quantity": "q", "source's result": "1", "ours": "2", "seeds": "3", "remark": "agrees"}]
    entries = [{"name": "02_z_sources", "rows": rows}, {"name": "02_other", "rows": [{"a": 1}]}]
    lines = digest.beside_sources(entries, "laptop")
    assert "| 02 | 001 | q | 1 | 2 | 3 | agrees | laptop |" in lines and not any(line == "a" for line in lines)
    assert digest.beside_sources(entries[1:], "laptop") == []
