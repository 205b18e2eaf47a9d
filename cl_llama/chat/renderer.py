"""Has templates rendered by a process of its own, which is ended if one takes too long."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from typing import Any

from cl_llama.chat.worker import MAX_SECONDS
from cl_llama.errors import ChatTemplateError, RequestError

MAX_SOURCE = 1 << 20
"""Characters of a template; real ones have a few thousand."""


class Renderer:
    """A process that is started by the first rendering and kept for more; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stop: weakref.finalize[..., Renderer] | None = None

    def render(self, source: str, values: Mapping[str, Any]) -> str:
        """The text that a template makes of the values.

        Raises RequestError where values are not JSON data or the template refuses them,
        ChatTemplateError for a template that is damaged or takes too long.
        """
        if len(source) > MAX_SOURCE:
            raise ChatTemplateError(
                f"chat: a template of {len(source)} characters (at most {MAX_SOURCE}); is this a "
                "chat template?"
            )
        try:
            question = json.dumps({"template": source, "values": dict(values)})
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError(f"chat: messages must be plain JSON data ({error})") from None
        with self._lock:
            answer = self._ask(question.encode() + b"\n")
        if "refused" in answer:
            raise RequestError(f"chat: the template refuses these messages: {answer['refused']}")
        if "failed" in answer:
            raise ChatTemplateError(
                f"chat: the template cannot be rendered: {answer['failed']}; pass another one as "
                "chat_template (--chat-template)"
            )
        return answer["text"]

    def close(self) -> None:
        """End the process; the next rendering would start another."""
        with self._lock:
            self._end()

    def _ask(self, question: bytes) -> dict[str, str]:
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(MAX_SECONDS, give_up)
        timer.start()
        try:
            process.stdin.write(question)
            process.stdin.flush()
            answer: dict[str, str] = json.loads(process.stdout.readline())
        except (OSError, ValueError):  # its pipes are closed: it has ended
            self._end()
            if late.is_set():
                return {"failed": f"it takes longer than {MAX_SECONDS} s"}
            return {"failed": f"its process ended (status {process.returncode})"}
        except BaseException:  # Ctrl-C: the answer that still comes is no one's
            self._end()
            raise
        finally:
            timer.cancel()
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        code = "from cl_llama.chat.worker import main; main()"
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],  # -P: no module comes from the current folder
                env=os.environ | {"PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, ValueError) as error:
            raise ChatTemplateError(
                f"chat: the process that renders templates cannot be started ({error})"
            ) from None
        self._process = process
        self._stop = weakref.finalize(self, _kill, process)
        return process

    def _end(self) -> None:
        if self._stop is not None:
            self._stop()
        self._process = self._stop = None


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was not sent cannot be sent any more
                pipe.close()
    process.wait()
