"""GPT-2's forward pass (Radford et al., 2019).

Shape suffixes: T tokens in the batch, R rows whose logits are asked for, N these and the rows whose
last states are, D model width, H heads, K head width, F feed-forward width, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cl_llama import ops
from cl_llama.checkpoints import HostTensor
from cl_llama.models.decoder import Decoder, Outputs, Step
from cl_llama.models.gpt2_weights import Gpt2LayerTensors, Gpt2Tensors
from cl_llama.models.memory import MemoryPlan
from cl_llama.models.model_config import ModelConfig
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """Its vectors on the device, f32 [D]."""

    weight: DeviceArray
    bias: DeviceArray


@dataclass(frozen=True, eq=False)
class Linear:
    """A matrix [out, in] and its bias, f32 [out], on the device."""

    weight: ops.Weight
    bias: DeviceArray


@dataclass(frozen=True, eq=False)
class Gpt2LayerWeights:
    """One layer on the device."""

    attn_norm: LayerNorm
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    ffn_norm: LayerNorm
    up: Linear
    down: Linear


@dataclass(frozen=True, eq=False)
class Gpt2Weights:
    """A whole model on the device."""

    embedding: ops.Weight
    positions: ops.Weight
    layers: tuple[Gpt2LayerWeights, ...]
    final_norm: LayerNorm
    output: ops.Weight


def assemble_gpt2(
    tensors: Gpt2Tensors,
    matrix: Callable[[HostTensor], ops.Weight],
    vector: Callable[[HostTensor], DeviceArray],
) -> Gpt2Weights:
    """A model's weights on a device, in the order in which they are needed.

    `matrix` and `vector` bring a tensor there; a tied output matrix comes once.
    """

    def norm(weight: HostTensor, bias: HostTensor) -> LayerNorm:
        return LayerNorm(vector(weight), vector(bias))

    def linear(weight: HostTensor, bias: HostTensor) -> Linear:
        return Linear(matrix(weight), vector(bias))

    def layer(t: Gpt2LayerTensors) -> Gpt2LayerWeights:
        return Gpt2LayerWeights(
            attn_norm=norm(t.attn_norm, t.attn_norm_bias),
            q=linear(t.q, t.q_bias),
            k=linear(t.k, t.k_bias),
            v=linear(t.v, t.v_bias),
            o=linear(t.o, t.o_bias),
            ffn_norm=norm(t.ffn_norm, t.ffn_norm_bias),
            up=linear(t.up, t.up_bias),
            down=linear(t.down, t.down_bias),
        )

    embedding = matrix(tensors.embedding)
    return Gpt2Weights(
        embedding=embedding,
        positions=matrix(tensors.positions),
        layers=tuple(layer(t) for t in tensors.layers),
        final_norm=norm(tensors.final_norm, tensors.final_norm_bias),
        output=embedding if tensors.output is tensors.embedding else matrix(tensors.output),
    )


class Gpt2(Decoder):
    """A GPT-2 on one device, with its paged cache."""

    def __init__(
        self,
        config: ModelConfig,
        weights: Gpt2Weights,
        runtime: Runtime,
        memory: MemoryPlan,
        family: Family | None = None,
        precision: ops.Precision = "high",
    ) -> None:
        super().__init__(config, runtime, memory, family, precision)
        self._weights = weights

    def _launch(self, step: Step) -> Outputs:
        """Queue a step's kernels."""
        config, family, precision = self.config, self._family, self._precision
        weights, eps = self._weights, config.norm_eps
        D, F, H, K = config.d_model, config.d_ff, config.n_heads, config.head_dim
        (T,) = step.token_ids_T.shape
        R, rows_N = step.logits_rows, step.last_rows
        x_TD, h_TD = self._scratch("x", T, D), self._scratch("h", T, D)
        q, k, v, a = (self._scratch(name, T, D) for name in "qkva")
        h_TF = self._scratch("gate", T, F)

        def norm(norm: LayerNorm, out: DeviceArray, rows_R: DeviceArray | None = None) -> None:
            ops.layernorm(x_TD, norm.weight, norm.bias, eps, out, rows_R, family=family)

        def add(h: DeviceArray, linear: Linear) -> None:
            w, b = linear.weight, linear.bias
            ops.matmul(h, w, x_TD, b, accumulate=True, family=family, precision=precision)

        ops.embedding(step.token_ids_T, weights.embedding, x_TD, family=family)
        ops.embedding(step.positions_T, weights.positions, h_TD, family=family)
        ops.add(x_TD, h_TD, family=family)
        for w, cache in zip(weights.layers, self.caches, strict=True):
            norm(w.attn_norm, h_TD)
            ops.matmul_each(
                h_TD,
                [
                    ops.Product(w.q.weight, q, w.q.bias),
                    ops.Product(w.k.weight, k, w.k.bias, exact=True),
                    ops.Product(w.v.weight, v, w.v.bias, exact=True),
                ],
                family=family,
                precision=precision,
            )
            q_THK, k_THK, v_THK, a_THK = (x.view(T, H, K) for x in (q, k, v, a))
            # The angles are zero: positions are in x already.
            ops.rope_store(q_THK, k_THK, v_THK, step.angles, step.slots_T, cache, adjacent=False)
            ops.attention(q_THK, cache, step.attention, a_THK, precision=precision)
            add(a, w.o)

            norm(w.ffn_norm, h_TD)
            up = w.up
            ops.matmul(h_TD, up.weight, h_TF, up.bias, family=family, precision=precision)
            ops.gelu(h_TF, family=family)
            add(h_TF, w.down)

        logits_RV = self._scratch("logits", R, config.vocab_size)
        h_ND = self._scratch("h", 0 if rows_N is None else rows_N.shape[0], D)
        if rows_N is not None:
            norm(weights.final_norm, h_ND, rows_N)
        if R:
            h_RD, output = h_ND.view(R, D), weights.output
            ops.matmul(h_RD, output, logits_RV, family=family, precision=precision)
        return Outputs(logits_RV, h_ND)
