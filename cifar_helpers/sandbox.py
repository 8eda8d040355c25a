"""A box for other people's code: bubblewrap where it works, and a watch over time, memory, processes and disk.

``Sandbox`` starts ``grading_child`` in it and asks it for one exercise after the other. The child ends an exercise that
takes too long or prints too much; where it cannot, ``Breach`` is raised, and the caller starts another box.
"""

import contextlib
import filecmp
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .env import CourseError

TICK = 0.2  # seconds between two looks
START_SECONDS = 180  # torch on a cold disk
GRACE = 5  # seconds that the child has beyond the exercise's own limit to say so
MOST_PROCESSES = 40
MOST_DISK = 256 * 2**20  # bytes written to the scratch copy
MOST_OUTPUT = 1_000_000  # bytes printed
SLACK = 256 * 2**20  # bytes: memory of the checks themselves
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store")
SYSTEM += ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
START = "import sys; sys.path[:0] = sys.argv[1:]; from cifar_helpers.grading_child import main; main()"


class Breach(Exception):  # noqa: N818 (the student's, not the program's)
    """The box was broken or a limit passed; the message says how, to the student."""


@dataclass(frozen=True)
class Limits:
    """What one exercise may use: seconds of processor time, and bytes of memory."""

    seconds: float = 60.0
    memory: int = 4 * 2**30

    @property
    def wall(self) -> float:
        """Seconds by the clock: more, since a busy machine makes everyone wait, but not without end."""
        return 3 * self.seconds


def packages() -> list[str]:
    """Folders of installed packages, the course's own first."""
    found = [path for path in sys.path if path.endswith(("site-packages", "dist-packages")) and Path(path).is_dir()]
    return [str(Path(__file__).resolve().parents[1]), *found]


def bubblewrap(scratch: Path) -> list[str]:
    """The command that lets a program read the system, Python and the course, write to ``scratch``, and no more."""
    course, *installed = packages()
    wanted = [*SYSTEM, sys.base_prefix, sys.prefix, *installed, str(Path(course) / "cifar_helpers")]
    wanted += [os.path.realpath(path) for path in wanted]
    seen = [path for path in dict.fromkeys(wanted) if Path(path).exists()]
    small = ["--size", str(2**26), "--tmpfs"]
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--dev", "/dev", *small, "/dev/shm", "--remount-ro", "/dev", "--proc", "/proc", *small, "/tmp"]
    for path in seen:
        command += ["--ro-bind", path, path]
    return [*command, "--bind", str(scratch), str(scratch), "--remount-ro", "/", "--chdir", str(scratch), "--"]


def environment(home: Path) -> dict[str, str]:
    """A small environment: nothing of the grader's own but the search paths; no GPU."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    places = {
        name: str(home) for name in ("HOME", "TMPDIR", "CIFAR_RUNS", "CIFAR_CACHE", "CIFAR_FIGURES", "MPLCONFIGDIR")
    }
    fixed = {"USER": "student", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg"}
    return kept | places | fixed | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}


def processes() -> dict[int, tuple[int, str, int]]:
    """Every process: id → parent, state, resident bytes. Empty where there is no ``/proc``."""
    found = {}
    for entry in os.scandir("/proc") if sys.platform == "linux" else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
                state, parent = stat.rpartition(")")[2].split()[:2]
                pages = int(Path(entry.path, "statm").read_text(encoding="utf-8").split()[1])
                resident = pages * os.sysconf("SC_PAGESIZE")
                found[int(entry.name)] = (int(parent), state, resident)
    return found


def below(root: int) -> dict[int, int]:
    """The living processes below ``root``: id → resident bytes."""
    everything, found, waiting = processes(), {}, [root]
    while waiting:
        parent = waiting.pop()
        children = [pid for pid, (its, state, _) in everything.items() if its == parent and pid not in found]
        found |= {pid: everything[pid][2] for pid in children}
        waiting += children
    return {pid: resident for pid, resident in found.items() if everything[pid][1] not in "ZX"}


def disk_use(folder: Path) -> int:
    """Bytes on disk below a folder; links are not followed."""
    total = 0
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118 (names of any kind)
    return total


def altered(original: Path, copy: Path) -> str | None:
    """A file of a submission that is no longer the same in its copy; None where all are."""
    for path in sorted(original.rglob("*")):
        name = path.relative_to(original)
        now = copy / name
        try:
            if path.is_file() and (now.is_symlink() or not now.is_file() or not filecmp.cmp(path, now)):
                return name.as_posix()
        except OSError:  # it may not be read any more
            return name.as_posix()
    return None


class Sandbox:
    """One box with the checks loaded in it, for one submission.

    Args:
        notebooks: of the submission, as ``grading_child.find_cell`` takes them.
        private: source of private checks, or None.
        contained: whether to use bubblewrap.

    Raises:
        CourseError: it does not start; the message ends with what it said.
    """

    def __init__(self, notebooks: list[dict], private: str | None, contained: bool):
        self._folder = tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True)
        self.scratch = Path(self._folder.name).resolve()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the box)
        self._pending = b""
        command = [sys.executable, "-I", "-c", START, *packages()]
        self._process = subprocess.Popen(
            [*(bubblewrap(self.scratch) if contained else []), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=environment(self.scratch),
            cwd=self.scratch,
            start_new_session=True,
        )
        try:
            self._send({"checks": private, "notebooks": notebooks})
            self.exercises = self._receive(time.monotonic() + START_SECONDS)["exercises"]
        except Breach as breach:
            self._said.seek(0)
            text = self._said.read()[-1000:].decode(errors="replace").strip()
            self.close()
            raise CourseError(text.splitlines()[-1] if text else str(breach)) from breach
        self._before = below(self._process.pid)
        self._base = max([*self._before.values(), *[processes().get(self._process.pid, (0, "", 0))[2]]])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _send(self, message: dict) -> None:
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Breach("It ended the grader's process.") from error

    def _receive(self, end: float, look=lambda: None) -> dict:
        """The child's next answer; ``look`` is called every tick and may raise ``Breach``."""
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._pending:
            if time.monotonic() > end:
                raise Breach("It took too long, and stopped the grader's process from saying so.")
            if select.select([pipe], [], [], TICK)[0]:
                block = os.read(pipe, 65536)
                if not block:
                    raise Breach("It ended the grader's process.")
                self._pending += block
            else:
                look()
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)

    def grade(self, exercise: str, submission: Path, limits: Limits) -> dict:
        """``state`` and ``reason`` of one exercise, on a fresh copy of the submission.

        Raises:
            Breach: the box has to go.
        """
        place = Path(tempfile.mkdtemp(dir=self.scratch))  # a new one each time: nothing there is of an earlier exercise
        work, home = place / "work", place / "home"
        home.mkdir()
        shutil.copytree(submission, work)
        size = disk_use(self.scratch)
        message = {"exercise": exercise, "folder": str(work), "home": str(home), "output": MOST_OUTPUT}
        self._send(message | {"seconds": limits.seconds, "wall": limits.wall, "memory": limits.memory})
        end = time.monotonic() + limits.wall + GRACE
        verdict = self._receive(end, lambda: self._look(limits, size))
        touched = altered(submission, work)
        shutil.rmtree(place, ignore_errors=True)
        if touched:
            return {"state": "altered", "reason": f"It deletes or changes its own files: {touched}."}
        return verdict

    def _look(self, limits: Limits, size: int) -> None:
        """Raise ``Breach`` where the processes together pass a limit."""
        now = below(self._process.pid)
        if len(now) > MOST_PROCESSES:
            raise Breach(f"It started more than {MOST_PROCESSES} processes.")
        if sum(max(0, resident - self._base) for resident in now.values()) > limits.memory + SLACK:
            raise Breach(f"It took more than {limits.memory / 2**30:g} GB of memory.")
        if disk_use(self.scratch) - size > MOST_DISK:
            raise Breach(f"It wrote more than {MOST_DISK / 2**20:g} MB.")

    def clean(self) -> bool:
        """Whether the last exercise left no process, half a second after its verdict, and the scratch folder usable."""
        end = time.monotonic() + 0.5
        while not set(below(self._process.pid)) <= set(self._before):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return os.access(self.scratch, os.R_OK | os.W_OK | os.X_OK)

    def close(self) -> None:
        """Kill everything in the box, and remove its files."""
        for _ in range(20):  # the children first: their orphans come back to the process that is still there
            left = set(below(self._process.pid)) - set(getattr(self, "_before", ()))
            if not left:
                break
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            with contextlib.suppress(OSError):
                stream.close()
        self._folder.cleanup()


def containment(private: str | None) -> tuple[list[dict], bool, str]:
    """The list of exercises, whether bubblewrap works here, and why not.

    Raises:
        CourseError: the checks do not even start without it, for instance since the private ones have an error.
    """
    if not hasattr(os, "fork"):
        raise CourseError("Grading needs Linux or macOS. On Windows, run it in WSL or in a container.")
    why = "bubblewrap is not installed (apt install bubblewrap)"
    if shutil.which("bwrap"):
        try:
            with Sandbox([], private, contained=True) as box:
                return box.exercises, True, ""
        except CourseError as error:
            why = f"bubblewrap does not work here ({error})"
    try:
        with Sandbox([], private, contained=False) as box:
            return box.exercises, False, why
    except CourseError as error:
        raise CourseError(f"The checks do not start: {error}") from error
