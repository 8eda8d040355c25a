"""Every exercise: the notebook's own solution passes, every wrong variant in ``answers/`` fails by its own message."""

import ast
import importlib
import re
import sys
import warnings
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from conftest import APPENDICES

from cifar_helpers.env import number_of
from cifar_helpers.teach import checks
from cifar_helpers.teach.checks import engine

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {number_of(path.stem): nbformat.read(path, as_version=4) for path in (ROOT / "notebooks").glob("*.ipynb")}
HANDOUTS = {  # tasks of the handout and of the issue that must be among them
    *("channel_statistics", "training_step", "swish", "l1_penalty", "sgd", "adam", "residual_block"),
    *("batch_norm", "vgg_batch_norm", "min_max_curve", "direct_probe"),
    *("gradient_predictiveness", "beta_smoothness"),
    *("divide_backward", "matmul_backward", "sum_backward"),
}


class Raises:
    def __init__(self, *inputs):
        raise ValueError("no")


GARBAGE = {  # what a student may hand over in place of an answer
    "nothing": None,
    "a number": 3,
    "other arguments": lambda: None,
    "a class that raises": Raises,
    "a text": lambda *inputs: "text",
    "an empty tuple": lambda *inputs: (),
    "what it was given": lambda *inputs: inputs[0],
    "not a number": lambda *inputs: float("nan"),
}


def answers(kind: str) -> dict[str, list]:
    """Exercise → its answers of this kind in every module of ``answers/``.

    ``WRONG``: (variant, part of its message). ``RIGHT``: right answers that are unlike the notebook's.
    """
    found: dict[str, list] = {}
    for path in sorted((ROOT / "tests/answers").glob("*.py")):
        for name, given in getattr(importlib.import_module(f"answers.{path.stem}"), kind, {}).items():
            found.setdefault(name, []).extend(given)
    return found


WRONG = answers("WRONG")
CASES = [(name, *case) for name, cases in WRONG.items() for case in cases]
OTHERWISE_RIGHT = [(name, answer) for name, given in answers("RIGHT").items() for answer in given]


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def defined(exercise: checks.Exercise, solved: bool = True):
    """What the notebook's solution cell defines, after the notebook's imports; with its stub where not ``solved``."""
    code = [cell for cell in NOTEBOOKS[exercise.notebook].cells if cell.cell_type == "code"]
    imports = [node for cell in code for node in ast.parse(cell.source).body if is_import(node)]
    names: dict = {}
    exec(compile(ast.Module(imports, []), "imports", "exec"), names)
    cells = [cell for cell in code if cell.metadata.get("nbgrader", {}).get("grade_id") == exercise.name]
    assert len(cells) == 1, f"{len(cells)} cells have the grade_id {exercise.name}"
    source = cells[0].source
    if not solved:
        source = re.sub(r"### BEGIN SOLUTION.*### END SOLUTION", "raise NotImplementedError", source, flags=re.DOTALL)
    exec(compile(source, exercise.name, "exec"), names)
    return names[exercise.answer]


@pytest.mark.parametrize("name", checks.EXERCISES)
def test_the_reference_solution_passes(name):
    outcome = checks.EXERCISES[name].check(defined(checks.EXERCISES[name]))
    assert outcome.state == "solved", outcome


@pytest.mark.parametrize(("name", "answer"), OTHERWISE_RIGHT, ids=[f"{c[0]}-{c[1].__name__}" for c in OTHERWISE_RIGHT])
def test_a_right_answer_of_another_form_passes(name, answer):
    outcome = checks.EXERCISES[name].check(answer)
    assert outcome.state == "solved", outcome


@pytest.mark.parametrize("name", checks.EXERCISES)
def test_a_stub_says_that_it_is_not_solved(name):
    outcome = checks.EXERCISES[name].check(defined(checks.EXERCISES[name], solved=False))
    assert outcome.state == "unsolved", outcome


@pytest.mark.parametrize(
    ("name", "variant", "part"), CASES, ids=[f"{c[0]}-{getattr(c[1], '__name__', 'built')}" for c in CASES]
)
def test_a_wrong_variant_is_named(name, variant, part):
    outcome = checks.EXERCISES[name].check(variant)
    assert outcome.state == "mistaken" and part in outcome.message, outcome


@pytest.mark.parametrize("name", checks.EXERCISES)
def test_five_wrong_variants_each_with_its_own_message(name):
    messages = [str(checks.EXERCISES[name].check(variant)) for variant, _ in WRONG[name]]
    assert len(messages) >= 5 and len(set(messages)) == len(messages), messages


def test_every_mistake_that_has_a_name_has_its_sentence_and_no_sentence_is_left_over():
    folder = ROOT / "cifar_helpers/teach/checks"
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    named = re.findall(r'(?:^ +|mistakes\[|Mistake\()"([a-z\d-]+)"(?:\] = |: (?!")|\))', sources, re.MULTILINE)
    sentences = {name: said for table in engine.MISTAKES.values() for name, said in table.items()}
    assert engine.MISTAKES.keys() <= checks.EXERCISES.keys() and set(named) <= sentences.keys()
    assert all(f'"{name}"' in sources or name[1:] == "-off" for name in sentences), "those of X, Y and W are composed"
    assert all(said[-1] in ".?" for said in sentences.values())


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("name", checks.EXERCISES)
def test_garbage_is_a_mistake_and_no_exception(name, garbage):
    outcome = checks.EXERCISES[name].check(GARBAGE[garbage])
    assert outcome.state == "mistaken" and outcome.message, outcome


def test_a_check_is_silent_where_an_answer_warns_of_what_is_wanted(recwarn):
    """`np.nanmin` warns of a step at which no run has a value, before the check says that all is right."""
    (answer,) = answers("RIGHT")["min_max_curve"]
    assert checks.min_max_curve(answer).state == "solved" and not recwarn.list


def test_an_error_without_a_text_leaves_no_dangling_colon():
    def grows(images):
        raise MemoryError

    message = checks.channel_statistics(grows).message
    assert message == 'It stopped with MemoryError at "raise MemoryError".'


def test_two_exercises_a_notebook_and_the_handouts_own():
    counts = {number: 0 for number in NOTEBOOKS if number not in APPENDICES}
    for exercise in checks.EXERCISES.values():
        counts[exercise.notebook] += 1
    assert min(counts.values()) >= 2, counts
    assert set(checks.EXERCISES) >= HANDOUTS


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_nbgrader_can_use_the_cells(number):
    """A solution cell and, below it, a locked check of one point; ids are unique."""
    cells = [cell for cell in NOTEBOOKS[number].cells if "nbgrader" in cell.metadata]
    ids = [cell.metadata.nbgrader.grade_id for cell in cells]
    assert len(set(ids)) == len(ids) and len(ids) % 2 == 0
    for answer, check in zip(cells[::2], cells[1::2], strict=True):
        name, asked, judged = answer.metadata.nbgrader.grade_id, answer.metadata.nbgrader, check.metadata.nbgrader
        assert asked.solution and not asked.grade and not asked.locked and judged.grade and judged.locked
        assert judged.grade_id == f"check_{name}" and judged.points == 1
        assert asked.schema_version == judged.schema_version == 3
        assert check.source == f"checks.{name}({checks.EXERCISES[name].answer})"
        assert answer.source.count("### BEGIN SOLUTION") == answer.source.count("### END SOLUTION") == 1


def test_nbgrader_gets_an_error_where_an_answer_is_wrong(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(checks.NotSolvedError, match="returns None"):
        checks.channel_statistics(lambda images: None)


def test_a_warning_is_no_error_to_nbgrader(monkeypatch, capsys):
    """It gives no point to a cell that writes to standard error."""
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")

    def warns(images):
        print("mine", file=sys.stderr)
        warnings.warn("mine too", stacklevel=1)
        x = images.double() / 255
        return x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3), correction=0)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert checks.channel_statistics(warns).state == "solved"
    said = capsys.readouterr()
    assert not said.err and "mine\n" in said.out


def test_while_nbgrader_executes_the_settings_are_those_of_grading(monkeypatch, capsys):
    assert checks.when_graded("laptop", "cifar10", "cuda") == ("laptop", "cifar10", "cuda")
    assert not capsys.readouterr().out
    for step in ("autograde", "validate"):
        monkeypatch.setenv("NBGRADER_EXECUTION", step)
        assert checks.when_graded("laptop", "cifar10", "cuda") == (checks.GRADED_PROFILE, "synthetic", "cpu")
        assert f"profile {checks.GRADED_PROFILE}, whatever the settings cell says" in capsys.readouterr().out


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_every_notebook_takes_the_settings_of_grading_before_it_reads_any(number):
    code = [cell.source for cell in NOTEBOOKS[number].cells if cell.cell_type == "code"]
    taken = next(i for i, source in enumerate(code) if source.startswith("page = notebook.open_page("))
    settings = next(i for i, source in enumerate(code) if source.startswith("profile = "))
    assert taken == settings + 1


def test_an_input_changed_inside_a_list_is_noticed_and_put_right():
    given = [np.zeros(2), [torch.zeros(3)]]

    def answer(values):
        values[1][0] += 1
        return values

    with pytest.raises(checks.Mistake, match="in place"):
        engine.call(answer, given)
    assert given[1][0].sum() == 0


def test_a_list_of_numbers_or_tensors_is_as_good_as_an_array():
    numbers = [torch.tensor(1.0, requires_grad=True), torch.tensor(2.0)]
    assert engine.same(numbers, np.array([1.0, 2.0])) and not engine.same([[1.0], [2.0, 3.0]], np.ones(2))


RESHAPED = "The numbers are right, their shape is not."


@pytest.mark.parametrize(
    ("got", "right", "said"),
    [
        ([1, 2], np.ones(2), "Off."),
        ([1, 2], np.ones(3), "Off. It gives 2 values; wanted: an array of the shape (3,)."),
        ("text", np.ones(2), "Off. It gives a str; wanted: an array of the shape (2,)."),
        (np.ones((1, 2)), np.ones(2), f"{RESHAPED} It gives an array of the shape (1, 2); wanted: {{}} (2,)."),
        (torch.tensor(1.0), np.ones(1), f"{RESHAPED} It gives one number; wanted: {{}} (1,)."),
        ((1, np.ones(3)), (1, np.ones(2)), "Off. Value 2 of 2 is {} (3,); wanted: {} (2,)."),
        ((1, np.ones((2, 1))), (1, np.ones(2)), f"{RESHAPED} Value 2 of 2 is {{}} (2, 1); wanted: {{}} (2,)."),
        (np.ones(2), (1, 1), "Off. It gives {} (2,); wanted: 2 values, separated by commas."),
    ],
)
def test_only_a_shape_that_differs_is_named(got, right, said):
    with pytest.raises(checks.Mistake) as mistake:
        engine.compare(got, right, {}, "Off.")
    assert str(mistake.value) == said.replace("{}", "an array of the shape")
