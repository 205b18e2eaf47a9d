"""Runs a model for many requests at once. Knows token ids, never text.

One thread owns the model: a device's queue and kernel objects are not safe to use from several.
Callers submit from any thread and read their requests; the engine's thread steps while there is
work: schedule, run, postprocess.
"""

import itertools
import operator
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.job import Job, wanted_rows
from cl_llama.engine.kv_cache import BlockPool
from cl_llama.engine.pace import Pace
from cl_llama.engine.params import SamplingParams
from cl_llama.engine.recovery import Loaded, Recovery, is_fault_of_device, let_go
from cl_llama.engine.request import FinishReason, Request
from cl_llama.engine.sampling import Breakers, LogitMask, Sampler, StepLogits
from cl_llama.engine.scheduler import Chunk, Scheduler
from cl_llama.engine.scheduler import Sequence as CacheSequence
from cl_llama.engine.speculation.speculator import Speculator
from cl_llama.engine.status import EngineState, EngineStatus, Totals
from cl_llama.errors import (
    ClLlamaError,
    ContextFullError,
    DeviceError,
    QueueFullError,
    RequestError,
)
from cl_llama.models.batch import LOGITS_ROWS, STEP_TOKENS, Batch, Model

MAX_BATCH = 32
ALL_ROWS = LOGITS_ROWS - MAX_BATCH


@dataclass(frozen=True, slots=True)
class _Seen:
    """Sizes of the scheduler's queues and its pool."""

    running: int = 0
    waiting: int = 0
    blocks_held: int = 0
    blocks_idle: int = 0


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
        speculator: guesses how texts go on; None: nobody does.
        pace: says how much of a step prompts get beside texts; None: one that measures. rebuild:
        called in the engine's thread after the device has failed, gives up what the model holds and
        returns another like it, and who guesses for that; None: the model is used on.
        """
        self.model = model
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
        self._pace = pace or Pace()
        self._recovery = None if rebuild is None else Recovery(rebuild)
        self._fault: DeviceError | None = None
        """Why the model has to be loaded anew before the next step."""
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._speculator = speculator
        self._jobs: dict[CacheSequence, Job] = {}
        self._totals = Totals()
        self._seen = self._look()
        """The scheduler as its thread last left it, for other threads."""
        self._changed = threading.Condition()
        # Shared with callers, under the condition's lock:
        self._inbox: deque[Job] = deque()
        self._attention = False
        self._closed = False
        self._rebuilding = False
        self._failure: ClLlamaError | None = None
        self._thread: threading.Thread | None = None

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
        """What runs, waits and is held, and the totals; from any thread, without waiting."""
        with self._changed:
            seen, waiting = self._seen, len(self._inbox)
            state: EngineState = "rebuilding" if self._rebuilding else "ready"
            if self._closed:
                state = "closed"
        return EngineStatus(
            state=state,
            running=seen.running,
            waiting=seen.waiting + waiting,
            cache_blocks=self.model.num_blocks,
            cache_blocks_held=seen.blocks_held,
            cache_blocks_idle=seen.blocks_idle,
            preemptions=self._scheduler.preemptions,
            **vars(self._totals),
        )

    def close(self) -> None:
        """End all requests as cancelled and wait for the engine's thread; the model stays open."""
        with self._changed:
            self._closed = True
            thread = self._thread
            self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def step(self) -> None:
        """Run the model once for whoever is next: schedule, run, postprocess."""
        chunks = self._scheduler.schedule(self._pace.budget)
        self._begin(chunks)
        began = time.perf_counter()
        samplers = [
            self._jobs[chunk.sequence].sampler for chunk in chunks if chunk.logits == "last"
        ]
        try:
            chunks = self._with_guesses(chunks)
            batch = Batch(tuple(chunk.slice() for chunk in chunks))
            logits = self.model.forward(batch)
            rows = None
            states_ED = logits.states() if batch.states_rows else None
            if batch.logits_rows:
                scored = any(self._jobs[c.sequence].is_scored for c in chunks if c.logits == "all")
                rows = StepLogits(
                    logits,
                    samplers,
                    whole=any(
                        c.logits == "all" and self._jobs[c.sequence].wants_rows for c in chunks
                    ),
                    targets_R=self._targets(chunks, batch) if scored else None,
                )
            prompt_tokens = sum(chunk.count for chunk in chunks if not chunk.generates)
            waits = rows is not None or states_ED is not None
            if not waits and self._pace.is_long(prompt_tokens):
                logits.wait()
                waits = True
        except Exception as error:
            self._fail_step(chunks, error)
            return
        self._pace.note(prompt_tokens, time.perf_counter() - began, waited=waits)
        if self._recovery is not None:
            self._recovery.note_success()
        self._scheduler.advance(chunks)
        row = state = 0
        for chunk, part in zip(chunks, batch.slices, strict=True):
            job = self._jobs[chunk.sequence]
            if part.states:
                assert states_ED is not None
                self._deliver_mean(job, chunk, states_ED[state : state + chunk.count])
                state += chunk.count
            elif chunk.logits == "last":
                assert rows is not None
                self._generate(job, chunk, rows, row)
            elif chunk.logits == "all":
                assert rows is not None
                self._deliver_rows(job, chunk, rows, row)
            row += part.logits_rows

    def _begin(self, chunks: list[Chunk]) -> None:
        """Note that a step runs these, some of them for the first time."""
        totals = self._totals
        totals.steps += 1
        for chunk in chunks:
            job, cached = self._jobs[chunk.sequence], chunk.sequence.reused_tokens
            if job.request.start(cached):
                totals.prompt_tokens += len(job.request.prompt_ids)
            totals.cached_tokens += cached - job.cached_tokens
            job.cached_tokens = cached
        self._seen = self._look()

    def _with_guesses(self, chunks: list[Chunk]) -> list[Chunk]:
        """The chunks, some with guesses of what comes after them."""
        if self._speculator is None:
            return chunks
        jobs = [self._jobs[chunk.sequence] for chunk in chunks]
        left = [job.limit - len(job.sampler.generated) for job in jobs]
        chunks = self._speculator.extend(self._scheduler, chunks, left)
        for job, chunk in zip(jobs, chunks, strict=True):
            if chunk.guess:
                self._totals.draft_tokens += len(chunk.guess)
                job.request.count_guesses(len(chunk.guess))
        return chunks

    def _generate(self, job: Job, chunk: Chunk, rows: StepLogits, row: int) -> None:
        """Choose the job's next tokens from its rows and hand them over.

        The first row is its own; each guess has the next one, as long as it is what was chosen.
        """
        sequence = job.sequence
        before = len(sequence.tokens)
        for offset, guess in enumerate((*chunk.guess, None)):
            try:
                choice = rows.choose(row + offset, job.sampler)
                reason = self._ending(job, choice.token_id)
            except Exception as error:
                self._drop(job, "error", _as_error("choosing a token", error))
                return
            sequence.tokens.append(choice.token_id)
            self._totals.generated_tokens += 1
            guessed = choice.token_id == guess
            if guessed:
                self._totals.accepted_draft_tokens += 1
                self._scheduler.accept(sequence)
            if reason is not None:
                self._forget(job)
            job.request.deliver(choice, reason, guessed=guessed)
            if reason is not None or not guessed:
                break
        if self._speculator is not None:
            self._speculator.learn(sequence, sequence.tokens[before:])
            self._scheduler.end_guess(sequence)

    def _ending(self, job: Job, token_id: int) -> FinishReason | None:
        """Why the text ends with this token, its sampler's latest; None if it goes on."""
        if token_id in job.request.stop_ids:
            return "stop"
        try:
            if job.stop_when is not None and job.stop_when(token_id):
                return "stop"
        except Exception as error:
            raise RequestError(f"stop_when raised {type(error).__name__}: {error}") from error
        return "length" if len(job.sampler.generated) == job.limit else None

    def _deliver_rows(self, job: Job, chunk: Chunk, rows: StepLogits, row: int) -> None:
        """Hand over the chunk's rows, or the log-probabilities of its targets."""
        sequence = job.sequence
        end = chunk.start + chunk.count
        wanted = rows.logprobs if job.is_scored else rows.rows
        job.request.deliver_prompt_rows(wanted(row, row + chunk.count))
        sequence.delivered = end
        if end == len(sequence.tokens):
            self._drop(job, "length")

    def _deliver_mean(self, job: Job, chunk: Chunk, states_nD: NDArray[np.float32]) -> None:
        """Take in the chunk's states; with the last ones the mean is known."""
        mean_D = job.add_states(states_nD)
        job.sequence.delivered = chunk.start + chunk.count
        if job.sequence.delivered == len(job.sequence.tokens):
            job.request.deliver_prompt_rows(mean_D)
            self._drop(job, "length")

    def _targets(self, chunks: list[Chunk], batch: Batch) -> NDArray[np.int32]:
        """int32 [R]: the token that is scored by each row of the step's logits; 0 for none."""
        rows = [
            self._jobs[chunk.sequence].targets(chunk)
            if chunk.logits == "all" and self._jobs[chunk.sequence].is_scored
            else np.zeros(part.logits_rows, np.int32)
            for chunk, part in zip(chunks, batch.slices, strict=True)
        ]
        return np.concatenate(rows)

    def _fail_step(self, chunks: list[Chunk], cause: Exception) -> None:
        """End the step's requests with the error; the others are computed anew."""
        error = _as_error("the forward pass", cause)
        if self._recovery is not None and is_fault_of_device(cause):
            let_go(cause)
            assert isinstance(error, DeviceError)
            self._fault = error
        for chunk in chunks:
            self._drop(self._jobs[chunk.sequence], "error", error)
        self._scheduler.restart()
        if self._speculator is not None:
            self._speculator.restart()
        self._pace.forget_pending()
        self._seen = self._look()

    def _rebuild(self, fault: DeviceError) -> None:
        """Put another model in the place of the one whose device has failed."""

        def wait(seconds: float) -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: self._closed, seconds)

        assert self._recovery is not None
        with self._changed:
            self._rebuilding = True
        loaded = self._recovery.run(fault, wait)
        if loaded is None:
            return
        model, self._speculator = loaded
        pool = self._scheduler.pool
        if (model.num_blocks, model.block_size) != (pool.num_blocks, pool.block_size):
            raise DeviceError(
                f"the model was loaded anew with {model.num_blocks} blocks of cache, it had "
                f"{pool.num_blocks}"
            )
        self._fault = None
        self._totals.rebuilds += 1
        with self._changed:
            self.model = model
            self._rebuilding = False

    def _drop(self, job: Job, reason: FinishReason, error: ClLlamaError | None = None) -> None:
        """End a job without another token."""
        self._forget(job)
        job.request.finish(reason, error)

    def _forget(self, job: Job) -> None:
        self._scheduler.remove(job.sequence)
        if self._speculator is not None:
            self._speculator.forget(job.sequence)
        del self._jobs[job.sequence]
        self._seen = self._look()

    def _look(self) -> _Seen:
        scheduler, pool = self._scheduler, self._scheduler.pool
        return _Seen(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            blocks_held=pool.num_blocks - pool.available,
            blocks_idle=pool.idle,
        )

    def _check_room(self) -> None:
        """Raise QueueFullError if too many requests wait; with the lock."""
        if self._max_waiting is None:
            return
        waiting = self._seen.waiting + len(self._inbox)
        # Until the next step nothing of the inbox runs; what will, does not count. Where some wait
        # for blocks, a place is of no use.
        places = 0 if self._seen.waiting else self._max_batch - self._seen.running
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
                if not self._scheduler.idle:
                    self.step()
                if self._fault is not None:
                    self._rebuild(self._fault)
        except BaseException as error:
            failure = _as_error("the engine", error)
        finally:
            with self._changed:
                self._closed, self._failure = True, failure
                waiting = list(self._inbox)
                self._inbox.clear()
            for job in itertools.chain(self._jobs.values(), waiting):
                job.request.finish("error" if failure else "cancelled", failure)
            self._jobs.clear()
            self._seen = _Seen()

    def _receive(self) -> bool:
        """Take in what callers asked for, waiting while there is nothing to do; False to stop."""
        with self._changed:
            while not self._attention and self._scheduler.idle:
                self._changed.wait()
            if self._closed:
                return False
            attention, self._attention = self._attention, False
            while self._inbox:
                job = self._inbox.popleft()
                self._jobs[job.sequence] = job
                self._scheduler.add(job.sequence)
            self._seen = self._look()
        if attention:
            for job in list(self._jobs.values()):
                if job.request.cancel_requested:
                    self._drop(job, "cancelled")
        return True

    def _check_id(self, token_id: int, where: str) -> None:
        vocab_size = self.model.config.vocab_size
        if not 0 <= token_id < vocab_size:
            raise RequestError(
                f"{where}: token id {token_id} is not in the vocabulary (0 to {vocab_size - 1})"
            )


def _as_error(what: str, cause: BaseException) -> ClLlamaError:
    """The cause itself if it is the project's, else a DeviceError that tells of it in one line."""
    if isinstance(cause, ClLlamaError):
        return cause
    error = DeviceError(f"{what} failed: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error
