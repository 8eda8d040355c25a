"""Explorers: controls above a picture that follows them, each a few lines around a scene.

An explorer redraws from arrays at hand, in well under a tenth of a second; it trains nothing. Every control moves with
the keyboard. What the picture shows stands below it in words. An error while drawing takes the picture's place.
"""

import base64
import functools
import io
import traceback
from collections.abc import Callable, Mapping, Sequence
from html import escape

import ipywidgets
import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ..data.images import ImageData
from ..env import CourseError
from ..figures.style import stamp
from . import replays, scenes
from .replays import Walk
from .scenes import DPI, KERNELS, LIVE, SIZE, Channel, Show

PICTURES = 40  # images to choose from
FRAMES, COLOURS, MILLISECONDS = 24, 64, 350  # of a film: how many at most, how many in each, how long each is shown
WIDTH = f"{round(SIZE[0] * DPI)}px"
WIDE = {"style": {"description_width": "6em"}, "layout": {"width": "24em"}}


def staged(scene: Callable[[Figure], Show], synthetic: bool) -> Callable[..., tuple[bytes, str]]:
    """A function from a state to its picture as PNG and the sentence that says what it shows.

    The scene is drawn once, with a stamp where it is ``synthetic``, and then only where it moves.
    """
    figure = Figure(figsize=SIZE, dpi=DPI)  # not pyplot's: nothing is left open
    canvas = FigureCanvasAgg(figure)
    with mpl.rc_context(LIVE):
        show = scene(figure)
        if synthetic:
            stamp(figure)
        canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    parts = [(axis, part) for axis in figure.axes for part in axis.get_children() if part.get_animated()]
    moving = sorted(parts, key=lambda pair: pair[1].get_zorder())

    def render(*state) -> tuple[bytes, str]:
        words = show(*state)
        canvas.restore_region(still)
        for axis, part in moving:
            axis.draw_artist(part)
        picture = io.BytesIO()
        Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(picture, "png", compress_level=1)
        return picture.getvalue(), words

    return render


class Explorer(ipywidgets.VBox):
    """Controls, the picture they choose, a sentence that says what it shows, and room for an error.

    Args:
        title: what is explored, a few words.
        render: called with the controls' values, returns a PNG and the sentence.
        controls: in the order of the values.
    """

    def __init__(self, title: str, render: Callable[..., tuple[bytes, str]], controls: Sequence):
        self.title, self.render, self.controls = title, render, tuple(controls)
        self.picture = ipywidgets.HTML(layout={"max_width": "100%"})  # an Image has no alternative text
        self.sentence, self.problem = (ipywidgets.HTML(layout={"max_width": WIDTH}) for _ in range(2))
        self.output = ipywidgets.Output()  # where a reader, and the report's verdict, look for a traceback
        row = ipywidgets.HBox(self.controls, layout={"flex_flow": "row wrap", "max_width": WIDTH})
        super().__init__([row, self.picture, self.sentence, self.problem, self.output])
        self.add_class("cifar-explorer")
        for control in self.controls:
            control.observe(self.redraw, "value")
        self.redraw()

    def __repr__(self) -> str:
        """What stands in a static view in place of the controls."""
        return f"[{self.title}: run this cell in JupyterLab to move the controls]"

    def redraw(self, change=None) -> None:
        """Draw the state that the controls are in; an error is shown in the place of the picture."""
        try:
            png, words = self.render(*(control.value for control in self.controls))
        except Exception as error:  # ipywidgets would swallow it
            self._show(error)
            return
        source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        self.picture.value = f'<img alt="{escape(words)}" style="width: {WIDTH}; max-width: 100%" src="{source}">'
        self.sentence.value = f'<p role="status">{escape(words)}</p>'
        self.problem.value, self.output.outputs, self.picture.layout.display = "", (), None

    def film(self, moved: str, backwards: bool = False) -> bytes:
        """A GIF that plays three times: one control goes through its values, the others stay where they are.

        Args:
            moved: the control's description, such as ``"step"``.
            backwards: from its last value to its first.

        Raises:
            CourseError: there is no such control, or what a picture cannot be drawn of.
        """
        names = [control.description for control in self.controls]
        if moved not in names:
            raise CourseError(f"{self.title} has no control {moved!r} to play, but {', '.join(names) or 'none'}.")
        control = self.controls[names.index(moved)]
        stops = hasattr(control, "options")
        values = [value for _, value in control.options] if stops else range(control.min, control.max + 1)
        values = [values[i] for i in sorted({round(i) for i in np.linspace(0, len(values) - 1, FRAMES)})]
        states = [[value if each is control else each.value for each in self.controls] for value in values]
        pictures = [Image.open(io.BytesIO(self.render(*state)[0])) for state in states[:: -1 if backwards else 1]]
        first, *others = [picture.quantize(COLOURS) for picture in pictures]
        film = io.BytesIO()
        first.save(film, "gif", save_all=True, append_images=others, duration=MILLISECONDS, loop=2, optimize=True)
        return film.getvalue()

    def _show(self, error: Exception) -> None:
        """Put an error where the picture was; one that is not the reader's brings its traceback."""
        expected = isinstance(error, CourseError)
        words = str(error) if expected else f"{type(error).__name__}: {error}"
        style = "border: 2px solid #D55E00; padding: 0.5em; line-height: 1.4"
        self.problem.value = f'<div role="alert" style="{style}"><b>Nothing to show.</b> {escape(words)}</div>'
        self.picture.layout.display, self.sentence.value = "none", ""
        report = {"output_type": "error", "ename": type(error).__name__, "evalue": str(error)}
        self.output.outputs = () if expected else (report | {"traceback": traceback.format_exception(error)},)


def _explores(title: str) -> Callable:
    """Make an ``Explorer`` of a function that returns a scene of one argument, the figure, and its controls.

    An error on the way is shown like any other, so that its notebook goes on.
    """

    def decorate(build: Callable[..., tuple[Callable[[Figure], Show], Sequence]]) -> Callable[..., Explorer]:
        @functools.wraps(build)
        def built(images: ImageData, *found) -> Explorer:
            try:
                scene, controls = build(images, *found)
                render = staged(scene, images.label == "SYNTHETIC")
            except Exception as error:  # shown by the explorer
                render, controls = functools.partial(_refuse, error), ()
            return Explorer(title, render, controls)

        return built

    return decorate


def _refuse(error: Exception) -> tuple[bytes, str]:
    raise error


# --- Controls ------------------------------------------------------------------------------------------------------


def _slider(description: str, low, high, value, step=1):
    kind = ipywidgets.IntSlider if isinstance(step, int) else ipywidgets.FloatSlider
    return kind(value, min=low, max=high, step=step, description=description, **WIDE)


def _choice(description: str, options: Sequence):
    return ipywidgets.Dropdown(options=options, value=options[0], description=description, **WIDE)


def _stops(description: str, options: Sequence):
    """A slider over the values that were recorded."""
    shown = [(f"{option:g}", option) for option in options]
    return ipywidgets.SelectionSlider(options=shown, value=options[len(options) // 2], description=description, **WIDE)


def _tick(description: str, value: bool = False):
    return ipywidgets.Checkbox(value, description=description, indent=False, layout={"width": "8em"})


# --- Explorers -----------------------------------------------------------------------------------------------------


@_explores("Augmentation")
def explore_augmentation(images: ImageData):
    """Pick an image, a seed and augmentations; see what seven epochs make of it (01)."""
    pixels, labels = _some_images(images)
    names = ("crop", "flip", "cutout")

    def scene(figure: Figure) -> Show:
        show = scenes.augmentation(figure, pixels, [images.classes[label] for label in labels])
        return lambda number, seed, *ticked: show(number, seed, [n for n, on in zip(names, ticked, strict=True) if on])

    ticks = [_tick(name, name != "cutout") for name in names]
    return scene, [_slider("image", 1, len(labels), 1), _slider("seed", 0, 20, 0), *ticks]


@_explores("Convolution")
def explore_convolution(images: ImageData):
    """Move a kernel of some strength over an image (02)."""
    pixels, _ = _some_images(images)
    strength = _slider("strength", 0.0, 1.5, 1.0, 0.05)
    controls = [_slider("image", 1, len(pixels), 1), _choice("kernel", list(KERNELS)), strength, _tick("then ReLU")]
    return lambda figure: scenes.convolution(figure, pixels), controls


def _some_images(images: ImageData):
    """Images and labels to choose from: of every class, in a fixed random order."""
    return images.shuffled("all", min(PICTURES, len(images.train_labels)))


@_explores("Batch norm on a channel")
def explore_batch_norm(images: ImageData, channel: Channel):
    """Choose γ, β and the batch size for the values of one channel (04)."""
    sizes = [2**power for power in range(9) if 2**power <= len(channel.counts)]
    scale, shift = _slider("γ (scale)", 0.1, 3.0, 1.0, 0.1), _slider("β (shift)", -3.0, 3.0, 0.0, 0.1)
    return lambda figure: scenes.batch_norm(figure, channel), [scale, shift, _stops("batch size", sizes)]


@_explores("Learning rates")
def explore_rates(images: ImageData, curves: Mapping[str, Mapping[float, Sequence]]):
    """Choose one of the recorded rates (02b).

    Args:
        curves: what ``replays.curves_by_rate`` returns.
    """
    rates = sorted({rate for found in curves.values() for rate in found})
    if not rates:
        raise CourseError("No run at any rate is recorded.")
    return lambda figure: replays.rate_curves(figure, curves), [_stops("rate", rates)]


@_explores("The band, step by step")
def explore_band(images: ImageData, networks: Mapping, rates: Sequence[float]):
    """Choose a step of the band over the rates (05).

    Args:
        networks: model → ``quantities.Band`` of the loss, a curve per rate; rates: in the order of the curves.
    """
    last = min((len(band.steps) for band in networks.values()), default=0) - 1
    if last < 0:
        raise CourseError("No step is recorded.")
    return lambda figure: replays.band_at_step(figure, networks, rates), [_slider("step", 0, last, last // 2)]


@_explores("A walk along the gradient")
def explore_walk(images: ImageData, runs: Sequence, probe):
    """Choose a step and a seed of the runs that were probed along the gradient (05).

    Args:
        runs: records of all networks and seeds; probe: the ``ProbeConfig`` they were probed with.
    """
    walks = {}
    for run in runs:
        walks.setdefault(run.config.seed, {})[run.config.model] = Walk.of(run, probe)
    networks = {run.config.model for run in runs}
    walks = {seed: found for seed, found in sorted(walks.items()) if set(found) == networks}
    measured = [set(walk.steps.tolist()) for found in walks.values() for walk in found.values()]
    if not measured or not (steps := sorted(set.intersection(*measured))):
        raise CourseError("No step was probed along the gradient in every network.")
    controls = [_stops("step", steps), _choice("seed", list(walks))]
    return lambda figure: replays.along_gradient(figure, walks), controls


@_explores("Two paths on one surface")
def explore_paths(images: ImageData, planes: Mapping[str, Mapping]):
    """Choose a position on the training paths (08).

    Args:
        planes: network → what ``inside.surface.along_paths`` returns.
    """
    if not planes:
        raise CourseError("No training path was measured.")
    steps = [steps for plane in planes.values() for steps in plane["steps"]]
    first, end = max(each[0] for each in steps), min(each[-1] for each in steps)
    return lambda figure: replays.paths_on_surface(figure, planes), [_slider("step", first, end, (first + end) // 2)]
