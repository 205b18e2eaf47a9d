"""SentencePiece models (Llama 1 and 2, Mistral, TinyLlama), through the sentencepiece package."""

from pathlib import Path

import sentencepiece

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers.bytewise import BytewiseTokenizer
from cl_llama.tokenizers.plaintext import valid_unicode
from cl_llama.tokenizers.sentencepiece_proto import TextRules, read_text_rules
from cl_llama.tokenizers.special import END_NAMES, SpecialSplitter, TextEnds, end_ids
from cl_llama.tokenizers.streaming import LeadingSpace

SPACE = "▁"


class SentencePieceTokenizer(BytewiseTokenizer):
    """A SentencePiece vocabulary with the semantics of Meta's and llama.cpp's use of it.

    With `special=True` every plain part between two special tokens is encoded as a text of its
    own, with a dummy space in front, as llama.cpp and Hugging Face's legacy mode do.
    """

    def __init__(self, data: bytes, path: Path, ends: TextEnds | None = None) -> None:
        """Load from the file's content; `path` is for messages only.

        `ends`: the tokens around a text; None: those that the model itself names, with a BOS.
        Raises `TokenizerError` if the content is not a whole SentencePiece model.
        """
        try:
            model = sentencepiece.SentencePieceProcessor(model_proto=data)
            pieces = [model.id_to_piece(i) for i in range(model.vocab_size())]
            rules = read_text_rules(data)
        except (RuntimeError, ValueError) as error:  # UnicodeDecodeError is a ValueError
            reason = " ".join(str(error).split())
            raise TokenizerError(
                f"{path}: expected a SentencePiece model, got a damaged one ({reason}); "
                "fetch the file again"
            ) from error
        self._model = model
        control = {
            piece: i
            for i, piece in enumerate(pieces)
            # Gemma's ends of turns are symbols that a user defines, not control tokens.
            if model.is_control(i) or (piece in END_NAMES and ends is None)
        }
        if ends is None:
            bos_id = model.bos_id() if model.bos_id() >= 0 else None
            eos_id = model.eos_id() if model.eos_id() >= 0 else None
            ends = TextEnds(bos_id, end_ids(eos_id, control), adds_bos=True)
        super().__init__(
            pieces=pieces,
            contributions=[_contribution(model, i, piece, rules) for i, piece in enumerate(pieces)],
            special_ids=frozenset(control.values()),
            leading=_leading_space(rules),
            bos_id=ends.bos_id,
            eos_ids=ends.eos_ids,
            adds_bos=ends.adds_bos,
        )
        self._splitter = SpecialSplitter(control)

    def encode(self, text: str, add_bos: bool = True, special: bool = False) -> list[int]:
        """Ids of `text`; see `Tokenizer.encode`."""
        text = valid_unicode(text)
        ids = self.beginning(add_bos)
        for part in self._splitter.split(text) if special else (text,):
            ids += [part] if isinstance(part, int) else self._model.encode(part)
        return ids


def _contribution(
    model: sentencepiece.SentencePieceProcessor, token_id: int, piece: str, rules: TextRules
) -> bytes:
    if model.is_control(token_id):
        return b""
    if model.is_byte(token_id):
        return bytes([int(piece[3:5], 16)])
    if model.is_unknown(token_id):
        return rules.unknown_surface
    return piece.replace(SPACE, " ").encode()


def _leading_space(rules: TextRules) -> LeadingSpace:
    if rules.remove_extra_whitespaces:
        return LeadingSpace.ALL
    return LeadingSpace.ONE if rules.add_dummy_prefix else LeadingSpace.KEEP
