"""How a check works: call the student's function, compare with an oracle, and name the mistake.

A check is a function that takes what the student wrote and raises ``Mistake`` where it is wrong; ``exercise``
registers it and turns what happens into an ``Outcome``. Most mistakes are recognised by their result: the check knows
what the usual wrong variants give on the same input; what is said to each stands in ``mistakes.toml``. A sentence
points to the idea, never to the line to write.
"""

import contextlib
import functools
import sys
import tomllib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import torch

from ...env import CourseError
from ..quiz import live, put
from .graded import is_graded

MISTAKES = tomllib.loads(Path(__file__).parents[1].joinpath("mistakes.toml").read_text(encoding="utf-8"))
PACKAGE = str(Path(__file__).parents[2])
SOLVED, MISTAKEN, UNSOLVED = "solved", "mistaken", "unsolved"
SIGNS = {SOLVED: ("✓", "#009E73"), MISTAKEN: ("✗", "#D55E00"), UNSOLVED: ("○", "#7F7F7F")}
EXERCISES: dict[str, "Exercise"] = {}
HINTS = {  # part of an error's text → what it means
    "a leaf Variable that requires grad": "Autograd watches the weights, and an update is no part of the loss.",
    "modified by an inplace operation": "Autograd still needs the value that was overwritten.",
    "does not require grad": "Nothing that autograd watches leads to this number.",
}


class Mistake(Exception):  # noqa: N818 (the student's, not the program's)
    """What is wrong with a student's answer: sentences to the student, or their names in ``mistakes.toml``."""

    def __str__(self) -> str:
        return " ".join(self.args)


class NotSolvedError(Exception):
    """Raised instead of an ``Outcome`` where nbgrader grades: it gives points to a cell that ends without an error."""


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        exercise: name of the check; state: ``solved``, ``mistaken`` or ``unsolved``; message: to the student.
    """

    exercise: str
    state: str
    message: str

    def __str__(self) -> str:
        return f"{SIGNS[self.state][0]} {self.exercise}: {self.message}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        sign, colour = SIGNS[self.state]
        return f'<p><b style="color:{colour}">{sign} {escape(self.exercise)}</b> {escape(self.message)}</p>'


@dataclass(frozen=True)
class Exercise:
    """An exercise and its check.

    Attributes:
        name: of the check, ``checks.<name>``; the solution's cell has it as its ``grade_id``.
        notebook: its number, such as ``"04"``; answer: name of the function or class the student writes.
        check: takes the student's object, returns an ``Outcome``.
    """

    name: str
    notebook: str
    answer: str
    check: Callable[[object], Outcome]


def exercise(notebook: str, answer: str) -> Callable:
    """Register a check: a function that takes the student's object and raises ``Mistake`` where it is wrong.

    The registered check never raises (but for nbgrader), leaves torch's random state as it was, and says where in the
    student's own code an error arose.

    Args:
        notebook, answer: as in ``Exercise``.
    """

    def register(check: Callable[[object], None]) -> Callable[[object], Outcome]:
        name = check.__name__

        @functools.wraps(check)
        def checked(student) -> Outcome:
            if not is_graded():
                outcome = _judge(name, check, student)
                if outcome.state == SOLVED and live():
                    with contextlib.suppress(CourseError):  # that it cannot be kept is no fault of the answer
                        put("solved", name, answer)
                return outcome
            with contextlib.redirect_stderr(sys.stdout):  # to nbgrader a cell that warns is a wrong one
                outcome = _judge(name, check, student)
            if outcome.state != SOLVED:
                raise NotSolvedError(str(outcome))
            return outcome

        EXERCISES[name] = Exercise(name, notebook, answer, checked)
        return checked

    return register


def _judge(name: str, check: Callable, student) -> Outcome:
    with torch.random.fork_rng(devices=[]), np.errstate(all="ignore"):
        torch.manual_seed(0)
        try:
            if not callable(student):
                raise Mistake(f"This is {student!r:.60}. Hand over the function itself: its name, without brackets.")
            if isinstance(student, torch.nn.Module):
                raise Mistake("This network is built already. Hand over the class itself: its name, without brackets.")
            check(student)
        except Mistake as mistake:
            sentences = MISTAKES.get(name, {})
            return Outcome(name, MISTAKEN, " ".join(sentences.get(said, said) for said in mistake.args))
        except Exception as error:  # of the student's code, whatever it is
            if type(error) is NotImplementedError and not str(error):  # torch raises it too, with a text
                return Outcome(name, UNSOLVED, "not solved yet. Replace the line that raises NotImplementedError.")
            text = " ".join(str(error).split())[:300]
            text += "".join(f" {hint}" for part, hint in HINTS.items() if part in text)
            stopped = f"It stopped with {type(error).__name__}{_place(error)}"
            return Outcome(name, MISTAKEN, f"{stopped}: {text}" if text else f"{stopped}.")
    return Outcome(name, SOLVED, "right.")


def _place(error: Exception) -> str:
    """The last line of the student's own code that the error passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and PACKAGE not in frame.filename]
    return f' at "{own[-1].line}"' if own and own[-1].line else ""


def call(student: Callable, *inputs):
    """The student's result on copies of the inputs.

    Raises:
        Mistake: it returns nothing, or changes an input in place.
    """
    given = [_copy(value) for value in inputs]
    result = student(*given)
    if result is None:
        raise Mistake("It returns None. A function without `return` does.")
    for before, after in zip(inputs, given, strict=True):
        if not _unchanged(before, after):
            raise Mistake("It changes its input in place; the caller still needs the old values. Work on new ones.")
    return result


def _copy(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, (tuple, list)):
        return type(value)(map(_copy, value))
    return value.copy() if isinstance(value, np.ndarray) else value


def _unchanged(before, after) -> bool:
    if isinstance(before, (tuple, list)):
        return len(before) == len(after) and all(map(_unchanged, before, after))
    return not isinstance(before, (torch.Tensor, np.ndarray)) or same(after, before)


def same(got, right, tolerance: float = 1e-5) -> bool:
    """Whether two results (numbers, arrays, tensors, or tuples of them) agree in shape and to ``tolerance``.

    ``tolerance`` is relative to the largest value of ``right``, or absolute below one.
    """
    if isinstance(right, (tuple, list)):
        fits = isinstance(got, (tuple, list)) and len(got) == len(right)
        return fits and all(same(g, r, tolerance) for g, r in zip(got, right, strict=True))
    if not _fits(got, right):
        return False
    got, right = _array(got), _array(right)
    scale = max(1.0, float(np.abs(right[np.isfinite(right)]).max(initial=0.0)))
    return bool(np.allclose(got, right, rtol=0, atol=tolerance * scale, equal_nan=True))


def _array(value) -> np.ndarray:
    if isinstance(value, (tuple, list)):
        value = [_array(each) for each in value]
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value, dtype=np.float64)


def compare(got, right, mistakes: Mapping[str, object], otherwise: str = "off", tolerance: float = 1e-5) -> None:
    """Compare a result with the oracle's; where they differ, say which known mistake gives the same.

    Args:
        got, right: numbers, arrays, tensors, or tuples of them.
        mistakes: what is said, as in ``Mistake`` → what that wrong variant gives on this input; the first that fits
            is taken.
        otherwise: what is said where none fits; what is wrong with the shapes is added to it, or said in its place
            where only they are wrong.

    Raises:
        Mistake: they differ.
    """
    if same(got, right, tolerance):
        return
    for said, wrong in mistakes.items():
        if same(got, wrong, tolerance):
            raise Mistake(said)
    misshapen = _misshapen(got, right)
    if misshapen and same(_reshaped(got, right), right, tolerance):
        otherwise = "The numbers are right, their shape is not."
    raise Mistake(*filter(None, (otherwise, misshapen)))


def _misshapen(got, right) -> str:
    """What is wrong with the shapes, as a sentence; empty where nothing is. A list of numbers counts as an array."""
    if not isinstance(right, (tuple, list)):
        return "" if _fits(got, right) else f"It gives {_shape(got)}; wanted: {_shape(right)}."
    if not isinstance(got, (tuple, list)) or len(got) != len(right):
        return f"It gives {_shape(got)}; wanted: {_shape(right)}, separated by commas."
    for number, (each, wanted) in enumerate(zip(got, right, strict=True), 1):
        if not _fits(each, wanted):
            return f"Value {number} of {len(right)} is {_shape(each)}; wanted: {_shape(wanted)}."
    return ""


def _fits(got, right) -> bool:
    try:
        return _array(got).shape == _array(right).shape
    except (TypeError, ValueError):
        return False


def _reshaped(got, right):
    """The numbers of ``got`` in the shape of ``right``; ``got`` itself where they are too few, too many or none."""
    if isinstance(got, (tuple, list)) and isinstance(right, (tuple, list)) and len(got) == len(right):
        return [_reshaped(each, wanted) for each, wanted in zip(got, right, strict=True)]
    try:
        return _array(got).reshape(_array(right).shape)
    except (TypeError, ValueError):
        return got


def several(got, *names: str) -> tuple:
    """The values of a result that should have one for each name, to compare one by one.

    Raises:
        Mistake: they are not as many.
    """
    if not isinstance(got, (tuple, list)) or len(got) != len(names):
        raise Mistake(f"It gives {_shape(got)}; {len(names)} values are wanted: {', then '.join(names)}.")
    return tuple(got)


def _shape(value) -> str:
    if isinstance(value, (tuple, list)):
        return f"{len(value)} value{'s' * (len(value) != 1)}"
    if isinstance(value, (torch.Tensor, np.ndarray)):
        kind = "a tensor" if isinstance(value, torch.Tensor) else "an array"
        return f"{kind} of the shape {tuple(value.shape)}" if value.ndim else "one number"
    return "one number" if isinstance(value, (int, float)) else f"a {type(value).__name__}"
