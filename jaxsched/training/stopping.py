"""Ends a training at the next occasion where it is asked to, by Ctrl-C or by SIGTERM, as cluster
schedulers send before they take a machine away.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """A training was asked to stop and has saved what it did. Uncaught, the process exits with
    status 0.
    """

    def __init__(self, message: str):
        super().__init__(0)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StopRequest:
    """Whether somebody has asked."""

    received = False


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Takes the signals while it is open; a second one ends the process at once.

    Signals reach the main thread only: elsewhere nothing is ever received.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {each: signal.getsignal(each) for each in SIGNALS}

    def receive(number: int, frame: FrameType | None) -> None:
        request.received = True
        restore()

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    for each in SIGNALS:
        signal.signal(each, receive)
    try:
        yield request
    finally:
        restore()
