"""Windows as llama.cpp counts them, by its loops written out."""

import numpy as np
import pytest

from cl_llama.errors import RequestError
from cl_llama.perplexity import cut_windows


def loops(ids, context, bos_id, stride):
    """Each window and the position, in the text, of the tokens that are predicted."""
    found = []
    if stride is None:
        for i in range(len(ids) // context):
            start = i * context
            predicted = [start + j + 1 for j in range(context // 2, context - 1)]
            found.append(([bos_id, *ids[start + 1 : start + context]], predicted))
        return found
    length = context + stride // 2
    for i in range((len(ids) - length + stride - 1) // stride):
        start = i * stride
        predicted = [start + j + 1 for j in range(length - stride - 1, length - 1)]
        found.append(([bos_id, *ids[start + 1 : start + length]], predicted))
    return found


@pytest.mark.parametrize("context", [4, 7, 16])
@pytest.mark.parametrize("stride", [None, 1, 4, 5])
@pytest.mark.parametrize("length", [20, 32, 47])
def test_the_windows(context, stride, length):
    ids = np.arange(100, 100 + length, dtype=np.int32)
    windows = cut_windows(ids, context, bos_id=1, stride=stride)
    expected = loops(ids.tolist(), context, 1, stride)
    assert windows.ids_WC.tolist() == [window for window, _ in expected]
    assert windows.targets.tolist() == [[100 + p for p in positions] for _, positions in expected]
    few = cut_windows(ids, context, bos_id=1, stride=stride, chunks=1)
    assert few.ids_WC.tolist() == [expected[0][0]]


def test_a_vocabulary_without_a_beginning():
    ids = np.arange(9, dtype=np.int32)
    assert cut_windows(ids, 4, bos_id=None).ids_WC.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert ids.tolist() == list(range(9))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": 10}, "the text has 9 tokens, a window takes 10; take a longer text"),
        ({"context": 8, "stride": 2}, "the text has 9 tokens, a window takes 9 and one more"),
        ({"context": 3}, "a context of 3 tokens is too short"),
        ({"context": 4, "stride": 9}, "a stride of 9 tokens does not fit windows of 8 tokens"),
    ],
)
def test_what_leaves_nothing_to_predict(settings, message):
    with pytest.raises(RequestError, match=message):
        cut_windows(np.arange(9, dtype=np.int32), bos_id=1, **settings)
