import numpy as np
import pytest

from cl_llama.engine.scheduler import Sequence
from cl_llama.engine.speculation.lookup import Lookup, continuation


@pytest.mark.parametrize(
    ("ids", "length", "expected"),
    [
        ([1, 2, 3, 4, 9, 1, 2], 3, [3, 4, 9]),
        ([1, 2, 3, 1, 2, 4, 1, 2], 1, [4]),  # the latest
        ([7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], 2, [3, 8]),  # the longest run
        ([1, 2, 3, 1, 2], 7, [3, 1, 2, 3, 1, 2, 3]),  # goes on as it guesses
        ([5, 5, 5, 5], 3, [5, 5, 5]),
        ([5, 5], 3, []),
        ([1, 2, 3, 4, 2], 3, []),  # one token alike is not enough
        ([1, 2, 3], 3, []),
        ([2, 3, 1, 2, 3], 2, [1, 2]),  # at the very start
        ([1], 3, []),
        ([1, 2, 3, 1, 2], 0, []),
    ],
)
def test_what_follows(ids: list[int], length: int, expected: list[int]):
    assert continuation(np.array(ids, np.int32), length) == expected


def test_runs_are_compared_up_to_a_length():
    run = list(range(20))
    ids = np.array([*run, 50, 30, *run[-8:], 51, *run], np.int32)
    assert continuation(ids, 1) == [51]  # eight alike are as good as twenty


def test_texts_are_followed_as_they_grow():
    lookup = Lookup()
    tokens = [1, 2, 3]
    first, second = Sequence(tokens), Sequence([4, 4, 4])
    assert lookup.propose([first, second], [2, 1]) == [[], [4]]
    for i in range(1000):
        tokens.append(10 + i % 300)
        expected = [] if i < 301 else [10 + (i + 1) % 300, 10 + (i + 2) % 300]
        assert lookup.propose([first], [2]) == [expected]
    lookup.forget(first)
    lookup.forget(second)
    assert not lookup._texts
