"""Token ids of a text that grows: what is there stays as it is, only what follows is encoded.

A model's answer, encoded anew from its text, is often made of other tokens than those it wrote. A
conversation that keeps the ids shows the model exactly what it has seen, and the cache, which
knows ids, holds all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cl_llama.tokenizers import Tokenizer


@dataclass(frozen=True)
class PromptTokens:
    """A prompt, the answer to it, and the ids of both."""

    text: str = ""
    """The prompt as a template rendered it."""
    ids: tuple[int, ...] = ()
    """Of the prompt and of the answer after it."""
    answer: str = ""
    """The text of the ids after the prompt's."""
    marks: tuple[tuple[int, int], ...] = ()
    """(characters of `text`, how many ids they are), ascending; the last pair is all of it."""

    def answered(self, tokenizer: Tokenizer, ids: Sequence[int], answer: str) -> "PromptTokens":
        """With the ids of an answer behind the prompt.

        ids: as the model generated them. answer: the text that counts, which may end before a stop
        text; ids whose text goes beyond it are left out, and so is a closing end token, which the
        template writes itself.
        """
        count, length = _within(tokenizer, ids, answer)
        prompt = self.ids[: self.marks[-1][1]]
        return PromptTokens(self.text, prompt + tuple(ids[:count]), answer[:length], self.marks)

    def extended(self, tokenizer: Tokenizer, text: str) -> "PromptTokens | None":
        """The tokens of a prompt that begins like this one; None if nothing can be kept.

        Kept is what lies before the last known boundary (an answer's beginning or end) up to which
        both texts agree. White space at an answer's ends may differ: templates trim it.
        """
        found = self._boundary(text)
        if found is None:
            return None
        characters, count = found
        marks = [mark for mark in self.marks if mark[0] < characters and mark[1] < count]
        marks.append((characters, count))
        ids = self.ids[:count]
        if characters < len(text):
            ids += tuple(encode_continuation(tokenizer, text[characters:]))
            marks.append((len(text), len(ids)))
        return PromptTokens(text, ids, "", tuple(marks))

    def _boundary(self, text: str) -> tuple[int, int] | None:
        """(characters of `text`, ids) that can be kept."""
        answer = self.answer.strip()
        if answer and text.startswith(self.text):
            end = len(self.text) + len(self.answer)
            if not text.startswith(self.answer, len(self.text)):
                rest = text[len(self.text) :]
                begin = len(text) - len(rest.lstrip())
                end = begin + len(answer) if text.startswith(answer, begin) else 0
            if end:
                return end, len(self.ids)
        for mark in reversed(self.marks):
            if text.startswith(self.text[: mark[0]]):
                return mark
        return None


def encode_continuation(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a text that follows another one.

    Special tokens that it spells are special tokens. The space that some vocabularies put in front
    of a text is left out: this one does not begin.
    """
    ids = tokenizer.encode(text, add_bos=False, special=True)
    shown = tokenizer.decode(ids, skip_special=False, at_start=False)
    if len(shown) - len(shown.lstrip(" ")) <= len(text) - len(text.lstrip(" ")):
        return ids
    # Behind a line break, which no vocabulary with such a space joins to other characters.
    before = tokenizer.encode("\n", add_bos=False)
    behind = tokenizer.encode("\n" + text, add_bos=False, special=True)
    return behind[len(before) :] if behind[: len(before)] == before else ids


def _within(tokenizer: Tokenizer, ids: Sequence[int], answer: str) -> tuple[int, int]:
    """The fewest first ids that show the most of the answer and nothing else: (ids, characters)."""
    decoder = tokenizer.stream(at_start=True)
    best, text = (0, 0), ""
    for count, token_id in enumerate(ids, 1):
        new = decoder.push(token_id)
        text += new
        if new and answer.startswith(text):
            best = count, len(text)
        elif len(text) > len(answer):
            break
    return best
