"""A model without OpenCL that gives the answers it is told to give, byte by byte."""

import threading

import numpy as np

from cl_llama.chat import ChatTemplate
from cl_llama.chat.builtin import BUILTIN
from cl_llama.llm import Llama
from cl_llama.models.batch import Batch
from tests.paged_model import NumpyLogits, config
from tests.server.openai.byte_model import EOS, FIRST_SPECIAL, SPECIALS, VOCAB_SIZE, ByteTokenizer

ASSISTANT = b"<|im_start|>assistant\n"
USER = b"<|im_start|>user\n"
BEGIN = config().bos_id
"""What an empty prompt becomes."""
UNKNOWN = "I was told nothing about that."
PATIENCE = 60.0


class Script:
    """What the model says: `answers` by a chat's last question, or by the beginning of a text."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.prompts: list[str] = []
        """What each answer began with."""
        self._pause_after: int | None = None
        self._changed = threading.Condition()

    def pause_after(self, length: int | None) -> None:
        """Of an answer that is longer, only so many bytes come; None: all of it."""
        with self._changed:
            self._pause_after = length
            self._changed.notify_all()

    def _wait(self, said: int) -> None:
        def may_go_on() -> bool:
            return self._pause_after is None or said < self._pause_after

        with self._changed:
            assert self._changed.wait_for(may_go_on, PATIENCE), "nobody let the answer go on"

    def next_id(self, tokens: list[int]) -> int:
        begins = tokens[0] == BEGIN
        text = b"".join(
            bytes([token]) if token < FIRST_SPECIAL else SPECIALS[token - FIRST_SPECIAL].encode()
            for token in tokens[begins:]
        )
        answer, said = self._place(text)
        if not said:
            self.prompts.append(text.decode())
        self._wait(len(said))
        return answer[len(said)] if len(said) < len(answer) else EOS

    def _place(self, text: bytes) -> tuple[bytes, bytes]:
        """The answer that is being given, and how much of it has been."""
        if ASSISTANT in text:
            before, _, said = text.rpartition(ASSISTANT)
            question = before.rpartition(USER)[2].partition(b"<|im_end|>")[0].decode()
            return self.answers.get(question, UNKNOWN).encode(), said
        begun = [key for key in self.answers if text.startswith(key.encode())]
        key = max(begun, key=len, default="")
        return self.answers.get(key, UNKNOWN).encode(), text[len(key.encode()) :]


class ScriptedModel:
    """Implements `models.batch.Model` over a script."""

    block_size = 16
    num_blocks = 512

    def __init__(self, script: Script) -> None:
        self.config = config(VOCAB_SIZE)
        self._script = script
        self._cache = np.full((self.num_blocks, self.block_size), -1)

    def forward(self, batch: Batch) -> NumpyLogits:
        rows = []
        for part in batch.slices:
            end = part.start + len(part.token_ids)
            slots = np.arange(end)
            at = part.block_table[slots // self.block_size], slots % self.block_size
            self._cache[at[0][part.start :], at[1][part.start :]] = part.token_ids
            for row in range(end - part.logits_rows, end):
                logits_V = np.zeros(VOCAB_SIZE, dtype=np.float32)
                logits_V[self._script.next_id(self._cache[at][: row + 1].tolist())] = 100.0
                rows.append(logits_V)
        return NumpyLogits(np.array(rows).reshape(-1, VOCAB_SIZE), [])


def scripted_llama(script: Script, *, chat: bool = True) -> Llama:
    """A model with room for 4,096 tokens; chat: whether it has a template."""
    template = ChatTemplate({"default": BUILTIN["chatml"]}) if chat else None
    return Llama(ScriptedModel(script), ByteTokenizer(), max_seq_len=4096, chat_template=template)
