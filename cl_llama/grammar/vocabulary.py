"""A tokenizer's vocabulary as llguidance takes it."""

from collections.abc import Sequence
from typing import Any

from cl_llama.errors import GrammarError
from cl_llama.tokenizers import Tokenizer


def import_llguidance() -> Any:
    """The package; GrammarError that says what to install where it is missing."""
    try:
        import llguidance
    except ImportError:
        raise GrammarError(
            'grammars need the package llguidance: pip install "cl-llama[grammar]"'
        ) from None
    return llguidance


def guided_vocabulary(tokenizer: Tokenizer) -> Any:
    """The vocabulary as an `LLTokenizer`, with one more token, `tokenizer.vocab_size`, at its end.

    That token stands for the end of the grammar, because a request says itself which tokens end
    it. The tokenizer's own special tokens are no text; a Lark grammar can name them as <name>.
    """
    return import_llguidance().LLTokenizer(_Vocabulary(tokenizer))


class _Vocabulary:
    """What llguidance reads from a tokenizer that it does not know."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Tokenizer) -> None:
        end = tokenizer.vocab_size
        contributions = [tokenizer.token_bytes(token_id) for token_id in range(end)]
        silent = [token_id for token_id, data in enumerate(contributions) if not data]
        for token_id in silent:
            name = tokenizer.piece(token_id) or f"<unused {token_id}>"
            contributions[token_id] = name.encode(errors="replace")
        self.tokens = [*contributions, b"<end of the grammar>"]
        self.special_token_ids = [*silent, end]
        self.eos_token_id = end
        self.bos_token_id = tokenizer.bos_id

    def __call__(self, text: str | bytes) -> Sequence[int]:
        """Tokens of a text: none, grammars are compiled so that they never ask."""
        return ()
