"""Perplexity and divergence against float64 NumPy, of a model in NumPy and of real ones."""

import numpy as np
import pytest

from cl_llama.engine.engine import Engine
from cl_llama.errors import RequestError
from cl_llama.llm import Llama
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.perplexity import (
    LogitsReader,
    LogitsWriter,
    Windows,
    compare,
    cut_windows,
    measure,
)
from cl_llama.perplexity.divergence import kl_divergence
from cl_llama.perplexity.statistics import log_softmax
from tests import reference
from tests.models.fixture_models import load, truth
from tests.paged_model import PagedModel, expected_logits


@pytest.fixture
def engine():
    engine = Engine(PagedModel(num_blocks=64), 64)
    yield engine
    engine.close()


@pytest.fixture
def windows() -> Windows:
    ids = np.random.default_rng(5).integers(2, 40, 100, dtype=np.int32)
    return cut_windows(ids, 24, bos_id=1)


def logprobs(logits_NV):
    logits_NV = np.asarray(logits_NV, np.float64)
    return logits_NV - np.log(np.exp(logits_NV).sum(axis=1, keepdims=True))


def expected_nll(windows: Windows, logits_of) -> np.ndarray:
    """Of all predicted tokens, in float64."""
    found = []
    for window, targets in zip(windows.ids_WC, windows.targets, strict=True):
        rows = logprobs(logits_of(window[:-1]))[-windows.scored :]
        found += [-row[target] for row, target in zip(rows, targets, strict=True)]
    return np.array(found)


def check(perplexity, nll: np.ndarray, tolerance: float) -> None:
    assert perplexity.nll.count == len(nll)
    assert perplexity.value == pytest.approx(np.exp(nll.mean()), rel=tolerance)
    error = np.exp(nll.mean()) * nll.std(ddof=1) / np.sqrt(len(nll))
    assert perplexity.error == pytest.approx(error, rel=10 * tolerance)


@pytest.mark.parametrize("stride", [None, 6])
def test_perplexity_and_its_error(engine, stride):
    ids = np.random.default_rng(5).integers(2, 40, 100, dtype=np.int32)
    windows = cut_windows(ids, 24, bos_id=1, stride=stride)
    seen = []
    found = measure(engine, windows, lambda running: seen.append(running.nll.count))
    check(found, expected_nll(windows, expected_logits), 1e-6)
    assert seen == [windows.scored * (i + 1) for i in range(len(windows.ids_WC))]
    assert "numpy" not in engine.model.used  # no rows of logits come to the host


def test_the_rest_is_cancelled_when_reading_ends(engine, windows):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(engine, windows, stop)
    engine.submit([1, 2], targets=[3, 4]).result()
    assert engine._scheduler.idle


@pytest.mark.parametrize("name", ["llama3-gqa", "qwen25-tied"])
def test_a_fixture(runtime, name):
    known = truth(name)
    ids = np.concatenate([known.ids, known.greedy[:-1]])
    windows = Windows(ids[None].astype(np.int32), len(ids) // 2)
    engine = Engine(load(name, runtime), len(ids))
    found = measure(engine, windows, lambda _: None)
    engine.close()
    check(found, expected_nll(windows, lambda ids: known.logits[: len(ids)]), 2e-5)


def test_stories260k(device: DeviceInfo, shared_data):
    from cl_llama.checkpoints import open_checkpoint
    from cl_llama.models.config import config_from_checkpoint

    path = shared_data("stories260K.bin")
    text = shared_data("stories260K.greedy200.txt").read_text()
    with open_checkpoint(path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        weights = reference.load_weights(config, checkpoint)
    tokenizer_path = shared_data("tok512.model")
    with Llama.from_pretrained(path, device=device.index, tokenizer_path=tokenizer_path) as llm:
        ids = np.array(llm.tokenizer.encode(text), np.int32)
        windows = cut_windows(ids, 64, bos_id=llm.tokenizer.bos_id)
        found = measure(llm.engine, windows, lambda _: None)
    nll = expected_nll(windows, lambda ids: reference.logits(config, weights, ids))
    check(found, nll, 2e-5)
    assert 1 < found.value < 4  # the model's own text


def test_a_model_beside_itself(engine, windows, tmp_path):
    path = tmp_path / "base"
    with LogitsWriter(path, windows, 40) as writer:
        alone = measure(engine, windows, lambda _: None, writer)
    check(alone, expected_nll(windows, expected_logits), 1e-6)
    with LogitsReader(path) as reader:
        np.testing.assert_array_equal(reader.windows.ids_WC, windows.ids_WC)
        assert reader.windows.scored == windows.scored
        found = compare(engine, reader.windows, reader, lambda _: None).as_json()
    assert found["perplexity"] == pytest.approx(alone.value, rel=1e-9)
    assert found["base_perplexity"] == pytest.approx(alone.value, rel=1e-3)
    assert 0 <= found["kl_divergence_max"] < 1e-7
    assert abs(found["kl_divergence"]) < 1e-7
    assert found["top_1_agreement"] == 1.0


def test_one_model_beside_another(engine, windows, tmp_path):
    path = tmp_path / "base"
    with LogitsWriter(path, windows, 40) as writer:
        measure(engine, windows, lambda _: None, writer)
    changed = Windows(np.where(windows.ids_WC == 7, 8, windows.ids_WC), windows.scored)
    with LogitsReader(path) as reader:
        found = compare(engine, changed, reader, lambda _: None).as_json()
    base = np.concatenate(
        [logprobs(expected_logits(w[:-1]))[-windows.scored :] for w in windows.ids_WC]
    )
    own = np.concatenate(
        [logprobs(expected_logits(w[:-1]))[-windows.scored :] for w in changed.ids_WC]
    )
    kl = (np.exp(base) * (base - own)).sum(axis=1)
    assert found["kl_divergence"] == pytest.approx(kl.mean(), rel=1e-5)
    assert found["kl_divergence_max"] == pytest.approx(kl.max(), rel=1e-4)
    assert found["kl_divergence_median"] == pytest.approx(np.median(kl), abs=1e-7)
    error = kl.std(ddof=1) / np.sqrt(len(kl))
    assert found["kl_divergence_error"] == pytest.approx(error, rel=1e-4)
    same = base.argmax(axis=1) == own.argmax(axis=1)
    assert found["top_1_agreement"] == same.mean()
    assert 0 < same.mean() < 1
    targets = changed.targets.ravel()
    ratio = (base - own)[np.arange(len(targets)), targets]
    assert found["log_perplexity_ratio"] == pytest.approx(ratio.mean(), abs=1e-3)


def test_tokens_that_the_base_cut_off_do_not_count():
    base = log_softmax(np.array([[0.0, -3.0, -40.0, -50.0, -60.0]], np.float32))
    cut = np.maximum(base, base.max() - 16)
    assert abs(kl_divergence(base, cut)[0]) < 1e-6
    near = log_softmax(np.array([[0.0, -3.0, -5.0]], np.float32))
    assert abs(kl_divergence(near, near)[0]) < 1e-15
    assert kl_divergence(log_softmax(np.zeros((1, 3), np.float32)), near)[0] > 0.1


def test_llama_cpps_rows_are_read(tmp_path):
    """A file put together by the format's description, reaching 16 below the likeliest."""
    C, V = 5, 3
    logits = np.array([[1.0, 0.5, -30.0], [0.0, 0.0, 0.0]], np.float32)
    rows = b""
    for row in logits:
        high = row.max()
        low = max(row.min(), high - 16)
        norm = high + np.log(np.exp(row - high).sum())
        scale = np.float32((high - low) / 65535)
        levels = [round(float((x - low) / scale)) if x > low else 0 for x in row]
        rows += np.array([scale, low - norm], "<f4").tobytes()
        rows += np.array([*levels, 0], "<u2").tobytes()
    path = tmp_path / "file"
    header = b"_logits_" + np.array([C, V, 1], "<i4").tobytes()
    path.write_bytes(header + np.arange(C, dtype="<i4").tobytes() + rows)
    with LogitsReader(path) as reader:
        assert (reader.vocab_size, reader.windows.ids_WC.tolist()) == (3, [[0, 1, 2, 3, 4]])
        assert reader.windows.scored == 2
        found = np.concatenate([reader.read(1), reader.read(1)])
    expected = np.maximum(log_softmax(logits), log_softmax(logits).max(axis=1)[:, None] - 16)
    np.testing.assert_allclose(found, expected, atol=1.3e-4)


def test_files_that_are_none(tmp_path, windows):
    path = tmp_path / "file"
    with pytest.raises(RequestError, match=r"cannot be read \(No such file"):
        LogitsReader(path)
    path.write_bytes(b"_logits")
    with pytest.raises(RequestError, match="is no file of log-probabilities"):
        LogitsReader(path)
    path.write_bytes(b"_logits_" + np.array([512, 32000, 2], "<i4").tobytes())
    with pytest.raises(RequestError, match=r"20 bytes, expected .* 2 windows of 512 tokens"):
        LogitsReader(path)
    with pytest.raises(RequestError, match="is there already"):
        LogitsWriter(path, windows, 40)


def test_a_file_that_is_not_whole_is_not_there(tmp_path, windows):
    path = tmp_path / "base"
    with LogitsWriter(path, windows, 40) as writer:
        writer.write(log_softmax(np.zeros((3, 40), np.float32)))
    assert list(tmp_path.iterdir()) == []
