"""A server's log on standard error, written by a thread of its own.

Who reads it may be slow, or a terminal that somebody has stopped: answers do not wait for that.
"""

import logging
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler

LINES = 1000
"""Lines that wait to be written; further ones are lost."""
LEVELS = {"cl_llama.server": logging.INFO, "uvicorn.error": logging.WARNING}


@contextmanager
def server_log() -> Iterator[None]:
    """Write the log of the server until the context ends."""
    lines: queue.Queue[logging.LogRecord | None] = queue.Queue(LINES)
    handler = _DroppingHandler(lines)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    writer = threading.Thread(target=_write, args=(lines,), name="cl-llama log", daemon=True)
    writer.start()
    loggers = [logging.getLogger(name) for name in LEVELS]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(LEVELS[logger.name])
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True
        with suppress(queue.Full):
            lines.put_nowait(None)
        writer.join(1.0)


class _DroppingHandler(QueueHandler):
    """Loses lines rather than wait."""

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a line."""
        with suppress(queue.Full):
            self.queue.put_nowait(record)


def _write(lines: "queue.Queue[logging.LogRecord | None]") -> None:
    while (record := lines.get()) is not None:
        with suppress(OSError):  # nobody reads it any more
            print(record.getMessage(), file=sys.stderr, flush=True)
