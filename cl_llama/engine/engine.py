"""Runs a model for many requests at once. Knows token ids, never text.

One thread owns the model: a device's queue and kernel objects are not safe to use from several.
Callers submit from any thread and read their requests; the engine's thread steps while there is
work, and has the model loaded anew where its device failed.
"""

import operator
import threading
from collections import deque
from collections.abc import Callable, Sequence

from cl_llama.engine.job import Job, wanted_rows
from cl_llama.engine.kv_cache import BlockPool
from cl_llama.engine.pace import Pace
from cl_llama.engine.params import SamplingParams
from cl_llama.engine.recovery import Loaded, Recovery
from cl_llama.engine.request import FinishReason, Request
from cl_llama.engine.sampling import Breakers, LogitMask, Sampler
from cl_llama.engine.scheduler import Scheduler
from cl_llama.engine.speculation.speculator import Speculator
from cl_llama.engine.status import EngineState, EngineStatus
from cl_llama.engine.stepper import Stepper, as_error
from cl_llama.errors import (
    ClLlamaError,
    ContextFullError,
    DeviceError,
    QueueFullError,
    RequestError,
)
from cl_llama.models.batch import LOGITS_ROWS, STEP_TOKENS, Model

MAX_BATCH = 32
ALL_ROWS = LOGITS_ROWS - MAX_BATCH


class Engine:
    """A model, its cache and its requests."""

    def __init__(
        self,
        model: Model,
        max_seq_len: int,
        *,
        end_ids: Sequence[int] = (),
        prefill_chunk: int = STEP_TOKENS,
        step_tokens: int = STEP_TOKENS,
        max_batch: int = MAX_BATCH,
        all_rows: int = ALL_ROWS,
        max_waiting: int | None = None,
        prefix_cache: bool = True,
        speculator: Speculator | None = None,
        pace: Pace | None = None,
        rebuild: Callable[[], Loaded] | None = None,
    ) -> None:
        """Take over `model`; its thread starts with the first request.

        max_seq_len: prompt and generated tokens of a request at most; cut to what the cache holds.
        end_ids: tokens that end a text unless a request names its own.
        prefill_chunk: tokens of one prompt a step at most. step_tokens: tokens of a step at most.
        max_batch: requests that run at the same time. all_rows: rows of logits that prompt-logits
        requests get in a step at most. max_waiting: requests that wait while no more can run, at
        most; None: any number. prefix_cache: whether prompts that begin alike share their cache.
        speculator: guesses how texts go on; None: nobody does. pace: says how much of a step
        prompts get beside texts; None: one that measures. rebuild: called in the engine's thread
        after the device has failed, gives up what the model holds and returns another like it, and
        who guesses for that; None: the model is used on.
        """
        self.max_seq_len = min(max_seq_len, model.num_blocks * model.block_size)
        self.end_ids = frozenset(end_ids)
        self._scheduler = Scheduler(
            BlockPool(model.num_blocks, model.block_size),
            max_batch=max_batch,
            step_tokens=step_tokens,
            prefill_chunk=prefill_chunk,
            all_rows=all_rows,
            prefix_cache=prefix_cache,
        )
        self._stepper = Stepper(model, self._scheduler, speculator, pace or Pace())
        self._recovery = None if rebuild is None else Recovery(rebuild)
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        # Shared with callers, under the condition's lock:
        self._inbox: deque[Job] = deque()
        self._attention = False
        self._closed = False
        self._failure: ClLlamaError | None = None
        self._thread: threading.Thread | None = None

    @property
    def model(self) -> Model:
        """The model that runs; another one after its device has failed."""
        return self._stepper.model

    def submit(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams | None = None,
        *,
        logit_mask: LogitMask | None = None,
        breakers: Breakers | None = None,
        stop_when: Callable[[int], bool] | None = None,
        prompt_logits: bool = False,
        last_rows: int | None = None,
        targets: Sequence[int] | None = None,
        embed: bool = False,
    ) -> Request:
        """Queue a prompt; from any thread. RequestError if it cannot be served, QueueFullError now.

        logit_mask: called before every choice with the ids generated so far, returns which tokens
        may come next. breakers: finds DRY's sequence breakers; None: there are none. stop_when:
        called with every new token but an end token; True ends the text with it. All run in the
        engine's thread: they must be quick, and one that raises ends its request as an error.
        prompt_logits: deliver the logits after every prompt token, or after the last `last_rows`
        tokens, and generate nothing. targets: instead of these, deliver the log-probabilities of
        the targets, each after one of the prompt's last tokens. embed: instead of these, deliver
        the mean of the tokens' last hidden states.
        """
        params = params or SamplingParams()
        ids = self.check_prompt(prompt_ids)
        stop_ids = params.stop_token_ids
        for name, named in (("stop_token_ids", stop_ids or ()), ("logit_bias", params.logit_bias)):
            for token_id in named:
                self._check_id(token_id, f"SamplingParams: {name}")
        request = Request(
            ids, params, self.end_ids if stop_ids is None else frozenset(stop_ids), self._wake
        )
        for token_id in targets or ():
            self._check_id(token_id, "targets")
        rows = wanted_rows(len(ids), prompt_logits, last_rows, targets, embed)
        limit = self.max_seq_len - len(ids)
        if params.max_new_tokens is not None:
            limit = min(limit, params.max_new_tokens)
        sampler = Sampler(params, ids, self.model.config.vocab_size, logit_mask, breakers)
        job = Job(request, sampler, limit, stop_when, rows, targets, embed)
        with self._changed:
            if self._closed:
                raise self._failure or RequestError("submit: the engine is closed")
            if rows == 0 or (limit == 0 and rows is None):
                request.finish("length")
                return request
            self._check_room()
            self._inbox.append(job)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name="cl-llama engine", daemon=True
                )
                self._thread.start()
            self._wake()
        return request

    def check_prompt(self, prompt_ids: Sequence[int]) -> list[int]:
        """The ids as plain ints; RequestError if the model cannot take them."""
        try:
            ids = [operator.index(token_id) for token_id in prompt_ids]
        except TypeError:
            raise RequestError(
                f"prompt: expected a sequence of token ids, got {prompt_ids!r:.80}"
            ) from None
        if not ids:
            raise RequestError("prompt: it holds no token; begin with the model's BOS token")
        for token_id in ids:
            self._check_id(token_id, "prompt")
        if len(ids) > self.max_seq_len:
            raise ContextFullError(
                f"prompt: it has {len(ids)} tokens, the context has room for {self.max_seq_len} "
                f"(cache: {self.model.num_blocks} blocks of {self.model.block_size}); shorten the "
                "prompt or load the model with a larger max_seq_len"
            )
        return ids

    def status(self) -> EngineStatus:
        """What runs, waits and is held, and the totals; from any thread, at once."""
        with self._changed:
            seen, waiting = self._stepper.sizes, len(self._inbox)
            state: EngineState = "ready"
            if self._closed:
                state = "closed"
            elif self._recovery is not None and self._stepper.fault is not None:
                state = "rebuilding"
        return EngineStatus(
            state=state,
            running=seen.running,
            waiting=seen.waiting + waiting,
            cache_blocks=self.model.num_blocks,
            cache_blocks_held=seen.blocks_held,
            cache_blocks_idle=seen.blocks_idle,
            preemptions=self._scheduler.preemptions,
            **vars(self._stepper.totals),
        )

    def close(self) -> None:
        """End all requests as cancelled and wait for the engine's thread; the model stays open."""
        with self._changed:
            self._closed = True
            thread = self._thread
            self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _recover(self, recovery: Recovery, fault: DeviceError) -> None:
        """Put another model in the place of the one whose device has failed."""

        def wait(seconds: float) -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: self._closed, seconds)

        loaded = recovery.run(fault, wait)
        if loaded is not None:
            self._stepper.go_on_with(*loaded)

    def _check_room(self) -> None:
        """Raise QueueFullError if too many requests wait; with the lock."""
        if self._max_waiting is None:
            return
        waiting = self._stepper.sizes.waiting + len(self._inbox)
        # Until the next step nothing of the inbox runs; what will, does not count. Where some wait
        # for blocks, a place is of no use.
        places = 0 if self._stepper.sizes.waiting else self._max_batch - self._stepper.sizes.running
        if waiting >= self._max_waiting + places:
            raise QueueFullError(
                f"submit: {waiting} requests wait already, max_waiting is {self._max_waiting}; "
                "try again later, or load the model with a larger one"
            )

    def _wake(self) -> None:
        with self._changed:
            self._attention = True
            self._changed.notify_all()

    def _serve(self) -> None:
        """The engine's thread."""
        failure: ClLlamaError | None = None
        try:
            while self._receive():
                if self._scheduler.idle:
                    continue
                worked = self._stepper.step()
                fault = self._stepper.fault
                if self._recovery is not None and worked:
                    self._recovery.note_success()
                elif self._recovery is not None and fault is not None:
                    self._recover(self._recovery, fault)
        except BaseException as error:
            failure = as_error("the engine", error)
        finally:
            with self._changed:
                self._closed, self._failure = True, failure
                waiting = list(self._inbox)
                self._inbox.clear()
            reason: FinishReason = "error" if failure else "cancelled"
            for job in waiting:
                job.request.finish(reason, failure)
            self._stepper.end(reason, failure)

    def _receive(self) -> bool:
        """Take in what callers asked for, waiting while there is nothing to do; False to stop."""
        with self._changed:
            while not self._attention and self._scheduler.idle:
                self._changed.wait()
            if self._closed:
                return False
            attention, self._attention = self._attention, False
            while self._inbox:
                self._stepper.add(self._inbox.popleft())
        if attention:
            self._stepper.drop_cancelled()
        return True

    def _check_id(self, token_id: int, where: str) -> None:
        vocab_size = self.model.config.vocab_size
        if not 0 <= token_id < vocab_size:
            raise RequestError(
                f"{where}: token id {token_id} is not in the vocabulary (0 to {vocab_size - 1})"
            )
