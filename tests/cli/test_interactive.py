"""A plain text that a person and a model write in turn."""

import functools
import io
from collections.abc import Iterator, Sequence

import pytest

from cl_llama.cli.interactive import Transcript
from cl_llama.errors import ContextFullError
from cl_llama.llm import Llama
from tests.paged_model import PagedModel
from tests.test_conversation import Words, talking
from tests.test_llm import BOS, EOS, forced, greedy, ids_of

LINE = Words.LINE_BREAK


@pytest.fixture
def llm() -> Iterator[Llama]:
    with talking(PagedModel(eos_ids=(EOS,))) as llm:
        yield llm


def write(transcript: Transcript, text: str, ids: Sequence[int], **settings) -> str:
    """A turn in which the model writes these ids, or as many of them as it may."""
    stream = transcript.llm.stream
    transcript.llm.stream = functools.partial(stream, logit_mask=forced(ids))
    turn = transcript.answer(text, greedy(len(ids), **settings))
    transcript.llm.stream = stream
    return "".join(piece.text for piece in turn)


def test_stops_are_what_the_model_wrote(llm: Llama):
    transcript = Transcript(llm, "Once", ("\nP!", "STO"), add_bos=True)
    said = [*ids_of(" a"), LINE, *ids_of("P!")]
    # The person's own stop text is no one's concern; the model's spans lines and tokens.
    assert write(transcript, " uponSTO", said) == " a"
    expected = [BOS, *ids_of(" Once", " upon", "S", "TO"), *said]
    assert write(transcript, " a", ids_of("a", "a", "b", "S", "TO", "a")) == "aab"
    expected += ids_of(" a", "a", "a", "b", "S", "TO")
    assert write(transcript, "b", ids_of("he")) == "he"
    expected += ids_of("b", "he")
    assert transcript._ids == expected
    assert transcript.stats.cached_tokens == (len(expected) - 3) // 4 * 4


@pytest.mark.parametrize("said", [[*ids_of("he"), EOS], ids_of("he", "llo")])
def test_a_turn_that_ends_without_a_stop_gets_one(llm: Llama, said):
    transcript = Transcript(llm, "Once", ("P!", "S"), add_bos=True)
    write(transcript, " upon", said)
    write(transcript, " a", ids_of("S"))
    write(transcript, " a", ids_of("S"))
    begun = [BOS, *ids_of(" Once", " upon"), *said, *ids_of("P!", " a", "S", " a", "S")]
    assert transcript._ids == begun


def test_nothing_written_changes_nothing(llm: Llama):
    transcript = Transcript(llm, "Once", ("P!",), add_bos=True)
    write(transcript, " upon", [])
    assert transcript.length == 0
    write(transcript, " a", ids_of("P!"))
    assert transcript._ids == [BOS, *ids_of(" Once", " a", "P!")]
    before = transcript.length
    with pytest.raises(ContextFullError, match=r"the text has .* tokens, and the context of 256"):
        transcript.answer("a" * 300, greedy(1))
    assert transcript.length == before


def test_without_bos(llm: Llama):
    transcript = Transcript(llm, "Once", ("P!",), add_bos=False)
    write(transcript, " a", ids_of("P!"))
    assert transcript._ids == ids_of(" Once", " a", "P!")


def test_lines_of_a_pipe(generate, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    parts = ["--interactive-system-prompt", "a", "--interactive-prompt-postfix", ""]
    done = generate("--start-interactive", *parts, "--interactive-stop", "zzz", "--quiet")
    first = generate("--prompt", "a one")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(first.out)
    assert len(done.out) > len(first.out)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--interactive-stop", "a"], "--interactive-stop: goes with --start-interactive"),
        (
            ["--start-interactive", "--interactive-stop", ""],
            "--interactive-stop: must not be empty",
        ),
        (
            ["--start-interactive", "--prompt", "a"],
            "not with --prompt; --interactive-system-prompt",
        ),
        (["--start-interactive", "--chat"], "not with --chat; cl-llama chat talks in a template"),
        (["--start-interactive", "--json"], "--start-interactive: not with --json"),
    ],
)
def test_misuse(cl_llama, words, reason):
    done = cl_llama(*words)
    assert (done.status, done.out) == (2, "")
    assert reason in done.err
