"""Many clients at once, at random: every text is the one that its prompt gets alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.engine.request import Request
from cl_llama.engine.speculation.costs import CPU_F16
from cl_llama.engine.speculation.lookup import Lookup
from cl_llama.engine.speculation.speculator import Speculator
from tests.paged_model import PagedModel, expected_logits, expected_mean

SYSTEMS = [[(7 * i + j) % 40 for i in range(length)] for j, length in enumerate((0, 9, 23, 24))]
CLIENTS, REQUESTS = 12, 12


class Client:
    """Submits requests of every kind one after the other, some of which it cancels."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._random = np.random.default_rng(seed)
        self.done: list[tuple[list[int], SamplingParams, list[int], str | None]] = []
        self.cancelled = 0

    def run(self) -> None:
        for _ in range(REQUESTS):
            prompt = self._prompt()
            kind = self._random.choice(["text"] * 8 + ["cancelled"] * 3 + ["logits", "mean"])
            if kind == "logits":
                rows = self._engine.submit(prompt, prompt_logits=True).prompt_logits()
                np.testing.assert_array_equal(np.concatenate(list(rows)), expected_logits(prompt))
            elif kind == "mean":
                mean_D = self._engine.submit(prompt, embed=True).embedding()
                np.testing.assert_allclose(mean_D, expected_mean(prompt), rtol=1e-6)
            else:
                self._text(prompt, self._params(), kind == "cancelled")

    def _prompt(self) -> list[int]:
        system = SYSTEMS[int(self._random.integers(len(SYSTEMS)))]
        question = self._random.integers(0, 40, int(self._random.integers(1, 12))).tolist()
        return [*system, *question]

    def _params(self) -> SamplingParams:
        random = self._random
        return SamplingParams(
            max_new_tokens=int(random.integers(1, 25)),
            temperature=float(random.choice([0.0, 0.7, 1.5])),
            top_k=int(random.choice([0, 5])),
            repetition_penalty=float(random.choice([1.0, 1.2])),
            seed=int(random.integers(2**31)),
            stop_token_ids=random.integers(0, 40, 2).tolist(),
        )

    def _text(self, prompt: list[int], params: SamplingParams, cancels: bool) -> None:
        request: Request = self._engine.submit(prompt, params)
        if cancels:
            for _ in zip(range(int(self._random.integers(0, 6))), request, strict=False):
                pass
            request.cancel()
            self.cancelled += 1
        result = request.result()
        self.done.append((prompt, params, result.token_ids, result.finish_reason))


@pytest.mark.parametrize(
    ("blocks", "limits"),
    [
        (18, {"max_batch": 4, "prefill_chunk": 8, "step_tokens": 16, "all_rows": 5}),
        (40, {"max_batch": 16, "prefill_chunk": 32, "step_tokens": 64, "all_rows": 20}),
        (300, {"max_batch": 16, "prefix_cache": False}),
        (30, {"max_batch": 8, "step_tokens": 32, "speculator": None}),
    ],
    ids=["tiny", "small", "no-cache", "guesses"],
)
def test_every_text_is_what_it_is_alone(blocks: int, limits: dict[str, object]):
    if "speculator" in limits:
        limits["speculator"] = Speculator(Lookup(), CPU_F16, 4)
    model = PagedModel(num_blocks=blocks)
    engine = Engine(model, 72, **limits)
    clients = [Client(engine, seed) for seed in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for future in [pool.submit(client.run) for client in clients]:
            future.result(60)
    status = engine.status()
    assert (status.running, status.waiting, status.cache_blocks_held) == (0, 0, 0)
    engine.close()
    engine._scheduler.check()
    assert engine._scheduler.pool.available == blocks
    assert sum(client.cancelled for client in clients) > 10
    alone = Engine(PagedModel(), 72)
    for client in clients:
        for prompt, params, text, reason in client.done:
            expected = alone.submit(prompt, params).result().token_ids
            if reason == "cancelled":
                assert text == expected[: len(text)]
            else:
                assert text == expected
    alone.close()
    assert not [t for t in threading.enumerate() if t.name == "cl-llama engine"]
