"""The model that a bench measures, loaded from files or made of random weights."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cl_llama import ops
from cl_llama.bench.costs import ModelCosts, model_costs
from cl_llama.bench.peak_memory import peak_rss_bytes
from cl_llama.bench.random_weights import random_tensors
from cl_llama.bench.shapes import Shape
from cl_llama.checkpoints import HostTensor, open_checkpoint, resolve_model
from cl_llama.checkpoints.tensor import stored_bytes
from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import DeviceMemoryError, RequestError
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.decoder import Decoder
from cl_llama.models.loading import load_model
from cl_llama.models.memory import blocks_scratch_bytes, plan_memory
from cl_llama.models.quantization import formats_on_device, saved_bytes
from cl_llama.models.weights import ModelTensors, map_tensors
from cl_llama.opencl.devices import select_device
from cl_llama.opencl.programs import cache_info
from cl_llama.opencl.runtime import DeviceArray, Runtime

_Q8_0_SCALE = 1.0 / 64
"""Of random values in a cache of Q8_0, at most."""


@dataclass(frozen=True)
class Settings:
    """How a model is loaded; None is what cl-llama does by itself."""

    device: int | str | None = None
    precision: Literal["high", "fast"] | None = None
    quantize: str | None = None
    kv_type: ops.KVType = "f16"
    max_threads: int | None = None
    matrix_units: bool = True


@dataclass(frozen=True)
class FirstTokens:
    """Seconds from a prompt's submission to its first token."""

    prompt_tokens: int
    first: float
    """The process's first prompt, which waits for kernels."""
    second: float
    """Another prompt after it."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A loaded model and what its loading cost."""

    name: str
    model: Decoder
    costs: ModelCosts
    format_bytes: Mapping[str, int]
    """Of the matrices on the device, by format, the most first."""
    load_s: float
    first_tokens: FirstTokens
    kernels_built: int
    """Of the kernels so far, those that the cache on disk lacked."""
    peak_rss_bytes: int
    """Of the process up to the second first token, mapped pages included."""

    @property
    def runtime(self) -> Runtime:
        """The model's device."""
        return self.model.runtime


def load_subject(
    model: str | Shape | None,
    settings: Settings,
    positions: int,
    longest: int,
    prompt_tokens: int,
    resources: ExitStack,
    *,
    progress: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> Subject:
    """Load a model and generate the first token of two prompts.

    Args:
        model: a path or a name on the Hugging Face hub, a shape, or None for the embedded model.
        settings: the device, and what is done to the model.
        positions: what the cache has to hold, all sequences together.
        longest: positions of the longest sequence.
        prompt_tokens: tokens of the prompts.
        resources: closed by the caller when it is done with the model.
        progress: show a download's.
        on_progress: called with the share of the weights that is on the device, 0 to 1.

    Raises:
        RequestError: `longest` is beyond the model's own length.
        DeviceMemoryError: weights and cache do not fit the device.
        ClLlamaError: what loading raises.
    """
    kernels = cache_info().entries
    began = time.perf_counter()
    if isinstance(model, Shape):
        name, config = model.like, model.config()
        tensors: ModelTensors = random_tensors(config, settings.quantize)
    else:
        if model is None:
            from cl_llama.demo import model_path

            path = model_path()
        else:
            path = resolve_model(model, progress=progress)
        name = Path(model or "the embedded model").name
        checkpoint = resources.enter_context(open_checkpoint(path))
        config = config_from_checkpoint(checkpoint)
        tensors = map_tensors(config, checkpoint)
    if longest > config.max_seq_len:
        raise RequestError(
            f"bench: {longest} positions are asked for (depth and tokens together), {name} was "
            f"made for {config.max_seq_len}; lower --depth, --prompt-tokens or --gen-tokens"
        )
    runtime = Runtime(
        select_device(settings.device), settings.max_threads, matrix_units=settings.matrix_units
    )
    resources.callback(runtime.close)
    matrices = {tensor.name: tensor for tensor in tensors.matrices()}
    formats = formats_on_device(tensors, matrices, settings.quantize)
    saved = saved_bytes(formats, matrices)
    scratch = blocks_scratch_bytes(formats, matrices, runtime, None, settings.precision)
    try:
        plan_memory(config, runtime.device, positions, settings.kv_type, saved, scratch)
    except DeviceMemoryError as error:
        problem = str(error).rsplit(";", 1)[0]
        raise DeviceMemoryError(
            f"{problem}; lower --depth, --gen-tokens or --batch-size, or take a smaller model"
        ) from None
    loaded = load_model(
        config,
        tensors,
        runtime,
        max_seq_len=positions,
        on_progress=on_progress,
        precision=settings.precision,
        quantize=settings.quantize,
        kv_type=settings.kv_type,
    )
    runtime.finish()
    load_s = time.perf_counter() - began
    first_tokens = _first_tokens(loaded, min(prompt_tokens, longest - 1))
    subject = Subject(
        name,
        loaded,
        model_costs(config, tensors, formats, settings.kv_type),
        _format_bytes(formats, matrices),
        load_s,
        first_tokens,
        max(0, cache_info().entries - kernels),
        peak_rss_bytes(),
    )
    for i, cache in enumerate(loaded.caches):  # decode steps read what no prompt has written
        _fill(cache.keys, 2 * i)
        _fill(cache.values, 2 * i + 1)
    runtime.finish()
    return subject


def _fill(array: DeviceArray, seed: int) -> None:
    """Random f16, or bytes that are numbers and small scales wherever Q8_0 has them."""
    halves = DeviceArray(array.runtime, array.buffer, (array.nbytes // 2,), np.dtype(np.float16))
    ops.fill_random(halves, seed, 1.0 if array.dtype == np.float16 else _Q8_0_SCALE)


def _format_bytes(formats: Mapping[str, str], matrices: Mapping[str, HostTensor]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for name, matrix in matrices.items():
        totals[formats[name]] += stored_bytes(formats[name], math.prod(matrix.shape))
    return dict(totals.most_common())


def _first_tokens(model: Decoder, prompt_tokens: int) -> FirstTokens:
    """Two different prompts through an engine, one after the other."""
    prompt_tokens = max(1, prompt_tokens)
    seconds = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        engine = Engine(model, prompt_tokens + 1)
        try:
            ids = rng.integers(0, model.config.vocab_size, prompt_tokens).tolist()
            request = engine.submit(ids, SamplingParams(max_new_tokens=1, temperature=0.0))
            request.result()
        finally:
            engine.close()
        seconds.append(request.stats.seconds_to_first_token or 0.0)
    return FirstTokens(prompt_tokens, seconds[0], seconds[1])
