"""What a chat is while it runs: the conversation, its settings, and what can be taken back."""

import secrets
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cl_llama.cli.chat.screen import show_answer
from cl_llama.cli.chat.statistics import describe, status_line
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import ClLlamaError, ContextFullError
from cl_llama.prompt_tokens import PromptTokens

if TYPE_CHECKING:
    from cl_llama.chat import Message
    from cl_llama.conversation import Answer
    from cl_llama.engine.request import RequestStats
    from cl_llama.engine.sampling import LogitMask
    from cl_llama.grammar import Grammar
    from cl_llama.llm import Llama

_SNAPSHOTS = 50


class Snapshot(NamedTuple):
    """A conversation as it was before a change."""

    messages: "list[Message]"
    tokens: PromptTokens


class ChatSession:
    """One chat; the commands work on it. Answers go to standard output, all else to stderr."""

    def __init__(
        self,
        llm: "Llama",
        *,
        model: str,
        params: SamplingParams,
        system: str | None,
        interactive: bool,
        quiet: bool,
    ) -> None:
        """model: what to call the model. params: their seed, if any, is the first answer's."""
        self.llm = llm
        self.model = model
        self.defaults = params
        """The settings that the chat began with."""
        self.params = params
        self.conversation = llm.conversation(system)
        self.grammar: Grammar | None = None
        """That every answer follows."""
        self.file: Path | None = None
        """The file that the conversation was last saved to, or loaded from."""
        self.stats: RequestStats | None = None
        """Of the last answer."""
        self.seed: int | None = None
        """That the last answer was drawn with."""
        self.snapshots: deque[Snapshot] = deque(maxlen=_SNAPSHOTS)
        self.draft = ""
        """What the next message begins with."""
        self.over = False
        self._answers = 0
        self._interactive = interactive
        self._quiet = quiet

    @property
    def system(self) -> str | None:
        """The system message, if there is one."""
        messages = self.conversation.messages
        return messages[0]["content"] if messages and messages[0]["role"] == "system" else None

    def say(self, text: str) -> None:
        """Have a message answered, and show the answer."""
        params = self._next_params()
        self._show(self.conversation.say(text, params, logit_mask=self._mask()))

    def retry(self) -> None:
        """Have the last message answered anew."""
        params = self._next_params()
        self._show(self.conversation.retry(params, logit_mask=self._mask()))

    def snapshot(self) -> None:
        """Remember the conversation; it is about to change."""
        conversation = self.conversation
        self.snapshots.append(Snapshot(list(conversation.messages), conversation.tokens))

    def undo(self) -> bool:
        """Take the last change back; False if there is none."""
        if not self.snapshots:
            return False
        self.conversation.messages, self.conversation.tokens = self.snapshots.pop()
        return True

    def change_params(self, values: Mapping[str, Any]) -> None:
        """Change sampling settings; RequestError for one that cannot be."""
        self.params = replace(self.params, **values)
        if "seed" in values:
            self._answers = 0

    def status(self) -> str:
        """Sizes and speed in one line; empty before the first answer, and if nobody wants it."""
        if self.stats is None or self._quiet:
            return ""
        return status_line(self.stats, len(self.conversation.tokens.ids), self.llm.max_seq_len)

    def statistics(self) -> list[str]:
        """All that is known of the last answer, and how full the context is."""
        lines = [] if self.stats is None else [*describe(self.stats), f"seed      {self.seed}"]
        conversation = self.conversation
        lines.append(
            f"context   {len(conversation.tokens.ids)} of {self.llm.max_seq_len} tokens, "
            f"{len(conversation.messages)} messages"
        )
        return lines

    def take_draft(self) -> str:
        """What the next message begins with, once."""
        draft, self.draft = self.draft, ""
        return draft

    def note(self, text: str) -> None:
        """Tell what is not an answer, unless nobody wants it."""
        if not self._quiet:
            self.tell(text)

    def tell(self, text: str) -> None:
        """Tell what was asked for."""
        print(text, file=sys.stderr, flush=True)

    def complain(self, error: ClLlamaError) -> None:
        """Tell a person what went wrong; the chat goes on."""
        line = " ".join(str(error).split("\n"))
        self.tell(f"error: {line}")
        if isinstance(error, ContextFullError):
            self.note(
                "Nothing is lost: the arrow up brings your message back, /save FILE keeps the "
                "conversation, /undo takes the last exchange back, /clear begins anew; "
                "--max-seq-len at the start makes more room, if the model allows it."
            )

    def _mask(self) -> "LogitMask | None":
        return None if self.grammar is None else self.grammar.mask()

    def _next_params(self) -> SamplingParams:
        """The settings with a seed: a drawn one, or the given one and those after it."""
        given = self.params.seed
        self.seed = secrets.randbits(32) if given is None else (given + self._answers) % 2**63
        self._answers += 1
        return replace(self.params, seed=self.seed)

    def _show(self, answer: "Answer") -> None:
        before = Snapshot(list(self.conversation.messages), self.conversation.tokens)
        with answer:
            show_answer(answer, answer.stop, interactive=self._interactive, quiet=self._quiet)
        self.stats = answer.stats
        if not answer.kept:
            self.note("(no answer; the message is not part of the conversation)")
            return
        self.snapshots.append(before)
        if answer.finish_reason == "length" and self._context_is_full:
            self.note(
                f"(the context of {self.llm.max_seq_len} tokens is full and the answer ends here; "
                "/save FILE keeps the conversation, /undo takes the last exchange back, /clear "
                "begins anew)"
            )
        elif answer.finish_reason == "cancelled":
            self.note("(stopped)")

    @property
    def _context_is_full(self) -> bool:
        assert self.stats is not None
        return self.stats.prompt_tokens + self.stats.generated_tokens >= self.llm.max_seq_len
