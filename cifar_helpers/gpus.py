"""A GPU that is here, or that Slurm gave to this job, and that torch cannot use: what can be seen of it, and why.

torch itself says nothing then, and a report would train on the CPU for days.
"""

import os
import re
import shutil
import subprocess
from collections import Counter
from functools import cache

ANSWER_SECONDS = 20.0  # for nvidia-smi; it takes a few on a node whose driver sleeps
LISTS = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS")  # numbers of cards; 0 is the first
COUNTS = ("SLURM_GPUS_ON_NODE", "SLURM_GPUS", "SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_TASK")  # such as 2, h100:2


def given_by_slurm() -> list[str]:
    """Slurm's variables that say that this job has a GPU, as ``NAME=value``."""

    def any_card(name: str, value: str) -> bool:
        if name in LISTS:
            return bool(value)
        return any(kind.rpartition(":")[2] not in ("", "0") for kind in value.split(","))

    given = {name: os.environ.get(name, "") for name in (*LISTS, *COUNTS)}
    return [f"{name}={value}" for name, value in given.items() if any_card(name, value)]


def unused() -> str:
    """Where torch has no device but the CPU: what can be seen of a GPU and why torch does not use it, in one line.

    Empty where nothing is seen.
    """
    lines, chosen = _nvidia_smi(shutil.which("nvidia-smi")), os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = Counter(found[1] for line in lines if (found := re.match(r"GPU \d+: (.*?)(?: \(UUID.*)?$", line)))
    shown = ", ".join(f"{n} × {card}" if n > 1 else card for card, n in cards.items()) or " ".join(lines)
    seen = [f"nvidia-smi: {shown}"] if shown else []
    seen += given_by_slurm()
    if chosen is not None and (seen or _names_a_card(chosen, lines)):
        seen.append(f"CUDA_VISIBLE_DEVICES={chosen}")
    return f"Signs of a GPU ({'; '.join(seen)}), but torch cannot use one: {_reason(chosen, lines)}." if seen else ""


@cache
def _nvidia_smi(program: str | None) -> tuple[str, ...]:
    """Lines of ``nvidia-smi -L``; where it fails, the first line of its complaint; nothing where it finds no card."""
    if not program:
        return ()
    try:
        done = subprocess.run(
            [program, "-L"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=ANSWER_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return (type(error).__name__,)
    lines = tuple(line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip())
    return () if "No devices" in "".join(lines) else lines[: 1 if done.returncode else None]


def _names_a_card(chosen: str, lines: tuple[str, ...]) -> bool:
    """Whether CUDA finds a card by this CUDA_VISIBLE_DEVICES; ``lines``: of ``nvidia-smi -L``, if it is there."""
    first = chosen.split(",")[0].strip()
    if first.isdecimal():
        return not lines or int(first) < sum(line.startswith("GPU ") for line in lines)
    return first.startswith(("GPU-", "MIG-")) and (not lines or any(f"UUID: {first}" in line for line in lines))


def _reason(chosen: str | None, lines: tuple[str, ...]) -> str:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is built for the CPU"
    if chosen is not None and not _names_a_card(chosen, lines):
        return f"CUDA_VISIBLE_DEVICES={chosen!r} names no card that is here"
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        coded = re.search(r"Error \d+: [^\n]*", str(error))  # of CUDA's runtime, such as 803 or 804: the driver
        return f"torch {torch.__version__} says: {coded[0] if coded else str(error).partition('. ')[0]}".rstrip(".")
    return f"torch {torch.__version__} finds no device"
