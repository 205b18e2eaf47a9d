"""The Llama family's forward pass.

Shape suffixes: T tokens in the batch, R rows whose logits are asked for, N these and the rows whose
last states are, D model width, H query heads, G key/value heads, K head width, F feed-forward
width, V vocabulary, B sequences.
"""

from dataclasses import dataclass

from cl_llama import ops
from cl_llama.models.decoder import Decoder, Outputs, Step
from cl_llama.models.memory import MemoryPlan
from cl_llama.models.model_config import ModelConfig
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """One layer on the device: matrices f16, vectors f32."""

    attn_norm: DeviceArray | None
    q: ops.Weight
    k: ops.Weight
    v: ops.Weight
    o: ops.Weight
    ffn_norm: DeviceArray | None
    feed_forward: ops.GatedNetwork
    q_bias: DeviceArray | None
    k_bias: DeviceArray | None
    v_bias: DeviceArray | None
    o_bias: DeviceArray | None
    q_norm: DeviceArray | None
    k_norm: DeviceArray | None
    attn_norm_after: DeviceArray | None
    ffn_norm_after: DeviceArray | None


@dataclass(frozen=True, eq=False)
class LlamaWeights:
    """A whole model on the device."""

    embedding: ops.Weight
    layers: tuple[LayerWeights, ...]
    final_norm: DeviceArray
    output: ops.Weight


class Llama(Decoder):
    """A model of Llama's kind (see `ModelConfig`) on one device, with its paged cache."""

    def __init__(
        self,
        config: ModelConfig,
        weights: LlamaWeights,
        runtime: Runtime,
        memory: MemoryPlan,
        family: Family | None = None,
        precision: ops.Precision = "high",
    ) -> None:
        super().__init__(config, runtime, memory, family, precision)
        self._weights = weights

    def _launch(self, step: Step) -> Outputs:
        """Queue a step's kernels."""
        config, family, eps = self.config, self._family, self.config.norm_eps
        precision, rope = self._precision, config.rope
        H, G, K = config.n_heads, config.n_kv_heads, config.head_dim
        (T,) = step.token_ids_T.shape
        R, D = step.logits_rows, config.d_model
        x_TD = self._scratch("x", T, D)
        q, a = self._scratch("q", T, H * K), self._scratch("a", T, H * K)
        k, v = self._scratch("k", T, G * K), self._scratch("v", T, G * K)

        ops.embedding(
            step.token_ids_T,
            self._weights.embedding,
            x_TD,
            scale=config.embedding_scale,
            family=family,
        )
        layers = zip(self._weights.layers, self.caches, config.windows, strict=True)
        for w, cache, window in layers:
            products = [
                ops.Product(w.q, q, w.q_bias),
                ops.Product(w.k, k, w.k_bias, exact=True),
                ops.Product(w.v, v, w.v_bias, exact=True),
            ]
            if w.attn_norm is None:
                ops.matmul_each(x_TD, products, family=family, precision=precision)
            else:
                norm = ops.Norm(w.attn_norm, eps)
                ops.norm_matmul_each(x_TD, norm, products, family=family, precision=precision)
            q_THK, a_THK = q.view(T, H, K), a.view(T, H, K)
            k_TGK, v_TGK = k.view(T, G, K), v.view(T, G, K)
            if w.q_norm is not None and w.k_norm is not None:
                for rows, weight in ((q, w.q_norm), (k, w.k_norm)):  # one head each, or all
                    (width,) = weight.shape
                    rows = rows.view(rows.shape[0] * rows.shape[1] // width, width)
                    ops.rmsnorm(rows, weight, eps, rows, family=family)
            ops.rope_store(
                q_THK,
                k_TGK,
                v_TGK,
                step.angles if window is None else step.local_angles,
                step.slots_T,
                cache,
                adjacent=rope is not None and rope.pairing == "adjacent",
                width=None if rope is None else rope.width,
            )
            ops.attention(
                q_THK,
                cache,
                step.attention,
                a_THK,
                window=window,
                scale=config.attention_scale,
                softcap=config.attention_softcap,
                precision=precision,
            )
            if w.attn_norm_after is None:
                ops.matmul(
                    a, w.o, x_TD, w.o_bias, accumulate=True, family=family, precision=precision
                )
            else:
                added = self._scratch("added", T, D)
                ops.matmul(a, w.o, added, w.o_bias, family=family, precision=precision)
                ops.add_norm(x_TD, added, ops.Norm(w.attn_norm_after, eps), family=family)

            ops.feed_forward(
                x_TD,
                None if w.ffn_norm is None else ops.Norm(w.ffn_norm, eps),
                w.feed_forward,
                activation=config.activation,
                norm_after=None if w.ffn_norm_after is None else ops.Norm(w.ffn_norm_after, eps),
                family=family,
                precision=precision,
            )

        logits_RV = self._scratch("logits", R, config.vocab_size)
        rows_N = step.last_rows
        h_ND = self._scratch("h", 0 if rows_N is None else rows_N.shape[0], D)
        if rows_N is not None:
            ops.rmsnorm(x_TD, self._weights.final_norm, eps, h_ND, rows_N, family=family)
        if R:
            h_RD, output = h_ND.view(R, D), self._weights.output
            ops.matmul(h_RD, output, logits_RV, family=family, precision=precision)
            if config.logits_softcap is not None:
                ops.softcap(logits_RV, config.logits_softcap, family=family)
        return Outputs(logits_RV, h_ND)
