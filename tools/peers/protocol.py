"""How bench_peers.py speaks with its engines: a line of JSON each way, over pipes.

Standard library only, since every engine may run in a Python environment of its own.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol


class Engine(Protocol):
    """An engine with its model loaded."""

    description: str
    """What it is: version, precision, device."""

    def prefill(self, tokens: int) -> float:
        """Seconds from a prompt that it has not seen to the first token."""

    def decode(self, tokens: int, depth: int) -> float:
        """Seconds of `tokens` greedy steps of one sequence after `depth` tokens of context."""


def serve(load: Callable[[dict[str, Any]], Engine]) -> None:
    """Load an engine with the settings of the first argument, then answer until input ends.

    What the engine prints goes to standard error. Whatever it raises is its answer.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        engine = load(json.loads(sys.argv[1]))
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
        return
    answer(description=engine.description)
    for line in sys.stdin:
        question = json.loads(line)
        method = engine.prefill if question.pop("ask") == "prefill" else engine.decode
        try:
            answer(seconds=method(**question))
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}")


def prompts(vocab_size: int) -> Callable[[int], list[int]]:
    """Makes prompts of random ids, a new one at every call, none with an end token."""
    import random

    rng = random.Random(0)
    return lambda tokens: [rng.randrange(3, vocab_size) for _ in range(tokens)]
