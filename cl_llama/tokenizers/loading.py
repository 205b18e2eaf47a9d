"""Which tokenizer a file holds, by its content, and which file of a folder is the tokenizer."""

import re
import struct
from pathlib import Path

from cl_llama.checkpoints.gguf import find_gguf
from cl_llama.errors import CheckpointError, TokenizerError
from cl_llama.tokenizers.protocol import Tokenizer

FOLDER_ORDER = ("tokenizer.json", "tokenizer.model", "tokenizer.bin", "vocab.json")

_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\s")


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer in a file, or in a folder's tokenizer.json, .model, .bin or GGUF model.

    A folder's are looked for in this order. A file's kind is known by its content, not by its name.
    Raises `TokenizerError` if there is no tokenizer at `path` or it is damaged.
    """
    file = _tokenizer_file(Path(path))
    try:
        with file.open("rb") as opened:
            is_gguf = opened.read(4) == b"GGUF"
        if is_gguf:  # a model's file, too large to be read as a whole
            from cl_llama.tokenizers.gguf import load_gguf

            return load_gguf(file)
        data = file.read_bytes()
    except OSError as error:
        raise TokenizerError(
            f"{file}: expected a tokenizer file, could not read it ({error.strerror})"
        ) from error
    # Only the library that this kind needs is imported: a start waits for it.
    if data.lstrip()[:1] == b"{":
        from cl_llama.tokenizers.vocab_merges import is_vocabulary, load_vocab_merges

        if is_vocabulary(data):
            return load_vocab_merges(data, file)
        from cl_llama.tokenizers.hf import load_hf

        return load_hf(data, file)
    if _RANK_LINE.match(data):
        from cl_llama.tokenizers.tiktoken import TiktokenTokenizer

        return TiktokenTokenizer(data, file)
    if _is_sentencepiece(data):
        from cl_llama.tokenizers.sentencepiece import SentencePieceTokenizer

        return SentencePieceTokenizer(data, file)
    if _is_llama2c(data):
        from cl_llama.tokenizers.llama2c import Llama2cTokenizer

        return Llama2cTokenizer(data, file)
    raise TokenizerError(
        f"{file}: expected a tokenizer (tokenizer.json, a SentencePiece or tiktoken model, "
        f"llama2.c's tokenizer.bin, or a GGUF file), got {_describe(data)}; "
        "name the tokenizer's own file"
    )


def _tokenizer_file(path: Path) -> Path:
    """`path` itself if it is a file, else the first of the names that a folder may hold."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise TokenizerError(f"{path}: expected a tokenizer file or a folder, found neither")
    for name in FOLDER_ORDER:
        if (path / name).is_file():
            return path / name
    try:
        model = find_gguf(path)
    except CheckpointError as error:
        raise TokenizerError(str(error)) from error
    if model is not None:
        return model
    raise TokenizerError(
        f"{path}: no tokenizer in this folder (looked for {', '.join(FOLDER_ORDER)}, *.gguf); "
        "name the tokenizer's file with tokenizer_path"
    )


def _is_sentencepiece(data: bytes) -> bool:
    """A protocol buffer whose first field is a piece (1) whose first field is its text (1)."""
    return data[:1] == b"\n" and data[2:3] == b"\n"


def _is_llama2c(data: bytes) -> bool:
    """A token length below 64 KiB, then a first token no longer than that."""
    if len(data) < 12:
        return False
    longest: int
    length: int
    longest, _, length = struct.unpack_from("<ifi", data)
    return 0 < longest < 1 << 16 and 0 <= length <= longest


def _describe(data: bytes) -> str:
    if not data:
        return "an empty file"
    return f"{len(data)} bytes of an unknown kind that start with {data[:8].hex(' ')}"
