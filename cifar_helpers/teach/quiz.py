"""Questions to check yourself, hints, and predictions that are kept and shown again beside the result.

They stand in ``questions.toml`` and ``hints.toml``. In a live notebook they are widgets; in every static view (a
report, the site, a file on GitHub) the same output is text, with the answers folded away.
"""

import difflib
import json
import os
import re
import textwrap
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from html import escape
from pathlib import Path

import ipywidgets as widgets
from IPython import get_ipython

from ..env import CourseError, runs_dir, write_atomically

QUESTIONS = Path(__file__).with_name("questions.toml")
HINTS = Path(__file__).with_name("hints.toml")
VIEW = "application/vnd.jupyter.widget-view+json"
RIGHT, WRONG, NEUTRAL = "#009E73", "#D55E00", "#7F7F7F"
# ipywidgets gives a radio button's label one line of fixed height and cuts what is longer.
STYLE = """<style>
.cifar-quiz .widget-radio-box label {height: auto; line-height: 1.5; white-space: normal; margin: 0 0 2px}
.cifar-quiz .widget-html-content {line-height: 1.5; white-space: normal}
.cifar-quiz input:focus-visible, .cifar-quiz button:focus-visible {outline: 2px solid #0072B2; outline-offset: 1px}
</style>"""
MARKUP = ((r"`([^`]+)`", r"<code>\1</code>"), (r"\*\*([^*]+)\*\*", r"<b>\1</b>"), (r"\*([^*]+)\*", r"<i>\1</i>"))


@dataclass(frozen=True)
class Option:
    """An answer to choose, with the reason why it is right or not."""

    answer: str
    reason: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question with one right option, or a contestable one whose source holds one option for right.

    Attributes:
        notebook: number of the notebook that asks it, such as ``"04"``.
        options: two to four; one is right.
        source: the source it comes from, such as ``"002"``; empty for the course's own.
        contestable: why neither option is flatly right, where the question can be argued; else empty.
    """

    id: str
    notebook: str
    question: str
    options: tuple[Option, ...]
    source: str = ""
    contestable: str = ""


@dataclass(frozen=True)
class Prediction:
    """What to predict: ``asks`` in a few words, and the options; without options it is answered in words."""

    id: str
    asks: str
    options: Sequence[str] = ()


@dataclass(frozen=True)
class Shown:
    """An output in three forms, of which each viewer takes the richest it knows: widget, HTML, text."""

    text: str
    html: str
    widget: object = None

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {VIEW: self.widget._repr_mimebundle_()[VIEW]} if self.widget else {}


def live() -> bool:
    """Whether a reader sits before the notebook: Jupyter's server names a kernel's session, VS Code the notebook."""
    names = getattr(get_ipython(), "user_ns", {})
    return bool(os.environ.get("JPY_SESSION_NAME")) or "__vsc_ipynb_file__" in names


# --- the file


def load(path: Path = QUESTIONS) -> tuple[dict[str, Question], dict[str, Prediction]]:
    """Read the questions and predictions, by id, in the order of the file.

    Raises:
        CourseError: the file is not TOML, or an entry is not as the head of the file says; the message names it.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CourseError(f"{path.name} cannot be read: {error}.") from error
    questions = [_question(entry) for entry in found.get("questions", [])]
    predictions = [
        _made(Prediction, e, f"Prediction {e.get('id', 'without an id')}") for e in found.get("predictions", [])
    ]
    ids = [entry.id for entry in [*questions, *predictions]]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise CourseError(f"{path.name} has more than one entry with the id {', '.join(twice)}.")
    return {entry.id: entry for entry in questions}, {entry.id: entry for entry in predictions}


def _question(entry: dict) -> Question:
    where = f"Question {entry.get('id', 'without an id')}"
    question = _made(Question, entry, where)
    options = [_made(Option, option, f"{where}, option {number}") for number, option in enumerate(question.options, 1)]
    if not 2 <= len(options) <= 4:
        raise CourseError(f"{where} has {len(options)} options; 2 to 4 are wanted.")
    if sum(option.right for option in options) != 1:
        raise CourseError(f"{where}: exactly one option must say `right = true`.")
    return replace(question, options=tuple(options))


def _made(kind: type, entry: dict, where: str):
    """An entry of the file as an instance of its class; refused where a field is missing or not known."""
    names = [field.name for field in fields(kind)]
    missing = [field.name for field in fields(kind) if field.default is MISSING and not entry.get(field.name)]
    unknown = [name for name in entry if name not in names]
    if missing or unknown:
        said = [f"has no {' and no '.join(missing)}"] if missing else []
        said += [f"has {', '.join(unknown)}, which is not known here"] if unknown else []
        raise CourseError(f"{where} {'; it '.join(said)}. It takes {', '.join(names)}.")
    return kind(**entry)


# --- questions


def ask(*names: str) -> Shown:
    """Show questions to check oneself; as text without the answers, which ``answers`` shows.

    Args:
        names: the number of a notebook, such as ``"04"``; a source, such as ``"002"``; or ids of questions.

    Raises:
        CourseError: a name is not known; the message lists those that are.
    """
    questions = _chosen(names)
    widget = _framed([_question_box(*each) for each in enumerate(questions, 1)]) if live() else None
    return Shown(_as_text(questions, names), _as_html(questions), widget)


def answers(*names: str) -> Shown:
    """Show the questions that ``ask`` shows for the same names, each with its answers and the reason for every option.

    Raises:
        CourseError: a name is not known; the message lists those that are.
    """
    lines, html = [], ""
    for number, question in enumerate(_chosen(names), 1):
        reasons = _reasons(question)
        lines += [_wrapped(f"{number}. {_asked(question)}"), *(_wrapped(f"   {line}") for line in reasons), ""]
        html += f"<p><b>{number}.</b> {_html(_asked(question))}</p>{_items(reasons)}"
    return Shown("\n".join(lines[:-1]), f"<div>{html}</div>")


def _chosen(names: tuple[str, ...]) -> list[Question]:
    known = load()[0].values()
    chosen: dict[str, Question] = {}
    for name in names or ("",):
        fitting = {q.id: q for q in known if name in (q.id, q.notebook)}
        numbered = sorted((q for q in known if name == q.source), key=lambda q: (len(q.id), q.id))  # 2 before 10
        fitting |= {q.id: q for q in numbered}
        if not fitting or not name:
            raise CourseError(_unknown(str(name), known))
        chosen |= fitting
    return list(chosen.values())


def _unknown(name: str, known) -> str:
    """What to tell who asks for a name that is not known: the likely one, and what there is."""
    groups, ids = sorted({q.notebook for q in known} | {q.source for q in known if q.source}), [q.id for q in known]
    near = [name.zfill(2)] if name.zfill(2) in groups else difflib.get_close_matches(name, ids)
    meant = " Did you mean " + " or ".join(f'"{each}"' for each in near) + "?" if near else ""
    return f"No question is called {name!r}.{meant} Known are the notebooks and sources {', '.join(groups)}."


def verdict(question: Question, index: int) -> str:
    """What the reader is told who chooses the option ``index``, as HTML: right or not, and the option's reason."""
    option = question.options[index]
    if question.contestable:
        mark = f"{_mark(question, option).capitalize()}."
        return _said("≈", mark, NEUTRAL, f"{option.reason} {question.contestable}")
    if option.right:
        return _said("✓", "Right.", RIGHT, option.reason)
    return _said("✗", "Not right.", WRONG, f"{option.reason} Choose again.")


def _mark(question: Question, option: Option) -> str:
    """Right or not; of a contestable question, whose answer it is."""
    if not question.contestable:
        return "right" if option.right else "not right"
    owner = "the report it is from" if question.source else "this course"
    return f"contestable, and the answer of {owner}" if option.right else f"contestable, and not the answer of {owner}"


def _asked(question: Question) -> str:
    return question.question + (" (Contestable: there are reasons for both answers.)" if question.contestable else "")


def _said(sign: str, words: str, colour: str, text: str = "") -> str:
    return f'<b style="color:{colour}">{sign} {escape(words)}</b> {_html(text)}'


def _question_box(number: int, question: Question) -> widgets.Widget:
    asked = widgets.HTMLMath(f"<b>{number}.</b> {_html(_asked(question))}")
    choice, reply = _choice([option.answer for option in question.options]), _reply()

    def tell(change):
        reply.value = verdict(question, change["new"])

    choice.observe(tell, "index")
    return widgets.VBox([asked, choice, reply], layout={"margin": "0 0 16px"}).add_class("quiz-question")


def _choice(answers: list[str], chosen: int | None = None) -> widgets.RadioButtons:
    return widgets.RadioButtons(options=answers, index=chosen, layout={"width": "100%"})


def _reply(text: str = "") -> widgets.HTMLMath:
    return widgets.HTMLMath(text).add_class("quiz-reply")


def _framed(boxes: list) -> widgets.VBox:
    style = widgets.HTML(STYLE, layout={"display": "none"})
    return widgets.VBox([style, *boxes], layout={"width": "100%"}).add_class("cifar-quiz")


def _html(text: str) -> str:
    """Markdown's `code`, **bold** and *italics* as HTML; what stands between dollars is left to the maths renderer."""
    parts = re.split(r"(\$[^$]+\$)", escape(text, quote=False))
    for place in range(0, len(parts), 2):
        for pattern, replacement in MARKUP:
            parts[place] = re.sub(pattern, replacement, parts[place])
    return "".join(parts)


def _reasons(question: Question) -> list[str]:
    """A sentence for every option: right or not, and why."""
    lines = [f"{option.answer}: {_mark(question, option)}. {option.reason}" for option in question.options]
    return lines + ([f"Why it is contestable: {question.contestable}"] if question.contestable else [])


def _as_text(questions: list[Question], names: tuple[str, ...]) -> str:
    lines = []
    for number, question in enumerate(questions, 1):
        lines += [_wrapped(f"{number}. {_asked(question)}"), *(f"   ( ) {o.answer}" for o in question.options), ""]
    given = ", ".join(f'"{name}"' for name in names)
    return "\n".join([*lines, _wrapped(f"Answers and reasons: `quiz.answers({given})`.")])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, subsequent_indent="   ")


def _as_html(questions: list[Question]) -> str:
    html, folded = "", "<details style='margin-bottom: 1em'><summary>Answer and reasons</summary>"
    for number, question in enumerate(questions, 1):
        html += f"<p><b>{number}.</b> {_html(_asked(question))}</p>{_items(o.answer for o in question.options)}"
        html += f"{folded}{_items(_reasons(question))}</details>"
    return f"<div>{html}</div>"


def _items(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_html(line)}</li>' for line in lines)}</ul>"


# --- hints


def hint(*names: str) -> Shown:
    """Show the hints to exercises, each folded into the one before; they stand in ``hints.toml``.

    Args:
        names: of the exercises.

    Raises:
        CourseError: there are none by this name.
    """
    known, html = tomllib.loads(HINTS.read_text(encoding="utf-8")), ""
    for name in names:
        if name not in known:
            raise CourseError(f"There are no hints to {name!r}. There are to {', '.join(known)}.")
        folded, of = "", f" ({name.partition('-')[2]})" if len(names) > 1 else ""
        for number, text in reversed(list(enumerate(known[name], 1))):
            folded = f"<details><summary>Hint {number}{of}</summary><p>{_html(text)}</p>{folded}</details>"
        html += folded
    return Shown(f"Hints to {' and '.join(names)}: they unfold one by one in a notebook.", f"<div>{html}</div>")


# --- predictions


def predict(name: str, answer: object = None) -> Shown:
    """Ask for a prediction and keep it in ``predictions.json`` beside the run records.

    Args:
        name: id of the prediction.
        answer: keeps this answer, as text, without a widget; one of the options where there are any, in small or
            capital letters.

    Raises:
        CourseError: the id is not known, the answer is none of the options, or the file cannot be written.
    """
    asked = _known_prediction(name)
    if answer is not None:
        keep(name, answer)
    answers, note = kept("predictions")
    had = answers.get(name)
    choices = " / ".join(asked.options) or "in your own words"
    said = f"Kept: {had}. {note}" if had else f'To keep one: `quiz.predict("{name}", "…")`. {note}'
    text = f"Your prediction, {asked.asks}: {choices}. {said}".strip()
    html = f"<p><b>Your prediction</b>, {_html(asked.asks)}: {_html(choices)}. {_html(said)}</p>"
    return Shown(text, html, _prediction_box(asked, had, note) if live() else None)


def recall(name: str) -> Shown | None:
    """Show a kept prediction beside the result; where none is kept, one line in a live notebook and nothing elsewhere.

    Args:
        name: id of the prediction.

    Raises:
        CourseError: the id is not known.
    """
    asked = _known_prediction(name)
    answers, note = kept("predictions")
    if name in answers:
        said, answer = f"You predicted ({asked.asks}):", answers[name]
        return Shown(f"{said} {answer}", f"<p>{_html(said)} <b>{escape(answer)}</b></p>")
    if not live():
        return None
    line = f"No prediction is kept: {asked.asks}. Make one above, then run this cell again. {note}".strip()
    return Shown(line, f'<p style="color:{NEUTRAL}">{_html(line)}</p>')


def file(what: str) -> Path:
    """Where ``predictions`` or ``solved`` exercises are kept: name → text, as JSON."""
    return runs_dir() / f"{what}.json"


def kept(what: str) -> tuple[dict[str, str], str]:
    """What is kept so far, and a sentence to the reader where the file was damaged and set aside."""
    path = file(what)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise ValueError("not a table of texts")
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError):
        aside = path.with_suffix(".damaged.json")
        try:
            os.replace(path, aside)
        except OSError:
            return {}, f"{path.name} cannot be read; what you did earlier is not shown."
        return {}, f"{path.name} was damaged and now lies in {aside.name}; it begins again."
    return found, ""


def put(what: str, name: str, value: str) -> str:
    """Keep one more; the last of a name counts. Returns what to tell the reader, usually nothing.

    Raises:
        CourseError: the file cannot be written.
    """
    found, note = kept(what)
    if found.get(name) != value:
        write_atomically(file(what), json.dumps(found | {name: value}, indent=1, ensure_ascii=False))
    return note


def keep(name: str, answer: object) -> str:
    """Keep a prediction, as text; the last one counts. Returns what to tell the reader.

    Raises:
        CourseError: the id is not known, the answer is empty or none of the options, or the file cannot be written.
    """
    asked, answer = _known_prediction(name), str(answer).strip()
    answer = next((option for option in asked.options if option.casefold() == answer.casefold()), answer)
    if not answer or (asked.options and answer not in asked.options):
        wrong = f"{answer!r} is none of the choices." if answer else "Nothing was entered."
        raise CourseError(f"{wrong} Predict {asked.asks}: {' / '.join(asked.options) or 'in your own words'}.")
    note = put("predictions", name, answer)
    return f"Kept: {answer}. You see it again beside the result. {note}".strip()


def _known_prediction(name: str) -> Prediction:
    known = load()[1]
    if name not in known:
        raise CourseError(f"No prediction is called {name!r}. Known are {', '.join(known)}.")
    return known[name]


def _prediction_box(asked: Prediction, had: str | None, note: str) -> widgets.Widget:
    label = widgets.HTMLMath(f"<b>Your prediction</b>, {_html(asked.asks)}:")
    if asked.options:
        field = _choice(list(asked.options), asked.options.index(had) if had in asked.options else None)
    else:  # its value changes with Enter, or when the field is left
        field = widgets.Text(had or "", description="In your own words", continuous_update=False)
        field.style.description_width, field.layout.width = "initial", "60%"
    reply = _reply(_html(f"Kept: {had}. {note}" if had else note))

    def keep_it(change):
        try:
            reply.value = _html(keep(asked.id, change["new"]))
        except CourseError as error:  # raised in a callback it would not reach the reader
            reply.value = _said("○", str(error), NEUTRAL)

    field.observe(keep_it, "value")
    return _framed([widgets.VBox([label, field, reply]).add_class("quiz-prediction")])
