"""How many tokens of prompts a step can run in the time that those who wait for it may be kept."""

from cl_llama.engine.scheduler import Budget

TEXT_SECONDS = 0.5
"""A step that also generates is to take about so long: a reader sees two tokens a second."""
PROMPT_SECONDS = 1.0
"""A step of several prompts: the shortest of them waits for its first token."""

_LONG_SECONDS = 0.1
"""Steps that take so long are waited for, though nothing is read of them: who comes meanwhile takes
part in the next one. Shorter ones queue up, so that the device need not wait for the host."""
_NEWEST = 0.3
"""How much a measurement counts against all earlier ones."""
_FEWEST = 8
"""Tokens of prompts in a step that say something about their speed."""
_UNKNOWN = Budget(beside_texts=64, together=256)


class Pace:
    """Learns from steps how long prompts take on this device. Used by the engine's thread only."""

    def __init__(self) -> None:
        self._texts_seconds = 0.0
        """Of a step without prompts."""
        self._token_seconds: float | None = None
        """Of each token of a prompt, beside that."""
        self._pending_tokens = 0
        self._pending_seconds = 0.0

    @property
    def budget(self) -> Budget:
        """The next step's. Where generating alone takes long, prompts take as long again."""
        if self._token_seconds is None:
            return _UNKNOWN
        texts = self._texts_seconds
        beside = max(TEXT_SECONDS - texts, texts)
        return Budget(
            beside_texts=int(beside / self._token_seconds),
            together=int(PROMPT_SECONDS / self._token_seconds),
        )

    def is_long(self, prompt_tokens: int) -> bool:
        """Whether a step of so many tokens of prompts takes long."""
        seconds = self._token_seconds
        return seconds is not None and prompt_tokens * seconds > _LONG_SECONDS

    def note(self, prompt_tokens: int, seconds: float, *, waited: bool) -> None:
        """A step was run. waited: for its end; else the next one's time holds what is left."""
        self._pending_tokens += prompt_tokens
        self._pending_seconds += seconds
        if not waited:
            return
        tokens, seconds = self._pending_tokens, self._pending_seconds
        self.forget_pending()
        if tokens == 0:
            self._texts_seconds += (seconds - self._texts_seconds) * (
                _NEWEST if self._texts_seconds else 1.0
            )
        elif tokens >= _FEWEST:
            measured = max(seconds - self._texts_seconds, 1e-9) / tokens
            known = self._token_seconds
            self._token_seconds = (
                measured if known is None else known + _NEWEST * (measured - known)
            )

    def forget_pending(self) -> None:
        """The steps since the last wait are not to be counted: one of them failed."""
        self._pending_tokens, self._pending_seconds = 0, 0.0
