"""What options allow, where several commands have such options."""

import argparse


def at_least_one(text: str) -> int:
    """The type of an option that is a count."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return value


def valid_text(text: str) -> str:
    """The type of an option that is text."""
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that the locale's encoding does not have
        raise argparse.ArgumentTypeError(f"is not valid text: {text!r}") from None
    return text


def nonempty_text(text: str) -> str:
    """The type of an option that is text, at least a character of it."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return valid_text(text)
