"""The settings of the notebooks, as papermill passes them: every one is checked in the data cell."""

from pathlib import Path

import nbformat
import pytest

from cifar_course.report.execute import notebook_parameters
from cifar_helpers import notebook, plans
from cifar_helpers.env import CourseError

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("[0-9][0-9]*_*.ipynb"))
# What a command line makes of a slip, for each setting: text where a number was meant, a number where a list was.
SLIPS = {
    "profile": [7, None, ["smoke"]],
    "data": [7, True, ["a"]],
    "seed": ["zwei", "0", -1, 1.0, True, None],
    "device": [0, None],
    "reuse": ["maybe", "False", "", 0, 1, None],
    "fast": ["yes", 1, None],
    "n_items": ["many", "1000", 0, 10.0, True],
    "rates": ["1e-3", "[1e-3]", 1e-3, [], ["1e-3"], [0.1, -0.1], [float("nan")], [True], {"a": 1}],
    "gap": ["1", 2, 1.0, True, None],
    "layer": ["last", 1, None, ["all"]],
}


def data_cell(notebook: Path) -> str:
    """The call that loads the images."""
    cells = nbformat.read(notebook, as_version=4).cells
    (source,) = [cell.source for cell in cells if cell.cell_type == "code" and "open_page(profile" in cell.source]
    return source.splitlines()[0]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_checks_the_type_of_each_of_its_settings_before_it_reads_the_images(path, monkeypatch):
    parameters = notebook_parameters(path)
    assert set(parameters) <= set(SLIPS) == set(plans.settings.RULES)
    line, read = data_cell(path), []
    monkeypatch.setattr(notebook, "load_cifar10", read.append)
    monkeypatch.setattr(notebook, "PublishedPage", lambda images: None)
    exec(line, {"notebook": notebook} | parameters)
    assert read == ["local"]
    for name in parameters:
        for slip in SLIPS[name]:
            with pytest.raises(CourseError) as refused:
                exec(line, {"notebook": notebook} | parameters | {name: slip})
            said = str(refused.value)
            assert said.startswith(f"{name} must be ") and said.endswith(f", not {slip!r}."), said
    assert len(read) == 1


def test_right_settings_pass_and_all_that_are_wrong_are_named_at_once():
    more = {"fast": True, "n_items": 100, "rates": (1e-3, 2), "gap": 4, "layer": "output"}
    assert plans.settings.image_source("quick", "cifar10", 2, "cpu", False, **more) == "cifar10"
    with pytest.raises(CourseError, match=r"seed must .*, not '1'\.\nreuse must be True or False, not 'maybe'\."):
        plans.settings.image_source("quick", None, "1", "cpu", "maybe")
    plans.settings.check({"own_setting": object()})  # of a notebook that somebody has changed
