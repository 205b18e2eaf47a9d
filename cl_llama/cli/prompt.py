"""The prompt, from the command line, standard input or a file."""

import sys
from pathlib import Path

from cl_llama.errors import RequestError


def read_prompt(text: str | None, file: str | None, *, quiet: bool) -> str:
    """The prompt that `--prompt` (`-`: standard input) or `--prompt-file` mean; none is empty.

    Files and standard input are UTF-8. Editors and `echo` end a text with a line break, which
    would be part of the prompt: one at the very end is left out.

    Raises:
        RequestError: it cannot be read, or is not UTF-8.
    """
    if file is not None:
        try:
            return _decode(Path(file).expanduser().read_bytes(), f"--prompt-file {file}")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RequestError(f"--prompt-file {file}: {reason}") from None
    if text != "-":
        return text or ""
    if sys.stdin is None:
        raise RequestError("--prompt -: standard input is closed")
    if sys.stdin.isatty() and not quiet:
        print("Type the prompt; Ctrl-D on a line of its own ends it.", file=sys.stderr)
    try:
        return _decode(sys.stdin.buffer.read(), "--prompt -")
    except OSError as error:
        raise RequestError(f"--prompt -: {error.strerror}") from None


def _decode(data: bytes, source: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{source}: expected UTF-8 text, got byte 0x{data[error.start]:02x} at {error.start}"
        ) from None
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
