"""The `cl-llama` command.

Standard output carries the answer only; everything else goes to standard error. Exit status: 0; 1
with one line for a ClLlamaError; 2 for wrong usage; 130 for Ctrl-C. A reader that closes the pipe
(`| head`) has what it wants: 0.
"""

import os
import sys
from collections.abc import Sequence
from typing import TextIO


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (None: the process's own) and return the exit status.

    Raises SystemExit for wrong usage (2), and after `--help` and `--version` (0).
    """
    # Everything is imported inside, so that Ctrl-C ends even a start without a traceback.
    try:
        from cl_llama.cli.parser import parse
        from cl_llama.errors import ClLlamaError, KernelBuildError

        if sys.stderr is None:  # closed by the caller; print() would turn to standard output
            sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
        if sys.stdout is None:
            return _fail("standard output is closed")
        _never_fail_to_encode(sys.stdout)
        try:
            try:
                args = parse(sys.argv[1:] if argv is None else argv)
                status = int(args.func(args))
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            _discard(sys.stdout)
            return 0
        except KernelBuildError as error:
            return _fail(str(error))  # the compiler's log follows the line
        except ClLlamaError as error:
            return _fail(" ".join(str(error).split("\n")))
        except MemoryError:
            return _fail("the host's memory is full")
        except OSError as error:
            _discard(sys.stdout)
            where = f"{error.filename}: " if error.filename is not None else ""
            return _fail(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        # CPython dies of SIGINT at its exit if the last code run by exec() was interrupted, caught
        # or not; imports run code that way (dataclasses).
        exec("")
        if sys.stderr is not None and sys.stderr.isatty():
            print(file=sys.stderr)  # the shell's prompt goes below the terminal's ^C
        return 130
    return status


def _fail(message: str) -> int:
    try:
        print(f"cl-llama: error: {message}", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)
    return 1


def _never_fail_to_encode(stream: TextIO) -> None:
    """Characters that the terminal's encoding lacks become question marks."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def _discard(stream: TextIO) -> None:
    """What is left in the stream's buffer goes nowhere, or the interpreter's exit would fail."""
    try:
        descriptor = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
    except (OSError, ValueError):  # replaced by something that is no file
        pass
