"""The part that tokenizers share whose tokens each contribute fixed bytes to a text."""

from collections.abc import Sequence

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers.streaming import ByteStreamDecoder, LeadingSpace, StreamDecoder


class BytewiseTokenizer:
    """A vocabulary as three tables; makers fill them in and add `encode`.

    `pieces[id]` is the spelling, `contributions[id]` the bytes in the middle of a text (none for
    special tokens), `special_ids` the tokens that a text shows only on request, `leading` what
    the encoder adds where a text begins.
    """

    def __init__(
        self,
        pieces: Sequence[str],
        contributions: Sequence[bytes],
        special_ids: frozenset[int],
        leading: LeadingSpace,
        bos_id: int | None,
        eos_ids: tuple[int, ...],
        adds_bos: bool,
    ) -> None:
        """Take the tables as they are; `eos_ids[0]` is the tokenizer's `eos_id`."""
        self._pieces = pieces
        self._contributions = contributions
        self._special_ids = special_ids
        self._leading = leading
        self._bos_id = bos_id
        self._eos_ids = eos_ids
        self._adds_bos = adds_bos and bos_id is not None

    @property
    def vocab_size(self) -> int:
        """One more than the highest token id, special tokens included."""
        return len(self._pieces)

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text; None if there is none."""
        return self._bos_id

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text; None if there is none."""
        return self._eos_ids[0] if self._eos_ids else None

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """All tokens known to end a text or a turn, `eos_id` first."""
        return self._eos_ids

    @property
    def adds_bos(self) -> bool:
        """Whether `encode(add_bos=True)` prepends `bos_id`."""
        return self._adds_bos

    def beginning(self, add_bos: bool) -> list[int]:
        """The ids that an encoded text starts with: BOS or nothing."""
        return [self._bos_id] if add_bos and self._adds_bos and self._bos_id is not None else []

    def decode(self, ids: Sequence[int], skip_special: bool = True, at_start: bool = True) -> str:
        """Text of `ids`; special tokens are left out, or spelled if `skip_special` is False."""
        stream = self.stream(at_start, skip_special)
        return "".join([stream.push(token_id) for token_id in ids]) + stream.finish()

    def piece(self, token_id: int) -> str:
        """The vocabulary's own spelling of a token."""
        return self._pieces[token_id] if self._known(token_id) else ""

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token contributes in the middle of a text; none for a special token."""
        return self._contributions[token_id] if self._known(token_id) else b""

    def stream(self, at_start: bool = False, skip_special: bool = True) -> StreamDecoder:
        """Decode one token at a time; all pieces joined are `decode` with the same arguments."""
        bytes_of = self.token_bytes if skip_special else self._spelled_bytes
        return ByteStreamDecoder(bytes_of, self._leading, at_start)

    def _spelled_bytes(self, token_id: int) -> bytes:
        if token_id in self._special_ids:
            return self._pieces[token_id].encode()
        return self.token_bytes(token_id)

    def _known(self, token_id: int) -> bool:
        if token_id < 0:
            raise TokenizerError(
                f"token id {token_id}: expected 0 to {self.vocab_size - 1}; ids are not negative"
            )
        return token_id < len(self._pieces)
