"""The student edition: the course with its solutions taken out, in a folder that a student may work in.

A cell's solution stands between nbgrader's markers and gives way to nbgrader's stub. What a student has edited is
never overwritten: ``.edition.json`` holds the hashes of everything ever delivered, and a file with another hash is the
student's. Where git is there, a new edition is a git repository with one commit.
"""

import ast
import contextlib
import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from cifar_helpers.env import ROOT, CourseError, read_json, unix_lines, write_atomically

MANIFEST = ".edition.json"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
MARKER = re.compile(r"#+\s*(begin|end)[\s_-]*solutions?", re.IGNORECASE)  # finds misspelt ones too
STUB = ("# your code here", "raise NotImplementedError()")
TEXT_STUB = ("*Your answer here.*",)
LEFT_OUT = ("tests", "benchmarks", ".ci", ".github", "CHANGELOG.md", "docs/instructor.md")  # folders and files
LEFT_OUT += ("docs/nbgrader_config.py", "cifar_course/hand/grade.py", "batch/half_hour.sh")
LEFT_OUT += ("cifar_course/cluster/half_hour.py", "cifar_course/cluster/half_hour_parts.py")
LEFT_OUT_OF_MAKE = ("-m pytest", "tests/", "benchmarks/", "nbgrader", "/ruff")  # a stub leaves imports unused
CELL_METADATA = {"nbgrader", "nbmake", "tags"}
NOTEBOOK_METADATA = {"kernelspec", "language_info"}
COURSE_ONLY = re.compile(r"<!-- course only: (begin|end) -->")  # around text that speaks of what is left out
COURSE_ONLY_MISSPELT = re.compile(r"<!--\s*course.?only", re.IGNORECASE)
SETTINGS = ("user.name=CIFAR-10 course", "user.email=course@example.invalid", "init.defaultBranch=main")  # git's
SETTINGS += ("commit.gpgSign=false", f"core.hooksPath={os.devnull}", "core.autocrlf=false")


def hash_of(content: bytes) -> str:
    """SHA-256 of a file's content, whatever the line ends of a text: another checkout of a file is no edit."""
    return hashlib.sha256(unix_lines(content)).hexdigest()


def course_files(root: Path) -> list[str]:
    """Paths of the course's own files below ``root``: those git tracks, else all but hidden, local and built ones."""
    command = ["git", "ls-files", "-z", "--full-name"]
    try:
        if (root / ".git").exists():
            listed = subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=60).stdout.decode()
            return sorted(name for name in listed.split("\0") if name and (root / name).is_file())
    except (OSError, subprocess.SubprocessError):
        pass
    return sorted(walk(root, root))


def walk(folder: Path, root: Path) -> Iterator[str]:
    """Paths of the files below ``folder``, relative to ``root``, without hidden, local and built ones."""
    unwanted = {"__pycache__", "build", "local", MANIFEST} | ({"data", "runs"} if folder == root else set())
    kept_though_hidden = {".gitattributes", ".gitignore", ".dockerignore"}
    for path in folder.iterdir():
        hidden = path.name.startswith(".") and path.name not in kept_though_hidden
        if hidden or path.name in unwanted or path.name.endswith(".egg-info") or path.is_symlink():
            continue
        if path.is_dir():
            yield from walk(path, root)
        else:
            yield path.relative_to(root).as_posix()


RIGHT, NOT_YET = re.compile('#009E73">✓ (\\w+)</b> right'), r'#7F7F7F">○ \1</b> not solved yet'  # a check's output


def without_solutions(source: str, where: str, stub: tuple[str, ...] = STUB) -> tuple[str, int]:
    """A cell's source with each solution block replaced by the stub's lines, and how many there were.

    ``CourseError``, which says ``where``, if a marker is misspelt, nested, unclosed, or ends what was not begun.
    """
    kept, begun, blocks = [], 0, 0
    for number, line in enumerate(source.splitlines(), 1):
        marker = MARKER.search(line)
        if not marker:
            kept += [] if begun else [line]
            continue
        if line.strip() not in (BEGIN, END):
            raise CourseError(
                f"{where}, line {number}: {line.strip()!r} looks like a marker. Write {BEGIN!r} or {END!r} on a line "
                "of its own, so that no solution stays in the student edition."
            )
        if line.strip() == BEGIN:
            if begun:
                raise CourseError(
                    f"{where}, line {number}: a solution begins inside the one of line {begun}. End that one first."
                )
            begun, blocks = number, blocks + 1
            while line[0] == " " and kept and not kept[-1].strip():  # ruff wants it before an inner function
                kept.pop()
            kept += [line[: len(line) - len(line.lstrip())] + text for text in stub]
        elif not begun:
            raise CourseError(f"{where}, line {number}: {END!r} without a {BEGIN!r} above it in this cell.")
        else:
            begun = 0
    if begun:
        raise CourseError(f"{where}, line {begun}: the solution that begins here has no {END!r} in this cell.")
    return "\n".join(kept), blocks


def _check_stubbed(source: str, where: str) -> None:
    """A stubbed cell has to run: its stub may only raise when the function is called."""
    try:
        waiting: list[ast.AST] = [ast.parse(source)]
    except SyntaxError as error:
        raise CourseError(
            f"{where}: with the stub in place the cell is no valid Python ({error.msg}, line {error.lineno}). "
            "Let the markers enclose whole statements."
        ) from error
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Raise):
            raise CourseError(
                f"{where}: the stub would raise as soon as the cell runs, and stop the notebook. "
                "Put the markers inside a function."
            )
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def student_notebook(text: str, name: str) -> str:
    """A notebook without solutions, outputs and needless metadata; ``CourseError`` if it or a marker is broken."""
    import nbformat

    try:
        notebook = nbformat.reads(text, as_version=4)
    except Exception as error:  # nbformat has no common class for what it raises on a broken file
        raise CourseError(f"{name} is not a notebook: {error}. Open and save it in JupyterLab.") from error
    for number, cell in enumerate(notebook.cells, 1):
        where = f"{name}, cell {number} ({cell.get('id', 'no id')})"
        code = cell.cell_type == "code"
        cell.source, blocks = without_solutions(cell.source, where, STUB if code else TEXT_STUB)
        if code:
            cell.outputs, cell.execution_count = [], None
            if blocks:
                _check_stubbed(cell.source, where)
        if cell.metadata.get("nbgrader", {}).get("solution") and not blocks:
            raise CourseError(f"{where}: nbgrader's metadata call it a solution, but it has no {BEGIN!r}.")
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in CELL_METADATA}
    notebook.metadata = {key: value for key, value in notebook.metadata.items() if key in NOTEBOOK_METADATA}
    return nbformat.writes(notebook) + "\n"


def student_makefile(text: str) -> str:
    """The Makefile without the targets that need what the edition leaves out."""
    paragraphs = text.split("\n\n")
    dropped = [part for part in paragraphs if any(word in part for word in LEFT_OUT_OF_MAKE)]
    gone = {target for part in dropped for target in re.findall(r"^([a-z][a-z-]*):", part, re.MULTILINE)}
    kept = "\n\n".join(part for part in paragraphs if part not in dropped)
    named = re.search(r"^\.PHONY:.*$", kept, re.MULTILINE)
    if named:
        kept = kept.replace(named[0], " ".join(word for word in named[0].split(" ") if word not in gone))
    return kept.rstrip("\n") + "\n"


def student_text(text: str, name: str) -> str:
    """A Markdown text without what stands between the markers ``course only``.

    ``CourseError`` if they are misspelt, nested, unclosed, or end what was not begun.
    """
    parts = COURSE_ONLY.split(text)
    kept = parts[::4]
    if parts[1::2] != ["begin", "end"] * (len(parts) // 4) or COURSE_ONLY_MISSPELT.search("".join(kept)):
        raise CourseError(
            f"{name}: write '<!-- course only: begin -->' and '<!-- course only: end -->' in turn, around what speaks "
            "of files that the student edition leaves out."
        )
    made = kept[0]
    for part in kept[1:]:
        gap = made.endswith("\n") and part.startswith("\n")
        made = made.rstrip("\n") + "\n\n" + part.lstrip("\n") if gap else made + part
    return made


def edition_files(root: Path = ROOT) -> dict[str, bytes]:
    """The student edition: path → content; ``CourseError`` if the folder is not the course, or markers are amiss."""
    left_out = {*LEFT_OUT, MANIFEST}
    names = [name for name in course_files(root) if not left_out & {name, PurePosixPath(name).parts[0]}]
    if not any(PurePosixPath(name).match("notebooks/*.ipynb") for name in names):
        raise CourseError(f"No notebooks/ in {root}: run this in the course folder.")
    files = {}
    for name in names:
        content = unix_lines((root / name).read_bytes())
        if name.endswith(".ipynb"):
            content = student_notebook(content.decode(errors="replace"), name).encode()
        elif name == "Makefile":
            content = student_makefile(content.decode()).encode()
        elif name.endswith(".md"):
            text = student_text(content.decode(), name)
            if name.startswith("docs/read/"):  # an executed notebook
                text = RIGHT.sub(NOT_YET, without_solutions(text, name)[0]) + "\n"
            content = text.encode()
        files[name] = content
    return files


def delivered(folder: Path) -> dict[str, list[str]]:
    """Path → hashes of every version that was ever delivered there, from the manifest; empty without one."""
    found = read_json(folder / MANIFEST)
    known = found.get("delivered") if isinstance(found, dict) else None
    known = known.items() if isinstance(known, dict) else ()
    inside = ((name, hashes) for name, hashes in known if (folder / name).resolve().is_relative_to(folder.resolve()))
    return {name: hashes for name, hashes in inside if isinstance(hashes, list)}


def _check_place(out: Path, root: Path) -> None:
    if out == root or out in root.parents or root in out.parents:
        raise CourseError(f"{out} is, holds or lies in the course folder. Choose another, such as ../student-edition.")
    if out.exists() and not out.is_dir():
        raise CourseError(f"{out} is a file. Name a folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise CourseError(f"{out} holds other files and no {MANIFEST}: it is no student edition. Name a new folder.")


def build(out: Path, root: Path = ROOT) -> list[str]:
    """Make the student edition, or bring it up to date; sentences on what was kept.

    A file that the student has edited stays; a new version of it is put beside it as ``NAME.new.ext``, under the same
    rule. Where git is there and nothing was edited yet, the edition becomes a git repository with one commit.

    Raises:
        CourseError: the place does not fit, or a notebook's markers are amiss; then nothing is written.
    """
    out, root = Path(out).expanduser().resolve(), root.resolve()
    _check_place(out, root)
    files = edition_files(root)
    known = delivered(out)
    news, beside, remarks = {}, {}, []
    for name, content in files.items():
        state = _state(out / name, known.get(name, []), content)
        if state == "write":
            news[name] = content
        elif state == "edited":
            remarks.append(_beside(out, name, content, known, beside))
            remarks += _changed_imports((out / name).read_bytes(), name, files)
    for name, content in beside.items():
        if _state(out / name, known.get(name, []), content) == "write":
            news[name] = content
    gone = [name for name in known if name not in files and name not in beside and (out / name).is_file()]
    stale = [name for name in gone if _state(out / name, known[name], b"") == "write"]
    for name in news:
        known[name] = sorted({*known.get(name, []), hash_of(news[name])})
    for name in files:
        known.setdefault(name, [hash_of(files[name])])
    # The manifest goes first: after an interruption what is half delivered still counts as delivered.
    write_atomically(out / MANIFEST, json.dumps({"version": 1, "delivered": known}, indent=1, sort_keys=True) + "\n")
    for name, content in news.items():
        write_atomically(out / name, content)
    untouched = not remarks
    for name in stale:
        late = name in map(_name_beside, files)
        why = "is out of date" if late else "is no longer part of the course"
        (out / name).unlink()
        remarks.append(f"{name} {why}: removed, as it was not edited.")
    if news or stale or not (out / ".git").exists():
        remarks.append(_keep_in_git(out, [MANIFEST, *files], untouched))
    written = f"{len(news)} of {len(files)} files written" if news else "nothing new"
    return [f"Student edition in {out}: {written}.", *filter(None, remarks)]


def _state(path: Path, hashes: list[str], new: bytes) -> str:
    """``same`` as the new content, free to ``write``, or ``edited`` by the student."""
    if not path.exists():
        return "write"
    found = hash_of(path.read_bytes()) if path.is_file() else ""
    if found == hash_of(new):
        return "same"
    return "write" if found in hashes else "edited"


def _name_beside(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.new{path.suffix}"))


def _beside(out: Path, name: str, content: bytes, known: dict, beside: dict) -> str:
    """Add the new version of an edited file under a name beside it, where there is one; say what happened."""
    if hash_of(content) in known.get(name, []):
        return f"{name} was edited: kept."
    other = _name_beside(name)
    if _state(out / other, known.get(other, []), content) == "edited":
        return f"{name} and {other} were edited: both kept, the new version is not delivered. Move one of them away."
    beside[other] = content
    return f"{name} was edited: kept. The course's new version lies beside it as {other}."


def course_imports(content: bytes, name: str) -> set[tuple[str, str]]:
    """(module, name) of what a notebook or Python file imports of the course's package, as far as its cells parse."""
    texts, found = [content.decode(errors="replace")] * name.endswith(".py"), set()
    if name.endswith(".ipynb"):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            texts = ["".join(c["source"]) for c in json.loads(content)["cells"] if c["cell_type"] == "code"]
    for text in texts:
        with contextlib.suppress(SyntaxError, ValueError):
            for node in ast.walk(ast.parse(re.sub(r"^[%!].*", "", text, flags=re.MULTILINE))):
                if isinstance(node, ast.ImportFrom) and not node.level:
                    found |= {(node.module, alias.name) for alias in node.names}
                elif isinstance(node, ast.Import):
                    found |= {(alias.name, "") for alias in node.names}
    return {(module, what) for module, what in found if module.partition(".")[0] == "cifar_helpers"}


def _is_there(module: str, what: str, files: dict[str, bytes]) -> bool:
    """Whether the edition has a module, and in it (or below it) what is imported."""
    path = module.replace(".", "/")
    text = files.get(f"{path}.py", files.get(f"{path}/__init__.py"))
    if text is None or what in ("", "*") or {f"{path}/{what}.py", f"{path}/{what}/__init__.py"} & files.keys():
        return text is not None
    return bool(re.search(rf"\b{what}\b", text.decode(errors="replace")))


def _changed_imports(mine: bytes, name: str, files: dict[str, bytes]) -> list[str]:
    """A sentence where a file that was kept imports what the course no longer has."""
    imported, now = course_imports(mine, name), course_imports(files[name], name)
    gone = sorted(one for one in imported if not _is_there(*one, files))
    if not gone:
        return []
    new = _as_code(sorted(now - imported)) or "nothing in its place"
    return [f"{name} imports what the course no longer has: {_as_code(gone)}. The new version imports {new}."]


def _as_code(imports: list[tuple[str, str]]) -> str:
    lines = [f"from {module} import {what}" if what else f"import {module}" for module, what in imports]
    return ", ".join(f"`{line}`" for line in lines)


# --- its git repository ---------------------------------------------------------------------------------------------


def _git(folder: Path, *arguments: str, given: bytes = b"") -> None:
    """Call git; no hook, template, signature or ``GIT_*`` variable of the user's has a say."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *(word for setting in SETTINGS for word in ("-c", setting)), *arguments]
    subprocess.run(command, cwd=folder, env=environment, input=given, capture_output=True, check=True, timeout=300)


def _keep_in_git(out: Path, names: list[str], untouched: bool) -> str:
    """Make an edition that nobody has edited a git repository, unless it is one or lies in one; a sentence on it."""
    if (out / ".git").exists():
        return "Its git repository is left alone: what this command changed is not committed."
    if not untouched:
        return "It is no git repository, and is not made one, as files were edited."
    if around := next((folder for folder in out.parents if (folder / ".git").exists()), None):
        return f"It lies in the git repository {around}, so none of its own is made."
    try:
        with tempfile.TemporaryDirectory(prefix=".git-", dir=out) as scratch:  # so that it is there whole or not at all
            new = Path(scratch) / ".git"
            _git(out, "init", "--quiet", "--template=", scratch)
            _git(Path(scratch), "config", "core.autocrlf", "false")  # or a restored file would count as edited
            there = (f"--git-dir={new}", f"--work-tree={out}")
            _git(out, *there, "update-index", "--add", "-z", "--stdin", given="\0".join(names).encode())
            _git(out, *there, "commit", "--quiet", "--message=The course, as it was handed out")
            new.rename(out / ".git")
    except FileNotFoundError:
        return "It is no git repository, as git is not installed: `git diff` and `git restore` do not work in it."
    except (OSError, subprocess.SubprocessError) as error:
        why = (getattr(error, "stderr", None) or str(error).encode()).decode(errors="replace").strip()
        return f"It is no git repository, as git fails here: {why.splitlines()[-1]}"
    return "It is a git repository with one commit: `git status`, `git diff` and `git restore` work in it."
