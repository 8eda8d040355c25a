"""What runs the course: report, batch execution, student edition, hand-in. ``cifar_helpers`` never imports it."""

import os
import sys


def wrong_python(error: ModuleNotFoundError) -> str:
    """What to say at the command line where the Python that was called lacks one of the course's packages."""
    python = r".venv\Scripts\python" if os.name == "nt" else ".venv/bin/python"
    return (
        f"{sys.executable} has no package {error.name}. Call the course's own Python, in the course folder: {python} "
        "instead of python. Where there is no .venv yet, the README says how to set it up."
    )
