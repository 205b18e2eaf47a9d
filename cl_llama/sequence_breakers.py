"""The sequence breakers of the DRY sampler, found in the text that tokens make."""

from collections.abc import Sequence

from cl_llama.tokenizers import Tokenizer


class SequenceBreakers:
    """Finds breakers in one request's tokens, over any number of them; see `Breakers`.

    A special token is read as it is spelled, so that "<|im_end|>" may be a breaker.
    """

    def __init__(self, strings: Sequence[str], tokenizer: Tokenizer) -> None:
        """Before the first token; the strings are not empty."""
        self._breakers = [string.encode() for string in strings]
        self._tokenizer = tokenizer
        self._kept = max(map(len, self._breakers), default=1) - 1
        self._end = b""
        """The text's last bytes, as many as a breaker may begin before the next token."""

    def read(self, token_id: int) -> bool:
        """Take the next token of prompt and text; whether a breaker ends in it."""
        before = len(self._end)
        text = self._end + self._spelled(token_id)
        self._end = text[max(0, len(text) - self._kept) :]
        return any(
            text.find(breaker, max(0, before - len(breaker) + 1)) >= 0 for breaker in self._breakers
        )

    def holds(self, token_id: int) -> bool:
        """Whether a token contains a whole breaker."""
        spelled = self._spelled(token_id)
        return any(breaker in spelled for breaker in self._breakers)

    def _spelled(self, token_id: int) -> bytes:
        tokenizer = self._tokenizer
        return tokenizer.token_bytes(token_id) or tokenizer.piece(token_id).encode()
