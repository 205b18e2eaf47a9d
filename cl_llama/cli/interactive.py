"""`cl-llama --start-interactive`: a person and a model write a plain text in turn."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from cl_llama.cli.chat.input import Reader, open_reader
from cl_llama.cli.chat.screen import Impatience, show_answer
from cl_llama.cli.chat.statistics import describe, status_line
from cl_llama.cli.interactive_options import POSTFIX, PREFIX, STOPS, SYSTEM_PROMPT
from cl_llama.cli.loading_bar import LoadingBar
from cl_llama.cli.model_options import load_llama, model_name
from cl_llama.cli.sampling_options import sampling_params
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import ClLlamaError, ContextFullError
from cl_llama.opencl.devices import select_device
from cl_llama.prompt_tokens import encode_continuation

if TYPE_CHECKING:
    from cl_llama.engine.request import RequestStats
    from cl_llama.llm import Llama
    from cl_llama.text_stream import StreamPiece, TextStream


def run(args: argparse.Namespace) -> int:
    """Talk until the input ends; raises ClLlamaError."""
    reader = open_reader({}, history="interactive-history")
    device = select_device(args.opencl_device)
    with LoadingBar(sys.stderr, hidden=args.quiet) as bar:
        llm = load_llama(args, device.index, bar)
    stops = tuple(args.interactive_stop or STOPS)
    system = _given(args.interactive_system_prompt, SYSTEM_PROMPT)
    with llm:
        transcript = Transcript(llm, system, stops, add_bos=not args.no_bos)
        if reader.interactive and not args.quiet:
            _note(f"{model_name(args)} on {device.label}, context of {llm.max_seq_len} tokens")
            _note("Enter sends; Ctrl-C stops the model, as does, where it writes it,")
            _note(f"{' or '.join(map(repr, stops))}; Ctrl-D leaves.\n\n{system}")
        _talk(transcript, reader, args)
    return 0


class Transcript:
    """The tokens of the whole text: what a person typed is encoded, what the model wrote stays."""

    def __init__(self, llm: "Llama", begin: str, stops: tuple[str, ...], *, add_bos: bool) -> None:
        """begin: what the text begins with. stops: the texts that end the model's turn."""
        self.llm = llm
        self.stats: RequestStats | None = None
        """Of the last answer."""
        self._begin = begin
        self._add_bos = add_bos
        self._stops = stops
        self._ids: list[int] = []
        self._needs_stop = False

    @property
    def length(self) -> int:
        """Its tokens."""
        return len(self._ids)

    def answer(self, text: str, params: SamplingParams) -> "Turn":
        """Have the model go on after a text; ContextFullError where there is no room for more.

        Where its last turn ended without a stop text, the first one is put there.
        """
        if self._needs_stop:
            text = self._stops[0] + text
        if self._ids:
            ids = self._ids + encode_continuation(self.llm.tokenizer, text)
        elif self._add_bos:
            ids = self.llm.prompt_ids(self._begin + text)
        else:
            ids = self.llm.tokenizer.encode(self._begin + text, add_bos=False, special=True)
        if len(ids) >= self.llm.max_seq_len:
            raise ContextFullError(
                f"with this the text has {len(ids)} tokens, and the context of "
                f"{self.llm.max_seq_len} has no room for an answer; begin again, with a larger "
                "--max-seq-len if the model allows one"
            )
        params = replace(params, stop=(*self._stops, *params.stop))
        return Turn(self, ids, self.llm.stream(ids, params))

    def commit(self, turn: "Turn") -> None:
        """Take in what a turn has brought, if the model has written anything."""
        self.stats = turn.stream.stats
        if turn.generated:
            self._ids = turn.prompt_ids + turn.generated
            ended = turn.generated[-1] in turn.stop_ids
            self._needs_stop = turn.finish_reason != "stop" or ended


class Turn:
    """Iterates over the pieces that the model writes; its end makes it part of the transcript."""

    def __init__(self, transcript: Transcript, prompt_ids: list[int], stream: "TextStream") -> None:
        self.prompt_ids = prompt_ids
        self.stream = stream
        self.generated: list[int] = []
        self.finish_reason: str | None = None
        self._transcript = transcript

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end a text."""
        return self._transcript.llm.engine.end_ids

    def __iter__(self) -> "Iterator[StreamPiece]":
        """The pieces."""
        for piece in self.stream:
            if piece.token_id is not None:
                self.generated.append(piece.token_id)
            self.finish_reason = piece.finish_reason
            yield piece
        self._transcript.commit(self)


def _talk(transcript: Transcript, reader: Reader, args: argparse.Namespace) -> None:
    prefix = _given(args.interactive_prompt_prefix, PREFIX)
    postfix = _given(args.interactive_prompt_postfix, POSTFIX)
    params = sampling_params(args)

    def status() -> str:
        if transcript.stats is None or args.quiet:
            return ""
        return status_line(transcript.stats, transcript.length, transcript.llm.max_seq_len)

    while True:
        try:
            text = reader.read("", status)
        except EOFError:
            return
        try:
            turn = transcript.answer(prefix + text + postfix, params)
            with turn.stream:
                show_answer(
                    turn, turn.stream.close, interactive=reader.interactive, quiet=args.quiet
                )
        except ClLlamaError as error:
            if not reader.interactive:
                raise
            _note(f"error: {' '.join(str(error).split())}")
            continue
        except Impatience:
            raise
        except KeyboardInterrupt:
            if not reader.interactive:
                raise
            _note("(stopped)")
            continue
        if params.seed is not None:
            params = replace(params, seed=(params.seed + 1) % 2**63)
        if not turn.generated and not args.quiet:
            _note("(no answer; what you typed is not part of the text)")
        if args.verbose:
            for line in describe(turn.stream.stats):
                _note(line)


def _given(text: str | None, default: str) -> str:
    return default if text is None else text


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
