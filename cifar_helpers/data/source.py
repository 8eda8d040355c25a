"""Where the images lie, and what is known of them from an earlier reading. Nothing here imports torch."""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..env import ROOT, CourseError, cache_dir, read_json
from . import forms
from .forms import BATCHES

NAMES = ("auto", "local", "cifar10", "synthetic")  # what a source may be, besides a path
SYNTHETIC_IDENTITY = "synthetic"
SYNTHETIC = "SYNTHETIC"  # label of the stand-in
READING = 2  # raised when the course reads other images from the same files than before: they are then read again


def files_below(folder: Path) -> dict[str, Path]:
    """Every file of a folder by its path in it, with forward slashes. Links are followed; hidden files are left out.

    ``CourseError`` where the folder cannot be read.
    """
    try:
        return dict(sorted(forms.listed(_walk(folder, ()), str(folder)).items()))
    except OSError as error:
        raise CourseError(f"Cannot read {folder}: {error}. Check that it is there and readable.") from error


def _walk(folder: Path, above: tuple) -> Iterator[tuple[str, Path]]:
    state = folder.stat()
    if (state.st_dev, state.st_ino) in above:  # reached by a link to a folder above
        return
    above = (*above, (state.st_dev, state.st_ino))
    with os.scandir(folder) as entries:
        entries = [entry for entry in entries if not forms.hidden(entry.name)]
    for entry in entries:
        path = folder / entry.name
        if entry.is_dir():
            try:
                yield from ((f"{entry.name}/{name}", file) for name, file in _walk(path, above))
            except PermissionError:
                yield entry.name, path  # counts as a file: a reader that needs it is told that it cannot be read
        elif entry.is_file() or entry.is_symlink():  # a dangling link counts: it is noticed when it is read
            yield entry.name, path


def archives(folder: Path) -> list[Path]:
    """The archives right in a folder."""
    return [
        p for p in sorted(folder.iterdir()) if re.fullmatch(r"[^.].*\.(tar(\.\w+)?|tgz|zip)", p.name, re.IGNORECASE)
    ]


def find_local(folder: Path) -> Path | None:
    """The copy of the images in a folder: the folder itself, or else the archive in it.

    Raises:
        CourseError: more than one copy, or one that is not whole.
    """
    if not folder.is_dir():
        return None
    if forms.choose(files_below(folder), str(folder)):
        return folder
    packed = archives(folder)
    if len(packed) > 1:
        raise CourseError(
            f"{folder} holds {len(packed)} archives: {', '.join(p.name for p in packed)}. Set CIFAR10_ROOT to the one "
            "that is meant."
        )
    return packed[0] if packed else None


def local_copy() -> Path | None:
    """The copy that ``CIFAR10_ROOT`` names, else the one in ``data/`` of the course folder; None without either.

    Raises:
        CourseError: ``CIFAR10_ROOT`` names nothing. Who sets it wants that copy, so no other is taken.
    """
    if not os.environ.get("CIFAR10_ROOT"):
        return find_local(ROOT / "data")
    path = Path(os.environ["CIFAR10_ROOT"]).expanduser()
    try:
        return resolved(path)
    except CourseError as error:
        raise CourseError(
            f"No data at {path}, which the variable CIFAR10_ROOT names. Correct it, or unset it: then a copy in data/ "
            "is taken, or CIFAR-10 is downloaded."
        ) from error


def download_folder() -> Path:
    """Where torchvision's download goes."""
    return cache_dir() / "download"


def resolved(path: Path) -> Path:
    """The path made absolute: a notebook's kernel runs in ``notebooks/``, the command that set it in the course folder.

    Raises:
        CourseError: there is nothing.
    """
    path = (path if path.exists() else ROOT / path).resolve()
    if not path.exists():
        close = difflib.get_close_matches(path.name.lower(), NAMES, 1)
        meant = f"; did you mean {close[0]!r}?" if close else "."
        raise CourseError(
            f"No data at {path}{meant} Give the path of {BATCHES}/, of an image folder with train/ and test/, or of an "
            "archive of one (docs/data.md has all forms); or use data 'cifar10' to download it, or 'synthetic' to do "
            "without."
        )
    return path


def identity(path: Path) -> str:
    """What changes when a file, or anything in a folder, is changed."""
    names, files = [], [path]
    if path.is_dir():
        below = files_below(path)
        names, files = list(below), list(below.values())
    states = [_state(file) for file in files]
    state = hashlib.sha256(json.dumps([names, [(f.st_size, f.st_mtime_ns) for f in states]]).encode()).hexdigest()[:16]
    return f"{path}|{state}|{READING}"


def _state(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError:  # a dangling link
        return file.lstat()


def index_file() -> Path:
    """The list of everything read so far, which ``index`` reads."""
    return cache_dir() / "data" / "index.json"


def index() -> dict[str, dict]:
    """Everything read so far: identity → ``fingerprint``, ``label``, ``classes``; a damaged entry counts as none."""
    found = read_json(index_file())
    return {key: entry for key, entry in found.items() if _whole(entry)} if isinstance(found, dict) else {}


def _whole(entry) -> bool:
    if not isinstance(entry, dict) or set(entry) != {"fingerprint", "label", "classes"}:
        return False
    classes = entry["classes"] if isinstance(entry["classes"], list) else [None]
    texts = [entry["fingerprint"], entry["label"], *classes]
    return all(isinstance(text, str) for text in texts) and re.fullmatch("[0-9a-f]{64}", texts[0]) is not None


def already_read(source: str) -> dict | None:
    """What an earlier reading found for a source of ``data.load_cifar10``; None where it has not been read yet.

    Raises:
        CourseError: the source, or ``CIFAR10_ROOT``, names a path at which there is nothing.
    """
    if source == "synthetic":
        wanted = SYNTHETIC_IDENTITY
    else:
        path = local_copy() if source in NAMES else Path(source).expanduser()
        path = path or (download_folder() if (download_folder() / BATCHES).is_dir() else None)
        if path is None:
            return None
        wanted = identity(resolved(path))
    return index().get(wanted)
