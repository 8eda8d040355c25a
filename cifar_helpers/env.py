"""Where things are, what they run on, and what to say when something is wrong.

torch is imported inside the functions that need it, so that a plan of runs can be printed without it.
"""

import contextlib
import ctypes
import errno
import io
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import warnings
from functools import cache, wraps
from pathlib import Path

from . import gpus

ROOT = Path(os.environ.get("CIFAR_COURSE_ROOT") or Path(__file__).resolve().parents[1])
PRECISIONS = ("auto", "fp32", "bf16")
NO_IMAGES = "no images"  # label, in place of the images', of drawings and of tables about networks
NUMBERED = "[0-9][0-9]*_*"  # how the names of notebooks and of what they make begin: 02_simple_net, 02b_sweeps
UTF8_OUTPUT = {"PYTHONIOENCODING": "utf-8"}  # environment of a child whose output we read


class CourseError(Exception):
    """Something the reader can put right; the message says how. Command lines print it without a traceback."""


def number_of(name: str) -> str:
    """The number of a notebook, from its name or that of something it made: ``02b`` of ``02b_sweeps``."""
    return name.partition("_")[0]


def show_anything() -> None:
    """Let a terminal that cannot show ``≥`` or ``η`` get ``\\u2265``, instead of an error in the middle of a command.

    For command lines; a test that reads the output and a notebook keep their own.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def command_line(stopped: str = ""):
    """Decorate the ``main`` of a command line, so that nothing a person can put right ends in a traceback.

    A ``CourseError`` is printed and gives exit status 2. Ctrl-C prints ``stopped`` and gives 130, as shells have it.
    """

    def decorate(main):
        @wraps(main)
        def guarded(arguments=None) -> int:
            show_anything()
            try:
                return main(arguments)
            except CourseError as error:
                print(error, file=sys.stderr)
                return 2
            except KeyboardInterrupt:
                if stopped:
                    print(f"\n{stopped}", file=sys.stderr)
                return 130

        return guarded

    return decorate


def runs_dir() -> Path:
    """Folder of the run records: ``CIFAR_RUNS`` or ``runs/``, in the course folder unless absolute."""
    return ROOT / (os.environ.get("CIFAR_RUNS") or "runs")


def cache_dir() -> Path:
    """Folder of decoded images and downloads: ``CIFAR_CACHE`` or ``.cache/``, in the course folder unless absolute."""
    return ROOT / (os.environ.get("CIFAR_CACHE") or ".cache")


def figures_dir(profile: str | None = None) -> Path:
    """Folder of the published figures, or with a profile that of the local ones.

    ``CIFAR_FIGURES`` stands in for ``figures/``, in the course folder unless absolute.
    """
    base = ROOT / (os.environ.get("CIFAR_FIGURES") or "figures")
    return base / "local" / profile if profile else base


def choose_device(name: str | None = "auto"):
    """Return the ``torch.device`` for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` (or for a ``torch.device``).

    ``auto`` says it, once, where it takes the CPU although a GPU is to be seen.

    Raises:
        CourseError: the name is unknown, this machine has no such device, or ``auto`` finds only the CPU although
            Slurm gave this job a GPU.
    """
    import torch

    available = _devices()
    name = "cuda:0" if str(name) == "cuda" else str(name)
    if name in ("None", "auto"):
        name = "cuda:0" if "cuda:0" in available else available[-1]
        if name == "cpu" and (unused := gpus.unused()):
            if gpus.given_by_slurm():
                raise CourseError(f"{unused} This job was given a GPU: mend that, or ask for the CPU (device cpu).")
            _say_once(f"{unused} The CPU is taken.")
    if name not in available:
        raise CourseError(
            f"Device {name!r} is not available here. This machine has: {', '.join(available)}. "
            "Choose one of these, or 'auto' for the fastest."
            + (f" {gpus.unused()}" if name.startswith("cuda") and available == ["cpu"] else "")
        )
    return torch.device(name)


def _devices() -> list[str]:
    """Names of the devices that torch can use here, the CPU first."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, on a driver: ``gpus.unused`` says it in one line
        cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ["cpu", *(f"cuda:{i}" for i in range(cuda)), *(["mps"] if torch.backends.mps.is_available() else [])]


@cache
def _say_once(line: str) -> None:
    print(line, flush=True)


def resolve_precision(precision: str, device) -> str:
    """Return ``fp32`` or ``bf16``; ``auto`` takes bf16 where the hardware multiplies it natively.

    A precision that is none of these three is a ``CourseError``.
    """
    import torch

    if precision not in PRECISIONS:
        raise CourseError(f"Unknown precision {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type == "cpu":
        return "bf16" if quick_bf16() else "fp32"
    return "fp32"


def quick_bf16() -> bool:
    """Whether this processor trains faster in bf16: with AMX, or AMD's avx512_bf16.

    Intel's avx512_bf16 without AMX (as virtual machines show it) does convolutions at 0.6 to 0.8 of the rate of fp32.
    """
    flags = set(_cpuinfo("flags").split())
    amd = _cpuinfo("vendor_id") == "AuthenticAMD"
    return bool(flags & {"amx_bf16", "amx_bf16_tile"}) or (amd and "avx512_bf16" in flags)


def true_fp32(device):
    """Context in which ``fp32`` means fp32: without TF32, cuDNN's 10-bit default for convolutions.

    Convolutions are deterministic in it; some other CUDA kernels are not, so only a CPU repeats a run bit for bit.
    """
    import torch

    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


@contextlib.contextmanager
def usual_torch():
    """torch's own defaults (fp32, the CPU, gradients), whatever a notebook has set; its settings are put back."""
    import torch

    dtype = torch.get_default_dtype()
    # The device's context costs every operation a little: it is entered only where it is needed.
    elsewhere = torch.get_default_device().type != "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        with torch.enable_grad(), torch.device("cpu") if elsewhere else contextlib.nullcontext():
            yield
    finally:
        torch.set_default_dtype(dtype)


def send(tensor, device):
    """Copy a host tensor to a device; a GPU's copy is queued, from pinned memory, and nothing waits for it."""
    if device.type in ("cpu", "mps") or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@cache
def _cpuinfo(name: str) -> str:
    """What Linux says of the first processor, such as its ``vendor_id``; empty where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.partition(":")[0].strip() == name:
                return line.partition(":")[2].strip()
    return ""


@cache
def git_revision() -> str:
    """Short revision of the course's checkout, with ``+`` where it has uncommitted changes; else ``unknown``.

    A copy without ``.git`` has none, though it may lie in a repository of something else.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", *args],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=20,
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT.resolve():
            return "unknown"
        dirty = git("status", "--porcelain", "--untracked-files=no", "--", "cifar_helpers", "notebooks")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if dirty else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def keep_freed_memory() -> None:
    """Let the C library keep freed activations for the next step, instead of fetching fresh pages every time.

    Saves a tenth of a VGG-A step on a CPU. Linux with glibc only; elsewhere, and for the results, it changes nothing.
    """
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((m_mmap_max, 0), (m_trim_threshold, -1), (m_top_pad, 2**28)):
            libc.mallopt(option, value)


def machine_card(device="cpu") -> dict:
    """What a result was made on: device, processor, threads, versions and git revision, as JSON-ready values."""
    import torch

    device = torch.device(device)
    card = {
        "device": str(device),
        "cpu": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
        "git_revision": git_revision(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        card |= {"gpu": properties.name, "gpu_memory_gib": round(properties.total_memory / 2**30, 1)}
        card |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return card


def describe_machine(device="auto") -> str:
    """One line for the top of a notebook: device, processor, precision that ``auto`` resolves to, versions."""
    blocked = str(device) == "auto" and _devices() == ["cpu"]  # what that means is for ``choose_device`` to say
    device = choose_device("cpu" if blocked else device)
    card = machine_card(device)
    name = card.get("gpu") or f"{card['cpu']}, {card['threads']} threads"
    precision = resolve_precision("auto", device)
    return f"{device} ({name}) · auto precision {precision} · torch {card['torch']} · revision {card['git_revision']}"


def write_atomically(path: Path, write) -> Path:
    """Write a file so that a reader sees the old one or the whole new one, never a part. Its folder is made.

    Its permissions follow the umask, so that others may read what is shared.

    Args:
        write: bytes, text, or a function that is given the temporary path and fills it.

    Raises:
        CourseError: no space is left or the folder cannot be written; the old file stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(6)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode  # the umask's; safetensors and tempfile make files that their owner alone reads
        if callable(write):
            write(temporary)
        else:
            temporary.write_bytes(write.encode() if isinstance(write, str) else write)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        os.replace(temporary, path)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def write_tensors(path: Path, tensors: dict, metadata: dict[str, str] | None = None) -> Path:
    """``write_atomically`` of named tensors as safetensors; the errors are the same."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    def write(temporary: Path) -> None:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # how it reports a full disk
            raise OSError(errno.ENOSPC, str(error)) from error

    return write_atomically(path, write)


def unix_lines(content: bytes) -> bytes:
    """Text with the line ends that git stores, whatever a checkout made of them; binary content (with a NUL) as is."""
    return content if b"\0" in content[:8000] else content.replace(b"\r\n", b"\n")


def disk_error(path: Path, error: Exception) -> CourseError:
    """Turn an ``OSError`` into a message that names the folder, the free space and the remedy."""
    folder = next((p for p in [Path(path), *Path(path).parents] if p.is_dir()), Path())
    code = getattr(error, "errno", None)  # safetensors reports a full disk without one
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(folder).free / 2**20
        if code in (errno.ENOSPC, errno.EDQUOT) or (code is None and free < 300):
            return CourseError(
                f"No space to write {path} ({free:.0f} MB free). What was finished is kept: free some space "
                "or point CIFAR_RUNS / CIFAR_CACHE to a larger disk, then run the same command again."
            )
    return CourseError(
        f"Cannot write {path}: {getattr(error, 'strerror', None) or error}. Check the folder's permissions, "
        "or point CIFAR_RUNS / CIFAR_CACHE / CIFAR_FIGURES to a folder you can write to."
    )


def read_json(path: Path, default=None):
    """Read a JSON file; ``default`` where it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return default
