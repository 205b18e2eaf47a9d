"""Streams for decoders that look at several tokens: decode a window, show what it grew by."""

from collections.abc import Callable, Collection, Sequence

from cl_llama.tokenizers.streaming import StreamDecoder

REPLACEMENT = "\ufffd"


class WindowStreamDecoder(StreamDecoder):
    """Decodes the last tokens shown together with the new ones, as vLLM and others do.

    The window starts at the tokens of the last text shown, so that spaces between tokens come out
    as in the whole text. Text that ends in U+FFFD is held back: its character may be incomplete.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        context: Sequence[int],
        hidden: Collection[int],
    ) -> None:
        """`context`: tokens before the stream, not shown; `hidden`: tokens to leave out."""
        self._decode = decode
        self._window = list(context)
        self._shown = len(context)
        self._hidden = hidden

    def push(self, token_id: int) -> str:
        """Text that became final with this token: whole characters, possibly none."""
        if token_id in self._hidden:
            return ""
        self._window.append(token_id)
        new = self._new_text()
        if not new or new.endswith(REPLACEMENT):
            return ""
        del self._window[: self._shown]
        self._shown = len(self._window)
        return new

    def finish(self) -> str:
        """The text that was held back."""
        new = self._new_text()
        self._shown = len(self._window)
        return new

    def _new_text(self) -> str:
        shown = self._decode(self._window[: self._shown])
        return self._decode(self._window)[len(shown) :]
