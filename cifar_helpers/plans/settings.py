"""The settings of a notebook, checked by one call in its data cell, before the images are read.

papermill hands on what it was given: ``-p reuse maybe`` is text, and text counts as true.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from ..env import CourseError, choose_device
from .landscape import GAPS
from .profiles import get_profile

LAYERS = ("all", "output")  # whose gradients a figure shows


def _text(value: object) -> bool:
    return isinstance(value, str)


def _truth(value: object) -> bool:
    return isinstance(value, bool)


def _whole_from(lowest: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and value >= lowest  # True is an int to Python, but no number of images


def _positive_numbers(values: object) -> bool:
    given = values if isinstance(values, list | tuple) else []
    return bool(given) and all(type(each) in (int, float) and 0 < each < math.inf for each in given)


# Name of a setting → what it must be, in words and as a test. What a notebook has beyond these is its own affair.
RULES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "profile": ("the name of a profile", _text),
    "data": ("None, 'auto', 'local', 'cifar10', 'synthetic' or a path", lambda value: value is None or _text(value)),
    "seed": ("a whole number from 0", _whole_from(0)),
    "device": ("the name of a device, such as 'auto' or 'cpu'", _text),
    "reuse": ("True or False", _truth),
    "fast": ("True or False", _truth),
    "n_items": ("None or a whole number from 1", lambda value: value is None or _whole_from(1)(value)),
    "rates": (
        "None or a list of positive numbers, such as [0.001, 0.002]",
        lambda value: value is None or _positive_numbers(value),
    ),
    "gap": (" or ".join(map(str, GAPS)), lambda value: type(value) is int and value in GAPS),
    "layer": (" or ".join(map(repr, LAYERS)), lambda value: value in LAYERS),
}


def check(given: Mapping[str, object]) -> None:
    """``CourseError`` with a line for each setting that is not what it must be, and what came instead."""
    wrong = [
        f"{name} must be {what}, not {given[name]!r}."
        for name, (what, fits) in RULES.items()
        if name in given and not fits(given[name])
    ]
    if wrong:
        raise CourseError("\n".join(wrong))


def image_source(
    profile: str,
    data: str | None = None,
    seed: int = 0,
    device: str = "auto",
    reuse: bool = True,
    *,
    fast: bool = False,
    n_items: int | None = None,
    rates: Sequence[float] | None = None,
    gap: int = 1,
    layer: str = "all",
) -> str:
    """What a notebook loads: ``data``, or the profile's where that is None. A mistake in its settings is said first.

    Args:
        fast, n_items, rates, gap, layer: settings of single notebooks.

    Raises:
        CourseError: no such profile, a setting that is not what it must be, or a device that this machine lacks.
    """
    check({"profile": profile, "data": data, "seed": seed, "device": device, "reuse": reuse, "fast": fast})
    check({"n_items": n_items, "rates": rates, "gap": gap, "layer": layer})
    usual = get_profile(profile).data
    choose_device(device)
    return data or usual
