"""The grammar's stories pass its checker; damaged ones do not."""

import itertools
import random
import re
from collections.abc import Callable

import pytest
from demo_stories import Story, check_story, stories
from demo_stories.corpus import held_out_texts, overlap, run_hashes, training_texts
from demo_stories.lexicon import NAMES, PLACE_ADJECTIVES, THINGS
from demo_stories.template import Template

STORIES = list(itertools.islice(stories(11), 300))


def test_all_stories_of_the_grammar_pass() -> None:
    faulty = [(story.text, check_story(story.text)) for story in STORIES if check_story(story.text)]
    assert faulty == []


def test_same_seed_writes_the_same_stories() -> None:
    again = list(itertools.islice(stories(11), 20))
    assert [story.text for story in again] == [story.text for story in STORIES[:20]]


def test_stories_have_the_length_of_a_story() -> None:
    lengths = [len(story.text.split()) for story in STORIES]
    assert min(lengths) >= 60
    assert max(lengths) <= 160


def test_line_breaks_do_not_matter() -> None:
    assert check_story(STORIES[0].text.replace(". ", ".\n") + "\n") == []


def replace_last(text: str, old: str, new: str) -> str | None:
    """The text with the last whole word ``old`` replaced; None where it stands only once."""
    places = list(re.finditer(rf"\b{re.escape(old)}\b", text))
    if len(places) < 2:
        return None
    return text[: places[-1].start()] + new + text[places[-1].end() :]


def other_name(story: Story) -> str | None:
    used = (story.facts["hero.name"], story.facts["helper.name"])
    fresh = next(name for name in NAMES[story.facts["hero.gender"]] if name not in used)
    return replace_last(story.text, story.facts["hero.name"], fresh)


def other_helper(story: Story) -> str | None:
    used = (story.facts["hero.name"], story.facts["helper.name"])
    fresh = next(name for name in NAMES[story.facts["helper.gender"]] if name not in used)
    return replace_last(story.text, story.facts["helper.name"], fresh)


def other_thing(story: Story) -> str | None:
    fresh = next(thing for thing in THINGS if thing != story.facts["thing.noun"])
    return replace_last(story.text, story.facts["thing.noun"], fresh)


def other_place(story: Story) -> str | None:
    old = story.facts.get("place.adjective")
    fresh = next(word for word in PLACE_ADJECTIVES if word != old)
    phrase = f"{old} {story.facts['place.noun']}"
    return replace_last(story.text, phrase, f"{fresh} {story.facts['place.noun']}")


def other_pronoun(story: Story) -> str | None:
    male = story.facts["hero.gender"] == "male"
    old, new = ("he", "she") if male else ("she", "he")
    return replace_last(story.text, old, new)


def other_kind_of_helper(story: Story) -> str | None:
    fresh = "otter" if story.facts["obstacle"] == "high" else "owl"
    text = story.text.replace(f"an {story.facts['helper.kind']}", f"a {story.facts['helper.kind']}")
    return replace_last(text, story.facts["helper.kind"], fresh)


def truncated(story: Story) -> str | None:
    return story.text[: story.text.rindex(". ") + 1] if ". " in story.text[-60:] else None


def cut_in_a_sentence(story: Story) -> str | None:
    return story.text[: len(story.text) * 2 // 3]


def one_more_sentence(story: Story) -> str | None:
    return story.text + " The end of the red ball was nearly green."


def shuffled(story: Story) -> str | None:
    words = story.text.split()
    random.Random(1).shuffle(words)
    return " ".join(words)


DAMAGES = [
    other_name,
    other_helper,
    other_thing,
    other_place,
    other_pronoun,
    other_kind_of_helper,
    truncated,
    cut_in_a_sentence,
    one_more_sentence,
    shuffled,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_stories_are_rejected(damage: Callable[[Story], str | None]) -> None:
    damaged = [text for text in map(damage, STORIES) if text is not None]
    assert len(damaged) >= 20
    assert [text for text in damaged if not check_story(text)] == []


def test_the_reason_names_what_changed() -> None:
    story = next(story for story in STORIES if other_thing(story))
    (fault,) = check_story(other_thing(story) or "")
    assert "thing.noun" in fault
    assert story.facts["thing.noun"] in fault


def test_an_empty_text_is_no_story() -> None:
    assert check_story("") == ["the story breaks off before its opening"]


def test_two_plots_do_not_mix() -> None:
    """One story's beginning with another's ending: its names, thing and place are others."""
    for first, second in itertools.pairwise(STORIES[:40]):
        if first.facts["hero.name"] == second.facts["hero.name"]:
            continue
        half = first.text[: first.text.index(". ") + 2]
        rest = second.text[second.text.index(". ") + 2 :]
        assert check_story(half + rest) != []


@pytest.mark.parametrize("source", ["{a|b", "a]", "<nobody>", "[a}"])
def test_a_wrong_template_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"template"):
        Template(source)


def test_overlap_counts_shared_runs_only() -> None:
    known = list(range(100))
    assert overlap([known[10:60]], [known]) == 1.0
    assert overlap([[*known[:20], 500]], [known]) == 0.5
    assert overlap([list(range(1000, 1100))], [known]) == 0.0
    assert overlap([known[:19]], [known]) == 0.0
    assert len(run_hashes(known)) == 81


def test_training_and_held_out_texts_differ() -> None:
    assert not set(training_texts(200)) & set(held_out_texts(200))
