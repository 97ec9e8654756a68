"""Ctrl-C and SIGTERM: save first, then end, by an exit code of its own."""

import os
import signal
import threading

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: not finished, the same command goes on
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Somebody asked this process to end; what it has done is saved."""


class Deferred:
    """A context in which Ctrl-C and SIGTERM are noted, for a loop to end when it can.

    A second Ctrl-C ends the process at once, as if it had not been caught. Outside of
    the main thread, where Python permits no handlers, nothing is noted.

    Attributes:
      requested: whether the process was asked to end.
    """

    def __init__(self):
        self.requested = False
        self._before = {}

    def __enter__(self) -> "Deferred":
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._note) for s in _SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _) -> None:
        if self.requested and number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not self.requested:
            # Not print: the main thread may be in the middle of one.
            os.write(2, b"\nSaving, then ending; Ctrl-C once more ends at once.\n")
        self.requested = True


def raise_on_signals() -> None:
    """From now on Ctrl-C and SIGTERM raise `Interrupted`; the second one kills."""

    def handle(number: int, _) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(f"By {signal.Signals(number).name}.")

    for number in _SIGNALS:
        signal.signal(number, handle)
