"""Run the notebooks headless with papermill, judge each, and write the report.

python -m cifar_helpers.report --profile quick --data auto --device auto --only 05 06
"""

import argparse
import ast
import contextlib
import json
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from traitlets.config import Config

from . import summary
from .env import ROOT, CourseError, choose_device, figures_dir, read_json, runs_dir, write_atomically
from .experiments import PROFILES, get_profile
from .record import Store

KERNEL = "cifar-course"
SHOWN_LINES = re.compile(
    r"^( {2}train |\d+ runs: |The (record|cached|checkpoint)|SYNTHETIC|.*another process is training"
    r"|.*trained once more|.*not bit for bit)"
)


def notebooks(only: Sequence[str] = ()) -> list[Path]:
    """The course's notebooks in order, or those named by number or name.

    Raises:
        CourseError: a name fits none.
    """
    every = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
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


def check_parameters(notebook: Path, given: dict[str, object]) -> None:
    """Compare given parameters with the notebook's: papermill itself only warns about an unknown one.

    Raises:
        CourseError: a name the notebook does not have, or a value of another type than its default.
    """
    known = notebook_parameters(notebook)
    for name, value in given.items():
        if name not in known:
            raise CourseError(f"{notebook.stem} has no parameter {name!r}; it has {', '.join(known)}.")
        default = known[name]
        fits = default is None or value is None or isinstance(value, type(default))
        fits = fits or (isinstance(default, float) and isinstance(value, int))
        if not fits or (isinstance(value, bool) and not isinstance(default, bool | None)):
            expected = type(default).__name__
            raise CourseError(f"{notebook.stem}: {name} must be of type {expected}, like {default!r}, not {value!r}.")


def parse_parameter(text: str) -> object:
    """A value from the command line: a Python literal (``1e-3``, ``[1, 2]``, ``None``), else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


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

    def __init__(self, prefix: str):
        self.prefix, self.rest = prefix, ""

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if SHOWN_LINES.match(line):
                print(f"{self.prefix} {line.lstrip()}", flush=True)

    def flush(self) -> None:
        pass


@contextlib.contextmanager
def this_environments_kernel():
    """Offer this interpreter as a kernel under a name of its own: a user's ``python3`` kernel may be another Python."""
    with tempfile.TemporaryDirectory() as folder:
        spec = {  # a kernel's own log would fill the terminal at a Ctrl-C; errors of cells are in the notebook
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"],
            "display_name": "Python (course)",
            "language": "python",
        }
        write_atomically(Path(folder) / "kernels" / KERNEL / "kernel.json", json.dumps(spec))
        before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (folder, before)))
        try:
            yield
        finally:
            os.environ.pop("JUPYTER_PATH")
            if before is not None:
                os.environ["JUPYTER_PATH"] = before


def _kernel_config(folder: str) -> Config:
    """Talk to the kernel over sockets in a private folder: other users of a shared node cannot reach them."""
    if os.name != "posix":
        return Config()
    return Config(KernelManager={"transport": "ipc", "ip": str(Path(folder) / "kernel")})


def execute(notebook: Path, output: Path, parameters: dict[str, object]) -> dict:
    """Execute one notebook and judge it; never raises for what happens inside.

    Returns:
        ``notebook``, ``verdict``, ``minutes``, and ``without_training``: the minutes less those of runs trained in it.
    """
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    began, began_unix = time.monotonic(), time.time()
    output.parent.mkdir(parents=True, exist_ok=True)
    failure = ""
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
            warnings.simplefilter("ignore")
            papermill.execute_notebook(
                notebook,
                output,
                parameters=parameters,
                kernel_name=KERNEL,
                language="python",
                cwd=notebook.parent,
                progress_bar=False,
                config=_kernel_config(sockets),
                stdout_file=_Echo(f"    {notebook.stem[:2]}"),
            )
    except Exception as error:
        failure = f"{type(error).__name__}: {_first_line(str(error))}"
    try:
        judged = verdict(nbformat.read(output, as_version=4))
    except Exception as error:
        judged = failure or f"no readable output ({type(error).__name__})"
    judged = failure if judged == "ok" and failure else judged
    minutes, trained = (time.monotonic() - began) / 60, summary.trained_minutes(began_unix)
    return {"notebook": notebook.stem, "verdict": judged, "minutes": minutes, "without_training": minutes - trained}


def expected_minutes(profile: str) -> str:
    """What the profile is expected to take, from the published measurement where there is one."""
    measured = (read_json(figures_dir() / "profiles.json") or {}).get(profile)
    if measured:
        minutes = max(1, round(measured["minutes"]))
        return f"about {minutes} min (measured on {measured['machine']}), less with records at hand"
    return f"planned for at most {get_profile(profile).minutes:g} min, less with records at hand"


def _absolute(path: str) -> str:
    """An existing path as the kernels, which run in another folder, can use it."""
    found = Path(path).expanduser()
    return str(found.resolve()) if found.exists() else path


def run_report(profile: str, data: str | None, device: str, only: Sequence[str], extra: dict, publish: bool) -> int:
    """Execute the chosen notebooks, print the table, write the local report; 0 if every verdict is ok.

    Raises:
        CourseError: something is wrong before anything runs.
    """
    from .data import SYNTHETIC, load_cifar10

    parameters = {"profile": profile, "data": data, "device": device, "published": False} | extra
    chosen = notebooks(only)
    known = {name for notebook in chosen for name in notebook_parameters(notebook)}
    for notebook in chosen:  # a further parameter goes to the notebooks that have it; one that none has is refused
        mine = notebook_parameters(notebook)
        check_parameters(notebook, {n: v for n, v in parameters.items() if n in mine or n not in known})
    target = choose_device(device)
    if os.environ.get("CIFAR10_ROOT"):
        os.environ["CIFAR10_ROOT"] = _absolute(os.environ["CIFAR10_ROOT"])
    data = data if data in (None, "auto", "cifar10", "synthetic") else _absolute(data)
    label = load_cifar10(data or get_profile(profile).data).label
    parameters["data"] = "synthetic" if label == SYNTHETIC else data  # what was found once is what all notebooks use
    if publish and label == SYNTHETIC:
        raise CourseError(
            "A report on synthetic data is not published: name a copy of CIFAR-10 (--data), or leave --publish out."
        )
    for folder in (runs_dir(), figures_dir(profile)):
        write_atomically(folder / ".writable", "")
    print(f"Profile {profile} on {label}, device {device}: {expected_minutes(profile)}.", flush=True)

    results, began = [], datetime.now(UTC).isoformat(timespec="seconds")
    with this_environments_kernel():
        for number, notebook in enumerate(chosen, 1):
            print(f"[{number}/{len(chosen)}] {notebook.stem} …", flush=True)
            output = runs_dir() / "notebooks" / profile / notebook.name
            mine = notebook_parameters(notebook)
            result = execute(notebook, output, {name: value for name, value in parameters.items() if name in mine})
            results.append(result)
            print(
                f"[{number}/{len(chosen)}] {notebook.stem}: {result['verdict']} ({result['minutes']:.1f} min)",
                flush=True,
            )
            if result["verdict"] != "ok" and output.exists():
                print(f"    the executed copy with the full error: {output}", flush=True)

    width = max(len(r["notebook"]) for r in results)
    print(f"\n{'notebook':{width}}  minutes  verdict")
    for r in results:
        print(f"{r['notebook']:{width}}  {r['minutes']:7.1f}  {r['verdict']}")
    report = summary.write_local(profile, results, began, target, extra)
    print(f"\nReport: {report}")
    failed = [r["notebook"] for r in results if r["verdict"] != "ok"]
    if failed:
        print(
            f"Failed: {', '.join(failed)}. The rest is done; run the same command again after mending.", file=sys.stderr
        )
    return 1 if failed else 0


def default_profile(device: str) -> str:
    """``full`` where the device is a CUDA GPU, else ``quick``."""
    return "full" if choose_device(device).type == "cuda" else "quick"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the report."""
    parser = argparse.ArgumentParser(
        prog="python -m cifar_helpers.report", description="Run notebooks; write the report."
    )
    parser.add_argument("--profile", help=f"{', '.join(PROFILES)} (default: full on a GPU, else quick)")
    parser.add_argument("--data", help="auto, cifar10, synthetic, or a path (default: the profile's)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NN", help="notebooks by number or name (default: all)"
    )
    parser.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a further parameter"
    )
    parser.add_argument("--publish", action="store_true", help="replace the committed report in figures/ by this one")
    options = parser.parse_args(arguments)
    try:
        profile = default_profile(options.device) if options.profile is None else options.profile
        get_profile(profile)
        if options.profile is None:
            print(
                f"No profile given: {profile}, as on a {'GPU' if profile == 'full' else 'machine without a CUDA GPU'}."
            )
        extra = {name: parse_parameter(value) for name, value in options.parameter}
        taken = sorted(set(extra) & {"profile", "data", "device"})
        if taken:
            raise CourseError(f"Use --{taken[0]} instead of -p {taken[0]}.")
        status = run_report(profile, options.data, options.device, options.only, extra, options.publish)
        if options.publish and status == 0:
            print(f"Published: {summary.publish(profile, Store())}")
        return status
    except CourseError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Finished runs are kept; the same command goes on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
