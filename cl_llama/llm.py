"""Llama: a loaded model with text in and text out, over the engine."""

import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast, overload

import numpy as np
from numpy.typing import NDArray

from cl_llama.completion import Completion, completion_of
from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.engine.recovery import Loaded
from cl_llama.engine.request import Request
from cl_llama.engine.sampling import LogitMask
from cl_llama.engine.speculation.speculator import Speculator
from cl_llama.errors import ChatTemplateError, RequestError, TokenizerError
from cl_llama.grammar import GrammarCompiler
from cl_llama.models.batch import Model
from cl_llama.models.model_config import ModelConfig
from cl_llama.text_requests import TextRequests
from cl_llama.text_stream import StreamPiece, TextStream
from cl_llama.tokenizers import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from cl_llama.chat import ChatTemplate, Message
    from cl_llama.conversation import Conversation

__all__ = ["Completion", "Llama", "Prompt", "SamplingParams", "StreamPiece", "TextStream"]

Prompt: TypeAlias = str | Sequence[int]
"""Text, or the ids of its tokens; text gets a BOS token in front if the model has one."""


class Llama:
    """A model ready to generate; safe to use from several threads at once.

    Close it, or use it in a `with` statement; one that is dropped closes itself.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer | None,
        *,
        max_seq_len: int | None = None,
        end_ids: Sequence[int] | None = None,
        chat_template: "ChatTemplate | None" = None,
        max_waiting: int | None = None,
        prefix_cache: bool = True,
        speculator: Speculator | None = None,
        device_label: str = "",
        rebuild: Callable[[], Loaded] | None = None,
        resources: ExitStack | None = None,
    ) -> None:
        """Serve a model that is already there; `from_pretrained` loads one.

        max_seq_len: prompt and generated tokens together; None: the model's own. Either is cut to
        what the model's cache holds. end_ids: the tokens that end a text; None: those of the
        model's configuration or, if it names none, the tokenizer's. chat_template: closed with the
        model. max_waiting: requests that wait while no more can run, at most; None: any number.
        prefix_cache: whether prompts that begin alike share their cache. speculator: guesses how
        texts go on; None: nobody does. device_label: what computes. rebuild: `Engine`'s. resources:
        closed after the engine has let go of the model.
        """
        config = model.config
        _check_vocabulary(tokenizer, config)
        _check_length(max_seq_len, config)
        if end_ids is None:
            end_ids = config.eos_ids or (tokenizer.eos_ids if tokenizer is not None else ())
        self._chat_template = chat_template
        self._grammars: GrammarCompiler | None = None
        _check_queue(max_waiting)
        self._engine = Engine(
            model,
            max_seq_len or config.max_seq_len,
            end_ids=end_ids,
            max_waiting=max_waiting,
            prefix_cache=prefix_cache,
            speculator=speculator,
            rebuild=rebuild,
        )
        self._requests = TextRequests(self._engine, tokenizer)
        self._device_label = device_label
        resources = resources or ExitStack()
        if chat_template is not None:
            resources.callback(chat_template.close)
        self._finalizer = weakref.finalize(self, _close, self._engine, resources)

    @classmethod
    def from_pretrained(
        cls,
        path_or_repo_id: str | Path | None = None,
        *,
        device: int | str | None = None,
        tokenizer_path: str | Path | None = None,
        param_path: str | Path | None = None,
        chat_template: str | Path | None = None,
        max_seq_len: int | None = None,
        precision: Literal["high", "fast"] | None = None,
        kv_type: Literal["f16", "q8_0"] = "f16",
        quantize: Literal["q8_0", "q4_0", "q4_k"] | None = None,
        max_threads: int | None = None,
        use_mmap: bool = True,
        cache_tokens: int | None = None,
        max_waiting: int | None = None,
        prefix_cache: bool = True,
        draft: str | Path | None = None,
        speculate: Literal["lookup", "draft"] | None = None,
        draft_tokens: int | None = None,
        progress: bool = False,
        on_progress: Callable[[float], None] | None = None,
    ) -> Self:
        """Load a model from a path or by its Hugging Face name; None: the one that comes along.

        A name is "owner/model", or for a GGUF file "owner/model:Q4_K_M", "owner/model/FILE.gguf".
        device: an index of `list_devices()`, a part of a device's name, or None for the best one.
        tokenizer_path: a tokenizer's file or folder, where it does not lie beside the model.
        param_path: stands in for the model's config.json or params.json. chat_template: a file, a
        template's text, or a name: of one of the model's own, "llama2", "llama3" or "chatml"; None
        is the model's own. max_seq_len: None takes the model's own, shortened to what fits the
        device. precision: "high", the default with float weights, is as exact as float32 on the
        values that the device holds; "fast", the default with weights in blocks, is one pass of the
        device's matrix unit (Intel AMX, NVIDIA's tensor cores, Intel's XMX), where it has one, and
        products of integers with blocks. kv_type: what the cache holds of keys and values: "f16",
        or "q8_0", bytes with a scale for every 32, in about half of the memory. quantize: brings
        float weights into blocks, q4_k the most sensitive ones into q6_k; those that a file has in
        blocks stay as they are. max_threads: on a CPU device, the most of its cores to use; other
        devices ignore it. use_mmap: CPU devices compute with float16 weights where the model's
        files lie in memory, without a copy; files that are cut short meanwhile end the process,
        False copies them. cache_tokens: tokens of all requests together that the cache holds, as
        far as they fit the device; None: those of one request. Requests that find no room in it
        wait, or are computed anew. max_waiting: requests that wait while no more can run, at most,
        further ones get QueueFullError; None: any number. prefix_cache: compute what prompts begin
        alike with once, as long as the cache has room. draft: a smaller model of the same
        vocabulary, a path or a name, that guesses how texts go on; several tokens are computed at
        once where its guesses are right, and texts stay what they are. speculate: "draft", the
        default with one, or "lookup", which guesses that a text goes on as it did after the same
        tokens before. draft_tokens: how many are guessed for a step, at most; None: what suits.
        progress: show a download's. on_progress: called with the share of the weights that is
        loaded, 0 to 1.

        Raises ClLlamaError: CheckpointError, TokenizerError, DeviceError, RequestError by what is
        wrong.
        """
        # Imported here, so that a Llama over another model never needs OpenCL.
        from cl_llama.chat import load_chat_template
        from cl_llama.checkpoints import open_checkpoint, resolve_model
        from cl_llama.model_loader import LoadOptions, ModelLoader
        from cl_llama.models.config import config_from_checkpoint
        from cl_llama.opencl.devices import select_device
        from cl_llama.speculation import check_speculation, most_guesses

        _check_queue(max_waiting)
        speculation = check_speculation(speculate, draft, draft_tokens)
        options = LoadOptions(
            param_path=param_path,
            max_threads=max_threads,
            max_seq_len=max_seq_len,
            cache_tokens=cache_tokens,
            precision=precision,
            kv_type=kv_type,
            quantize=quantize,
            use_mmap=use_mmap,
            draft=draft,
            speculates=speculation is not None,
            guesses=most_guesses(speculation, draft_tokens),
        )
        if path_or_repo_id is None:
            from cl_llama.demo import model_path

            path = model_path()
        else:
            path = resolve_model(str(path_or_repo_id), progress=progress)
        resources = ExitStack()
        try:
            with open_checkpoint(path, param_path=param_path) as checkpoint:
                config = config_from_checkpoint(checkpoint)
                tokenizer_file = tokenizer_path or checkpoint.tokenizer_path
                tokenizer = None if tokenizer_file is None else load_tokenizer(tokenizer_file)
                _check_vocabulary(tokenizer, config)
                _check_length(max_seq_len, config)
                template = None
                if tokenizer is not None and tokenizer_file is not None:
                    wanted = None if chat_template is None else str(chat_template)
                    template = load_chat_template(
                        wanted, checkpoint, tokenizer, Path(tokenizer_file)
                    )
                loader = ModelLoader(Path(path), select_device(device), options)
                resources.callback(loader.close)
                model, speculator = loader.load(
                    checkpoint, tokenizer, on_progress=on_progress, progress=progress
                )
            end_ids = None
            if checkpoint.format == "llama2c" and tokenizer is not None:
                # llama2.c trains on texts with nothing but a BOS token between them.
                bos_id = tokenizer.bos_id
                end_ids = tokenizer.eos_ids if bos_id is None else (*tokenizer.eos_ids, bos_id)
            return cls(
                model,
                tokenizer,
                max_seq_len=max_seq_len,
                end_ids=end_ids,
                chat_template=template,
                max_waiting=max_waiting,
                prefix_cache=prefix_cache,
                speculator=speculator,
                device_label=loader.device.label,
                rebuild=loader.reload,
                resources=resources,
            )
        except BaseException:
            resources.close()
            raise

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; TokenizerError if it came without one."""
        return self._requests.tokenizer

    @property
    def grammars(self) -> GrammarCompiler:
        """Compiles grammars for this model; `grammar.mask()` is a request's `logit_mask`.

        A text that follows one ends with an end token, which is allowed when the grammar is
        complete and not before; where no tokens end it, as soon as the grammar has no way to go on.
        """
        if self._grammars is None:
            self._grammars = GrammarCompiler(self.tokenizer, self.config.vocab_size)
        return self._grammars

    @property
    def config(self) -> ModelConfig:
        """The model's hyperparameters."""
        return self._engine.model.config

    @property
    def engine(self) -> Engine:
        """The engine that runs all requests."""
        return self._engine

    @property
    def chat_template(self) -> "ChatTemplate | None":
        """How the model's conversations are written; None for a model that was loaded without."""
        return self._chat_template

    @property
    def device_label(self) -> str:
        """The device's number, platform and name; empty for a model that tells of none."""
        return self._device_label

    @property
    def max_seq_len(self) -> int:
        """Prompt and generated tokens of a request together, at most."""
        return self._engine.max_seq_len

    @overload
    def generate(  # type: ignore[overload-overlap]  # a str is a sequence of str, and one prompt
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        logit_mask: LogitMask | None = None,
    ) -> Completion: ...

    @overload
    def generate(
        self,
        prompt: Sequence[Prompt],
        params: SamplingParams | None = None,
        *,
        logit_mask: LogitMask | None = None,
    ) -> list[Completion]: ...

    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
        params: SamplingParams | None = None,
        *,
        logit_mask: LogitMask | None = None,
    ) -> Completion | list[Completion]:
        """Complete a prompt, or a list of prompts together; `[]` is a list of no prompts.

        logit_mask: called before every choice with the ids generated so far; returns bool [V], the
        tokens that may come next, or None for any.

        Raises RequestError for a prompt or parameter that cannot be served, TokenizerError for text
        without a tokenizer, DeviceError if the device fails.
        """
        params = params or SamplingParams()
        if _is_one(prompt):
            return self._complete([cast(Prompt, prompt)], params, logit_mask)[0]
        return self._complete(cast(Sequence[Prompt], prompt), params, logit_mask)

    def stream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        logit_mask: LogitMask | None = None,
    ) -> TextStream:
        """Complete a prompt piece by piece; the texts of all pieces joined are `generate`'s text.

        It runs at once, whether it is read or not; closing or dropping it cancels it. Raises as
        `generate` does, for the prompt and the parameters before it returns.
        """
        ids = self._requests.encode(prompt)
        return self._requests.stream(ids, params or SamplingParams(), logit_mask, self)

    def chat(
        self,
        messages: "Sequence[Message]",
        params: SamplingParams | None = None,
        *,
        logit_mask: LogitMask | None = None,
        **template_values: Any,
    ) -> Completion:
        """Answer a conversation, a list of {"role": ..., "content": ...}, as the assistant.

        template_values: `tools`, `documents` and what else the model's template takes. Tokens that
        end a turn by the tokenizer end the answer, besides those that end a text. Raises as
        `chat_prompt` and `generate` do.
        """
        params = params or SamplingParams()
        with self.stream_chat(messages, params, logit_mask=logit_mask, **template_values) as stream:
            return completion_of(stream, params)

    def stream_chat(
        self,
        messages: "Sequence[Message]",
        params: SamplingParams | None = None,
        *,
        logit_mask: LogitMask | None = None,
        **template_values: Any,
    ) -> TextStream:
        """Answer a conversation piece by piece; the texts of all pieces joined are `chat`'s."""
        prompt = self.chat_prompt(messages, **template_values)
        return self.stream_answer(prompt, params, logit_mask=logit_mask)

    def stream_answer(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        logit_mask: LogitMask | None = None,
        has_begun: bool = False,
    ) -> TextStream:
        """Answer a conversation that is written as a prompt already, as `chat_prompt` does it.

        has_begun: the answer's beginning stands at the prompt's end already.
        """
        ids = self._requests.encode(prompt)
        params = params or SamplingParams()
        if params.stop_token_ids is None:
            ends = {*self._engine.end_ids, *self.tokenizer.eos_ids}
            params = replace(params, stop_token_ids=tuple(sorted(ends)))
        return self._requests.stream(ids, params, logit_mask, self, at_start=not has_begun)

    def chat_prompt(self, messages: "Sequence[Message]", **template_values: Any) -> str:
        """A conversation as one text, in the model's template; see `ChatTemplate.render`.

        As a prompt, its special tokens are special tokens, and a BOS token goes in front unless it
        begins with one.

        Raises ChatTemplateError where the model has no template, or one that cannot be rendered;
        RequestError where the template refuses the messages.
        """
        if self._chat_template is None:
            _ = self.tokenizer  # raises if there is none, and so no template
            raise ChatTemplateError(
                "chat: this model brings no chat template, as base models do not; pass one as "
                "chat_template (--chat-template): a file, llama2, llama3 or chatml"
            )
        return self._chat_template.render(messages, **template_values)

    def conversation(self, system: str | None = None, **template_values: Any) -> "Conversation":
        """Begin a conversation that goes on turn by turn and keeps its tokens.

        system: the system message, if any. template_values: what else the model's template takes.
        """
        from cl_llama.conversation import Conversation

        messages = [] if system is None else [{"role": "system", "content": system}]
        return Conversation(self, messages, **template_values)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The ids of a prompt as the model gets it, a BOS token included. Raises as `generate`."""
        return self._requests.encode(prompt)

    def logits(self, prompt: Prompt) -> NDArray[np.float32]:
        """The logits after every token of a prompt: float32 [n, V], V the vocabulary size."""
        ids = self._requests.encode(prompt)
        request = self._engine.submit(ids, prompt_logits=True)
        logits_NV = np.empty((len(ids), self.config.vocab_size), dtype=np.float32)
        try:
            done = 0
            for rows in request.prompt_logits():
                logits_NV[done : done + len(rows)] = rows
                done += len(rows)
        except BaseException:
            request.cancel()
            raise
        if request.finish_reason == "cancelled":
            raise RequestError("logits: the model was closed before they were all computed")
        return logits_NV

    def embed(self, prompt: Prompt | Sequence[Prompt]) -> NDArray[np.float32]:
        """A vector that stands for a prompt: float32 [D]; for a list of n prompts [n, D].

        It is the mean of the last hidden states of the prompt's tokens, after the last norm, not
        normalised; D is the model's width. Raises as `generate` does.
        """
        if not _is_one(prompt):
            return self._embed(cast(Sequence[Prompt], prompt))
        mean_D: NDArray[np.float32] = self._embed([cast(Prompt, prompt)])[0]
        return mean_D

    def close(self) -> None:
        """End all requests as cancelled, then free the device's memory; more calls do nothing."""
        self._finalizer()

    def __enter__(self) -> Self:
        """The model itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _complete(
        self, prompts: Sequence[Prompt], params: SamplingParams, logit_mask: LogitMask | None
    ) -> list[Completion]:
        ids = [self._requests.encode(prompt) for prompt in prompts]
        with ExitStack() as streams:
            running = [
                streams.enter_context(self._requests.stream(one, params, logit_mask, self))
                for one in ids
            ]
            return [completion_of(stream, params) for stream in running]

    def _embed(self, prompts: Sequence[Prompt]) -> NDArray[np.float32]:
        ids = [self._requests.encode(prompt) for prompt in prompts]
        means_ND = np.empty((len(ids), self.config.d_model), np.float32)
        requests: list[Request] = []
        try:
            for one in ids:
                requests.append(self._engine.submit(one, embed=True))
            for mean_D, request in zip(means_ND, requests, strict=True):
                mean_D[:] = request.embedding()
        finally:
            for request in requests:
                if request.finish_reason is None:
                    request.cancel()
        return means_ND


def _check_vocabulary(tokenizer: Tokenizer | None, config: ModelConfig) -> None:
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise TokenizerError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model only "
            f"{config.vocab_size}; is it another model's tokenizer?"
        )


def _check_length(max_seq_len: int | None, config: ModelConfig) -> None:
    if max_seq_len is None:
        return
    if max_seq_len < 1:
        raise RequestError(f"max_seq_len must be at least 1, got {max_seq_len}")
    if config.rope is None and max_seq_len > config.max_seq_len:
        raise RequestError(
            f"max_seq_len is {max_seq_len}; this model has learned {config.max_seq_len} positions "
            "and knows no others"
        )


def _check_queue(max_waiting: int | None) -> None:
    if max_waiting is not None and max_waiting < 0:
        raise RequestError(f"max_waiting must be at least 0, or None, got {max_waiting}")


def _is_one(prompt: Prompt | Sequence[Prompt]) -> bool:
    """Whether it is one prompt rather than a list of them."""
    if isinstance(prompt, str) or not isinstance(prompt, Sequence | np.ndarray):
        return True
    return len(prompt) > 0 and not isinstance(prompt[0], Sequence | np.ndarray)


def _close(engine: Engine, resources: ExitStack) -> None:
    engine.close()
    resources.close()
