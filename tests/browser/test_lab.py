"""Every notebook in JupyterLab: Run All, every explorer moved, every quiz answered by keyboard, light and dark."""

import time

import pytest

from .conftest import NOTEBOOKS

pytest.importorskip("playwright", reason="playwright is not installed; `make test-browser` installs it")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(700)]
PANEL = "jupyterapp.shell.currentWidget"
STATE = f"""() => {{
  const panel = window.jupyterapp && {PANEL};
  const kernel = panel && panel.sessionContext && panel.sessionContext.session && panel.sessionContext.session.kernel;
  if (!kernel || !panel.content.widgets) return null;
  const code = panel.content.widgets.filter(c => c.model.type === 'code' && c.model.sharedModel.source.trim());
  return {{status: kernel.status, left: code.filter(c => c.model.executionCount === null).length,
           busy: code.filter(c => c.promptNode.textContent.includes('*')).length}};
}}"""
BROKEN = """async () => {
  const images = [...document.querySelectorAll('.jp-Notebook img')];
  const bad = [];
  for (const image of images) {
    image.loading = 'eager';
    await image.decode().catch(() => {});
    if (!image.naturalWidth) bad.push(image.src.slice(0, 80));
  }
  return [images.length, bad];
}"""
TOO_WIDE = """() => [...document.querySelectorAll(
    '.jp-WindowedPanel-outer, .jp-OutputArea-output, .jp-RenderedHTMLCommon, .widget-box')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible' && e.clientWidth)
  .map(e => e.className.slice(0, 60) + ' ' + e.scrollWidth + ' > ' + e.clientWidth + ': ' + e.innerText.slice(0, 60))"""
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def until(page, question: str, answer, seconds: float, *given) -> object:
    """Ask the page until ``answer`` accepts what it says."""
    end = time.monotonic() + seconds
    while True:
        said = page.evaluate(question, *given)
        if answer(said):
            return said
        assert time.monotonic() < end, f"after {seconds} s: {said}"
        page.wait_for_timeout(200)


def open_and_run(page, lab, notebook: str) -> None:
    """Open, Run All (asked again where nothing starts), wait until the kernel is idle and no cell is left."""
    page.goto(lab.address(notebook), timeout=90_000)
    until(page, STATE, lambda state: state and state["status"] == "idle", 90)
    every = page.evaluate(STATE)["left"]
    for _ in range(3):
        page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
        for _ in range(40):  # a slow machine takes seconds to begin; asked twice, it would run everything twice
            page.wait_for_timeout(500)
            state = page.evaluate(STATE)
            if begun := state["status"] == "busy" or state["busy"] or state["left"] < every:
                break
        if begun:
            break
    until(page, STATE, lambda state: state["left"] == state["busy"] == 0 and state["status"] == "idle", 500)


def move(page, explorer, number: int) -> None:
    """Move each of an explorer's controls by keyboard; its picture has to change."""
    controls = explorer.locator("[role=slider], input[type=range], select, input[type=checkbox], input[type=radio]")
    assert controls.count(), f"explorer {number} has no control"
    picture = explorer.locator("img").first
    picture.scroll_into_view_if_needed()
    before = picture.get_attribute("src")
    changed = 0
    for i in range(controls.count()):
        control = controls.nth(i)
        if not control.is_visible() or not control.is_enabled():
            continue
        control.focus()
        is_box = control.get_attribute("type") in ("checkbox", "radio")
        for key in ("Space",) if is_box else ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
            page.keyboard.press(key)
            if differs(page, picture, before):
                changed, before = changed + 1, picture.get_attribute("src")
                break
    assert changed, f"no control of explorer {number} changes its picture"
    assert not explorer.locator("[role=alert]").count()


def differs(page, picture, before: str, milliseconds: int = 1500) -> bool:
    for _ in range(milliseconds // 100):
        if picture.get_attribute("src") != before:
            return True
        page.wait_for_timeout(100)
    return False


def answer(page, question) -> None:
    """Choose the first option by keyboard alone; the question has to reply."""
    option = question.locator("input[type=radio]").first
    option.focus()
    page.keyboard.press("Space")
    page.wait_for_timeout(100)
    reply = question.locator(".quiz-reply")
    if not reply.count() or not reply.inner_text().strip():
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
    end = time.monotonic() + 10
    while not (reply.count() and reply.first.inner_text().strip()):
        assert time.monotonic() < end, f"no reply to {question.inner_text()[:80]}"
        page.wait_for_timeout(100)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_in_the_browser(page, lab, shot, path):
    open_and_run(page, lab, path.name)
    errors = page.locator(".jp-Notebook [data-mime-type='application/vnd.jupyter.error']")
    assert not errors.count(), errors.first.inner_text()[:1000]
    images, broken = page.evaluate(BROKEN)
    asks = "quiz.ask(" in path.read_text(encoding="utf-8")  # the appendix of sources has tables alone
    assert (images or not asks) and not broken
    assert asks or page.locator(".jp-OutputArea table").count() >= 6
    for number, explorer in enumerate(page.locator(".cifar-explorer").all()):
        move(page, explorer, number)
    questions = page.locator(".quiz-question").all()
    assert len(questions) >= 3 * asks
    for question in questions:
        answer(page, question)
    for name, theme in THEMES.items():
        page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        until(
            page,
            "() => document.body.dataset.jpThemeLight",
            lambda light, name=name: light == str(name == "light").lower(),
            20,
        )
        assert page.evaluate(TOO_WIDE) == []
        page.evaluate("() => document.querySelector('.jp-Notebook').scrollIntoView()")
        for part, where in enumerate(page.locator(".cifar-explorer, .quiz-question").all()[:2]):
            where.scroll_into_view_if_needed()
            shot(f"{path.stem}-{name}-{part}")
    page.evaluate(f"() => {PANEL}.sessionContext.shutdown()")


def test_the_seven_explorers_are_all_there():
    import nbformat

    text = "\n".join(c.source for path in NOTEBOOKS for c in nbformat.read(path, 4).cells if c.cell_type == "code")
    assert text.count("widgets.explore_") >= 7
