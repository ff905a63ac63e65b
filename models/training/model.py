"""The ChatGLM3 architecture in plain torch, small enough to read in one sitting.

Module names are those of the official checkpoint, so ``state_dict`` *is* the Hugging Face file and
exporting needs no renaming.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KvCache = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model, with the key names of the official ``config.json``."""

    hidden_size: int = 256
    kv_channels: int = 64
    num_attention_heads: int = 4
    multi_query_group_num: int = 2
    ffn_hidden_size: int = 640
    num_layers: int = 6
    padded_vocab_size: int = 3520
    seq_length: int = 2048
    layernorm_epsilon: float = 1e-5

    @classmethod
    def load(cls, path: Path) -> ModelConfig:
        """Read the known keys of a ``config.json`` and ignore the others."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{key: raw[key] for key in asdict(cls()) if key in raw})


def rotary_table(config: ModelConfig, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (seq_length, kv_channels / 4): half a head is rotated, in pairs."""
    rotated = config.kv_channels // 2
    inv_freq = 10000.0 ** (-torch.arange(0, rotated, 2, device=device).float() / rotated)
    angles = torch.outer(torch.arange(config.seq_length, device=device).float(), inv_freq)
    return angles.cos(), angles.sin()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the adjacent pairs of the first half of every head; x is (batch, head, time, dim)."""
    rotated, passed = x.chunk(2, dim=-1)
    even, odd = rotated[..., 0::2], rotated[..., 1::2]
    turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1)
    return torch.cat((turned.flatten(-2), passed), dim=-1)


class SelfAttention(nn.Module):
    """Grouped-query attention: several query heads share one key/value head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.groups = config.multi_query_group_num
        self.dim = config.kv_channels
        width = self.heads * self.dim
        self.query_key_value = nn.Linear(
            config.hidden_size, width + 2 * self.groups * self.dim, bias=True
        )
        self.dense = nn.Linear(width, config.hidden_size, bias=False)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        past: tuple[Tensor, Tensor] | None,
        lengths: list[int],
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, time, _ = x.shape
        kv_width = self.groups * self.dim
        q, k, v = self.query_key_value(x).split([self.heads * self.dim, kv_width, kv_width], -1)
        q = apply_rotary(q.view(batch, time, self.heads, self.dim).transpose(1, 2), cos, sin)
        k = apply_rotary(k.view(batch, time, self.groups, self.dim).transpose(1, 2), cos, sin)
        v = v.view(batch, time, self.groups, self.dim).transpose(1, 2)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        repeat = self.heads // self.groups
        wide_k, wide_v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        if time == 1:
            out = F.scaled_dot_product_attention(q, wide_k, wide_v)
        else:
            pieces = zip(
                q.split(lengths, 2), wide_k.split(lengths, 2), wide_v.split(lengths, 2), strict=True
            )
            out = torch.cat(
                [F.scaled_dot_product_attention(*piece, is_causal=True) for piece in pieces], 2
            )
        return self.dense(out.transpose(1, 2).reshape(batch, time, -1)), (k, v)


class Mlp(nn.Module):
    """SwiGLU; ``dense_h_to_4h`` holds the gate rows first, then the up rows."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 2 * config.ffn_hidden_size, bias=False)
        self.dense_4h_to_h = nn.Linear(config.ffn_hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.dense_h_to_4h(x).chunk(2, dim=-1)
        return self.dense_4h_to_h(F.silu(gate) * up)


class Layer(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.layernorm_epsilon)
        self.self_attention = SelfAttention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.layernorm_epsilon)
        self.mlp = Mlp(config)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        past: tuple[Tensor, Tensor] | None,
        lengths: list[int],
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        attended, present = self.self_attention(self.input_layernorm(x), cos, sin, past, lengths)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), present


class ChatGLM3(nn.Module):
    """The whole model: ``forward`` gives hidden states, ``logits`` scores over the vocabulary."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        encoder = nn.Module()
        encoder.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        encoder.final_layernorm = nn.RMSNorm(config.hidden_size, config.layernorm_epsilon)
        embedding = nn.Module()
        embedding.word_embeddings = nn.Embedding(config.padded_vocab_size, config.hidden_size)
        self.transformer = nn.Module()
        self.transformer.embedding = embedding
        self.transformer.encoder = encoder
        self.transformer.output_layer = nn.Linear(
            config.hidden_size, config.padded_vocab_size, bias=False
        )
        cos, sin = rotary_table(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Small normal weights; what is added to the residual stream is smaller still."""
        residual_scale = (2 * self.config.num_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if name.endswith("layernorm.weight"):
                nn.init.ones_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                is_residual = name.endswith(("dense.weight", "dense_4h_to_h.weight"))
                std = 0.03 * (residual_scale if is_residual else 1.0)
                nn.init.normal_(parameter, std=std, generator=generator)

    def forward(
        self, ids: Tensor, cache: KvCache | None = None, lengths: list[int] | None = None
    ) -> tuple[Tensor, KvCache]:
        """Final hidden states of ``ids`` (batch, time) and the cache for the tokens after them.

        ``lengths`` says that a row holds several sequences one after the other, which do not see
        each other: so a training batch needs no padding. A cache goes with one more token only.
        """
        start = cache[0][0].shape[2] if cache else 0
        lengths = lengths or [ids.shape[1]]
        cos = torch.cat([self.cos[start : start + length] for length in lengths])
        sin = torch.cat([self.sin[start : start + length] for length in lengths])
        x = self.transformer.embedding.word_embeddings(ids)
        presents: KvCache = []
        for index, layer in enumerate(self.transformer.encoder.layers):
            x, present = layer(x, cos, sin, cache[index] if cache else None, lengths)
            presents.append(present)
        return self.transformer.encoder.final_layernorm(x), presents

    def logits(self, hidden: Tensor) -> Tensor:
        return self.transformer.output_layer(hidden)


def sample(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """Draw one id; temperature 0 means greedy."""
    if temperature == 0:
        return int(logits.argmax())
    probabilities, ids = (logits / temperature).softmax(-1).sort(descending=True)
    keep = probabilities.cumsum(0) - probabilities < top_p
    choice = torch.multinomial(probabilities * keep, 1, generator=generator)
    return int(ids[choice])


@torch.no_grad()
def generate(
    model: ChatGLM3,
    prompt: list[int],
    stop_ids: set[int],
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 0.8,
    generator: torch.Generator | None = None,
) -> list[int]:
    """Continue ``prompt``; the returned ids end with the stop id, if one was reached."""
    generator = generator or torch.Generator().manual_seed(0)
    hidden, cache = model(torch.tensor([prompt]))
    produced: list[int] = []
    budget = min(max_new_tokens, model.config.seq_length - len(prompt))
    while len(produced) < budget:
        next_id = sample(model.logits(hidden[0, -1]), temperature, top_p, generator)
        produced.append(next_id)
        if next_id in stop_ids:
            break
        hidden, cache = model(torch.tensor([[next_id]]), cache)
    return produced
