"""Text from tokens that arrive one at a time, without ever splitting a character."""

import codecs
import enum
from abc import ABC, abstractmethod
from collections.abc import Callable


class StreamDecoder(ABC):
    """Turns tokens into text as they arrive; one for each text, not shared between threads."""

    @abstractmethod
    def push(self, token_id: int) -> str:
        """Text that became final with this token: whole characters, possibly none."""

    @abstractmethod
    def finish(self) -> str:
        """What is left after the last token: an incomplete character, as U+FFFD, or nothing."""


class LeadingSpace(enum.Enum):
    """What a vocabulary drops where a text begins, because its encoder put it there."""

    KEEP = "keep"  # nothing
    ONE = "one"  # one space
    FIRST_TOKEN = "first token"  # every space that the first token starts with
    ALL = "all"  # every space, over as many tokens as there are

    def drop(self, data: bytes) -> tuple[bytes, bool]:
        """`data`, the first bytes of a text, without that space; whether the text still begins."""
        if self is LeadingSpace.KEEP:
            return data, False
        if self is LeadingSpace.ONE:
            return data.removeprefix(b" "), False
        rest = data.lstrip(b" ")
        return rest, self is LeadingSpace.ALL and not rest


class ByteStreamDecoder(StreamDecoder):
    """A stream of tokens that each contribute fixed bytes.

    Bytes of a character that is not complete yet are held back. Invalid ones become U+FFFD, one
    for each maximal subpart as the Unicode standard recommends, just as `bytes.decode` does it.
    """

    def __init__(
        self, bytes_of: Callable[[int], bytes], leading: LeadingSpace, at_start: bool
    ) -> None:
        """`bytes_of(token_id)`: what to show; `leading`: what to drop if `at_start`."""
        self._bytes_of = bytes_of
        self._leading = leading
        self._at_start = at_start
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Text that became final with this token: whole characters, possibly none."""
        data = self._bytes_of(token_id)
        if self._at_start and data:
            data, self._at_start = self._leading.drop(data)
        return self._utf8.decode(data)

    def finish(self) -> str:
        """The character that was never completed, as U+FFFD, or nothing."""
        return self._utf8.decode(b"", final=True)
