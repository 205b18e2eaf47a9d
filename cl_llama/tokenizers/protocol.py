"""What every tokenizer of this package can do, whatever file it came from."""

from collections.abc import Sequence
from typing import Protocol

from cl_llama.tokenizers.streaming import StreamDecoder


class Tokenizer(Protocol):
    """Text to token ids and back; instances may be shared between threads.

    Two rules hold for all of them:

    *Text.* Any `str` can be encoded. Unpaired surrogates, which UTF-8 cannot hold, become U+FFFD.
    Bytes that a token sequence leaves in an invalid or incomplete UTF-8 state decode to U+FFFD.

    *Ids.* An id at or above `vocab_size` (a padding row of a larger output matrix) has the piece
    "" and contributes nothing to a text. A negative id raises `TokenizerError`.

    *Beginnings.* SentencePiece vocabularies mark the start of a word with a space and encode a text
    as if a space stood before it. `at_start=True` says that the ids begin a text, so that this
    space is dropped: `decode(encode(text)) == text`. `at_start=False` says that they continue one,
    so that it is kept: what a model generates after a prompt is `decode(ids, at_start=False)`.
    After an empty prompt, which is only a BOS token, the generated text is a beginning. Tokenizers
    that add no such space decode alike in both cases.
    """

    @property
    def vocab_size(self) -> int:
        """One more than the highest token id, special tokens included."""
        ...

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text; None if there is none."""
        ...

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text; None if there is none."""
        ...

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """All tokens known to end a text or a turn, `eos_id` first."""
        ...

    @property
    def adds_bos(self) -> bool:
        """Whether `encode(add_bos=True)` prepends `bos_id`."""
        ...

    def encode(self, text: str, add_bos: bool = True, special: bool = False) -> list[int]:
        """Ids of `text`, after `bos_id` if `add_bos` and the tokenizer is one that `adds_bos`.

        `special=True` turns special tokens that the text spells into their ids (a chat template's
        output); with False their spelling is plain text (what a user typed). A BOS that the text
        spells itself is not taken into account: pass `add_bos=False` with it.
        """
        ...

    def decode(self, ids: Sequence[int], skip_special: bool = True, at_start: bool = True) -> str:
        """Text of `ids`; special tokens are left out, or spelled if `skip_special` is False."""
        ...

    def piece(self, token_id: int) -> str:
        """The vocabulary's own spelling of a token, such as "▁the", "Ġthe" or "<0x0A>"."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token contributes in the middle of a text; none for a special token."""
        ...

    def stream(self, at_start: bool = False, skip_special: bool = True) -> StreamDecoder:
        """Decode one token at a time; all pieces joined are `decode` with the same arguments."""
        ...
