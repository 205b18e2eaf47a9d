"""A step of the engine: schedule, run the model, choose tokens and hand them over."""

import time

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.job import Job
from cl_llama.engine.pace import Pace
from cl_llama.engine.recovery import is_fault_of_device, let_go
from cl_llama.engine.request import FinishReason
from cl_llama.engine.sampling import StepLogits
from cl_llama.engine.scheduler import Chunk, Scheduler
from cl_llama.engine.scheduler import Sequence as CacheSequence
from cl_llama.engine.speculation.speculator import Speculator
from cl_llama.engine.status import QueueSizes, Totals
from cl_llama.errors import ClLlamaError, DeviceError, RequestError
from cl_llama.models.batch import Batch, Model


class Stepper:
    """The requests that are being served. Used by the engine's thread only.

    `sizes`, `totals` and `fault` may be read by others.
    """

    def __init__(
        self, model: Model, scheduler: Scheduler, speculator: Speculator | None, pace: Pace
    ) -> None:
        """speculator: guesses how texts go on. pace: says how much of a step prompts get."""
        self.model = model
        self.totals = Totals()
        self.fault: DeviceError | None = None
        """Why what the model's device holds is in doubt since a step; None: it is not."""
        self._scheduler = scheduler
        self._speculator = speculator
        self._pace = pace
        self._jobs: dict[CacheSequence, Job] = {}
        self.sizes = self._look()
        """The scheduler's as it was last left."""

    def add(self, job: Job) -> None:
        """Serve one more."""
        self._jobs[job.sequence] = job
        self._scheduler.add(job.sequence)
        self.sizes = self._look()

    def drop_cancelled(self) -> None:
        """End the requests that are no longer wanted."""
        for job in list(self._jobs.values()):
            if job.request.cancel_requested:
                self._drop(job, "cancelled")

    def end(self, reason: FinishReason, error: ClLlamaError | None) -> None:
        """End all requests; nothing may be asked of this afterwards."""
        for job in self._jobs.values():
            job.request.finish(reason, error)
        self._jobs.clear()
        self.sizes = QueueSizes()

    def go_on_with(self, model: Model, speculator: Speculator | None) -> None:
        """Take another model in place of one whose device failed.

        Raises:
            DeviceError: its cache has another size.
        """
        pool = self._scheduler.pool
        if (model.num_blocks, model.block_size) != (pool.num_blocks, pool.block_size):
            raise DeviceError(
                f"the model was loaded anew with {model.num_blocks} blocks of cache, it had "
                f"{pool.num_blocks}"
            )
        self.model, self._speculator = model, speculator
        self.totals.rebuilds += 1
        self.fault = None

    def step(self) -> bool:
        """Run the model once for whoever is next; whether it worked."""
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
            return False
        self._pace.note(prompt_tokens, time.perf_counter() - began, waited=waits)
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
        return True

    def _begin(self, chunks: list[Chunk]) -> None:
        """Note that a step runs these, some of them for the first time."""
        totals = self.totals
        totals.steps += 1
        for chunk in chunks:
            job, cached = self._jobs[chunk.sequence], chunk.sequence.reused_tokens
            if job.request.start(cached):
                totals.prompt_tokens += len(job.request.prompt_ids)
            totals.cached_tokens += cached - job.cached_tokens
            job.cached_tokens = cached
        self.sizes = self._look()

    def _with_guesses(self, chunks: list[Chunk]) -> list[Chunk]:
        """The chunks, some with guesses of what comes after them."""
        if self._speculator is None:
            return chunks
        jobs = [self._jobs[chunk.sequence] for chunk in chunks]
        left = [job.limit - len(job.sampler.generated) for job in jobs]
        chunks = self._speculator.extend(self._scheduler, chunks, left)
        for job, chunk in zip(jobs, chunks, strict=True):
            if chunk.guess:
                self.totals.draft_tokens += len(chunk.guess)
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
                self._drop(job, "error", as_error("choosing a token", error))
                return
            sequence.tokens.append(choice.token_id)
            self.totals.generated_tokens += 1
            guessed = choice.token_id == guess
            if guessed:
                self.totals.accepted_draft_tokens += 1
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
        error = as_error("the forward pass", cause)
        if isinstance(error, DeviceError) and is_fault_of_device(cause):
            let_go(cause)
            self.fault = error
        for chunk in chunks:
            self._drop(self._jobs[chunk.sequence], "error", error)
        self._scheduler.restart()
        if self._speculator is not None:
            self._speculator.restart()
        self._pace.forget_pending()
        self.sizes = self._look()

    def _drop(self, job: Job, reason: FinishReason, error: ClLlamaError | None = None) -> None:
        """End a job without another token."""
        self._forget(job)
        job.request.finish(reason, error)

    def _forget(self, job: Job) -> None:
        self._scheduler.remove(job.sequence)
        if self._speculator is not None:
            self._speculator.forget(job.sequence)
        del self._jobs[job.sequence]
        self.sizes = self._look()

    def _look(self) -> QueueSizes:
        scheduler, pool = self._scheduler, self._scheduler.pool
        return QueueSizes(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            blocks_held=pool.num_blocks - pool.available,
            blocks_idle=pool.idle,
        )


def as_error(what: str, cause: BaseException) -> ClLlamaError:
    """The cause itself if it is the project's, else a DeviceError that tells of it in one line."""
    if isinstance(cause, ClLlamaError):
        return cause
    error = DeviceError(f"{what} failed: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error
