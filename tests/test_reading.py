"""The count of ideas and words in a notebook, on a few cells; hints that unfold; sentences with their numbers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import reading

from cifar_helpers import intervals, words
from cifar_helpers.env import CourseError
from cifar_helpers.teach import checks, quiz

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb"))
UNDECIDED = "on average, though the seeds do not decide it"
PACKAGE = {"figures", "page", "notebook", "compare", "words", "study"}


@pytest.mark.parametrize(
    ("source", "lines", "ideas"),
    [
        ("import torch\nfrom torch import nn", 2, 0),
        ("page.figure(figures.intuition.cone(), '06_cone', 'A cone.')", 1, 0),
        ("rows = compare.ratio_rows(plain, normed, quantity)", 1, 0),
        ("print(f'{walked.max():.2f} nats')\n\n# a comment", 1, 0),
        ("caption = 'one' + f'{n} two'", 1, 0),
        ("assert loss < 3", 1, 0),
        ("g = torch.autograd.grad(loss, weights)", 1, 1),
        ("moved = w - eta * d", 1, 1),
        ("def width(run):\n    return run.probes[grid]", 2, 2),
        ("for x, y in batches:\n    loss = F.cross_entropy(model(x), y)\n    print(loss)", 3, 3),
    ],
)
def test_lines_that_carry_an_idea(source, lines, ideas):
    assert reading.lines(source, PACKAGE) == (lines, ideas)


def test_a_number_is_one_word_and_an_exercise_is_aside():
    def cell(kind, source, **metadata):
        return {"cell_type": kind, "source": [source], "metadata": metadata}

    said = "Below it is <span title='low if low < 2 else high:.2f'>0.42</span> nats."
    cells = [cell("markdown", "## Two words"), cell("code", "x = a * b"), cell("markdown", said)]
    aside = [cell("markdown", "### Exercise 1 ★ · A title"), cell("code", "def f(): ...", nbgrader={})]
    assert reading.count(cells) == reading.count([*cells, *aside, cell("code", 'checks.hint("f")')]) == (1, 1, 8)
    assert reading.count([*cells, cell("markdown", "## Exercises"), cell("code", "y = 2 * x")]) == (1, 1, 8)


def test_02_shows_its_ideas_and_leaves_the_sources_to_its_appendix():
    (path,) = (path for path in NOTEBOOKS if path.stem == "02_simple_net")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines, ideas, said = reading.count(cells)
    assert len(cells) <= 90 and ideas >= lines / 2 and said >= 12 * lines
    assert not any(re.search(r"[Ss]ource 00\d|beside\.", "".join(cell["source"])) for cell in cells)
    assert max(len(cell["source"]) for cell in cells if cell["cell_type"] == "code") <= 20


def test_hints_unfold_one_by_one():
    html = checks.hint("direct_probe")._repr_html_()
    first, second, third = (html.index(f"Hint {n}<") for n in (1, 2, 3))
    assert first < second < third and html.count("<details>") == 3 and "</details></details></details>" in html
    both = checks.hint("07-edge", "07-design")._repr_html_()
    assert both.count("<details>") == 6 and "Hint 1 (edge)" in both
    with pytest.raises(CourseError, match=r"no hints to 'direct_prob'\. There are to .*batch_norm, .*direct_probe"):
        checks.hint("direct_prob")
    assert all(len(given) == 3 for given in quiz.tomllib.loads(quiz.HINTS.read_text(encoding="utf-8")).values())


def test_every_hint_is_asked_for_once_and_none_stands_in_a_notebook():
    known = quiz.tomllib.loads(quiz.HINTS.read_text(encoding="utf-8"))
    cells = [cell for path in NOTEBOOKS for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    sources = ["".join(cell["source"]) for cell in cells]
    asked = [
        name for source in sources if source.startswith("checks.hint(") for name in re.findall('"([^"]+)"', source)
    ]
    assert sorted(asked) == sorted(known) and not any("<details>" in source for source in sources)


@pytest.mark.parametrize(
    ("values", "factor", "side", "claimed"),
    [
        ([-1.0], "0.37 (one seed)", "less in the one seed", "open"),
        ([-1.0, -1.1, -0.9], "0.37 (0.29–0.47)", "less", "a"),
        ([1.0, 1.1, 0.9], "2.7 (2.1–3.5)", "more", "b"),
        ([-1.0, 1.1, 0.9], "1.4 (0.078–25)", f"more {UNDECIDED}", "open"),
    ],
)
def test_a_sentence_claims_what_the_interval_allows(values, factor, side, claimed):
    found = intervals.paired(np.zeros(len(values)), values)
    assert words.factor(found) == factor and words.side(found, "less", "more") == side
    assert words.by_side(found, "a", "b", "open") == claimed


def test_so_many_digits_and_no_exponent():
    assert [words.rounded(value, 2) for value in (0.0893, 1.98, 14900)] == ["0.089", "2.0", "15,000"]
    assert words.rounded(0.0893) == "0.0893" and words.rounded(2e-7, 2) == "2e-07"


def test_where_nothing_was_compared_a_sentence_says_so():
    assert words.factor(None) == words.side(None, "less", "more") == "not compared"
    assert words.by_side(None, "a", "b", "open") == "open"


def test_say_shows_markdown_after_the_figures(monkeypatch):
    import IPython.display
    import matplotlib.pyplot as plt

    done = []
    monkeypatch.setattr(plt, "show", lambda: done.append("figures"))
    monkeypatch.setattr(IPython.display, "display", lambda shown: done.append(shown.data))
    words.say("""
    One sentence,
    on two lines.
    """)
    words.say("- one - two\n- three")
    assert done == ["figures", "One sentence, on two lines.", "figures", "- one - two\n- three"]
