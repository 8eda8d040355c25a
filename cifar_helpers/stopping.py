"""A polite end: a signal asks for it, and the training loop answers after its step, with a checkpoint.

Batch systems send SIGTERM (pre-emption) or SIGUSR1 (the time limit comes near), a terminal SIGINT.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
_asked: list[int] = []  # numbers of the signals received inside ``listening``


class Stopped(KeyboardInterrupt):
    """Training ended because a signal asked for it; a checkpoint holds what was done."""


def asked() -> signal.Signals | None:
    """The first signal that has asked for the end; None where none has."""
    return signal.Signals(_asked[0]) if _asked else None


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Take these signals as a request; a second SIGINT interrupts at once. For the main thread of a command line."""

    def note(number: int, frame) -> None:
        if number == signal.SIGINT and signal.SIGINT in _asked:
            raise KeyboardInterrupt
        _asked.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()


@contextlib.contextmanager
def interrupting() -> Iterator[None]:
    """Let SIGTERM and SIGUSR1 interrupt like a Ctrl-C, but as ``Stopped``; for drivers, which end what they drive."""

    def stop(number: int, frame) -> None:
        _asked.append(number)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in SIGNALS if number != signal.SIGINT}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()


def end_with_parent() -> None:
    """Send this process a SIGTERM when its standard input closes: whoever drives it is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 1024):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
