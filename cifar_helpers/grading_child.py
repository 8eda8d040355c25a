"""What runs inside the sandbox: torch and the checks are loaded once, then every exercise gets a process of its own.

The parent reads requests from its standard input and answers on its standard output, one JSON document a line. It
never runs a line of the student's code; the process it forks for an exercise does, has no hold of these two channels,
and hands its verdict back through a pipe, with a token that was drawn before. ``sandbox`` watches from outside.
"""

import ast
import builtins
import json
import linecache
import math
import os
import resource
import secrets
import select
import signal
import sys
import time
import traceback
import types
from collections.abc import Iterator
from pathlib import Path

MESSAGE_LIMIT = 2000  # characters of a reason
FILE_LIMIT = 64 * 2**20  # bytes of one file that a submission writes
IMPORTS = (ast.Import, ast.ImportFrom)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class NotFoundError(Exception):
    """The submission has no such answer, or its cell cannot be read; the message says so to the student."""


# --- finding the answer ---------------------------------------------------------------------------------------------


def plain_python(source: str) -> str:
    """A cell without IPython's own lines (``%magic``, ``!command``), which become ``pass``."""
    if source.lstrip().startswith("%%"):
        return ""
    lines = source.split("\n")
    own = [line.lstrip().startswith(("%", "!")) for line in lines]
    return "\n".join(
        line[: len(line) - len(line.lstrip())] + "pass" if magic else line
        for line, magic in zip(lines, own, strict=True)
    )


def parsed(source: str) -> list[ast.stmt]:
    """The statements of a cell; none where it is not Python."""
    try:
        return ast.parse(plain_python(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def names_bound(node: ast.stmt) -> set[str]:
    """The names that a top-level import, definition or assignment binds; ``*`` for a star import."""
    if isinstance(node, IMPORTS):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    if isinstance(node, DEFINITIONS):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def names_used(nodes: list[ast.stmt]) -> set[str]:
    """Every name that stands anywhere in the statements."""
    return {node.id for top in nodes for node in ast.walk(top) if isinstance(node, ast.Name)}


def is_literal(node: ast.stmt) -> bool:
    """Whether it assigns a number, a text, or a tuple, list or dict of them."""
    try:
        ast.literal_eval(getattr(node, "value", None))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return isinstance(node, (ast.Assign, ast.AnnAssign))


def preparation(cells: list[str], answer: str, solution: list[ast.stmt]) -> list[ast.stmt]:
    """What the answer needs of the rest of its notebook: imports, definitions, literals, and what these need in turn.

    Nothing else of the notebook runs: no data is read, no network trained.
    """
    kinds = (*IMPORTS, *DEFINITIONS)
    nodes = [node for cell in cells for node in parsed(cell)]
    nodes = [node for node in nodes if isinstance(node, kinds) or is_literal(node)]
    own = set().union(*(names_bound(node) for node in solution), {answer})
    needed, taken = names_used(solution), set()
    while True:
        more = {
            index
            for index, node in enumerate(nodes)
            if index not in taken and (names_bound(node) & needed or "*" in names_bound(node))
        }
        if not more:
            break
        taken |= more
        needed |= names_used([nodes[index] for index in more])
    # An answer that the notebook defines elsewhere too is the one in the solution's cell.
    return [nodes[i] for i in sorted(taken) if isinstance(nodes[i], IMPORTS) or not names_bound(nodes[i]) <= own]


def find_cell(exercise: dict, notebooks: list[dict]) -> tuple[dict, str]:
    """The notebook and the source of the cell that holds an answer: by nbgrader's id, else by the name it defines.

    Args:
        exercise: ``name``, ``notebook`` and ``answer``.
        notebooks: ``path`` and ``cells`` (``source`` and ``grade_id`` of each) of every notebook.

    Raises:
        NotFoundError: there is none.
    """
    ordered = sorted(notebooks, key=lambda n: not n["path"].rpartition("/")[2].startswith(exercise["notebook"]))
    for notebook in ordered:
        for cell in notebook["cells"]:
            if cell["grade_id"] == exercise["name"]:
                return notebook, cell["source"]
    for notebook in ordered:
        for cell in reversed(notebook["cells"]):  # the last definition is the one that holds after Run All
            if any(exercise["answer"] in names_bound(node) for node in parsed(cell["source"])):
                return notebook, cell["source"]
    raise NotFoundError(f"No cell defines {exercise['answer']}, and none has the id {exercise['name']}.")


def run_answer(exercise: dict, notebooks: list[dict], folder: str):
    """Run what is needed of the notebook, then the solution's cell; the student's object."""
    notebook, source = find_cell(exercise, notebooks)
    source = plain_python(source)
    try:
        solution = ast.parse(source).body
    except (SyntaxError, ValueError) as error:
        raise NotFoundError(f"The cell is not valid Python: {error}.") from error
    place = Path(folder, notebook["path"]).parent
    os.chdir(place)
    sys.path.append(str(place))
    # The cell's own module: classes and dataclasses look their module up.
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    others = [cell["source"] for cell in notebook["cells"] if plain_python(cell["source"]) != source]
    before = ast.Module(preparation(others, exercise["answer"], solution), [])
    exec(compile(before, "notebook", "exec"), module.__dict__)
    label = f"cell {exercise['name']}"
    linecache.cache[label] = (len(source), None, source.splitlines(keepends=True), label)  # lines for tracebacks
    exec(compile(source, label, "exec"), module.__dict__)
    if exercise["answer"] not in module.__dict__:
        raise NotFoundError(f"The cell does not define {exercise['answer']}.")
    return module.__dict__[exercise["answer"]]


# --- noticing changed checks ----------------------------------------------------------------------------------------


def inner_state(function: types.FunctionType) -> list:
    """What makes a function do what it does, that of the functions it encloses included: new code in it shows."""
    enclosed = [cell.cell_contents for cell in function.__closure__ or () if cell != types.CellType()]
    inner = [value for value in enclosed if isinstance(value, types.FunctionType)]
    state = [function.__code__, function.__defaults__, function.__kwdefaults__, *enclosed]
    return state + [part for value in inner if value is not function for part in inner_state(value)]


def parts(owner: object, name: str) -> Iterator[tuple[str, object]]:
    """Everything in a module or class that a check relies on, with that of its classes and functions: name → object."""
    deep = name.startswith(("cifar_helpers", "torch.nn"))
    expected = {"__slotnames__"}  # copy keeps these in a class when the first of its objects is copied
    if isinstance(owner, type) and hasattr(owner, "profile_hook_step"):
        expected.add("step")  # torch wraps an optimizer's when the first of its class is made
    for key, value in list(vars(owner).items()):
        if key in expected:
            continue
        yield f"{name}.{key}", value
        if deep and isinstance(value, types.FunctionType):
            yield from ((f"{name}.{key}()", part) for part in inner_state(value))
        if deep and isinstance(value, type) and isinstance(owner, types.ModuleType):
            yield from parts(value, f"{name}.{key}")


def trusted() -> list[tuple[object, str]]:
    """The modules and classes that a check relies on, with their names."""
    import numpy
    import torch

    from . import checks

    modules = [m for name, m in sys.modules.items() if m and name.split(".")[0] == "cifar_helpers"]
    modules += [torch, torch.nn, torch.nn.functional, torch.linalg, torch.random, torch.autograd]
    modules += [numpy, numpy.linalg, builtins, json, os, time]
    registered = types.SimpleNamespace(**{name: e.check for name, e in checks.EXERCISES.items()})
    others = [(registered, "cifar_helpers.checks.EXERCISES")]
    others += [(torch.Tensor, "torch.Tensor"), (torch._C.TensorBase, "torch.TensorBase")]
    return [*((module, module.__name__) for module in modules), *others]


def snapshot() -> list[tuple[object, str, list[tuple[str, object]]]]:
    """What the checks rely on, as it is now; it holds the objects, so that an id is never used twice."""
    return [(owner, name, list(parts(owner, name))) for owner, name in trusted()]


def changed(before: list[tuple[object, str, list[tuple[str, object]]]]) -> str | None:
    """The name of something that the checks rely on and that is no longer what it was; None where all is well.

    Other modules may gain names, since Python adds what is imported late; the checks' own and tensors may not.
    """
    for owner, name, old in before:
        new = list(parts(owner, name))
        there, known = {(part, id(value)) for part, value in new}, {part for part, _ in old}
        gone = [part for part, value in old if (part, id(value)) not in there]
        strict = name.startswith(("cifar_helpers.checks", "torch.Tensor"))
        added = [part for part, value in new if part not in known and not isinstance(value, types.ModuleType)]
        if gone or (strict and added):
            return (gone or added)[0]
    return None


# --- the process of one exercise ------------------------------------------------------------------------------------


def limit(seconds: float, memory: int) -> None:
    """Set this process's limits: processor time, size of a file, and address space beyond what is already mapped."""
    whole = math.ceil(seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="utf-8") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, mapped + memory))


def place(error: BaseException) -> str:
    """The line of the student's own cell that an error passed through last."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith("cell ")]
    return f' at "{own[-1].line}"' if own and own[-1].line else ""


def judge(exercise: dict, check, request: dict) -> dict:
    """Run the answer and the check; ``state`` and ``reason``."""
    from .checks import Outcome

    before = snapshot()
    try:
        outcome = check(run_answer(exercise, request["notebooks"], request["folder"]))
    except NotFoundError as error:
        return {"state": "missing", "reason": str(error)}
    except NotImplementedError as error:
        if not str(error):
            return {"state": "unsolved", "reason": "not solved yet."}
        return {"state": "error", "reason": f"NotImplementedError{place(error)}: {error}"}
    except MemoryError as error:
        return {"state": "memory", "reason": f"It asked for more memory than it may have{place(error)}."}
    except BaseException as error:  # SystemExit and KeyboardInterrupt of the student's code among them
        stopped, text = f"It stopped with {type(error).__name__}{place(error)}", str(error)
        return {"state": "error", "reason": f"{stopped}: {text}" if text else f"{stopped}."}
    tampered = changed(before) if getattr(outcome, "state", "solved") == "solved" else None
    if tampered:
        return {"state": "tampered", "reason": f"It changes {tampered}, which the checks rely on."}
    if type(outcome) is not Outcome or outcome.exercise != exercise["name"]:
        return {"state": "tampered", "reason": "The check returned something else than an outcome."}
    return {"state": outcome.state, "reason": outcome.message}


def exercise_process(exercise: dict, check, request: dict, verdict: int, output: int) -> None:
    """The forked process: take the channels away, set limits, judge, tell, end."""
    write, encode, leave, token = os.write, json.dumps, os._exit, request["token"]
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(max(verdict, output) + 1, 4096)
    for number in range(3, max(verdict, output) + 1):
        if number != verdict:
            os.closerange(number, number + 1)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.environ.update(HOME=request["home"], TMPDIR=request["home"])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is an OSError then
    limit(request["seconds"], request["memory"])
    try:
        answer = judge(exercise, check, request)
    except BaseException as error:  # what the student's code left behind, such as a broken str() of its error
        answer = {"state": "error", "reason": f"It stopped with {type(error).__name__}."}
    answer["reason"] = answer["reason"][:MESSAGE_LIMIT]
    write(verdict, encode({"token": token, **answer}).encode() + b"\n")
    leave(0)


def listen(verdict: int, output: int, most: int, end: float) -> tuple[bytes, str | None]:
    """Read both pipes until the verdict is in or both are closed; the verdict, and the limit that was passed.

    Args:
        verdict, output: descriptors; most: bytes that may come on either; end: when to stop (monotonic seconds).
    """
    came, still = {verdict: b"", output: b""}, {verdict, output}
    while still and not came[verdict].endswith(b"\n"):  # a process left behind may hold the pipes open
        ready = select.select(list(still), [], [], max(0, end - time.monotonic()))[0]
        if not ready:
            return came[verdict], "time"
        for number in ready:
            block = os.read(number, 65536)
            came[number] += block
            if not block:
                still.discard(number)
            if len(came[number]) > most:
                return came[verdict], "output"
    return came[verdict], None


def reap(child: int, end: float) -> int | None:
    """The wait status of a process that ends by itself until ``end``; else it is killed, and None."""
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def run_exercise(exercise: dict, check, request: dict) -> dict:
    """Fork, listen, wait: the verdict on one exercise as ``state`` and ``reason``."""
    request = {**request, "token": secrets.token_hex(16)}
    (verdict_in, verdict_out), (output_in, output_out) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            exercise_process(exercise, check, request, verdict_out, output_out)
        finally:
            os._exit(70)
    os.close(verdict_out)
    os.close(output_out)
    end = time.monotonic() + request["wall"]
    came, passed = listen(verdict_in, output_in, request["output"], end)
    status = reap(child, 0 if came or passed else end)
    os.close(verdict_in)
    os.close(output_in)
    if passed == "output":
        return {"state": "output", "reason": f"It printed more than {request['output'] / 1e6:g} MB."}
    if came:
        found = read_verdict(came, request["token"])
        return found or {"state": "tampered", "reason": "It wrote to the grader's channel."}
    return {"state": "ended", "reason": ended_how(status, request["seconds"], request["wall"])}


def ended_how(status: int | None, seconds: float, wall: float) -> str:
    """Why a process that gave no verdict ended, from its wait status and its limits (processor time, clock)."""
    if status is None:
        return f"It took more than {wall:g} s by the clock."
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return f"It took more than {seconds:g} s of processor time."
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"It was ended by signal {number} ({signal.strsignal(number)})."
    return f"It ended the program itself (exit status {os.WEXITSTATUS(status)}) before the check was through."


def read_verdict(text: bytes, token: str) -> dict | None:
    """The verdict in a text, if it is one and carries the token."""
    try:
        found = json.loads(text)
        return {"state": str(found["state"]), "reason": str(found["reason"])} if found["token"] == token else None
    except (ValueError, KeyError, TypeError):
        return None


# --- the parent -----------------------------------------------------------------------------------------------------


def guard() -> None:
    """Keep this process's memory and files from its children, and take in their orphans (Linux)."""
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None)
        undumpable, subreaper = 4, 36  # prctl.h: PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER
        libc.prctl(undumpable, 0, 0, 0, 0)
        libc.prctl(subreaper, 1, 0, 0, 0)


def warm_up() -> None:
    """Have torch import and replace what it does on first use: seconds in every child, and no student's change.

    Nothing is propagated backward, since that may start threads, which a forked process would wait for.
    """
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1).step()


def main() -> None:
    """Load, greet with the list of exercises, then answer one request after the other until the input ends."""
    reply = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what an import prints is no answer
    first = json.loads(sys.stdin.readline())
    os.environ.pop("NBGRADER_EXECUTION", None)
    from . import checks

    warm_up()
    if first["checks"]:
        private = types.ModuleType("cifar_helpers.checks.private")
        sys.modules[private.__name__] = private
        exec(compile(first["checks"], "private checks", "exec"), private.__dict__)
    listed = [{"name": e.name, "notebook": e.notebook, "answer": e.answer} for e in checks.EXERCISES.values()]
    exercises = {exercise["name"]: (exercise, checks.EXERCISES[exercise["name"]].check) for exercise in listed}
    guard()
    print(json.dumps({"exercises": listed}), file=reply)
    for line in sys.stdin:
        request = json.loads(line)
        exercise, check = exercises[request["exercise"]]
        answer = run_exercise(exercise, check, {**request, "notebooks": first["notebooks"]})
        print(json.dumps(answer), file=reply)
