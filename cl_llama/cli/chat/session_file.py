"""A conversation in a file: messages, settings, and the tokens that they are to the model.

JSON: "format" and "version"; "model", its name; "template" and "tokenizer", digests that say
whether another model's tokens would be the same; "sampling", the fields of SamplingParams that are
not their defaults; "messages"; "prompt" (the rendered text), "answer", "token_ids" and "marks", as
`PromptTokens` has them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cl_llama.chat import Message
from cl_llama.convert.whole_file import whole_file
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import RequestError
from cl_llama.prompt_tokens import PromptTokens
from cl_llama.tokenizers import Tokenizer

_FORMAT, _VERSION = "cl-llama chat", 1
_MAX_BYTES = 256 << 20
"""Far above any context; a larger file is something else."""


@dataclass(frozen=True)
class SessionFile:
    """What a file holds."""

    model: str
    template: str
    """SHA-256 of the chat template."""
    tokenizer: str
    """SHA-256 of the vocabulary, as `vocabulary_digest` has it."""
    sampling: SamplingParams
    messages: list[Message]
    tokens: PromptTokens


def vocabulary_digest(tokenizer: Tokenizer) -> str:
    """SHA-256 of all pieces: tokenizers with the same one mean the same by an id."""
    pieces = [tokenizer.piece(token_id) for token_id in range(tokenizer.vocab_size)]
    return hashlib.sha256(json.dumps(pieces).encode()).hexdigest()


def write_session(path: Path, session: SessionFile) -> None:
    """Write the file, which takes its place only when it is whole.

    Raises RequestError if it cannot be written.
    """
    sampling = {
        field.name: value
        for field in fields(SamplingParams)
        if (value := getattr(session.sampling, field.name)) != getattr(_DEFAULTS, field.name)
    }
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "model": session.model,
        "template": session.template,
        "tokenizer": session.tokenizer,
        "sampling": sampling,
        "messages": [dict(message) for message in session.messages],
        "prompt": session.tokens.text,
        "answer": session.tokens.answer,
        "marks": session.tokens.marks,
        "token_ids": session.tokens.ids,
    }
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    try:
        with whole_file(path.resolve()) as file:
            file.write(f"{{{lines}}}\n".encode())
    except OSError as error:
        raise RequestError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_session(path: Path) -> SessionFile:
    """What the file holds; RequestError for one that is none, or damaged."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RequestError(f"{path}: too large for a conversation")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or f"not JSON: {error}"
        raise RequestError(f"{path}: cannot be read as a conversation ({reason})") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise RequestError(f"{path}: it holds no conversation of cl-llama chat; /save writes such")
    if content.get("version") != _VERSION:
        raise RequestError(
            f"{path}: version {content.get('version')!r} of a conversation, this cl-llama reads "
            f"{_VERSION}; save it with the cl-llama that wrote it, or read it with a newer one"
        )
    return _session(content, f"{path}: a damaged conversation")


_DEFAULTS = SamplingParams()


def _session(content: Mapping[str, Any], what: str) -> SessionFile:
    for key in ("model", "template", "tokenizer", "prompt", "answer"):
        _demand(isinstance(content.get(key), str), f'{what}: "{key}" must be text')
    messages: Any = content.get("messages")
    _demand(
        isinstance(messages, list) and all(map(_is_message, messages)),
        f'{what}: "messages" must be a list of {{"role", "content"}}',
    )
    sampling: Any = content.get("sampling")
    _demand(isinstance(sampling, dict), f'{what}: "sampling" must be an object')
    try:
        bias = {int(key): value for key, value in sampling.pop("logit_bias", {}).items()}
        params = SamplingParams(**sampling, logit_bias=bias)
    except (TypeError, ValueError, AttributeError, RequestError) as error:
        raise RequestError(f'{what}: "sampling": {error}') from None
    ids: Any = content.get("token_ids")
    marks: Any = content.get("marks")
    _demand(_are_counts(ids), f'{what}: "token_ids" must be a list of token ids')
    _demand(
        isinstance(marks, list) and all(_are_counts(mark) and len(mark) == 2 for mark in marks),
        f'{what}: "marks" must be a list of pairs',
    )
    text = content["prompt"]
    ends = [[0, 0], *marks]
    _demand(
        all(a[0] <= b[0] and a[1] <= b[1] for a, b in zip(ends, marks, strict=False))
        and ends[-1][0] == len(text)
        and ends[-1][1] <= len(ids),
        f'{what}: "marks" must ascend to the end of the prompt',
    )
    tokens = PromptTokens(text, tuple(ids), content["answer"], tuple((a, b) for a, b in marks))
    return SessionFile(
        content["model"], content["template"], content["tokenizer"], params, messages, tokens
    )


def _demand(fulfilled: bool, message: str) -> None:
    if not fulfilled:
        raise RequestError(message)


def _is_message(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.get("role") in ("system", "user", "assistant")
        and isinstance(entry.get("content"), str)
    )


def _are_counts(entry: Any) -> bool:
    return isinstance(entry, list) and all(type(item) is int and item >= 0 for item in entry)
