"""tokenizer.json: the files beside it, and its decoders against the package's own."""

import json
import random

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers import load_tokenizer
from cl_llama.tokenizers.hf import WindowedHfTokenizer
from cl_llama.tokenizers.hf_rules import byte_level_bytes, byte_rules
from tests.tokenizers.small_files import added_token, byte_alphabet, bytelevel_json, spm_json


def load(folder, content, **beside):
    """The tokenizer of a folder with this tokenizer.json and these files beside it."""
    (folder / "tokenizer.json").write_text(json.dumps(content))
    for name, entries in beside.items():
        (folder / f"{name}.json").write_text(json.dumps(entries))
    return load_tokenizer(folder)


def without_template(content):
    return content | {"post_processor": None}


def streamed(stream, ids):
    return "".join([stream.push(i) for i in ids]) + stream.finish()


def test_template_says_whether_a_bos_is_added(tmp_path):
    tokenizer = load(tmp_path, bytelevel_json())
    assert tokenizer.piece(tokenizer.bos_id) == "<|begin_of_text|>" and tokenizer.adds_bos
    tokenizer = load(tmp_path, without_template(bytelevel_json()))
    assert tokenizer.piece(tokenizer.bos_id) == "<|begin_of_text|>" and not tokenizer.adds_bos
    assert tokenizer.encode("hello") == tokenizer.encode("hello", add_bos=False)


@pytest.mark.parametrize("adds", [False, True])
def test_config_overrides_the_template(tmp_path, adds):
    content = without_template(spm_json()) if adds else spm_json()
    config = {"bos_token": "<s>", "add_bos_token": adds}
    assert load(tmp_path, content, tokenizer_config=config).adds_bos is adds


def test_qwen_has_no_bos(tmp_path):
    content = without_template(bytelevel_json())
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    content["added_tokens"] = [added_token(262 + i, name) for i, name in enumerate(names)]
    config = {"bos_token": None, "eos_token": "<|endoftext|>", "add_bos_token": False}
    tokenizer = load(tmp_path, content, tokenizer_config=config)
    assert tokenizer.bos_id is None and not tokenizer.adds_bos
    assert tokenizer.eos_ids == (262, 264)
    config |= {"eos_token": {"content": "<|im_end|>", "special": True}}
    assert load(tmp_path, content, tokenizer_config=config).eos_ids == (264,)


def test_special_tokens_map_names_tokens_too(tmp_path):
    content = without_template(bytelevel_json())
    names = {"bos_token": "<|eot_id|>", "eos_token": {"content": "<|end_of_text|>"}}
    tokenizer = load(tmp_path, content, special_tokens_map=names)
    assert tokenizer.piece(tokenizer.bos_id) == "<|eot_id|>"
    tokenizer = load(tmp_path, content, tokenizer_config={"bos_token": "<|begin_of_text|>"})
    assert tokenizer.piece(tokenizer.bos_id) == "<|begin_of_text|>"
    assert [tokenizer.piece(i) for i in tokenizer.eos_ids] == ["<|end_of_text|>", "<|eot_id|>"]


def test_llama_3_arrangement(loaded):
    tokenizer = loaded("small-bytelevel.json")
    assert tokenizer.vocab_size == 266
    assert [tokenizer.piece(i) for i in tokenizer.eos_ids] == ["<|end_of_text|>", "<|eot_id|>"]
    ids = tokenizer.encode("hello w<|eot_id|><tool>", special=True)
    pieces = ["<|begin_of_text|>", "hello", "Ġw", "<|eot_id|>", "<tool>"]
    assert [tokenizer.piece(i) for i in ids] == pieces
    assert tokenizer.decode(ids) == "hello w<tool>"
    assert tokenizer.token_bytes(ids[2]) == b" w"
    assert tokenizer.decode(tokenizer.encode("日")) == "日"


def test_truncation_and_padding_are_switched_off(tmp_path):
    content = spm_json()
    content["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    content["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<unk>",
    }
    tokenizer = load(tmp_path, content)
    assert tokenizer.decode(tokenizer.encode("a long text")) == "a long text"
    assert 0 not in tokenizer.encode("a")


def test_byte_alphabet():
    assert [byte_level_bytes(character) for character in byte_alphabet()] == [
        bytes([byte]) for byte in range(256)
    ]
    for foreign in ("a b", "日", "\xad", "\x7f", "Ġ\u00a0"):  # not of the alphabet: plain text
        assert byte_level_bytes(foreign) == foreign.encode()


def test_decoding_is_the_packages_own(loaded, small_files, shared_data):
    for name in ("small-bytelevel.json", "small-spm.json", "tinyllama.json"):
        tokenizer = loaded(name)
        file = (
            shared_data("tinyllama-chat/tokenizer.json") if "tiny" in name else small_files / name
        )
        own = tokenizers.Tokenizer.from_file(str(file))
        rng = random.Random(2)
        valid = [
            i for i in range(tokenizer.vocab_size) if not tokenizer.token_bytes(i)[:1] >= b"\x80"
        ]
        for _ in range(300):
            ids = rng.choices(valid, k=rng.randrange(1, 10))
            assert tokenizer.decode(ids) == own.decode(ids)
            assert tokenizer.decode(ids, skip_special=False) == own.decode(ids, False)


@pytest.mark.parametrize("scheme", ["always", "never"])
def test_metaspace(tmp_path, scheme):
    vocab = [("<unk>", 0.0), ("▁", -2.0), ("▁▁", -2.5), ("▁a", -1.0), ("a", -3.0), ("b", -3.0)]
    own = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=False))
    own.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    own.decoder = decoders.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer = load(tmp_path, json.loads(own.to_str()))
    rng = random.Random(4)
    for _ in range(100):
        ids = rng.choices(range(len(vocab)), k=rng.randrange(1, 6))
        assert tokenizer.decode(ids) == own.decode(ids) == streamed(tokenizer.stream(True), ids)
        assert tokenizer.decode(ids, at_start=False) == "".join(
            tokenizer.piece(i).replace("▁", " ") for i in ids
        )


def test_decoders_that_need_their_neighbours(tmp_path):
    vocab = {"[UNK]": 0, "a": 1, "b": 2, "##b": 3, "##c": 4, "é": 5}
    own = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    own.decoder = decoders.WordPiece()
    own.add_special_tokens(["[SEP]"])
    tokenizer = load(tmp_path, json.loads(own.to_str()))
    assert isinstance(tokenizer, WindowedHfTokenizer)
    rng = random.Random(6)
    for _ in range(100):
        ids = rng.choices([1, 2, 3, 4, 5, 6], k=rng.randrange(1, 9))
        assert tokenizer.decode(ids) == own.decode(ids)
        for at_start in (False, True):
            for skip in (False, True):
                whole = tokenizer.decode(ids, skip, at_start)
                assert streamed(tokenizer.stream(at_start, skip), ids) == whole
    assert tokenizer.token_bytes(2) == b" b" and tokenizer.token_bytes(3) == b"b"
    assert tokenizer.token_bytes(6) == b"" == tokenizer.token_bytes(99)
    assert tokenizer.decode([1, 99, 4]) == "ac"
    with pytest.raises(TokenizerError, match="token id -1"):
        tokenizer.decode([-1])


def test_windows_hold_back_incomplete_characters(tmp_path):
    content = spm_json()
    content["decoder"]["decoders"].insert(
        0, {"type": "Replace", "pattern": {"String": "~"}, "content": "-"}
    )
    tokenizer = load(tmp_path, content)
    assert isinstance(tokenizer, WindowedHfTokenizer)
    ids = tokenizer.encode("the 日 x", add_bos=False)
    stream = tokenizer.stream(at_start=True)
    parts = [stream.push(i) for i in ids]
    assert "".join(parts) + stream.finish() == "the 日 x" and "日" in parts
    assert streamed(tokenizer.stream(), ids) == " the 日 x"
    stream = tokenizer.stream()
    assert stream.push(3 + 0xE6) == "" and stream.finish() == "\ufffd" and stream.finish() == ""


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        {"type": "CTC", "pad_token": "x", "word_delimiter_token": "|", "cleanup": True},
        {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": True},
        {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 2, "stop": 0},
            ],
        },
    ],
)
def test_other_decoders_have_no_byte_rules(decoder):
    assert byte_rules(decoder) is None


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        ("{", "expected JSON, could not read it"),
        ("[]", "expected a JSON object, got list"),
        ("[" * 100_000, "expected JSON"),
        ("\x00", "expected JSON"),
    ],
)
def test_damaged_config_beside(tmp_path, beside, reason):
    (tmp_path / "tokenizer.json").write_text(json.dumps(spm_json()))
    (tmp_path / "tokenizer_config.json").write_text(beside)
    with pytest.raises(TokenizerError, match=f"tokenizer_config.json: {reason}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "missing", ["model", "added_tokens", "decoder", "post_processor", "normalizer"]
)
def test_missing_parts(tmp_path, missing):
    content = spm_json()
    del content[missing]
    try:
        tokenizer = load(tmp_path, content)
    except TokenizerError as error:
        assert str(tmp_path / "tokenizer.json") in str(error) and "\n" not in str(error)
    else:
        assert missing != "model"
        tokenizer.decode(tokenizer.encode("the text"))


def test_impossible_ids(tmp_path):
    content = spm_json()
    content["model"]["vocab"]["z"] = 4_000_000_000
    with pytest.raises(TokenizerError, match="highest token id is 4000000000"):
        load(tmp_path, content)
    content = spm_json()
    content["post_processor"]["special_tokens"]["<s>"]["ids"] = [70_000]
    with pytest.raises(TokenizerError, match="template's 70000"):
        load(tmp_path, content)


def test_template_without_its_token_does_not_panic(tmp_path):
    content = spm_json()
    content["post_processor"]["special_tokens"] = {}
    try:
        load(tmp_path, content).encode("the")
    except TokenizerError as error:
        assert "\n" not in str(error)
