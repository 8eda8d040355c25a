"""What runs the course: report, batch execution, student edition, hand-in. ``cifar_helpers`` never imports it."""

import os
import sys
from importlib import import_module


def start(command: str) -> None:
    """Run the command line of a folder; where Python lacks one of the course's packages, say which Python to call."""
    try:
        sys.exit(import_module(f"cifar_course.{command}.cli").main())
    except ModuleNotFoundError as error:
        python = r".venv\Scripts\python" if os.name == "nt" else ".venv/bin/python"
        sys.exit(
            f"{sys.executable} has no package {error.name}. Call the course's own Python, in the course folder: "
            f"{python} instead of python. Where there is no .venv yet, the README says how to set it up."
        )
