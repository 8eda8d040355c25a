"""What half an hour on one GPU should bring: steps in the order of their worth, each with a time limit of its own.

``batch/half_hour.sh`` runs them all. A second call skips what is done and goes on with the rest. The runs among them
are ordinary records, which notebooks and report read; results and the summary lie in ``runs/half_hour/<profile>/``.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cifar_helpers import signals
from cifar_helpers.env import ROOT, command_line, read_json, runs_dir, write_atomically
from cifar_helpers.plans.profiles import PROFILES

from ..report.benchmarks import made, table

STEPS = {  # name → most seconds, over all calls; in the order of their worth
    "tests": 120,
    "data": 120,
    "times": 150,
    "direct": 420,
    "sweep": 480,
    "vgg": 150,
    "fast": 240,
    "packing": 120,
}
GRACE = 60.0  # seconds to write checkpoints in
LEAST = 5.0  # seconds for which no step is begun
TESTS = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "gpu", "tests/test_gpu.py", "tests/test_data.py")


@dataclass(frozen=True)
class Call:
    """One call of the script: as for the report, but ``jobs`` runs at a time on the device."""

    profile: str
    data: str
    device: str
    jobs: int

    @property
    def folder(self) -> Path:
        """Where states, results and summary lie."""
        return runs_dir() / "half_hour" / self.profile

    def command(self, step: str) -> list[str]:
        """How the step is run, in a process of its own."""
        if step == "tests":
            return [sys.executable, *TESTS]
        return [sys.executable, "-m", "cifar_course.cluster.half_hour_parts", step, json.dumps(asdict(self))]


def go(call: Call, steps: Sequence[str], seconds: float) -> bool:
    """Run the steps that are not done, for so many seconds, and print the summary in any case; whether none failed."""
    end = time.monotonic() + seconds
    states: dict[str, dict] = read_json(call.folder / "states.json", {})
    try:
        for step in steps:
            state = states.setdefault(step, {"ended": "not begun", "seconds": 0.0})
            own, left = STEPS[step] - state["seconds"], end - time.monotonic() - GRACE
            limit = min(own, left)
            if state["ended"] == "done" or limit < LEAST:
                continue
            print(f"\n=== {step}: at most {limit:.0f} s", flush=True)
            began = time.monotonic()
            state["ended"] = cut = "cut at its limit" if own <= left else "cut with the call"
            try:
                state["ended"] = _run(call.command(step), limit) or cut
            finally:
                state["seconds"] = round(state["seconds"] + time.monotonic() - began, 1)
                write_atomically(call.folder / "states.json", json.dumps(states, indent=1))
    finally:
        text = "\n".join(summary(call, states))
        write_atomically(call.folder / "SUMMARY.md", text + "\n")
        print(f"\n{text}", flush=True)
    return not any(states[step]["ended"].startswith("failed") for step in steps)


def _run(command: Sequence[str], limit: float) -> str:
    """Run a command for so many seconds at most; how it ended, in words, or nothing where it had to be cut."""
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        status = process.wait(limit)
        return "done" if status == 0 else f"failed (status {status})"
    except subprocess.TimeoutExpired:
        return ""
    finally:
        if process.poll() is None:  # it writes checkpoints, so that the next call goes on from there
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
            process.kill()
            process.wait()


def summary(call: Call, states: Mapping[str, dict]) -> list[str]:
    """Lines of Markdown: how each step ended, then what each brought."""
    rows = [
        {"step": step, "ended": state["ended"], "seconds": f"{state['seconds']:.0f}", "limit": str(STEPS[step])}
        for step, state in states.items()
    ]
    lines = [f"# Half an hour, profile {call.profile}", "", *table(rows)]
    for step in states:
        if found := read_json(call.folder / f"{step}.json"):
            more = f"{found['data']}, torch {found['machine']['torch']}"
            lines += [f"## {step}", "", *table(found["rows"]), made(found, more), ""]
    return lines


@command_line("Stopped. The same command goes on from here.")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line behind ``batch/half_hour.sh``."""
    parser = argparse.ArgumentParser(prog="batch/half_hour.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="full", choices=PROFILES, help="what the runs are (default: full)")
    parser.add_argument("--data", help="auto, cifar10, synthetic or a path (default: cifar10; synthetic for smoke)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument("--jobs", type=int, default=4, help="runs at a time on the device (default: 4)")
    parser.add_argument("--minutes", type=float, default=31.0, help="of this call (default: 31)")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), help="these steps (default: all)")
    options = parser.parse_args(arguments)
    if options.jobs < 1 or 60 * options.minutes < GRACE + LEAST:
        parser.error("--jobs must be at least 1, and --minutes at least 1.1: a minute is kept for checkpoints.")
    data = options.data or ("synthetic" if options.profile == "smoke" else "cifar10")
    call = Call(options.profile, data, options.device, options.jobs)
    with signals.interrupting():
        return 0 if go(call, options.only, 60 * options.minutes) else 1


if __name__ == "__main__":
    sys.exit(main())
