"""Checking stories: every sentence must belong to the grammar, and all facts must agree."""

import heapq
import itertools
from dataclasses import dataclass

from .writer import BEATS, PAPER


@dataclass(frozen=True)
class _Reading:
    """A way to read the story so far: which beats, which facts, what disagreed."""

    beat: int
    used: int
    position: int
    facts: tuple[tuple[str, str], ...]
    faults: tuple[str, ...]


def check_story(text: str) -> list[str]:
    """What is wrong with a story, one line each; an empty list for a consistent, whole story.

    The reading with the fewest disagreements counts. A fact disagrees when a later sentence states
    another value than the first one did: a name, a pronoun, a thing, a place, what went wrong.
    """
    text = " ".join(text.split())
    order = itertools.count()
    queue = [(0, 0, next(order), _Reading(0, 0, 0, (), ()))]
    seen: set[tuple[int, int, int, tuple[tuple[str, str], ...]]] = set()
    furthest = (0, 0)
    while queue:
        _, _, _, reading = heapq.heappop(queue)
        key = (reading.beat, reading.used, reading.position, reading.facts)
        if key in seen:
            continue
        seen.add(key)
        furthest = max(furthest, (reading.position, reading.beat))
        if reading.beat == len(BEATS):
            if reading.position >= len(text):
                return [*reading.faults, *_impossible(dict(reading.facts))]
            continue
        for following in _continue(text, reading):
            item = (len(following.faults), -following.position, next(order), following)
            heapq.heappush(queue, item)
    return [_describe_end(text, *furthest)]


def _continue(text: str, reading: _Reading) -> list[_Reading]:
    beat = BEATS[reading.beat]
    readings = []
    if reading.used >= beat.least:
        readings.append(
            _Reading(reading.beat + 1, 0, reading.position, reading.facts, reading.faults)
        )
    if reading.used == beat.most:
        return readings
    for template in beat.templates:
        found = template.read(text, reading.position)
        if found is None:
            continue
        end, stated = found
        facts = dict(reading.facts)
        faults = list(reading.faults)
        for fact, value in stated:
            known = facts.setdefault(fact, value)
            if known != value:
                fault = f"{fact} was '{known}' and is '{value}' in the {beat.name}"
                if fault not in faults:
                    faults.append(fault)
        readings.append(
            _Reading(
                reading.beat,
                reading.used + 1,
                min(end + 1, len(text)),
                tuple(facts.items()),
                tuple(faults),
            )
        )
    return readings


def _impossible(facts: dict[str, str]) -> list[str]:
    """Facts that agree with themselves and not with each other."""
    faults = []
    if facts["hero.name"] == facts["helper.name"]:
        faults.append(f"hero and helper are both called '{facts['hero.name']}'")
    if facts["obstacle"] == "water" and facts["thing.noun"] in PAPER:
        faults.append(f"the {facts['thing.noun']} would not survive the water")
    return faults


def _describe_end(text: str, position: int, beat: int) -> str:
    rest = text[position:]
    if not rest:
        return f"the story breaks off before its {BEATS[min(beat, len(BEATS) - 1)].name}"
    sentence = rest if len(rest) <= 80 else rest[:77] + "..."
    if beat == len(BEATS):
        return f"text after the end: {sentence}"
    return f"not a sentence of the {BEATS[beat].name}: {sentence}"
