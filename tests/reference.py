"""The truth: every operation and the whole forward pass in plain float64 NumPy.

Shape suffixes: T tokens, S cached positions, D model width, H query heads, G key/value heads, K
head width, P = K/2 pairs, F feed-forward width, V vocabulary. What the device holds in f16
(matrices, K and V) is rounded to f16 here too, what it holds in f32 (norm weights, biases) to f32;
all arithmetic is float64.
"""

from dataclasses import dataclass, fields

import numpy as np

from cl_llama.blocks import FORMATS
from cl_llama.checkpoints import Checkpoint, HostTensor
from cl_llama.models.config import ModelConfig
from cl_llama.models.rope import cos_sin
from cl_llama.models.weights import map_tensors


def f16(x):
    """Round to f16, keep computing in float64."""
    return np.asarray(x, np.float16).astype(np.float64)


def f32(x):
    """Round to f32, keep computing in float64."""
    return np.asarray(x, np.float32).astype(np.float64)


def q8_0(x):
    """Round each 32 neighbours of the last axis to a byte times an f16 scale; the last ones may be
    fewer. The largest of them becomes 127 or -127; halves are rounded away from zero."""
    x = np.asarray(x, np.float64)
    y = np.empty_like(x)
    for start in range(0, x.shape[-1], 32):
        group = x[..., start : start + 32]
        scale = np.abs(group).max(axis=-1, keepdims=True) / 127
        steps = group / np.where(scale > 0, scale, 1)
        y[..., start : start + 32] = np.trunc(steps + np.copysign(0.5, steps)) * f16(scale)
    return y


def relative_rms(got, expected) -> float:
    """RMS of the error over the RMS of what was expected; NaN if any value is NaN."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    return float(np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2)))


# ---- single operations ----


def embedding(ids_T, w_VD):
    """Rows of the embedding matrix: [T, D]."""
    return np.asarray(w_VD, np.float64)[np.asarray(ids_T)]


def matmul(x_TD, w_FD, bias_F=None):
    """x times the transposed weight, plus the bias: [T, F]."""
    y_TF = np.asarray(x_TD, np.float64) @ np.asarray(w_FD, np.float64).T
    return y_TF if bias_F is None else y_TF + np.asarray(bias_F, np.float64)


def rmsnorm(x_TD, weight_D, eps):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis, whatever axes come before."""
    x_TD = np.asarray(x_TD, np.float64)
    scale_T1 = 1.0 / np.sqrt(np.mean(x_TD**2, axis=-1, keepdims=True) + eps)
    return x_TD * scale_T1 * np.asarray(weight_D, np.float64)


def layernorm(x_TD, weight_D, bias_D, eps):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis."""
    x_TD = np.asarray(x_TD, np.float64)
    distance_TD = x_TD - x_TD.mean(axis=-1, keepdims=True)
    return rmsnorm(distance_TD, weight_D, eps) + np.asarray(bias_D, np.float64)


def gelu(x_TF):
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))."""
    x_TF = np.asarray(x_TF, np.float64)
    return x_TF / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x_TF + 0.044715 * x_TF**3)))


def rope(x_THK, cos_sin_TP2, pairing, width=None):
    """Rotate every head's pairs: (a, b) -> (a cos - b sin, b cos + a sin).

    Of a head's channels the first `width` rotate, None is all.
    """
    x_THK = np.asarray(x_THK, np.float64)
    if width is not None:
        rotated = rope(x_THK[..., :width], cos_sin_TP2[:, : width // 2], pairing)
        return np.concatenate([rotated, x_THK[..., width:]], axis=-1)
    cos_T1P = np.asarray(cos_sin_TP2, np.float64)[:, None, :, 0]
    sin_T1P = np.asarray(cos_sin_TP2, np.float64)[:, None, :, 1]
    half = x_THK.shape[-1] // 2
    first, second = {
        "half": (np.s_[..., :half], np.s_[..., half:]),
        "adjacent": (np.s_[..., 0::2], np.s_[..., 1::2]),
    }[pairing]
    y_THK = np.empty_like(x_THK)
    y_THK[first] = x_THK[first] * cos_T1P - x_THK[second] * sin_T1P
    y_THK[second] = x_THK[second] * cos_T1P + x_THK[first] * sin_T1P
    return y_THK


def attention(q_THK, k_SGK, v_SGK, q_positions_T, window=None, scale=None, cap=None):
    """Causal grouped-query attention over keys at positions 0 .. S-1: [T, H, K].

    The query at position p sees positions s <= p, and with a window only s > p - window. Query
    head h reads key/value head h // (H / G). Scores are multiplied by `scale`, None is 1 / sqrt(K),
    then limited to `cap` where it is given.
    """
    q_THK = np.asarray(q_THK, np.float64)
    group = q_THK.shape[1] // np.shape(k_SGK)[1]
    k_SHK = np.repeat(np.asarray(k_SGK, np.float64), group, axis=1)
    v_SHK = np.repeat(np.asarray(v_SGK, np.float64), group, axis=1)
    scores_HTS = np.einsum("thk,shk->hts", q_THK, k_SHK)
    scores_HTS = scores_HTS * (q_THK.shape[2] ** -0.5 if scale is None else scale)
    if cap is not None:
        scores_HTS = softcap(scores_HTS, cap)
    p_T1 = np.asarray(q_positions_T)[:, None]
    s_1S = np.arange(len(k_SHK))[None, :]
    visible_TS = s_1S <= p_T1
    if window is not None:
        visible_TS &= s_1S > p_T1 - window
    weights_HTS = softmax(np.where(visible_TS, scores_HTS, -np.inf))
    return np.einsum("hts,shk->thk", weights_HTS, v_SHK)


def swiglu(gate_TF, up_TF):
    """silu(gate) * up, with silu(x) = x / (1 + exp(-x))."""
    gate_TF = np.asarray(gate_TF, np.float64)
    sigmoid_TF = np.exp(-np.logaddexp(0.0, -gate_TF))  # without overflow on either side
    return gate_TF * sigmoid_TF * np.asarray(up_TF, np.float64)


def geglu(gate_TF, up_TF):
    """gelu(gate) * up."""
    return gelu(gate_TF) * np.asarray(up_TF, np.float64)


def softcap(x, cap):
    """cap * tanh(x / cap)."""
    return cap * np.tanh(np.asarray(x, np.float64) / cap)


def softmax(x_TV):
    """exp(x) / sum(exp(x)) over the last axis."""
    x_TV = np.asarray(x_TV, np.float64)
    e_TV = np.exp(x_TV - x_TV.max(axis=-1, keepdims=True))
    return e_TV / e_TV.sum(axis=-1, keepdims=True)


def logsumexp(x_TV):
    """log(sum(exp(x))) over the last axis."""
    x_TV = np.asarray(x_TV, np.float64)
    top_T1 = x_TV.max(axis=-1, keepdims=True)
    return (top_T1 + np.log(np.exp(x_TV - top_T1).sum(axis=-1, keepdims=True)))[..., 0]


def argmax(x_TV):
    """Id of each row's largest value, of equal ones the lowest: int32 [T]."""
    return np.argmax(x_TV, axis=-1).astype(np.int32)


def top_k(x_TV, k):
    """Each row's k largest values, descending, and their ids; of equal ones the lower id first."""
    x_TV = np.asarray(x_TV)
    ids_Tk = np.argsort(-x_TV, axis=-1, kind="stable")[..., :k]
    return np.take_along_axis(x_TV, ids_Tk, axis=-1), ids_Tk.astype(np.int32)


def top2_margins(x_TV):
    """How far each row's largest value is above its second, over the RMS of all values: [T]."""
    values_T2, _ = top_k(np.asarray(x_TV, np.float64), 2)
    return (values_T2[:, 0] - values_T2[:, 1]) / np.sqrt(np.mean(np.square(x_TV)))


# ---- the model ----


@dataclass
class Layer:
    """float64 arrays of one layer, named as in LayerTensors; None: the model has no such tensor."""

    attn_norm: np.ndarray | None
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    o: np.ndarray
    ffn_norm: np.ndarray
    gate: np.ndarray
    up: np.ndarray
    down: np.ndarray
    q_bias: np.ndarray | None = None
    k_bias: np.ndarray | None = None
    v_bias: np.ndarray | None = None
    o_bias: np.ndarray | None = None
    gate_bias: np.ndarray | None = None
    up_bias: np.ndarray | None = None
    down_bias: np.ndarray | None = None
    q_norm: np.ndarray | None = None
    k_norm: np.ndarray | None = None
    attn_norm_after: np.ndarray | None = None
    ffn_norm_after: np.ndarray | None = None


@dataclass
class Weights:
    """float64 arrays of a model."""

    embedding: np.ndarray
    layers: list[Layer]
    final_norm: np.ndarray
    output: np.ndarray


@dataclass
class Gpt2Layer:
    """float64 arrays of one layer of a GPT-2, named as in Gpt2LayerTensors."""

    attn_norm: np.ndarray
    attn_norm_bias: np.ndarray
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    q_bias: np.ndarray
    k_bias: np.ndarray
    v_bias: np.ndarray
    o: np.ndarray
    o_bias: np.ndarray
    ffn_norm: np.ndarray
    ffn_norm_bias: np.ndarray
    up: np.ndarray
    up_bias: np.ndarray
    down: np.ndarray
    down_bias: np.ndarray


@dataclass
class Gpt2Weights:
    """float64 arrays of a GPT-2."""

    embedding: np.ndarray
    positions: np.ndarray
    layers: list[Gpt2Layer]
    final_norm: np.ndarray
    final_norm_bias: np.ndarray
    output: np.ndarray


def load_weights(config: ModelConfig, checkpoint: Checkpoint) -> Weights | Gpt2Weights:
    """The values the device holds: matrices rounded to f16 or in blocks, vectors to f32."""

    def read(tensor: HostTensor | None) -> np.ndarray | None:
        if tensor is None:
            return None
        rows = tensor.read_rows(0, tensor.shape[0])
        in_f16 = rows.ndim == 2 and tensor.format not in FORMATS
        return f16(rows) if in_f16 else f32(rows)

    def read_all(tensors, skipped=()):
        names = [f.name for f in fields(tensors) if f.name not in skipped]
        return {name: read(getattr(tensors, name)) for name in names}

    tensors = map_tensors(config, checkpoint)
    is_gpt2 = config.architecture == "gpt2"
    layer = Gpt2Layer if is_gpt2 else Layer
    return (Gpt2Weights if is_gpt2 else Weights)(
        layers=[layer(**read_all(t)) for t in tensors.layers], **read_all(tensors, ["layers"])
    )


def logits(config: ModelConfig, weights: Weights | Gpt2Weights, ids_T, kept=f16):
    """Logits after every token of a prompt: float64 [T, V]; `kept` is `states`'."""
    logits_TV = matmul(states(config, weights, ids_T, kept), weights.output)
    if config.logits_softcap is None:
        return logits_TV
    return softcap(logits_TV, config.logits_softcap)


def states(config: ModelConfig, weights: Weights | Gpt2Weights, ids_T, kept=f16):
    """`llama_states` or `gpt2_states`, as the weights are."""
    compute = gpt2_states if isinstance(weights, Gpt2Weights) else llama_states
    return compute(config, weights, ids_T, kept)


def llama_states(config: ModelConfig, weights: Weights, ids_T, kept=f16):
    """What the last norm makes of every token of a prompt that starts at position 0: [T, D].

    The norm's weight holds the scale of the logits, too.

    `kept` is what becomes of K (after its rotation) and of V before attention reads them: rounded
    to f16, as the cache holds them, or by `q8_0`; `np.asarray` keeps them exact.
    """
    H, G, K = config.n_heads, config.n_kv_heads, config.head_dim
    positions_T = np.arange(len(ids_T))
    global_TP2 = cos_sin(config.rope, K, positions_T)
    local_TP2 = cos_sin(config.local_rope or config.rope, K, positions_T)
    gated = geglu if config.activation == "gelu" else swiglu
    x_TD = embedding(ids_T, weights.embedding) * config.embedding_scale

    def norm(x_TD, weight_D):
        return x_TD if weight_D is None else rmsnorm(x_TD, weight_D, config.norm_eps)

    for w, window in zip(weights.layers, config.windows, strict=True):
        table_TP2 = global_TP2 if window is None else local_TP2
        h_TD = norm(x_TD, w.attn_norm)
        q, k = matmul(h_TD, w.q, w.q_bias), matmul(h_TD, w.k, w.k_bias)
        v_TGK = matmul(h_TD, w.v, w.v_bias).reshape(-1, G, K)
        if config.qk_norm_whole:
            q, k = norm(q, w.q_norm), norm(k, w.k_norm)
        q_THK, k_TGK = q.reshape(-1, H, K), k.reshape(-1, G, K)
        if not config.qk_norm_whole:
            q_THK, k_TGK = norm(q_THK, w.q_norm), norm(k_TGK, w.k_norm)
        q_THK = rope(q_THK, table_TP2, config.rope.pairing, config.rope.width)
        k_TGK = rope(k_TGK, table_TP2, config.rope.pairing, config.rope.width)
        a_THK = attention(
            *(q_THK, kept(k_TGK), kept(v_TGK), positions_T),
            *(window, config.attention_scale, config.attention_softcap),
        )
        x_TD = x_TD + norm(matmul(a_THK.reshape(-1, H * K), w.o, w.o_bias), w.attn_norm_after)
        h_TD = norm(x_TD, w.ffn_norm)
        h_TF = gated(matmul(h_TD, w.gate, w.gate_bias), matmul(h_TD, w.up, w.up_bias))
        x_TD = x_TD + norm(matmul(h_TF, w.down, w.down_bias), w.ffn_norm_after)
    return rmsnorm(x_TD, weights.final_norm, config.norm_eps)


def gpt2_states(config: ModelConfig, weights: Gpt2Weights, ids_T, kept=f16):
    """The same of a GPT-2; see `llama_states`."""
    H, K, eps = config.n_heads, config.head_dim, config.norm_eps
    positions_T = np.arange(len(ids_T))
    x_TD = embedding(ids_T, weights.embedding) + embedding(positions_T, weights.positions)
    for w in weights.layers:
        h_TD = layernorm(x_TD, w.attn_norm, w.attn_norm_bias, eps)
        q_THK, k_THK, v_THK = (
            matmul(h_TD, matrix, bias).reshape(-1, H, K)
            for matrix, bias in ((w.q, w.q_bias), (w.k, w.k_bias), (w.v, w.v_bias))
        )
        a_THK = attention(q_THK, kept(k_THK), kept(v_THK), positions_T)
        x_TD = x_TD + matmul(a_THK.reshape(-1, H * K), w.o, w.o_bias)
        h_TD = layernorm(x_TD, w.ffn_norm, w.ffn_norm_bias, eps)
        x_TD = x_TD + matmul(gelu(matmul(h_TD, w.up, w.up_bias)), w.down, w.down_bias)
    return layernorm(x_TD, weights.final_norm, weights.final_norm_bias, eps)


def greedy(config: ModelConfig, weights: Weights | Gpt2Weights, ids_T, count: int):
    """The `count` most likely tokens after a prompt, one by one: int32 [count]."""
    ids = list(ids_T)
    for _ in range(count):
        ids.append(int(argmax(logits(config, weights, ids)[-1])))
    return np.array(ids[len(ids_T) :], np.int32)
