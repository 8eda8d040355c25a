"""The job after a Slurm array: the report that its plan names, on the runs that the array has recorded.

python -m cifar_course.report.after PLAN.json --requeue JOB
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cifar_helpers.env import CourseError, command_line, read_json

from ..cluster.worker import REQUEUE_HELP
from . import cli


@command_line("Stopped.")
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report that a plan names; 2 where the plan names none."""
    parser = argparse.ArgumentParser(prog="python -m cifar_course.report.after", description=main.__doc__)
    parser.add_argument("plan", type=Path, help="JSON file written by report --executor slurm")
    parser.add_argument("--requeue", metavar="JOB", help=REQUEUE_HELP)
    options = parser.parse_args(arguments)
    plan = read_json(options.plan)
    words = plan.get("report") if isinstance(plan, dict) else None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise CourseError(f"{options.plan} is no plan with a report, as report --executor slurm writes it.")
    return cli.main([*words, *(["--requeue", options.requeue] if options.requeue else [])])


if __name__ == "__main__":
    sys.exit(main())
