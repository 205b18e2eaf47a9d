"""Questions that a child process answers, because what they run may end it."""

import json
import os
import signal
import subprocess
import sys
from typing import Any


class ChildError(Exception):
    """The child gave no answer; the text says how it ended."""


class ChildTimeoutError(ChildError):
    """It took too long."""


def ask_child(module: str, *arguments: str, timeout: float) -> Any:
    """What `main()` of a module prints as JSON, run in a process of its own.

    The child has this process's module path and environment, but takes no module from the current
    folder; `sys.argv[1:]` are the arguments.

    Raises:
        ChildError: it was ended, failed, or printed something else.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", f"from {module} import main; main()", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ChildTimeoutError(f"took longer than {timeout:g} s") from None
    except (OSError, ValueError) as error:  # no interpreter to start: an embedded one
        raise ChildError(f"cannot be started: {error}") from error
    if child.returncode < 0:
        try:
            ending = signal.Signals(-child.returncode).name
        except ValueError:
            ending = f"signal {-child.returncode}"
        raise ChildError(f"was ended by {ending}")
    try:
        return json.loads(child.stdout)
    except ValueError:
        last = child.stderr.strip().rpartition("\n")[2]
        raise ChildError(
            f"ended with status {child.returncode}: {last or 'without a word'}"
        ) from None
