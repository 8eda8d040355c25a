"""CIFAR-10 from a folder or an archive: its files are listed, one data set among them is chosen, and that one is read.

Archives are read member by member, in the order in which they lie; nothing is unpacked beside them.
"""

import contextlib
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..env import CourseError
from . import forms
from .decode import READERS, Parts
from .source import archives, files_below

# What the archive modules raise on a damaged file; RuntimeError: encrypted, or a method that is not built in.
BROKEN = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, RuntimeError)


class Folder:
    """Files of a folder: ``names``, and ``read(names)`` for their bytes. ``path`` is the folder itself."""

    def __init__(self, path: Path):
        self.path, self.names = path, files_below(path)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(name, bytes) of each of these files, in any order."""
        for name in names:
            yield name, self.names[name].read_bytes()


class Zip:
    """Files of a zip archive, as of a ``Folder``; there is no path to read them at."""

    path = None

    def __init__(self, archive: zipfile.ZipFile, where: str):
        self.archive, self.where = archive, where
        members = [i for i in archive.infolist() if not i.filename.replace("\\", "/").endswith("/")]
        for member in members:
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _link(where, member.filename)
        self.names = forms.listed(((i.filename, i) for i in members), where)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(name, bytes) of each of these files, in any order."""
        with _undamaged(self.where):
            for name in names:
                yield name, self.archive.read(self.names[name])


class Tar:
    """Files of a tar archive, compressed or not, as of a ``Zip``."""

    path = None

    def __init__(self, archive: tarfile.TarFile, where: str):
        self.archive, self.where = archive, where
        self.names = forms.listed(((m.name, m) for m in self._members()), where)

    def _members(self) -> Iterator[tarfile.TarInfo]:
        for member in self.archive:
            if self.archive.offset < member.offset_data:
                raise tarfile.ReadError("a member of negative size")  # tarfile would go round in a circle
            if member.issym() or member.islnk():
                raise _link(self.where, member.name)
            if member.issparse():  # a header of a few bytes can stand for any number of them
                raise tarfile.ReadError("a sparse file")
            if member.isfile():
                yield member
        # A header that cannot be read ends the list without an error, and what follows would be left out.
        self.archive.fileobj.seek(self.archive.offset)
        if self.archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it does not end with the mark of a tar's end")

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(name, bytes) of each, in the order in which they lie: going back would decompress all before once more."""
        with _undamaged(self.where):
            for name in sorted(names, key=lambda name: self.names[name].offset):
                yield name, self.archive.extractfile(self.names[name]).read()


def read_path(path: Path) -> Parts:
    """Read the one data set at a path: a folder or an archive, in any form that ``forms`` knows.

    Returns:
        ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` (uint8 (n, 3, 32, 32), int64 (n,)), the ten
        class names, and the label of the data.

    Raises:
        CourseError: nothing usable, several sets, unsafe, truncated, incomplete or of another size; the message says
            what was found and what to do.
    """
    try:
        with contextlib.ExitStack() as stack:
            files = _opened(path, stack)
            found = forms.choose(files.names, str(path) if path.is_dir() else path.name)
            if found is None:
                raise _nothing(path, files.names)
            if found.aside:
                print(f"{path.name}: not read, since it lies beside the data: {', '.join(found.aside)}", flush=True)
            return READERS[found.form](found, files, path)
    except OSError as error:
        raise CourseError(f"Cannot read {path}: {error}. Check that its files are whole and readable.") from error


def _opened(path: Path, stack: contextlib.ExitStack) -> Folder | Zip | Tar:
    if path.is_dir():
        return Folder(path)
    if form := forms.form_of(path.name):
        raise CourseError(f"{path} is one file of the {form}. Give the folder that holds all of them.")
    with _undamaged(path.name):
        if zipfile.is_zipfile(path):
            return Zip(stack.enter_context(zipfile.ZipFile(path)), path.name)
        return Tar(stack.enter_context(tarfile.open(path, "r:*")), path.name)


@contextlib.contextmanager
def _undamaged(where: str) -> Iterator[None]:
    """Turn what the archive modules raise into a CourseError."""
    try:
        yield
    except BROKEN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")  # tarfile adds a line per method
        raise CourseError(
            f"{where} is truncated or corrupt, encrypted, or no archive ({reason}). "
            "Download or copy it again and compare its size and checksum with the original's."
        ) from error


def _link(where: str, name: str) -> CourseError:
    return CourseError(f"{where} contains a link ({name!r}); refusing it. Use an archive of plain files.")


def _nothing(path: Path, names: Iterable[str]) -> CourseError:
    tops = sorted({name.split("/")[0] for name in names})
    found = f"Found: {', '.join(tops[:5])}{' …' if len(tops) > 5 else ''}." if tops else "It is empty."
    if not path.is_dir():
        return CourseError(
            f"{path.name} holds neither {forms.BATCHES}/ nor train/<class>/*.png|jpg and test/<class>/. {found} "
            "docs/data.md has all forms that are read."
        )
    packed = archives(path)
    advice = f"It holds an archive: give its path, {packed[0]}." if packed else "Give the folder that contains them."
    return CourseError(f"{path} is a folder without {forms.BATCHES}/ and without train/ and test/. {advice} {found}")
