"""One function an operation: it checks shapes, chooses the kernel and queues it.

Arrays are float32 unless said otherwise. `family` picks the kernels of one family where a test or
a bench wants to; None is the device's own.
"""

from cl_llama.ops.attention import AttentionPlan, attention, plan_attention, rope_store
from cl_llama.ops.attention_cache import (
    BLOCK,
    KV_TYPES,
    KVCache,
    KVType,
    allocate_cache,
    cache_bytes,
    cache_from_numpy,
)
from cl_llama.ops.elementwise import (
    add,
    embedding,
    geglu,
    gelu,
    layernorm,
    rmsnorm,
    softcap,
    swiglu,
)
from cl_llama.ops.feed_forward import GatedNetwork, add_norm, feed_forward
from cl_llama.ops.mapped_weight import ALIGNMENT, RowsInPlace, map_rows
from cl_llama.ops.matmul import (
    Precision,
    blocks_scratch_bytes,
    matmul,
    matmul_each,
    norm_matmul_each,
)
from cl_llama.ops.matmul_cpu import Norm, matmul_scratch_bytes
from cl_llama.ops.matmul_method import Product
from cl_llama.ops.parameters import ALL_PARAMETERS, parameters
from cl_llama.ops.random import fill_random, random_values
from cl_llama.ops.selection import MAX_TOP_K, argmax, pick, softmax, top_k
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.to_half import to_half
from cl_llama.ops.weight import Segment, Weight, as_f16, upload_matrix, upload_vector

__all__ = [
    "ALIGNMENT",
    "ALL_PARAMETERS",
    "BLOCK",
    "KV_TYPES",
    "MAX_TOP_K",
    "AttentionPlan",
    "GatedNetwork",
    "KVCache",
    "KVType",
    "Norm",
    "Precision",
    "Product",
    "RowsInPlace",
    "Segment",
    "Weight",
    "add",
    "add_norm",
    "allocate_cache",
    "argmax",
    "as_f16",
    "attention",
    "blocks_scratch_bytes",
    "cache_bytes",
    "cache_from_numpy",
    "ceil_div",
    "embedding",
    "feed_forward",
    "fill_random",
    "geglu",
    "gelu",
    "layernorm",
    "map_rows",
    "matmul",
    "matmul_each",
    "matmul_scratch_bytes",
    "norm_matmul_each",
    "parameters",
    "pick",
    "plan_attention",
    "random_values",
    "rmsnorm",
    "rope_store",
    "softcap",
    "softmax",
    "swiglu",
    "to_half",
    "top_k",
    "upload_matrix",
    "upload_vector",
]
