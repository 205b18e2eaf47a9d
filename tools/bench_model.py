"""Measures a model on a device beside the device's read bandwidth, all in one run.

    python tools/bench_model.py /tmp/llama-1.1b --device 0

Decoding reads every weight once a token, so its roof is bandwidth / weight bytes. The read kernel
and the decoding steps alternate, because the speed of a shared machine drifts. The last line of
stdout is JSON; peak memory is the process's `ru_maxrss`, mapped files included.
"""

import argparse
import json
import resource
import statistics
import sys
import time

import numpy as np

from cl_llama import ops
from cl_llama.checkpoints import open_checkpoint
from cl_llama.models.batch import Batch, SequenceSlice
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.llama import Llama
from cl_llama.models.loading import load_model
from cl_llama.models.weights import map_tensors
from cl_llama.opencl.devices import select_device
from cl_llama.opencl.runtime import DeviceArray, Runtime


class ReadBandwidth:
    """A streaming read over buffers, several where the device cannot allocate as one."""

    def __init__(self, runtime: Runtime, buffers: list[DeviceArray]) -> None:
        self._runtime = runtime
        self._buffers = buffers
        self._contiguous = runtime.family == "cpu"
        self._items = 64 * runtime.compute_units if self._contiguous else 1 << 16
        self._sums = runtime.empty((self._items,), np.uint32)

    def measure(self) -> float:
        """Bytes a second."""
        kernel = self._runtime.kernel(
            "stream_read.cl", "stream_read", "bbu", CONTIGUOUS=int(self._contiguous)
        )
        self._runtime.finish()
        start, total = time.perf_counter(), 0
        for buffer in self._buffers:
            rounds = buffer.nbytes // (self._items * 256)
            local = (1,) if self._contiguous else (64,)
            self._runtime.launch(kernel, (self._items,), local, buffer, self._sums, rounds)
            total += rounds * self._items * 256
        self._runtime.finish()
        return total / (time.perf_counter() - start)


def step_seconds(model: Llama, tokens: int, start: int) -> float:
    """Seconds of one forward pass of some tokens of one sequence, its greedy choice included."""
    ids = np.arange(tokens, dtype=np.int32) * 7 % model.config.vocab_size
    table = np.arange(model.num_blocks, dtype=np.int32)
    began = time.perf_counter()
    model.forward(Batch((SequenceSlice(ids, start, table, "last"),))).argmax()
    return time.perf_counter() - began


def main(argv: list[str] | None = None) -> int:
    """Load, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--device", default=None)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--decode-tokens", type=int, default=8, help="tokens of a repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--read-mib", type=int, default=1024, help="what the read kernel reads")
    args = parser.parse_args(argv)

    device = select_device(args.device)
    began = time.perf_counter()
    runtime = Runtime(device)
    with open_checkpoint(args.model) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        model = load_model(config, map_tensors(config, checkpoint), runtime)
    runtime.finish()
    load_s = time.perf_counter() - began
    peak_load = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    step_seconds(model, args.prompt_tokens, 0)  # builds kernels
    step_seconds(model, 1, args.prompt_tokens)
    prefill = [
        args.prompt_tokens / step_seconds(model, args.prompt_tokens, 0)
        for _ in range(args.repetitions)
    ]
    peak_run = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    largest = min(args.read_mib << 20, device.max_alloc_bytes // 2)
    pieces = ops.ceil_div(args.read_mib << 20, largest)
    reader = ReadBandwidth(
        runtime, [runtime.from_numpy(np.ones(largest // 4, np.uint32)) for _ in range(pieces)]
    )
    reader.measure()
    reads, decode = [], []
    for _ in range(args.repetitions):
        reads.append(reader.measure())
        seconds = [
            step_seconds(model, 1, args.prompt_tokens + i) for i in range(args.decode_tokens)
        ]
        decode.append(args.decode_tokens / sum(seconds))
    embedding_bytes = 0 if config.tied_embeddings else 2 * config.vocab_size * config.d_model
    step_bytes = model.memory.weight_bytes - embedding_bytes
    bandwidth = max(reads)
    roof = bandwidth / step_bytes
    result = {
        "device": device.label,
        "load_s": round(load_s, 2),
        "weight_bytes": model.memory.weight_bytes,
        "peak_rss_bytes": peak_run,
        "peak_rss_share_of_weights": round(peak_run / model.memory.weight_bytes, 3),
        "peak_rss_after_load_bytes": peak_load,
        "bandwidth_gb_s": round(bandwidth / 1e9, 2),
        "bandwidth_median_gb_s": round(statistics.median(reads) / 1e9, 2),
        "decode_tokens_per_s": round(statistics.median(decode), 2),
        "decode_range": [round(min(decode), 2), round(max(decode), 2)],
        "decode_roof_tokens_per_s": round(roof, 2),
        "decode_share_of_roof": round(statistics.median(decode) / roof, 3),
        f"prefill_{args.prompt_tokens}_tokens_per_s": round(statistics.median(prefill), 1),
        "prefill_range": [round(min(prefill), 1), round(max(prefill), 1)],
    }
    for key, value in result.items():
        print(f"{key:32} {value}", file=sys.stderr)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
