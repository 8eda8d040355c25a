"""Executing one notebook headless with papermill, in a process of its own, and judging what came out.

``execute`` is what others call; run as a module this file is that process, which ends with its parent.
"""

import ast
import contextlib
import difflib
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from traitlets.config import Config

from cifar_helpers import signals
from cifar_helpers.env import (
    NUMBERED,
    ROOT,
    UTF8_OUTPUT,
    CourseError,
    disk_error,
    number_of,
    show_anything,
    write_atomically,
)
from cifar_helpers.words import FILLED

from . import numbers

KERNEL = "cifar-course"
FAILURE = "failure: "  # how the child's last line begins where papermill itself failed
STOP_SECONDS = 30.0  # a notebook's time to end its kernel
SHOWN_LINES = re.compile(
    r"^( {2}train |\d+ runs: |The (record|cached|checkpoint)|.*another process is training"
    r"|.*trained once more|.*not bit for bit)"
)


def choose(only: Sequence[str] = ()) -> list[Path]:
    """The course's notebooks in order, or those named by number or name; ``CourseError`` where a name fits none."""
    every = sorted((ROOT / "notebooks").glob(f"{NUMBERED}.ipynb"))
    if not only:
        return every
    only = [name.zfill(2) if name.isdecimal() else name for name in only]
    chosen = {name: [p for p in every if name in (p.stem, p.name) or p.stem.startswith(f"{name}_")] for name in only}
    unknown = [name for name, found in chosen.items() if not found]
    if unknown:
        known = ", ".join(p.stem for p in every)
        raise CourseError(f"Unknown notebook {', '.join(unknown)}; there are {known}. A number such as 05 is enough.")
    return [p for p in every if any(p in found for found in chosen.values())]


def notebook_parameters(notebook: Path) -> dict[str, object]:
    """Names and default values of the notebook's tagged parameters cell, which holds literals only."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            assignments = [node for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
            return {node.targets[0].id: ast.literal_eval(node.value) for node in assignments}
    return {}


def check_parameters(notebooks: Sequence[Path], given: dict[str, object]) -> None:
    """Compare given parameters with the notebooks', as papermill only warns; each goes to those that have it.

    ``CourseError`` at a name that none of them has, or a value of another type than a notebook's default.
    """
    known = {notebook: notebook_parameters(notebook) for notebook in notebooks}
    every = list(dict.fromkeys(name for mine in known.values() for name in mine))
    for name in given:
        if name not in every:
            close = difflib.get_close_matches(name, every, 1)
            meant = f"; did you mean {close[0]}?" if close else "."
            raise CourseError(f"There is no parameter {name!r}{meant} Known to these notebooks: {', '.join(every)}.")
    for notebook, mine in known.items():
        for name, default in mine.items():
            value = given.get(name)
            fits = default is None or value is None or isinstance(value, type(default))
            fits = fits or (isinstance(default, float) and isinstance(value, int))
            if not fits or (isinstance(value, bool) and not isinstance(default, bool | None)):
                right = f"must be of type {type(default).__name__}, like {default!r}"
                raise CourseError(f"{notebook.stem}: {name} {right}, not {value!r}.")


def verdict(notebook) -> str:
    """``ok``, or the first thing that is wrong with an executed notebook.

    papermill's own metadata stay silent on a dead kernel and on a time-out, and an error inside a widget is none to it.
    """
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                return f"cell {number}: {output.ename}: {_first_line(output.evalue)}"
        if cell.execution_count is None:
            return f"cell {number} was not executed"
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    for state in widgets.get("state", {}).values():
        for output in state.get("state", {}).get("outputs", []):
            if output.get("output_type") == "error":
                return f"widget: {output.get('ename')}: {_first_line(output.get('evalue', ''))}"
    if not notebook.metadata.get("papermill", {}).get("end_time"):
        return "did not end"
    return "ok"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else ""


class _Echo:
    """Passes on the lines of a notebook's output that show progress."""

    rest = ""

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if SHOWN_LINES.match(line):
                print(line.lstrip(), flush=True)

    def flush(self) -> None:
        pass


def _offer_kernel(folder: Path) -> Config:
    """Make this interpreter a kernel under a name of its own: a user's ``python3`` kernel may be another Python.

    The private folder also holds its sockets: other users of a shared node cannot reach them.
    """
    spec = {  # a kernel's own log would fill the terminal at a Ctrl-C; errors of cells are in the notebook
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"],
        "display_name": "Python (course)",
        "language": "python",
    }
    write_atomically(folder / "kernels" / KERNEL / "kernel.json", json.dumps(spec))
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("JUPYTER_PATH"))))
    return Config(KernelManager={"transport": "ipc", "ip": str(folder / "kernel")} if os.name == "posix" else {})


class Group:
    """Child processes that end together: one for each notebook that is being executed."""

    def __init__(self):
        self.children, self.ended = set(), False

    @contextlib.contextmanager
    def member(self, child: subprocess.Popen) -> Iterator[None]:
        """Around all that is done with a child: what interrupts that, such as the group's end, ends the child."""
        self.children.add(child)
        try:
            if not self.ended:
                yield
            if self.ended:
                raise signals.Stopped
        except BaseException:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(STOP_SECONDS)
            child.kill()
            raise
        finally:
            self.children.discard(child)

    def end(self) -> None:
        """Ask all to end, those too that only begin now."""
        self.ended = True
        for child in list(self.children):
            child.terminate()


def several(tasks: Sequence[Callable[[Group], dict]], at_a_time: int) -> list[dict]:
    """Results of functions that each execute a notebook in the group they are given, so many at a time.

    After a ``KeyboardInterrupt`` all notebooks and their kernels have ended.
    """
    group = Group()
    with ThreadPoolExecutor(at_a_time) as pool:
        waiting = [pool.submit(task, group) for task in tasks]
        try:
            return [each.result() for each in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            group.end()
            raise


def execute(
    notebook: Path,
    output: Path,
    parameters: dict[str, object],
    cell_minutes: float | None = None,
    threads: int | None = None,
    group: Group | None = None,
) -> dict:
    """Execute one notebook and judge it; nothing inside raises, and a ``KeyboardInterrupt`` ends it and its kernel.

    Args:
        cell_minutes: a cell that takes longer is ended, and the notebook with it; None waits for ever.
        threads: of the CPU; None leaves it to torch.
        group: of the notebooks that end with this one; None leaves it alone.

    Returns:
        ``notebook``, ``verdict``, ``minutes``, and ``ended``, a Unix time in seconds.
    """
    began = time.monotonic()
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}")
    command = [sys.executable, "-m", "cifar_course.report.execute", str(notebook), str(unfinished)]
    command += [json.dumps(parameters), *([str(cell_minutes * 60)] if cell_minutes else [])]
    try:
        failure = _follow(command, number_of(notebook.stem), threads, group or Group())
        judged = _judge(unfinished, output, failure)
    finally:
        unfinished.unlink(missing_ok=True)
    if cell_minutes and "KeyboardInterrupt" in judged:  # how a kernel that is told to give up answers
        judged = f"{judged.partition(':')[0]} took longer than {cell_minutes:g} min (--cell-minutes)"
    minutes = (time.monotonic() - began) / 60
    return {"notebook": notebook.stem, "verdict": judged, "minutes": minutes, "ended": time.time()}


def _follow(command: Sequence[str], number: str, threads: int | None, group: Group) -> str:
    """Run the child to its end and print its lines; why it failed, by its own last line or its status, or empty."""
    failure = ""
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=os.environ | UTF8_OUTPUT | ({"OMP_NUM_THREADS": str(threads)} if threads else {}),
        start_new_session=True,
    )  # a Ctrl-C is ours alone; should this process vanish, the child's standard input closes
    with child, group.member(child):
        for line in child.stdout:
            if line.startswith(FAILURE):
                failure = line.removeprefix(FAILURE).strip()
            else:
                print(f"    {number} {line.strip()}", flush=True)
    return failure or (f"its process ended with status {child.returncode}" if child.returncode else "")


def _judge(unfinished: Path, output: Path, failure: str) -> str:
    """The verdict on what the child wrote, which becomes the output; what is wrong inside comes before a failure."""
    try:
        notebook = nbformat.read(unfinished, as_version=4)
        numbers.fill(notebook)
        judged = verdict(notebook)
        nbformat.write(notebook, unfinished)
        os.replace(unfinished, output)
    except Exception as error:
        return failure or f"no readable output ({type(error).__name__})"
    return (failure or judged) if judged == "ok" else judged


def parse_parameter(text: str) -> object:
    """A value from the command line: a Python literal (``1e-3``, ``[1, 2]``, ``None``), else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Body of the child: papermill on one notebook, with the kernel's progress on standard output."""
    import papermill

    show_anything()
    notebook, output, parameters, *timeout = sys.argv[1:] if arguments is None else arguments
    logging.getLogger("papermill").setLevel(logging.ERROR)
    signals.end_with_parent()
    output_path = Path(output)
    output_path.unlink(missing_ok=True)  # an earlier execution is not taken for this one
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="kernel-") as folder:
            warnings.simplefilter("ignore")
            asking = nbformat.read(notebook, as_version=4)
            numbers.ask(asking)
            os.environ[FILLED] = "1"  # what differs is not said twice
            nbformat.write(asking, Path(folder) / Path(notebook).name)
            papermill.execute_notebook(
                Path(folder) / Path(notebook).name,
                output,
                parameters=json.loads(parameters),
                kernel_name=KERNEL,
                language="python",
                cwd=Path(notebook).parent,
                progress_bar=False,
                config=_offer_kernel(Path(folder)),
                stdout_file=_Echo(),
                execution_timeout=int(float(timeout[0])) if timeout else None,
            )
    except OSError as error:
        print(f"{FAILURE}{_first_line(str(disk_error(output_path, error)))}", flush=True)
    except Exception as error:
        print(f"{FAILURE}{type(error).__name__}: {_first_line(str(error))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
