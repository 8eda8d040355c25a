"""Which data set lies in a folder or an archive, told from the names of its files alone.

Exactly one set is chosen: the shallowest that has both parts. What cannot be read, or would be left out, is named.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from ..env import CourseError

BATCHES = "cifar-10-batches-py"
PYTHON, BINARY, PARQUET, IMAGES = "Python version", "binary version", "parquet files", "image folder"
# (folder, test part) of a file that belongs to a form; images are found by the folders that hold them.
_FILES = {
    PYTHON: re.compile(r"(?:(.*)/)?(?:data_batch_[1-5]|(test_batch))"),
    BINARY: re.compile(r"(?:(.*)/)?(?:data_batch_[1-5]|(test_batch))\.bin"),
    PARQUET: re.compile(r"(?:(.*)/)?(?:train|(test))(?:[-_./][^/]*)?\.parquet"),
}
_PARTS = {"train": "train", "test": "test", "val": "validation", "valid": "validation", "validation": "validation"}
READ = ("png", "jpg", "jpeg", "bmp")
_PICTURE = re.compile(r".*\.(png|jpe?g|jpe|jfif|bmp|gif|tiff?|webp|p[bgnp]m|tga|jp2|avif|heic|ico)", re.IGNORECASE)
_NOTES = ("txt", "csv", "json", "md", "xml", "html", "db", "ini")  # beside images, and surely none
_HIDDEN = re.compile(r"\..*|__MACOSX|\$RECYCLE\.BIN|System Volume Information|lost\+found")
_EXAMPLES = 5
Member = TypeVar("Member")


@dataclass(frozen=True)
class Found:
    """One whole data set.

    Attributes:
        form: ``PYTHON``, ``BINARY``, ``PARQUET`` or ``IMAGES``.
        root: the folder that holds its parts; empty for the top.
        parts: ``train`` and ``test`` → the names of their files, sorted.
        aside: other sets, and validation images, that lie there and are not read.
    """

    form: str
    root: str
    parts: dict[str, tuple[str, ...]]
    aside: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """What the names of its files begin with."""
        return f"{self.root}/" if self.root else ""


def hidden(folder: str) -> bool:
    """Whether a file or folder of this name is never read: hidden ones, the system's, the bin."""
    return _HIDDEN.fullmatch(folder) is not None


def listed(members: Iterable[tuple[str, Member]], where: str) -> dict[str, Member]:
    """Members by name, with forward slashes and without hidden ones.

    Raises:
        CourseError: a name leads out of the archive, or comes twice.
    """
    found = {}
    for written, member in members:
        path = written.replace("\\", "/")
        steps = [step for step in path.split("/") if step not in ("", ".")]
        if path.startswith("/") or ".." in steps or re.match("[A-Za-z]:", path):
            raise CourseError(
                f"{where} contains an unsafe path ({written!r}); refusing it. Get it from a trusted place."
            )
        if any(map(hidden, steps)):
            continue
        name = "/".join(steps)
        if name in found:
            raise CourseError(f"{where} contains {name} twice; refusing it. Pack the images again.")
        found[name] = member
    return found


def choose(names: Iterable[str], where: str) -> Found | None:
    """The one set among these files of a folder or archive, or None where nothing looks like one.

    Raises:
        CourseError: two sets are equally good, a part is missing, or files would be left out; the message names them.
    """
    names, sets = sorted(names), defaultdict(lambda: defaultdict(list))
    for name in names:
        for form, root, part in _belongs(name):
            sets[_depth(root), root, form][part].append(name)
    whole = sorted(key for key, parts in sets.items() if parts["train"] and parts["test"])
    # Half a Python version is chosen too: its reader verifies every checksum and says what is missing.
    whole = whole or sorted(key for key in sets if key[2] == PYTHON)
    if not whole:
        _refuse_half(sets, names, where)
        return None
    depth, root, form = whole[0]
    equal = [key for key in whole if key[0] == depth]
    if len(equal) > 1:
        raise CourseError(
            f"{where} holds {len(equal)} data sets: {' and '.join(_said(key) for key in equal)}. "
            "Give the path of the one that is meant, or take the others away."
        )
    chosen = sets.pop(whole[0])
    parts, aside = {part: chosen[part] for part in ("train", "test")}, []
    if form == IMAGES:
        tops = tuple(_tops(parts["train"] + parts["test"], root))  # what lies in them is read, or refused
        sets = {key: other for key, other in sets.items() if not f"{key[1]}/".startswith(tops)}
        aside = _tops(chosen["validation"], root)
        parts = {part: _pictures(names, files, root, where) for part, files in parts.items()}
    aside = [_said(key) for key, other in sorted(sets.items()) if other["train"] or other["test"]] + aside
    return Found(form, root, {part: tuple(files) for part, files in parts.items()}, tuple(aside))


def form_of(file: str) -> str | None:
    """The form that a file of this name is a piece of; None for images and whatever else."""
    return next((form for form, pattern in _FILES.items() if pattern.fullmatch(file)), None)


def _belongs(name: str) -> list[tuple[str, str, str]]:
    """(form, root, part) of every set that this file may be a piece of."""
    if form := form_of(name):
        match = _FILES[form].fullmatch(name)
        return [(form, match[1] or "", "test" if match[2] else "train")]
    if not _PICTURE.fullmatch(name):
        # Whatever lies among the images counts later; but only images make a folder an image folder.
        return []
    folders = name.split("/")[:-1]
    known = [(i, _PARTS[folder.casefold()]) for i, folder in enumerate(folders) if folder.casefold() in _PARTS]
    return [(IMAGES, "/".join(folders[:i]), part) for i, part in known]


def _depth(root: str) -> int:
    return root.count("/") + 1 if root else 0


def _said(key: tuple[int, str, str]) -> str:
    _, root, form = key
    return f"{root + '/' if root else 'the top folder'} ({form})"


def _tops(names: Iterable[str], root: str) -> list[str]:
    """The folders right below the root that hold these files, as they are spelled."""
    return sorted({"/".join(name.split("/")[: _depth(root) + 1]) + "/" for name in names})


def _of_kaggle(names: list[str]) -> bool:
    return any(name.rpartition("/")[2].casefold() == "trainlabels.csv" for name in names)


def _kaggle(where: str) -> CourseError:
    return CourseError(
        f"{where} is Kaggle's CIFAR-10 (trainLabels.csv and images without class folders). The labels of its test "
        "images are not public, so the course cannot read it. Use data 'cifar10', or a copy with train/ and test/."
    )


def _refuse_half(sets: dict, names: list[str], where: str) -> None:
    """Say what is there of a set that is not whole; nothing where there is none."""
    if _of_kaggle(names):
        raise _kaggle(where)
    halves = sorted(key for key, parts in sets.items() if parts["train"] or parts["test"])
    if not halves:
        return
    depth, root, form = halves[0]
    parts = sets[halves[0]]
    have, lack = ("train", "test") if parts["train"] else ("test", "train")
    if form != IMAGES:
        raise CourseError(
            f"{where} holds the {form} without its {lack} part: {', '.join(parts[have][:_EXAMPLES])}. Copy it whole."
        )
    if parts["validation"] and lack == "test":
        other = _tops(parts["validation"], root)[0]
        raise CourseError(
            f"{where} has {_tops(parts['train'], root)[0]} and {other}, but no test/. The course takes its validation "
            f"images from train/: rename {other} to test/ if the networks are to be tested on it."
        )
    raise CourseError(
        f"{where} has {len(parts[have])} images in {_tops(parts[have], root)[0]}, but none in a {lack}/ beside it. "
        "The course needs train/<class>/ and test/<class>/."
    )


def _pictures(names: list[str], part: list[str], root: str, where: str) -> list[str]:
    """The images of a part, sorted by class and name, if it holds nothing but ``<class>/<image>`` and notes.

    Raises:
        CourseError: the part is there in two spellings, or files lie too deep, in no class, or are in another format.
    """
    spelled = _tops(part, root)
    if len(spelled) > 1:
        raise CourseError(f"{where} has {' and '.join(spelled)}. Take one of them away, or put their images together.")
    found = defaultdict(list)
    for name in names:
        if name.startswith(spelled[0]) and _suffix(name) not in _NOTES:
            level = _depth(name) - _depth(root) - 2
            kind = "format" if _suffix(name) not in READ else "flat" if level < 1 else "deep" if level > 1 else "read"
            found[kind].append(name)
    if found["flat"] and _of_kaggle(names):
        raise _kaggle(where)
    reasons = {
        "deep": "lie deeper than <class>/<image>",
        "flat": "lie in no class folder",
        "format": "are no PNG, JPEG or BMP",
    }
    said = [
        f"{len(found[kind])} {reason} (for instance {found[kind][0]})"
        for kind, reason in reasons.items()
        if found[kind]
    ]
    if said:
        raise CourseError(
            f"Of the files below {spelled[0]} in {where}, {' and '.join(said)}. They would be left out: put every "
            "image right into the folder of its class, as PNG, JPEG or BMP, and take other files away."
        )
    return sorted(found["read"], key=lambda name: (class_of(name), name))


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].casefold()


def class_of(name: str) -> str:
    """The class of an image: the folder it lies in."""
    return name.split("/")[-2]
