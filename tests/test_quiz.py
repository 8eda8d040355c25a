"""Questions and predictions: the file they stand in, what a reader is told, what is kept, where notebooks ask."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from conftest import APPENDICES

from cifar_helpers import env
from cifar_helpers.env import CourseError, number_of
from cifar_helpers.teach import quiz

ROOT = Path(__file__).resolve().parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = {number_of(path.stem): nbformat.read(path, as_version=4) for path in PATHS}
QUESTIONS, PREDICTIONS = quiz.load()
ASKING = sorted({question.notebook for question in QUESTIONS.values()})
GOOD = """
[[questions]]
id = "a"
notebook = "01"
question = "Which?"
options = [{answer = "this", reason = "so", right = true}, {answer = "that", reason = "no"}]
[[predictions]]
id = "b"
asks = "the size"
"""


@pytest.fixture(autouse=True)
def headless(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)


@pytest.fixture
def in_lab(monkeypatch):
    """As if a kernel of JupyterLab ran this."""
    monkeypatch.setenv("JPY_SESSION_NAME", "lab")


def right(question: quiz.Question) -> int:
    return next(i for i, option in enumerate(question.options) if option.right)


def within(widget, kind: str) -> list:
    """Every widget of a kind inside a widget, in order."""
    found = [widget] if type(widget).__name__ == kind else []
    return found + [each for child in getattr(widget, "children", ()) for each in within(child, kind)]


def reply(box) -> str:
    return next(html.value for html in within(box, "HTMLMath") if "quiz-reply" in html._dom_classes)


# --- the file


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=list(QUESTIONS))
def test_every_question_is_complete(question):
    assert question.notebook in NOTEBOOKS and question.id[:3] in (question.notebook + "-", question.source)
    assert 2 <= len(question.options) <= 4 and sum(option.right for option in question.options) == 1
    assert len({option.answer for option in question.options}) == len({option.reason for option in question.options})
    for option in question.options:
        assert len(option.reason.split()) >= 6, "a reason says why"
        assert not re.search(r"[$`*]", option.answer), "the label of a radio button is plain text"


def test_every_notebook_has_three_questions_of_the_courses_own_and_a_prediction():
    assert NOTEBOOKS.keys() - set(ASKING) == {"11"}, "tables alone ask nothing"
    for notebook in NOTEBOOKS.keys() - APPENDICES:
        assert sum(q.notebook == notebook and not q.source for q in QUESTIONS.values()) >= 3, notebook
        assert any(name.startswith(f"{notebook}-") for name in PREDICTIONS), notebook


def test_the_ten_statements_of_source_002():
    ten = [QUESTIONS[f"002-{number}"] for number in range(1, 11)]
    assert {q.id for q in ten} == {q.id for q in QUESTIONS.values() if q.source == "002"}
    assert all([option.answer for option in q.options] == ["True", "False"] for q in ten)
    assert "".join("TF"[right(q)] for q in ten) == "TTFTFFTTFT"
    assert [q.id for q in QUESTIONS.values() if q.contestable] == ["002-4", "002-1"]
    cost = " ".join(option.reason for option in ten[7].options)
    assert cost.count("9·M·D² + M·N·D²") == 2 and "9·M·N·D²" in cost


def test_true_is_not_always_right():
    """Nor is any place: a reader could learn it."""
    own = [q for q in QUESTIONS.values() if not q.source]
    pairs = [q for q in own if q.options[0].answer == "True"]
    assert {right(q) for q in pairs} == {0, 1}
    places = [right(q) for q in own if len(q.options) == 3]
    assert all(places.count(place) >= 7 for place in range(3))


def test_the_files_travel_with_the_package():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert sorted(data["cifar_helpers.teach"]) == sorted(p.name for p in (ROOT / "cifar_helpers/teach").glob("*.toml"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("right = true", "right = false"), "Question a: exactly one option must say `right = true`"),
        (('reason = "no"', 'reason = "no", right = true'), "Question a: exactly one option"),
        (('reason = "no"', 'reason = ""'), "Question a, option 2 has no reason"),
        ((', {answer = "that", reason = "no"}', ""), "Question a has 1 options; 2 to 4"),
        (('notebook = "01"', 'book = "01"'), "Question a has no notebook; it has book, which is not known here"),
        (('id = "b"', 'id = "a"'), "more than one entry with the id a"),
        (('asks = "the size"', ""), "Prediction b has no asks"),
        (("[[predictions]]", "[[predictions"), "cannot be read: .*line"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, edit, message):
    path = tmp_path / "questions.toml"
    path.write_text(GOOD)
    assert [list(part) for part in quiz.load(path)] == [["a"], ["b"]]
    path.write_text(GOOD.replace(*edit))
    with pytest.raises(CourseError, match=message):
        quiz.load(path)


# --- questions


@pytest.mark.parametrize("notebook", ASKING)
def test_every_option_gets_its_reply(in_lab, notebook):
    asked = [q for q in QUESTIONS.values() if q.notebook == notebook]
    boxes = [b for b in within(quiz.ask(notebook).widget, "VBox") if "quiz-question" in b._dom_classes]
    assert len(boxes) == len(asked)
    for box, question in zip(boxes, asked, strict=True):
        (choice,) = within(box, "RadioButtons")
        assert choice.index is None and reply(box) == ""
        for index in (0, 1, 0):  # it can be tried again
            choice.index = index
            option = question.options[index]
            sign = "≈" if question.contestable else "✓ Right." if option.right else "✗ Not right."
            assert sign in reply(box)
            assert quiz._html(option.reason) in reply(box)
            assert (quiz.RIGHT in reply(box)) == (option.right and not question.contestable)
            assert quiz._html(question.contestable) in reply(box)


def test_a_contestable_question_has_no_right_answer_but_a_source():
    for question in (question for question in QUESTIONS.values() if question.contestable):
        told = [quiz.verdict(question, index) for index in (0, 1)]
        for text in (*told, repr(quiz.answers(question.id)), quiz.ask(question.id).html):
            assert "right." not in text and "Right" not in text, text
            assert "the report it is from" in " ".join(text.split()), text
        assert "≈ Contestable, and the answer of the report it is from." in told[right(question)]
        for shown in (quiz.ask(question.id), quiz.answers(question.id)):
            assert "(Contestable: there are reasons for both answers.)" in " ".join(repr(shown).split())


def test_a_lab_sees_the_widget_and_a_static_view_the_text(in_lab, monkeypatch):
    live = quiz.ask("05")
    assert set(live._repr_mimebundle_()) == {quiz.VIEW}
    monkeypatch.delenv("JPY_SESSION_NAME")
    static = quiz.ask("05")
    assert static._repr_mimebundle_() == {}, "a saved widget would be shown without a kernel to answer it"
    assert (live.text, live.html) == (static.text, static.html)


def test_the_text_holds_everything_and_folds_the_answers_away():
    shown = quiz.ask("002")
    parts = re.split(r"<details.*?</details>", shown.html)
    assert len(parts) == 11
    answers = quiz.answers("002")
    asked, answered = (" ".join(repr(each).split()) for each in (shown, answers))
    assert asked.endswith('Answers and reasons: `quiz.answers("002")`.')
    for number in range(1, 11):
        question = QUESTIONS[f"002-{number}"]
        assert f"{number}. {question.question}" in asked and quiz._html(question.question) in parts[number - 1]
        for option in question.options:
            assert option.reason in answered and option.reason not in asked
            assert quiz._html(option.reason) in answers.html
            assert quiz._html(option.reason) in shown.html and quiz._html(option.reason) not in "".join(parts)
    assert max(map(len, [*repr(shown).splitlines(), *repr(answers).splitlines()])) <= 100


def test_answers_take_the_names_and_numbers_of_the_questions():
    assert quiz.ask("02-tied", "02-lambda").text.endswith('`quiz.answers("02-tied", "02-lambda")`.')
    lines = [line for line in quiz.answers("02-tied", "02-lambda").text.splitlines() if line[:1] != " "]
    assert [line[:3] for line in lines if line] == ["1. ", "2. "]
    said = " ".join(quiz.answers("02-tied", "02-lambda").text.split())
    for name in ("02-tied", "02-lambda"):
        assert QUESTIONS[name].question in said, "an answer without its question says nothing"
        assert all(option.reason in said for option in QUESTIONS[name].options)
    with pytest.raises(CourseError, match="No question is called '11'"):
        quiz.answers("11")


def test_names_of_questions():
    assert quiz.ask("02-tied", "02-lambda").text.index("interval") < quiz.ask("02-tied", "02-lambda").text.index("λ")
    assert quiz.ask("02", "02-tied").html == quiz.ask("02").html, "nothing is asked twice"
    for names in (["11"], ["02", "02-tide"], [""], []):
        with pytest.raises(CourseError, match="Known are the notebooks and sources 002, 01, 02.*10[.]$"):
            quiz.ask(*names)
    for name, meant in (("5", "05"), (5, "05"), ("02-tide", "02-tied")):
        with pytest.raises(CourseError, match=f'No question is called .{name}.[.] Did you mean "{meant}"'):
            quiz.answers(name)


def test_markup_leaves_maths_alone():
    assert quiz._html("`a` **b** *c* $x * y * z$ 1 < 2") == "<code>a</code> <b>b</b> <i>c</i> $x * y * z$ 1 &lt; 2"


# --- predictions


def test_a_prediction_is_kept_and_recalled(in_lab):
    assert "No prediction is kept" in quiz.recall("05-band").text
    (choice,) = within(quiz.predict("05-band").widget, "RadioButtons")
    choice.value = "no BN"
    choice.value = "BN"
    assert quiz.recall("05-band").text == "You predicted (the narrower band over the rates): BN"
    assert within(quiz.predict("05-band").widget, "RadioButtons")[0].value == "BN"
    assert json.loads(quiz.file("predictions").read_text()) == {"05-band": "BN"}


def test_a_prediction_in_ones_own_words(in_lab):
    box = quiz.predict("01-classes").widget
    (field,) = within(box, "Text")
    field.value = " <cat> & dog "
    assert "Kept: &lt;cat&gt; &amp; dog." in reply(box)
    assert "<b>&lt;cat&gt; &amp; dog</b>" in quiz.recall("01-classes").html
    field.value = "  "
    assert "in your own words" in reply(box) and quiz.kept("predictions")[0] == {"01-classes": "<cat> & dog"}


def test_a_prediction_is_recalled_in_another_process(scratch):
    code = (
        "from cifar_helpers.teach import quiz; print(quiz.predict('07-rate', '0.001')); print(quiz.recall('07-rate'))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert said.stdout.splitlines()[1] == str(quiz.recall("07-rate"))
    assert quiz.recall("07-rate").text.endswith(": 0.001")


def test_a_prediction_may_be_a_number_and_in_small_or_capital_letters():
    for name, given, expected in (("07-rate", 0.001, "0.001"), ("01-channel", " Red ", "red"), ("01-classes", 3, "3")):
        assert f"Kept: {expected}." in quiz.predict(name, given).text and quiz.recall(name).text.endswith(expected)
    with pytest.raises(CourseError, match="Predict the narrower band over the rates: no BN / BN"):
        quiz.predict("05-band", 1)
    for asked in PREDICTIONS.values():
        assert len({option.casefold() for option in asked.options}) == len(asked.options), asked.id


def test_headless_nothing_is_kept_or_shown_without_a_prediction():
    for name, asked in PREDICTIONS.items():
        assert asked.asks in quiz.predict(name).text and quiz.predict(name).widget is None
        assert quiz.recall(name) is None
    assert not quiz.file("predictions").exists()


@pytest.mark.parametrize("content", ["{", "[1]", '{"05-band": 3}', "\x00\xff"])
def test_a_damaged_file_is_set_aside(in_lab, content):
    quiz.file("predictions").parent.mkdir(parents=True)
    quiz.file("predictions").write_text(content, encoding="latin-1")
    box = quiz.predict("05-band").widget
    assert "was damaged and now lies in predictions.damaged.json" in reply(box)
    assert quiz.file("predictions").with_suffix(".damaged.json").read_text(encoding="latin-1") == content
    within(box, "RadioButtons")[0].value = "BN"
    assert quiz.recall("05-band").text.endswith(": BN")


def test_a_file_that_cannot_be_written_is_said(in_lab, scratch):
    box = quiz.predict("05-band").widget
    env.runs_dir().write_text("a file where the folder should be")
    within(box, "RadioButtons")[0].value = "BN"
    assert "Cannot write" in reply(box)
    assert quiz.recall("05-band").text.startswith("No prediction is kept")


def test_unknown_predictions_and_answers_are_refused():
    for call in (quiz.predict, quiz.recall):
        with pytest.raises(CourseError, match="No prediction is called '05-bend'. Known are 01-classes, .*05-band"):
            call("05-bend")
    with pytest.raises(
        CourseError, match="^'perhaps' is none of the choices. Predict the narrower band over the rates: no BN / BN"
    ):
        quiz.predict("05-band", "perhaps")
    assert not quiz.file("predictions").exists()


# --- the notebooks


def calls(notebook, function: str) -> list[tuple[int, str]]:
    """(cell, name) of every cell whose last line calls a function of the room with one name."""
    last = [(i, cell.source.rpartition("\n")[2]) for i, cell in enumerate(notebook.cells)]
    found = [(i, re.fullmatch(rf'quiz\.{function}\("(.+)"\)', line)) for i, line in last]
    return [(i, match[1]) for i, match in found if match]


@pytest.mark.parametrize("number", ASKING)
def test_the_notebook_asks(number):
    notebook = NOTEBOOKS[number]
    ((place, name),) = calls(notebook, "ask")
    before, after = notebook.cells[place - 1], notebook.cells[place + 1]
    assert name == number and before.source.startswith("## Check yourself")
    assert after.source.startswith("## Exercises"), "the questions stand between what was seen and what is to be done"
    predicted = calls(notebook, "predict")
    assert [name for _, name in predicted] == [name for name in PREDICTIONS if name.startswith(f"{number}-")]
    recalled = {name: place for place, name in calls(notebook, "recall")}
    for place, name in predicted:
        assert re.search(r"[Pp]redict|Before you run", notebook.cells[place - 1].source), name
        after = notebook.cells[place + 1 : recalled.get(name, 0) + 1]  # the recall's own cell may begin with the result
        between = [cell for cell in after if cell.cell_type == "code" and not cell.source.startswith("quiz.")]
        assert between, f"{name} is not shown again beside its result"
