"""llama2.c's `tokenizer.bin`: a BPE vocabulary with scores, read and applied without packages.

The file, little-endian: int32 length of the longest token in bytes; then to the end of the file,
for each token, float32 score, int32 length, that many bytes. Ids 0, 1 and 2 are unknown, BOS and
EOS; ids 3 to 258 are the bytes, spelled <0x00> to <0xFF>.
"""

import heapq
import math
import struct
from pathlib import Path

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers.bytewise import BytewiseTokenizer
from cl_llama.tokenizers.plaintext import valid_unicode
from cl_llama.tokenizers.special import SpecialSplitter
from cl_llama.tokenizers.streaming import LeadingSpace

BOS_ID, EOS_ID = 1, 2
SPECIAL = {"<s>": BOS_ID, "</s>": EOS_ID}
UNKNOWN_ID, UNKNOWN_SURFACE = 0, " \u2047 ".encode()  # shown as SentencePiece does
FIRST_BYTE_ID = 3
FIRST_TEXT_ID = FIRST_BYTE_ID + 256
MERGE_FLOOR = -1e10  # scores at or below it never merge


class Llama2cTokenizer(BytewiseTokenizer):
    """The tokenizer of llama2.c's run.c: the same ids, in O(n log n) instead of O(n²).

    These models saw BOS, and no EOS, between two texts, so both end one. With `special=True` every
    plain part between two special tokens gets a dummy space, as in SentencePiece's case.
    """

    def __init__(self, data: bytes, path: Path) -> None:
        """Load from the file's content; `path` is for messages only.

        Raises `TokenizerError` if a record is cut off or impossible, or byte tokens are missing.
        """
        tokens, scores = read_vocabulary(data, path)
        self._scores = scores
        # What text may become: not the special tokens, nor the bytes' spellings.
        self._ids = {tokens[i]: i for i in reversed(range(FIRST_TEXT_ID, len(tokens))) if tokens[i]}
        names = {token_id: name for name, token_id in SPECIAL.items()}
        super().__init__(
            pieces=[
                names.get(i) or token.decode("utf-8", "backslashreplace")
                for i, token in enumerate(tokens)
            ],
            contributions=[_contribution(i, token) for i, token in enumerate(tokens)],
            special_ids=frozenset(names),
            leading=LeadingSpace.ONE,
            bos_id=BOS_ID,
            eos_ids=(EOS_ID, BOS_ID),
            adds_bos=True,
        )
        self._tokens = tokens
        self._splitter = SpecialSplitter(SPECIAL)

    def encode(self, text: str, add_bos: bool = True, special: bool = False) -> list[int]:
        """Ids of `text`; see `Tokenizer.encode`."""
        text = valid_unicode(text)
        ids = self.beginning(add_bos)
        for part in self._splitter.split(text) if special else filter(None, (text,)):
            ids += [part] if isinstance(part, int) else self._merge(self._characters(part))
        return ids

    def _characters(self, text: str) -> list[int]:
        """Ids of a dummy space and of each character, or of its bytes if it has none."""
        ids: list[int] = []
        for character in " " + text:
            data = character.encode()
            token_id = self._ids.get(data)
            ids += [FIRST_BYTE_ID + byte for byte in data] if token_id is None else [token_id]
        return ids

    def _merge(self, ids: list[int]) -> list[int]:
        """Merge neighbours while a pair is a token: the best score first, then the leftmost.

        The symbols are a doubly linked list over their first positions; a heap holds the pairs
        that were mergeable when they became neighbours, and an entry whose two symbols have
        changed since is skipped.
        """
        end = len(ids)
        following = list(range(1, end + 1))
        previous = list(range(-1, end - 1))
        known: dict[tuple[int, int], tuple[float, int] | None] = {}
        heap: list[tuple[float, int, int, int, int]] = []

        def consider(left: int, right: int) -> tuple[float, int, int, int, int] | None:
            pair = ids[left], ids[right]
            if pair not in known:
                known[pair] = self._merged(*pair)
            merge = known[pair]
            return merge and (merge[0], left, merge[1], *pair)

        for left in range(end - 1):
            if (entry := consider(left, left + 1)) is not None:
                heap.append(entry)
        heapq.heapify(heap)
        while heap:
            _, left, merged, left_id, right_id = heapq.heappop(heap)
            right = following[left]
            if ids[left] != left_id or right >= end or ids[right] != right_id:
                continue
            ids[left], ids[right] = merged, -1
            following[left] = after = following[right]
            if after < end:
                previous[after] = left
                if (entry := consider(left, after)) is not None:
                    heapq.heappush(heap, entry)
            before = previous[left]
            if before >= 0 and (entry := consider(before, left)) is not None:
                heapq.heappush(heap, entry)
        return [token_id for token_id in ids if token_id >= 0]

    def _merged(self, left: int, right: int) -> tuple[float, int] | None:
        """The negated score and the id of two tokens' concatenation, if it is a token."""
        token_id = self._ids.get(self._tokens[left] + self._tokens[right])
        if token_id is None or self._scores[token_id] <= MERGE_FLOOR:
            return None
        return -self._scores[token_id], token_id


def read_vocabulary(data: bytes, path: Path) -> tuple[list[bytes], list[float]]:
    """Every token and its score. Raises `TokenizerError` if the content is damaged."""

    def damaged(reason: str) -> TokenizerError:
        return TokenizerError(
            f"{path}: expected llama2.c's tokenizer.bin, got {reason}; fetch or export it again"
        )

    if len(data) < 4:
        raise damaged(f"{len(data)} bytes")
    (longest,) = struct.unpack_from("<i", data)
    tokens: list[bytes] = []
    scores: list[float] = []
    position = 4
    while position < len(data):
        if len(data) - position < 8:
            raise damaged(f"a file that is cut off in token {len(tokens)}")
        score, length = struct.unpack_from("<fi", data, position)
        position += 8
        if math.isnan(score) or not 0 <= length <= longest:
            raise damaged(
                f"score {score} and length {length} for token {len(tokens)} (longest: {longest})"
            )
        if length > len(data) - position:
            raise damaged(f"a file that is cut off in token {len(tokens)}")
        tokens.append(data[position : position + length])
        scores.append(score)
        position += length
    for byte in range(256):
        expected = f"<0x{byte:02X}>".encode()
        token_id = FIRST_BYTE_ID + byte
        if tokens[token_id : token_id + 1] != [expected]:
            raise damaged(f"no {expected.decode()} as token {token_id} of {len(tokens)}")
    return tokens, scores


def _contribution(token_id: int, token: bytes) -> bytes:
    if token_id >= FIRST_TEXT_ID:
        return token
    if token_id >= FIRST_BYTE_ID:
        return bytes([token_id - FIRST_BYTE_ID])
    return UNKNOWN_SURFACE if token_id == UNKNOWN_ID else b""
