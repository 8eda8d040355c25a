"""A polite end: a signal asks for it, and the training loop answers after its step, with a checkpoint.

Batch systems send SIGTERM (pre-emption) or SIGUSR1 (the time limit comes near), a terminal SIGINT, and SIGHUP when it
is gone, as after a lost connection.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
    SIGNALS += (signal.SIGHUP,)
_asked: list[int] = []  # numbers of the signals received inside ``listening``


class Stopped(KeyboardInterrupt):
    """Training ended because a signal asked for it; a checkpoint holds what was done."""


def asked() -> signal.Signals | None:
    """The first signal that has asked for the end; None where none has."""
    return signal.Signals(_asked[0]) if _asked else None


@contextlib.contextmanager
def _handling(handler, numbers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
        _asked.clear()


def listening() -> contextlib.AbstractContextManager:
    """Take these signals as a request; a second SIGINT interrupts at once. For the main thread of a command line."""

    def note(number: int, frame) -> None:
        if number == signal.SIGINT and signal.SIGINT in _asked:
            raise KeyboardInterrupt
        _asked.append(number)

    return _handling(note, SIGNALS)


def interrupting() -> contextlib.AbstractContextManager:
    """Let SIGTERM and SIGUSR1 interrupt like a Ctrl-C, but as ``Stopped``; for drivers, which end what they drive.

    Only the first does: Slurm sends a SIGTERM to what it puts back into the queue, and the end is under way by then.
    """

    def stop(number: int, frame) -> None:
        _asked.append(number)
        if len(_asked) == 1:
            raise Stopped

    return _handling(stop, [number for number in SIGNALS if number != signal.SIGINT])


def end_with_parent() -> None:
    """Send this process a SIGTERM when its standard input closes: what drives it is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 1024):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
