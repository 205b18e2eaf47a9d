"""Prompts in text to requests of the engine, and their tokens back to text."""

from collections.abc import Callable, Sequence

from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.engine.sampling import LogitMask
from cl_llama.errors import RequestError, TokenizerError
from cl_llama.grammar.mask import GrammarMask
from cl_llama.sequence_breakers import SequenceBreakers
from cl_llama.stop_strings import StopStrings
from cl_llama.text_stream import TextBuilder, TextStream
from cl_llama.tokenizers import Tokenizer


class TextRequests:
    """An engine that is asked in text, by a model's tokenizer; thread-safe."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer | None) -> None:
        """Without a tokenizer, prompts are token ids and texts are empty."""
        self._engine = engine
        self._tokenizer = tokenizer

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; TokenizerError if it came without one."""
        if self._tokenizer is None:
            raise TokenizerError(
                "this model came without a tokenizer, so it takes and gives token ids only; pass "
                "tokenizer_path to work with text"
            )
        return self._tokenizer

    def encode(self, prompt: str | Sequence[int]) -> list[int]:
        """Ids of a prompt; special tokens that its text spells are special tokens."""
        if not isinstance(prompt, str):
            return self._engine.check_prompt(prompt)
        ids = self.tokenizer.encode(prompt, special=True)
        bos_id = self._bos_id
        if len(ids) > 1 and ids[0] == ids[1] == bos_id:
            return ids[1:]  # the text spells the BOS token itself
        if not ids:
            if bos_id is None:
                raise RequestError("prompt: it is empty, and this model has no BOS token to begin")
            return [bos_id]
        return ids

    def stream(
        self,
        ids: list[int],
        params: SamplingParams,
        logit_mask: LogitMask | None,
        owner: object,
        *,
        at_start: bool | None = None,
    ) -> TextStream:
        """Submit a prompt. `owner` lives as long as the stream.

        at_start: whether the generated text begins a text; None: if the prompt is empty.
        """
        begins = all(token_id == self._bos_id for token_id in ids) if at_start is None else at_start

        def builder() -> TextBuilder:
            decoder = None
            if self._tokenizer is not None:
                decoder = self._tokenizer.stream(at_start=begins)
            return TextBuilder(decoder, StopStrings(params.stop))

        stop_when = None
        if params.stop:
            _ = self.tokenizer  # raises if there is none: stop strings need text
            stop_when = _stop_at(builder())
        if isinstance(logit_mask, GrammarMask):
            ends = params.stop_token_ids
            if ends is None:
                ends = tuple(self._engine.end_ids)
            logit_mask = logit_mask.ending_with(ends)
            if not ends:
                stop_when = _stop_finished(logit_mask, stop_when)
        breakers = None
        if params.penalises_repeats and self._tokenizer is not None:
            breakers = SequenceBreakers(params.dry_sequence_breakers, self._tokenizer)
        request = self._engine.submit(
            ids, params, logit_mask=logit_mask, breakers=breakers, stop_when=stop_when
        )
        return TextStream(request, builder(), owner)

    @property
    def _bos_id(self) -> int | None:
        bos_id = None if self._tokenizer is None else self._tokenizer.bos_id
        return self._engine.model.config.bos_id if bos_id is None else bos_id


def _stop_at(builder: TextBuilder) -> Callable[[int], bool]:
    """End a text with the token that completes a stop string."""

    def stop_when(token_id: int) -> bool:
        builder.push(token_id)
        return builder.stopped

    return stop_when


def _stop_finished(
    mask: GrammarMask, stop_when: Callable[[int], bool] | None
) -> Callable[[int], bool]:
    """End a text that no token ends where its grammar has no way to go on."""
    generated: list[int] = []

    def stop_finished(token_id: int) -> bool:
        generated.append(token_id)
        stopped = stop_when is not None and stop_when(token_id)
        return stopped or mask.is_finished(generated)

    return stop_finished
