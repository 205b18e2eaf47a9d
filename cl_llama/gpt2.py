"""GPT-2 from arrays: llaf's two entry points (https://github.com/BobMcDear/llaf), with a cache.

    params = init(tok_emb, pos_emb, mask, gamma1s, beta1s, ..., w)
    ids = gen(ids, params, 20)

Dimensions: P positions, V vocabulary, L layers, D model width, H heads, K = D / H, F feed-forward
width.
"""

import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cl_llama.checkpoints.tensor import HostTensor, Rows
from cl_llama.errors import RequestError
from cl_llama.models.batch import STEP_TOKENS, Batch, SequenceSlice
from cl_llama.models.decoder import Decoder
from cl_llama.models.gpt2_config import gpt2_config
from cl_llama.models.gpt2_weights import Gpt2LayerTensors, Gpt2Tensors
from cl_llama.models.loading import load_model
from cl_llama.opencl.devices import select_device
from cl_llama.opencl.runtime import Runtime

_EPS = 1e-5
_HIDDEN = -1e4
"""What a mask adds to the score of a position that is not to be seen, at most."""


class Params:
    """A model on a device, made by `init`; one thread at a time may use it.

    Close it, or use it in a `with` statement; one that is dropped closes itself.
    """

    def __init__(self, model: Decoder, resources: ExitStack) -> None:
        self._model = model
        self._finalizer = weakref.finalize(self, resources.close)

    @property
    def model(self) -> Decoder:
        """The model; RequestError once it is closed."""
        if not self._finalizer.alive:
            raise RequestError("gpt2: these parameters were closed; call init again")
        return self._model

    def close(self) -> None:
        """Free the device's memory; more calls do nothing."""
        self._finalizer()

    def __enter__(self) -> Self:
        """The parameters themselves."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close them."""
        self.close()


def init(
    tok_emb: ArrayLike,
    pos_emb: ArrayLike,
    mask: ArrayLike | None,
    gamma1s: ArrayLike,
    beta1s: ArrayLike,
    gamma2s: ArrayLike,
    beta2s: ArrayLike,
    w_ins: ArrayLike,
    b_ins: ArrayLike,
    w_outs: ArrayLike,
    b_outs: ArrayLike,
    w1s: ArrayLike,
    b1s: ArrayLike,
    w2s: ArrayLike,
    b2s: ArrayLike,
    gamma: ArrayLike,
    beta: ArrayLike,
    w: ArrayLike,
    *,
    device: int | str | None = None,
    precision: Literal["high", "fast"] = "high",
) -> Params:
    """Bring a GPT-2's parameters onto a device, matrices as f16.

    Args:
        tok_emb: [V, D], embeddings of tokens.
        pos_emb: [P, D], embeddings of positions.
        mask: [P, P], the causal mask: 0 at and below the diagonal, -inf above; None: the same.
        gamma1s: [L, D], scales of the norms before attention.
        beta1s: [L, D], their shifts.
        gamma2s: [L, D], scales of the norms before the feed-forward networks.
        beta2s: [L, D], their shifts.
        w_ins: [L, 3, H, D, K], projections to queries, keys and values of each head.
        b_ins: [L, 3, H, K], their biases.
        w_outs: [L, H, K, D], projections of the heads' outputs.
        b_outs: [L, D], their biases.
        w1s: [L, D, F], first matrices of the feed-forward networks.
        b1s: [L, F], their biases.
        w2s: [L, F, D], second matrices.
        b2s: [L, D], their biases.
        gamma: [D], scale of the last norm.
        beta: [D], its shift.
        w: [D, V], projection to the vocabulary; kept once where it is tok_emb transposed.
        device: an index of `list_devices()`, a part of a device's name, or None for the best one.
        precision: as `Llama.from_pretrained` takes it.

    Raises:
        RequestError: an array's shape that does not fit the others', or another mask.
        CheckpointError: a value that f16 cannot hold.
        DeviceError: the device cannot be used, or lacks the memory.
    """
    arguments = locals()
    given = {name: np.asarray(arguments[name]) for name in _SHAPES}
    L, D, F, V, P, H, K = _sizes(given)
    sizes = {"L": L, "D": D, "F": F, "V": V, "P": P, "H": H, "K": K, "3": 3}
    for name, shape in _SHAPES.items():
        _check(name, given[name], shape, tuple(sizes[s] for s in shape))
    _check_mask(mask, P)
    tied = np.array_equal(given["w"].T, given["tok_emb"])
    config = gpt2_config(
        vocab_size=V,
        d_model=D,
        n_layers=L,
        n_heads=H,
        d_ff=F,
        norm_eps=_EPS,
        max_seq_len=P,
        tied_embeddings=tied,
        bos_id=None,
        eos_ids=(),
    )
    resources = ExitStack()
    try:
        runtime = Runtime(select_device(device))
        resources.callback(runtime.close)
        tensors = _tensors(given, L, D, F, tied)
        model = load_model(config, tensors, runtime, max_seq_len=P, precision=precision)
    except BaseException:
        resources.close()
        raise
    return Params(model, resources)


def gen(ids: ArrayLike, params: Params, count: int) -> NDArray[np.int64]:
    """Append the `count` most likely tokens, one by one: int64 [n] -> int64 [n + count].

    Where a sequence exceeds the model's P positions, its last P tokens are the context. All of
    these then have other positions than before, so every further token computes them again.

    Raises:
        RequestError: no ids, or ids beyond the vocabulary; a negative count.
        DeviceError: the device failed.
    """
    model, prompt = params.model, np.asarray(ids)
    V, P = model.config.vocab_size, model.config.max_seq_len
    if prompt.ndim != 1 or not len(prompt) or not np.issubdtype(prompt.dtype, np.integer):
        raise RequestError(
            f"gen: ids has shape {prompt.shape} of {prompt.dtype}; expected whole numbers [n], one"
            " or more"
        )
    if prompt.min() < 0 or prompt.max() >= V:
        worst = int(prompt.min() if prompt.min() < 0 else prompt.max())
        raise RequestError(f"gen: ids holds {worst}; expected ids from 0 to {V - 1}")
    if count < 0:
        raise RequestError(f"gen: count is {count}; expected 0 or more")
    sequence = np.concatenate([prompt.astype(np.int64), np.zeros(count, np.int64)])
    cached = 0
    for n in range(len(prompt), len(sequence)):
        context = sequence[max(0, n - P) : n].astype(np.int32)
        if n > P:
            cached = 0
        sequence[n] = _next(model, context, cached)
        cached = len(context)
    return sequence


_SHAPES = {
    "tok_emb": "VD",
    "pos_emb": "PD",
    "gamma1s": "LD",
    "beta1s": "LD",
    "gamma2s": "LD",
    "beta2s": "LD",
    "w_ins": "L3HDK",
    "b_ins": "L3HK",
    "w_outs": "LHKD",
    "b_outs": "LD",
    "w1s": "LDF",
    "b1s": "LF",
    "w2s": "LFD",
    "b2s": "LD",
    "gamma": "D",
    "beta": "D",
    "w": "DV",
}


@dataclass(frozen=True)
class _Array(HostTensor):
    """An array in memory, of any strides; `shape` may lay dimensions together."""

    values: NDArray[Any]

    def _read_rows(self, start: int, stop: int) -> Rows:
        rows: Rows = np.ascontiguousarray(
            self.values.reshape(self.shape)[start:stop], dtype=np.float32
        )
        return rows

    def release(self) -> None:
        """The caller holds it."""


def _tensors(given: dict[str, NDArray[Any]], L: int, D: int, F: int, tied: bool) -> Gpt2Tensors:
    """The arrays as matrices [out, in]."""

    def tensor(name: str, values: NDArray[Any], *shape: int) -> HostTensor:
        return _Array(name, shape or values.shape, "f32", values)

    def layer(i: int) -> Gpt2LayerTensors:
        def one(name: str) -> HostTensor:
            return tensor(f"{name}[{i}]", given[name][i])

        def linear(name: str) -> HostTensor:
            return tensor(f"{name}[{i}]", given[name][i].T)

        def heads(part: int) -> HostTensor:
            return tensor(f"w_ins[{i}, {part}]", given["w_ins"][i, part].swapaxes(1, 2), D, D)

        def biases(part: int) -> HostTensor:
            return tensor(f"b_ins[{i}, {part}]", given["b_ins"][i, part], D)

        return Gpt2LayerTensors(
            attn_norm=one("gamma1s"),
            attn_norm_bias=one("beta1s"),
            q=heads(0),
            k=heads(1),
            v=heads(2),
            q_bias=biases(0),
            k_bias=biases(1),
            v_bias=biases(2),
            o=tensor(f"w_outs[{i}]", np.moveaxis(given["w_outs"][i], 2, 0), D, D),
            o_bias=one("b_outs"),
            ffn_norm=one("gamma2s"),
            ffn_norm_bias=one("beta2s"),
            up=linear("w1s"),
            up_bias=one("b1s"),
            down=linear("w2s"),
            down_bias=one("b2s"),
        )

    embedding = tensor("tok_emb", given["tok_emb"])
    return Gpt2Tensors(
        embedding=embedding,
        positions=tensor("pos_emb", given["pos_emb"]),
        layers=tuple(layer(i) for i in range(L)),
        final_norm=tensor("gamma", given["gamma"]),
        final_norm_bias=tensor("beta", given["beta"]),
        output=embedding if tied else tensor("w", given["w"].T),
    )


def _sizes(given: dict[str, NDArray[Any]]) -> tuple[int, int, int, int, int, int, int]:
    """L, D, F, V, P, H, K, each of the first array that has it."""
    for name in ("tok_emb", "pos_emb", "w_ins", "w1s"):
        array, shape = given[name], _SHAPES[name]
        if array.ndim != len(shape) or 0 in array.shape:
            raise RequestError(
                f"init: {name} has shape {array.shape}; expected [{', '.join(shape)}], none zero"
            )
    V, D = given["tok_emb"].shape
    L, _, H, _, K = given["w_ins"].shape
    if H * K != D or K % 2:
        raise RequestError(
            f"init: w_ins has {H} heads of width {K}; expected an even width that times the number"
            f" of heads is {D}, tok_emb's"
        )
    return L, D, given["w1s"].shape[2], V, given["pos_emb"].shape[0], H, K


def _check(name: str, array: NDArray[Any], shape: str, expected: tuple[int, ...]) -> None:
    if array.shape != expected or not np.issubdtype(array.dtype, np.floating):
        raise RequestError(
            f"init: {name} has shape {array.shape} of {array.dtype}; expected [{', '.join(shape)}]"
            f" = {expected} of floating-point numbers"
        )


def _check_mask(mask: ArrayLike | None, P: int) -> None:
    """Attention here is causal by itself: another mask would be ignored in silence."""
    if mask is None:
        return
    mask_PP = np.asarray(mask)
    seen_PP = np.tri(P, dtype=bool)
    causal = mask_PP.shape == (P, P) and bool(
        np.where(seen_PP, mask_PP == 0, mask_PP <= _HIDDEN).all()
    )
    if not causal:
        raise RequestError(
            f"init: mask has shape {mask_PP.shape}; expected the causal one, {(P, P)}, 0 at and"
            " below the diagonal and -inf above, or None"
        )


def _next(model: Decoder, context: NDArray[np.int32], cached: int) -> int:
    """The most likely token after a context whose first `cached` tokens are in the cache."""
    table = np.arange(model.num_blocks, dtype=np.int32)
    for start in range(cached, len(context), STEP_TOKENS):
        ids = context[start : start + STEP_TOKENS]
        wanted: Literal["last", "none"] = "last" if start + len(ids) == len(context) else "none"
        logits = model.forward(Batch((SequenceSlice(ids, start, table, wanted),)))
    return int(logits.argmax()[0])
