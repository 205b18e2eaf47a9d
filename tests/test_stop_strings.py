import itertools

import pytest

from cl_llama.stop_strings import StopStrings


def cut(text: str, strings: tuple[str, ...]) -> tuple[str, bool]:
    """The text before the first stop string to be complete, taking characters one by one."""
    for end in range(len(text) + 1):
        starts = [text[:end].find(s) for s in strings if s in text[:end]]
        if starts:
            return text[: min(starts)], True
    return text, False


@pytest.mark.parametrize(
    "strings", [(), ("b",), ("ab",), ("aab",), ("abab",), ("aab", "ba"), ("bbb", "b"), ("aaaa",)]
)
def test_every_short_text_character_by_character(strings: tuple[str, ...]):
    for length in range(8):
        for letters in itertools.product("ab", repeat=length):
            stop = StopStrings(strings)
            text = "".join(map(stop.push, letters)) + stop.finish()
            assert (text, stop.matched) == cut("".join(letters), strings)


def test_nothing_is_held_back_that_can_no_longer_match():
    stop = StopStrings(["END", "STOP"])
    assert stop.push("some text E") == "some text "
    assert stop.push("N") == ""
    assert stop.push("T ST") == "ENT "
    assert stop.push("op") == "STop"
    assert stop.push("x STOP it") == "x "
    assert stop.matched
    assert stop.push("more") == stop.finish() == ""


def test_the_match_that_begins_first_counts():
    assert StopStrings(["lo w", "hello world"]).push("hello world") == ""


def test_the_end_releases_what_was_held():
    stop = StopStrings(["</end>"])
    assert stop.push("text</en") == "text"
    assert stop.finish() == "</en"
