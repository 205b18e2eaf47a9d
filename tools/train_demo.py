"""Train the embedded model: a small Llama that tells stories.

    python tools/train_demo.py --output cl_llama/demo

Needs torch, sentencepiece and safetensors; nothing is downloaded. The text comes from the grammar
in ``tools/demo_stories``, the run is seeded, and two cores take less than half an hour. There are
two lessons: all kinds of stories first, then plain ones, which do not come back to details that
were told once and far away, as a model of this size mixes those up.
Dimensions: B stories, T tokens, D model width, H query heads, G key/value heads, K head width.
"""

import argparse
import io
import json
import math
import random
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F  # noqa: N812
from demo_stories import check_story
from demo_stories.corpus import (
    PLAIN_STORIES,
    TRAINING_SEED,
    TRAINING_STORIES,
    held_out_texts,
    overlap,
    plain_texts,
    training_texts,
)
from demo_stories.lexicon import SLOTS
from safetensors.torch import save_file
from torch import Tensor, nn

BOS, EOS = 1, 2
# A story is right only if it repeats its facts; how much these tokens count, by their slots, in the
# lesson of all stories and in that of plain ones.
_OFTEN = ("H", "adj", "noun", "sadj", "snoun", "fkind")
REPEATED = {3.0: _OFTEN, 8.0: ("padj", "pnoun", "weather", "daypart", "kin")}
PLAIN_REPEATED = {2.0: _OFTEN, 4.0: ("padj", "pnoun", "kin")}


@dataclass(frozen=True)
class Shape:
    """The model's dimensions."""

    vocab_size: int = 2304
    dim: int = 192
    layers: int = 4
    heads: int = 6
    kv_heads: int = 3
    head_dim: int = 32
    ffn: int = 512
    context: int = 512
    theta: float = 10000.0
    eps: float = 1e-5


class Layer(nn.Module):
    """One block: attention, then the gated feed-forward network, each on a normalized input."""

    def __init__(self, shape: Shape) -> None:
        """Random weights; the two projections back into the stream start small."""
        super().__init__()
        self.shape = shape
        D, HK, GK = (
            shape.dim,
            shape.heads * shape.head_dim,
            shape.kv_heads * shape.head_dim,
        )
        self.attn_norm = nn.Parameter(torch.ones(D))
        self.ffn_norm = nn.Parameter(torch.ones(D))
        small = 1 / math.sqrt(2 * shape.layers)
        self.qkv = _weight(HK + 2 * GK, D)
        self.o = _weight(D, HK, small)
        self.gate_up = _weight(2 * shape.ffn, D)
        self.down = _weight(D, shape.ffn, small)

    def forward(self, x: Tensor, cos_sin: tuple[Tensor, Tensor], past: "Past | None") -> Tensor:
        """x [B, T, D] -> [B, T, D]; ``past`` holds the keys and values of earlier tokens."""
        s = self.shape
        B, T, _ = x.shape
        normed = F.rms_norm(x, (s.dim,), self.attn_norm, s.eps)
        qkv = F.linear(normed, self.qkv).view(B, T, s.heads + 2 * s.kv_heads, s.head_dim)
        q, k, v = qkv.transpose(1, 2).split([s.heads, s.kv_heads, s.kv_heads], dim=1)
        q, k = _rotate(q, *cos_sin), _rotate(k, *cos_sin)
        if past is not None:
            k, v = past.extend(k, v)
        group = s.heads // s.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=T > 1)
        x = x + F.linear(mixed.transpose(1, 2).reshape(B, T, -1), self.o)
        normed = F.rms_norm(x, (s.dim,), self.ffn_norm, s.eps)
        gate, up = F.linear(normed, self.gate_up).chunk(2, dim=-1)
        return x + F.linear(F.silu(gate) * up, self.down)


class Past:
    """Keys and values of one layer, grown token by token: [B, G, T, K]."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.kv: tuple[Tensor, Tensor] | None = None

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones last."""
        if self.kv is not None:
            k, v = torch.cat([self.kv[0], k], 2), torch.cat([self.kv[1], v], 2)
        self.kv = (k, v)
        return k, v


class Llama(nn.Module):
    """The decoder; its output matrix is its embedding."""

    def __init__(self, shape: Shape) -> None:
        """Random weights; a large embedding keeps the names apart, a small norm the logits low."""
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(shape.vocab_size, shape.dim) * 0.3)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.full((shape.dim,), 0.1))
        half = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
        angles = torch.arange(shape.context)[:, None] * shape.theta**-half
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, ids: Tensor, pasts: list[Past] | None = None, start: int = 0) -> Tensor:
        """Token ids [B, T] at positions from ``start`` -> logits [B, T, V]."""
        stop = start + ids.shape[1]
        cos_sin = (self.cos[start:stop], self.sin[start:stop])
        x = F.embedding(ids, self.embedding)
        for index, layer in enumerate(self.layers):
            x = layer(x, cos_sin, pasts[index] if pasts else None)
        return F.linear(F.rms_norm(x, (self.shape.dim,), self.norm, self.shape.eps), self.embedding)

    def hf_tensors(self) -> dict[str, Tensor]:
        """The weights under Hugging Face's names, float16."""
        s = self.shape
        tensors = {
            "model.embed_tokens.weight": self.embedding,
            "model.norm.weight": self.norm,
        }
        for index, layer in enumerate(self.layers):
            sizes = [s.heads * s.head_dim] + [s.kv_heads * s.head_dim] * 2
            q, k, v = layer.qkv.split(sizes)
            gate, up = layer.gate_up.chunk(2)
            named = {
                "input_layernorm": layer.attn_norm,
                "self_attn.q_proj": q,
                "self_attn.k_proj": k,
                "self_attn.v_proj": v,
                "self_attn.o_proj": layer.o,
                "post_attention_layernorm": layer.ffn_norm,
                "mlp.gate_proj": gate,
                "mlp.up_proj": up,
                "mlp.down_proj": layer.down,
            }
            for name, tensor in named.items():
                tensors[f"model.layers.{index}.{name}.weight"] = tensor
        return {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}


def _weight(rows: int, columns: int, scale: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns) * (scale / math.sqrt(columns)))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions; the pairs are (i, i + K/2): Hugging Face's layout."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> bytes:
    """A SentencePiece BPE model with Llama's settings."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        character_coverage=1.0,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        unk_id=0,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=-1,
        num_threads=2,
        minloglevel=2,
    )
    return model.getvalue()


def make_batches(rows: list[list[int]], size: int, context: int) -> list[list[list[int]]]:
    """Rows of similar length together; every eighth batch fills the whole context with stories."""
    rng = random.Random(TRAINING_SEED)
    batches: list[list[list[int]]] = []
    for start in range(0, len(rows), size * 8):
        group = rows[start : start + size * 8]
        packed, loose = group[:size], sorted(group[size:], key=len)
        stream = [token for row in packed for token in row]
        batches.append([stream[i : i + context] for i in range(0, len(stream), context)])
        batches += [loose[i : i + size] for i in range(0, len(loose), size)]
    rng.shuffle(batches)
    return batches


def to_tensors(batch: list[list[int]], facts: dict[int, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and weights [B, T]; padding weighs 0, a repeated fact what ``facts`` says."""
    width = max(map(len, batch)) - 1
    inputs, targets = torch.zeros(2, len(batch), width, dtype=torch.long)
    weights = torch.zeros(len(batch), width)
    for index, row in enumerate(batch):
        inputs[index, : len(row) - 1] = torch.tensor(row[:-1])
        targets[index, : len(row) - 1] = torch.tensor(row[1:])
        seen: set[int] = set()
        for column, token in enumerate(row[1:]):
            weights[index, column] = facts.get(token, 1.0) if token in seen else 1.0
            seen.add(token)
    return inputs, targets, weights


def loss_of(model: Llama, batch: list[list[int]], facts: dict[int, float]) -> Tensor:
    """Cross-entropy in nats, summed over the tokens; repeated facts weigh more."""
    inputs, targets, weights = to_tensors(batch, facts)
    losses = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="none")
    return losses @ weights.flatten()


def fact_tokens(
    tokenizer: sentencepiece.SentencePieceProcessor, repeated: dict[float, tuple[str, ...]]
) -> dict[int, float]:
    """What a fact's token weighs where a story repeats it: more the less often stories do."""
    weights = {}
    for weight, slots in repeated.items():
        for ids in tokenizer.encode([word for slot in slots for word in SLOTS[slot]]):
            if len(ids) == 1:
                weights[ids[0]] = weight
    return weights


class Workers:
    """Gradients by several threads, each with every n-th story of a batch.

    One thread an operation and one part of the batch a thread: the cores meet once a step instead
    of in every operation, and the sum's order does not depend on who is first.
    """

    def __init__(self, model: Llama, facts: dict[int, float], count: int) -> None:
        """``count`` copies of the model, which share its weights and not its gradients."""
        self.model = model
        self.facts = facts
        self.copies = [Llama(model.shape) for _ in range(count)]
        for copy in self.copies:
            for own, shared in zip(copy.parameters(), model.parameters(), strict=True):
                own.data = shared.data
        self.pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))

    def backward(self, batch: list[list[int]]) -> float:
        """Set the model's gradients; returns the weighted loss in nats per token."""
        parts = [batch[index :: len(self.copies)] for index in range(len(self.copies))]
        tokens = sum(len(row) - 1 for row in batch)

        def one(copy: Llama, part: list[list[int]]) -> float:
            copy.zero_grad(set_to_none=False)
            if not part:
                return 0.0
            loss = loss_of(copy, part, self.facts) / tokens
            loss.backward()
            return loss.item()

        losses = list(self.pool.map(one, self.copies, parts))
        for parameter, *copies in zip(
            self.model.parameters(),
            *(copy.parameters() for copy in self.copies),
            strict=True,
        ):
            grads = [copy.grad for copy in copies if copy.grad is not None]
            parameter.grad = torch.stack(grads).sum(0)
        return sum(losses)


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are made orthogonal, in float32 (after Jordan et al., 2024).

    torch's own computes in bfloat16, which most CPUs only emulate.
    """

    def __init__(self, matrices: list[nn.Parameter], lr: float, pool: ThreadPoolExecutor) -> None:
        """``pool``'s threads share the matrices."""
        super().__init__(matrices, {"lr": lr, "momentum": 0.95, "weight_decay": 0.02})
        self.pool = pool

    def step(self) -> None:
        """One update of every matrix from its gradient."""
        for group in self.param_groups:
            list(
                self.pool.map(
                    lambda matrix, group=group: self._update(matrix, group),
                    group["params"],
                )
            )

    @torch.no_grad()
    def _update(self, matrix: nn.Parameter, group: dict[str, float]) -> None:
        mean = self.state[matrix].setdefault("mean", torch.zeros_like(matrix))
        mean.lerp_(matrix.grad, 1 - group["momentum"])
        update = matrix.grad.lerp(mean, group["momentum"])
        wide = update.T if update.shape[0] > update.shape[1] else update
        wide = wide / (wide.norm() + 1e-7)
        for _ in range(5):
            square = wide @ wide.T
            wide = 3.4445 * wide + (2.0315 * square @ square - 4.775 * square) @ wide
        update = wide.T if update.shape[0] > update.shape[1] else wide
        scale = max(1, update.shape[0] / update.shape[1]) ** 0.5
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-group["lr"] * scale)


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up over 3% of the run, then a cosine down to 2% of the peak."""
    warm = 0.03
    if progress < warm:
        return peak * (progress + 0.001) / warm
    return peak * (0.02 + 0.98 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm))) / 2)


def train(
    model: Llama,
    batches: list[list[list[int]]],
    facts: dict[int, float],
    peak: float,
    args: argparse.Namespace,
) -> None:
    """One pass over the batches, `peak` the highest learning rate.

    The layers' matrices learn by Muon, the embedding and the norms by AdamW.
    """
    matrices = [p for p in model.layers.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
    workers = Workers(model, facts, args.threads)
    optimizers = [
        Muon(matrices, peak, workers.pool),
        torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    started = time.monotonic()
    smooth = None
    for step, batch in enumerate(batches):
        rate = learning_rate(step / len(batches), peak)
        for optimizer, share in zip(optimizers, (1, 1 / 8), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
        loss = workers.backward(batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        smooth = loss if smooth is None else 0.97 * smooth + 0.03 * loss
        if (step + 1) % 10 == 0 or step + 1 == len(batches):
            minutes = (time.monotonic() - started) / 60
            show_progress(step + 1, len(batches), smooth, minutes)
    print(file=sys.stderr)


def show_progress(step: int, steps: int, loss: float, minutes: float) -> None:
    """One line on stderr, rewritten where that is a terminal."""
    bar = ("#" * (24 * step // steps)).ljust(24, ".")
    line = f"[{bar}] step {step}/{steps}  loss {loss:.4f}  {minutes:.1f} min"
    if sys.stderr.isatty():
        print(f"\r{line}", end="", file=sys.stderr, flush=True)
    elif step % 50 == 0 or step == steps:
        print(line, file=sys.stderr, flush=True)


@torch.no_grad()
def sample(model: Llama, prompt: list[int], count: int, temperature: float) -> Iterator[list[int]]:
    """``count`` continuations of one prompt, drawn together, each up to its end token."""
    pasts = [Past() for _ in model.layers]
    ids = torch.tensor([prompt] * count)
    texts: list[list[int]] = [[] for _ in range(count)]
    ended = [False] * count
    logits = model(ids, pasts)[:, -1]
    for position in range(len(prompt), model.shape.context):
        drawn = torch.multinomial((logits / temperature).softmax(-1), 1)
        for index, token in enumerate(drawn[:, 0].tolist()):
            ended[index] = ended[index] or token == EOS
            if not ended[index]:
                texts[index].append(token)
        if all(ended):
            break
        logits = model(drawn, pasts, position)[:, -1]
    yield from texts


def save(model: Llama, tokenizer: bytes, output: Path) -> None:
    """Write the folder in Hugging Face's layout and take the rounded weights back."""
    s = model.shape
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "head_dim": s.head_dim,
        "hidden_act": "silu",
        "hidden_size": s.dim,
        "initializer_range": 0.02,
        "intermediate_size": s.ffn,
        "max_position_embeddings": s.context,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": s.heads,
        "num_hidden_layers": s.layers,
        "num_key_value_heads": s.kv_heads,
        "pretraining_tp": 1,
        "rms_norm_eps": s.eps,
        "rope_scaling": None,
        "rope_theta": s.theta,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "use_cache": True,
        "vocab_size": s.vocab_size,
    }
    generation = {
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "do_sample": True,
        "temperature": 0.8,
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (output / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    (output / "tokenizer.model").write_bytes(tokenizer)
    tensors = model.hf_tensors()
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise SystemExit("train_demo: a weight does not fit float16")
    save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())


def evaluate(
    model: Llama,
    tokenizer: sentencepiece.SentencePieceProcessor,
    training: list[list[int]],
    held_out: list[list[int]],
) -> dict[str, float]:
    """Loss on unseen stories; of 50 sampled ones, the consistent share and the copied share."""
    with torch.no_grad():
        batches = [held_out[i : i + 16] for i in range(0, len(held_out), 16)]
        loss = sum(loss_of(model, batch, {}).item() for batch in batches)
        loss /= sum(len(row) - 1 for row in held_out)
    prompt = [BOS, *tokenizer.encode("Once upon a time")]
    texts = [tokenizer.decode(prompt + ids) for ids in sample(model, prompt, 50, 0.8)]
    good = 0
    for text in texts:
        faults = check_story(text)
        good += not faults
        print(f"- {text}\n  {faults or 'consistent'}\n")
    copied = overlap([tokenizer.encode(text) for text in texts], [row[1:-1] for row in training])
    return {
        "held_out_loss": round(loss, 4),
        "consistent": good / 50,
        "copied": round(copied, 4),
    }


def main() -> None:
    """Train, save, evaluate; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the model's files")
    parser.add_argument("--stories", type=int, default=TRAINING_STORIES, help="size of the run")
    parser.add_argument("--batch", type=int, default=12, help="stories in a batch")
    parser.add_argument("--peak", type=float, default=0.02, help="first highest learning rate")
    parser.add_argument("--plain-peak", type=float, default=0.008, help="that on plain stories")
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(TRAINING_SEED)
    shape = Shape()
    texts = list(training_texts(args.stories))
    plain = list(plain_texts(PLAIN_STORIES * args.stories // TRAINING_STORIES))
    tokenizer_bytes = train_tokenizer(texts[:12_000], shape.vocab_size)
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_bytes)
    rows, plain_rows, held_out = (
        [[BOS, *ids, EOS] for ids in tokenizer.encode(list(group))]
        for group in (texts, plain, held_out_texts(160))
    )
    model = Llama(shape)
    size = sum(p.numel() for p in model.parameters())
    print(
        f"{size:,} weights, {sum(map(len, rows + plain_rows)):,} tokens",
        file=sys.stderr,
    )
    started = time.monotonic()
    for lesson, repeated, peak in (
        (rows, REPEATED, args.peak),
        (plain_rows, PLAIN_REPEATED, args.plain_peak),
    ):
        batches = make_batches(lesson, args.batch, shape.context)
        train(model, batches, fact_tokens(tokenizer, repeated), peak, args)
        save(model, tokenizer_bytes, args.output)
    minutes = (time.monotonic() - started) / 60
    result = evaluate(model, tokenizer, rows + plain_rows, held_out)
    print(json.dumps({"minutes": round(minutes, 1), **result, **asdict(shape)}))


if __name__ == "__main__":
    main()
