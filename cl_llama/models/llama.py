"""The Llama family's forward pass.

Shape suffixes: T tokens in the batch, R rows whose logits are asked for, D model width, H query
heads, G key/value heads, K head width, F feed-forward width, V vocabulary, B sequences.
"""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cl_llama import ops
from cl_llama.errors import DeviceError
from cl_llama.models.batch import Batch
from cl_llama.models.memory import MemoryPlan
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import cos_sin
from cl_llama.opencl.recording import Repeats
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime
from cl_llama.opencl.staging import Staging


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """One layer on the device: matrices f16, vectors f32."""

    attn_norm: DeviceArray
    q: ops.Weight
    k: ops.Weight
    v: ops.Weight
    o: ops.Weight
    ffn_norm: DeviceArray
    feed_forward: ops.GatedNetwork
    q_bias: DeviceArray | None
    k_bias: DeviceArray | None
    v_bias: DeviceArray | None
    o_bias: DeviceArray | None
    q_norm: DeviceArray | None
    k_norm: DeviceArray | None


@dataclass(frozen=True, eq=False)
class LlamaWeights:
    """A whole model on the device."""

    embedding: ops.Weight
    layers: tuple[LayerWeights, ...]
    final_norm: DeviceArray
    output: ops.Weight


@dataclass(frozen=True, eq=False)
class _Step:
    """A batch on the device."""

    token_ids_T: DeviceArray
    angles: DeviceArray
    """[T, K / 2, 2]: cosine and sine of each token's position."""
    slots_T: DeviceArray
    """Where each token's key and value go in the cache."""
    attention: ops.AttentionPlan
    logits_rows_R: DeviceArray | None
    shape: Hashable
    """Equal for steps that launch the same kernels on the same arrays."""


class Llama:
    """A Llama, Mistral or Qwen model on one device, with its paged cache.

    Satisfies `models.batch.Model`. One thread at a time may call it.
    """

    block_size = ops.BLOCK

    def __init__(
        self,
        config: ModelConfig,
        weights: LlamaWeights,
        runtime: Runtime,
        memory: MemoryPlan,
        family: Family | None = None,
        precision: ops.Precision = "high",
    ) -> None:
        self.config = config
        self.num_blocks = memory.num_blocks
        self.memory = memory
        self.runtime = runtime
        self._weights = weights
        self._family = family or runtime.family
        self._precision = precision
        self.caches = [
            ops.allocate_cache(
                runtime,
                memory.num_blocks,
                config.n_kv_heads,
                config.head_dim,
                family=self._family,
            )
            for _ in range(config.n_layers)
        ]
        """Each layer's keys and values; a bench fills them."""
        self._staging = Staging(runtime)
        self._repeats: Repeats[DeviceArray] = Repeats(runtime)

    def forward(self, batch: Batch) -> "DeviceLogits":
        """Run a ragged batch: write its keys and values, return the logits it asks for.

        Raises:
            DeviceError: the device failed, or ran out of memory.
        """
        step = self._upload(batch)
        logits_RV = self._repeats.run(step.shape, lambda: self._launch(step))
        return DeviceLogits(logits_RV, self._family)

    def _launch(self, step: _Step) -> DeviceArray:
        """Queue a step's kernels; returns the logits [R, V]."""
        config, family, eps = self.config, self._family, self.config.norm_eps
        precision = self._precision
        H, G, K = config.n_heads, config.n_kv_heads, config.head_dim
        (T,) = step.token_ids_T.shape
        R = 0 if step.logits_rows_R is None else step.logits_rows_R.shape[0]
        x_TD = self._scratch("x", T, config.d_model)
        q, a = self._scratch("q", T, H * K), self._scratch("a", T, H * K)
        k, v = self._scratch("k", T, G * K), self._scratch("v", T, G * K)

        ops.embedding(step.token_ids_T, self._weights.embedding, x_TD, family=family)
        layers = zip(self._weights.layers, self.caches, config.windows, strict=True)
        for w, cache, window in layers:
            ops.norm_matmul_each(
                x_TD,
                ops.Norm(w.attn_norm, eps),
                [
                    ops.Product(w.q, q, w.q_bias),
                    ops.Product(w.k, k, w.k_bias, exact=True),
                    ops.Product(w.v, v, w.v_bias, exact=True),
                ],
                family=family,
                precision=precision,
            )
            q_THK, a_THK = q.view(T, H, K), a.view(T, H, K)
            k_TGK, v_TGK = k.view(T, G, K), v.view(T, G, K)
            if w.q_norm is not None and w.k_norm is not None:
                q_heads, k_heads = q.view(T * H, K), k.view(T * G, K)
                ops.rmsnorm(q_heads, w.q_norm, eps, q_heads, family=family)
                ops.rmsnorm(k_heads, w.k_norm, eps, k_heads, family=family)
            ops.rope_store(
                q_THK,
                k_TGK,
                v_TGK,
                step.angles,
                step.slots_T,
                cache,
                adjacent=config.rope.pairing == "adjacent",
            )
            ops.attention(q_THK, cache, step.attention, a_THK, window=window, precision=precision)
            ops.matmul(a, w.o, x_TD, w.o_bias, accumulate=True, family=family, precision=precision)

            norm = ops.Norm(w.ffn_norm, eps)
            ops.feed_forward(x_TD, norm, w.feed_forward, family=family, precision=precision)

        logits_RV = self._scratch("logits", R, config.vocab_size)
        if step.logits_rows_R is not None:
            h_RD = self._scratch("h", R, config.d_model)
            final_norm = self._weights.final_norm
            ops.rmsnorm(x_TD, final_norm, eps, h_RD, step.logits_rows_R, family=family)
            ops.matmul(h_RD, self._weights.output, logits_RV, family=family, precision=precision)
        return logits_RV

    def _scratch(self, name: str, rows: int, width: int) -> DeviceArray:
        return self.runtime.scratch(name, (rows, width), np.float32)

    def _upload(self, batch: Batch) -> _Step:
        config, put = self.config, self._staging.put
        spans = [(len(s.token_ids), s.start) for s in batch.slices]
        positions, slots, rows = [], [], []
        longest = max(-(-(count + start) // ops.BLOCK) for count, start in spans)
        # A power of two: kernels are given the width, and it should not change often.
        tables_BW = np.zeros((len(spans), 1 << (longest - 1).bit_length()), np.int32)
        first = 0
        for b, (s, (count, start)) in enumerate(zip(batch.slices, spans, strict=True)):
            positions_n = np.arange(start, start + count, dtype=np.int32)
            blocks = -(-(count + start) // ops.BLOCK)
            tables_BW[b, :blocks] = s.block_table[:blocks]
            positions.append(positions_n)
            slots.append(
                tables_BW[b, positions_n // ops.BLOCK] * ops.BLOCK + positions_n % ops.BLOCK
            )
            rows.append(np.arange(first + count - s.logits_rows, first + count, dtype=np.int32))
            first += count
        rows_R = np.concatenate(rows)
        token_ids_T = put(np.concatenate([s.token_ids for s in batch.slices]).astype(np.int32))
        angles = put(cos_sin(config.rope, config.head_dim, np.concatenate(positions)))
        slots_T = put(np.concatenate(slots))
        logits_rows_R = put(rows_R) if len(rows_R) else None
        plan = ops.plan_attention(
            self.runtime,
            spans,
            put(tables_BW),
            n_heads=config.n_heads,
            n_kv_heads=config.n_kv_heads,
            head_dim=config.head_dim,
            family=self._family,
            upload=put,
        )
        shape = (self._staging.send(), len(rows_R), plan.item_rows, plan.partials)
        return _Step(token_ids_T, angles, slots_T, plan, logits_rows_R, shape)


class DeviceLogits:
    """Logits [R, V] of a step; satisfies `models.batch.Logits`.

    Raises DeviceError where a row holds NaN: the weights or the driver are at fault, and a text
    made of it would be garbage.
    """

    def __init__(self, logits_RV: DeviceArray, family: Family) -> None:
        self._logits_RV = logits_RV
        self._family = family

    @property
    def rows(self) -> int:
        """R."""
        return self._logits_RV.shape[0]

    def argmax(self) -> NDArray[np.int32]:
        """int32 [R]: the id of each row's largest logit; of equal ones the lowest id."""
        ids_R, values_R = ops.argmax(self._logits_RV, family=self._family)
        self._check(values_R)
        return ids_R

    def top_k(self, k: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Each row's k largest logits and their ids, descending; [R, k] each, 1 <= k <= 64."""
        ids_Rk, values_Rk = ops.top_k(self._logits_RV, k, family=self._family)
        self._check(values_Rk)
        return values_Rk, ids_Rk

    def logsumexp(self) -> NDArray[np.float32]:
        """float32 [R]: log of the sum of exp over each row."""
        totals = self._logits_RV.runtime.scratch("totals", (self.rows,), np.float32)
        ops.softmax(self._logits_RV, totals, in_place=False, family=self._family)
        totals_R: NDArray[np.float32] = totals.numpy()
        self._check(totals_R)
        return totals_R

    def numpy(self) -> NDArray[np.float32]:
        """float32 [R, V], copied to the host."""
        logits_RV: NDArray[np.float32] = self._logits_RV.numpy()
        if self.rows:
            self._check(logits_RV.max(axis=1))
        return logits_RV

    def _check(self, values: NDArray[np.float32]) -> None:
        if np.isnan(values).any():
            raise DeviceError(
                f"{self._logits_RV.runtime.device.label}: the model's logits are not numbers; "
                "damaged weights, values beyond f16 in the cache, or a fault of the driver"
            )
