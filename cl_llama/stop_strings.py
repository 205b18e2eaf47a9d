"""Ending a text at a stop string, when the text arrives in pieces."""

from collections.abc import Sequence


class StopStrings:
    """Passes text through until one of the strings appears in it.

    What could still become a stop string is held back; the text ends before the match. Where one
    piece completes several matches, the one that begins first counts.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        """Non-empty strings; without any, all text passes at once."""
        self._strings = tuple(strings)
        self._held = ""
        self.matched = False
        """Whether a stop string has appeared; from then on no text passes."""

    def push(self, text: str) -> str:
        """The part of the text so far that is now known to come before any stop string."""
        if self.matched:
            return ""
        text = self._held + text
        starts = [start for start in map(text.find, self._strings) if start >= 0]
        if starts:
            self.matched, self._held = True, ""
            return text[: min(starts)]
        safe = len(text) - self._overlap(text)
        self._held = text[safe:]
        return text[:safe]

    def finish(self) -> str:
        """What was held back: no stop string came of it."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop string begins."""
        longest = max(map(len, self._strings), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(string.startswith(text[-length:]) for string in self._strings):
                return length
        return 0
