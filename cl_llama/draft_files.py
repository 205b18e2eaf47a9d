"""A draft model's files: they are checked against the model's, planned for and loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cl_llama.checkpoints import open_checkpoint, resolve_model
from cl_llama.errors import DeviceMemoryError, TokenizerError
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.decoder import Decoder
from cl_llama.models.loading import load_model, plan_model
from cl_llama.models.memory import MemoryPlan
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.weights import ModelTensors, map_tensors
from cl_llama.opencl.runtime import Runtime
from cl_llama.tokenizers import Tokenizer, load_tokenizer

_MOST_EXTRA_TOKENS = 256
"""Tokens that one vocabulary may have after the last of the other's, as chat models add them."""


@dataclass(frozen=True, eq=False)
class DraftFiles:
    """An opened checkpoint of a draft model."""

    name: str
    config: ModelConfig
    tensors: ModelTensors

    def plan(
        self, runtime: Runtime, max_seq_len: int, kv_type: Literal["f16", "q8_0"]
    ) -> MemoryPlan:
        """The memory that it takes beside a model of texts of `max_seq_len` tokens.

        Raises:
            DeviceMemoryError: it does not fit the device even alone.
        """
        positions = min(max_seq_len, self.config.max_seq_len)
        try:
            return plan_model(
                self.config, self.tensors, runtime, max_seq_len=positions, kv_type=kv_type
            )
        except DeviceMemoryError as error:
            raise DeviceMemoryError(f"draft model: {error}") from None

    def load(
        self, runtime: Runtime, memory: MemoryPlan, positions: int, *, use_mmap: bool
    ) -> Decoder:
        """Load it as planned, its cache cut to the positions that the model's has."""
        blocks = min(memory.num_blocks, -(-positions // Decoder.block_size))
        return load_model(
            self.config,
            self.tensors,
            runtime,
            precision="fast",
            use_mmap=use_mmap,
            memory=replace(memory, num_blocks=blocks),
        )


@contextmanager
def open_draft(
    path_or_repo_id: str | Path,
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    *,
    progress: bool = False,
) -> Iterator[DraftFiles]:
    """Open a draft model for a model of this configuration and tokenizer.

    Raises:
        CheckpointError: what opening a model raises.
        TokenizerError: its vocabulary is not the model's.
    """
    name = str(path_or_repo_id)
    with open_checkpoint(resolve_model(name, progress=progress)) as checkpoint:
        draft_config = config_from_checkpoint(checkpoint)
        file = checkpoint.tokenizer_path
        own = None if file is None else load_tokenizer(file)
        check_vocabularies(name, config, tokenizer, draft_config, own)
        yield DraftFiles(name, draft_config, map_tensors(draft_config, checkpoint))


def check_vocabularies(
    name: str,
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    draft_config: ModelConfig,
    draft_tokenizer: Tokenizer | None,
) -> None:
    """Raise TokenizerError unless a draft model's tokens are the model's.

    Without both tokenizers only the sizes can tell. Rows of padding after the last token do not
    count, nor do some tokens that one vocabulary has more.
    """
    advice = "a draft model needs the vocabulary of the model itself"
    if tokenizer is None or draft_tokenizer is None:
        if config.vocab_size != draft_config.vocab_size:
            raise TokenizerError(
                f"draft model {name}: it knows {draft_config.vocab_size} tokens, the model "
                f"{config.vocab_size}; {advice}"
            )
        return
    sizes = tokenizer.vocab_size, draft_tokenizer.vocab_size
    if max(sizes) - min(sizes) > _MOST_EXTRA_TOKENS:
        raise TokenizerError(
            f"draft model {name}: its tokenizer has {sizes[1]} tokens, the model's {sizes[0]}; "
            f"{advice}"
        )
    for token_id in range(min(sizes)):
        expected = tokenizer.token_bytes(token_id)
        found = draft_tokenizer.token_bytes(token_id)
        # Files of one vocabulary differ in which tokens they call special, without bytes.
        if expected and found and expected != found:
            raise TokenizerError(
                f"draft model {name}: its token {token_id} is {_shown(found)}, the model's is "
                f"{_shown(expected)}; {advice}"
            )


def _shown(token: bytes) -> str:
    return repr(token.decode("utf-8", "replace"))
