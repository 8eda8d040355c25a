"""What a notebook does otherwise while nbgrader executes it, to grade it or to validate it."""

import os

GRADED_PROFILE = "published"  # points do not depend on what was trained, and whole classes are graded


def is_graded() -> bool:
    """Whether nbgrader executes this process: it sets ``NBGRADER_EXECUTION``."""
    return bool(os.environ.get("NBGRADER_EXECUTION"))


def when_graded(profile: str, data: str | None, device: str) -> tuple[str, str | None, str]:
    """The settings as they are; while nbgrader executes the notebook those of grading, and a line that says so."""
    if not is_graded():
        return profile, data, device
    print(f"nbgrader executes this notebook: profile {GRADED_PROFILE}, whatever the settings cell says.")
    return GRADED_PROFILE, "synthetic", "cpu"
