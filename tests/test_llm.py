import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from cl_llama.engine.params import SamplingParams
from cl_llama.errors import CheckpointError, DeviceError, RequestError, TokenizerError
from cl_llama.llm import Llama
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.tokenizers.bytewise import BytewiseTokenizer
from cl_llama.tokenizers.streaming import LeadingSpace
from tests import reference
from tests.paged_model import PagedModel, expected_greedy, expected_logits

FIXTURE = Path(__file__).parent / "fixtures" / "llama3-gqa"
SPECIALS = ["<unk>", "<s>", "</s>"]
WORDS = [
    " Once",
    " upon",
    " a",
    " ",
    "he",
    "llo",
    " wor",
    "ld",
    "a",
    "b",
    "ab",
    "aab",
    "S",
    "TO",
    "P!",
]
BYTES = [b"\xe2", b"\x82", b"\xac", b"\xf0\x9f", b"\x92\xa9"]
VOCABULARY = [b"", b"", b"", *(word.encode() for word in WORDS), *BYTES]
BOS, EOS = 1, 2


class WordTokenizer(BytewiseTokenizer):
    """Longest known piece first, with SentencePiece's space in front of a text."""

    def __init__(self, bos_id: int | None = BOS, size: int = len(VOCABULARY)) -> None:
        super().__init__(
            pieces=[*SPECIALS, *WORDS, *map(repr, BYTES), *["pad"] * size][:size],
            contributions=[*VOCABULARY, *[b""] * size][:size],
            special_ids=frozenset(range(3)),
            leading=LeadingSpace.ONE,
            bos_id=bos_id,
            eos_ids=(EOS,),
            adds_bos=True,
        )

    def encode(self, text: str, add_bos: bool = True, special: bool = False) -> list[int]:
        ids = self.beginning(add_bos)
        data = b" " + text.encode() if text and not text.startswith("<s>") else text.encode()
        while data:
            if special and data.startswith(b"<s>"):
                ids.append(BOS)
                data = data[3:]
                continue
            best = max(
                (i for i, piece in enumerate(VOCABULARY) if piece and data.startswith(piece)),
                key=lambda i: len(VOCABULARY[i]),
            )
            ids.append(best)
            data = data[len(VOCABULARY[best]) :]
        return ids


def ids_of(*pieces: str | bytes) -> list[int]:
    return [VOCABULARY.index(p.encode() if isinstance(p, str) else p) for p in pieces]


def forced(ids: Sequence[int]) -> Callable[[Sequence[int]], np.ndarray]:
    """A mask that makes the model say exactly these tokens."""

    def mask(generated: Sequence[int]) -> np.ndarray:
        return np.arange(40) == ids[len(generated)]

    return mask


def greedy(count: int | None = 12, **settings: object) -> SamplingParams:
    return SamplingParams(max_new_tokens=count, temperature=0.0, **settings)


@pytest.fixture
def llm() -> Iterator[Llama]:
    with Llama(PagedModel(), WordTokenizer()) as llm:
        yield llm
    assert not engine_threads()


def engine_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "cl-llama engine"]


def test_a_completion_is_what_was_generated(llm: Llama):
    prompt = [BOS, *ids_of(" Once", " upon")]
    completion = llm.generate("Once upon", greedy())
    assert completion.prompt_token_ids == prompt
    assert completion.token_ids == expected_greedy(prompt, 12)
    assert completion.text == llm.tokenizer.decode(completion.token_ids, at_start=False)
    assert completion.finish_reason == "length"
    assert completion.logprobs is completion.top_logprobs is None
    assert completion.stats.generated_tokens == 12
    assert llm.generate(prompt, greedy()).token_ids == completion.token_ids
    assert llm.generate(np.array(prompt), greedy()).text == completion.text


def test_a_list_of_prompts_is_completed_in_order(llm: Llama):
    prompts = ["Once", [1, 5, 6], "he", np.array([1, 7]), "Once upon a"]
    completions = llm.generate(prompts, greedy())
    assert [c.text for c in completions] == [llm.generate(p, greedy()).text for p in prompts]
    assert llm.generate(("Once", "he"), greedy())[1].text == completions[2].text
    assert llm.generate([]) == []
    assert len(llm.generate(["he"], greedy())) == 1


def test_text_goes_on_after_a_prompt_and_begins_after_none(llm: Llama):
    words = ids_of(" Once", " upon")
    after = llm.generate("a", greedy(2), logit_mask=forced(words))
    assert after.text == " Once upon"
    alone = llm.generate("", greedy(2), logit_mask=forced(words))
    assert alone.prompt_token_ids == [BOS]
    assert alone.text == "Once upon"
    assert llm.generate([BOS], greedy(2), logit_mask=forced(words)).text == "Once upon"


def test_a_bos_that_the_text_spells_is_not_doubled(llm: Llama):
    assert llm.generate("<s>he", greedy(1)).prompt_token_ids == [BOS, *ids_of("he")]


def test_an_empty_prompt_needs_a_bos_token():
    model = PagedModel()
    with Llama(model, WordTokenizer(bos_id=None)) as llm:
        assert llm.generate("", greedy(1)).prompt_token_ids == [1]  # the configuration's
    object.__setattr__(model.config, "bos_id", None)
    with Llama(model, WordTokenizer(bos_id=None)) as llm:
        with pytest.raises(RequestError, match="empty, and this model has no BOS"):
            llm.generate("")
        with pytest.raises(RequestError, match="holds no token"):
            llm.generate([[]])


def test_stream_gives_the_text_of_generate(llm: Llama):
    for prompt in ("Once upon", "", "he", [1, 20, 21]):
        for count in (0, 1, 30):
            completion = llm.generate(prompt, greedy(count, logprobs=2))
            pieces = list(llm.stream(prompt, greedy(count, logprobs=2)))
            assert "".join(piece.text for piece in pieces) == completion.text
            assert [p.token_id for p in pieces if p.token_id is not None] == completion.token_ids
            assert [p.finish_reason for p in pieces[:-1]] == [None] * (len(pieces) - 1)
            assert pieces[-1].finish_reason == completion.finish_reason
            if count:
                assert [p.logprob for p in pieces] == completion.logprobs
                assert [p.top_logprobs for p in pieces] == completion.top_logprobs


def test_characters_are_never_split(llm: Llama):
    euro_and_more = [
        *ids_of("a", b"\xe2", b"\x82", b"\xac", "b", b"\xf0\x9f", b"\x92\xa9", b"\xe2")
    ]
    pieces = list(llm.stream("he", greedy(8), logit_mask=forced(euro_and_more)))
    assert [p.text for p in pieces] == ["a", "", "", "€", "b", "", "\N{PILE OF POO}", "\ufffd"]


@pytest.mark.parametrize(
    ("said", "stop", "text", "tokens"),
    [
        ((" wor", "ld", "b"), ("ld",), " wor", 2),
        ((" wor", "ld", "b"), ("rld",), " wo", 2),
        (("he", "llo", " wor", "ld"), ("lo wo",), "hel", 3),
        (("he", "llo", " wor", "ld"), ("hello",), "", 2),
        (("a", "ab", "aab", "b"), ("aabaab",), "", 3),
        (("S", "TO", "P!", "a"), ("STOP!", "TO"), "S", 2),
        (("a", b"\xe2", b"\x82", b"\xac", "b"), ("€",), "a", 4),
        (("a", "b", "a"), ("ab",), "", 2),
    ],
)
def test_a_stop_string_ends_the_text(
    llm: Llama, said: tuple[str | bytes, ...], stop: tuple[str, ...], text: str, tokens: int
):
    ids = ids_of(*said)
    params, mask = greedy(len(ids), stop=stop), forced(ids)
    alone = llm.generate("he", params, logit_mask=mask)
    among = llm.generate(["a", "he", "Once"], params, logit_mask=mask)[1]
    for completion in (alone, among):
        assert completion.text == text
        assert completion.token_ids == ids[:tokens]
        assert completion.finish_reason == "stop"
    pieces = list(llm.stream("he", params, logit_mask=mask))
    assert "".join(piece.text for piece in pieces) == text
    assert [piece.finish_reason for piece in pieces] == [None] * (tokens - 1) + ["stop"]


@pytest.mark.parametrize(
    ("said", "stop", "text"),
    [
        (("a", "S", "TO", "P!"), ("STOP?", "P!x"), "aSTOP!"),
        (("a", b"\xe2", b"\x82", "b"), ("€",), "a\ufffdb"),
        (("S", "TO"), ("STOP",), "STO"),
    ],
)
def test_what_is_no_stop_string_is_kept(
    llm: Llama, said: tuple[str | bytes, ...], stop: tuple[str, ...], text: str
):
    ids = ids_of(*said)
    completion = llm.generate("he", greedy(len(ids), stop=stop), logit_mask=forced(ids))
    assert (completion.text, completion.token_ids) == (text, ids)
    assert completion.finish_reason == "length"


def test_an_end_token_is_counted_but_not_shown(llm: Llama):
    ids = [*ids_of("he", "S"), EOS]
    completion = llm.generate("a", greedy(stop="STOP"), logit_mask=forced(ids))
    assert completion.text == "heS"  # held back until the end
    assert completion.token_ids == ids
    assert completion.finish_reason == "stop"
    own = llm.generate(
        "a", greedy(stop_token_ids=ids_of("b")), logit_mask=forced(ids_of("he", "b"))
    )
    assert (own.text, own.token_ids) == ("he", ids_of("he", "b"))
    go_on = forced([*ids, *ids_of("b")])
    ignored = llm.generate("a", greedy(4, stop_token_ids=()), logit_mask=go_on)
    assert (ignored.text, ignored.finish_reason) == ("heSb", "length")


def test_end_tokens_are_the_models_own_before_the_tokenizers():
    mask = forced([EOS, 9, EOS, 9])
    with Llama(PagedModel(eos_ids=(9,)), WordTokenizer()) as llm:
        assert llm.generate("a", greedy(), logit_mask=mask).token_ids == [EOS, 9]
    with Llama(PagedModel(), WordTokenizer(), end_ids=(EOS, 9)) as llm:
        assert llm.generate("a", greedy(), logit_mask=mask).token_ids == [EOS]


def test_logprobs(llm: Llama):
    completion = llm.generate("he", greedy(3, logprobs=2))
    logits = expected_logits([*completion.prompt_token_ids, *completion.token_ids])
    for i, (logprob, top) in enumerate(
        zip(completion.logprobs, completion.top_logprobs, strict=True)
    ):
        row = logits[len(completion.prompt_token_ids) - 1 + i].astype(np.float64)
        assert logprob == pytest.approx(row.max() - np.log(np.exp(row).sum()), abs=1e-5)
        assert top[0] == (completion.token_ids[i], logprob)


@pytest.mark.parametrize("length", [1, 2, 130, 256])
def test_logits_of_every_position(llm: Llama, length: int):
    ids = [(11 * i) % 40 for i in range(length)]
    np.testing.assert_array_equal(llm.logits(ids), expected_logits(ids))


def test_logits_of_a_text(llm: Llama):
    ids = llm.tokenizer.encode("Once upon a")
    np.testing.assert_array_equal(llm.logits("Once upon a"), expected_logits(ids))


def test_prompts_longer_than_the_context():
    with Llama(PagedModel(), WordTokenizer(), max_seq_len=5) as llm:
        assert llm.max_seq_len == 5
        for call in (llm.generate, llm.stream, llm.logits):
            with pytest.raises(RequestError, match="has 6 tokens, the context has room for 5"):
                call([1] * 6)
        assert llm.logits([1] * 5).shape == (5, 40)
        assert len(llm.generate([1, 3], greedy(None)).token_ids) == 3
    with pytest.raises(RequestError, match="max_seq_len must be at least 1, got 0"):
        Llama(PagedModel(), None, max_seq_len=0)


@pytest.mark.parametrize("prompt", [5, None, 1.5, [1.5], ["he", None], [["he"]], [1, "he"]])
def test_prompts_that_are_none(llm: Llama, prompt: object):
    with pytest.raises(RequestError, match="expected a sequence of token ids"):
        llm.generate(prompt)


def test_without_a_tokenizer_ids_still_work():
    with Llama(PagedModel(), None) as llm:
        completion = llm.generate([1, 5], greedy())
        assert completion.token_ids == expected_greedy([1, 5], 12)
        assert completion.text == ""
        assert [p.token_id for p in llm.stream([1, 5], greedy())] == completion.token_ids
        for ask in (
            lambda: llm.tokenizer,
            lambda: llm.generate("he"),
            lambda: llm.generate([1], greedy(stop="x")),
        ):
            with pytest.raises(TokenizerError, match="came without a tokenizer"):
                ask()


def test_a_tokenizer_larger_than_the_model_is_refused():
    with pytest.raises(TokenizerError, match="has 41 tokens, the model only 40"):
        Llama(PagedModel(), WordTokenizer(size=41))
    Llama(PagedModel(), WordTokenizer(size=40)).close()


def test_a_stream_that_is_closed_or_dropped_stops_the_model():
    model = PagedModel(num_blocks=600)
    object.__setattr__(model.config, "max_seq_len", 2000)
    with Llama(model, WordTokenizer()) as llm:
        for end in ("close", "with", "drop", "unread"):
            stream = llm.stream("he", greedy(None, stop_token_ids=()))
            if end != "unread":
                next(stream)
            if end == "close":
                stream.close()
                assert list(stream)[-1].finish_reason == "cancelled"
            elif end == "with":
                with stream:
                    pass
            del stream
            deadline = time.monotonic() + 5
            while not llm.engine._scheduler.idle and time.monotonic() < deadline:
                time.sleep(0.001)
            assert llm.engine._scheduler.idle
    assert len(model.batches) < 2000


def test_an_error_ends_all_completions_of_the_call():
    model = PagedModel()
    with Llama(model, WordTokenizer()) as llm:
        failing = iter([None, None, DeviceError("gone")])

        def fail(batch: object) -> None:
            error = next(failing, None)
            if error is not None:
                raise error

        model.before_forward = fail
        with pytest.raises(DeviceError, match="gone"):
            llm.generate(["he", "a"], greedy(50))
        with pytest.raises(RequestError, match="token id 77"):
            llm.generate([[1], [77]], greedy(50))
        assert llm.generate("he", greedy()).finish_reason == "length"


def test_ctrl_c_stops_a_generation():
    model = PagedModel(before_forward=lambda batch: time.sleep(0.01))
    with Llama(model, WordTokenizer()) as llm:
        interrupt = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            llm.generate(["he", "a"], greedy(None, stop_token_ids=()))
        interrupt.join()
        assert llm.generate("he", greedy(2)).finish_reason == "length"
    assert len(model.batches) < 100


def test_threads_share_a_model(llm: Llama):
    prompts = [[1, i, i + 1] for i in range(12)]
    texts: dict[int, list[int]] = {}

    def client(i: int) -> None:
        texts[i] = llm.generate(prompts[i], greedy(stop_token_ids=())).token_ids

    threads = [threading.Thread(target=client, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert texts == {i: expected_greedy(prompt, 12) for i, prompt in enumerate(prompts)}


def test_closing_frees_resources_after_the_engine_and_once():
    closed: list[int] = []
    resources = ExitStack()
    resources.callback(lambda: closed.append(len(engine_threads())))
    llm = Llama(PagedModel(), WordTokenizer(), resources=resources)
    stream = llm.stream("he", greedy(None, stop_token_ids=()))
    llm.close()
    llm.close()
    assert closed == [0]
    assert list(stream)[-1].finish_reason == "cancelled" or stream.stats.generated_tokens > 250
    for call in (llm.generate, llm.stream, llm.logits):
        with pytest.raises(RequestError, match="the engine is closed"):
            call("he")


def test_a_dropped_model_closes_itself_but_not_under_its_streams():
    llm = Llama(PagedModel(), WordTokenizer())
    stream = llm.stream("he", greedy())
    del llm
    gc.collect()
    assert len(list(stream)) == 12
    del stream
    gc.collect()
    assert not engine_threads()


def test_a_loaded_model_tells_the_story(shared_data: Callable[[str], Path]):
    story = shared_data("stories260K.greedy200.txt").read_text()
    tokenizer = shared_data("tok512.model")
    shares: list[float] = []
    with Llama.from_pretrained(
        shared_data("stories260K.bin"),
        tokenizer_path=tokenizer,
        on_progress=shares.append,
    ) as llm:
        completion = llm.generate("", greedy(200))
        assert completion.text.strip() == story.strip()
        ids = [*completion.prompt_token_ids, *completion.token_ids]
        assert llm.logits(ids)[:-1].argmax(axis=1).tolist() == ids[1:]
        middle = len(story) // 2
        assert llm.generate(story[:middle], greedy(20)).text in story
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_failed_load_leaves_nothing_behind(shared_data: Callable[[str], Path]):
    model = shared_data("stories260K.bin")
    with pytest.raises(TokenizerError, match="has 32000 tokens, the model only 512"):
        Llama.from_pretrained(model, tokenizer_path=shared_data("llama2_tokenizer.model"))
    with pytest.raises(CheckpointError):
        Llama.from_pretrained(model.parent / "missing.bin")


def test_parameters_that_from_pretrained_refuses():
    with pytest.raises(RequestError, match="""precision must be "high" or "fast", got 'faster'"""):
        Llama.from_pretrained(FIXTURE, precision="faster")
    with pytest.raises(RequestError, match="""kv_type must be "f16" or "q8_0", got 'q4_0'"""):
        Llama.from_pretrained(FIXTURE, kv_type="q4_0")
    with pytest.raises(RequestError, match="max_threads must be at least 1, got 0"):
        Llama.from_pretrained(FIXTURE, max_threads=0)


def test_precision(device: DeviceInfo, monkeypatch: pytest.MonkeyPatch):
    """High is the default; fast differs by what a matrix unit rounds, without one not at all."""

    def logits(precision):
        with Llama.from_pretrained(FIXTURE, device=device.index, precision=precision) as llm:
            return llm.logits(list(range(40)))

    high = logits("high")
    np.testing.assert_array_equal(logits(None), high)
    assert reference.relative_rms(logits("fast"), high) <= 1e-2
    monkeypatch.setenv("CL_LLAMA_MATRIX_UNITS", "off")
    np.testing.assert_array_equal(logits("fast"), logits("high"))


def test_a_cache_of_bytes(device: DeviceInfo):
    """It takes about half of the memory, and its rounding shows, a little."""
    logits, nbytes = [], []
    for kv_type in ("f16", "q8_0"):
        with Llama.from_pretrained(FIXTURE, device=device.index, kv_type=kv_type) as llm:
            logits.append(llm.logits(list(range(40))))
            nbytes.append(llm.engine.model.memory.cache_bytes)
    assert 0 < reference.relative_rms(logits[1], logits[0]) <= 1e-2
    assert nbytes[1] < 0.6 * nbytes[0]


def test_fewer_threads_give_the_same(device: DeviceInfo):
    if "llvmpipe" in device.name:
        with pytest.raises(DeviceError, match="cannot limit its threads"):
            Llama.from_pretrained(FIXTURE, device=device.index, max_threads=1)
        return
    logits = []
    for max_threads in (None, 1, 10**6):
        with Llama.from_pretrained(FIXTURE, device=device.index, max_threads=max_threads) as llm:
            if max_threads == 1 and device.is_cpu:
                assert llm.engine.model.runtime.compute_units == 1
            logits.append(llm.logits(list(range(40))))
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], logits[2])


def test_a_program_that_forgets_to_close_ends():
    program = """
from tests.paged_model import PagedModel
from cl_llama import Llama, SamplingParams
llm = Llama(PagedModel(num_blocks=10**5), None)
stream = llm.stream([1], SamplingParams(stop_token_ids=()))
print(next(stream).token_id)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip().isdigit()
    assert done.stderr == ""


def test_importing_the_package_loads_no_opencl_and_little_else():
    program = """
import sys
import cl_llama
assert "numpy" not in sys.modules
assert isinstance(cl_llama.SamplingParams(), object)
assert set(cl_llama.__all__) <= set(dir(cl_llama))
cl_llama.Llama, cl_llama.Completion, cl_llama.__version__
assert "pyopencl" not in sys.modules
try:
    cl_llama.missing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "module 'cl_llama' has no attribute 'missing'\n"
