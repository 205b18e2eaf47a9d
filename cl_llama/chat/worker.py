"""The process that renders templates: a question a line on standard input, an answer a line.

A question is {"template": ..., "values": ...}; an answer is {"text": ...}, {"refused": ...} where
the template itself raised, or {"failed": ...}. The process limits its own memory, and the time of
an answer where the system has alarms, in case that the one who asks is gone.
"""

import contextlib
import json
import signal
import sys
from collections.abc import Iterator

from cl_llama.chat.sandbox import Refused, reason_of, render

MAX_SECONDS = 10
"""Of one rendering."""
MAX_MEMORY = 1 << 29
"""Address space of the process in bytes, Python's own included."""
MAX_TEXT = 1 << 24
"""Characters of a rendered text; a context of a million tokens is a quarter of it."""


def main() -> None:
    """Answer until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    _limit_memory()
    for line in sys.stdin.buffer:
        with _limited_time():
            answer = _answer(line)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _answer(line: bytes) -> dict[str, str]:
    try:
        question = json.loads(line)
        text = render(question["template"], question["values"])
    except Refused as refusal:
        return {"refused": str(refusal)}
    except MemoryError:
        return {"failed": f"it took more than {MAX_MEMORY >> 20} MiB"}
    except RecursionError:
        return {"failed": "it is nested too deeply"}
    except Exception as error:
        return {"failed": reason_of(error)}
    if len(text) > MAX_TEXT:
        return {"failed": f"it makes a text of {len(text)} characters (at most {MAX_TEXT})"}
    return {"text": text}


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        # Where the system knows no such limit, or has a lower one already.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    signal.alarm(MAX_SECONDS + 5)  # the one who asks is the first to lose patience
    yield
    signal.alarm(0)
