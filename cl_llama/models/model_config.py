"""What a forward pass needs to know about a model."""

from dataclasses import dataclass
from typing import Literal

from cl_llama.models.rope import RopeConfig


@dataclass(frozen=True)
class ModelConfig:
    """The hyperparameters of a Llama-family model or a GPT-2, free of any file format's spelling.

    Widths are in elements: V `vocab_size`, D `d_model`, L `n_layers`, H `n_heads` query heads,
    G `n_kv_heads` (H is a multiple of G), K `head_dim` (even; H * K need not equal D), F `d_ff`.
    """

    architecture: str
    """"llama", "mistral", "qwen2", "qwen3", "granite", "phi3", "olmo2", "gemma2", "gemma3" or
    "gpt2"."""
    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    norm_eps: float
    max_seq_len: int
    """Positions the model was made for, its context extension included."""
    rope: RopeConfig | None
    """None: positions are learned, and none beyond `max_seq_len` is known."""
    tied_embeddings: bool
    """The output matrix is the embedding matrix."""
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    qk_norm: bool
    """Q and K are RMS-normalised per head before they are rotated (Qwen3)."""
    windows: tuple[int | None, ...]
    """Per layer: the token at p sees positions > p - window; None: all up to p."""
    bos_id: int | None
    eos_ids: tuple[int, ...]
    """End tokens by the model's files; () leaves them to the tokenizer."""
    embedding_scale: float = 1.0
    """Times the embeddings, where they enter the first layer."""
    attention_scale: float | None = None
    """Times a query's product with a key; None: 1 / sqrt(K)."""
    logits_scale: float = 1.0
    """Times the logits: the final norm's weights carry it."""
    norms_before: bool = True
    """Attention and feed-forward are given norms; else the residual stream itself (OLMo 2)."""
    norms_after: bool = False
    """What attention and feed-forward give is normalised before it is added (OLMo 2, Gemma)."""
    norm_shift: float = 0.0
    """Plus the norms' weights as the files hold them (Gemma)."""
    qk_norm_whole: bool = False
    """Q and K are normalised over all heads together."""
    activation: Literal["silu", "gelu"] = "silu"
    """What gates of the feed-forward pass."""
    local_rope: RopeConfig | None = None
    """The rotary embedding of layers with a window, where they have their own (Gemma 3)."""
    attention_softcap: float | None = None
    """Scores s become cap * tanh(s / cap) before they are masked (Gemma 2)."""
    logits_softcap: float | None = None
    """Logits likewise."""

    @property
    def hidden_matrices(self) -> int:
        """Matrices [F, D] of a layer: gate and up, or up alone."""
        return 1 if self.architecture == "gpt2" else 2
