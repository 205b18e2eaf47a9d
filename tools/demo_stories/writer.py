"""Writing stories: choose what happens, then render one template a beat."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from . import beginnings, endings, middles
from .lexicon import HELPERS, KINDS, NAMES, OBSTACLES, PLOTS, THINGS
from .template import Template, agrees

# Things that water would spoil.
PAPER = frozenset({"book", "map", "letter", "kite"})

LONGEST = 160


@dataclass(frozen=True)
class Beat:
    """One step of the plot, told by ``least`` to ``most`` templates; how likely each further is."""

    name: str
    templates: tuple[Template, ...]
    least: int
    most: int
    likelihood: float = 0.0


BEATS = (
    Beat("opening", beginnings.OPENINGS, 1, 1),
    Beat("habit", beginnings.HABITS, 0, 1, 0.2),
    Beat("want", beginnings.WANTS, 1, 1),
    Beat("event", beginnings.EVENTS, 1, 1),
    Beat("try", middles.TRIES, 1, 2, 0.08),
    Beat("sorrow", middles.SORROWS, 0, 2, 0.15),
    Beat("arrival", middles.ARRIVALS, 1, 1),
    Beat("talk", middles.TALKS, 1, 1),
    Beat("rescue", middles.RESCUES, 1, 1),
    Beat("thanks", endings.THANKS, 1, 1),
    Beat("treat", endings.TREATS, 0, 1, 0.2),
    Beat("fate", endings.FATES, 1, 1),
    Beat("closing", endings.CLOSINGS, 1, 1),
)


@dataclass(frozen=True)
class Story:
    """A story's text and the facts that it agrees with."""

    text: str
    facts: dict[str, str]


def write_story(rng: random.Random, plain: bool = False) -> Story:
    """One story, from the next draws of ``rng``; a plain one recalls no far detail."""
    facts = _choose_facts(rng)
    sentences: list[str] = []
    for beat in BEATS:
        more = sum(rng.random() < beat.likelihood for _ in range(beat.most - beat.least))
        fitting = [
            template
            for template in beat.templates
            if agrees(template.states, facts) and not (plain and template.recalls)
        ]
        for template in rng.sample(fitting, beat.least + more):
            sentences.append(template.render(rng, facts))
    return Story(" ".join(sentences), facts)


def stories(seed: int, plain: bool = False) -> Iterator[Story]:
    """Endless stories of at most ``LONGEST`` words; the same ones for the same seed."""
    rng = random.Random(seed)
    while True:
        story = write_story(rng, plain)
        if len(story.text.split()) <= LONGEST:
            yield story


def _choose_facts(rng: random.Random) -> dict[str, str]:
    """The facts that limit each other; all others are chosen where a sentence first needs them.

    Hero and helper are not both "he" or both "she", so that every pronoun is clear.
    """
    gender = rng.choice(list(NAMES))
    helper_gender = next(other for other in NAMES if other != gender)
    obstacle = rng.choice(OBSTACLES)
    hero = rng.choice(NAMES[gender])
    helper = rng.choice(NAMES[helper_gender])
    dry = [thing for thing in THINGS if obstacle != "water" or thing not in PAPER]
    return {
        "plot": rng.choice(PLOTS),
        "obstacle": obstacle,
        "hero.name": hero,
        "hero.gender": gender,
        "hero.kind": rng.choice([*KINDS[""], *KINDS[gender]]),
        "helper.name": helper,
        "helper.gender": helper_gender,
        "helper.kind": rng.choice(HELPERS[obstacle]),
        "thing.noun": rng.choice(dry),
    }
