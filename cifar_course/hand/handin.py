"""What a student hands in: the write-up, filled with the student's own figures and tables, and the zip of it all."""

import ast
import hashlib
import io
import json
import re
import unicodedata
import zipfile
from pathlib import Path

from cifar_helpers.data.source import SYNTHETIC
from cifar_helpers.env import ROOT, CourseError, figures_dir, number_of, read_json, write_atomically
from cifar_helpers.figures import file_of
from cifar_helpers.plans.profiles import PUBLISHED

from ..report.benchmarks import table
from .edition import MANIFEST, STUB, delivered, hash_of, walk

REPORTS = ("report.pdf", "report.md", "report.docx", "report.odt", "report.tex", "report.html")
CODE = {".py", ".sh", ".sbatch", ".toml", ".yml", ".yaml", ".ipynb"}
MOST_BYTES = 20 * 2**20  # of one file; a notebook with outputs has a few
FIELD = re.compile(r"^\{\{(figure|table) (\w+)\}\}$", re.MULTILINE)
SEAL = "\n<!-- as written by `hand report`: "
PLACEHOLDER = re.compile(r"(?:^|\s)…[ \t]*$", re.MULTILINE)  # the template's, at the end of a line
NOT_MADE = " yet: run notebook "
SYNTHETIC_SOURCE = f"data: {SYNTHETIC}."  # ends the source line under a figure or table
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


# --- the write-up ---------------------------------------------------------------------------------------------------


def local_profile(profile: str | None) -> tuple[str, list[str]]:
    """The profile whose local figures are taken, and the others; ``CourseError`` if there are none.

    By default the newest, ``smoke`` only where there is no other: its images are drawn.
    """
    folder = figures_dir("any").parent
    found = (path for path in folder.glob("*/") if any(path.glob("*.json")))
    found = sorted(found, key=lambda path: (path.name != "smoke", path.stat().st_mtime))
    names = [path.name for path in found]
    if profile and profile not in names or not names:
        asked = f"of profile {profile!r} " if profile else ""
        have = f" There are figures of: {', '.join(names)}." if names else ""
        raise CourseError(f"No figures {asked}in {folder}. Run a notebook first, for instance with `make lab`.{have}")
    chosen = profile or names[-1]
    return chosen, [name for name in names if name != chosen]


def filled(template: str, folder: Path, link: str) -> str:
    """The template with each ``{{figure NAME}}`` and ``{{table NAME}}`` replaced by what the notebooks made.

    It lies in ``folder``, which the write-up names ``link``.
    """

    def put(field: re.Match) -> str:
        kind, name = field.groups()
        found = read_json(folder / f"{name}.json")
        made = isinstance(found, dict) and (kind == "table" or (folder / file_of(found | {"name": name})).is_file())
        if not made:
            return f'*(No {kind} `{name}`{NOT_MADE}{number_of(name)} with `profile = "{folder.name}"`.)*'
        caption = " ".join(str(found.get("caption", name)).split())
        source = f"*{caption}* Profile {found.get('profile')}, data: {found.get('data_label')}."
        if kind == "table":
            return "\n".join([*table(found.get("rows", [])), source])
        return f"![{re.sub(r'[][]', '', caption)}]({link}/{file_of(found | {'name': name})})\n\n{source}"

    return FIELD.sub(put, template)


def sealed(text: str) -> str:
    """The text with its own hash as a comment, by which a later edit is noticed."""
    return f"{text}{SEAL}{hashlib.sha256(text.encode()).hexdigest()[:16]} -->\n"


def is_edited(path: Path) -> bool:
    """Whether a write-up is no longer what was written."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return sealed(text.rpartition(SEAL)[0]) != text


def write_report(profile: str | None = None, root: Path = ROOT) -> list[str]:
    """Write ``report.md`` from the template and the local figures; beside an edited one, ``report.new.md``.

    ``CourseError`` without template or figures, or where both files were edited.
    """
    profile, others = local_profile(profile)
    template = root / "docs" / "report_template.md"
    if not template.is_file():
        raise CourseError(f"No template at {template}. Copy docs/report_template.md from the course again.")
    folder = figures_dir(profile)
    link = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else folder.as_posix()
    text = sealed(filled(template.read_text(encoding="utf-8"), folder, link))
    targets = [root / "report.md", root / "report.new.md"]
    free = next((path for path in targets if not path.exists() or not is_edited(path)), None)
    if free is None:
        raise CourseError("report.md and report.new.md were both edited: move one of them away, then run this again.")
    write_atomically(free, text)
    missing = text.count(NOT_MADE)
    whose = ", the course's and not your own" * (profile == PUBLISHED)
    said = [f"Wrote {free} with the figures and tables of profile {profile}{whose}."]
    if others:
        said.append(f"There are figures of {', '.join(others)} too, by profile: --profile NAME takes those.")
    if drawn := text.count(SYNTHETIC_SOURCE):
        said.append(f"{drawn} of them are of SYNTHETIC DATA, not of CIFAR-10: run the notebooks on the images.")
    said += [f"{missing} are not made yet; the text says which notebook makes each."] if missing else []
    return said + (["report.md was edited: kept."] if free != targets[0] else [])


# --- the zip --------------------------------------------------------------------------------------------------------


def check_names(identity: str, name: str) -> str:
    """The name of the zip, ``Project2-<id>_<name>.zip``.

    ``CourseError`` if the id is no number, or the name has characters that a file name or a grader stumbles over.
    """
    name = unicodedata.normalize("NFC", name)
    if not re.fullmatch(r"[0-9]{1,40}", identity):
        raise CourseError(f"--id {identity!r}: the student ID is a number, digits alone, such as 20300000.")
    if not re.fullmatch(r"[^\W_]([^\W_]|[_-]){0,59}", name):
        raise CourseError(f"--name {name!r}: use letters, digits, hyphens and underscores, at most 60: Ada-Lovelace.")
    return f"Project2-{identity}_{name}.zip"


def changed_code(root: Path) -> list[str]:
    """Code that the student edited or added since the edition was delivered, notebooks in ``notebooks/`` apart."""
    known = delivered(root)
    names = (name for name in walk(root, root) if Path(name).suffix in CODE and not name.startswith("notebooks/"))
    return sorted(name for name in names if hash_of((root / name).read_bytes()) not in known.get(name, []))


def report_files(root: Path) -> list[str]:
    """The write-up's files: the report in any usual format, and the images that ``report.md`` shows."""
    found = [name for name in REPORTS if (root / name).is_file()]
    text = (root / "report.md").read_text(encoding="utf-8", errors="replace") if "report.md" in found else ""
    images = [(root / link).resolve() for link in dict.fromkeys(IMAGE.findall(text))]
    shown = [path for path in images if path.is_file() and path.suffix in (".png", ".jpg", ".svg", ".gif")]
    return found + [p.relative_to(root.resolve()).as_posix() for p in shown if p.is_relative_to(root.resolve())]


def _open_points(root: Path, report: list[str]) -> list[str]:
    """What keeps the write-up from being done, as sentences."""
    found = []
    if "report.pdf" not in report:
        found.append("report.pdf is missing; the handout asks for one PDF, with names and student IDs in it.")
    if not set(REPORTS) & set(report):
        found.append("no write-up yet: `python -m cifar_course.hand report` starts one with your figures.")
    found += [f"{name} is empty." for name in report if not (root / name).stat().st_size]
    if "report.pdf" in report and (start := (root / "report.pdf").read_bytes()[:1024]) and b"%PDF" not in start:
        found.append("report.pdf is no PDF; `python -m cifar_course.hand report --pdf` makes one.")
    times = [(root / name).stat().st_mtime for name in ("report.pdf", "report.md") if name in report]
    if len(times) == 2 and times[0] < times[1]:
        found.append("report.pdf is older than report.md; `python -m cifar_course.hand report --pdf` makes it again.")
    text = (root / "report.md").read_text(encoding="utf-8", errors="replace") if "report.md" in report else ""
    if blanks := len(PLACEHOLDER.findall(text)):
        found.append(f"report.md: {blanks} × … where your own words belong; delete the parts that you did not do.")
    if absent := text.count(NOT_MADE):
        found.append(f"report.md: {absent} × a figure or table not made yet; the text names the notebook to run.")
    if drawn := text.count(SYNTHETIC_SOURCE):
        found.append(f"report.md: {drawn} × a figure or table of SYNTHETIC DATA, not of CIFAR-10.")
    return found


def shortcomings(path: Path) -> list[str]:
    """What keeps a notebook from counting as done: cells not run, errors, exercises without a right answer.

    ``CourseError`` if it is not a notebook.
    """
    found = {"not solved yet": [], "does not parse": [], "its check says ✗": []}
    try:
        cells = [cell for cell in json.loads(path.read_bytes())["cells"] if cell["cell_type"] == "code"]
        cells = [cell for cell in cells if "".join(cell["source"]).strip()]
        for cell in cells:
            source, nbgrader = "".join(cell["source"]), cell.get("metadata", {}).get("nbgrader", {})
            name = nbgrader.get("grade_id", "")
            if nbgrader.get("solution", False):
                found["not solved yet"] += [name] * (STUB[1] in source)
                found["does not parse"] += [name] * (not _parses(source))
            shown = ["".join(o["data"].get("text/plain", "")) for o in cell.get("outputs", []) if "data" in o]
            if nbgrader.get("grade", False) and any(text.startswith("✗") for text in shown):
                found["its check says ✗"].append(name.removeprefix("check_"))
        not_run = _not_run(cells)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CourseError(f"{path} is not a readable notebook: open and save it in JupyterLab.") from error
    return not_run + [f"{what}: {', '.join(names)}" for what, names in found.items() if names]


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def _not_run(cells: list[dict]) -> list[str]:
    counts = [cell["execution_count"] for cell in cells if cell.get("execution_count")]
    if cells and not counts:
        return ["has not been run here (a report runs copies of its own, in runs/notebooks/)"]
    if any(output["output_type"] == "error" for cell in cells for output in cell.get("outputs", [])):
        return ["a cell ends with an error"]
    if len(counts) < len(cells) or counts != sorted(set(counts)):
        return ["was not run from top to bottom (Restart Kernel and Run All Cells)"]
    return []


def gather(root: Path) -> tuple[list[str], list[str]]:
    """What goes into the zip, and sentences on what is missing; ``CourseError`` where no notebook can be read."""
    notebooks = sorted(path.relative_to(root).as_posix() for path in (root / "notebooks").glob("*.ipynb"))
    if not notebooks:
        raise CourseError(f"No notebooks in {root / 'notebooks'}: run this in your course folder.")
    report = report_files(root)
    missing = _open_points(root, report)
    for name in notebooks:
        faults = shortcomings(root / name)
        missing += [f"{name}: {'; '.join(faults)}."] if faults else []
    code = changed_code(root) if (root / MANIFEST).is_file() else []
    if not (root / MANIFEST).is_file():
        missing.append(f"the code you changed, as there is no {MANIFEST} to tell it by: add it to the zip yourself.")
    chosen = list(dict.fromkeys([*notebooks, *report, *code]))
    large = [name for name in chosen if (root / name).stat().st_size > MOST_BYTES]
    missing += [f"{name} is left out: larger than {MOST_BYTES / 2**20:.0f} MB. Clear its outputs." for name in large]
    return [name for name in chosen if name not in large], missing


def pack(identity: str | None = None, name: str | None = None, root: Path = ROOT) -> list[str]:
    """Make the zip the handout asks for, in the course folder; sentences on what is missing, then on what is in it.

    Without id and name it only says what would be in it. Data, weights, records and caches are never in it.

    Raises:
        CourseError: one of id and name is missing or refused by ``check_names``, or a notebook cannot be read.
    """
    if (identity is None) != (name is None):
        raise CourseError("Give both --id and --name, or neither to see what would be packed.")
    target = root / check_names(identity, name) if identity is not None else None
    files, missing = gather(root)
    listed = [f"  {file}" for file in files]
    said = [f"NOT COMPLETE: {len(missing)} still open."] if missing else ["Nothing is open."]
    said += [*(f"Still open: {sentence}" for sentence in missing), ""]
    if target is None:
        return [*said, "This would be packed:", *listed, "To pack it: --id STUDENT-ID --name Your-Name"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(f"{target.stem}/{file}", (root / file).read_bytes())
    write_atomically(target, packed.getvalue())
    return [*said, f"{target} ({len(packed.getvalue()) / 2**20:.1f} MB) holds:", *listed]
