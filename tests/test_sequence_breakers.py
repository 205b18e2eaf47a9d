from pathlib import Path

import numpy as np
import pytest

from cl_llama.engine.params import SamplingParams
from cl_llama.llm import Llama
from cl_llama.sequence_breakers import SequenceBreakers
from cl_llama.tokenizers.tiktoken import TiktokenTokenizer
from tests.paged_model import PagedModel
from tests.tokenizers.small_files import tiktoken_file

TOKENIZER = TiktokenTokenizer(tiktoken_file(), Path("small.tiktoken"))  # id 65 is the byte 65
HELLO = TOKENIZER.encode("hello", add_bos=False)[0]
END = TOKENIZER.eos_ids[0]


@pytest.mark.parametrize(
    "strings", [("\n",), ("ab", "b"), ("aab",), ("é", "ell"), ("lox", "oh"), ("<|end_of_text|>",)]
)
def test_a_breaker_is_found_where_it_ends(strings: tuple[str, ...]):
    random = np.random.default_rng(3)
    pool = [*"abéx\n".encode(), HELLO, END]
    for _ in range(30):
        ids = random.choice(pool, 25).tolist()
        breakers, text = SequenceBreakers(strings, TOKENIZER), b""
        for token_id in ids:
            piece = TOKENIZER.token_bytes(token_id) or b"<|end_of_text|>"
            # Of the text's endings, one for each byte of the token, one ends with a breaker.
            ends = [text + piece[: n + 1] for n in range(len(piece))]
            found = any(end.endswith(s.encode()) for end in ends for s in strings)
            assert breakers.read(token_id) is found
            assert breakers.holds(token_id) is any(s.encode() in piece for s in strings)
            text += piece


def test_without_breakers_nothing_breaks():
    breakers = SequenceBreakers((), TOKENIZER)
    assert not breakers.read(ord("\n")) and not breakers.holds(ord("\n"))


def test_requests_break_their_repetitions_at_the_strings():
    """A prompt that repeats itself: DRY changes what follows, unless a breaker stands before."""

    def text(llm: Llama, prompt: str, **settings: object) -> list[int]:
        params = SamplingParams(max_new_tokens=1, temperature=0.0, **settings)
        return llm.generate(prompt, params).token_ids

    with Llama(PagedModel(vocab_size=TOKENIZER.vocab_size), TOKENIZER) as llm:
        loop = "abcdef" * 3
        best = text(llm, loop)
        # The model would go on with its best token; here it repeats a longer and longer text.
        bias = {ord("a"): 12.0}
        assert best != [ord("a")] == text(llm, loop, logit_bias=bias)
        dry = {"dry_multiplier": 1.0, "dry_base": 2.0, "logit_bias": bias}
        assert text(llm, loop, **dry) != [ord("a")]
        assert text(llm, loop, dry_sequence_breakers="ef", **dry) == [ord("a")]
        assert text(llm, loop, dry_sequence_breakers="a", **dry) == [ord("a")]
        assert text(llm, loop, dry_sequence_breakers=(), **dry) != [ord("a")]
