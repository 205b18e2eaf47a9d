"""The vocabulary in a GGUF file's metadata, and the tokenizer that it describes.

The keys are those of the specification (gguf.md of https://github.com/ggml-org/ggml); what is
assumed where one is absent is what llama.cpp assumes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_llama.checkpoints.gguf_header import GgufArray, read_gguf_header
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.errors import CheckpointError, TokenizerError
from cl_llama.tokenizers.protocol import Tokenizer
from cl_llama.tokenizers.special import TextEnds, end_ids

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""What a token is, in `token_type`; SentencePiece numbers them alike."""

_KINDS = ("llama", "gpt2")


@dataclass(frozen=True)
class GgufVocabulary:
    """The metadata's entries about tokens, without their common beginning "tokenizer.ggml."."""

    path: Path
    entries: Mapping[str, Any]
    pieces: list[str]
    types: list[int] | None
    """One for each piece; None in old files."""

    def error(self, what: str) -> TokenizerError:
        """The error for a vocabulary that makes no sense."""
        return TokenizerError(f"{self.path}: {what}; the file's vocabulary is damaged")

    def token_id(self, key: str, default: int | None = None) -> int | None:
        """The id under a key; None for -1 and for ids that no piece has."""
        value = self.entries.get(key, default)
        if value is None:
            return None
        if type(value) is not int:
            raise self.error(f"tokenizer.ggml.{key} is {value!r:.80}, expected a token id")
        return value if 0 <= value < len(self.pieces) else None

    def flag(self, key: str, default: bool) -> bool:
        """The truth value under a key."""
        value = self.entries.get(key, default)
        if not isinstance(value, bool):
            raise self.error(f"tokenizer.ggml.{key} is {value!r:.80}, expected true or false")
        return value

    def strings(self, key: str) -> list[str]:
        """The list of texts under a key."""
        return _array(self.path, self.entries, key).strings()

    def numbers(self, key: str, kind: str) -> list[Any]:
        """A number for each piece, of NumPy's kind "i" or "f"."""
        array = _array(self.path, self.entries, key).numbers()
        if len(array) != len(self.pieces) or array.dtype.kind not in kind:
            raise self.error(
                f"tokenizer.ggml.{key} has {len(array)} values of {array.dtype} for"
                f" {len(self.pieces)} tokens"
            )
        return list(array.tolist())

    def ends(self, bos_id: int | None, eos_id: int | None, adds_bos: bool) -> TextEnds:
        """The tokens around a text; the ids are those where the file names none."""
        bos_id = self.token_id("bos_token_id", bos_id)
        eos_id = self.token_id("eos_token_id", eos_id)
        turns = (self.token_id("eot_token_id"), self.token_id("eom_token_id"))
        symbols = {
            self.pieces[i]: i
            for i, kind in enumerate(self.types or ())
            if kind in (CONTROL, USER_DEFINED)
        }
        found = (eos_id, *turns, *end_ids(None, symbols))
        ids = tuple(dict.fromkeys(i for i in found if i is not None))
        return TextEnds(bos_id, ids, self.flag("add_bos_token", adds_bos))


def load_gguf(path: Path) -> Tokenizer:
    """The tokenizer that a GGUF file's vocabulary describes.

    Raises `TokenizerError` if the file has none, it is damaged or of an unsupported kind.
    """
    try:
        file = MappedFile(path)
        try:
            metadata = read_gguf_header(file).metadata
            prefix = "tokenizer.ggml."
            entries = {
                key.removeprefix(prefix): value
                for key, value in metadata.items()
                if key.startswith(prefix)
            }
            return _tokenizer(path, entries)
        finally:
            file.close()
    except CheckpointError as error:
        raise TokenizerError(str(error)) from error


def _tokenizer(path: Path, entries: Mapping[str, Any]) -> Tokenizer:
    kind = entries.get("model")
    if kind is None:
        raise TokenizerError(
            f"{path}: this GGUF file has no vocabulary; name the tokenizer's own file"
        )
    if kind not in _KINDS:
        raise TokenizerError(
            f"{path}: tokenizer.ggml.model is {kind!r:.80}, supported are {', '.join(_KINDS)}; name"
            " the model's tokenizer.json with tokenizer_path"
        )
    pieces = _array(path, entries, "tokens").strings()
    vocabulary = GgufVocabulary(path, entries, pieces, None)
    if not pieces:
        raise vocabulary.error("tokenizer.ggml.tokens is empty")
    if "token_type" in entries:
        types = vocabulary.numbers("token_type", "iu")
        vocabulary = GgufVocabulary(path, entries, pieces, types)
    if kind == "llama":
        from cl_llama.tokenizers.gguf_spm import load_gguf_spm

        return load_gguf_spm(vocabulary)
    from cl_llama.tokenizers.gguf_bpe import load_gguf_bpe

    return load_gguf_bpe(vocabulary)


def _array(path: Path, entries: Mapping[str, Any], key: str) -> GgufArray:
    value = entries.get(key)
    if not isinstance(value, GgufArray):
        found = "is missing" if value is None else f"is {value!r:.80}"
        raise TokenizerError(f"{path}: tokenizer.ggml.{key} {found}, expected an array")
    return value
