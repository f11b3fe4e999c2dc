"""Output without an end: it stops when nobody reads it any more."""

import errno
import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Nobody else sends it, and without a handler it does nothing.
_GONE = signal.SIGURG
_PAUSE_S = 0.5


@contextmanager
def until_nobody_reads() -> Iterator[None]:
    """BrokenPipeError when the reader of stdout goes away (`| head -1`), also while there is nothing to say for hours.

    A write alone would tell that, and only the next one.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def watch() -> None:
        stdout = select.poll()
        stdout.register(1, 0)  # only for what is told unasked: that the other end is closed
        if not any(event & (select.POLLERR | select.POLLHUP) for _, event in stdout.poll()):
            return
        # Again and again: whoever goes on after an error may take it for one.
        while not over.is_set():
            signal.pthread_kill(main, _GONE)
            over.wait(_PAUSE_S)

    main, over = threading.get_ident(), threading.Event()
    before = signal.signal(_GONE, stop)
    threading.Thread(target=watch, name="reader-watch", daemon=True).start()
    try:
        yield
    finally:
        signal.signal(_GONE, signal.SIG_IGN)
        over.set()
        signal.signal(_GONE, before)
