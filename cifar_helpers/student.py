"""The student edition, made, graded and handed in: ``python -m cifar_helpers.student build|grade|report|pack``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import edition, grading, handin
from .env import CourseError, show_anything
from .sandbox import Limits


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m cifar_helpers.student", description=__doc__.partition(":")[0] + ".")
    commands = made.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="make the student edition, or bring it up to date")
    build.add_argument("out", type=Path, metavar="OUT", help="folder for it; files a student has edited there stay")
    grade = commands.add_parser("grade", help="run all checks over a folder of submissions")
    grade.add_argument(
        "folder", type=Path, metavar="FOLDER", help="holds a subfolder, .zip, .tar.gz or .ipynb per student"
    )
    grade.add_argument("--out", type=Path, help="folder for tables and pages (default: grades beside FOLDER)")
    grade.add_argument("--jobs", type=int, default=1, metavar="N", help="submissions at a time, one per core (1)")
    grade.add_argument("--seconds", type=float, default=60, metavar="S", help="processor time for each exercise (60)")
    grade.add_argument("--memory-gb", type=float, default=4, metavar="G", help="for each exercise (4)")
    grade.add_argument("--only", nargs="+", metavar="NN", help="grade these notebooks alone, such as 01 02")
    grade.add_argument("--checks", type=Path, metavar="FILE.py", help="further checks, kept from the students")
    report = commands.add_parser("report", help="start the write-up with your own figures and tables")
    report.add_argument("--profile", help="whose figures (default: the newest)")
    pack = commands.add_parser("pack", help="make the hand-in zip; without --id and --name, say what would be in it")
    pack.add_argument("--id", metavar="ID", help="your student ID, a number")
    pack.add_argument("--name", help="your name, such as Ada-Lovelace")
    return made


def _build(out: Path) -> list[str]:
    if (edition.ROOT / edition.MANIFEST).is_file():
        raise CourseError(
            f"{edition.ROOT} is already a student edition: there is nothing to take out. "
            "An instructor builds one in the course that holds the solutions."
        )
    try:
        return edition.build(out)
    except CourseError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise CourseError(
            f"Cannot write the student edition to {out}: {error.__cause__.strerror}. "
            "Name another OUT, in a folder that you can write to and on a disk with room for it."
        ) from error


def _grade(options: argparse.Namespace) -> int:
    for name, least in (("jobs", 1), ("seconds", 0.1), ("memory_gb", 0.1)):
        if not least <= getattr(options, name) <= 1e6:
            raise CourseError(f"--{name.replace('_', '-')} must be at least {least:g}.")
    limits = Limits(options.seconds, int(options.memory_gb * 2**30))
    results = grading.grade_folder(options.folder, options.out, options.jobs, limits, options.checks, only=options.only)
    return int(any(row["state"] == "grader" for graded in results for row in graded.rows))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when all is well, 1 where something could not be graded, 2 where the input was wrong."""
    show_anything()
    options = parser().parse_args(arguments)
    try:
        if options.command == "grade":
            return _grade(options)
        if options.command == "build":
            lines = _build(options.out)
        elif options.command == "report":
            lines = handin.write_report(options.profile)
        else:
            lines = handin.pack(options.id, options.name)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
