"""The content of small tokenizer files, one maker for each kind."""

import base64
import io
import struct

import numpy as np
import sentencepiece

SENTENCES = [
    "Once upon a time there was a little girl named Lily. She loved to play outside.",
    "The quick brown fox jumps over the lazy dog, again and again!",
    "Größe, naïve café; 日本語 and 한국어 too.",
] * 3
BYTE_PIECES = [f"<0x{byte:02X}>" for byte in range(256)]


def sentencepiece_model(**options) -> bytes:
    """A BPE model with byte fallback, Llama 2's options by default."""
    content = io.BytesIO()
    settings = {
        "vocab_size": 360,
        "model_type": "bpe",
        "byte_fallback": True,
        "character_coverage": 0.99,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "num_threads": 1,
        "minloglevel": 3,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=content, **(settings | options)
    )
    return content.getvalue()


def llama2c_file(model: bytes) -> bytes:
    """A SentencePiece model as llama2.c exports it."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    names = {1: "\n<s>\n", 2: "\n</s>\n"}
    tokens = [
        names.get(i, processor.id_to_piece(i).replace("▁", " ")).encode()
        for i in range(processor.vocab_size())
    ]
    content = struct.pack("<i", max(map(len, tokens)))
    for i, token in enumerate(tokens):
        content += struct.pack("<fi", processor.get_score(i), len(token)) + token
    return content


def tiktoken_file() -> bytes:
    """All bytes and a few merges."""
    tokens = [bytes([byte]) for byte in range(256)]
    tokens += [b"he", b"ll", b"hell", b"hello", b" w", b"\xe6\x97", b"\xe6\x97\xa5"]
    lines = [base64.b64encode(token) + b" %d" % rank for rank, token in enumerate(tokens)]
    return b"\n".join(lines) + b"\n"


def byte_alphabet() -> list[str]:
    """GPT-2's character for each byte, worked out as its paper's code does."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += [*range(ord("®"), ord("ÿ") + 1)]
    characters, extra = [], 0
    for byte in range(256):
        characters.append(chr(byte if byte in printable else 256 + extra))
        extra += byte not in printable
    return characters


def added_token(token_id: int, content: str, special: bool = True) -> dict:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": content, "special": special, **flags}


def template(name: str, token_id: int) -> dict:
    first, text = (
        {"SpecialToken": {"id": name, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    )
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {name: {"id": name, "ids": [token_id], "tokens": [name]}},
    }


def bytelevel_json() -> dict:
    """Llama 3's arrangement: bytes, merges, special tokens after them, a template that adds BOS."""
    vocab = {character: i for i, character in enumerate(byte_alphabet())}
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("æ", "Ĺ")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    added = [added_token(len(vocab) + i, name) for i, name in enumerate(names)]
    added.append(added_token(len(vocab) + 3, "<tool>", special=False))
    split = {"Regex": r"\p{N}{1,3}| ?[^\s\p{N}]+|\s+"}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": split, "behavior": "Isolated", "invert": False},
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": False,
                },
            ],
        },
        "post_processor": {
            "type": "Sequence",
            "processors": [
                {
                    "type": "ByteLevel",
                    "add_prefix_space": True,
                    "trim_offsets": False,
                    "use_regex": True,
                },
                template(names[0], len(vocab)),
            ],
        },
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": vocab,
            "merges": [" ".join(pair) for pair in merges],
        },
    }


def spm_json() -> dict:
    """Llama 2's arrangement: ▁ for a space, one in front, bytes as <0xNN>."""
    vocab = {piece: i for i, piece in enumerate(["<unk>", "<s>", "</s>", *BYTE_PIECES])}
    for character in "▁abcdefghijklmnopqrstuvwxyz":
        vocab[character] = len(vocab)
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("▁", "▁")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(vocab[name], name) for name in ("<unk>", "<s>", "</s>")],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": template("<s>", 1),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocab,
            "merges": [" ".join(pair) for pair in merges],
        },
    }


def gemma_model() -> bytes:
    """Gemma's arrangement: no space in front, turns between symbols that any text may hold."""
    return sentencepiece_model(
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        eos_piece="<eos>",
        bos_piece="<bos>",
        add_dummy_prefix=False,
        user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "\n\n", "▁▁"],
    )


def gemma_json() -> dict:
    """The same as transformers spells it."""
    made = spm_json()
    names = {"<unk>": "<unk>", "<s>": "<bos>", "</s>": "<eos>"}
    vocab = {names.get(piece, piece): i for piece, i in made["model"]["vocab"].items()}
    for piece in ("<start_of_turn>", "<end_of_turn>", "\n"):
        vocab[piece] = len(vocab)
    added = ("<unk>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
    space = {"String": " "}
    return made | {
        "added_tokens": [added_token(vocab[name], name) for name in added],
        "normalizer": {"type": "Replace", "pattern": space, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": space,
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": template("<bos>", 1),
        "decoder": {"type": "Sequence", "decoders": made["decoder"]["decoders"][:3]},
        "model": made["model"] | {"vocab": vocab},
    }


def bytelevel_gguf() -> dict:
    """The metadata of a GGUF file with the tokens of `bytelevel_json`, a tool's not special."""
    source = bytelevel_json()
    added = {token["content"]: 3 if token["special"] else 4 for token in source["added_tokens"]}
    pieces = [*source["model"]["vocab"], *added]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": np.array([added.get(p, 1) for p in pieces], np.int32),
        "tokenizer.ggml.merges": source["model"]["merges"],
        "tokenizer.ggml.bos_token_id": pieces.index("<|begin_of_text|>"),
        "tokenizer.ggml.eos_token_id": pieces.index("<|end_of_text|>"),
    }


def spm_gguf(model: bytes) -> dict:
    """The metadata of a GGUF file with a SentencePiece model's vocabulary."""
    source = sentencepiece.SentencePieceProcessor(model_proto=model)
    every = range(source.vocab_size())
    kinds = {2: source.is_unknown, 3: source.is_control, 5: source.is_unused, 6: source.is_byte}
    types = [next((kind for kind, of in kinds.items() if of(i)), 1) for i in every]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [source.id_to_piece(i) for i in every],
        "tokenizer.ggml.scores": np.array([source.get_score(i) for i in every], np.float32),
        "tokenizer.ggml.token_type": np.array(types, np.int32),
        "tokenizer.ggml.bos_token_id": source.bos_id(),
        "tokenizer.ggml.eos_token_id": source.eos_id(),
    }
