"""The student edition, made and handed in: ``python -m cifar_course.hand build|report|pack|pdf``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cifar_helpers.env import CourseError, command_line

from . import edition, handin, pdf


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m cifar_course.hand", description=__doc__.partition(":")[0] + ".")
    commands = made.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="make the student edition, or bring it up to date")
    build.set_defaults(run=lambda given: _build(given.out))
    build.add_argument("out", type=Path, metavar="OUT", help="folder for it; files a student has edited there stay")
    report = commands.add_parser("report", help="start the write-up with your own figures and tables")
    report.set_defaults(run=lambda given: _report(given.profile, given.pdf))
    report.add_argument("--profile", help="whose figures (default: the newest)")
    report.add_argument(
        "--pdf", action="store_true", help="make report.pdf of report.md, which is first started if need be"
    )
    pack = commands.add_parser("pack", help="make the hand-in zip; without --id and --name, say what would be in it")
    pack.set_defaults(run=lambda given: handin.pack(given.id, given.name))
    pack.add_argument("--id", metavar="ID", help="your student ID, a number")
    pack.add_argument("--name", help="your name, such as Ada-Lovelace")
    page = commands.add_parser("pdf", help="make NAME.pdf beside a Markdown file, such as docs/cheatsheet.md")
    page.set_defaults(run=lambda given: [f"Wrote {pdf.make(given.source)}."])
    page.add_argument("source", type=Path, metavar="NAME.md")
    return made


def _build(out: Path) -> list[str]:
    if (edition.ROOT / edition.MANIFEST).is_file():
        raise CourseError(
            f"{edition.ROOT} is already a student edition: there is nothing to take out. "
            "An instructor builds one in the course that holds the solutions."
        )
    try:
        return [*edition.build(out), f"Next: cd {out} && make lab, which sets up an environment of its own there."]
    except CourseError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise CourseError(
            f"Cannot write the student edition to {out}: {error.__cause__.strerror}. "
            "Name another OUT, in a folder that you can write to and on a disk with room for it."
        ) from error


def _report(profile: str | None, as_pdf: bool) -> list[str]:
    source = handin.ROOT / "report.md"
    if not as_pdf:
        return handin.write_report(profile)
    pdf.require()
    lines = [] if source.exists() else handin.write_report(profile)
    return [*lines, f"Wrote {pdf.make(source)}."]


@command_line("Stopped.")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when all is well, 2 where the input was wrong."""
    options = parser().parse_args(arguments)
    print("\n".join(options.run(options)))
    return 0
