"""Shapes of well-known models, to try a device's speed with random weights and no download.

D model width, L layers, H query heads, G key/value heads, F feed-forward width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

from cl_llama.errors import RequestError
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import RopeConfig

MAX_SEQ_LEN = 131072
"""Random weights are as good at any position: only memory limits their context."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama, as its config.json spells them."""

    like: str
    """Whose shape it is."""
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    vocab_size: int
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = False

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.hidden_size // self.num_attention_heads

    def hf_config(self, max_seq_len: int = MAX_SEQ_LEN) -> dict[str, Any]:
        """The config.json of a Hugging Face folder of this shape."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "intermediate_size": self.intermediate_size,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": max_seq_len,
            "rms_norm_eps": 1e-5,
            "rope_theta": self.rope_theta,
            "hidden_act": "silu",
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "torch_dtype": "float16",
        }

    def config(self, max_seq_len: int = MAX_SEQ_LEN) -> ModelConfig:
        """The same as the model knows it."""
        return ModelConfig(
            architecture="llama",
            vocab_size=self.vocab_size,
            d_model=self.hidden_size,
            n_layers=self.num_hidden_layers,
            n_heads=self.num_attention_heads,
            n_kv_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            d_ff=self.intermediate_size,
            norm_eps=1e-5,
            max_seq_len=max_seq_len,
            rope=RopeConfig(self.rope_theta, "half"),
            tied_embeddings=self.tie_word_embeddings,
            qkv_bias=False,
            o_bias=False,
            mlp_bias=False,
            qk_norm=False,
            windows=(None,) * self.num_hidden_layers,
            bos_id=1,
            eos_ids=(2,),
        )


#                          D     L   H   G    F      V
SHAPES = {
    "135m": Shape("SmolLM", 576, 30, 9, 3, 1536, 49152, tie_word_embeddings=True),
    "1b": Shape("TinyLlama 1.1B", 2048, 22, 32, 4, 5632, 32000),
    "3b": Shape("Llama 3.2 3B", 3072, 28, 24, 8, 8192, 128256, 500000.0, tie_word_embeddings=True),
    "7b": Shape("Llama 2 7B", 4096, 32, 32, 32, 11008, 32000),
    "8b": Shape("Llama 3 8B", 4096, 32, 32, 8, 14336, 128256, 500000.0),
    "13b": Shape("Llama 2 13B", 5120, 40, 40, 40, 13824, 32000),
    "70b": Shape("Llama 3 70B", 8192, 80, 64, 8, 28672, 128256, 500000.0),
}


def find_shape(name: str) -> Shape:
    """The shape of a name, case ignored.

    Raises:
        RequestError: there is none; says which there are.
    """
    shape = SHAPES.get(name.lower())
    if shape is None:
        raise RequestError(f"--shape: there is no {name!r}; there is {', '.join(SHAPES)}")
    return shape
