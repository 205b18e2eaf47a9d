"""The samplers' definitions, written token by token in plain Python."""

import math
from collections.abc import Sequence

from cl_llama.engine.params import SamplingParams


def softmax(logits: dict[int, float], temperature: float) -> dict[int, float]:
    largest = max(logits.values())
    powers = {i: math.exp((logit - largest) / temperature) for i, logit in logits.items()}
    return normalised(powers)


def normalised(weights: dict[int, float]) -> dict[int, float]:
    total = math.fsum(weights.values())
    return {i: weight / total for i, weight in weights.items()}


def entropy(p: dict[int, float]) -> float:
    return -math.fsum(value * math.log(value) for value in p.values() if value > 0)


def fewest_reaching(p: dict[int, float], order: Sequence[int], mass: float) -> dict[int, float]:
    """The first tokens in this order whose sum is at least `mass`, and at least one."""
    kept, total = {}, 0.0
    for i in order:
        if kept and total >= mass:
            break
        kept[i] = p[i]
        total += p[i]
    return normalised({i: kept[i] for i in sorted(kept)})


def distribution(
    logits_v: Sequence[float], params: SamplingParams, xtc: bool = False
) -> list[float]:
    """Each token's probability of being drawn; `xtc`: whether XTC's coin falls on it."""
    logits = {i: float(logit) for i, logit in enumerate(logits_v)}
    if params.top_n_sigma:
        mean = math.fsum(logits.values()) / len(logits)
        sigma = math.sqrt(math.fsum((x - mean) ** 2 for x in logits.values()) / len(logits))
        least = max(logits.values()) - params.top_n_sigma * sigma
        logits = {i: logit for i, logit in logits.items() if logit >= least}
    if params.top_k:
        best = sorted(logits, key=lambda i: (-logits[i], i))[: params.top_k]
        logits = {i: logits[i] for i in sorted(best)}
    temperature = params.temperature
    if params.dynatemp_range and len(logits) > 1:
        share = entropy(softmax(logits, 1.0)) / math.log(len(logits))
        low = max(0.0, temperature - params.dynatemp_range)
        high = temperature + params.dynatemp_range
        temperature = low + (high - low) * share**params.dynatemp_exponent
    p = softmax(logits, temperature)
    if params.typical_p < 1:
        expected = entropy(p)
        order = sorted(p, key=lambda i: (abs(-math.log(p[i]) - expected), i))
        p = fewest_reaching(p, order, params.typical_p)
    if params.top_p < 1:
        p = fewest_reaching(p, sorted(p, key=lambda i: (-p[i], i)), params.top_p)
    if params.min_p:
        p = normalised({i: x for i, x in p.items() if x >= params.min_p * max(p.values())})
    if xtc:
        choices = [i for i in p if p[i] >= params.xtc_threshold]
        stays = min(choices, key=lambda i: (p[i], -i), default=None)
        p = normalised({i: x for i, x in p.items() if i not in choices or i == stays})
    return [p.get(i, 0.0) for i in range(len(logits_v))]


def dry_penalties(
    tokens: Sequence[int], params: SamplingParams, breaks: frozenset[int] = frozenset()
) -> dict[int, float]:
    """What each token loses after `tokens`; `breaks`: tokens that hold a sequence breaker."""
    if params.dry_penalty_last_n >= 0:
        tokens = tokens[max(0, len(tokens) - params.dry_penalty_last_n) :]
    longest: dict[int, int] = {}
    for place in range(len(tokens) - 1):
        length = 0
        while length <= place:
            token = tokens[place - length]
            if token != tokens[len(tokens) - 1 - length] or token in breaks:
                break
            length += 1
        following = tokens[place + 1]
        longest[following] = max(longest.get(following, 0), length)
    return {
        token: params.dry_multiplier * params.dry_base ** (length - params.dry_allowed_length)
        for token, length in longest.items()
        if length >= params.dry_allowed_length and token not in breaks
    }
