"""SentencePiece models against the package itself, a tokenizer.json and llama.cpp's vectors."""

import random
import re

import pytest
import sentencepiece

from cl_llama.tokenizers.sentencepiece import SentencePieceTokenizer
from cl_llama.tokenizers.sentencepiece_proto import TextRules, read_text_rules
from tests.tokenizers.small_files import sentencepiece_model


def lines_of(path, count):
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    return random.Random(11).sample(lines, count)


def test_llama_cpp_vectors(shared_data, loaded):
    vectors = shared_data("gguf/ggml-vocab-llama-spm.gguf.inp").read_bytes().decode()
    texts = vectors.split("\n__ggml_vocab_test__\n")
    expected = shared_data("gguf/ggml-vocab-llama-spm.gguf.out").read_text().split("\n")
    assert len(texts) == len(expected) > 40
    for name in ("llama2", "tinyllama.json", "llama2.gguf"):
        tokenizer = loaded(name)
        for text, ids in zip(texts, expected, strict=True):
            assert tokenizer.encode(text, add_bos=False) == [int(i) for i in ids.split()], text


def test_model_agrees_with_tokenizer_json(shared_data, loaded):
    model, json_file = loaded("llama2"), loaded("tinyllama.json")
    assert model.vocab_size == json_file.vocab_size
    for name in ("bos_id", "eos_id", "eos_ids", "adds_bos"):
        assert getattr(model, name) == getattr(json_file, name)
    for i in range(model.vocab_size):
        assert model.piece(i) == json_file.piece(i)
        if i:  # the unknown token is special in one and shown as a surface in the other
            assert model.token_bytes(i) == json_file.token_bytes(i)
    texts = lines_of(shared_data("corpus/wiki.test.raw"), 300)
    texts += ["<s>x</s>\n<|user|>", " a", "  ", "\n\n", "\t", "▁x", "a\x00b", "日本語 😀"]
    for text in texts:
        for special in (False, True):
            ids = model.encode(text, special=special)
            assert ids == json_file.encode(text, special=special), text
            for at_start in (False, True):
                assert model.decode(ids, True, at_start) == json_file.decode(ids, True, at_start)


def test_decode_is_sentencepieces_own(shared_data, loaded):
    for name, file in (("llama2", "llama2_tokenizer.model"), ("tok512.model", "tok512.model")):
        own = sentencepiece.SentencePieceProcessor(model_proto=shared_data(file).read_bytes())
        rng = random.Random(1)
        for _ in range(300):
            # Text pieces only: the package shows each invalid byte, not each maximal subpart.
            ids = [rng.randrange(259, own.vocab_size()) for _ in range(rng.randrange(1, 9))]
            ids[0] = rng.choice([ids[0], own.piece_to_id("▁"), own.bos_id()])
            assert loaded(name).decode(ids) == own.decode(ids)


def test_unknown_surface(loaded):
    assert loaded("small.model").token_bytes(0) == " \u2047 ".encode()
    assert loaded("small.bin").token_bytes(0) == " \u2047 ".encode()


@pytest.mark.parametrize("dummy", [False, True])
@pytest.mark.parametrize("remove", [False, True])
def test_whitespace_rules(tmp_path, dummy, remove):
    data = sentencepiece_model(add_dummy_prefix=dummy, remove_extra_whitespaces=remove)
    assert read_text_rules(data) == TextRules(dummy, remove)
    tokenizer = SentencePieceTokenizer(data, tmp_path)
    own = sentencepiece.SentencePieceProcessor(model_proto=data)
    for text in ("the dog", "  the  dog ", " ", "\n"):
        ids = tokenizer.encode(text, add_bos=False)
        assert ids == own.encode(text)
        assert tokenizer.decode(ids) == own.decode(ids)
        assert tokenizer.decode(ids) == (re.sub(" +", " ", text).strip(" ") if remove else text)


def test_a_model_without_bos_adds_none(tmp_path):
    tokenizer = SentencePieceTokenizer(sentencepiece_model(bos_id=-1), tmp_path)
    assert tokenizer.bos_id is None and not tokenizer.adds_bos
    assert tokenizer.encode("the") == tokenizer.encode("the", add_bos=False)


def test_control_tokens_of_chat_models(tmp_path):
    data = sentencepiece_model(control_symbols=["[INST]", "<|im_end|>"])
    tokenizer = SentencePieceTokenizer(data, tmp_path)
    end = tokenizer.encode("<|im_end|>", add_bos=False, special=True)
    assert len(end) == 1 and tokenizer.eos_ids == (tokenizer.eos_id, *end)
    ids = tokenizer.encode("[INST]the[INST]", add_bos=False, special=True)
    assert ids[0] == ids[-1] and tokenizer.piece(ids[0]) == "[INST]"
    assert ids[1:-1] == tokenizer.encode("the", add_bos=False)
    assert "[INST]" in tokenizer.decode(tokenizer.encode("[INST]"))
