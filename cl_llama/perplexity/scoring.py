"""Runs windows through an engine: what it says of the tokens to predict, window by window.

Log-probabilities are computed on the device, and only they come to the host: a vocabulary of any
size takes no memory there. Two windows are under way at a time, so that the device has work while
the last one is looked at.
"""

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.engine import Engine
from cl_llama.engine.request import Request
from cl_llama.perplexity.windows import Windows

_AHEAD = 2


def score(engine: Engine, windows: Windows) -> Iterator[NDArray[np.float64]]:
    """For each window the log-probabilities of its targets [scored]."""
    targets_WS = windows.targets

    def submit(w: int) -> Request:
        return engine.submit(windows.ids_WC[w, :-1].tolist(), targets=targets_WS[w].tolist())

    for request in _running(submit, len(targets_WS)):
        yield np.concatenate(list(request.prompt_logprobs())).astype(np.float64)


def window_logits(engine: Engine, windows: Windows) -> Iterator[Iterator[NDArray[np.float32]]]:
    """For each window the logits that predict its targets, as [n, V] for some n each.

    A window's slices must be read before the next window is asked for.
    """

    def submit(w: int) -> Request:
        ids = windows.ids_WC[w, :-1].tolist()
        return engine.submit(ids, prompt_logits=True, last_rows=windows.scored)

    for request in _running(submit, len(windows.ids_WC)):
        yield request.prompt_logits()


def _running(submit: Callable[[int], Request], count: int) -> Iterator[Request]:
    """The requests in order, some submitted ahead; those that are left at the end are cancelled."""
    ahead: deque[Request] = deque()
    try:
        for w in range(count + _AHEAD - 1):
            if w < count:
                ahead.append(submit(w))
            if w >= _AHEAD - 1:
                yield ahead[0]
                ahead.popleft()
    finally:
        for request in ahead:
            request.cancel()
